"""The schema parser and the dump reader against a real MariaDB: its own tables, its own dumps, its own answers.

One private server for the module. Every table is compared column by column with information_schema and row by row
with what SELECT gives through PyMySQL.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
import pymysql
import pytest

from tcsql.engine.change import Change, CreateTable, Upsert
from tcsql.engine.database import Database
from tcsql.engine.schema import TableSchema
from tcsql.engine.values import JsonValue, Kind
from tcsql.formats.mysqldump import DumpReader
from tcsql.formats.records import Ddl, Rows, Skipped
from tcsql.formats.sqldump import FOOTER, HEADER, insert_statements, table_head
from tcsql.sql import changes_of, create_table_sql
from tests.mariadb import MariaDB

NOW = datetime.fromisoformat("2026-01-02 03:04:05")
EVERY_BYTE = bytes(range(256))
HARD_TEXT = "it's \"quoted\" \\ 100%_ \0 \n \r \t \x1a ),('; -- /* */ ü 漢字 😀"

TABLE = """CREATE TABLE everything (
  id bigint unsigned NOT NULL AUTO_INCREMENT COMMENT 'it''s a \\\\ "key"; -- no',
  ti tinyint, tu tinyint(3) unsigned zerofill, si smallint DEFAULT -5, mi mediumint(7), bo bool DEFAULT TRUE,
  bi bigint, bu bigint unsigned, b1 bit DEFAULT b'1', b64 bit(64),
  de decimal(65,30), d2 decimal(10,2) unsigned zerofill DEFAULT 1.5, d0 decimal(20,0),
  fl float, fm float(7,3), dd double DEFAULT 1e10, du double(10,2) unsigned,
  ch char(5), vc varchar(200) DEFAULT 'a''b\\n', la varchar(50) CHARACTER SET latin1, tt tinytext, te text,
  mt mediumtext, lt longtext, bn binary(4) DEFAULT 'A', vb varbinary(300), tb tinyblob, bl blob, mb mediumblob,
  lb longblob, da date DEFAULT '0000-00-00', dt datetime, d6 datetime(6), ts timestamp NULL DEFAULT current_timestamp(),
  t3 timestamp(3) NULL, tm time, t6 time(6), ye year, en enum('a','b''c','ü','漢'), se set('x','y','é') DEFAULT 'x,y',
  js json, uu uuid, i4 inet4, i6 inet6, po point,
  g1 int GENERATED ALWAYS AS (ti + 1) STORED, g2 varchar(220) AS (concat(vc,'!')) VIRTUAL, ex int DEFAULT (1 + 2),
  PRIMARY KEY (id), KEY (vc(10), ti DESC), UNIQUE KEY uq (si, id), KEY USING BTREE (d2), FULLTEXT KEY ft (te),
  KEY (vc), CONSTRAINT positive CHECK (mi > -9)
) AUTO_INCREMENT=77 COMMENT='x;''y'"""

ROWS: list[dict[str, Any]] = [
    {"id": 1},
    {
        "id": 2**64 - 1, "ti": -128, "tu": 7, "si": 32767, "mi": 8388607, "bo": 0, "bi": -(2**63), "bu": 2**64 - 1,
        "b1": b"\0", "b64": b"\xff\0'\\\n\x1a\"\x80", "de": Decimal(f"-{'7' * 35}.{'0' * 29}1"),
        "d2": Decimal("0.01"), "d0": Decimal(10**19), "fl": 1.1, "fm": 3.14159, "dd": 1.7976931348623157e308,
        "du": 0.5, "ch": "a b  ", "vc": HARD_TEXT, "la": "é€\x81ÿ'\\", "tt": "", "te": "NULL", "mt": "\\N",
        "lt": "x'\\\n😀" * 150_000, "bn": b"\0\xff", "vb": EVERY_BYTE, "tb": b"", "bl": EVERY_BYTE * 200,
        "mb": b"'", "lb": b"\\", "da": "0000-00-00", "dt": "0000-00-00 00:00:00", "d6": "9999-12-31 23:59:59.999999",
        "ts": "2038-01-19 03:14:07", "t3": "1970-01-01 00:00:01.001", "tm": "-838:59:59", "t6": "-00:00:00.000001",
        "ye": 2155, "en": "b'c", "se": "x,é", "js": '{"a": "\\"\'\\\\", "b": [1.50, 1e400]}',
        "uu": "123e4567-e89b-12d3-a456-426655440000", "i4": "255.0.0.1", "i6": "2001:db8::ff00:42:8329",
    },
    {"id": 3, "da": "2020-00-00", "dt": "2020-02-30 25:00:00", "ye": 0, "en": "nothing", "se": "",
     "tm": "838:59:59", "t6": "12:00:00.5", "fl": -1e-38, "dd": -0.0, "de": Decimal(0), "d2": Decimal("99999999.99"),
     "ts": None, "ch": None, "vc": None, "bn": None, "js": "[]", "lt": "", "bl": None},
    {"id": 4, "dd": 5e-324, "fl": 16777216, "bi": 2**63 - 1, "b64": b"\x01", "tm": "00:00:00", "js": '"ü😀"',
     "si": None, "vb": b"0x41", "te": "_binary 'x'", "vc": "' OR 1=1 --", "fm": -9999.999, "en": "漢",
     "d6": "2020-02-29 01:02:03.000400"},
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with MariaDB() as running:
        yield running


@pytest.fixture(scope="module")
def tables(server: MariaDB) -> Iterator[pymysql.connections.Connection[Any]]:
    """A database with the table of every type, and one with a key of several columns of other kinds."""
    with server.database("hard") as connection:
        cursor = connection.cursor()
        cursor.execute("SET sql_mode='', time_zone='+00:00'")
        cursor.execute(TABLE)
        for row in ROWS:
            names = ",".join(f"`{name}`" for name in row)
            cursor.execute(
                f"INSERT INTO everything ({names}) VALUES ({','.join(['%s'] * len(row))})", list(row.values())
            )
        cursor.execute("UPDATE everything SET po = ST_GeomFromText('POINT(1.5 -2)') WHERE id = 4")
        cursor.execute(
            """CREATE TABLE pairs (raw varbinary(20), `when` datetime(3), price decimal(10,2), title varchar(20),
            PRIMARY KEY (raw, `when`, price))"""
        )
        cursor.executemany(
            "INSERT INTO pairs VALUES (%s,%s,%s,%s)",
            [(bytes([n, 255 - n]), f"2020-01-01 00:00:00.{n:03}", n / 4, f"row {n}") for n in range(200)],
        )
        cursor.execute("CREATE VIEW seen AS SELECT id FROM everything")
        cursor.execute("CREATE TRIGGER tr BEFORE INSERT ON pairs FOR EACH ROW SET NEW.title = concat(NEW.title, ';')")
        yield connection


def schema_of(connection: pymysql.connections.Connection[Any], table: str) -> TableSchema:
    cursor = connection.cursor()
    cursor.execute(f"SHOW CREATE TABLE `{table}`")
    [change] = changes_of(cursor.fetchone()[1], lambda name: None)
    assert isinstance(change, CreateTable)
    return change.schema


def test_columns_and_keys_are_those_of_information_schema(tables: pymysql.connections.Connection[Any]) -> None:
    schema = schema_of(tables, "everything")
    cursor = tables.cursor(pymysql.cursors.DictCursor)
    cursor.execute(
        """SELECT * FROM information_schema.columns WHERE table_schema = database() AND table_name = 'everything'
        ORDER BY ordinal_position"""
    )
    described = cursor.fetchall()
    assert [column["COLUMN_NAME"] for column in described] == list(schema.names)
    for theirs, ours in zip(described, schema.columns, strict=True):
        kind = ours.type
        assert (theirs["IS_NULLABLE"] == "YES") == ours.nullable, ours.name
        assert ("auto_increment" in theirs["EXTRA"]) == ours.auto_increment
        assert ("GENERATED" in theirs["EXTRA"]) == ours.generated
        assert kind.name == ("json" if ours.name == "js" else theirs["DATA_TYPE"])
        assert kind.unsigned == ("unsigned" in theirs["COLUMN_TYPE"])
        if kind.kind is Kind.DECIMAL:
            assert (kind.length, kind.scale) == (theirs["NUMERIC_PRECISION"], theirs["NUMERIC_SCALE"])
        if kind.kind in (Kind.DATETIME, Kind.TIME):
            assert kind.scale == theirs["DATETIME_PRECISION"]
        if kind.name in ("char", "varchar", "binary", "varbinary") or kind.name.endswith(("text", "blob")):
            assert kind.length == theirs["CHARACTER_MAXIMUM_LENGTH"]
        if kind.members:
            quoted = ",".join("'" + member.replace("'", "''") + "'" for member in kind.members)
            assert theirs["COLUMN_TYPE"] == f"{kind.name}({quoted})"
    cursor.execute(
        """SELECT index_name, group_concat(column_name ORDER BY seq_in_index) AS names, max(non_unique) AS plain,
        max(index_type) AS type FROM information_schema.statistics
        WHERE table_schema = database() AND table_name = 'everything' GROUP BY index_name"""
    )
    theirs_by_name = {key["index_name"]: key for key in cursor.fetchall()}
    assert theirs_by_name.pop("PRIMARY")["names"] == ",".join(schema.primary_key)
    assert set(theirs_by_name) == {index.name for index in schema.indexes}
    for index in schema.indexes:
        key = theirs_by_name[index.name]
        assert (key["names"], not key["plain"]) == (",".join(index.columns), index.unique)
        assert (key["type"] == "FULLTEXT") == index.fulltext


def test_printed_schema_makes_a_table_that_reads_as_the_same_schema(
    server: MariaDB, tables: pymysql.connections.Connection[Any]
) -> None:
    schema = schema_of(tables, "everything")
    with server.database("printed") as connection:
        connection.cursor().execute(create_table_sql(schema))
        again = schema_of(connection, "everything")
    kept = tuple(note for note in schema.notes if not note.startswith("CHECK ignored"))
    assert again.with_(columns=(), notes=()) == schema.with_(columns=(), notes=())
    assert again.notes == kept
    for ours, theirs in zip(schema.columns, again.columns, strict=True):
        assert ours.type == theirs.type and ours.default == theirs.default, ours.name


def loaded(dump: bytes, piece: int = 100_000) -> tuple[Database, list[Skipped]]:
    """A database filled from a dump, as a store would be."""
    database = Database()
    skipped = []

    def schema_or_none(name: str) -> TableSchema | None:
        return next((schema for schema in database.schemas() if schema.name == name), None)

    def commit(changes: list[Change]) -> None:
        database.apply(database.check(changes, NOW))

    reader = DumpReader(schema_or_none)
    pieces = [reader.feed(dump[start : start + piece]) for start in range(0, len(dump), piece)]
    for records in (*pieces, reader.finish()):
        for record in records:
            if isinstance(record, Ddl):
                commit(changes_of(record.sql, schema_or_none))
            elif isinstance(record, Rows):
                commit([Upsert(record.table, record.rows, trusted=record.trusted)])  # type: ignore[arg-type]  # MySQL's values
            else:
                assert isinstance(record, Skipped), record
                skipped.append(record)
    return database, skipped


def held(database: Database, table: str) -> list[dict[str, JsonValue]]:
    return [orjson.loads(row) for row in database.rows(table)]


def selected(connection: pymysql.connections.Connection[Any], schema: TableSchema) -> list[dict[str, Any]]:
    """What SELECT gives, every value as text or bytes."""
    shown = {Kind.BINARY: "`{0}`", Kind.FLOAT: "`{0}`"}
    parts = [
        f"cast(`{name}` + 0 AS char) AS `{name}`" if column.type.name == "bit"
        else f"ST_AsWKB(`{name}`) AS `{name}`" if column.type.name == "point"
        else shown.get(column.type.kind, "cast(`{0}` AS char) AS `{0}`").format(name)
        for name, column in schema.by_name.items()
    ]  # fmt: skip
    cursor = connection.cursor(pymysql.cursors.DictCursor)
    cursor.execute(f"SELECT {','.join(parts)} FROM `{schema.name}`")
    return list(cursor.fetchall())


def assert_equal(schema: TableSchema, ours: list[dict[str, JsonValue]], theirs: list[dict[str, Any]]) -> None:
    def place(row: dict[str, Any]) -> Any:  # binary keys are ordered by their base64 text here, by bytes there
        return row["title"] if "title" in row else int(row["id"])

    assert len(ours) == len(theirs)
    for our_row, their_row in zip(sorted(ours, key=place), sorted(theirs, key=place), strict=True):
        for name, column in schema.by_name.items():
            our, their, kind = our_row[name], their_row[name], column.type
            if our is None or their is None:
                assert our is their, name
            elif kind.kind is Kind.BINARY:
                raw = b64decode(str(our))
                assert (raw[4:] if kind.name == "point" else raw) == their, name  # the first four bytes are the SRID
            elif kind.kind is Kind.FLOAT:
                assert float(our) == their, name
            elif kind.kind is Kind.INTEGER:
                assert our == int(their), name
            elif kind.kind is Kind.DECIMAL:
                assert (Decimal(str(our)), str(our).partition(".")[2]) == (Decimal(their), their.partition(".")[2]), (
                    name
                )
            else:
                assert our == their, name


_LOSSY_KINDS = (Kind.TEXT, Kind.ENUM, Kind.SET, Kind.JSON)
OPTIONS: dict[str, list[str]] = {
    "default": [],
    "hex-blob": ["--hex-blob"],
    "single rows": ["--skip-extended-insert"],
    "columns named": ["--complete-insert", "--skip-opt", "--create-options"],
    "latin1": ["--default-character-set=latin1", "--replace"],
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_loaded_dump_holds_what_select_gives(
    server: MariaDB, tables: pymysql.connections.Connection[Any], options: list[str]
) -> None:
    database, skipped = loaded(server.dump("hard", *options))
    assert {record.what for record in skipped} <= {"CREATE VIEW", "DELIMITER block", "CREATE DATABASE"}
    assert len(skipped) >= 2  # the view and the trigger are not passed over without a word
    is_latin1 = any("latin1" in option for option in options)
    for table in ("everything", "pairs"):
        schema = database.schema(table)
        ours, theirs = held(database, table), selected(tables, schema)
        if is_latin1 and table == "everything":  # what latin1 cannot hold has become ? in the dump itself
            texts = [name for name, column in schema.by_name.items() if column.type.kind in _LOSSY_KINDS]
            for row in (*ours, *theirs):
                row.update(dict.fromkeys(name for name in texts if name != "la"))
        assert_equal(schema, ours, theirs)


def test_our_dump_loads_into_mariadb_and_gives_the_same_rows(
    server: MariaDB, tables: pymysql.connections.Connection[Any]
) -> None:
    database, _ = loaded(server.dump("hard"))
    pieces = [HEADER]
    for schema in database.schemas():
        pieces.append(table_head(create_table_sql(schema, for_values=True), schema.name, drop=False))
        pieces += insert_statements(schema, database.rows(schema.name))
    dump = b"".join([*pieces, FOOTER])
    again, _ = loaded(dump)
    with server.database("back") as connection:
        server.load("back", dump)
        connection.cursor().execute("SET time_zone='+00:00'")
        for schema in database.schemas():
            assert list(again.rows(schema.name)) == list(database.rows(schema.name))
            assert_equal(schema, held(database, schema.name), selected(connection, schema))
