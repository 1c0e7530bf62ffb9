"""The rows of a table: primary key to JSON bytes, ready to send, in the newest layout or on the way to it.

A schema change must not touch every row. It only puts the present rows aside as an older *generation*; a row is
translated to the newest layout when it is read or written next, and ``migrate`` moves the rest in slices. In the
common state there is one generation, and reading a page is one dict look-up a row.

A schema change can be taken back: ``snapshot`` gives the rows as they were. Nothing is copied for that: as long as
somebody holds the snapshot, what leaves an older generation is kept by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from weakref import ref

import orjson

from tcsql.engine.change import Row, RowOp
from tcsql.engine.schema import TableSchema
from tcsql.engine.tracking import untrack
from tcsql.engine.values import PKey


def encode(row: Row) -> bytes:
    """A row's JSON, without slack: orjson's result keeps its growth buffer, 4,120 bytes for a row of 124."""
    return bytes(memoryview(orjson.dumps(row)))


def encode_many(rows: Sequence[Row]) -> list[bytes]:
    """The same of many rows, in two thirds of the time: written as one array, which is cut between its rows.

    A text that holds what stands between two rows makes more pieces than there are rows: then one by one.
    """
    pieces = orjson.dumps(rows)[1:-1].replace(b"},{", b"}\n{").split(b"\n")
    return pieces if len(pieces) == len(rows) else list(map(encode, rows))


def decode(data: bytes) -> Row:
    row: Row = orjson.loads(data)
    return row


def project(data: bytes, columns: tuple[str, ...]) -> bytes:
    """A row with these columns only, in this order. 1 us."""
    row = decode(data)
    return orjson.dumps({name: row[name] for name in columns})


def translator(schema: TableSchema, layout: int) -> Callable[[bytes], bytes]:
    """From rows of an older layout to rows of the schema's own."""
    if layout == schema.layout:
        return lambda data: data
    moves = schema.history[layout]
    fills = schema.fills

    def translate(data: bytes) -> bytes:
        row = decode(data)
        return encode({new: fills[new] if old is None else row[old] for old, new in moves})

    return translate


class _Taken(dict[PKey, bytes]):
    """What has left a generation since a snapshot; held by the snapshot alone."""

    __slots__ = ("__weakref__",)


class _Generation:
    """Rows of an older layout. All that leaves ``rows`` leaves through here."""

    __slots__ = ("_watched", "rows", "translate")

    def __init__(
        self, translate: Callable[[bytes], bytes], rows: dict[PKey, bytes], watched: Iterable[ref[_Taken]]
    ) -> None:
        self.translate = translate
        self.rows = rows
        self._watched = list(watched)

    def watch(self, taken: _Taken) -> None:
        self._watched.append(ref(taken))

    def pop(self, pkey: PKey) -> bytes | None:
        data = self.rows.pop(pkey, None)
        if data is not None and self._watched:
            self._tell(pkey, data)
        return data

    def popitem(self) -> tuple[PKey, bytes]:
        """The last row: a dict's first key is searched for behind all removed ones."""
        pkey, data = self.rows.popitem()
        if self._watched:
            self._tell(pkey, data)
        return pkey, data

    def _tell(self, pkey: PKey, data: bytes) -> None:
        for watcher in self._watched:
            taken = watcher()
            if taken is None:
                self._watched = [each for each in self._watched if each() is not None]
            else:
                taken[pkey] = data


class Rows:
    """A mapping of primary key to row bytes of the current layout."""

    __slots__ = ("_older", "_watched", "bytes", "current", "longest", "watchers")

    def __init__(self) -> None:
        #: Rows in the newest layout; the hot path reads it directly while ``settled``.
        self.current: dict[PKey, bytes] = {}
        self._older: list[_Generation] = []
        #: Of ``current``, for when it becomes an older generation.
        self._watched: list[ref[_Taken]] = []
        #: Told of each row before it is set or removed: its key, and what it is as yet.
        self.watchers: list[Callable[[PKey, bytes | None], None]] = []
        self.bytes = 0
        #: Bytes of the longest row there ever was, in the newest layout: none is longer.
        self.longest = 0

    def __len__(self) -> int:
        return len(self.current) + (sum(len(each.rows) for each in self._older) if self._older else 0)

    def __contains__(self, pkey: PKey) -> bool:
        return pkey in self.current or any(pkey in each.rows for each in self._older)

    def has_none_of(self, pkeys: Collection[PKey]) -> bool:
        """Whether all these keys are new."""
        return self.current.keys().isdisjoint(pkeys) and not any(
            pkey in each.rows for each in self._older for pkey in pkeys
        )

    @property
    def settled(self) -> bool:
        return not self._older

    def get(self, pkey: PKey) -> bytes | None:
        row = self.current.get(pkey)
        return row if row is not None or not self._older else self._translated(pkey)

    def _translated(self, pkey: PKey) -> bytes | None:
        """Move one row of an older generation to the current one."""
        for each in self._older:
            data = each.pop(pkey)
            if data is not None:
                row = self.current[pkey] = each.translate(data)
                self.bytes += len(row) - len(data)
                self.longest = max(self.longest, len(row))
                self._drop_empty()
                return row
        return None

    def many(self, pkeys: Iterable[PKey]) -> list[bytes]:
        """The rows of these keys, all of which exist. One dict look-up each."""
        if not self._older:
            current = self.current
            return [current[pkey] for pkey in pkeys]
        return [row for pkey in pkeys if (row := self.get(pkey)) is not None]

    def one(self, pkey: PKey) -> bytes:
        """The row of a key that exists."""
        row = self.current.get(pkey)
        return row if row is not None else self.many((pkey,))[0]

    def put(self, pkey: PKey, row: bytes) -> None:
        """Set a row, in the newest layout; an older generation forgets it."""
        if self.watchers:
            self._tell(pkey)
        old, size = self.current.get(pkey), len(row)
        self.bytes += size - (len(old) if old is not None else 0)
        if size > self.longest:  # noqa: PLR1730  # max takes five times as long
            self.longest = size
        if old is None and isinstance(pkey, tuple):
            untrack(pkey)  # else the collector would walk all rows
        self.current[pkey] = row
        if self._older and old is None:
            self._forget_older(pkey)

    def add_new(self, pkeys: Sequence[PKey], rows: Sequence[bytes]) -> None:
        """Set many rows whose keys are not there yet; keys of several parts are untracked."""
        if self.watchers:
            for pkey in pkeys:
                self._tell(pkey)
        self.fill(pkeys, rows)

    def fill(self, pkeys: Iterable[PKey], rows: Sequence[bytes]) -> None:
        """The same where nobody watches yet."""
        self.current.update(zip(pkeys, rows, strict=True))
        lengths = list(map(len, rows))
        self.bytes += sum(lengths)
        self.longest = max(self.longest, max(lengths, default=0))

    def change(self, gone: Sequence[RowOp], kept: Sequence[RowOp]) -> None:
        """Remove some rows and set others that are there. 0.2 us a row while ``settled``."""
        for op in gone:
            self.remove(op.pkey)
        if self._older or self.watchers:
            for op in kept:
                assert op.after is not None
                self.put(op.pkey, op.after)
            return
        self.bytes -= sum([len(op.before) for op in kept if op.before])
        self.fill([op.pkey for op in kept], [op.after for op in kept if op.after is not None])

    def remove(self, pkey: PKey) -> None:
        """Forget a row, if it is there."""
        if self.watchers:
            self._tell(pkey)
        row = self.current.pop(pkey, None)
        if row is not None:
            self.bytes -= len(row)
        elif self._older:
            self._forget_older(pkey)

    def _tell(self, pkey: PKey) -> None:
        before = self.get(pkey)
        for watcher in self.watchers:
            watcher(pkey, before)

    def _forget_older(self, pkey: PKey) -> None:
        for each in self._older:
            data = each.pop(pkey)
            if data is not None:
                self.bytes -= len(data)
        self._drop_empty()

    def _drop_empty(self) -> None:
        self._older = [each for each in self._older if each.rows]

    def relayout(self, old: TableSchema, new: TableSchema) -> None:
        """Rows of ``old`` are from now on read as rows of ``new``. O(generations), no row is touched."""
        step = translator(new, old.layout)
        for each in self._older:
            each.translate = _chained(each.translate, step)
        if self.current:
            self._older.append(_Generation(step, self.current, self._watched))
            self.current = {}
        self._watched = []

    def migrate(self, limit_rows: int) -> bool:
        """Translate up to ``limit_rows`` more rows; True when some are left."""
        while self._older and limit_rows > 0:
            oldest = self._older[0]
            count = min(limit_rows, len(oldest.rows))
            for _ in range(count):
                pkey, data = oldest.popitem()
                row = self.current[pkey] = oldest.translate(data)
                self.bytes += len(row) - len(data)
                self.longest = max(self.longest, len(row))
            limit_rows -= count
            self._drop_empty()
        return bool(self._older)

    def shrink(self, most: int) -> bool:
        """Free up to that many rows; False when none is left."""
        rows = self.current or (self._older[0].rows if self._older else {})
        for _ in range(min(most, len(rows))):
            rows.popitem()
        self._drop_empty()
        return bool(self.current or self._older)

    def items(self) -> Iterator[tuple[PKey, bytes]]:
        """All rows, in no order. The mapping must not change meanwhile."""
        yield from self.current.items()
        for each in self._older:
            for pkey, data in each.rows.items():
                yield pkey, each.translate(data)

    def snapshot(self) -> Callable[[], Iterator[bytes]]:
        """What gives all rows as they are now, also after they got another layout: to be taken right before that.

        No cost but for what leaves an older generation while the snapshot is held.
        """
        taken = _Taken()
        kept = [(each.translate, each.rows, _Taken()) for each in self._older]
        for each, (_, _, left) in zip(self._older, kept, strict=True):
            each.watch(left)
        current = self.current or {}  # an empty one stays in use
        self._watched.append(ref(taken))

        def rows_then() -> Iterator[bytes]:
            yield from current.values()
            yield from taken.values()
            for translate, rows, left in kept:
                yield from map(translate, chain(rows.values(), left.values()))

        return rows_then

    def count_bytes(self) -> int:
        """What ``bytes`` must say."""
        return sum(sum(map(len, rows.values())) for rows in (self.current, *(each.rows for each in self._older)))


def _chained(first: Callable[[bytes], bytes], second: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: second(first(data))
