"""A source without a server: tables in memory, states numbered, every fault on request. Speaks the follower's language.

``commit`` changes rows and notes their keys, as triggers do; ``step`` answers as an outbox would. It keeps what was not
acknowledged, so a follower that forgets to acknowledge, or acknowledges too early, shows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tcsql.engine.schema import TableSchema
from tcsql.engine.values import PKey
from tcsql.errors import SourceAway, TCSQLError
from tcsql.replication.source import (
    Identity,
    KeysRead,
    RangeRead,
    ReadKeys,
    ReadRange,
    Rows,
    Step,
    TableChange,
    TableState,
)
from tcsql.sql import changes_of

Values = dict[str, Any]


def schema_of(sql: str) -> TableSchema:
    """The schema of a CREATE TABLE."""
    (change,) = changes_of(sql, lambda name: None)
    return change.schema  # type: ignore[union-attr,no-any-return]  # a CREATE TABLE makes a CreateTable


@dataclass
class FakeServer:
    """What the source's server holds. ``noted``: keys that triggers have noted, in order, with their numbers."""

    schemas: dict[str, TableSchema]
    identity: str = "server-1"
    started_s: float = 0.0
    rows: dict[str, dict[PKey, Values]] = field(default_factory=dict)
    incarnation: str = "1"
    needs: int = 0
    problem: dict[str, str] = field(default_factory=dict)
    noted: dict[int, tuple[str, PKey]] = field(default_factory=dict)
    last: int = 0
    #: Raised by the next calls, first first.
    faults: list[TCSQLError] = field(default_factory=list)
    most_events: int = 50_000
    taken: int = 0
    looked: int = 0
    #: Tables that the next step calls unsure, and what happens at the source before a stretch is read.
    unsure: list[str] = field(default_factory=list)
    on_read: Callable[[ReadRange | ReadKeys], None] = lambda read: None

    def __post_init__(self) -> None:
        for name in self.schemas:
            self.rows.setdefault(name, {})

    def commit(self, table: str, puts: Iterable[Values] = (), deletes: Iterable[PKey] = ()) -> None:
        """One transaction at the source."""
        schema = self.schemas[table]
        for row in puts:
            full = {name: row.get(name) for name in schema.names}
            self._note(table, schema.pkey_of(full))
            self.rows[table][schema.pkey_of(full)] = full
        for pkey in deletes:
            self._note(table, pkey)
            self.rows[table].pop(pkey, None)

    def _note(self, table: str, pkey: PKey) -> None:
        self.last += 1
        self.noted[self.last] = (table, pkey)

    def rows_of(self, table: str, pkeys: Iterable[PKey]) -> Rows:
        """The rows that exist among these keys."""
        found = [(pkey, self.rows[table][pkey]) for pkey in pkeys if pkey in self.rows[table]]
        names = self.schemas[table].names
        return Rows([pkey for pkey, _ in found], [[row[name] for _, row in found] for name in names])


class FakeSource:
    """One connection to a ``FakeServer``."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.closed = False
        self._followed: set[str] = set()

    def _maybe_fail(self) -> None:
        if self.server.faults:
            raise self.server.faults.pop(0)

    async def open(self, position: bytes) -> Identity:
        self._maybe_fail()
        return Identity(self.server.identity, "mariadb", "10.11", self.server.started_s)

    async def tables(self) -> Sequence[TableState]:
        server = self.server
        server.looked += 1
        return [
            TableState(
                name, schema, str(hash(schema.columns)), server.incarnation, len(server.rows[name]), 0,
                server.problem.get(name), "mend it" if name in server.problem else None, server.needs,
            )
            for name, schema in server.schemas.items()
        ]  # fmt: skip

    async def follow(self, tables: Sequence[str]) -> None:
        self._followed = set(tables)

    async def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        server = self.server
        self._maybe_fail()
        for number in map(int, acknowledged.split()):
            del server.noted[number]
        if not server.noted and read is None:
            await asyncio.sleep(min(wait_s, 0.002))
        await asyncio.sleep(0)
        seen = dict(list(server.noted.items())[: server.most_events])
        complete = len(seen) == len(server.noted)
        keys: dict[str, dict[PKey, None]] = {}
        for table, pkey in seen.values():
            if table in self._followed:
                keys.setdefault(table, {})[pkey] = None
        changes = {
            table: TableChange(server.rows_of(table, found), [key for key in found if key not in server.rows[table]])
            for table, found in keys.items()
        }
        answer = self._read(read) if complete and read is not None else None
        now = time.time()
        server.taken += 1
        token = " ".join(map(str, seen)).encode()
        unsure, server.unsure = server.unsure, []
        return Step(changes, answer, len(seen), token, complete, b"", now, now, time.monotonic(), unsure)

    def _read(self, read: ReadRange | ReadKeys) -> RangeRead | KeysRead:
        self.server.on_read(read)
        rows = self.server.rows[read.table]
        if isinstance(read, ReadKeys):
            missing = [pkey for pkey in read.pkeys if pkey not in rows]
            return KeysRead(read.table, self.server.rows_of(read.table, read.pkeys), missing)
        # The order of keys at a source need not be ours: here it is that of their text.
        keys = sorted(rows, key=str)
        keys = [key for key in keys if read.after is None or str(key) > read.after]
        chosen = keys[: read.limit]
        last = str(chosen[-1]) if len(chosen) == read.limit else None
        return RangeRead(read.table, self.server.rows_of(read.table, chosen), last)

    def hint(self, table: str, keys: Sequence[str], lost: int = 0) -> None:
        """Nobody pushes here."""
        raise SourceAway("no hints")

    async def close(self) -> None:
        self.closed = True
