"""A watch shows the rows of the moment it was made, whatever is written meanwhile."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine import executor
from tcsql.engine.change import AddColumn, Change, CreateTable, Delete, DeleteKeys, DropColumn, Update, Upsert
from tcsql.engine.database import RESTARTS, Database
from tcsql.engine.query import Condition, Count, Filter, Operator, Select
from tcsql.engine.result import CountResult, Page
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.watching import Watch
from tests.duel import NOW
from tests.pools import INT, VARCHAR
from tests.strategies import effort

COLUMNS = (Column("a", INT, False), Column("b", VARCHAR, False), Column("n", INT, False))
KEYS = st.integers(0, 12)
WRITES = st.lists(st.tuples(st.sampled_from(("put", "many", "remove", "migrate", "none")), KEYS), max_size=30)


def commit(database: Database, change: Change) -> None:
    database.apply(database.check([change], NOW))


def row(number: int, n: int) -> dict[str, object]:
    return {"a": number // 3, "b": f"key {number % 3}", "n": n}


def filled(numbers: list[int], parts: int = 2) -> Database:
    database = Database()
    commit(database, CreateTable(TableSchema("t", COLUMNS, ("a", "b")[:parts])))
    commit(database, Upsert("t", [row(number, number) for number in numbers]))
    return database


@effort(200)
@given(st.lists(KEYS, unique=True), WRITES, st.integers(1, 4), st.booleans())
def test_a_watch_shows_the_rows_of_its_beginning(
    numbers: list[int], writes: list[tuple[str, int]], limit: int, moving: bool
) -> None:
    database = filled(numbers)
    if moving:  # rows that are on their way to another layout
        commit(database, AddColumn("t", Column("x", INT)))
    table = database.table("t")
    expected = (
        sorted(database.rows("t"))
        if not moving
        else [
            json.dumps({**row(number, number), "x": None}, separators=(",", ":")).encode() for number in sorted(numbers)
        ]
    )
    watch = Watch(table.rows, table.primary)
    found = []
    rest = iter(writes)
    for chunk in watch.chunks(limit):
        assert len(chunk) <= limit
        found += [data for _, data in chunk]
        for what, number in (next(rest, ("none", 0)), next(rest, ("none", 0))):
            if what == "put":
                commit(database, Upsert("t", [row(number, -1)]))
            elif what == "many":
                commit(database, Upsert("t", [row((number + more) % 13, -2) for more in range(0, 26, 2)] * 2))
            elif what == "remove":
                key = row(number, 0)
                commit(database, DeleteKeys("t", [(key["a"], key["b"])]))  # type: ignore[list-item]  # a key of two parts
            elif what == "migrate":
                table.rows.migrate(2)
    watch.end()
    assert not table.rows.watchers
    assert sorted(found) == sorted(expected)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(executor, "PINNED_ROWS", 10)
    database = Database()
    columns = (Column("id", INT, False), Column("n", INT, False))
    commit(database, CreateTable(TableSchema("t", columns, ("id",))))
    commit(database, Upsert("t", [{"id": number, "n": number % 10} for number in range(2_000)]))
    return database


def test_an_overtaken_scan_answers_from_one_moment_and_lets_go(watched: Database) -> None:
    """Every write moves one from n = 3 to n = 4 or adds a pair: both counts differ, their sum tells the moment."""
    dice = random.Random(4)
    either = Filter(((Condition("n", Operator.NUMEQ, "3"),), (Condition("n", Operator.NUMEQ, "4"),)))
    for query in (Count("t", either), Select("t", where=either, limit=1_000)):
        steps = watched.steps(query)
        slices, counts = 0, set[int]()
        while True:
            before = watched.query(Count("t", either))
            assert isinstance(before, CountResult)
            if slices <= RESTARTS:
                counts = {before.count}
            try:
                next(steps)
            except StopIteration as stop:
                result = stop.value
                break
            slices += 1
            number = dice.randrange(2_000)
            commit(watched, Upsert("t", [{"id": number, "n": 5}, {"id": 5_000 + slices, "n": 3}]))
        assert slices > RESTARTS + 5
        found = result.count if isinstance(result, CountResult) else len(result.rows)
        assert isinstance(result, (CountResult, Page))
        assert found in counts, "the state of the moment the watch began"
        assert not watched.table("t").rows.watchers


def test_a_watched_scan_begins_again_when_columns_change_and_lets_go_when_it_is_left(watched: Database) -> None:
    query = Select("t", where=Filter(((Condition("n", Operator.NUMEQ, "3"),),)), limit=1_000)
    steps = watched.steps(query)
    for number in range(RESTARTS + 2):
        next(steps)
        commit(watched, Upsert("t", [{"id": 9_000 + number, "n": 5}]))
    assert watched.table("t").rows.watchers
    commit(watched, AddColumn("t", Column("x", INT)))
    next(steps)
    with pytest.raises(StopIteration) as stop:
        while True:
            next(steps)
    assert {tuple(json.loads(data)) for data in stop.value.value.rows} == {("id", "n", "x")}
    commit(watched, DropColumn("t", "x"))
    left = watched.steps(query)
    for number in range(RESTARTS + 2):
        next(left)
        commit(watched, Upsert("t", [{"id": 9_000 + number, "n": 6}]))
    assert watched.table("t").rows.watchers
    left.close()
    assert not watched.table("t").rows.watchers


@pytest.mark.parametrize("change", ["update", "delete"])
def test_an_overtaken_change_acts_on_the_rows_as_they_are_at_its_end(watched: Database, change: str) -> None:
    dice = random.Random(5)
    three = Filter(((Condition("n", Operator.NUMEQ, "3"),),))
    wanted = Update("t", three, {"n": 77}) if change == "update" else Delete("t", three)
    steps = watched.check_steps([wanted], NOW)
    slices = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            batch = stop.value
            break
        slices += 1
        number = dice.randrange(2_000)  # in and out of what is searched, before and behind where the search is
        commit(
            watched, Upsert("t", [{"id": number, "n": 3}, {"id": number // 2, "n": 4}, {"id": 4_000 + slices, "n": 3}])
        )
        commit(watched, DeleteKeys("t", [dice.randrange(2_000)]))
    assert slices > RESTARTS + 5
    expected = {json.loads(data)["id"] for data in watched.rows("t") if json.loads(data)["n"] == 3}
    counter = watched.table("t").auto_increment
    watched.apply(batch)
    assert {op.pkey for op in batch.parts[0].ops} == expected
    left = [json.loads(data) for data in watched.rows("t")]
    assert not [row for row in left if row["n"] == 3]
    assert len([row for row in left if row["n"] == 77]) == (len(expected) if change == "update" else 0)
    assert watched.table("t").auto_increment == counter
    watched.check_invariants()
    assert not watched.table("t").rows.watchers
