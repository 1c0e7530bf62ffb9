"""How fast the binary log is read: ours, and mysql-replication, in the same rounds.

    python -m benchmarks.binlog [rounds]          needs mysql-replication: pip install mysql-replication==1.0.17

A private MariaDB writes one transaction of 200,000 rows and 5,000 of one row, of a table of posts with four columns.
Ours is the parser alone, over the bytes of the log, with checksums, to columns of values with their keys; theirs reads
the same log from the server, which sends more than it can take, with a dictionary for each row.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

from tcsql.replication.binlog.gather import Gathering
from tcsql.replication.binlog.stream import Commit, Parser
from tcsql.replication.binlog.tables import Change, Expected
from tests.mariadb import MariaDB
from tests.replication.binlog.logs import MARIADB_OPTIONS, Logged

POSTS = """CREATE TABLE posts (id BIGINT PRIMARY KEY, uid INT UNSIGNED NOT NULL, title VARCHAR(100),
  created DATETIME NOT NULL)"""
#: Eight columns, as the figures of the outbox have it.
WIDE = """CREATE TABLE wide (id BIGINT PRIMARY KEY, uid INT UNSIGNED NOT NULL, title VARCHAR(100), body TEXT,
  price DECIMAL(10,2), created DATETIME NOT NULL, changed TIMESTAMP NULL, kind ENUM('a','b','c'))"""
ROWS = 200_000
TRANSACTIONS = 5_000
Tables = dict[tuple[str, str], Expected]


def ours(events: list[bytes], tables: Tables, gathers: bool) -> tuple[int, int]:
    """Rows and transactions read."""
    parser = Parser(tables)
    gathering = Gathering()
    rows = transactions = 0
    for event in events:
        for item in parser.feed(event):
            if isinstance(item, Change):
                rows += len(item)
                if gathers:
                    gathering.add(item)
            elif isinstance(item, Commit):
                transactions += 1
                gathering.commit()
    gathering.take()
    return rows, transactions


def theirs(server: MariaDB, file: str, database: str) -> tuple[int, int]:
    """The same by mysql-replication, over the server's socket."""
    from pymysqlreplication import BinLogStreamReader  # noqa: PLC0415  # only where it is measured
    from pymysqlreplication.event import XidEvent  # noqa: PLC0415  # the same
    from pymysqlreplication.row_event import RowsEvent  # noqa: PLC0415  # the same

    settings: dict[str, Any] = {"unix_socket": server.socket, "user": "root", "password": ""}
    stream = BinLogStreamReader(
        connection_settings=settings, server_id=77, log_file=file, log_pos=4, resume_stream=True, blocking=False,
        only_schemas=[database],
    )  # fmt: skip
    rows = transactions = 0
    for event in stream:
        if isinstance(event, RowsEvent):
            rows += len(event.rows)
        elif isinstance(event, XidEvent):
            transactions += 1
    stream.close()
    return rows, transactions


def timed(run: Callable[[], tuple[int, int]], expected: tuple[int, int]) -> float:
    gc.collect()
    began = perf_counter()
    found = run()
    took = perf_counter() - began
    assert found == expected, f"{found} read, {expected} written"
    return took


def fill(at: Logged, table: str, count: int, transactions: int) -> None:
    extra = "" if table == "posts" else ",CONCAT('the body of ',seq,REPEAT('x',80)),seq%1000/8,"
    created = "'2020-01-01' + INTERVAL seq*7 SECOND"
    tail = f",{created}" if table == "posts" else f"{extra}{created},{created},1+seq%3"
    insert = f"INSERT INTO {table} SELECT seq,seq%10007,CONCAT('the title of post ',seq){tail} FROM "
    if count:
        at.query(f"{insert} seq_1_to_{count}")
    for number in range(1, transactions + 1):
        at.query(f"{insert} seq_{number}_to_{number}")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with MariaDB(*MARIADB_OPTIONS) as server, Logged(server, POSTS, WIDE) as at:
        tables = at.expected()
        for table, count, transactions in (("posts", ROWS, 0), ("posts", 0, TRANSACTIONS), ("wide", ROWS // 2, 0)):
            at.query(f"TRUNCATE {table}")
            at.begin()
            fill(at, table, count, transactions)
            events = list(at.events())
            expected = (count or transactions, transactions or 1)
            runs: dict[str, Callable[[], tuple[int, int]]] = {
                "ours": partial(ours, events, tables, gathers=False),
                "ours, as a step": partial(ours, events, tables, gathers=True),
                "mysql-replication": partial(theirs, server, at.file, at.database),
            }
            times: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(rounds):
                for name, run in runs.items():
                    times[name].append(timed(run, expected))
            unit = "one-row transactions/s" if transactions else "rows/s"
            columns = len(tables[at.database, table].table.columns)
            for name, found in times.items():
                ratio = median(their / our for their, our in zip(times["mysql-replication"], found, strict=True))
                rate = max(expected) / median(found)
                print(f"{columns} columns  {name:20} {rate:10,.0f} {unit:24} {ratio:5.1f} times theirs")


if __name__ == "__main__":
    main()
