"""Bring a stopped store to the format of this program: its pages get checksums.

The format number is written first: from then on no older program opens the file, whatever happens next. The pages are
written anew in one transaction (VACUUM), so a crash leaves a store without checksums or one with them, and the first
can be upgraded again. Refused for a damaged file: checksums would vouch for what is wrong.

Cost: 1 s per 100 MB, and room for the file once more in its log and once in a temporary file beside it.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from tcsql.errors import SetupError
from tcsql.storage import checksums, fileformat, recovery
from tcsql.storage.lock import DirectoryLock
from tcsql.storage.sqlite import judging, write_error


def upgrade(directory: Path) -> bool:
    """Whether there was anything to do.

    Raises SetupError, StoreDamaged, StoreNewer, NoSpace, ReadOnly: the store can be opened as before.
    """
    if not (directory / fileformat.FILE_NAME).is_file():
        raise SetupError(f"there is no store in {directory}", "name the directory that `tcsql serve --data` uses")
    lock = DirectoryLock(directory)
    try:
        file = recovery.open_file(directory, True, (0, 0), None)
        try:
            if file.has_checksums or not checksums.are_available():
                return False
            with judging("the store cannot be read"):
                recovery.require_sound(file)
            _add_checksums(file.connection)
            return True
        finally:
            file.close()
    finally:
        lock.release()


def _add_checksums(connection: apsw.Connection) -> None:
    connection.pragma("temp_store", "FILE")
    try:
        connection.pragma("user_version", fileformat.FORMAT_VERSION)
        connection.reserve_bytes(reserve=checksums.RESERVED_BYTES)
        connection.execute("VACUUM")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.Error as error:
        raise write_error(error, connection.system_errno) from error
