"""Tables out of use: whole as long as they may come back, then freed in small steps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, repeat

import pytest

from tcsql.engine import graveyard
from tcsql.engine.change import AddColumn, Change, CreateTable, DropTable, Truncate, Upsert
from tcsql.engine.database import Database, Undo
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.table import Table
from tests.duel import NOW
from tests.pools import INT, VARCHAR
from tests.sizes import small_sizes

pytestmark = pytest.mark.usefixtures(small_sizes.__name__)
ROWS = 200
INDEXES = (IndexDef("n", ("n",)), IndexDef("s", ("s",)), IndexDef("f", ("s",), True))
COLUMNS = (Column("id", INT, False), Column("n", INT), Column("s", VARCHAR))


def commit(database: Database, *changes: Change) -> Undo:
    return database.apply(database.check(changes, NOW))


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(graveyard, "SMALL_ROWS", 5)
    monkeypatch.setattr("tcsql.engine.table.STEP_ENTRIES", 7)
    found = Database()
    commit(found, CreateTable(TableSchema("t", COLUMNS, ("id",), indexes=INDEXES)))
    rows = [{"id": number, "n": number % 7 or None, "s": f"text {number}"} for number in range(ROWS)]
    commit(found, Upsert("t", rows))
    return found


def times(count: int) -> Callable[[], bool]:
    """A ``more`` that is true so many times."""
    return chain(repeat(True, count), repeat(False)).__next__


def left_of(table: Table) -> int:
    return len(table.rows) + sum(len(leaf) for leaf in table.primary.leaves.values()) + len(table.primary.whole)


@pytest.mark.parametrize("change", [Truncate("t"), DropTable("t")])
def test_a_table_that_may_come_back_is_left_alone(database: Database, change: Change) -> None:
    undo = commit(database, change)
    for _ in range(3):
        database.maintain(times(50))
    database.revert(undo)
    database.check_invariants()
    assert len(list(database.rows("t"))) == ROWS
    del undo
    assert not database.maintain(times(50))
    assert len(list(database.rows("t"))) == ROWS, "what is in use again is not freed"


@pytest.mark.parametrize("change", [Truncate("t"), DropTable("t")])
def test_a_table_out_of_use_is_freed_in_small_steps(database: Database, change: Change) -> None:
    old = database.table("t")
    indexes = list(old.indexes.values())
    undo = commit(database, AddColumn("t", Column("more", INT)))
    database.maintain(times(3))
    undo += commit(database, change)
    before = left_of(old)
    assert before == 2 * ROWS
    del undo
    steps = 0
    while database.maintain(times(1)):
        now = left_of(old)
        assert before - now <= 40, "one step frees a bounded part"
        before, steps = now, steps + 1
        assert steps < 2_000
    assert left_of(old) == 0 and steps > ROWS // 7
    assert not any(index.leaves for index in indexes)
    assert not len(database._graveyard)


def test_small_tables_do_not_pile_up_where_nobody_maintains(database: Database) -> None:
    for number in range(20):
        commit(database, CreateTable(TableSchema("small", COLUMNS, ("id",))))
        commit(database, Upsert("small", [{"id": number, "n": 1, "s": "x"}]))
        commit(database, DropTable("small"))
    assert len(database._graveyard) == 1
    commit(database, Truncate("t"))
    database.begin_bulk("t")
    assert not len(database._graveyard), "a program that does nothing else frees all at once"
