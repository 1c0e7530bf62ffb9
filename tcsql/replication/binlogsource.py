"""The binary log: row events of whole transactions, in the order of their commits; nothing is made at the source.

    a step without a read    transactions as they have come, up to MOST_EVENTS rows, merged by key
    a step with a read       between transactions a snapshot begins; the log is read as far as it can reach; then the
                             stretch is read in it, without the keys that the log named and it may not hold

Two sessions: one receives the log (``binlog.dump``), one asks by SQL, as the other sources do. What a step brings is
not given again within a session; after a break the log goes on from the place that the follower has stored.

Tables with a row filter, which only the server can judge, are read again: the log gives keys, a snapshot the rows.

A table is *dropped* from the moment when a statement of the schema names it, or its rows come in another form, until
it is looked at anew: its rows are passed over, and the step that says so calls it unsure, so that it is looked at and
compared, or copied. Values cannot land in another column.

Cost: decoding 4 us a row, a transaction 70 us; a step with a read about 1 ms more. Memory: ``gather.MOST_BYTES``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tcsql.engine.values import PKey
from tcsql.errors import SourceAway, SourceFault
from tcsql.replication.binlog.dump import Dump
from tcsql.replication.binlog.gather import MOST_BYTES, Gathering
from tcsql.replication.binlog.late import change_without, read_without
from tcsql.replication.binlog.needs import hears_cascades
from tcsql.replication.binlog.place import Place, place_of
from tcsql.replication.binlog.proof import Proof
from tcsql.replication.binlog.settings import require_settings, server_id_of
from tcsql.replication.binlog.sight import Sight, begin_snapshot, here, reach, require_known
from tcsql.replication.binlog.stream import Beat, Commit, Item, Parser, Schema
from tcsql.replication.binlog.structure import concerned
from tcsql.replication.binlog.tables import Change, Expected, Misfit
from tcsql.replication.catalogue import CatalogueTable
from tcsql.replication.connection import Connection, connect
from tcsql.replication.facts import version_of
from tcsql.replication.session import Problem, SqlSession, Wait
from tcsql.replication.snapshot import read_snapshot
from tcsql.replication.source import Identity, KeysRead, RangeRead, ReadKeys, ReadRange, Step, TableChange, TableState
from tcsql.sources import FollowedTable, SourceSettings

#: Rows of events in one step; what one batch of the follower can take, which readers see at once.
MOST_EVENTS: Final = 4_000
#: So long the log may lag behind a snapshot, or the snapshot behind what was sent.
_CATCH_UP_S: Final = 30.0
_RETRY_S: Final = 0.002
#: So long a step goes on taking what comes after the first news.
_GATHER_S: Final = 0.001
#: Keys of one transaction that are remembered; above, its table is compared instead.
_MOST_KEYS: Final = 1_000_000
#: A place that waits for keys to be read again waits no longer than this for a step that is one state.
_OVERDUE_S: Final = 5.0
#: The place is told so often while nothing of ours changes.
_PLACE_EVERY_S: Final = 1.0


class BinlogSource(SqlSession):
    """A source in mode ``binlog``; see ``tcsql.replication.source.Source``."""

    def __init__(self, settings: SourceSettings, base: Path | None, wait: Wait) -> None:
        super().__init__(settings, base, wait)
        self._server_id = settings.server_id or server_id_of(settings.name, base)
        self._catalogue: dict[str, CatalogueTable] = {}
        #: What the parser looks at, by database and name; changed in place.
        self._expected: dict[tuple[str, str], Expected] = {}
        self._reading: Connection | None = None
        self._dump: Dump | None = None
        self._parser: Parser | None = None
        self._events: deque[bytes] = deque()
        self._gathering = Gathering()
        #: Keys of tables that are read again: of committed transactions, and of the one that has not ended.
        self._noted: dict[str, dict[PKey, None]] = {}
        self._open_keys: dict[str, dict[PKey, None]] = {}
        #: Tables whose rows are passed over until they are looked at.
        self._dropped: set[str] = set()
        self._unsure: set[str] = set()
        #: Tables of the transaction of which parts were given before its end.
        self._in_parts: set[str] = set()
        #: What was told unsure while the log is behind the look; what of it was passed over since.
        self._told: set[str] = set()
        self._again: set[str] = set()
        #: How far the server was at the newest look, and at the one whose tables are followed, until that is read.
        self._looked: Sight | None = None
        self._behind: Sight | None = None
        #: Tables of which a transaction began in another form than they have now.
        self._mixed: set[str] = set()
        self._heard_s = 0.0
        self._placed_s = 0.0
        self._proof = Proof(settings.heartbeat_ms / 1000)

    # --- connecting -------------------------------------------------------------------------------------------

    def open(self, position: bytes) -> Identity:
        """Connect both sessions and go on from a place that was given before; b"": from now on."""
        identity = self.connect()
        try:
            require_settings(self.connection)
            place = place_of(position) if position else here(self.connection)
            if position:
                require_known(self.connection, place)
            self._begin(place)
        except (SourceAway, SourceFault):
            self.close()
            raise
        return identity

    def _begin(self, place: Place) -> None:
        if self.connection.flavour == "mysql" and not place.gtids:
            place = Place()  # nothing was committed there before: by names, as a server checks them
        self._reading = connect(self.settings, base=self._base)
        self._dump = Dump(self._reading, place, self._server_id, self.settings.heartbeat_ms / 1000)
        self._parser = Parser(self._expected, place, has_checksums=self._dump.has_checksums, is_sent=True)
        self._events.clear()
        self._gathering = Gathering()
        self._noted, self._open_keys = {}, {}
        for names in (self._dropped, self._unsure, self._in_parts, self._told, self._again, self._mixed):
            names.clear()
        self._behind = None
        self._heard_s, self._placed_s = time.monotonic(), 0.0
        self._proof = Proof(self.settings.heartbeat_ms / 1000)

    def close(self) -> None:
        """End both sessions."""
        reading, self._reading, self._dump = self._reading, None, None
        if reading is not None:
            reading.close()
        super().close()

    def problem_of(self, table: CatalogueTable, followed: FollowedTable) -> Problem | None:
        self._catalogue[table.name] = table
        return None

    def hears_cascades(self) -> bool:
        """Also where they are left to the audit."""
        connection = self.connection
        is_written = hears_cascades(connection.flavour, version_of(connection.version))
        return is_written or self.settings.cascades == "audit"

    def tables(self) -> Sequence[TableState]:
        """As they are now, and how far the log is at least."""
        self._looked = reach(self.connection)
        return super().tables()

    def follow(self, tables: Sequence[str]) -> None:
        """From now on steps carry the changes of these tables, in the form in which they were looked at."""
        super().follow(tables)
        before = dict(self._expected)
        self._expected.clear()
        for name in tables:
            table = self._catalogue[name]
            self._expected[table.database, table.name] = Expected(
                table, self.readers[name].schema, self.settings.time_zone
            )
        if self._parser is not None:
            self._parser.renew()
            if not self._parser.is_between:
                self._leave_out_other_forms(before)
        self._behind = self._looked
        self._see_the_look()

    def _leave_out_other_forms(self, before: dict[tuple[str, str], Expected]) -> None:
        """The rest of a transaction that has begun to come is read as it began."""
        for place, now in self._expected.items():
            was = before.get(place)
            if was is not None and (was.table.columns, was.schema) != (now.table.columns, now.schema):
                self._gathering.leave_out(place[1])
                self._open_keys.pop(place[1], None)
                self._mixed.add(place[1])

    def _see_the_look(self) -> None:
        """What comes behind the look has the form that was seen, and all before it is in what will be compared."""
        parser = self._parser
        if self._behind is None or parser is None or not self._behind.is_reached(*parser.at, parser.mysql_gtids):
            return
        self._behind = None
        self._dropped.clear()
        self._told.clear()
        self._unsure |= self._again
        self._again.clear()

    # --- steps ------------------------------------------------------------------------------------------------

    def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        """The next step, see ``Source``. After an error the session has ended: open anew."""
        try:
            self._take_transactions(wait_s if read is None and not self._unsure else 0.0)
            assert self._parser is not None
            self._see_the_look()
            self._proof.look(self.connection, self._parser, self._heard_s)
            if self._is_full:
                return self._step_at_a_snapshot(None, one_state=False) if self._noted else self._step(complete=False)
            if read is None and not self._noted:
                return self._step(complete=not self._in_parts)
            if self._noted and time.monotonic() - self._placed_s > _OVERDUE_S:
                return self._step_at_a_snapshot(None, one_state=False)
            return self._step_at_a_snapshot(read)
        except (SourceAway, SourceFault):
            self.close()
            raise

    @property
    def _is_full(self) -> bool:
        """Whether a step can take no more."""
        gathering = self._gathering
        events = gathering.events + sum(map(len, self._noted.values()))
        return events >= MOST_EVENTS or gathering.size >= MOST_BYTES

    def _step(self, *, complete: bool) -> Step:
        gathering, parser = self._gathering, self._parser
        assert parser is not None
        events = gathering.events
        if parser.is_between or gathering.size < MOST_BYTES:
            changes = gathering.take()
        else:
            changes = gathering.take_parts()
            self._in_parts.update(changes)
        return self._made(changes, None, events, complete=complete)

    def _made(
        self, changes: dict[str, TableChange], read: RangeRead | KeysRead | None, events: int, *, complete: bool
    ) -> Step:
        parser = self._parser
        assert parser is not None
        unsure, self._unsure = sorted(self._unsure), set()
        self._told.update(unsure)
        now = time.monotonic()
        position = b""
        is_due = changes or unsure or read is not None or now - self._placed_s > _PLACE_EVERY_S
        if is_due and not self._noted:  # what is noted would be lost with this session
            position, self._placed_s = parser.place.encoded(), now
        kept = {name: change for name, change in changes.items() if len(change.rows) or change.gone}
        return Step(kept, read, events, b"", complete, position, 0.0, None, self._proof.proved_s, unsure)

    def _step_at_a_snapshot(self, read: ReadRange | ReadKeys | None, *, one_state: bool = True) -> Step:
        """``one_state``: the log is read as far as the snapshot is, so that all tables are at the same."""
        late: dict[str, dict[PKey, None]] = {}
        if not self._take_the_rest():
            return self._step(complete=False)
        began_s = time.monotonic()
        sight = self._begin_snapshot()
        if one_state and not self._read_up_to(sight, late):  # too much has come meanwhile: ask again
            self.connection.query("ROLLBACK")
            return self._step_at_a_snapshot(None, one_state=False) if self._noted else self._step(complete=False)
        if one_state:
            self._proof.prove(began_s)
        noted, self._noted = self._noted, {}
        texts = {name: self.readers[name].texts_of([*keys]) for name, keys in noted.items() if name in self.readers}
        found = read_snapshot(self.connection, self.readers, texts, read)
        events = self._gathering.events + sum(map(len, texts.values()))
        changes = self._gathering.take()
        for name, change in found.changes.items():
            behind = late.get(name, {})
            changes[name] = change_without(change, behind)
            if behind:  # the snapshot may not have held them so
                self._noted[name] = dict.fromkeys(key for key in noted[name] if key in behind)
        complete = one_state and not self._noted and not self._in_parts
        return self._made(changes, read_without(found.read, late), events, complete=complete)

    def _take_the_rest(self) -> bool:
        """The rest of a transaction that has begun to come, which a snapshot may not hold; False if it is too large."""
        assert self._parser is not None
        while not self._parser.is_between:
            if self._gathering.size >= MOST_BYTES:
                return False
            if self._events:
                self._feed()
            else:
                self._receive(0.05)
        return True

    def _begin_snapshot(self) -> Sight:
        """A snapshot that holds at least all that was read of the log: what is sent may not be visible yet."""
        assert self._parser is not None
        until = time.monotonic() + _CATCH_UP_S
        while True:
            sight = begin_snapshot(self.connection)
            if sight.covers(self._parser.place):
                return sight
            self.connection.query("ROLLBACK")
            if time.monotonic() > until:
                raise SourceAway("the source does not show what it has written into its log")
            time.sleep(_RETRY_S)

    def _read_up_to(self, sight: Sight, late: dict[str, dict[PKey, None]]) -> bool:
        """Read the log as far as the snapshot may reach; ``late``: keys by table that it may not yet hold so.

        False when that is more than one step can take.
        """
        parser = self._parser
        assert parser is not None
        until = time.monotonic() + _CATCH_UP_S
        while not (parser.is_between and sight.is_reached(*parser.at, parser.mysql_gtids)):
            if self._gathering.size >= MOST_BYTES or (parser.is_between and self._is_full):
                return False
            if self._events:
                self._feed(sight, late)
            elif time.monotonic() > until:
                raise SourceAway("the source does not send what it shows")
            elif self._receive(0.05):
                until = time.monotonic() + _CATCH_UP_S
        return True

    # --- the log ----------------------------------------------------------------------------------------------

    def _take_transactions(self, wait_s: float) -> None:
        """Whole transactions as they have come; waits for the first."""
        parser, gathering = self._parser, self._gathering
        assert parser is not None
        until = time.monotonic() + wait_s
        while True:
            while self._events:
                self._feed()
                if parser.is_between and (self._is_full or self._unsure):
                    return
                if gathering.size >= MOST_BYTES:
                    return
            now = time.monotonic()
            if gathering.events or self._noted or self._unsure:
                until = min(until, now + _GATHER_S)
            is_last = now >= until
            if (not self._receive(max(0.0, until - now)) or is_last) and time.monotonic() >= until:
                return

    def _feed(self, sight: Sight | None = None, late: dict[str, dict[PKey, None]] | None = None) -> None:
        """One event."""
        assert self._parser is not None
        for item in self._parser.feed(self._events.popleft()):
            self._take(item, sight, late)

    def _receive(self, wait_s: float) -> bool:
        """Events as they come; False when none has in that time."""
        assert self._dump is not None
        events = self._dump.events(wait_s)
        if events:
            self._heard_s = time.monotonic()
            self._events.extend(events)
        return bool(events)

    def _take(self, item: Item, sight: Sight | None = None, late: dict[str, dict[PKey, None]] | None = None) -> None:
        if isinstance(item, Change):
            self._change(item, late)
        elif isinstance(item, Commit):
            self._commit(item, sight, late)
        elif isinstance(item, Schema):
            self._drop(concerned(item.text, item.database, self._expected))
        elif isinstance(item, Misfit):
            self._drop([item.table[1]])
        elif isinstance(item, Beat):
            self._proof.beat(self._heard_s)

    def _change(self, change: Change, late: dict[str, dict[PKey, None]] | None) -> None:
        name = change.table[1]
        if name not in self.readers:
            return
        if name in self._dropped or name in self._mixed:
            self._drop([name])  # said again: what is being read of it may be from before
            return
        followed = self.settings.table(name)
        is_filtered = followed is not None and bool(followed.where.strip())
        if late is not None or is_filtered:
            keys = self._open_keys.setdefault(name, {})
            keys.update(dict.fromkeys([*change.before, *change.rows.pkeys]))
            if is_filtered and len(keys) > _MOST_KEYS:
                self._open_keys.pop(name)
                self._drop([name])
        if not is_filtered:
            self._gathering.add(change)

    def _commit(self, end: Commit, sight: Sight | None, late: dict[str, dict[PKey, None]] | None) -> None:
        keys, self._open_keys = self._open_keys, {}
        in_parts, self._in_parts = self._in_parts, set()
        self._mixed.clear()
        if not end.is_whole:
            self._gathering.undo()
            self._drop(sorted(in_parts))  # parts of it were applied, and it has never been
            return
        self._gathering.commit()
        may_lack = sight is not None and sight.may_lack(end.gtid)
        for name, named in keys.items():
            followed = self.settings.table(name)
            if followed is not None and followed.where.strip():
                self._noted.setdefault(name, {}).update(named)
            if may_lack and late is not None:
                late.setdefault(name, {}).update(named)
        self._see_the_look()

    def _drop(self, names: Sequence[str]) -> None:
        """Pass over the rows of these tables until they are looked at."""
        self._dropped.update(names)
        for name in names:
            is_known = self._behind is not None and name in self._told
            (self._again if is_known else self._unsure).add(name)
            self._noted.pop(name, None)
