"""Indexes that build themselves: the full way, from queries that miss one to its use, its end and its ban."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from tcsql.engine.autoindex import MAX_AUTOMATIC, STALE_LOOKS, estimate_bytes
from tcsql.engine.change import Change, CreateIndex, CreateTable, DropIndex, Upsert
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
from tcsql.engine.result import Page
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.errors import TooCostly
from tcsql.schemafile import adopt_schema
from tcsql.server import store_options
from tcsql.settings import Settings
from tcsql.sql import changes_of, create_table_sql
from tcsql.storage import store as store_module
from tcsql.storage.caretaker import HALF_LIFE_S, Caretaker
from tcsql.storage.memory import Budget
from tcsql.storage.options import StoreOptions, utc_now
from tcsql.storage.store import Store
from tests.pools import INT, VARCHAR

SCHEMA = TableSchema(
    "t",
    (
        Column("id", INT, False), Column("kind", INT, False), Column("day", INT), Column("text", VARCHAR),
        Column("same", INT, False),
    ),
    ("id",),
)  # fmt: skip
ROWS = 3_000
BY_DAY = (OrderTerm("day", OrderKind.NUM, True),)


def where(**operands: object) -> Filter:
    return Filter((tuple(Condition(name, Operator.NUMEQ, str(value)) for name, value in operands.items()),))


def slow(kind: int = 3) -> Select:
    return Select("t", where=where(kind=kind), order=BY_DAY, limit=5)


def content(first: int = 0, last: int = ROWS) -> list[Change]:
    rows = [
        {"id": id_, "kind": id_ % 50, "day": id_ * 7 % 365 or None, "text": f"x{id_ % 9}", "same": 1}
        for id_ in range(first, last)
    ]
    return [Upsert("t", rows)]


def database_of(schema: TableSchema = SCHEMA) -> Database:
    database = Database()
    for change in (CreateTable(schema), *content()):
        commit(database, change)
    return database


def commit(database: Database, change: Change) -> None:
    database.apply(database.check([change], utc_now()))


def indexes(database: Database) -> dict[str, dict[str, Any]]:
    [status] = json.loads(json.dumps(database.status()))
    return {index["name"]: index for index in status["indexes"]}


def suffer(database: Database, query: Query, times: int = 60) -> None:
    for _ in range(times):
        database.query(query)


# --- the full way -------------------------------------------------------------------------------------------------


def test_a_slow_shape_gets_its_index_and_explain_shows_it_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MAINTAIN_IDLE_S", 0.005)
    monkeypatch.setattr(store_module, "_MAINTAIN_PAUSE_S", 0.0)
    monkeypatch.setattr("tcsql.engine.table.BUILD_AT_ONCE_UNASKED", 100)
    progress: list[tuple[int, int]] = []

    async def work(store: Store) -> None:
        await store.commit([CreateTable(SCHEMA)])
        await store.commit(content())
        first = await store.run(slow())
        plan = await store.explain(slow())
        assert plan["rows_examined"] == ROWS and plan["advice"] == "CREATE INDEX kind_day ON t (kind, day)"
        background = asyncio.create_task(store.maintain())
        row = ROWS
        while not indexes(store.database).get("auto_kind_day", {}).get("ready"):
            assert await store.run(slow()) == first
            await store.commit(content(row, row + 1))  # writes go on: of another kind than the one asked for
            row += 1 + (row + 1) % 50 // 3 % 2
            assert row < ROWS + 5_000
            entry = indexes(store.database).get("auto_kind_day")
            if entry is not None and not entry["ready"]:
                progress.append((entry["rows_done"], entry["rows_to_do"]))
                assert (await store.explain(slow()))["advice"] == "index auto_kind_day is being built"
            await asyncio.sleep(0)
        plan = await store.explain(slow())
        [chosen] = plan["chosen"]  # type: ignore[misc]  # JSON data
        assert chosen["index"] == "auto_kind_day" and chosen["automatic"] and plan["rows_examined"] == 5
        assert "queries examined" in chosen["why"][0] and plan["advice"] is None
        store.database.check_invariants()
        background.cancel()

    def cleaned(index: IndexDef) -> tuple[str, tuple[str, ...], bool]:
        return index.name, index.columns, index.automatic

    async def main() -> None:
        store = Store.open(tmp_path)
        try:
            await work(store)
        finally:
            store.close()
        again = Store.open(tmp_path)
        try:
            assert [cleaned(index) for index in again.database.schema("t").indexes] == [
                ("auto_kind_day", ("kind", "day"), True)
            ]
            assert indexes(again.database)["auto_kind_day"]["ready"]
            again.database.check_invariants()
        finally:
            again.close()

    asyncio.run(main())


def test_the_setting_keeps_a_store_from_making_indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MAINTAIN_IDLE_S", 0.001)

    async def main() -> None:
        store = Store.open(tmp_path, StoreOptions(auto_index=False))
        await store.commit([CreateTable(SCHEMA)])
        await store.commit(content())
        background = asyncio.create_task(store.maintain())
        for _ in range(80):
            await store.run(slow())
            await asyncio.sleep(0.002)
        assert set(indexes(store.database)) == {"PRIMARY"}
        [status] = store.database.status()
        [missed] = status["missed_indexes"]  # type: ignore[misc]  # JSON data
        assert missed["columns"] == ["kind", "day"] and missed["share_of_price"] > 1
        background.cancel()
        store.close()

    asyncio.run(main())


def test_answers_are_the_same_with_and_without() -> None:
    with_, without = database_of(), database_of()
    suffer(with_, slow())
    proposed = with_.auto_indexes.wanted(with_.tables(), 1 << 40)
    assert isinstance(proposed, CreateIndex)
    commit(with_, proposed)
    for kind in range(50):
        for query in (slow(kind), replace(slow(kind), order=(), skip=3), Count("t", where(kind=kind))):
            assert _comparable(with_.query(query)) == _comparable(without.query(query))


def _comparable(result: object) -> object:
    return replace(result, total=None) if isinstance(result, Page) else result


# --- what is proposed ---------------------------------------------------------------------------------------------


def test_what_would_not_narrow_the_search_is_not_proposed() -> None:
    database = database_of()
    everywhere = Select(
        "t", where=Filter((where(same=1).any_of[0] + (Condition("text", Operator.STRINC, "y"),),)), limit=5
    )
    suffer(database, everywhere)
    assert database.auto_indexes.needs(database.table("t"))
    assert database.auto_indexes.wanted(database.tables(), 1 << 40) is None
    assert not database.auto_indexes.needs(database.table("t"))
    suffer(database, replace(everywhere, where=Filter((where(kind=1).any_of[0] + everywhere.where.any_of[0][1:],))))
    proposed = database.auto_indexes.wanted(database.tables(), 1 << 40)
    assert isinstance(proposed, CreateIndex) and proposed.index.columns == ("kind",)


def test_a_table_has_only_so_many_automatic_indexes_and_a_stale_one_makes_room() -> None:
    database = database_of()
    for columns in list(permutations(("kind", "day", "same", "text"), 3))[:MAX_AUTOMATIC]:
        commit(database, CreateIndex("t", IndexDef("auto", columns, automatic=True)))
        while database.maintain(iter([True] * 9 + [False]).__next__):
            pass
    looked = caretaker(database, 1 << 40)
    missed = Select("t", where=where(text="1", same=1, day=1), order=(OrderTerm("kind", OrderKind.NUM),), limit=1)

    def miss() -> None:
        for _ in range(99):
            database.auto_indexes.note(database.table("t"), missed, ROWS, 0)

    miss()
    assert looked.look(0.0) is None
    for number in range(STALE_LOOKS):
        database.auto_indexes.look(database.tables(), 1.0)
        if number == STALE_LOOKS // 2:
            for index in database.table("t").automatic()[:-1]:
                index.uses += 1
    change = looked.look(0.0)
    last = database.table("t").automatic()[-1].definition.name
    assert change == DropIndex("t", last, may_return=True)
    commit(database, change)
    change = looked.look(0.0)
    assert isinstance(change, CreateIndex)
    commit(database, change)
    assert len(database.table("t").automatic()) == MAX_AUTOMATIC
    miss()
    assert looked.look(0.0) is None


def test_a_number_is_worth_an_index_that_a_group_of_nearly_all_rows_is_not() -> None:
    rows = Aggregate(AggregateFunction.COUNT, None, "count")
    for query, columns in (
        (Group("t", ("kind",), (rows,), ("kind", "count"), where(same=1)), None),
        (Group("t", ("kind",), (rows,), ("kind", "count"), where(day=7)), ("day",)),
        (Count("t", where(same=1)), ("same",)),
        (Select("t", where=Filter((*where(same=1).any_of, *where(day=3).any_of)), limit=0, total=True), ("same",)),
    ):
        database = database_of()
        suffer(database, query)
        proposed = database.auto_indexes.wanted(database.tables(), 1 << 40)
        assert (proposed.index.columns if isinstance(proposed, CreateIndex) else None) == columns, query


def test_keys_that_are_sorted_weigh_less_than_rows_that_are_examined() -> None:
    database = database_of(SCHEMA.with_(indexes=(IndexDef("same_day", ("same", "day")),)))
    conditions = (Condition("same", Operator.NUMEQ, "1"), Condition("day", Operator.NUMGE, "250"))
    query = Select("t", where=Filter((conditions,)), order=(OrderTerm(None, OrderKind.NUM, True),), skip=500)
    examined = database.explain(query)["rows_examined"]
    assert isinstance(examined, int) and examined > 900
    list(database.general_steps(query))
    assert not database.auto_indexes.needs(database.table("t"))
    database.auto_indexes.note(database.table("t"), query, examined, 100)
    assert [need.columns for need in database.auto_indexes.needs(database.table("t"))] == [("same",)]


@pytest.mark.parametrize(("low", "rows"), [(200, 4.0), (20, 0.5)], ids=["keys are sorted", "rows are passed by"])
def test_what_prepared_queries_pass_by_adds_up(low: int, rows: float) -> None:
    """Microseconds each, but a hundred thousand times."""
    columns = tuple(replace(column, nullable=False) if column.name == "day" else column for column in SCHEMA.columns)
    database = Database()
    commit(database, CreateTable(SCHEMA.with_(columns=columns, indexes=(IndexDef("kind_day", ("kind", "day")),))))
    [upsert] = content()
    assert isinstance(upsert, Upsert)
    commit(database, Upsert("t", [{**row, "day": row["day"] or 0} for row in upsert.rows]))
    conditions = (Condition("kind", Operator.NUMEQ, "3"), Condition("day", Operator.NUMGE, str(low)))
    query = Select("t", where=Filter((conditions,)), order=(OrderTerm(None, OrderKind.NUM, True),), limit=1)
    suffer(database, query, 500)
    table = database.table("t")
    assert sum(detours.times for detours in table.detours) == 500
    database.auto_indexes.look([table], 1.0)
    [need] = database.auto_indexes.needs(table)
    assert need.columns == ("kind",) and need.times == 500 and need.wasted_rows > 500 * rows
    assert not any(detours.times for detours in table.detours)


def test_a_query_that_is_refused_for_its_cost_counts() -> None:
    database = database_of()
    database.query_budget_rows = 2_000
    for _ in range(60):
        with pytest.raises(TooCostly):
            database.query(slow())
    proposed = database.auto_indexes.wanted(database.tables(), 1 << 40)
    assert isinstance(proposed, CreateIndex) and proposed.index.columns == ("kind", "day")
    commit(database, proposed)
    database.maintain(iter([True] * 99 + [False]).__next__)
    assert isinstance(database.query(slow()), Page)


def test_while_an_index_is_being_built_no_other_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsql.engine.table.BUILD_AT_ONCE_UNASKED", 0)
    database = database_of()
    suffer(database, slow())
    suffer(database, Count("t", where(kind=1, day=3)))
    first = database.auto_indexes.wanted(database.tables(), 1 << 40)
    assert first is not None
    commit(database, first)
    suffer(database, slow())
    assert database.auto_indexes.wanted(database.tables(), 1 << 40) is None
    while database.maintain(iter([True] * 9 + [False]).__next__):
        pass
    assert database.auto_indexes.wanted(database.tables(), 1 << 40) is None, "the one that was built serves both"


def test_a_proposal_that_was_overtaken_changes_nothing() -> None:
    database = database_of()
    automatic = CreateIndex("t", IndexDef("auto", ("kind",), automatic=True))
    commit(database, CreateIndex("t", IndexDef("mine", ("kind",))))
    assert database.check([automatic], utc_now()).is_empty
    commit(database, DropIndex("t", "mine"))
    commit(database, automatic)
    commit(database, DropIndex("t", "auto_kind"))
    assert database.check([automatic], utc_now()).is_empty, "it is forbidden now"


def test_names_of_automatic_indexes_do_not_meet_others() -> None:
    columns = tuple(Column(name, INT, False) for name in ("id", "a", "b", "a_b"))
    database = Database()
    schema = TableSchema("t", columns, ("id",), (IndexDef("auto_b", ("a",)),))
    commit(database, CreateTable(schema))
    for wanted in (("a", "b"), ("a_b",), ("b",)):
        commit(database, CreateIndex("t", IndexDef("auto", wanted, automatic=True)))
    names = {index.name: index.columns for index in database.schema("t").indexes}
    assert names == {"auto_b": ("a",), "auto_a_b": ("a", "b"), "auto_a_b_2": ("a_b",), "auto_b_2": ("b",)}


# --- memory -------------------------------------------------------------------------------------------------------


def caretaker(database: Database, limit: int, resident: Callable[[], int] = lambda: 0) -> Caretaker:
    return Caretaker(database, Budget(limit, lambda: database.memory_bytes, resident, lambda: 0.0), True)


def test_an_index_that_does_not_fit_waits_and_the_status_says_for_what() -> None:
    database = database_of()
    suffer(database, slow())
    need = estimate_bytes(database.table("t"), ("kind", "day"))
    held = database.memory_bytes
    assert caretaker(database, int((held + need) / 0.9) - 10).look(0.1) is None
    waits = database.auto_indexes.waits_for
    assert waits is not None and waits.startswith(f"an index on t (kind, day) would take {need:,} bytes; ")
    assert isinstance(caretaker(database, int((held + need) / 0.9) + 10).look(0.1), CreateIndex)
    assert database.auto_indexes.waits_for is None


def test_the_estimate_is_not_below_what_an_index_takes() -> None:
    for columns in (("kind",), ("kind", "day"), ("day",), ("text",), ("text", "day"), ("kind", "text")):
        database = database_of()
        table = database.table("t")
        estimate = estimate_bytes(table, columns)
        commit(database, CreateIndex("t", IndexDef("auto", columns, automatic=True)))
        while database.maintain(iter([True] * 9 + [False]).__next__):
            pass
        [index] = table.automatic()
        assert index.memory_bytes - 2_000 <= estimate <= 3 * index.memory_bytes, columns


def test_when_memory_is_short_the_least_recently_used_automatic_index_goes_first() -> None:
    database = database_of(SCHEMA.with_(indexes=(IndexDef("mine", ("text",)),)))
    for columns in (("kind",), ("day",), ("kind", "day")):
        commit(database, CreateIndex("t", IndexDef("auto", columns, automatic=True)))
        while database.maintain(iter([True] * 9 + [False]).__next__):
            pass
    plenty = caretaker(database, 1 << 40)
    for column in ("day", "kind"):
        plenty.look(0.1)
        database.table("t").indexes[f"auto_{column}"].uses += 1
    plenty.look(0.1)
    short = caretaker(database, int(database.memory_bytes / 0.96))
    gone = []
    while (change := short.look(0.1)) is not None:
        assert isinstance(change, DropIndex) and change.may_return
        gone.append(change.index)
        commit(database, change)
        short = caretaker(database, int(database.memory_bytes / 0.96))
    assert gone == ["auto_kind_day", "auto_day", "auto_kind"]
    assert [index.name for index in database.schema("t").indexes] == ["mine"] and not database.schema("t").forbidden


def test_an_index_under_construction_is_the_first_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    database = database_of()
    commit(database, CreateIndex("t", IndexDef("auto", ("kind",), automatic=True)))
    while database.maintain(iter([True] * 9 + [False]).__next__):
        pass
    monkeypatch.setattr("tcsql.engine.table.BUILD_AT_ONCE_UNASKED", 0)
    commit(database, CreateIndex("t", IndexDef("auto", ("day",), automatic=True)))
    database.maintain(iter([True] * 3 + [False]).__next__)
    change = caretaker(database, database.memory_bytes).look(0.1)
    assert isinstance(change, DropIndex) and change.index == "auto_day"
    commit(database, change)
    database.check_invariants()


def test_a_process_that_occupies_its_limit_gets_no_new_indexes() -> None:
    database = database_of()
    suffer(database, slow())
    limit = 1 << 30
    assert caretaker(database, limit, lambda: int(0.95 * limit)).look(0.1) is None
    assert isinstance(caretaker(database, limit, lambda: int(0.5 * limit)).look(0.1), CreateIndex)


def test_accounts_fade_by_the_time_that_has_passed() -> None:
    database = database_of()
    suffer(database, slow())
    looked = caretaker(database, 1 << 40)
    assert looked.look(HALF_LIFE_S * 3) is None
    suffer(database, slow())
    assert isinstance(looked.look(1.0), CreateIndex)


# --- what people say ----------------------------------------------------------------------------------------------


def say(database: Database, sql: str) -> None:
    changes = changes_of(sql, lambda name: database.schema(name) if name == "t" else None)
    database.apply(database.check(changes, utc_now()))


@pytest.fixture
def automatic() -> Database:
    database = database_of()
    commit(database, CreateIndex("t", IndexDef("auto", ("kind", "day"), automatic=True, notes=("why",))))
    while database.maintain(iter([True] * 9 + [False]).__next__):
        pass
    return database


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("CREATE INDEX kd ON t (kind, day)", "kd"),
        ("CREATE INDEX auto_kind_day ON t (kind, day)", "auto_kind_day"),
        ("ALTER TABLE t ADD KEY kd (kind, day)", "kd"),
        ("ALTER TABLE t RENAME INDEX auto_kind_day TO kd", "kd"),
    ],
)
def test_an_automatic_index_is_pinned_by_declaring_it_and_not_built_again(
    automatic: Database, sql: str, name: str
) -> None:
    held = automatic.table("t").indexes["auto_kind_day"]
    say(automatic, sql)
    assert automatic.table("t").indexes[name] is held and held.ready
    [index] = automatic.schema("t").indexes
    assert (index.name, index.automatic, index.notes) == (name, False, ())
    assert automatic.auto_indexes.spare(automatic.tables()) is None
    assert f"KEY `{name}` (`kind`,`day`)" in create_table_sql(automatic.schema("t"))
    automatic.check_invariants()


@pytest.mark.parametrize("sql", ["DROP INDEX auto_kind_day ON t", "ALTER TABLE t ALTER INDEX auto_kind_day INVISIBLE"])
def test_a_dropped_automatic_index_is_not_made_again_until_it_is_allowed(automatic: Database, sql: str) -> None:
    say(automatic, sql)
    assert not automatic.schema("t").indexes
    restored = TableSchema.from_json(json.loads(json.dumps(automatic.schema("t").to_json())))
    assert restored == automatic.schema("t") and [index.columns for index in restored.forbidden] == [("kind", "day")]
    [status] = automatic.status()
    assert status["forbidden_indexes"] == [{"name": "auto_kind_day", "columns": ["kind", "day"]}]
    suffer(automatic, slow(), 200)
    assert automatic.auto_indexes.wanted(automatic.tables(), 1 << 40) is None
    say(automatic, "ALTER TABLE t ALTER INDEX auto_kind_day VISIBLE")
    assert not automatic.schema("t").forbidden
    suffer(automatic, slow())
    proposed = automatic.auto_indexes.wanted(automatic.tables(), 1 << 40)
    assert isinstance(proposed, CreateIndex) and proposed.index.columns == ("kind", "day")


def test_declaring_a_forbidden_index_takes_the_ban_back(automatic: Database) -> None:
    say(automatic, "DROP INDEX auto_kind_day ON t")
    say(automatic, "CREATE INDEX mine ON t (kind, day)")
    assert not automatic.schema("t").forbidden
    say(automatic, "DROP INDEX mine ON t")
    assert not automatic.schema("t").forbidden, "who drops a declared index forbids nothing"


def test_columns_take_their_automatic_indexes_and_bans_along(automatic: Database) -> None:
    commit(automatic, CreateIndex("t", IndexDef("auto", ("text",), automatic=True)))
    commit(automatic, CreateIndex("t", IndexDef("auto", ("same",), automatic=True)))
    say(automatic, "DROP INDEX auto_text ON t; DROP INDEX auto_same ON t")
    say(automatic, "ALTER TABLE t RENAME COLUMN day TO date, RENAME COLUMN text TO words")
    schema = automatic.schema("t")
    assert [index.columns for index in schema.indexes] == [("kind", "date")]
    assert [index.columns for index in schema.forbidden] == [("words",), ("same",)]
    say(automatic, "ALTER TABLE t DROP COLUMN date, DROP COLUMN words")
    schema = automatic.schema("t")
    assert not schema.indexes, "what is left of it was not asked for"
    assert [index.columns for index in schema.forbidden] == [("same",)]
    automatic.check_invariants()


def test_automatic_indexes_are_nobodys_schema(automatic: Database, tmp_path: Path) -> None:
    """Not of a dump, not of a copy, not of the comparison with schema.sql."""
    assert "KEY `auto" not in create_table_sql(automatic.schema("t"))
    say(automatic, "CREATE TABLE copy LIKE t")
    assert not automatic.schema("copy").indexes
    file = tmp_path / "schema.sql"
    file.write_text(create_table_sql(automatic.schema("t")) + ";")

    async def main() -> None:
        store = Store.open(tmp_path / "data")
        try:
            await adopt_schema(store, str(file))
            await store.commit([CreateIndex("t", IndexDef("auto", ("kind",), automatic=True))])
            await adopt_schema(store, str(file))
        finally:
            store.close()

    asyncio.run(main())


def test_a_schema_of_a_program_that_knew_no_automatic_indexes_is_read() -> None:
    plain = SCHEMA.with_(indexes=(IndexDef("k", ("kind",)),))
    data = plain.to_json()
    assert "forbidden" not in data and "automatic" not in data["indexes"][0]
    assert TableSchema.from_json(json.loads(json.dumps(data))) == plain


def test_the_setting_reaches_the_store() -> None:
    assert StoreOptions().auto_index and store_options(Settings()).auto_index
    assert not store_options(Settings(auto_index=False)).auto_index
