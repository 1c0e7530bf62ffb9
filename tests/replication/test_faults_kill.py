"""Outbox: kill -9 of TCSQL between applying and deleting, of its worker, of MariaDB; and two that want one outbox.

Where exactly TCSQL dies is decided at the source: a lock on rows of the outbox lets it read them and apply, and holds
it up at the DELETE. So no test needs luck.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pymysql
import pytest

from tests.mariadb import MariaDB
from tests.replication.following import Node, Watcher, following, torture
from tests.replication.workload import Workload
from tests.replication.workload_tables import SCHEMA, begin_again, prepare

Connection = pymysql.connections.Connection


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with MariaDB("--innodb-flush-log-at-trx-commit=1", "--local-infile=ON") as running:
        yield running


@pytest.fixture(scope="module")
def shared(server: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with server.connect() as connection:
        connection.cursor().execute("CREATE DATABASE shop")
        connection.select_db("shop")
        prepare(connection)
    directory = tmp_path_factory.mktemp("kill")
    with following(server, "shop", directory, list(SCHEMA), poll_ms=5) as running:
        yield running


@pytest.fixture
def node(shared: Node) -> Node:
    """Following, with the accounts that a workload begins with."""
    if shared.running is None:
        shared.start()
    with shared.server.connect("shop", autocommit=False) as connection:
        begin_again(connection)
        connection.commit()
    shared.wait_until_following()
    shared.settle()
    return shared


def outbox(node: Node) -> list[int]:
    """The numbers of the changes that wait."""
    with node.server.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT seq FROM tcsql_outbox WHERE tab <> '' ORDER BY seq")
        return [int(each[0]) for each in cursor.fetchall()]


def run(connection: Connection, statement: str, *values: object) -> None:
    connection.cursor().execute(statement, values)


def balance(node: Node, key: int) -> list[int]:
    return [row["balance"] for row in node.live.rows(f"table=accounts&where=id:NUMEQ:{key}")]


def lock_rows(connection: Connection, numbers: list[int]) -> None:
    """Rows of the outbox and nothing between them: whoever writes new ones goes on."""
    run(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    run(connection, f"SELECT seq FROM tcsql_outbox WHERE seq IN ({','.join(map(str, numbers))}) FOR UPDATE")


def waits_for_a_lock(node: Node) -> bool:
    with node.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT trx_query FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")
        return any("DELETE" in str(each[0]) for each in cursor.fetchall())


def change_while_stopped(node: Node, connection: Connection, runs: int) -> list[int]:
    """Changes in so many runs of numbers, with a hole after each; their numbers. The node is stopped for it."""
    node.stop()
    for number in range(runs):
        run(connection, "UPDATE accounts SET balance = balance + 1 WHERE id BETWEEN 1 AND 3")
        run(connection, "UPDATE accounts SET balance = balance - 3 WHERE id = %s", 10 + number)
        connection.commit()
        run(connection, "UPDATE accounts SET balance = 0 WHERE id = 1")
        connection.rollback()
    return outbox(node)


def test_killed_between_applying_and_deleting_it_applies_again_to_the_same_end(node: Node) -> None:
    with node.server.connect("shop", autocommit=False) as writer, node.server.connect("shop", autocommit=False) as lock:
        seen = change_while_stopped(node, writer, 1)
        lock_rows(lock, seen)
        node.start()
        node.wait_for(lambda: balance(node, 1) == [1001])
        node.wait_for(lambda: waits_for_a_lock(node))
        assert outbox(node) == seen
        node.kill()
        assert outbox(node) == seen
        # what happens before it comes back is not undone by what is applied again
        run(writer, "UPDATE accounts SET balance = balance + 5 WHERE id = 1")
        run(writer, "DELETE FROM accounts WHERE id = 2")
        run(writer, "UPDATE accounts SET balance = balance + 996 WHERE id = 3")
        writer.commit()
        lock.rollback()
    with Watcher(node) as watcher:
        node.start()
        node.assert_equal()
        node.wait_for(lambda: watcher.polls > 3)
    assert balance(node, 1) == [1006]
    node.wait_for(lambda: outbox(node) == [])


def test_killed_between_two_runs_of_deletes_it_applies_the_rest_again(node: Node) -> None:
    with node.server.connect("shop", autocommit=False) as writer, node.server.connect("shop", autocommit=False) as lock:
        seen = change_while_stopped(node, writer, 3)
        lock_rows(lock, seen[-4:])
        node.start()
        node.wait_for(lambda: balance(node, 1) == [1003])
        node.wait_for(lambda: waits_for_a_lock(node))
        assert outbox(node) in (seen, seen[-4:])
        node.kill()
        run(writer, "UPDATE accounts SET balance = balance + 1 WHERE id = 4")
        run(writer, "UPDATE accounts SET balance = balance - 1 WHERE id = 5")
        writer.commit()
        lock.rollback()
        node.start()
        node.assert_equal()
        node.wait_for(lambda: outbox(node) == [])


def test_what_was_not_seen_is_never_deleted(node: Node) -> None:
    """A number inside the range of those seen, whose transaction commits after the poll and before the DELETE."""
    connect = node.server.connect
    with (
        connect("shop", autocommit=False) as writer,
        connect("shop", autocommit=False) as late,
        connect("shop", autocommit=False) as lock,
    ):
        node.stop()
        run(writer, "UPDATE accounts SET balance = balance + 1 WHERE id = 1")
        run(late, "UPDATE accounts SET balance = balance - 2 WHERE id = 2")
        run(writer, "UPDATE accounts SET balance = balance + 1 WHERE id = 3")
        writer.commit()
        seen = outbox(node)
        assert seen[-1] - seen[0] > 1
        lock_rows(lock, seen[:1])
        node.start()
        node.wait_for(lambda: balance(node, 3) == [1001])
        late.commit()
        lock.rollback()
    node.assert_equal()
    assert balance(node, 2) == [998]


def test_a_killed_worker_is_replaced(node: Node) -> None:
    worker = node.worker()
    assert worker is not None
    worker.kill()
    with node.server.connect("shop") as connection:
        run(connection, "UPDATE accounts SET balance = balance + 1 WHERE id = 1")
    node.assert_equal()
    replaced = node.worker()
    assert replaced is not None
    assert replaced.pid != worker.pid


def test_killed_again_and_again_in_the_middle_of_writing_it_ends_equal(node: Node) -> None:
    kills = 60 if torture() else 3
    random = Random(11)
    with Watcher(node), Workload(node.server.socket, "shop", kills * 0.9, seed=11, writers=8) as workload:
        for number in range(kills):
            time.sleep(random.uniform(0.05, 0.3))
            if number % 3 == 2 and (worker := node.worker()) is not None:
                worker.kill()
            else:
                node.kill()
                node.start()
        while workload.is_running():
            time.sleep(0.05)
    node.assert_equal()


def test_the_source_killed_in_the_middle_of_writing_it_ends_equal(node: Node) -> None:
    kills = 60 if torture() else 3
    random = Random(5)
    with Watcher(node), Workload(node.server.socket, "shop", kills * 0.8, seed=5, writers=16) as workload:
        for _ in range(kills):
            time.sleep(random.uniform(0.1, 0.4))
            node.server.kill()
            time.sleep(random.uniform(0, 0.1))
            node.server.start()
        while workload.is_running():
            time.sleep(0.05)
    node.wait_until_equal()
    node.assert_equal()


def test_a_second_tcsql_on_the_same_outbox_is_refused_and_the_first_goes_on(node: Node, tmp_path: Path) -> None:
    second = Node(node.server, "shop", tmp_path / "second", node.tables, **node.options)
    second.directory.mkdir()
    second.write_config()
    try:
        second.start()
        second.wait_for(lambda: second.status()["state"] == "stopped")
        said = second.status()
        assert "tcsql_outbox" in f"{said['reason']} {said['hint']}"
        with node.server.connect("shop") as connection:
            run(connection, "UPDATE accounts SET balance = balance + 1 WHERE id = 1")
        node.assert_equal()
        node.stop()
        second.wait_until_following()
        second.assert_equal()
    finally:
        second.close()
