"""An outbox source in this process, over a database of its own, for tests of what one poll does.

with shop(server, "CREATE TABLE posts (…)") as at:
    at.write("INSERT INTO posts VALUES (1)")
    at.step().changes["posts"].rows.pkeys         [1]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from tcsql.engine.values import PKey
from tcsql.replication.connection import Connection, connect
from tcsql.replication.outbox import OutboxSource
from tcsql.replication.session import Woken
from tcsql.replication.source import RangeRead, ReadKeys, ReadRange, Rows, Step, TableState
from tcsql.sources import FollowedTable
from tests.mariadb import MariaDB
from tests.replication.at_source import AtSource

_NUMBERS = count(1)


class Shop(AtSource):
    """A database with followed tables that are set up, and a source that is open."""

    def __init__(self, server: MariaDB, database: str, **options: Any) -> None:
        super().__init__(server, database, **{"heartbeat_ms": 600_000, **options})
        self.source = OutboxSource(self.settings, None, self.wait)
        self.pauses: list[float] = []
        self.token = b""

    def wait(self, seconds: float) -> Woken:
        """Time passes without being waited for."""
        self.pauses.append(seconds)
        return Woken.CALLED if len(self.pauses) % 3 == 0 else Woken.NOT

    def start(self) -> list[TableState]:
        """Open the source and follow whatever can be."""
        self.source.open(b"")
        states = list(self.source.tables())
        self.source.follow([state.name for state in states if state.problem is None])
        return states

    def step(self, read: ReadRange | ReadKeys | None = None, acknowledge: bool = True) -> Step:
        """The next step, after the last one was applied (unless told otherwise)."""
        step = self.source.step(0.0, self.token if acknowledge else b"", read)
        self.token = step.token
        return step

    def copied(self, table: str, limit: int = 2) -> dict[PKey, dict[str, Any]]:
        """All rows, stretch by stretch."""
        found: dict[PKey, dict[str, Any]] = {}
        after: str | None = None
        while True:
            read = self.step(ReadRange(table, after, limit)).read
            assert isinstance(read, RangeRead)
            more = self.rows(table, read.rows)
            assert not more.keys() & found.keys()
            found |= more
            after = read.last
            if after is None:
                return found

    def rows(self, table: str, rows: Rows) -> dict[PKey, dict[str, Any]]:
        """Rows by their primary key."""
        names = self.source.readers[table].schema.names
        assert len(set(rows.pkeys)) == len(rows.pkeys)
        values = [dict(zip(names, row, strict=True)) for row in zip(*rows.columns, strict=True)]
        return dict(zip(rows.pkeys, values, strict=True))

    def write(self, *statements: str) -> None:
        """Each in a transaction of its own."""
        for statement in statements:
            self.connection.query(statement)

    def another(self) -> Connection:
        """One more session; closed with its block."""
        return connect(self.settings)

    def noted_seqs(self) -> list[int]:
        return [row[0] for row in self.query("SELECT seq FROM tcsql_outbox WHERE op <> 'H' ORDER BY seq")]


@contextmanager
def shop(server: MariaDB, *tables: str, follow: tuple[FollowedTable, ...] = (), **options: Any) -> Iterator[Shop]:
    """A database with these tables, all of them followed; ``follow``: or these in this way."""
    names = tuple(FollowedTable(name=sql.split()[2].strip("`(")) for sql in tables)
    database = f"shop{next(_NUMBERS)}"
    with server.connect() as connection:
        connection.cursor().execute(f"CREATE DATABASE {database}")
    at = Shop(server, database, tables=follow or names, **options)
    try:
        at.write(*tables)
        at.set_up()
        at.start()
        yield at
    finally:
        at.source.close()
        at.close()
        with server.connect() as connection:  # a new one: the test may have killed the server
            connection.cursor().execute(f"DROP DATABASE {database}")
