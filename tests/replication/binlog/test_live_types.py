"""Values that live servers write to their logs are the values that they answer: every type, its hardest values."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import UpdateRowsEvent, WriteRowsEvent

from tcsql.replication.binlog.charsets import charset_of, text_of, texts_of, width_of
from tests.mariadb import MariaDB
from tests.replication import mysql9
from tests.replication.binlog import charset_tables
from tests.replication.binlog.logs import Logged
from tests.replication.binlog.record import write_types
from tests.replication.comparing import differences, reading, source_rows
from tests.replication.test_types import CHARSETS, MYSQL_TABLE
from tests.test_mariadb_roundtrip import TABLE


def same_as_select(at: Logged, *tables: str, zone: str = "+00:00") -> None:
    """Fails with what differs between the rows that the log ends in and those that there are."""
    told = at.read(at.expected(*tables, zone=zone))
    assert told.misfits == []
    with reading(at.server.connect, at.database) as cursor:
        cursor.execute("SET time_zone = %s", (zone,))
        for table, rows in told.rows.items():
            expected = source_rows(cursor, table)
            for row in expected.values():
                if row.get("d2"):
                    row["d2"] = str(Decimal(row["d2"]))  # ZEROFILL is how a number is shown, not what it is
            assert expected, "nothing was compared"
            assert differences(rows, expected) == []


def test_every_type_with_its_hardest_values(log_server: MariaDB) -> None:
    table = TABLE if type(log_server) is MariaDB else MYSQL_TABLE
    with Logged(log_server, table, CHARSETS) as at:
        write_types(at)
        same_as_select(at)


@pytest.mark.parametrize("zone", ["+05:30", "-11:00", "Europe/Berlin"])
def test_timestamps_come_in_the_zone_of_the_settings(log_server: MariaDB, zone: str) -> None:
    with Logged(log_server, "CREATE TABLE t (id INT PRIMARY KEY, a TIMESTAMP NULL, b TIMESTAMP(4) NULL)") as at:
        moments = [0, 1, 1585443599, 1585443600, 1603587599, 1603587600, 1603591200, 1700000000, 2**31 - 1]
        for number, moment in enumerate(moments):
            at.query(f"INSERT INTO t VALUES ({number}, FROM_UNIXTIME({moment}), FROM_UNIXTIME({moment}.0625))")
        at.query("INSERT INTO t VALUES (100, NULL, NULL), (101, '0000-00-00', '0000-00-00')")
        if zone[0] in "+-":
            same_as_select(at, zone=zone)
            return
        # the servers here have no zones with names; Berlin's are known
        rows = at.read(at.expected(zone=zone)).rows["t"]
        assert [rows[number,]["a"] for number in (2, 3, 4, 5, 6, 7)] == [
            *("2020-03-29 01:59:59", "2020-03-29 03:00:00", "2020-10-25 02:59:59", "2020-10-25 02:00:00"),
            *("2020-10-25 03:00:00", "2023-11-14 23:13:20"),
        ]
        assert rows[101,]["a"] == "0000-00-00 00:00:00"


def random_rows(random: Random, count: int) -> list[tuple[Any, ...]]:
    rows = []
    for number in range(count):
        micros = random.randrange(10**6)
        clock = f"{random.randrange(24):02}:{random.randrange(60):02}:{random.randrange(60):02}.{micros:06}"
        long = f"{random.choice(['', '-'])}{random.randrange(839):02}:{random.randrange(59):02}:59.{micros:06}"
        date = f"{random.randrange(10000):04}-{random.randrange(13):02}-{random.randrange(29):02}"
        values: list[Any] = [
            f"{date} {clock}", f"{date} {clock}", f"{date} {clock}", long, long, long, date,
            random.random() * 10 ** random.randint(-30, 30),
            # MySQL cuts longer ones when it CASTs them, as the comparison does
            random.random() * 10 ** random.randint(-90, 90),
            Decimal(random.randrange(-(10**12), 10**12)).scaleb(-3), random.randrange(-(10**30), 10**30),
            Decimal(random.randrange(-(10**18), 10**18)).scaleb(-18),
            random.randrange(-(2**23), 2**23), random.randrange(2**24),
            random.randrange(2**33), random.choice(["a", "b", "c"]), random.choice(["", "x", "y,z", "x,z"]),
            random.randbytes(random.randrange(9)),
            "".join(random.choices("aé漢😀 ' \\", k=random.randrange(12))).strip(),
            random.choice(["1999", "2155", "0", "1901"]),
        ]  # fmt: skip
        rows.append((number, *(None if random.random() < 0.2 else value for value in values)))
    return rows


def test_random_values_of_many_types_with_columns_null_in_every_combination(log_server: MariaDB) -> None:
    table = """CREATE TABLE t (id INT PRIMARY KEY, d0 DATETIME, d3 DATETIME(3), d6 DATETIME(6), t0 TIME, t1 TIME(1),
        t6 TIME(6), da DATE, fl FLOAT, dd DOUBLE, n1 DECIMAL(12,3), n2 DECIMAL(31,0), n3 DECIMAL(18,18), mi MEDIUMINT,
        mu MEDIUMINT UNSIGNED, bi BIT(33), en ENUM('a','b','c'), se SET('x','y','z'), bn BINARY(9),
        ch CHAR(12), ye YEAR)"""
    with Logged(log_server, table) as at:
        at.many(f"INSERT INTO t VALUES ({','.join(['%s'] * 21)})", random_rows(Random(5), 1500))
        at.query("UPDATE t SET mi = NULL, en = 'b' WHERE id % 3 = 0")
        same_as_select(at)


OLD = (
    "CREATE TABLE old (id INT PRIMARY KEY, a TIMESTAMP NULL, b TIMESTAMP(3) NULL, c DATETIME, d DATETIME(1), "
    "e DATETIME(6), f TIME, g TIME(2), h TIME(6))"
)


def test_mariadbs_older_forms_of_times(mariadb_log: MariaDB) -> None:
    with Logged(mariadb_log, "SET GLOBAL mysql56_temporal_format = OFF", OLD) as at:
        try:
            moment = "'2020-02-29 23:59:58.987654'"
            at.query(
                f"INSERT INTO old VALUES (1,{','.join([moment] * 5)},'-838:59:58.98','-12:34:56.25','-0:0:0.000001')"
            )
            at.query("INSERT INTO old VALUES (2,0,0,0,0,0,'838:59:59','00:00:00.01','11:22:33.999999')")
            at.query("INSERT INTO old (id) VALUES (3)")
            same_as_select(at)
            before = at.expected()
            at.query("SET GLOBAL mysql56_temporal_format = ON")
            at.begin()
            at.query("ALTER TABLE old FORCE")
            at.query("UPDATE old SET c = 0")
            assert at.read(before).misfits == ["its column a is no timestamp /* mariadb-5.3 */"]
        finally:
            at.query("SET GLOBAL mysql56_temporal_format = ON")


def test_mariadbs_compressed_columns_and_addresses(mariadb_log: MariaDB) -> None:
    table = """CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(300) COMPRESSED, b BLOB COMPRESSED, c LONGTEXT COMPRESSED
        CHARACTER SET latin1, u UUID, i6 INET6, i4 INET4)"""
    with Logged(mariadb_log, table) as at:
        addresses = ["::", "::1", "::1.2.3.4", "::ffff:1.2.3.4", "1:0:2:3:4:5:6:7", "1:0:0:2::3", "::2:3:4:5:6:7:8"]
        for number, address in enumerate(addresses):
            uuid = f"{number:08x}-0000-{number}abc-8000-00000000{number}0{number}0"
            texts = ("é" * 40 * number, "x\0y" * 5000 * number, "ÿ€" * 9000 * number)
            at.query("INSERT INTO t VALUES (%s,%s,%s,%s,%s,%s,%s)", (number, *texts, uuid, address, "1.2.3.0"))
        at.query("INSERT INTO t (id) VALUES (100)")
        same_as_select(at)


@pytest.mark.parametrize("kind", [MariaDB, pytest.param(mysql9.MySQL9, marks=mysql9.needs_mysql9)])
def test_our_charsets_are_the_servers(kind: type[MariaDB], request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("mariadb_log" if kind is MariaDB else "mysql_log")
    asked = ("latin1", "swe7", "sjis", "geostd8") if kind is MariaDB else ("gb18030", "big5")
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        for number, name in charset_tables.collations(cursor, kind is MariaDB).items():
            assert charset_of(number) == name
        cursor.execute("SELECT character_set_name, maxlen FROM information_schema.character_sets")
        for name, width in cursor.fetchall():
            assert width_of(name) == width
        for charset in asked:
            answers = charset_tables.answers(cursor, charset)
            read = text_of(charset)
            assert {each: read(each) for each in answers} == answers
            assert texts_of(charset, list(answers)) == list(answers.values())


def test_every_charset_in_columns_and_members(log_server: MariaDB) -> None:
    names = [*sorted(charset_tables.CODECS), "ucs2", "utf16", "utf32", "utf16le", "utf8mb3"]
    if type(log_server) is MariaDB:
        names.remove("gb18030")
    columns = ",".join(
        f"v_{name} VARCHAR(40) CHARACTER SET {name}, c_{name} CHAR(9) CHARACTER SET {name}, e_{name}"
        f" ENUM('a','b c','x') CHARACTER SET {name}, t_{name} TINYTEXT CHARACTER SET {name}"
        for name in names
    )
    with Logged(log_server, f"CREATE TABLE t (id INT PRIMARY KEY, {columns}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC") as at:
        texts = ["plain ~\\ text", "äöüßéè¡¿", "Привет мир", "漢字カナ한글", "א ب ก", "", "a\0b"]
        for number, text in enumerate(texts):
            values = ",".join(["%s,%s,'b c',%s"] * len(names))
            at.query(f"INSERT IGNORE INTO t VALUES ({number},{values})", [text, text[:9], text] * len(names))
        same_as_select(at)


def test_halves_of_surrogate_pairs_come_as_select_gives_them_through_the_outbox(mariadb_log: MariaDB) -> None:
    table = "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9) CHARACTER SET ucs2, b VARCHAR(9) CHARACTER SET utf32)"
    with Logged(mariadb_log, table) as at:
        at.query("INSERT INTO t VALUES (1, X'D83DDE000041', X'0000D83D')")
        assert at.read().rows["t"] == {(1,): {"id": 1, "a": "??????A", "b": "???"}}


@pytest.mark.filterwarnings("ignore:'db' is deprecated:DeprecationWarning")
def test_another_reader_of_logs_says_the_same_where_it_is_right(log_server: MariaDB) -> None:
    """mysql-replication, on types that it reads correctly: integers, exact numbers, plain texts and moments."""
    table = """CREATE TABLE t (id BIGINT PRIMARY KEY, a TINYINT, b SMALLINT UNSIGNED, c MEDIUMINT, d BIGINT UNSIGNED,
        e DECIMAL(20,5), f DOUBLE, g VARCHAR(80), h TEXT, i DATETIME(6), j DATE, k ENUM('x','y','z'))"""
    random = Random(11)
    with Logged(log_server, table) as at:
        rows = [
            (
                *(number, random.randrange(-128, 128), random.randrange(65536), random.randrange(-(2**23), 2**23)),
                *(random.randrange(2**64), Decimal(random.randrange(-(10**19), 10**19)).scaleb(-5), random.random()),
                *(
                    "ü漢😀" * random.randrange(9),
                    None if number % 3 else "text " * number,
                    f"2020-02-03 04:05:06.{number + 1:06}",
                ),
                *(f"{1000 + number}-12-31", random.choice("xyz")),
            )
            for number in range(300)
        ]
        at.many(f"INSERT INTO t VALUES ({','.join(['%s'] * 12)})", rows)
        at.query("UPDATE t SET a = NULL WHERE id % 2")
        ours = at.read().rows["t"]
        theirs: dict[int, dict[str, Any]] = {}
        stream = BinLogStreamReader(
            connection_settings={"unix_socket": log_server.socket, "user": "root", "password": ""},
            server_id=77, log_file=at.file, log_pos=4, resume_stream=True, only_schemas=[at.database],
            only_events=[WriteRowsEvent, UpdateRowsEvent],
        )  # fmt: skip
        try:
            for event in stream:
                for row in event.rows:
                    values = row.get("after_values") or row["values"]
                    theirs[values["id"]] = values
        finally:
            stream.close()
        assert len(ours) == 300
        for number, row in theirs.items():
            shown = {
                name: value if isinstance(value, (int, float, type(None))) else str(value)
                for name, value in row.items()
            }
            assert ours[number,] == shown
