"""What tables hold is nothing the garbage collector has to walk."""

from __future__ import annotations

import gc
from itertools import chain
from typing import Any

import pytest

from tcsql.engine.change import CreateTable, Upsert
from tcsql.engine.database import Database
from tcsql.engine.packed import BlockList
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.textindex import TextIndex
from tests.duel import NOW
from tests.pools import BIG, INT, VARCHAR
from tests.sizes import small_sizes

pytestmark = pytest.mark.usefixtures(small_sizes.__name__)

SCHEMA = TableSchema(
    "t",
    (Column("a", INT, False), Column("b", VARCHAR, False), Column("n", BIG), Column("s", VARCHAR)),
    ("a", "b"),
    indexes=(IndexDef("n", ("n",)), IndexDef("sn", ("s", "n")), IndexDef("s", ("s",)), IndexDef("f", ("s",), True)),
)


def filled(batch: int) -> Database:
    database = Database()
    rows = [
        {"a": number * 7 % 50, "b": f"key {number}", "n": number if number % 3 else None, "s": f"text {number % 9}"}
        for number in range(50)
    ]
    changes = [CreateTable(SCHEMA)], *([Upsert("t", rows[at : at + batch])] for at in range(0, 50, batch))
    for change in changes:
        database.apply(database.check(change, NOW))
    return database


def leaves(index: Any) -> list[Any]:
    found = list(index.leaves.values()) if isinstance(index, TextIndex) else [*index.leaves.values(), index.whole]
    return list(chain.from_iterable(leaf._blocks if isinstance(leaf, BlockList) else [leaf] for leaf in found))


@pytest.mark.parametrize("batch", [1, 50])
def test_rows_and_entries_are_unknown_to_the_collector(batch: int) -> None:
    table = filled(batch).table("t")
    assert not gc.is_tracked(table.rows.current)
    gc.collect()  # it drops tuples of atoms by itself
    held = [leaf for index in (table.primary, *table.indexes.values()) for leaf in leaves(index)]
    assert sum(map(len, held)) > 4 * 50
    assert not any(gc.is_tracked(leaf) for leaf in held if isinstance(leaf, list))
    assert not any(map(gc.is_tracked, chain.from_iterable(held)))
