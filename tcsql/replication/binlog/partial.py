"""Rows of MySQL's partial updates: of JSON columns only what has changed is in the image after. Pure.

Rows are read one by one, column by column: 10 us a row. The image before has the values whole, changes are done on
them as the server does (``jsontext``).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, error
from typing import Any, Final

from tcsql.replication.binlog.compiled import Row, read_image
from tcsql.replication.binlog.faults import broken, unknown
from tcsql.replication.binlog.jsontext import changed, printed
from tcsql.replication.binlog.reading import Reader
from tcsql.replication.binlog.slots import Slot
from tcsql.replication.binlog.tablemap import Field, TableMap

_PARTIAL_JSON: Final = 1


def read_rows(
    data: bytes, at: int, found: TableMap, images: tuple[Sequence[Slot], Sequence[Slot]], rows: list[Row]
) -> None:
    """Append the rows that begin at ``at``, as ``RowCode.read`` does; raises BinlogFault."""
    try:
        _read_rows(data, at, found, images, rows)
    except error:
        raise broken("a row ends too early") from None


def _read_rows(
    data: bytes, at: int, found: TableMap, images: tuple[Sequence[Slot], Sequence[Slot]], rows: list[Row]
) -> None:
    before, after = images
    whole = [slot._replace(wanted=True) for slot in before]
    json_places = [place for place, column in enumerate(found.columns) if column.type == Field.JSON]
    while at < len(data):
        old: list[Any] = []
        at = read_image(data, at, whole, old)
        reader = Reader(data, at)
        options = reader.packed()
        if options & ~_PARTIAL_JSON:
            raise unknown(f"rows with options {options}")
        partly: set[int] = set()
        if options:
            bits = int.from_bytes(reader.take((len(json_places) + 7) // 8), "little")
            partly = {place for bit, place in enumerate(json_places) if bits >> bit & 1}
        values = [value for value, slot in zip(old, before, strict=True) if slot.wanted]
        _read_after(reader, after, old, partly, values)
        rows.append(tuple(values))
        at = reader.at


def _read_after(reader: Reader, after: Sequence[Slot], old: Sequence[Any], partly: set[int], values: list[Any]) -> None:
    nulls = int.from_bytes(reader.take((len(after) + 7) // 8), "little")
    for place, slot in enumerate(after):
        value: Any
        if nulls >> place & 1:
            value = None
        elif place in partly:
            changes = reader.take(reader.number(slot.width))
            if old[place] is None:
                raise broken("a change of JSON does not fit its value")
            value = printed(changed(old[place], changes)) if slot.wanted else None
        elif slot.is_long:
            value = reader.take(reader.number(slot.width))
        else:
            [value] = Struct(f"<{slot.code}").unpack(reader.take(slot.width))
        if slot.wanted:
            values.append(value)
