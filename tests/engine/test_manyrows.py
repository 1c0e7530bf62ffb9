"""Many changes in one batch do what the same changes do one by one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tcsql.engine.change import AddColumn, Change, CreateIndex, CreateTable, Delete, DeleteKeys, Update, Upsert
from tcsql.engine.database import Database
from tcsql.engine.query import Condition, Count, Filter, Operator
from tcsql.engine.result import CountResult
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.textindex import TextIndex
from tests.duel import NOW
from tests.pools import BIG, INT, VARCHAR
from tests.sizes import small_sizes

pytestmark = pytest.mark.usefixtures(small_sizes.__name__)
COLUMNS = (Column("id", INT, False), Column("n", BIG), Column("s", VARCHAR), Column("k", INT, False))
INDEXES = (
    *(IndexDef(name, tuple(name)) for name in ("n", "s", "k", "sk", "kn")),
    IndexDef("f", ("s",), fulltext=True),
)
ROWS = 60


def commit(database: Database, *changes: Change) -> Any:
    return database.apply(database.check(changes, NOW))


def filled() -> Database:
    database = Database()
    commit(database, CreateTable(TableSchema("t", COLUMNS, ("id",), indexes=INDEXES)))
    commit(database, Upsert("t", [row(number, random.Random(number)) for number in range(ROWS)]))
    return database


def row(number: int, dice: random.Random) -> dict[str, Any]:
    word = dice.choice(("alpha", "beta", "gamma", "alphabet", None))
    return {"id": number, "n": dice.choice((None, 1, 2, 2**60)), "s": word, "k": dice.randrange(5)}


def between(low: int, high: int) -> Filter:
    return Filter(((Condition("id", Operator.NUMBT, f"{low} {high}"),),))


def batches(dice: random.Random) -> list[Change]:
    low = dice.randrange(ROWS)
    return [
        Upsert("t", [row(dice.randrange(2 * ROWS), dice) for _ in range(20)]),
        Update("t", between(low, low + 20), {"s": dice.choice(("delta", None)), "k": 3}),
        Delete("t", between(low + 10, low + 25)),
        DeleteKeys("t", [dice.randrange(2 * ROWS) for _ in range(12)]),
        Upsert("t", [row(number, dice) for number in range(low, low + 30)]),
    ]


def entries(database: Database) -> object:
    table = database.table("t")
    while database.maintain(iter([True, False]).__next__):
        pass
    found: dict[str, object] = {"rows": dict(table.rows.items())}
    for name, index in table.indexes.items():
        if isinstance(index, TextIndex):
            found[name] = {gram: list(leaf) for gram, leaf in index.leaves.items()}
        else:
            found[name] = [*index.run(()).pkeys(0, len(index), False)], len(index)
    return found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("unfinished", [False, True])
def test_a_batch_does_what_its_changes_do_one_by_one(
    monkeypatch: pytest.MonkeyPatch, seed: int, unfinished: bool
) -> None:
    together, alone = filled(), filled()
    for database in (together, alone):
        if unfinished:  # an index half built, and rows half moved to another layout
            commit(database, AddColumn("t", Column("x", INT)), CreateIndex("t", IndexDef("late", ("k", "s"))))
            for _ in range(9):
                database.maintain(iter([True, False]).__next__)
    undos = []
    for change in batches(random.Random(seed)):
        undos.append(commit(together, change))
        together.check_invariants()
        with monkeypatch.context() as patch:
            patch.setattr("tcsql.engine.table.MANY_ROWS", 1_000)
            commit(alone, change)
    assert list(together.rows("t")) == list(alone.rows("t"))
    if seed % 2:
        for undo in reversed(undos):
            together.revert(undo)
            together.check_invariants()
        alone = filled()
        if unfinished:
            commit(alone, AddColumn("t", Column("x", INT)), CreateIndex("t", IndexDef("late", ("k", "s"))))
    assert entries(together) == entries(alone)
    together.check_invariants()


def test_rows_that_are_gone_are_not_looked_for_while_their_texts_still_stand() -> None:
    database = filled()
    words = Filter(((Condition("s", Operator.STRINC, "alpha"),),))
    before = database.query(Count("t", words))
    commit(database, Delete("t", Filter(((Condition("id", Operator.NUMLT, str(ROWS // 2)),),))))
    index = database.table("t").indexes["f"]
    assert isinstance(index, TextIndex) and not index.is_settled  # as the title says
    expected = sum("alpha" in (row(number, random.Random(number))["s"] or "") for number in range(ROWS // 2, ROWS))
    assert database.query(Count("t", words)) == CountResult(expected) != before
    commit(database, Delete("t", words))  # a search for changes meets them too
    assert database.query(Count("t", words)) == CountResult(0)
