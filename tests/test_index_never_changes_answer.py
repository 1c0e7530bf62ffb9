"""The same question without an index, with each and with all; paged and glued; p and not p."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import CreateTable, Upsert
from tcsql.engine.database import Database
from tcsql.engine.query import Count, Filter, Select
from tcsql.engine.result import CountResult, Page
from tcsql.engine.schema import IndexDef, TableSchema
from tests.duel import NOW, Duel
from tests.model import Row
from tests.sizes import small_sizes
from tests.strategies import conditions, effort, filters, indexes, orders, questions, schemas, tables

pytestmark = pytest.mark.usefixtures(small_sizes.__name__)


@st.composite
def filled(draw: st.DrawFn) -> tuple[TableSchema, list[Row], list[IndexDef]]:
    """A schema without indexes, its rows, and indexes to try."""
    schema = draw(schemas())
    columns = tuple(replace(column, auto_increment=False) for column in schema.columns)
    schema = replace(schema, columns=columns, indexes=())
    content = draw(tables(schema, 5, 120))
    return schema, content, [draw(indexes(schema, f"i{at}")) for at in range(draw(st.integers(1, 5)))]


def engine(schema: TableSchema, content: list[Row], wanted: list[IndexDef]) -> Database:
    database = Database()
    for change in (CreateTable(replace(schema, indexes=tuple(wanted))), Upsert(schema.name, content)):
        database.apply(database.check([change], NOW))
    return database


@effort(60)
@given(filled(), st.data())
def test_every_set_of_indexes_gives_the_same_answer(
    table: tuple[TableSchema, list[Row], list[IndexDef]], data: st.DataObject
) -> None:
    schema, content, wanted = table
    duel = Duel()
    duel.change(CreateTable(schema))
    duel.change(Upsert(schema.name, content))
    engines = [engine(schema, content, each) for each in ([], *([index] for index in wanted), wanted)]
    aim = replace(schema, indexes=tuple(wanted))
    for query in data.draw(questions(aim, 15)):
        for duel.database in engines:
            duel.ask(query)
        plan = engines[-1].explain(query)
        assert orjson.dumps(plan), "an explanation can be sent"


def walk(duel: Duel, query: Select, forward: bool) -> list[bytes]:
    """All pages from one end to the other, glued."""
    page = duel.ask(query if forward else replace(query, skip=0, limit=1_000))
    assert isinstance(page, Page)
    pages = [page.rows if forward else page.rows[-1:]]
    if not forward and page.rows:  # begin at the last row: its predecessor is the "prev" of a page that begins there
        last = duel.ask(replace(query, skip=len(page.rows) - 1, limit=1))
        assert isinstance(last, Page)
        page = last
    for _ in range(200):
        marks = [mark for mark in duel.bookmarks(query, page) if mark.forward is forward]
        if not marks:
            return [row for part in (pages if forward else reversed(pages)) for row in part]
        page = duel.turn(marks[0])
        pages.append(page.rows)
    raise AssertionError("the pages never end")


@effort(150)
@given(filled(), st.data(), st.integers(1, 7), st.booleans())
def test_pages_by_cursor_glued_together_are_the_whole(
    table: tuple[TableSchema, list[Row], list[IndexDef]], data: st.DataObject, size: int, forward: bool
) -> None:
    schema, content, wanted = table
    duel = Duel()
    schema = replace(schema, indexes=tuple(wanted))
    duel.change(CreateTable(schema))
    duel.change(Upsert(schema.name, content))
    query = Select(schema.name, where=data.draw(filters(schema)), order=data.draw(orders(schema)), limit=size)
    whole = duel.database.query(replace(query, limit=1_000))
    assert isinstance(whole, Page)
    assert walk(duel, query, forward) == whole.rows


@effort(60)
@given(filled(), st.data())
def test_a_condition_and_its_negation_share_all_rows(
    table: tuple[TableSchema, list[Row], list[IndexDef]], data: st.DataObject
) -> None:
    schema, content, wanted = table
    database = engine(schema, content, wanted)
    total = database.query(Count(schema.name))
    assert isinstance(total, CountResult)
    for _ in range(8):
        condition = data.draw(conditions(schema))
        sides = [Filter(((replace(condition, negated=negated),),)) for negated in (False, True)]
        sizes = []
        for side in sides:
            counted = database.query(Count(schema.name, side))
            page = database.query(Select(schema.name, where=side, limit=1_000, total=True))
            assert isinstance(counted, CountResult) and isinstance(page, Page)
            assert counted.count == len(page.rows) == page.total
            sizes.append(counted.count)
        assert sum(sizes) == total.count
        both = database.query(Count(schema.name, Filter((sides[0].any_of[0], sides[1].any_of[0]))))
        assert both == total
