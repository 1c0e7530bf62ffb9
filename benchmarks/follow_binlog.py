"""``python -m benchmarks.follow_binlog``: following by the binary log, beside following by the outbox.

A private MariaDB as in ``benchmarks.follow``, with a binary log and all that the mode asks for, and two TCSQL that
follow one table with three indexes: one by the log, one by the outbox. While one is measured the other is halted
(SIGSTOP), in turns, so that both have the same machine and the same changes.

    drain     both are halted, changes are committed, one goes on: until the last of them is visible over HTTP
    one       the same with all changes in one transaction, by the log alone: it comes in several steps
    latency   500 single-row transactions a second; from the answer to COMMIT until a read over HTTP sees the row

The outbox has no doorbell here: it looks every POLL_MS. Writes benchmarks/results/follow_binlog.json, and the page from
that and from follow.json. Takes about two minutes at full size.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import follow_report, machine
from benchmarks.follow import RESULT as OUTBOX_RESULT
from benchmarks.follow import TRANSACTIONS_PER_S, Bench, change_many, source, version, visible_s
from benchmarks.follow_writers import DATABASE, connect
from benchmarks.measure import Goal
from benchmarks.shape import TABLE
from tests.mariadb import MariaDB
from tests.replication.binlog.logs import MARIADB_OPTIONS
from tests.replication.following import MARKER, Node

RESULT: Final = OUTBOX_RESULT.with_name("follow_binlog.json")
FULL_ROWS: Final = 1_000_000
POLL_MS: Final = 10


def main(
    rows: Annotated[int, typer.Option(min=20_000, help="rows of the followed table")] = FULL_ROWS,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of each measurement")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="length of what is measured for a time")] = 8,
    output: Annotated[Path | None, typer.Option(help="where the JSON goes")] = None,
) -> None:
    """Measure following by the binary log on this machine."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = machine.describe()
    options = (*MARIADB_OPTIONS, "--sync-binlog=1")
    with tempfile.TemporaryDirectory(prefix="tcsql-bench-") as name, source(Path(name), rows, *options) as server:
        facts["source"] = version(server)
        bench = _BesideOutbox(server, Path(name), rows, rounds, seconds, console)
        bench.run()
    follow_report.show(console, bench.figures)
    if output is None and rows >= FULL_ROWS:
        output = RESULT
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        found = [figure.to_json() for figure in bench.figures]
        document = {"machine": facts, "started": started, "rows": rows, "rounds": rounds, "seconds": seconds}
        output.write_text(json.dumps({**document, "figures": found}, indent=1) + "\n", encoding="utf-8")
        console.print(f"wrote {output.name}")
        if output == RESULT and OUTBOX_RESULT.exists():
            follow_report.write_page(OUTBOX_RESULT)


@contextmanager
def two_nodes(server: MariaDB, directory: Path) -> Iterator[tuple[Node, Node]]:
    """One by the log, one by the outbox, set up and following."""
    with server.connect(DATABASE) as connection:
        connection.cursor().execute(MARKER)
    nodes = []
    for mode, options in (("binlog", {"server_id": 7_900}), ("outbox", {"poll_ms": POLL_MS})):
        (directory / mode).mkdir()
        options |= {"audit_s": 0, "check_s": 3600}
        nodes.append(Node(server, DATABASE, directory / mode, [TABLE, "marker"], mode=mode, **options))
    try:
        for node in nodes:
            node.write_config()
            node.setup()
            node.start()
        for node in nodes:
            node.wait_until_following(600)
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            node.close()


class _BesideOutbox(Bench):
    """The measurements one after another, on two nodes."""

    def run(self) -> None:
        with two_nodes(self.server, self.directory) as (log, outbox):
            self._drain_both(log, outbox)
            self._drain_one(log, outbox)
            self._latency_of_both(log, outbox)
            self.console.print("comparing every row")
            for node in (log, outbox):
                node.assert_equal()

    def _drain_both(self, log: Node, outbox: Node) -> None:
        rows = min(300_000, self.rows // 2)
        figure = self.figure("binary log drained into a table with three indexes", "rows/s", Goal("at least", 40_000))
        figure.reference = "the same changes by the outbox"
        figure.note = f"{rows:,} updates, every one of another row, each moving it in an index; 10,000 a transaction"
        writer = connect(self.server.socket)
        for number in range(self.rounds):
            low = 1 + number % 2 * (self.rows // 2)
            mark = 3_000_000_000 + number
            pairs = [(log, figure.rounds), (outbox, figure.reference_rounds)]
            (first, found), (second, other) = pairs if number % 2 else reversed(pairs)
            with self.halted(second):
                with self.halted(first):
                    change_many(writer, low, low + rows, mark)
                found.append(rows / visible_s(first, low + rows - 1, mark))
            with self.halted(first):
                other.append(rows / visible_s(second, low + rows - 1, mark))
        writer.close()

    def _drain_one(self, log: Node, outbox: Node) -> None:
        rows = min(200_000, self.rows // 2)
        figure = self.figure("the same as one transaction", "rows/s")
        worker = log.worker()
        assert worker is not None
        writer = connect(self.server.socket)
        before = most = worker.memory_info().rss
        for number in range(max(1, self.rounds // 2)):
            mark = 3_100_000_000 + number
            with self.halted(outbox):
                with self.halted(log):
                    writer.cursor().execute(f"UPDATE {TABLE} SET uid = uid ^ 1, hits = {mark} WHERE id <= {rows}")
                    writer.commit()
                figure.rounds.append(rows / visible_s(log, rows, mark))
            most = max(most, worker.memory_info().rss)
            outbox.wait_until_following(120)
        figure.note = f"{rows:,} updates; the worker took {max(0, most - before) >> 20} MiB more than before"
        writer.close()

    def _latency_of_both(self, log: Node, outbox: Node) -> None:
        name = f"commit to visible at {TRANSACTIONS_PER_S} transactions a second, binary log"
        half = self.figure(f"{name}, p50", "ms")
        most = self.figure(f"{name}, p99", "ms", Goal("at most", 20))
        half.reference = most.reference = f"the outbox without a doorbell, a look every {POLL_MS} ms"
        rates: list[float] = []
        samples = 0
        for number in range(self.rounds):
            turns = [(log, half.rounds, most.rounds), (outbox, half.reference_rounds, most.reference_rounds)]
            for node, halves, mosts in turns if number % 2 else reversed(turns):
                with self.halted(outbox if node is log else log):
                    seen, rate = self._probed(node)
                rates.append(rate)
                samples += len(seen)
                halves.append(seen[len(seen) // 2])
                mosts.append(seen[len(seen) * 99 // 100])
                for each in (log, outbox):
                    each.settle()
        half.note = most.note = f"{median(rates):.0f} transactions/s were done; {samples} commits were watched"

    def _probed(self, node: Node) -> tuple[list[float], float]:
        """Milliseconds from commit to visible, in order, and the transactions a second that were done."""
        seen: dict[str, Any]
        with self.writers("steady", TRANSACTIONS_PER_S, 1, TABLE) as written:
            time.sleep(0.5)
            with self.writers("probe", node.live.url) as seen:
                time.sleep(self.seconds)
        return sorted(seen["latencies_ms"]), written["transactions_per_s"]


if __name__ == "__main__":
    typer.run(main)
