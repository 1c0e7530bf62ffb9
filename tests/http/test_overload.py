"""Overload: who would only wait is told so soon, for little, and those that are open come first."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop

from tcsql.errors import Overloaded
from tcsql.http import accepting, admission
from tcsql.http.accepting import Accepting
from tcsql.http.admission import CROWDED_TURN_S, MOST_TURN_S, Admission
from tests.http.serving import serving
from tests.http.test_fastlane import Wire

READ = b"GET /?command=select&table=t HTTP/1.1\r\nHost: a\r\n\r\n"
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def perf_counter(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(admission, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


async def _turn(door: Admission, clock: _Clock, requests: int, each_s: float) -> int:
    """A turn in which so many requests are met; how many of them are admitted."""
    admitted = 0
    for _ in range(requests):
        with contextlib.suppress(Overloaded):
            door.admit()
            admitted += 1
            clock.now_s += each_s
    await asyncio.sleep(0)
    return admitted


def test_a_burst_is_answered_whole_and_a_crowd_gets_short_turns_until_it_is_gone(clock: _Clock) -> None:
    async def turns() -> None:
        door = Admission(asyncio.get_running_loop())
        assert await _turn(door, clock, 150, 0.001) == 150, "a burst"
        assert not door.is_crowded
        assert await _turn(door, clock, 1_000, 0.001) == pytest.approx(MOST_TURN_S / 0.001, abs=2)
        assert door.is_crowded
        for _ in range(300):  # three seconds of four times the capacity
            assert await _turn(door, clock, 40, 0.001) == pytest.approx(CROWDED_TURN_S / 0.001, abs=2)
        assert door.is_crowded
        assert door.room == pytest.approx(CROWDED_TURN_S / 0.001, abs=6)
        for _ in range(250):  # two seconds of half the capacity
            assert await _turn(door, clock, 4, 0.001) == 4
            clock.now_s += 0.004
        assert not door.is_crowded
        assert await _turn(door, clock, 150, 0.001) == 150

    asyncio.run(turns())


def test_a_crowd_that_is_still_there_keeps_turns_short(clock: _Clock) -> None:
    async def turns() -> None:
        door = Admission(asyncio.get_running_loop())
        await _turn(door, clock, 1_000, 0.001)
        for _ in range(1_000):  # ten seconds: no turn is long again, so that nobody waits for a refusal
            began_s = clock.now_s
            await _turn(door, clock, 14, 0.001)
            assert clock.now_s - began_s < 0.013

    asyncio.run(turns())


class _Door:
    def __init__(self, room: int | None) -> None:
        self._room = room
        self.refused = 0

    def room(self) -> int | None:
        return self._room

    def late_at_door(self) -> bytes:
        self.refused += 1
        return REFUSAL


async def _accepted(clients: list[socket.socket], listener: socket.socket, door: _Door) -> list[asyncio.BaseTransport]:
    loop = asyncio.get_running_loop()
    made: list[asyncio.BaseTransport] = []

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    others = Accepting(listener, Protocol, door)
    others.look()
    for _ in range(len(clients) + 20):
        await asyncio.sleep(0)
    for transport in made:
        transport.close()
    assert loop.is_running()
    return made


def _waiting(listener: socket.socket, sent: bytes) -> socket.socket:
    client = socket.create_connection(listener.getsockname(), timeout=5)
    if sent:
        client.sendall(sent)
    return client


def test_a_crowded_server_refuses_reads_of_new_connections_and_takes_all_else() -> None:
    sent = [
        READ,
        READ,
        READ,
        READ[:-2],
        b"",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"POST /?command=insert HTTP/1.1\r\n\r\n",
    ]
    door = _Door(room=1)
    with contextlib.ExitStack() as stack, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=50))
        clients = [stack.enter_context(_waiting(listener, each)) for each in sent]
        made = runner.run(_accepted(clients, listener, door))
        assert door.refused == 2, "the first has room"
        assert len(made) == len(sent) - 2
        for client in clients[1:3]:
            assert client.recv(1_000) == REFUSAL
            assert client.recv(1) == b"", "closed, not reset: the client reads its reply"


def test_who_has_given_up_while_many_waited_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "_FEW", 2)
    with contextlib.ExitStack() as stack, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=50))
        clients = [stack.enter_context(_waiting(listener, READ)) for _ in range(20)]
        for client in clients[5:15]:
            client.close()
        assert len(runner.run(_accepted(clients, listener, _Door(room=None)))) == 10


def test_a_crowd_is_told_so_on_its_connections_which_stay_open(tmp_path: Path) -> None:
    heavy = b"GET /?command=select&type=count&table=t&where=v:STRRX:a.*b.*c%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with serving(tmp_path / "data") as server, contextlib.ExitStack() as stack:
        server.sql("create table t (id bigint primary key, v text)")
        server.post("command=insert&table=t", [{"id": number, "v": "ab" * 40} for number in range(5_000)])
        wires = [stack.enter_context(contextlib.closing(Wire(server))) for _ in range(300)]
        for wire in wires:  # all are taken: at the door they would be refused otherwise
            wire.send(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b" 200 " in wire.reply()[0]
        statuses: set[bytes] = set()
        for turn in range(2):
            for number, wire in enumerate(wires):
                wire.send(heavy % (turn * 1_000 + number))
            for wire in wires:
                head, body = wire.reply()
                statuses.add(head.split(b" ")[1])
                if b" 503 " in head:
                    assert b"retry-after: 1" in head
                    assert b"connection: close" not in head
                    assert b'"overloaded"' in body
        assert statuses == {b"200", b"503"}
        said = server.client.get(f"{server.url}/status").json()
        assert said["refused_overloaded"] > 0
        assert server.client.get(f"{server.url}/health").status_code == 200
