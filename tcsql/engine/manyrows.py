"""A batch of updates and deletes, column by column: half the time of row by row, so that 5,000 rows stall nobody.

Rows are decoded a thousand at a time, before and after. Each index then drops the entries of what is gone, moves those
whose columns have changed, and takes in what is new; keys are sorted first, so that neighbours go together.

Cost: 2 us a row, and 1.5 us for each index whose key changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tcsql.engine.building import Index, add_entries, columns_of, discard_entries, gathered_for
from tcsql.engine.change import RowOp
from tcsql.engine.gather import Gathered, chunks
from tcsql.engine.index import OrderedIndex
from tcsql.engine.rows import Rows
from tcsql.engine.schema import TableSchema
from tcsql.engine.textindex import NOTE_ROWS, TextIndex
from tcsql.engine.values import PKey

#: An index, and which rows it covers; None: all of them.
Target = tuple[Index, Callable[[PKey], bool] | None]
Columns = list[Sequence[Any]]


def change_rows(
    schema: TableSchema, rows: Rows, primary: OrderedIndex, targets: Sequence[Target], ops: Sequence[RowOp]
) -> None:
    """Carry out row operations, of which each has another key."""
    gone = [op for op in ops if op.after is None]
    kept = [op for op in ops if op.before is not None and op.after is not None]
    new = [op for op in ops if op.before is None]
    indexes = [index for index, _ in targets]
    left = _taken(schema, indexes, [op.before for op in gone if op.before is not None])
    came = _taken(schema, indexes, [op.after for op in new if op.after is not None])
    was = _taken(schema, indexes, [op.before for op in kept if op.before is not None])
    now = _taken(schema, indexes, [op.after for op in kept if op.after is not None])
    left_keys, kept_keys = [op.pkey for op in gone], [op.pkey for op in kept]
    for index, covers in targets:
        _leave(index, *_covered(_columns(left, index), left_keys, covers))
        _move(index, _columns(was, index), _columns(now, index), kept_keys, covers)
        _enter(index, *_covered(_columns(came, index), came.pkeys, covers))
    discard_entries(primary, (), left_keys)
    add_entries(primary, (), came.pkeys)
    rows.change(gone, kept)
    rows.add_new(came.pkeys, [op.after for op in new if op.after is not None])


def _taken(schema: TableSchema, indexes: Iterable[Index], rows: list[bytes]) -> Gathered:
    gathered = gathered_for(schema, indexes)
    for chunk in chunks(rows):
        gathered.take(chunk)
    return gathered


def _columns(gathered: Gathered, index: Index) -> Columns:
    return [gathered.columns[column.name] for column in columns_of(index)]


def _at(columns: Columns, pkeys: Sequence[PKey], places: Sequence[int]) -> tuple[Columns, list[PKey]]:
    return [[values[place] for place in places] for values in columns], [pkeys[place] for place in places]


def _covered(
    columns: Columns, pkeys: Sequence[PKey], covers: Callable[[PKey], bool] | None
) -> tuple[Columns, Sequence[PKey]]:
    if covers is None:
        return columns, pkeys
    return _at(columns, pkeys, [place for place, pkey in enumerate(pkeys) if covers(pkey)])


def _is_noting(index: Index, pkeys: Sequence[PKey]) -> bool:
    """Whether a text index had better remember so many rows than enter them now."""
    return isinstance(index, TextIndex) and index.ready and len(pkeys) >= NOTE_ROWS


def _leave(index: Index, columns: Columns, pkeys: Sequence[PKey]) -> None:
    if isinstance(index, TextIndex) and _is_noting(index, pkeys):
        for text, pkey in zip(columns[0], pkeys, strict=True):
            index.note(text, None, pkey, exists=False)
    elif pkeys:
        discard_entries(index, columns, pkeys)


def _enter(index: Index, columns: Columns, pkeys: Sequence[PKey]) -> None:
    if pkeys:
        add_entries(index, columns, pkeys)


def _move(
    index: Index, old: Columns, new: Columns, pkeys: Sequence[PKey], covers: Callable[[PKey], bool] | None
) -> None:
    pairs = enumerate(zip(zip(*old, strict=True), zip(*new, strict=True), strict=True))
    changed = [place for place, (before, after) in pairs if before != after]
    if covers is not None:
        changed = [place for place in changed if covers(pkeys[place])]
    if not changed:
        return
    (old, moved), (new, _) = _at(old, pkeys, changed), _at(new, pkeys, changed)
    if isinstance(index, TextIndex):
        put = index.replace if not _is_noting(index, moved) else index.note_change
        for before, after, pkey in zip(old[0], new[0], moved, strict=True):
            put(before, after, pkey)
    else:
        discard_entries(index, old, moved)
        add_entries(index, new, moved)
