"""What a snapshot gave, without the keys that the log tells more of than the snapshot may hold. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping

from tcsql.engine.values import PKey
from tcsql.replication.source import KeysRead, RangeRead, Rows, TableChange


def read_without(read: RangeRead | KeysRead | None, late: Mapping[str, Container[PKey]]) -> RangeRead | KeysRead | None:
    """What was read; ``late``: by table, keys whose last image came by the log."""
    behind = None if read is None else late.get(read.table)
    if read is None or not behind:
        return read
    rows = _kept(read.rows, behind)
    if isinstance(read, RangeRead):
        return RangeRead(read.table, rows, read.last)
    return KeysRead(read.table, rows, [key for key in read.missing if key not in behind])


def change_without(change: TableChange, behind: Container[PKey]) -> TableChange:
    """Rows that were read again, without some keys."""
    if not behind:
        return change
    return TableChange(_kept(change.rows, behind), [key for key in change.gone if key not in behind])


def _kept(rows: Rows, behind: Container[PKey]) -> Rows:
    places = [place for place, key in enumerate(rows.pkeys) if key not in behind]
    return Rows([rows.pkeys[at] for at in places], [[column[at] for at in places] for column in rows.columns])
