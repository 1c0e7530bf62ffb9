"""Taking a dropped index apart, a little at a time.

An index of 1 M tuples that loses its last reference gives back three million objects at once: 150 ms in which nobody
is answered. So a table keeps what was dropped and frees some thousand entries in each step of its background work.
Nobody may use the index any more. Cost: 0.1 us an entry.
"""

from __future__ import annotations

from typing import Any, Final

from tcsql.engine.building import Index
from tcsql.engine.directory import Directory
from tcsql.engine.index import OrderedIndex
from tcsql.engine.keys import Leaf
from tcsql.engine.packed import ObjectList

#: Entries freed in one step, and what a leaf counts besides: less than half a millisecond.
STEP_ENTRIES: Final = 3_000
_LEAF: Final = 20


def dismantle(index: Index) -> bool:
    """Free some thousand entries; False when none is left."""
    if isinstance(index, OrderedIndex) and len(index.whole):
        index.leaves[None] = index.whole
        index.whole = []
        index.directory = Directory([], len)
    leaves: dict[Any, Leaf] = index.leaves
    left = STEP_ENTRIES
    while left > 0 and leaves:
        value, leaf = leaves.popitem()
        left -= _LEAF + shrink(leaf, left)
        if isinstance(leaf, (list, ObjectList)) and leaf:
            leaves[value] = leaf
    return bool(leaves)


def shrink(leaf: Leaf, most: int) -> int:
    """Take about ``most`` entries from a leaf that holds objects; how many. Packed ones are freed in no time."""
    if isinstance(leaf, list):
        freed = min(len(leaf), max(1, most))
        del leaf[len(leaf) - freed :]
        return freed
    return leaf.shrink(most) if isinstance(leaf, ObjectList) else 0
