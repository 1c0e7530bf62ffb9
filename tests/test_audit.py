"""The audit log as a file: appended, private, moved away, full. What is written down stands in tests/http."""

from __future__ import annotations

import json
import logging
import os
import resource
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tcsql.audit import ADMIN_OPERATIONS, WRITE_OPERATIONS, Audit
from tcsql.errors import SetupError


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def audit(path: Path) -> Iterator[Audit]:
    made = Audit(path, clock=lambda: 1_700_000_000.5)
    yield made
    made.close()


def test_lines_are_appended_to_a_private_file_whatever_the_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        first = Audit(path)
    finally:
        os.umask(old)
    first.note("sql", "k1", lsn=7, did=["create table t"], table=None, address="")
    first.close()
    second = Audit(path)
    second.note("backup", "k2", status=200)
    second.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    one, two = lines(path)
    assert one.pop("time")
    assert one == {"operation": "sql", "caller": "k1", "lsn": 7, "did": ["create table t"]}
    assert (two["operation"], two["caller"], two["status"]) == ("backup", "k2", 200)


def test_a_hostile_name_is_one_line_and_a_secret_none(audit: Audit, path: Path) -> None:
    audit.note("sql", "k1", table='x"}\n{"caller":"root', did=["Bearer abcdefghijk", "\x1b[2J"])
    [line] = lines(path)
    assert line["caller"] == "k1"
    assert line["time"] == "2023-11-14T22:13:20.500Z"
    assert line["did"] == ["Bearer [redacted]", "\x1b[2J"]
    assert path.read_bytes().isascii()


def test_a_file_that_was_renamed_away_is_left_and_a_new_one_begun(audit: Audit, path: Path) -> None:
    audit.note("sql", "k1", lsn=1)
    path.rename(path.with_suffix(".1"))
    audit.note("sql", "k1", lsn=2)
    path.unlink()
    audit.note("sql", "k1", lsn=3)
    assert [line["lsn"] for line in lines(path.with_suffix(".1"))] == [1]
    assert [line["lsn"] for line in lines(path)] == [3]
    assert (audit.lines, audit.lost) == (3, 0)


def test_a_file_that_another_program_has_put_in_its_place_takes_the_next_line(audit: Audit, path: Path) -> None:
    """As logrotate does with ``create``."""
    audit.note("sql", "k1", lsn=1)
    path.rename(path.with_suffix(".1"))
    path.touch()
    audit.note("sql", "k1", lsn=2)
    assert [line["lsn"] for line in lines(path.with_suffix(".1"))] == [1]
    assert [line["lsn"] for line in lines(path)] == [2]


def test_it_is_opened_again_when_asked(audit: Audit, path: Path) -> None:
    path.rename(path.with_suffix(".1"))
    audit.reopen()
    assert path.read_bytes() == b""
    Audit().reopen()  # of the log there is nothing to open


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """As a full disk: the system takes what fits and refuses the rest (Python ignores the signal)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_fails_nobody_and_is_told_once(audit: Audit, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audit.note("sql", "k1", lsn=1)
    with files_at_most(path.stat().st_size + 10):
        for lsn in range(2, 6):
            audit.note("sql", "k1", lsn=lsn)
    assert audit.lost == 4
    [told] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "audit log cannot be written" in told.getMessage()
    audit.note("sql", "k1", lsn=6)
    whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["lsn"] for line in whole] == [1, 6]  # a line that was cut short spoils no other
    assert "lost so far: 4" in caplog.records[-1].getMessage()


def test_a_directory_that_went_away_fails_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    audit = Audit(directory / "audit")
    (directory / "audit").unlink()
    directory.rmdir()
    audit.note("sql", "k1")
    audit.reopen()
    directory.mkdir()
    audit.note("sql", "k1", lsn=2)
    audit.close()
    assert [line.get("lsn") for line in lines(directory / "audit")] == [2]
    assert audit.lost == 1
    assert len([record for record in caplog.records if "cannot be written" in record.getMessage()]) == 1


@pytest.mark.parametrize("what", ["directory", "pipe", "missing"])
def test_a_file_that_is_none_keeps_a_server_from_starting(tmp_path: Path, what: str) -> None:
    place = tmp_path / "place"
    if what == "directory":
        place.mkdir()
    elif what == "pipe":
        os.mkfifo(place)
    else:
        place = place / "below"
    started = time.monotonic()
    with pytest.raises(SetupError, match="cannot append to the audit log"):
        Audit(place)
    assert time.monotonic() - started < 1


def test_without_a_file_keys_are_logged_always_and_the_machine_itself_as_the_level_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = logging.getLogger()
    before = root.level
    audit = Audit()
    try:
        root.setLevel(logging.WARNING)
        audit.note("sql", "k1", lsn=1)
        audit.note("sql", "local", lsn=2)
        audit.note("start", "server")
        root.setLevel(logging.INFO)
        audit.note("sql", "local", lsn=3)
    finally:
        root.setLevel(before)
    assert [(record.name, record.__dict__.get("lsn")) for record in caplog.records] == [
        ("tcsql.audit", 1),
        ("tcsql.audit", 3),
    ]


def test_what_admins_do_is_always_written_down_and_writes_on_request() -> None:
    assert {"sql", "trusted", "source", "backup"} <= ADMIN_OPERATIONS
    assert not ADMIN_OPERATIONS & {"status", "metrics", "slow", "sources"}
    assert {"insert", "update", "delete", "bulk"} <= WRITE_OPERATIONS
    assert Audit().operations == ADMIN_OPERATIONS
    assert Audit(writes=True).operations == ADMIN_OPERATIONS | WRITE_OPERATIONS
