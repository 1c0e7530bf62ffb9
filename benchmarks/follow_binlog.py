"""``python -m benchmarks.follow_binlog``: following by the binary log, beside following by the outbox.

A private MariaDB as in ``benchmarks.follow``, with a binary log and all that the mode asks for, and two TCSQL: one
follows by the log a table with three indexes and another that is alike, one follows the latter by the outbox. While one
is measured the other is halted (SIGSTOP), in turns.

    drain     both are halted, changes are committed, one goes on: until the last of them is visible over HTTP
    noted     the same by the log in the table that has the outbox's triggers: each row is an event of its own then, and
              so are the rows that come and go in the outbox
    one       the same with all changes in one transaction, by the log alone: it comes in several steps
    latency   500 single-row transactions a second; from the answer to COMMIT until a read over HTTP sees the row

The outbox has no doorbell here: it looks every POLL_MS. Writes benchmarks/results/follow_binlog.json, and the page from
that and from follow.json. Takes about three minutes at full size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final

import typer

from benchmarks.follow import FULL_ROWS, TRANSACTIONS_PER_S, Bench, Options, change_many, measure, visible_s
from benchmarks.follow import RESULT as OUTBOX_RESULT
from benchmarks.follow_writers import DATABASE, connect
from benchmarks.measure import Goal
from benchmarks.shape import TABLE
from tests.mariadb import MariaDB
from tests.replication.binlog.logs import MARIADB_OPTIONS
from tests.replication.following import MARKER, Node

RESULT: Final = OUTBOX_RESULT.with_name("follow_binlog.json")
POLL_MS: Final = 10
#: A table alike, with the outbox's triggers.
ALIKE: Final = "posts_alike"


def main(
    rows: Annotated[int, typer.Option(min=20_000, help="rows of each followed table")] = FULL_ROWS,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of each measurement")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="length of what is measured for a time")] = 8,
    output: Annotated[Path | None, typer.Option(help="where the JSON goes")] = None,
) -> None:
    """Measure following by the binary log on this machine."""
    measure(BesideOutbox, RESULT, Options(rows, rounds, seconds, output), *MARIADB_OPTIONS, "--sync-binlog=1")


@contextmanager
def two_nodes(server: MariaDB, directory: Path) -> Iterator[tuple[Node, Node]]:
    """One by the log, one by the outbox, set up and following."""
    with server.connect(DATABASE) as connection:
        connection.cursor().execute(MARKER)
    of_log: dict[str, Any] = {"mode": "binlog", "server_id": 7_900}
    of_outbox: dict[str, Any] = {"mode": "outbox", "poll_ms": POLL_MS}
    nodes = []
    for tables, options in (([TABLE, ALIKE, "marker"], of_log), ([ALIKE, "marker"], of_outbox)):
        own = directory / options["mode"]
        own.mkdir()
        nodes.append(Node(server, DATABASE, own, tables, **options, audit_s=0, check_s=3600))
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


class BesideOutbox(Bench):
    """The measurements one after another, on two nodes."""

    def run(self) -> None:
        self.fill(ALIKE)
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
        noted = self.figure("the same where triggers note each row in another table", "rows/s")
        figure.reference = noted.reference = "the outbox, of a table alike"
        figure.note = f"{rows:,} updates, every one of another row, each moving it in an index; 10,000 a transaction"
        noted.note = "an event for each row, and two more for its row in the outbox, which the other TCSQL has emptied"
        writer = connect(self.server.socket)
        for number in range(self.rounds):
            low = 1 + number % 2 * (self.rows // 2)
            high, mark = low + rows, 3_000_000_000 + number

            def plain(low: int = low, high: int = high, mark: int = mark) -> None:
                with self.halted(outbox):
                    with self.halted(log):
                        change_many(writer, low, high, mark)
                    figure.rounds.append(rows / visible_s(log, high - 1, mark))

            def alike(low: int = low, high: int = high, mark: int = mark) -> None:
                with self.halted(log):
                    with self.halted(outbox):
                        change_many(writer, low, high, mark, ALIKE)
                    reference = rows / visible_s(outbox, high - 1, mark, ALIKE)
                    outbox.settle()  # its notes are deleted
                with self.halted(outbox):
                    noted.rounds.append(rows / visible_s(log, high - 1, mark, ALIKE))
                for each in (figure, noted):
                    each.reference_rounds.append(reference)

            for kind in (plain, alike) if number % 2 else (alike, plain):
                kind()
                log.settle()
        writer.close()

    def _drain_one(self, log: Node, outbox: Node) -> None:
        rows = min(200_000, self.rows // 2)
        figure = self.figure("the same as one transaction", "rows/s")
        worker = log.worker()
        assert worker is not None
        writer = connect(self.server.socket)
        taken = []
        for number in range(max(1, self.rounds // 2)):
            mark = 3_100_000_000 + number
            with self.halted(outbox):
                with self.halted(log):
                    writer.cursor().execute(f"UPDATE {TABLE} SET uid = uid ^ 1, hits = {mark} WHERE id <= {rows}")
                    writer.commit()
                before = worker.memory_info().rss
                _forget_peak(worker.pid)
                figure.rounds.append(rows / visible_s(log, rows, mark))
            taken.append(max(0, _peak_bytes(worker.pid) - before))
        figure.note = f"{rows:,} updates; the worker took {max(taken) >> 20} MiB more, {max(taken) // rows} bytes a row"
        writer.close()

    def _latency_of_both(self, log: Node, outbox: Node) -> None:
        name = f"commit to visible at {TRANSACTIONS_PER_S} transactions a second, binary log"
        half = self.figure(f"{name}, p50", "ms")
        most = self.figure(f"{name}, p99", "ms", Goal("at most", 20))
        half.reference = most.reference = f"the outbox without a doorbell, a look every {POLL_MS} ms"
        rates: list[float] = []
        samples = 0
        for number in range(self.rounds):
            turns = [
                (log, TABLE, half.rounds, most.rounds),
                (outbox, ALIKE, half.reference_rounds, most.reference_rounds),
            ]
            for node, table, halves, mosts in turns if number % 2 else reversed(turns):
                with self.halted(outbox if node is log else log):
                    seen, rate = self._probed(node, table)
                rates.append(rate)
                samples += len(seen)
                halves.append(seen[len(seen) // 2])
                mosts.append(seen[len(seen) * 99 // 100])
                for each in (log, outbox):
                    each.settle()
        half.note = most.note = f"{median(rates):.0f} transactions/s were done; {samples} commits were watched"

    def _probed(self, node: Node, table: str) -> tuple[list[float], float]:
        """Milliseconds from commit to visible, in order, and the transactions a second that were done."""
        seen: dict[str, Any]
        with self.writers("steady", TRANSACTIONS_PER_S, 1, table) as written:
            time.sleep(0.5)
            with self.writers("probe", node.live.url, table) as seen:
                time.sleep(self.seconds)
        return sorted(seen["latencies_ms"]), written["transactions_per_s"]


def _forget_peak(pid: int) -> None:
    """Let the kernel begin anew with the most memory that a process had."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _peak_bytes(pid: int) -> int:
    """The most that it had since."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    typer.run(main)
