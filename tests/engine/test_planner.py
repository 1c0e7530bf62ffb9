"""Plans by what they cost: rows examined, as ``explain`` tells; that answers are right is proved elsewhere."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from tcsql.engine.change import CreateIndex, CreateTable, Delete, Upsert
from tcsql.engine.database import Database
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
from tcsql.engine.result import CountResult, Page
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.errors import InvalidPattern, TooCostly
from tests.duel import NOW
from tests.model import Row
from tests.pools import INT, VARCHAR

ROWS = 4_000
SCHEMA = TableSchema(
    "posts",
    (
        Column("id", INT, False),
        Column("uid", INT, False),
        Column("dateline", INT, False),
        Column("idtype", VARCHAR, False),
        Column("title", VARCHAR),
        Column("hits", INT),
    ),
    ("id",),
    (
        IndexDef("uid", ("uid",)),
        IndexDef("idtype_dateline", ("idtype", "dateline")),
        IndexDef("dateline", ("dateline",)),
        IndexDef("title", ("title",), fulltext=True),
    ),
)
NEWEST = (OrderTerm("id", OrderKind.NUM, True),)


def posts() -> Database:
    dice = random.Random(1)
    database = Database()
    database.apply(database.check([CreateTable(SCHEMA)], NOW))
    rows: list[Row] = [
        {
            "id": at,
            "uid": dice.randrange(400),
            "dateline": 1_000_000 + at,
            "idtype": "rare" if at % 500 == 0 else "blogid" if at % 3 else "threadid",
            "title": f"title of {at}",
            "hits": at % 7,
        }
        for at in range(ROWS)
    ]
    database.apply(database.check([Upsert("posts", rows)], NOW))
    database.maintain(lambda: True)
    return database


#: Only asked, never changed.
POSTS = posts()


def where(*conditions: tuple[str | None, Operator, str]) -> Filter:
    return Filter((tuple(Condition(*each) for each in conditions),))


def examined(query: Query) -> int:
    found = POSTS.explain(query)["rows_examined"]
    assert isinstance(found, int)
    return found


def chosen(query: Query) -> list[str]:
    found: Any = POSTS.explain(query)["chosen"]
    return [access["index"] for access in found]


def page(query: Select) -> Page:
    found = POSTS.query(query)
    assert isinstance(found, Page)
    return found


def test_a_deep_page_examines_no_more_rows_than_the_first() -> None:
    for filtered in (Filter(), where(("idtype", Operator.STREQ, "blogid"))):
        for order in ((), NEWEST, (OrderTerm("dateline", OrderKind.NUM, True),)):
            first = Select("posts", where=filtered, order=order, limit=10)
            total = page(first).total
            assert total is not None
            deep = replace(first, skip=total - 10)
            if filtered.any_of and order != (OrderTerm("dateline", OrderKind.NUM, True),):
                continue  # the order is not the index's own: sorting is allowed to look at all of the run
            assert examined(deep) == examined(first) == 10
            assert len(page(deep).rows) == 10


@pytest.mark.parametrize(
    "conditions",
    [
        (("uid", Operator.NUMEQ, "7"),),
        (("dateline", Operator.NUMGE, "1002000"),),
        (("idtype", Operator.STREQ, "blogid"), ("dateline", Operator.NUMBT, "1000100,1003000")),
        (("idtype", Operator.STROREQ, "blogid,rare"),),
        (("id", Operator.NUMOREQ, "1,2,3,5000"),),
        (("title", Operator.NULL, ""), ("uid", Operator.NUMEQ, "-1")),
    ],
)
def test_a_count_that_one_index_knows_examines_nothing(conditions: tuple[tuple[str, Operator, str], ...]) -> None:
    query = Count("posts", where(*conditions))
    assert examined(query) == 0
    counted = POSTS.query(query)
    assert counted == CountResult(len(page(Select("posts", where=query.where, limit=ROWS)).rows))


def test_a_total_comes_with_the_page_where_an_index_gives_it_and_only_there() -> None:
    indexed = Select("posts", where=where(("uid", Operator.NUMEQ, "7")), order=NEWEST, limit=2)
    assert page(indexed).total is not None and examined(indexed) < 100
    scanned = Select("posts", where=where(("hits", Operator.NUMEQ, "3")), limit=2)
    assert page(scanned).total is None and examined(scanned) < 100
    assert page(replace(scanned, total=True)).total == len(page(replace(scanned, limit=ROWS)).rows)


def test_the_classic_trap_is_avoided_both_ways() -> None:
    """``dateline >= T AND idtype = X ORDER BY pkey DESC LIMIT 10``: walk when matches are common, else take the run."""
    common = where(("dateline", Operator.NUMGE, "1000000"), ("idtype", Operator.STREQ, "blogid"))
    rare = where(("dateline", Operator.NUMGE, "1000000"), ("idtype", Operator.STREQ, "rare"))
    assert examined(Select("posts", where=common, order=NEWEST, limit=10)) < 100
    assert examined(Select("posts", where=rare, order=NEWEST, limit=10)) <= 3 * ROWS // 500
    assert chosen(Select("posts", where=rare, order=NEWEST, limit=10)) == ["idtype_dateline"]


def test_an_ordered_walk_that_finds_too_little_gives_up() -> None:
    """Columns that depend on each other fool the estimate; the walk must not pay for it more than three times."""
    old = where(("dateline", Operator.NUMLT, "1000600"), ("hits", Operator.NUMGE, "0"))
    query = Select("posts", where=old, order=NEWEST, limit=10)
    assert examined(query) <= 3 * 600 + 500
    assert len(page(query).rows) == 10


def test_a_union_counts_each_row_once() -> None:
    either = Filter(
        (*where(("uid", Operator.NUMEQ, "7")).any_of, *where(("dateline", Operator.NUMGE, "1003990")).any_of)
    )
    rows = page(Select("posts", where=either, limit=ROWS, total=True))
    assert rows.total == len(rows.rows) == len(set(rows.rows))
    assert POSTS.query(Count("posts", either)) == CountResult(len(rows.rows))
    assert examined(Select("posts", where=either, limit=10)) < 100


def test_full_text_looks_at_candidates_only() -> None:
    for operator in (Operator.STRINC, Operator.FTSPH):
        query = Select("posts", where=where(("title", operator, "of 399")), limit=100)
        assert len(page(query).rows) == 11
        assert examined(query) < 300
    assert len(page(Select("posts", where=where(("title", Operator.STRINC, "9")), limit=ROWS)).rows) > 1_000


def test_a_very_long_list_is_still_answered() -> None:
    numbers = ",".join(map(str, range(0, 10_000, 2)))
    for column in ("id", "uid", "hits"):
        query = Count("posts", where((column, Operator.NUMOREQ, numbers)))
        assert POSTS.query(query) == CountResult(
            len([None for row in page(Select("posts", limit=ROWS)).rows if _number(row, column) % 2 == 0])
        )


def _number(row: bytes, column: str) -> int:
    return int(json.loads(row)[column])


def test_a_query_above_its_budget_is_refused_and_told_what_would_help() -> None:
    POSTS.query_budget_rows = 1_000
    try:
        for query in (
            Count("posts", where(("hits", Operator.NUMEQ, "3"))),
            Select("posts", where=where(("hits", Operator.NUMEQ, "3")), order=(OrderTerm("hits", OrderKind.NUM),)),
            Group("posts", ("hits",), (Aggregate(AggregateFunction.COUNT, None, "count"),), ("hits", "count")),
        ):
            with pytest.raises(TooCostly) as refused:
                POSTS.query(query)
            if query.where.any_of:
                assert refused.value.hint is not None and "CREATE INDEX" in refused.value.hint
        assert isinstance(POSTS.query(Count("posts", where(("uid", Operator.NUMEQ, "7")))), CountResult)
        with pytest.raises(TooCostly):
            POSTS.check([Delete("posts", where(("hits", Operator.NUMEQ, "3")))], NOW)
    finally:
        POSTS.query_budget_rows = 2_000_000


def test_the_advised_index_makes_the_query_cheap() -> None:
    database = posts()
    query = Select(
        "posts", where=where(("hits", Operator.NUMEQ, "9"), ("uid", Operator.NUMLT, "100")), order=NEWEST, limit=5
    )
    plan = database.explain(query)
    advice = plan["advice"]
    assert isinstance(advice, str) and advice.startswith("CREATE INDEX ")
    columns = advice[advice.index("(") + 1 : -1].split(", ")
    database.apply(database.check([CreateIndex("posts", IndexDef("advised", tuple(columns)))], NOW))
    after = database.explain(query)["rows_examined"]
    assert isinstance(after, int) and after < 100


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "[z-a]", "(?=x)", "\\1", "x" * 1_001, "*(", "(a+)+$" * 200])
def test_a_pattern_that_cannot_be_used_is_refused_even_when_no_row_would_be_asked(pattern: str) -> None:
    bad = ("title", Operator.STRRX, pattern)
    for conditions in ((bad,), (("uid", Operator.NUMEQ, "-1"), bad), (("id", Operator.NUMOREQ, ""), bad)):
        with pytest.raises(InvalidPattern):
            POSTS.query(Count("posts", where(*conditions)))
        with pytest.raises(InvalidPattern):
            POSTS.query(Select("posts", where=where(*conditions)))
        with pytest.raises(InvalidPattern):
            POSTS.query(Select("posts", where=where(*conditions), limit=0))
        with pytest.raises(InvalidPattern):
            POSTS.check([Delete("posts", where(*conditions))], NOW)


def test_explain_shows_every_access_with_its_size() -> None:
    query = Select(
        "posts",
        where=where(("dateline", Operator.NUMGE, "1003900"), ("idtype", Operator.STREQ, "blogid")),
        order=NEWEST,
        limit=10,
    )
    plan: Any = POSTS.explain(query)
    accesses = {access["index"]: access for access in plan["alternatives"][0]["accesses"]}
    assert set(accesses) == {"PRIMARY", "idtype_dateline", "dateline"}
    assert accesses["PRIMARY"]["rows_in_runs"] == ROWS and accesses["PRIMARY"]["gives_order"]
    assert accesses["idtype_dateline"]["left_to_test"] == [] and accesses["idtype_dateline"]["exact"]
    assert accesses["dateline"]["left_to_test"] == ["idtype:STREQ:blogid"]
    assert plan["alternatives"][0]["matches"]["exact"] == accesses["idtype_dateline"]["rows_in_runs"]


@pytest.mark.parametrize(
    ("operator", "operand"),
    [(Operator.FTSEX, "!! title"), (Operator.FTSEX, "|| title"), (Operator.FTSEX, ""), (Operator.FTSAND, " , ")],
)
def test_a_full_text_expression_that_no_row_can_meet_examines_none(operator: Operator, operand: str) -> None:
    filtered = where(("title", operator, operand))
    assert examined(Select("posts", where=filtered, order=NEWEST)) == 0
    assert POSTS.query(Count("posts", filtered)) == CountResult(0)
