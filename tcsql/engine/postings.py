"""Leaves: sorted collections of index keys, small ones a plain list, large ones a SortedList.

A list of up to 1,500 entries costs 56 bytes and one reference an entry, and inserting is one memmove of at most
12 KB (0.3 us); a SortedList costs about 1 KB at least, which 100,000 small groups cannot pay.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Final

from sortedcontainers import SortedList

from tcsql.engine.keys import Key, Leaf

LIST_LIMIT: Final = 1_500
#: What an entry costs in its container, and a leaf with its place in a dict and the directory (estimates).
ENTRY_BYTES: Final = 9
LEAF_BYTES: Final = 220


def make_leaf(keys: list[Key]) -> Leaf:
    """A leaf of these keys, in any order; takes the list over. O(n log n), O(n) when sorted already."""
    keys.sort()
    return keys if len(keys) <= LIST_LIMIT else SortedList(keys)


def add(leaf: Leaf, key: Key) -> Leaf:
    """Insert; gives back the leaf to keep, which is another object when the list has grown out of its form."""
    if not isinstance(leaf, list):
        leaf.add(key)
        return leaf
    insort(leaf, key)
    return leaf if len(leaf) <= LIST_LIMIT else SortedList(leaf)


def discard(leaf: Leaf, key: Key) -> bool:
    """Remove one entry; False when it was not there."""
    if not isinstance(leaf, list):
        if key not in leaf:
            return False
        leaf.remove(key)
        return True
    place = bisect_left(leaf, key)
    if place == len(leaf) or leaf[place] != key:
        return False
    del leaf[place]
    return True


def contains(leaf: Leaf, key: Key) -> bool:
    """Whether the key is there. O(log n)."""
    if not isinstance(leaf, list):
        return key in leaf
    place = bisect_left(leaf, key)
    return place < len(leaf) and bool(leaf[place] == key)


def slice_of(leaf: Leaf, start: int, stop: int, reverse: bool) -> Iterator[Key]:
    """Entries of positions start to stop, lazily; O(log n) to begin."""
    if not isinstance(leaf, list):
        return leaf.islice(start, stop, reverse=reverse)
    if stop - start <= 64:
        part = leaf[start:stop]
        return reversed(part) if reverse else iter(part)
    if reverse:
        return islice(reversed(leaf), len(leaf) - stop, len(leaf) - start)
    return islice(leaf, start, stop)
