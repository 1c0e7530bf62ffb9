"""Pages with checksums: a letter that changed in the file is found, by whoever reads it; stores without them open."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import pytest

from tcsql.engine.change import CreateTable, Upsert
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import ReadOnly, SetupError, StoreDamaged
from tcsql.storage import checksums, fileformat
from tcsql.storage.check import check_store
from tcsql.storage.options import StoreOptions
from tcsql.storage.sqlite import connect
from tcsql.storage.store import Store
from tcsql.storage.upgrade import upgrade
from tests.storage.support import INT, contents, create_all, posts

MARK = "mark of a row"
#: A text stands in the file once, and not in a record of what has changed as well.
WITHOUT_LOG = StoreOptions(change_log=0)
LONG = TableSchema("long", (Column("id", INT, nullable=False), Column("text", ColumnType(Kind.TEXT, "text"))), ("id",))


def filled(directory: Path, rows: int = 600) -> Path:
    """A store of some pages, the letters of one row in the middle to be found; stopped."""
    store = Store.open(directory, WITHOUT_LOG)
    store.commit_blocking(create_all())
    store.commit_blocking(posts(*range(rows), title="x" * 150))
    store.commit_blocking(posts(rows // 2, title=MARK))
    store.commit_blocking(posts(rows + 1, title="long" * 40))
    store.close()
    return directory


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store as one makes it that has no checksums."""
    with monkeypatch.context() as patched:
        patched.setattr(checksums, "are_available", lambda: False)
        return filled(tmp_path / "plain")


def change_a_letter(directory: Path, text: str = MARK) -> None:
    """``text`` inside of the file becomes another one, as long and no less sound."""
    file = directory / fileformat.FILE_NAME
    data = file.read_bytes()
    assert data.count(text.encode()) >= 1
    file.write_bytes(data.replace(text.encode(), text.replace("m", "n", 1).replace("l", "k", 1).encode()))


def test_a_changed_letter_of_a_row_is_refused_with_the_table_and_what_to_do(tmp_path: Path) -> None:
    directory = filled(tmp_path / "store")
    change_a_letter(directory)
    before = (directory / fileformat.FILE_NAME).read_bytes()
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=r"does not have the checksum .* \(table posts\)") as caught:
            Store.open(directory)
        assert caught.value.hint is not None
        assert "restore a backup" in caught.value.hint
    assert (directory / fileformat.FILE_NAME).read_bytes() == before
    assert [(found.where, found.what) for found in check_store(directory)] == [("posts", checksums.MISMATCH)]


def test_every_page_that_is_in_use_is_looked_at(tmp_path: Path) -> None:
    """Any bit of any page: of rows, of schemas, of the change log, of what a page has not used yet."""
    original = filled(tmp_path / "store", rows=60)
    size = (original / fileformat.FILE_NAME).stat().st_size
    connection = connect(original / fileformat.FILE_NAME, apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("freelist_count") == 0
    connection.close()
    for page in range(size // fileformat.PAGE_BYTES):
        for at in (100, 1_500, 4_095):
            damaged = shutil.copytree(original, tmp_path / f"{page}-{at}")
            with (damaged / fileformat.FILE_NAME).open("r+b") as file:
                file.seek(page * fileformat.PAGE_BYTES + at)
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes((byte ^ 4,)))
            with pytest.raises(StoreDamaged):
                Store.open(damaged)
            assert check_store(damaged)


def test_a_backup_does_not_copy_a_damaged_page_and_has_checksums_of_its_own(tmp_path: Path) -> None:
    directory = filled(tmp_path / "store", rows=12_000)  # more than SQLite's cache: pages leave before the first one
    store = Store.open(directory)
    target = tmp_path / "restored" / fileformat.FILE_NAME
    target.parent.mkdir()
    store.backup(target)
    assert check_store(target.parent) == []
    change_a_letter(directory)
    with pytest.raises(StoreDamaged, match="does not have the checksum"):
        store.backup(tmp_path / "second")
    assert not (tmp_path / "second").exists()
    store.close()
    restored = Store.open(target.parent)
    assert len(restored.database.table("posts")) == 12_001
    assert restored.status()["checksums"] is True
    restored.close()
    change_a_letter(target.parent)
    with pytest.raises(StoreDamaged):
        Store.open(target.parent)


def test_a_write_that_meets_a_damaged_page_ends_writing_and_says_that_memory_is_whole(tmp_path: Path) -> None:
    directory = filled(tmp_path / "store", rows=3_000)
    store = Store.open(directory)
    change_a_letter(directory)
    store._file.connection.pragma("shrink_memory")
    with pytest.raises(ReadOnly, match="does not have the checksum") as caught:
        store.commit_blocking(posts(1_500, title="another"))
    assert "dump" in str(caught.value.hint)
    assert len(store.database.table("posts")) == 3_001
    store.close()


def test_a_store_without_checksums_opens_is_written_and_says_so(plain: Path) -> None:
    before = None
    for number in (1, 2):
        store = Store.open(plain)
        assert store.status()["checksums"] is False
        assert any("tcsql upgrade" in note for note in store.recovered.notes)
        store.commit_blocking(posts(10_000 + number))
        before = contents(store.database)
        store.close()
    assert before is not None
    assert len(before["posts"][1]) == 603
    assert check_store(plain) == []


def test_an_upgrade_adds_checksums_and_changes_nothing_else(plain: Path) -> None:
    store = Store.open(plain)
    before, lsn = contents(store.database), store.lsn
    assert store.recovered.notes != ()
    store.close()
    assert upgrade(plain) is True
    assert upgrade(plain) is False, "a second time there is nothing to do"
    assert check_store(plain) == []
    store = Store.open(plain)
    assert (contents(store.database), store.lsn, store.recovered.notes) == (before, lsn, ())
    store.close()
    assert sorted(path.name for path in plain.iterdir()) == ["lock", fileformat.FILE_NAME]
    change_a_letter(plain)
    with pytest.raises(StoreDamaged):
        Store.open(plain)


def test_an_upgrade_of_a_crashed_store_keeps_what_its_log_holds(plain: Path, tmp_path: Path) -> None:
    store = Store.open(plain)
    store.commit_blocking(posts(77_777, title="in the log only"))
    crashed = shutil.copytree(plain, tmp_path / "crashed")
    before = contents(store.database)
    store.close()
    upgrade(crashed)
    store = Store.open(crashed)
    assert contents(store.database) == before
    assert not store.recovered.clean
    store.close()


def test_a_damaged_store_is_not_upgraded_and_one_in_use_neither(plain: Path) -> None:
    store = Store.open(plain)
    with pytest.raises(SetupError, match="in use"):
        upgrade(plain)
    store.close()
    with pytest.raises(SetupError, match="no store"):
        upgrade(plain / "nowhere")
    file = plain / fileformat.FILE_NAME
    data = bytearray(file.read_bytes())
    data[5 * fileformat.PAGE_BYTES + 3] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(StoreDamaged):
        upgrade(plain)
    assert file.read_bytes() == data


def test_without_the_extension_a_store_with_checksums_is_refused_rather_than_spoilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = filled(tmp_path / "store")
    monkeypatch.setattr(checksums, "are_available", lambda: False)
    with pytest.raises(SetupError, match="no cksumvfs") as caught:
        Store.open(directory)
    assert "pip install" in str(caught.value.hint)


def test_a_row_that_overflows_its_page_is_covered(tmp_path: Path) -> None:
    store = Store.open(tmp_path, WITHOUT_LOG)
    store.commit_blocking([CreateTable(LONG)])
    store.commit_blocking([Upsert("long", [{"id": 1, "text": "a" * 50_000 + MARK + "b" * 50_000}])])
    store.close()
    change_a_letter(tmp_path)
    with pytest.raises(StoreDamaged, match=r"\(table long\)"):
        Store.open(tmp_path)
