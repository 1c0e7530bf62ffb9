"""What a row costs decides how many of them are one step, and how many a query may have."""

from __future__ import annotations

import pytest

from tcsql.engine.change import CreateTable, Upsert
from tcsql.engine.conditions import MOST_PATTERNS, MOST_WORDS, check_patterns, weight
from tcsql.engine.database import Database
from tcsql.engine.query import Condition, Count, Filter, Operator
from tcsql.engine.schema import Column, TableSchema
from tcsql.errors import LimitExceeded
from tests.duel import NOW
from tests.model import Row
from tests.pools import INT, VARCHAR

ROWS = 1_000


def filled() -> Database:
    schema = TableSchema("posts", (Column("id", INT, False), Column("title", VARCHAR)), ("id",))
    database = Database()
    database.apply(database.check([CreateTable(schema)], NOW))
    rows: list[Row] = [{"id": at, "title": f"title of {at}"} for at in range(ROWS)]
    database.apply(database.check([Upsert("posts", rows)], NOW))
    return database


#: Only asked, never changed.
POSTS = filled()


def examined_and_steps(*conjunction: Condition) -> tuple[int, int]:
    """What a count examines, in how many steps."""
    query = Count("posts", Filter((conjunction,)))
    rows = POSTS.explain(query)["rows_examined"]
    assert isinstance(rows, int)
    return rows, sum(1 for _ in POSTS.general_steps(query))


def condition(operator: Operator, operand: str) -> Condition:
    return Condition("title", operator, operand)


@pytest.mark.parametrize("operator", [Operator.FTSAND, Operator.FTSOR, Operator.FTSEX])
def test_the_longer_a_test_takes_the_fewer_rows_a_step_has(operator: Operator) -> None:
    few = condition(operator, "nowhere")
    many = condition(operator, " ".join(f"nowhere{number}" for number in range(500)))
    rows, steps = examined_and_steps(few)
    heavy_rows, heavy_steps = examined_and_steps(many)
    assert heavy_steps > 10 * steps
    assert heavy_rows == weight((many,)) * rows


def test_an_ordinary_row_counts_for_one() -> None:
    assert weight(()) == 1
    assert weight(tuple(condition(Operator.STREQ, str(number)) for number in range(8))) == 1
    assert weight((condition(Operator.FTSEX, '"a b" && c'),)) == 1


def test_more_words_and_patterns_than_anybody_means_are_refused() -> None:
    words = condition(Operator.FTSOR, " ".join("a" * (MOST_WORDS // 2)))
    check_patterns(Filter(((words,), (words,))))
    with pytest.raises(LimitExceeded, match="words"):
        check_patterns(Filter(((words, words, condition(Operator.FTSPH, "b")),)))
    patterns = [condition(Operator.STRRX, f"a{number}") for number in range(MOST_PATTERNS + 1)]
    check_patterns(Filter((tuple(patterns[1:] * 3),)))
    with pytest.raises(LimitExceeded, match="patterns"):
        check_patterns(Filter((tuple(patterns),)))


def test_a_pattern_of_many_groups_costs_no_more_than_one_of_none() -> None:
    rows, steps = examined_and_steps(condition(Operator.STRRX, "(" * 400 + "q" + ")" * 400))
    assert (rows, steps) == examined_and_steps(condition(Operator.STRRX, "q"))
