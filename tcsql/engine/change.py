"""A change is a value: what every writer (HTTP, SQL, loader, follower, recovery) hands to the one write door.

``check`` turns changes into a Batch: full rows settled, before-images kept, every refusal made. A batch is
plain data, so it can be applied, reverted, made durable, logged and sent elsewhere without asking anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tcsql.engine.query import Filter
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import JsonValue, PKey

Row = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Upsert:
    """Whole rows, each replacing the one with the same primary key. ``trusted``: MySQL's values, never refused."""

    table: str
    rows: Sequence[Row]
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """Merge ``values`` into every row that matches."""

    table: str
    where: Filter
    values: Row


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove every row that matches; ``Filter()`` removes all of them one by one (Truncate is cheaper)."""

    table: str
    where: Filter


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
    table: str
    index: str
    if_exists: bool = False


SchemaChange = (
    CreateTable | DropTable | RenameTable | Truncate | AddColumn | DropColumn | RenameColumn | CreateIndex | DropIndex
)
RowChange = Upsert | Update | Delete | DeleteKeys
Change = RowChange | SchemaChange


class RowOp(NamedTuple):
    """One row before and after: None before = inserted, None after = deleted. JSON bytes, ready to send.

    A named tuple: half as expensive to make as a frozen dataclass, and a bulk load makes one for each row.
    """

    pkey: PKey
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class RowsBatch:
    """Row operations on one table, each primary key at most once."""

    table_id: int
    ops: list[RowOp]


@dataclass(frozen=True, slots=True)
class SchemaBatch:
    """A schema change of one table: its schema before (None: created) and after (None: dropped).

    ``removes_rows``: TRUNCATE, or a drop. Renames keep the table's id, so nothing on disk moves.
    """

    table_id: int
    before: TableSchema | None
    after: TableSchema | None
    removes_rows: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What a request did, for its reply: rows inserted, replaced, updated, deleted; the last generated key."""

    inserted: int = 0
    replaced: int = 0
    updated: int = 0
    deleted: int = 0
    last_insert_id: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything one request changes, all or nothing, in the order of application."""

    parts: tuple[RowsBatch | SchemaBatch, ...]
    tally: Tally = field(default_factory=Tally)
    #: AUTO_INCREMENT counters that the batch moves, by table id: durable with it, so that no key is given twice.
    auto_increment: dict[int, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not self.parts and not self.auto_increment
