"""Indexes that build themselves: what to build, what to give up, and why; for all tables of a database.

Queries that examined much in vain are noted (``advisor``). Whoever looks after the database asks now and then:
``wanted`` gives the index to build next, ``spare`` the one to give up when memory is short. Both answer with a
schema change for the one write door, so an automatic index is as durable as a declared one.

An index is proposed when its absence has cost more than building it, if it would narrow the search (tried on a sample
of rows) and fits into the room there is. Given up is the one that was used least recently, by the count of looks:
there is no clock here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from tcsql.engine.advisor import Advisor, Columns, Need, Service, service, services
from tcsql.engine.building import Index, distinct
from tcsql.engine.change import CreateIndex, DropIndex
from tcsql.engine.conditions import row_test
from tcsql.engine.index import MIN_REPETITION
from tcsql.engine.keys import make_codec
from tcsql.engine.order import Order
from tcsql.engine.postings import ENTRY_BYTES, LEAF_BYTES
from tcsql.engine.query import Conjunction, Count, Query, Select
from tcsql.engine.rows import decode
from tcsql.engine.schema import IndexDef
from tcsql.engine.table import Table
from tcsql.engine.values import Kind

#: Rows on which a proposal is tried: 1 ms.
TRIED_ROWS: Final = 200
#: An index must leave at most this share of what the present ones leave to look at.
NARROWER: Final = 0.5
#: Automatic indexes of one table; each costs every write 2 us.
MAX_AUTOMATIC: Final = 8
#: With so many looks since its last use one makes room for another: an hour of four a second.
STALE_LOOKS: Final = 14_400
#: What has to wait for memory is looked at again when there is enough, and every minute: it may be missed no more.
WAITING_LOOKS: Final = 240
#: A key of its own, by kinds: the tuple with a number, and each text.
_KEY_BYTES: Final = 64
_TEXT_BYTES: Final = 56


class AutoIndexes:
    """The advisors of all tables, by table id, and the use of automatic indexes."""

    def __init__(self) -> None:
        self._advisors: dict[int, Advisor] = {}
        self._looks = 0
        #: Uses of each automatic index at the last look, and the look at which they had grown.
        self._used: dict[tuple[int, Columns], tuple[int, int]] = {}
        #: Why the last proposal has to wait.
        self.waits_for: str | None = None
        self._waits_for_bytes = 0

    def note(self, table: Table, query: Query, examined: int, useful: int, times: int = 1) -> None:
        """Take down a query, or many of one shape, that examined many more rows than it had use for. 3 us.

        Not while an index of the table is being built: it may be the one that the query misses.
        """
        if table.building:
            return
        advisor = self._advisors.get(table.id)
        if advisor is None:
            advisor = self._advisors[table.id] = Advisor()
        advisor.note(table.schema, query, examined, useful, times)

    def forget(self, table_id: int) -> None:
        """The table is gone, or empty."""
        self._advisors.pop(table_id, None)

    def look(self, tables: Iterable[Table], share: float) -> None:
        """Time has passed: accounts fade to that share, and what was used is seen."""
        self._looks += 1
        used: dict[tuple[int, Columns], tuple[int, int]] = {}
        for table in tables:
            for index in table.automatic():
                key = (table.id, index.definition.columns)
                uses, look = self._used.get(key, (-1, 0))
                used[key] = (uses, look) if uses == index.uses else (index.uses, self._looks)
            self._note_detours(table)
        self._used = used
        for advisor in self._advisors.values():
            advisor.fade(share)

    def _note_detours(self, table: Table) -> None:
        """What prepared queries have counted since the last look."""
        for detours in table.detours:
            if detours.times:
                self.note(table, detours.query, round(detours.rows), 0, detours.times)
                detours.rows, detours.times = 0.0, 0

    def wanted(self, tables: Iterable[Table], room_bytes: int) -> CreateIndex | DropIndex | None:
        """The index to build next, if it fits, or the one that is in its way; None while another one is being built."""
        tables = list(tables)
        if any(table.building for table in tables):
            return None
        if room_bytes < self._waits_for_bytes and self._looks % WAITING_LOOKS:
            return None
        self.waits_for, self._waits_for_bytes = None, 0
        for table in tables:
            need = self._due(table)
            if need is None:
                continue
            if len(table.automatic()) >= MAX_AUTOMATIC:
                return self._stale(table)
            size = estimate_bytes(table, need.columns)
            if size <= room_bytes:
                definition = IndexDef("auto", need.columns, automatic=True, notes=(need.reason(),))
                return CreateIndex(table.schema.name, definition)
            self._waits_for_bytes = size
            wanted = f"{table.schema.name} ({', '.join(need.columns)})"
            self.waits_for = f"an index on {wanted} would take {size:,} bytes; {max(0, room_bytes):,} are free"
        return None

    def _due(self, table: Table) -> Need | None:
        """What the table misses most and would profit from, if that is worth its price by now."""
        advisor = self._advisors.get(table.id)
        while advisor is not None and (need := advisor.proposal(table.schema, len(table))) is not None:
            if narrows(table, need):
                return need
            advisor.decline(need.columns)
        return None

    def _stale(self, table: Table) -> DropIndex | None:
        """Of a table that has as many automatic indexes as it may have, the one that nobody has used for an hour."""
        index = min(table.automatic(), key=lambda index: self._last_use(table, index))
        if self._looks - self._last_use(table, index) < STALE_LOOKS:
            return None
        return DropIndex(table.schema.name, index.definition.name, may_return=True)

    def spare(self, tables: Iterable[Table]) -> DropIndex | None:
        """The automatic index to give up first: one that is being built, else the least recently used."""
        held = [(table, index) for table in tables for index in table.automatic()]
        if not held:
            return None
        order = {index: (index.ready, self._last_use(table, index), -index.memory_bytes) for table, index in held}
        table, index = min(held, key=lambda entry: order[entry[1]])
        return DropIndex(table.schema.name, index.definition.name, may_return=True)

    def _last_use(self, table: Table, index: Index) -> int:
        """The look that saw it used last; of one that is new, the present one."""
        return self._used.get((table.id, index.definition.columns), (0, self._looks))[1]

    def needs(self, table: Table) -> list[Need]:
        """What the table misses, the most expensive first."""
        advisor = self._advisors.get(table.id)
        return advisor.needs() if advisor is not None else []


def narrows(table: Table, need: Need) -> bool:
    """Whether the index would leave fewer rows to look at than those that are there, tried on a sample.

    One that settles every condition always does if it gives the order, too, or if only the number is asked for. So
    does the first that gives the order.
    """
    query = need.query
    counts = isinstance(query, Count) or (isinstance(query, Select) and (query.total or query.limit == 0))
    order = Order(table.schema, query.order) if isinstance(query, Select) else None
    rows = [decode(data) for data in table.sample(TRIED_ROWS)]

    def share(conjunction: Conjunction, offered: Service) -> float:
        test = row_test(table.schema, tuple(conjunction[place] for place in offered.settled))
        return sum(map(test, rows)) / max(1, len(rows))

    for conjunction in query.where.any_of or ((),):
        offered = service(table.schema, need.columns, conjunction, order)
        held = services(table.schema, conjunction, order)
        if any(each.includes(offered) for each in held):
            continue
        rivals = [each for each in held if each.ordered] if offered.ordered else held
        settles_all = len(offered.settled) == len(conjunction)
        if not rivals or (settles_all and (offered.ordered or counts)):
            return True
        if share(conjunction, offered) <= NARROWER * min(share(conjunction, rival) for rival in rivals):
            return True
    return False


def estimate_bytes(table: Table, columns: Columns) -> int:
    """What an index over these columns would hold, rather too much than too little."""
    own = tuple(table.schema.by_name[name] for name in columns)
    rows, leaves = len(table), 0.0
    if not make_codec(own, table.schema.pkey_columns).packs:
        values = distinct(Counter(decode(data)[columns[0]] for data in table.sample(TRIED_ROWS)), rows)
        if values * MIN_REPETITION <= rows:
            own, leaves = own[1:], values
    codec = make_codec(own, table.schema.pkey_columns)
    key = 0
    if own and not codec.packs:
        key = _KEY_BYTES + 8 * len(own) + _TEXT_BYTES * sum(column.type.kind is not Kind.INTEGER for column in own)
    return round(rows * (ENTRY_BYTES + key) + leaves * LEAF_BYTES)
