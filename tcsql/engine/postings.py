"""Leaves: sorted collections of index keys in four forms, of which a codec chooses two, small and large.

    keys that are objects      a plain list              above LIST_LIMIT entries an ObjectList
    keys packed into 64 bits   a plain ``array('Q')``    above LIST_LIMIT entries a PackedList

Inserting into 1,500 entries is one memmove of at most 12 KB (0.3 us) and needs 60 bytes and one reference (or 8
bytes) an entry; the larger forms cost about 1 KB at least, which 100,000 small groups cannot pay. The garbage collector
walks none of the four.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Final

from tcsql.engine.keys import Key, Leaf
from tcsql.engine.packed import TYPECODE, BlockList, ObjectList, PackedList
from tcsql.engine.tracking import untrack

LIST_LIMIT: Final = 1_500
#: What an entry costs in its container, and a leaf with its place in a dict and the directory (estimates).
ENTRY_BYTES: Final = 9
LEAF_BYTES: Final = 220


def make_leaf(keys: list[Key], packs: bool = False) -> Leaf:
    """A leaf of these keys, in any order; takes the list over. O(n log n), O(n) when sorted already."""
    keys.sort()
    if packs:
        return array(TYPECODE, keys) if len(keys) <= LIST_LIMIT else PackedList(keys)
    if len(keys) > LIST_LIMIT:
        return ObjectList(keys)
    untrack(keys)
    return keys


def add(leaf: Leaf, key: Key) -> Leaf:
    """Insert; gives back the leaf to keep, which is another object when it has grown out of its form."""
    if not isinstance(leaf, (list, array)):
        leaf.add(key)
        return leaf
    insort(leaf, key)
    if len(leaf) <= LIST_LIMIT:
        return leaf
    return ObjectList(leaf) if isinstance(leaf, list) else PackedList(leaf)


def add_many(leaf: Leaf, keys: list[Key]) -> Leaf:
    """The same for many keys in any order; takes the list over."""
    if isinstance(leaf, BlockList):
        keys.sort()
        leaf.update(keys)
        return leaf
    for key in keys:
        leaf = add(leaf, key)
    return leaf


def discard(leaf: Leaf, key: Key) -> bool:
    """Remove one entry; False when it was not there."""
    if not isinstance(leaf, (list, array)):
        return leaf.discard(key)
    place = bisect_left(leaf, key)
    if place == len(leaf) or leaf[place] != key:
        return False
    del leaf[place]
    return True


def discard_many(leaf: Leaf, keys: list[Key]) -> int:
    """The same for many keys in any order, which it sorts; how many were there."""
    keys.sort()
    if isinstance(leaf, BlockList):
        return leaf.discard_many(keys)
    return sum([discard(leaf, key) for key in keys])


def contains(leaf: Leaf, key: Key) -> bool:
    """Whether the key is there. O(log n)."""
    if not isinstance(leaf, (list, array)):
        return key in leaf
    place = bisect_left(leaf, key)
    return place < len(leaf) and bool(leaf[place] == key)


def slice_of(leaf: Leaf, start: int, stop: int, reverse: bool) -> Iterator[Key]:
    """Entries of positions start to stop, lazily; O(log n) to begin."""
    if not isinstance(leaf, (list, array)):
        return leaf.islice(start, stop, reverse=reverse)
    if stop - start <= 64:
        part = leaf[start:stop]
        return reversed(part) if reverse else iter(part)
    if reverse:
        return islice(reversed(leaf), len(leaf) - stop, len(leaf) - start)
    return islice(leaf, start, stop)
