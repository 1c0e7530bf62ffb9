"""What SQLite does not say about its write-ahead log: whether it ends where it was torn, or where it is damaged.

SQLite reads the log up to the first frame whose checksum fails and drops the rest without a word: right for
the torn tail of a crash, silent loss of acknowledged transactions when a frame in the middle went bad.
``damage`` tells the two apart. With ``synchronous=FULL`` a transaction's frames are synced before the next one
is begun, so behind a torn transaction there can be no complete one: a commit frame behind the valid end,
followed by any further frame of the same generation (same salts), means that synced bytes were lost.

``cut`` removes what a failed commit left behind the valid end. It has to: when the sync fails, the frames with
their commit mark are in the file already, and a crash would bring back a transaction that was refused.

File format: https://sqlite.org/fileformat2.html#walformat. The log file carries none of SQLite's POSIX locks,
so opening it by hand is safe; the database file must never be opened by hand while SQLite has it open.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

HEADER: Final = struct.Struct(">8I")  # magic, version, page size, checkpoint number, salt 1, salt 2, checksum
FRAME: Final = struct.Struct(">6I")  # page number, database size in pages (not 0: a commit), salts, checksum
_MAGIC: Final = (0x377F0682, 0x377F0683)  # the low bit: byte order of the checksums


def log_path(database: Path) -> Path:
    return database.with_name(database.name + "-wal")


def damage(log: Path, valid_frames: int) -> str | None:
    """What is wrong with a log of which SQLite accepted ``valid_frames``; None when it is whole or merely torn.

    Cost: one small read for each frame behind the valid end, none in the usual case; a second per 16 MB of log
    on suspicion.
    """
    try:
        with log.open("rb") as file:
            suspicion = _suspicion(file, valid_frames)
            # A log that SQLite has restarted but not yet overwritten looks damaged too; its checksums are right.
            return suspicion if suspicion and _count_valid(file) <= valid_frames else None
    except FileNotFoundError:
        return None


def torn_frames(log: Path, valid_frames: int) -> int:
    """Pages behind the valid end that belong to a transaction which the crash cut short; for people.

    Such a transaction was never acknowledged, unless one bit of it changed afterwards: of the last one, nothing tells
    the two apart.
    """
    try:
        with log.open("rb") as file:
            head = file.read(HEADER.size)
            if len(head) < HEADER.size or not _header_is_valid(head):
                return 0
            page_bytes, _, *salts = HEADER.unpack(head)[2:6]
            size = FRAME.size + page_bytes
            found = 0
            file.seek(HEADER.size + valid_frames * size)
            while len(frame := file.read(size)) >= FRAME.size:
                found += [*FRAME.unpack(frame[: FRAME.size])[2:4]] == salts
            return found if found and _count_valid(file) <= valid_frames else 0
    except FileNotFoundError:
        return 0


def _suspicion(file: BinaryIO, valid_frames: int) -> str | None:
    head = file.read(HEADER.size)
    if len(head) < HEADER.size or not any(head):
        return None  # empty, or never written
    if not _header_is_valid(head):
        return "the header of the write-ahead log is damaged"
    _, _, page_bytes, _, salt1, salt2, _, _ = HEADER.unpack(head)
    torn_commit_seen = False
    position = HEADER.size + valid_frames * (FRAME.size + page_bytes)
    while True:
        file.seek(position)
        frame = file.read(FRAME.size)
        if len(frame) < FRAME.size:
            return None
        _, database_pages, *salts, _, _ = FRAME.unpack(frame)
        if salts == [salt1, salt2]:
            if torn_commit_seen:
                return f"the write-ahead log is damaged behind frame {valid_frames}: complete transactions follow"
            torn_commit_seen = database_pages != 0
        position += FRAME.size + page_bytes


def _header_is_valid(head: bytes) -> bool:
    magic, *_, first, second = HEADER.unpack(head)
    return magic in _MAGIC and _checksum(head[:24], magic, (0, 0)) == (first, second)


def _count_valid(file: BinaryIO) -> int:
    """Frames up to the last whole transaction, by the checksums, as SQLite's recovery counts them."""
    file.seek(0)
    head = file.read(HEADER.size)
    if not _header_is_valid(head):
        return 0
    magic, _, page_bytes, _, salt1, salt2, *running = HEADER.unpack(head)
    checksum = (running[0], running[1])
    valid = number = 0
    while len(frame := file.read(FRAME.size + page_bytes)) == FRAME.size + page_bytes:
        _, database_pages, *salts, first, second = FRAME.unpack(frame[: FRAME.size])
        checksum = _checksum(frame[FRAME.size :], magic, _checksum(frame[:8], magic, checksum))
        if salts != [salt1, salt2] or checksum != (first, second):
            break
        number += 1
        if database_pages:
            valid = number
    return valid


def _checksum(data: bytes, magic: int, start: tuple[int, int]) -> tuple[int, int]:
    first, second = start
    words = struct.unpack(f"{'>' if magic & 1 else '<'}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def cut(log: Path, valid_frames: int, page_bytes: int) -> None:
    """Remove everything behind the valid end, durably. Raises OSError; the caller must be the only writer."""
    valid_bytes = HEADER.size + valid_frames * (FRAME.size + page_bytes)
    descriptor = os.open(log, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size > valid_bytes:
            os.ftruncate(descriptor, valid_bytes)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
