"""The audit log: who did what an admin may do, and on request every write; one JSON line each, never a value.

    {"time":"2026-11-20T15:04:05.123Z","operation":"sql","caller":"k3y1d","status":200,"lsn":17,"did":["drop table t"]}

Lines are appended to a file of mode 0600, or go to the log (``tcsql.audit``) when no file is named. Invariants:

    a request is never refused, and never waits for a retry, because its line could not be written
    a line that was lost is counted, and told to the log: once when it begins, once when it is over
    a file that was renamed away (logrotate) is left where it is, and the next line begins a new one

Lines are not synced one by one: after a power cut the last ones may be missing. Cost: 25 us a line, 0.05 us for an
operation that is not written down.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tcsql.access.scopes import OPERATIONS, Scope
from tcsql.engine.change import Change, CreateTable
from tcsql.errors import SetupError
from tcsql.logs import line_of, time_of

logger = logging.getLogger("tcsql.audit")

#: What is written down whatever the settings say: what needs an admin, but for documents that only show. A backup takes
#: every row along.
ADMIN_OPERATIONS: Final = frozenset(
    name for name, each in OPERATIONS.items() if each.needs is Scope.ADMIN and (each.changes or name == "backup")
)
WRITE_OPERATIONS: Final = frozenset(name for name, each in OPERATIONS.items() if each.needs is Scope.WRITE)
#: Callers that are no key: the machine while no key has been made, and the server itself.
SERVER: Final = "server"
#: Statements of one request that are written down.
MOST_CHANGES: Final = 100
_LOCAL: Final = frozenset({"local", SERVER})
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MODE: Final = 0o600


def did(changes: Sequence[Change]) -> tuple[str, ...]:
    """What statements come to: kinds and names, never a value.

    >>> from tcsql.engine.change import DropIndex, RenameTable
    >>> did([RenameTable("posts", "old"), DropIndex("old", "uid")])
    ('rename table posts to old', 'drop index old.uid')
    """
    return tuple(_words(change) for change in changes[:MOST_CHANGES])


def _words(change: Change) -> str:
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(change).__name__).lower()
    name = change.schema.name if isinstance(change, CreateTable) else change.table
    part = getattr(change, "index", None) or getattr(change, "column", None)
    inside = f".{getattr(part, 'name', part)}" if part is not None else ""
    to = getattr(change, "to", None)
    return f"{kind} {name}{inside}" + (f" to {to}" if to is not None else "")


class Audit:
    """One server's. ``path`` "": to the log. ``writes``: also inserts, updates and deletes.

    Raises SetupError when the file cannot be opened now; later that is told to the log, and nobody is refused.
    """

    def __init__(self, path: str | Path = "", writes: bool = False, clock: Callable[[], float] = time.time) -> None:
        #: The operations that are written down; ask before making what ``note`` is to say.
        self.operations = ADMIN_OPERATIONS | WRITE_OPERATIONS if writes else ADMIN_OPERATIONS
        self.lines = self.lost = 0
        self._clock = clock
        self._path = Path(path) if path else None
        self._descriptor = -1
        self._identity = (-1, -1)
        self._is_torn = False
        self._is_failing = False
        logger.setLevel(logging.INFO)
        if self._path is not None:
            try:
                self._open(self._path)
            except OSError as error:
                raise SetupError(
                    f"cannot append to the audit log {path}: {error.strerror or error}",
                    "its directory has to exist and to be writable; audit_log names the file",
                ) from None

    def note(self, operation: str, caller: str, **fields: object) -> None:
        """One line. ``caller``: a key's id. Of ``fields`` those that say nothing (None, "") are left out."""
        said = {name: value for name, value in fields.items() if value is not None and value != ""}
        if self._path is None:
            self._to_log(operation, caller, said)
            return
        entry = {"time": time_of(self._clock()), "operation": operation, "caller": caller, **said}
        line = line_of(entry).encode() + b"\n"
        try:
            if self._is_moved(self._path):
                self._open(self._path)
            self._write(line)
        except OSError as error:
            self._failed(error)
            return
        self.lines += 1
        if self._is_failing:
            self._is_failing = False
            logger.error("the audit log is written again; lines lost so far: %d", self.lost)

    def reopen(self) -> None:
        """Close the file, and open what stands at its path (SIGHUP); without a file nothing."""
        if self._path is None:
            return
        try:
            self._open(self._path)
        except OSError as error:
            self._failed(error, lines=0)

    def close(self) -> None:
        """The end; lines that come later open the file again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._identity = -1, (-1, -1)

    def _to_log(self, operation: str, caller: str, said: dict[str, object]) -> None:
        # What the machine's owner does while there are no keys is no news to the owner: as the log's level has it.
        if caller in _LOCAL and not logging.getLogger().isEnabledFor(logging.INFO):
            return
        self.lines += 1
        logger.info(operation, extra={"caller": caller, **said})

    def _open(self, path: Path) -> None:
        descriptor = os.open(path, _FLAGS, _MODE)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise OSError(0, "it is no ordinary file")
        self.close()
        self._descriptor, self._identity = descriptor, (found.st_dev, found.st_ino)

    def _is_moved(self, path: Path) -> bool:
        try:
            found = path.stat()
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self._identity

    def _write(self, line: bytes) -> None:
        """Raises OSError; a line that was cut short ends where the next one begins."""
        data = b"\n" + line if self._is_torn else line
        written = os.write(self._descriptor, data)
        if written < len(data):
            self._is_torn = True
            raise OSError(0, "only a part of a line could be written")
        self._is_torn = False

    def _failed(self, error: OSError, lines: int = 1) -> None:
        self.lost += lines
        if not self._is_failing:
            self._is_failing = True
            logger.error("the audit log cannot be written, what is done is not written down: %s", error.strerror)
