"""Key texts against a real MariaDB: every type of key, hard values, there and back, and found by its index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
import pytest

from tcsql.engine.schema import Column, TableSchema
from tcsql.errors import SourceFault
from tcsql.replication.catalogue import CatalogueTable, read_tables, schema_of
from tcsql.replication.connection import SQL_MODE
from tcsql.replication.keytext import (
    EXACT_CHARSETS,
    LOOSE_CHARSETS,
    MOST_CHARACTERS,
    after_condition,
    in_condition,
    key_expression,
    key_problem,
    literals,
    order_by,
    pkey_of,
    pkeys_of,
    text_of,
)
from tests.mariadb import MariaDB

ZONE = "+02:30"

#: Type, keys as SQL writes them, and what the engine holds for them, in the source's own order.
KINDS: dict[str, tuple[str, list[tuple[str, Any]]]] = {
    "unsigned": ("bigint unsigned", [("0", 0), ("1", 1), ("18446744073709551615", 2**64 - 1)]),
    "signed": ("bigint", [("-9223372036854775808", -(2**63)), ("-1", -1), ("9223372036854775807", 2**63 - 1)]),
    "zerofill": ("int(8) unsigned zerofill", [("7", 7), ("4294967295", 2**32 - 1)]),
    "bit": ("bit(64)", [("0", 0), ("b'101'", 5), ("18446744073709551615", 2**64 - 1)]),
    "year": ("year", [("0", 0), ("1901", 1901), ("2000", 2000), ("2155", 2155)]),
    "decimal": (
        "decimal(65,30)",
        [
            (f"-{'9' * 35}.{'9' * 30}", -(10**65 - 1)),
            ("-0.000000000000000000000000000001", -1),
            ("0", 0),
            (f"{'9' * 35}.{'9' * 30}", 10**65 - 1),
        ],
    ),
    "whole": ("decimal(20)", [("-5", -5), ("99999999999999999999", 10**20 - 1)]),
    "date": (
        "date",
        [
            ("'0000-00-00'", "0000-00-00"),
            ("'2020-00-00'", "2020-00-00"),
            ("'2020-02-31'", "2020-02-31"),
            ("'9999-12-31'", "9999-12-31"),
        ],
    ),
    "datetime": (
        "datetime(6)",
        [
            ("'0000-00-00'", "0000-00-00 00:00:00.000000"),
            ("'2020-02-00 23:59:59.999999'", "2020-02-00 23:59:59.999999"),
            ("'2020-02-29 00:00:00.000001'", "2020-02-29 00:00:00.000001"),
        ],
    ),
    "time": (
        "time(2)",
        [
            ("'-838:59:59'", "-838:59:59.00"),
            ("'-12:34:56.25'", "-12:34:56.25"),
            ("'-00:00:00.01'", "-00:00:00.01"),
            ("'00:00:00'", "00:00:00.00"),
            ("'838:59:59'", "838:59:59.00"),
        ],
    ),
    "timestamp": (
        "timestamp(3) DEFAULT 0",
        [
            ("'0000-00-00'", "0000-00-00 00:00:00.000"),
            ("FROM_UNIXTIME(0.5)", "1970-01-01 02:30:00.500"),
            ("FROM_UNIXTIME(1.001)", "1970-01-01 02:30:01.001"),
            ("FROM_UNIXTIME(2147483647.999)", "2038-01-19 05:44:07.999"),
        ],
    ),
    "seconds": (
        "timestamp DEFAULT 0",
        [("'0000-00-00'", "0000-00-00 00:00:00"), ("FROM_UNIXTIME(1)", "1970-01-01 02:30:01")],
    ),
    "enum": ("enum('z','b''c','é','a,b')", [("0", ""), ("'z'", "z"), ("3", "é"), ("'a,b'", "a,b")]),
    "empty": ("enum('z','','a')", [("'z'", "z"), ("2", ""), ("3", "a")]),
    "set": ("set('y','x','é')", [("''", ""), ("'y'", "y"), ("'x'", "x"), ("'y,é'", "y,é"), ("'x,y,é'", "y,x,é")]),
    "text": (
        "varchar(40) COLLATE utf8mb4_general_ci",
        [("''", ""), ("'A'", "A"), ("'b  '", "b  "), ("'it''s, \\\\ \\0 ü'", "it's, \\ \0 ü"), ("'😀'", "😀")],
    ),
    "blanks": ("varchar(9) COLLATE utf8mb4_nopad_bin", [("'a'", "a"), ("'a '", "a "), ("'a  '", "a  ")]),
    "fixed": ("char(9) CHARSET latin1 COLLATE latin1_bin", [("'A '", "A"), ("'a'", "a"), ("_latin1 X'80'", "€")]),
    "latin1": (
        "varchar(9) CHARSET latin1 COLLATE latin1_general_ci",
        [("'b'", "b"), ("'É'", "É"), ("_latin1 X'81'", "\x81"), ("_latin1 X'9d'", "\x9d")],
    ),
    "utf16": ("varchar(9) CHARSET utf16 COLLATE utf16_bin", [("'a,b'", "a,b"), ("'漢'", "漢"), ("'😀'", "😀")]),
    "ucs": ("varchar(9) CHARSET utf32", [("'a'", "a"), ("'Z😀'", "Z😀")]),
    "utf8": ("varchar(9) CHARSET utf8mb3", [("'a'", "a"), ("'Zß'", "Zß")]),
    "varbinary": (
        "varbinary(300)",
        [("X''", ""), ("X'002c'", "ACw="), ("X'2c00'", "LAA="), ("X'2c0020'", "LAAg"), ("X'ff'", "/w==")],
    ),
    "binary": ("binary(3)", [("''", "AAAA"), ("'a'", "YQAA"), ("X'ffff00'", "//8A")]),
    "uuid": (
        "uuid",
        [("'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000")],
    ),
    "inet4": ("inet4", [("'9.0.0.1'", "9.0.0.1"), ("'10.0.0.1'", "10.0.0.1")]),
    "inet6": ("inet6", [("'::1'", "::1"), ("'2001:db8::ff00:42:8329'", "2001:db8::ff00:42:8329")]),
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with MariaDB("--innodb-page-size=16K") as running:
        yield running


@pytest.fixture(scope="module")
def source(server: MariaDB) -> Iterator[Source]:
    with server.database("keys") as connection:
        yield Source(connection)


class Source:
    """A database of the source, as the follower's session sees it."""

    def __init__(self, connection: pymysql.connections.Connection[Any], flavour: str = "mariadb") -> None:
        self.connection = connection
        self.flavour = flavour
        self.query(f"SET sql_mode='ALLOW_INVALID_DATES', time_zone='{ZONE}'")

    def query(self, sql: str, parameters: tuple[object, ...] = ()) -> Sequence[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return list(cursor.fetchall())

    def table(self, name: str) -> Table:
        found = read_tables(self.query, "keys", [name], self.flavour, sees_ids=True)[name]
        assert found is not None
        return Table(found, schema_of(found))


class Table:
    def __init__(self, there: CatalogueTable, here: TableSchema) -> None:
        self.name = there.name
        self.columns = there.key_columns
        self.kept: tuple[Column, ...] = here.pkey_columns


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_has_one_text_there_and_one_value_here(source: Source, kind: str) -> None:
    there_and_back(source, kind, *KINDS[kind])


def there_and_back(source: Source, kind: str, declared: str, keys: list[tuple[str, Any]]) -> None:
    """Keys as SQL writes them and as the engine holds them, in the source's order: their texts, and found by them."""
    source.query(f"CREATE TABLE t_{kind} (k {declared} NOT NULL PRIMARY KEY, place INT)")
    source.query("SET sql_mode='ALLOW_INVALID_DATES'")
    for place, (written, _) in enumerate(keys):
        source.query(f"INSERT INTO t_{kind} VALUES ({written}, {place})")
    source.query(f"SET sql_mode='{SQL_MODE}'")
    table = source.table(f"t_{kind}")
    assert key_problem(table.columns, ZONE) is None
    expression = key_expression(table.columns)
    rows = source.query(f"SELECT {expression} FROM t_{kind} ORDER BY {order_by(table.columns)}, place")
    texts = [row[0] for row in rows]
    values = [value for _, value in keys]
    assert pkeys_of(table.kept, table.columns, texts, ZONE) == values
    assert [text_of(table.kept, table.columns, value, ZONE) for value in values] == texts
    assert all(text.isascii() and "," not in text for text in texts)
    for place, text in enumerate(texts):
        condition = in_condition(table.columns, [text])
        assert source.query(f"SELECT {expression}, place FROM t_{kind} WHERE {condition}") == [(text, place)]
        behind = source.query(
            f"SELECT {expression} FROM t_{kind} WHERE {after_condition(table.columns, text)}"
            f" ORDER BY {order_by(table.columns)}"
        )
        assert [row[0] for row in behind] == texts[place + 1 :]
    assert len(source.query(f"SELECT 1 FROM t_{kind} WHERE {in_condition(table.columns, texts)}")) == len(texts)
    assert source.query("SHOW WARNINGS") == [] or source.flavour == "mysql"  # it warns of each utf8mb3


def test_triggers_note_the_same_text_whatever_the_writers_session_is(source: Source) -> None:
    source.query("CREATE TABLE noted (seq INT AUTO_INCREMENT PRIMARY KEY, pk VARCHAR(6200)) CHARSET ascii")
    for kind, (declared, keys) in KINDS.items():
        source.query(f"CREATE TABLE w_{kind} (k {declared} NOT NULL PRIMARY KEY)")
        table = source.table(f"w_{kind}")
        source.query("SET NAMES latin1")
        source.query(
            f"CREATE TRIGGER n_{kind} AFTER INSERT ON w_{kind} FOR EACH ROW"
            f" INSERT INTO noted (pk) VALUES ({key_expression(table.columns, 'NEW.')})"
        )
        source.query("SET NAMES utf8mb4, time_zone='-11:00', sql_mode='ALLOW_INVALID_DATES'")
        for written, _ in keys:
            source.query(f"INSERT INTO w_{kind} VALUES ({written})")
        source.query(f"SET time_zone='{ZONE}'")
        noted = [row[0] for row in source.query("SELECT pk FROM noted ORDER BY seq")]
        source.query("DELETE FROM noted")
        there = source.query(f"SELECT {key_expression(table.columns)} FROM w_{kind} ORDER BY k")
        assert sorted(noted) == sorted(row[0] for row in there), kind


HARD_KEY = "a DECIMAL(4,2), b VARCHAR(20) COLLATE utf8mb4_general_ci, c VARBINARY(20)"


def test_keys_of_several_columns(source: Source) -> None:
    source.query(f"CREATE TABLE several ({HARD_KEY}, place INT, PRIMARY KEY (c, a, b))")
    rows = [
        (b"", "-1.50", "x,y"), (b"", "-1.50", "z"), (b"", "2.00", ""), (b",", "0.00", ","), (b",\0", "0.00", ""),
        (b",\0", "0.00", "a"), (b"\xff", "99.99", "ü"),
    ]  # fmt: skip
    for place, row in enumerate(rows):
        source.query("INSERT INTO several (c, a, b, place) VALUES (%s, %s, %s, %s)", (*row, place))
    table = source.table("several")
    assert [column.name for column in table.columns] == ["c", "a", "b"]
    expression, order = key_expression(table.columns), order_by(table.columns)
    texts = [row[0] for row in source.query(f"SELECT {expression} FROM several ORDER BY {order}")]
    pkeys = pkeys_of(table.kept, table.columns, texts, ZONE)
    assert pkeys[0] == ("", -150, "x,y") and pkeys[4] == ("LAA=", 0, "")
    assert [text_of(table.kept, table.columns, pkey, ZONE) for pkey in pkeys] == texts
    for place, text in enumerate(texts):
        found = source.query(f"SELECT place FROM several WHERE {in_condition(table.columns, [text])}")
        assert found == [(place,)]
        after = after_condition(table.columns, text)
        behind = source.query(f"SELECT place FROM several WHERE {after} ORDER BY {order}")
        assert [row[0] for row in behind] == list(range(place + 1, len(rows)))


@pytest.mark.parametrize(
    "key",
    [
        "a INT, b INT",
        "a ENUM('x','y','z'), b INT",
        "a VARCHAR(20) CHARSET latin1 COLLATE latin1_general_ci, b INT",
        "a TIMESTAMP DEFAULT 0, b INT",
    ],
)
def test_conditions_read_only_the_rows_they_give(source: Source, key: str) -> None:
    reads_only_what_it_gives(source, key)


def reads_only_what_it_gives(source: Source, key: str) -> None:
    """Conditions are looked up in the primary key, in its order: by the plan, and by what was read."""
    source.query("DROP TABLE IF EXISTS many")
    source.query(f"CREATE TABLE many ({key}, x INT, PRIMARY KEY (a, b))")
    value = "FROM_UNIXTIME({})" if "TIMESTAMP" in key else "{}"
    rows = (f"({value.format(1 + number % 3)},{number},{number})" for number in range(1, 9001))
    source.query(f"INSERT INTO many VALUES {','.join(rows)}")
    source.query("ANALYZE TABLE many")
    table = source.table("many")
    expression, order = key_expression(table.columns), order_by(table.columns)
    texts = [row[0] for row in source.query(f"SELECT {expression} FROM many ORDER BY {order}")]
    chosen = texts[10:9000:90]
    for condition, wanted in (
        (in_condition(table.columns, chosen), chosen),
        (after_condition(table.columns, texts[4000]), texts[4001:4101]),
        (after_condition(table.columns, texts[8990]), texts[8991:]),
    ):
        statement = f"SELECT {expression} FROM many WHERE {condition} ORDER BY {order} LIMIT 100"
        with source.connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL {statement}")
            [plan] = cursor.fetchall()
        assert (plan["type"], plan["key"]) == ("range", "PRIMARY") and "filesort" not in plan["Extra"]
        source.query("FLUSH STATUS")
        assert [row[0] for row in source.query(statement)] == wanted
        reads = source.query("SHOW STATUS LIKE 'Handler_read%'")
        assert sum(int(count) for _, count in reads) <= 2 * len(wanted) + 5


def test_a_spelling_that_the_collation_holds_equal_has_a_text_of_its_own(source: Source) -> None:
    source.query("CREATE TABLE spelt (k VARCHAR(9) COLLATE utf8mb4_general_ci PRIMARY KEY)")
    source.query("INSERT INTO spelt VALUES ('a')")
    table = source.table("spelt")
    expression = key_expression(table.columns)
    lower, upper = (text_of(table.kept, table.columns, each, ZONE) for each in ("a", "A"))
    assert lower != upper
    # found under the other spelling: the text selected with it tells
    assert source.query(f"SELECT {expression} FROM spelt WHERE {in_condition(table.columns, [upper])}") == [(lower,)]


def test_characters_of_charsets_held_to_be_exact_come_back(source: Source) -> None:
    sizes = dict(source.query("SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS"))
    small = [charset for charset in sorted(EXACT_CHARSETS | LOOSE_CHARSETS) if sizes.get(charset) == 1]
    assert len(small) == 20
    for charset in small:
        raw = f"CONVERT(CHAR(seq USING binary) USING {charset})"
        text = f"CONVERT({raw} USING utf8mb4)"
        rows = source.query(f"SELECT HEX({text}), HEX({raw}) = HEX(CONVERT({text} USING {charset})) FROM seq_0_to_255")
        # what does not come back has become a question mark: it was no character
        lost = {there for there, same in rows if not same}
        assert lost == (set() if charset in EXACT_CHARSETS else {"3F"}), charset
        assert len({there for there, same in rows if same}) == sum(same for _, same in rows)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ("k FLOAT", "type float"),
        ("k DOUBLE", "type double"),
        ("k DECIMAL(10,2) ZEROFILL", "zerofill"),
        ("k VARCHAR(9) CHARSET sjis", "charset sjis"),
        ("k VARCHAR(3000) CHARSET latin1", f"18000 characters, more than {MOST_CHARACTERS}"),
        ("k VARCHAR(30), PRIMARY KEY (k(9))", "only the first 9"),
        ("k INT", "no primary key"),
    ],
)
def test_keys_without_an_exact_text_are_refused(source: Source, declared: str, told: str) -> None:
    primary = "" if "PRIMARY" in declared or told == "no primary key" else ", PRIMARY KEY (k)"
    source.query("DROP TABLE IF EXISTS refused")
    source.query(f"CREATE TABLE refused ({declared}{primary}) ENGINE=InnoDB")
    found = read_tables(source.query, "keys", ["refused"], "mariadb", sees_ids=False)["refused"]
    assert found is not None
    assert told in (key_problem(found.key_columns, ZONE) or "")


def test_a_broken_enum_is_told_from_the_empty_member(source: Source) -> None:
    source.query("CREATE TABLE broken (k ENUM('a','') PRIMARY KEY)")
    table = source.table("broken")
    assert pkey_of(table.kept, table.columns, "2", ZONE) == ""
    with pytest.raises(SourceFault, match="is no key of"):
        pkey_of(table.kept, table.columns, "0", ZONE)


def test_a_timestamp_key_needs_a_zone_without_summer_time(source: Source) -> None:
    source.query("CREATE TABLE summer (k TIMESTAMP DEFAULT 0 PRIMARY KEY)")
    table = source.table("summer")
    assert "Europe/Berlin" in (key_problem(table.columns, "Europe/Berlin") or "")
    assert key_problem(table.columns, "-03:00") is None
    with pytest.raises(SourceFault, match="offset"):
        pkey_of(table.kept, table.columns, "5", "Europe/Berlin")
    assert pkey_of(table.kept, table.columns, "5", "-03:00") == "1969-12-31 21:00:05"


@pytest.mark.parametrize("text", ["", "1,2", "x", "1; DROP TABLE t", "'1'", "0x41", "1e5", "--1 OR 1=1"])
def test_what_is_no_key_never_becomes_a_statement(source: Source, text: str) -> None:
    source.query("CREATE TABLE IF NOT EXISTS plain (k INT PRIMARY KEY)")
    table = source.table("plain")
    with pytest.raises(SourceFault, match="is no key of"):
        literals(table.columns, text)
    with pytest.raises(SourceFault, match="is no key of"):
        pkey_of(table.kept, table.columns, text, ZONE)
