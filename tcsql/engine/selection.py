"""The part of a sorted list that a page shows, without ever sorting the whole list in one go.

Items are dealt into buckets by sampled pivots (one bisection each); only the buckets that the page touches are
sorted. So the page behind a million rows costs a partition and two small sorts, and no step of it takes longer
than sorting one bucket. Keys differ in their last part, the primary key, so buckets are about equally full.

Cost: n x log2(buckets) comparisons, about 2 us an item at a million.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Sequence
from heapq import nlargest, nsmallest
from typing import Any, Final, TypeVar

Item = TypeVar("Item")

#: Sorting this many items by tuples takes 2 to 4 ms.
BUCKET_ITEMS: Final = 2_000
#: More pivots than items of a bucket do not pay: the pivots are sorted in one go.
_MOST_BUCKETS: Final = 1_000
_SAMPLES_PER_PIVOT: Final = 4
#: A prime near 2**32 / 1.618: its multiples spread evenly over any list, whatever order or period that has.
_STRIDE: Final = 2_654_435_761
_ITEMS_PER_STEP: Final = 1_000
#: A heap of the first takes less than sorting where there are so many times as many items.
_FEW: Final = 16
_SPOT_CHECKS: Final = 8


def first_of(items: list[Item], count: int, falling: bool) -> list[Item]:
    """The first of items that are in no order, in order; the list may be sorted.

    By a heap, 0.05 us an item, unless they are few or seem to be sorted already, which makes it simple.

    >>> first_of([3, 1, 2], 2, falling=True)
    [3, 2]
    """
    some: list[Any] = items
    if count * _FEW < len(some):
        sample = some[:: len(some) // _SPOT_CHECKS]
        if sample != sorted(sample) and sample != sorted(sample, reverse=True):
            return nlargest(count, some) if falling else nsmallest(count, some)
    some.sort(reverse=falling)
    return some[:count]


def window_steps(
    items: list[Item], start: int, stop: int, key: Callable[[Item], Any]
) -> Generator[None, None, list[Item]]:
    """``sorted(items, key=key)[start:stop]`` for 0 <= start <= stop, in steps of a few milliseconds.

    The list is emptied on the way: a million objects that are freed at once take longer than a step may.

    >>> list(window_steps([3, 1, 2], 0, 2, key=int))  # few items take no step
    []
    """
    start, stop = min(start, len(items)), min(stop, len(items))
    if start == stop:
        if len(items) > BUCKET_ITEMS:
            yield from let_go(items)
        return []
    if len(items) <= BUCKET_ITEMS:
        items.sort(key=key)
        return items[start:stop]
    pivots = yield from _pivots(items, key)
    buckets: list[list[Item]] = [[] for _ in range(len(pivots) + 1)]
    while items:
        item = items.pop()
        buckets[bisect_right(pivots, key(item))].append(item)
        if len(items) % _ITEMS_PER_STEP == 0:
            yield
    found: list[Item] = []
    offset = 0
    for bucket in buckets:
        if offset < stop and offset + len(bucket) > start:
            bucket.sort(key=key)
            found += bucket[max(0, start - offset) : stop - offset]
        offset += len(bucket)
        bucket.clear()
        yield
    return found


def let_go(held: list[Any] | dict[Any, Any]) -> Generator[None, None, None]:
    """Empty what holds many objects, in steps: a million that are freed at once take 0.2 s."""
    while held:
        for _ in range(min(_ITEMS_PER_STEP, len(held))):
            if isinstance(held, dict):
                held.popitem()
            else:
                held.pop()
        yield


def _pivots(items: Sequence[Item], key: Callable[[Item], Any]) -> Generator[None, None, list[Any]]:
    buckets = min(_MOST_BUCKETS, 1 + len(items) // (BUCKET_ITEMS // 2))
    size = len(items)
    sample = [key(items[number * _STRIDE % size]) for number in range(min(size, _SAMPLES_PER_PIVOT * buckets))]
    yield
    sample.sort()
    yield
    return sample[_SAMPLES_PER_PIVOT - 1 :: _SAMPLES_PER_PIVOT][: buckets - 1]
