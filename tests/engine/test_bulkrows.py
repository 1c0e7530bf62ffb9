"""Rows settled column by column against the same rows one by one: the same batch, or the same refusal."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine import writes
from tcsql.engine.bulkrows import settled
from tcsql.engine.change import Batch, CreateTable, Upsert
from tcsql.engine.database import Database
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import TCSQLError
from tests.strategies import schemas, tables

NOW = datetime(2026, 11, 20, 15, 4, 5)
ODD = st.sampled_from([None, True, -1, 2**70, 1.5, "", "é" * 300, "\ud800", "x", [], {}])


def outcome(schema: TableSchema, changes: list[Upsert], many: int) -> tuple[Batch | None, tuple[Any, ...]]:
    """What ``check`` says of the last change after those before it were applied."""
    database = Database()
    database.apply(database.check([CreateTable(schema)], NOW))
    with patch.object(writes, "MANY_ROWS", many):
        try:
            for change in changes[:-1]:
                database.apply(database.check([change], NOW))
            return database.check(changes[-1:], NOW), ()
        except TCSQLError as error:
            return None, (type(error), error.message, error.hint, error.extra)


@given(st.data())
def test_many_rows_are_settled_as_one_by_one(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    trusted = data.draw(st.booleans())
    given = [data.draw(tables(schema, 0, 6, trusted)) for _ in range(2)]
    for row in data.draw(st.lists(st.sampled_from(given[1]), max_size=2)) if given[1] and not trusted else []:
        row[data.draw(st.sampled_from((*schema.names, schema.names[0].upper(), "nothing")))] = data.draw(ODD)
    changes = [Upsert(schema.name, rows, trusted) for rows in given]
    assert outcome(schema, changes, 1) == outcome(schema, changes, 1_000_000)


INT = ColumnType(Kind.INTEGER, "int", low=-5, high=5)
NAME = ColumnType(Kind.TEXT, "varchar", length=3)
TEXT = ColumnType(Kind.TEXT, "text", length=4)
SCHEMA = TableSchema(
    "t", (Column("id", INT, nullable=False), Column("a", NAME), Column("b", TEXT, nullable=False)), ("id",)
)


@pytest.mark.parametrize(
    ("change", "plain"),
    [
        ({}, True),
        ({"id": 6}, False),
        ({"id": True}, True),  # a client's true is 1
        ({"id": "4"}, True),
        ({"a": "ééé"}, True),
        ({"a": "éééé"}, False),
        ({"a": None}, True),
        ({"b": "éé"}, True),
        ({"b": "ééé"}, False),  # counted in bytes
        ({"b": None}, False),
        ({"a": "\ud800"}, False),
        ({"c": 1}, False),
    ],
)
def test_what_is_not_plain_is_left_to_the_careful_way(change: dict[str, Any], plain: bool) -> None:
    rows = [{"id": number, "a": "x", "b": "y"} for number in range(3)]
    rows[1] |= change
    found = settled(SCHEMA, rows, False, lambda column: None, 1)
    assert (found is not None) == plain
