"""Lists in blocks: whatever is added, removed and asked, the answer is a sorted list's."""

from __future__ import annotations

import gc
from bisect import bisect_left, bisect_right, insort

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.packed import BlockList, ObjectList, PackedList
from tests.sizes import small_sizes
from tests.strategies import effort

pytestmark = pytest.mark.usefixtures(small_sizes.__name__)
KEYS = st.integers(0, 40) | st.sampled_from((2**63, 2**64 - 1))


@pytest.mark.parametrize("form", [PackedList, ObjectList])
@effort(200)
@given(
    st.lists(KEYS, max_size=30),
    st.lists(st.tuples(st.sampled_from(("add", "remove", "remove many", "update", "ask")), KEYS), max_size=40),
)
def test_a_list_in_blocks_is_a_sorted_list(
    form: type[BlockList], first: list[int], steps: list[tuple[str, int]]
) -> None:
    plain = sorted(first)
    packed = form(plain)
    for what, key in steps:
        if what == "add":
            packed.add(key)
            insort(plain, key)
        elif what == "update":
            more = [key, key + 1, key + 2, key + 9, key + 20] if key < 2**63 else [key]
            packed.update(more)
            plain = sorted([*plain, *more])
        elif what == "remove many":
            wanted = [near for near in range(key, key + 4) if near < 2**64]
            there = [near for near in wanted if near in plain]
            assert packed.discard_many(wanted) == len(there)
            for near in there:
                plain.remove(near)
        elif what == "remove" and key in plain:
            packed.remove(key)
            plain.remove(key)
        elif what == "remove":
            with pytest.raises(ValueError, match="not in the list"):
                packed.remove(key)
        else:
            assert (key in packed) == (key in plain)
            assert packed.bisect_left(key) == bisect_left(plain, key)
            assert packed.bisect_right(key) == bisect_right(plain, key)
        packed.check_invariants()
    assert list(packed) == plain and len(packed) == len(plain)
    for start in range(len(plain) + 1):
        assert packed.bisect_left(start) == bisect_left(plain, start)
        stop = start + 5
        assert list(packed.islice(start, stop)) == plain[start:stop]
        assert list(packed.islice(start, stop, reverse=True)) == plain[start:stop][::-1]


@given(st.lists(st.integers(0, 99), max_size=120), st.integers(-5, 105), st.sampled_from((0, 1, 5, 60)), st.booleans())
def test_stretches_are_those_of_a_sorted_list(keys: list[int], low: int, length: int, large: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if large:  # one block, in which ends are looked for near and far
            patch.setattr("tcsql.engine.packed.BLOCK", 2_048)
        packed, plain = PackedList(sorted(keys)), sorted(keys)
        held, start, stop = packed.stretch(low, low + length)
        assert list(held[start:stop]) == [key for key in plain if low <= key < low + length]
        assert stop - start == len(held[start:stop])


@given(st.lists(KEYS, max_size=30), st.integers())
def test_any_integer_may_be_asked_for(keys: list[int], asked: int) -> None:
    packed = PackedList(sorted(keys))
    assert packed.bisect_left(asked) == bisect_left(sorted(keys), asked)
    assert (asked in packed) == (asked in keys)


@given(st.lists(KEYS, max_size=30), st.lists(st.integers(1, 9), max_size=20))
def test_a_list_shrinks_from_its_end(keys: list[int], steps: list[int]) -> None:
    held = ObjectList(sorted(keys))
    for most in steps:
        before = len(held)
        freed = held.shrink(most)
        held.check_invariants()
        assert min(before, most) <= freed and len(held) == before - freed
        assert list(held) == sorted(keys)[: len(held)]


def test_the_collector_does_not_know_the_blocks_of_objects() -> None:
    held = ObjectList(range(10))
    for key in (5, 3, 3, 4, 11, 12, 13, 14, 15):
        held.add(key)
    known = gc.get_referents(*(gc.get_referents(held)))
    blocks = [each for each in known if isinstance(each, list)]
    assert len(blocks) > 3
    assert not any(map(gc.is_tracked, blocks))
