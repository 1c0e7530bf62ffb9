"""Bodies under way are bounded for all requests together; one caller has half of the room; what ends gives it back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from tcsql.access.callers import LOCAL, Caller, Rights
from tcsql.access.scopes import Scope, held
from tcsql.errors import Overloaded
from tcsql.http.gathering import Gathering
from tests.http.conftest import LANES
from tests.http.serving import Running, serving, wait_for

WRITER = Rights(held({Scope.WRITE}))
ONE, OTHER = Caller("aaaaaaaa", WRITER), Caller("bbbbbbbb", WRITER)
LARGE = 700_000


def test_one_caller_has_half_of_the_room_and_all_of_them_no_more_than_there_is() -> None:
    gathering = Gathering(1_000)
    with gathering.room(ONE) as first, gathering.room(ONE) as second, gathering.room(OTHER) as third:
        first.take(300)
        second.take(200)
        with pytest.raises(Overloaded):
            second.take(1)
        third.take(500)
        with pytest.raises(Overloaded):
            third.take(1)
        assert gathering.bytes == 1_000
    assert (gathering.bytes, dict(gathering.of)) == (0, {})


def test_a_body_that_is_alone_may_have_all_the_room_it_needs() -> None:
    gathering = Gathering(1_000)
    with gathering.room(ONE) as alone:
        alone.take(900)
        alone.take(900)
        with gathering.room(OTHER) as late, pytest.raises(Overloaded):
            late.take(1)
        alone.give(1_800)
    assert (gathering.bytes, dict(gathering.of)) == (0, {})


def test_this_machine_may_have_all_of_it() -> None:
    gathering = Gathering(1_000)
    with gathering.room(LOCAL) as first, gathering.room(LOCAL) as second:
        first.take(500)
        second.take(500)
        with pytest.raises(Overloaded):
            second.take(1)


@pytest.fixture(scope="module", params=LANES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data: Path = tmp_path_factory.mktemp("gathering") / "data"
    with serving(data, "--max-gathered-bytes", "1MiB", *LANES[request.param]) as running:
        running.sql("CREATE TABLE t (id INT PRIMARY KEY, body MEDIUMTEXT)")
        yield running
        assert running.stop() == 0
        assert "bug" not in running.stderr(), running.stderr()


def body(number: int) -> bytes:
    return orjson.dumps({"id": number, "body": "x" * LARGE})


@pytest.mark.parametrize("kind", ["length", "chunks"])
def test_a_body_that_is_too_much_beside_others_is_told_to_come_again(server: Running, kind: str) -> None:
    text = body(1)
    head = b"POST /?command=insert&table=t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    if kind == "length":
        pieces = [head + b"Content-Length: %d\r\n\r\n" % len(text) + text[:-1], text[-1:]]
    else:
        pieces = [
            head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(text) + text[:-1],
            text[-1:] + b"\r\n0\r\n\r\n",
        ]
    with socket.create_connection(server.address, timeout=20) as slow:
        slow.sendall(pieces[0])

        wait_for(lambda: httpx.get(f"{server.url}/status").json()["gathered_bytes"] == len(text) - 1)
        answer = server.post("command=insert&table=t", body(2), "application/json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        assert server.post("command=insert&table=t", {"id": 3, "body": "short"}).status_code == 200
        slow.sendall(pieces[1])
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
    assert server.post("command=insert&table=t", body(2), "application/json").status_code == 200


def test_who_goes_away_gives_the_room_back(server: Running) -> None:
    text = body(1)
    head = b"POST /?command=insert&table=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(text)
    for _ in range(3):
        with socket.create_connection(server.address, timeout=20) as slow:
            slow.sendall(head + text[:-1])
    wait_for(lambda: httpx.get(f"{server.url}/status").json()["gathered_bytes"] == 0)
    assert server.post("command=insert&table=t", body(2), "application/json").status_code == 200


def test_a_bulk_load_of_long_lines_is_applied_as_it_comes(server: Running) -> None:
    lines = [orjson.dumps({"id": number, "body": "y" * 60_000}) for number in range(100, 160)]
    answer = server.post("command=insert&table=t", b"\n".join(lines), "application/x-ndjson")
    assert (answer.status_code, answer.json()["lines"]) == (200, 60), answer.text
