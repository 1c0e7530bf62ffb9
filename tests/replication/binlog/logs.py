"""A database at a server with a binary log, and what our parser makes of what was written there since.

with Logged(server, "CREATE TABLE posts (…)") as at:
    at.query("INSERT INTO posts VALUES (1)")
    at.read().rows["posts"]          {(1,): {"id": 1}}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tcsql.engine.values import PKey
from tcsql.replication.binlog.events import events_of_file
from tcsql.replication.binlog.place import BEGINNING, Place
from tcsql.replication.binlog.stream import Commit, Item, Parser, Schema
from tcsql.replication.binlog.tables import Change, Expected, Misfit
from tcsql.replication.catalogue import read_tables, schema_of
from tests.mariadb import MariaDB

MARIADB_OPTIONS = ("--server-id=1", "--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-metadata=FULL")
MYSQL_OPTIONS = (
    *("--server-id=2", "--log-bin=binlog", "--binlog-row-metadata=FULL"),
    *("--gtid-mode=ON", "--enforce-gtid-consistency=ON"),
)
_NUMBERS = count(1)
Row = dict[str, Any]


def options_of(kind: type[MariaDB]) -> tuple[str, ...]:
    return MARIADB_OPTIONS if kind is MariaDB else MYSQL_OPTIONS


class Told:
    """All items of a stretch of log, and the rows that they end in."""

    def __init__(self, items: Iterable[Item], tables: Mapping[tuple[str, str], Expected]) -> None:
        self.items = list(items)
        self.rows: dict[str, dict[tuple[Any, ...], Row]] = {name: {} for _, name in tables}
        #: Of changes of each committed transaction.
        self.transactions: list[list[Change]] = []
        loose: list[Change] = []
        for item in self.items:
            if isinstance(item, Change):
                loose.append(item)
            elif isinstance(item, Commit):
                if item.is_whole:
                    for change in loose:
                        self._apply(change, tables[change.table].schema.names)
                    self.transactions.append(loose)
                loose = []
        assert not loose, "the log ends within a transaction"

    def _apply(self, change: Change, names: Sequence[str]) -> None:
        held = self.rows[change.table[1]]
        rows = [dict(zip(names, values, strict=True)) for values in zip(*change.rows.columns, strict=True)]
        # as the server did it: row after row, each away from its old key and then to its new one
        for place in range(len(change)):
            if change.verb != "insert":
                key = as_tuple(change.before[place])
                old = held.pop(key, None)
                assert old is not None or change.verb != "delete", f"{change.table} has no {key} to {change.verb}"
            if change.verb != "delete":
                held[as_tuple(change.rows.pkeys[place])] = rows[place]

    @property
    def misfits(self) -> list[str]:
        return [item.problem for item in self.items if isinstance(item, Misfit)]

    @property
    def statements(self) -> list[str]:
        return [item.text for item in self.items if isinstance(item, Schema)]


def as_tuple(key: PKey) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


class Logged:
    """A database of its own, and the log from its creation on."""

    def __init__(self, server: MariaDB, *tables: str, database: str = "") -> None:
        self.server = server
        self.database = database or f"logged{next(_NUMBERS)}"
        self._tables = tables
        self.is_mysql = type(server) is not MariaDB

    def __enter__(self) -> Self:
        self.connection = self.server.connect()
        self.query(f"CREATE DATABASE {self.database}")
        self.connection.select_db(self.database)
        self.query("SET SESSION sql_mode = '', time_zone = '+00:00'")
        for table in self._tables:
            self.query(table)
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.query(f"DROP DATABASE {self.database}")
        finally:
            self.connection.close()

    def query(self, sql: str, arguments: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, arguments)
            return list(cursor.fetchall())

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(sql, rows)

    def begin(self) -> None:
        """What is written from now on is what ``events`` gives: a new file of the log begins."""
        self.query("FLUSH BINARY LOGS")
        self.file = self._newest()

    def _newest(self) -> str:
        [row] = self.query("SHOW BINARY LOG STATUS" if self.is_mysql else "SHOW MASTER STATUS")
        return str(row[0])

    def data(self) -> bytes:
        """The file of the log as it is now."""
        return (Path(self.server.base) / "data" / self.file).read_bytes()

    def events(self) -> Iterator[bytes]:
        return events_of_file(self.data())

    def expected(
        self, *names: str, zone: str = "+00:00", whole_before: bool = False
    ) -> dict[tuple[str, str], Expected]:
        """Tables as the catalogue has them now; all of them unless named."""
        if not names:
            names = tuple(str(name) for (name,) in self.query("SHOW TABLES"))

        def ask(sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            return self.query(sql, arguments or None)

        found = read_tables(ask, self.database, names, "mysql" if self.is_mysql else "mariadb", sees_ids=False)
        expected = {}
        for name, table in found.items():
            assert table is not None
            expected[self.database, name] = Expected(table, schema_of(table), zone, whole_before)
        return expected

    def read(self, tables: dict[tuple[str, str], Expected] | None = None, place: Place = BEGINNING) -> Told:
        """All that the log tells since ``begin``."""
        tables = self.expected() if tables is None else tables
        return Told(items_of(self.events(), tables, place), tables)


def items_of(
    events: Iterable[bytes], tables: Mapping[tuple[str, str], Expected], place: Place = BEGINNING
) -> Iterator[Item]:
    parser = Parser(tables, place)
    for event in events:
        yield from parser.feed(event)
