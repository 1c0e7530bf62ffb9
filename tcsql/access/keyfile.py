"""The file of keys: ``keys.json`` in the data directory, mode 0600; what ``tcsql key`` writes and the server watches.

    KeyFile(directory).read()      ->  the keys, or None: there never was one
    KeyFile(directory).change(f)   ->  f(keys) is what stands there now; two writers wait for each other
    KeyFile(directory).look()      ->  other keys than those of the last look, or None

Written to a file beside it, synced and renamed: whoever reads sees the keys before or after, and a crash leaves one of
them. Read strictly (``keytext``); as ssh does, a file that others can read is refused. ``keys.lock`` is locked by who
writes, and says for good that a key was made: a file that has vanished does not open a server.

A look costs one stat (4 us) while nothing has changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tcsql.access.keys import Keys
from tcsql.access.keytext import RESTORE, ring_of, text_of
from tcsql.errors import SetupError

NAME: Final = "keys.json"
LOCK_NAME: Final = "keys.lock"
#: Ten thousand keys with every limit take 5 MB.
_MOST_BYTES: Final = 64 * 2**20
_WAIT_S: Final = 10.0
_PAUSE_S: Final = 0.02
_SHARED: Final = 0o077

logger = logging.getLogger("tcsql.access")
_Mark = tuple[int, int, int, int] | None


class KeyFile:
    """The keys of one data directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.path = directory / NAME
        self._lock_path = directory / LOCK_NAME
        self._mark: _Mark = None
        self._failed: tuple[_Mark, str] | None = None

    def read(self) -> Keys | None:
        """The keys; None: none was ever made. Raises SetupError when nobody can tell, or others can read the file."""
        mark = self._look()
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            if self.was_made:
                raise SetupError(
                    f"{self.path} is gone, and keys have been made",
                    f"restore it, or make another key: tcsql key make; to have no keys again, remove {LOCK_NAME} too",
                ) from None
            self._mark = mark
            return None
        except OSError as error:
            raise self._unreadable(error) from None
        try:
            self._check(os.fstat(descriptor))
        except SetupError:
            os.close(descriptor)
            raise
        with open(descriptor, "rb") as file:
            try:
                ring = ring_of(file.read(_MOST_BYTES).decode("utf-8"), str(self.path))
            except OSError as error:
                raise self._unreadable(error) from None
            except UnicodeDecodeError as error:
                raise SetupError(f"{self.path} is damaged: it is not UTF-8 at byte {error.start}", RESTORE) from None
        self._mark = mark
        return ring

    def look(self) -> Keys | None:
        """The keys, if the file is another than at the last look.

        What cannot be read is left as it was, tried again at the next look, and logged once for each change.
        """
        mark = self._look()
        if mark == self._mark:
            return None
        try:
            ring = self.read()
        except SetupError as error:
            self._complain(mark, error)
            return None
        if ring is None:
            self._complain(mark, SetupError(f"{self.path} is gone", "restore it, or restart to have no keys again"))
        elif self._failed is not None:
            self._failed = None
            logger.warning("the keys can be read again")
        return ring

    def _complain(self, mark: _Mark, error: SetupError) -> None:
        failed = mark, error.message
        if failed != self._failed:
            self._failed = failed
            logger.error("the keys stay what they were: %s (%s)", error.message, error.hint)

    def change(self, make: Callable[[Keys], Keys]) -> Keys:
        """Put other keys in the place of those that are there, whole or not at all; gives them. Raises SetupError."""
        with self._locked() as lock:
            before = self.read() if self.path.exists() else None
            after = make(before if before is not None else Keys())
            if after != before:
                try:
                    self._write(text_of(after).encode())
                    if not os.fstat(lock).st_size:
                        os.pwrite(lock, b"keys have been made\n", 0)
                except OSError as error:
                    raise SetupError(f"cannot write {self.path}: {error.strerror}", "nothing was changed") from None
            return after

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            why = f"the data directory {self._directory} cannot be used: {error.strerror}"
            raise SetupError(why, "name the server's data directory with --data, and run this as its user") from None
        try:
            self._give(descriptor)
            self._wait(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _wait(self, descriptor: int) -> None:
        until = time.monotonic() + _WAIT_S
        while True:
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.monotonic() > until:
                raise SetupError(f"another command is changing {self.path}", "try again when it has ended")
            time.sleep(_PAUSE_S)

    def _write(self, data: bytes) -> None:
        partial = self.path.with_name(NAME + ".new")
        partial.unlink(missing_ok=True)  # of a crash; who holds the lock is alone
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                self._give(descriptor)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            partial.rename(self.path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _give(self, descriptor: int) -> None:
        """Root makes keys for the server's user, who owns the directory."""
        if os.geteuid() == 0:
            owner = self._directory.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode) or found.st_size >= _MOST_BYTES:
            raise SetupError(f"{self.path} is not the file of keys", "restore it")
        if found.st_mode & _SHARED:
            raise SetupError(
                f"{self.path} can be read or changed by other users, mode {stat.S_IMODE(found.st_mode):04o}",
                f"chmod 600 {self.path}",
            )
        if found.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
            raise SetupError(f"{self.path} belongs to another user", "chown it to the user that runs the server")

    def _unreadable(self, error: OSError) -> SetupError:
        return SetupError(f"cannot read {self.path}: {error.strerror}", "run this as the user that owns it")

    @property
    def was_made(self) -> bool:
        """Whether a key was ever made here."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return self._lock_path.stat().st_size > 0
        return False

    def _look(self) -> _Mark:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode
