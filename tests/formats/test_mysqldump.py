"""The dump reader against dumps of every style, cut anywhere; and against our own writer."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcsql.engine.change import CreateTable
from tcsql.engine.schema import TableSchema
from tcsql.engine.values import ColumnType, JsonValue, Kind
from tcsql.errors import BadRequest, UnknownTable
from tcsql.formats.mysqldump import DumpReader
from tcsql.formats.records import Bad, Ddl, Record, Rows, Skipped, Use
from tcsql.formats.sqldump import FOOTER, HEADER, insert_statements, table_head
from tcsql.sql import changes_of, create_table_sql


def schema(sql: str) -> TableSchema:
    [change] = changes_of(sql, lambda name: None)
    assert isinstance(change, CreateTable)
    return change.schema


T = schema("CREATE TABLE t (id int PRIMARY KEY, title varchar(80), raw blob, price decimal(10,2), on_day date)")


def known(name: str) -> TableSchema | None:
    return T if name == "t" else None


def read(
    dump: str | bytes, piece: int = 1 << 20, schema_of: Callable[[str], TableSchema | None] = known
) -> list[Record]:
    data = dump.encode() if isinstance(dump, str) else dump
    reader = DumpReader(schema_of)
    records = [record for start in range(0, len(data), piece) for record in reader.feed(data[start : start + piece])]
    return [*records, *reader.finish()]


def stored(found: Rows, by: TableSchema) -> list[dict[str, JsonValue]]:
    return [{name: by.by_name[name].type.from_mysql(value) for name, value in row.items()} for row in found.rows]  # type: ignore[arg-type]  # a dump has no lists


def rows(records: list[Record], by: TableSchema = T) -> list[dict[str, JsonValue]]:
    return [row for record in records if isinstance(record, Rows) for row in stored(record, by)]


def values(literals: str, **options: str) -> list[JsonValue]:
    [row] = rows(read(f"INSERT INTO t VALUES ({literals});"))
    return list(row.values())


MYSQLDUMP = """-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)
--
-- Host: localhost    Database: shop
/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!50503 SET NAMES utf8mb4 */;
/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;

DROP TABLE IF EXISTS `t`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
CREATE TABLE `t` (
  `id` int NOT NULL COMMENT 'a; -- b',
  PRIMARY KEY (`id`)
) ENGINE=InnoDB;
LOCK TABLES `t` WRITE;
/*!40000 ALTER TABLE `t` DISABLE KEYS */;
INSERT INTO `t` VALUES (1,'a (2), ''b''; \\'c\\'',NULL,1.50,'2020-02-29'),(2,'ü',_binary '\\0ÿ',-0.01,NULL);
INSERT INTO `t` VALUES (3,'',0x00FF,NULL,'0000-00-00');
/*!40000 ALTER TABLE `t` ENABLE KEYS */;
UNLOCK TABLES;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`%`*/ /*!50003 TRIGGER `tr` BEFORE INSERT ON `t` FOR EACH ROW BEGIN
  INSERT INTO log VALUES (1); END */;;
DELIMITER ;
/*!50001 CREATE VIEW `v` AS SELECT 1 AS `a`*/;
INSERT INTO `t` (`price`, ID) VALUES
(7.5, 4), # comment
-- another; comment
(8, /* here too */ 5)
;
/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
-- Dump completed"""
ROWS = [
    {"id": 1, "title": "a (2), 'b'; 'c'", "raw": None, "price": "1.50", "on_day": "2020-02-29"},
    {"id": 2, "title": "ü", "raw": b64encode("\0ÿ".encode()).decode(), "price": "-0.01", "on_day": None},
    {"id": 3, "title": "", "raw": "AP8=", "price": None, "on_day": "0000-00-00"},
    {"price": "7.50", "id": 4},
    {"price": "8.00", "id": 5},
]


@pytest.mark.parametrize("piece", [1, 2, 7, 64, 1_000, 1 << 20])
def test_mysqldump_is_read_whatever_its_pieces(piece: int) -> None:
    records = read(MYSQLDUMP, piece)
    assert rows(records) == ROWS
    others = [record for record in records if not isinstance(record, Rows)]
    assert others[0] == Ddl("DROP TABLE IF EXISTS `t`", 8)
    assert isinstance(others[1], Ddl) and others[1].sql.startswith("CREATE TABLE") and others[1].line == 10
    assert others[2:] == [Skipped("DELIMITER block", 20), Skipped("CREATE VIEW", 24)]


def test_line_and_text_of_a_row_are_found_when_they_are_asked_for() -> None:
    places = [
        record.place(n) for record in read(MYSQLDUMP) if isinstance(record, Rows) for n in range(len(record.rows))
    ]
    assert [line for line, _ in places] == [16, 16, 17, 26, 28]
    assert places[0][1] == "(1,'a (2), ''b''; \\'c\\'',NULL,1.50,'2020-02-29')"
    assert places[4][1] == "(8, /* here too */ 5)"


def test_each_shape_of_literal_gives_its_value() -> None:
    assert values("'7',7.5,'x',1,'x'")[:4] == [7, "7.5", b64encode(b"x").decode(), "1.00"]
    assert values("TRUE,_utf8mb4'ü',x'00ff',1e2,NULL") == [1, "ü", "AP8=", "100.00", None]
    assert values('+7,"a""b",X\'41\',.5,NULL')[:4] == [7, 'a"b', b64encode(b"A").decode(), "0.50"]
    assert values("1,0x414243,b'0100000101000010','-1.25',NULL")[1:4] == ["ABC", b64encode(b"AB").decode(), "-1.25"]
    assert values("null,n'x',null,null,null") == [None, "x", None, None, None]


def test_every_escape_of_mysql_is_read() -> None:
    assert values(r"1,'\0\b\n\r\t\Z\\\'\"\%\_\x''',NULL,NULL,NULL")[1] == "\0\b\n\r\t\x1a\\'\"\\%\\_x'"


BAD = {
    "(1,'a',NULL,NULL)": "the row has 4 values, 5 are expected",
    "('x','a',NULL,NULL,NULL)": "column \"id\": 'x' is not a whole number",
    "('1_0','a',NULL,NULL,NULL)": "column \"id\": '1_0' is not a whole number",
    "(1,'a',NULL,'x',NULL)": "column \"price\": 'x' is not a decimal number",
    "(1,'a',NULL,NULL,20200101)": 'column "on_day": 20200101 is not a quoted value',
    "(1,NOW(),NULL,NULL,NULL)": "expected , or ) after a value, found '(),NULL,NULL,NULL),('",
    "(1,,NULL,NULL,NULL)": "expected a value, found ',NULL,NULL,NULL),(9,'",
    "(1,'a',NULL,NULL,NULL) x": "expected , or ; after a row, found \"x,(9,'z',NULL,NULL,N\"",
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("piece", [5, 1 << 20])
def test_bad_row_is_reported_and_the_rows_around_it_are_read(bad: str, piece: int) -> None:
    good = "({},'z',NULL,NULL,NULL)"
    first, second = f"{good.format(8)},\n{bad},{good.format(9)}", good.format(10)
    dump = f"-- line 1\nINSERT INTO t VALUES {first};\nINSERT INTO t VALUES {second};"
    records = read(dump, piece)
    assert [row["id"] for row in rows(records)] == [8, 9, 10]
    [found] = [record for record in records if isinstance(record, Bad)]
    assert (found.line, found.text.rstrip(",(")) == (3, bad) or found.text.startswith(bad)
    if piece > 5:
        assert found.reason == BAD[bad]


@pytest.mark.parametrize(
    ("dump", "reason"),
    [
        ("INSERT INTO t VALUES (1,'a", "the dump ends inside a row"),
        ("INSERT INTO t VALUES (1,'a',NULL,NULL,NULL),", "the dump ends inside a statement"),
        ("INSERT INTO t SELECT * FROM u;", "INSERT without VALUES (…) is not supported"),
        ("UPDATE t SET id = 1;", "UPDATE is no statement of a dump"),
        ("CREATE TABLE x (id int", "the dump ends inside a statement"),
        ("DELIMITER ;; CREATE TRIGGER", "the dump ends inside a DELIMITER block"),
        ("/* never closed", "the dump ends inside a statement"),
    ],
)
def test_dump_that_is_cut_off_or_strange_is_never_taken_silently(dump: str, reason: str) -> None:
    [found] = [record for record in read(dump) if isinstance(record, Bad)]
    assert (found.reason, found.line) == (reason, 1)


def test_words_of_other_statements_are_no_orders() -> None:
    records = read("CREATE TABLE u (id int PRIMARY KEY COMMENT 'SET NAMES latin1; USE x');/*!40101 SET NAMES utf8 */;")
    assert [type(record) for record in records] == [Ddl]


def test_byte_order_mark_is_passed_over() -> None:
    assert rows(read(b"\xef\xbb\xbfINSERT INTO t (id) VALUES (1);")) == [{"id": 1}]


def test_last_statement_needs_no_semicolon() -> None:
    assert [row["id"] for row in rows(read("INSERT INTO t (id) VALUES (1),(2)"))] == [1, 2]


def test_rows_of_an_unknown_table_are_refused_with_their_line() -> None:
    with pytest.raises(UnknownTable, match="line 2: there is no table nobody"):
        read("\nINSERT INTO nobody VALUES (1);")


def test_unknown_column_and_character_set_are_refused() -> None:
    with pytest.raises(BadRequest, match='line 1: table t has no column "nothing"'):
        read("INSERT INTO t (nothing) VALUES (1);")
    with pytest.raises(BadRequest, match="character set klingon is not known"):
        read("SET NAMES klingon;")


def test_unwanted_tables_are_passed_over_whole() -> None:
    data = (
        b"INSERT INTO u VALUES (1,'a;\\'),('),(2,'b');\nINSERT INTO t (id) VALUES (1);INSERT INTO u VALUES (x,3),(4);"
    )
    for piece in (1, 10, 1_000):
        reader = DumpReader(known, wanted=lambda table: table == "t")
        parts = [data[start : start + piece] for start in range(0, len(data), piece)]
        records = [record for part in parts for record in reader.feed(part)] + list(reader.finish())
        assert rows([record for record in records if isinstance(record, Rows)]) == [{"id": 1}]


def test_generated_column_that_a_dump_leaves_out_is_named_once() -> None:
    made = schema("CREATE TABLE g (id int PRIMARY KEY, twice int AS (id * 2) STORED)")
    records = read("INSERT INTO g (id) VALUES (1);\n/* x */INSERT INTO g (id) VALUES (2);", schema_of=lambda name: made)
    skipped = [record for record in records if isinstance(record, Skipped)]
    assert skipped == [Skipped("generated column g.twice, which has no values in the dump", 1)]
    assert [row["id"] for row in rows(records, made)] == [1, 2]


def test_databases_are_told_apart() -> None:
    assert read("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `a`;\nUSE `a`;") == [
        Skipped("CREATE DATABASE", 1),
        Use("a", 2),
    ]


def test_text_in_another_character_set_becomes_unicode_and_binary_stays_as_it_is() -> None:
    latin1 = b"SET NAMES latin1;INSERT INTO t (id,title,raw) VALUES (1,'\xe9\x80\x81','\xe9\x80\x81');"
    assert rows(read(latin1)) == [{"id": 1, "title": "é€\x81", "raw": b64encode(b"\xe9\x80\x81").decode()}]
    gbk = b"SET NAMES gbk;INSERT INTO t (id,title) VALUES (1,'" + "縗".encode("gbk") + b"');"
    assert "縗".encode("gbk")[1:] == b"\\"  # a backslash as the second byte must not escape the quote
    assert rows(read(gbk)) == [{"id": 1, "title": "縗"}]


def test_bytes_that_are_no_text_are_kept_in_binary_columns_only() -> None:
    every = bytes(range(256)).translate(None, b"'\\")
    dump = b"INSERT INTO t (id,title,raw) VALUES (1,'\xff','" + every + b"');"
    assert rows(read(dump, 100)) == [{"id": 1, "title": "\ufffd", "raw": b64encode(every).decode()}]


def test_statement_larger_than_any_piece_is_read_region_by_region() -> None:
    dump = ("INSERT INTO t (id,title) VALUES " + ",".join(f"({n},'row {n}')" for n in range(20_000)) + ";").encode()
    records = read(dump, 10_000)
    assert sum(1 for record in records if isinstance(record, Rows)) > 20
    assert [row["id"] for row in rows(records)] == list(range(20_000))


def test_value_longer_than_any_piece_is_read() -> None:
    long = "x'\\\n" * 100_000
    dump = f"INSERT INTO t (id,title) VALUES (1,'{long.translate({39: chr(92) + chr(39), 92: chr(92) * 2})}'),(2,'b');"
    assert [row["title"] for row in rows(read(dump, 30_000))] == [long, "b"]


ALL = schema(
    """CREATE TABLE everything (id bigint unsigned PRIMARY KEY, i int, b bit(64), d decimal(65,30), f double, y year,
    s varchar(200), x varbinary(200), da date, dt datetime(6), ti time(3), e enum('a','ü''','b c'), st set('x','y'),
    j json, g int AS (i + 1) STORED)"""
)
_TEXT = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["'", "\\", "\0\n\r\x1a\t", '"%_', "NULL", "),("]
)
VALUES: dict[str, st.SearchStrategy[JsonValue]] = {
    "id": st.integers(0, 2**64 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "b": st.integers(0, 2**64 - 1),
    "d": st.integers(-(10**65) + 1, 10**65 - 1).map(lambda n: ColumnType(Kind.DECIMAL, "decimal", 65, 30).stored(n)),
    "f": st.floats(allow_nan=False, allow_infinity=False).map(lambda f: ColumnType(Kind.FLOAT, "double").stored(f)),
    "y": st.integers(0, 2155),
    "s": _TEXT,
    "x": st.binary(max_size=20).map(lambda raw: b64encode(raw).decode()),
    "da": st.sampled_from(["2020-02-29", "0000-00-00"]),
    "dt": st.sampled_from(["2020-02-29 01:02:03.000004", "0000-00-00 00:00:00.000000"]),
    "ti": st.sampled_from(["-838:59:59.000", "00:00:00.001"]),
    "e": st.sampled_from(["a", "ü'", "b c", ""]),
    "st": st.sampled_from(["", "x", "x,y"]),
    "j": st.sampled_from(['{"a": "\\"\'"}', "[]", "null"]),
    "g": st.integers(0, 9),
}
_ROW = st.fixed_dictionaries({name: values if name == "id" else st.none() | values for name, values in VALUES.items()})


@settings(max_examples=150, deadline=None)
@given(st.lists(_ROW, max_size=8), st.integers(1, 400))
def test_what_the_writer_prints_the_reader_gives_back(given_rows: list[dict[str, JsonValue]], piece: int) -> None:
    encoded = [orjson.dumps(row) for row in given_rows]
    head = table_head(create_table_sql(ALL, for_values=True), ALL.name, drop=True)
    dump = b"".join([HEADER, head, *insert_statements(ALL, encoded), FOOTER])
    made: dict[str, TableSchema] = {}
    reader = DumpReader(made.get)
    found: list[dict[str, JsonValue]] = []
    for start in range(0, len(dump), piece):
        for record in reader.feed(dump[start : start + piece]):
            if isinstance(record, Ddl):
                for change in changes_of(record.sql, made.get):
                    if isinstance(change, CreateTable):
                        made[change.schema.name] = change.schema
            else:
                assert isinstance(record, Rows), record
                found += stored(record, ALL)
    assert list(reader.finish()) == []
    assert found == given_rows
    assert made == {"everything": ALL}


_STATEMENTS = ["INSERT INTO t VALUES ", "INSERT INTO t (id) VALUES", "SET NAMES latin1;", "USE a;", "DROP TABLE t;"]
_DELIMITERS = ["DELIMITER ;;\n", "DELIMITER ;\n", "/*", "*/", "--", "#", "\n", ";"]
_SCRAPS = ["(1)", "(1,'a',NULL,1,NULL)", ",", "'", "\\", "(", ")", "ü", "`", "x'41'", "NULL"]
_PIECES = st.sampled_from([*_STATEMENTS, *_DELIMITERS, *_SCRAPS])


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=20).map("".join), st.integers(1, 30))
def test_any_text_in_any_pieces_gives_the_same_records(dump: str, piece: int) -> None:
    whole, cut = read(dump), read(dump, piece)
    assert rows(whole) == rows(cut)
    assert [type(record) for record in whole if isinstance(record, (Ddl, Use))] == [
        type(record) for record in cut if isinstance(record, (Ddl, Use))
    ]
    assert any(isinstance(record, Bad) for record in whole) == any(isinstance(record, Bad) for record in cut)
