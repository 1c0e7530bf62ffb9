from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tcsql.errors import SetupError
from tcsql.storage.lock import DirectoryLock, is_locked


def test_the_directory_is_made_for_this_user_only(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    lock = DirectoryLock(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    lock.release()


def test_a_second_holder_is_refused_and_told_the_process(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    assert is_locked(tmp_path)
    with pytest.raises(SetupError, match=f"in use by process {os.getpid()}$") as caught:
        DirectoryLock(tmp_path)
    assert caught.value.exit_code == 2
    lock.release()
    assert not is_locked(tmp_path)
    DirectoryLock(tmp_path).release()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tcsql.storage.lock import DirectoryLock\n"
        "lock = DirectoryLock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(SetupError, match=f"process {holder.pid}$"):
            DirectoryLock(tmp_path)
        holder.kill()
        holder.wait()
    DirectoryLock(tmp_path).release()


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot be used"):
        DirectoryLock(tmp_path / "file")
    with pytest.raises(SetupError, match="cannot be used"):
        DirectoryLock(tmp_path / "file" / "below")


def test_a_directory_without_the_right_to_write_is_refused() -> None:
    # /proc refuses new entries to everybody, the superuser included.
    with pytest.raises(SetupError, match="cannot be used"):
        DirectoryLock(Path("/proc/self"))
    with pytest.raises(SetupError, match="cannot be used"):
        DirectoryLock(Path("/proc/tcsql-data"))


def test_looking_at_the_lock_does_not_turn_a_starting_store_away(tmp_path: Path) -> None:
    DirectoryLock(tmp_path).release()
    descriptor = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    timer = threading.Timer(0.01, os.close, (descriptor,))
    timer.start()
    DirectoryLock(tmp_path).release()
    timer.join()


def test_an_unlocked_directory_is_left_untouched(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert not list(tmp_path.iterdir())
