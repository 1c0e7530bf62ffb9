"""The file of keys: written whole, by one at a time, read by nobody else, and never lost by what happens to it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tcsql.access.keyfile import KeyFile
from tcsql.access.keys import Key, Keys, digest_of, token_of
from tcsql.access.scopes import Scope
from tcsql.errors import SetupError

READER = Key(
    id="3f9a0c12", name="web", sha256=digest_of(token_of("3f9a0c12", bytes(32))), scopes=frozenset({Scope.READ}), made=5
)


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "data")


def numbered(number: int) -> Key:
    return replace(READER, id=f"{number:08x}", name=f"key{number}")


def test_what_was_written_is_read_and_only_by_its_owner(file: KeyFile) -> None:
    assert file.read() is None
    assert not file.path.parent.exists(), "looking for keys makes nothing"
    assert file.change(lambda ring: ring.with_(READER)) == Keys([READER])
    assert file.read() == Keys([READER])
    assert {path.name: path.stat().st_mode & 0o777 for path in file.path.parent.iterdir()} == {
        "keys.json": 0o600,
        "keys.lock": 0o600,
    }
    assert file.path.parent.stat().st_mode & 0o777 == 0o700


def test_the_file_is_the_directorys_owners_whoever_makes_keys(file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.path.parent.mkdir(mode=0o700)
    owner = 12_345 if os.geteuid() == 0 else os.geteuid()  # only root can make keys for others
    os.chown(file.path.parent, owner, -1)
    file.change(lambda ring: ring.with_(READER))
    assert {path.stat().st_uid for path in file.path.parent.iterdir()} == {owner}
    assert file.read() == Keys([READER])
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(SetupError, match="belongs to another user"):
        file.read()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_file_that_others_can_read_or_write_is_refused_with_the_remedy(file: KeyFile, mode: int) -> None:
    file.change(lambda ring: ring.with_(READER))
    file.path.chmod(mode)
    for use in (file.read, lambda: file.change(lambda ring: ring)):
        with pytest.raises(SetupError, match="other users") as caught:
            use()
        assert caught.value.hint == f"chmod 600 {file.path}"
    assert file.path.stat().st_mode & 0o777 == mode, "it is told, not repaired: who has read it has read it"


def test_two_writers_lose_nothing_of_each_other(file: KeyFile) -> None:
    def write(start: int) -> None:
        mine = KeyFile(file.path.parent)
        for number in range(start, start + 10):
            mine.change(lambda ring, number=number: ring.with_(numbered(number)))  # type: ignore[misc]  # mypy has no type for a default

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ring = file.read()
    assert ring is not None
    assert {key.name for key in ring} == {f"key{number}" for number in range(40)}


def test_a_change_that_fails_leaves_what_was_there(file: KeyFile) -> None:
    file.change(lambda ring: ring.with_(READER))
    before = file.path.read_bytes()
    with pytest.raises(SetupError, match="two keys have the name"):
        file.change(lambda ring: ring.with_(replace(READER, id="00000001")))
    assert file.path.read_bytes() == before


def test_a_disk_that_is_full_leaves_what_was_there(file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.change(lambda ring: ring.with_(READER))
    before = file.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SetupError, match="No space left") as caught:
        file.change(lambda ring: ring.with_(numbered(7)))
    assert caught.value.hint == "nothing was changed"
    assert file.path.read_bytes() == before
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["keys.json", "keys.lock"]


def test_what_a_crash_left_beside_the_file_is_no_key_and_no_hindrance(file: KeyFile) -> None:
    file.change(lambda ring: ring.with_(READER))
    (file.path.parent / "keys.json.new").write_text('{"format": 1, "keys": [')
    assert file.read() == Keys([READER])
    assert len(file.change(lambda ring: ring.with_(numbered(7)))) == 2
    assert not (file.path.parent / "keys.json.new").exists()


def test_a_writer_that_is_killed_leaves_the_keys_before_or_after(file: KeyFile) -> None:
    file.change(lambda ring: ring.with_(READER))
    program = (
        "import sys, itertools\n"
        "from pathlib import Path\n"
        "from tests.access.test_keyfile import KeyFile, numbered\n"
        "file = KeyFile(Path(sys.argv[1]))\n"
        "print('begun', flush=True)\n"
        "for number in itertools.count():\n"
        "    file.change(lambda ring: ring.with_(numbered(number % 50)))\n"
    )
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(file.path.parent)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(0.05)
            writer.kill()
        ring = file.read()
        assert ring is not None
        assert ring.get(READER.id) == READER
        file.change(lambda ring: ring.with_(numbered(99)))  # nobody holds the lock any more


def test_a_newer_file_is_refused_and_not_changed(file: KeyFile) -> None:
    file.change(lambda ring: ring.with_(READER))
    newer = b'{"format": 2, "keys": [], "new": 1}'
    file.path.write_bytes(newer)
    for use in (file.read, lambda: file.change(lambda ring: ring.with_(READER))):
        with pytest.raises(SetupError, match="newer TCSQL"):
            use()
    assert file.path.read_bytes() == newer


def test_a_file_that_is_gone_does_not_read_as_if_there_had_never_been_keys(file: KeyFile) -> None:
    file.change(lambda ring: ring.with_(READER))
    file.path.unlink()
    with pytest.raises(SetupError, match="is gone, and keys have been made") as caught:
        file.read()
    assert "keys.lock" in str(caught.value.hint)
    assert file.change(lambda ring: ring.with_(numbered(1))) == Keys([numbered(1)]), "another key can be made"
    assert file.read() == Keys([numbered(1)])
    file.path.unlink()
    (file.path.parent / "keys.lock").unlink()
    assert file.read() is None


@pytest.mark.parametrize("kind", ["directory", "pipe", "large", "not_utf8"])
def test_what_is_not_the_file_of_keys_is_refused(file: KeyFile, kind: str) -> None:
    file.path.parent.mkdir(mode=0o700)
    if kind == "directory":
        file.path.mkdir(mode=0o700)
    elif kind == "pipe":
        os.mkfifo(file.path, 0o600)
    else:
        file.path.touch(mode=0o600)
        if kind == "large":
            os.truncate(file.path, 2**40)
        else:
            file.path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(SetupError):
        file.read()


# -- looking again -----------------------------------------------------------------------------------------------------


def test_a_look_gives_keys_only_when_there_are_others(file: KeyFile) -> None:
    assert file.read() is None
    assert file.look() is None
    writer = KeyFile(file.path.parent)
    writer.change(lambda ring: ring.with_(READER))
    assert file.look() == Keys([READER])
    assert file.look() is None
    writer.change(lambda ring: ring.with_(numbered(1)))
    assert file.look() == Keys([READER, numbered(1)])
    assert file.look() is None


def damage(path: Path, how: str) -> None:
    match how:
        case "torn":
            path.write_bytes(path.read_bytes()[:40])
        case "empty":
            path.write_bytes(b"")
        case "newer":
            path.write_bytes(b'{"format": 2}')
        case "shared":
            path.chmod(0o644)
        case "gone":
            path.unlink()
        case "all_gone":
            path.unlink()
            path.with_name("keys.lock").unlink()


@pytest.mark.parametrize("how", ["torn", "empty", "newer", "shared", "gone", "all_gone"])
def test_what_happens_to_the_file_is_told_once_and_takes_no_key_away(
    file: KeyFile, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.change(lambda ring: ring.with_(READER))
    assert file.read() == Keys([READER])
    good = file.path.read_bytes()
    damage(file.path, how)
    assert [file.look() for _ in range(3)] == [None] * 3
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("the keys stay what they were: ")
    file.path.unlink(missing_ok=True)
    file.path.touch(mode=0o600)
    file.path.write_bytes(good)
    assert file.look() == Keys([READER])
    assert caplog.records[-1].getMessage() == "the keys can be read again"


def test_a_file_that_cannot_be_opened_just_now_is_read_when_it_can_be(
    file: KeyFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file.change(lambda ring: ring.with_(READER))
    file.read()
    KeyFile(file.path.parent).change(lambda ring: ring.with_(numbered(1)))
    real = os.open

    def no_descriptor(path: object, *how: object, **more: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", no_descriptor)
    assert file.look() is None
    assert file.look() is None
    monkeypatch.setattr(os, "open", real)
    assert len(caplog.records) == 1
    ring = file.look()
    assert ring is not None
    assert len(ring) == 2
