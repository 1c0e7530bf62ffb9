"""One table's rows of one shape: from the bytes of an event to stored values, by code made for the shape. Pure.

Made when a table map is first seen (0.5 ms), used for every event after it: maps are compared by their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

from tcsql.engine.schema import TableSchema
from tcsql.engine.values import ColumnType, PKey
from tcsql.replication.binlog import partial
from tcsql.replication.binlog.compiled import Row, RowCode
from tcsql.replication.binlog.faults import broken, unsuited
from tcsql.replication.binlog.fitting import misfit
from tcsql.replication.binlog.slots import Slot, slot_of
from tcsql.replication.binlog.tablemap import TableMap
from tcsql.replication.binlog.temporal import zone_of
from tcsql.replication.binlog.values import ColumnReader, column_reader
from tcsql.replication.catalogue import CatalogueTable
from tcsql.replication.mapping import pkeys_of_rows
from tcsql.replication.source import Rows

Verb = Literal["insert", "update", "delete"]
#: Rows that become values at once: a 200,000-row event is only as many rows at a time as objects.
_ROWS_AT_ONCE: Final = 20_000


@dataclass(frozen=True)
class Expected:
    """A table to follow. ``schema``: as it is kept here, its columns some of the table's; ``zone``: for TIMESTAMPs.

    ``whole_before``: rows before a change come with all columns that are kept, not with their key alone.
    """

    table: CatalogueTable
    schema: TableSchema
    zone: str = "+00:00"
    whole_before: bool = False

    def type_of(self, name: str) -> ColumnType | None:
        """The type of a column that is kept, else None."""
        column = self.schema.by_name.get(name)
        return None if column is None else column.type


@dataclass(frozen=True, slots=True)
class Change:
    """Rows of one statement or a part of them. ``rows``: as they are after it, none for ``delete``.

    ``before``: the keys that they had, in the same order, none for ``insert``; ``old``: the rows as they were, where
    that was asked for. ``size``: bytes of the event, for those who count what they keep.
    """

    table: tuple[str, str]
    verb: Verb
    rows: Rows
    before: Sequence[PKey]
    old: Rows | None
    size: int

    def __len__(self) -> int:
        return len(self.before) if self.verb == "delete" else len(self.rows)


class Misfit(NamedTuple):
    """Rows of a followed table that is another now than the one that is known: ``problem`` says in what."""

    table: tuple[str, str]
    problem: str


class _Image:
    """One side of a change: which columns of it are wanted, and what reads them."""

    def __init__(self, found: TableMap, expected: Expected, names: Sequence[str]) -> None:
        zone = zone_of(expected.zone)
        wanted = set(names)
        self.slots: list[Slot] = []
        self.readers: list[ColumnReader] = []
        #: Places in the table of the columns that are read.
        self.places: list[int] = []
        for place, (column, known) in enumerate(zip(found.columns, expected.table.columns, strict=True)):
            kind = expected.type_of(known.name)
            scale = kind.scale if kind is not None else _digits_of(known.column_type)
            slot = slot_of(column, scale)
            if kind is None or known.name not in wanted:
                self.slots.append(slot._replace(wanted=False))
                continue
            self.slots.append(slot)
            self.places.append(place)
            self.readers.append(column_reader(column, known, kind, zone))
        kept = [expected.table.columns[place].name for place in self.places]
        self.schema = expected.schema.with_(columns=tuple(expected.schema.by_name[name] for name in kept), indexes=())

    def rows(self, columns: Sequence[Sequence[Any]]) -> Rows:
        values = [read(column) for read, column in zip(self.readers, columns, strict=True)]
        return Rows(pkeys_of_rows(self.schema, values), values)


def _digits_of(column_type: str) -> int:
    """Digits of a fraction, of a column that is not kept."""
    head, _, tail = column_type.partition("(")
    digits = tail.partition(")")[0]
    return int(digits) if head.lower() in ("datetime", "timestamp", "time") and digits.isdigit() else 0


class TableCode:
    """Reads the rows of a table as one table map describes it. ``problem``: why it cannot, in words."""

    def __init__(self, found: TableMap, expected: Expected) -> None:
        self.name = (found.database, found.name)
        self.columns = len(found.columns)
        self.problem = misfit(found, expected.table, expected.type_of)
        self._found = found
        self._expected = expected

    @cached_property
    def _after(self) -> _Image:
        return _Image(self._found, self._expected, self._expected.schema.names)

    @cached_property
    def _before(self) -> _Image:
        names = self._expected.schema.names if self._expected.whole_before else self._expected.schema.primary_key
        return _Image(self._found, self._expected, names)

    @cached_property
    def _codes(self) -> dict[Verb, RowCode]:
        before, after = self._before.slots, self._after.slots
        return {"insert": RowCode([after]), "update": RowCode([before, after]), "delete": RowCode([before])}

    def changes(self, verb: Verb, data: bytes, at: int, is_partial: bool) -> list[Change]:
        """The rows that begin at ``at``, to the end of ``data``; raises BinlogFault, SourceFault."""
        rows: list[Row] = []
        if is_partial:
            partial.read_rows(data, at, self._found, (self._before.slots, self._after.slots), rows)
        else:
            self._codes[verb].read(data, rows, at)
        if not rows:
            raise broken("an event has no rows")
        size = len(data)
        return [
            self._change(verb, rows[first : first + _ROWS_AT_ONCE], size)
            for first in range(0, len(rows), _ROWS_AT_ONCE)
        ]

    def _change(self, verb: Verb, rows: Sequence[Row], size: int) -> Change:
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        split = 0 if verb == "insert" else len(self._before.places)
        old = self._before.rows(columns[:split]) if split else None
        after = Rows() if verb == "delete" else self._after.rows(columns[split:])
        before = old.pkeys if old is not None else ()
        return Change(self.name, verb, after, before, old if self._expected.whole_before else None, size)


def require_whole(bitmap: bytes, count: int, table: tuple[str, str]) -> None:
    """Raises BinlogFault unless an image has all columns."""
    if int.from_bytes(bitmap, "little") & (1 << count) - 1 != (1 << count) - 1:
        raise unsuited(
            f"rows of {table[0]}.{table[1]} come without some of their columns",
            "run there: SET GLOBAL binlog_row_image = 'FULL'",
        )
