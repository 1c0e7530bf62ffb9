"""Runs of an index read in the order of the primary key, lazily: without sorting all of their keys.

Idea: a run is blocks of entries, and of each block the lowest and the highest primary key are known. The blocks lie on
a heap by the key with which each may begin; only the block on top is opened (its keys sorted), and gives all keys up
to the one with which the next block may begin. Where keys rise with the indexed column (dates of posts), "the ten
newest up to T" opens one or two blocks of hundreds, whatever T; where they have nothing to do with each other, at most
one block for each key that is wanted.

Invariants: no key of a block lies outside its bounds, though they may be wider than its keys (some have gone, or are
not of the run); keys come out in order, equal ones (of runs that overlap) one behind the other.

Cost: 0.3 us a block to begin, 0.1 ms a block that is opened, 0.05 us a key that comes out. A block that is skipped as a
whole costs 1 us. Bounds that are not known yet cost 0.1 ms a block, once; ``get_ready`` finds them in steps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import Any, Final, TypeAlias

from tcsql.engine.index import OrderedIndex
from tcsql.engine.keys import Codec, Leaf, PrimaryCodec
from tcsql.engine.packed import BlockList
from tcsql.engine.planner import Access
from tcsql.engine.schema import TableSchema
from tcsql.engine.values import Kind

#: Leaves and runs beyond this are many small ones, which are better sorted as a whole.
MOST_PARTS: Final = 256
#: Opened, or looked at for their bounds, before others get their turn.
BLOCKS_PER_STEP: Final = 16
#: Blocks looked at to tell how much of the keys' range a block covers.
_SAMPLES: Final = 3
#: In rows examined (0.7 us): a block on the heap, a block opened, and more if its keys are in no order, a key that
#: comes out.
HEAP_COST: Final = 0.5
OPEN_COST: Final = 100.0
SORT_COST: Final = 150.0
KEY_COST: Final = 0.02

#: First key in output order (negated if descending), a number of its own, the keys if open, the part, the place.
_Entry: TypeAlias = "tuple[Any, int, list[Any] | None, _Part, int]"


class _Part:
    """Consecutive entries of one leaf as blocks; a short leaf is one."""

    __slots__ = ("_begin", "_end", "_leaf", "_read", "_sorted", "places", "size")

    def __init__(self, leaf: Leaf, start: int, stop: int, codec: Codec) -> None:
        self._leaf = leaf
        self._read = codec.many
        self._sorted = isinstance(codec, PrimaryCodec)
        self.size = stop - start
        if isinstance(leaf, BlockList):
            self.places, self._begin, self._end = leaf.blocks(start, stop)
        else:
            self.places, self._begin, self._end = range(1), start, stop

    def unknown(self) -> list[int]:
        """The blocks whose bounds have to be found."""
        if self._sorted or not isinstance(self._leaf, BlockList):
            return []
        known = self._leaf.known_bounds(self.places)
        return [place for place, bounds in zip(self.places, known, strict=True) if bounds is None]

    def bounds(self, place: int) -> tuple[Any, Any]:
        """No key of the block is below the first or above the second."""
        if isinstance(self._leaf, BlockList) and not self._sorted:
            return self._leaf.lowest_highest(place, self._read)
        if self._sorted:
            block, begin, end = self._slice(place)
            return block[begin], block[end - 1]
        keys = self.open(place)
        return keys[0], keys[-1]

    def all_bounds(self) -> Iterable[tuple[Any, Any]]:
        """The bounds of all its blocks."""
        if isinstance(self._leaf, BlockList) and not self._sorted:
            known = self._leaf.known_bounds(self.places)
            if None not in known:
                return known  # type: ignore[return-value]  # None has just been excluded
        return [self.bounds(place) for place in self.places]

    def _slice(self, place: int) -> tuple[Any, int, int]:
        block = self._leaf.block(place) if isinstance(self._leaf, BlockList) else self._leaf
        begin = self._begin if place == self.places.start else 0
        return block, begin, self._end if place == self.places.stop - 1 else len(block)

    def size_of(self, place: int) -> int:
        """How many keys a block has in the run."""
        _, begin, end = self._slice(place)
        return end - begin

    def open(self, place: int) -> list[Any]:
        """Its keys, rising."""
        keys = self._read(*self._slice(place))
        if not self._sorted:
            keys.sort()
        return keys


class KeyOrder:
    """The rows of an access by primary key; made anew for each query, which is over before the table changes."""

    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts
        #: Keys of the blocks that have been opened.
        self.keys_read = 0
        self._blocks = sum([len(part.places) for part in parts])

    def cost(self, rows: float, keys_from: int, keys_to: int) -> float:
        """What the first so many rows cost, in rows examined, if all keys of the table are within these.

        A block covers a share of the keys' range, the same everywhere; where all blocks cover all of it, the keys
        wanted lie in as many blocks.
        """
        share = self._share(keys_from, keys_to)
        opened = min(float(self._blocks), rows, 2 + 2 * share * self._blocks)
        return opened * (OPEN_COST + share * SORT_COST) + self._blocks * HEAP_COST + rows * KEY_COST

    def _share(self, keys_from: int, keys_to: int) -> float:
        part = max(self._parts, key=lambda part: len(part.places))
        places, width = part.places, max(1, keys_to - keys_from)
        sample = places[:: max(1, len(places) // _SAMPLES)]
        covered: int = sum([highest - lowest for lowest, highest in map(part.bounds, sample)])
        return covered / (len(sample) * width)

    def get_ready(self) -> Generator[None, None, None]:
        """Find the bounds that are not known, in steps."""
        for part in self._parts:
            for number, place in enumerate(part.unknown(), 1):
                part.bounds(place)
                if number % BLOCKS_PER_STEP == 0:
                    yield

    def batches(self, descending: bool, behind: Any = None, skip: int = 0) -> Iterator[list[Any]]:
        """All keys in order, those that stand behind a key if one is given, some at a time, without the first ``skip``.

        An empty batch now and then: so much work has been done that others may want their turn.
        """
        heap = self._heap(descending, behind)
        opened = 0
        while heap:
            _, number, keys, part, place = heap[0]
            if keys is None:
                if skip and behind is None and self._passes(heap, descending, skip):
                    skip -= part.size_of(place)
                    heappop(heap)
                    continue
                opened += 1
                if opened % BLOCKS_PER_STEP == 0:
                    yield []
                keys = part.open(place)
                self.keys_read += len(keys)
                if behind is not None:
                    keys = keys[: bisect_left(keys, behind)] if descending else keys[bisect_right(keys, behind) :]
                if not descending:
                    keys.reverse()  # the next one stands last in both directions
                if keys:
                    heapreplace(heap, (-keys[-1] if descending else keys[-1], number, keys, part, place))
                else:
                    heappop(heap)
                continue
            heappop(heap)
            batch = _up_to(keys, heap[0][0] if heap else inf, descending)
            if keys:
                heappush(heap, (-keys[-1] if descending else keys[-1], number, keys, part, place))
            if skip:
                skip, batch = max(0, skip - len(batch)), batch[skip:]
            if batch:
                yield batch

    def _heap(self, descending: bool, behind: Any) -> list[_Entry]:
        heap: list[_Entry] = []
        for part in self._parts:
            for place, (lowest, highest) in zip(part.places, part.all_bounds(), strict=True):
                if behind is None or (lowest < behind if descending else highest > behind):
                    heap.append((-highest if descending else lowest, len(heap), None, part, place))
        heapify(heap)
        return heap

    def _passes(self, heap: list[_Entry], descending: bool, skip: int) -> bool:
        """Whether the block on top comes before all others, and is to be skipped as a whole."""
        _, _, _, part, place = heap[0]
        if part.size_of(place) > skip:
            return False
        lowest, highest = part.bounds(place)
        return all(heap[child][0] > (-lowest if descending else highest) for child in (1, 2) if child < len(heap))


def _up_to(keys: list[Any], limit: Any, descending: bool) -> list[Any]:
    """Take off the end all keys that come before the next block's first; at least one."""
    if descending:  # keys rise
        cut = min(bisect_right(keys, -limit), len(keys) - 1)
    else:
        cut = min(bisect_right(keys, -limit, key=lambda key: -key), len(keys) - 1)
    batch = keys[cut:]
    batch.reverse()
    del keys[cut:]
    return batch


def key_order(schema: TableSchema, access: Access) -> KeyOrder | None:
    """The rows of an access by primary key; None where sorting is better, or keys are no integers. 1 us a part."""
    if access.overlapping or not isinstance(access.index, OrderedIndex) or len(access.streams) > MOST_PARTS:
        return None
    if len(schema.primary_key) > 1 or schema.pkey_columns[0].type.kind is not Kind.INTEGER:
        return None
    parts: list[_Part] = []
    for stream in access.streams:
        for run in stream.runs:
            found = run.stretches(MOST_PARTS - len(parts)) if run.size else None
            if found is None:
                if run.size:
                    return None
                continue
            codec, stretches = found
            parts += [_Part(leaf, start, stop, codec) for leaf, start, stop in stretches if start < stop]
    return KeyOrder(parts) if parts else None
