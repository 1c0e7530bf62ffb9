"""sysbench's read-write transactions for a minute on four tables while they are followed, by the outbox and by the
binary log: afterwards all are equal.

Collected by ``make torture`` only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mariadb import MariaDB
from tests.replication.binlogging import binlog, log_server
from tests.replication.following import SERVERS, following

TABLES = 4
ROWS = 20_000
SECONDS = 60


def sysbench(server: MariaDB, *arguments: str) -> str:
    command = ["sysbench", "oltp_read_write", "--db-driver=mysql", f"--mysql-socket={server.socket}"]
    command += ["--mysql-user=root", "--mysql-db=shop", f"--tables={TABLES}", f"--table-size={ROWS}"]
    command += ["--threads=8", f"--time={SECONDS}", "--mysql-ignore-errors=all", "--rand-type=pareto"]
    assert shutil.which("sysbench"), "sysbench is missing: install the package sysbench"
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", ["outbox", "binlog"])
@pytest.mark.parametrize("server_kind", SERVERS)
def test_after_a_minute_of_sysbench_every_table_is_equal(
    server_kind: type[MariaDB], mode: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    follow = binlog if mode == "binlog" else following
    with log_server(server_kind) as server:
        with server.connect() as connection:
            connection.cursor().execute("CREATE DATABASE shop")
        sysbench(server, "prepare")
        names = [f"sbtest{number + 1}" for number in range(TABLES)]
        with follow(server, "shop", tmp_path / "node", names) as node:
            before = node.status()["counts"]
            output = sysbench(server, "run")
            stopped = time.monotonic()
            node.settle()
            record_property("seconds until all was visible", round(time.monotonic() - stopped, 2))
            node.assert_equal()
            node.ask("verify")
            found = re.search(r"transactions: +(\d+)", output)
            assert found is not None, output
            assert int(found[1]) > 1_000
            record_property("transactions", int(found[1]))
            record_property("changes seen", node.status()["counts"]["events"] - before["events"])
