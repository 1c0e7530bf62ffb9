"""``python -m benchmarks.push``: how soon is a commit visible by push?

A private MariaDB (``innodb_flush_log_at_trx_commit=1``, no binary log) with 100,000 posts, the function of
``mysql_udf_sync`` built for it and called by the triggers that ``tcsql mysql setup`` makes, and a TCSQL that follows by
``mode = "push"``. Everything on this machine.

Single-row commits are watched one by one, from the answer to COMMIT until a read over HTTP sees the row: while nothing
else happens, and beside 500 single-row transactions a second. (What the triggers cost the writer: ``tests.udf.cost``.)

Prints a table and writes benchmarks/results/push.json. Takes about a minute.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import machine
from benchmarks.follow_writers import DATABASE, connect
from benchmarks.measure import Figure
from benchmarks.processes import environment
from benchmarks.shape import DDL, TABLE, posts
from tests.replication.following import MARKER
from tests.replication.pushing import PushNode, PushServer, free_port, pushing

RESULT: Final = Path(__file__).parent / "results" / "push.json"
GROUP: Final = "push"
ROWS: Final = 100_000
_TRANSACTIONS_PER_S: Final = 500


def main(
    rounds: Annotated[int, typer.Option(min=1, help="rounds of each measurement")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="length of what is measured for a time")] = 8,
) -> None:
    """Measure the push on this machine."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = machine.describe()
    options = ["--innodb-flush-log-at-trx-commit=1", "--local-infile=ON", "--innodb-buffer-pool-size=256M"]
    with (
        tempfile.TemporaryDirectory(prefix="tcsql-bench-") as name,
        PushServer(free_port(), timeout_ms=100, options=options) as server,
    ):
        _fill(server, Path(name))
        with pushing(server, Path(name) / "node", TABLE) as node:
            node.begin()
            figures = _latencies(node, rounds, seconds, console)
    for figure in figures:
        console.print(f"{figure.name:<60} {figure.value:>8,.1f} {figure.unit}")
    document = {"machine": facts, "started": started, "rounds": rounds, "seconds": seconds}
    document["figures"] = [figure.to_json() for figure in figures]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _fill(server: PushServer, directory: Path) -> None:
    with server.connect() as connection:
        connection.cursor().execute(f"CREATE DATABASE {DATABASE}")
    lines = directory / "posts.tsv"
    with lines.open("w", encoding="utf-8") as file:
        file.writelines("\t".join(map(str, post)) + "\n" for post in posts(ROWS))
    own = connect(server.socket)
    cursor = own.cursor()
    for statement in (DDL, MARKER, f"LOAD DATA LOCAL INFILE '{lines}' INTO TABLE {TABLE}"):
        cursor.execute(statement)
    own.commit()
    own.close()


def _latencies(node: PushNode, rounds: int, seconds: float, console: Console) -> list[Figure]:
    figures = []
    for rate in (0, _TRANSACTIONS_PER_S):
        beside = f"beside {rate} transactions/s" if rate else "alone"
        half, most, slow = (
            Figure(GROUP, f"commit to visible, {beside}, {part}", "ms") for part in ("p50", "p99", "longest")
        )
        console.print(f"latency {beside}")
        for _ in range(rounds):
            writers = [_writers(node, "steady", rate, 1, TABLE)] if rate else []
            time.sleep(0.5)
            probe = _writers(node, "probe", node.live.url)
            time.sleep(seconds)
            ordered = sorted(_found(probe)["latencies_ms"])
            for writer in writers:
                _found(writer)
            half.rounds.append(ordered[len(ordered) // 2])
            most.rounds.append(ordered[len(ordered) * 99 // 100])
            slow.rounds.append(ordered[-1])
        figures += [half, most, slow]
    return figures


def _writers(node: PushNode, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.follow_writers", node.server.socket, str(ROWS), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())


def _found(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, "a writer has failed"
    return dict(json.loads(output))


if __name__ == "__main__":
    typer.run(main)
