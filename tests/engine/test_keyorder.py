"""Runs read block by block in the order of the primary key: whatever was added and removed, the keys come as sorted."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.index import OrderedIndex
from tcsql.engine.keyorder import KeyOrder, key_order
from tcsql.engine.keys import KeyValue, make_codec
from tcsql.engine.packed import PackedList
from tcsql.engine.planner import Access, Stream
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.spans import Span
from tests.pools import INT, VARCHAR
from tests.sizes import small_sizes
from tests.strategies import effort

pytestmark = pytest.mark.usefixtures(small_sizes.__name__)


def _schema(value_type: str) -> TableSchema:
    columns = (Column("id", INT, nullable=False), Column("v", INT if value_type == "INT" else VARCHAR, nullable=False))
    return TableSchema("t", columns, ("id",), (IndexDef("v", ("v",)),))


def _index(schema: TableSchema) -> OrderedIndex:
    primary = schema.pkey_columns
    return OrderedIndex(
        schema.indexes[0], (schema.by_name["v"],), primary, lambda columns: make_codec(columns, primary)
    )


def _access(index: OrderedIndex, spans: tuple[Span, ...]) -> Access:
    stream = Stream(tuple(index.run((), span) for span in spans), {})
    return Access(index, [stream], stream.size, (), False, False)


def _value(value_type: str, number: int) -> KeyValue:
    return number if value_type == "INT" else f"{number:03}"


@pytest.mark.parametrize("value_type", ["INT", "VARCHAR(10)"])
@effort(200)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(-9, 9))),
    st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(-9, 9)), max_size=30),
    st.tuples(st.integers(0, 30), st.integers(0, 30)),
    st.booleans(),
    st.integers(0, 25),
    st.none() | st.integers(-5, 40),
)
def test_keys_of_a_range_come_in_order(
    value_type: str,
    first: list[tuple[int, int]],
    changes: list[tuple[bool, int, int]],
    ends: tuple[int, int],
    descending: bool,
    skip: int,
    behind: int | None,
) -> None:
    schema = _schema(value_type)
    index = _index(schema)
    low, high = sorted(ends)
    held: dict[int, int] = {}

    def check() -> None:
        span = Span(_value(value_type, low), _value(value_type, high))
        by_key = key_order(schema, _access(index, (span,)))
        wanted = sorted((key for key, value in held.items() if low <= value <= high), reverse=descending)
        if by_key is None:
            assert not wanted or value_type != "INT"  # many leaves are better sorted
            return
        assert list(by_key.get_ready()) is not None
        if behind is None:
            assert list(chain.from_iterable(by_key.batches(descending, None, skip))) == wanted[skip:]
        else:
            wanted = [key for key in wanted if (key < behind if descending else key > behind)]
            assert list(chain.from_iterable(by_key.batches(descending, behind))) == wanted

    for value, shift in first:
        key = 2 * value + shift  # keys rise with values, but not strictly
        if key not in held:
            held[key] = value
            index.add([_value(value_type, value)], key)
    check()
    for adds, value, shift in changes:
        key = 2 * value + shift
        if adds and key not in held:
            held[key] = value
            index.add([_value(value_type, value)], key)
        elif not adds and key in held:
            index.discard([_value(value_type, held.pop(key))], key)
        index.check_invariants()
        check()


def test_blocks_that_are_skipped_are_not_opened() -> None:
    schema = _schema("INT")
    index = _index(schema)
    for key in range(400):
        index.add([key], key)
    assert isinstance(index.whole, PackedList)
    by_key = key_order(schema, _access(index, (Span(),)))
    assert isinstance(by_key, KeyOrder)
    assert next(batch for batch in by_key.batches(True, None, 300) if batch)[0] == 99
    assert by_key.keys_read <= 8
