"""Is a table in the log the table that we know? Names, types, signs, lengths, charsets, members and key. Pure.

Rows carry no names, so what a table map says is compared with the source's catalogue as it was when the table was last
looked at. What does not fit to the letter is read by nobody: somebody has altered the table since, or the log tells of
a time before an ALTER. MariaDB's older forms of times say nothing of their fraction digits: there the catalogue's mark
of such a column is compared, and its digits are believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from tcsql.engine.values import ColumnType
from tcsql.replication.binlog.charsets import BINARY, UTF8, charset_of, text_of, width_of
from tcsql.replication.binlog.faults import BinlogFault
from tcsql.replication.binlog.tablemap import Field, MapColumn, TableMap
from tcsql.replication.catalogue import CatalogueColumn, CatalogueTable

_NUMBERS_IN: Final = re.compile(r"\(([0-9]+)(?:,([0-9]+))?\)")
_INTEGERS: Final = {
    "tinyint": Field.TINY,
    "smallint": Field.SHORT,
    "mediumint": Field.INT24,
    "int": Field.LONG,
    "bigint": Field.LONGLONG,
}
_BLOB_LENGTHS: Final = {"tiny": 1, "": 2, "medium": 3, "long": 4}
_BLOBS: Final = {f"{size}{kind}": width for size, width in _BLOB_LENGTHS.items() for kind in ("text", "blob")}
_SHAPES: Final = frozenset(f"{many}{shape}" for many in ("", "multi") for shape in ("point", "linestring", "polygon"))
_FIXED: Final = {"uuid": 16, "inet6": 16, "inet4": 4}
_OLD: Final = frozenset([Field.DATETIME, Field.TIMESTAMP, Field.TIME])
#: How MariaDB's catalogue tells columns of the older forms.
_OLD_MARK: Final = "mariadb-5.3"
_MOMENTS: Final = {
    "datetime": (Field.DATETIME2, Field.DATETIME),
    "timestamp": (Field.TIMESTAMP2, Field.TIMESTAMP),
    "time": (Field.TIME2, Field.TIME),
}


def misfit(found: TableMap, table: CatalogueTable, types: Callable[[str], ColumnType | None]) -> str | None:
    """What differs, in words; None when the table is the one that is known. ``types``: of the columns kept here."""
    if len(found.columns) != len(table.columns):
        return f"it has {len(found.columns)} columns, not {len(table.columns)}"
    for column, known in zip(found.columns, table.columns, strict=True):
        if column.name != known.name:
            return f"it has column {column.name} where {known.name} was"
        kept = types(known.name)
        if kept is None and column.type not in _OLD:
            continue  # passed over, whatever it is
        try:
            fits = column.type in _OLD if kept is None else _fits(column, known, kept)
        except BinlogFault as fault:
            return fault.message
        if not fits or (column.type in _OLD) != (_OLD_MARK in known.column_type):
            return f"its column {column.name} is no {known.column_type}"
    key = tuple(found.columns[place].name for place in found.key)
    return None if key == tuple(table.primary_key) else f"its primary key is ({', '.join(key)})"


def _fits(column: MapColumn, known: CatalogueColumn, kept: ColumnType) -> bool:
    """Whether a column is what the catalogue says; raises BinlogFault for a charset that is not known."""
    name, its = known.data_type, column.type
    declared = known.column_type.lower()
    if name in _INTEGERS:
        return its == _INTEGERS[name] and column.unsigned == ("unsigned" in declared)
    if name in _MOMENTS:
        new, old = _MOMENTS[name]
        return its == old or (its == new and column.meta[0] == kept.scale)
    if name in ("enum", "set"):
        return _is_members(column, known, kept)
    if name in _BLOBS or name in ("char", "varchar", "binary", "varbinary"):
        return _is_text(column, known, declared)
    if name == "decimal":
        return its == Field.NEWDECIMAL and column.meta == _numbers_in(declared)
    if name == "bit":
        return its == Field.BIT and column.meta[0] + 8 * column.meta[1] == _numbers_in(declared)[0]
    if name in _FIXED:
        return its == Field.STRING and column.length == _FIXED[name]
    if name == "date":
        return its in (Field.DATE, Field.NEWDATE)
    if name in _SHAPES or name in ("geometry", "geometrycollection", "geomcollection"):
        return its == Field.GEOMETRY
    simple = {"float": Field.FLOAT, "double": Field.DOUBLE, "year": Field.YEAR}
    return its == (simple | {"json": Field.JSON, "vector": Field.VECTOR}).get(name)


def _numbers_in(declared: str) -> tuple[int, int]:
    match = _NUMBERS_IN.search(declared)
    return (0, 0) if match is None else (int(match[1]), int(match[2] or 0))


def _is_text(column: MapColumn, known: CatalogueColumn, declared: str) -> bool:
    charset = charset_of(column.collation)
    if charset != (known.charset or BINARY):
        return False
    compressed = "compressed" in declared
    width = _BLOBS.get(known.data_type)
    if width is not None:
        return column.type == (Field.BLOB_COMPRESSED if compressed else Field.BLOB) and column.meta[0] == width
    if known.data_type in ("char", "binary"):
        kinds = {Field.STRING}
    else:
        kinds = {Field.VARCHAR_COMPRESSED} if compressed else {Field.VARCHAR, Field.VAR_STRING}
    # a COMPRESSED column has a byte more, for the head
    length = (known.length or 0) * width_of(charset) + compressed
    return column.type in kinds and column.length == length


def _is_members(column: MapColumn, known: CatalogueColumn, kept: ColumnType) -> bool:
    its = Field.ENUM if known.data_type == "enum" else Field.SET
    charset = charset_of(column.collation)
    if column.type != its or charset != known.charset:
        return False
    if charset == BINARY or charset in UTF8:
        names = tuple(member.decode("utf-8", "replace") for member in column.members)
    else:
        names = tuple(text_of(charset)(member) for member in column.members)  # type: ignore[misc]  # bytes equal no text
    return names == kept.members
