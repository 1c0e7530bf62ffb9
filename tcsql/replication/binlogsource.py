"""The binary log: row events of whole transactions, in the order of their commits; nothing is made at the source.

    a step without a read    transactions as they have come, up to MOST_EVENTS rows, merged by key
    a step with a read       between transactions a snapshot begins; the log is read as far as it can reach; then the
                             stretch is read in it, without the keys that the log named and it may not hold

Two sessions: one receives the log (``binlog.receiving``), one asks by SQL, as the other sources do. What a step brings
is not given again within a session; after a break the log goes on from the place that the follower has stored.

Tables with a row filter, which only the server can judge, are read again: the log gives keys, a snapshot the rows.

A table that is altered is unsure until it was looked at: values cannot land in another column.

Cost: decoding 4 us a row, a transaction 70 us; a step with a read about 1 ms more. Memory: ``gather.MOST_BYTES``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tcsql.errors import SourceAway, SourceFault
from tcsql.replication.binlog.dump import Dump
from tcsql.replication.binlog.late import change_without, read_without
from tcsql.replication.binlog.needs import hears_cascades
from tcsql.replication.binlog.place import Place, place_of
from tcsql.replication.binlog.proof import Proof
from tcsql.replication.binlog.receiving import CATCH_UP_S, Late, Receiving
from tcsql.replication.binlog.settings import require_settings, server_id_of
from tcsql.replication.binlog.sight import Sight, begin_snapshot, here, reach, require_known, turns_of
from tcsql.replication.binlog.tables import Expected
from tcsql.replication.catalogue import CatalogueTable
from tcsql.replication.connection import connect
from tcsql.replication.facts import version_of
from tcsql.replication.session import Problem, SqlSession, Wait
from tcsql.replication.snapshot import read_snapshot
from tcsql.replication.source import Identity, KeysRead, RangeRead, ReadKeys, ReadRange, Step, TableChange, TableState
from tcsql.sources import FollowedTable, SourceSettings

_RETRY_S: Final = 0.002
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
        #: What is followed, by database and name; the log's parser looks at it, changed in place.
        self._expected: dict[tuple[str, str], Expected] = {}
        self._receiving: Receiving | None = None
        #: How far the server was at the newest look.
        self._looked: Sight | None = None
        self._placed_s = 0.0
        self._proof = Proof(settings.heartbeat_ms / 1000)

    # --- connecting -------------------------------------------------------------------------------------------

    def open(self, position: bytes) -> Identity:
        """Connect both sessions and go on from a place that was given before; b"": from now on."""
        identity = self.connect()
        try:
            turns = turns_of(self.connection)
            require_settings(self.connection)
            place = place_of(position) if position else here(self.connection)
            if position:
                require_known(self.connection, place)
            self._begin(place, turns)
        except (SourceAway, SourceFault):
            self.close()
            raise
        return identity

    def _begin(self, place: Place, turns: str) -> None:
        if self.connection.flavour == "mysql" and not place.gtids:
            place = Place()  # nothing was committed there before: by names, as a server checks them
        heartbeat_s = self.settings.heartbeat_ms / 1000
        connection = connect(self.settings, base=self._base)
        try:
            database = self.connection.address.database
            wanted = [(database, table.name) for table in self.settings.tables]
            dump = Dump(connection, place, self._server_id, heartbeat_s)
            self._receiving = Receiving(dump, place, self._expected, wanted)
        except (SourceAway, SourceFault):
            connection.close()
            raise
        self._placed_s = 0.0
        self._proof = Proof(heartbeat_s, turns)

    @property
    def _log(self) -> Receiving:
        if self._receiving is None:
            raise SourceAway(f"source {self.settings.name} is not connected")
        return self._receiving

    def close(self) -> None:
        """End both sessions."""
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            receiving.close()
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
        filtered = {}
        for name in tables:
            table = self._catalogue[name]
            self._expected[table.database, table.name] = Expected(
                table, self.readers[name].schema, self.settings.time_zone
            )
            followed = self.settings.table(name)
            filtered[name] = followed is not None and bool(followed.where.strip())
        self._log.follow(before, filtered, self._looked)

    # --- steps ------------------------------------------------------------------------------------------------

    def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        """The next step, see ``Source``. After an error the session has ended: open anew."""
        log = self._log
        try:
            log.take_transactions(wait_s if read is None and not log.has_news_of_the_schema else 0.0)
            log.see_the_look()
            self._proof.look(self.connection, log.parser, log.moved_s)
            if log.is_full:
                return self._step_at_a_snapshot(None, one_state=False) if log.noted else self._step(complete=False)
            if read is None and not log.noted:
                return self._step(complete=not log.in_parts)
            if log.noted and time.monotonic() - self._placed_s > _OVERDUE_S:
                return self._step_at_a_snapshot(None, one_state=False)
            return self._step_at_a_snapshot(read)
        except (SourceAway, SourceFault):
            self.close()
            raise

    def _step(self, *, complete: bool) -> Step:
        log = self._log
        events = log.gathering.events
        if log.parser.is_between or not log.is_heavy:
            changes = log.gathering.take()
        else:
            changes = log.gathering.take_parts()
            log.in_parts.update(changes)
        return self._made(changes, None, events, complete=complete)

    def _made(
        self, changes: dict[str, TableChange], read: RangeRead | KeysRead | None, events: int, *, complete: bool
    ) -> Step:
        log = self._log
        is_look_due, unsure = log.is_look_due, log.tell_unsure()
        now = time.monotonic()
        position = b""
        is_due = changes or unsure or is_look_due or read is not None or now - self._placed_s > _PLACE_EVERY_S
        if is_due and not log.noted:  # what is noted would be lost with this session
            position, self._placed_s = log.parser.place.encoded(), now
        kept = {name: change for name, change in changes.items() if len(change.rows) or change.gone}
        return Step(kept, read, events, b"", complete, position, 0.0, None, self._proof.proved_s, unsure, is_look_due)

    def _step_at_a_snapshot(self, read: ReadRange | ReadKeys | None, *, one_state: bool = True) -> Step:
        """``one_state``: the log is read as far as the snapshot is, so that all tables are at the same."""
        log = self._log
        if not log.take_the_rest():
            return self._step(complete=False)
        late = Late(self._begin_snapshot(log), {})
        if one_state and not log.read_up_to(late):  # too much has come meanwhile: ask again
            self.connection.query("ROLLBACK")
            return self._step_at_a_snapshot(None, one_state=False) if log.noted else self._step(complete=False)
        noted, log.noted = log.noted, {}
        texts = {name: self.readers[name].texts_of([*keys]) for name, keys in noted.items() if name in self.readers}
        found = read_snapshot(self.connection, self.readers, texts, read)
        events = log.gathering.events + sum(map(len, texts.values()))
        changes = log.gathering.take()
        for name, change in found.changes.items():
            behind = late.keys.get(name, {})
            changes[name] = change_without(change, behind)
            if behind:  # the snapshot may not have held them so
                log.noted[name] = dict.fromkeys(key for key in noted[name] if key in behind)
        complete = one_state and not log.noted and not log.in_parts
        return self._made(changes, read_without(found.read, late.keys), events, complete=complete)

    def _begin_snapshot(self, log: Receiving) -> Sight:
        """A snapshot that holds at least all that was read of the log: what is sent may not be visible yet."""
        until = time.monotonic() + CATCH_UP_S
        while True:
            sight = begin_snapshot(self.connection)
            if sight.covers(log.parser.place):
                return sight
            self.connection.query("ROLLBACK")
            self._proof.require_no_turn(self.connection)
            if time.monotonic() > until:
                raise SourceAway("the source does not show what it has written into its log")
            time.sleep(_RETRY_S)
