"""The outbox: triggers note the keys of changed rows in a table, in the writer's transaction; we take them out.

A poll, as measured and proved to lose nothing (rows that commit late, holes, rollbacks):

    START TRANSACTION WITH CONSISTENT SNAPSHOT     the state is now
    SELECT seq, tab, op, pk FROM outbox            all that is committed, in no particular order of commits
    SELECT … FROM t WHERE pk IN (…)                their rows, as of the same state
    COMMIT
    DELETE … WHERE seq BETWEEN a AND b …           when all that is durable here: exactly the rows seen

A number is never compared with one remembered: numbers are given before commits, so a lower one may appear later. A
range is deleted only if every number in it was seen: whatever commits in a hole later stays. While nothing happens a
poll is one statement of 0.1 ms, every ``poll_ms``; after a change or a ring the pauses begin at 0.5 ms and double.

A heartbeat row of ours, written each ``heartbeat_ms`` and found like any other, shows that the whole way works. Its
number also shows whether somebody has emptied the outbox (TRUNCATE, a new table): then all tables are compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from tcsql.errors import SourceAway, SourceFault
from tcsql.literals import quote_name, quote_string
from tcsql.replication.catalogue import CatalogueTable
from tcsql.replication.rows import RawColumn, Result
from tcsql.replication.session import Problem, SqlSession, Wait, Woken
from tcsql.replication.snapshot import BEGIN, read_snapshot
from tcsql.replication.source import Identity, ReadKeys, ReadRange, Step
from tcsql.replication.triggers import Wiring, trigger_problem, triggers_of
from tcsql.sources import FollowedTable, SourceSettings

#: Notes taken in one step; above, the source is catching up.
MOST_NOTES: Final = 50_000
#: Bytes of rows of one step, by the server's estimate of a row.
MOST_BYTES: Final = 256_000_000
#: The first pause after something has happened.
_FIRST_PAUSE_S: Final = 0.0005
#: So long the lock may still be held by a session of ours that has just died.
_LOCK_WAIT_S: Final = 3
_MOST_LOCK_NAME: Final = 64
#: Statements that go out together.
_DELETES_AT_ONCE: Final = 500
_NO_TABLE: Final = 1146
#: A server with binlog_format=STATEMENT takes no READ COMMITTED.
_ROW_LOGGING_ONLY: Final = 1665
_HEARTBEAT: Final = b"H"
# no time zone has a part in this: an hour that is there twice would be ambiguous
_CLOCK: Final = "UNIX_TIMESTAMP()+MICROSECOND(NOW(6))/1000000"


class Notes(NamedTuple):
    """What a poll has found. ``keys``: by table, each once, in the order of their first note; ``beats``: our own.

    ``is_cut``: there may be more in the outbox.
    """

    seqs: list[int]
    beats: list[int]
    keys: dict[str, list[str]]
    heartbeat_s: float | None
    source_s: float
    is_cut: bool


class OutboxSource(SqlSession):
    """A source in mode ``outbox``; see ``tcsql.replication.source.Source``."""

    def __init__(self, settings: SourceSettings, base: Path | None, wait: Wait) -> None:
        super().__init__(settings, base, wait)
        self._outbox = outbox = quote_name(settings.outbox)
        self._sql_anything = f"SELECT EXISTS(SELECT 1 FROM {outbox}),{_CLOCK}"  # noqa: S608  # the name is quoted  # nosec B608
        self._sql_notes = f"SELECT seq,tab,op,pk FROM {outbox} ORDER BY seq LIMIT {MOST_NOTES}"  # noqa: S608  # the same  # nosec B608
        self._sql_beat = f"INSERT INTO {outbox} (tab,op,pk) VALUES ('','H',{_CLOCK})"  # noqa: S608  # the same  # nosec B608
        self._wiring = Wiring(settings.outbox, doorbell=bool(settings.doorbell))
        self._tokens = 0
        self._token = b""
        #: What the token stands for.
        self._given: list[int] = []
        self._heartbeat_s: float | None = None
        self._beat_at = 0.0
        #: The highest number seen.
        self._highest = 0
        self._pause_s = _FIRST_PAUSE_S
        self._locks_rows_only = True

    def open(self, position: bytes) -> Identity:
        """Connect and claim the outbox. ``position``: a number that it had given; what is to come is all in it."""
        identity = self.connect()
        self._given, self._token = [], b""
        self._heartbeat_s, self._beat_at = None, 0.0
        self._highest = int(position) if position.isdigit() else 0
        self._claim()
        self._require_outbox()
        return identity

    def _claim(self) -> None:
        lock = quote_string(lock_name(self.connection.address.database, self.settings.outbox))
        [(got,)] = self.connection.query(f"SELECT GET_LOCK({lock}, {_LOCK_WAIT_S})")
        if got == 1:
            return
        [(holder,)] = self.connection.query(f"SELECT IS_USED_LOCK({lock})")
        if holder is None:
            raise SourceAway(f"the outbox {self.settings.outbox} has just been given up by another; it is claimed anew")
        who = self.connection.query("SELECT USER, HOST FROM information_schema.PROCESSLIST WHERE ID = %s", (holder,))
        name = f" of {who[0][0]} from {who[0][1]}" if who else ""
        raise SourceFault(
            f"the outbox {self.settings.outbox} is read by another TCSQL: connection {holder}{name}",
            f"stop that one or give this one an outbox of its own; run there: SHOW PROCESSLIST, or KILL {holder}",
        )

    def _require_outbox(self) -> None:
        try:
            self._heartbeat()
        except SourceFault as error:
            if error.extra.get("errno") != _NO_TABLE:
                raise
            raise self._no_outbox() from None

    def _no_outbox(self) -> SourceFault:
        return SourceFault(
            f"there is no outbox {self.settings.outbox} in {self.connection.address.database}",
            f"tcsql mysql setup {self.settings.name} --apply",
        )

    def problem_of(self, table: CatalogueTable, followed: FollowedTable) -> Problem | None:
        expected = triggers_of(table.name, table.key_columns, self._wiring)
        text = trigger_problem(table.name, expected, table.triggers)
        return None if text is None else Problem(text, f"tcsql mysql setup {self.settings.name} --apply")

    # --- steps ------------------------------------------------------------------------------------------------

    def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        """The next step, see ``Source``. After an error the session has ended: open anew."""
        until = time.monotonic() + wait_s
        try:
            if acknowledged and acknowledged == self._token:
                self._delete(self._given)
                self._given, self._token = [], b""
            while True:
                step = self._poll(read)
                if step.events or step.read is not None or step.unsure or not step.complete:
                    self._pause_s = _FIRST_PAUSE_S
                    return step
                now = time.monotonic()
                if now >= until:
                    return step
                woken = self.wait(min(self._pause_s, until - now))
                if woken is Woken.CALLED:
                    return step
                # a ring comes before the commit it tells of
                longer_s = min(self._pause_s * 2, self.settings.poll_ms / 1000)
                self._pause_s = _FIRST_PAUSE_S if woken is Woken.RUNG else longer_s
                if woken is Woken.RUNG:  # whoever rings without end makes us look 2,000 times a second, no more
                    time.sleep(max(0.0, now + _FIRST_PAUSE_S - time.monotonic()))
        except (SourceAway, SourceFault):
            self.close()
            raise

    def _poll(self, read: ReadRange | ReadKeys | None) -> Step:
        """One look at the outbox, and what was asked for as of the same state."""
        if time.monotonic() - self._beat_at >= self.settings.heartbeat_ms / 1000:
            self._heartbeat()
        taken_s = time.monotonic()
        if read is None:
            # whether there is anything: one statement is a state of its own
            [result] = self._ask(self._sql_anything)
            if result.columns[0] == [b"0"]:
                return Step(source_s=_number(result.columns[1]), heartbeat_s=self._heartbeat_s, taken_s=taken_s)
            taken_s = time.monotonic()
        notes = self._take_notes()
        found = read_snapshot(self.connection, self.readers, notes.keys, None if notes.is_cut else read)
        unsure = set(found.foreign)
        if self._begins_anew(notes):
            unsure.update(self.readers)
        self._note_heartbeat(notes)
        if notes.seqs:
            self._tokens += 1
            self._token, self._given = b"%d" % self._tokens, notes.seqs
        return Step(
            found.changes,
            found.read,
            len(notes.seqs),
            self._token if notes.seqs else b"",
            not notes.is_cut,
            b"%d" % self._highest if notes.seqs or unsure else b"",
            notes.source_s,
            self._heartbeat_s,
            taken_s,
            sorted(unsure),
        )

    def _take_notes(self) -> Notes:
        """Begin a snapshot and read what is noted in it, no more than the rows of which fit into memory."""
        clock, _, rows = self._ask(f"SELECT {_CLOCK};{BEGIN};{self._sql_notes}")
        source_s = _number(clock.columns[0])
        notes = notes_of(rows.columns, source_s, rows.rows >= MOST_NOTES)
        size = sum(
            len(keys) * self.readers[name].row_bytes for name, keys in notes.keys.items() if name in self.readers
        )
        if size > MOST_BYTES:
            first = max(1, rows.rows * MOST_BYTES // size)
            notes = notes_of([column[:first] for column in rows.columns], source_s, first < rows.rows or notes.is_cut)
        return notes

    def _ask(self, sql: str) -> list[Result]:
        try:
            return self.connection.read(sql)
        except SourceFault as error:
            raise (self._no_outbox() if error.extra.get("errno") == _NO_TABLE else error) from None

    def _begins_anew(self, notes: Notes) -> bool:
        """Whether somebody has emptied the outbox, and notes went with it that nobody has seen; ``_highest`` moves.

        Numbers begin anew then. A heartbeat was written just now: its number is above all that were given before.
        """
        anew = bool(notes.beats) and notes.beats[-1] <= self._highest
        self._highest = max([0 if anew else self._highest, *notes.seqs[-1:], *notes.beats[-1:]])
        return anew

    # --- heartbeats -------------------------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        self._ask(self._sql_beat)
        self._beat_at = time.monotonic()

    def _note_heartbeat(self, notes: Notes) -> None:
        """Our own rows need nobody's word to be deleted."""
        if notes.beats:
            self._heartbeat_s = max(notes.heartbeat_s or 0.0, self._heartbeat_s or 0.0)
            self._delete(notes.beats)

    # --- deleting ---------------------------------------------------------------------------------------------

    def _delete(self, seqs: Sequence[int]) -> None:
        """Delete exactly these rows, which were seen; all or nothing."""
        head = f"DELETE FROM {self._outbox} WHERE seq BETWEEN"  # noqa: S608  # the name is quoted  # nosec B608
        deletes = [f"{head} {first} AND {last} ORDER BY seq LIMIT {last - first + 1}" for first, last in runs_of(seqs)]
        for at in range(0, len(deletes), _DELETES_AT_ONCE):
            self._delete_together(deletes[at : at + _DELETES_AT_ONCE])

    def _delete_together(self, deletes: Sequence[str]) -> None:
        """READ COMMITTED locks the rows and nothing between them: nobody who writes a new note waits."""
        many = len(deletes) > 1
        text = ";".join(["START TRANSACTION", *deletes, "COMMIT"]) if many else deletes[0]
        if self._locks_rows_only:
            try:
                self._ask(f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED;{text}")
            except SourceFault as error:
                if error.extra.get("errno") != _ROW_LOGGING_ONLY:
                    raise
                self._locks_rows_only = False
            else:
                return
        self._ask(f"ROLLBACK;{text}")


def notes_of(columns: Sequence[RawColumn], source_s: float, is_cut: bool) -> Notes:
    """What the rows of an outbox say; columns seq, tab, op, pk. 0.4 us a row."""
    seqs = list(map(int, columns[0]))  # type: ignore[arg-type]  # the outbox holds no NULL
    keys: dict[str, dict[str, None]] = {}
    tables = [tab.decode() for tab in columns[1]]  # type: ignore[union-attr]  # the same
    texts = [text.decode("ascii", "replace") for text in columns[3]]  # type: ignore[union-attr]  # the same
    if _HEARTBEAT not in columns[2]:
        for table, text in zip(tables, texts, strict=True):
            keys.setdefault(table, {})[text] = None
        return Notes(seqs, [], {table: list(found) for table, found in keys.items()}, None, source_s, is_cut)
    own = [op == _HEARTBEAT for op in columns[2]]
    for table, text, is_own in zip(tables, texts, own, strict=True):
        if not is_own:
            keys.setdefault(table, {})[text] = None
    beats = [seq for seq, is_own in zip(seqs, own, strict=True) if is_own]
    return Notes(
        [seq for seq, is_own in zip(seqs, own, strict=True) if not is_own],
        beats,
        {table: list(found) for table, found in keys.items()},
        max(_clock_of(text) for text, is_own in zip(texts, own, strict=True) if is_own),
        source_s,
        is_cut,
    )


def runs_of(seqs: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of each stretch of numbers without a hole; the numbers ascend.

    >>> list(runs_of([1, 2, 3, 7, 9, 10]))
    [(1, 3), (7, 7), (9, 10)]
    """
    first = last = None
    for seq in seqs:
        if last is not None and seq == last + 1:
            last = seq
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = seq
    if first is not None and last is not None:
        yield first, last


def lock_name(database: str, outbox: str) -> str:
    """The named lock that one reader of an outbox holds; servers take 64 characters.

    >>> lock_name("shop", "tcsql_outbox")
    'tcsql:shop.tcsql_outbox'
    """
    name = f"tcsql:{database}.{outbox}"
    return name if len(name) <= _MOST_LOCK_NAME else f"tcsql:{sha256(name.encode()).hexdigest()[:40]}"


def _clock_of(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # a row that somebody made by hand
        return 0.0


def _number(column: RawColumn) -> float:
    return float(column[0] or 0)
