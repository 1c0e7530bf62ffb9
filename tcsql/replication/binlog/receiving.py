"""The log of one session as it comes: whole transactions gathered, keys noted, tables whose rows are passed over.

    log = Receiving(Dump(connection, place, server_id, heartbeat_s), place, expected)
    log.follow(before, filtered, looked)     what ``expected`` holds now is followed
    log.take_transactions(0.5)               then ``gathering``, ``noted`` and ``unsure`` are what a step is made of

A table is *dropped* from the moment when a statement of the schema names it, or its rows come in another form, until
it is looked at anew: its rows are passed over, and it is unsure. A look counts for what comes behind it in the log: of
what comes before nobody knows which form it has.

Cost: decoding 4 us a row, a transaction 70 us. Memory: ``gather.MOST_BYTES``. Blocking.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tcsql.engine.values import PKey
from tcsql.errors import SourceAway
from tcsql.replication.binlog.dump import Dump
from tcsql.replication.binlog.events import is_heartbeat
from tcsql.replication.binlog.gather import MOST_BYTES, Gathering
from tcsql.replication.binlog.place import Place
from tcsql.replication.binlog.sight import Sight
from tcsql.replication.binlog.stream import Commit, Item, Parser, Schema
from tcsql.replication.binlog.structure import concerned
from tcsql.replication.binlog.tables import Change, Expected, Misfit

#: Rows of events in one step; what one batch of the follower can take, which readers see at once.
MOST_EVENTS: Final = 2_000
#: So long the log may lag behind what the server shows.
CATCH_UP_S: Final = 30.0
#: So long a step goes on taking what comes after the first news.
_GATHER_S: Final = 0.001
#: Keys of one transaction that are remembered; above, its table is compared instead.
_MOST_KEYS: Final = 1_000_000
_WAIT_S: Final = 0.05

#: By table, in the order in which they came.
Keys = dict[str, dict[PKey, None]]


class Late(NamedTuple):
    """``keys``: those that the log names and that a snapshot, which ``sight`` describes, may not hold so."""

    sight: Sight
    keys: Keys


class Receiving:
    """What has come and was not given yet. After an error it is of no more use. Not for several threads.

    ``expected``: what the parser looks at, by database and name; changed in place by the owner. ``wanted``: those and
    the ones that should be followed and cannot be now. ``moved_s``: when the
    server sent something last that was no heartbeat, by ``time.monotonic()``.
    """

    def __init__(
        self,
        dump: Dump,
        place: Place,
        expected: Mapping[tuple[str, str], Expected],
        wanted: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._dump = dump
        self._expected = expected
        self._wanted = wanted
        #: A table that is wanted and not followed was altered; nobody was told yet.
        self.is_look_due = False
        self.parser = Parser(expected, place, has_checksums=dump.has_checksums, is_sent=True)
        self.gathering = Gathering()
        #: Keys of tables that are read again: of committed transactions, and of the one that has not ended.
        self.noted: Keys = {}
        self._open_keys: Keys = {}
        #: Tables of which something was passed over and nobody was told yet.
        self.unsure: set[str] = set()
        #: Tables of the transaction of which parts were given before its end.
        self.in_parts: set[str] = set()
        self.moved_s = time.monotonic()
        self._events: deque[bytes] = deque()
        #: Tables that are followed; whether their rows are read again.
        self._filtered: Mapping[str, bool] = {}
        #: Tables whose rows are passed over until they are looked at.
        self._dropped: set[str] = set()
        #: What was told unsure while the log is behind the look; what of it was passed over since.
        self._told: set[str] = set()
        self._again: set[str] = set()
        #: How far the server was at the look whose tables are followed, until that is read.
        self._behind: Sight | None = None
        #: Tables of which a transaction began in another form than they have now.
        self._mixed: set[str] = set()

    def close(self) -> None:
        """End the session; never raises."""
        self._dump.close()

    # --- looks ------------------------------------------------------------------------------------------------

    def follow(
        self, before: Mapping[tuple[str, str], Expected], filtered: Mapping[str, bool], looked: Sight | None
    ) -> None:
        """``expected`` is what was looked at; ``before``: what it was.

        ``filtered``: whether the server alone can judge which rows belong to a table. ``looked``: how far the server
        was then, at least.
        """
        self._filtered = filtered
        self.parser.renew()
        if not self.parser.is_between:
            self._leave_out_other_forms(before)
        self._behind = looked
        self.see_the_look()

    def _leave_out_other_forms(self, before: Mapping[tuple[str, str], Expected]) -> None:
        """The rest of a transaction that has begun to come is read as it began."""
        for place, now in self._expected.items():
            was = before.get(place)
            if was is not None and (was.table.columns, was.schema) != (now.table.columns, now.schema):
                self.gathering.leave_out(place[1])
                self._open_keys.pop(place[1], None)
                self._mixed.add(place[1])

    def see_the_look(self) -> None:
        """What comes behind the look has the form that was seen, and all before it is in what will be compared."""
        parser = self.parser
        if self._behind is None or not self._behind.is_reached(*parser.at, parser.mysql_gtids):
            return
        self._behind = None
        self._dropped.clear()
        self._told.clear()
        self.unsure |= self._again
        self._again.clear()

    def tell_unsure(self) -> Sequence[str]:
        """Tables that have to be looked at and compared; each is told once."""
        told, self.unsure = sorted(self.unsure), set()
        self.is_look_due = False
        self._told.update(told)
        return told

    # --- taking -----------------------------------------------------------------------------------------------

    @property
    def events(self) -> int:
        """Rows of events that wait to be given."""
        return self.gathering.events + sum(map(len, self.noted.values()))

    @property
    def is_full(self) -> bool:
        """Whether a step can take no more."""
        return self.events >= MOST_EVENTS or self.is_heavy

    @property
    def has_news_of_the_schema(self) -> bool:
        """Whether somebody is to be told of tables that have changed."""
        return bool(self.unsure) or self.is_look_due

    @property
    def is_heavy(self) -> bool:
        """Whether what waits, an unfinished transaction with it, is as large as memory may hold."""
        return self.gathering.size >= MOST_BYTES

    def take_transactions(self, wait_s: float) -> None:
        """Whole transactions as they have come; waits for the first."""
        until = time.monotonic() + wait_s
        while True:
            while self._events:
                self._feed()
                if self.parser.is_between and (self.is_full or self.has_news_of_the_schema):
                    return
                if self.is_heavy:
                    return
            now = time.monotonic()
            if self.gathering.events or self.noted or self.has_news_of_the_schema:
                until = min(until, now + _GATHER_S)
            is_last = now >= until
            if (not self._receive(max(0.0, until - now)) or is_last) and time.monotonic() >= until:
                return

    def take_the_rest(self) -> bool:
        """The rest of a transaction that has begun to come, which a snapshot may not hold; False if it is too large."""
        while not self.parser.is_between:
            if self.is_heavy:
                return False
            if self._events:
                self._feed()
            else:
                self._receive(_WAIT_S)
        return True

    def read_up_to(self, late: Late) -> bool:
        """Read the log as far as a snapshot may reach; adds to ``late``.

        False when that is more than one step can take.
        """
        parser = self.parser
        began_s = time.monotonic()
        while not (parser.is_between and late.sight.is_reached(*parser.at, parser.mysql_gtids)):
            if self.is_heavy or (parser.is_between and self.is_full):
                return False
            if self._events:
                self._feed(late)
            elif time.monotonic() - max(began_s, self.moved_s) > CATCH_UP_S:
                raise SourceAway("the source does not send what it shows")
            else:
                self._receive(_WAIT_S)
        return True

    def _receive(self, wait_s: float) -> bool:
        """Events as they come; False when none has in that time."""
        before = self._dump.partial_bytes
        events = self._dump.events(wait_s)
        if self._dump.partial_bytes != before or not all(map(is_heartbeat, events)):
            self.moved_s = time.monotonic()
        self._events.extend(events)
        return bool(events)

    def _feed(self, late: Late | None = None) -> None:
        """One event."""
        for item in self.parser.feed(self._events.popleft()):
            self._take(item, late)

    # --- items ------------------------------------------------------------------------------------------------

    def _take(self, item: Item, late: Late | None) -> None:
        if isinstance(item, Change):
            self._change(item, late)
        elif isinstance(item, Commit):
            self._commit(item, late)
        elif isinstance(item, Schema):
            self._drop(concerned(item.text, item.database, self._expected))
            others = [table for table in self._wanted if table not in self._expected]
            self.is_look_due |= bool(concerned(item.text, item.database, others))
        elif isinstance(item, Misfit):
            self._drop([item.table[1]])

    def _change(self, change: Change, late: Late | None) -> None:
        name = change.table[1]
        is_filtered = self._filtered.get(name)
        if is_filtered is None:
            return  # not followed any more
        if name in self._dropped or name in self._mixed:
            self._drop([name])  # said again: what is being read of it may be from before
            return
        if late is not None or is_filtered:
            keys = self._open_keys.setdefault(name, {})
            keys.update(dict.fromkeys([*change.before, *change.rows.pkeys]))
            if is_filtered and len(keys) > _MOST_KEYS:
                self._open_keys.pop(name)
                self._drop([name])
        if not is_filtered:
            self.gathering.add(change)

    def _commit(self, end: Commit, late: Late | None) -> None:
        keys, self._open_keys = self._open_keys, {}
        in_parts, self.in_parts = self.in_parts, set()
        self._mixed.clear()
        if not end.is_whole:
            self.gathering.undo()
            self._drop(sorted(in_parts))  # parts of it were applied, and it has never been
            return
        self.gathering.commit()
        for name, named in keys.items():
            if self._filtered.get(name):
                self.noted.setdefault(name, {}).update(named)
            if late is not None and late.sight.may_lack(end.gtid):
                late.keys.setdefault(name, {}).update(named)
        self.see_the_look()

    def _drop(self, names: Sequence[str]) -> None:
        """Pass over the rows of these tables until they are looked at."""
        self._dropped.update(names)
        for name in names:
            is_known = self._behind is not None and name in self._told
            (self._again if is_known else self.unsure).add(name)
            self.noted.pop(name, None)
