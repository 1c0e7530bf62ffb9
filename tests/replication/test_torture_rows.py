"""Rows of 16 MB and more by way of the binary log, through all of TCSQL: packets that end on every border; the copy.

A packet of MySQL's protocol holds 2^24 - 1 bytes at most; what is as long or longer comes in several.
Collected by ``make torture`` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.mariadb import MariaDB
from tests.replication.binlogging import COPIED, asked, binlog, current_log, log_lines, log_server, run
from tests.replication.following import SERVERS, Node

Connection = pymysql.connections.Connection
PACKET = 2**24 - 1
#: Payloads of packets: one byte of the protocol, then the event.
PAYLOADS = (PACKET - 1, PACKET, PACKET + 1, 2 * PACKET - 1, 2 * PACKET, 2 * PACKET + 1)
LONG = 20 << 20
MEGABYTES = 128
WORD = "0123456789abcde\u00e9"


def text(number: int, size: int) -> str:
    """So many bytes, which say whose they are."""
    head = f"row {number} "
    count, rest = divmod(size - len(head), len(WORD.encode()))
    return head + WORD * count + "x" * rest


def write(connection: Connection, number: int, size: int) -> None:
    head = f"row {number} "
    count, rest = divmod(size - len(head), len(WORD.encode()))
    value = f"CONCAT('{head}', REPEAT('{WORD}', {count}), REPEAT('x', {rest}))"
    run(connection, f"REPLACE INTO big VALUES ({number}, {value})")


def longest_event(server: MariaDB, connection: Connection) -> int:
    """Bytes of the longest one in the newest file of the log."""
    rows = asked(connection, f"SHOW BINLOG EVENTS IN '{current_log(server)}'")
    return max(int(row[4]) - int(row[1]) for row in rows)


def answer(node: Node, query: str) -> Any:
    """To a request that may be refused for a moment: so long rows take the loop for as long as others would wait."""
    until = time.monotonic() + 60
    while (found := node.live.get(f"command=select&table={query}")).status_code == 503:
        assert time.monotonic() < until, found.text
        time.sleep(0.05)
    assert found.status_code == 200, found.text
    return found.json()


def assert_holds(node: Node, sizes: dict[int, int], behind: int) -> None:
    """All that was committed before row ``behind`` of the marker is here."""
    with node.server.connect("shop") as connection:
        run(connection, f"REPLACE INTO marker VALUES ({behind}, 0)")
    node.wait_for(lambda: answer(node, f"marker&where=id:NUMEQ:{behind}")["rows"])
    assert answer(node, "big&type=count") == {"count": len(sizes)}
    for number, size in sizes.items():
        [row] = answer(node, f"big&where=id:NUMEQ:{number}")["rows"]
        assert row["t"] == text(number, size), f"row {number}"


@pytest.mark.parametrize("server_kind", SERVERS)
def test_rows_that_end_on_every_border_of_packets_come_change_and_are_copied(
    server_kind: type[MariaDB], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    size = f"--max-allowed-packet={MEGABYTES << 20}"
    with log_server(server_kind, size) as server, server.database("shop") as connection:
        run(connection, "CREATE TABLE big (id INT PRIMARY KEY, t LONGTEXT CHARACTER SET utf8mb4) ENGINE=InnoDB")
        options = {"check_s": 3600, "audit_s": 0, "heartbeat_ms": 5_000}
        more = f"[limits]\nmax_reply_bytes = {MEGABYTES << 20}"
        with binlog(server, "shop", tmp_path / "node", ["big"], more=more, **options) as node:
            before = len(log_lines(node, *COPIED))
            run(connection, "FLUSH BINARY LOGS")
            write(connection, 0, 1_000)
            beside = longest_event(server, connection) - 1_000
            assert 40 < beside < 120
            sizes = {0: 1_000}
            for number, payload in enumerate(PAYLOADS, 1):
                sizes[number] = payload - 1 - beside
                run(connection, "FLUSH BINARY LOGS")
                write(connection, number, sizes[number])
                assert longest_event(server, connection) + 1 == payload
            sizes[9] = LONG
            write(connection, 9, LONG)
            assert_holds(node, sizes, 11)
            for number in (0, 2, 9):  # both images in one event
                sizes[number] += 7
                write(connection, number, sizes[number])
            run(connection, "DELETE FROM big WHERE id = 3")
            del sizes[3]
            run(connection, "UPDATE big SET id = 30 WHERE id = 0", "UPDATE big SET id = 0 WHERE id = 30")
            assert_holds(node, sizes, 12)
            assert len(log_lines(node, *COPIED)) == before, node.log()
            assert node.status()["counts"]["reconnects"] == 0
            node.stop()
            node.forget()
            node.start()
            node.wait_until_following()
            assert_holds(node, sizes, 13)
    record_property("longest event in MB", (2 * PACKET + 1) >> 20)
