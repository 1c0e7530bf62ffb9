"""Connections to the store's SQLite file: opening, what they read, and what SQLite's errors mean.

apsw brings its own SQLite (3.54) and is imported by the modules of this package only. One connection writes and
checkpoints; all others are read-only. SQLite's errors become ours in ``reading`` and ``write_error``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
import orjson

from tcsql.engine.schema import TableSchema
from tcsql.engine.values import PKey
from tcsql.errors import NoMemory, NoSpace, Overloaded, ReadOnly, SetupError, StoreDamaged, StoreNewer, TCSQLError
from tcsql.storage import checksums, fileformat
from tcsql.storage.lock import NO_SPACE

#: Statements kept prepared by a connection: two kinds of nine sizes, for a dozen tables.
_STATEMENTS: Final = 256
#: How long another program may hold a lock on the file before a write gives up.
BUSY_MS: Final = 5_000

_RESTORE: Final = (
    "`tcsql check DIR` tells the details; restore a backup into an empty directory; "
    "tables that follow MySQL are copied anew into one"
)

Key = int | str
logger = logging.getLogger("tcsql.storage")


@dataclass(frozen=True, slots=True)
class State:
    """The row of ``state``: the last lsn written, the highest reserved, where the change log begins."""

    lsn: int
    ceiling: int
    log_floor: int
    clean: bool


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table as the file has it; ``integer_key``: rows are keyed by SQLite's rowid, ``plain_key``: as they are."""

    id: int
    schema: TableSchema
    auto_increment: int
    integer_key: bool
    plain_key: bool

    @classmethod
    def of(cls, table_id: int, schema: TableSchema, auto_increment: int) -> StoredTable:
        integer = fileformat.has_integer_key(schema)
        return cls(table_id, schema, auto_increment, integer, integer and schema.pkey_columns[0].type.high < 1 << 63)

    def keys(self, pkeys: Iterable[PKey]) -> Iterator[Key]:
        """Primary keys as the file has them."""
        if not self.integer_key:
            return map(self.schema.pkey_text, pkeys)
        if self.plain_key:
            return iter(pkeys)  # type: ignore[arg-type]  # integer_key: every PKey is an int
        return map(fileformat.wrapped, pkeys)  # type: ignore[arg-type]  # integer_key: as above


def connect(path: Path, flags: int, vfs: str | None = None) -> apsw.Connection:
    checksums.are_available()
    connection = apsw.Connection(str(path), flags=flags, vfs=vfs, statementcachesize=_STATEMENTS)
    connection.set_busy_timeout(BUSY_MS)
    return connection


def connect_reader(path: Path, vfs: str | None = None, immutable: bool = False) -> apsw.Connection:
    """A connection that cannot write. ``immutable``: nobody else has the file open, leave no files beside it."""
    if not immutable:
        return connect(path, apsw.SQLITE_OPEN_READONLY, vfs)
    checksums.are_available()
    uri = f"{path.absolute().as_uri()}?immutable=1"
    return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, vfs=vfs)


def empty_log(connection: apsw.Connection) -> None:
    """Write the write-ahead log back and leave none of it; when somebody reads (a backup) nothing, and nobody waits."""
    connection.set_busy_timeout(0)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        return
    finally:
        connection.set_busy_timeout(BUSY_MS)


def rewrite(connection: apsw.Connection) -> None:
    """Write the whole file anew: a page that was split or merged may hold copies of rows that are gone.

    What cannot be done (no space for a second copy) is left: nothing is lost by it. 1 s per 100 MB.
    """
    connection.pragma("temp_store", "FILE")  # beside the rows in memory there may be no room for them once more
    try:
        connection.execute("VACUUM")
    except apsw.Error as error:
        logger.warning("the store's file was not rewritten at the end, remains of deleted rows may stay: %s", error)


# --- errors -------------------------------------------------------------------------------------------------


def damaged(what: str) -> StoreDamaged:
    return StoreDamaged(what, _RESTORE)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Around everything that reads a store while it opens: SQLite's errors become StoreDamaged or SetupError."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.FormatError) as error:
        raise damaged(f"{what}: {error}") from error
    except (apsw.CantOpenError, apsw.PermissionsError, apsw.ReadOnlyError, apsw.AuthError) as error:
        raise SetupError(f"{what}: {error}", "check the rights on the data directory and its files") from error
    except apsw.BusyError as error:
        raise SetupError(f"{what}: another program holds the store's file", "end it and start again") from error
    except (apsw.FullError, apsw.IOError) as error:
        if checksums.is_mismatch(error):
            raise damaged(f"{what}: {checksums.MISMATCH}") from error
        # the second: of the memory that SQLite shares between connections, a file of 32 KiB
        if isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
            raise SetupError(f"{what}: no space left", "make room on the data directory's disk") from error
        raise SetupError(f"{what}: {error}", "look at the disk and the system's log") from error


@contextmanager
def judging(what: str) -> Iterator[None]:
    """As ``reading``, where values of a file are taken for what they must be: a flipped bit makes anything of them."""
    try:
        with reading(what):
            yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, apsw.Error) as error:
        raise damaged(f"{what}: {error!r}") from error


def write_error(error: apsw.Error, system_errno: int) -> TCSQLError:
    """Why a transaction failed, by who must act. A failed sync is never "no space": what it lost is unknown."""
    if checksums.is_mismatch(error):
        why = f"the store's file is damaged: {checksums.MISMATCH}; the store is read-only"
        return ReadOnly(why, "memory is whole: dump it now (`tcsql dump`), and load that into an empty directory")
    if isinstance(error, apsw.IOError):
        code = getattr(error, "extendedresult", 0) or 0
        syncing = code in (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC)
        full = system_errno in NO_SPACE and not syncing
    else:
        full = isinstance(error, apsw.FullError)
    if full:
        return NoSpace("no space left for the store", "make room on its disk; writing resumes by itself")
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return Overloaded("another program holds the store's file", "the same request succeeds when it has ended")
    if isinstance(error, apsw.NoMemError):
        return NoMemory("no memory left to write with")
    if isinstance(error, (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError)):
        why = "this user may not write the store's file, the store is read-only"
        return ReadOnly(why, "check the rights on the data directory and its files, then restart")
    why = f"the store's file cannot be written ({type(error).__name__}), the store is read-only"
    return ReadOnly(why, "look at the disk, then restart")


# --- what a file holds --------------------------------------------------------------------------------------


def require_known_format(header: bytes) -> None:
    """Judge the first 100 bytes of a file before SQLite touches it; raises StoreDamaged, StoreNewer."""
    if len(header) < 100 or header[:16] != b"SQLite format 3\0":
        raise damaged("the store's file is not a SQLite file")
    _require(int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big"))


def require_known_version(connection: apsw.Connection) -> None:
    """The same by SQLite: the newest header may still be in the log."""
    _require(int(connection.pragma("application_id")), int(connection.pragma("user_version")))


def _require(application_id: int, version: int) -> None:
    if application_id != fileformat.APPLICATION_ID:
        raise damaged("the store's file is a SQLite file, but not one of TCSQL")
    if version > fileformat.FORMAT_VERSION:
        raise StoreNewer(
            f"the store has format {version}, this program knows {fileformat.FORMAT_VERSION} and older ones",
            "use the TCSQL that wrote it, or a newer one; nothing was changed",
        )
    if version < 1:
        raise damaged(f"the store has the format number {version}, which never existed")


def read_meta(connection: apsw.Connection) -> dict[str, str]:
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    if not meta.get("id"):
        raise damaged("the store has no id")
    return meta


def read_state(connection: apsw.Connection) -> State:
    row = connection.execute("SELECT lsn, ceiling, log_floor, clean FROM state").fetchone()
    if row is None or not all(isinstance(value, int) for value in row) or row[0] > row[1]:
        raise damaged("the store's state is missing or makes no sense")
    return State(row[0], row[1], row[2], bool(row[3]))


def read_tables(connection: apsw.Connection) -> dict[int, StoredTable]:
    """All tables by id; raises StoreDamaged when a schema cannot be read or a table of rows is missing."""
    query = "SELECT id, name, schema, counters.next FROM tables LEFT JOIN counters ON table_id = id ORDER BY id"
    existing = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    tables = {}
    for table_id, name, text, stored in connection.execute(query):
        try:
            schema = TableSchema.from_json(orjson.loads(text))
            counter = schema.auto_increment if stored is None else int(stored)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(f'the schema of table "{name}" cannot be read: {error!r}') from error
        if schema.name != name:
            raise damaged(f'table "{name}" has a schema that is called "{schema.name}"')
        if fileformat.rows_table(table_id) not in existing:
            raise damaged(f'the rows of table "{name}" are missing')
        tables[table_id] = StoredTable.of(table_id, schema, counter)
    return tables


def read_positions(connection: apsw.Connection) -> dict[str, bytes]:
    return dict(connection.execute("SELECT source, position FROM positions"))
