"""What the writer prints, the parser reads back as an equal schema."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tcsql.engine.change import CreateTable
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.sql.binder import changes_of
from tcsql.sql.writer import create_table_sql
from tests.sql.test_types import DEFAULTS, TYPES


def schema(sql: str) -> TableSchema:
    [change] = changes_of(sql, lambda name: None)
    assert isinstance(change, CreateTable)
    return change.schema


def without_writers_prefixes(found: TableSchema) -> TableSchema:
    """MySQL has no index over a whole TEXT column: the writer prints a prefix of 255 where none was declared."""
    kept = [tuple(note for note in index.notes if "length 255" not in note) for index in found.indexes]
    indexes = [replace(index, notes=notes) for index, notes in zip(found.indexes, kept, strict=True)]
    notes = tuple(note for note in found.notes if "length 255" not in note)
    return found.with_(indexes=tuple(indexes), notes=notes)


_ATTRIBUTES = ["", " NOT NULL", " COMMENT 'it''s \\\\ a \"x\"'", " INVISIBLE", " GENERATED ALWAYS AS (1 + (2)) STORED"]
_KEYS = ["KEY (c0, c1)", "UNIQUE u (c1)", "KEY p (c0(7), c1 DESC)", "KEY (c1)", "FULLTEXT f (b0, b1)", "FULLTEXT (b1)"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([*TYPES, *DEFAULTS]), st.sampled_from(_ATTRIBUTES)), min_size=2, max_size=12),
    st.lists(st.sampled_from(_KEYS), unique=True),
    st.sampled_from(["id", "id, c1", "c0(5)"]),
    st.booleans(),
)
def test_printed_schema_reads_back_equal(
    columns: list[tuple[str, str]], keys: list[str], primary: str, for_values: bool
) -> None:
    declared = [f"c{i} {type_}{attribute}" for i, (type_, attribute) in enumerate(columns) if "serial" not in type_]
    declared = [text for text in declared if "json" not in text or not text.startswith(("c0", "c1"))]
    names = {text.split()[0] for text in declared}
    if not {"c0", "c1"} <= names:
        return
    parts = ["id int AUTO_INCREMENT", "b0 text", "b1 longtext", *declared, *keys, f"PRIMARY KEY ({primary})"]
    found = schema(f"CREATE TABLE t ({', '.join(parts)}) AUTO_INCREMENT=7")
    assert without_writers_prefixes(schema(create_table_sql(found, for_values))) == without_writers_prefixes(found)


def test_column_without_a_declaration_gets_one_from_its_type() -> None:
    types = {kind for kind in TYPES.values() if kind.name not in ("text", "tinytext") or kind.length}
    plain = [Column(f"c{i}", kind, nullable=bool(i % 2)) for i, kind in enumerate(sorted(types, key=repr))]
    text, now = ColumnType(Kind.TEXT, "varchar", length=9), ColumnType(Kind.DATETIME, "datetime", scale=3)
    raw, json = ColumnType(Kind.BINARY, "binary", length=2), ColumnType(Kind.JSON, "json")
    special = [
        Column("id", ColumnType(Kind.INTEGER, "bigint", high=2**63 - 1, low=-(2**63)), False, auto_increment=True),
        Column("said", text, default="it's\n\\", has_default=True),
        Column("now", now, has_default=True, default_now=True),
        Column("raw", raw, default="AP8=", has_default=True),
        Column("json", json, default='{"a":"\'"}', has_default=True),
        Column("real", ColumnType(Kind.FLOAT, "double"), default=1e-7, has_default=True),
    ]
    made = TableSchema("t", (*special, *plain), ("id",), (IndexDef("k", ("said",)),))
    found = schema(create_table_sql(made))
    stripped = tuple(replace(column, declared="") for column in found.columns)
    assert (stripped, found.indexes, found.primary_key) == (made.columns, made.indexes, made.primary_key)


def test_generated_clause_stands_in_a_comment_when_values_follow() -> None:
    found = schema("CREATE TABLE t (a int PRIMARY KEY, b int AS (a + (1)) PERSISTENT COMMENT 'x', c int AS (a))")
    lines = create_table_sql(found, for_values=True).splitlines()
    assert lines[2] == "  `b` int /*!999999 AS (a + (1)) PERSISTENT */ COMMENT 'x',"
    assert lines[3] == "  `c` int /*!999999 AS (a) */,"
