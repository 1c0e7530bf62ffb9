"""First copies while writers write, triggers behind an open transaction, what the source cannot purge, doorbells."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from tests.mariadb import MariaDB
from tests.replication.following import MARKER, Node, Watcher, following, torture
from tests.replication.workload import Workload
from tests.replication.workload_tables import SCHEMA, prepare
from tests.udf.library import make

Connection = pymysql.connections.Connection
BIG = "CREATE TABLE big (id INT PRIMARY KEY, n INT NOT NULL, title VARCHAR(40), KEY (n)) ENGINE=InnoDB"


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with MariaDB("--local-infile=ON") as running:
        yield running


@pytest.fixture
def connection(server: MariaDB) -> Iterator[Connection]:
    with server.database("shop") as connection:
        yield connection


def fill_big(connection: Connection, rows: int) -> None:
    cursor = connection.cursor()
    cursor.execute(BIG)
    for start in range(0, rows, 10_000):
        values = ",".join(f"({each},{each % 97},'row {each}')" for each in range(start, start + 10_000))
        cursor.execute(f"INSERT INTO big VALUES {values}")


def test_a_first_copy_under_load_that_is_killed_in_the_middle_goes_on_and_ends_equal(
    server: MariaDB, connection: Connection, tmp_path: Path
) -> None:
    rows = 400_000 if torture() else 30_000
    prepare(connection)
    fill_big(connection, rows)
    stop = threading.Event()

    def change() -> None:
        with server.connect("shop") as own, own.cursor() as cursor:
            number = 0
            while not stop.is_set():
                number += 1
                low = number * 7919 % rows
                cursor.execute("UPDATE big SET n = n + 1 WHERE id BETWEEN %s AND %s", (low, low + 20))
                cursor.execute("DELETE FROM big WHERE id = %s", (number * 104_729 % rows,))
                cursor.execute("UPDATE IGNORE big SET id = id + 7000000 WHERE id = %s", (number * 1_299_709 % rows,))
                cursor.execute("INSERT INTO big VALUES (%s,1,'negative')", (-number,))
                time.sleep(0.001)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        with (
            Workload(server.socket, "shop", 600, seed=3, writers=4) as workload,
            following(server, "shop", tmp_path / "node", [*SCHEMA, "big"], start=False, copy_rows=1_000) as node,
        ):
            node.start()
            node.wait_for(lambda: node.table_status("big").get("copied", 0) > 3_000)
            before = node.table_status("big")["copied"]
            node.kill()
            node.start()
            node.wait_for(lambda: node.status()["state"] in ("copying", "following"))  # a quick copy is over by now
            assert node.table_status("big")["copied"] >= before or node.table_status("big")["state"] == "following"
            node.wait_until_following(300)
            time.sleep(10 if torture() else 0.5)
            workload.stop()
            while workload.is_running():
                time.sleep(0.05)
            stop.set()
            changer.join()
            node.assert_equal()
    finally:
        stop.set()
        changer.join()


def test_a_table_copied_again_under_load_goes_on_answering_and_ends_equal(
    server: MariaDB, connection: Connection, tmp_path: Path
) -> None:
    prepare(connection)
    with following(server, "shop", tmp_path / "node", list(SCHEMA), poll_ms=10, copy_rows=100) as node:
        with Workload(server.socket, "shop", 600, seed=4, writers=8) as workload, Watcher(node):
            for name in ("accounts", "events", "wide"):
                node.ask("recopy", "--table", name)
                node.wait_until_following()
            workload.stop()
            while workload.is_running():
                time.sleep(0.05)
        node.assert_equal()


def test_triggers_are_made_behind_a_transaction_that_is_open_and_its_rows_are_not_lost(
    server: MariaDB, connection: Connection, tmp_path: Path
) -> None:
    connection.cursor().execute("CREATE TABLE posts (id INT PRIMARY KEY) ENGINE=InnoDB")
    connection.cursor().execute(MARKER)
    node = Node(server, "shop", tmp_path, ["posts", "marker"])
    node.write_config()
    with server.connect("shop", autocommit=False) as open_:
        open_.cursor().execute("INSERT INTO posts VALUES (1)")
        commit = threading.Timer(1.5, open_.commit)
        commit.start()
        try:
            started = time.monotonic()
            done = node.try_setup()
            if done.returncode:  # it may give up, if it says what it waited for
                assert time.monotonic() - started < 60
                assert "posts" in done.stdout + done.stderr
                commit.join()
                node.setup()
        finally:
            commit.join()
    try:
        node.start()
        node.wait_until_following()
        node.assert_equal()
        assert [row["id"] for row in node.live.rows("table=posts")] == [1]
    finally:
        node.close()


def test_a_snapshot_that_keeps_the_source_from_purging_does_not_hold_us_up(
    server: MariaDB, connection: Connection, tmp_path: Path
) -> None:
    changes = 200_000 if torture() else 10_000
    fill_big(connection, 10_000)
    with following(server, "shop", tmp_path, ["big"], poll_ms=5) as node, server.connect("shop") as old:
        old.cursor().execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.cursor().execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        old.cursor().execute("SELECT count(*) FROM tcsql_outbox")
        for _ in range(changes // 10_000):
            connection.cursor().execute("UPDATE big SET n = n + 1")
        node.assert_equal()
        took = []
        for number in range(20):
            started = time.monotonic()
            connection.cursor().execute("UPDATE big SET n = %s WHERE id = 5", (number,))
            node.wait_for(lambda number=number: node.live.rows(f"table=big&where=id:NUMEQ:5|n:NUMEQ:{number}"))
            took.append(time.monotonic() - started)
        assert sorted(took)[len(took) // 2] < 2, took
        old.rollback()
        node.assert_equal()


def ring(path: Path, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.setblocking(False)
        bell.sendto(data, str(path))


@pytest.fixture(scope="module")
def ringing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MariaDB, Path]]:
    """A server whose triggers ring, and the path of the bell."""
    directory = tmp_path_factory.mktemp("udf")
    done = make(f"BUILD={directory / 'build'}", f"CONF={directory / 'push.conf'}")
    assert done.returncode == 0, done.stderr
    bell = directory / "bell"
    (directory / "push.conf").write_text(f"doorbell = {bell}\n")
    (directory / "push.conf").chmod(0o600)
    with MariaDB(f"--plugin-dir={directory / 'build'}") as running:
        yield running, bell


def test_doorbells_that_are_lost_early_or_many_change_nothing_but_the_latency(
    ringing: tuple[MariaDB, Path], tmp_path: Path
) -> None:
    server, bell = ringing
    with (
        server.database("shop") as connection,
        server.connect("shop", autocommit=False) as late,
    ):
        connection.cursor().execute("CREATE TABLE posts (id INT PRIMARY KEY, n INT NOT NULL) ENGINE=InnoDB")
        with following(server, "shop", tmp_path / "node", ["posts"], poll_ms=1_500, doorbell=str(bell)) as node:
            assert bell.exists()

            def insert(key: int, own: Connection = connection) -> float:
                """Seconds from the commit until the row is visible."""
                own.cursor().execute("INSERT INTO posts VALUES (%s,1)", (key,))
                if own is late:
                    time.sleep(0.1)
                    own.commit()
                started = time.monotonic()
                node.wait_for(lambda: node.live.rows(f"table=posts&where=id:NUMEQ:{key}"))
                return time.monotonic() - started

            # heard, though it rings before the commit: looked again at once, with growing pauses
            assert sorted(insert(key) for key in range(11))[5] < 0.5
            # rung long before the commit
            assert sorted(insert(key, late) for key in range(20, 25))[2] < 1
            # lost: seen by the next poll
            bell.rename(bell.with_suffix(".away"))
            assert insert(30) < 3
            bell.with_suffix(".away").rename(bell)
            # a flood, and some that are no bells
            until = time.monotonic() + 1
            rung = 0
            while time.monotonic() < until:
                try:
                    ring(bell, b"x" * (rung % 2_000))
                    rung += 1
                except BlockingIOError:
                    time.sleep(0.001)
            assert rung > 100
            assert node.live.get("command=select&table=posts&type=count").json() == {"count": 17}
            insert(100)
            node.assert_equal()
            node.stop()
        connection.cursor().execute("INSERT INTO posts VALUES (1000,1)")  # nobody listens: no writer notices
