"""Binary log: kill -9 of TCSQL, of its worker, of the source, of the link; two that say they are one replica.

After TCSQL was killed it goes on exactly where it was: nothing is copied or compared, and all is equal.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pymysql
import pytest

from tests.mariadb import MariaDB
from tests.replication.binlogging import COPIED, Link, asked, binlog, is_mysql, is_stale, log_lines, log_server, run
from tests.replication.following import PASSWORD, SERVERS_IN_TURN, USER, Node, Watcher, torture
from tests.replication.workload import Workload
from tests.replication.workload_tables import SCHEMA, begin_again, prepare

Connection = pymysql.connections.Connection
HEARTBEAT_MS = 300
#: What a session says to write into streams of names of its own: some that our place has, then one of them and others.
MARIADB_STREAMS = (
    tuple(
        f"SET SESSION gtid_domain_id = {domain}, SESSION server_id = {id_}" for domain, id_ in ((5, 7), (0, 8), (9, 1))
    ),
    ("DO 0", "SET SESSION gtid_domain_id = 5", "SET SESSION gtid_domain_id = 44"),
)
_OTHER = "aaaaaaaa-{}-11ee-8c99-0242ac120002"
MYSQL_STREAMS = (
    (
        *("SET SESSION gtid_next = 'AUTOMATIC:one_tag'", "SET SESSION gtid_next = 'AUTOMATIC:two_tags'"),
        f"SET SESSION gtid_next = '{_OTHER.format('0001')}:7'",
    ),
    (
        *("SET SESSION gtid_next = 'AUTOMATIC'", "SET SESSION gtid_next = 'AUTOMATIC:one_tag'"),
        f"SET SESSION gtid_next = '{_OTHER.format('0001')}:3'",
        f"SET SESSION gtid_next = '{_OTHER.format('0002')}:1'",
    ),
)


@pytest.fixture(scope="module", params=SERVERS_IN_TURN)
def server(request: pytest.FixtureRequest) -> Iterator[MariaDB]:
    with log_server(request.param, "--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1") as running:
        yield running


@pytest.fixture(scope="module")
def shared(server: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with server.connect() as connection:
        run(connection, "CREATE DATABASE shop")
        connection.select_db("shop")
        prepare(connection)
    directory = tmp_path_factory.mktemp("kill")
    with binlog(server, "shop", directory, list(SCHEMA), heartbeat_ms=HEARTBEAT_MS, stale_ms=500) as running:
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


def has_copied(node: Node) -> list[str]:
    return log_lines(node, *COPIED)


def test_killed_in_the_middle_of_writing_it_goes_on_exactly_where_it_was(node: Node) -> None:
    kills = 60 if torture() else 3
    random = Random(11)
    with Watcher(node), Workload(node.server.socket, "shop", 3_600, seed=11, writers=8) as workload:
        for _ in range(kills):
            time.sleep(random.uniform(0.05, 0.5))
            node.kill()
            if random.random() < 0.5:
                time.sleep(random.uniform(0, 0.3))
            node.start()
        workload.stop()
    node.assert_equal()
    assert has_copied(node) == []
    assert node.status()["counts"]["differences"] == 0
    node.ask("verify")


def test_what_happened_while_it_was_stopped_is_read_from_where_it_was(node: Node) -> None:
    node.stop()
    with node.server.connect("shop") as connection:
        run(connection, "UPDATE accounts SET balance = balance + 1 WHERE id = 1", "FLUSH BINARY LOGS")
        run(connection, "UPDATE accounts SET balance = balance - 1 WHERE id = 2", "DELETE FROM events LIMIT 7")
    node.start()
    node.assert_equal()
    assert has_copied(node) == []


def test_a_place_that_was_stored_is_one_of_all_domains_and_servers(node: Node) -> None:
    """Writers that say they are others, which servers take for streams of their own: before and after the place."""
    with node.server.connect("shop") as connection:
        before, after = MYSQL_STREAMS if is_mysql(node.server) else MARIADB_STREAMS
        for stream in before:
            run(connection, stream, "UPDATE accounts SET balance = balance + 1 WHERE id = 1")
            node.settle()
        node.kill()
        for number, stream in enumerate(after):
            run(connection, stream, f"UPDATE accounts SET balance = balance + 1 WHERE id = {number + 2}")
    node.start()
    node.assert_equal()
    assert has_copied(node) == []


def wait_for_another(node: Node, pid: int) -> None:
    """A worker that is not the one of that number."""

    def is_there() -> bool:
        worker = node.worker()
        return worker is not None and worker.pid != pid

    node.wait_for(is_there)


def test_a_killed_worker_is_replaced_and_goes_on_where_it_was(node: Node) -> None:
    with Watcher(node), Workload(node.server.socket, "shop", 3_600, seed=12, writers=4) as workload:
        for _ in range(20 if torture() else 2):
            time.sleep(0.2)
            worker = node.worker()
            assert worker is not None
            worker.kill()
            wait_for_another(node, worker.pid)
        workload.stop()
    node.assert_equal()
    assert node.status()["counts"]["differences"] == 0


def dumps(connection: Connection) -> list[int]:
    """Threads of the source that send the log."""
    return [int(row[0]) for row in asked(connection, "SHOW PROCESSLIST") if "Binlog Dump" in str(row[4])]


def test_a_link_that_is_broken_again_and_again_loses_and_repeats_nothing(node: Node) -> None:
    before = node.status()["counts"]["reconnects"]
    workload = Workload(node.server.socket, "shop", 3_600, seed=13, writers=8)
    with node.server.connect() as connection, Watcher(node), workload:
        for _ in range(60 if torture() else 3):
            node.wait_for(lambda: dumps(connection))
            time.sleep(0.1)
            for number in dumps(connection):
                try:
                    run(connection, f"KILL {number}")
                except pymysql.err.OperationalError as error:
                    assert error.args[0] == 1094, error  # it has gone by itself
        workload.stop()
    node.assert_equal()
    assert node.status()["counts"]["reconnects"] > before
    assert node.status()["counts"]["differences"] == 0


def test_the_source_killed_in_the_middle_of_writing_it_ends_equal(node: Node) -> None:
    random = Random(5)
    with Watcher(node), Workload(node.server.socket, "shop", 3_600, seed=5, writers=16) as workload:
        for _ in range(60 if torture() else 2):
            time.sleep(random.uniform(0.1, 0.6))
            node.server.kill()
            time.sleep(random.uniform(0, 0.1))
            node.server.start()
        workload.stop()
    node.wait_until_equal()
    node.assert_equal()


def test_what_is_prepared_survives_the_source_and_is_seen_when_it_is_committed(node: Node) -> None:
    with node.server.connect("shop") as connection:
        run(
            connection, "XA START 'x'", "INSERT INTO accounts VALUES (800,0,'prepared')", "XA END 'x'", "XA PREPARE 'x'"
        )
    node.settle()
    node.server.kill()
    node.server.start()
    node.wait_until_following()
    node.settle()
    assert node.live.rows("table=accounts&where=id:NUMEQ:800") == []
    with node.server.connect("shop") as connection:
        run(connection, "XA COMMIT 'x'")
    node.assert_equal()
    assert len(node.live.rows("table=accounts&where=id:NUMEQ:800")) == 1


def test_a_link_that_is_dead_without_saying_so_is_given_up_within_three_heartbeats(node: Node, server: MariaDB) -> None:
    with Link(server.socket) as link:
        node.stop()
        options = dict(node.options)
        node.options |= {"audit_s": 0, "check_s": 3600}  # whoever asks for rows waits much longer for them
        node.options["url"] = f"mysql://{USER}:{PASSWORD}@localhost/shop?unix_socket={link.path}"
        node.write_config()
        try:
            node.start()
            node.wait_until_following()
            node.settle()
            node.wait_for(lambda: not is_stale(node, "accounts"))
            made = link.connections
            link.cut()
            began = time.monotonic()
            node.wait_for(lambda: node.status()["state"] != "following", 10)
            took = time.monotonic() - began
            assert took < 3 * HEARTBEAT_MS / 1000 + 1.5, took
            with server.connect("shop") as connection:
                run(connection, "UPDATE accounts SET balance = balance + 1 WHERE id = 1")
            node.wait_for(lambda: is_stale(node, "accounts"), 5)
            assert node.live.get("command=select&table=slots&type=count").json() == {"count": 60}
            link.mend()
            node.wait_until_following()
            node.assert_equal()
            assert link.connections > made
            assert has_copied(node) == []
            node.wait_for(lambda: not is_stale(node, "accounts"))
        finally:
            node.stop()
            node.options = options
            node.write_config()


def test_a_source_that_does_not_answer_is_stale_and_goes_on_afterwards(node: Node, server: MariaDB) -> None:
    assert server.process is not None
    server.process.send_signal(19)
    try:
        node.wait_for(lambda: is_stale(node, "accounts"), 10)
    finally:
        server.process.send_signal(18)
    with server.connect("shop") as connection:
        run(connection, "UPDATE accounts SET balance = balance + 1 WHERE id = 1")
    node.wait_until_following()
    node.assert_equal()


def test_two_with_one_server_id_are_told_and_neither_is_wrong(node: Node, tmp_path: Path) -> None:
    second = Node(node.server, "shop", tmp_path / "second", node.tables, **node.options)
    second.directory.mkdir()
    second.write_config()
    second.start()
    try:

        def is_told() -> bool:
            said = [each.status() for each in (node, second)]
            return any("server_id" in f"{each.get('reason')} {each.get('hint')}" for each in said)

        node.wait_for(is_told, 20)
        with node.server.connect("shop") as connection:
            run(connection, "UPDATE accounts SET balance = balance + 1 WHERE id = 1")
    finally:
        second.close()
    if node.status()["state"] == "stopped":
        node.stop()
        node.start()
    node.wait_until_following()
    node.assert_equal()
