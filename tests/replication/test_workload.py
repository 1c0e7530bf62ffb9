"""The random workload of thirty writers, with kill -9 of TCSQL and of its source in the middle: after it, what is held
equals the source row for row; meanwhile every poll over HTTP sees a committed state.
"""

from __future__ import annotations

import os
import time
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


def rounds_of_kills(node: Node, workload: Workload, random: Random, *, source: bool) -> int:
    """Kill TCSQL, its worker or the source at random moments while the writers write; how often."""
    kills = 0
    while workload.is_running():
        time.sleep(random.uniform(0.2, 2.0))
        victim = random.choice(("node", "worker", "source" if source else "node"))
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
        kills += 1
    return kills


@pytest.mark.parametrize("server_kind", SERVERS)
def test_followed_through_thirty_writers_every_poll_is_a_committed_state_and_the_end_is_equal(
    server_kind: type[MariaDB], tmp_path: Path
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
            assert watcher.polls > 20
            node.ask("verify")
    assert sum(workload.done.values()) > 100, workload.done


@pytest.mark.parametrize("server_kind", SERVERS_IN_TURN)
def test_killed_on_both_sides_in_the_middle_of_it_the_end_is_equal(server_kind: type[MariaDB], tmp_path: Path) -> None:
    options = ("--local-infile=ON", "--innodb-flush-log-at-trx-commit=1")
    if server_kind is MySQL9:
        options = (*options, "--sync-binlog=1")
    with server_kind(*options) as server:
        with server.connect() as connection:
            connection.cursor().execute("CREATE DATABASE shop")
            connection.select_db("shop")
            prepare(connection)
        with following(server, "shop", tmp_path / "node", list(SCHEMA), kept=KEPT, poll_ms=10) as node:
            with Watcher(node), Workload(server.socket, "shop", SECONDS, seed=SEED + 1) as workload:
                kills = rounds_of_kills(node, workload, Random(SEED), source=True)
            node.wait_until_equal()
            node.assert_equal()
            assert kills >= 2
