"""Prepared queries answer what the general way answers, to the byte, for whatever table, index, operand and history."""

from __future__ import annotations

import random
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine import heads, prepared
from tcsql.engine.change import AddColumn, Change, CreateTable, Delete, Update, Upsert
from tcsql.engine.database import Database
from tcsql.engine.query import Condition, Count, Filter, Operator, OrderKind, OrderTerm, Query, Select
from tcsql.engine.result import Page, Result
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.shortcuts import Answered
from tcsql.engine.values import ColumnType, JsonValue, Kind
from tcsql.errors import TCSQLError
from tcsql.http import render
from tests.duel import NOW
from tests.pools import BIG, DATE, INT, VARCHAR
from tests.strategies import effort

SIGNED = ColumnType(Kind.INTEGER, "bigint", low=-(2**63), high=2**63 - 1)
#: Columns that prepared queries deal with.
KINDS = (INT, INT, SIGNED, BIG, VARCHAR, VARCHAR, DATE)
POOL: dict[ColumnType, tuple[JsonValue, ...]] = {
    INT: (0, 1, 2, 3, -1, -2, 2**31 - 1, -(2**31)),
    SIGNED: (0, 1, 2, 3, -1, 2**53 + 1, 2**63 - 1, -(2**63)),
    BIG: (0, 1, 2, 3, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1),
    VARCHAR: ("", "a", "b", "1", "2", "01", "1a", "é", "blogid", " 1"),
    DATE: ("2026-11-20", "2026-11-21", "1999-01-01"),
}
ODD = (
    *("0", "1", "2", "3", "00", "01", "-1", "-2", "+1", "1.0",
      "0.5", "1e3", "", " ", " 1", "a", "1a", "é", "\u0661", "\ud800"),
    *(str(2**31), str(2**63), str(2**64 - 1), str(2**64), str(-(2**63)), "9" * 18,
      "1" + "0" * 17, "9" * 30, "-" + "9" * 30),
)  # fmt: skip
PLAIN = ("0", "1", "2", "3", "5", "a", "b", "blogid", "2026-11-20", "999999999999999999")
SIMPLE = (
    *(Operator.NUMEQ, Operator.NUMEQ, Operator.STREQ, Operator.STREQ),
    *(Operator.NUMGE, Operator.NUMGE, Operator.NUMGT, Operator.NUMLE, Operator.NUMLT, Operator.NUMBT, Operator.STRBW),
)


def general(database: Database, query: Query) -> Result:
    """The answer of the way that plans each query for itself."""
    steps = database.general_steps(query)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result


def change(database: Database, *changes: Change) -> None:
    for each in changes:
        database.apply(database.check([each], NOW))


def agrees(database: Database, query: Query) -> bool:
    """Whether the query was prepared and its operands taken; then the answer must be the general one."""
    bodies = [body_of(database, query)]
    found = database.prepared(query.table).answer(query)
    bodies.append(body_of(database, query))
    if found is None:
        assert bodies == [None, None]
        return False
    wanted = general(database, query)
    assert found == wanted, f"{query}: prepared {found}, general {wanted}"
    for body in bodies:
        assert body is None or body == render.result(wanted), f"{query}: body {body!r}, general {wanted}"
    return True


def body_of(database: Database, query: Query) -> bytes | None:
    """What is answered by bytes, of operands that are letters and digits."""
    shape = database.prepared(query.table).find(query)
    operands = [condition.operand for each in query.where.any_of for condition in each]
    if shape is None or not all(each.isascii() and each.isalnum() for each in operands):
        return None
    skip, limit = (query.skip, query.limit) if isinstance(query, Select) else (0, 0)
    answered = Answered()
    body = shape.body(skip, limit, answered)([each.encode() for each in operands])
    assert answered.hits == (body is not None)
    rows = body is not None and isinstance(query, Select) and len(orjson.loads(body)["rows"])
    assert answered.rows == rows, f"{query}: rows are counted as they are given"
    return body


@st.composite
def table_schemas(draw: st.DrawFn) -> TableSchema:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=5))
    parts = draw(st.sampled_from((1, 1, 1, 2)))
    columns = tuple(
        Column(f"c{at}", kind, nullable=at >= parts and draw(st.sampled_from((False, False, True))))
        for at, kind in enumerate(kinds)
    )
    names = tuple(column.name for column in columns)
    chosen = st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)
    indexes = draw(st.lists(chosen, min_size=1, max_size=5))
    defined = tuple(IndexDef(f"i{at}", tuple(index)) for at, index in enumerate(indexes))
    return TableSchema("t", columns, names[:parts], defined)


def row_of(schema: TableSchema, dice: random.Random) -> dict[str, JsonValue]:
    return {
        column.name: dice.choice(POOL[column.type] + ((None,) if column.nullable else ())) for column in schema.columns
    }


def shape_of(schema: TableSchema, dice: random.Random) -> Query:
    """Conditions on the columns of an index, in its order or another, whose operands are put in later."""
    index = dice.choice(schema.indexes).columns
    names = dice.choice((index, index[:1], index[:2], index[::-1], (None,), schema.names[:2], ()))
    where = tuple(Condition(name, dice.choice(SIMPLE), "") for name in names)
    if dice.random() < 0.25:
        return Count("t", Filter((where,)))
    by = dice.choice((None, None, index[-1], schema.names[-1]))
    order = (OrderTerm(by, dice.choice(list(OrderKind)), dice.random() < 0.5),) if dice.random() < 0.6 else ()
    return Select("t", dice.choice((None, None, schema.names[::-1])), Filter((where,)), order)


def with_operands(query: Query, operands: list[str], skip: int, limit: int) -> Query:
    (conjunction,) = query.where.any_of
    where = tuple(replace(each, operand=operand) for each, operand in zip(conjunction, operands, strict=False))
    found = replace(query, where=Filter((where,)))
    return found if isinstance(found, Count) else replace(found, skip=skip, limit=limit)


@effort(120)
@given(table_schemas(), st.integers(0, 2**32))
def test_a_prepared_answer_is_the_general_one_whatever_was_written_in_between(schema: TableSchema, seed: int) -> None:
    dice = random.Random(seed)
    database = Database()
    change(database, CreateTable(schema), Upsert("t", [row_of(schema, dice) for _ in range(dice.randrange(40))]))
    shapes = [shape_of(schema, dice) for _ in range(6)]
    for _ in range(4):
        write(database, schema, dice)
        for shape in shapes:
            for _ in range(3):
                operands = [dice.choice(PLAIN if dice.random() < 0.8 else ODD) for _ in range(3)]
                agrees(
                    database, with_operands(shape, operands, dice.choice((0, 0, 1, 2, 30)), dice.choice((0, 1, 2, 10)))
                )


def write(database: Database, schema: TableSchema, dice: random.Random) -> None:
    kind = dice.randrange(4)
    if kind == 0:
        change(database, Upsert("t", [row_of(schema, dice)]))
    elif kind == 1:
        change(database, Upsert("t", [row_of(schema, dice) for _ in range(dice.randrange(25))]))
    elif kind == 2:
        key = Condition(schema.primary_key[0], Operator.STREQ, dice.choice(("0", "1", "a", "2")))
        change(database, Delete("t", Filter(((key,),))))
    elif len(schema.columns) > len(schema.primary_key):
        column = schema.columns[-1]
        change(database, Update("t", Filter(), {column.name: dice.choice(POOL[column.type])}))


def posts(
    rows: int, indexes: tuple[tuple[str, ...], ...] = (("uid", "dateline"), ("idtype",), ("idtype", "dateline"))
) -> Database:
    database = Database()
    columns = (
        Column("id", INT, False),
        Column("uid", INT, False),
        Column("dateline", INT, False),
        Column("idtype", VARCHAR, False),
    )
    defined = tuple(IndexDef("by_" + "_".join(names), names) for names in indexes)
    change(database, CreateTable(TableSchema("posts", columns, ("id",), defined)))
    content: list[dict[str, JsonValue]] = [post(number) for number in range(1, rows + 1)]
    change(database, Upsert("posts", content))
    return database


def post(number: int) -> dict[str, JsonValue]:
    return {
        "id": number,
        "uid": number % 11,
        "dateline": number * 7_919 % 1_000,
        "idtype": ("blogid", "photoid")[number % 3 == 0],
    }


def where(*conditions: tuple[str | None, Operator, object]) -> Filter:
    return Filter((tuple(Condition(name, operator, str(operand)) for name, operator, operand in conditions),))


NEWEST = (OrderTerm(None, OrderKind.NUM, True),)
LATEST = (OrderTerm("dateline", OrderKind.NUM, True),)


def since(date: object, skip: int = 0, limit: int = 10) -> Select:
    found = where(("dateline", Operator.NUMGE, date), ("idtype", Operator.STREQ, "blogid"))
    return Select("posts", None, found, NEWEST, skip, limit)


def of_user(uid: object, skip: int = 0, limit: int = 10) -> Select:
    return Select("posts", None, where(("uid", Operator.NUMEQ, uid)), LATEST, skip, limit)


def newest_of_user(uid: object, skip: int = 0, limit: int = 10) -> Select:
    return replace(of_user(uid, skip, limit), order=NEWEST)


SEEDS: dict[str, tuple[Query, ...]] = {
    "one row": tuple(Select("posts", None, where((None, Operator.NUMEQ, key))) for key in (0, 1, 77, 300, 301)),
    "the latest of a user": tuple(of_user(uid, skip, limit) for uid in (0, 5, 11)
                                  for skip in (0, 3, 90) for limit in (0, 1, 10)),
    "the newest of a user": tuple(newest_of_user(uid, skip, limit) for uid in (0, 5, 11)
                                  for skip in (0, 3, 90) for limit in (0, 1, 10, 30)),
    "the newest of a kind since": tuple(since(date, skip) for date in (0, 10, 500, 990, 1_001)
                                        for skip in (0, 10, 300)),
    "how many of a user": tuple(Count("posts", where(("uid", Operator.NUMEQ, uid))) for uid in (0, 5, 11)),
    "how many since": (
        Count("posts", where(("idtype", Operator.STREQ, "blogid"), ("dateline", Operator.NUMGE, 500))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("rows", [0, 1, 2, 40, 300])
@pytest.mark.parametrize("name", SEEDS)
def test_the_seed_queries_are_prepared_on_every_size_of_table(name: str, rows: int) -> None:
    database = posts(rows)
    for query in SEEDS[name]:
        assert agrees(database, query), f"{query} is left to the general way"


@pytest.mark.parametrize(
    "query",
    [
        Select("posts", None, where((None, Operator.NUMEQ, 77)), NEWEST, 0, 1),
        newest_of_user(5, 0, 1),
        newest_of_user(5, 0, 10),
        since(500),
        Count("posts", where(("dateline", Operator.NUMGE, 500), ("idtype", Operator.STREQ, "blogid"))),
    ],
)
def test_what_nearly_every_request_asks_for_takes_the_shortcut(query: Query) -> None:
    database = posts(300, (("uid",), ("idtype",), ("idtype", "dateline")))
    change(database, Update("posts", Filter(), {"dateline": 999}))
    assert agrees(database, query), "now the head is there"
    shape = database.prepared("posts").find(query)
    assert shape is not None
    (conjunction,) = query.where.any_of
    operands = [each.operand.encode() for each in conjunction]
    answered = Answered()
    skip, limit = (query.skip, query.limit) if isinstance(query, Select) else (0, 0)
    assert shape.body(skip, limit, answered)(operands) is not None
    assert (answered.usual, answered.unusual) == (1, 0)


@pytest.mark.parametrize("name", SEEDS)
def test_rows_that_wait_for_a_new_layout_are_answered_in_it(name: str) -> None:
    database = posts(300)
    for query in SEEDS[name]:
        assert agrees(database, query)
    change(database, AddColumn("posts", Column("hits", INT, True)))
    for query in SEEDS[name]:
        assert agrees(database, query), f"{query} is left to the general way"


@pytest.mark.parametrize("name", SEEDS)
def test_operands_that_are_not_plain_are_left_to_the_general_way(name: str) -> None:
    database = posts(50)
    query = SEEDS[name][0]
    (conjunction,) = query.where.any_of
    for odd in ("-1", "1.5", "abc", "", "9" * 19, "\ud800", "\u0663"):
        changed = (replace(conjunction[0], operand=odd), *conjunction[1:])
        agrees(database, replace(query, where=Filter((changed,))))


@effort(25)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60), st.integers(0, 999)), min_size=2, max_size=20))
def test_heads_of_runs_never_outlive_a_write(writes: list[tuple[int, int, int]]) -> None:
    """The walk of "newest of a kind since": asked, written to, asked again."""
    database = posts(45)
    for kind, number, date in writes:
        for asked in (0, date, 500):
            for skip, limit in ((0, 3), (2, 5), (0, 3)):
                agrees(database, since(asked, skip, limit))
        if kind == 0:
            change(database, Upsert("posts", [post(number) | {"dateline": date}]))
        elif kind == 1:
            change(database, Delete("posts", where((None, Operator.NUMEQ, number))))
        elif kind == 2:
            change(database, Update("posts", where((None, Operator.NUMEQ, number)), {"dateline": date}))
        else:
            change(database, Upsert("posts", [post(100 + number), post(200 + number)]))
    assert agrees(database, since(0, 0, 1))


def test_cursors_of_prepared_pages_lead_through_all_rows() -> None:
    database = posts(100)
    whole = general(database, since(200, 0, 1_000))
    assert isinstance(whole, Page)
    query = since(200, 0, 7)
    page: Result | None = database.prepared("posts").answer(query)
    seen: list[bytes] = []
    while True:
        assert isinstance(page, Page)
        seen += page.rows
        if page.next is None:
            break
        page = general(database, replace(query, after=page.next))
    assert seen == whole.rows


def test_shapes_and_heads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "MOST_SHAPES", 3)
    monkeypatch.setattr(heads, "MOST_HEADS", 2)
    database = posts(200)
    for columns in (None, ("id",), ("uid",), ("id", "uid"), ("uid", "id")):
        for kind in ("blogid", "photoid", "blogid"):
            condition = where(("dateline", Operator.NUMGE, 5), ("idtype", Operator.STREQ, kind))
            assert agrees(database, Select("posts", columns, condition, NEWEST, 0, 3))
    assert len(database.prepared("posts")._known) <= 3


def test_rows_in_heads_are_bounded_over_all_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MOST_ROWS", 100)
    database = posts(300)
    most = 0
    for limit in (3, 5, 40, 3):
        for columns in (None, ("id",), ("uid",), ("id", "uid"), ("uid", "id")):
            for kind in ("blogid", "photoid"):
                condition = where(("dateline", Operator.NUMGE, 5), ("idtype", Operator.STREQ, kind))
                assert agrees(database, Select("posts", columns, condition, NEWEST, 0, limit))
                most = max(most, sum(each.rows for each in heads._HELD.shapes))
    assert 50 < most <= 100 + 64, "what one query adds may stand until the next"


def test_an_error_of_the_general_way_is_no_answer_of_the_prepared_one() -> None:
    database = posts(5)
    with pytest.raises(TCSQLError):
        general(database, Select("posts", None, Filter(), (), 0, 5, after="nonsense"))
    assert database.prepared("posts").answer(Select("posts", None, Filter(), (), 0, 5, after="nonsense")) is None
