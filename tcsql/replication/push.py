"""The push: triggers call us, before their transaction commits, with the key of a row about to change. Blocking.

What arrives is a hint and never data: the row is read again, at once and then with growing pauses (``hints``), each
time in one consistent snapshot with all others that are due. So a rolled-back transaction leaves nothing here, a row is
always one that was committed, and whoever forges hints makes us look, no more.

    hints -> due keys -> START TRANSACTION WITH CONSISTENT SNAPSHOT; SELECT ... WHERE key IN (...); COMMIT -> a step

What this source cannot promise, and does not: that a change is heard of. A server that does not listen, a circuit that
is open, a commit 81 s behind its hint, a write that fires no trigger: none leaves a trace at the source. Hence

    token      always empty: there is nothing to acknowledge, and nothing is given again
    complete   no hint that has arrived waits for its first reading; not: nothing was committed that we do not know
    unsure     a table that is newly followed, or of which hints were dropped or lost: all its rows are to be compared
    heartbeat  the source's own clock, read with every step: it shows that the source answers, not that it calls

Cost at the source: 13 readings by key for each hint, those that are due at the same time in one statement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from tcsql.engine.values import PKey
from tcsql.errors import SourceAway, SourceFault
from tcsql.replication.catalogue import CatalogueTable
from tcsql.replication.hints import Hints
from tcsql.replication.rows import Result
from tcsql.replication.session import Problem, SqlSession, Wait
from tcsql.replication.snapshot import BEGIN, read_snapshot
from tcsql.replication.source import Identity, KeysRead, RangeRead, ReadKeys, ReadRange, Rows, Step, TableChange
from tcsql.replication.triggers import Wiring, trigger_problem, triggers_of
from tcsql.sources import FollowedTable, SourceSettings

#: Keys read in one step: as many rows as are applied here at once.
MOST_KEYS: Final = 5_000
#: Answers remembered beyond twice the keys held; above they are forgotten, and given once more.
_SPARE_ANSWERS: Final = 10_000
_GONE: Final = b""
#: Syntax, and values that are none of their type: MySQL takes some for errors that MariaDB only warns of.
_NO_VALUE: Final = frozenset([1064, 1292, 1366, 1411, 1525])
_CLOCK: Final = "SELECT UNIX_TIMESTAMP()+MICROSECOND(NOW(6))/1000000"


class PushSource(SqlSession):
    """A source in mode ``push``; see ``tcsql.replication.source.Source``. ``now``: a clock that never goes back.

    ``wait(seconds)`` has to let ``hint`` be called meanwhile, and to return when it was.
    """

    def __init__(
        self, settings: SourceSettings, base: Path | None, wait: Wait, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(settings, base, wait)
        self._wiring = Wiring(settings.outbox, push=True)
        self._hints = Hints()
        self._now = now
        #: Hints that have arrived since the last step.
        self._heard = 0
        self._unsure: set[str] = set()
        #: What was last said of a row: a digest of it, or that it is gone. Most readings bring nothing new.
        self._said: dict[tuple[str, PKey], bytes] = {}

    def open(self, position: bytes) -> Identity:
        """Connect; ``position`` is not needed, nothing is given again."""
        self._hints = Hints()
        self._said.clear()
        self._unsure.clear()
        self.readers = {}
        return self.connect()

    def problem_of(self, table: CatalogueTable, followed: FollowedTable) -> Problem | None:
        """Lost or changed triggers. Without a token nobody can send hints: the triggers are somebody's own then."""
        if not self.settings.push_token:
            return None
        expected = triggers_of(table.name, table.key_columns, self._wiring)
        text = trigger_problem(table.name, expected, table.triggers)
        return None if text is None else Problem(text, f"tcsql mysql setup {self.settings.name} --apply")

    def follow(self, tables: Sequence[str]) -> None:
        """From now on steps carry changes of these tables; what changed before, nobody has told us."""
        before = self.readers.keys()
        super().follow(tables)
        self._unsure.update(set(tables) - before)
        gone = before - set(tables)
        self._unsure -= gone
        self._hints.drop(gone)

    def hint(self, table: str, keys: Sequence[str], lost: int = 0) -> None:
        """Rows may be about to change; of tables that are not followed, and texts that are no keys: dropped.

        ``lost``: hints of whatever table that whoever calls could not deliver before.
        """
        if lost:
            self._hints.lose(self.readers, self._now())
        reader = self.readers.get(table)
        if reader is not None:
            self._heard += len(keys)
            self._hints.add(table, filter(reader.is_key, keys), self._now())

    # --- steps ------------------------------------------------------------------------------------------------

    def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        """The next step, see ``Source``. After an error the session has ended: open anew."""
        try:
            if read is None:
                self._wait_for_hints(wait_s)
            return self._read(read)
        except (SourceAway, SourceFault):
            self.close()
            raise

    def _wait_for_hints(self, wait_s: float) -> None:
        """Until a key is due, or somebody wants something else, or the time is over."""
        until = self._now() + wait_s
        while True:
            due = self._hints.next_s()
            now = self._now()
            pause_s = (until if due is None else min(due, until)) - now
            if pause_s <= 0:
                return
            heard = self._heard
            if self.wait(pause_s) and self._heard == heard:
                return

    def _read(self, read: ReadRange | ReadKeys | None) -> Step:
        taken_s = time.monotonic()
        taken = self._hints.take(self._now(), MOST_KEYS)
        noted: dict[str, list[str]] = {}
        for table, key in taken:
            noted.setdefault(table, []).append(key)
        if not noted and read is None:
            # one statement, which is a state of its own, shows that the source answers
            return self._step(_seconds(self.connection.read(_CLOCK)[0]), taken_s, {}, None, complete=True)
        clock, _ = self.connection.read(f"{_CLOCK};{BEGIN}")
        try:
            found = read_snapshot(self.connection, self.readers, noted, read)
        except SourceFault as error:
            if not noted or error.extra.get("errno") not in _NO_VALUE:
                raise
            # a key that the server itself does not take, such as the 31st of June: forged
            self.connection.read("ROLLBACK")
            self._hints.give_up(self._now())
            return self._step(_seconds(clock), taken_s, {}, None, complete=True)
        self._hints.read(self._now())
        changes = found.changes
        if read is None:
            changes = self._news(changes)
        else:
            self._said.clear()  # rows that are read beside are applied, too, and may be others than were said
        return self._step(_seconds(clock), taken_s, changes, found.read, len(taken) < MOST_KEYS)

    def _step(
        self,
        source_s: float,
        taken_s: float,
        changes: Mapping[str, TableChange],
        read: RangeRead | KeysRead | None,
        complete: bool,
    ) -> Step:
        self._unsure.update(self._hints.forgotten(self._now()))
        unsure, self._unsure = sorted(self._unsure), set()
        events, self._heard = self._heard, 0
        return Step(
            changes,
            read,
            events,
            complete=complete,
            source_s=source_s,
            heartbeat_s=source_s,
            taken_s=taken_s,
            unsure=unsure,
        )

    def _news(self, changes: Mapping[str, TableChange]) -> Mapping[str, TableChange]:
        """What was not said already. 3 us a row of eight columns, a fifth of what comparing it later would take."""
        if len(self._said) > 2 * len(self._hints) + _SPARE_ANSWERS:
            self._said.clear()
        news = {}
        for name, change in changes.items():
            rows = change.rows
            digests = [blake2b(repr(row).encode(), digest_size=16).digest() for row in zip(*rows.columns, strict=True)]
            places = [at for at, pkey in enumerate(rows.pkeys) if self._said.get((name, pkey)) != digests[at]]
            gone = [pkey for pkey in change.gone if self._said.get((name, pkey)) != _GONE]
            self._said.update(((name, rows.pkeys[at]), digests[at]) for at in places)
            self._said.update(((name, pkey), _GONE) for pkey in gone)
            if places or gone:
                columns = [[column[at] for at in places] for column in rows.columns]
                news[name] = TableChange(Rows([rows.pkeys[at] for at in places], columns), gone)
        return news


def _seconds(clock: Result) -> float:
    return float(clock.columns[0][0] or 0)
