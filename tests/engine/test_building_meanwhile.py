"""Random writes while indexes are built, in steps of three rows: short histories meet the mark from both sides."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import RowOp
from tcsql.engine.invariants import check_table
from tcsql.engine.table import Table
from tests.engine.test_building import DEFINITIONS, begin, finish, row, table_of
from tests.sizes import small_sizes
from tests.strategies import effort

pytestmark = pytest.mark.usefixtures(small_sizes.__name__)


@effort(60)
@given(st.data())
def test_any_writes_leave_the_index_as_one_built_afterwards(data: st.DataObject) -> None:
    draw = random.Random(data.draw(st.integers(0, 1 << 32)))
    table = table_of(range(0, draw.randrange(12, 80), 2))
    present = {number: row(number) for number in range(0, 2 * len(table), 2)}
    for definition in draw.sample(DEFINITIONS, 3):
        begin(table, definition)
    undone: list[list[RowOp]] = []
    for version in range(1, draw.randrange(5, 40)):
        ops = []
        for number in draw.sample(range(-20, 120), draw.choice((1, 1, 5))):
            before = present.get(number)
            after = None if before is not None and draw.random() < 0.5 else row(number, version)
            ops.append(RowOp(number, before, after))
            present[number] = after  # type: ignore[assignment]  # None: gone
        table.apply(ops)
        undone.append([RowOp(op.pkey, op.after, op.before) for op in ops])
        if draw.random() < 0.2:
            while undone and draw.random() < 0.7:
                table.apply(undo := undone.pop())
                present.update({op.pkey: op.after for op in undo})  # type: ignore[misc]  # integers
        if draw.random() < 0.1 and table.schema.indexes:
            gone = draw.choice(table.schema.indexes)
            table.relayout(table.schema.with_(indexes=tuple(i for i in table.schema.indexes if i is not gone)))
        table.maintain(iter([True] * draw.randrange(4) + [False]).__next__)
        check_table(table)
    finish(table)
    check_table(table)
    assert not table.building
    fresh = Table(1, table.schema)
    fresh.restore((0, data) for data in present.values() if data is not None)
    assert dict(fresh.rows.items()) == dict(table.rows.items())
