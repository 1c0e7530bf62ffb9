"""PackedList against a plain sorted list; packed keys against tuples of the same values."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine import packed
from tcsql.engine.keys import PackedCodec, make_codec
from tcsql.engine.packed import PackedList
from tcsql.engine.schema import Column
from tcsql.engine.values import ColumnType, Kind

NEAR = st.integers(0, 40)
KEYS = st.one_of(NEAR, st.sampled_from([0, 2**32, 2**63, 2**64 - 1]))
OPERATIONS = st.sampled_from(["add", "update", "remove", "left", "right", "has", "slice"])
STEPS = st.lists(st.tuples(OPERATIONS, KEYS, NEAR), max_size=60)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "BLOCK", 4)


@given(st.lists(KEYS, max_size=40), STEPS)
def test_packed_list_does_what_a_sorted_list_does(keys: list[int], steps: list[tuple[str, int, int]]) -> None:
    plain = sorted(keys)
    found = PackedList(plain)
    for step, key, other in steps:
        match step:
            case "add":
                found.add(key)
                insort(plain, key)
            case "update":
                more = [key + step for step in range(other) if key + step < 2**64]
                found.update(more)
                plain = sorted(plain + more)
            case "remove" if key in plain:
                found.remove(key)
                plain.remove(key)
            case "remove":
                with pytest.raises(ValueError, match="not in the list"):
                    found.remove(key)
            case "left":
                assert found.bisect_left(key - 1) == bisect_left(plain, key - 1)
            case "right":
                assert found.bisect_right(key) == bisect_right(plain, key)
            case "has":
                assert (key in found) == (key in plain)
            case "slice":
                start, stop = sorted((key % 41, other))
                assert list(found.islice(start, stop)) == plain[start:stop]
                assert list(found.islice(start, stop, reverse=True)) == plain[start:stop][::-1]
        assert len(found) == len(plain)
    found.check_invariants()
    assert list(found) == plain


def test_rising_keys_fill_every_block() -> None:
    found = PackedList([])
    for key in range(4 * 25):
        found.add(key)
    assert len(found._blocks) == 25
    found.check_invariants()


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
