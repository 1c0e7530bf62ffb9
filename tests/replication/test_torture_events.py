"""kill -9 of TCSQL behind every single event of a log, through the real process: it goes on exactly where it was.

The log stands still, so every life reads the same; a link holds back all behind one event. Then TCSQL is killed, at
once or a moment later, and started again on a link that lets all pass. Nothing is copied or compared, and all is equal.

Collected by ``make torture`` only.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.mariadb import MariaDB
from tests.replication.binlog.record import PAIRS, POSTS, posts
from tests.replication.binlogging import COPIED, binlog, insert_numbers, log_lines, log_server, run, xa, xa_end
from tests.replication.eventlink import EventLink
from tests.replication.following import PASSWORD, SERVERS, USER, Node

#: A transaction of so many rows has more than one event; they are written by one statement.
ROWS = 400


def write(server: MariaDB) -> None:
    """Transactions of all kinds, none of which needs a table to be looked at by other means than the log."""
    with server.connect("shop", autocommit=False) as connection:
        run(connection, posts(1, 20), "COMMIT")
        run(connection, "UPDATE posts SET title = CONCAT(title, ' new') WHERE id < 5", "DELETE FROM posts WHERE id = 7")
        run(connection, "INSERT INTO pairs VALUES ('a', 1, 'x'), ('b', 2, NULL)", "SAVEPOINT s", "DELETE FROM pairs")
        run(connection, "ROLLBACK TO SAVEPOINT s", "INSERT INTO pairs VALUES ('c', 3, 'y')", "COMMIT")
        run(connection, "UPDATE posts SET id = id + 1 ORDER BY id DESC", "COMMIT", "DELETE FROM pairs", "ROLLBACK")
        xa(server, "kept", "INSERT INTO pairs VALUES ('xa', 1, 'kept')", "UPDATE pairs SET c = 'kept' WHERE a = 'a'")
        xa(server, "gone", "DELETE FROM pairs WHERE a = 'c'")
        run(connection, "UPDATE posts SET uid = uid + 1 WHERE id < 9", "COMMIT")
        xa_end(server, "XA COMMIT 'kept'")
        run(
            connection,
            "FLUSH BINARY LOGS",
            "REPLACE INTO posts VALUES (3, 1, 'replaced', '2000-01-01', -0.5)",
            "COMMIT",
        )
        xa_end(server, "XA ROLLBACK 'gone'")
        run(connection, "DELETE FROM posts")
        insert_numbers(connection, "posts", ROWS, "n % 7", "REPEAT('title ', 15)", "'2020-01-01'", "n / 100")
        run(connection, "UPDATE posts SET id = id + 100000 WHERE uid = 3", "COMMIT")
        run(connection, "UPDATE pairs SET c = 'last'", "COMMIT")


def start_behind(node: Node, link: EventLink, data: Path, events: int) -> None:
    """As it was when it was stopped, with so many events of what was written since."""
    shutil.rmtree(node.directory / "data")
    shutil.copytree(data, node.directory / "data")
    link.allow(events)
    node.start()


@pytest.mark.parametrize("server_kind", SERVERS)
def test_killed_behind_any_event_of_a_log_it_goes_on_exactly_where_it_was(
    server_kind: type[MariaDB], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    random = Random(3)
    with log_server(server_kind) as server, server.database("shop") as connection, EventLink(server.socket) as link:
        run(connection, POSTS, PAIRS, "SET GLOBAL sql_mode = ''")
        options = {"check_s": 3600, "audit_s": 0, "heartbeat_ms": 60_000, "more": '[server]\nlog_level = "info"'}
        with binlog(server, "shop", tmp_path / "node", ["posts", "pairs"], **options) as node:
            node.assert_equal()
            node.stop()
            data = tmp_path / "as it was"
            shutil.copytree(node.directory / "data", data)
            write(server)
            node.options["url"] = f"mysql://{USER}:{PASSWORD}@localhost/shop?unix_socket={link.path}"
            node.write_config()
            start_behind(node, link, data, 1 << 30)
            node.wait_until_equal()
            events = link.passed
            node.kill()
            assert events > 40
            for number in range(1, events):
                start_behind(node, link, data, number)
                assert link.wait_until_held(), f"event {number + 1} never came"
                time.sleep(random.choice([0.0, 0.01, 0.05]))
                node.kill()
                link.allow()
                node.start()
                node.wait_until_equal()
                node.wait_until_following()
                assert log_lines(node, *COPIED) == [], f"killed behind event {number}"
                assert node.status()["counts"]["differences"] == 0
                node.kill()
    record_property("events", events)
