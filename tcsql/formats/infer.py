"""A schema proposed for rows that come without one: ``tcsql load --create``.

From a sample: whole numbers become BIGINT, numbers with a fraction DECIMAL (few digits) or DOUBLE, ISO dates and
times DATE and DATETIME, all else VARCHAR or TEXT, JSON containers JSON. Every column can be NULL except the key. The
key is the column called id, else the first column with a different value in every row of the sample, else a new
AUTO_INCREMENT column ``id``. A guess: rows behind the sample may not fit, and are refused then, with their lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from tcsql.engine.schema import NAME, Column, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import BadRequest

#: Rows looked at.
SAMPLE_ROWS: Final = 5_000

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_UNSIGNED: Final = re.compile(r"[1-9][0-9]{0,19}|0")
_FRACTION: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.([0-9]{1,6})")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.([0-9]{1,6}))?")

_BIGINT: Final = ColumnType(Kind.INTEGER, "bigint", low=-(2**63), high=2**63 - 1)
_UNSIGNED_BIGINT: Final = ColumnType(Kind.INTEGER, "bigint", unsigned=True, high=2**64 - 1)
_DECIMAL_DIGITS: Final = 24
#: Twice the longest text of the sample, in steps that people choose.
_VARCHAR_STEPS: Final = (32, 64, 128, 255, 512, 1024, 4096)
_LONGTEXT: Final = ColumnType(Kind.TEXT, "longtext", length=2**32 - 1)


def infer_schema(name: str, rows: Sequence[Mapping[str, object]], names: Sequence[str] | None = None) -> TableSchema:
    """A schema for rows like these; values are text (CSV) or JSON's. Raises BadRequest for impossible names.

    >>> found = infer_schema("t", [{"day": "2020-02-29", "title": "a"}, {"day": "", "title": "b"}])
    >>> [(column.name, column.type.name) for column in found.columns], found.primary_key
    ([('day', 'date'), ('title', 'varchar')], ('title',))
    """
    if names is None:
        names = list(dict.fromkeys(key for row in rows for key in row))
    for each in (name, *names):
        if not NAME.fullmatch(each):
            raise BadRequest(f'"{each[:64]}" cannot be a name', "names have letters, digits and _, and no digit first")
    values = {each: [_text(row.get(each)) for row in rows] for each in names}
    types = {each: _type_of([value for value in found if value is not None]) for each, found in values.items()}
    key = _key(names, values, types)
    columns = [Column(each, types[each], nullable=each != key) for each in names]
    if key is None:
        columns.insert(0, Column("id", _UNSIGNED_BIGINT, nullable=False, auto_increment=True))
    return TableSchema(name, tuple(columns), (key or "id",))


def _text(value: object) -> str | None:
    """A value as text; None for NULL. A container becomes JSON text only as a mark."""
    if value in (None, "", "\\N"):
        return None
    if isinstance(value, (dict, list)):
        return "{}"
    if isinstance(value, bool):
        return str(int(value))
    return str(value) if isinstance(value, (str, int, Decimal)) else repr(value)


def _key(names: Sequence[str], values: Mapping[str, list[str | None]], types: Mapping[str, ColumnType]) -> str | None:
    named = [each for each in names if each.lower() == "id"]
    for each in (*named, *names):
        found = values[each]
        if found and None not in found and len(set(found)) == len(found) and types[each].name not in ("double", "json"):
            return each
        if each in named:
            raise BadRequest(
                f'column "{each}" has a value twice or none, and cannot be the key', "write a CREATE TABLE"
            )
    return None


def _type_of(values: list[str]) -> ColumnType:
    if not values:
        return ColumnType(Kind.TEXT, "varchar", length=255)
    if all(map(_INTEGER.fullmatch, values)) and all(-(2**63) <= int(value) < 2**63 for value in values):
        return _BIGINT
    if all(map(_UNSIGNED.fullmatch, values)) and all(int(value) < 2**64 for value in values):
        return _UNSIGNED_BIGINT
    numbers = [_FRACTION.fullmatch(value) or _INTEGER.fullmatch(value) for value in values]
    if all(numbers):
        scale = max(len(found[1]) if found and found.re is _FRACTION else 0 for found in numbers)
        return ColumnType(Kind.DECIMAL, "decimal", length=_DECIMAL_DIGITS, scale=scale)
    if all(map(_NUMBER.fullmatch, values)):
        return ColumnType(Kind.FLOAT, "double")
    if all(map(_DATE.fullmatch, values)):
        return ColumnType(Kind.DATE, "date")
    moments = [_DATETIME.fullmatch(value) for value in values]
    if all(moments):
        return ColumnType(
            Kind.DATETIME, "datetime", scale=max(len(found[1] or "") if found else 0 for found in moments)
        )
    if all(value == "{}" for value in values):
        return ColumnType(Kind.JSON, "json")
    longest = max(map(len, values))
    step = next((step for step in _VARCHAR_STEPS if step >= 2 * longest), None)
    return ColumnType(Kind.TEXT, "varchar", length=step) if step else _LONGTEXT
