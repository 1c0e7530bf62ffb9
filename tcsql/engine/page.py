"""One page of a select, with its total and its cursors. Three ways:

    by position   one access gives the order and leaves nothing to test: skip, page and total are arithmetic on
                  run sizes, O(log n + page) at any depth
    by keys       accesses leave nothing to test, and the order is the primary key's: the first keys of each, which are
                  sorted, or read block by block (see keyorder)
    by search     everything else: ordered accesses are walked from the cursor until the page is full, others are
                  read whole; the rows are collected by the order's key and pruned as they come (top-k)

A walk that has cost as much as the best bounded access would gives up and takes that one.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from tcsql.engine import cost
from tcsql.engine.change import Row
from tcsql.engine.collector import Collector, Match
from tcsql.engine.cursors import cursor_writer, hash_of, read_cursor
from tcsql.engine.executor import Executor, Steps, Take, conjunctions_of, once
from tcsql.engine.firstkeys import FirstKeys
from tcsql.engine.keyorder import key_order
from tcsql.engine.order import Order, SortTuple
from tcsql.engine.planner import Access, Operands, Stream
from tcsql.engine.query import Conjunction, Select
from tcsql.engine.replysize import BYTES_PER_SLICE, require_fitting, size_of
from tcsql.engine.result import Page
from tcsql.engine.rows import project
from tcsql.engine.streams import lists_between, pkeys_between, seek
from tcsql.engine.values import PKey

#: Reading and sorting so few rows costs no more than working out another access.
FEW_ROWS: Final = 128
MATCHES_PER_SLICE: Final = 1_000
#: So many keys of several accesses are united as a set, which gives the total as well; 0.2 us each.
MOST_UNITED: Final = 4_000


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
        self._first_keys = FirstKeys(executor, self._order, self._cursor, self._backward)
        #: Rows up to and including this many are needed to fill the page and to know whether more follow.
        self._need = (0 if self._cursor else query.skip) + query.limit + 1

    def run(self) -> Generator[None, None, Page]:
        """The page. Cost: see the module."""
        query, executor = self._query, self._executor
        if executor.pinned:
            return (yield from self._by_matches())
        conjunctions = conjunctions_of(query.where)
        if len(conjunctions) == 1:
            operands = Operands(self._table, conjunctions[0])
            direct = executor.planner.direct(conjunctions[0], self._order, operands)
            if direct is not None:
                return (yield from self._by_position(direct))
            plans = [self._plan(conjunctions[0], operands)]
        else:
            plans = [self._plan(conjunction, Operands(self._table, conjunction)) for conjunction in conjunctions]
        total = self._cheap_total(conjunctions, plans)
        if query.limit == 0:
            if total is None and query.total:
                total = yield from executor.count(query.where)
            return Page(total, [])
        choices = [cost.choose(accesses, self._order, self._need, self._table) for accesses in plans]
        if all(map(self._is_by_keys, choices)) and (total is not None or not query.total):
            return (yield from self._by_keys(choices, total))
        return (yield from self._by_search(plans, choices, total))

    def _plan(self, conjunction: Conjunction, operands: Operands) -> list[Access]:
        """All accesses; only the exact one where it holds so few rows that looking further costs more."""
        exact = self._executor.planner.counting(conjunction, self._order, operands)
        if exact is not None and exact.size <= FEW_ROWS:
            return [exact]
        return self._executor.planner.accesses(conjunction, self._order, operands, exact)

    def _cheap_total(self, conjunctions: tuple[Conjunction, ...], plans: list[list[Access]]) -> int | None:
        if len(plans) == 1:
            return cost.exact_size(plans[0])
        return cost.union_size(self._executor.planner, self._table, conjunctions)

    # --- by position ----------------------------------------------------------------------------------------

    def _by_position(self, access: Access) -> Generator[None, None, Page]:
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
        return (yield from self._page(size, page, start > 0, stop < size))

    # --- by keys --------------------------------------------------------------------------------------------

    def _is_by_keys(self, access: Access) -> bool:
        return cost.by_keys(access, self._order)

    def _by_keys(self, choices: list[Access], total: int | None) -> Generator[None, None, Page]:
        """The first keys of each access; only the page's rows are fetched."""
        skip, first_keys = self._query.skip if self._cursor is None else 0, self._first_keys
        if len(choices) == 1:
            keys = yield from first_keys.of(choices[0], skip, self._need - skip)
            total = choices[0].size if choices[0].exact else first_keys.found
        else:
            if (
                total is None
                and sum([access.size for access in choices]) <= MOST_UNITED
                and all(access.exact for access in choices)
            ):
                keys, total = first_keys.united(choices, self._need)
            else:
                keys = yield from first_keys.merged(choices, self._need)
            keys = keys[skip:]
        beyond = False
        for access in choices if self._cursor is not None else ():
            beyond = beyond or (yield from first_keys.any_beyond(access))
        return (yield from self._cut(total, self._with_rows(keys), beyond))

    def _with_rows(self, keys: list[PKey]) -> list[Match]:
        """The matches with these keys, in output order."""
        ordered = keys[::-1] if self._backward else keys
        rows = self._table.rows.many(ordered)
        return [Match(self._order.key((), pkey), pkey, data) for pkey, data in zip(ordered, rows, strict=True)]

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
            access = cost.smallest(accesses) if want_all else chosen
            if not want_all and self._gives_first(access):
                if (yield from self._find_first(access, accesses, collector)):
                    walked.append((access, accesses))
                    continue
                access = cost.fallback(accesses, chosen, self._order)
                if self._is_by_keys(access):
                    if len(choices) == 1:
                        return (yield from self._by_keys([access], total))
                    yield from self._find_first(access, accesses, collector)
                    walked.append((access, accesses))
                    continue
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
        return (yield from self._cut(total, matches, beyond))

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
        return (yield from self._cut(total, matches, counted[1] > 0))

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
        return self._order.key_of_data(data, pkey) if row is None else self._order.key_of_row(row, pkey)

    def _gives_first(self, access: Access) -> bool:
        """Whether the first matches can be had without the others."""
        return access.ordered or access.by_blocks or self._is_by_keys(access)

    def _find_first(self, access: Access, plan: list[Access], collector: Collector) -> Generator[None, None, bool]:
        """Collect the first matches of an access; False when it costs too much, and nothing is kept."""
        if not self._is_by_keys(access):
            return (yield from self._walk(access, plan, collector))
        for match in self._with_rows((yield from self._first_keys.of(access, 0, self._need))):
            collector.add(match)
        return True

    def _walk(self, access: Access, plan: list[Access], collector: Collector) -> Generator[None, None, bool]:
        """The first rows of each stream from the cursor on; False when it costs too much, and nothing is kept."""
        work = self._executor.work
        found: list[Match] = []
        bound = work.examined + cost.walk_bound(plan, access, self._order)
        taken: list[Match] = []

        def take(pkey: PKey, data: bytes, row: Row | None) -> bool:
            taken.append(Match(self._key(pkey, data, row), pkey, data))
            return len(taken) < self._need

        if access.by_blocks:
            if not (yield from self._scan_blocks(access, take, bound, False)):
                return False
            found = taken
        for stream in access.streams if access.ordered else ():
            taken.clear()
            start, stop = self._from_cursor(access, stream)
            limit = max(0, bound - work.examined)
            before = work.examined
            yield from self._scan(access, stream, (start, stop), take, backward=self._backward, limit=limit)
            if len(taken) < self._need and work.examined - before >= limit and stop - start > limit:
                return False
            found.extend(taken)
        work.use(access)
        while found:
            collector.add(found.pop())
            if len(found) % MATCHES_PER_SLICE == 0:
                yield
        return True

    def _scan(
        self, access: Access, stream: Stream, between: tuple[int, int], take: Take, *, backward: bool, limit: int
    ) -> Steps:
        """Hand matching rows of these output positions to ``take`` until it has enough; look at so many at most."""
        start, stop = between
        if access.within is None:
            pkeys = pkeys_between(stream, start, stop, access.reverse, backward)
            yield from self._executor.scan(pkeys, access.residual, take, limit)
            return
        wanted = self._first_keys.keys_of(access.within)
        work, enough = self._executor.work, False
        start, stop = (max(start, stop - limit), stop) if backward else (start, min(stop, start + limit))

        def take_until(pkey: PKey, data: bytes, row: Row | None) -> bool:
            nonlocal enough
            enough = take(pkey, data, row) is False
            return not enough

        for keys in lists_between(stream, start, stop, access.reverse, backward=backward, most=MATCHES_PER_SLICE):
            work.keys += len(keys)
            work.examine(len(keys))
            if there := [key for key in keys if key in wanted]:
                yield from self._executor.scan(iter(there), (), take_until)
            if enough:
                return
            yield

    def _scan_blocks(self, access: Access, take: Take, bound: int, beyond: bool) -> Generator[None, None, bool]:
        """Scan by primary key from the cursor on, or back ``beyond`` it; False when it costs too much."""
        work, enough = self._executor.work, False

        def take_until(pkey: PKey, data: bytes, row: Row | None) -> bool:
            nonlocal enough
            enough = take(pkey, data, row) is False
            return not enough

        by_key = key_order(self._table.schema, access)
        assert by_key is not None  # or it would not have been chosen
        yield from by_key.get_ready()
        for batch in self._first_keys.batches(by_key, beyond=beyond):
            if not batch:
                yield
                continue
            yield from self._executor.scan(iter(batch), access.residual, take_until, max(1, bound - work.examined))
            if enough:
                return True
            if work.examined >= bound:
                return False
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
        if self._is_by_keys(access):
            return (yield from self._first_keys.any_beyond(access))
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
        bound = work.examined + cost.walk_bound(plan, access, self._order)
        if access.by_blocks and not (yield from self._scan_blocks(access, take, bound, True)) and not found:
            yield from self._executor.exhaust(cost.smallest(plan), take_beyond)
        for stream in access.streams if access.ordered else ():
            before, behind = seek(stream, self._order, self._cursor, access.reverse)
            start, stop = (before, stream.size) if self._backward else (0, behind)
            limit = max(0, bound - work.examined)
            yield from self._scan(access, stream, (start, stop), take, backward=not self._backward, limit=limit)
            if not found and stop - start > limit:
                yield from self._executor.exhaust(cost.smallest(plan), take_beyond)
                break
            if found:
                break
        return bool(found)

    # --- the reply ------------------------------------------------------------------------------------------

    def _cut(self, total: int | None, matches: list[Match], beyond: bool) -> Generator[None, None, Page]:
        limit, skip = self._query.limit, self._query.skip
        if self._cursor is None:
            return (yield from self._page(total, matches[:limit], skip > 0, len(matches) > limit))
        more = len(matches) > limit
        if self._backward:
            return (yield from self._page(total, matches[-limit:], more, beyond))
        return (yield from self._page(total, matches[:limit], beyond, more))

    def _page(
        self, total: int | None, matches: list[Match], more_before: bool, more_behind: bool
    ) -> Generator[None, None, Page]:
        rows = [match.data for match in matches]
        following = self._cursor_at(matches[-1]) if matches and more_behind else None
        preceding = self._cursor_at(matches[0]) if matches and more_before else None
        if self._query.columns is not None:
            rows = yield from self._projected(rows, self._query.columns)
        else:
            require_fitting(size_of(rows), self._executor.work.most_bytes)
        return Page(total, rows, following, preceding)

    def _projected(self, rows: list[bytes], columns: tuple[str, ...]) -> Generator[None, None, list[bytes]]:
        found, size, read, most_bytes = list[bytes](), 0, 0, self._executor.work.most_bytes
        for row in rows:
            found.append(project(row, columns))
            size += len(found[-1]) + 1
            read += len(row)
            require_fitting(size, most_bytes)
            if read > BYTES_PER_SLICE:
                read = 0
                yield
        return found

    def _cursor_at(self, match: Match) -> str:
        write = cursor_writer(self._table.schema, self._query.order)
        return write(hash_of(self._query), match.pkey, match.data).decode()
