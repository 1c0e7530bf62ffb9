"""Makes the store of the newest format that must open for ever: ``python -m tests.storage.golden``, once a format.

Files in ``stores/``, packed by gzip: NAME.db and NAME.db-wal as a crash left them, and NAME.json, what a start has to
find in them. A store that was written is never made again: it stands for those that people have.
"""

from __future__ import annotations

import gzip
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from tcsql.engine.change import Row, Upsert
from tcsql.sql import changes_of
from tcsql.storage import fileformat
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin

STORES: Final = Path(__file__).with_name("stores")
FILES: Final = ("tcsql.db", "tcsql.db-wal")
_BEFORE: Final = """
CREATE TABLE posts (id bigint unsigned NOT NULL AUTO_INCREMENT, board int, title varchar(80) COLLATE utf8mb4_bin,
    price decimal(12,3), heat double, seen datetime(3), day date, kind enum('a','b','c'), flags set('x','y','z'),
    is_new tinyint(1) DEFAULT 1, extra json, raw varbinary(40), PRIMARY KEY (id), KEY by_board (board, title));
CREATE TABLE names (name varchar(40) NOT NULL, hits int DEFAULT 0, PRIMARY KEY (name));
CREATE TABLE pairs (a varchar(40) NOT NULL, b decimal(10,2) NOT NULL, c text, PRIMARY KEY (a, b));
CREATE TABLE gone (id int PRIMARY KEY);
"""
_ROWS: Final[dict[str, list[Row]]] = {
    "posts": [
        {"id": 1, "board": 5, "title": "one", "price": "12.5", "heat": 0.25, "seen": "2024-02-29 12:00:00.125"},
        {"id": 2, "board": None, "title": "größe \n 漢字 😀", "heat": -1e300, "is_new": None, "extra": None},
        {"id": 2**63, "board": -7, "title": "", "price": "-0.001", "day": "9999-12-31", "kind": "c", "extra": "[]"},
        {"id": 2**64 - 2, "board": 7, "title": "last", "price": "999999999.999", "flags": "x,z", "raw": "YWJj"},
    ],
    "names": [{"name": name, "hits": hits} for hits, name in enumerate(("alice", "Bob", "ünal", ""))],
    "pairs": [{"a": "a,b\\c", "b": "1.5", "c": "x"}, {"a": "a", "b": "-0.01", "c": None}, {"a": "", "b": 0, "c": "y"}],
    "gone": [{"id": 1}, {"id": 2}],
}
_ALTERED: Final = """
ALTER TABLE posts ADD COLUMN author varchar(40) DEFAULT 'nobody' AFTER title;
ALTER TABLE posts RENAME COLUMN heat TO warmth;
ALTER TABLE posts DROP COLUMN raw;
ALTER TABLE names RENAME TO people;
DROP TABLE gone;
"""
_ROWS_AFTER: Final[dict[str, list[Row]]] = {
    "posts": [{"id": 10, "board": 5, "title": "after", "author": "alice"}],
    "people": [{"name": "Zoë", "hits": 9}, {"name": "alice", "hits": 10}],
}


def contents(store: Store) -> dict[str, Any]:
    """Everything that a store holds, as plain JSON."""
    tables = {
        schema.name: {
            "schema": schema.to_json(),
            "rows": [row.decode() for row in store.database.rows(schema.name)],
            "next": str(store.database.table(schema.name).auto_increment),
        }
        for schema in store.database.schemas()
    }
    found: dict[str, Any] = orjson.loads(orjson.dumps(tables))
    return found


def changes(store: Store, since: int) -> list[Any]:
    """What the change log says, as plain JSON; up to what is durable."""
    logged = store.changes_since(since)
    assert logged is not None
    return [
        [
            change.lsn,
            change.table_id,
            change.layout,
            None if change.rows is None else [[_text(before), _text(after)] for before, after in change.rows],
        ]
        for change in logged
    ]


def _text(row: bytes | None) -> str | None:
    return None if row is None else row.decode()


def _write(store: Store, script: str, rows: dict[str, list[Row]]) -> None:
    for statement in script.split(";\n"):
        if statement.strip():
            tables = {schema.name: schema for schema in store.database.schemas()}
            for change in changes_of(statement, tables.get):
                store.commit_blocking([change])
    for table, some in rows.items():
        for row in some:
            store.commit_blocking([Upsert(table, [row])])


def make(name: str) -> None:
    """Write the three files; refuses to replace a store."""
    if list(STORES.glob(f"{name}.*")):
        raise SystemExit(f"{name} exists: it stands for the stores that people have")
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        options = StoreOptions(clock=lambda: datetime(2024, 5, 6, 7, 8, 9))  # as its clock gives it: UTC without a zone
        store = Store.open(directory, options)
        _write(store, _BEFORE, _ROWS)
        store.commit_blocking([], Origin(Level.ALWAYS, "shop", b'{"file":"bin.000007","at":4711}'))
        store.close()
        store = Store.open(directory, options)
        start = store.lsn
        _write(store, _ALTERED, _ROWS_AFTER)
        for file in FILES:
            (STORES / f"{name}{file.removeprefix('tcsql')}.gz").write_bytes(
                gzip.compress((directory / file).read_bytes(), mtime=0)
            )
        found = {
            "lsn": store.lsn,
            "tables": contents(store),
            "since": start,
            "changes": changes(store, start),
            "positions": {source: at.decode() for source, at in store.positions().items()},
        }
        (STORES / f"{name}.json").write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
        store.close()


if __name__ == "__main__":
    make(f"format-{fileformat.FORMAT_VERSION}")
