"""E2: kill -9 under load, every fifth kill during recovery: nothing acknowledged lost, no phantom, no half batch."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tcsql.storage.check import check_store
from tests.crash.ledger import SCHEMA, WRITERS, Client, Ledger
from tests.http.serving import environment
from tests.results import record
from tests.strategies import EFFORT

#: TCSQL_TEST_KILLS overrides; the name is stripped from what the server sees.
KILLS = int(os.environ.get("TCSQL_TEST_KILLS", "0")) or (30 if EFFORT == 1 else 200)
BALLAST_ROWS = 20_000


class Nursery:
    """Servers, one at a time, killed by its process id."""

    def __init__(self, process: subprocess.Popen[str], directory: Path, flags: tuple[str, ...]) -> None:
        self._process = process
        self._serve = " ".join(("serve", str(directory), *flags))

    def start(self) -> tuple[str, int]:
        """Fork a server; returns where it listens. It is still recovering."""
        self._say(self._serve)
        while not self._line().startswith("pid "):
            pass
        return self._address(self._line())

    def wait_until_ready(self) -> None:
        line = self._line()
        assert " ready on " in line, line

    def kill(self) -> None:
        self._say("kill")
        while self._line() != "gone":
            pass

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery has died"
        return line.rstrip()

    @staticmethod
    def _address(line: str) -> tuple[str, int]:
        host, _, port = line.rsplit(maxsplit=1)[-1].removeprefix("http://").rpartition(":")
        return host, int(port)


@contextmanager
def nursery(directory: Path, *flags: str) -> Iterator[Nursery]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash.nursery"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        yield Nursery(process, directory, flags)
        assert process.stdin is not None
        process.stdin.close()


async def _prepare(host: str, port: int) -> None:
    client = Client(host, port)
    await client.post("command=sql", {"sql": SCHEMA})
    for start in range(1, BALLAST_ROWS, 5_000):
        rows = [{"id": n, "a": n % 77, "b": n % 1001, "text": f"text {n}"} for n in range(start, start + 5_000)]
        await client.post("command=insert&table=ballast", rows)
    client.close()


async def _kill_under_load(ledger: Ledger, servers: Nursery, host: str, port: int, after_s: float) -> None:
    working = asyncio.create_task(ledger.work(host, port))
    await asyncio.sleep(after_s)
    await asyncio.to_thread(servers.kill)
    await working


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    random = Random(KILLS)
    ledger = Ledger(seed=random.randrange(1000))
    directory = tmp_path / "data"
    recovery_s = 0.0
    with nursery(directory) as servers:
        address = servers.start()
        servers.wait_until_ready()
        asyncio.run(_prepare(*address))
        for kill in range(1, KILLS + 1):
            asyncio.run(_kill_under_load(ledger, servers, *address, random.uniform(0.01, 0.4)))
            if kill % 5 == 0:
                servers.start()
                time.sleep(random.uniform(0, recovery_s))
                servers.kill()
            address = servers.start()
            started = time.monotonic()
            servers.wait_until_ready()
            recovery_s = time.monotonic() - started
            wrong = asyncio.run(ledger.judge(*address))
            if wrong:
                record("E2", False, kill=kill, wrong=len(wrong))
            assert not wrong, f"after kill {kill}:\n" + "\n".join(wrong)
        servers.kill()
    faults = check_store(directory)
    record("E2", not faults, kills=KILLS, during_recovery=KILLS // 5, writers=WRITERS, acknowledged=ledger.acknowledged)
    assert ledger.acknowledged > 50 * KILLS
    assert faults == []
