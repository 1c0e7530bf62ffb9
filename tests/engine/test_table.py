"""Tables: what a write may cost at worst."""

from __future__ import annotations

from typing import Any

import pytest

from tcsql.engine.change import RowOp
from tcsql.engine.index import RESHAPE_AT, OrderedIndex
from tcsql.engine.invariants import check_table
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.table import Table
from tests.pools import INT, VARCHAR

SCHEMA = TableSchema("t", (Column("id", INT, False), Column("name", VARCHAR)), ("id",), (IndexDef("name", ("name",)),))


def inserted(first: int, last: int) -> list[RowOp]:
    return [RowOp(number, None, b'{"id":%d,"name":"n%d"}' % (number, number % 3)) for number in range(first, last)]


def test_a_table_that_hovers_around_a_size_reshapes_its_indexes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[OrderedIndex] = []
    build = OrderedIndex.build

    def watched(index: OrderedIndex, *args: Any) -> None:
        built.append(index)
        build(index, *args)

    monkeypatch.setattr(OrderedIndex, "build", watched)
    table = Table(1, SCHEMA)
    size = min(RESHAPE_AT)
    table.apply(inserted(0, size - 1))
    assert not built
    last = inserted(size - 1, size)
    for _ in range(3):
        table.apply(last)
        table.apply([RowOp(op.pkey, op.after, None) for op in last])
    assert [index.definition.name for index in built] == ["name", "PRIMARY"]
    check_table(table)
