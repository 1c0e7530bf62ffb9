"""Kill -9 while something else than single writes is under way, and under durability ``interval``."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random

import httpx
import orjson
import pytest

from tcsql.storage.check import check_store
from tests.crash.ledger import Client, Cut
from tests.crash.test_kill import Nursery, nursery
from tests.results import record
from tests.strategies import EFFORT

KILLS = int(os.environ.get("TCSQL_TEST_KILLS_OF_A_KIND", "0")) or (1 if EFFORT == 1 else 30)
INTERVAL_MS = 200
ROWS = 6_000

Address = tuple[str, int]


async def _select(address: Address, query: str) -> dict[str, object]:
    client = Client(*address)
    page = await client.post(query)
    client.close()
    return page


async def _prepare(address: Address) -> None:
    client = Client(*address)
    await client.post("command=sql", {"sql": "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, text VARCHAR(80))"})
    await client.post("command=insert&table=t", [_row(number) for number in range(ROWS)])
    client.close()


def _row(number: int) -> dict[str, object]:
    return {"id": number, "a": number % 50, "b": number * 7 % 365, "text": f"text {number}"}


# --- what is under way: each works until its server is gone, and tells what it was told --------------------------


class Work:
    """One kind. ``check`` gets what a reader finds after the crash, and says what is wrong with it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.done = 0

    async def work(self, client: Client) -> None:
        raise NotImplementedError

    async def check(self, client: Client) -> str | None:
        """Rows are those of the beginning, whatever else."""
        page = await client.post("command=select&table=t&where=id:NUMLT:6000&type=count")
        return None if page["count"] == ROWS else f"{page['count']} rows instead of {ROWS}"


class Schemas(Work):
    """Columns, indexes and tables that come and go; each is there as a whole or not."""

    expected: frozenset[str] = frozenset()
    perhaps: frozenset[str] = frozenset()

    async def work(self, client: Client) -> None:
        while True:
            table = f"extra_{self.random.randrange(4)}"
            if table in self.expected:
                sql, self.perhaps = f"DROP TABLE {table}", self.expected - {table}
            else:
                sql = f"CREATE TABLE {table} (id INT PRIMARY KEY, v INT, KEY (v))"
                if self.random.random() < 0.3:
                    sql += f"; ALTER TABLE t ADD COLUMN c{self.done} INT"
                self.perhaps = self.expected | {table}
            await client.post("command=sql", {"sql": sql})
            self.expected = self.perhaps
            self.done += 1

    async def check(self, client: Client) -> str | None:
        status = await _get(client, "/status")
        found = frozenset(table["name"] for table in status["tables"]) - {"t"}  # type: ignore[attr-defined]  # JSON
        if found not in (self.expected, self.perhaps):
            return f"tables {set(found)}, told were {set(self.expected)}"
        self.expected = self.perhaps = found
        return await super().check(client)


class Backups(Work):
    """Copies one after the other; nothing of one is left behind, and rows written beside them stay."""

    async def work(self, client: Client) -> None:
        async with httpx.AsyncClient(timeout=20) as http:
            while True:
                try:
                    answer = await http.get(f"http://{client.host}:{client.port}/backup")
                except httpx.TransportError as error:
                    raise Cut from error
                assert answer.status_code == 200 and answer.content.startswith(b"SQLite format 3\0")
                self.done += 1


class Loads(Work):
    """Bulk loads; what was said to be applied is there, and what is there is the beginning of the load."""

    told = ROWS
    sent = ROWS

    async def work(self, client: Client) -> None:
        while True:
            first, self.sent = self.told, self.told + 5_000
            lines = b"\n".join(orjson.dumps(_row(number)) for number in range(first, self.sent))
            await _load(client, lines)
            self.told = self.sent
            self.done += 1

    async def check(self, client: Client) -> str | None:
        page = await client.post("command=select&table=t&order_by=id&order_sort=NUMDESC&limit_max=1")
        highest, total = page["rows"][0]["id"], page["total"]
        if total != highest + 1 or not self.told <= total <= self.sent:
            return f"{total} rows up to {highest}; {self.told} were told, {self.sent} were sent"
        self.told = self.sent = total
        return None


class Indexes(Work):
    """Queries that miss an index until one builds itself, while rows change; it is used, or not there."""

    async def work(self, client: Client) -> None:
        while True:
            await client.post("command=select&table=t&where=a:NUMEQ:3&order_by=b&order_sort=NUMDESC&limit_max=5")
            row = _row(self.random.randrange(ROWS))
            await client.post("command=insert&table=t", row)
            self.done += 1

    async def check(self, client: Client) -> str | None:
        page = await client.post("command=select&table=t&where=a:NUMEQ:3&order_by=b&order_sort=NUMDESC&limit_max=1000")
        own = sorted((row["b"] for row in page["rows"]), reverse=True)
        expected = sorted((number * 7 % 365 for number in range(ROWS) if number % 50 == 3), reverse=True)
        return None if own == expected == [row["b"] for row in page["rows"]] else "an index gives other rows"


async def _get(client: Client, path: str) -> dict[str, object]:
    async with httpx.AsyncClient(timeout=20) as http:
        return dict((await http.get(f"http://{client.host}:{client.port}{path}")).json())


async def _load(client: Client, lines: bytes) -> None:
    url = f"http://{client.host}:{client.port}/?command=insert&table=t"
    async with httpx.AsyncClient(timeout=20) as http:
        try:
            answer = await http.post(url, content=lines, headers={"content-type": "application/x-ndjson"})
        except httpx.TransportError as error:
            raise Cut from error
    assert answer.status_code == 200, answer.text


KINDS: dict[str, type[Work]] = {"schemas": Schemas, "backups": Backups, "loads": Loads, "indexes": Indexes}


async def _until_killed(work: Work, servers: Nursery, address: Address, after_s: float) -> None:
    client = Client(*address)

    async def go_on() -> None:
        try:
            await work.work(client)
        except Cut:
            return

    working = asyncio.create_task(go_on())
    await asyncio.sleep(after_s)
    await asyncio.to_thread(servers.kill)
    await working
    client.close()


async def _judged(address: Address, check: Callable[[Client], Coroutine[None, None, str | None]]) -> str | None:
    client = Client(*address)
    wrong = await check(client)
    client.close()
    return wrong


@pytest.mark.parametrize("kind", KINDS)
def test_killed_in_the_middle_of_something_else(tmp_path: Path, kind: str) -> None:
    random = Random(kind)
    work = KINDS[kind](random)
    directory = tmp_path / "data"
    with nursery(directory) as servers:
        address = servers.start()
        servers.wait_until_ready()
        asyncio.run(_prepare(address))
        for kill in range(1, KILLS + 1):
            asyncio.run(_until_killed(work, servers, address, random.uniform(0.02, 0.5)))
            if kill % 5 == 0:
                servers.start()
                time.sleep(random.uniform(0, 0.1))
                servers.kill()
            address = servers.start()
            servers.wait_until_ready()
            wrong = asyncio.run(_judged(address, work.check))
            if wrong:
                record(f"E2-{kind}", False, kill=kill)
            assert not wrong, f"after kill {kill}: {wrong}"
        assert not list(directory.glob("backup*"))
        servers.kill()
    faults = check_store(directory)
    record(f"E2-{kind}", not faults, kills=KILLS, done=work.done)
    assert faults == [] and work.done > 0


def test_killed_under_interval_it_loses_no_more_than_the_interval(tmp_path: Path) -> None:
    """Rows in their order: what is there is a beginning of what was answered, and what is missing is young."""
    random = Random(3)
    worst_ms = 0.0
    written = 0
    directory = tmp_path / "data"
    with nursery(directory, "--durability", "interval", "--interval-ms", str(INTERVAL_MS)) as servers:
        address = servers.start()
        servers.wait_until_ready()
        asyncio.run(_prepare(address))
        first = ROWS
        for _ in range(KILLS):
            answered: list[float] = []

            async def write(address: Address = address, first: int = first, answered: list[float] = answered) -> None:
                client = Client(*address)
                try:
                    while True:
                        await client.post("command=insert&table=t", _row(first + len(answered)))
                        answered.append(time.monotonic())
                except Cut:
                    client.close()

            async def both(
                after_s: float = random.uniform(0.1, 0.8), write: Callable[[], Coroutine[None, None, None]] = write
            ) -> float:
                writing = asyncio.create_task(write())
                await asyncio.sleep(after_s)
                killed = time.monotonic()
                await asyncio.to_thread(servers.kill)
                await writing
                return killed

            killed = asyncio.run(both())
            address = servers.start()
            servers.wait_until_ready()
            page = asyncio.run(_select(address, "command=select&table=t&order_by=id&order_sort=NUMDESC&limit_max=1"))
            highest = page["rows"][0]["id"]  # type: ignore[index]  # JSON
            assert page["total"] == highest + 1, "a hole"  # type: ignore[operator]  # JSON
            there = highest + 1 - first  # type: ignore[operator]  # JSON
            written += len(answered)
            if 0 <= there < len(answered):
                worst_ms = max(worst_ms, (killed - answered[there]) * 1000)
            first = highest + 1
        servers.kill()
    # a write waits for the end of its interval, then for its share of a sync on a busy machine
    passed = written > 50 * KILLS and worst_ms < INTERVAL_MS + 300
    record(
        "E2-interval", passed, kills=KILLS, answered=written, interval_ms=INTERVAL_MS, oldest_lost_ms=round(worst_ms)
    )
    assert passed, (written, worst_ms)
    assert check_store(directory) == []
