"""Steps become changes for the write door. Pure.

Rows of a step that fits into one batch are applied at once: readers see one state of the source, then the next. A step
above ``ATOMIC_ROWS`` is a backlog; it is applied in pieces, because one batch of that size would stall readers. So are
the rows of a copy, which nobody has seen before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tcsql.engine.change import DeleteKeys, PutRows, Row, RowChange
from tcsql.engine.schema import TableSchema
from tcsql.engine.values import PKey
from tcsql.replication.source import Rows, TableChange

#: Rows of one batch: about 10 us a row and index, so 50 ms with a few indexes.
ATOMIC_ROWS: Final = 5_000
#: Rows of a piece: readers wait 10 ms for it.
PIECE_ROWS: Final = 1_000


def row_dicts(schema: TableSchema, rows: Rows) -> list[Row]:
    """Rows by column name. 0.3 us a row of eight columns."""
    names = schema.names
    return [dict(zip(names, values, strict=True)) for values in zip(*rows.columns, strict=True)]


def puts(schema: TableSchema, rows: Rows, most_rows: int = PIECE_ROWS) -> list[RowChange]:
    """Rows as the source has them, in pieces; those that are here already are no change."""
    pieces = (_slice(rows, at, at + most_rows) for at in range(0, len(rows), most_rows))
    return [PutRows(schema.name, piece.pkeys, piece.columns) for piece in pieces]


def deletes(schema: TableSchema, pkeys: Sequence[PKey], most_rows: int = PIECE_ROWS) -> list[RowChange]:
    """Keys that have no row at the source, in pieces."""
    return [DeleteKeys(schema.name, pkeys[at : at + most_rows]) for at in range(0, len(pkeys), most_rows)]


def batches(changes: Mapping[str, TableChange], schemas: Mapping[str, TableSchema]) -> list[list[RowChange]]:
    """All changes of a step: one batch when they fit into one, else pieces in any order."""
    total = sum(len(change.rows) + len(change.gone) for change in changes.values())
    most_rows = ATOMIC_ROWS if total <= ATOMIC_ROWS else PIECE_ROWS
    pieces: list[RowChange] = []
    for name, change in changes.items():
        pieces += deletes(schemas[name], change.gone, most_rows)
        pieces += puts(schemas[name], change.rows, most_rows)
    if total <= ATOMIC_ROWS:
        return [pieces] if pieces else []
    return [[piece] for piece in pieces]


def _slice(rows: Rows, start: int, stop: int) -> Rows:
    return Rows(rows.pkeys[start:stop], [column[start:stop] for column in rows.columns])
