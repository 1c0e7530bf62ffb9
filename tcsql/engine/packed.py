"""Sorted lists in blocks: what an index holds when its keys are many.

    ``PackedList``   unsigned 64-bit integers in arrays, 8 bytes each; below a few thousand a plain ``array('Q')``
                     does, on which bisect and insort work as on a list
    ``ObjectList``   any keys that compare, one reference each, in lists the garbage collector does not know

Blocks hold at most 2,048 keys (``BLOCK``); their maxima find the block of a key, as in a SortedList. Against a
SortedList of int objects (56 bytes an entry) a PackedList saves six sevenths of the memory; and neither costs a
collection anything, of which a SortedList of 1 M keys costs 20 ms. The position of a block is the sum of the lengths
before it: kept as prefix sums, which are true but for the last few blocks that grew or shrank by one key; those are
noted, sorted, and looked up beside the sums. Keys that rise change no sum at all.

Cost: a bisection 1.2 us, an insertion 1.5 us, at 1 M keys in any order.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from itertools import accumulate, chain
from typing import Any, Final

from tcsql.engine.tracking import untrack

#: An insertion moves 8 KB on average; 1 M keys have about 700 blocks.
BLOCK: Final = 2_048
#: Changes noted before the prefix sums behind them are made anew: 15 us at 1 M keys, once in so many changes.
NOTED: Final = 64
#: array's code for unsigned 64 bit.
TYPECODE: Final = "Q"


class BlockList:
    """Sorted keys; the same key may stand more than once. Methods are named as SortedList's."""

    __slots__ = ("_blocks", "_grown", "_known", "_lowest_highest", "_maxes", "_shrunk", "_starts", "size")

    def __init__(self, keys: Sequence[Any]) -> None:
        """Take keys that are sorted already. O(n)."""
        starts = range(0, len(keys), max(1, BLOCK * 3 // 4))
        self._blocks = [self._block(keys[start : start + starts.step]) for start in starts]
        self._maxes = [block[-1] for block in self._blocks]
        self.size = len(keys)  # for a look without a call
        #: Positions at which blocks begin; only the first ``_known`` of them are right, and those but for the blocks
        #: before them that have grown or shrunk by one since: sorted, below ``_known - 1``, one entry a key.
        self._starts = [0] * len(self._blocks)
        self._known = min(1, len(self._blocks))
        self._grown: list[int] = []
        self._shrunk: list[int] = []
        #: For each block what ``lowest_highest`` found, None: not known; no list before anybody asks.
        self._lowest_highest: list[tuple[Any, Any] | None] | None = None

    @staticmethod
    def _block(keys: Sequence[Any]) -> MutableSequence[Any]:
        """A block of its own with these keys."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._blocks)

    def __contains__(self, key: Any) -> bool:
        place = bisect_left(self._maxes, key)
        if place == len(self._blocks):
            return False
        block = self._blocks[place]
        return bool(block[bisect_left(block, key)] == key)  # there is one: the block's maximum is not below the key

    def bisect_left(self, key: Any) -> int:
        """How many keys are smaller; of integers, any may be asked for. O(log n)."""
        place = bisect_left(self._maxes, key)
        if place == len(self._blocks):
            return self.size
        at = bisect_left(self._blocks[place], key)
        if place < self._known and not self._grown and not self._shrunk:  # the usual case, without a call
            return self._starts[place] + at
        return self._start(place) + at

    def bisect_right(self, key: Any) -> int:
        """How many keys are not greater."""
        place = bisect_right(self._maxes, key)
        if place == len(self._blocks):
            return self.size
        return self._start(place) + bisect_right(self._blocks[place], key)

    def stretch(self, low: Any, high: Any) -> tuple[Any, int, int]:
        """The keys from low up to, not including, high: a list or array that holds them, mostly a block, and where."""
        place = bisect_left(self._maxes, low)
        if place == len(self._blocks):
            return (), 0, 0
        block = self._blocks[place]
        start = bisect_left(block, low)
        # Most stretches are shorter: 4 steps instead of 11.
        near = start + 16 if start + 16 < len(block) else len(block)  # noqa: FURB136  # min() takes 0.1 us
        end = bisect_left(block, high, start, near)
        if end == near:
            if high > self._maxes[place]:
                return self, self._start(place) + start, self.bisect_left(high)
            end = bisect_left(block, high, near)
        return block, start, end

    def _start(self, place: int) -> int:
        if place >= self._known:
            self._count_up_to(place)
        if not self._grown and not self._shrunk:
            return self._starts[place]
        return self._starts[place] + bisect_left(self._grown, place) - bisect_left(self._shrunk, place)

    def _count_up_to(self, place: int) -> None:
        known = self._known
        lengths = map(len, self._blocks[known - 1 : place])
        self._starts[known - 1 : place + 1] = accumulate(lengths, initial=self._starts[known - 1])
        self._known = place + 1

    def _note(self, changed: list[int], place: int) -> None:
        """A block has one key more or less; ``changed`` is the list for it."""
        if place < self._known - 1:
            insort(changed, place)
            if len(changed) > NOTED:
                self._cut(min(each[0] for each in (self._grown, self._shrunk) if each) + 1)

    def _cut(self, known: int) -> None:
        """Only so many positions are right any more."""
        self._known = known = min(self._known, known)
        for changed in (self._grown, self._shrunk):
            if changed and changed[-1] >= known - 1:
                del changed[bisect_left(changed, known - 1) :]

    def add(self, key: Any) -> None:
        """Insert; O(BLOCK). Keys that rise fill the last block and then begin a new one."""
        maxes = self._maxes
        if not maxes or key >= maxes[-1]:
            self._append(key)
        else:
            place = bisect_left(maxes, key)
            block = self._blocks[place]
            insort(block, key)
            if self._lowest_highest is not None:
                self._lowest_highest[place] = None
            if len(block) > BLOCK:
                self._split(place)
            else:
                self._note(self._grown, place)
        self.size += 1

    def update(self, keys: Sequence[Any]) -> None:
        """Insert sorted keys; those behind all others in whole blocks, 0.02 us each."""
        rising = bisect_left(keys, self._maxes[-1]) if self._maxes else 0
        if rising > NOTED:
            self._scatter(keys[:rising])
        else:
            for key in keys[:rising]:
                self.add(key)
        while rising < len(keys):
            self._append(keys[rising])
            last = self._blocks[-1]
            more = keys[rising + 1 : rising + 1 + BLOCK - len(last)]
            last.extend(more)
            if self._lowest_highest is not None:
                self._lowest_highest[-1] = None
            self._maxes[-1] = last[-1]
            self.size += 1 + len(more)
            rising += 1 + len(more)

    def _scatter(self, keys: Sequence[Any]) -> None:
        """Insert many sorted keys below the largest there is: two thirds of the time of one by one."""
        maxes, blocks = self._maxes, self._blocks
        place = first = bisect_left(maxes, keys[0])
        for key in keys:
            place = bisect_left(maxes, key, place)
            block = blocks[place]
            insort(block, key)
            if self._lowest_highest is not None:
                self._lowest_highest[place] = None
            if len(block) > BLOCK:
                self._split(place)
        self.size += len(keys)
        self._cut(first + 1)

    def _append(self, key: Any) -> None:
        if self._blocks and len(self._blocks[-1]) < BLOCK:
            self._blocks[-1].append(key)
            self._maxes[-1] = key
            if self._lowest_highest is not None:
                self._lowest_highest[-1] = None
            return
        self._blocks.append(self._block((key,)))
        if self._lowest_highest is not None:
            self._lowest_highest.append(None)
        self._maxes.append(key)
        self._starts.append(self.size - len(self._grown) + len(self._shrunk))
        if self._known == len(self._blocks) - 1:
            self._known += 1

    def _split(self, place: int) -> None:
        block = self._blocks[place]
        half = len(block) // 2
        self._blocks[place : place + 1] = [self._block(block[:half]), self._block(block[half:])]
        self._maxes[place : place + 1] = [block[half - 1], block[-1]]
        if self._lowest_highest is not None:
            self._lowest_highest[place : place + 1] = [None, None]
        self._starts.append(0)
        self._cut(place + 1)

    def remove(self, key: Any) -> None:
        """Take out one occurrence; raises ValueError when there is none."""
        if not self.discard(key):
            raise ValueError(f"{key} is not in the list")

    def discard(self, key: Any) -> bool:
        """Take out one occurrence; False when there is none. O(BLOCK)."""
        place = bisect_left(self._maxes, key)
        if place == len(self._blocks):
            return False
        block = self._blocks[place]
        at = bisect_left(block, key)
        if block[at] != key:
            return False
        del block[at]
        self.size -= 1
        if block:
            self._maxes[place] = block[-1]
            self._note(self._shrunk, place)
        else:
            self._remove_block(place)
        return True

    def discard_many(self, keys: Sequence[Any]) -> int:
        """Take out sorted keys, those that are there; how many. Neighbours go together, 0.02 us each."""
        removed = at = 0
        while at < len(keys):
            place = bisect_left(self._maxes, keys[at])
            if place == len(self._blocks):
                break
            stop = bisect_right(keys, self._maxes[place], at)
            together = list(keys[at:stop])
            at = stop
            block = self._blocks[place]
            first = bisect_left(block, together[0])
            if list(block[first : first + len(together)]) != together:
                removed += sum(map(self.discard, together))
                continue
            del block[first : first + len(together)]
            self.size -= len(together)
            removed += len(together)
            if block:
                self._maxes[place] = block[-1]
                self._cut(place + 1)
            else:
                self._remove_block(place)
        return removed

    def _remove_block(self, place: int) -> None:
        del self._blocks[place], self._maxes[place]
        if self._lowest_highest is not None:
            del self._lowest_highest[place]
        self._starts.pop()
        self._cut(min(max(place, 1), len(self._blocks)))

    def shrink(self, most: int) -> int:
        """Free about that many keys from the end, whole blocks at a time; how many."""
        freed = 0
        while self._blocks and freed < most:
            freed += len(self._blocks.pop())
            self._maxes.pop()
            self._starts.pop()
            if self._lowest_highest is not None:
                self._lowest_highest.pop()
        self.size -= freed
        self._cut(len(self._blocks))
        return freed

    def __getitem__(self, span: slice | int) -> Any:
        """The keys of positions start to stop (not negative), as a list has them, or one. 1 us within a block."""
        if isinstance(span, int):
            return self[span : span + 1][0]
        start, stop = span.start, min(span.stop, self.size)
        if start >= stop:
            return ()
        if self._grown or self._shrunk or self._known < len(self._starts):
            place, begin = self._place(start)
        else:  # every sum is true
            place = bisect_right(self._starts, start) - 1
            begin = start - self._starts[place]
        block = self._blocks[place]
        if begin + stop - start <= len(block):
            return block[begin : begin + stop - start]
        return list(self.islice(start, stop))

    def islice(self, start: int, stop: int, reverse: bool = False) -> Iterator[Any]:
        """Keys of positions start to stop, lazily, backwards if ``reverse``; the list must not change meanwhile."""
        start, stop = max(0, start), min(stop, self.size)
        if start >= stop:
            return iter(())
        first, begin = self._place(start)
        last, end = self._place(stop - 1)
        blocks = self._blocks
        if first == last:
            part = blocks[first][begin : end + 1]
            return reversed(part) if reverse else iter(part)
        middle = range(first + 1, last)
        if not reverse:
            whole = chain.from_iterable(blocks[place] for place in middle)
            return chain(blocks[first][begin:], whole, blocks[last][: end + 1])
        whole = chain.from_iterable(reversed(blocks[place]) for place in reversed(middle))
        return chain(reversed(blocks[last][: end + 1]), whole, reversed(blocks[first][begin:]))

    def _place(self, position: int) -> tuple[int, int]:
        """The block of a position, and where in it."""
        last = len(self._blocks) - 1
        if self._known <= last and position >= self._start(self._known - 1):
            self._count_up_to(last)
        place = bisect_right(self._starts, position, 0, self._known) - 1
        if self._grown or self._shrunk:  # then the sums may lie by as many as are noted: a block or two
            while self._start(place) > position:
                place -= 1
            while place < self._known - 1 and self._start(place + 1) <= position:
                place += 1
        return place, position - self._start(place)

    def blocks(self, start: int, stop: int) -> tuple[range, int, int]:
        """The blocks that hold these positions, which must be there; where they begin in the first, end in the last."""
        first, begin = self._place(start)
        last, end = self._place(stop - 1)
        return range(first, last + 1), begin, end + 1

    def block(self, place: int) -> Sequence[Any]:
        """One block, as it is."""
        return self._blocks[place]

    def lowest_highest(self, place: int, read: Callable[[Any, int, int], list[Any]]) -> tuple[Any, Any]:
        """No key of a block reads as less than the first, and none as more than the second.

        ``read``: always the same one, what a codec's ``page`` does. Remembered until a key comes to the block; keys
        that go leave the bounds true. 0.1 ms the first time, then 0.1 us.
        """
        if self._lowest_highest is None:
            self._lowest_highest = [None] * len(self._blocks)
        found = self._lowest_highest[place]
        if found is None:
            block = self._blocks[place]
            values = read(block, 0, len(block))
            found = self._lowest_highest[place] = min(values), max(values)
        return found

    def known_bounds(self, places: range) -> list[tuple[Any, Any] | None]:
        """What ``lowest_highest`` remembers of these blocks."""
        known = self._lowest_highest
        return [None] * len(places) if known is None else known[places.start : places.stop]

    def check_invariants(self) -> None:
        """AssertionError when blocks, maxima or positions are wrong. O(n)."""
        assert self.size == sum(map(len, self._blocks)), "block list: size"
        assert all(0 < len(block) <= BLOCK for block in self._blocks), "block list: block size"
        assert self._maxes == [block[-1] for block in self._blocks], "block list: maxima"
        keys = list(self)
        assert keys == sorted(keys), "block list: order"
        assert len(self._starts) == len(self._blocks), "block list: positions"
        assert min(1, len(self._blocks)) <= self._known <= len(self._blocks), "block list: known positions"
        if self._lowest_highest is not None:
            assert len(self._lowest_highest) == len(self._blocks), "block list: bounds"
        at = 0
        for changed in (self._grown, self._shrunk):
            assert changed == sorted(changed), "block list: notes"
            assert not changed or changed[-1] < self._known - 1, "block list: a note on what is not known"
        for place, block in enumerate(self._blocks[: self._known]):
            assert self._start(place) == at, "block list: a position is stale"
            at += len(block)


class PackedList(BlockList):
    """Sorted integers below 2**64 at 8 bytes each."""

    __slots__ = ()

    @staticmethod
    def _block(keys: Sequence[int]) -> MutableSequence[int]:
        return array(TYPECODE, keys)

    def arrays(self, start: int, stop: int) -> Iterator[array[int]]:
        """The keys of positions start to stop as arrays: copies of parts of blocks."""
        places, begin, end = self.blocks(start, stop) if start < stop else (range(0), 0, 0)
        for place in places:
            block: Any = self.block(place)
            yield block[begin if place == places.start else 0 : end if place == places.stop - 1 else len(block)]


class ObjectList(BlockList):
    """Sorted atoms, or tuples of atoms."""

    __slots__ = ()

    @staticmethod
    def _block(keys: Sequence[Any]) -> MutableSequence[Any]:
        block = list(keys)
        untrack(block)
        return block
