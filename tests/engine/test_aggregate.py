"""Group totals: exact, NULL skipped, the same in whatever order the rows come."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import CreateTable, Upsert
from tcsql.engine.query import Aggregate, AggregateFunction, Group, OrderKind, OrderTerm
from tcsql.engine.result import Groups
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import ColumnType, JsonValue
from tests.duel import Duel, decoded
from tests.model import Row
from tests.pools import BIG, DOUBLE, INT, PRICE, VARCHAR
from tests.strategies import effort

KINDS = {"int": INT, "big": BIG, "price": PRICE, "double": DOUBLE, "text": VARCHAR}


def totals(kind: ColumnType, values: list[JsonValue]) -> Row:
    duel = Duel()
    duel.change(CreateTable(TableSchema("t", (Column("id", INT, False), Column("v", kind)), ("id",))))
    duel.change(Upsert("t", [{"id": number, "v": value} for number, value in enumerate(values)]))
    wanted = tuple(
        Aggregate(function, None if function is AggregateFunction.COUNT else "v", function.value)
        for function in AggregateFunction
    )
    answer = duel.ask(Group("t", (), wanted, tuple(each.label for each in wanted)))
    assert isinstance(answer, Groups)
    return decoded(answer.rows)[0]


@pytest.mark.parametrize(
    ("kind", "values", "answer"),
    [
        ("int", [1, 2, None], {"count": 3, "sum": 3, "avg": "1.5000", "min": 1, "max": 2}),
        ("int", [2, 2, 1], {"count": 3, "sum": 5, "avg": "1.6667", "min": 1, "max": 2}),
        ("int", [-1, 0, -1], {"count": 3, "sum": -2, "avg": "-0.6667", "min": -1, "max": 0}),
        ("big", [2**64 - 1] * 2, {"count": 2, "sum": 2**65 - 2, "avg": f"{2**64 - 1}.0000", "min": 2**64 - 1}),
        ("price", ["0.10", "0.20"], {"sum": "0.30", "avg": "0.150000", "min": "0.10", "max": "0.20"}),
        ("price", ["-9.00", "10.00", "9.00"], {"min": "-9.00", "max": "10.00", "sum": "10.00"}),
        ("double", [0.1] * 10, {"sum": 1, "avg": 0.1, "count": 10}),
        ("double", [1e300, 1.0, -1e300], {"sum": 1, "min": -1e300, "max": 1e300}),
        ("double", [1.7e308, 1.7e308], {"sum": None, "avg": 1.7e308}),
        ("text", ["1.5x", "", "2"], {"sum": 3.5, "min": "", "max": "2"}),
        ("int", [None], {"count": 1, "sum": None, "avg": None, "min": None, "max": None}),
        ("int", [], {"count": 0, "sum": None, "avg": None, "min": None, "max": None}),
    ],
)
def test_totals_of_one_group(kind: str, values: list[JsonValue], answer: Row) -> None:
    found = totals(KINDS[kind], values)
    assert {name: found[name] for name in answer} == answer


FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    (1.7e308, -1.7e308, 5e-324, 1e16, 1.0, -1e16)
)


@effort(60)
@given(st.lists(FLOATS, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_floats_are_summed_exactly_in_any_order(floats: list[float], dice: random.Random) -> None:
    values = [DOUBLE.from_client(each) for each in floats]
    first = totals(DOUBLE, values)
    dice.shuffle(values)
    assert totals(DOUBLE, values) == first
    exact = sum(map(Fraction, floats))
    if first["sum"] is not None:
        assert float(exact) == first["sum"]


def test_groups_are_ordered_by_columns_or_by_totals_and_cut() -> None:
    duel = Duel()
    columns = (Column("id", INT, False), Column("kind", VARCHAR), Column("hits", INT))
    duel.change(CreateTable(TableSchema("t", columns, ("id",))))
    kinds = ("b", None, "a", "b", "c", "c", "c")
    duel.change(Upsert("t", [{"id": at, "kind": kind, "hits": at} for at, kind in enumerate(kinds)]))
    count = Aggregate(AggregateFunction.COUNT, None, "count")
    hits = Aggregate(AggregateFunction.SUM, "hits", "sum(hits)")
    query = Group("t", ("kind",), (count, hits), ("kind", "count", "sum(hits)"))
    answer = duel.ask(query)
    assert isinstance(answer, Groups)
    assert [tuple(row.values()) for row in decoded(answer.rows)] == [
        ("a", 1, 2),
        ("b", 2, 3),
        ("c", 3, 15),
        (None, 1, 1),
    ]
    top = duel.ask(
        Group("t", ("kind",), (hits,), ("sum(hits)",), order=(OrderTerm("sum(hits)", OrderKind.NUM, True),), limit=2)
    )
    assert isinstance(top, Groups)
    assert (top.total, decoded(top.rows)) == (4, [{"sum(hits)": 15}, {"sum(hits)": 3}])


def test_thousands_of_groups_are_counted_and_cut() -> None:
    duel = Duel()
    duel.change(CreateTable(TableSchema("t", (Column("id", INT, False), Column("v", INT)), ("id",))))
    duel.change(Upsert("t", [{"id": number, "v": number % 4_000} for number in range(4_500)]))
    order = (OrderTerm("count", OrderKind.NUM, True),)
    count = (Aggregate(AggregateFunction.COUNT, None, "count"),)
    answer = duel.ask(Group("t", ("v",), count, ("v", "count"), order=order, skip=3_990, limit=20))
    assert isinstance(answer, Groups)
    assert answer.total == 4_000
    assert [row["v"] for row in decoded(answer.rows)] == list(range(509, 499, -1))  # ties in the direction of the order
