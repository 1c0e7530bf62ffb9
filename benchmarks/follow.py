"""``python -m benchmarks.follow``: how fast does a TCSQL follow MariaDB, and what does that cost either side?

A private MariaDB (Debian's package, InnoDB, ``innodb_flush_log_at_trx_commit=1``, no binary log) with a table of posts
and three indexes, and a TCSQL that follows it by the outbox, set up by ``tcsql mysql setup --apply``, with the doorbell
of ``mysql_udf_sync`` built for it. Everything on this machine, over the unix socket; the worker, MariaDB, the writers
and wrk share the second core where there are two, and TCSQL's server has the first one for the figure of reads.

    copy     TCSQL starts empty; from the first row copied to the state "following"
    drain    TCSQL is halted (SIGSTOP), changes are committed, it goes on: until the last of them is visible over HTTP
    latency  500 single-row transactions a second; from the answer to COMMIT until a read over HTTP sees the row
    cost     the same single-row commits into a table with the triggers and into one without, in turns
    reads    wrk asks for list pages while rows of the followed table change, while they change in a table that is not
             followed, and while nothing changes, in turns: MariaDB and the writers take from wrk's core, too

Writes benchmarks/results/follow.json, and docs/following-figures.md from it. Takes about four minutes at full size.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final, NamedTuple

import typer
from pymysql.cursors import SSCursor
from rich.console import Console

from benchmarks import follow_report, machine
from benchmarks.follow_writers import DATABASE, connect
from benchmarks.measure import Figure, Goal
from benchmarks.processes import environment
from benchmarks.shape import DDL, TABLE, posts, uid_values
from loadtest import wrk
from loadtest.cores import BOTH, GENERATOR, SERVER, pin
from loadtest.template import Int, get
from tests.mariadb import MariaDB
from tests.replication.following import Node, following

RESULT: Final = Path(__file__).parent / "results" / "follow.json"
GROUP: Final = "following"
FULL_ROWS: Final = 1_000_000
_UDF: Final = Path(__file__).parent.parent / "mysql_udf_sync"
#: The rates that the goals speak of.
TRANSACTIONS_PER_S: Final = 500
_CHANGES_PER_S: Final = 2_000
_ROWS_OF_A_CHANGE: Final = 10
_CONNECTIONS: Final = 32
_NOTED: Final = "noted"
_PLAIN: Final = "plain"
_ELSEWHERE: Final = "elsewhere"


def main(
    rows: Annotated[int, typer.Option(min=20_000, help="rows of the followed table")] = FULL_ROWS,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of each measurement")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="length of what is measured for a time")] = 8,
    output: Annotated[Path | None, typer.Option(help="where the JSON goes")] = None,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help="make the page from the JSON, measure nothing")
    ] = False,
) -> None:
    """Measure following on this machine."""
    if write_docs:
        follow_report.write_page(RESULT)
        return
    measure(Bench, RESULT, Options(rows, rounds, seconds, output))


class Options(NamedTuple):
    """How much is measured, and where the JSON goes; None: beside the others, when it was all of it."""

    rows: int
    rounds: int
    seconds: float
    output: Path | None


def measure(kind: type[Bench], result: Path, options: Options, *more: str) -> None:
    """Run a bench on a MariaDB of its own, with ``more`` options; show and write what it found."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = machine.describe()
    rows, rounds, seconds, output = options
    with tempfile.TemporaryDirectory(prefix="tcsql-bench-") as name, source(Path(name), rows, *more) as server:
        facts["source"] = version(server)
        bench = kind(server, Path(name), rows, rounds, seconds, console)
        bench.run()
    follow_report.show(console, bench.figures)
    if output is None and rows >= FULL_ROWS:
        output = result
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        found = [figure.to_json() for figure in bench.figures]
        document = {"machine": facts, "started": started, "rows": rows, "rounds": rounds, "seconds": seconds}
        output.write_text(json.dumps({**document, "figures": found}, indent=1) + "\n", encoding="utf-8")
        console.print(f"wrote {output.name}")
        if output == result and RESULT.exists():
            follow_report.write_page(RESULT)


@contextmanager
def source(directory: Path, rows: int, *more: str) -> Iterator[MariaDB]:
    """MariaDB with the tables, their rows, and a plugin directory that has our functions; ``more``: its options."""
    make = ["make", "-C", str(_UDF), f"BUILD={directory / 'udf'}", f"CONF={directory / 'push.conf'}"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    (directory / "push.conf").write_text(f"doorbell = {directory / 'bell'}\n", encoding="ascii")
    (directory / "push.conf").chmod(0o600)
    options = ["--local-infile=ON", f"--plugin-dir={directory / 'udf'}", "--innodb-flush-log-at-trx-commit=1"]
    options += ["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M"]
    with MariaDB(*options, *more) as server:
        with server.connect() as connection:
            connection.cursor().execute(f"CREATE DATABASE {DATABASE}")
        lines = directory / "posts.tsv"
        with lines.open("w", encoding="utf-8") as file:
            file.writelines("\t".join(map(str, post)) + "\n" for post in posts(rows))
        own = connect(server.socket)
        for table in (TABLE, _NOTED, _PLAIN):
            own.cursor().execute(DDL.replace(f"`{TABLE}`", f"`{table}`"))
        own.cursor().execute(f"LOAD DATA LOCAL INFILE '{lines}' INTO TABLE {TABLE}")
        own.commit()
        own.close()
        lines.unlink()
        yield server


def version(server: MariaDB) -> str:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        return str(cursor.fetchone()[0])


def change_many(writer: Any, low: int, high: int, mark: int, table: str = TABLE) -> None:
    """Update every row from ``low`` to before ``high``, 10,000 a transaction; each moves in an index."""
    for start in range(low, high, 10_000):
        writer.cursor().execute(
            f"UPDATE {table} SET uid = uid ^ 1, dateline = dateline + 7, hits = {mark}"
            f" WHERE id BETWEEN {start} AND {min(start + 9_999, high - 1)}"
        )
        writer.commit()


def visible_s(node: Node, key: int, mark: int, table: str = TABLE) -> float:
    """Seconds until the change of that row is visible, and there is no backlog."""
    began = time.perf_counter()
    asked = f"{node.live.url}/?command=select&table={table}&type=hits&where=id:NUMEQ:{key}"
    while node.live.client.get(asked).json()["rows"][0]["hits"] != mark:
        time.sleep(0.005)
    node.wait_until_following(120)
    return time.perf_counter() - began


class Bench:
    """The measurements one after another, on one node; ``follow_binlog`` uses what measures."""

    def __init__(
        self, server: MariaDB, directory: Path, rows: int, rounds: int, seconds: float, console: Console
    ) -> None:
        self.server = server
        self.directory = directory
        self.rows = rows
        self.rounds = rounds
        self.seconds = seconds
        self.console = console
        self.figures: list[Figure] = []

    def run(self) -> None:
        bell: dict[str, Any] = {"doorbell": str(self.directory / "bell")}
        node_directory = self.directory / "node"
        with following(self.server, DATABASE, node_directory, [TABLE, _NOTED], start=False, **bell) as node:
            self._copy(node)
            node.start()
            node.wait_until_following(600)
            self._drain(node)
            self._latency(node)
            self._reads(node)
            self._cost(node)
            self.console.print("comparing every row")
            node.assert_equal()

    def figure(self, name: str, unit: str, goal: Goal | None = None, note: str | None = None) -> Figure:
        self.console.print(name)
        figure = Figure(GROUP, name, unit, goal=goal, note=note)
        self.figures.append(figure)
        return figure

    def _copy(self, node: Node) -> None:
        figure = self.figure("first copy into a table with three indexes", "rows/s", Goal("at least", 100_000))
        figure.reference = "PyMySQL reading the same rows and dropping them"
        figure.note = f"{self.rows:,} rows"
        for _ in range(max(1, self.rounds // 2)):
            figure.reference_rounds.append(self.rows / self._reading_s())
            node.start()
            node.wait_for(lambda: node.table_status(TABLE).get("copied", 0) > 0)
            first, began = int(node.table_status(TABLE)["copied"]), time.perf_counter()
            node.wait_for(lambda: node.table_status(TABLE)["state"] == "following", 600)
            figure.rounds.append((self.rows - first) / (time.perf_counter() - began))
            node.stop()
            shutil.rmtree(node.directory / "data")

    def _reading_s(self) -> float:
        own = connect(self.server.socket)
        started = time.perf_counter()
        with own.cursor(SSCursor) as cursor:
            cursor.execute(f"SELECT * FROM {TABLE}")
            while cursor.fetchmany(5_000):
                pass
        own.close()
        return time.perf_counter() - started

    @contextmanager
    def halted(self, node: Node) -> Iterator[None]:
        worker = node.worker()
        assert worker is not None
        processes = (node.live.process.pid, worker.pid)
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                os.kill(pid, signal.SIGCONT)

    def _drain(self, node: Node) -> None:
        events = min(300_000, self.rows // 2)
        figure = self.figure("outbox drained into a table with three indexes", "events/s", Goal("at least", 30_000))
        figure.note = f"{events:,} updates, every one of another row, each moving it in an index"
        writer = connect(self.server.socket)
        for number in range(self.rounds):
            low = 1 + number % 2 * (self.rows // 2)
            mark = 3_000_000_000 + number
            with self.halted(node):
                change_many(writer, low, low + events, mark)
            figure.rounds.append(events / visible_s(node, low + events - 1, mark))
            self._wait_until_empty(writer)
        writer.close()

    def _wait_until_empty(self, writer: Any) -> None:
        until = time.perf_counter() + 60
        while True:
            with writer.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM tcsql_outbox WHERE tab <> ''")
                [left] = cursor.fetchone()
            writer.commit()
            if not left:
                return
            assert time.perf_counter() < until, f"{left} rows stay in the outbox"
            time.sleep(0.05)

    @contextmanager
    def writers(self, *arguments: object) -> Iterator[dict[str, Any]]:
        """A process of ``follow_writers`` for the time of the block; what it found is in the dict afterwards."""
        command = [sys.executable, "-m", "benchmarks.follow_writers", self.server.socket, str(self.rows)]
        process = subprocess.Popen(
            [*command, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
        )
        found: dict[str, Any] = {}
        try:
            yield found
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 0, f"{arguments[0]} has failed"
            found.update(json.loads(output))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _latency(self, node: Node) -> None:
        half = self.figure("commit to visible at 500 transactions a second, doorbell, p50", "ms")
        most = self.figure("commit to visible at 500 transactions a second, doorbell, p99", "ms", Goal("at most", 20))
        rates = []
        samples = 0
        for _ in range(self.rounds):
            with self.writers("steady", TRANSACTIONS_PER_S, 1, TABLE) as written:
                time.sleep(0.5)
                with self.writers("probe", node.live.url, TABLE) as seen:
                    time.sleep(self.seconds)
            ordered = sorted(seen["latencies_ms"])
            samples += len(ordered)
            half.rounds.append(ordered[len(ordered) // 2])
            most.rounds.append(ordered[len(ordered) * 99 // 100])
            rates.append(written["transactions_per_s"])
        half.note = most.note = f"{median(rates):.0f} transactions/s were done; {samples} commits were watched"

    def _reads(self, node: Node) -> None:
        figure = self.figure(
            "list pages while 2,000 rows a second change", "requests/s", Goal("at least", 0.8, "ratio")
        )
        figure.reference = "the same changes in a table that is not followed"
        still = self.figure("the same beside a source in which nothing changes", "requests/s")
        still.reference = figure.reference
        self.fill(_ELSEWHERE)
        worker = node.worker()
        assert worker is not None
        assert self.server.process is not None
        pin(node.live.process.pid, SERVER)
        for pid in (worker.pid, self.server.process.pid):
            pin(pid, GENERATOR)
        query = f"/?command=select&table={TABLE}&where=uid:NUMEQ:"
        asked = get(query, Int(0, uid_values(self.rows) - 1), "&order_by=id&order_sort=NUMDESC&limit_max=10")
        port = node.live.address[1]
        rates = []

        def asking() -> float:
            return self._rate(wrk.run(port, asked, _CONNECTIONS, self.seconds, 2))

        def beside(table: str) -> float:
            steady = (_CHANGES_PER_S / _ROWS_OF_A_CHANGE, _ROWS_OF_A_CHANGE, table)
            with self.writers("steady", *steady) as written:
                rate = asking()
            rates.append(written["rows_per_s"])
            return rate

        kinds: list[Callable[[], None]] = [
            lambda: figure.rounds.append(beside(TABLE)),
            lambda: figure.reference_rounds.append(beside(_ELSEWHERE)),
            lambda: still.rounds.append(asking()),
        ]
        for number in range(self.rounds):
            for kind in kinds[number % 3 :] + kinds[: number % 3]:
                kind()
        still.reference_rounds = list(figure.reference_rounds)
        figure.note = f"{median(rates):.0f} rows/s changed, in transactions of {_ROWS_OF_A_CHANGE}"
        for pid in (node.live.process.pid, worker.pid, self.server.process.pid):
            pin(pid, BOTH)

    def fill(self, table: str) -> None:
        """The same rows in another table."""
        own = connect(self.server.socket)
        own.cursor().execute(DDL.replace(f"`{TABLE}`", f"`{table}`"))
        own.cursor().execute(f"INSERT INTO {table} SELECT * FROM {TABLE}")
        own.commit()
        own.close()

    @staticmethod
    def _rate(measured: wrk.Measured) -> float:
        assert not measured.is_void, measured
        return measured.per_s

    def _cost(self, node: Node) -> None:
        count = max(200, int(400 * self.seconds))
        figure = self._commits("the same with the doorbell, while TCSQL follows on the same machine")
        self._in_turns(figure, count)
        node.stop()
        node.options.pop("doorbell")
        node.write_config()
        node.setup()
        figure = self._commits("durable single-row commits with the outbox's triggers", Goal("at least", 0.8, "ratio"))
        figure.note = f"one connection, {count:,} commits a round; TCSQL is stopped"
        self._in_turns(figure, count)
        # told in the order in which they are read
        self.figures[-2:] = reversed(self.figures[-2:])
        node.start()
        node.wait_until_following(120)

    def _commits(self, name: str, goal: Goal | None = None) -> Figure:
        figure = self.figure(name, "commits/s", goal)
        figure.reference = "a table without triggers"
        return figure

    def _in_turns(self, figure: Figure, count: int) -> None:
        for number in range(self.rounds):
            order = (_NOTED, _PLAIN) if number % 2 else (_PLAIN, _NOTED)
            rates = {table: self._insert(table, count) for table in order}
            figure.rounds.append(rates[_NOTED])
            figure.reference_rounds.append(rates[_PLAIN])

    def _insert(self, table: str, count: int) -> float:
        """Commits a second of one connection, by the mariadb program, which costs less than a driver in Python."""
        statement = (
            f"INSERT INTO {table} (uid,dateline,idtype,title,hits) VALUES (7,1262304000,'blogid','a title',1);\n"
        )
        started = time.perf_counter()
        self.server.load(DATABASE, (statement * count).encode())
        return count / (time.perf_counter() - started)


if __name__ == "__main__":
    typer.run(main)
