"""What attackers tried that had gone through: each of these tests was red once."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tcsql.access.keyfile import KeyFile
from tcsql.access.keys import revoked
from tcsql.access.scopes import Scope
from tests.http.conftest import LANES
from tests.http.keyring import bearer, make_key
from tests.http.serving import Running, serving, wait_for

ROWS = 8
#: What the server lets wait for readers that do not read, and a page of which there are more than that in a few.
MOST_UNSENT = 8_388_608
LARGE_ROWS = 150


@pytest.fixture(scope="module", params=LANES)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    """A server with a table of rows and a key for everything, which its client sends."""
    data = tmp_path_factory.mktemp("attacked") / "data"
    flags = ("--max-unsent-bytes", str(MOST_UNSENT), "--header-s", "2", *LANES[request.param])
    with serving(data, *flags) as running:
        running.sql("CREATE TABLE posts (id INT PRIMARY KEY, n INT)")
        running.post("command=insert&table=posts", [{"id": number} for number in range(ROWS)])
        running.client.headers["authorization"] = f"Bearer {make_key(data)}"
        wait_for(lambda: running.get("command=select&type=count").status_code == 200)
        yield running, data
        assert running.stop() == 0
        assert "bug" not in running.stderr(), running.stderr()


def status_of(running: Running, token: str) -> int:
    return running.get("command=select&type=count", headers={"authorization": f"Bearer {token}"}).status_code


def key_for_writing(running: Running, data: Path) -> str:
    token = make_key(data, Scope.READ, Scope.WRITE)
    wait_for(lambda: status_of(running, token) == 200)
    return token


def revoke(running: Running, data: Path, token: str) -> None:
    key_id = token.split("_")[1]
    KeyFile(data).change(lambda ring: ring.with_(revoked(ring.get(key_id) or pytest.fail(), int(time.time()))))
    wait_for(lambda: status_of(running, token) == 401)


def begin(running: Running, head: str, token: str, body: bytes) -> socket.socket:
    """A request on a connection of its own, as far as this part of its body."""
    connection = socket.create_connection(running.address, timeout=10)
    connection.sendall(f"{head} HTTP/1.1\r\nHost: localhost\r\n{bearer(token)}\r\n".encode() + body)
    return connection


def reply_of(connection: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found or not found.rstrip().endswith(b"}"):
        piece = connection.recv(65_536)
        if not piece:
            break
        found += piece
    return found


def count(running: Running) -> int:
    return int(running.get("command=select&type=count").json()["count"])


def test_a_body_that_drips_does_not_outlive_its_key(guarded: tuple[Running, Path]) -> None:
    running, data = guarded
    token = key_for_writing(running, data)
    body = b'{"command": "delete", "table": "posts", "all": 1}'
    with begin(running, "POST /", token, b"Content-Length: %d\r\n\r\n%b" % (len(body), body[:9])) as connection:
        time.sleep(0.1)
        revoke(running, data, token)
        connection.sendall(body[9:])
        assert b" 401 Unauthorized\r\n" in reply_of(connection)
    assert count(running) == ROWS


def test_a_bulk_load_ends_with_its_key_and_tells_what_was_applied(guarded: tuple[Running, Path]) -> None:
    running, data = guarded
    token, before = key_for_writing(running, data), count(running)
    line = b'9\r\n{"id":99}\r\n2\r\n\n \r\n'
    head = b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    with begin(running, "POST /?command=insert&table=posts", token, head + line) as connection:
        time.sleep(0.1)
        revoke(running, data, token)
        connection.sendall(line + b"0\r\n\r\n")
        reply = reply_of(connection)
        assert b" 401 Unauthorized\r\n" in reply
        assert b'"applied":0' in reply
    assert count(running) == before


def test_a_key_that_is_limited_meanwhile_is_held_to_its_limits(guarded: tuple[Running, Path]) -> None:
    running, data = guarded
    token = key_for_writing(running, data)
    key_id = token.split("_")[1]
    body = b'{"n": 1}'
    head = b"Content-Length: %d\r\n\r\n%b" % (len(body), body[:3])
    with begin(running, "POST /?command=update&table=posts&all=1", token, head) as connection:
        time.sleep(0.1)
        KeyFile(data).change(
            lambda ring: ring.with_(replace(ring.get(key_id) or pytest.fail(), tables=frozenset({"others"})))
        )
        wait_for(lambda: status_of(running, token) != 200)
        connection.sendall(body[3:])
        assert b" 401 Unauthorized\r\n" in reply_of(connection)


def test_a_strangers_hint_is_refused_before_its_body_is_kept(guarded: tuple[Running, Path]) -> None:
    running, _ = guarded
    head = "POST /?command=hint&source=shop&table=posts"
    with begin(running, head, "no token", b"Content-Length: 1000000\r\n\r\n1\n2\n") as connection:
        assert b" 401 Unauthorized\r\n" in reply_of(connection)


def unread(running: Running) -> socket.socket:
    """A connection that asks for a large page and reads nothing of it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(10)
    connection.connect(running.address)
    key = running.client.headers["authorization"]
    target = f"/?command=select&table=large&limit_max={LARGE_ROWS}"
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n\r\n".encode())
    connection.recv(1)  # the reply has begun
    return connection


def is_cut(connection: socket.socket) -> bool:
    """Whether the connection ends before its reply does."""
    taken = 0
    try:
        while piece := connection.recv(1_048_576):
            taken += len(piece)
            if taken > LARGE_ROWS * 40_000:
                return False
    except ConnectionError:
        return True
    return True


def test_replies_that_nobody_reads_take_so_much_memory_and_no_more(guarded: tuple[Running, Path]) -> None:
    running, _ = guarded
    running.sql("CREATE TABLE large (id INT PRIMARY KEY, body TEXT)")
    for start in range(0, LARGE_ROWS, 15):
        rows = [{"id": number, "body": "x" * 40_000} for number in range(start, start + 15)]
        assert running.post("command=insert&table=large", rows).status_code == 200
    with contextlib.ExitStack() as stack:
        oldest, *others, newest = [stack.enter_context(unread(running)) for _ in range(6)]
        assert is_cut(oldest)
        assert not is_cut(newest)  # who comes late has not waited long
        assert len(others) == 4
        assert len(running.get(f"command=select&table=large&limit_max={LARGE_ROWS}").json()["rows"]) == LARGE_ROWS
    refused = running.client.get(f"{running.url}/status").json()["metrics"]
    assert "overloaded" in str(refused)


def test_empty_lines_keep_no_connection_open_that_asks_nothing(guarded: tuple[Running, Path]) -> None:
    running, _ = guarded
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(running.address, timeout=10) as connection:
        connection.sendall(b"\r\n")
        time.sleep(0.2)
        connection.sendall(request)  # a head that comes in time is answered, and the next one has its own time
        assert b" 200 OK\r\n" in reply_of(connection)
        time.sleep(3.5)
        connection.sendall(request)
        assert b" 200 OK\r\n" in reply_of(connection)
        connection.settimeout(0.2)
        began, told = time.monotonic(), b""
        while not told and time.monotonic() < began + 8:
            connection.sendall(b"\r\n")
            with contextlib.suppress(TimeoutError):
                told = connection.recv(65_536)
        assert b" 408 Request Timeout\r\n" in told
