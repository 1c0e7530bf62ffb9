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
from tcsql.engine.change import Batch, CreateTable, Delete, DeleteKeys, NewRows, Row, RowOp, RowsBatch, Upsert
from tcsql.engine.database import Database
from tcsql.engine.query import Condition, Filter, Operator
from tcsql.engine.rows import encode, encode_many
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import TCSQLError
from tests.engine.test_single import POSTS
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


def test_rows_whose_texts_look_like_the_border_between_rows_are_encoded_alike() -> None:
    for texts in (("a", "b"), ("},{", "b"), ('"},{"', "\n"), ("}", ",{")):
        rows: list[Row] = [{"id": number, "text": text} for number, text in enumerate(texts)]
        assert encode_many(rows) == list(map(encode, rows))


def test_many_new_rows_are_operations_like_others() -> None:
    rows = NewRows([1, 2], [b"{}", b"[]"], {"id": [1, 2]})
    assert list(rows) == [RowOp(1, None, b"{}"), RowOp(2, None, b"[]")] == rows
    assert rows[1] == RowOp(2, None, b"[]") and rows[1:] == [RowOp(2, None, b"[]")]
    assert rows[1:].values == {"id": [2]}


def test_more_changes_of_the_same_request_see_many_new_rows() -> None:
    database = Database()
    key = Column("id", ColumnType(Kind.INTEGER, "int", high=99), nullable=False)
    database.apply(database.check([CreateTable(SCHEMA.with_(name="w", columns=(key, *SCHEMA.columns[1:])))], NOW))
    rows: list[Row] = [{"id": number, "a": "x", "b": "y"} for number in range(40)]
    every = Filter(((Condition("id", Operator.NUMGE, "30"),),))
    changes = [Upsert("w", rows), Upsert("w", [{**rows[0], "a": "z"}]), Delete("w", every), DeleteKeys("w", [1])]
    batch = database.check(changes, NOW)
    undo = database.apply(batch)
    database.check_invariants()
    assert len(list(database.rows("w"))) == 29 and next(database.rows("w")) == b'{"id":0,"a":"z","b":"y"}'
    assert batch.tally == (40, 1, 0, 11, None)
    database.revert(undo)
    assert list(database.rows("w")) == []


def test_many_new_rows_are_taken_back() -> None:
    database = Database()
    database.apply(database.check([CreateTable(POSTS)], NOW))
    batch = database.check([Upsert("t", [{"uid": n % 3, "idtype": str(n % 2)} for n in range(2_500)])], NOW)
    undo = database.apply(batch)
    database.check_invariants()
    assert isinstance(batch.parts[0], RowsBatch) and isinstance(batch.parts[0].ops, NewRows)
    database.revert(undo)
    database.check_invariants()
    assert (list(database.rows("t")), database.table("t").auto_increment) == ([], 1)
