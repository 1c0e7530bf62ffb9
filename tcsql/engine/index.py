"""Ordered indexes: sorted keys (column values, then primary key), cut into runs whose sizes are known exactly.

An index over (a, b) answers "a = x, b from y to z, in the order of b" as one run: two bisections give its two
ends, hence its size; a page anywhere in it is a slice. Nothing is walked: count, offset and rank are O(log n).

Two shapes, one interface; ``build`` chooses by the keys and by the number of distinct leading values:

    whole        one leaf of keys (a, b, pkey); best where they pack into 64 bits or a is nearly unique
    partitioned  a leaf of keys (b, pkey) per value of a, found by one dict look-up, and a directory of the
                 values with their row counts for ranges over a; best where values repeat: a posting list
                 of an (a) index holds bare references, 9 bytes an entry against 57

Rows whose leading value is NULL sort last, in a leaf of their own when partitioned.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from typing import Final, Protocol

from tcsql.engine import postings
from tcsql.engine.change import Row
from tcsql.engine.directory import Directory
from tcsql.engine.keys import Codec, Key, KeyValue, Leaf, Stretch, sort_key_reader
from tcsql.engine.packed import BlockList
from tcsql.engine.schema import Column, IndexDef
from tcsql.engine.spans import EVERY_VALUE, Span
from tcsql.engine.values import PKey

#: Partition when values repeat at least this often on average; below, a leaf per value wastes its 56 bytes.
MIN_REPETITION: Final = 4
#: The shape of a growing index is looked at again at these sizes; rebuilding the largest takes about 20 ms.
RESHAPE_AT: Final = frozenset({256, 4_096, 20_000})

MakeCodec = Callable[[tuple[Column, ...]], Codec]


class Run(Protocol):
    """Consecutive entries of an index, in its order."""

    size: int

    def pkeys(self, start: int, stop: int, reverse: bool) -> Iterator[PKey]:
        """Primary keys of positions start to stop, backwards if ``reverse``; O(log n) to begin."""

    def page(self, start: int, stop: int, reverse: bool) -> list[PKey]:
        """The same as a list: half the time a key."""

    def seek(self, values: Mapping[str, KeyValue]) -> tuple[int, int]:
        """Positions before and behind the entry with these values (they decide a row), clamped. O(log n)."""

    def stretches(self, most: int) -> tuple[Codec, list[Stretch]] | None:
        """The leaves and positions it consists of; None when they are more than ``most``. O(leaves)."""


def _known(codec: Codec, values: Mapping[str, KeyValue]) -> list[KeyValue]:
    """The leading key columns that are given: they hold the primary key, so nothing behind them matters."""
    return [values[column.name] for column in takewhile(lambda column: column.name in values, codec.columns)]


def _grouped(values: Sequence[KeyValue], keys: Sequence[Key]) -> dict[KeyValue, list[Key]]:
    groups: dict[KeyValue, list[Key]] = {}
    for value, key in zip(values, keys, strict=True):
        group = groups.get(value)
        if group is None:
            groups[value] = [key]
        else:
            group.append(key)
    return groups


class LeafRun:
    """A slice of one leaf."""

    __slots__ = ("_codec", "_leaf", "_start", "size")

    def __init__(self, leaf: Leaf, codec: Codec, start: int, stop: int) -> None:
        self._leaf = leaf
        self._codec = codec
        self._start = start
        self.size = max(0, stop - start)

    def pkeys(self, start: int, stop: int, reverse: bool) -> Iterator[PKey]:
        entries = postings.slice_of(self._leaf, self._start + start, self._start + stop, reverse)
        return self._codec.pkeys(entries)

    def page(self, start: int, stop: int, reverse: bool) -> list[PKey]:
        """The primary keys of positions start to stop, taken from the leaf at once."""
        keys = self._codec.many(self._leaf, self._start + start, self._start + stop)
        if reverse:
            keys.reverse()
        return keys

    def seek(self, values: Mapping[str, KeyValue]) -> tuple[int, int]:
        """Positions before and behind; two bisections."""
        prefix = _known(self._codec, values)
        before = self._codec.first(self._leaf, prefix) - self._start
        behind = self._codec.last(self._leaf, prefix) - self._start
        return max(0, min(before, self.size)), max(0, min(behind, self.size))

    def stretches(self, most: int) -> tuple[Codec, list[Stretch]] | None:
        return self._codec, [(self._leaf, self._start, self._start + self.size)]


class KeysRun:
    """Single primary keys that are there: sorted, and of one column."""

    __slots__ = ("_keys", "size")

    def __init__(self, keys: list[PKey]) -> None:
        self._keys = keys
        self.size = len(keys)

    def pkeys(self, start: int, stop: int, reverse: bool) -> Iterator[PKey]:
        keys = self._keys[start:stop]
        return reversed(keys) if reverse else iter(keys)

    def page(self, start: int, stop: int, reverse: bool) -> list[PKey]:
        return list(self.pkeys(start, stop, reverse))

    def seek(self, values: Mapping[str, KeyValue]) -> tuple[int, int]:
        (value,) = values.values()  # nothing stands before the primary key
        return bisect_left(self._keys, value), bisect_right(self._keys, value)  # type: ignore[type-var]  # never NULL

    def stretches(self, most: int) -> tuple[Codec, list[Stretch]] | None:
        return None


class DirectoryRun:
    """A range of leading values of a partitioned index, leaf after leaf."""

    __slots__ = ("_base", "_index", "size")

    def __init__(self, index: OrderedIndex, start: int, stop: int) -> None:
        self._index = index
        self._base = start
        self.size = max(0, stop - start)

    def pkeys(self, start: int, stop: int, reverse: bool) -> Iterator[PKey]:
        if stop <= start:
            return iter(())
        return islice(self._walk(self._base + (stop - 1 if reverse else start), reverse), stop - start)

    def page(self, start: int, stop: int, reverse: bool) -> list[PKey]:
        return list(self.pkeys(start, stop, reverse))

    def _walk(self, position: int, reverse: bool) -> Iterator[PKey]:
        index = self._index
        values, before = index.directory.walk(position, reverse)
        inside = position - before
        first = True
        for value in values:
            leaf = index.leaves[value]
            if reverse:
                entries = postings.slice_of(leaf, 0, inside + 1 if first else len(leaf), True)
            else:
                entries = postings.slice_of(leaf, inside if first else 0, len(leaf), False)
            first = False
            yield from index.codec.pkeys(entries)

    def seek(self, values: Mapping[str, KeyValue]) -> tuple[int, int]:
        """The same, offset by the rows of all smaller leading values."""
        index = self._index
        value = values[index.columns[0].name]
        if value is None:
            return self.size, self.size
        base = index.directory.rows_below(value, inclusive=False) - self._base
        leaf = index.leaves.get(value)
        if leaf is None:
            before = behind = base
        else:
            prefix = _known(index.codec, values)
            before, behind = base + index.codec.first(leaf, prefix), base + index.codec.last(leaf, prefix)
        return max(0, min(before, self.size)), max(0, min(behind, self.size))

    def stretches(self, most: int) -> tuple[Codec, list[Stretch]] | None:
        """A range of values consists of whole leaves."""
        index, left = self._index, self.size
        found: list[Stretch] = []
        for value in index.directory.walk(self._base, False)[0] if left else ():
            if left <= 0:
                break
            if len(found) == most:
                return None
            leaf = index.leaves[value]
            found.append((leaf, 0, len(leaf)))
            left -= len(leaf)
        return index.codec, found


class OrderedIndex:
    """An index over ``definition.columns``, each entry followed by the primary key."""

    def __init__(
        self, definition: IndexDef, columns: tuple[Column, ...], primary: tuple[Column, ...], make_codec: MakeCodec
    ) -> None:
        self.definition = definition
        #: Its order in full: the declared columns, then the primary key's.
        self.columns = columns + primary
        self.declared = columns
        self.ready = True
        self.uses = 0
        self._make_codec = make_codec
        self._readers = [sort_key_reader(column) for column in columns]
        #: Keys of 8 bytes take less room in one leaf than references in many.
        self.keeps_shape = not columns or make_codec(columns).packs
        self._shape(partitioned=not self.keeps_shape)

    def _shape(self, partitioned: bool) -> None:
        self.partitioned = partitioned
        self.codec = self._make_codec(self.declared[1:] if partitioned else self.declared)
        self.whole: Leaf = postings.make_leaf([], self.codec.packs)
        self.leaves: dict[KeyValue, Leaf] = {}
        self.directory = Directory([], self._rows_of)
        self._size = 0

    def _rows_of(self, value: KeyValue) -> int:
        return len(self.leaves[value])

    def __len__(self) -> int:
        return self._size

    # --- changing -------------------------------------------------------------------------------------------

    def begin(self, partitioned: bool) -> None:
        """Empty, in the shape that is known to be the right one: for an index that grows row by row."""
        self._shape(partitioned)

    def build(self, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey], keys_of: KeysOf) -> None:
        """Replace the content by these rows' entries, sorted once. O(n log n), O(n) when they come sorted."""
        self._shape(partitioned=not self.keeps_shape and len(set(columns[0])) * MIN_REPETITION <= len(pkeys))
        self._size = len(pkeys)
        if not self.partitioned:
            self.whole = postings.make_leaf(list(keys_of(self.codec, columns, pkeys)), self.codec.packs)
            return
        groups = _grouped(columns[0], keys_of(self.codec, columns[1:], pkeys))
        packs = self.codec.packs
        self.leaves = {value: postings.make_leaf(group, packs) for value, group in groups.items()}
        values = sorted(value for value in self.leaves if value is not None)
        self.directory = Directory(values, self._rows_of)

    def values(self, row: Row) -> list[KeyValue]:
        """The declared columns of a row as sort keys."""
        return [read(row[column.name]) for read, column in zip(self._readers, self.declared, strict=True)]

    def add(self, values: Sequence[KeyValue], pkey: PKey) -> None:
        """One entry more. O(log n)."""
        if self.partitioned:
            self.add_key(values[0], self.codec.key(values[1:], pkey))
        else:
            self.add_key(None, self.codec.key(values, pkey))

    def add_key(self, value: KeyValue, key: Key) -> None:
        """The same with a key of the index's codec that is made already; ``value``: the leaf, if partitioned."""
        self._size += 1
        if not self.partitioned:
            self.whole = postings.add(self.whole, key)
            return
        self.leaves[value] = postings.add(self._leaf_of(value), key)
        if value is not None:
            self.directory.grow(value, 1)

    def add_many(self, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey], keys_of: KeysOf) -> None:
        """The entries of many new rows: half the time of one by one."""
        self._size += len(pkeys)
        if not self.partitioned:
            self.whole = postings.add_many(self.whole, list(keys_of(self.codec, columns, pkeys)))
            return
        for value, keys in _grouped(columns[0], keys_of(self.codec, columns[1:], pkeys)).items():
            count = len(keys)
            self.leaves[value] = postings.add_many(self._leaf_of(value), keys)
            if value is not None:
                self.directory.grow(value, count)

    def _leaf_of(self, value: KeyValue) -> Leaf:
        leaf = self.leaves.get(value)
        if leaf is None:
            leaf = self.leaves[value] = postings.make_leaf([], self.codec.packs)
            if value is not None:
                self.directory.insert(value)
        return leaf

    def discard(self, values: Sequence[KeyValue], pkey: PKey) -> None:
        """One entry less; nothing happens when it is not there (an index under construction)."""
        if not self.partitioned:
            self._size -= postings.discard(self.whole, self.codec.key(values, pkey))
            return
        value = values[0]
        leaf = self.leaves.get(value)
        if leaf is None or not postings.discard(leaf, self.codec.key(values[1:], pkey)):
            return
        self._size -= 1
        if value is not None:
            self.directory.grow(value, -1)
        if not leaf:
            del self.leaves[value]
            if value is not None:
                self.directory.remove(value)

    def discard_many(self, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey], keys_of: KeysOf) -> None:
        """The entries of many rows less, those that are there."""
        if not self.partitioned:
            self._size -= postings.discard_many(self.whole, list(keys_of(self.codec, columns, pkeys)))
            return
        for value, keys in _grouped(columns[0], keys_of(self.codec, columns[1:], pkeys)).items():
            leaf = self.leaves.get(value)
            count = 0 if leaf is None else postings.discard_many(leaf, keys)
            self._size -= count
            if count and value is not None:
                self.directory.grow(value, -count)
            if leaf is not None and not leaf:
                del self.leaves[value]
                if value is not None:
                    self.directory.remove(value)

    def contains(self, values: Sequence[KeyValue], pkey: PKey) -> bool:
        """Whether exactly this entry is there. O(log n)."""
        if not self.partitioned:
            return postings.contains(self.whole, self.codec.key(values, pkey))
        leaf = self.leaves.get(values[0])
        return leaf is not None and postings.contains(leaf, self.codec.key(values[1:], pkey))

    def rename(self, newest: Callable[[tuple[Column, ...]], tuple[Column, ...]], names: Mapping[str, str]) -> None:
        """Columns have new names or declarations; entries stay as they are."""
        self.declared, self.columns = newest(self.declared), newest(self.columns)
        self.definition = self.definition.renamed(names)

    # --- reading --------------------------------------------------------------------------------------------

    def run(self, equal: Sequence[KeyValue], span: Span = EVERY_VALUE) -> Run:
        """Entries whose first columns equal ``equal`` and whose next column lies in ``span``, NULL excluded.

        With ``span`` null: those where the next column is NULL. Without a next column the span must be
        EVERY_VALUE. Cost: two bisections.
        """
        if not self.partitioned:
            return self._leaf_run(self.whole, equal, span)
        if equal:
            leaf = self.leaves.get(equal[0])
            return self._leaf_run(leaf if leaf is not None else [], equal[1:], span)
        if span.null:
            leaf = self.leaves.get(None, [])
            return LeafRun(leaf, self.codec, 0, len(leaf))
        directory = self.directory
        start = 0 if span.low is None else directory.rows_below(span.low, inclusive=False)
        if span.high is None:
            stop = directory.total()
        else:
            stop = directory.rows_below(span.high, inclusive=not span.high_open)
        return DirectoryRun(self, start, stop)

    def _leaf_run(self, leaf: Leaf, equal: Sequence[KeyValue], span: Span) -> LeafRun:
        codec = self.codec
        if len(equal) == len(codec.columns):
            return LeafRun(leaf, codec, codec.first(leaf, equal), codec.last(leaf, equal))
        nullable = codec.columns[len(equal)].nullable
        if span is EVERY_VALUE and len(equal) == 1 and not nullable and equal[0] is not None:
            leaf, start, stop = codec.stretch(leaf, equal[0], equal[0])  # a third of the time, for long lists of values
            return LeafRun(leaf if start < stop else [], codec, start, stop)
        if span.null:
            return LeafRun(leaf, codec, codec.first(leaf, (*equal, None)), codec.last(leaf, equal))
        start = codec.first(leaf, equal) if span.low is None else codec.first(leaf, (*equal, span.low))
        if span.high is None:
            stop = codec.first(leaf, (*equal, None)) if nullable else codec.last(leaf, equal)
        else:
            stop = (codec.first if span.high_open else codec.last)(leaf, (*equal, span.high))
        return LeafRun(leaf, codec, start, stop)

    # --- looking after --------------------------------------------------------------------------------------

    @property
    def memory_bytes(self) -> int:
        """Estimate: containers, and the key objects that are the index's own. O(1)."""
        own = len(self.declared) - self.partitioned
        own_key = 0 if not own or self.codec.packs else 48 if own <= 2 else 96
        return self._size * (postings.ENTRY_BYTES + own_key) + len(self.leaves) * postings.LEAF_BYTES + 1_000

    def check_invariants(self) -> None:
        """AssertionError when order, directory or counts are wrong. O(n)."""
        leaves = self.leaves.values() if self.partitioned else [self.whole]
        for leaf in leaves:
            keys = list(leaf)
            assert keys == sorted(keys), f"index {self.definition.name}: entries out of order"
            if isinstance(leaf, BlockList):
                leaf.check_invariants()
        assert self._size == sum(map(len, leaves)), f"index {self.definition.name}: entry count"
        if self.partitioned:
            assert all(self.leaves.values()), f"index {self.definition.name}: empty partition"
            self.directory.check_invariants()
            assert self.directory.total() + len(self.leaves.get(None, [])) == len(self)


#: Turns columns of values into keys; a table passes one that remembers the keys of a shared codec.
KeysOf = Callable[[Codec, Sequence[Sequence[KeyValue]], Sequence[PKey]], "list[Key]"]
