"""Declared MySQL types: their names, and the ``ColumnType`` each one means.

Synonyms are resolved first (``INTEGER`` is ``int``, ``DOUBLE PRECISION`` is ``double``), so that everything behind
knows MySQL's own names only. What MySQL and MariaDB print of types unknown to the engine becomes the nearest one:
uuid, inet4 and inet6 are text, geometry and vectors are bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import did_you_mean
from tcsql.sql.tokens import Source
from tcsql.sql.tree import TypeSpec

_INTEGER_BITS: Final = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_TEXT_BYTES: Final = {"tinytext": 255, "text": 65_535, "mediumtext": 2**24 - 1, "longtext": 2**32 - 1}
_BLOB_BYTES: Final = {"tinyblob": 255, "blob": 65_535, "mediumblob": 2**24 - 1, "longblob": 2**32 - 1}
_TEXT_FORMS: Final = {"uuid": 36, "inet4": 15, "inet6": 45}
_GEOMETRIES: Final = (
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
)  # fmt: skip
#: Bytes of a character under utf8mb4: TEXT(n) becomes the smallest type that holds n of them.
_WIDEST_CHARACTER: Final = 4

_SYNONYMS: Final[dict[str, str]] = {
    "integer": "int", "int1": "tinyint", "int2": "smallint", "int3": "mediumint", "middleint": "mediumint",
    "int4": "int", "int8": "bigint", "bool": "tinyint", "boolean": "tinyint", "dec": "decimal", "numeric": "decimal",
    "fixed": "decimal", "float4": "float", "float8": "double", "real": "double", "character": "char", "nchar": "char",
    "varcharacter": "varchar", "nvarchar": "varchar", "geomcollection": "geometrycollection", "long": "mediumtext",
    "double precision": "double", "serial": "bigint", "long varbinary": "mediumblob",
    **dict.fromkeys(("long varchar", "long varcharacter", "long char varying"), "mediumtext"),
    **dict.fromkeys(("national char", "national character"), "char"),
    **dict.fromkeys(("national varchar", "national char varying", "national character varying"), "varchar"),
    **dict.fromkeys(("char varying", "character varying", "nchar varying", "nchar varchar"), "varchar"),
}  # fmt: skip

_BINARY_OF: Final = {
    "char": "binary", "varchar": "varbinary", "tinytext": "tinyblob", "text": "blob", "mediumtext": "mediumblob",
    "longtext": "longblob",
}  # fmt: skip


def type_name(written: str) -> str | None:
    """MySQL's own name of a type in lower case, None when there is no such type.

    >>> type_name("NATIONAL VARCHAR"), type_name("int8"), type_name("in")
    ('varchar', 'bigint', None)
    """
    name = _SYNONYMS.get(written.lower(), written.lower())
    return name if name in _MAKERS else None


def type_hint(written: str) -> str | None:
    """The nearest name of a type."""
    return did_you_mean(written, [*_MAKERS, *_SYNONYMS])


def with_charset(name: str, charset: str | None) -> str:
    """The type a text type is under a character set: ``binary`` makes it one of bytes."""
    return _BINARY_OF.get(name, name) if charset == "binary" else name


def column_type(spec: TypeSpec, source: Source) -> ColumnType:
    """The ColumnType of a declared type; raises SqlSyntax for lengths the type cannot have."""
    return _MAKERS[spec.name](spec, source)


def _given(spec: TypeSpec, index: int, default: int) -> int:
    return spec.numbers[index] if len(spec.numbers) > index else default


def _within(spec: TypeSpec, source: Source, value: int, bounds: tuple[int, int], what: str) -> int:
    low, high = bounds
    if not low <= value <= high:
        raise source.error(spec.at, f"{spec.name} takes {low} to {high} {what}, not {value}")
    return value


def _integer(spec: TypeSpec, source: Source) -> ColumnType:
    bits = _INTEGER_BITS[spec.name]
    low, high = (0, 2**bits - 1) if spec.unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return ColumnType(Kind.INTEGER, spec.name, unsigned=spec.unsigned, low=low, high=high)


def _bit(spec: TypeSpec, source: Source) -> ColumnType:
    bits = _within(spec, source, _given(spec, 0, 1), (1, 64), "bits")
    return ColumnType(Kind.INTEGER, "bit", length=bits, high=2**bits - 1)


def _year(spec: TypeSpec, source: Source) -> ColumnType:
    return ColumnType(Kind.INTEGER, "year", high=2155)


def _decimal(spec: TypeSpec, source: Source) -> ColumnType:
    digits = _within(spec, source, _given(spec, 0, 10), (0, 65), "digits") or 10
    scale = _within(spec, source, _given(spec, 1, 0), (0, min(digits, 38)), "digits after the point")
    return ColumnType(Kind.DECIMAL, "decimal", length=digits, scale=scale, unsigned=spec.unsigned)


def _float(spec: TypeSpec, source: Source) -> ColumnType:
    bits = spec.numbers[0] if len(spec.numbers) == 1 else 0
    name = "double" if spec.name == "double" or bits > 24 else "float"  # FLOAT(p): 25 to 53 bits are a DOUBLE
    return ColumnType(Kind.FLOAT, name, unsigned=spec.unsigned)


def _characters(spec: TypeSpec, source: Source) -> ColumnType:
    if spec.name == "varchar" and not spec.numbers:
        raise source.error(spec.at, "varchar needs a length", "write varchar(255), for example")
    length = _within(spec, source, _given(spec, 0, 1), (0, 255 if spec.name == "char" else 65_535), "characters")
    return ColumnType(Kind.TEXT, spec.name, length=length)


def _bytes(spec: TypeSpec, source: Source) -> ColumnType:
    if spec.name == "varbinary" and not spec.numbers:
        raise source.error(spec.at, "varbinary needs a length", "write varbinary(255), for example")
    length = _within(spec, source, _given(spec, 0, 1), (0, 255 if spec.name == "binary" else 65_535), "bytes")
    return ColumnType(Kind.BINARY, spec.name, length=length)


def _text(spec: TypeSpec, source: Source) -> ColumnType:
    name = spec.name
    if spec.numbers and name == "text":
        name = _smallest(_TEXT_BYTES, spec.numbers[0] * _WIDEST_CHARACTER)
    return ColumnType(Kind.TEXT, name, length=_TEXT_BYTES[name])


def _blob(spec: TypeSpec, source: Source) -> ColumnType:
    name = spec.name
    if spec.numbers and name == "blob":
        name = _smallest(_BLOB_BYTES, spec.numbers[0])
    return ColumnType(Kind.BINARY, name, length=_BLOB_BYTES[name])


def _smallest(sizes: dict[str, int], needed: int) -> str:
    return next((name for name, size in sizes.items() if size >= needed), list(sizes)[-1])


def _moment(spec: TypeSpec, source: Source) -> ColumnType:
    kind = Kind.TIME if spec.name == "time" else Kind.DATETIME
    return ColumnType(kind, spec.name, scale=_within(spec, source, _given(spec, 0, 0), (0, 6), "fraction digits"))


def _date(spec: TypeSpec, source: Source) -> ColumnType:
    return ColumnType(Kind.DATE, "date")


def _enum(spec: TypeSpec, source: Source) -> ColumnType:
    limit = 65_535 if spec.name == "enum" else 64
    if len(spec.members) > limit:
        raise source.error(spec.at, f"{spec.name} takes at most {limit} members, not {len(spec.members)}")
    if len(set(spec.members)) != len(spec.members):
        raise source.error(spec.at, f"a member of this {spec.name} is there twice")
    if spec.name == "set" and any("," in member for member in spec.members):
        raise source.error(spec.at, "a member of a set cannot have a comma")
    return ColumnType(Kind.ENUM if spec.name == "enum" else Kind.SET, spec.name, members=spec.members)


def _json(spec: TypeSpec, source: Source) -> ColumnType:
    return ColumnType(Kind.JSON, "json")


def _text_form(spec: TypeSpec, source: Source) -> ColumnType:
    return ColumnType(Kind.TEXT, spec.name, length=_TEXT_FORMS[spec.name])


def _geometry(spec: TypeSpec, source: Source) -> ColumnType:
    return ColumnType(Kind.BINARY, spec.name)


_MAKERS: Final[dict[str, Callable[[TypeSpec, Source], ColumnType]]] = {
    **dict.fromkeys(_INTEGER_BITS, _integer),
    "bit": _bit,
    "year": _year,
    "decimal": _decimal,
    "float": _float,
    "double": _float,
    "char": _characters,
    "varchar": _characters,
    "binary": _bytes,
    "varbinary": _bytes,
    **dict.fromkeys(_TEXT_BYTES, _text),
    **dict.fromkeys(_BLOB_BYTES, _blob),
    "date": _date,
    **dict.fromkeys(("datetime", "timestamp", "time"), _moment),
    "enum": _enum,
    "set": _enum,
    "json": _json,
    **dict.fromkeys(_TEXT_FORMS, _text_form),
    **dict.fromkeys((*_GEOMETRIES, "vector"), _geometry),
}
