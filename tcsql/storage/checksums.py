"""Checksums of pages: SQLite's cksumvfs, which comes with apsw, as the layer below every connection of this package.

Eight bytes at the end of each page hold a checksum of the others. They are written with the page and compared whenever
it is read from the file, on whichever way: by a start, a write, a backup, `tcsql check`. So a changed bit is found in
rows, schemas and change log alike, and no damaged page gets into a backup. The write-ahead log has checksums of its
own. A store is told to have them by the reserved bytes in its header (offset 20), which is why format 2 is a format:
a program without the layer would change pages and leave their checksums as they were.

Cost: 0.7 us a page read, without Python's interpreter lock; a page holds about 25 rows. A checksum for each row costs
seven times as much when rows are loaded, and leaves everything else without one.

apsw from PyPI has the extension on all its platforms; one that was built otherwise may not. Then new stores are made in
format 1, without checksums, and one that has them is refused rather than spoilt.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from typing import Final

import apsw
import apsw.sqlite_extra

from tcsql.errors import SetupError

#: What cksumvfs wants to find at the end of a page, exactly.
RESERVED_BYTES: Final = 8
#: Where SQLite's header tells how many bytes of a page are reserved.
_RESERVED_AT: Final = 20
MISMATCH: Final = "a page does not have the checksum that it was written with"

logger = logging.getLogger("tcsql.storage")


@cache
def are_available() -> bool:
    """Load the layer for all connections of this process that are opened from now on; False: this apsw has none."""
    try:
        apsw.sqlite_extra.load(apsw.Connection(":memory:"), "cksumvfs")
    except (LookupError, apsw.sqlite_extra.NotAvailable, apsw.ExtensionLoadingError) as error:
        logger.warning("new stores have no checksums of pages: this build of apsw has no cksumvfs (%s)", error)
        return False
    return True


def stand_in(header: bytes) -> bool:
    """Whether the pages of the file with these first 100 bytes carry checksums."""
    return header[_RESERVED_AT] == RESERVED_BYTES


def require_available(header: bytes) -> None:
    """Raises SetupError for a file whose checksums this program could neither check nor keep."""
    if stand_in(header) and not are_available():
        raise SetupError(
            "the store's pages have checksums, and this build of apsw has no cksumvfs to keep them",
            "install the apsw that PyPI has: pip install --force-reinstall --only-binary :all: apsw",
        )


def prepare_copy(source: apsw.Connection, target: apsw.Connection) -> None:
    """Before an empty file takes a copy of a store: pages that come before the first one are to have checksums too."""
    if source.reserve_bytes() == RESERVED_BYTES:
        target.reserve_bytes(reserve=RESERVED_BYTES)
        target.execute("CREATE TABLE first_page (one)")


def is_mismatch(error: apsw.Error) -> bool:
    """Whether this is what SQLite says when a page does not have its checksum."""
    return getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA


def mismatching(connection: apsw.Connection, queries: Iterable[tuple[str, str]]) -> list[str]:
    """Of (name, query) the names whose query meets such a page; for people, and only when something is wrong."""
    found = []
    for name, query in queries:
        try:
            for _ in connection.execute(query):
                pass
        except apsw.IOError as error:
            if not is_mismatch(error):
                raise
            found.append(name)
    return found


def ignore(connection: apsw.Connection) -> None:
    """Read on without comparing: to see what else is wrong."""
    if are_available():
        connection.pragma("checksum_verification", "OFF")
