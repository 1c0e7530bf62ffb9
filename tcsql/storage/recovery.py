"""From a data directory to a store that is ready: find or make the file, judge it, read every row.

Refuses rather than guesses: what cannot be read is StoreDamaged with the table and key, a newer format is
StoreNewer before SQLite has touched the file, and a write-ahead log that breaks off before its end is told from
one that was merely torn by a crash. Nothing is written before everything has been read.

Cost: 0.3 us a row to check the pages and 0.25 to read it, the rest is the engine's (sorting, not inserting).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Final

import apsw

from tcsql.engine.database import Database
from tcsql.errors import NoSpace, SetupError, StoreDamaged, TCSQLError
from tcsql.storage import checksums, fileformat, wal
from tcsql.storage.file import StoreFile, create
from tcsql.storage.sqlite import StoredTable, damaged, judging

Progress = Callable[[int, int], None]
_REPORT_EVERY_ROWS: Final = 20_000
_PLAIN: Final = "its pages have no checksums, as in format 1: stop the server and run `tcsql upgrade DIR` to add them"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery found, for the log and ``/status``; ``lsn``: of the last transaction in the file."""

    rows: int
    lsn: int
    clean: bool
    notes: tuple[str, ...] = ()


def program_version() -> str:
    try:
        return version("tcsql")
    except PackageNotFoundError:
        return "unknown"


def open_file(directory: Path, rows_kept: bool, log_limits: tuple[int, int], vfs: str | None) -> StoreFile:
    """The directory's file, made when there is none. The caller holds the directory's lock."""
    path = directory / fileformat.FILE_NAME
    if not path.exists():
        if wal.log_path(path).exists():
            raise damaged("the store's file is missing, but its write-ahead log is there")
        create(path, program_version(), vfs)
    file = StoreFile(path, rows_kept, log_limits, vfs)
    what = wal.damage(wal.log_path(path), file.log_frames())
    if what is not None:
        file.close()
        raise damaged(what)
    return file


def load(file: StoreFile, database: Database, progress: Progress | None) -> Recovered:
    """Restore every table of the file into an empty database.

    Raises StoreDamaged, and SetupError when rows would be forgotten because only schemas are kept.
    """
    with judging("the store cannot be read"), _collector_paused():
        require_sound(file)
        counts = {table_id: _count(file, table_id) for table_id in file.tables}
        total = sum(counts.values())
        if total and not file.rows_kept:
            raise SetupError(
                f"the store holds {total} rows on disk, which durability = memory would neither show nor keep",
                "use another data directory, or durability = always or interval",
            )
        done = 0
        for table in file.tables.values():
            rows = _Rows(file, table.id, done, total, progress)
            _restore(database, table, rows)
            if rows.read != counts[table.id]:
                raise damaged(f'table "{table.schema.name}" has {counts[table.id]} rows, {rows.read} could be read')
            done += rows.read
        if progress is not None:
            progress(done, total)
    return Recovered(done, file.state.lsn, file.state.clean, _notes(file))


def begin(file: StoreFile) -> NoSpace | None:
    """Reserve the first lsns. A full disk does not keep a store from reading: the first write tries again."""
    try:
        file.begin()
    except NoSpace as error:
        return error
    except TCSQLError as error:
        raise SetupError(error.message, error.hint) from error
    return None


def require_sound(file: StoreFile) -> None:
    """Refuse trees that do not fit together: a page that counts fewer rows than it holds would lose them unnoticed.

    Reads every page that is in use, and so finds those that do not have their checksum. Cost: 0.3 us a row.
    """
    try:
        found = file.connection.execute("PRAGMA quick_check(1)").fetchone() or ("nothing can be read",)
    except apsw.IOError as error:
        if not checksums.is_mismatch(error):
            raise
        found = (checksums.MISMATCH,)
    if found != ("ok",):
        tables = ((table.schema.name, fileformat.read_through(table.id)) for table in file.tables.values())
        names = checksums.mismatching(file.connection, tables)
        what = f"{checksums.MISMATCH} (table {', '.join(names)})" if names else found[0]
        raise damaged(f"the store's file is damaged: {what}")


def _notes(file: StoreFile) -> tuple[str, ...]:
    return _notes_of_the_end(file) + (() if file.has_checksums or not checksums.are_available() else (_PLAIN,))


def _notes_of_the_end(file: StoreFile) -> tuple[str, ...]:
    if file.state.clean or (file.wipes and not file.file_bytes()[1]):
        return ()
    if file.file_bytes()[1]:
        torn = wal.torn_frames(wal.log_path(file.path), file.log_frames())
        return (f"the crash cut a transaction short: {torn} pages of it are dropped",) if torn else ()
    return ("the last stop was not clean, but there is no write-ahead log: was it written back by another program?",)


def _count(file: StoreFile, table_id: int) -> int:
    row = file.connection.execute(fileformat.count_rows(table_id)).fetchone()
    assert row is not None  # an aggregate always gives one
    return int(row[0])


class _Rows:
    """(layout, row) of one table as they come, counted, with progress reported now and then."""

    def __init__(self, file: StoreFile, table_id: int, done: int, total: int, progress: Progress | None) -> None:
        self.read = 0
        self._cursor = file.connection.execute(fileformat.select_rows(table_id))
        self._done = done
        self._total = total
        self._progress = progress

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while rows := list(islice(self._cursor, _REPORT_EVERY_ROWS)):
            yield from rows
            self.read += len(rows)
            if self._progress is not None:
                self._progress(self._done + self.read, self._total)


def _restore(database: Database, table: StoredTable, rows: _Rows) -> None:
    try:
        database.restore(table.id, table.schema, table.auto_increment, rows)
    except StoreDamaged:
        raise
    except (TCSQLError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise damaged(f'a row of table "{table.schema.name}" cannot be read: {error!r}') from error


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Millions of new objects and no garbage: each full collection would walk all of them, for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
