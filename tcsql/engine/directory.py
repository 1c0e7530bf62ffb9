"""The ordered directory of a partitioned index: distinct leading values with the number of rows of each.

Values stand in blocks of at most 256 with a row count per block, so that "how many rows have a value below v"
sums the counts of whole blocks (at C speed) and at most one block of single values: for 100,000 distinct values
about 10 us, against 5 ms for walking them. Values are never NULL; rows without a value have their own leaf.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

BLOCK: Final = 256


class Directory:
    """Sorted distinct values; ``rows_of`` tells how many rows a value has."""

    __slots__ = ("_blocks", "_counts", "_maxes", "_rows_of")

    def __init__(self, values: list[Any], rows_of: Callable[[Any], int]) -> None:
        self._rows_of = rows_of
        half = BLOCK // 2
        self._blocks = [values[start : start + half] for start in range(0, len(values), half)]
        self._maxes = [block[-1] for block in self._blocks]
        self._counts = [sum(map(rows_of, block)) for block in self._blocks]

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def insert(self, value: Any) -> None:
        """A new value, whose rows are counted by ``grow`` afterwards."""
        if not self._blocks:
            self._blocks, self._maxes, self._counts = [[value]], [value], [0]
            return
        place = min(bisect_left(self._maxes, value), len(self._blocks) - 1)
        block = self._blocks[place]
        insort(block, value)
        self._maxes[place] = block[-1]
        if len(block) > BLOCK:
            half = len(block) // 2
            upper = block[half:]
            del block[half:]
            moved = sum(map(self._rows_of, upper))
            self._blocks.insert(place + 1, upper)
            self._maxes[place : place + 1] = [block[-1], upper[-1]]
            self._counts[place : place + 1] = [self._counts[place] - moved, moved]

    def remove(self, value: Any) -> None:
        """A value that has no rows left."""
        place = bisect_left(self._maxes, value)
        block = self._blocks[place]
        block.remove(value)
        if block:
            self._maxes[place] = block[-1]
        else:
            del self._blocks[place], self._maxes[place], self._counts[place]

    def grow(self, value: Any, by: int) -> None:
        self._counts[bisect_left(self._maxes, value)] += by

    def rows_below(self, value: Any, inclusive: bool) -> int:
        """Rows whose value is smaller, or not greater."""
        place = bisect_left(self._maxes, value)
        if place == len(self._blocks):
            return sum(self._counts)
        block = self._blocks[place]
        end = (bisect_right if inclusive else bisect_left)(block, value)
        return sum(self._counts[:place]) + sum(map(self._rows_of, block[:end]))

    def total(self) -> int:
        return sum(self._counts)

    def walk(self, rows_before: int, reverse: bool) -> tuple[Iterator[Any], int]:
        """Values from the one that holds the row at that position on (or back), and the rows before that value."""
        before = place = 0
        while place < len(self._blocks) and before + self._counts[place] <= rows_before:
            before += self._counts[place]
            place += 1
        if place == len(self._blocks):
            return (self._backwards(place - 1, None) if reverse else iter(())), before
        block = self._blocks[place]
        at = 0
        while before + (rows := self._rows_of(block[at])) <= rows_before:
            before += rows
            at += 1
        if reverse:
            return self._backwards(place, at + 1), before
        return chain(block[at:], chain.from_iterable(self._blocks[place + 1 :])), before

    def _backwards(self, place: int, end: int | None) -> Iterator[Any]:
        while place >= 0:
            yield from reversed(self._blocks[place][:end])
            place, end = place - 1, None

    def check_invariants(self) -> None:
        """AssertionError when order, block bounds or counts are wrong. O(values)."""
        flat = list(chain.from_iterable(self._blocks))
        assert flat == sorted(set(flat)), "directory values out of order or doubled"
        assert self._maxes == [block[-1] for block in self._blocks], "directory maxima are stale"
        assert self._counts == [sum(map(self._rows_of, block)) for block in self._blocks], "directory counts are stale"
        assert all(0 < len(block) <= BLOCK for block in self._blocks), "directory block size"
