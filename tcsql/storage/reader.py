"""Reading the durable state beside the writer: the change log and online backups, by read-only connections."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from tcsql.errors import NoSpace, SetupError
from tcsql.storage import changelog, checksums
from tcsql.storage.changelog import LoggedChange
from tcsql.storage.file import sync_directory
from tcsql.storage.lock import NO_SPACE
from tcsql.storage.sqlite import connect, connect_reader, damaged, reading, write_error

#: Pages copied before other threads get a turn.
_STEP_PAGES: Final = 1_000


class ChangeReader:
    """The change log of an open store. Its connection is opened when it is first needed."""

    def __init__(self, path: Path, vfs: str | None) -> None:
        self._path = path
        self._vfs = vfs
        self._connection: apsw.Connection | None = None

    def since(self, lsn: int, up_to: int) -> Iterator[LoggedChange]:
        """Changes with lsn < theirs <= up_to, in order. Holds a snapshot of the file until exhausted or closed."""
        with reading("the change log cannot be read"):
            if self._connection is None:
                self._connection = connect_reader(self._path, self._vfs)
            query = "SELECT CAST(payload AS BLOB) FROM changes WHERE lsn > ? ORDER BY lsn"
            cursor = self._connection.execute(query, (lsn,))
            try:
                for (payload,) in cursor:
                    try:
                        changes = list(changelog.decode(payload))
                    except ValueError as error:
                        raise damaged(f"a change record cannot be read: {error}") from error
                    yield from (change for change in changes if lsn < change.lsn <= up_to)
            finally:
                cursor.close(True)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close(True)


def back_up(source: Path, target: Path, vfs: str | None = None, *, rewritten: bool = False) -> None:
    """Copy the durable state into a new file, complete or not at all, while the store goes on.

    The copy is one file without a log and has an id of its own, because its future differs from the original's.
    ``rewritten``: its pages hold nothing of rows that are gone, for 1 s more per 100 MB.
    Raises SetupError: the target exists or cannot be written; NoSpace. Cost: one read of the file; the writer waits for
    nothing, but its log cannot be reused before the copy is done.
    """
    if target.exists():
        raise SetupError(f"{target} exists already", "name a file that does not exist; nothing is overwritten")
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        new.touch(mode=0o600, exist_ok=False)
        with reading("the backup cannot be made"):
            _copy(source, new, vfs, rewritten)
        os.link(new, target)  # unlike a rename it refuses to replace a file
        sync_directory(target.parent)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise _no_space() from error
        raise SetupError(f"{target} cannot be written: {error.strerror}", "name another file") from error
    finally:
        new.unlink(missing_ok=True)


def _copy(source: Path, new: Path, vfs: str | None, rewritten: bool) -> None:
    reader = connect_reader(source, vfs)
    writer = connect(new, apsw.SQLITE_OPEN_READWRITE)
    try:
        # One snapshot for the whole copy: without it every commit of the writer would start the copy anew.
        reader.execute("BEGIN")
        reader.execute("SELECT lsn FROM state").fetchall()
        checksums.prepare_copy(reader, writer)
        with writer.backup("main", reader, "main") as copy:
            while not copy.done:
                copy.step(_STEP_PAGES)
        writer.pragma("journal_mode", "DELETE")
        writer.pragma("synchronous", "FULL")
        with writer:
            writer.execute("UPDATE meta SET value=? WHERE key='id'", (secrets.token_hex(16),))
            writer.execute("UPDATE state SET clean=1")
        if rewritten:
            writer.pragma("temp_store", "FILE")
            writer.execute("VACUUM")
    except (apsw.FullError, apsw.IOError) as error:
        if isinstance(write_error(error, writer.system_errno), NoSpace):
            raise _no_space() from error
        raise
    finally:
        writer.close()
        reader.close()


def _no_space() -> NoSpace:
    return NoSpace(
        "no space left for a backup", "make room for one more copy of the store; nothing of it was left behind"
    )
