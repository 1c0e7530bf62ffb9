"""Index keys: one comparable Python object per entry that holds the column values and the primary key.

    PackedCodec   all columns are bounded integers: one int, the fastest to compare; up to 64 bits (two INT columns
                  that are never NULL, the usual case) leaves hold it in 8 bytes, beyond that as an object of 48
    TupleCodec    any types: a flat tuple of sort keys and primary-key parts
    PrimaryCodec  the primary key alone: the key is the pkey object itself, so an entry costs one reference

A codec knows the *columns of a key*, primary-key columns included, and turns a prefix of values into the
positions where entries with that prefix begin and end. NULL sorts above every value (rows without the order
column come last). Two indexes whose keys have the same columns share their codec, hence the key objects too.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from operator import itemgetter
from typing import Any, Final, Protocol, TypeAlias

from tcsql.engine.packed import BlockList, ObjectList, PackedList
from tcsql.engine.schema import Column
from tcsql.engine.tracking import untrack
from tcsql.engine.values import Kind, PKey, SortKey

#: What leaves compare: int, str, float or tuple, never mixed within one leaf.
Key = Any
Leaf: TypeAlias = "list[Key] | ObjectList | array[int] | PackedList"
KeyValue = SortKey | None
#: Consecutive entries: a sequence that holds them (a leaf or a part of one), and their positions in it.
Stretch = tuple[Any, int, int]


#: Fewer keys than this are sooner taken one by one.
_MANY: Final = 64


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
    #: Whether every key is an integer from 0 to 2**64 - 1, so that leaves can hold it in 8 bytes.
    packs: bool

    @property
    def bits(self) -> tuple[int, int] | None:
        """Of integer keys: what to mask them by, and what to add, to have the primary key; None for others."""

    def key(self, values: Sequence[KeyValue], pkey: PKey) -> Key: ...

    def keys(self, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> list[Key]: ...

    def pkeys(self, keys: Iterator[Key]) -> Iterator[PKey]: ...

    def page(self, leaf: Any, start: int, stop: int) -> list[PKey]:
        """The primary keys of positions start to stop."""

    def many(self, leaf: Any, start: int, stop: int) -> list[PKey]:
        """The same, for hundreds: up to three times as fast."""

    def one(self, leaf: Any, position: int) -> PKey:
        """The primary key at one position."""

    def stretch(self, leaf: Leaf, low: KeyValue | float, high: KeyValue | float) -> Stretch:
        """The entries whose first column lies from low to high, NULL excluded; infinity: unbounded."""

    def tail(self, leaf: Leaf, low: KeyValue) -> Stretch:
        """The entries whose first column is not below ``low``, NULL excluded."""

    def point(self, leaf: Leaf, value: KeyValue) -> Stretch:
        """The entries whose first column has this value, which is not NULL."""

    def first(self, leaf: Leaf, values: Sequence[KeyValue]) -> int: ...

    def last(self, leaf: Leaf, values: Sequence[KeyValue]) -> int: ...


def left(leaf: Leaf, key: Key) -> int:
    return leaf.bisect_left(key) if isinstance(leaf, BlockList) else bisect_left(leaf, key)


def right(leaf: Leaf, key: Key) -> int:
    return leaf.bisect_right(key) if isinstance(leaf, BlockList) else bisect_right(leaf, key)


def _with_null(values: Sequence[KeyValue]) -> tuple[Any, ...]:
    """Comparable; a condition may ask for NULL even where a column cannot hold it."""
    return tuple([NULL if value is None else value for value in values])


class PrimaryCodec:
    """Entries are the primary keys themselves; ``columns`` are the key's own, or none inside a posting list."""

    packs = False  # the key objects exist already, as keys of the rows
    bits = -1, 0

    def __init__(self, primary: tuple[Column, ...]) -> None:
        self.columns = primary
        self._single = len(primary) == 1

    def key(self, values: Sequence[KeyValue], pkey: PKey) -> Key:
        return pkey

    def keys(self, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> list[Key]:
        return list(pkeys)

    def pkeys(self, keys: Iterator[Key]) -> Iterator[PKey]:
        return keys

    def page(self, leaf: Any, start: int, stop: int) -> list[PKey]:
        return list(leaf[start:stop])

    many = page

    def one(self, leaf: Any, position: int) -> PKey:
        return leaf[position]  # type: ignore[no-any-return]  # leaves hold keys

    def stretch(self, leaf: Leaf, low: KeyValue | float, high: KeyValue | float) -> Stretch:
        return _stretch(self, leaf, low, high)

    def tail(self, leaf: Leaf, low: KeyValue) -> Stretch:
        return _stretch(self, leaf, low, inf)

    def point(self, leaf: Leaf, value: KeyValue) -> Stretch:
        return leaf, self.first(leaf, (value,)), self.last(leaf, (value,))

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
        *own, primary = columns
        #: For each column before the primary key: lowest value, one above the largest code (that of NULL, where
        #: the column may be NULL), how far it is shifted, whether it may be NULL.
        self._fields: list[tuple[int, int, int, bool]] = []
        self._low = primary.type.low
        self._bits = (primary.type.high - primary.type.low).bit_length()
        self._mask = (1 << self._bits) - 1
        self.bits = self._mask, self._low
        shift = self._bits
        for column in reversed(own):
            top = column.type.high - column.type.low + 1
            self._fields.insert(0, (column.type.low, top, shift, column.nullable))
            shift += (top if column.nullable else top - 1).bit_length()
        self.packs = shift <= 64
        #: Whether the primary key is the lower half of each packed key, as it is with one of 32 bits.
        self._halves = self.packs and self._bits == 32 and sys.byteorder == "little" and array("I").itemsize == 4

    @property
    def leading(self) -> tuple[int, int, int, bool] | None:
        """Of the first column: its lowest value, the code above all values, its shift, whether it may be NULL.

        None when the primary key stands alone.
        """
        return self._fields[0] if self._fields else None

    def key(self, values: Sequence[Any], pkey: Any) -> Key:
        """The packed integer of one entry; values beyond the type are clamped to its bounds."""
        packed = pkey - self._low
        for value, (low, top, shift, nullable) in zip(values, self._fields, strict=True):
            if value is None:
                packed |= (top if nullable else top - 1) << shift
            else:
                packed |= max(0, min(value - low, top - 1)) << shift
        return packed

    def keys(self, columns: Sequence[Sequence[Any]], pkeys: Sequence[Any]) -> list[Key]:
        """The same for many rows, column by column: 0.15 us a row and column."""
        base = self._low
        packed = [pkey - base for pkey in pkeys]
        for values, (low, top, shift, nullable) in zip(columns, self._fields, strict=True):
            if nullable or (values and not low <= min(values) <= max(values) < low + top):
                codes = [
                    (top if nullable else top - 1) if value is None else max(0, min(value - low, top - 1))
                    for value in values
                ]
                packed = [code << shift | rest for code, rest in zip(codes, packed, strict=True)]
            else:
                packed = [value - low << shift | rest for value, rest in zip(values, packed, strict=True)]
        return packed

    def row_key(self) -> Callable[[Mapping[str, Any], Any], Key] | None:
        """``key`` of rows whose columns hold their values and never NULL; None if one may be NULL.

        0.25 us where ``key`` of the values takes 0.7: bounds need not be looked at, and all offsets become one.
        """
        if any(nullable for *_, nullable in self._fields):
            return None
        shifts = [(column.name, shift) for column, (_, _, shift, _) in zip(self.columns, self._fields, strict=False)]
        offset = self._low + sum(low << shift for low, _, shift, _ in self._fields)
        if len(shifts) == 1:
            ((name, shift),) = shifts
            return lambda row, pkey: (row[name] << shift) + pkey - offset
        return lambda row, pkey: sum([row[name] << shift for name, shift in shifts], pkey - offset)

    def pkeys(self, keys: Iterator[Key]) -> Iterator[PKey]:
        mask, low = self._mask, self._low
        return ((key & mask) + low for key in keys)  # half the time of a method call for each

    def page(self, leaf: Any, start: int, stop: int) -> list[PKey]:
        mask, low = self._mask, self._low
        return [(key & mask) + low for key in leaf[start:stop]]

    def many(self, leaf: Any, start: int, stop: int) -> list[PKey]:
        """The lower halves of the keys' bytes, where those are the primary keys: 0.02 us each."""
        if not self._halves or stop - start < _MANY:
            return self.page(leaf, start, stop)
        parts = leaf.arrays(start, stop) if isinstance(leaf, PackedList) else [leaf[start:stop]]
        halves = array("I")
        for part in parts:
            halves.frombytes(part.tobytes() if part else b"")  # a leaf without entries may be no array
        found = halves[::2].tolist()
        return [half + self._low for half in found] if self._low else found  # type: ignore[return-value]  # list[int]

    def one(self, leaf: Any, position: int) -> PKey:
        return (leaf[position] & self._mask) + self._low  # type: ignore[no-any-return]  # leaves hold integers

    def stretch(self, leaf: Leaf, low: Any, high: Any) -> Stretch:
        """By plain shifts: half the time of ``first`` and ``last``, which take any number of columns."""
        if not self._fields:
            return _stretch(self, leaf, low, high)
        lowest, top, shift, nullable = self._fields[0]
        if lowest < low <= high < lowest + top - 1 and isinstance(leaf, BlockList):
            return leaf.stretch((low - lowest) << shift, (high - lowest + 1) << shift)
        start = 0 if low <= lowest else left(leaf, (low - lowest) << shift)
        if high < lowest + top - 1:
            stop = left(leaf, (high - lowest + 1) << shift) if high >= lowest else 0
        else:
            stop = left(leaf, top << shift) if nullable else len(leaf)
        return leaf, start, max(start, stop)

    def point(self, leaf: Leaf, value: Any) -> Stretch:
        """The same for one value: "the rows of this user"."""
        if not self._fields or not isinstance(leaf, BlockList):
            return leaf, self.first(leaf, (value,)), self.last(leaf, (value,))
        lowest, top, shift, _ = self._fields[0]
        code = value - lowest
        if not 0 <= code < top:
            return (), 0, 0
        key = code << shift
        return leaf.stretch(key, key + (1 << shift))

    def tail(self, leaf: Leaf, low: Any) -> Stretch:
        """The same without an upper end, which takes one bisection, and none where NULL cannot stand."""
        if not self._fields:
            return _stretch(self, leaf, low, inf)
        lowest, top, shift, nullable = self._fields[0]
        code = low - lowest
        start = 0 if code <= 0 else left(leaf, code << shift)
        stop = left(leaf, top << shift) if nullable else len(leaf)
        return leaf, start, max(start, stop)

    def _bound(self, values: Sequence[Any], past: int) -> int:
        """Where entries with these first values begin, or with ``past`` 1 end: not always a key that could stand.

        What a column cannot hold has no entries: its run begins and ends where it would stand.
        """
        packed = 0
        for value, (low, top, shift, nullable) in zip(values, self._fields, strict=False):
            code = top if value is None else value - low
            if not 0 <= code < top and not (value is None and nullable):
                return packed + ((top if code > 0 else 0) << shift)
            packed += code << shift
        if len(values) <= len(self._fields):
            return packed + (past << self._fields[len(values) - 1][2])
        code = self._mask + 1 if values[-1] is None else values[-1] - self._low
        if not 0 <= code <= self._mask:
            return packed + (self._mask + 1 if code > 0 else 0)
        return packed + code + past

    def first(self, leaf: Leaf, values: Sequence[KeyValue]) -> int:
        return left(leaf, self._bound(values, 0)) if values else 0

    def last(self, leaf: Leaf, values: Sequence[KeyValue]) -> int:
        return left(leaf, self._bound(values, 1)) if values else len(leaf)


class TupleCodec:
    """A flat tuple: column values, then the parts of the primary key."""

    packs = False
    bits = None

    def __init__(self, columns: tuple[Column, ...], pkey_parts: int) -> None:
        self.columns = columns
        self._own = len(columns) - pkey_parts
        self._parts = pkey_parts

    def key(self, values: Sequence[KeyValue], pkey: PKey) -> Key:
        """The tuple of one entry."""
        own = _with_null(values)
        key = own + pkey if isinstance(pkey, tuple) else (*own, pkey)
        if None in values:
            untrack(key)  # NULL is an object of a class: the collector would walk this key for ever
        return key

    def keys(self, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> list[Key]:
        return [self.key(values, pkey) for values, pkey in zip(zip(*columns, strict=True), pkeys, strict=True)]

    def pkeys(self, keys: Iterator[Key]) -> Iterator[PKey]:
        return map(itemgetter(-1 if self._parts == 1 else slice(self._own, None)), keys)

    def page(self, leaf: Any, start: int, stop: int) -> list[PKey]:
        return list(self.pkeys(iter(leaf[start:stop])))

    many = page

    def one(self, leaf: Any, position: int) -> PKey:
        return self.page(leaf, position, position + 1)[0]

    def stretch(self, leaf: Leaf, low: KeyValue | float, high: KeyValue | float) -> Stretch:
        return _stretch(self, leaf, low, high)

    def tail(self, leaf: Leaf, low: KeyValue) -> Stretch:
        return _stretch(self, leaf, low, inf)

    def point(self, leaf: Leaf, value: KeyValue) -> Stretch:
        return leaf, self.first(leaf, (value,)), self.last(leaf, (value,))

    def first(self, leaf: Leaf, values: Sequence[KeyValue]) -> int:
        return left(leaf, _with_null(values)) if values else 0

    def last(self, leaf: Leaf, values: Sequence[KeyValue]) -> int:
        if not values:
            return len(leaf)
        return left(leaf, (*_with_null(values), TOP))


def _stretch(codec: Codec, leaf: Leaf, low: KeyValue | float, high: KeyValue | float) -> Stretch:
    start = 0 if low == -inf else codec.first(leaf, (low,))
    if high != inf:
        stop = codec.last(leaf, (high,))
    else:
        stop = codec.first(leaf, (None,)) if codec.columns[0].nullable else len(leaf)
    return leaf, start, max(start, stop)


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
