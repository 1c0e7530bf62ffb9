"""Every type with its hardest values: the copy, the outbox and a look by key give the very row that SELECT gives.

Compared with what ``comparing`` reads by rules of its own, through the driver's own reading of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tcsql.engine.values import PKey
from tcsql.replication.source import KeysRead, ReadKeys
from tests.mariadb import MariaDB
from tests.replication.comparing import differences, reading, source_rows
from tests.replication.polling import Shop, shop
from tests.test_mariadb_roundtrip import EVERY_BYTE, ROWS, TABLE

#: MySQL has no UUID and INET types, and its checks and defaults are written in another way.
MYSQL_TABLE = (
    TABLE.replace("uu uuid, i4 inet4, i6 inet6, ", "")
    .replace("DEFAULT '0000-00-00'", "")
    .replace("bit DEFAULT b'1'", "bit")
    .replace("CONSTRAINT positive CHECK (mi > -9)", "KEY (mi)")
)
CHARSETS = """CREATE TABLE charsets (id int PRIMARY KEY,
  l1 varchar(300) CHARACTER SET latin1, u16 varchar(60) CHARACTER SET utf16, u16l text CHARACTER SET utf16le,
  ucs char(60) CHARACTER SET ucs2, u32 varchar(60) CHARACTER SET utf32, u3 varchar(60) CHARACTER SET utf8mb3,
  sj varchar(60) CHARACTER SET sjis, eu varchar(60) CHARACTER SET euckr, gb varchar(60) CHARACTER SET gbk,
  k8 varchar(60) CHARACTER SET koi8r, en enum('é','€','ß') CHARACTER SET latin1,
  se set('é','€','ß') CHARACTER SET latin1, bi varchar(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)"""


@pytest.fixture(scope="module")
def at(any_server: MariaDB) -> Iterator[Shop]:
    is_mysql = type(any_server) is not MariaDB
    with shop(any_server, MYSQL_TABLE if is_mysql else TABLE, CHARSETS) as opened:
        opened.query("SET SESSION sql_mode = '', time_zone = '+00:00'")
        opened.copied("everything")
        for row in ROWS:
            kept = {name: value for name, value in row.items() if not is_mysql or name not in ("uu", "i4", "i6")}
            if is_mysql and "js" in kept:
                kept["js"] = str(kept["js"]).replace("1e400", "1e40")  # beyond a double: refused there
            names = ",".join(f"`{name}`" for name in kept)
            marks = ",".join(["%s"] * len(kept))
            opened.query(f"INSERT INTO everything ({names}) VALUES ({marks})", tuple(kept.values()))
        opened.query("UPDATE everything SET po = ST_GeomFromText('POINT(1.5 -2)') WHERE id = 4")
        every = bytes(EVERY_BYTE[1:])  # 81, 8d, 8f, 90 and 9d too, which no codec of Python reads
        opened.query("INSERT INTO charsets (id, l1) VALUES (1, CONVERT(%s USING latin1))", (every,))
        opened.query("UPDATE charsets SET l1 = X'" + every.hex() + "' WHERE id = 1")
        opened.query(
            "INSERT INTO charsets VALUES (2, 'é€ÿ', '漢😀', 'ü😀', '漢字', '😀é', '漢', 'カナ漢', '한글', '漢字',"
            " 'Привет', '€', 'é,ß', '😀\\0x')"
        )
        opened.query("INSERT INTO charsets VALUES (3, '', '', '', '', '', '', '', '', '', '', 2, '', '')")
        opened.query("INSERT INTO charsets (id, en) VALUES (4, 'not a member')")
        yield opened


def truth(at: Shop, table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    with reading(at.server.connect, at.database) as cursor:
        rows = source_rows(cursor, table)
    for row in rows.values():
        if row.get("d2"):
            row["d2"] = str(Decimal(row["d2"]))  # ZEROFILL is how a number is shown, not what it is
    return rows


def by_tuple(rows: dict[PKey, dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {key if isinstance(key, tuple) else (key,): row for key, row in rows.items()}


@pytest.mark.parametrize("table", ["everything", "charsets"])
def test_all_ways_give_the_row_that_select_gives(at: Shop, table: str) -> None:
    expected = truth(at, table)
    assert len(expected) == 4
    copied = by_tuple(at.copied(table))
    assert differences(copied, expected) == []
    at.write(f"UPDATE {table} SET id = id")  # notes every key, changes nothing
    change = at.step().changes[table]
    assert differences(by_tuple(at.rows(table, change.rows)), expected) == []
    read = at.step(ReadKeys(table, [key[0] for key in expected])).read
    assert isinstance(read, KeysRead)
    assert differences(by_tuple(at.rows(table, read.rows)), expected) == []


@pytest.mark.parametrize("table", ["everything", "charsets"])
def test_values_are_those_that_are_stored(at: Shop, table: str) -> None:
    schema = at.source.readers[table].schema
    for row in at.copied(table).values():
        for column in schema.columns:
            value = row[column.name]
            again = column.type.from_mysql(value)
            assert (again, type(again)) == (value, type(value)), column.name


def test_the_hard_values_are_hard(at: Shop) -> None:
    """What the comparison above must have compared, written out."""
    rows = at.copied("everything")
    hard = rows[2**64 - 1]
    assert hard["de"] == f"-{'7' * 35}.{'0' * 29}1"
    assert (hard["b1"], hard["b64"], hard["tu"], hard["d2"]) == (0, 0xFF00275C0A1A2280, 7, "0.01")
    assert (hard["t6"], hard["da"], hard["dt"], hard["d6"]) == (
        "-00:00:00.000001",
        "0000-00-00",
        "0000-00-00 00:00:00",
        "9999-12-31 23:59:59.999999",
    )
    assert (hard["bn"], hard["tb"], hard["ye"], hard["tm"]) == ("AP8AAA==", "", 2155, "-838:59:59")
    assert rows[4]["fl"] == 16777216 and type(rows[4]["fl"]) is int
    assert rows[3]["da"] == "2020-00-00" and rows[3]["se"] == "" and rows[3]["en"] == ""
    assert len(hard["lt"]) == 750_000
    charsets = at.copied("charsets")
    assert str(charsets[1]["l1"]).encode("latin1", "replace")[0x80:0x81] == b"\x81"
    assert (charsets[2]["en"], charsets[2]["se"], charsets[2]["u32"]) == ("€", "é,ß", "😀é")
    assert charsets[3]["en"] == "€"


#: Keys and values of theirs, each alone and behind another column: servers compare rows of values in another way.
KEYS = [
    ("k DECIMAL(12,3)", ["-1.5", "0.001", "99999.999"]),
    ("k BIGINT UNSIGNED", ["18446744073709551615", "0"]),
    ("k INT(5) ZEROFILL", ["7", "12345"]),
    ("k VARCHAR(20) CHARACTER SET latin1", ["'a,b'", "'é€'", "''", "'it''s'"]),
    ("k VARBINARY(20)", ["X'00ff2c'", "''"]),
    ("k DATETIME(3)", ["'2020-02-29 01:02:03.004'", "'0000-00-00'"]),
    ("k TIMESTAMP", ["'2038-01-19 03:14:07'", "'2020-03-29 02:30:00'"]),
    ("k TIME(6)", ["'-00:00:00.000001'", "'838:59:59'"]),
    ("k ENUM('b','a','ü')", ["'a'", "'ü'", "'b'"]),
    ("k SET('b','a','ü')", ["'a,ü'", "'b'", "''"]),
    ("k YEAR", ["2155", "0", "1999"]),
    ("k BIT(10)", ["b'1111100000'", "b'0'"]),
    ("k DATE, l VARCHAR(9) COLLATE utf8mb4_general_ci, m TINYINT", ["'2020-01-01','x',1", "'2020-01-01','X,y',1"]),
]
BESIDE = {"alone": "", "number": "p TINYINT, ", "text": "p VARCHAR(9), "}


def create_sql(place: int, beside: str) -> str:
    key = BESIDE[beside] + KEYS[place][0]
    names = ",".join(part.split()[0] for part in key.split(", "))
    return f"CREATE TABLE {beside}{place} ({key}, n INT, PRIMARY KEY ({names})) ENGINE=InnoDB"


@pytest.fixture(scope="module")
def keyed(any_server: MariaDB) -> Iterator[Shop]:
    with shop(any_server, *(create_sql(place, beside) for place in range(len(KEYS)) for beside in BESIDE)) as opened:
        opened.query("SET SESSION sql_mode = ''")
        yield opened


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("place", range(len(KEYS)), ids=[key.split("(")[0] for key, _ in KEYS])
def test_keys_of_every_type_go_there_and_back(keyed: Shop, place: int, beside: str) -> None:
    at, table = keyed, f"{beside}{place}"
    values = [value if beside == "alone" else f"1,{value}" for value in KEYS[place][1]]
    at.write(*(f"INSERT INTO {table} VALUES ({value}, {number})" for number, value in enumerate(values)))
    change = at.step().changes[table]
    noted = at.rows(table, change.rows)
    assert (len(noted), change.gone) == (len(values), [])
    assert at.copied(table, limit=1) == noted
    read = at.step(ReadKeys(table, list(noted), only_missing=True)).read
    assert isinstance(read, KeysRead)
    assert read.missing == []
    expected = {(row["n"],): row for row in truth(at, table).values()}
    assert differences({(row["n"],): row for row in noted.values()}, expected) == []
    at.write(f"DELETE FROM {table} WHERE n = 0")
    change = at.step().changes[table]
    assert change.gone == [key for key, row in noted.items() if row["n"] == 0]
