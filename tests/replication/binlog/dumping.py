"""A log that is read from a server as it is written, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tcsql.replication.binlog.dump import Dump
from tcsql.replication.binlog.place import Place, place_of
from tcsql.replication.binlog.stream import Beat, Commit, Item, Parser
from tcsql.replication.binlog.tables import Expected
from tcsql.replication.connection import connect
from tcsql.sources import FollowedTable, SourceSettings
from tests.replication.binlog.logs import Logged

SERVER_ID = 4711
PATIENCE_S = 20.0


def settings_of(at: Logged, user: str = "root") -> SourceSettings:
    return SourceSettings(
        name="shop", url=f"mysql://{user}@localhost/{at.database}?unix_socket={at.server.socket}",
        tables=(FollowedTable(name="t"),),
    )  # fmt: skip


def here(at: Logged) -> Place:
    """Where the log is now."""
    [row] = at.query("SHOW BINARY LOG STATUS" if at.is_mysql else "SHOW MASTER STATUS")
    [(gtids,)] = at.query("SELECT @@GLOBAL.gtid_executed" if at.is_mysql else "SELECT @@GLOBAL.gtid_binlog_pos")
    return Place(str(row[0]), int(row[1]), "".join(gtids.split()))


class Reading:
    """A connection that reads, from a place on; ``place`` after it is where the next one goes on."""

    def __init__(
        self, at: Logged, place: Place, tables: dict[tuple[str, str], Expected], beat_s: float = 1.0, user: str = "root"
    ) -> None:
        self.connection = connect(settings_of(at, user))
        try:
            self.dump = Dump(self.connection, place, SERVER_ID, beat_s)
        except BaseException:
            self.connection.close()
            raise
        self.parser = Parser(tables, place, has_checksums=self.dump.has_checksums)
        self.items: list[Item] = []
        #: So many are read, the rest is dropped.
        self.most_events = 1 << 30

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    @property
    def place(self) -> Place:
        return place_of(self.parser.place.encoded())

    def read(self) -> None:
        """What comes within a moment."""
        for event in self.dump.events(0.05):
            if self.most_events == 0:
                return
            self.most_events -= 1
            self.items += self.parser.feed(event)

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, f"never came: {self.items[-3:]}"
            self.read()

    def commits(self, count: int) -> None:
        """Read until so many transactions have ended."""
        self.until(lambda: sum(isinstance(item, Commit) for item in self.items) >= count)

    def beats(self, count: int) -> None:
        self.until(lambda: sum(isinstance(item, Beat) for item in self.items) >= count)
