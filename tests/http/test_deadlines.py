"""Who takes too long is cut, in both lanes, and told why: heads, bodies, bulk loads, replies; others go on.

Each deadline takes seconds, so all clients of a server act at the same time, and the tests look at what they got.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import orjson
import pytest

from tcsql.http.deadlines import Deadlines, Pace, unacknowledged
from tcsql.settings import Settings
from tests.http.conftest import LANES
from tests.http.serving import Running, serving
from tests.http.test_fastlane import Bench, Wire, get, on_a_loop, post

READ = "command=select&table=t&where=id:NUMEQ:1"
LINES = "Content-Type: application/x-ndjson"


@pytest.fixture(scope="module", params=LANES)
def strict(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that waits a second for everything but the next request, and then wants 20 KB a second."""
    flags = ("--header-s", "1", "--body-s", "1", "--body-rate", "20000", "--keepalive-s", "30")
    with serving(tmp_path_factory.mktemp("strict") / "data", *flags, *LANES[request.param]) as running:
        running.sql("CREATE TABLE t (id INT PRIMARY KEY, text VARCHAR(1000))")
        yield running
        assert running.stop() == 0
        assert "bug" not in running.stderr(), running.stderr()


def dripped(wire: Wire, pieces: Iterator[bytes], pause_s: float = 0.1) -> tuple[bytes, float]:
    """Send a piece now and then until the server has closed; what it said, and after how many seconds."""
    began = time.monotonic()
    wire.socket.settimeout(pause_s)
    answer, is_open = b"", True
    while is_open and time.monotonic() < began + 10:
        with contextlib.suppress(ConnectionError):
            wire.send(next(pieces))
        try:
            piece = wire.socket.recv(65_536)
            answer, is_open = answer + piece, bool(piece)
        except TimeoutError:
            pass
        except ConnectionError:
            is_open = False
    return answer, time.monotonic() - began


def bytes_of(data: bytes) -> Iterator[bytes]:
    for place in range(len(data)):
        yield data[place : place + 1]


# --- clients: each gives what it was told, and after how many seconds it was cut --------------------------------

Told = tuple[bytes, float]
PAGE = get("command=select&table=t&where=id:NUMGE:10000&limit_max=1000")


def dripping_head(server: Running, before: bytes = b"") -> Told:
    with closing(Wire(server)) as wire:
        if before:
            wire.send(before)
            wire.reply()
        return dripped(wire, bytes_of(get(READ, "X: " + "a" * 500)))


def dripping_body(server: Running) -> Told:
    body = b'[{"id":1000,"text":"' + b"x" * 5_000
    with closing(Wire(server)) as wire:
        wire.send(post("command=insert&table=t", body)[: -len(body)])
        return dripped(wire, bytes_of(body))


def dripping_chunks(server: Running) -> Told:
    with closing(Wire(server)) as wire:
        wire.send(b"POST /?command=insert&table=t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        return dripped(wire, (b"1\r\n%b\r\n" % byte for byte in bytes_of(b'[{"id":1000,"text":"' + b"x" * 5_000)))


def dripping_load(server: Running) -> Told:
    lines = b"".join(b'{"id":%d}\n' % number for number in range(2_000, 3_200))
    with closing(Wire(server)) as wire:
        wire.send(post("command=insert&table=t", lines + b" " * 5_000, LINES)[:-5_000])
        return dripped(wire, bytes_of(b" " * 1_000))


def dripping_after_refusal(server: Running) -> Told:
    """Refused for another reason at once; the rest of it is skipped, but not for ever."""
    with closing(Wire(server)) as wire:
        wire.send(post("command=insert&table=nope", b"x" * 50_000)[:-49_990])
        head, body = wire.reply()
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"unknown_table" in body
        return dripped(wire, bytes_of(b"x" * 1_000))


def steady_body(server: Running) -> Told:
    line = b'{"id":7,"text":"' + b"x" * 900 + b'"}\n'
    request = post("command=insert&table=t", line * 800, LINES)  # 0.7 MB in 3.5 s: ten times the rate
    began = time.monotonic()
    with closing(Wire(server)) as wire:
        for start in range(0, len(request), 20_000):
            wire.send(request[start : start + 20_000])
            time.sleep(0.1)
        return wire.reply()[1], time.monotonic() - began


def steady_reader(server: Running) -> Told:
    with closing(Wire(server)) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        wire.send(PAGE * 8)
        began = time.monotonic()
        while time.monotonic() < began + 4:  # 200 KB a second, ten times what is wanted
            wire._held += wire.socket.recv(20_000)
            time.sleep(0.1)
        sizes = {len(wire.reply()[1]) for _ in range(8)}
        return b"%d" % sizes.pop(), time.monotonic() - began


def reading_nothing(server: Running) -> Told:
    with closing(socket.socket()) as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        small.connect(server.address)
        small.sendall(PAGE * 20)  # 20 MB of replies
        began = time.monotonic()
        while time.monotonic() < began + 10:
            try:
                small.send(b"\r\n", socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
            except ConnectionError:
                return b"", time.monotonic() - began
            time.sleep(0.05)
        return b"never", 10.0


def good_client(server: Running) -> Told:
    """Asks all the while; how many replies were not as they should be, and the longest wait."""
    began, slowest, wrong = time.monotonic(), 0.0, 0
    with closing(Wire(server)) as wire:
        while time.monotonic() < began + 4:
            asked = time.monotonic()
            wrong += wire.ask(get(READ))["rows"] != []
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.01)
    return b"%d" % wrong, slowest


CLIENTS: dict[str, Callable[[Running], Told]] = {
    "head": dripping_head,
    "head behind a request": lambda server: dripping_head(server, get(READ)),
    "body": dripping_body,
    "chunks": dripping_chunks,
    "load": dripping_load,
    "refused": dripping_after_refusal,
    "steady body": steady_body,
    "steady reader": steady_reader,
    "no reader": reading_nothing,
    "good": good_client,
}


@pytest.fixture(scope="module")
def told(strict: Running) -> dict[str, Told]:
    rows = [{"id": number, "text": "x" * 1_000} for number in range(10_000, 11_000)]
    lines = b"\n".join(orjson.dumps(row) for row in rows)
    assert strict.post("command=insert&table=t", lines, "application/x-ndjson").json()["lines"] == 1_000
    with ThreadPoolExecutor(len(CLIENTS)) as pool:
        found = {name: pool.submit(client, strict) for name, client in CLIENTS.items()}
        return {name: future.result() for name, future in found.items()}


@pytest.mark.parametrize("client", ["head", "head behind a request"])
def test_a_head_that_drips_is_refused_and_the_connection_closed(client: str, told: dict[str, Told]) -> None:
    answer, seconds = told[client]
    assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer
    assert b'"code":"too_slow"' in answer and answer.count(b"HTTP/1.1 ") == 1
    assert 0.9 < seconds < 5


@pytest.mark.parametrize("client", ["body", "chunks"])
def test_a_body_that_drips_is_refused_and_nothing_is_done(client: str, told: dict[str, Told], strict: Running) -> None:
    answer, seconds = told[client]
    assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer
    assert 1.5 < seconds < 7
    assert strict.rows("table=t&where=id:NUMEQ:1000") == []


def test_a_bulk_load_that_drips_says_how_much_of_it_is_done(told: dict[str, Told], strict: Running) -> None:
    answer, _ = told["load"]
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    error = orjson.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert (error["code"], error["applied"]) == ("too_slow", 1_000), "two chunks of 500 lines"
    count = strict.get("command=select&type=count&table=t&where=id:NUMBT:2000,4000").json()["count"]
    assert count == 1_000


def test_a_body_that_comes_steadily_may_take_longer(told: dict[str, Told]) -> None:
    body, seconds = told["steady body"]
    assert orjson.loads(body)["lines"] == 800
    assert seconds > 3


def test_a_refused_body_that_drips_on_is_closed(told: dict[str, Told]) -> None:
    answer, seconds = told["refused"]
    assert answer == b""
    assert seconds < 7


def test_a_client_that_does_not_read_its_reply_is_cut(told: dict[str, Told]) -> None:
    answer, seconds = told["no reader"]
    assert answer == b""
    assert 1 < seconds < 8


def test_a_client_that_reads_slowly_but_steadily_is_not_cut(told: dict[str, Told]) -> None:
    size, seconds = told["steady reader"]
    assert int(size) > 900_000
    assert seconds >= 4


def test_others_are_answered_all_the_while(told: dict[str, Told]) -> None:
    wrong, slowest = told["good"]
    assert int(wrong) == 0
    assert slowest < 1


def test_a_silent_connection_is_closed_after_the_idle_time_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    flags = ("--keepalive-s", "1", "--header-s", "30")
    with serving(tmp_path_factory.mktemp("idle") / "data", *flags) as server, closing(Wire(server)) as wire:
        began = time.monotonic()
        assert wire.rest() == b"", "no reply to nothing"
        assert 0.9 < time.monotonic() - began < 4
        server.client.close()
        server.process.terminate()
        assert server.process.wait(10) == 0


# --- step by step ---------------------------------------------------------------------------------------------


def test_a_stretch_is_judged_by_what_has_moved_in_it_alone() -> None:
    pace = Pace()
    pace.begin(60.0)
    pace.moved = 10**9  # the time before the deadline needs no rate, and saves none
    assert not pace.is_too_slow(60.0, 10.0, rate=100)
    pace.moved = 1_000
    assert not pace.is_too_slow(70.0, 10.0, rate=100)
    pace.moved = 999
    assert pace.is_too_slow(80.0, 10.0, rate=100)
    pace.begin(200.0)
    assert not pace.is_too_slow(200.0, 10.0, rate=100), "another body begins anew"


class _Watched:
    def __init__(self) -> None:
        self.active_s = self.head_s = 100.0
        self.body, self.reply = Pace(), Pace()
        self.told: list[str] = []

    def close_if_idle(self) -> None:
        self.told.append("idle")

    def refuse_head(self) -> None:
        self.told.append("head")

    def look_at_body(self, now_s: float, stretch_s: float, rate: int) -> None:
        self.told.append("body")

    def look_at_reply(self, now_s: float, stretch_s: float, rate: int) -> None:
        self.told.append("reply")


def test_no_deadline_comes_early() -> None:
    deadlines = Deadlines(Settings(header_s=5, body_s=7, keepalive_s=9))
    watched = _Watched()
    watched.body.begin(107.0)
    for now in range(100, 106):
        deadlines.sweep([watched], float(now))
    assert watched.told == []
    for now in range(106, 111):
        deadlines.sweep([watched], float(now))
    assert [watched.told.count(what) for what in ("head", "body", "idle", "reply")] == [5, 3, 1, 0]


def test_what_the_other_side_has_not_taken_is_counted() -> None:
    first, second = socket.socketpair()
    with closing(first), closing(second):
        assert unacknowledged(first.fileno()) == 0
        first.send(b"x" * 100)
        assert unacknowledged(first.fileno()) >= 100
    assert unacknowledged(-1 + 1_000_000) == 0, "what is no socket holds nothing"


@on_a_loop
async def test_a_head_is_not_refused_while_the_reply_before_it_is_made() -> None:
    bench = Bench()
    bench.connection.data_received(post("", b"1") + get("b")[:10])
    bench.lanes.tidy(time.monotonic() + 100)
    bench.lanes.tidy(time.monotonic() + 200)
    assert not bench.transport.closed
    bench.api.finish()
    assert bench.transport.bodies == [b"wrote 1"]
