"""The model itself, against what is known of Tokyo Cabinet and MySQL: all other proofs lean on it."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

import pytest

from tcsql.engine.change import CreateTable, Delete, Update, Upsert
from tcsql.engine.query import (
    Aggregate,
    AggregateFunction,
    Condition,
    Count,
    Filter,
    Group,
    Operator,
    OrderKind,
    OrderTerm,
    Select,
)
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import InvalidValue, SchemaConflict, UnknownColumn
from tests.model import Model, Row, position
from tests.model_language import Cell, holds, normal, read_number

NOW = datetime(2026, 11, 20, 15, 4, 5)
TEXT = ColumnType(Kind.TEXT, "varchar", length=60)
INT = ColumnType(Kind.INTEGER, "int", low=-(2**31), high=2**31 - 1)
PRICE = ColumnType(Kind.DECIMAL, "decimal", length=10, scale=2)

#: operator, value, operand, answer: the table of the reference, one line per remark in it.
TRUTH = [
    ("STREQ", "abc", "abc", True),
    ("STREQ", "Abc", "abc", False),
    ("STREQ", "", "", True),
    ("STREQ", "x", "", False),
    ("STRINC", "hello world", "lo w", True),
    ("STRINC", "", "", True),
    ("STRBW", "hello", "he", True),
    ("STRBW", "hello", "", True),
    ("STREW", "hello", "lo", True),
    ("STREW", "hello", "", True),
    ("STREW", "lo", "hello", False),
    ("STRAND", "a,b  c", "c a", True),
    ("STRAND", "abc", "a", False),
    ("STRAND", "a\tb\nc", "b", True),
    ("STRAND", "", "", True),
    ("STRAND", "x", " , ", True),
    ("STROR", "a,b", "x b", True),
    ("STROR", "a,b", "", False),
    ("STROREQ", "b", "a,b c", True),
    ("STROREQ", "a b", "a b", False),
    ("STROREQ", "", "", False),
    ("STRRX", "hello", "l+o$", True),
    ("STRRX", "hello", "*^HEL", True),
    ("STRRX", "hello", "^HEL", False),
    ("STRRX", "x", "", True),
    ("STRRX", "a\nb", "a.b", True),
    ("NUMEQ", "12abc", "12", True),
    ("NUMEQ", "1e3", "1", True),
    ("NUMEQ", "information", "0", True),
    ("NUMEQ", "9007199254740993", "9007199254740992", False),
    ("NUMGT", ".5", "0", True),
    ("NUMGE", "", "abc", True),
    ("NUMLT", "-7", "-6.5", True),
    ("NUMLE", "+7", " 7", True),
    ("NUMBT", "5", "7,3", True),
    ("NUMBT", "5", "9", True),
    ("NUMBT", "-1", "9", False),
    ("NUMBT", "0", "", True),
    ("NUMBT", "5", "1 3 9", False),
    ("NUMOREQ", "25", "25;30", True),
    ("NUMOREQ", "30", "25;30", False),
    ("NUMOREQ", "0", "", False),
    ("NUMOREQ", "0", "1 , 0", True),
    ("FTSPH", "Hello  World", "LO WO", True),
    ("FTSPH", "中文全文检索", "全文", True),
    ("FTSPH", "CAFÉ ＡＢＣ", "cafe abc", True),
    ("FTSPH", "", "", True),
    ("FTSAND", "tokyo cabinet", "cab,tok", True),
    ("FTSAND", "tokyo cabinet", "Tokyo", True),
    ("FTSAND", "tokyo cabinet", "tokyo x", False),
    ("FTSAND", "tokyo", "", False),
    ("FTSOR", "tokyo", "x tok", True),
    ("FTSOR", "tokyo", " ", False),
    ("FTSEX", "a c", "a b || c", True),
    ("FTSEX", "b c", "a b || c", False),
    ("FTSEX", "x", "!! a", False),
    ("FTSEX", "b", "b !! a", True),
    ("FTSEX", "b a", "b !! a", False),
    ("FTSEX", "the quick fox", '"Quick  Fox"', True),
    ("FTSEX", "the fox quick", '"quick fox"', False),
    ("FTSEX", "a", "", False),
]


@pytest.mark.parametrize(("operator", "value", "operand", "answer"), TRUTH)
def test_operator_says_what_the_reference_says(operator: str, value: str, operand: str, answer: bool) -> None:
    seen = Cell(value, read_number(value))
    assert holds(Operator(operator), seen, operand) is answer
    assert holds(Operator(operator), seen, operand, negated=True) is not answer


@pytest.mark.parametrize("operator", [operator for operator in Operator if operator is not Operator.NULL])
def test_null_is_false_and_its_negation_true(operator: Operator) -> None:
    assert not holds(operator, None, "")
    assert holds(operator, None, "", negated=True)
    assert holds(Operator.NULL, None, "") and not holds(Operator.NULL, None, "", negated=True)


def test_numbers_are_read_leniently() -> None:
    texts = ("", "-", "--5", "0x10", "1,000", ".5", "-.25", "\t +3.", "1 2", "٣", "\0001")
    read = [read_number(text) for text in texts]
    assert read == [0, 0, 0, 0, 1, Fraction(1, 2), Fraction(-1, 4), 3, 1, 0, 0]


def test_normal_form_keeps_korean_syllables_apart() -> None:
    assert normal("각") != normal("가") and normal("가") not in normal("각")
    assert normal("Straße  ÅNGSTRÖM İ") == "strasse angstrom i"


def table(*rows: Row) -> Model:
    columns = (Column("id", INT, nullable=False), Column("title", TEXT), Column("price", PRICE))
    model = Model()
    model.apply([CreateTable(TableSchema("t", columns, ("id",))), Upsert("t", rows)], NOW)
    return model


def ids(model: Model, *order: OrderTerm, **more: int) -> list[object]:
    return [row["id"] for row in model.select(Select("t", order=order, **more)).rows]  # type: ignore[arg-type]  # ints


def test_null_comes_last_in_all_four_orders_and_ties_follow_the_last_direction() -> None:
    model = table(
        {"id": 1, "title": "10"}, {"id": 2}, {"id": 3, "title": "9"}, {"id": 4, "title": "9"}, {"id": 5, "title": None}
    )
    assert ids(model) == [1, 2, 3, 4, 5]
    assert ids(model, OrderTerm("title", OrderKind.STR)) == [1, 3, 4, 2, 5]
    assert ids(model, OrderTerm("title", OrderKind.STR, True)) == [4, 3, 1, 5, 2]
    assert ids(model, OrderTerm("title", OrderKind.NUM)) == [3, 4, 1, 2, 5]
    assert ids(model, OrderTerm("title", OrderKind.NUM, True), skip=1, limit=2) == [4, 3]
    assert model.count(Count("t", Filter(((Condition("title", Operator.NULL, ""),),)))) == 2


def test_composite_keys_are_ordered_part_by_part() -> None:
    schema = TableSchema("t", (Column("a", TEXT, False), Column("b", INT, False)), ("a", "b"))
    model = Model()
    rows: list[Row] = [{"a": "x,y", "b": 10}, {"a": "x", "b": 9}, {"a": "x", "b": 10}]
    model.apply([CreateTable(schema), Upsert("t", rows)], NOW)
    assert model.select(Select("t")).rows == [rows[1], rows[2], rows[0]]
    found = model.select(Select("t", where=Filter(((Condition(None, Operator.STREQ, "x\\,y,10"),),))))
    assert found.rows == [rows[0]]


def test_a_position_outlives_its_row() -> None:
    rows: list[Row] = [{"id": number, "title": "same"} for number in range(6)]
    model = table(*rows)
    order = (OrderTerm("title", OrderKind.STR, True),)
    query = Select("t", order=order, limit=2)
    second = model.select(query).rows[-1]
    assert second["id"] == 4
    at = position(model.table("t").schema, second, order)
    model.apply([Delete("t", Filter(((Condition("id", Operator.NUMEQ, "4"),),)))], NOW)
    after = model.select(query, after=at)
    assert [row["id"] for row in after.rows] == [3, 2] and after.has_next and after.has_prev
    before = model.select(query, before=at)
    assert [row["id"] for row in before.rows] == [5] and not before.has_prev and before.has_next


def test_aggregates_are_exact_and_skip_null() -> None:
    model = table(
        {"id": 1, "title": "a", "price": "0.10"}, {"id": 2, "title": "a", "price": "0.25"}, {"id": 3, "title": None}
    )
    aggregates = tuple(
        Aggregate(function, None if function is AggregateFunction.COUNT else "price", function.value)
        for function in AggregateFunction
    )
    output = ("title", "count", "sum", "avg", "min", "max")
    total, rows = model.group(Group("t", ("title",), aggregates, output))
    assert total == 2
    assert rows[0] == {"title": "a", "count": 2, "sum": "0.35", "avg": "0.175000", "min": "0.10", "max": "0.25"}
    assert rows[1] == {"title": None, "count": 1, "sum": None, "avg": None, "min": None, "max": None}
    by_sum = Group("t", ("title",), aggregates, output, order=(OrderTerm("sum", OrderKind.NUM, True),), limit=1)
    assert model.group(by_sum) == (2, rows[:1])


def test_changes_replace_merge_and_are_all_or_nothing() -> None:
    model = table({"id": 1, "title": "a", "price": "1.00"})
    assert model.apply([Upsert("t", [{"id": 1, "title": "b"}, {"id": 2}])], NOW).replaced == 1
    assert model.select(Select("t")).rows[0] == {"id": 1, "title": "b", "price": None}
    assert model.apply([Update("t", Filter(), {"price": "2.00"})], NOW).updated == 2
    with pytest.raises(UnknownColumn):
        model.apply([Delete("t", Filter()), Upsert("t", [{"id": 1, "titel": "x"}])], NOW)
    with pytest.raises(InvalidValue):
        model.apply([Upsert("t", [{"title": "no key"}])], NOW)
    with pytest.raises(SchemaConflict):
        model.apply([CreateTable(model.table("t").schema)], NOW)
    assert model.count(Count("t")) == 2
