"""Positions in a stream: the runs of one access laid end to end in output order.

Output position 0 is the first row of the page order. Within a run that is read backwards, position p is the
run's entry ``size - 1 - p``. All functions cost O(runs x log n), whatever the positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from tcsql.engine.index import Run
from tcsql.engine.keys import KeyValue
from tcsql.engine.order import Order, Position
from tcsql.engine.planner import Access, Stream
from tcsql.engine.values import PKey

#: More leaves than this are small ones, which are read one behind the other.
_MOST_LEAVES: Final = 64
_FIRST_KEYS: Final = 128
_KEYS_AT_ONCE: Final = 1_000


def pkeys_between(stream: Stream, start: int, stop: int, reverse: bool, backward: bool = False) -> Iterator[PKey]:
    """Primary keys of output positions start to stop, lazily; from stop down to start when ``backward``."""
    parts = _parts(stream, start, stop, reverse, backward)
    return chain.from_iterable(run.pkeys(first, last, reverse != backward) for run, first, last in parts)


def lists_between(
    stream: Stream, start: int, stop: int, reverse: bool, *, backward: bool, most: int
) -> Iterator[list[PKey]]:
    """The same as lists, few keys at first, then up to so many at a time."""
    size, turned = _FIRST_KEYS, reverse != backward
    for run, first, last in _parts(stream, start, stop, reverse, backward):
        begin, end = first, last
        while begin < end:
            count = min(size, most, end - begin)
            if turned:
                yield run.page(end - count, end, True)
                end -= count
            else:
                yield run.page(begin, begin + count, False)
                begin += count
            size *= 2


def _parts(stream: Stream, start: int, stop: int, reverse: bool, backward: bool) -> list[tuple[Run, int, int]]:
    """The parts of runs that hold the output positions start to stop, in the order in which they are read."""
    parts: list[tuple[Run, int, int]] = []
    offset = 0
    for run in stream.runs:
        first, last = max(0, start - offset), min(run.size, stop - offset)
        if first < last:
            parts.append((run, run.size - last, run.size - first) if reverse else (run, first, last))
        offset += run.size
    if backward:
        parts.reverse()
    return parts


def pkeys_of(access: Access) -> Iterator[PKey]:
    """Primary keys of all streams, one behind the other."""
    return chain.from_iterable(key_lists(access, _KEYS_AT_ONCE))


def key_lists(access: Access, most: int) -> Iterator[list[PKey]]:
    """Primary keys of all streams, up to so many at a time: half the time of one by one."""
    for stream in access.streams:
        for run in stream.runs:
            found = run.stretches(_MOST_LEAVES)
            if found is None:
                pkeys = run.pkeys(0, run.size, False)
                while keys := list(islice(pkeys, most)):
                    yield keys
                continue
            codec, stretches = found
            for leaf, start, stop in stretches:
                for first in range(start, stop, most):
                    yield codec.many(leaf, first, min(stop, first + most))


def seek(stream: Stream, order: Order, cursor: Position, reverse: bool) -> tuple[int, int]:
    """Output positions before and behind the cursor's row (equal when that row is gone, or is not of this stream).

    A column that is fixed within the stream may have another value at the cursor, which came from another stream of
    the same page: then all rows that are equal up to that column lie on one side of it.
    """
    values = dict(stream.equal)
    is_first: bool | None = None
    for name, key in _place_of(order, cursor):
        if name not in stream.equal:
            values[name] = key
        elif key != stream.equal[name]:
            is_first = _comes_first(stream.equal[name], key, reverse)
            break
    before = behind = 0
    for place, run in enumerate(stream.runs):
        low, high = _seek_run(stream, place, values, run, reverse)
        before += low
        behind += high
    return (before, behind) if is_first is None else (behind, behind) if is_first else (before, before)


def _place_of(order: Order, cursor: Position) -> Iterator[tuple[str, KeyValue]]:
    """What decides a row's place in the order, column by column: the terms, then the primary key."""
    schema = order.schema
    for term, value in zip(order.terms, cursor.values, strict=True):
        name = term.column if term.column is not None else schema.primary_key[0]
        yield name, None if value is None else schema.by_name[name].type.sort_key(value)
    parts = cursor.pkey if isinstance(cursor.pkey, tuple) else (cursor.pkey,)
    yield from zip(schema.primary_key, parts, strict=True)


def _comes_first(fixed: KeyValue, at_cursor: KeyValue, reverse: bool) -> bool:
    if fixed is None or at_cursor is None:
        return at_cursor is None  # NULL comes last in both directions
    return (fixed < at_cursor) != reverse  # type: ignore[operator]  # keys of one column


def _seek_run(stream: Stream, place: int, values: dict[str, KeyValue], run: Run, reverse: bool) -> tuple[int, int]:
    if stream.following in values:
        # NULL comes last in both directions, so a run of the other kind lies wholly on one side.
        holds_null = stream.has_null_run and place == len(stream.runs) - 1
        wants_null = values[stream.following] is None
        if holds_null != wants_null:
            return (run.size, run.size) if wants_null else (0, 0)
    low, high = run.seek(values)
    return (run.size - high, run.size - low) if reverse else (low, high)
