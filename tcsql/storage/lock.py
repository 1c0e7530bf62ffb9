"""The data directory: made when missing, and held by one process at a time.

The lock is flock(2) on the file ``lock``, which the kernel drops with its holder; the process id in the file
is for people only. Each refusal is a SetupError: somebody has to look at the surroundings of the store.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Final

from tcsql.errors import SetupError
from tcsql.storage.fileformat import LOCK_NAME

#: Errors of the system that mean a full disk, a quota, or a limit of file sizes.
NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: ``is_locked`` holds the lock itself for some microseconds; that must not turn a starting server away.
_ATTEMPTS: Final = 4
_PAUSE_S: Final = 0.02


class DirectoryLock:
    """Exclusive use of a data directory until ``release``, or until the process ends."""

    def __init__(self, directory: Path) -> None:
        """Raises SetupError: no directory can be made or written there, or another process holds it."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            why = f"the data directory {directory} cannot be used: {error.strerror}"
            raise SetupError(why, "name a directory that this user may write, with --data") from error
        try:
            self._lock()
        except BlockingIOError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            why = f"the data directory {directory} is in use by process {holder}"
            raise SetupError(why, "end that process, or name another directory with --data") from None
        except OSError as error:
            os.close(self._descriptor)
            raise SetupError(f"the data directory {directory} cannot be locked: {error.strerror}") from error
        self._sign()

    def _lock(self) -> None:
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(_PAUSE_S)
        return fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _sign(self) -> None:
        try:
            # In place and of one length: on a full disk a block that is there can be written, a new one cannot.
            os.pwrite(self._descriptor, b"%-19d\n" % os.getpid(), 0)
        except OSError as error:
            if error.errno in NO_SPACE:
                return  # the lock is held; who holds it cannot be told, and the store can be read
            self.release()
            raise SetupError(
                f"the data directory cannot be written: {error.strerror}", "look at its disk and the system's log"
            ) from error

    def release(self) -> None:
        os.close(self._descriptor)


def is_locked(directory: Path) -> bool:
    """Whether a process holds the directory now; leaves nothing behind."""
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
