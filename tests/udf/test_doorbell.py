"""The bell never waits, whoever listens, and never fails a write."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.udf.library import Cursor, Loader, takes, value


@pytest.fixture
def bell(loader: Loader, tmp_path: Path) -> Path:
    loader.load(f"doorbell = {tmp_path / 'bell'}")
    return tmp_path / "bell"


@pytest.fixture
def listener(bell: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(bell))
        yield listener


@pytest.fixture
def orders(cursor: Cursor) -> Cursor:
    """A table whose writers ring."""
    cursor.execute("CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, n INT) ENGINE=InnoDB")
    cursor.execute("CREATE TRIGGER ring AFTER INSERT ON orders FOR EACH ROW DO tcsql_doorbell()")
    return cursor


def test_it_rings_once_a_row_and_before_the_commit(listener: socket.socket, orders: Cursor) -> None:
    orders.execute("START TRANSACTION")
    orders.execute("INSERT INTO orders (n) VALUES (1), (2)")
    assert [listener.recv(16), listener.recv(16)] == [b"1", b"1"]
    with pytest.raises(BlockingIOError):
        listener.recv(16)
    orders.execute("ROLLBACK")
    assert value(orders, "tcsql_doorbell()") == 1


def test_a_flood_fills_the_queue_and_no_writer_waits(listener: socket.socket, orders: Cursor) -> None:
    with takes(0, 5):
        orders.execute("INSERT INTO orders (n) SELECT seq FROM seq_1_to_20000")
    assert value(orders, "tcsql_doorbell()") == 1  # it is ringing already
    assert value(orders, "COUNT(*) FROM orders") == 20000
    rung = 0
    try:
        while listener.recv(16) == b"1":
            rung += 1
    except BlockingIOError:
        pass
    assert rung >= 1


def test_nobody_there(bell: Path, orders: Cursor) -> None:
    for _ in range(2):  # no such file, then a file that nobody listens on any more
        orders.execute("INSERT INTO orders (n) VALUES (1)")
        assert value(orders, "tcsql_doorbell()") == 0
        if not bell.exists():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
                listener.bind(str(bell))
                assert value(orders, "tcsql_doorbell()") == 1
    assert bell.exists() and value(orders, "COUNT(*) FROM orders") == 2


def test_no_bell_in_the_configuration(loader: Loader, orders: Cursor) -> None:
    loader.load("timeout_ms = 100")
    orders.execute("INSERT INTO orders (n) VALUES (1)")
    assert value(orders, "tcsql_doorbell()") == 0


def test_ringing_holds_no_handle(loader: Loader, listener: socket.socket, cursor: Cursor) -> None:
    handles = loader.handles
    cursor.execute("SELECT tcsql_doorbell() FROM seq_1_to_1000")
    assert {found for (found,) in cursor.fetchall()} == {1} and loader.handles <= handles + 2
