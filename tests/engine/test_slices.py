"""Work in slices: whatever is written between two of them, an answer shows one state of the data."""

from __future__ import annotations

import random

import pytest

from tcsql.engine.change import (
    AddColumn,
    Change,
    CreateTable,
    Delete,
    DropColumn,
    DropTable,
    RenameColumn,
    Update,
    Upsert,
)
from tcsql.engine.database import RESTARTS, Database
from tcsql.engine.executor import SLICE_ROWS
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
    Query,
    Select,
)
from tcsql.engine.result import CountResult, Groups, Page, Result
from tcsql.engine.schema import Column, TableSchema
from tcsql.errors import UnknownColumn, UnknownTable
from tests.duel import NOW, decoded
from tests.pools import INT, VARCHAR

ROWS = 1_000
EACH = 100
SUM = Aggregate(AggregateFunction.SUM, "coins", "coins")


def filled() -> Database:
    database = Database()
    columns = (Column("id", INT, False), Column("coins", INT, False), Column("note", VARCHAR))
    commit(database, CreateTable(TableSchema("t", columns, ("id",))))
    commit(database, Upsert("t", [{"id": number, "coins": EACH, "note": "x"} for number in range(ROWS)]))
    return database


def commit(database: Database, *changes: Change) -> None:
    database.apply(database.check(changes, NOW))


def answer(database: Database, query: Query, between: list[Change], pause: int = 1) -> Result:
    """The answer, with the changes made one by one between slices."""
    steps = database.steps(query)
    slices = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        slices += 1
        if between and slices % pause == 0:
            commit(database, between.pop())


def transfers(dice: random.Random, count: int) -> list[Change]:
    """Each moves coins between rows far apart, so that a mixture of states would show a wrong sum."""
    found: list[Change] = []
    for number in range(count):
        poor, rich = dice.randrange(ROWS // 4), ROWS - 1 - dice.randrange(ROWS // 4)
        amounts = (EACH - number - 1, EACH + number + 1) if number % 2 else (EACH + number + 1, EACH - number - 1)
        rows = [{"id": each, "coins": amount, "note": "x"} for each, amount in zip((poor, rich), amounts, strict=True)]
        # Everything else goes back to what it was: the sum is always the same.
        others = {"coins": EACH}
        found.append(Update("t", Filter(), others))  # type: ignore[arg-type]  # plain values
        found.append(Upsert("t", rows))  # type: ignore[arg-type]  # plain values
    return found


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 40])
@pytest.mark.parametrize("pause", [1, 2, 5])
def test_a_sum_is_the_sum_of_one_state(count: int, pause: int) -> None:
    database = filled()
    result = answer(database, Group("t", (), (SUM,), ("coins",)), transfers(random.Random(count), count), pause)
    assert isinstance(result, Groups)
    assert decoded(result.rows) == [{"coins": ROWS * EACH}]


@pytest.mark.parametrize("writes", [1, RESTARTS, RESTARTS + 5])
def test_a_count_and_a_page_are_of_one_state(writes: int) -> None:
    """Every write turns all rows from one note to the other: all or none may be counted."""
    for query in (
        Count("t", Filter(((Condition("note", Operator.STREQ, "x"),),))),
        Select("t", where=Filter(((Condition("note", Operator.STREQ, "x"),),)), limit=ROWS, total=True),
        Select(
            "t", where=Filter(((Condition("note", Operator.STREQ, "x"),),)), order=(OrderTerm("coins", OrderKind.STR),)
        ),
    ):
        database = filled()
        between: list[Change] = [Update("t", Filter(), {"note": "xy"[number % 2]}) for number in range(writes)]
        result = answer(database, query, between)
        if isinstance(result, CountResult):
            assert result.count in (0, ROWS)
        else:
            assert isinstance(result, Page)
            assert result.total in (0, ROWS) and len(result.rows) in (0, 100, ROWS)
            assert len({row["note"] for row in decoded(result.rows)}) <= 1


def test_an_endless_stream_of_writes_does_not_stop_an_answer() -> None:
    database = filled()
    between: list[Change] = [
        Upsert("t", [{"id": number % ROWS, "coins": EACH, "note": "x"}]) for number in range(5_000)
    ]
    result = answer(database, Count("t", Filter(((Condition("note", Operator.STREQ, "x"),),))), between)
    assert result == CountResult(ROWS)
    assert len(between) > 4_900, "it began again too often"


def test_a_column_or_table_that_goes_meanwhile_is_an_error_of_the_caller() -> None:
    where = Filter(((Condition("note", Operator.STRINC, "x"),),))
    for change, error in (
        (DropColumn("t", "note"), UnknownColumn),
        (RenameColumn("t", "note", "remark"), UnknownColumn),
        (DropTable("t"), UnknownTable),
    ):
        for query in (Count("t", where), Select("t", columns=("note",), order=(OrderTerm("note", OrderKind.STR),))):
            with pytest.raises(error):
                answer(filled(), query, [change])
        steps = (database := filled()).check_steps([Delete("t", where)], NOW)
        next(steps)
        commit(database, change)
        with pytest.raises(error):
            list(steps)


def test_a_column_that_comes_meanwhile_is_in_all_rows_of_the_answer_or_in_none() -> None:
    result = answer(
        filled(), Select("t", order=(OrderTerm("note", OrderKind.STR),)), [AddColumn("t", Column("new", INT))]
    )
    assert isinstance(result, Page)
    assert {len(row) for row in decoded(result.rows)} == {4}


def test_slices_are_short() -> None:
    database = filled()
    steps = database.steps(Count("t", Filter(((Condition("note", Operator.STREQ, "y"),),))))
    assert sum(1 for _ in steps) >= ROWS // SLICE_ROWS
