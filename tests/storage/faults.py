"""A SQLite VFS that fails on demand, and that knows what a disk would hold after a crash or a power cut.

Every call passes through ``Disk.call``, on whichever thread writes. A crash keeps all that was written; a power
cut keeps what was synced and any part of what was written since, in any order: ``power_cut`` chooses at random.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import apsw

from tcsql.storage import checksums, wal

_names = itertools.count()
Fault = Callable[[str, str], BaseException | None]


def no_space(operation: str, file: str) -> BaseException | None:
    """A disk that is full for everything."""
    return apsw.FullError("disk full") if operation == "write" else None


def failing(operation: str, file: str, error: type[apsw.Error] = apsw.IOError, after: int = 0) -> Fault:
    """Fails one kind of call on one kind of file (``-wal`` or ``.db``), from the n-th on."""
    calls = itertools.count()

    def fault(called: str, on: str) -> BaseException | None:
        if called == operation and on.endswith(file) and next(calls) >= after:
            return error("planted")
        return None

    return fault


class _Image:
    """What one file holds, and what of it has not been synced."""

    def __init__(self) -> None:
        self.exists = True
        self.synced = b""
        self.since: list[tuple[int, bytes | None]] = []  # (offset, data); None: cut off at the offset

    def write(self, offset: int, data: bytes) -> None:
        self.since.append((offset, data))

    def truncate(self, size: int) -> None:
        self.since.append((size, None))

    def sync(self) -> None:
        self.synced = self.content(lambda: True)
        self.since.clear()

    def content(self, keep: Callable[[], bool]) -> bytes:
        data = bytearray(self.synced)
        for offset, piece in self.since:
            if not keep():
                continue
            if piece is None:
                del data[offset:]
                continue
            data.extend(bytes(max(offset + len(piece) - len(data), 0)))
            data[offset : offset + len(piece)] = piece
        return bytes(data)


def image_name(path: str) -> str:
    """A new store is built beside its place and renamed."""
    return Path(path).name.replace("tcsql.db.new", "tcsql.db")


class Disk(apsw.VFS):
    """Registers itself under ``name``; ``fault`` decides about each call, ``before`` is told of it."""

    def __init__(self) -> None:
        self.name = f"faults-{next(_names)}"
        self.fault: Fault | None = None
        self.before: Callable[[str, str], None] | None = None
        self.images: dict[str, _Image] = {}
        checksums.are_available()  # the layer that writes them has to be there before this one is put upon it
        self.lock = threading.RLock()  # a crash is one moment for all files
        super().__init__(self.name, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        with self.lock:
            self.images[image_name(filename)].exists = False
            super().xDelete(filename, syncdir)

    def call(self, operation: str, file: str) -> None:
        if self.before is not None:
            self.before(operation, file)
        error = self.fault(operation, file) if self.fault is not None else None
        if error is not None:
            raise error

    def adopt(self, file: Path) -> None:
        """A file of an earlier life, which the disk holds safely."""
        image = self.images[image_name(str(file))] = _Image()
        image.synced = file.read_bytes()

    def power_cut(self, target: Path, random: Random) -> Path:
        """A directory as the power cut left it."""
        chance = random.choice((0.0, 0.5, 0.9, 1.0))
        return self._leave(target, lambda: random.random() < chance)

    def crash(self, target: Path, random: Random) -> Path:
        """A directory as a killed process left it: all that was written."""
        return self._leave(target, lambda: True)

    def _leave(self, target: Path, keep: Callable[[], bool]) -> Path:
        target.mkdir()
        with self.lock:
            for file, image in self.images.items():
                if image.exists:
                    (target / file).write_bytes(image.content(keep))
        return target


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._name = image_name(name.filename() if isinstance(name, apsw.URIFilename) else name or "temporary")
        super().__init__("", name, flags)
        if self._name not in disk.images or not disk.images[self._name].exists:
            disk.images[self._name] = _Image()
        self._image = disk.images[self._name]

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.call("write", self._name)
        with self._disk.lock:
            super().xWrite(data, offset)
            # what the disk has, not what was sent: the layer below adds the checksums of pages
            written = super().xRead(len(data), offset) if self._name.endswith(".db") else data
            self._image.write(offset, bytes(written))

    def xTruncate(self, size: int) -> None:
        self._disk.call("truncate", self._name)
        with self._disk.lock:
            self._image.truncate(size)
            super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self._disk.call("sync", self._name)
        with self._disk.lock:
            self._image.sync()  # the real disk need not be waited for: what it would hold is known here


@contextmanager
def faulty_disk() -> Iterator[Disk]:
    disk = Disk()
    cut = wal.cut

    def watched_cut(log: Path, valid_frames: int, page_bytes: int) -> None:
        with disk.lock:
            cut(log, valid_frames, page_bytes)
            image = disk.images[image_name(str(log))]
            image.truncate(log.stat().st_size)
            image.sync()

    wal.cut = watched_cut  # the one write to the store's files that does not go through SQLite
    try:
        yield disk
    finally:
        wal.cut = cut
        disk.unregister()
