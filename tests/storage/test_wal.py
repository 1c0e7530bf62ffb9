"""A torn log is cut by SQLite and that is right; a log damaged in its middle must be told from it."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tcsql.storage import wal
from tcsql.storage.fileformat import PAGE_BYTES

FRAME = wal.FRAME.size + PAGE_BYTES


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of several transactions, left behind by a connection that was not closed properly."""
    original = tmp_path / "original.db"
    connection = apsw.Connection(str(original))
    connection.pragma("journal_mode", "WAL")
    connection.pragma("wal_autocheckpoint", 0)
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    for number in range(8):
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 3000))
    for suffix in ("", "-wal"):
        (tmp_path / f"crashed.db{suffix}").write_bytes((tmp_path / f"original.db{suffix}").read_bytes())
    connection.close()
    return tmp_path / "crashed.db-wal"


def accepted(log: Path) -> int:
    """How many frames SQLite takes from the log, without writing them back."""
    connection = apsw.Connection(str(log.with_name("crashed.db")))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    connection.close()
    return max(frames, 0)


def flip(log: Path, offset: int) -> None:
    data = bytearray(log.read_bytes())
    data[offset] ^= 0x40
    log.write_bytes(data)


def frames(log: Path) -> int:
    return (log.stat().st_size - wal.HEADER.size) // FRAME


def test_a_whole_log_is_whole(log: Path) -> None:
    assert accepted(log) == frames(log) > 10
    assert wal.damage(log, frames(log)) is None


def test_every_cut_is_a_torn_tail_and_no_damage(log: Path) -> None:
    whole = log.read_bytes()
    for size in [*range(0, len(whole), 1777), *range(wal.HEADER.size, len(whole), FRAME)]:
        log.write_bytes(whole[:size])
        assert wal.damage(log, accepted(log)) is None, size


def test_a_bad_byte_in_the_last_transaction_is_a_torn_tail(log: Path) -> None:
    flip(log, log.stat().st_size - 100)
    assert accepted(log) < frames(log)
    assert wal.damage(log, accepted(log)) is None


def test_a_bad_byte_in_an_earlier_transaction_is_damage(log: Path) -> None:
    for frame in range(frames(log) - 3):
        flip(log, wal.HEADER.size + frame * FRAME + 500)
        valid = accepted(log)
        assert valid <= frame
        assert "damaged behind frame" in (wal.damage(log, valid) or ""), frame
        flip(log, wal.HEADER.size + frame * FRAME + 500)


def test_a_bad_header_is_damage(log: Path) -> None:
    flip(log, 13)
    assert accepted(log) == 0
    assert wal.damage(log, 0) == "the header of the write-ahead log is damaged"


def test_a_log_that_sqlite_restarted_is_not_damage(log: Path) -> None:
    # Seen so when another program kept the shared memory alive: SQLite counts no frames, the old ones are all valid.
    assert wal.damage(log, 0) is None


def test_no_log_is_no_damage(tmp_path: Path) -> None:
    assert wal.damage(tmp_path / "none-wal", 0) is None


def test_cut_removes_what_stands_behind_the_valid_end(log: Path) -> None:
    count = frames(log)
    wal.cut(log, count - 2, PAGE_BYTES)
    assert frames(log) == count - 2
    wal.cut(log, count, PAGE_BYTES)
    assert frames(log) == count - 2
