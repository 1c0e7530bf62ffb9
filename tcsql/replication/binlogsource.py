"""The binary log: row events of whole transactions, in the order of their commits; nothing is made at the source.

    a step without a read    transactions as they have come, up to MOST_EVENTS rows, merged by key
    a step with a read       a snapshot begins; the log is read as far as the snapshot can reach; then the stretch is
                             read in it, without the keys that the log named and the snapshot may not hold

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
from tcsql.replication.binlog.needs import hears_cascades
from tcsql.replication.binlog.place import Place, place_of
from tcsql.replication.binlog.settings import require_settings, server_id_of
from tcsql.replication.binlog.sight import Sight, begin_snapshot, here
from tcsql.replication.binlog.stream import Commit, Item, Parser, Schema
from tcsql.replication.binlog.structure import concerned
from tcsql.replication.binlog.tables import Change, Expected, Misfit
from tcsql.replication.catalogue import CatalogueTable
from tcsql.replication.connection import Connection, connect
from tcsql.replication.facts import version_of
from tcsql.replication.session import Problem, SqlSession, Wait
from tcsql.replication.snapshot import SnapshotRead, read_snapshot
from tcsql.replication.source import Identity, KeysRead, RangeRead, ReadKeys, ReadRange, Rows, Step, TableChange
from tcsql.sources import FollowedTable, SourceSettings

#: Rows of events in one step; what one batch of the follower can take, which readers see at once.
MOST_EVENTS: Final = 4_000
#: So long the log may lag behind a snapshot, or the snapshot behind what was sent.
_CATCH_UP_S: Final = 30.0
_RETRY_S: Final = 0.002
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
        self._heard_s = 0.0
        self._placed_s = 0.0

    # --- connecting -------------------------------------------------------------------------------------------

    def open(self, position: bytes) -> Identity:
        """Connect both sessions and go on from a place that was given before; b"": from now on."""
        identity = self.connect()
        try:
            require_settings(self.connection)
            self._begin(place_of(position) if position else here(self.connection))
        except (SourceAway, SourceFault):
            self.close()
            raise
        return identity

    def _begin(self, place: Place) -> None:
        self._reading = connect(self.settings, base=self._base)
        self._dump = Dump(self._reading, place, self._server_id, self.settings.heartbeat_ms / 1000)
        self._parser = Parser(self._expected, place, has_checksums=self._dump.has_checksums)
        self._events.clear()
        self._gathering = Gathering()
        self._noted, self._open_keys = {}, {}
        self._dropped.clear()
        self._unsure.clear()
        self._heard_s = time.monotonic()

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

    def follow(self, tables: Sequence[str]) -> None:
        """From now on steps carry the changes of these tables, in the form in which they were looked at."""
        super().follow(tables)
        self._expected.clear()
        for name in tables:
            table = self._catalogue[name]
            self._expected[table.database, table.name] = Expected(
                table, self.readers[name].schema, self.settings.time_zone
            )
        if self._parser is not None:
            self._parser.renew()
        self._dropped.clear()

    # --- steps ------------------------------------------------------------------------------------------------

    def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        """The next step, see ``Source``. After an error the session has ended: open anew."""
        try:
            self._take_transactions(wait_s if read is None and not self._unsure else 0.0)
            is_behind = self._gathering.events >= MOST_EVENTS or self._gathering.size >= MOST_BYTES
            if is_behind or (read is None and not self._noted):
                return self._step(not is_behind)
            return self._step_at_a_snapshot(read)
        except (SourceAway, SourceFault):
            self.close()
            raise

    def _step(self, complete: bool) -> Step:
        gathering, parser = self._gathering, self._parser
        assert parser is not None
        is_whole = parser.is_between
        events = gathering.events
        if is_whole or gathering.size < MOST_BYTES:
            changes = gathering.take()
        else:
            changes = gathering.take_parts()
            self._in_parts.update(changes)
        return self._made(changes, None, events, complete=complete and is_whole)

    def _made(
        self, changes: dict[str, TableChange], read: RangeRead | KeysRead | None, events: int, *, complete: bool
    ) -> Step:
        parser = self._parser
        assert parser is not None
        unsure, self._unsure = sorted(self._unsure), set()
        now = time.monotonic()
        position = b""
        if changes or unsure or read is not None or now - self._placed_s > _PLACE_EVERY_S:
            position, self._placed_s = parser.place.encoded(), now
        kept = {name: change for name, change in changes.items() if len(change.rows) or change.gone}
        return Step(kept, read, events, b"", complete, position, 0.0, None, self._heard_s, unsure)

    def _step_at_a_snapshot(self, read: ReadRange | ReadKeys | None) -> Step:
        sight = self._begin_snapshot()
        late: dict[str, dict[PKey, None]] = {}
        self._read_up_to(sight, late)
        noted, self._noted = self._noted, {}
        texts = {name: self.readers[name].texts_of([*keys]) for name, keys in noted.items() if name in self.readers}
        found = read_snapshot(self.connection, self.readers, texts, read)
        events = self._gathering.events
        changes = self._gathering.take()
        again = self._without_late(found, noted, late)
        changes.update(again)
        complete = not self._noted
        return self._made(changes, _without(found.read, late), events + len(texts), complete=complete)

    def _without_late(
        self, found: SnapshotRead, noted: dict[str, dict[PKey, None]], late: dict[str, dict[PKey, None]]
    ) -> dict[str, TableChange]:
        """Rows that were read again; what the snapshot may not have held yet stays noted."""
        changes = {}
        for name, change in found.changes.items():
            behind = late.get(name, {})
            if behind:
                self._noted[name] = dict.fromkeys(key for key in noted[name] if key in behind)
                gone = [key for key in change.gone if key not in behind]
                changes[name] = TableChange(_kept(change.rows, behind), gone)
            else:
                changes[name] = change
        return changes

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

    def _read_up_to(self, sight: Sight, late: dict[str, dict[PKey, None]]) -> None:
        """Read the log as far as the snapshot may reach; ``late``: keys by table that it may not yet hold so."""
        parser, dump = self._parser, self._dump
        assert parser is not None
        assert dump is not None
        until = time.monotonic() + _CATCH_UP_S
        while not (parser.is_between and sight.is_reached(*parser.at, parser.mysql_gtids)):
            if not self._events:
                if time.monotonic() > until:
                    raise SourceAway("the source does not send what it shows")
                self._receive(0.05)
                continue
            for item in parser.feed(self._events.popleft()):
                self._take(item, sight, late)

    # --- the log ----------------------------------------------------------------------------------------------

    def _take_transactions(self, wait_s: float) -> None:
        """Whole transactions as they have come; waits for the first."""
        parser, gathering = self._parser, self._gathering
        assert parser is not None
        until = time.monotonic() + wait_s
        while True:
            while self._events:
                for item in parser.feed(self._events.popleft()):
                    self._take(item)
                if parser.is_between and (gathering.events >= MOST_EVENTS or self._unsure):
                    return
                if gathering.size >= MOST_BYTES:
                    return
            has_news = bool(gathering.events or self._noted or self._unsure)
            left = until - time.monotonic()
            if not self._receive(0.0 if has_news else max(0.0, left)) and (has_news or left <= 0):
                return

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

    def _change(self, change: Change, late: dict[str, dict[PKey, None]] | None) -> None:
        name = change.table[1]
        if name in self._dropped or name not in self.readers:
            return
        followed = self.settings.table(name)
        is_filtered = followed is not None and bool(followed.where.strip())
        if late is not None or is_filtered:
            self._open_keys.setdefault(name, {}).update(dict.fromkeys([*change.before, *change.rows.pkeys]))
        if not is_filtered:
            self._gathering.add(change)

    def _commit(self, end: Commit, sight: Sight | None, late: dict[str, dict[PKey, None]] | None) -> None:
        keys, self._open_keys = self._open_keys, {}
        in_parts, self._in_parts = self._in_parts, set()
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

    def _drop(self, names: Sequence[str]) -> None:
        """Pass over the rows of these tables until they are looked at."""
        self._dropped.update(names)
        self._unsure.update(names)
        for name in names:
            self._noted.pop(name, None)


def _without(read: RangeRead | KeysRead | None, late: dict[str, dict[PKey, None]]) -> RangeRead | KeysRead | None:
    """What was read, without keys whose last image came by the log."""
    behind = {} if read is None else late.get(read.table, {})
    if read is None or not behind:
        return read
    rows = _kept(read.rows, behind)
    if isinstance(read, RangeRead):
        return RangeRead(read.table, rows, read.last)
    return KeysRead(read.table, rows, [key for key in read.missing if key not in behind])


def _kept(rows: Rows, behind: dict[PKey, None]) -> Rows:
    places = [place for place, key in enumerate(rows.pkeys) if key not in behind]
    return Rows([rows.pkeys[at] for at in places], [[column[at] for at in places] for column in rows.columns])
