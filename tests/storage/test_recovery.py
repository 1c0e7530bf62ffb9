"""Recovery opens to the last committed transaction, or refuses with the reason and changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from tcsql.engine.change import Upsert
from tcsql.errors import SetupError, StoreDamaged, StoreNewer
from tcsql.storage import fileformat, sqlite, wal
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin
from tests.storage.support import contents, crash_copy, create_all, post, posts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A store that was closed, with 300 posts."""
    directory = tmp_path / "data"
    store = Store.open(directory)
    store.commit_blocking(create_all())
    store.commit_blocking([Upsert("posts", [post(number, "some text") for number in range(300)])])
    store.close()
    return directory


@pytest.fixture
def crashed(data: Path, tmp_path: Path) -> Path:
    """The same, killed after 40 more commits."""
    store = Store.open(data)
    for number in range(40):
        store.commit_blocking(posts(1000 + number))
    image = crash_copy(data, tmp_path / "crashed")
    store.close()
    return image


@contextmanager
def editing(directory: Path) -> Iterator[apsw.Connection]:
    """What a person, or a bad disk, may do to the file."""
    connection = apsw.Connection(str(directory / fileformat.FILE_NAME))
    connection.pragma("writable_schema", "ON")
    yield connection
    connection.close()


def fingerprint(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if path.name not in ("lock", "tcsql.db-shm") and path.stat().st_size
    }


def refused(directory: Path, error: type[StoreDamaged | StoreNewer | SetupError], what: str) -> None:
    """Opening is refused, twice alike, and no byte of file or log has changed."""
    before = fingerprint(directory)
    for _ in range(2):
        with pytest.raises(error, match=what) as caught:
            Store.open(directory)
        assert caught.value.hint
    assert fingerprint(directory) == before


# --- unclean stops ------------------------------------------------------------------------------------------


def test_a_crashed_store_opens_to_its_last_commit(crashed: Path) -> None:
    store = Store.open(crashed)
    assert not store.recovered.clean and store.recovered.lsn == 42
    assert len(contents(store.database)["posts"][1]) == 340
    store.close()


def test_lsns_are_never_given_twice_across_crashes(crashed: Path, tmp_path: Path) -> None:
    highest, directory = 0, crashed
    for crash in range(3):
        store = Store.open(directory)
        # What this life gave out without making it durable is lost with it, and its numbers too.
        for number in range(5):
            store._check_and_apply(posts(number), Origin(Level.INTERVAL))
        first = store.recovered.lsn + 1
        assert store.lsn - 4 > highest >= first - 1 or crash == 0
        highest = store.lsn
        directory = crash_copy(directory, tmp_path / f"again{crash}")
        store._file.close()
        store._lock.release()
    store = Store.open(directory)
    assert store.lsn > highest
    store.close()


def test_a_torn_last_transaction_is_dropped_and_the_rest_is_there(crashed: Path) -> None:
    log = wal.log_path(crashed / fileformat.FILE_NAME)
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 1000)
    store = Store.open(crashed)
    assert store.recovered.lsn == 41 and len(contents(store.database)["posts"][1]) == 339
    store.close()


def test_a_missing_log_after_a_crash_is_noted(crashed: Path) -> None:
    wal.log_path(crashed / fileformat.FILE_NAME).unlink()
    with editing(crashed) as connection:
        connection.execute("UPDATE state SET clean = 0")
    store = Store.open(crashed)
    assert "no write-ahead log" in store.recovered.notes[0]
    store.close()


def test_a_store_half_made_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "tcsql.db.new").write_bytes(b"left over from a crash")
    (tmp_path / "tcsql.db.new-wal").write_bytes(b"this too")
    store = Store.open(tmp_path)
    store.commit_blocking(create_all())
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "tcsql.db"]


# --- damage -------------------------------------------------------------------------------------------------


def test_a_damaged_log_is_refused(crashed: Path) -> None:
    log = wal.log_path(crashed / fileformat.FILE_NAME)
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    refused(crashed, StoreDamaged, "complete transactions follow")


def test_a_log_without_its_file_is_refused(crashed: Path) -> None:
    (crashed / fileformat.FILE_NAME).unlink()
    with pytest.raises(StoreDamaged, match="file is missing"):
        Store.open(crashed)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 8192, b"not a database at all" * 500], ids=["empty", "zeros", "something else"]
)
def test_what_is_not_sqlite_is_refused(data: Path, content: bytes) -> None:
    (data / fileformat.FILE_NAME).write_bytes(content)
    refused(data, StoreDamaged, "not a SQLite file")


def test_another_programs_sqlite_file_is_refused(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / fileformat.FILE_NAME))
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    refused(tmp_path, StoreDamaged, "not one of TCSQL")


def test_a_file_cut_short_is_refused(data: Path) -> None:
    file = data / fileformat.FILE_NAME
    whole = file.read_bytes()
    for pages in range(1, len(whole) // 4096):
        file.write_bytes(whole[: pages * 4096])
        with pytest.raises(StoreDamaged):
            Store.open(data)


def test_a_page_of_zeros_is_refused(data: Path) -> None:
    """Any page that holds rows, or the way to them: a quiet loss of some rows would be the worst answer."""
    file = data / fileformat.FILE_NAME
    whole = file.read_bytes()
    refusals = 0
    for page in range(1, len(whole) // 4096):
        file.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        try:
            store = Store.open(data)
        except StoreDamaged:
            refusals += 1
            continue
        # Pages without rows: an empty table or index, the list of free pages.
        assert [len(rows) for _, rows, _ in contents(store.database).values()] == [300, 0, 0, 0]
        store._file.close()
        store._lock.release()
    assert refusals >= 8


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE {rows} SET row = '{{\"id\":7' WHERE pkey = 7", "row of table"),
        ("UPDATE {rows} SET row = '[]' WHERE pkey = 7", "row of table"),
        ("UPDATE {rows} SET row = '{{\"uid\":7}}' WHERE pkey = 7", "row of table"),
        ("UPDATE {rows} SET layout = 9 WHERE pkey = 7", "row of table"),
        ("DROP TABLE {rows}", "rows of table .* are missing"),
        ("DROP TABLE changes", "cannot be opened"),
        ("DELETE FROM meta", "no id"),
        ("DELETE FROM state", "state is missing"),
        ("UPDATE state SET lsn = 'x'", "state is missing or makes no sense"),
        ("UPDATE state SET lsn = ceiling + 1", "makes no sense"),
        ("UPDATE tables SET schema = '{{}}' WHERE name = 'posts'", "schema of table"),
        ("UPDATE tables SET schema = 'x' WHERE name = 'posts'", "schema of table"),
        ("UPDATE tables SET name = 'other' WHERE name = 'posts'", 'schema that is called "posts"'),
    ],
)
def test_contents_that_make_no_sense_are_refused(data: Path, statement: str, what: str) -> None:
    with editing(data) as connection:
        (number,) = connection.execute("SELECT id FROM tables WHERE name = 'posts'").fetchone() or (0,)
        connection.execute(statement.format(rows=fileformat.rows_table(number)))
    refused(data, StoreDamaged, what)


# --- formats ------------------------------------------------------------------------------------------------


def test_a_newer_format_is_refused_and_not_one_byte_changed(crashed: Path) -> None:
    store = Store.open(crashed)
    store.close()
    with editing(crashed) as connection:
        connection.pragma("user_version", fileformat.FORMAT_VERSION + 1)
    refused(crashed, StoreNewer, "has format 3, this program knows 2")


def test_a_newer_format_that_only_the_log_tells_is_refused_too(data: Path, tmp_path: Path) -> None:
    with editing(data) as connection:
        connection.pragma("wal_autocheckpoint", 0)
        connection.pragma("user_version", 7)
        image = crash_copy(data, tmp_path / "image")
    refused(image, StoreNewer, "has format 7")


def test_a_format_that_never_was_is_refused(data: Path) -> None:
    with editing(data) as connection:
        connection.pragma("user_version", 0)
    refused(data, StoreDamaged, "never existed")


# --- surroundings -------------------------------------------------------------------------------------------


def test_an_open_store_is_refused_to_a_second_one(data: Path) -> None:
    store = Store.open(data)
    with pytest.raises(SetupError, match="in use by process"):
        Store.open(data)
    store.commit_blocking(posts(1))
    store.close()


def test_a_refused_store_is_unlocked_again(data: Path) -> None:
    good = (data / fileformat.FILE_NAME).read_bytes()
    (data / fileformat.FILE_NAME).write_bytes(b"x" * 5000)
    with pytest.raises(StoreDamaged):
        Store.open(data)
    (data / fileformat.FILE_NAME).write_bytes(good)
    Store.open(data).close()


def test_a_store_that_another_program_keeps_locked_is_told_apart_from_damage(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_MS", 50)
    with editing(data) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE state SET lsn = lsn")
        with pytest.raises(SetupError):
            Store.open(data)
        connection.execute("ROLLBACK")


def test_opening_in_a_thread_leaves_the_loop_free(data: Path) -> None:
    async def main() -> None:
        store = await asyncio.to_thread(Store.open, data, StoreOptions())
        await store.commit(posts(1))
        store.close()

    asyncio.run(main())
