"""The store's file while it is open: the one writing connection, its transactions, its checkpoints, its end.

Invariants. A transaction writes the rows of whole batches, the positions of their followers, their change
records and the last lsn: all of it or nothing. A transaction that failed leaves no trace: not in the file, not
in the log, not in ``state`` and ``tables``. Checkpoints happen only when asked for, after the writers have
been answered.

Cost: about 12 us a random row (its 4 KiB page goes to the log), 1 us a row in bulk, one sync a transaction.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from tcsql.errors import OutcomeUnknown
from tcsql.storage import checksums, fileformat, wal
from tcsql.storage.changelog import LogBounds, Record
from tcsql.storage.retention import MARKS, WIPE_S, Ages, Keeping
from tcsql.storage.sqlite import (
    State,
    connect,
    empty_log,
    judging,
    read_meta,
    read_positions,
    read_state,
    read_tables,
    reading,
    require_known_format,
    require_known_version,
    rewrite,
    write_error,
)
from tcsql.storage.transaction import Entry, Transaction

#: Frames in the log at which it is written back: 4 MB of pages, for which a write waits about 10 ms.
CHECKPOINT_FRAMES: Final = 1_000
_PRAGMAS: Final[dict[str, str | int]] = {
    "synchronous": "FULL",
    "wal_autocheckpoint": 0,
    # A log that a long backup made long is cut back to this.
    "journal_size_limit": 64 << 20,
    # KiB. With SQLite's 2 MB random text keys load at 110,000 rows/s, with 16 MB at 160,000, with 64 MB no faster.
    "cache_size": -16 * 1024,
    "cell_size_check": "ON",
    "trusted_schema": "OFF",
    # Where the views of ``fileformat.create_group`` are.
    "temp_store": "MEMORY",
}


def create(path: Path, version: str, vfs: str | None = None) -> None:
    """Make an empty store's file, complete or not at all: built beside its place, synced, and renamed."""
    new = path.with_name(path.name + ".new")
    with reading("the store cannot be created"):
        for leftover in (new, wal.log_path(new), new.with_name(new.name + "-shm")):
            leftover.unlink(missing_ok=True)
        new.touch(mode=0o600)  # log and shared memory get the same, in a directory that others may enter too
        connection = connect(new, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, vfs)
        format_version = fileformat.PLAIN_VERSION
        try:
            if checksums.are_available():
                format_version = fileformat.FORMAT_VERSION
                connection.reserve_bytes(reserve=checksums.RESERVED_BYTES)
            connection.pragma("page_size", fileformat.PAGE_BYTES)
            connection.pragma("synchronous", "FULL")
            connection.pragma("journal_mode", "WAL")
            with connection:
                connection.pragma("application_id", fileformat.APPLICATION_ID)
                connection.pragma("user_version", format_version)
                for statement in fileformat.SCHEMA:
                    connection.execute(statement)
                connection.execute("INSERT INTO state VALUES (1, 0, 0, 0, 1)")
                meta = {"id": secrets.token_hex(16), "created_with": version}
                connection.executemany("INSERT INTO meta VALUES (?,?)", meta.items())
            # Closing would do the same, but says nothing when it fails.
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            connection.close()
    os.replace(new, path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StoreFile:
    """The open file. One thread at a time may call it, whichever that is."""

    def __init__(self, path: Path, rows_kept: bool, log_limits: tuple[int, int], vfs: str | None = None) -> None:
        """Open an existing file and read what it is; nothing is written yet.

        ``rows_kept`` False: only schemas are written. ``log_limits``: changes and bytes the change log may hold.
        Raises StoreDamaged, StoreNewer, SetupError.
        """
        self.path = path
        self.rows_kept = rows_kept
        self.vfs = vfs
        self._checkpoint_at = CHECKPOINT_FRAMES
        #: An upper bound of the pages in the log; infinite until it was counted.
        self._most_frames = math.inf
        self._has_begun = False
        self.keeping = Keeping()
        self._ages: Ages | None = None
        self._wiped_s = -math.inf
        #: Tables with a temporary view that takes a whole transaction.
        self._groups: set[int] = set()
        with reading("the store cannot be opened"):
            with path.open("rb") as file:
                header = file.read(100)
            require_known_format(header)
            checksums.require_available(header)
            self.has_checksums = checksums.stand_in(header)
            self.connection = connect(path, apsw.SQLITE_OPEN_READWRITE, vfs)
            try:
                # Until recovery is through, closing must leave every byte as it is.
                self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                with judging("the store cannot be opened"):
                    require_known_version(self.connection)
                    self._read(log_limits)
            except BaseException:
                self.connection.close()
                raise

    def _read(self, log_limits: tuple[int, int]) -> None:
        for name, value in _PRAGMAS.items():
            self.connection.pragma(name, value)
        self.id = read_meta(self.connection)["id"]
        self.state = read_state(self.connection)
        self.tables = read_tables(self.connection)
        self.positions = read_positions(self.connection)
        records = self.connection.execute("SELECT lsn, ops, octet_length(payload) FROM changes ORDER BY lsn")
        self._log = LogBounds(*log_limits, map(Record._make, records))

    def keep(self, keeping: Keeping) -> None:
        """What is kept for how long; before the first transaction. Raises StoreDamaged, SetupError."""
        self.keeping = keeping
        with reading("the store cannot be opened"):
            self.connection.pragma("secure_delete", "ON" if keeping.secure_delete else "OFF")
            if keeping.change_log_s and self._logs:
                stored = read_meta(self.connection).get(MARKS)
                self._ages = Ages(keeping.change_log_s, stored, self.state.lsn, keeping.clock())

    @property
    def wipes(self) -> bool:
        """Whether the write-ahead log is emptied now and then: after a crash there may be none."""
        return self.keeping.secure_delete

    # --- transactions ---------------------------------------------------------------------------------------

    def write(self, group: Sequence[Entry]) -> None:
        """Write all batches of a group in one transaction and sync it; an empty group renews the reserve of lsns.

        Raises NoSpace, ReadOnly, Overloaded or NoMemory: nothing is written, and nothing comes back after a
        crash; OutcomeUnknown when even that could not be made sure.
        """
        if not self._has_begun:
            self.begin()
        transaction = Transaction(self.connection, self.rows_kept, dict(self.tables))
        last, ceiling = (group[-1].lsn if group else self.state.lsn), self.state.ceiling
        if not group or last + fileformat.LSN_RESERVE // 2 > ceiling:
            ceiling += fileformat.LSN_RESERVE
        gathered = transaction.gather(group)
        payload = b"\n".join(transaction.log_lines)
        if gathered == len(group) and self._write_at_once(transaction, payload, last, ceiling):
            return
        with self._atomic():
            for entry in group[gathered:]:
                transaction.add(entry)
            transaction.flush()
            record, cut = self._write_record(transaction, last)
            state = State(last, ceiling, self._floor(last, ceiling, cut), clean=False)
            self._write_state(state)
        self._written(transaction, state, record, cut)
        self._most_frames = math.inf
        if gathered < len(group):
            self._forget_groups()

    def _write_at_once(self, transaction: Transaction, payload: bytes, last: int, ceiling: int) -> bool:
        """The usual group, rows of one table, in one statement that is a transaction by itself; False: not so usual."""
        record = Record(last, transaction.log_ops, len(payload)) if self._logs else None
        if (record is not None and self._log.cut_for(record) is not None) or self.connection.in_transaction:
            return False
        upserts = transaction.upserts()
        if upserts is None:
            return False
        state = State(last, ceiling, self._floor(last, ceiling, None), clean=False)
        logged = None if record is None else (record.changes, payload)
        statement, values = upserts.insert(last, ceiling, state.log_floor, logged)
        with self._or_roll_back():
            if upserts.table_id not in self._groups:
                for create in fileformat.create_group(upserts.table_id):
                    self.connection.execute(create)
                self._groups.add(upserts.table_id)
            self.connection.execute(statement, values)
        self._written(transaction, state, record, None)
        self._most_frames += _most_pages(len(upserts.rows), len(payload))
        return True

    def _written(self, transaction: Transaction, state: State, record: Record | None, cut: int | None) -> None:
        """A transaction is in the file."""
        self.state, self.tables = state, transaction.tables
        self.positions.update(transaction.positions)
        if record is not None:
            self._log.added(record, cut)

    def _forget_groups(self) -> None:
        """After a change of schemas: the views of tables that are no more are of no more use."""
        for table_id in self._groups - self.tables.keys():
            self.connection.execute(fileformat.drop_group(table_id))
            self._groups.discard(table_id)

    def begin(self) -> None:
        """The first transaction after recovery: reserves lsns behind all that were ever given out.

        After an unclean stop the next lsn lies behind the old reserve. Empties the change log if it is off.
        Raises as ``write`` does.
        """
        start = self.state.lsn if self.state.clean else self.state.ceiling
        ceiling = start + fileformat.LSN_RESERVE
        with self._atomic():
            if not self._logs:
                self.connection.execute("DELETE FROM changes")
            state = State(start, ceiling, self._floor(start, ceiling, None), clean=False)
            self._write_state(state)
        self.state = state
        self._has_begun = True

    @property
    def reserved_lsn(self) -> int:
        """The highest lsn that may be given out: a crash cannot make it be given out again."""
        return self.state.ceiling if self._has_begun else self.state.lsn

    @property
    def _logs(self) -> bool:
        return self.rows_kept and self._log.is_on

    def _floor(self, last: int, ceiling: int, cut: int | None) -> int:
        """Up to which lsn changes may be missing from the log; of rows in memory only, none is ever logged."""
        if not self._logs:
            return last if self.rows_kept else ceiling
        return self.state.log_floor if cut is None else cut

    def _write_record(self, transaction: Transaction, last: int) -> tuple[Record | None, int | None]:
        """Log a transaction's changes; gives the record and the lsn up to which older ones were cut."""
        if not self._logs or not transaction.log_lines:
            return None, None
        payload = b"\n".join(transaction.log_lines)
        record = Record(last, transaction.log_ops, len(payload))
        cut = self._log.cut_for(record)
        if cut is not None:
            self.connection.execute("DELETE FROM changes WHERE lsn <= ?", (cut,))
        self.connection.execute("INSERT INTO changes VALUES (?,?,CAST(? AS TEXT))", (last, record.changes, payload))
        return record, cut

    def _write_state(self, state: State) -> None:
        values = (state.lsn, state.ceiling, state.log_floor, int(state.clean))
        self.connection.execute("UPDATE state SET lsn=?, ceiling=?, log_floor=?, clean=?", values)

    @contextmanager
    def _atomic(self) -> Iterator[None]:
        with self._or_roll_back():
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            self.connection.execute("COMMIT")

    @contextmanager
    def _or_roll_back(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            # The system's error number is that of the last call: read it before the next one.
            refusal = write_error(error, self.connection.system_errno)
            self._roll_back()
            raise refusal from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        """Undo the open transaction, in the log too.

        When only the sync failed, the transaction stands in the log with its commit mark, and recovery after a
        crash would bring it back although it was refused.
        """
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            frames, _ = self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
            wal.cut(wal.log_path(self.path), max(frames, 0), fileformat.PAGE_BYTES)
        except (apsw.Error, OSError) as error:
            hint = "look at the disk, then restart: what the store holds then is the truth"
            raise OutcomeUnknown("a failed write could not be undone on disk", hint) from error

    # --- the log and the end --------------------------------------------------------------------------------

    def log_frames(self) -> int:
        """Pages in the write-ahead log since it was last written back."""
        return max(self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0], 0)

    def checkpoint(self) -> None:
        """Write the log back into the file when it is long enough; raises as ``write`` does, nothing is lost.

        How long it can be at most is known without asking SQLite, which would need the interpreter's lock again.
        After a failure the log grows by the same length again before the next attempt.
        """
        if self._most_frames < self._checkpoint_at:
            return
        try:
            frames = self._most_frames = self.log_frames()
            if frames >= self._checkpoint_at:
                self._checkpoint_at = frames + CHECKPOINT_FRAMES
                self.connection.wal_checkpoint()
                self._checkpoint_at = CHECKPOINT_FRAMES
                self._most_frames = 0
        except apsw.Error as error:
            raise write_error(error, self.connection.system_errno) from error

    def tidy(self) -> None:
        """Forget what is too old, and leave nothing of what is gone; once a second. Raises as ``write`` does."""
        if self._ages is not None and self._has_begun:
            cut = self._ages.look(self.state.lsn, self.keeping.clock())
            if cut is not None or self._ages.is_news:
                self._forget(self._ages, cut)
        now_s = time.monotonic()
        if self.wipes and now_s - self._wiped_s >= WIPE_S:
            self._wiped_s = now_s
            if _size(wal.log_path(self.path)):
                self._or_refuse(empty_log)

    def _forget(self, ages: Ages, cut: int | None) -> None:
        floor = self.state.log_floor if cut is None else max(cut, self.state.log_floor)
        state = State(self.state.lsn, self.state.ceiling, floor, clean=False)
        with self._atomic():
            self.connection.execute("DELETE FROM changes WHERE lsn <= ?", (floor,))
            self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (MARKS, ages.stored()))
            self._write_state(state)
        ages.is_news = False
        self.state = state
        self._log.cut(floor)
        self._most_frames = math.inf

    def file_bytes(self) -> tuple[int, int]:
        """Bytes of the file and of its log."""
        return self.path.stat().st_size, _size(wal.log_path(self.path))

    def finish(self, last_lsn: int) -> None:
        """Mark the stop as clean, write the log back, and close: one file is left. Raises as ``write`` does."""
        try:
            floor = self.state.log_floor if self._logs else last_lsn
            with self._atomic():
                self._write_state(State(last_lsn, self.state.ceiling, floor, clean=True))
            if self.wipes and self._has_begun:
                rewrite(self.connection)
            self._or_refuse(lambda connection: connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE))
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        finally:
            self.close()

    def _or_refuse(self, work: Callable[[apsw.Connection], object]) -> None:
        try:
            work(self.connection)
        except apsw.Error as error:
            raise write_error(error, self.connection.system_errno) from error

    def close(self) -> None:
        """Close and leave file and log as they are, as after a crash."""
        self.connection.close()


def _most_pages(rows: int, row_bytes: int) -> int:
    """Pages that writing rows can touch: of each its leaf and what a split adds, and pages for what is long.

    ``row_bytes``: of all of them, before and after; the change record holds them once more.
    """
    return 16 + 4 * rows + row_bytes // (fileformat.PAGE_BYTES // 4)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
