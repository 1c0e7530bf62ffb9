"""One page of a select, with its total and its cursors. Three ways:

    by position   one access gives the order and leaves nothing to test: skip, page and total are arithmetic on
                  run sizes, O(log n + page) at any depth
    by keys       one access leaves nothing to test, and the order is the primary key's: its keys are sorted
    by search     everything else: ordered accesses are walked from the cursor until the page is full, others are
                  read whole; the rows are collected by the order's key and pruned as they come (top-k)

An ordered walk that has examined twice what the best bounded access holds gives up and takes that one.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Final

from tcsql.engine import cost
from tcsql.engine.change import Row
from tcsql.engine.cursors import cursor_writer, hash_of, read_cursor
from tcsql.engine.executor import Executor, Steps, Take, conjunctions_of, once
from tcsql.engine.order import Order, SortTuple
from tcsql.engine.planner import Access, Stream
from tcsql.engine.query import Conjunction, Select
from tcsql.engine.result import Page
from tcsql.engine.rows import decode, project
from tcsql.engine.selection import BUCKET_ITEMS, window_steps
from tcsql.engine.streams import pkeys_between, seek
from tcsql.engine.values import PKey

#: Sorting this many keys takes less than a millisecond.
KEYS_PER_SLICE: Final = 5_000
#: Reading and sorting so few rows costs no more than working out another access.
FEW_ROWS: Final = 128
_KEY: Final = attrgetter("key")


@dataclass(frozen=True, slots=True)
class Match:
    """One matching row with its place in the order (empty when it came by position)."""

    key: SortTuple
    pkey: PKey
    data: bytes


class Collector:
    """Keeps the first ``need`` matches in order (the last ones if ``tail``), each row once.

    About 4 x need + 1,000 are held between prunings, so n rows cost O(n log need) and little memory. A small need is
    pruned as matches come; a large one by ``collect``, in steps, or its sort would hold up every other request.
    """

    def __init__(self, need: int, tail: bool) -> None:
        self._need = need
        self._limit = 4 * need + 1_000
        self._tail = tail
        self._small = self._limit <= BUCKET_ITEMS
        self._held: dict[PKey, Match] = {}
        #: The last key that was kept by a pruning: what lies beyond it is not worth holding.
        self._bound: SortTuple | None = None

    def add(self, match: Match) -> None:
        """Take a match, unless enough better ones are known."""
        if self._bound is not None and (match.key < self._bound if self._tail else match.key > self._bound):
            return
        self._held[match.pkey] = match
        if self._small and len(self._held) > self._limit:
            held = sorted(self._held.values(), key=_KEY)
            self._hold(held[-self._need :] if self._tail else held[: self._need])

    def _hold(self, matches: list[Match]) -> None:
        self._held = {match.pkey: match for match in matches}
        self._bound = matches[0 if self._tail else -1].key

    def collect(self, matching: Steps) -> Steps:
        """Drive what adds matches, and prune in between."""
        for _ in matching:
            yield
            if len(self._held) > self._limit:
                self._hold((yield from self.sorted()))

    def sorted(self, skip: int = 0) -> Generator[None, None, list[Match]]:
        """What is kept, in order, without the first ``skip``; it is kept no longer."""
        held = list(self._held.values())
        self._held = {}
        first, last = (max(0, len(held) - self._need), len(held)) if self._tail else (skip, self._need)
        return (yield from window_steps(held, first, max(first, last), _KEY))

    def __len__(self) -> int:
        return min(len(self._held), self._need)


class PageSearch:
    """One select on its way to its page."""

    def __init__(self, executor: Executor, query: Select) -> None:
        self._executor = executor
        self._table = executor.table
        self._query = query
        self._order = Order(self._table.schema, query.order)
        self._backward = query.before is not None
        text = query.before if self._backward else query.after
        self._cursor = read_cursor(query, self._table.schema, text) if text is not None else None
        self._cursor_key = self._order.key(self._cursor.values, self._cursor.pkey) if self._cursor else None
        #: Rows up to and including this many are needed to fill the page and to know whether more follow.
        self._need = (0 if self._cursor else query.skip) + query.limit + 1

    def run(self) -> Generator[None, None, Page]:
        """The page. Cost: see the module."""
        query, executor = self._query, self._executor
        if executor.pinned:
            return (yield from self._by_matches())
        conjunctions = conjunctions_of(query.where)
        if len(conjunctions) == 1:
            direct = executor.planner.direct(conjunctions[0], self._order)
            if direct is not None:
                return self._by_position(direct)
        plans = [self._plan(conjunction) for conjunction in conjunctions]
        total = self._cheap_total(conjunctions, plans)
        if query.limit == 0:
            if total is None and query.total:
                total = yield from executor.count(query.where)
            return Page(total, [])
        rows = len(self._table)
        choices = [cost.choose(accesses, self._order, self._need, rows) for accesses in plans]
        first = choices[0]
        if len(choices) == 1 and not first.ordered and first.exact and not self._order.terms and not self._cursor:
            return (yield from self._by_keys(first))
        return (yield from self._by_search(plans, choices, total))

    def _plan(self, conjunction: Conjunction) -> list[Access]:
        """All accesses; only the exact one where it holds so few rows that looking further costs more."""
        exact = self._executor.planner.counting(conjunction, self._order)
        if exact is not None and exact.size <= FEW_ROWS:
            return [exact]
        return self._executor.planner.accesses(conjunction, self._order)

    def _cheap_total(self, conjunctions: tuple[Conjunction, ...], plans: list[list[Access]]) -> int | None:
        if len(plans) == 1:
            return cost.exact_size(plans[0])
        return cost.union_size(self._executor.planner, self._table, conjunctions)

    # --- by position ----------------------------------------------------------------------------------------

    def _by_position(self, access: Access) -> Page:
        self._executor.work.use(access)
        query = self._query
        stream, size = access.streams[0], access.size
        if self._cursor is None:
            start, stop = query.skip, query.skip + query.limit
        else:
            before, behind = seek(stream, self._order, self._cursor, access.reverse)
            start, stop = (max(0, before - query.limit), before) if self._backward else (behind, behind + query.limit)
        stop = min(stop, size)
        if start >= stop:
            return Page(size, [])
        pkeys = list(pkeys_between(stream, start, stop, access.reverse))
        self._executor.work.examine(len(pkeys))
        rows = self._table.rows.many(pkeys)
        page = [Match((), pkey, data) for pkey, data in zip(pkeys, rows, strict=True)]
        return self._page(size, page, start > 0, stop < size)

    # --- by keys --------------------------------------------------------------------------------------------

    def _by_keys(self, access: Access) -> Generator[None, None, Page]:
        """All matches are known by their keys, and keys are the order: sort them, fetch only the page's rows.

        0.1 us a key; keys often come nearly sorted (dates rise with keys), where sorting is linear.
        """
        work = self._executor.work
        work.use(access)
        query, descending = self._query, self._order.descending
        kept: list[PKey] = []
        for stream in access.streams:
            pkeys = pkeys_between(stream, 0, stream.size, access.reverse)
            while chunk := list(islice(pkeys, KEYS_PER_SLICE)):
                work.examine(len(chunk))
                work.keys += len(chunk)
                kept = sorted(kept + chunk, reverse=descending)[: self._need]
                yield
        page = kept[query.skip : query.skip + query.limit]
        rows = self._table.rows.many(page)
        matches = [Match((), pkey, data) for pkey, data in zip(page, rows, strict=True)]
        return self._page(access.size, matches, query.skip > 0, len(kept) == self._need)

    # --- by search ------------------------------------------------------------------------------------------

    def _by_search(
        self, plans: list[list[Access]], choices: list[Access], total: int | None
    ) -> Generator[None, None, Page]:
        want_all = self._query.total and total is None
        collector = Collector(self._need, self._backward)
        counted = [0, 0]  # rows on this side of the cursor, rows on the other
        everything = self._taker(collector, counted)
        if len(choices) > 1 or any(access.overlapping for accesses in plans for access in accesses):
            everything = once(everything)
        walked: list[tuple[Access, list[Access]]] = []
        for accesses, chosen in zip(plans, choices, strict=True):
            if chosen.ordered and not want_all and (yield from self._walk(chosen, accesses, collector)):
                walked.append((chosen, accesses))
            else:
                access = chosen if not chosen.ordered else cost.smallest(accesses)
                yield from collector.collect(self._executor.exhaust(access, everything))
        kept = len(collector)
        matches = yield from self._sorted(collector)
        beyond = counted[1] > 0
        if self._cursor is not None:
            for chosen, accesses in walked:
                beyond = beyond or (yield from self._any_beyond(chosen, accesses))
        if total is None and not walked:
            total = counted[0] + counted[1]
        if total is None and self._cursor is None and kept < self._need:  # the walk came to the end
            total = kept
        return self._cut(total, matches, beyond)

    def _sorted(self, collector: Collector) -> Generator[None, None, list[Match]]:
        """The page's matches in order, and one more if there is one."""
        return (yield from collector.sorted(self._query.skip if self._cursor is None else 0))

    def _by_matches(self) -> Generator[None, None, Page]:
        """All matching rows, sorted: for rows that were pinned."""
        collector = Collector(self._need, self._backward)
        counted = [0, 0]
        yield from collector.collect(self._executor.matches(self._query.where, self._taker(collector, counted)))
        total = counted[0] + counted[1]
        matches = (yield from self._sorted(collector)) if self._query.limit else []
        return self._cut(total, matches, counted[1] > 0)

    def _taker(self, collector: Collector, counted: list[int]) -> Take:
        order, cursor_key, backward = self._order, self._cursor_key, self._backward

        def take(pkey: PKey, data: bytes, row: Row | None) -> None:
            key = self._key(pkey, data, row) if order.terms else order.key((), pkey)
            if cursor_key is not None and (key >= cursor_key if backward else key <= cursor_key):
                counted[1] += 1
            else:
                counted[0] += 1
                collector.add(Match(key, pkey, data))

        return take

    def _key(self, pkey: PKey, data: bytes, row: Row | None) -> SortTuple:
        return self._order.key_of_row(row if row is not None else decode(data), pkey)

    def _walk(self, access: Access, plan: list[Access], collector: Collector) -> Generator[None, None, bool]:
        """The first rows of each stream from the cursor on; False when it costs too much, and nothing is kept."""
        work = self._executor.work
        found: list[Match] = []
        bound = work.examined + cost.walk_bound(plan, access)
        for stream in access.streams:
            taken: list[Match] = []

            def take(pkey: PKey, data: bytes, row: Row | None, taken: list[Match] = taken) -> bool:
                taken.append(Match(self._key(pkey, data, row), pkey, data))
                return len(taken) < self._need

            start, stop = self._from_cursor(access, stream)
            pkeys = pkeys_between(stream, start, stop, access.reverse, self._backward)
            limit = max(0, bound - work.examined)
            before = work.examined
            yield from self._executor.scan(pkeys, access.residual, take, limit)
            if len(taken) < self._need and work.examined - before >= limit and stop - start > limit:
                return False
            found.extend(taken)
        work.use(access)
        while found:
            collector.add(found.pop())
            if len(found) % KEYS_PER_SLICE == 0:
                yield
        return True

    def _from_cursor(self, access: Access, stream: Stream) -> tuple[int, int]:
        """Output positions of the rows on this side of the cursor."""
        if self._cursor is None:
            return 0, stream.size
        before, behind = seek(stream, self._order, self._cursor, access.reverse)
        return (0, before) if self._backward else (behind, stream.size)

    def _any_beyond(self, access: Access, plan: list[Access]) -> Generator[None, None, bool]:
        """Whether a row lies on the other side of the cursor (mostly the very next one), the cursor's own included.

        The look back gives up as a walk does, and asks the access with the fewest rows.
        """
        found: list[PKey] = []

        def take(pkey: PKey, data: bytes, row: Row | None) -> bool:
            found.append(pkey)
            return False

        assert self._cursor is not None
        assert self._cursor_key is not None
        cursor_key = self._cursor_key

        def take_beyond(pkey: PKey, data: bytes, row: Row | None) -> bool:
            key = self._key(pkey, data, row)
            if key >= cursor_key if self._backward else key <= cursor_key:
                found.append(pkey)
            return not found

        work = self._executor.work
        bound = work.examined + cost.walk_bound(plan, access)
        for stream in access.streams:
            before, behind = seek(stream, self._order, self._cursor, access.reverse)
            start, stop = (before, stream.size) if self._backward else (0, behind)
            pkeys = pkeys_between(stream, start, stop, access.reverse, not self._backward)
            limit = max(0, bound - work.examined)
            yield from self._executor.scan(pkeys, access.residual, take, limit)
            if not found and stop - start > limit:
                yield from self._executor.exhaust(cost.smallest(plan), take_beyond)
                break
            if found:
                break
        return bool(found)

    # --- the reply ------------------------------------------------------------------------------------------

    def _cut(self, total: int | None, matches: list[Match], beyond: bool) -> Page:
        limit, skip = self._query.limit, self._query.skip
        if self._cursor is None:
            return self._page(total, matches[:limit], skip > 0, len(matches) > limit)
        more = len(matches) > limit
        if self._backward:
            return self._page(total, matches[-limit:], more, beyond)
        return self._page(total, matches[:limit], beyond, more)

    def _page(self, total: int | None, matches: list[Match], more_before: bool, more_behind: bool) -> Page:
        rows = [match.data for match in matches]
        following = self._cursor_at(matches[-1]) if matches and more_behind else None
        preceding = self._cursor_at(matches[0]) if matches and more_before else None
        if self._query.columns is not None:
            rows = [project(row, self._query.columns) for row in rows]
        return Page(total, rows, following, preceding)

    def _cursor_at(self, match: Match) -> str:
        write = cursor_writer(self._table.schema, self._query.order)
        return write(hash_of(self._query), match.pkey, match.data).decode()
