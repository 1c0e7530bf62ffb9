"""What is guessed about rows that come without a schema."""

from __future__ import annotations

import pytest

from tcsql.engine.change import CreateTable
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import BadRequest
from tcsql.formats.infer import infer_schema
from tcsql.sql import changes_of, create_table_sql

BIGINT = ColumnType(Kind.INTEGER, "bigint", low=-(2**63), high=2**63 - 1)
TYPES: dict[str, tuple[list[object], ColumnType]] = {
    "whole numbers": (["1", "-7", ""], BIGINT),
    "JSON numbers": ([1, None, True], BIGINT),
    "large numbers": (["18446744073709551615", "0"], ColumnType(Kind.INTEGER, "bigint", unsigned=True, high=2**64 - 1)),
    "larger numbers": (["18446744073709551616"], ColumnType(Kind.FLOAT, "double")),
    "fractions": (["1.5", "2", "-0.125"], ColumnType(Kind.DECIMAL, "decimal", length=24, scale=3)),
    "floats": ([1.5e-7, 2], ColumnType(Kind.FLOAT, "double")),
    "leading zeros": (["007", "1"], ColumnType(Kind.TEXT, "varchar", length=32)),
    "dates": (["2020-02-29", ""], ColumnType(Kind.DATE, "date")),
    "moments": (["2020-02-29 01:02:03.5", "2020-02-29T01:02:03"], ColumnType(Kind.DATETIME, "datetime", scale=1)),
    "texts": (["a", "x" * 40], ColumnType(Kind.TEXT, "varchar", length=128)),
    "long texts": (["x" * 5_000], ColumnType(Kind.TEXT, "longtext", length=2**32 - 1)),
    "containers": ([{"a": 1}, [1]], ColumnType(Kind.JSON, "json")),
    "nothing": (["", None], ColumnType(Kind.TEXT, "varchar", length=255)),
}


@pytest.mark.parametrize("what", TYPES)
def test_values_give_their_type(what: str) -> None:
    values, kind = TYPES[what]
    rows = [{"id": number, "c": value} for number, value in enumerate(values)]
    found = infer_schema("t", rows)
    assert (found.columns[1].type, found.columns[1].nullable, found.primary_key) == (kind, True, ("id",))


def test_key_is_id_else_a_column_of_different_values_else_made() -> None:
    assert infer_schema("t", [{"a": 1, "ID": 2}, {"a": 1, "ID": 3}]).primary_key == ("ID",)
    assert infer_schema("t", [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}]).primary_key == ("b",)
    made = infer_schema("t", [{"a": 1}, {"a": 1}])
    assert (made.names, made.primary_key, made.columns[0].auto_increment) == (("id", "a"), ("id",), True)
    with pytest.raises(BadRequest, match='column "id" has a value twice'):
        infer_schema("t", [{"id": 1}, {"id": 1}])
    with pytest.raises(BadRequest, match='"a b" cannot be a name'):
        infer_schema("t", [{"a b": 1}])


def test_guessed_schema_can_be_printed_and_read() -> None:
    guessed = infer_schema("t", [{"id": 1, "a": "x", "b": 1.5, "c": {}, "d": "2020-02-29"}])
    [change] = changes_of(create_table_sql(guessed), lambda name: None)
    assert isinstance(change, CreateTable)
    assert [column.type for column in change.schema.columns] == [column.type for column in guessed.columns]
