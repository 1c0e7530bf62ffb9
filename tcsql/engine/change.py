"""A change is a value: what every writer (HTTP, SQL, loader, follower, recovery) hands to the one write door.

``check`` turns changes into a Batch: full rows settled, before-images kept, every refusal made. A batch is
plain data, so it can be applied, reverted, made durable, logged and sent elsewhere without asking anything.

``within`` of a row change: all rows that it reads, makes, replaces, changes or removes must meet that filter, else
``check`` refuses the change with RowForbidden; None costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from types import MappingProxyType
from typing import Final, NamedTuple, overload

from tcsql.engine.query import Filter
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import JsonValue, PKey

Row = dict[str, JsonValue]
_NO_COUNTERS: Final[Mapping[int, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Upsert:
    """Whole rows, each replacing the one with the same primary key. ``trusted``: MySQL's values, never refused."""

    table: str
    rows: Sequence[Row]
    trusted: bool = False
    within: Filter | None = None


@dataclass(frozen=True, slots=True)
class PutRows:
    """Whole rows as columns of stored values, in the order of the schema: what a follower has read, not to be checked.

    ``pkeys``: their keys as the engine holds them. A row equal to the one that is there is no change. A third of the
    cost of the same ``Upsert``.
    """

    table: str
    pkeys: Sequence[PKey]
    columns: Sequence[Sequence[JsonValue]]


@dataclass(frozen=True, slots=True)
class Update:
    """Merge ``values`` into every row that matches. ``budget_rows``: what the search may examine, if not as usual."""

    table: str
    where: Filter
    values: Row
    within: Filter | None = None
    budget_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove every row that matches; ``Filter()`` removes all of them one by one (Truncate is cheaper)."""

    table: str
    where: Filter
    within: Filter | None = None
    budget_rows: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteKeys:
    """Remove rows by primary key, those that exist: what a follower says. Keys as the engine holds them."""

    table: str
    keys: Sequence[PKey]


@dataclass(frozen=True, slots=True)
class CreateTable:
    schema: TableSchema
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class DropTable:
    table: str
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class RenameTable:
    table: str
    to: str


@dataclass(frozen=True, slots=True)
class Truncate:
    table: str


@dataclass(frozen=True, slots=True)
class AddColumn:
    """``after``: name of the column to stand behind, "" for the first place, None for the end."""

    table: str
    column: Column
    after: str | None = None
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class DropColumn:
    table: str
    column: str
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class RenameColumn:
    table: str
    column: str
    to: str


@dataclass(frozen=True, slots=True)
class CreateIndex:
    table: str
    index: IndexDef
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class DropIndex:
    """``may_return``: an automatic index may be made again; else its drop forbids it."""

    table: str
    index: str
    if_exists: bool = False
    may_return: bool = False


@dataclass(frozen=True, slots=True)
class RenameIndex:
    """Makes an automatic index a declared one."""

    table: str
    index: str
    to: str


@dataclass(frozen=True, slots=True)
class AllowIndex:
    """An automatic index that was forbidden may be made again."""

    table: str
    index: str


IndexChange = CreateIndex | DropIndex | RenameIndex | AllowIndex
SchemaChange = CreateTable | DropTable | RenameTable | Truncate | AddColumn | DropColumn | RenameColumn | IndexChange
RowChange = Upsert | PutRows | Update | Delete | DeleteKeys
Change = RowChange | SchemaChange


def budget_of(change: RowChange, most: int) -> int:
    """The rows that the search of a change may examine, ``most`` at most."""
    own = change.budget_rows if isinstance(change, (Update, Delete)) else None
    return most if own is None else min(own, most)


class RowOp(NamedTuple):
    """One row before and after: None before = inserted, None after = deleted. JSON bytes, ready to send.

    A named tuple, as all that a batch consists of: half as expensive to make as a frozen dataclass, and a load makes
    one for each row.
    """

    pkey: PKey
    before: bytes | None
    after: bytes | None


class NewRows(Sequence[RowOp]):
    """Inserts of many rows whose keys are new, as columns: 0.5 us a row less than as many operations.

    ``values``: what each column holds, by name, when whoever made the rows has it at hand; spares decoding them to
    enter them into indexes. Given up by the table that has taken them.
    """

    __slots__ = ("pkeys", "rows", "values")
    __hash__ = None  # type: ignore[assignment]  # as a list

    def __init__(
        self, pkeys: Sequence[PKey], rows: Sequence[bytes], values: Mapping[str, Sequence[JsonValue]] | None = None
    ) -> None:
        self.pkeys = pkeys
        self.rows = rows
        self.values = values

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[RowOp]:
        return map(RowOp, self.pkeys, repeat(None), self.rows)

    @overload
    def __getitem__(self, at: int) -> RowOp: ...
    @overload
    def __getitem__(self, at: slice) -> NewRows: ...
    def __getitem__(self, at: int | slice) -> RowOp | NewRows:
        """One operation, or the rows of a slice with their values."""
        if isinstance(at, int):
            return RowOp(self.pkeys[at], None, self.rows[at])
        values = None if self.values is None else {name: column[at] for name, column in self.values.items()}
        return NewRows(self.pkeys[at], self.rows[at], values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


class RowsBatch(NamedTuple):
    """Row operations on one table, each primary key at most once.

    ``row``: the row after of the only operation, when whoever made it has it at hand; spares decoding it again.
    """

    table_id: int
    ops: Sequence[RowOp]
    row: Row | None = None


@dataclass(frozen=True, slots=True)
class SchemaBatch:
    """A schema change of one table: its schema before (None: created) and after (None: dropped).

    ``removes_rows``: TRUNCATE, or a drop. Renames keep the table's id, so nothing on disk moves.
    """

    table_id: int
    before: TableSchema | None
    after: TableSchema | None
    removes_rows: bool = False


class Tally(NamedTuple):
    """What a request did, for its reply: rows inserted, replaced, updated, deleted; the last generated key."""

    inserted: int = 0
    replaced: int = 0
    updated: int = 0
    deleted: int = 0
    last_insert_id: int | None = None

    @staticmethod
    def sum(tallies: Sequence[Tally]) -> Tally:
        """All of them together; the last generated key of any."""
        generated = [tally.last_insert_id for tally in tallies if tally.last_insert_id is not None]
        counts = (sum(each) for each in zip(*(tally[:4] for tally in tallies), strict=True))
        return Tally(*counts)._replace(last_insert_id=generated[-1] if generated else None)


class Batch(NamedTuple):
    """Everything one request changes, all or nothing, in the order of application."""

    parts: tuple[RowsBatch | SchemaBatch, ...]
    tally: Tally = Tally()
    #: AUTO_INCREMENT counters that the batch moves, by table id: durable with it, so that no key is given twice.
    auto_increment: Mapping[int, int] = _NO_COUNTERS

    @property
    def is_empty(self) -> bool:
        return not self.parts and not self.auto_increment
