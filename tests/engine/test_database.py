"""The one way to change: every refusal by name, nothing half done, layouts that follow, undo in any depth."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tcsql.engine.change import (
    AddColumn,
    Change,
    CreateIndex,
    CreateTable,
    Delete,
    DropColumn,
    DropIndex,
    DropTable,
    RenameColumn,
    RenameTable,
    RowsBatch,
    Truncate,
    Update,
    Upsert,
)
from tcsql.engine.database import Database
from tcsql.engine.query import Condition, Count, Filter, Operator, Select
from tcsql.engine.result import CountResult, Page
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.errors import (
    InvalidValue,
    SchemaConflict,
    TCSQLError,
    UnknownColumn,
    UnknownIndex,
    UnknownTable,
    UnsupportedStatement,
)
from tests.duel import NOW, decoded
from tests.model import Row
from tests.pools import BLOB, DATE, DATETIME, ENUM, INT, MICROS, PRICE, VARCHAR

SCHEMA = TableSchema(
    "posts",
    (
        Column("id", INT, False, auto_increment=True),
        Column("title", VARCHAR, False),
        Column("price", PRICE, True),
        Column("kind", ENUM, False, default="new", has_default=True),
        Column("at", DATETIME, True, default_now=True),
    ),
    ("id",),
    (IndexDef("title", ("title",)), IndexDef("price_kind", ("price", "kind"))),
)
ROWS: list[Row] = [{"id": 1, "title": "one", "price": "1.00"}, {"id": 2, "title": "two"}, {"id": 5, "title": "five"}]


def filled() -> Database:
    database = Database()
    commit(database, CreateTable(SCHEMA))
    commit(database, Upsert("posts", ROWS))
    return database


def commit(database: Database, *changes: Change) -> None:
    database.apply(database.check(changes, NOW))
    database.check_invariants()


def content(database: Database, table: str = "posts") -> list[Row]:
    return decoded(list(database.rows(table)))


def everything(*conditions: Condition) -> Filter:
    return Filter((conditions,)) if conditions else Filter()


ONE = everything(Condition("id", Operator.NUMEQ, "1"))

REFUSED: list[tuple[Change, type[TCSQLError]]] = [
    (Upsert("post", [{"title": "x"}]), UnknownTable),
    (Upsert("posts", [{"title": "x", "titel": "y"}]), UnknownColumn),
    (Upsert("posts", [{"title": "x"}, {"id": 3}]), InvalidValue),
    (Upsert("posts", [{"title": None}]), InvalidValue),
    (Upsert("posts", [{"title": "x", "kind": None}]), InvalidValue),
    (Upsert("posts", [{"title": "x", "id": "abc"}]), InvalidValue),
    (Upsert("posts", [{"title": "x", "TITLE": "y"}]), InvalidValue),
    (Upsert("posts", [{"title": "x" * 61}]), InvalidValue),
    (Update("posts", Filter(), {"id": 9}), InvalidValue),
    (Update("posts", Filter(), {"price": "1.001"}), InvalidValue),
    (Update("posts", Filter(), {"nothing": 1}), UnknownColumn),
    (Update("posts", Filter(), {"title": None}), InvalidValue),
    (Delete("nothing", Filter()), UnknownTable),
    (CreateTable(SCHEMA), SchemaConflict),
    (CreateTable(replace(SCHEMA, name="no name")), InvalidValue),
    (CreateTable(replace(SCHEMA, name="p", primary_key=())), InvalidValue),
    (CreateTable(replace(SCHEMA, name="p", primary_key=("uid",))), UnknownColumn),
    (CreateTable(replace(SCHEMA, name="p", columns=(*SCHEMA.columns, Column("ID", INT)))), SchemaConflict),
    (CreateTable(replace(SCHEMA, name="p", indexes=(IndexDef("i", ("nothing",)),))), UnknownColumn),
    (CreateTable(replace(SCHEMA, name="p", indexes=(IndexDef("i", ("id",)), IndexDef("i", ("id",))))), SchemaConflict),
    (CreateTable(replace(SCHEMA, name="p", indexes=(IndexDef("i", ("id",), fulltext=True),))), InvalidValue),
    (DropTable("post"), UnknownTable),
    (RenameTable("posts", "posts"), SchemaConflict),
    (RenameTable("posts", "1st"), InvalidValue),
    (RenameTable("nothing", "x"), UnknownTable),
    (Truncate("nothing"), UnknownTable),
    (AddColumn("posts", Column("TITLE", INT)), SchemaConflict),
    (AddColumn("posts", Column("a b", INT)), InvalidValue),
    (AddColumn("posts", Column("x", INT), after="nothing"), UnknownColumn),
    (AddColumn("posts", Column("x", INT, False, auto_increment=True)), InvalidValue),
    (DropColumn("posts", "nothing"), UnknownColumn),
    (DropColumn("posts", "id"), SchemaConflict),
    (RenameColumn("posts", "nothing", "x"), UnknownColumn),
    (RenameColumn("posts", "title", "Price"), SchemaConflict),
    (RenameColumn("posts", "title", ""), InvalidValue),
    (CreateIndex("posts", IndexDef("title", ("id",))), SchemaConflict),
    (CreateIndex("posts", IndexDef("x", ("nothing",))), UnknownColumn),
    (CreateIndex("posts", IndexDef("x", ("title", "kind"), fulltext=True)), InvalidValue),
    (DropIndex("posts", "nothing"), UnknownIndex),
]


@pytest.mark.parametrize(("change", "error"), REFUSED)
def test_what_cannot_be_done_is_refused_before_anything_has_changed(change: Change, error: type[TCSQLError]) -> None:
    database = filled()
    before = content(database), database.schemas()
    with pytest.raises(error):
        database.check([change], NOW)
    with pytest.raises(error):
        first: Change = (
            DropIndex("posts", "price_kind")
            if not isinstance(change, (Upsert, Update, Delete))
            else Delete("posts", ONE)
        )
        database.check([first, change], NOW)
    assert (content(database), database.schemas()) == before
    database.check_invariants()


def test_hints_name_what_was_probably_meant() -> None:
    database = filled()
    for change in (Upsert("post", []), Upsert("posts", [{"titel": 1}]), DropIndex("posts", "titles")):
        with pytest.raises(TCSQLError) as refused:
            database.check([change], NOW)
        assert refused.value.hint is not None and refused.value.hint.startswith("did you mean")


def test_a_bad_row_among_many_is_named_by_its_number() -> None:
    with pytest.raises(InvalidValue) as refused:
        filled().check([Upsert("posts", [{"title": "a"}, {"title": "b"}, {"title": None}])], NOW)
    assert refused.value.extra == {"row": 3}
    assert '"title"' in refused.value.message


def test_rows_and_schema_do_not_change_in_one_request() -> None:
    with pytest.raises(UnsupportedStatement):
        filled().check([Upsert("posts", [{"title": "x"}]), Truncate("posts")], NOW)


def test_left_out_columns_get_default_time_or_null_and_keys_are_counted() -> None:
    database = filled()
    batch = database.check(
        [Upsert("posts", [{"title": "a"}, {"id": None, "title": "b"}, {"ID": 9, "title": "c"}])], NOW
    )
    assert batch.tally.last_insert_id == 7 and batch.tally.inserted == 3
    database.apply(batch)
    assert content(database)[-3] == {"id": 6, "title": "a", "price": None, "kind": "new", "at": "2026-11-20 15:04:05"}
    commit(database, Upsert("posts", [{"title": "d"}]))
    assert content(database)[-1]["id"] == 10
    commit(database, Truncate("posts"))
    commit(database, Upsert("posts", [{"title": "e"}]))
    assert [row["id"] for row in content(database)] == [1]


def test_a_request_is_one_operation_per_key_whatever_it_does_on_the_way() -> None:
    database = filled()
    changes: list[Change] = [
        Upsert("posts", [{"id": 1, "title": "x"}, {"id": 7, "title": "seven"}]),
        Update("posts", everything(Condition("title", Operator.STREQ, "x")), {"title": "y"}),
        Delete("posts", everything(Condition("id", Operator.NUMGE, "5"))),
    ]
    batch = database.check(changes, NOW)
    (part,) = batch.parts
    assert isinstance(part, RowsBatch)
    found = {
        op.pkey: (
            json.loads(op.before)["title"] if op.before else None,
            json.loads(op.after)["title"] if op.after else None,
        )
        for op in part.ops
    }
    assert found == {1: ("one", "y"), 5: ("five", None)}
    tally = batch.tally
    assert (tally.inserted, tally.replaced, tally.updated, tally.deleted) == (1, 1, 1, 2)


def test_mysqls_rows_are_never_refused() -> None:
    database = filled()
    odd: Row = {"id": 1, "title": "far longer than the sixty characters " * 9, "kind": "", "price": "123456789.999"}
    commit(database, Upsert("posts", [{**odd, "at": "0000-00-00 00:00:00"}], trusted=True))
    assert content(database)[0]["at"] == "0000-00-00 00:00:00" and content(database)[0]["kind"] == ""
    for rows in ([{"id": 1}], [{"id": 1, "title": None}], [{"id": number, "title": None} for number in range(1, 99)]):
        commit(database, Upsert("posts", rows, trusted=True))  # type: ignore[arg-type]  # list of rows
        assert content(database)[0]["title"] == "", "where NULL cannot stand MySQL stores the type's zero"


@pytest.mark.parametrize(
    ("column", "fill"),
    [
        (Column("x", INT), None),
        (Column("x", INT, False), 0),
        (Column("x", PRICE, False), "0.00"),
        (Column("x", VARCHAR, False), ""),
        (Column("x", ENUM, False), "new"),
        (Column("x", DATE, False), "0000-00-00"),
        (Column("x", MICROS, False), "0000-00-00 00:00:00.000000"),
        (Column("x", BLOB, False), ""),
        (Column("x", INT, True, default=7, has_default=True), 7),
        (Column("x", DATETIME, False, default_now=True), "2026-11-20 15:04:05"),
    ],
)
def test_an_added_column_fills_old_rows_as_mysql_does(column: Column, fill: object) -> None:
    database = filled()
    commit(database, AddColumn("posts", column, after="id"))
    assert {row["x"] for row in content(database)} == {fill}
    assert list(content(database)[0])[:3] == ["id", "x", "title"]
    needs_value = not column.nullable and not column.has_default and not column.default_now
    if needs_value:
        with pytest.raises(InvalidValue):
            database.check([Upsert("posts", [{"title": "no x"}])], NOW)
    else:
        commit(database, Upsert("posts", [{"title": "no x"}]))


def test_rows_follow_a_chain_of_layouts_written_at_any_time() -> None:
    database = filled()
    commit(database, AddColumn("posts", Column("x", INT, default=1, has_default=True)))
    commit(database, Upsert("posts", [{"id": 2, "title": "two", "x": 2}]))
    commit(database, RenameColumn("posts", "x", "y"), DropColumn("posts", "price"))
    commit(database, AddColumn("posts", Column("x", INT, default=3, has_default=True)))
    rows = {row["id"]: (row["y"], row["x"]) for row in content(database)}
    assert rows == {1: (1, 3), 2: (2, 3), 5: (1, 3)}
    assert [index.columns for index in database.schema("posts").indexes] == [("title",), ("kind",)]
    assert not database.maintain(lambda: True)
    assert {row["id"]: (row["y"], row["x"]) for row in content(database)} == rows


def test_a_restored_table_reads_rows_of_every_layout() -> None:
    database = filled()
    stored = [(0, row) for row in database.rows("posts")]
    commit(database, AddColumn("posts", Column("x", INT, default=1, has_default=True)), DropColumn("posts", "price"))
    commit(database, Upsert("posts", [{"id": 8, "title": "new", "x": 5}]))
    stored.append((database.schema("posts").layout, list(database.rows("posts"))[-1]))
    other = Database()
    schema = TableSchema.from_json(json.loads(json.dumps(database.schema("posts").to_json())))
    assert schema == database.schema("posts")
    other.restore(database.table_id("posts"), schema, 9, reversed(stored))
    other.check_invariants()
    assert content(other) == content(database)
    commit(other, Upsert("posts", [{"title": "counted"}]))
    assert content(other)[-1]["id"] == 9


def test_undo_in_reverse_order_restores_rows_schemas_and_counters() -> None:
    database = filled()
    before = content(database), database.schemas()
    requests: list[list[Change]] = [
        [Upsert("posts", [{"title": "new"}])],
        [AddColumn("posts", Column("x", INT)), CreateIndex("posts", IndexDef("x", ("x",)))],
        [Upsert("posts", [{"id": 2, "title": "again", "x": 5}])],
        [RenameTable("posts", "things")],
        [Truncate("things")],
        [CreateTable(SCHEMA), DropTable("things")],
        [Upsert("posts", [{"title": "other table"}])],
    ]
    undone = []
    for changes in requests:
        undone.append(database.apply(database.check(changes, NOW)))
        database.check_invariants()
    for undo in reversed(undone):
        database.revert(undo)
        database.check_invariants()
    assert (content(database), database.schemas()) == before
    commit(database, Upsert("posts", [{"title": "next"}]))
    assert content(database)[-1]["id"] == 6


def test_a_long_index_is_built_in_the_background_and_used_when_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsql.engine.table.BUILD_AT_ONCE", 10)
    database = filled()
    commit(database, Upsert("posts", [{"title": f"t{number % 7}"} for number in range(500)]))
    commit(database, CreateIndex("posts", IndexDef("late", ("title", "id"))))
    query = Select("posts", where=everything(Condition("kind", Operator.STREQ, "new")), limit=3)
    pages = [database.query(query)]
    slices: list[Callable[[], bool]] = [iter([True, False]).__next__ for _ in range(20)]
    for number, more in enumerate(slices):
        if not database.maintain(more):
            break
        commit(database, Upsert("posts", [{"id": number * 20 + 6, "title": "moved"}, {"title": "new"}]))
        commit(database, Delete("posts", everything(Condition("id", Operator.NUMEQ, str(number * 20 + 9)))))
        pages.append(database.query(query))
    else:
        raise AssertionError("the index is never finished")
    (status,) = database.status()
    assert isinstance(status["indexes"], list)
    entry = next(each for each in status["indexes"] if each["name"] == "late")
    assert entry["entries"] == len(content(database))
    assert all(isinstance(page, Page) and len(page.rows) == 3 for page in pages)


def test_status_counts_rows_bytes_and_uses() -> None:
    database = filled()
    database.query(Count("posts", everything(Condition("title", Operator.STREQ, "one"))))
    (status,) = database.status()
    assert (status["name"], status["rows"]) == ("posts", 3)
    assert isinstance(status["indexes"], list)
    assert {each["name"]: each["uses"] for each in status["indexes"]}["title"] == 1
    assert 0 < database.memory_bytes < 1_000_000
    assert database.query(Count("posts")) == CountResult(3)


def test_a_key_that_was_given_and_taken_back_in_one_request_is_not_given_again() -> None:
    database = filled()
    batch = database.check([Upsert("posts", [{"title": "six"}]), Delete("posts", Filter())], NOW)
    assert batch.tally.last_insert_id == 6
    database.apply(batch)
    batch = database.check([Upsert("posts", [{"title": "x"}]), Delete("posts", Filter())], NOW)
    assert batch.tally.last_insert_id == 7
    assert not batch.parts and not batch.is_empty, "the counter has to become durable"
    database.apply(batch)
    assert database.check([Upsert("posts", [{"title": "y"}])], NOW).tally.last_insert_id == 8


def test_a_batch_that_does_nothing_is_empty() -> None:
    database = filled()
    nowhere = everything(Condition("title", Operator.STREQ, "nowhere"))
    assert database.check([Update("posts", nowhere, {"price": "2.00"})], NOW).is_empty
    assert database.check([CreateTable(SCHEMA, if_not_exists=True)], NOW).is_empty


def test_a_table_that_comes_and_goes_in_one_request_leaves_nothing() -> None:
    database = Database()
    batch = database.check([CreateTable(SCHEMA), DropTable("posts")], NOW)
    assert not batch.auto_increment
    database.apply(batch)
    assert not database.schemas()
    database.check_invariants()
