"""What index a shape of queries asks for, and when its absence has cost enough."""

from __future__ import annotations

import time

import pytest

from tcsql.engine.advisor import (
    BUILD_US,
    EXAMINE_US,
    MAX_NEEDS,
    MAX_SHAPES,
    MIN_TIMES,
    Advisor,
    advice_for,
    wanted_columns,
)
from tcsql.engine.query import Condition, Count, Filter, Group, Operator, OrderKind, OrderTerm, Query, Select
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tests.pools import DATETIME, INT, VARCHAR

COLUMNS = (
    Column("id", INT, False), Column("uid", INT, False), Column("dateline", INT, False),
    Column("idtype", VARCHAR, False), Column("title", VARCHAR), Column("hits", INT), Column("created", DATETIME),
)  # fmt: skip
BARE = TableSchema("posts", COLUMNS, ("id",))
NEWEST = (OrderTerm(None, OrderKind.NUM, True),)
BY_DATE = (OrderTerm("dateline", OrderKind.NUM, True),)
OPERANDS = {"STREQ": "x", "STROREQ": "x,y", "NUMOREQ": "1 2", "NULL": ""}


def indexed(*indexes: tuple[str, ...]) -> TableSchema:
    return BARE.with_(indexes=tuple(IndexDef("_".join(columns), columns) for columns in indexes))


def where(text: str) -> Filter:
    """``uid:NUMEQ title:~NULL | …``: columns and operators, the operands do not matter."""
    alternatives = []
    for part in text.split("|"):
        conditions = []
        for word in part.split():
            column, operator = word.split(":")
            found = Operator(operator.removeprefix("~"))
            operand = OPERANDS.get(found.value, "7")
            name = None if column == "pkey" else column
            conditions.append(Condition(name, found, operand, operator.startswith("~")))
        alternatives.append(tuple(conditions))
    return Filter(tuple(each for each in alternatives if each))


def page(text: str, order: tuple[OrderTerm, ...] = ()) -> Select:
    return Select("posts", where=where(text), order=order, limit=10)


def count(text: str) -> Count:
    return Count("posts", where(text))


BY_TEXT_AND_DATE = (OrderTerm("idtype", OrderKind.STR), OrderTerm("dateline", OrderKind.NUM))
SHAPES: list[tuple[TableSchema, Query, tuple[str, ...] | None]] = [
    # equality, then the order of the key, which needs no column
    (BARE, page("uid:NUMEQ"), ("uid",)),
    (BARE, page("uid:NUMEQ idtype:STREQ", NEWEST), ("uid", "idtype")),
    (BARE, page("idtype:STREQ uid:NUMEQ", NEWEST), ("uid", "idtype")),
    (indexed(("idtype", "uid")), page("uid:NUMEQ idtype:STREQ", NEWEST), None),
    (indexed(("uid",)), page("uid:NUMEQ idtype:STREQ", NEWEST), ("uid", "idtype")),
    (BARE, page("idtype:STROREQ uid:NUMOREQ"), ("uid", "idtype")),
    (BARE, page("hits:NULL", BY_DATE), ("hits", "dateline")),
    # equality, then the order
    (BARE, page("uid:NUMEQ", BY_DATE), ("uid", "dateline")),
    (indexed(("uid",)), page("uid:NUMEQ", BY_DATE), ("uid", "dateline")),
    (indexed(("uid", "dateline")), page("uid:NUMEQ", BY_DATE), None),
    (BARE, page("", BY_DATE), ("dateline",)),
    (BARE, page("", BY_TEXT_AND_DATE), ("idtype", "dateline")),
    (BARE, page("title:STRINC", BY_DATE), ("dateline",)),
    (
        BARE,
        page("uid:NUMEQ", (OrderTerm("title", OrderKind.STR), OrderTerm("dateline", OrderKind.NUM, True))),
        ("uid",),
    ),
    (BARE, page("uid:NUMEQ", (OrderTerm("title", OrderKind.NUM),)), ("uid",)),
    # a range: its column last
    (BARE, page("dateline:NUMGE idtype:STREQ", BY_DATE), ("idtype", "dateline")),
    (BARE, page("dateline:NUMGE idtype:STREQ", NEWEST), ("idtype", "dateline")),
    (indexed(("idtype", "dateline")), page("dateline:NUMGE idtype:STREQ", NEWEST), ("idtype",)),
    (indexed(("idtype", "dateline"), ("idtype",)), page("dateline:NUMGE idtype:STREQ", NEWEST), None),
    (indexed(("dateline",)), page("dateline:NUMGE", NEWEST), None),
    (BARE, page("hits:NUMGT uid:NUMEQ", BY_DATE), ("uid", "dateline")),
    (indexed(("uid", "dateline")), page("hits:NUMGT uid:NUMEQ", BY_DATE), ("uid", "hits")),
    (indexed(("uid", "dateline"), ("uid", "hits")), page("hits:NUMGT uid:NUMEQ", BY_DATE), None),
    (BARE, page("title:STRBW", NEWEST), ("title",)),
    (BARE, page("hits:NUMGT dateline:NUMLT", NEWEST), ("hits",)),
    (indexed(("hits",)), page("hits:NUMGT dateline:NUMLT", NEWEST), ("dateline",)),
    # the primary key is behind every index, and an index by itself
    (BARE, page("uid:NUMEQ pkey:NUMGT"), ("uid",)),
    (BARE, page("uid:NUMEQ id:NUMGT"), ("uid",)),
    (BARE, page("pkey:NUMEQ uid:NUMEQ"), None),
    (BARE, page("pkey:NUMGT"), None),
    # counts and groups want rows, in no order
    (BARE, count("dateline:NUMGE idtype:STREQ"), ("idtype", "dateline")),
    (indexed(("idtype", "dateline")), count("dateline:NUMGE idtype:STREQ"), None),
    (indexed(("idtype",)), count("dateline:NUMGE idtype:STREQ"), ("idtype", "dateline")),
    (BARE, Group("posts", ("uid",), (), ("uid",), where("idtype:STREQ")), ("idtype",)),
    (BARE, Group("posts", ("uid",), (), ("uid",)), None),
    # alternatives: the first that is badly served
    (indexed(("uid",)), page("uid:NUMEQ|idtype:STREQ"), ("idtype",)),
    # nothing that an ordered index could do
    (BARE, page(""), None),
    (BARE, page("title:STRINC"), None),
    (BARE, page("uid:~NUMEQ title:STRRX hits:STREW"), None),
    (BARE, page("idtype:~STREQ", NEWEST), None),
    (BARE, page("created:NUMGT"), None),
]


@pytest.mark.parametrize(("schema", "query", "columns"), SHAPES)
def test_a_shape_asks_for_the_index_that_would_serve_it_better(
    schema: TableSchema, query: Query, columns: tuple[str, ...] | None
) -> None:
    assert wanted_columns(schema, query) == columns


def test_with_every_index_it_asks_for_a_shape_is_content() -> None:
    for schema, query, _ in SHAPES:
        held = schema
        for _ in range(4):
            columns = wanted_columns(held, query)
            if columns is None:
                break
            held = held.with_(indexes=(*held.indexes, IndexDef("_".join(columns), columns)))
        assert wanted_columns(held, query) is None, query


def test_a_composite_key_orders_the_entries_of_every_index() -> None:
    schema = TableSchema("posts", COLUMNS, ("uid", "id"))
    assert wanted_columns(schema, page("idtype:STREQ uid:NUMGT", NEWEST)) == ("idtype", "uid")
    assert wanted_columns(schema, page("uid:NUMEQ")) is None
    assert wanted_columns(schema, page("pkey:STREQ idtype:STREQ")) == ("idtype",)


def test_text_is_only_advised_never_wanted() -> None:
    query = page("title:FTSAND")
    assert wanted_columns(BARE, query) is None
    assert advice_for(BARE, query) == "CREATE FULLTEXT INDEX title_text ON posts (title)"
    held = BARE.with_(indexes=(IndexDef("t", ("title",), fulltext=True),))
    assert advice_for(held, query) is None
    assert advice_for(BARE, page("uid:NUMEQ", BY_DATE)) == "CREATE INDEX uid_dateline ON posts (uid, dateline)"


# --- accounts -----------------------------------------------------------------------------------------------------

ROWS = 100_000
PRICE_ROWS = int(ROWS * BUILD_US / EXAMINE_US)
MISSED = page("uid:NUMEQ", BY_DATE)


def test_an_index_is_proposed_when_its_absence_has_cost_as_much_as_building_it() -> None:
    advisor = Advisor()
    for _ in range(9):
        advisor.note(BARE, MISSED, PRICE_ROWS // 10, 0)
        assert advisor.proposal(BARE, ROWS) is None
    advisor.note(BARE, MISSED, PRICE_ROWS // 10 + 10, 0)
    need = advisor.proposal(BARE, ROWS)
    assert need is not None and need.columns == ("uid", "dateline")
    reason = "select where uid:NUMEQ order by dateline NUMDESC: 10 queries examined 500,010 rows in vain, 0.35 s"
    assert need.reason() == reason


def test_one_expensive_query_is_no_habit() -> None:
    advisor = Advisor()
    for _ in range(MIN_TIMES - 1):
        advisor.note(BARE, MISSED, 10 * PRICE_ROWS, 0)
    assert advisor.proposal(BARE, ROWS) is None
    advisor.note(BARE, MISSED, 10 * PRICE_ROWS, 0)
    assert advisor.proposal(BARE, ROWS) is not None


def test_what_is_asked_for_rarely_is_never_proposed() -> None:
    advisor = Advisor()
    for _ in range(1_000):
        advisor.note(BARE, MISSED, PRICE_ROWS // 3, 0)
        advisor.fade(0.5)
        assert advisor.proposal(BARE, ROWS) is None
    for _ in range(40):
        advisor.fade(0.5)
    assert not advisor.needs()


def test_rows_that_a_page_shows_are_not_examined_in_vain() -> None:
    advisor = Advisor()
    for _ in range(1_000):
        advisor.note(BARE, MISSED, 1_000, 1_000)
    assert not advisor.needs()


def test_shapes_that_miss_the_same_index_share_an_account() -> None:
    advisor = Advisor()
    for text in ("uid:NUMEQ idtype:STREQ", "idtype:STREQ uid:NUMEQ", "idtype:STREQ uid:NUMEQ title:STRINC"):
        advisor.note(BARE, page(text, NEWEST), 1_000, 0)
        advisor.note(BARE, count(text), 1_000, 0)
    [need] = advisor.needs()
    assert (need.columns, need.times, need.wasted_rows) == (("uid", "idtype"), 6, 6_000)


def test_the_most_expensive_absence_comes_first() -> None:
    advisor = Advisor()
    for _ in range(MIN_TIMES):
        advisor.note(BARE, MISSED, PRICE_ROWS, 0)
        advisor.note(BARE, page("hits:NUMEQ"), 2 * PRICE_ROWS, 0)
    assert [need.columns for need in advisor.needs()] == [("hits",), ("uid", "dateline")]
    proposed = advisor.proposal(BARE, ROWS)
    assert proposed is not None and proposed.columns == ("hits",)


def test_an_index_that_is_made_or_dropped_closes_its_account() -> None:
    advisor = Advisor()
    for _ in range(MIN_TIMES):
        advisor.note(BARE, MISSED, PRICE_ROWS, 0)
        advisor.note(BARE, page("hits:NUMEQ"), PRICE_ROWS // 2, 0)
    made = indexed(("uid", "dateline"))
    advisor.note(made, MISSED, 1_000, 0)
    assert [need.columns for need in advisor.needs()] == [("hits",)]
    refused = BARE.with_(forbidden=(IndexDef("auto_hits", ("hits",), automatic=True),))
    advisor.note(refused, page("hits:NUMEQ"), PRICE_ROWS, 0)
    assert not advisor.needs()
    advisor.note(BARE, page("hits:NUMEQ"), PRICE_ROWS, 0)
    assert [need.columns for need in advisor.needs()] == [("hits",)]
    gone = TableSchema("posts", tuple(column for column in COLUMNS if column.name != "hits"), ("id",))
    assert advisor.proposal(gone, ROWS) is None and not advisor.needs()


def test_what_was_declined_is_not_proposed_for_a_while() -> None:
    advisor = Advisor()

    def suffer() -> None:
        for _ in range(2 * MIN_TIMES):
            advisor.note(BARE, page("hits:NUMGT uid:NUMEQ", BY_DATE), PRICE_ROWS, 0)

    suffer()
    advisor.decline(("uid", "dateline"))
    assert advisor.proposal(BARE, ROWS) is None
    suffer()
    second = advisor.proposal(BARE, ROWS)
    assert second is not None and second.columns == ("uid", "hits")
    advisor.fade(0.4)
    suffer()
    third = advisor.proposal(BARE, ROWS)
    assert third is not None and third.columns == ("uid", "dateline")


def test_hostile_variety_is_bounded_and_does_not_hide_what_is_frequent() -> None:
    columns = tuple(Column(f"c{number}", INT, False) for number in range(60))
    schema = TableSchema("posts", (COLUMNS[0], *columns), ("id",))
    advisor = Advisor()
    for number in range(1_500):
        names = (f"c{number % 60}", f"c{number // 60 % 60}")
        noise = Filter((tuple(Condition(name, Operator.NUMEQ, "1") for name in dict.fromkeys(names)),))
        advisor.note(schema, Count("posts", noise), 1_000, 0)
        advisor.note(schema, Count("posts", Filter(((Condition("c7", Operator.NUMGT, "1"),),))), 1_000, 0)
    assert len(advisor.needs()) <= MAX_NEEDS and len(advisor._shapes) <= MAX_SHAPES
    assert advisor.needs()[0].columns == ("c7",) and advisor.needs()[0].times >= 1_500


def test_taking_note_costs_microseconds() -> None:
    advisor = Advisor()
    query = page("dateline:NUMGE idtype:STREQ", NEWEST)
    best = 1.0
    for _ in range(20):
        began = time.thread_time()
        for _ in range(200):
            advisor.note(BARE, query, 1_000, 10)
        best = min(best, (time.thread_time() - began) / 200)
    assert best < 10e-6, best
