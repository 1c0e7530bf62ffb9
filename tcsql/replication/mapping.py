"""How each column of the source is asked for, and how what it sends becomes stored values. Pure.

The form of a question is the one that loses nothing, and the answer's text is read in the same way for every mode:

    integers          c        with ZEROFILL c+0, else leading zeros come along
    BIT, YEAR         c+0      BIT as bytes would depend on its width; YEAR 0000 is 0
    FLOAT, DOUBLE     c+0e0    FLOAT itself prints six digits; DOUBLE(M,D) would be rounded again
    DECIMAL           c        all digits of its scale
    dates and times   c        as they are, zero dates too; TIMESTAMP in the session's zone
    texts, ENUM, SET  c        the server turns every charset into utf8mb4
    JSON              CAST(c AS CHAR), MariaDB: c, where it is a text
    UUID, INET4, 6    c        as text
    BLOB, BINARY, geometry, vectors   c    bytes; base64 here

NULL is None. A text that is no UTF-8 (broken at the source) keeps what can be read, as ``from_mysql`` does.
A column of many rows is turned at once, much of it in C: 20 ns an integer, 40 ns a short text.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Sequence
from typing import Final

import orjson

from tcsql.engine.schema import TableSchema
from tcsql.engine.values import ColumnType, JsonValue, Kind, PKey
from tcsql.errors import SourceFault
from tcsql.literals import quote_name
from tcsql.replication.catalogue import CatalogueColumn
from tcsql.replication.rows import RawColumn

Decoder = Callable[[RawColumn], list[JsonValue]]

_PLUS_ZERO: Final = frozenset(["bit", "year"])
_INTEGERS: Final = frozenset(["tinyint", "smallint", "mediumint", "int", "bigint"])


def expression(column: CatalogueColumn, flavour: str) -> str:
    """SQL that gives the column without loss.

    >>> expression(CatalogueColumn("f", "float", "float", "", "", True, None, "", None, False, 0), "mariadb")
    '`f`+0e0'
    """
    name = quote_name(column.name)
    if column.data_type in _PLUS_ZERO or (column.data_type in _INTEGERS and "zerofill" in column.column_type.lower()):
        return f"{name}+0"
    if column.data_type in ("float", "double"):
        return f"{name}+0e0"
    if column.data_type == "json" and flavour == "mysql":
        return f"CAST({name} AS CHAR)"
    return name


def select_list(columns: Sequence[CatalogueColumn], flavour: str) -> str:
    """SQL: the expressions of all columns, under names that are no column's (an ORDER BY would find those)."""
    return ",".join(f"{expression(column, flavour)} AS `tcsql {place}`" for place, column in enumerate(columns))


def decoder(column: CatalogueColumn, kind: ColumnType) -> Decoder:
    """What turns a whole column, as it was sent, into stored values; it raises SourceFault for what cannot be one."""
    decode = _by_kind(column, kind)

    def checked(raw: RawColumn) -> list[JsonValue]:
        try:
            return decode(raw)
        except ValueError:
            raise SourceFault(
                f"column {column.name} of type {column.column_type} sends what no such column holds",
                "its definition was changed: copy the table afresh",
            ) from None

    return checked


def _by_kind(column: CatalogueColumn, kind: ColumnType) -> Decoder:
    if kind.kind is Kind.INTEGER:
        return lambda raw: _integers(raw, kind.low, kind.high)
    if kind.kind is Kind.FLOAT:
        return lambda raw: [None if value is None else kind.from_mysql(float(value)) for value in raw]
    if kind.kind is Kind.BINARY:
        return lambda raw: [None if value is None else b2a_base64(value, newline=False).decode() for value in raw]
    if kind.kind is Kind.DECIMAL and "zerofill" in column.column_type.lower():
        return lambda raw: _one_by_one(raw, kind)
    return lambda raw: _texts(raw, kind)


def _integers(raw: RawColumn, low: int, high: int) -> list[JsonValue]:
    """Raises ValueError."""
    if None in raw:
        found = [None if value is None else int(value) for value in raw]
        present = [value for value in found if value is not None]
    else:
        # a list of numbers in JSON is read six times as fast as number after number
        found = present = orjson.loads(b"[" + b",".join(raw) + b"]")  # type: ignore[arg-type]  # no None is in it
    if present and not low <= min(present) <= max(present) <= high:
        raise ValueError
    return found  # type: ignore[return-value]  # mypy holds lists of subtypes apart


def _texts(raw: RawColumn, kind: ColumnType) -> list[JsonValue]:
    """All at once where none is NULL, none holds a NUL and all are UTF-8."""
    if not raw or None in raw:
        return _one_by_one(raw, kind)
    joined = b"\0".join(raw)  # type: ignore[arg-type]  # no None is in it
    try:
        texts: list[JsonValue] = joined.decode().split("\0")  # type: ignore[assignment]  # mypy holds lists of subtypes apart
    except UnicodeDecodeError:
        return _one_by_one(raw, kind)
    return texts if len(texts) == len(raw) else _one_by_one(raw, kind)


def _one_by_one(raw: RawColumn, kind: ColumnType) -> list[JsonValue]:
    return [None if value is None else kind.from_mysql(value) for value in raw]


def pkeys_of_rows(schema: TableSchema, columns: Sequence[Sequence[JsonValue]]) -> list[PKey]:
    """The primary keys of rows that are given as columns in the schema's order."""
    places = [schema.names.index(name) for name in schema.primary_key]
    parts: list[list[PKey]] = []
    for place in places:
        kind = schema.columns[place].type
        values = columns[place]
        if kind.kind in (Kind.DECIMAL, Kind.FLOAT):
            values = [kind.sort_key(value) for value in values]  # type: ignore[arg-type]  # a key is never NULL
        parts.append(values)  # type: ignore[arg-type]  # a key is never NULL
    if len(parts) == 1:
        return list(parts[0])
    return list(zip(*parts, strict=True))
