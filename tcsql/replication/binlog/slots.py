"""Where the columns of a row lie: how many bytes each takes, and as what it is cut out. Pure.

A row image is a bitmap of columns that are NULL and then all others one behind the other: either of a fixed width, or
with their length before them.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from tcsql.replication.binlog.faults import broken, unknown
from tcsql.replication.binlog.numbers import decimal_bytes
from tcsql.replication.binlog.tablemap import Field, MapColumn
from tcsql.replication.binlog.temporal import FRACTION_BYTES, HIRES_DATETIME_BYTES, HIRES_TIME_BYTES

#: Codes of struct for numbers with and without sign.
_NUMBERS: Final = {Field.TINY: "bB", Field.SHORT: "hH", Field.LONG: "iI", Field.LONGLONG: "qQ"}
_LENGTHS: Final = {1: "B", 2: "H", 3: "HB", 4: "I"}
_BLOBS: Final = frozenset([Field.BLOB, Field.BLOB_COMPRESSED, Field.GEOMETRY, Field.JSON, Field.VECTOR])
_MOST_DIGITS: Final = 6


class Slot(NamedTuple):
    """The place of one column. ``code``: struct's, of a value of fixed width; of the length where ``is_long``.

    ``width``: bytes of the value, or of its length. ``wanted``: False when it is only passed over.
    """

    code: str
    width: int
    is_long: bool
    wanted: bool = True


def slot_of(column: MapColumn, digits: int = 0) -> Slot:
    """The place of a column. ``digits``: of a second's fraction by the table's definition, for the older types."""
    kind = column.type
    if kind in _NUMBERS:
        code = _NUMBERS[Field(kind)][column.unsigned]
        return Slot(code, Struct(f"<{code}").size, False)
    if kind in (Field.VARCHAR, Field.VAR_STRING, Field.VARCHAR_COMPRESSED, Field.STRING):
        return _long(1 if column.length < 256 else 2)
    if kind in _BLOBS:
        return _long(column.meta[0])
    if kind == Field.FLOAT:
        return Slot("f", 4, False)
    if kind == Field.DOUBLE:
        return Slot("d", 8, False)
    if kind == Field.YEAR:
        return Slot("B", 1, False)
    return _bytes(_width(kind, column, digits))


def _long(width: int) -> Slot:
    if width not in _LENGTHS:
        raise broken(f"a length has {width} bytes")
    return Slot(_LENGTHS[width], width, True)


def _bytes(width: int) -> Slot:
    if not 0 < width <= 64:
        raise broken(f"a column has {width} bytes")
    return Slot(f"{width}s", width, False)


def _width(kind: int, column: MapColumn, digits: int) -> int:
    """Bytes of the types that are read by hand."""
    if kind in (Field.INT24, Field.DATE, Field.NEWDATE):
        return 3
    if kind == Field.NEWDECIMAL:
        return decimal_bytes(*column.meta)
    if kind in (Field.ENUM, Field.SET):
        return column.length
    if kind == Field.BIT:
        return column.meta[1] + (column.meta[0] > 0)
    if kind in (Field.DATETIME2, Field.TIMESTAMP2, Field.TIME2):
        if column.meta[0] > _MOST_DIGITS:
            raise broken("a fraction of a second has more than six digits")
        whole = {Field.DATETIME2: 5, Field.TIMESTAMP2: 4, Field.TIME2: 3}[Field(kind)]
        return whole + FRACTION_BYTES[column.meta[0]]
    if kind == Field.TIMESTAMP:
        return 4 + FRACTION_BYTES[digits]
    if kind == Field.DATETIME:
        return HIRES_DATETIME_BYTES[digits] if digits else 8
    if kind == Field.TIME:
        return HIRES_TIME_BYTES[digits]
    raise unknown(f"a column of type {kind}")
