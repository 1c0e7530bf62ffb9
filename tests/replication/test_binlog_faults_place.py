"""Binary log: where to go on is no longer there, or means something else: compared and repaired in sight, never silent.

Also what the log does not tell at all: found by the audit within its time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Self

import httpx
import pymysql
import pytest

from tests.replication.binlogging import (
    COPIED,
    binlog,
    forget_all_logs,
    is_mysql,
    is_stale,
    log_lines,
    log_server,
    purge,
    run,
)
from tests.replication.following import SERVERS, Node

Connection = pymysql.connections.Connection
POSTS = "CREATE TABLE posts (id INT PRIMARY KEY, n INT NOT NULL, title VARCHAR(40)) ENGINE=InnoDB"
ROWS = 3_000


@pytest.fixture(scope="module", params=SERVERS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with log_server(request.param) as server, server.database("shop") as connection:
        run(connection, POSTS)
        directory = tmp_path_factory.mktemp("place")
        # stretches are short, so that what is compared can be seen under way
        with binlog(server, "shop", directory, ["posts"], check_s=3600, audit_s=0, copy_rows=100) as running:
            yield running


@pytest.fixture
def node(shared: Node, writer: Connection) -> Node:
    run(writer, "DELETE FROM posts")
    with writer.cursor() as cursor:
        cursor.executemany("INSERT INTO posts VALUES (%s,%s,'x')", [(each, each % 7) for each in range(ROWS)])
    if shared.running is None:
        shared.start()
    shared.wait_until_following()
    shared.assert_equal()
    return shared


@pytest.fixture
def writer(shared: Node) -> Iterator[Connection]:
    with shared.server.connect("shop") as connection:
        yield connection


def change(writer: Connection) -> None:
    """Rows that come, go and change, at keys everywhere."""
    run(writer, "DELETE FROM posts WHERE id % 100 = 0", "UPDATE posts SET title = 'unseen' WHERE id % 100 = 1")
    run(writer, "INSERT INTO posts VALUES (50000,1,'unseen'),(-5,1,'unseen')")


class Staleness:
    """Asks for the first and the last row again and again: a reply that does not say it is stale must be up to date."""

    def __init__(self, node: Node, last: int) -> None:
        self._node = node
        self._last = last
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.stale = 0
        self.wrong = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        asked = f"{self._node.live.url}/?command=select&table=posts&where=id:NUMEQ:{self._last}"
        with httpx.Client(timeout=20) as client:
            while not self._ends.is_set():
                answer = client.get(asked)
                if answer.status_code != 503:  # recovering
                    assert answer.status_code == 200
                    self.stale += "tcsql-stale" in answer.headers
                    self.wrong += "tcsql-stale" not in answer.headers and not answer.json()["rows"]


def test_a_log_that_was_purged_meanwhile_leads_to_a_comparison_that_can_be_seen(node: Node, writer: Connection) -> None:
    node.stop()
    change(writer)
    purge(node.server)
    node.start()
    with Staleness(node, 50_000) as seen:
        node.wait_until_equal()
        node.wait_until_following()
        node.settle()
        node.wait_for(lambda: not is_stale(node, "posts"))
    assert seen.stale > 0
    assert seen.wrong == 0
    assert node.status()["counts"]["differences"] >= 30 + 30 + 2
    assert log_lines(node, "not the log that was followed", "cannot go on"), node.log()
    node.assert_equal()
    # and from then on it goes on as ever
    node.kill()
    run(writer, "UPDATE posts SET n = 9 WHERE id = 5")
    node.start()
    node.assert_equal()
    assert log_lines(node, *COPIED) == []


def test_a_place_that_the_server_does_not_know_leads_to_a_comparison(node: Node, writer: Connection) -> None:
    """The server was set up anew under its name: its transactions are numbered from one again."""
    node.stop()
    forget_all_logs(node.server)
    change(writer)
    node.start()
    with Staleness(node, 50_000) as seen:
        node.wait_until_equal()
        node.wait_until_following()
    assert seen.wrong == 0
    assert node.status()["counts"]["differences"] >= 62
    node.assert_equal()


def test_numbers_that_begin_again_and_pass_what_we_know_are_not_taken_for_what_we_know(
    node: Node, writer: Connection
) -> None:
    """Worse than the above: by the time we ask, the new numbers are higher than those of our place."""
    node.stop()
    forget_all_logs(node.server)
    change(writer)
    for number in range(60):
        run(writer, f"UPDATE posts SET n = {number} WHERE id = 7")
    node.start()
    node.wait_until_equal()
    node.assert_equal()


@pytest.mark.parametrize("more", [1, 60], ids=["shorter than what was read", "longer than what was read"])
def test_a_log_that_is_thrown_away_while_it_is_read_is_noticed_within_some_heartbeats(
    node: Node, writer: Connection, more: int
) -> None:
    """Nothing breaks: the server goes on to send heartbeats, and what it writes to a file that is gone: nothing."""
    node.settle()
    forget_all_logs(node.server)
    for number in range(more):
        run(writer, f"UPDATE posts SET n = {number + 77} WHERE id % 3 = 0")
    node.wait_until_equal(timeout_s=10)
    node.wait_until_following()
    assert log_lines(node, "RESET", "has ended its log", "cannot go on"), node.log()
    run(writer, "UPDATE posts SET n = 78 WHERE id % 5 = 0")
    node.assert_equal()


def test_a_reset_of_something_else_is_no_reason_to_compare(node: Node, writer: Connection) -> None:
    node.settle()
    compared = len(log_lines(node, *COPIED))
    run(writer, "RESET PERSIST" if is_mysql(node.server) else "RESET QUERY CACHE")
    node.wait_for(lambda: log_lines(node, "RESET was run"))
    run(writer, "UPDATE posts SET n = 79 WHERE id % 5 = 0")
    node.assert_equal()
    assert len(log_lines(node, *COPIED)) == compared


def test_what_its_session_hides_from_the_log_is_found_by_the_audit_within_its_time(
    node: Node, writer: Connection
) -> None:
    node.stop()
    node.options["audit_s"] = 2
    node.write_config()
    try:
        node.start()
        node.assert_equal()
        run(writer, "SET SESSION sql_log_bin = 0")
        change(writer)
        run(writer, "SET SESSION sql_log_bin = 1")
        assert node.differences() != {}
        node.wait_until_equal(timeout_s=10)
        found = node.status()["audit"]
        assert found["counts"] == {"extra": 30, "different": 30, "missing": 2}
        assert "the audit has repaired" in node.log()
        assert found["verified_through"] is not None or found["rounds"] == 0
    finally:
        node.stop()
        node.options["audit_s"] = 0
        node.write_config()


@pytest.mark.parametrize(
    "settings",
    ["binlog_format = STATEMENT", "binlog_row_image = MINIMAL", "binlog_row_image = NOBLOB"],
)
def test_a_session_that_logs_in_another_way_is_noticed_and_what_it_did_compared(
    node: Node, writer: Connection, settings: str
) -> None:
    with node.server.connect("shop") as own:
        run(own, f"SET SESSION {settings}")
        change(own)
        run(own, "UPDATE posts SET n = n + 1 WHERE id BETWEEN 10 AND 20")
    run(writer, "UPDATE posts SET n = 1 WHERE id = 2500")
    node.wait_until_equal()
    node.wait_until_following()
    run(writer, "UPDATE posts SET n = 2 WHERE id = 2500")
    node.assert_equal()
    if "NOBLOB" not in settings:  # posts has no BLOB: its image is full
        assert log_lines(node, "posts"), node.log()


def test_names_that_the_server_stops_to_log_stop_what_follows_them(node: Node, writer: Connection) -> None:
    """``binlog_row_metadata``: without names a column cannot be told from another."""
    run(writer, "SET GLOBAL binlog_row_metadata = MINIMAL")
    try:
        with node.server.connect("shop") as own:
            run(own, "UPDATE posts SET n = 99 WHERE id = 7")
        node.wait_for(lambda: "binlog_row_metadata" in str(node.status()))
        assert "FULL" in str(node.status())
        node.wait_for(lambda: is_stale(node, "posts"), 5)  # what is told first is durable first
    finally:
        run(writer, "SET GLOBAL binlog_row_metadata = FULL")
    if node.status()["state"] == "stopped":
        node.stop()
        node.start()
    node.wait_until_equal()
    node.wait_until_following()
