"""What the tests of the store share: a schema or two, rows, and what a database holds as plain values."""

from __future__ import annotations

import shutil
from pathlib import Path

from tcsql.engine.change import Change, CreateTable, Row, Upsert
from tcsql.engine.database import Database
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import ColumnType, Kind

INT = ColumnType(Kind.INTEGER, "bigint", low=-(2**63), high=2**63 - 1)
UNSIGNED = ColumnType(Kind.INTEGER, "bigint", unsigned=True, low=0, high=2**64 - 1)
TEXT = ColumnType(Kind.TEXT, "varchar", length=200)

POSTS = TableSchema(
    "posts",
    (Column("id", INT, nullable=False), Column("uid", INT), Column("title", TEXT)),
    ("id",),
    (IndexDef("by_uid", ("uid",)),),
)
COUNTED = TableSchema(
    "counted", (Column("id", UNSIGNED, nullable=False, auto_increment=True), Column("title", TEXT)), ("id",)
)
NAMED = TableSchema("named", (Column("name", TEXT, nullable=False), Column("hits", INT)), ("name",))
PAIRS = TableSchema(
    "pairs",
    (Column("a", TEXT, nullable=False), Column("b", INT, nullable=False), Column("c", TEXT)),
    ("a", "b"),
)
SCHEMAS = (POSTS, COUNTED, NAMED, PAIRS)

Contents = dict[str, tuple[TableSchema, tuple[bytes, ...], int]]


def create_all() -> list[Change]:
    return [CreateTable(schema) for schema in SCHEMAS]


def post(number: int, title: str = "t") -> Row:
    return {"id": number, "uid": number % 7, "title": title}


def posts(*numbers: int, title: str = "t") -> list[Change]:
    return [Upsert("posts", [post(number, title) for number in numbers])]


def contents(database: Database) -> Contents:
    """Everything a database holds that must survive: schemas, rows in order, AUTO_INCREMENT counters."""
    database.check_invariants()
    return {
        schema.name: (schema, tuple(database.rows(schema.name)), database.table(schema.name).auto_increment)
        for schema in database.schemas()
    }


def crash_copy(source: Path, target: Path) -> Path:
    """The files as a crash would leave them; nothing may be writing meanwhile."""
    target.mkdir()
    for name in ("tcsql.db", "tcsql.db-wal"):
        if (source / name).exists():
            shutil.copy(source / name, target / name)
    return target
