"""Index keys: one comparable Python object per entry that holds the column values and the primary key.

    PackedCodec   all columns are bounded integers: one int, 48 bytes up to 180 bits, the fastest to compare
    TupleCodec    any types: a flat tuple of sort keys and primary-key parts
    PrimaryCodec  the primary key alone: the key is the pkey object itself, so an entry costs one reference

A codec knows the *columns of a key*, primary-key columns included, and turns a prefix of values into the
positions where entries with that prefix begin and end. NULL sorts above every value (rows without the order
column come last). Two indexes whose keys have the same columns share their codec, hence the key objects too.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, Protocol

from sortedcontainers import SortedList

from tcsql.engine.schema import Column
from tcsql.engine.values import Kind, PKey, SortKey

#: What SortedList compares: int, str, float or tuple, never mixed within one leaf.
Key = Any
Leaf = list[Key] | SortedList[Key]
KeyValue = SortKey | None


class _Above:
    """Sorts above every value; by rank among themselves: NULL above values, TOP above NULL."""

    __slots__ = ("rank",)

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __lt__(self, other: object) -> bool:
        return isinstance(other, _Above) and self.rank < other.rank

    def __gt__(self, other: object) -> bool:
        return not isinstance(other, _Above) or self.rank > other.rank

    def __le__(self, other: object) -> bool:
        return isinstance(other, _Above) and self.rank <= other.rank

    def __ge__(self, other: object) -> bool:
        return not isinstance(other, _Above) or self.rank >= other.rank

    def __repr__(self) -> str:
        return "NULL" if self.rank == 0 else "TOP"


NULL: Final = _Above(0)
TOP: Final = _Above(1)


class Codec(Protocol):
    """``first``/``last``: where entries that begin with ``values`` start and stop in a leaf. O(log n)."""

    columns: tuple[Column, ...]

    def key(self, values: Sequence[KeyValue], pkey: PKey) -> Key: ...

    def keys(self, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> list[Key]: ...

    def pkeys(self, keys: Iterator[Key]) -> Iterator[PKey]: ...

    def first(self, leaf: Leaf, values: Sequence[KeyValue]) -> int: ...

    def last(self, leaf: Leaf, values: Sequence[KeyValue]) -> int: ...


def left(leaf: Leaf, key: Key) -> int:
    return bisect_left(leaf, key) if isinstance(leaf, list) else leaf.bisect_left(key)


def right(leaf: Leaf, key: Key) -> int:
    return bisect_right(leaf, key) if isinstance(leaf, list) else leaf.bisect_right(key)


def _with_null(values: Sequence[KeyValue]) -> tuple[Any, ...]:
    """Comparable; a condition may ask for NULL even where a column cannot hold it."""
    return tuple([NULL if value is None else value for value in values])


class PrimaryCodec:
    """Entries are the primary keys themselves; ``columns`` are the key's own, or none inside a posting list."""

    def __init__(self, primary: tuple[Column, ...]) -> None:
        self.columns = primary
        self._single = len(primary) == 1

    def key(self, values: Sequence[KeyValue], pkey: PKey) -> Key:
        return pkey

    def keys(self, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> list[Key]:
        return list(pkeys)

    def pkeys(self, keys: Iterator[Key]) -> Iterator[PKey]:
        return keys

    def first(self, leaf: Leaf, values: Sequence[KeyValue]) -> int:
        """Where entries that begin with ``values`` start; NULL never stands in a primary key."""
        if not values:
            return 0
        if values[-1] is None:
            return self.last(leaf, values[:-1])
        return left(leaf, values[0] if self._single else _with_null(values))

    def last(self, leaf: Leaf, values: Sequence[KeyValue]) -> int:
        """Where they stop."""
        if not values:
            return len(leaf)
        if values[-1] is None:
            return self.last(leaf, values[:-1])
        return right(leaf, values[0]) if self._single else left(leaf, (*_with_null(values), TOP))


class PackedCodec:
    """(value - low) of each column side by side in one int, the primary key in the lowest bits."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self._lows = [column.type.low for column in columns]
        #: One above the largest code: NULL, and where values beyond the type's range are clamped to.
        self._tops = [column.type.high - column.type.low + 1 for column in columns]
        widths = [top.bit_length() for top in self._tops]
        self._shifts = [sum(widths[place + 1 :]) for place in range(len(columns))]
        self._mask = (1 << widths[-1]) - 1

    def _code(self, place: int, value: KeyValue) -> int:
        if value is None:
            return self._tops[place]
        return max(0, min(int(value) - self._lows[place], self._tops[place]))

    def key(self, values: Sequence[KeyValue], pkey: PKey) -> Key:
        """The packed integer of one entry; values beyond the type are clamped to where NULL stands."""
        packed = 0
        for place, value in enumerate(values):
            packed |= self._code(place, value) << self._shifts[place]
        return packed | (pkey - self._lows[-1])  # type: ignore[operator]  # packed keys have integer primary keys

    def keys(self, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> list[Key]:
        if len(columns) == 1:  # the common index, without a call per row
            low, top, shift, base = self._lows[0], self._tops[0], self._shifts[0], self._lows[-1]
            return [
                ((top if value is None else value - low) << shift) | (pkey - base)  # type: ignore[operator]  # integers
                for value, pkey in zip(columns[0], pkeys, strict=True)
            ]
        return [self.key(values, pkey) for values, pkey in zip(zip(*columns, strict=True), pkeys, strict=True)]

    def pkeys(self, keys: Iterator[Key]) -> Iterator[PKey]:
        mask, low = self._mask, self._lows[-1]
        return ((key & mask) + low for key in keys)  # half the time of a method call for each

    def _bound(self, values: Sequence[KeyValue], past: int) -> int:
        packed = 0
        for place, value in enumerate(values):
            code = self._code(place, value)
            packed |= code << self._shifts[place]
            if value is not None and code != value - self._lows[place]:  # type: ignore[operator]  # integers
                return packed  # outside the type: no entry, the run begins and ends where it would stand
        return packed + (past << self._shifts[len(values) - 1])

    def first(self, leaf: Leaf, values: Sequence[KeyValue]) -> int:
        return left(leaf, self._bound(values, 0)) if values else 0

    def last(self, leaf: Leaf, values: Sequence[KeyValue]) -> int:
        return left(leaf, self._bound(values, 1)) if values else len(leaf)


class TupleCodec:
    """A flat tuple: column values, then the parts of the primary key."""

    def __init__(self, columns: tuple[Column, ...], pkey_parts: int) -> None:
        self.columns = columns
        self._own = len(columns) - pkey_parts
        self._parts = pkey_parts

    def key(self, values: Sequence[KeyValue], pkey: PKey) -> Key:
        own = _with_null(values)
        return own + pkey if isinstance(pkey, tuple) else (*own, pkey)

    def keys(self, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> list[Key]:
        return [self.key(values, pkey) for values, pkey in zip(zip(*columns, strict=True), pkeys, strict=True)]

    def pkeys(self, keys: Iterator[Key]) -> Iterator[PKey]:
        return map(itemgetter(-1 if self._parts == 1 else slice(self._own, None)), keys)

    def first(self, leaf: Leaf, values: Sequence[KeyValue]) -> int:
        return left(leaf, _with_null(values)) if values else 0

    def last(self, leaf: Leaf, values: Sequence[KeyValue]) -> int:
        if not values:
            return len(leaf)
        return left(leaf, (*_with_null(values), TOP))


def make_codec(columns: tuple[Column, ...], primary: tuple[Column, ...]) -> Codec:
    """The cheapest codec for entries of these columns followed by the primary key."""
    if not columns:
        return PrimaryCodec(primary)
    both = columns + primary
    if len(primary) == 1 and all(column.type.kind is Kind.INTEGER for column in both):
        return PackedCodec(both)
    return TupleCodec(both, len(primary))


def sort_key_reader(column: Column) -> Callable[[Any], KeyValue]:
    """Stored value to sort key, NULL kept; identity where the type allows."""
    if column.type.kind in (Kind.DECIMAL, Kind.FLOAT):
        convert = column.type.sort_key
        return lambda value: None if value is None else convert(value)
    return lambda value: value
