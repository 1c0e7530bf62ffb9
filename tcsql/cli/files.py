"""Files of the commands: plain, gzip or zstd by their first bytes, ``-`` for the standard streams.

Input tells how many bytes of the file itself are done, so that progress is right for compressed files too. Output
is written beside its name and renamed when it is complete: a dump that broke off never looks like a whole one.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import zstandard

from tcsql.errors import BadRequest, SetupError

PIECE_BYTES: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
#: zstd --long=31 is the longest window there is.
_MAX_WINDOW: Final = 1 << 31
STANDARD: Final = "-"


class InputFile:
    """One input, read in pieces. ``done_bytes`` of ``size_bytes`` (None: unknown) of the file itself are read."""

    def __init__(self, path: str) -> None:
        self.name = "standard input" if path == STANDARD else path
        self.size_bytes: int | None = None
        try:
            raw = io.FileIO(0 if path == STANDARD else path, closefd=path != STANDARD)
            if path != STANDARD:
                self.size_bytes = os.fstat(raw.fileno()).st_size
        except OSError as error:
            raise SetupError(f"cannot read {path}: {error.strerror}") from None
        self._counted = _Counted(raw)
        self._buffered = io.BufferedReader(self._counted, PIECE_BYTES)
        self._head: bytes | None = None

    @property
    def done_bytes(self) -> int:
        return self._counted.count

    def head(self) -> bytes:
        """The first piece, decompressed; ``pieces`` gives it again."""
        if self._head is None:
            self._pieces = self._read()
            self._head = next(self._pieces, b"")
        return self._head

    def pieces(self) -> Iterator[bytes]:
        """The whole content; raises BadRequest for a damaged compressed file."""
        yield self.head()
        yield from self._pieces

    def _read(self) -> Iterator[bytes]:
        try:
            with self._plain() as stream:
                while piece := stream.read(PIECE_BYTES):
                    yield piece
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise BadRequest(f"{self.name} is damaged or cut off: {error}") from None
        except OSError as error:
            raise SetupError(f"cannot read {self.name}: {error.strerror}") from None

    def _plain(self) -> BinaryIO:
        magic = self._buffered.peek(len(_ZSTD))
        if magic.startswith(_GZIP):
            return gzip.GzipFile(fileobj=self._buffered)  # type: ignore[return-value]  # a reader in all but name
        if magic.startswith(_ZSTD):
            decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
            return decompressor.stream_reader(self._buffered, read_size=PIECE_BYTES, read_across_frames=True)
        return self._buffered

    def close(self) -> None:
        self._buffered.close()


class _Counted(io.RawIOBase):
    """A raw stream that counts what was read from it."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io says Buffer, which is newer than Python 3.11
        size = self._raw.readinto(buffer) or 0
        self.count += size
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


@contextmanager
def output_file(path: str | None, force: bool = False) -> Iterator[Writable]:
    """Where a dump goes: a file, compressed by its suffix (.gz, .zst), or standard output. Raises SetupError."""
    if path is None or path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    if target.exists() and not force:
        raise SetupError(f"{path} exists already", "replace it with --force")
    partial = target.with_name(target.name + ".partial")
    try:
        with open(partial, "wb") as raw:
            with _compressing(raw, target.suffix) as stream:
                yield stream
            raw.flush()
            os.fsync(raw.fileno())
        partial.replace(target)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _compressing(raw: BinaryIO, suffix: str) -> Iterator[Writable]:
    if suffix == ".gz":
        with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
            yield packed
    elif suffix in (".zst", ".zstd"):
        with zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as writer:
            yield writer
    else:
        yield raw
