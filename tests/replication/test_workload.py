"""The random workload of thirty writers, with kill -9 of TCSQL and of its source in the middle: after it, what is held
equals the source row for row; meanwhile every poll over HTTP sees a committed state.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.mariadb import MariaDB
from tests.replication.following import SERVERS, SERVERS_IN_TURN, Node, Watcher, following, torture
from tests.replication.mysql9 import MySQL9
from tests.replication.workload import Workload
from tests.replication.workload_tables import SCHEMA, prepare

SEED = int(os.environ.get("TCSQL_TEST_SEED", "1"))
#: Rows that come into a condition and leave it, and columns that are left out.
KEPT = {"events": ("value < 5000", ()), "wide": ("", ("id", "ti", "de", "fl", "la", "dt", "ts", "en", "bl"))}
SECONDS = 240.0 if torture() else 2.0
KILLS = 180 if torture() else 3


def kill_in_turns(node: Node, random: Random) -> None:
    """Kill TCSQL, its worker and the source, in any order, at random moments while the writers write."""
    for _ in range(KILLS // 3):
        for victim in random.sample(("node", "worker", "source"), 3):
            time.sleep(random.uniform(0.1, 1.5))
            if victim == "source":
                node.server.kill()
                time.sleep(random.uniform(0, 0.3))
                node.server.start()
            elif victim == "worker" and (worker := node.worker()) is not None:
                worker.kill()
            else:
                node.kill()
                time.sleep(random.uniform(0, 0.3))
                node.start()


@pytest.mark.parametrize("server_kind", SERVERS)
def test_followed_through_thirty_writers_every_poll_is_a_committed_state_and_the_end_is_equal(
    server_kind: type[MariaDB], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with server_kind("--local-infile=ON") as server, server.database("shop") as connection:
        prepare(connection)
        with following(server, "shop", tmp_path / "node", list(SCHEMA), poll_ms=10) as node:
            with Workload(server.socket, "shop", SECONDS, seed=SEED) as workload, Watcher(node) as watcher:
                while workload.is_running():
                    time.sleep(0.05)
            node.assert_equal()
            node.kill()
            node.start()
            node.assert_equal()
            assert watcher.polls > 5
            node.ask("verify")
    assert sum(workload.done.values()) > 50, workload.done
    record_property("transactions", sum(workload.done.values()))
    record_property("polls, each a committed state", watcher.polls)


@pytest.mark.parametrize("server_kind", SERVERS_IN_TURN)
def test_killed_on_both_sides_in_the_middle_of_it_the_end_is_equal(
    server_kind: type[MariaDB], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    options = ("--local-infile=ON", "--innodb-flush-log-at-trx-commit=1")
    if server_kind is MySQL9:
        options = (*options, "--sync-binlog=1")
    with server_kind(*options) as server:
        with server.connect() as connection:
            connection.cursor().execute("CREATE DATABASE shop")
            connection.select_db("shop")
            prepare(connection)
        with following(server, "shop", tmp_path / "node", list(SCHEMA), kept=KEPT, poll_ms=10) as node:
            with Watcher(node) as watcher, Workload(server.socket, "shop", 3600, seed=SEED + 1) as workload:
                kill_in_turns(node, Random(SEED))
                workload.stop()
            node.wait_until_equal()
            node.assert_equal()
    record_property("kills", KILLS)
    record_property("transactions", sum(workload.done.values()))
    record_property("polls, each a committed state", watcher.polls)
