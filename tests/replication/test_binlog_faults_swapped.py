"""Binary log: tables that go and come back, and those that tools alter beside themselves under load, and swap.

What cannot be followed for a time is looked at so often as ``check_s`` says: here every second.
The statements are those that pt-online-schema-change and gh-ost send, written out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pymysql
import pytest

from tests.replication.binlogging import binlog, is_stale, log_server, run
from tests.replication.following import SERVERS_IN_TURN, Node
from tests.replication.shapes import PLAIN, insert, others_follow, reading_all_the_time, row

Connection = pymysql.connections.Connection
NAMES = ("by_pt", "by_gh", "moved", "lost", "bystander")
ROWS = 500


@pytest.fixture(scope="module", params=SERVERS_IN_TURN)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with log_server(request.param) as server, server.database("shop") as connection:
        for name in NAMES:
            run(connection, f"CREATE TABLE {name} {PLAIN}", insert(name, 0, ROWS))
        with binlog(server, "shop", tmp_path_factory.mktemp("swapped"), NAMES, check_s=1, audit_s=0) as running:
            yield running


@pytest.fixture
def writer(node: Node) -> Iterator[Connection]:
    node.wait_until_following()
    with node.server.connect("shop") as connection:
        yield connection


def problem_of(node: Node, table: str) -> str:
    status = node.table_status(table)
    return f"{status['problem']} ({status['remedy']})" if "problem" in status else ""


def test_a_table_that_is_renamed_away_is_told_answers_stale_and_is_followed_when_it_is_back(
    node: Node, writer: Connection
) -> None:
    run(writer, "RENAME TABLE moved TO elsewhere")
    node.wait_for(lambda: "no such table" in problem_of(node, "moved"))
    assert node.live.get("command=select&table=moved&type=count").json() == {"count": ROWS}
    assert is_stale(node, "moved")
    others_follow(node, writer, "moved")
    run(writer, "DELETE FROM elsewhere WHERE id < 30", "RENAME TABLE elsewhere TO moved")
    run(writer, "UPDATE moved SET n = 99 WHERE id = 50")
    node.wait_until_equal(["moved"])
    node.wait_until_following()
    node.assert_equal()


def test_a_dropped_table_is_told_and_copied_when_it_is_made_again(node: Node, writer: Connection) -> None:
    run(writer, "DROP TABLE lost")
    node.wait_for(lambda: "no such table" in problem_of(node, "lost"))
    assert is_stale(node, "lost")
    others_follow(node, writer, "lost")
    run(writer, "CREATE TABLE lost (id INT PRIMARY KEY, two VARCHAR(40), one VARCHAR(40), n INT) ENGINE=InnoDB")
    run(writer, *(f"INSERT INTO lost (id,one,two,n) VALUES {row(number)}" for number in range(60)))
    node.wait_until_equal(["lost"])
    node.wait_until_following()
    run(writer, "UPDATE lost SET n = 5", "DELETE FROM lost WHERE id < 55")
    node.assert_equal()


@contextmanager
def being_written(node: Node, table: str) -> Iterator[None]:
    """Somebody writes to the table all the time, in one transaction with the bystander."""
    ends = threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        try:
            with node.server.connect("shop", autocommit=False) as own:
                number = 0
                while not ends.is_set():
                    number += 1
                    key = number * 37 % 3_000
                    try:
                        run(own, f"REPLACE INTO {table} (id,one,two,n) VALUES {row(5_000 + number % 500)}")
                        run(own, f"UPDATE {table} SET n = n + 1 WHERE id = {key}", "UPDATE bystander SET n = n + 1")
                        if number % 5 == 0:
                            run(own, f"DELETE FROM {table} WHERE id = {5_000 + number % 300}")
                        own.commit()
                    except pymysql.err.OperationalError as error:
                        assert error.args[0] in (1205, 1213, 1412), error  # deadlocks with the copy; a new definition
                        own.rollback()
                    time.sleep(0.001)
        except BaseException as error:  # noqa: BLE001  # told by the block's end
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()
    assert failed == []


def again(connection: Connection, statement: str) -> None:
    """A statement that may lose against writers."""
    while True:
        try:
            return run(connection, statement)
        except pymysql.err.OperationalError as error:
            assert error.args[0] in (1205, 1213), error


def test_a_table_altered_in_the_manner_of_pt_online_schema_change_is_followed_through(
    node: Node, writer: Connection
) -> None:
    with being_written(node, "by_pt"), reading_all_the_time(node, "by_pt"):
        run(writer, "CREATE TABLE _by_pt_new LIKE by_pt", "ALTER TABLE _by_pt_new ADD COLUMN more VARCHAR(20) AFTER id")
        kept = "(id, one, two, n) VALUES (NEW.id, NEW.one, NEW.two, NEW.n)"
        run(
            writer,
            "CREATE TRIGGER pt_del AFTER DELETE ON by_pt FOR EACH ROW"
            " DELETE IGNORE FROM _by_pt_new WHERE id <=> OLD.id",
        )
        run(
            writer,
            "CREATE TRIGGER pt_upd AFTER UPDATE ON by_pt FOR EACH ROW BEGIN DELETE IGNORE FROM _by_pt_new WHERE"
            f" !(OLD.id <=> NEW.id) AND id <=> OLD.id; REPLACE INTO _by_pt_new {kept}; END",
        )
        run(writer, f"CREATE TRIGGER pt_ins AFTER INSERT ON by_pt FOR EACH ROW REPLACE INTO _by_pt_new {kept}")
        for start in range(0, 6_000, 1_000):
            again(
                writer,
                "INSERT LOW_PRIORITY IGNORE INTO _by_pt_new (id, one, two, n) SELECT id, one, two, n FROM by_pt"
                f" FORCE INDEX(`PRIMARY`) WHERE id >= {start} AND id < {start + 1_000} LOCK IN SHARE MODE",
            )
        again(writer, "RENAME TABLE shop.by_pt TO shop._by_pt_old, shop._by_pt_new TO shop.by_pt")
        run(writer, "DROP TABLE IF EXISTS `_by_pt_old`")
        run(writer, *(f"DROP TRIGGER IF EXISTS `shop`.`pt_{each}`" for each in ("del", "upd", "ins")))
        time.sleep(0.3)
    node.wait_until_equal(["by_pt"])
    node.wait_until_following()
    run(writer, "UPDATE by_pt SET more = 'more'")
    node.assert_equal()


def test_a_table_altered_in_the_manner_of_gh_ost_is_followed_through(node: Node, writer: Connection) -> None:
    """The cut-over with two sessions: one holds both tables, the other waits with the swap."""
    with being_written(node, "by_gh"), reading_all_the_time(node, "by_gh"):
        run(writer, "CREATE /* gh-ost */ TABLE shop._by_gh_gho LIKE shop.by_gh")
        run(
            writer,
            "ALTER /* gh-ost */ TABLE shop._by_gh_gho DROP COLUMN n, ADD COLUMN n BIGINT NOT NULL DEFAULT 0 FIRST",
        )
        run(
            writer,
            "CREATE /* gh-ost */ TABLE shop._by_gh_ghc (id INT PRIMARY KEY, hint VARCHAR(64), value VARCHAR(999))",
        )
        for start in range(0, 6_000, 1_000):
            again(
                writer,
                "INSERT /* gh-ost */ IGNORE INTO _by_gh_gho (id, one, two, n) (SELECT id, one, two, n FROM by_gh"
                f" FORCE INDEX (`PRIMARY`) WHERE id >= {start} AND id < {start + 1_000} LOCK IN SHARE MODE)",
            )
            run(writer, f"REPLACE INTO _by_gh_ghc VALUES (2,'copy iteration','{start}')")
        run(
            writer,
            "CREATE /* gh-ost */ TABLE _by_gh_del (id INT AUTO_INCREMENT PRIMARY KEY) COMMENT='ghost-cut-over-sentry'",
        )
        run(writer, "LOCK /* gh-ost */ TABLES by_gh WRITE, _by_gh_del WRITE, _by_gh_gho WRITE, by_gh AS old READ")
        # what its own reading of the log would have applied by now
        run(writer, "REPLACE INTO _by_gh_gho (id, one, two, n) SELECT id, one, two, n FROM by_gh AS old")
        swap = threading.Thread(target=_swap, args=(node,))
        swap.start()
        time.sleep(0.3)
        run(writer, "DROP /* gh-ost */ TABLE IF EXISTS _by_gh_del", "UNLOCK TABLES")
        swap.join()
        time.sleep(0.3)
        run(writer, "DROP TABLE _by_gh_ghc", "DROP TABLE _by_gh_del")
    node.wait_until_equal(["by_gh"])
    node.wait_until_following()
    run(writer, "UPDATE by_gh SET n = 8000000000")
    node.assert_equal()


def _swap(node: Node) -> None:
    with node.server.connect("shop") as own:
        run(own, "RENAME /* gh-ost */ TABLE shop.by_gh TO shop._by_gh_del, shop._by_gh_gho TO shop.by_gh")
