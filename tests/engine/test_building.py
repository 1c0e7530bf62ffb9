"""Indexes under construction: in small steps, in the right shape, true to every write that comes in between."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from tcsql.engine import building
from tcsql.engine.building import Build, distinct, scattered
from tcsql.engine.change import CreateIndex, CreateTable, RowOp, Upsert
from tcsql.engine.database import Database
from tcsql.engine.index import OrderedIndex
from tcsql.engine.invariants import check_table
from tcsql.engine.rows import decode, encode
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.table import Table
from tests.pools import INT, VARCHAR

COLUMNS = (Column("id", INT, False), Column("few", INT), Column("many", VARCHAR), Column("n", INT, False))
SCHEMA = TableSchema("t", COLUMNS, ("id",))
DEFINITIONS = (
    IndexDef("few", ("few",)),
    IndexDef("many", ("many",)),
    IndexDef("n", ("n",)),
    IndexDef("few_many", ("few", "many")),
    IndexDef("many_few", ("many", "few")),
    IndexDef("text", ("many",), fulltext=True),
)


def row(number: int, version: int = 0) -> bytes:
    few = None if number % 11 == 0 else (number + version) % 5
    return encode({"id": number, "few": few, "many": f"text {number * 7919 % 100_000}", "n": (number + version) % 97})


def table_of(keys: range) -> Table:
    table = Table(1, SCHEMA)
    table.restore((0, row(number)) for number in keys)
    return table


def begin(table: Table, definition: IndexDef) -> None:
    schema = table.schema
    table.relayout(schema.with_(indexes=(*schema.indexes, definition)))


def finish(table: Table) -> None:
    while table.maintain(iter([True] * 9 + [False]).__next__):
        pass


def entries(table: Table, name: str) -> object:
    """What an index holds, and in which form."""
    index = table.indexes[name]
    leaves = {value: list(leaf) for value, leaf in index.leaves.items()}
    return (leaves, list(index.whole), index.partitioned) if isinstance(index, OrderedIndex) else leaves


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
@pytest.mark.parametrize("rows", [range(1), range(5_000), range(-9_000, 12_000, 3)], ids=len)
def test_an_index_built_in_slices_is_the_one_built_at_once(
    definition: IndexDef, rows: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, in_slices = table_of(rows), table_of(rows)
    begin(at_once, definition)
    monkeypatch.setattr("tcsql.engine.table.BUILD_AT_ONCE", 0)
    begin(in_slices, definition)
    assert in_slices.building
    finish(in_slices)
    check_table(in_slices)
    assert entries(in_slices, definition.name) == entries(at_once, definition.name)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_no_step_of_a_construction_takes_long(definition: IndexDef) -> None:
    table = table_of(range(30_000))
    began = time.thread_time()
    begin(table, definition)
    taken = [time.thread_time() - began]
    while table.building:
        began = time.thread_time()
        table.maintain(iter([True, False]).__next__)
        taken.append(time.thread_time() - began)
    assert len(taken) > 200
    # The collector of a test's process walks over everything that tests have left: a few steps may meet it.
    assert sorted(taken)[-3] < 0.005, sorted(taken)[-5:]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_a_dropped_index_is_taken_apart_in_steps(definition: IndexDef) -> None:
    table = table_of(range(9_000))
    begin(table, definition)
    index = table.indexes[definition.name]
    held = len(index)
    table.relayout(SCHEMA)
    assert held
    steps = 0
    while table.maintain(iter([True, False]).__next__):
        steps += 1
    assert steps < 300
    assert not index.leaves and (not isinstance(index, OrderedIndex) or not len(index.whole))


def test_rows_appended_all_the_time_do_not_keep_an_index_from_being_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsql.engine.table.BUILD_AT_ONCE", 0)
    table = table_of(range(1_000))
    begin(table, DEFINITIONS[2])
    for number in range(1_000, 1_050):
        table.maintain(iter([True, False]).__next__)
        table.apply([RowOp(number, None, row(number))])
    assert not table.building
    check_table(table)


def test_a_column_renamed_meanwhile_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsql.engine.table.BUILD_AT_ONCE", 0)
    table = table_of(range(3_000))
    begin(table, DEFINITIONS[3])
    for _ in range(75):  # the sample is complete, and part of the rows are in
        table.maintain(iter([True, False]).__next__)
    columns = tuple(replace(column, name={"many": "text"}.get(column.name, column.name)) for column in COLUMNS)
    moves = tuple(zip(SCHEMA.names, (column.name for column in columns), strict=True))
    index = DEFINITIONS[3].renamed({"many": "text"})
    table.relayout(SCHEMA.with_(columns=columns, layout=1, history={0: moves}, indexes=(index,)))
    assert table.building
    finish(table)
    check_table(table)


def test_an_index_may_change_its_name_without_being_built_again() -> None:
    table = table_of(range(100))
    begin(table, DEFINITIONS[0])
    index = table.indexes["few"]
    renamed = replace(DEFINITIONS[0], name="other", unique=True, notes=("a note",))
    table.relayout(SCHEMA.with_(indexes=(DEFINITIONS[1], renamed)))
    assert table.indexes["other"] is index and index.definition == renamed
    assert list(table.indexes) == ["many", "other"]
    check_table(table)


def estimated(values: Callable[[int], int], rows: int, shuffled: bool) -> float:
    draw = random.Random(5)
    content = [values(number) for number in range(rows)]
    if shuffled:
        draw.shuffle(content)
    places = {scattered(number, rows) for number in range(building.SAMPLE_ROWS)}
    return distinct(Counter(content[place] for place in places), rows)


@pytest.mark.parametrize("shuffled", [True, False])
def test_the_number_of_values_is_estimated_well_enough_to_choose_a_shape(shuffled: bool) -> None:
    rows = 100_000
    for count in (1, 8, 1_000, 10_000, 20_000, 50_000):

        def cyclic(number: int, count: int = count) -> int:
            return number % count

        assert 0.7 * count <= estimated(cyclic, rows, shuffled) <= 1.4 * count
    assert estimated(lambda number: number, rows, shuffled) > 0.9 * rows
    half = estimated(lambda number: max(0, number - rows // 2), rows, shuffled)
    assert half > rows / 3, "half of the rows have the same value, the others one of their own"
    assert estimated(lambda number: number // 10, rows, shuffled) <= 1.4 * rows / 10


def test_progress_tells_how_many_rows_are_in() -> None:
    table = table_of(range(50))
    build = Build(OrderedIndex(DEFINITIONS[2], (COLUMNS[3],), (COLUMNS[0],), table._codec), table.rows, table.primary)
    assert build.progress == (0, 50) and not build.covers(0)
    assert not build.step(SCHEMA)
    assert build.progress == (50, 50) and build.covers(49) and not build.covers(50)


@pytest.mark.parametrize("left", [0, 1, 10, 3_000])
def test_a_table_may_shrink_while_it_is_looked_at(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsql.engine.table.BUILD_AT_ONCE", 0)
    table = table_of(range(6_000))
    begin(table, DEFINITIONS[1])
    for _ in range(50):
        table.maintain(iter([True, False]).__next__)
    table.apply([RowOp(number, row(number), None) for number in range(left, 6_000)])
    finish(table)
    check_table(table)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_single_rows_enter_an_index_under_construction_by_the_short_way(definition: IndexDef) -> None:
    database = Database()
    rows = [decode(row(number)) for number in range(0, 4_000, 2)]
    for change in (CreateTable(SCHEMA), Upsert("t", rows), CreateIndex("t", replace(definition, automatic=True))):
        database.apply(database.check([change], datetime(2026, 11, 20)))
    table = database.table("t")
    draw = random.Random(3)
    fresh = draw.sample(range(1, 6_000, 2), 150)
    undos = []
    while table.building:
        batch = database.check_row([Upsert("t", [decode(row(fresh.pop()))])])
        assert batch is not None, "it is a plain row"
        undos.append(database.apply(batch))
        database.maintain(iter([True, False]).__next__)
        if draw.random() < 0.3:
            database.revert(undos.pop())
    assert len(undos) > 10
    database.check_invariants()
    for undo in reversed(undos):
        database.revert(undo)
    database.check_invariants()
    assert len(table) == 2_000
