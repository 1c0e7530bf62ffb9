"""What queries, loads and restarts are compared with: structures and programs that everybody knows.

    dictionary   rows as JSON bytes in a dict, replies joined from them: the floor of any cache in Python
    SQLite       the same rows and indexes in the standard library's sqlite3, rows as JSON, replies joined as ours

``python -m benchmarks.references`` does the jobs that are timed as a whole process.
"""

from __future__ import annotations

import gc
import json
import sqlite3
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import orjson
import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.shape import Post, to_json

_COLUMNS: Final = "id, uid, dateline, idtype, json"


class Dictionary:
    """One row by its key, and the reply around it."""

    def __init__(self, rows: Mapping[int, bytes]) -> None:
        self._rows = rows

    def row(self, key: int) -> bytes:
        return b'{"rows":[%b]}' % b",".join([self._rows[key]])


class SQLite:
    """The four queries of the seed over sqlite3, statements prepared, without any network."""

    def __init__(self, path: str = ":memory:") -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)

    def create(self) -> None:
        self.connection.executescript(
            """CREATE TABLE posts (id INTEGER PRIMARY KEY, uid INTEGER NOT NULL, dateline INTEGER NOT NULL,
                                   idtype TEXT NOT NULL, json BLOB NOT NULL);
               CREATE INDEX uid ON posts (uid);
               CREATE INDEX idtype_dateline ON posts (idtype, dateline);
               CREATE INDEX dateline ON posts (dateline);"""
        )

    def fill(self, rows: Iterable[Post]) -> None:
        self.connection.execute("BEGIN")
        self.connection.executemany(
            f"INSERT INTO posts ({_COLUMNS}) VALUES (?,?,?,?,?)",
            ((post.id, post.uid, post.dateline, post.idtype, to_json(post)) for post in rows),
        )
        self.connection.execute("COMMIT")
        self.connection.execute("ANALYZE")

    def q1(self, key: int) -> bytes:
        return self._page("SELECT json FROM posts WHERE id = ? ORDER BY id DESC LIMIT 1", key)

    def q2(self, uid: int) -> bytes:
        return self._page("SELECT json FROM posts WHERE uid = ? ORDER BY id DESC LIMIT 1", uid)

    def q3(self, since: int, kind: str) -> bytes:
        where = "dateline >= ? AND idtype = ?"
        return self._page(f"SELECT json FROM posts WHERE {where} ORDER BY id DESC LIMIT 10", since, kind)

    def q4(self, since: int, kind: str) -> bytes:
        statement = "SELECT count(*) FROM posts WHERE dateline >= ? AND idtype = ?"
        (count,) = self.connection.execute(statement, (since, kind)).fetchone()
        return b'{"count":%d}' % count

    def _page(self, statement: str, *values: object) -> bytes:
        return b'{"rows":[%b]}' % b",".join([row for (row,) in self.connection.execute(statement, values)])


def load_into_sqlite(source: Path, target: Path) -> None:
    """The reference of a load: NDJSON read by orjson into a durable SQLite file with the same three indexes."""
    database = SQLite(str(target))
    database.connection.execute("PRAGMA journal_mode=WAL")
    database.connection.execute("PRAGMA synchronous=FULL")
    database.create()
    database.connection.execute("BEGIN")
    with source.open("rb") as file:
        database.connection.executemany(
            f"INSERT INTO posts ({_COLUMNS}) VALUES (?,?,?,?,?)",
            (
                (row["id"], row["uid"], row["dateline"], row["idtype"], line)
                for line in file
                for row in [orjson.loads(line)]
            ),
        )
    database.connection.execute("COMMIT")
    database.connection.close()


def stored_rows(path: Path) -> int:
    """How many rows a store's file has."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    (count,) = connection.execute("SELECT count(*) FROM rows_1").fetchone()
    connection.close()
    return int(count)


def read_store(path: Path) -> dict[int, bytes]:
    """The reference of a restart and of its memory: every row of a store's file read, decoded once, kept in a dict."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    kept = {}
    for (row,) in connection.execute("SELECT CAST(row AS BLOB) FROM rows_1"):
        kept[orjson.loads(row)["id"]] = row
    connection.close()
    return kept


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def main() -> None:
    """``load NDJSON TARGET``, or ``read STORE``: prints seconds and bytes a row."""
    job, *names = sys.argv[1:]
    paths = [Path(name).absolute() for name in names]
    if job == "load":
        load_into_sqlite(*paths)
        return
    gc.disable()
    before, started = _resident_bytes(), time.perf_counter()
    kept = read_store(*paths)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "bytes_a_row": (_resident_bytes() - before) / len(kept)}))


if __name__ == "__main__":
    main()
