"""Binary log: servers that log too little, and tables whose changes are not all logged, are refused with the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from tests.mariadb import MariaDB
from tests.replication.binlog.logs import options_of
from tests.replication.binlogging import binlog, is_mysql, log_server, run
from tests.replication.following import MARKER, PASSWORD, SERVERS, USER, Node
from tests.replication.mysql9 import MySQL9

Connection = pymysql.connections.Connection
POSTS = "CREATE TABLE posts (id INT PRIMARY KEY, n INT NOT NULL) ENGINE=InnoDB"
PARENT = "CREATE TABLE parent (id INT PRIMARY KEY, n INT) ENGINE=InnoDB"
CHILD = """CREATE TABLE {0} (id INT PRIMARY KEY, parent INT,
    FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE {1} ON UPDATE {2}) ENGINE=InnoDB"""
CHILDREN = {"cascades": ("CASCADE", "CASCADE"), "nulls": ("SET NULL", "RESTRICT")}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[MariaDB]:
    with log_server(request.param) as running:
        yield running


@pytest.fixture
def connection(server: MariaDB) -> Iterator[Connection]:
    with server.database("shop") as opened:
        run(opened, POSTS)
        yield opened


def made(server: MariaDB, directory: Path, *tables: str, **options: object) -> Node:
    """A node with its configuration and its account; nothing is set up."""
    with server.connect("shop") as connection:
        run(connection, MARKER, f"CREATE USER IF NOT EXISTS {USER}@localhost IDENTIFIED BY '{PASSWORD}'")
    node = Node(server, "shop", directory, [*tables, "marker"], mode="binlog", server_id=6_000, **options)
    node.write_config()
    return node


@pytest.mark.parametrize(
    ("variable", "bad", "good"),
    [
        ("binlog_format", "STATEMENT", "ROW"),
        ("binlog_format", "MIXED", "ROW"),
        ("binlog_row_image", "MINIMAL", "FULL"),
        ("binlog_row_image", "NOBLOB", "FULL"),
        ("binlog_row_metadata", "MINIMAL", "FULL"),
    ],
)
def test_a_server_that_logs_too_little_is_refused_with_the_statement_that_mends_it(
    server: MariaDB, connection: Connection, tmp_path: Path, variable: str, bad: str, good: str
) -> None:
    node = made(server, tmp_path, "posts")
    assert node.setup().returncode == 0
    assert node.check().returncode == 0, node.check().stdout
    run(connection, f"SET GLOBAL {variable} = {bad}")
    try:
        checked = node.check()
        assert checked.returncode != 0
        told = checked.stdout + checked.stderr
        found = re.search(rf"SET (?:GLOBAL|PERSIST) {variable} ?= ?'?{good}'?", told)
        assert found is not None, told
        refused = node.try_setup()
        assert refused.returncode != 0
        run(connection, found[0])
        assert node.check().returncode == 0, node.check().stdout
    finally:
        run(connection, f"SET GLOBAL {variable} = {good}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--binlog-ignore-db=shop",), "binlog_ignore_db"),
        (("--binlog-do-db=another",), "binlog_do_db"),
        (("--skip-log-bin",), "log_bin"),
    ],
)
def test_a_server_that_does_not_log_the_database_is_refused(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    given = [each for each in options_of(MariaDB) if "skip-log-bin" not in str(options) or "--log-bin" not in each]
    with MariaDB(*given, *options) as server, server.database("shop") as connection:
        run(connection, POSTS)
        node = made(server, tmp_path, "posts")
        checked = node.check()
        assert checked.returncode != 0, checked.stdout
        refused = [line for line in checked.stdout.splitlines() if line.startswith("refuse")]
        assert any(said in line for line in refused), checked.stdout


def test_a_mysql_without_names_of_transactions_is_refused(
    server: MariaDB, connection: Connection, tmp_path: Path
) -> None:
    if not is_mysql(server):
        with connection.cursor() as cursor:  # MariaDB always has them
            cursor.execute("SELECT @@gtid_binlog_pos <> ''")
            assert cursor.fetchone() == (1,)
        return
    options = ("--server-id=2", "--log-bin=binlog", "--binlog-row-metadata=FULL", "--gtid-mode=OFF")
    with MySQL9(*options) as without, without.database("shop") as own:
        run(own, POSTS)
        checked = made(without, tmp_path, "posts").check()
        assert checked.returncode != 0, checked.stdout
        assert "gtid_mode" in checked.stdout + checked.stderr


def test_setting_up_makes_nothing_at_the_source_and_gives_just_the_rights(
    server: MariaDB, connection: Connection, tmp_path: Path
) -> None:
    def objects() -> list[tuple[object, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT 'table', table_name FROM information_schema.tables WHERE table_schema = 'shop'
                UNION SELECT 'trigger', trigger_name FROM information_schema.triggers WHERE trigger_schema = 'shop'
                UNION SELECT 'routine', routine_name FROM information_schema.routines WHERE routine_schema = 'shop'"""
            )
            return sorted(cursor.fetchall())

    run(connection, MARKER)
    before = objects()
    run(connection, "DROP TABLE marker")
    with binlog(server, "shop", tmp_path, ["posts"], start=False) as node:
        assert objects() == before
        with connection.cursor() as cursor:
            cursor.execute(f"SHOW GRANTS FOR {USER}@localhost")
            grants = " ".join(str(row[0]).upper() for row in cursor.fetchall())
        assert "REPLICATION SLAVE" in grants
        assert not re.search(r"\b(INSERT|UPDATE|DELETE|SUPER|ALL PRIVILEGES|TRIGGER)\b", grants), grants
        node.start()
        node.wait_until_following()
        run(connection, "INSERT INTO posts VALUES (1,1)")
        node.assert_equal()
        # a right that is taken away is told, with the statement that gives it back
        run(connection, f"REVOKE REPLICATION SLAVE ON *.* FROM {USER}@localhost")
        node.stop()
        node.start()
        node.wait_for(lambda: node.status()["state"] == "stopped")
        told = f"{node.status()['reason']} {node.status()['hint']}"
        assert "REPLICATION SLAVE" in told
        assert "GRANT" in told
        assert PASSWORD not in told


def cascade(connection: Connection) -> None:
    run(connection, "INSERT INTO parent VALUES (1,1),(2,2),(3,3),(4,4)")
    for name, (delete, update) in CHILDREN.items():
        run(connection, CHILD.format(name, delete, update))
        run(connection, f"INSERT INTO {name} VALUES (1,1),(2,2),(3,3),(4,NULL)")


def act(connection: Connection) -> None:
    """What the parent's children feel: row 2 goes, row 3 becomes 30, each where its foreign key says so."""
    run(connection, "DELETE FROM parent WHERE id = 2")
    run(connection, "UPDATE parent SET id = 40 WHERE id = 4", "UPDATE cascades SET parent = 40 WHERE id = 4")
    run(connection, "UPDATE parent SET id = 41 WHERE id = 40")


def test_cascades_arrive_where_the_log_has_them_and_are_refused_where_it_has_not(
    server: MariaDB, connection: Connection, tmp_path: Path
) -> None:
    run(connection, PARENT)
    cascade(connection)
    if not is_mysql(server):
        node = made(server, tmp_path, "parent", *CHILDREN)
        checked = node.check()
        assert checked.returncode != 0
        lines = (checked.stdout + checked.stderr).splitlines()
        for name, kinds in CHILDREN.items():
            assert any(name in line and kinds[0] in line for line in lines), lines
        assert node.try_setup().returncode != 0
        return
    with binlog(server, "shop", tmp_path / "node", ["parent", *CHILDREN], audit_s=0) as node:
        act(connection)
        node.assert_equal()
        assert [row["id"] for row in node.live.rows("table=cascades")] == [1, 3, 4]


def test_cascades_that_are_left_to_the_audit_are_found_within_its_time(
    server: MariaDB, connection: Connection, tmp_path: Path
) -> None:
    run(connection, PARENT)
    cascade(connection)
    options = {"audit_s": 1, "cascades": "audit"}
    with binlog(server, "shop", tmp_path / "node", ["parent", *CHILDREN], **options) as node:
        act(connection)
        node.wait_until_equal(timeout_s=8)
        assert [row["id"] for row in node.live.rows("table=cascades")] == [1, 3, 4]
        if not is_mysql(server):
            assert node.status()["audit"]["differing"] > 0


def test_a_cascade_that_comes_later_is_told_where_the_log_does_not_have_it(
    server: MariaDB, connection: Connection, tmp_path: Path
) -> None:
    run(connection, PARENT, "CREATE TABLE child (id INT PRIMARY KEY, parent INT, KEY (parent)) ENGINE=InnoDB")
    run(connection, "INSERT INTO parent VALUES (1,1),(2,2)", "INSERT INTO child VALUES (1,1),(2,2)")
    with binlog(server, "shop", tmp_path / "node", ["parent", "child"]) as node:
        run(connection, "ALTER TABLE child ADD FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE")
        if is_mysql(server):
            run(connection, "DELETE FROM parent WHERE id = 2")
            node.wait_until_equal()
            return
        node.wait_for(lambda: "CASCADE" in node.table_status("child").get("problem", ""))
