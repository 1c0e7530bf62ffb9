"""Cursors: places between rows that outlive rows, restarts and servers, and that nobody can forge into harm."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import AddColumn, CreateIndex, CreateTable, Delete, RenameColumn, Upsert
from tcsql.engine.query import Condition, Filter, Operator, OrderKind, OrderTerm, Select
from tcsql.engine.result import Page
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.errors import InvalidCursor
from tests.duel import Duel, decoded
from tests.model import Row
from tests.pools import DOUBLE, INT, PRICE, VARCHAR
from tests.strategies import effort, orders, schemas, tables

SCHEMA = TableSchema(
    "t",
    (Column("id", INT, False), Column("uid", INT), Column("price", PRICE), Column("title", VARCHAR)),
    ("id",),
    (IndexDef("uid", ("uid",)), IndexDef("uid_title", ("uid", "title"))),
)
BY_UID = (OrderTerm("uid", OrderKind.NUM, True),)
BY_TITLE_THEN_PRICE = (OrderTerm("title", OrderKind.STR), OrderTerm("price", OrderKind.NUM, True))


def filled(count: int = 20, schema: TableSchema = SCHEMA) -> Duel:
    duel = Duel()
    duel.change(CreateTable(schema))
    rows: list[Row] = [
        {"id": number, "uid": number % 3, "price": f"{number % 4}.50", "title": f"t{number % 5}"}
        for number in range(count)
    ]
    duel.change(Upsert("t", rows))
    return duel


#: Only asked, never changed.
ASKED = filled()


def first_page(duel: Duel, query: Select) -> Page:
    page = duel.ask(query)
    assert isinstance(page, Page)
    return page


def ids(page: Page) -> list[object]:
    return [row["id"] for row in decoded(page.rows)]


@pytest.mark.parametrize("order", [(), BY_UID, BY_TITLE_THEN_PRICE, (OrderTerm("price", OrderKind.STR, True),)])
def test_going_forth_and_back_gives_the_same_pages(order: tuple[OrderTerm, ...]) -> None:
    duel = filled()
    query = Select("t", order=order, limit=4)
    pages = [first_page(duel, query)]
    while pages[-1].next is not None:
        mark = duel.bookmarks(query, pages[-1])[-1]
        pages.append(duel.turn(mark))
    assert len(pages) == 5
    for wanted in reversed(pages[:-1]):
        mark = duel.bookmarks(query, pages[-1])[0]
        assert not mark.forward
        pages.append(duel.turn(mark))
        assert pages[-1].rows == wanted.rows
    assert pages[0].prev is None and pages[4].next is None


def test_a_cursor_is_valid_while_its_row_is_gone_and_new_rows_come() -> None:
    duel = filled()
    query = Select("t", order=BY_UID, limit=3)
    page = first_page(duel, query)
    mark = duel.bookmarks(query, page)[-1]
    for row in decoded(page.rows):
        duel.change(Delete("t", Filter(((Condition("id", Operator.NUMEQ, str(row["id"])),),))))
    duel.change(Upsert("t", [{"id": 100, "uid": 2}, {"id": -1, "uid": 2}, {"id": 101, "uid": 0}]))
    following = duel.turn(mark)
    assert -1 not in ids(following)[:1] and 100 not in ids(following)
    assert following.prev is not None, "row 100 now stands before it"


def test_a_cursor_is_valid_after_a_restart_on_another_server_and_with_other_indexes() -> None:
    duel, other = filled(), filled()
    query = Select("t", order=BY_UID, limit=6)
    mark = duel.bookmarks(query, first_page(duel, query))[-1]
    here = duel.turn(mark)
    duel.restart()
    assert duel.turn(mark) == here
    duel.change(CreateIndex("t", IndexDef("more", ("uid", "price"))))
    duel.change(AddColumn("t", Column("extra", DOUBLE)))
    assert ids(duel.turn(mark)) == ids(here)
    assert ids(other.turn(mark)) == ids(here)


LISTED = TableSchema(
    "t",
    (Column("id", INT, False), Column("uid", INT), Column("price", PRICE), Column("title", VARCHAR)),
    ("id",),
    (IndexDef("title", ("title",)), IndexDef("title_uid", ("title", "uid")), IndexDef("uid_title", ("uid", "title"))),
)
SOME_TITLES = Condition("title", Operator.STROREQ, "t1,t2,t4")
NO_TITLE = Condition("title", Operator.NULL, "")


@pytest.mark.parametrize("terms", [("title",), ("title", "uid"), ("uid", "title")])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("any_of", [((SOME_TITLES,),), ((SOME_TITLES,), (NO_TITLE,))])
def test_a_cursor_divides_every_run_of_a_list_of_values(
    terms: tuple[str, ...], descending: bool, any_of: tuple[tuple[Condition, ...], ...]
) -> None:
    duel = filled(60, LISTED)
    duel.change(Upsert("t", [{"id": 100 + number, "uid": number % 3} for number in range(10)]))
    kinds = {"title": OrderKind.STR, "uid": OrderKind.NUM}
    order = tuple(OrderTerm(name, kinds[name], descending) for name in terms)
    query = Select("t", where=Filter(any_of), order=order, limit=7)
    page = first_page(duel, query)
    while page.next is not None:
        page = duel.turn(duel.bookmarks(query, page)[-1])
    while page.prev is not None:
        page = duel.turn(duel.bookmarks(query, page)[0])


@pytest.mark.parametrize("descending", [False, True])
def test_a_cursor_on_null_lies_behind_all_values_of_another_alternative(descending: bool) -> None:
    duel = filled()
    duel.change(Upsert("t", [{"id": number, "uid": None} for number in range(50, 54)]))
    null, some = Condition("uid", Operator.NULL, ""), Condition("uid", Operator.NUMGE, "1")
    few = Condition("id", Operator.NUMLE, "1000")
    query = Select(
        "t", where=Filter(((null, few), (some, few))), order=(OrderTerm("uid", OrderKind.NUM, descending),), limit=3
    )
    pages = [first_page(duel, query)]
    while pages[-1].next is not None:
        pages.append(duel.turn(duel.bookmarks(query, pages[-1])[-1]))
    while pages[-1].prev is not None:
        pages.append(duel.turn(duel.bookmarks(query, pages[-1])[0]))
    assert pages[-1].rows == pages[0].rows and len(pages) > 10


def test_page_size_and_columns_may_change_between_pages() -> None:
    duel = filled()
    query = Select("t", order=BY_UID, limit=5)
    mark = duel.bookmarks(query, first_page(duel, query))[-1]
    wider = replace(mark, query=replace(query, limit=9, columns=("title",)))
    assert len(duel.turn(wider).rows) == 9


def test_a_cursor_of_another_query_is_refused() -> None:
    duel = filled()
    page = first_page(duel, Select("t", order=BY_UID, limit=2))
    where = Filter(((Condition("uid", Operator.NUMEQ, "1"),),))
    for other in (
        Select("t"),
        Select("t", order=(OrderTerm("uid", OrderKind.NUM, False),)),
        Select("t", order=(OrderTerm("uid", OrderKind.STR, True),)),
        Select("t", order=BY_UID, where=where),
    ):
        for query in (replace(other, after=page.next), replace(other, before=page.next)):
            with pytest.raises(InvalidCursor):
                duel.database.query(query)


def test_a_cursor_is_refused_when_the_columns_it_names_are_others_now() -> None:
    duel = filled()
    page = first_page(duel, Select("t", order=BY_UID, limit=2))
    duel.change(RenameColumn("t", "uid", "user"))
    with pytest.raises(InvalidCursor):
        duel.database.query(Select("t", order=(OrderTerm("user", OrderKind.NUM, True),), limit=2, after=page.next))


def test_a_cursor_is_short_and_fits_into_a_url() -> None:
    page = first_page(filled(), Select("t", order=BY_TITLE_THEN_PRICE, limit=2))
    assert page.next is not None
    assert len(page.next) < 100
    assert set(page.next) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("9" * 200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@effort(300)
@given(
    st.text()
    | st.text("ABCDabcd0123-_=")
    | JSON.map(packed)
    | st.builds(str.__add__, st.from_regex("[0-9a-f]{8}[-_]", fullmatch=True), st.text("0123456789-_ab"))
)
def test_any_other_text_is_refused_as_a_cursor(text: str) -> None:
    duel = ASKED
    for query in (Select("t", order=BY_UID), Select("t")):
        with pytest.raises(InvalidCursor):
            duel.database.query(replace(query, after=text))


@effort(300)
@given(st.sampled_from(((), BY_UID, BY_TITLE_THEN_PRICE)), st.integers(0, 4), st.booleans(), JSON)
def test_a_forged_place_is_refused_or_is_a_place(
    order: tuple[OrderTerm, ...], part: int, backward: bool, forged: object
) -> None:
    duel = ASKED
    query = Select("t", order=order, limit=2)
    cursor = first_page(duel, query).next
    assert cursor is not None
    owner, mark, rest = cursor[:8], cursor[8], cursor[9:]
    data = [[], [int(rest)]] if mark == "-" else json.loads(base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4)))
    holder = data[0] if part < len(data[0]) else data[1]
    holder[min(part, len(holder) - 1) if holder is data[0] else 0] = forged
    text = f"{owner}_{packed(data)}" if part % 2 else f"{owner}-{forged}"
    try:
        page = duel.database.query(replace(query, before=text) if backward else replace(query, after=text))
    except InvalidCursor:
        return
    assert isinstance(page, Page) and len(page.rows) <= 2


@effort(40)
@given(schemas(), st.data())
def test_the_cursor_of_any_row_of_any_table_divides_it(schema: TableSchema, data: st.DataObject) -> None:
    duel = Duel()
    duel.change(CreateTable(schema))
    duel.change(Upsert("t", data.draw(tables(schema, 3, 30))))
    order = data.draw(orders(schema))
    whole = duel.database.query(Select("t", order=order, limit=100))
    assert isinstance(whole, Page)
    for skip in range(len(whole.rows)):
        query = Select("t", order=order, skip=skip, limit=1)
        page = duel.ask(query)
        assert isinstance(page, Page)
        for mark in duel.bookmarks(query, page):
            rest = duel.turn(replace(mark, query=replace(query, limit=100)))
            assert rest.rows == (whole.rows[skip + 1 :] if mark.forward else whole.rows[:skip])
