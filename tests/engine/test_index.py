"""Ordered indexes: every form of them holds, counts and finds what a sorted list of all entries would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine import directory, index, postings
from tcsql.engine.directory import Directory
from tcsql.engine.index import OrderedIndex
from tcsql.engine.keys import PackedCodec, PrimaryCodec, TupleCodec, make_codec
from tcsql.engine.packed import ObjectList
from tcsql.engine.schema import Column, IndexDef
from tcsql.engine.spans import EVERY_VALUE, NULL_SPAN, Span
from tests.pools import BIG, INT, TINY, VARCHAR
from tests.strategies import effort


@pytest.fixture(autouse=True, scope="module")
def small_sizes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "LIST_LIMIT", 5)
        patch.setattr(directory, "BLOCK", 4)
        patch.setattr(index, "MIN_REPETITION", 2)
        yield


KEY = Column("id", INT, nullable=False)
NUMBER = Column("n", TINY)
OTHER = Column("m", BIG)
TEXT = Column("w", VARCHAR)
WORDS = ("", "a", "b", "ab", "é", "中")
#: Declared columns of an index, and the values each may have.
FORMS: dict[str, tuple[tuple[Column, ...], tuple[tuple[Any, ...], ...]]] = {
    "one integer": ((NUMBER,), ((None, *range(-2, 4)),)),
    "two integers": ((NUMBER, OTHER), ((None, *range(-2, 3)), (None, 0, 1, 2**64 - 1))),
    "text": ((TEXT,), ((None, *WORDS),)),
    "text and integer": ((TEXT, NUMBER), ((None, *WORDS), (None, 0, 1))),
    "the key itself": ((KEY,), (tuple(range(-5, 30)),)),
}


def order_of(values: tuple[Any, ...], pkey: int) -> tuple[Any, ...]:
    """NULL above every value."""
    return (*((value is None, 0 if value is None else value) for value in values), pkey)


def made(form: str) -> OrderedIndex:
    columns = FORMS[form][0]
    return OrderedIndex(IndexDef("i", tuple(column.name for column in columns)), columns, (KEY,), _codec)


def _codec(columns: tuple[Column, ...]) -> Any:
    return make_codec(columns, (KEY,))


def entries(form: str) -> st.SearchStrategy[dict[int, tuple[Any, ...]]]:
    values = st.tuples(*(st.sampled_from(pool) for pool in FORMS[form][1]))
    return st.dictionaries(st.integers(-5, 60), values, max_size=40)


def build(form: str, rows: dict[int, tuple[Any, ...]], in_bulk: bool) -> OrderedIndex:
    built = made(form)
    if in_bulk:
        columns = [[values[place] for values in rows.values()] for place in range(len(FORMS[form][0]))]
        built.build(columns, list(rows), lambda codec, values, pkeys: codec.keys(values, pkeys))
    else:
        for pkey, values in rows.items():
            built.add(values, pkey)
    built.check_invariants()
    return built


def keyed(form: str, rows: dict[int, tuple[Any, ...]]) -> dict[int, tuple[Any, ...]]:
    return {pkey: (pkey,) for pkey in rows} if form == "the key itself" else rows


@pytest.mark.parametrize("form", FORMS)
@effort(40)
@given(data=st.data(), in_bulk=st.booleans())
def test_runs_are_the_slices_of_one_sorted_list(form: str, data: st.DataObject, in_bulk: bool) -> None:
    rows = keyed(form, data.draw(entries(form)))
    held = build(form, rows, in_bulk)
    assert len(held) == len(rows)
    columns, pools = FORMS[form]
    for fixed in range(len(columns) + 1):
        equal = tuple(data.draw(st.sampled_from(pools[place])) for place in range(fixed))
        spans = [EVERY_VALUE]
        if fixed < len(columns):
            low, high = data.draw(st.sampled_from(pools[fixed])), data.draw(st.sampled_from(pools[fixed]))
            spans += [Span(low, high, data.draw(st.booleans())), *([NULL_SPAN] if columns[fixed].nullable else [])]
        for span in spans:
            expected = [
                pkey
                for pkey, values in sorted(rows.items(), key=lambda item: order_of(item[1], item[0]))
                if values[:fixed] == equal and (fixed == len(columns) or inside(span, values[fixed]))
            ]
            run = held.run(equal, span)
            assert run.size == len(expected)
            assert list(run.pkeys(0, run.size, False)) == expected
            assert list(run.pkeys(0, run.size, True)) == expected[::-1]
            start = data.draw(st.integers(0, run.size))
            stop = data.draw(st.integers(start, run.size))
            assert list(run.pkeys(start, stop, False)) == expected[start:stop]
            assert list(run.pkeys(start, stop, True)) == expected[start:stop][::-1]


def inside(span: Span, value: Any) -> bool:
    if span.null or value is None:
        return span.null and value is None
    if span.low is not None and value < span.low:
        return False
    return span.high is None or value < span.high or (value == span.high and not span.high_open)


@pytest.mark.parametrize("form", FORMS)
@effort(40)
@given(data=st.data(), in_bulk=st.booleans())
def test_entries_come_and_go_one_by_one(form: str, data: st.DataObject, in_bulk: bool) -> None:
    rows = keyed(form, data.draw(entries(form)))
    held = build(form, rows, in_bulk)
    for pkey in data.draw(st.permutations(sorted(rows))):
        assert held.contains(rows[pkey], pkey)
        held.discard(rows[pkey], pkey)
        assert not held.contains(rows[pkey], pkey)
        held.discard(rows[pkey], pkey)
        if data.draw(st.integers(0, 3)) == 0:
            held.add(rows[pkey], pkey)
            held.check_invariants()
        else:
            del rows[pkey]
    held.check_invariants()
    expected = sorted(rows, key=lambda pkey: order_of(rows[pkey], pkey))
    parts = [held.run((), EVERY_VALUE), *([held.run((), NULL_SPAN)] if FORMS[form][0][0].nullable else [])]
    assert [pkey for run in parts for pkey in run.pkeys(0, run.size, False)] == expected


@effort(60)
@given(st.dictionaries(st.integers(-30, 30), st.integers(1, 5), max_size=40), st.data())
def test_a_directory_counts_the_rows_below_a_value(sizes: dict[int, int], data: st.DataObject) -> None:
    known = dict(sizes)
    held = Directory(sorted(known), known.__getitem__)
    for value in data.draw(st.lists(st.integers(-30, 30), max_size=20)):
        if value in known and data.draw(st.booleans()):
            held.grow(value, -known[value])
            known[value] = 0
            held.remove(value)
            del known[value]
        elif value in known:
            known[value] += 1
            held.grow(value, 1)
        else:
            known[value] = 0
            held.insert(value)
            known[value] = 2
            held.grow(value, 2)
        held.check_invariants()
    assert held.total() == sum(known.values()) and len(held) == len(known)
    for value in range(-31, 32):
        assert held.rows_below(value, inclusive=False) == sum(rows for each, rows in known.items() if each < value)
        assert held.rows_below(value, inclusive=True) == sum(rows for each, rows in known.items() if each <= value)
    for position in range(held.total()):
        values, before = held.walk(position, False)
        listed = list(values)
        assert listed == sorted(known)[sorted(known).index(listed[0]) :]
        assert before <= position < before + known[listed[0]]
        backwards, before_back = held.walk(position, True)
        assert (next(iter(backwards)), before_back) == (listed[0], before)


def test_the_cheapest_codec_is_chosen() -> None:
    assert isinstance(make_codec((), (KEY,)), PrimaryCodec)
    assert isinstance(make_codec((NUMBER, OTHER), (KEY,)), PackedCodec)
    assert isinstance(make_codec((NUMBER, TEXT), (KEY,)), TupleCodec)
    assert isinstance(make_codec((NUMBER,), (KEY, OTHER)), TupleCodec)


@given(st.integers(-300, 300), st.integers(-(2**70), 2**70))
def test_packed_bounds_outside_the_type_lie_at_its_ends(number: int, key: int) -> None:
    codec = make_codec((NUMBER,), (KEY,))
    rows = [(value, pkey) for value in (-128, 0, 5, 127, None) for pkey in (INT.low, 0, INT.high)]
    leaf = sorted(codec.key((value,), pkey) for value, pkey in rows)
    assert list(codec.pkeys(iter(leaf))) == [pkey for _, pkey in rows]
    assert codec.first(leaf, (number,)) == sum(value is not None and value < number for value, _ in rows)
    assert codec.last(leaf, (number,)) == sum(value is not None and value <= number for value, _ in rows)
    assert codec.first(leaf, (number, key)) == sum(
        value is not None and (value, pkey) < (number, key) for value, pkey in rows
    )


def test_a_leaf_grows_into_a_sorted_list_and_still_finds_its_entries() -> None:
    leaf: Any = postings.make_leaf([3, 1, 2])
    for key in range(10, 30):
        leaf = postings.add(leaf, key)
    assert isinstance(leaf, ObjectList) and list(leaf)[:4] == [1, 2, 3, 10]
    assert postings.discard(leaf, 10) and not postings.discard(leaf, 10)
    assert postings.contains(leaf, 11) and not postings.contains(leaf, 10)
    assert list(postings.slice_of(leaf, 2, 5, True)) == [12, 11, 3]
