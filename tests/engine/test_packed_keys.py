"""Packed keys against the values they are made of: which keys fit 64 bits, and where a prefix begins and ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.keys import PackedCodec, make_codec
from tcsql.engine.packed import PackedList
from tcsql.engine.schema import Column
from tcsql.engine.values import ColumnType, Kind


def integer(name: str, low: int, high: int, nullable: bool = False) -> Column:
    return Column(name, ColumnType(Kind.INTEGER, "int", low=low, high=high), nullable=nullable)


@pytest.mark.parametrize(
    ("columns", "packs"),
    [
        ([integer("a", 0, 2**32 - 1), integer("id", 0, 2**32 - 1)], True),
        ([integer("a", -(2**31), 2**31 - 1), integer("id", -(2**31), 2**31 - 1)], True),
        ([integer("a", 0, 2**32 - 1, nullable=True), integer("id", 0, 2**32 - 1)], False),
        ([integer("a", 0, 254, nullable=True), integer("id", 0, 2**32 - 1)], True),
        ([integer("a", 0, 255), integer("b", 0, 255), integer("id", 0, 2**32 - 1)], True),
        ([integer("a", 0, 255), integer("id", 0, 2**64 - 1)], False),
    ],
)
def test_keys_pack_when_all_columns_fit_into_64_bits(columns: list[Column], packs: bool) -> None:
    codec = make_codec(tuple(columns[:-1]), (columns[-1],))
    assert codec.packs == packs
    highest = [None if column.nullable else column.type.high for column in columns[:-1]]
    assert (codec.key(highest, columns[-1].type.high) < 2**64) == packs


SMALL = (integer("a", -2, 1), integer("b", 0, 2, nullable=True), integer("id", -1, 2))
ROWS = st.lists(
    st.tuples(st.integers(-2, 1), st.none() | st.integers(0, 2), st.integers(-1, 2)), unique=True, max_size=30
)
#: Prefixes ask for values that no column holds, too, and for NULL where there is none.
PREFIX = st.lists(st.none() | st.integers(-4, 5), min_size=1, max_size=3)


@given(ROWS, PREFIX)
def test_a_prefix_begins_and_ends_where_its_rows_do(
    rows: list[tuple[int, int | None, int]], prefix: list[int | None]
) -> None:
    codec = PackedCodec(SMALL)

    def order(values: tuple[int | None, ...] | list[int | None]) -> list[float]:
        return [float("inf") if value is None else value for value in values]

    rows = sorted(rows, key=order)
    leaf = PackedList(codec.keys([[row[0] for row in rows], [row[1] for row in rows]], [row[2] for row in rows]))
    assert list(leaf) == [codec.key(row[:2], row[2]) for row in rows]
    assert list(codec.pkeys(iter(leaf))) == [row[2] for row in rows]
    matching = [place for place, row in enumerate(rows) if list(row[: len(prefix)]) == prefix]
    below = sum(order(row[: len(prefix)]) < order(prefix) for row in rows)
    assert codec.first(leaf, prefix) == below
    assert codec.last(leaf, prefix) == below + len(matching)
