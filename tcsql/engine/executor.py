"""The executor: carries out a plan in slices, and gives the matching rows or their number.

Every function that may look at many rows is a generator that yields after at most a few hundred of them. Who
drives it decides what happens in between: nothing (``Database.query``), or other requests (``Store.run``). The
rows of a slice are immutable bytes; when the table changed between two slices the driver starts afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from tcsql.engine import cost
from tcsql.engine.change import Row
from tcsql.engine.conditions import RowTest, check_patterns, filter_test, row_test, weight
from tcsql.engine.needles import needles
from tcsql.engine.order import Order
from tcsql.engine.planner import Access, Planner
from tcsql.engine.query import Conjunction, Filter
from tcsql.engine.replysize import UNBOUNDED
from tcsql.engine.rows import decode
from tcsql.engine.streams import pkeys_of
from tcsql.engine.table import Table
from tcsql.engine.values import PKey
from tcsql.engine.watching import Watch
from tcsql.errors import TooCostly

#: Rows of one slice: 200 x 0.7 us stays far below the 5 ms after which the driver lets others go on.
SLICE_ROWS: Final = 200
#: So many rows are pinned at once, 2 ms; of more than that a table is watched if it has no more than so many times as
#: many.
PINNED_ROWS: Final = 20_000
WATCHED_SHARE: Final = 4
Steps = Generator[None, None, None]
#: Receives a matching row; decoded where a test has decoded it already. False: enough.
Take = Callable[[PKey, bytes, Row | None], bool | None]


@dataclass(slots=True)
class Work:
    """What a query has cost so far, and what it may cost (rows examined)."""

    budget_rows: int
    #: What would make the query cheaper; asked only when it is refused.
    advice: Callable[[], str | None] = lambda: None
    #: How long the rows of the reply may be together.
    most_bytes: int = UNBOUNDED
    examined: int = 0
    #: Those of which only the key was looked at, in a seventh of the time.
    keys: int = 0
    chosen: list[Access] = field(default_factory=list)

    def examine(self, rows: int) -> None:
        """Account for rows; raises TooCostly beyond the budget."""
        self.examined += rows
        if self.examined > self.budget_rows:
            raise TooCostly(f"the query would examine more than {self.budget_rows} rows", self.advice())

    def use(self, access: Access) -> None:
        access.index.uses += 1
        self.chosen.append(access)


def conjunctions_of(where: Filter) -> tuple[Conjunction, ...]:
    """The alternatives, each once; one empty conjunction for every row. Raises InvalidPattern."""
    check_patterns(where)
    return ((),) if where.matches_everything else tuple(dict.fromkeys(where.any_of))


class Executor:
    """Finds rows of one table. ``planner`` remembers templates between queries."""

    #: The rows were taken in one slice: only ``matches`` may be asked.
    pinned = False

    def __init__(self, table: Table, planner: Planner, work: Work) -> None:
        self.table = table
        self.planner = planner
        self.work = work
        self._tests: dict[Conjunction, tuple[RowTest | None, Sequence[bytes], int]] = {}

    def scan(self, pkeys: Iterator[PKey], conjunction: Conjunction, take: Take, limit_rows: int | None = None) -> Steps:
        """Hand the rows of these keys that satisfy the conjunction to ``take``, until it has enough.

        Slices begin small, so that a page of 10 does not cost 200 rows. ``limit_rows``: stop after so many.
        """
        test, held, heavy = self._test(conjunction)
        most = max(1, SLICE_ROWS // heavy)
        size = min(16, most)
        while chunk := list(islice(pkeys, size if limit_rows is None else min(size, limit_rows))):
            self.work.examine(len(chunk) * heavy)
            if not self._take_chunk(chunk, held, test, take):
                return
            if limit_rows is not None:
                limit_rows -= len(chunk)
            size = min(2 * size, most)
            yield

    def _test(self, conjunction: Conjunction) -> tuple[RowTest | None, Sequence[bytes], int]:
        """Made once a query: a walk has a scan for each stream, of which a list of tokens opens thousands."""
        found = self._tests.get(conjunction)
        if found is None:
            test = row_test(self.table.schema, conjunction) if conjunction else None
            found = test, needles(self.table.schema, conjunction), weight(conjunction)
            self._tests[conjunction] = found
        return found

    def _take_chunk(self, chunk: list[PKey], held: Sequence[bytes], test: RowTest | None, take: Take) -> bool:
        pairs = list(zip(chunk, self.table.rows.many(chunk), strict=True))
        if test is None:
            return all(take(pkey, data, None) is not False for pkey, data in pairs)
        for needle in held:
            pairs = [pair for pair in pairs if needle in pair[1]]
        for pkey, data in pairs:
            row = decode(data)
            if test(row) and take(pkey, data, row) is False:
                return False
        return True

    def exhaust(self, access: Access, take: Take) -> Steps:
        """All matching rows of an access (of overlapping streams some more than once)."""
        self.work.use(access)
        return self.scan(pkeys_of(access), access.residual, take)

    def matches(self, where: Filter, take: Take) -> Steps:
        """Every matching row exactly once, by the cheapest access of each conjunction, in no order."""
        order = Order(self.table.schema, ())
        conjunctions = conjunctions_of(where)
        accesses = [cost.smallest(self.planner.accesses(conjunction, order)) for conjunction in conjunctions]
        if len(accesses) > 1 or accesses[0].overlapping:
            take = once(take)
        for access in accesses:
            yield from self.exhaust(access, take)

    def total_at_once(self, where: Filter) -> int | None:
        """The exact number of matching rows if bisections give it, else None. O(log n) a conjunction."""
        conjunctions = conjunctions_of(where)
        if len(conjunctions) > 1:
            return cost.union_size(self.planner, self.table, conjunctions)
        order = Order(self.table.schema, ())
        access = self.planner.counting(conjunctions[0], order)
        if access is not None:
            self.work.use(access)
            return access.size
        return cost.exact_size(self.planner.accesses(conjunctions[0], order))

    def count(self, where: Filter) -> Generator[None, None, int]:
        """The exact number of matching rows: by bisection, else by the smallest accesses."""
        total = self.total_at_once(where)
        if total is not None:
            return total
        counted = 0

        def take(pkey: PKey, data: bytes, row: Row | None) -> None:
            nonlocal counted
            counted += 1

        yield from self.matches(where, take)
        return counted


class PinnedExecutor(Executor):
    """Works on the rows as they were when it was made, so that writes in between cannot change the answer.

    Of few rows it takes references, 0.1 us each, at once; many it watches. Only queries that writers have overtaken
    several times come here.
    """

    pinned = True

    def __init__(self, table: Table, planner: Planner, work: Work) -> None:
        super().__init__(table, planner, work)
        self._pinned: dict[PKey, bytes] = {}
        self._watch: Watch | None = None

    def pin(self, where: Filter) -> None:
        """Take the rows of the smallest accesses, or watch all rows if that is no more work; then ``end`` it."""
        order = Order(self.table.schema, ())
        accesses = [cost.smallest(self.planner.accesses(each, order)) for each in conjunctions_of(where)]
        size = sum(access.size for access in accesses)
        for access in accesses:
            self.work.use(access)
        if size > PINNED_ROWS and len(self.table) <= WATCHED_SHARE * size:
            self.work.examine(len(self.table))
            self._watch = Watch(self.table.rows, self.table.primary)
            return
        self.work.examine(size)
        for access in accesses:
            pkeys = list(pkeys_of(access))
            self._pinned.update(zip(pkeys, self.table.rows.many(pkeys), strict=True))

    def end(self) -> None:
        """Let go of the rows."""
        if self._watch is not None:
            self._watch.end()

    def _chunks(self, where: Filter) -> Iterator[Iterable[tuple[PKey, bytes]]]:
        size = max(1, SLICE_ROWS // max(1, sum(map(weight, where.any_of))))
        if self._watch is not None:
            return self._watch.chunks(size)
        pairs = iter(self._pinned.items())
        return iter(lambda: list(islice(pairs, size)), [])

    def matches(self, where: Filter, take: Take) -> Steps:
        """The rows of then that satisfy the whole filter. To be asked once."""
        test = filter_test(self.table.schema, where)
        for chunk in self._chunks(where):
            for pkey, data in chunk:
                row = decode(data)
                if test(row):
                    take(pkey, data, row)
            yield

    def total_at_once(self, where: Filter) -> int | None:
        return None


def once(take: Take) -> Take:
    """``take``, for the first occurrence of each row only."""
    seen: set[PKey] = set()

    def take_new(pkey: PKey, data: bytes, row: Row | None) -> bool | None:
        if pkey in seen:
            return None
        seen.add(pkey)
        return take(pkey, data, row)

    return take_new
