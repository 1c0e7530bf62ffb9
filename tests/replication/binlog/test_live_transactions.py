"""Transactions of live servers: settings that leave something out are refused, all else arrives whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from tcsql.replication.binlog.events import Type
from tcsql.replication.binlog.faults import BinlogFault
from tcsql.replication.binlog.gather import Gathering
from tcsql.replication.binlog.stream import Commit, Parser
from tcsql.replication.binlog.tables import Change
from tests.mariadb import MariaDB
from tests.replication.binlog.logs import Logged, Told, items_of
from tests.replication.binlog.record import POSTS
from tests.replication.binlog.test_live_types import same_as_select

T = "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(40), b INT)"


@contextmanager
def setting(at: Logged, name: str, value: str) -> Iterator[None]:
    """A session's setting, and what it was again."""
    [(before,)] = at.query(f"SELECT @@SESSION.{name}")
    at.query(f"SET SESSION {name} = {value}")
    try:
        yield
    finally:
        at.query(f"SET SESSION {name} = %s", (before,))


@contextmanager
def global_setting(at: Logged, name: str, value: str) -> Iterator[None]:
    [(before,)] = at.query(f"SELECT @@GLOBAL.{name}")
    at.query(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        at.query(f"SET GLOBAL {name} = %s", (before,))


def test_statement_format_is_refused_with_the_remedy(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at, setting(at, "binlog_format", "'STATEMENT'"):
        at.query("INSERT INTO t VALUES (1, 'x', RAND())")
        with pytest.raises(BinlogFault, match="statement") as caught:
            at.read()
        assert "binlog_format = 'ROW'" in (caught.value.hint or "")


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_rows_without_all_their_columns_are_refused(log_server: MariaDB, image: str) -> None:
    with Logged(log_server, "CREATE TABLE t (id INT PRIMARY KEY, a TEXT, b INT)") as at:
        with setting(at, "binlog_row_image", f"'{image}'"):
            at.query("INSERT INTO t (id) VALUES (1)")
            at.query("UPDATE t SET b = 3")
        with pytest.raises(BinlogFault, match="without some of their columns") as caught:
            at.read()
        assert "binlog_row_image = 'FULL'" in (caught.value.hint or "")


def test_rows_without_names_of_columns_are_refused(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at:
        with global_setting(at, "binlog_row_metadata", "MINIMAL"):
            at.query("INSERT INTO t (id) VALUES (1)")
        with pytest.raises(BinlogFault, match="names of its columns") as caught:
            at.read()
        assert "binlog_row_metadata = 'FULL'" in (caught.value.hint or "")


def test_a_log_without_checksums_is_read(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at, global_setting(at, "binlog_checksum", "NONE"):
        at.begin()
        at.query("INSERT INTO t VALUES (1, 'x', 2)")
        assert at.read().rows["t"] == {(1,): {"id": 1, "a": "x", "b": 2}}


ALTERS = {
    "ADD COLUMN c INT": "it has 4 columns, not 3",
    "ADD COLUMN c INT FIRST, DROP COLUMN b": "it has column c where id was",
    "DROP COLUMN a": "it has 2 columns, not 3",
    "RENAME COLUMN a TO c": "it has column c where a was",
    "MODIFY b BIGINT": "its column b is no int",
    "MODIFY b INT UNSIGNED": "its column b is no int",
    "MODIFY a VARCHAR(41)": "its column a is no varchar(40)",
    "MODIFY a VARCHAR(40) CHARACTER SET latin1": "its column a is no varchar(40)",
    "MODIFY a TEXT": "its column a is no varchar(40)",
    "DROP PRIMARY KEY, ADD PRIMARY KEY (b)": "its primary key is (b)",
    "MODIFY a ENUM('x','y')": "its column a is no varchar(40)",
}


def test_rows_of_a_table_that_was_altered_are_told_as_a_misfit_and_never_read(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at:
        before = at.expected()
        for number, (alter, problem) in enumerate(ALTERS.items()):
            at.query("DROP TABLE t")
            at.query(T)
            at.begin()
            at.query(f"ALTER TABLE t {alter}")
            at.query(
                "INSERT INTO t (id" + (", b) VALUES (%s, 5)" if "PRIMARY" in alter else ") VALUES (%s)"), (number,)
            )
            told = at.read(before)
            [found] = told.misfits
            assert found.startswith(problem), alter
            assert len(told.statements) == 1
            assert told.rows["t"] == {}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ENUM('a','b')", "ENUM('b','a')"),
        ("SET('a','ü')", "SET('a','u')"),
        ("DECIMAL(10,2)", "DECIMAL(10,3)"),
        ("DATETIME(3)", "DATETIME"),
        ("BIT(9)", "BIT(10)"),
        ("BINARY(4)", "CHAR(4) CHARACTER SET latin1"),
        ("BLOB", "TEXT"),
        ("TEXT", "LONGTEXT"),
        ("FLOAT", "DOUBLE"),
        ("YEAR", "TINYINT UNSIGNED"),
        ("DATE", "DATETIME"),
        ("POINT", "BLOB"),
    ],
)
def test_types_that_lie_alike_are_told_apart(log_server: MariaDB, first: str, second: str) -> None:
    with Logged(log_server, f"CREATE TABLE t (id INT PRIMARY KEY, a {first})") as at:
        before = at.expected()
        at.query("INSERT INTO t VALUES (1, NULL)")
        at.query(f"ALTER TABLE t MODIFY a {second}")
        at.query("INSERT INTO t VALUES (2, NULL)")
        told = at.read(before)
        assert len(told.misfits) == 1
        assert told.rows["t"] == {(1,): {"id": 1, "a": None}}


def test_sessions_that_turn_checks_off_write_rows_like_all_others(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at:
        checks = ["foreign_key_checks", "unique_checks"]
        checks += ["binlog_rows_query_log_events"] if at.is_mysql else ["check_constraint_checks"]
        for name in checks:
            at.query(f"SET SESSION {name} = {'ON' if 'log' in name else '0'}")
        at.query("INSERT INTO t VALUES (1, 'x', 2)")
        at.query("UPDATE t SET b = 3")
        assert at.read().rows["t"] == {(1,): {"id": 1, "a": "x", "b": 3}}


def test_only_tables_that_are_followed_are_read(log_server: MariaDB) -> None:
    with Logged(log_server, T, "CREATE TABLE other (id INT PRIMARY KEY)") as at:
        at.query("BEGIN")
        at.query("INSERT INTO other VALUES (1)")
        at.query("INSERT INTO t VALUES (1, 'x', 2)")
        at.query("UPDATE t, other SET t.b = 9, other.id = 3")
        at.query("COMMIT")
        told = at.read(at.expected("t"))
        assert told.rows == {"t": {(1,): {"id": 1, "a": "x", "b": 9}}}


def test_a_column_list_keeps_the_other_columns_out(log_server: MariaDB) -> None:
    table = "CREATE TABLE t (a VARCHAR(300), x JSON, id INT, y DATETIME(3), k CHAR(3), z BLOB, PRIMARY KEY (k, id))"
    with Logged(log_server, table) as at:
        at.query("""INSERT INTO t VALUES ('a', '{}', 1, NOW(3), 'k', 'z'), (NULL, NULL, 2, NULL, 'k', NULL)""")
        at.query("UPDATE t SET id = id + 10, a = REPEAT('b', 299) WHERE id = 1")
        at.query("DELETE FROM t WHERE id = 2")
        [(name, whole)] = at.expected().items()
        kept = [column for column in whole.schema.columns if column.name in ("a", "id", "k")]
        expected = whole.__class__(whole.table, whole.schema.with_(columns=tuple(kept), indexes=()))
        told = at.read({name: expected})
        assert told.rows["t"] == {("k", 11): {"a": "b" * 299, "id": 11, "k": "k"}}


def test_whole_rows_before_a_change_come_when_asked_for(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at:
        at.query("INSERT INTO t VALUES (1, 'x', 2)")
        at.query("UPDATE t SET a = 'y', b = NULL")
        at.query("DELETE FROM t")
        told = at.read(at.expected(whole_before=True))
        _, update, delete = [item for item in told.items if isinstance(item, Change)]
        assert update.old is not None and delete.old is not None
        assert list(zip(*update.old.columns, strict=True)) == [(1, "x", 2)]
        assert list(zip(*delete.old.columns, strict=True)) == [(1, "y", None)]


def test_hidden_columns_of_indexes_and_invisible_ones(mysql_log: MariaDB) -> None:
    with Logged(mysql_log, T) as at:
        at.query("ALTER TABLE t ADD INDEX f ((a + 1)), ADD COLUMN i INT INVISIBLE DEFAULT 5")
        at.query("ALTER TABLE t ADD v INT GENERATED ALWAYS AS (b * 2) VIRTUAL, ADD INDEX (v)")
        at.query("INSERT INTO t (id, a, b) VALUES (1, '3', 4)")
        at.query("UPDATE t SET b = 7")
        same_as_select(at)


def test_json_of_mysql_as_select_prints_it(mysql_log: MariaDB) -> None:
    documents = [
        "[-0.0, 0.0, 1e15, 123456789012345.0, 1e16, 1e-14, 1e-15, 1e-16, 5e-324, 1.7976931348623157e308, 1e22, 0.1]",
        '{"b": 1, "a": 2, "aa": 3, "ü": 4, "": 5, "\\"": "\\u0000\\u001f\\u007f\\n\\t\\r\\b\\f/\\\\😀"}',
        "[" * 90 + "]" * 90,
        '"' + "long " * 20_000 + '"',
        "{" + ",".join(f'"key{number}": [{number}, "{"x" * 30}"]' for number in range(3000)) + "}",
        "null",
        "true",
        "[[], {}, [{}], -1, 32767, 32768, -32769, 65536, -2147483649, 4294967296]",
    ]
    with Logged(mysql_log, "CREATE TABLE t (id INT PRIMARY KEY, j JSON)") as at:
        for number, document in enumerate(documents):
            at.query("INSERT INTO t VALUES (%s, %s)", (number, document))
        at.query("INSERT INTO t VALUES (100, CAST(ST_GeomFromText('POINT(1 2)') AS JSON)), (101, NULL)")
        at.query(
            "INSERT INTO t VALUES (102, JSON_ARRAY(CAST('2020-01-01 01:02:03' AS DATETIME), b'101', X'00ff', 1.10))"
        )
        same_as_select(at)


def test_random_changes_of_parts_of_json(mysql_log: MariaDB) -> None:
    """Members and elements set, inserted and removed anywhere: the row in the log is the row that SELECT gives."""
    random = Random(3)
    keys = ["a", "b", "bb", "ü", "a b", 'q\\"', "zzz", "$x", "1"]
    values = ["1", "-2.5", "1e30", '"text"', "null", "[]", "{}", '["x", [1]]', '{"b": {"zzz": 0}, "c": 1}', "true"]

    def path() -> str:
        legs = random.choices(
            [f'."{key}"' for key in keys] + [f"[{place}]" for place in range(3)], k=random.randrange(1, 4)
        )
        return "$" + "".join(legs)

    with Logged(mysql_log, "CREATE TABLE t (id INT PRIMARY KEY, j JSON, k JSON, n INT)") as at:
        for number in range(20):
            members = ",".join(f'"{key}": {random.choice(values)}' for key in random.sample(keys, 5))
            at.query("INSERT INTO t VALUES (%s, %s, %s, 0)", (number, f"{{{members}}}", f"[{{{members}}}, 1, [2, 3]]"))
        with setting(at, "binlog_row_value_options", "'PARTIAL_JSON'"):
            for number in range(400):
                changes = {
                    name: random.choice(["JSON_SET", "JSON_INSERT", "JSON_REPLACE", "JSON_REMOVE"]) for name in "jk"
                }
                sets, arguments = [], []
                for name, change in changes.items():
                    value = "" if change == "JSON_REMOVE" else ", CAST(%s AS JSON)"
                    sets.append(f"{name} = {change}({name}, %s{value})")
                    arguments += [path(), random.choice(values)] if value else [path()]
                at.query(f"UPDATE t SET {', '.join(sets)}, n = n + 1 WHERE id = {number % 20}", arguments)
        kinds = {event[4] for event in at.events()}
        assert Type.PARTIAL_UPDATE in kinds
        same_as_select(at)


def test_a_transaction_of_200_000_rows_is_read_in_bounded_memory(mariadb_log: MariaDB) -> None:
    with Logged(mariadb_log, POSTS) as at:
        at.query("INSERT INTO posts SELECT seq, 1, CONCAT('title ', seq), '2020-01-01', seq / 8 FROM seq_1_to_200000")
        tables = at.expected()
        events = list(at.events())
        assert sum(map(len, events)) > 6_000_000
        parser = Parser(tables)
        rows = commits = 0
        tracemalloc.start()
        try:
            for event in events[:40]:
                list(parser.feed(event))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            for event in events[40:160]:  # all others are alike, and being watched costs much time
                for item in parser.feed(event):
                    rows += len(item)  # type: ignore[arg-type]  # the transaction has not ended
            assert rows > 10_000
            assert tracemalloc.get_traced_memory()[1] - before < 3_000_000
        finally:
            tracemalloc.stop()
        for event in events[160:]:
            for item in parser.feed(event):
                rows += len(item) if isinstance(item, Change) else 0
                commits += isinstance(item, Commit)
        assert (rows > 190_000, commits) == (True, 1)
        gathering = Gathering()
        for item in items_of(events, tables):
            gathering.add(item) if isinstance(item, Change) else gathering.commit()
        change = gathering.take()["posts"]
        assert (len(change.rows), change.rows.columns[2][199_999]) == (200_000, "title 200000")


def test_a_compressed_transaction_of_many_rows_is_read_in_bounded_memory(mysql_log: MariaDB) -> None:
    with Logged(mysql_log, "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(200))") as at:
        with setting(at, "binlog_transaction_compression", "ON"):
            at.query("BEGIN")
            at.query("INSERT INTO t (a) VALUES (REPEAT('x', 200))")
            for _ in range(15):
                at.query("INSERT INTO t (a) SELECT a FROM t")
            at.query("COMMIT")
        tables = at.expected()
        events = list(at.events())
        parser = Parser(tables)
        rows = 0
        tracemalloc.start()
        try:
            for event in events:
                for item in parser.feed(event):
                    rows += len(item) if isinstance(item, Change) else 0
            assert tracemalloc.get_traced_memory()[1] < 8_000_000
        finally:
            tracemalloc.stop()
        assert rows == 32_768


def test_names_of_any_kind(log_server: MariaDB) -> None:
    table = "CREATE TABLE `t a-b``c` (`id` INT PRIMARY KEY, `Grüße_1` INT)"
    with Logged(log_server, table) as at:
        at.query("INSERT INTO `t a-b``c` VALUES (1, 2)")
        [name] = [name for (name,) in at.query("SHOW TABLES")]
        told = Told(items_of(at.events(), {}), {})
        assert told.transactions == [[]]
        assert name == "t a-b`c"
