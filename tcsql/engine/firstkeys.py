"""The first keys of accesses that leave nothing to test, where the order is the primary key's: no row is needed.

Three ways, of which the planner has chosen one: long streams that are in order give their first keys; runs that keys
rise or fall with are read block by block (see keyorder); of all others each key is looked at, 0.1 us each. With a
cursor the first keys are those that stand next to it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from tcsql.engine.executor import Executor
from tcsql.engine.keyorder import KeyOrder, key_order
from tcsql.engine.order import Order, Position
from tcsql.engine.planner import Access, Stream
from tcsql.engine.selection import first_of
from tcsql.engine.streams import key_lists, pkeys_between, seek
from tcsql.engine.values import PKey

#: Sorting this many keys takes less than a millisecond.
KEYS_PER_SLICE: Final = 5_000
Keys = Generator[None, None, list[PKey]]


class FirstKeys:
    """For one page: where it begins, and in which direction it goes on."""

    def __init__(self, executor: Executor, order: Order, cursor: Position | None, backward: bool) -> None:
        self._schema = executor.table.schema
        self._work = executor.work
        self._order = order
        self._cursor = cursor
        self._backward = backward
        #: Keys are looked for downwards, from the cursor if there is one.
        self._falling = order.descending != backward
        #: The number of matches that ``of`` has met, where it looks at all of them.
        self.found = 0
        self._gathered: dict[int, set[PKey]] = {}
        self._at: Any = None if cursor is None else cursor.pkey

    def of(self, access: Access, skip: int, need: int) -> Keys:
        """So many keys of an access, without the first ``skip``."""
        if access.by_blocks:
            return (yield from self._by_blocks(access, skip, need))
        self._work.use(access)
        kept: list[PKey] = []
        self.found = 0
        for keys in self._lists(access, skip + need):
            self.found += len(keys)
            kept += self._on_this_side(keys) if self._cursor is not None else keys
            if len(kept) >= KEYS_PER_SLICE + skip + need:
                kept = first_of(kept, skip + need, self._falling)
                yield
        return first_of(kept, skip + need, self._falling)[skip:]

    def merged(self, accesses: Iterable[Access], need: int) -> Keys:
        """The first keys of all accesses together, each once."""
        keys: set[PKey] = set()
        for access in accesses:
            keys.update((yield from self.of(access, 0, need)))
        return sorted(keys, reverse=self._falling)[:need]

    def united(self, accesses: Iterable[Access], need: int) -> tuple[list[PKey], int]:
        """The first keys of few, and how many there are in all, on either side of the cursor."""
        keys: set[PKey] = set()
        for access in accesses:
            self._work.use(access)
            self._examine(access.size)
            for some in key_lists(access, KEYS_PER_SLICE):
                keys.update(some)
        return first_of(self._on_this_side(keys), need, self._falling), len(keys)

    def any_beyond(self, access: Access) -> Generator[None, None, bool]:
        """Whether a match lies on the other side of the cursor, its own row included."""
        if access.ordered:
            return any(map(self._lies_beyond, access.streams))
        if access.by_blocks:
            by_key = key_order(self._schema, access)
            assert by_key is not None  # or it would not have been chosen
            return any(self.batches(by_key, beyond=True))
        at = self._at
        for keys in self._lists(access, 1):
            if keys and (max(keys) >= at if self._falling else min(keys) <= at):
                return True
            yield
        return False

    def batches(self, by_key: KeyOrder, skip: int = 0, beyond: bool = False) -> Iterator[list[PKey]]:
        """Keys from the cursor on, or back from it, its own included, if ``beyond``."""
        if not beyond:
            return by_key.batches(self._falling, self._at, skip)
        return by_key.batches(not self._falling, self._at - 1 if self._falling else self._at + 1)

    def _by_blocks(self, access: Access, skip: int, need: int) -> Keys:
        by_key = key_order(self._schema, access)
        assert by_key is not None  # or it would not have been chosen
        yield from by_key.get_ready()
        found: list[PKey] = []
        for batch in self.batches(by_key, skip):
            if not batch:
                yield
            found += batch
            if len(found) >= need:
                break
        self._work.use(access)
        self._examine(by_key.keys_read)
        return found[:need]

    def _examine(self, keys: int) -> None:
        self._work.keys += keys
        self._work.examine(keys)

    def _on_this_side(self, keys: Iterable[PKey]) -> list[PKey]:
        """Those that stand behind the cursor, or before it on the way back."""
        if self._cursor is None:
            return list(keys)
        at = self._at
        return [key for key in keys if key < at] if self._falling else [key for key in keys if key > at]

    def _lists(self, access: Access, need: int) -> Iterator[list[PKey]]:
        """All keys of an access, or of long streams that are in order the first."""
        if access.within is not None:
            wanted = self.keys_of(access.within)
            for keys in key_lists(access, KEYS_PER_SLICE):
                self._examine(len(keys))
                yield [key for key in keys if key in wanted]
            return
        if not access.ordered or access.size <= KEYS_PER_SLICE:
            for keys in key_lists(access, KEYS_PER_SLICE):
                self._examine(len(keys))
                yield keys
            return
        for stream in access.streams:
            start, stop = 0, stream.size
            if self._cursor is not None:
                before, behind = seek(stream, self._order, self._cursor, access.reverse)
                start, stop = (0, before) if self._backward else (behind, stop)
            keys = list(islice(pkeys_between(stream, start, stop, access.reverse, self._backward), need))
            self._examine(len(keys))
            yield keys

    def keys_of(self, access: Access) -> set[PKey]:
        """All keys of an access: gathered once."""
        found = self._gathered.get(id(access))
        if found is None:
            self._work.use(access)
            self._examine(access.size)
            found = self._gathered[id(access)] = set(chain.from_iterable(key_lists(access, KEYS_PER_SLICE)))
        return found

    def _lies_beyond(self, stream: Stream) -> bool:
        assert self._cursor is not None
        before, behind = seek(stream, self._order, self._cursor, self._order.descending)
        return before < stream.size if self._backward else behind > 0
