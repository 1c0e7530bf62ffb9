"""Binary log: servers that log too little, and tables whose changes are not all logged, are refused with the remedy."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pymysql
import pytest

from tcsql.errors import SourceFault
from tcsql.replication.binlogsource import BinlogSource
from tcsql.replication.session import Woken
from tcsql.sources import FollowedTable, SourceSettings
from tests.mariadb import MariaDB
from tests.replication.binlog.logs import options_of
from tests.replication.binlogging import binlog, is_mysql, log_server, run
from tests.replication.following import MARKER, PASSWORD, SERVERS, SERVERS_IN_TURN, USER, Node
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


def test_a_statement_on_a_table_that_cannot_be_followed_leads_to_a_look_at_once(
    server: MariaDB, connection: Connection, tmp_path: Path
) -> None:
    run(connection, "CREATE TABLE late (id INT PRIMARY KEY, n INT) ENGINE=InnoDB")
    with binlog(server, "shop", tmp_path / "node", ["posts", "late"], check_s=3600) as node:
        run(connection, "ALTER TABLE late DROP PRIMARY KEY")
        node.wait_for(lambda: "primary key" in node.table_status("late").get("problem", ""))
        run(connection, "INSERT INTO late VALUES (1,1)", "ALTER TABLE late ADD PRIMARY KEY (id)")
        node.wait_until_following()
        run(connection, "DROP TABLE late")
        node.wait_for(lambda: node.table_status("late").get("problem", "") != "")
        run(connection, "CREATE TABLE late (id INT PRIMARY KEY, n INT) ENGINE=InnoDB", "INSERT INTO late VALUES (7,7)")
        node.wait_until_following()
        node.assert_equal()


class LowerCase(MySQL9):
    """MySQL wants to be told when its data directory is made."""

    def _arguments(self) -> list[str]:
        return [*super()._arguments(), "--lower-case-table-names=1"]

    def _initialize(self) -> None:
        super()._initialize()


def _is_told_the_names(node: Node) -> bool:
    return 'tables = ["posts"]' in str(node.status())


@pytest.mark.parametrize("kind", SERVERS_IN_TURN)
def test_a_server_that_folds_names_is_followed_by_the_names_that_it_writes_into_its_log(
    kind: type[MariaDB], tmp_path: Path
) -> None:
    folding = LowerCase if kind is MySQL9 else kind
    with folding(*options_of(kind), "--lower-case-table-names=1") as server, server.connect() as own:
        run(own, "CREATE DATABASE Shop", "USE Shop", POSTS.replace("posts", "Posts"))
        with binlog(server, "shop", tmp_path / "node", ["posts"]) as node:
            run(own, "INSERT INTO Shop.Posts VALUES (1,1)", "ALTER TABLE POSTS ADD Title INT")
            run(own, "INSERT INTO shop.POSTS VALUES (2,2,2)")
            node.wait_until_equal()
            node.assert_equal()
        for database, table in (("shop", "Posts"), ("Shop", "posts")):
            refused = Node(server, database, tmp_path, [table], mode="binlog", server_id=6_001)
            refused.write_config()
            told = refused.check()
            assert told.returncode != 0
            assert "/shop in the url" in told.stdout + told.stderr
            refused.start()
            refused.wait_for(partial(_is_told_the_names, refused))
            refused.close()
            refused.forget()


@pytest.mark.parametrize("kind", SERVERS_IN_TURN)
def test_a_replica_that_does_not_log_what_it_takes_over_is_refused_while_it_takes_over(
    kind: type[MariaDB], tmp_path: Path
) -> None:
    silent = "--log-slave-updates=OFF" if kind is MariaDB else "--log-replica-updates=OFF"
    numbers = ("--server-id=31", "--server-id=32")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    network = ("--skip-networking=0", "--bind-address=127.0.0.1", f"--port={port}")
    with log_server(kind, numbers[0], *network) as source, log_server(kind, numbers[1], silent) as server:
        with source.connect() as connection:
            run(connection, "CREATE USER replica@'127.0.0.1' IDENTIFIED BY 'x'")
            run(connection, "GRANT REPLICATION SLAVE ON *.* TO replica@'127.0.0.1'", "CREATE DATABASE shop")
            run(connection, "USE shop", POSTS)
        with server.connect() as connection:
            run(connection, "CREATE DATABASE shop", "USE shop", POSTS)
            with binlog(server, "shop", tmp_path / "node", ["posts"]) as node:
                node.assert_equal()  # what it writes itself is all that there is
                run(connection, *_follow(kind, port))
                node.wait_for(lambda: "log_slave_updates" in str(node.status().get("hint")))
                assert node.status()["state"] == "stopped"
                checked = node.check()
                assert checked.returncode != 0
                assert "log_slave_updates" in checked.stdout + checked.stderr
            run(connection, "STOP SLAVE" if kind is MariaDB else "STOP REPLICA")


def _follow(kind: type[MariaDB], port: int) -> tuple[str, ...]:
    """Statements that make a server a replica of another; what that one has is passed over where it is here, too."""
    if kind is MariaDB:
        made = f"MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='replica', MASTER_PASSWORD='x'"
        return (
            "SET GLOBAL slave_exec_mode = IDEMPOTENT",
            "SET GLOBAL replicate_wild_ignore_table = 'shop.posts'",
            f"CHANGE MASTER TO {made}, MASTER_USE_GTID=no",
            "START SLAVE",
        )
    made = f"SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='replica', SOURCE_PASSWORD='x'"
    return (
        f"CHANGE REPLICATION SOURCE TO {made}, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
        "CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB = (shop)",
        "START REPLICA",
    )


@pytest.mark.parametrize("account", ["tcsql@localhost", "tcsql@'%'"])
def test_a_right_that_is_missing_is_given_to_the_account_that_is_signed_in(
    server: MariaDB, connection: Connection, account: str
) -> None:
    run(connection, f"DROP USER IF EXISTS {USER}@localhost", f"DROP USER IF EXISTS {USER}@'%'")
    run(connection, f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'", f"GRANT SELECT ON shop.* TO {account}")
    settings = SourceSettings(
        name="shop",
        url=f"mysql://{USER}:{PASSWORD}@localhost/shop?unix_socket={server.socket}",
        mode="binlog",
        tables=(FollowedTable(name="posts"),),
        server_id=6_002,
    )
    source = BinlogSource(settings, None, lambda seconds: Woken.NOT)
    with pytest.raises(SourceFault) as refused:
        source.open(b"")
    host = "%" if "%" in account else "localhost"
    assert refused.value.hint == f"run there: GRANT REPLICATION SLAVE ON *.* TO '{USER}'@'{host}'"
    run(connection, refused.value.hint.removeprefix("run there: "))
    try:
        source.open(b"")
    finally:
        source.close()
        run(connection, f"DROP USER {account}")
