"""``check_store`` finds what is wrong, finds nothing in a sound store, and changes nothing."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import apsw
import pytest

from tcsql.engine.change import AddColumn, Upsert
from tcsql.engine.schema import Column
from tcsql.errors import SetupError, StoreNewer
from tcsql.storage import fileformat
from tcsql.storage.check import Finding, check_store
from tcsql.storage.store import Store
from tests.storage.support import TEXT, crash_copy, create_all, post


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    store = Store.open(directory)
    store.commit_blocking(create_all())
    store.commit_blocking([Upsert("posts", [post(number) for number in range(300)])])
    store.commit_blocking([Upsert("counted", [{"id": 2**64 - 1, "title": "t"}, {"title": "u", "id": 3}])])
    store.commit_blocking([Upsert("pairs", [{"a": "x,y", "b": 2, "c": None}])])
    store.commit_blocking([AddColumn("posts", Column("extra", TEXT, default="d", has_default=True))])
    store.commit_blocking([Upsert("posts", [{**post(7), "extra": "e"}])])
    store.close()
    return directory


def edit(directory: Path, *statements: str) -> None:
    connection = apsw.Connection(str(directory / fileformat.FILE_NAME))
    names = {name: number for number, name in connection.execute("SELECT id, name FROM tables")}
    for statement in statements:
        connection.execute(statement.format(**{name: fileformat.rows_table(number) for name, number in names.items()}))
    connection.close()


def test_a_sound_store_has_no_findings_and_is_left_as_it_was(data: Path) -> None:
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    assert check_store(data) == []
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before


def test_a_crashed_store_is_sound_too(data: Path, tmp_path: Path) -> None:
    store = Store.open(data)
    store.commit_blocking([Upsert("posts", [{**post(1000), "extra": "e"}])])
    image = crash_copy(data, tmp_path / "image")
    store.close()
    before = [(image / name).read_bytes() for name in ("tcsql.db", "tcsql.db-wal")]
    assert check_store(image) == []
    assert [(image / name).read_bytes() for name in ("tcsql.db", "tcsql.db-wal")] == before


def test_a_running_store_can_be_checked_while_it_writes(data: Path) -> None:
    async def main() -> None:
        store = Store.open(data)
        checking = asyncio.get_running_loop().run_in_executor(None, lambda: [check_store(data) for _ in range(5)])
        number = 0
        while not checking.done():
            number += 1
            await store.commit([Upsert("posts", [{**post(number), "extra": "new"}])])
        assert await checking == [[]] * 5 and number > 1
        store.close()

    asyncio.run(main())
    assert check_store(data) == []


@pytest.mark.parametrize(
    ("statement", "where", "what"),
    [
        ("UPDATE {posts} SET row = '{{\"id\":8' WHERE pkey = 8", "posts", "row 8: is not JSON"),
        ("UPDATE {posts} SET row = '7' WHERE pkey = 8", "posts", "row 8: is not a JSON object"),
        (
            "UPDATE {posts} SET row = json_remove(row, '$.uid') WHERE pkey = 7",
            "posts",
            "row 7: does not have the columns",
        ),
        (
            "UPDATE {posts} SET row = json_remove(row, '$.uid') WHERE pkey = 8",
            "posts",
            "row 8: does not have the columns",
        ),
        ("UPDATE {posts} SET layout = 9 WHERE pkey = 8", "posts", "row 8: has layout 9, which the table never had"),
        ("UPDATE {posts} SET pkey = 1008 WHERE pkey = 8", "posts", "row 1008: is stored under another key"),
        (
            "UPDATE {posts} SET row = json_set(row, '$.id', null) WHERE pkey = 8",
            "posts",
            "row 8: has no readable primary key",
        ),
        ("UPDATE {counted} SET pkey = -2 WHERE pkey = -1", "counted", f"row {2**64 - 2}: is stored under another key"),
        ("UPDATE {pairs} SET pkey = 'x,y,2'", "pairs", "row x,y,2: is stored under another key"),
        ("UPDATE changes SET payload = 'x' WHERE lsn = 2", "change log", "record 2 cannot be read"),
        ("UPDATE changes SET ops = 17 WHERE lsn = 3", "change log", "record 3 does not hold 17"),
        ("UPDATE changes SET lsn = 100 WHERE lsn = 3", "change log", "record 100 is out of order"),
        ("UPDATE tables SET schema = '{{'", "file", "schema of table"),
        ("DROP TABLE {posts}", "file", "rows of table .* are missing"),
        ("DELETE FROM state", "file", "state is missing"),
    ],
)
def test_each_kind_of_damage_is_found(data: Path, statement: str, where: str, what: str) -> None:
    edit(data, statement)
    findings = check_store(data)
    assert [finding.where for finding in findings] == [where]
    assert re.search(what, findings[0].what)


def test_many_bad_rows_are_told_up_to_a_hundred(data: Path) -> None:
    edit(data, "UPDATE {posts} SET row = 'x'")
    findings = check_store(data)
    assert len(findings) == 100 and {finding.where for finding in findings} == {"posts"}


def test_a_bad_page_is_found(data: Path) -> None:
    file = data / fileformat.FILE_NAME
    whole = file.read_bytes()
    found = 0
    for page in range(1, len(whole) // 4096):
        file.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        found += check_store(data) != []
    assert found == len(whole) // 4096 - 1


def test_a_damaged_log_is_found(data: Path, tmp_path: Path) -> None:
    store = Store.open(data)
    for number in range(20):
        store.commit_blocking([Upsert("posts", [{**post(number), "extra": "e"}])])
    image = crash_copy(data, tmp_path / "image")
    store.close()
    log = bytearray((image / "tcsql.db-wal").read_bytes())
    log[len(log) // 2] ^= 1
    (image / "tcsql.db-wal").write_bytes(log)
    assert [finding.where for finding in check_store(image)] == ["write-ahead log"]


def test_what_is_not_sqlite_is_a_finding(data: Path) -> None:
    (data / fileformat.FILE_NAME).write_bytes(b"x" * 5000)
    assert [finding.where for finding in check_store(data)] == ["file"]


def test_no_store_and_a_newer_store_are_errors(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there is no store"):
        check_store(tmp_path)
    edit(data, f"PRAGMA user_version = {fileformat.FORMAT_VERSION + 1}")
    with pytest.raises(StoreNewer):
        check_store(data)


def test_an_index_that_disagrees_with_its_rows_is_found(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcsql.engine.database.Database.check_invariants", _disagree)
    findings = check_store(data)
    assert Finding("posts", "the engine's indexes: planted") in findings


def _disagree(self: object) -> None:
    raise AssertionError("planted")
