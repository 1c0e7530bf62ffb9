"""Triggers at a real MariaDB: what they note, what they survive, and that a changed one is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pymysql
import pytest

from tcsql.errors import SourceFault
from tcsql.replication.catalogue import read_triggers
from tcsql.replication.triggers import (
    Wiring,
    is_own_trigger,
    outbox_problem,
    trigger_problem,
    trigger_stem,
    triggers_of,
    wrong_triggers,
)
from tcsql.sources import FollowedTable
from tests.mariadb import MariaDB
from tests.replication.at_source import AtSource, at_new_database, column
from tests.replication.test_keytext import KINDS


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TZ", "Europe/Berlin")  # the server's own zone, SYSTEM, has summer time
        with MariaDB() as running:
            yield running


@pytest.fixture
def source(server: MariaDB) -> Iterator[AtSource]:
    with at_new_database(server) as opened:
        yield opened


def test_inserts_updates_and_deletes_are_noted_with_their_key(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY, title VARCHAR(20))")
    source.set_up()
    source.run(
        """INSERT INTO posts VALUES (1,'a'),(2,'b')
        UPDATE posts SET title = 'c' WHERE id = 1
        UPDATE posts SET id = 3 WHERE id = 2
        INSERT INTO posts VALUES (1,'x') ON DUPLICATE KEY UPDATE title = 'd'
        REPLACE INTO posts VALUES (3,'y')
        DELETE FROM posts WHERE id = 1"""
    )
    noted = [(op, key) for table, op, key in source.noted() if table == "posts"]
    assert noted == [
        *(("I", "1"), ("I", "2"), ("U", "1"), ("U", "3"), ("U", "2"), ("U", "1")),
        *(("D", "3"), ("I", "3"), ("D", "1")),
    ]


def test_what_is_rolled_back_is_not_noted(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY)")
    source.set_up()
    source.run("START TRANSACTION\nINSERT INTO posts VALUES (1)\nROLLBACK")
    assert source.noted() == []


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        ("VARCHAR(9) COLLATE utf8mb4_general_ci", "'a'", "'A'"),
        ("VARCHAR(9) COLLATE utf8mb4_general_ci", "'a'", "'a '"),
        ("VARCHAR(9) CHARSET latin1", "'e'", "'é'"),
        ("VARBINARY(9)", "'a'", "'A'"),
        ("ENUM('a','b')", "'a'", "'b'"),
        ("TIMESTAMP DEFAULT 0", "'0000-00-00'", "FROM_UNIXTIME(5)"),
        ("TIMESTAMP DEFAULT 0", "FROM_UNIXTIME(5)", "'0000-00-00'"),
        ("BIT(9)", "1", "2"),
        ("DECIMAL(9,2)", "1.00", "1.01"),
        ("UUID", "UUID()", "UUID()"),
    ],
)
def test_a_key_that_changes_its_bytes_is_noted_both_ways(source: AtSource, key: str, old: str, new: str) -> None:
    source.query(f"CREATE TABLE posts (k {key} NOT NULL PRIMARY KEY, n INT)")
    source.set_up()
    source.query(f"INSERT INTO posts VALUES ({old}, 1)")
    [(_, _, first)] = source.noted()
    source.query(f"UPDATE posts SET k = {new}")
    source.query("UPDATE posts SET n = 2")
    changed, before, plain = (text for _, _, text in source.noted())
    assert (before, changed) == (first, plain) and changed != first


def test_keys_of_every_type_are_noted_when_they_change(source: AtSource) -> None:
    for kind, (declared, keys) in KINDS.items():
        source.query(f"CREATE TABLE k_{kind} (k {declared} NOT NULL PRIMARY KEY)")
        source.settings = replace(source.settings, tables=(FollowedTable(name=f"k_{kind}"),))
        source.set_up()
        source.query("SET sql_mode = 'ALLOW_INVALID_DATES'")
        written = [key for key, _ in keys]
        source.query(f"INSERT INTO k_{kind} VALUES ({written[0]})")
        [(_, _, before)] = source.noted()
        for key in [*written[1:], written[0]] if written[1:] else []:
            source.query(f"UPDATE k_{kind} SET k = {key}")
            after, noted = (text for _, _, text in source.noted())
            assert noted == before != after, f"{kind}: {key}"
            before = after


def test_the_hour_that_is_there_twice_is_two_keys(source: AtSource) -> None:
    source.query("CREATE TABLE posts (k TIMESTAMP DEFAULT 0 PRIMARY KEY)")
    source.query("CREATE TABLE later (k TIMESTAMP DEFAULT 0)")
    source.set_up()
    source.query("INSERT INTO posts VALUES (FROM_UNIXTIME(1603584000))")
    source.query("INSERT INTO later VALUES (FROM_UNIXTIME(1603587600))")
    # for this writer both are 02:00 of the day on which clocks go back
    source.query("SET time_zone = 'SYSTEM'")
    assert source.query("SELECT CAST(k AS CHAR) FROM posts") == source.query("SELECT CAST(k AS CHAR) FROM later")
    source.query("UPDATE posts SET k = (SELECT k FROM later)")
    assert [key for _, _, key in source.noted()] == ["1603584000", "1603587600", "1603584000"]


def test_other_columns_may_come_and_go(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY, a INT, b INT)")
    source.set_up()
    source.run(
        """ALTER TABLE posts ADD COLUMN c INT FIRST
        INSERT INTO posts VALUES (1, 2, 3, 4)
        ALTER TABLE posts DROP COLUMN a
        UPDATE posts SET b = 5
        ALTER TABLE posts CHANGE b z BIGINT
        UPDATE posts SET z = 6
        ALTER TABLE posts MODIFY id BIGINT
        DELETE FROM posts"""
    )
    assert [op for _, op, _ in source.noted()] == ["I", "U", "U", "D"]
    assert source.set_up() == []


def test_a_writer_without_rights_on_the_outbox_may_write(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY)")
    source.set_up()
    source.run(f"CREATE USER app@localhost\nGRANT INSERT ON {source.database}.posts TO app@localhost")
    try:
        with pymysql.connect(unix_socket=source.server.socket, user="app", database=source.database) as writer:
            writer.cursor().execute("SET sql_mode = 'ANSI,STRICT_ALL_TABLES', time_zone = '-05:00'")
            writer.cursor().execute("INSERT INTO posts VALUES (7)")
            writer.commit()
    finally:
        source.query("DROP USER app@localhost")
    assert source.noted() == [("posts", "I", "7")]


def test_triggers_shown_by_the_server_are_as_they_were_made(source: AtSource) -> None:
    source.query("CREATE TABLE posts (k VARCHAR(9), n DECIMAL(4,2), PRIMARY KEY (n, k))")
    source.set_up()
    table = source.facts().tables["posts"]
    assert table is not None
    expected = triggers_of("posts", table.key_columns, Wiring("tcsql_outbox"))
    assert trigger_problem("posts", expected, table.triggers) is None
    assert all(len(trigger.name) <= 64 for trigger in expected)

    [insert, update, _] = expected
    source.query(f"DROP TRIGGER {insert.name}")
    source.query(f"CREATE OR REPLACE TRIGGER {update.name} AFTER UPDATE ON posts FOR EACH ROW SET @seen = 1")
    present = read_triggers(source.connection.query, source.database, "posts")
    assert wrong_triggers(expected, present) == {insert.name: "missing", update.name: "changed"}
    said = trigger_problem("posts", expected, present)
    assert said is not None and "missing" in said and "changed" in said
    assert "not there" in (trigger_problem("posts", expected, ()) or "")


def test_a_trigger_that_fires_before_or_for_another_event_is_no_longer_ours(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY)")
    source.set_up()
    table = source.facts().tables["posts"]
    assert table is not None
    expected = triggers_of("posts", table.key_columns, Wiring("tcsql_outbox"))
    delete = expected[2]
    source.query(f"DROP TRIGGER {delete.name}")
    source.query(f"CREATE TRIGGER {delete.name} BEFORE DELETE ON posts FOR EACH ROW {delete.body}")
    assert wrong_triggers(expected, read_triggers(source.query, source.database, "posts")) == {delete.name: "changed"}


def test_names_belong_to_one_outbox_and_one_table() -> None:
    stems = {trigger_stem(outbox, table) for outbox in ("a", "b") for table in ("x", "y", "y" * 64)}
    assert len(stems) == 6 and all(len(stem) == 18 for stem in stems)
    stem = trigger_stem("a", "x")
    assert is_own_trigger("a", f"{stem}_ins", "INSERT INTO `a` (tab,op,pk) VALUES ('x','I',1)")
    assert is_own_trigger("a", f"{stem}_del", "DO tcsql_push('x','D',1)")
    assert not is_own_trigger("b", f"{stem}_ins", "INSERT INTO `a` (tab,op,pk) VALUES ('x','I',1)")
    assert not is_own_trigger("a", f"{stem}_ins", "INSERT INTO `a` (tab,op,pk) VALUES ('y','I',1)")
    assert not is_own_trigger("a", "my_trigger", "SET @a = 1")


def test_an_outbox_of_another_shape_is_told(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY)")
    source.set_up()
    assert outbox_problem(source.facts().outbox) is None
    source.query("ALTER TABLE tcsql_outbox MODIFY pk VARCHAR(100) NOT NULL")
    assert "columns" in (outbox_problem(source.facts().outbox) or "")
    source.run("DROP TABLE tcsql_outbox\nCREATE TABLE tcsql_outbox (seq INT PRIMARY KEY) ENGINE=Aria")
    assert "Aria" in (outbox_problem(source.facts().outbox) or "")
    with pytest.raises(SourceFault, match="is no outbox"):
        source.set_up()


def test_the_longest_key_fits_the_outbox(source: AtSource) -> None:
    source.query("CREATE TABLE posts (k VARBINARY(3072) PRIMARY KEY) ROW_FORMAT=DYNAMIC")
    source.set_up()
    source.query("INSERT INTO posts VALUES (REPEAT(X'FF', 3072))")
    [(_, _, key)] = source.noted()
    assert key == "FF" * 3072


def test_push_triggers_call_the_function_and_note_nothing() -> None:
    columns = [column("id", "int")]
    [insert, update, delete] = triggers_of("posts", columns, Wiring("box", push=True, doorbell=True))
    assert insert.body == "DO tcsql_push('posts','I',CAST(NEW.`id` AS CHAR))"
    assert update.body.count("tcsql_push") == 2 and "box" not in update.body + delete.body
    assert Wiring("box", push=True, doorbell=True).functions == ("tcsql_push",)
    [insert, *_] = triggers_of("posts", columns, Wiring("box", doorbell=True))
    assert insert.body.startswith("BEGIN INSERT INTO `box`") and insert.body.endswith("; DO tcsql_doorbell(); END")
