"""A copy is handed over to the log while four write, a hundred times: each time, when they have stopped, all is equal.

In turn a first copy into an empty TCSQL, and one beside the rows that are held, while every poll is a committed state.
Stretches are short, so that many steps of the log lie within one copy.

Collected by ``make torture`` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from random import Random

import pytest

from tests.mariadb import MariaDB
from tests.replication.binlogging import binlog, log_server
from tests.replication.following import SERVERS, Node, Watcher
from tests.replication.workload import Workload
from tests.replication.workload_tables import SCHEMA, prepare

HAND_OVERS = 100
COPIED = "is copied"


def copy_into_nothing(node: Node) -> None:
    node.stop()
    node.forget()
    node.start()
    node.wait_until_following()


def copy_beside(node: Node) -> None:
    before = node.log().count(COPIED)
    node.ask("recopy")
    node.wait_for(lambda: node.log().count(COPIED) >= before + len(node.tables))
    node.wait_until_following()


@pytest.mark.parametrize("server_kind", SERVERS)
def test_a_copy_that_is_handed_over_to_the_log_while_four_write_ends_equal(
    server_kind: type[MariaDB], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    random = Random(17)
    transactions = polls = 0
    with log_server(server_kind) as server, server.database("shop") as connection:
        prepare(connection)
        options = {"check_s": 3600, "audit_s": 0, "copy_rows": 100}
        with binlog(server, "shop", tmp_path / "node", list(SCHEMA), **options) as node:
            for number in range(HAND_OVERS):
                is_beside = bool(number % 2)
                watcher = Watcher(node)
                with Workload(server.socket, "shop", 3_600, seed=number, writers=4) as workload:
                    time.sleep(random.uniform(0.3, 0.6))  # it has begun, and is somewhere
                    with watcher if is_beside else nullcontext():
                        (copy_beside if is_beside else copy_into_nothing)(node)
                    workload.stop()
                node.assert_equal()
                assert node.status()["counts"]["differences"] == 0
                transactions += sum(workload.done.values())
                polls += watcher.polls
    assert transactions > 10 * HAND_OVERS
    record_property("hand-overs", HAND_OVERS)
    record_property("transactions", transactions)
    record_property("polls, each a committed state", polls)
