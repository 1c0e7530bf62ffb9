"""Caps and rates of the guard, in both lanes: targets, heads, headers, what stands around chunks; meters of callers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import orjson
import pytest

from tcsql.access.callers import ANONYMOUS, LOCAL, Caller
from tcsql.access.keyfile import KeyFile
from tcsql.access.meters import Meter
from tcsql.access.scopes import Scope
from tcsql.errors import Unauthorized
from tcsql.http import rates
from tcsql.http.access import Access
from tcsql.http.rates import Rates
from tcsql.settings import Settings
from tests.http.conftest import LANES
from tests.http.keyring import bearer, make_key
from tests.http.serving import Running, serving, wait_for
from tests.http.test_addresses import Crowd
from tests.http.test_fastlane import LAST, Wire, exchanged, get, post

READ = "command=select&table=t&where=id:NUMEQ:1"
Pair = tuple[Running, Running]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A server of each lane with small caps."""
    caps = ("--max-url-bytes", "1000", "--max-header-bytes", "4096", "--max-headers", "20")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(serving(tmp_path_factory.mktemp(name) / "data", *lane, *caps))
            for name, lane in LANES.items()
        ]
        for server in servers:
            server.sql("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(9), KEY (name))")
            server.post("command=insert&table=t", [{"id": 1, "name": "a"}])
        yield servers[0], servers[1]
        for server in servers:
            assert server.stop() == 0
            assert "bug" not in server.stderr(), server.stderr()


def one(pair: Pair, *pieces: bytes) -> bytes:
    """What comes back, the same in both lanes."""
    fast, slow = (exchanged(server, *pieces) for server in pair)
    assert fast == slow
    return fast


def code(answer: bytes) -> tuple[int, str]:
    found = re.search(rb'"code":"(\w+)"', answer)
    return int(answer[9:12]), found[1].decode() if found else ""


def target_of(size: int) -> bytes:
    """A read whose target has that many bytes."""
    text = b"command=select&table=t&where=name:STREQ:"
    return get(text + b"x" * (size - len(text) - 2))


def headers_of(number: int) -> bytes:
    return get(READ, *(f"X-{place}: a" for place in range(number - 1)))


def head_of(size: int) -> bytes:
    request = get(READ, "X: ")
    return request.replace(b"X: ", b"X: " + b"a" * (size - len(request)))


def test_a_target_at_the_cap_is_taken_and_a_longer_one_refused(pair: Pair) -> None:
    for _ in range(2):  # the second time it is known
        assert one(pair, target_of(1_000) + LAST).count(b" 200 OK") == 2
    for pieces in ((target_of(1_001) + LAST,), (target_of(900), target_of(1_001) + LAST)):
        answer = one(pair, *pieces)
        assert code(answer) == (414, "uri_too_long")
        assert answer.count(b"HTTP/1.1 ") == 1 and b"connection: close" in answer


def test_operands_of_a_known_request_do_not_grow_past_the_cap(pair: Pair) -> None:
    for size in (200, 300, 400, 1_001, 3_000):
        with closing(Wire(pair[0])) as wire:
            for known in (target_of(100), target_of(101)):
                wire.send(known)
                assert b" 200 OK" in wire.reply()[0]
            wire.send(target_of(size))
            assert (b" 200 OK" in wire.reply()[0]) == (size <= 1_000)


def test_as_many_headers_as_the_cap_are_taken_and_one_more_refused(pair: Pair) -> None:
    assert one(pair, headers_of(20) + LAST).count(b" 200 OK") == 2
    answer = one(pair, headers_of(21) + LAST)
    assert code(answer) == (431, "headers_too_large")
    assert answer.count(b"HTTP/1.1 ") == 1 and b"connection: close" in answer


def test_a_head_at_the_cap_is_taken_and_a_longer_one_refused(pair: Pair) -> None:
    assert one(pair, head_of(4_096) + LAST).count(b" 200 OK") == 2
    answer = one(pair, head_of(4_130) + LAST)
    assert code(answer) == (431, "headers_too_large")
    assert answer.count(b"HTTP/1.1 ") == 1


ENDLESS: dict[str, bytes] = {
    "a target": b"GET /?" + b"x" * 5_000,
    "a header": get(READ)[:-2] + b"X: " + b"a" * 4_096,
    "a name": get(READ)[:-2] + b"a" * 4_096,
    "blanks of a value": get(READ)[:-2] + b"X:" + b" " * 4_096,
    "headers": get(READ)[:-2] + b"X: a\r\n" * 1_000,
    "empty lines": b"\r\n" * 3_000,
    "a method": b"G" * 5_000,
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in pieces"])
def test_a_head_without_an_end_is_refused_as_soon_as_it_is_too_long(name: str, at_once: bool, pair: Pair) -> None:
    for server in pair:
        with closing(Wire(server)) as wire:
            data, sent = ENDLESS[name], 0
            try:
                for start in range(0, len(data), len(data) if at_once else 512):
                    wire.send(data[start : start + (len(data) if at_once else 512)])
                    sent = start
                    if not at_once:
                        time.sleep(0.001)
            except ConnectionError:
                pass
            answer = wire.rest()
            assert int(answer[9:12]) in (400, 414, 431), answer
            assert answer.count(b"HTTP/1.1 ") == 1
            assert sent <= 5_500


def test_a_head_without_an_end_behind_whole_requests_is_refused_too(pair: Pair) -> None:
    many = get(READ) * 20
    for server in pair:
        with closing(Wire(server)) as wire:
            with suppress(ConnectionError):
                wire.send(many + post("command=insert&table=t", [{"id": 2}]) + ENDLESS["a header"] + b"a" * 8_192)
            answer = wire.rest()
            assert b"HTTP/1.1 431 " in answer and answer.count(b"HTTP/1.1 431") == 1


CHUNKED = b"POST /?command=insert&table=t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
AROUND: dict[str, bytes] = {
    "an extension": b"1;" + b"x=" + b"a" * 9_000,
    "a trailer": b"0\r\nX: " + b"a" * 9_000,
    "trailers": b"0\r\n" + b"X: a\r\n" * 2_000,
    "a size with zeros in front": b"0" * 9_000,
}


@pytest.mark.parametrize("name", AROUND)
def test_what_stands_around_chunks_is_bounded_too(name: str, pair: Pair) -> None:
    for server in pair:
        with closing(Wire(server)) as wire:
            try:
                wire.send(CHUNKED)
                for start in range(0, len(AROUND[name]), 500):
                    wire.send(AROUND[name][start : start + 500])
                    time.sleep(0.001)
            except ConnectionError:
                pass
            answer = wire.rest()
            assert int(answer[9:12]) in (400, 431), answer
            assert answer.count(b"HTTP/1.1 ") == 1


def test_a_body_is_not_held_to_the_cap_of_heads(pair: Pair) -> None:
    lines = b"".join(b'{"id":%d,"name":"b"}\n' % number for number in range(10, 5_000))
    for request in (
        post("command=insert&table=t", lines, "Content-Type: application/x-ndjson"),
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: application/x-ndjson\r\n\r\n")
        + b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in re.findall(rb"[^\n]*\n", lines))
        + b"0\r\n\r\n",
    ):
        for server in pair:
            with closing(Wire(server)) as wire:
                wire.send(request + get("command=select&type=count&table=t&where=name:STREQ:b"))
                assert orjson.loads(wire.reply()[1])["lines"] == 4_990
                assert orjson.loads(wire.reply()[1]) == {"count": 4_990}


# --- rates ----------------------------------------------------------------------------------------------------


def test_a_meter_of_an_address_fills_again_and_is_forgotten_when_it_is_full() -> None:
    now = [100.0]
    meters = Rates(2.0, lambda: now[0])
    assert [meters.refusal(ANONYMOUS, "a") is None for _ in range(5)] == [True] * 4 + [False]
    assert meters.refusal(ANONYMOUS, "b") is None
    assert (len(meters), meters.refused) == (2, 1)
    now[0] += 0.5
    assert [meters.refusal(ANONYMOUS, "a") is None for _ in range(2)] == [True, False]
    meters.forget()
    assert len(meters) == 1, "b is full again"
    now[0] += 10
    meters.forget()
    assert len(meters) == 0
    assert [meters.refusal(ANONYMOUS, "a") is None for _ in range(5)] == [True] * 4 + [False]


def test_retry_after_is_when_a_request_may_come() -> None:
    now = [0.0]
    meters = Rates(100.0, lambda: now[0])
    slow = Caller("slow", LOCAL.rights, Meter(0.1, 1.0, 0.0))
    assert meters.refusal(slow, "") is None
    refused = meters.refusal(slow, "")
    assert refused is not None and refused.extra["retry_after_s"] == 10
    now[0] = 9.9
    assert meters.refusal(slow, "") is not None
    now[0] = 10.1
    assert meters.refusal(slow, "") is None


def test_the_table_of_meters_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_ADDRESSES", 3)
    meters = Rates(1.0, lambda: 0.0)
    answers = [meters.refusal(ANONYMOUS, f"address {number}") is None for number in range(8)]
    assert len(meters) == 3
    assert answers == [True] * 5 + [False] * 3, "the crowd shares one meter"


def test_who_is_counted_by_address() -> None:
    meters, free = Rates(1.0), Rates(0.0)
    wrong = Caller("refused", LOCAL.rights, refused=Unauthorized("the key is not one of this server"))
    key = Caller("key", LOCAL.rights, Meter(1.0, 1.0, 0.0))
    assert [meters.counts(caller, False) for caller in (ANONYMOUS, wrong, key, LOCAL)] == [True, True, False, False]
    assert not any(meters.counts(caller, True) for caller in (ANONYMOUS, wrong, key, LOCAL))
    assert not any(free.counts(caller, False) for caller in (ANONYMOUS, wrong, key, LOCAL))


@pytest.mark.parametrize("lane", LANES)
def test_a_key_with_a_rate_gets_429_and_keeps_its_connection(lane: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    admin, limited = make_key(data), make_key(data, Scope.READ, Scope.WRITE, rate=2.0, burst=3.0)
    with serving(data, *LANES[lane]) as server, closing(Wire(server)) as wire, closing(Wire(server)) as other:
        server.client.headers["authorization"] = f"Bearer {admin}"
        server.sql("CREATE TABLE t (id INT PRIMARY KEY)")
        read, free = get(READ, bearer(limited)), get(READ, bearer(admin))
        answers = []
        for request in (read, read, post("command=insert&table=t", {"id": 1}, bearer(limited)), read, read):
            wire.send(request)
            answers.append(wire.reply())
        assert [int(head[9:12]) for head, _ in answers] == [200, 200, 200, 429, 429]
        head, body = answers[-1]
        assert b"retry-after: 1\r\n" in head and b"connection: close" not in head
        assert orjson.loads(body)["error"]["code"] == "rate_limited"
        wire.send(post("command=insert&table=t", {"id": 2}, bearer(limited)) + read)
        assert [int(wire.reply()[0][9:12]) for _ in range(2)] == [429, 429], "a body that is refused is skipped"
        for _ in range(20):  # others are not held up, also on the same connection
            assert other.ask(free)["total"] == 1
            wire.send(free)
            assert b" 200 OK" in wire.reply()[0]

        def answered() -> bool:
            other.send(read)
            return b" 200 OK" in other.reply()[0]

        wait_for(answered)
        assert server.client.get(f"{server.url}/status").json()["metrics"]["refusals"]["rate_limited"] >= 4
        assert server.stop() == 0


@pytest.mark.parametrize("fast", [True, False], ids=list(LANES))
def test_requests_without_a_key_are_metered_by_address_but_those_of_this_machine(fast: bool, tmp_path: Path) -> None:
    async def asked() -> None:
        token = make_key(tmp_path)
        access = Access(KeyFile(tmp_path).read())
        crowd = Crowd(Settings(plain_public=True, anonymous_rate=2, fast_lane=fast), access)
        health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        wrong = b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer tcsql_x_y\r\n\r\n"
        right = f"GET /health HTTP/1.1\r\nHost: localhost\r\n{bearer(token)}\r\n\r\n".encode()

        async def statuses(host: str, request: bytes, number: int) -> list[int]:
            return [int((await crowd.ask(host, request))[9:12]) for _ in range(number)]

        assert await statuses("203.0.113.1", health, 6) == [200] * 4 + [429] * 2
        assert await statuses("203.0.113.1", wrong, 1) == [429], "a wrong key is no way around"
        assert await statuses("203.0.113.2", wrong, 4) != [429] * 4
        assert await statuses("203.0.113.2", health, 1) == [429]
        assert await statuses("203.0.113.1", right, 9) == [200] * 9
        assert await statuses("127.0.0.1", health, 9) == [200] * 9

    asyncio.run(asked())


@pytest.mark.parametrize("lane", LANES)
def test_keys_that_change_are_felt_on_connections_that_are_open(lane: str, tmp_path: Path) -> None:
    """What was learnt of whole requests means nothing any more when the first key is made."""
    data = tmp_path / "data"
    with serving(data, *LANES[lane]) as server, closing(Wire(server)) as wire:
        server.sql("CREATE TABLE t (id INT PRIMARY KEY)")
        for _ in range(4):
            assert wire.ask(get(READ))["total"] == 0
        token = make_key(data)

        def is_closed() -> bool:
            return wire.ask(get(READ)).get("error", {}).get("code") == "unauthorized"

        wait_for(is_closed)
        for _ in range(4):
            assert wire.ask(get(READ, bearer(token)))["total"] == 0
            assert wire.ask(get(READ))["error"]["code"] == "unauthorized"
            assert wire.ask(get(READ, bearer(token[:-1] + "x")))["error"]["code"] == "unauthorized"
        assert server.stop() == 0
