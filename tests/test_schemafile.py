"""What is named as a difference between a store and schema.sql."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from tcsql.engine.change import CreateTable
from tcsql.engine.schema import TableSchema
from tcsql.errors import SchemaMismatch, SetupError
from tcsql.schemafile import adopt_schema, differences
from tcsql.sql import changes_of
from tcsql.storage.store import Store

TABLE = "CREATE TABLE t (a INT, b VARCHAR(9) DEFAULT 'x', n INT, PRIMARY KEY (a, b), KEY (n))"


def schema(sql: str) -> TableSchema:
    [change] = changes_of(sql, lambda name: None)
    assert isinstance(change, CreateTable)
    return change.schema


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (TABLE, []),
        (TABLE.replace("INT", "INTEGER"), []),
        (TABLE.replace("n INT", "n INT COMMENT 'a comment'"), []),
        (TABLE + " ENGINE=InnoDB AUTO_INCREMENT=7", []),
        (TABLE.replace("VARCHAR(9)", "VARCHAR(10)"), ["column t.b is"]),
        (TABLE.replace("DEFAULT 'x'", "DEFAULT 'y'"), ["column t.b is"]),
        (TABLE.replace("n INT", "n INT NOT NULL"), ["column t.n is"]),
        (TABLE.replace("n INT,", "n INT, m INT,"), ["column t.m is not in the store"]),
        (
            TABLE.replace("n INT,", "m INT,").replace("(n)", "(m)"),
            ["t.n is in the store only", "t.m is not in", "", ""],
        ),
        (TABLE.replace("a INT, ", "").replace("n INT", "n INT, a INT"), ["the columns of t stand in another order"]),
        (TABLE.replace("(a, b)", "(b, a)"), ["the primary key of t is (a,b) in the store"]),
        (TABLE.replace(", KEY (n)", ""), ["index t.n is in the store only"]),
        (TABLE.replace("KEY (n)", "KEY (n), KEY m (n, a)"), ["index t.m is not in the store"]),
        (TABLE.replace("KEY (n)", "KEY n (n, a)"), ["index t.n has other columns"]),
        (TABLE.replace("KEY (n)", "UNIQUE KEY (n)"), []),
    ],
)
def test_differences_are_named(wanted: str, found: list[str]) -> None:
    lines = differences(schema(TABLE), schema(wanted))
    assert len(lines) == len(found), lines
    for line, part in zip(lines, found, strict=True):
        assert part in line


def test_a_table_that_is_missing_is_one() -> None:
    assert differences(None, schema(TABLE)) == ["table t is not in the store"]


def test_it_is_applied_once_and_compared_from_then_on(tmp_path: Path) -> None:
    file = tmp_path / "schema.sql"
    file.write_text(TABLE)

    async def adopt() -> list[str]:
        with closing(Store.open(tmp_path / "data")) as store:
            await adopt_schema(store, str(file))
            return [table.name for table in store.database.schemas()]

    assert asyncio.run(adopt()) == ["t"]
    assert asyncio.run(adopt()) == ["t"]
    file.write_text("; ".join(TABLE.replace("TABLE t", f"TABLE t{number}") for number in range(9)))
    with pytest.raises(SchemaMismatch, match=r"table t0 is not in the store; .*; and 4 more$"):
        asyncio.run(adopt())
    file.write_text("CREATE TABEL t (id INT)")
    with pytest.raises(SetupError, match=r"schema\.sql: line 1, column 1: CREATE TABEL"):
        asyncio.run(adopt())
    file.write_bytes(b"\xff")
    with pytest.raises(SetupError, match="is not UTF-8 at byte 0"):
        asyncio.run(adopt())
    file.unlink()
    with pytest.raises(SetupError, match="cannot read the schema"):
        asyncio.run(adopt())
