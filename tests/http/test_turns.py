"""Reads that wait for their turn: in the order of their connection, once, and as long as somebody waits for them."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector

import pytest

from tcsql.access.callers import Caller
from tcsql.http import admission
from tcsql.http.admission import MOST_LINE_S, Admission, overloaded
from tcsql.http.endpoints import Api
from tcsql.http.messages import Head, Reply, refusal
from tests.http.conftest import LANES
from tests.http.serving import serving
from tests.http.test_fastlane import Bench, SlowDisk, Wire, get, on_a_loop, post, turns

REFUSED = refusal(overloaded()).body


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn serves one request."""
    monkeypatch.setattr(admission, "SLICE_S", 0.0)
    monkeypatch.setattr(admission, "_MOST_SLICE_S", 0.0)


class _Line(Admission):
    """Of so many places, whatever requests cost."""

    def __init__(self, places: int) -> None:
        super().__init__(asyncio.get_running_loop())
        self._places = places

    def _line_s(self) -> float:
        return MOST_LINE_S if len(self._line) >= self._places else 0.0

    def turn_the_last_away(self) -> None:
        self._line.pop().turn_away()


class _Api(SlowDisk):
    """Answers what was asked, in turn."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.line = _Line(places)
        self.asked: list[bytes] = []

    @property
    def admission(self) -> Admission:
        return self.line

    def answer_now(self, head: Head, is_admitted: bool = False) -> Reply | None:
        self.asked.append(head.query)
        return super().answer_now(head, is_admitted)


class _Plain(SlowDisk):
    """Answers as endpoints do, whose store is not open."""

    answer_now = Api.answer_now
    post_now = Api.post_now


def with_a_line(places: int = 100) -> tuple[Bench, _Api]:
    api = _Api(places)
    return Bench(api), api


@on_a_loop
async def test_a_read_that_waits_keeps_the_order_of_its_connection() -> None:
    bench, api = with_a_line()
    bench.connection.data_received(get("a") + get("b") + post("", b"1") + get("c"))
    assert bench.transport.bodies == [b"read a"]
    assert not bench.transport.paused, "or nobody would notice that its client gives up"
    bench.connection.data_received(get("d"))
    assert bench.transport.paused, "a client that sends on is not read from"
    bench.connection.close_if_idle()
    await turns(10)
    assert bench.transport.bodies == [b"read a", b"read b"]
    api.finish()
    await turns(10)
    assert bench.transport.bodies == [b"read a", b"read b", b"wrote 1", b"read c", b"read d"]
    assert not bench.transport.paused
    assert not bench.transport.closed


@on_a_loop
async def test_what_exceeds_the_line_is_refused_in_its_place_and_what_stands_behind_is_not_lost() -> None:
    bench, api = with_a_line(places=1)
    bench.connection.data_received(get("a"))
    others = [bench.another() for _ in range(3)]
    for number, (connection, _) in enumerate(others):
        connection.data_received(get(f"o{number}") + get(f"p{number}"))
    assert [transport.bodies for _, transport in others] == [[], [REFUSED, REFUSED], [REFUSED, REFUSED]]
    await turns(10)
    assert others[0][1].bodies == [b"read o0", b"read p0"]
    assert api.line.refused == 4


@on_a_loop
async def test_who_does_not_keep_the_connection_is_refused_with_its_end() -> None:
    bench, _api = with_a_line(places=1)
    bench.connection.data_received(get("a") + get("b"))
    connection, transport = bench.another()
    connection.data_received(get("c", "Connection: close") + get("d"))
    assert transport.bodies == [REFUSED]
    assert b"connection: close\r\n" in transport.written[0]
    assert transport.closed


@on_a_loop
async def test_a_read_whose_client_has_given_up_is_not_worked_on() -> None:
    bench, api = with_a_line()
    bench.connection.data_received(get("a") + get("b"))
    bench.transport.closed = True
    bench.connection.connection_lost(None)
    connection, transport = bench.another()
    connection.data_received(get("c"))
    await turns(10)
    assert bench.transport.bodies == [b"read a"]
    assert transport.bodies == [b"read c"]
    assert api.asked == [b"a", b"c"]


@on_a_loop
async def test_the_end_of_the_server_waits_for_reads_in_line() -> None:
    bench, _api = with_a_line()
    bench.connection.data_received(get("a") + get("b"))
    bench.connection.shutdown()
    assert not bench.transport.closed
    await turns(10)
    assert bench.transport.bodies == [b"read a", b"read b"]
    assert bench.transport.closed


@on_a_loop
async def test_a_read_that_is_turned_away_from_the_line_gives_way_to_what_stands_behind_it() -> None:
    bench, api = with_a_line()
    bench.connection.data_received(get("a") + get("b") + post("", b"1"))
    api.line.turn_the_last_away()
    assert bench.transport.bodies == [b"read a", REFUSED]
    await turns(5)
    api.finish()
    assert bench.transport.bodies == [b"read a", REFUSED, b"wrote 1"]


@on_a_loop
async def test_a_meter_counts_a_read_that_waits_once() -> None:
    bench, _api = with_a_line()
    taken: list[str] = []

    def refusal(_caller: Caller, client: str) -> None:
        taken.append(client)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.lanes.guard.rates, "refusal", refusal)
        bench.connection.data_received(get("a"))
        blocks = bench.lanes.blocks(bench.connection.peer)
        for data, block in blocks.items():
            assert block is not None
            blocks[data] = replace(block, is_metered=True)
        bench.connection.data_received(get("b") + get("c") + get("d"))
        await turns(10)
    assert bench.transport.bodies == [b"read a", b"read b", b"read c", b"read d"]
    assert len(taken) == 3


@pytest.mark.parametrize("lane", LANES)
def test_who_is_refused_hears_it_before_the_others_are_answered(lane: str, tmp_path: Path) -> None:
    """Everybody asks at the same moment, on connections that are open: at the door they would be refused otherwise."""
    heavy = b"GET /?command=select&type=count&table=t&where=v:STRRX:a.*b.*c%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with serving(tmp_path / "data", *LANES[lane]) as server, ExitStack() as stack:
        server.sql("create table t (id bigint primary key, v text)")
        server.post("command=insert&table=t", [{"id": number, "v": "ab" * 40} for number in range(4_000)])
        wires = [stack.enter_context(closing(Wire(server))) for _ in range(400)]
        for wire in wires:
            wire.ask(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        selector = stack.enter_context(DefaultSelector())
        for number, wire in enumerate(wires):
            selector.register(wire.socket, EVENT_READ, wire)
            wire.send(heavy % number)
        order: list[bytes] = []
        while len(order) < len(wires):
            for key, _ in selector.select(10):
                head, body = key.data.reply()
                selector.unregister(key.fileobj)
                order.append(head.split(b" ")[1])
                if b" 503 " in head:
                    assert b"retry-after: 1" in head
                    assert b"connection: close" not in head
                    assert b'"overloaded"' in body
        assert set(order) == {b"200", b"503"}
        refused = [place for place, status in enumerate(order) if status == b"503"]
        answered = [place for place, status in enumerate(order) if status == b"200"]
        assert len(answered) > 20, "a burst is not refused whole"
        assert refused[len(refused) * 9 // 10] < answered[len(answered) * 9 // 10]
        assert server.client.get(f"{server.url}/status").json()["refused_overloaded"] == len(refused)
        assert server.stop() == 0


@on_a_loop
async def test_a_pipeline_that_is_not_ordinary_is_begun_in_small_pieces_and_answered_whole() -> None:
    bench = Bench(_Plain())
    count, body = 400, b"x" * 40_000
    pair = b"PUT / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n"
    data = pair * count + post("command=nope", body) + b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    most = 0
    cuts = [0, len(data) // 3, len(data) - 20_000, len(data) - 10, len(data)]
    for start, stop in pairwise(cuts):
        while bench.transport.paused:
            most = max(most, len(bench.connection.pipeline))
            await turns(1)
        bench.connection.data_received(data[start:stop])
    deadline = time.monotonic() + 20
    while len(bench.transport.statuses) < 2 * count + 2 and time.monotonic() < deadline:
        most = max(most, len(bench.connection.pipeline))
        await turns(1)
    assert bench.transport.statuses == [405, 404] * count + [503, 405]
    assert 10 < most < 60
    assert not bench.transport.paused
    assert not bench.transport.closed
    bench.connection.data_received(get("a"))
    assert bench.transport.statuses[-1] == 503
