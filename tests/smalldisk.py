"""A small file system for one test, full at will, that any machine has: for servers that really run out of space.

In this order, whichever is allowed here:

    "tmpfs"        a tmpfs in a mount namespace of its own, for the superuser
    "tmpfs-user"   the same inside a user namespace, where ordinary users may make one
    "file-size"    a limit of file sizes set on the running server (EFBIG): no file grows above it

``kind`` says which it was. All three are real refusals of the system, in the middle of a write.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.http.serving import Running

_HOLDER: Final = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && exec cat'
_BALLAST: Final = "ballast"


class SmallDisk:
    """A directory whose disk holds ``size`` bytes."""

    def __init__(self, directory: Path, size: int, kind: str, holder: subprocess.Popen[bytes] | None) -> None:
        self.directory = directory
        self.kind = kind
        self._size = size
        self._holder = holder
        #: The same directory as this process sees it.
        self.seen = directory if holder is None else Path(f"/proc/{holder.pid}/root{directory}")

    @property
    def within(self) -> tuple[str, ...]:
        """What a command has to be started with to be on this disk."""
        if self._holder is None:
            return ()
        user = ("--user", "--preserve-credentials") if self.kind == "tmpfs-user" else ()
        return ("nsenter", "--target", str(self._holder.pid), *user, "--mount", "--")

    def copied(self, name: str, target: Path) -> Path:
        """A directory of this disk, on the ordinary one: SQLite follows the way in through /proc to another place."""
        return Path(shutil.copytree(self.seen / name, target))

    def fill(self, server: Running, left: int = 0) -> None:
        """Leave so many bytes free."""
        if self._holder is None:
            largest = max(path.stat().st_size for path in self.directory.rglob("tcsql.db*"))
            _limit(server.process.pid, largest + left)
            return
        with open(self.seen / _BALLAST, "ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(65_536))
            except OSError:
                pass
            size = ballast.tell() // 4096 * 4096
            ballast.truncate(max(0, size - left))

    def free(self, server: Running) -> None:
        """Make room again."""
        if self._holder is None:
            _limit(server.process.pid, resource.RLIM_INFINITY)
            return
        (self.seen / _BALLAST).unlink()


def _limit(pid: int, size: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


KINDS: Final = ("tmpfs", "tmpfs-user", "file-size")


@contextmanager
def small_disk(directory: Path, size: int = 8 << 20, kinds: tuple[str, ...] = KINDS) -> Iterator[SmallDisk]:
    """A new directory on a small disk of its own."""
    directory.mkdir()
    for kind in kinds:
        if kind == "file-size":
            yield SmallDisk(directory, size, kind, None)
            return
        namespaces = ("--mount",) if kind == "tmpfs" else ("--user", "--map-root-user", "--mount")
        holder = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-c", _HOLDER, "sh", str(size), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert holder.stdin is not None and holder.stdout is not None
        try:
            if holder.stdout.readline() == b"mounted\n":
                yield SmallDisk(directory, size, kind, holder)
                return
        finally:
            holder.stdin.close()
            holder.stdout.close()
            holder.wait(10)
    raise AssertionError(f"no disk of the kinds {kinds} can be made here")
