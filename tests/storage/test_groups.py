"""A transaction in one statement writes what the same transaction in many statements writes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import apsw
import pytest

from tcsql.engine.change import Change, CreateTable, Delete, DropTable, Truncate, Upsert
from tcsql.engine.query import Condition, Filter, Operator
from tcsql.errors import NoSpace
from tcsql.storage.file import StoreFile
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tests.storage.faults import faulty_disk, no_space
from tests.storage.support import POSTS, contents, create_all, posts

#: Everything the file holds but what differs for every store: its id.
EVERYTHING = ("state", "counters", "positions", "changes", "rows_1", "rows_2", "rows_3", "rows_4")


def history(random: Random) -> list[list[Change]]:
    """Commits of all kinds, most of them one row of one table."""
    found: list[list[Change]] = []
    for number in range(80):
        key = random.randrange(12)
        found.append(
            random.choice(
                [
                    posts(key, title=f"{number} é"),
                    posts(key),
                    [Upsert("counted", [{"title": "generated"}])],
                    [Upsert("counted", [{"id": 2**63 + key, "title": "large"}])],
                    [Upsert("named", [{"name": f"n,{key}", "hits": number}])],
                    [Upsert("pairs", [{"a": "x,y", "b": key, "c": None}])],
                    posts(*range(300 if number % 2 else 1_100)) if number % 9 == 0 else posts(1),
                    [*posts(1), Upsert("named", [{"name": "both"}])],
                    [Delete("posts", Filter(((Condition("id", Operator.NUMEQ, str(key)),),)))],
                    [Truncate("named")] if number % 7 == 0 else posts(2),
                ]
            )
        )
    return found


def written(directory: Path, commits: list[list[Change]]) -> dict[str, list[object]]:
    store = Store.open(directory, StoreOptions(change_log=60))  # so small that it is cut
    store.commit_blocking(create_all())
    for changes in commits:
        store.commit_blocking(changes)
    connection = apsw.Connection(str(directory / "tcsql.db"), flags=apsw.SQLITE_OPEN_READONLY)
    found: dict[str, list[object]] = {
        name: list(connection.execute(f"SELECT *, typeof(1) FROM {name} ORDER BY 1")) for name in EVERYTHING
    }
    types = (
        "SELECT typeof(pkey), typeof(layout), typeof(row) FROM rows_1 UNION SELECT typeof(payload), 1, 1 FROM changes"
    )
    found["types"] = list(connection.execute(types))
    held = contents(store.database)
    connection.close()
    store.close()
    reopened = Store.open(directory)
    assert contents(reopened.database) == held
    reopened.close()
    return found


@pytest.mark.parametrize("seed", range(4))
def test_one_statement_writes_what_many_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    commits = history(Random(seed))
    at_once = written(tmp_path / "at once", commits)
    monkeypatch.setattr(StoreFile, "_write_at_once", lambda *_: False)
    assert at_once == written(tmp_path / "in steps", commits)


def test_the_usual_transaction_is_one_statement_and_leaves_nothing_in_the_file(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.commit_blocking(create_all())
    statements: list[str] = []
    store._file.connection.exec_trace = lambda cursor, sql, bindings: statements.append(sql) is None
    for number in range(3):
        store.commit_blocking(posts(number))
    assert [sql.split()[0] for sql in statements[-2:]] == ["INSERT", "INSERT"]
    assert statements[-1] == statements[-2]
    store._file.connection.exec_trace = None
    names = [name for (name,) in store._file.connection.execute("SELECT name FROM main.sqlite_schema")]
    assert not any(name.startswith("group") for name in names)
    store.close()


def test_what_was_made_for_a_table_goes_with_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for _ in range(3):
        store.commit_blocking([CreateTable(POSTS)])
        store.commit_blocking(posts(1))
        store.commit_blocking([DropTable("posts")])
    views = list(store._file.connection.execute("SELECT name FROM sqlite_temp_schema"))
    assert views == []
    store.close()


def test_a_refused_statement_leaves_no_trace(tmp_path: Path) -> None:
    with faulty_disk() as disk:
        store = Store.open(tmp_path, StoreOptions(vfs=disk.name))
        store.commit_blocking(create_all())
        store.commit_blocking(posts(1))
        before = contents(store.database)
        disk.fault = no_space
        for _ in range(2):
            with pytest.raises(NoSpace):
                store.commit_blocking(posts(1, 2, title="x"))
        assert contents(store.database) == before
        disk.fault = None
        store.commit_blocking(posts(3))
        store.close()
        store = Store.open(tmp_path, StoreOptions(vfs=disk.name))
        assert len(contents(store.database)["posts"][1]) == 2
        store.close()
