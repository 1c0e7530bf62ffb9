"""The random workload with statements of the schema in the middle, through outbox and binary log at once.

Two nodes follow one server, each in its mode. Every poll of either sees a committed state, or is told that it is old;
in the end both equal the source. And one source goes through all modes while it is written to: no change is lost, and
every answer that does not say it is old is a committed state.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from random import Random
from typing import Self

import pymysql
import pytest

from tests.mariadb import MariaDB
from tests.replication.binlog.logs import options_of
from tests.replication.binlogging import log_server, run
from tests.replication.following import MARKER, SERVERS_IN_TURN, Node, Watcher, torture
from tests.replication.pushing import TOKEN, PushNode, PushServer, free_port
from tests.replication.workload import Workload
from tests.replication.workload_tables import SCHEMA, prepare

Connection = pymysql.connections.Connection
SEED = int(os.environ.get("TCSQL_TEST_SEED", "1"))
#: Statements of the schema, and how long is written before, between and behind them.
STATEMENTS = 240 if torture() else 6
PAUSE_S = 1.0 if torture() else 0.25
#: Each leaves the workload able to go on: what it writes without naming columns keeps its columns.
CHANGES: tuple[tuple[str, ...], ...] = (
    ("ALTER TABLE events ADD COLUMN more VARCHAR(20) NOT NULL DEFAULT 'x' AFTER kind", "ALTER TABLE events DROP more"),
    ("ALTER TABLE events ADD COLUMN old INT DEFAULT 7 FIRST", "ALTER TABLE events RENAME COLUMN old TO new",
     "ALTER TABLE events DROP COLUMN new"),
    ("ALTER TABLE events MODIFY value BIGINT", "ALTER TABLE events MODIFY value INT"),
    ("ALTER TABLE events MODIFY kind VARCHAR(10) AFTER value", "ALTER TABLE events MODIFY kind VARCHAR(10) AFTER id"),
    ("ALTER TABLE accounts ADD INDEX by_note (note)", "ALTER TABLE accounts DROP INDEX by_note"),
    ("ALTER TABLE accounts MODIFY note VARCHAR(60)", "ALTER TABLE accounts MODIFY note VARCHAR(40)"),
    ("ALTER TABLE wide MODIFY la VARCHAR(40) CHARACTER SET latin1 AFTER id, MODIFY vc VARCHAR(80) AFTER bi",),
    ("ALTER TABLE wide ADD COLUMN extra DATETIME(3), MODIFY d2 DECIMAL(12,2)", "ALTER TABLE wide DROP COLUMN extra"),
    ("ALTER TABLE slots FORCE",),
    ("TRUNCATE TABLE events",),
    ("CREATE TABLE other LIKE events", "RENAME TABLE events TO previous, other TO events", "DROP TABLE previous"),
    ("CREATE TABLE beside (PRIMARY KEY (id)) SELECT id, balance FROM accounts", "DROP TABLE beside"),
)  # fmt: skip


def alter(connection: Connection, statement: str) -> None:
    """A statement that waits for writers, and may lose against them."""
    for _ in range(50):
        try:
            return run(connection, statement)
        except pymysql.err.OperationalError as error:
            assert error.args[0] in (1205, 1213), error
    raise AssertionError(f"never done: {statement}")


def alter_in_turns(server: MariaDB, random: Random, between: Callable[[], None]) -> int:
    """Statements of the schema, in groups that leave it as it was; how many."""
    done = 0
    with server.connect("shop") as connection:
        run(connection, "SET lock_wait_timeout = 10, sql_mode = ''")
        while done < STATEMENTS:
            for group in random.sample(CHANGES, len(CHANGES)):
                for statement in group:
                    alter(connection, statement)
                    done += 1
                    between()
                if done >= STATEMENTS:
                    break
    return done


@contextmanager
def two_nodes(server: MariaDB, directory: Path, tables: Sequence[str] = tuple(SCHEMA)) -> Iterator[dict[str, Node]]:
    """One for each mode, on the same tables, set up and following."""
    with server.connect("shop") as connection:
        run(connection, MARKER)
    options = {"binlog": {"server_id": 7_900}, "outbox": {"poll_ms": 10}}
    nodes = {}
    for mode, own in options.items():
        (directory / mode).mkdir(parents=True)
        nodes[mode] = Node(server, "shop", directory / mode, [*tables, "marker"], mode=mode, check_s=1, **own)
        nodes[mode].write_config()
        nodes[mode].setup()
    try:
        for node in nodes.values():
            node.start()
            node.wait_until_following()
        yield nodes
    finally:
        for node in nodes.values():
            node.close()


@pytest.mark.parametrize("server_kind", SERVERS_IN_TURN)
def test_with_changes_of_the_schema_in_the_middle_both_modes_see_committed_states_and_end_equal(
    server_kind: type[MariaDB], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    random = Random(SEED)
    with log_server(server_kind) as server, server.database("shop") as connection:
        prepare(connection)
        with two_nodes(server, tmp_path) as nodes:
            watched = [Watcher(node) for node in nodes.values()]
            with watched[0], watched[1], Workload(server.socket, "shop", 3_600, seed=SEED) as workload:

                def between() -> None:
                    time.sleep(random.uniform(0, 2 * PAUSE_S))
                    nodes["outbox"].setup()  # triggers of tables that were swapped are made again by a person

                done = alter_in_turns(server, random, between)
                assert workload.is_running()
                workload.stop()
            for node in nodes.values():
                node.wait_until_equal()
                node.wait_until_following()
                node.assert_equal()
            assert all(watcher.polls > 5 for watcher in watched)
    assert sum(workload.done.values()) > 50, workload.done
    record_property("statements of the schema", done)
    record_property("transactions", sum(workload.done.values()))
    record_property("polls, each a committed state", sum(watcher.polls for watcher in watched))


_PAGE = b"GET /?command=select&table=names HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Answers:
    """Asks for a page again and again; ``bad``: what was neither 200 nor that the server is starting."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.bad: list[str] = []
        self.good = self.stale = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.is_set():
            running = self._node.running
            if running is None:
                time.sleep(0.005)
                continue
            try:
                answer = running.raw(_PAGE)
            except OSError as error:
                self.bad.append(str(error))
                continue
            head = answer.partition(b"\r\n\r\n")[0].lower()
            if head.startswith(b"http/1.1 200"):
                self.good += 1
                self.stale += b"tcsql-stale" in head
            elif head and not head.startswith(b"http/1.1 503"):
                self.bad.append(head.decode())


def switch(node: Node, mode: str) -> None:
    """As an operator does it: another line in the configuration, setup, and a server that reads it again."""
    node.options["mode"] = mode
    node.write_config()
    node.setup()
    if node.running is None:
        node.start()
    else:
        answer = node.live.client.post(node.live.url + "/reload", timeout=30)
        assert answer.json()["sources"] == {"added": [], "changed": ["shop"], "removed": []}, answer.text
    node.wait_for(lambda: node.status()["mode"] == mode)
    node.wait_until_following()
    if mode == "binlog":
        done = node.command("remove", "--apply", *node.as_admin())
        assert done.returncode == 0, done.stdout + done.stderr
    if mode == "push":
        time.sleep(0.5)
    else:
        node.settle()


@pytest.mark.parametrize("server_kind", SERVERS_IN_TURN)
def test_a_source_goes_from_mode_to_mode_under_load_without_a_gap(server_kind: type[MariaDB], tmp_path: Path) -> None:
    """MySQL 9 without push: its functions are made for MariaDB here, whose headers there are."""
    port = free_port()
    modes = ("outbox", "binlog", "outbox", "push", "binlog")
    rounds = 10 if torture() else 1
    if server_kind is MariaDB:
        one: MariaDB = PushServer(port, "cooldown_ms = 50", options=(*options_of(MariaDB), "--local-infile=ON"))
    else:
        one, modes = log_server(server_kind), ("outbox", "binlog", "outbox", "binlog")
    with one as server, server.database("shop") as connection:
        prepare(connection)
        run(connection, MARKER)
        common = {"server_id": 7_901, "push_token": TOKEN, "poll_ms": 10, "audit_s": 5, "audit_rows_s": 50_000}
        kind = PushNode if server_kind is MariaDB else Node
        node = kind(server, "shop", tmp_path, [*SCHEMA, "marker"], **common)
        try:
            switch(node, modes[0])
            with Answers(node) as answers:
                with Workload(server.socket, "shop", 3_600, seed=SEED, writers=6) as workload:
                    for mode in modes[1:] * rounds:
                        tells_rows = "push" in (mode, node.options["mode"])  # one by one, not transactions
                        with nullcontext() if tells_rows else Watcher(node):
                            switch(node, mode)
                    workload.stop()
                node.wait_until_equal()
                node.assert_equal()
            assert answers.bad == []
            assert answers.good > 20
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = 'shop'")
                assert cursor.fetchone() == (0,), "nothing of the other modes is left"
        finally:
            node.close()
