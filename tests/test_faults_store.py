"""Faults around and inside the data directory, as the command line meets them: exit code, one line, what to do.

And flips of single bytes in a store's files: what is served is what was committed, or nothing is.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tcsql.engine.change import CreateTable, Upsert
from tcsql.errors import SetupError, StoreDamaged, StoreNewer
from tcsql.storage import fileformat, wal
from tcsql.storage.store import Store
from tests.http.serving import command, environment, finished, serving
from tests.results import record
from tests.storage.support import POSTS, contents, crash_copy, post, posts
from tests.strategies import EFFORT

USER = 65_534  # nobody


def serve(data: Path, *flags: str, as_nobody: bool = False) -> subprocess.CompletedProcess[str]:
    arguments = command("serve", "--data", str(data), "--port", "0", *flags)
    if as_nobody:
        assert os.geteuid() == 0, "the superuser alone can become another user; as an ordinary user rights are real"
        arguments = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *arguments]
    return subprocess.run(
        arguments, capture_output=True, text=True, env=environment(), cwd="/", timeout=30, check=False
    )


def says(found: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The exit code, and one line with the words, the last of which says what to do."""
    assert found.returncode == code, found.stderr
    last = found.stderr.splitlines()[-1]
    assert last.startswith("tcsql: ") and all(word in last for word in words), last
    assert "Traceback" not in found.stderr


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    with closing(Store.open(directory)) as store:
        store.commit_blocking([CreateTable(POSTS)])
        store.commit_blocking([Upsert("posts", [post(number, f"title {number}") for number in range(50)])])
    return directory


def fingerprint(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if path.name not in ("lock", "tcsql.db-shm") and path.stat().st_size
    }


# --- surroundings: exit 2 -----------------------------------------------------------------------------------


def test_a_second_start_is_told_who_holds_the_store_and_the_first_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        found = serve(tmp_path / "data")
        says(found, 2, f"in use by process {server.process.pid}", "end that process, or name another directory")
        assert server.client.get(server.url + "/ready").status_code == 200
        assert finished("check", str(tmp_path / "data"), cwd=tmp_path).returncode == 0  # it reads beside a server


def test_a_killed_server_is_followed_by_the_next_one_at_once(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        server.process.kill()
        server.process.wait()
    with serving(tmp_path / "data") as server:
        assert server.stop() == 0


def test_a_path_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    says(serve(tmp_path / "file"), 2, "cannot be used", "--data")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_system_that_is_mounted_read_only_is_told(data: Path) -> None:
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    arguments = [*namespace, "sh", "-c", script, "sh", str(data), *command("serve", "--data", str(data), "--port", "0")]
    found = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=30, check=False)
    if "unshare:" in found.stderr or "mount:" in found.stderr:
        pytest.skip("NOT TESTED: nothing can be mounted here; run the tests where unshare is allowed")
    says(found, 2, "Read-only file system", "name a directory that this user may write")


def test_a_missing_directory_is_made_for_this_user_only(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with serving(tmp_path / "a" / "b") as server:
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        assert server.stop() == 0


# --- what is in the file: exit 3 ----------------------------------------------------------------------------


def test_a_damaged_store_names_the_check_and_is_left_alone(data: Path) -> None:
    file = data / fileformat.FILE_NAME
    file.write_bytes(file.read_bytes()[:5_000])
    before = fingerprint(data)
    says(serve(data), 3, "tcsql check", "restore a backup")
    assert fingerprint(data) == before


def test_a_newer_store_is_refused_and_not_one_byte_changed(data: Path) -> None:
    with closing(sqlite3.connect(data / fileformat.FILE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {fileformat.FORMAT_VERSION + 1}")
    before = fingerprint(data)
    says(serve(data), 3, "has format", "use the TCSQL that wrote it, or a newer one; nothing was changed")
    assert fingerprint(data) == before


def test_a_log_without_its_store_is_refused(data: Path) -> None:
    (data / fileformat.FILE_NAME).unlink()
    (data / "tcsql.db-wal").write_bytes(b"x" * 5_000)
    says(serve(data), 3, "file is missing", "tcsql check")


# --- single bytes -------------------------------------------------------------------------------------------


def _opened(directory: Path) -> tuple[object, tuple[str, ...]] | None:
    """What a store holds, and its notes; None: refused, with the exit code for damage."""
    try:
        store = Store.open(directory)
    except StoreDamaged as error:
        assert error.exit_code == 3 and error.hint
        return None
    except StoreNewer:
        return None  # the bytes of the version
    try:
        return contents(store.database), store.recovered.notes
    finally:
        store._file.close()
        store._lock.release()


def test_a_flipped_byte_of_the_log_is_refused_or_leaves_a_state_that_was_committed(data: Path, tmp_path: Path) -> None:
    """Only of the last transaction a flip looks like the torn end of a crash: then what is dropped is told."""
    states = []
    store = Store.open(data)
    for number in range(6):
        states.append(contents(store.database))
        store.commit_blocking(posts(100 + number, title=f"later {number}"))
    states.append(contents(store.database))
    image = crash_copy(data, tmp_path / "image")
    store.close()
    log = wal.log_path(image / fileformat.FILE_NAME)
    whole = log.read_bytes()
    random = Random(7)
    places = set(range(60)) | {random.randrange(len(whole)) for _ in range(150 * EFFORT)}
    outcomes = {"refused": 0, "whole": 0, "earlier": 0}
    for place in sorted(places):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << random.randrange(8)
        target = tmp_path / "flipped"
        shutil.copytree(image, target)
        wal.log_path(target / fileformat.FILE_NAME).write_bytes(flipped)
        found = _opened(target)
        if found is None:
            outcomes["refused"] += 1
        else:
            held, notes = found
            assert held in states, place
            earlier = held != states[-1]
            assert not earlier or any("cut a transaction short" in note for note in notes), place
            outcomes["earlier" if earlier else "whole"] += 1
        shutil.rmtree(target)
    assert outcomes["refused"] > 50
    record("E5-flips-log", True, flips=len(places), **outcomes)


def test_a_flipped_byte_of_the_file_is_refused_wherever_something_depends_on_it(data: Path) -> None:
    """Texts of rows included, for each page has a checksum: but for pages that hold nothing, which nobody reads."""
    good = _opened(data)
    assert good is not None
    Store.open(data).close()
    file = data / fileformat.FILE_NAME
    whole = file.read_bytes()
    free = _free_pages(whole)
    random = Random(11)
    outcomes = {"refused": 0, "in_free_pages": 0}
    for place in sorted(random.sample(range(len(whole)), min(len(whole), 250 * EFFORT))):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << random.randrange(8)
        file.write_bytes(flipped)
        for left in wal.log_path(file), file.with_name(file.name + "-shm"):
            left.unlink(missing_ok=True)  # of the one before: what stands in a log is not read from the file
        try:
            found = _opened(data)
        except SetupError:
            found = None  # "cannot be opened": as good as damage
        if found is None:
            outcomes["refused"] += 1
            continue
        assert place // fileformat.PAGE_BYTES + 1 in free, (place, whole[place], flipped[place])
        assert found[0] == good[0]
        outcomes["in_free_pages"] += 1
    file.write_bytes(whole)
    assert outcomes["refused"] > 20
    record("E5-flips-file", True, **outcomes)


def _free_pages(whole: bytes) -> set[int]:
    """The numbers of the pages that are on SQLite's list of free ones, but for those that make the list."""
    found: set[int] = set()
    trunk = int.from_bytes(whole[32:36], "big")
    while trunk:
        page = whole[(trunk - 1) * fileformat.PAGE_BYTES :]
        count = int.from_bytes(page[4:8], "big")
        found.update(int.from_bytes(page[at : at + 4], "big") for at in range(8, 8 + 4 * count, 4))
        trunk = int.from_bytes(page[:4], "big")
    return found


def test_opening_twice_in_one_process_is_refused_too(data: Path) -> None:
    async def main() -> None:
        store = await asyncio.to_thread(Store.open, data)
        with pytest.raises(SetupError, match=f"in use by process {os.getpid()}"):
            await asyncio.to_thread(Store.open, data)
        store.close()

    asyncio.run(main())
