"""What attackers tried that had gone through: each of these tests was red once."""

from __future__ import annotations

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


@pytest.fixture(scope="module", params=LANES)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    """A server with a table of rows and a key for everything, which its client sends."""
    data = tmp_path_factory.mktemp("attacked") / "data"
    with serving(data, *LANES[request.param]) as running:
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
        assert b" 404 Not Found\r\n" in reply_of(connection)
