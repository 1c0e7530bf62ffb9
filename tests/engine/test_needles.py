"""A needle is necessary: a row that satisfies the condition holds it."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from tcsql.engine.change import CreateTable, Upsert
from tcsql.engine.conditions import row_test
from tcsql.engine.database import Database
from tcsql.engine.needles import may_spare, needles
from tcsql.engine.query import Condition, Operator
from tcsql.engine.rows import decode, encode
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import InvalidPattern, InvalidValue
from tests.strategies import filters, schemas, tables

NOW = datetime(2026, 11, 20, 15, 4, 5)


@given(st.data())
def test_a_matching_row_holds_every_needle(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    database = Database()
    database.apply(database.check([CreateTable(schema)], NOW))
    try:
        database.apply(database.check([Upsert(schema.name, data.draw(tables(schema, 1, 8, True)), True)], NOW))
    except InvalidValue:
        reject()  # a row without a key behind the highest one there can be
    for conjunction in data.draw(filters(schema)).any_of:
        held = needles(schema, conjunction)
        assert may_spare(conjunction) or not held
        try:
            test = row_test(schema, conjunction)
        except InvalidPattern:
            continue
        for row in database.rows(schema.name):
            assert not test(decode(row)) or all(needle in row for needle in held), (conjunction, held, row)


NAME = ColumnType(Kind.TEXT, "varchar", length=40)
SCHEMA = TableSchema(
    "t",
    (
        Column('i"d', ColumnType(Kind.INTEGER, "int", low=-9, high=9), nullable=False),
        Column("a", NAME),
        Column("b", NAME),
    ),
    ('i"d',),
)


@pytest.mark.parametrize("text", ['"', "\\", "\n", "\x01", "é", "全", "\U0001f600", "a|b", '"b":"x"', "null", ""])
@pytest.mark.parametrize("operator", [Operator.STREQ, Operator.STRBW, Operator.STREW, Operator.STRINC])
def test_text_is_sought_as_json_writes_it(operator: Operator, text: str) -> None:
    matching = {Operator.STREQ: text, Operator.STRBW: text + "z", Operator.STREW: "z" + text}.get(operator, f"y{text}z")
    conjunction = (Condition("a", operator, text),)
    held = needles(SCHEMA, conjunction)
    row = {'i"d': 1, "a": matching, "b": None}
    assert row_test(SCHEMA, conjunction)(row)
    assert all(needle in encode(row) for needle in held)


@pytest.mark.parametrize(
    ("condition", "held"),
    [
        (Condition("a", Operator.STREQ, "x"), [b'"a":"x"']),
        (Condition("a", Operator.STREQ, "x", negated=True), []),
        (Condition("a", Operator.NULL, ""), [b'"a":null']),
        (Condition("a", Operator.NULL, "", negated=True), []),
        (Condition("a", Operator.NUMEQ, "5"), []),
        (Condition(None, Operator.NUMEQ, " +5.0x"), [b'"i\\"d":5']),
        (Condition(None, Operator.NUMEQ, "5.5"), []),
        (Condition(None, Operator.STREQ, "05"), []),
        (Condition("a", Operator.STRINC, ""), []),
        (Condition("a", Operator.STREQ, "\ud800"), []),
        (Condition("a", Operator.STRRX, "x"), []),
    ],
)
def test_what_a_condition_says_about_bytes(condition: Condition, held: list[bytes]) -> None:
    assert needles(SCHEMA, (condition,)) == held


def test_a_needle_inside_another_value_is_escaped_there() -> None:
    (needle,) = needles(SCHEMA, (Condition("a", Operator.STREQ, "x"),))
    assert needle not in encode({'i"d': 1, "a": "y", "b": '"a":"x"'})
