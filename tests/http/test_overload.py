"""Overload: who would only wait is told so soon, for little, and those that are open come first."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import uvloop

from tcsql.errors import Overloaded
from tcsql.http import accepting, admission
from tcsql.http.accepting import Accepting
from tcsql.http.admission import MOST_LINE_S, SLICE_S, Admission, MustWait, Verdict

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


class _Read:
    """One that costs so much; when it was asked, and when it was answered or refused."""

    def __init__(self, door: Admission, clock: _Clock, cost_s: float) -> None:
        self._door, self._clock, self._cost_s = door, clock, cost_s
        self.asked_s = clock.now_s
        self.answered_s = self.refused_s = 0.0

    def ask(self) -> None:
        verdict = self._door.ask()
        if verdict is Verdict.NOW:
            self._work()
        elif verdict is Verdict.WAIT:
            self._door.wait(self)
        else:
            self.turn_away()

    def _work(self) -> None:
        self._clock.now_s += self._cost_s
        self._door.end()
        self.answered_s = self._clock.now_s

    def go_on(self) -> bool:
        self._door.begin()
        self._work()
        return True

    def turn_away(self) -> None:
        self._clock.now_s += 0.00003
        self.refused_s = self._clock.now_s

    @property
    def waited_s(self) -> float:
        return (self.answered_s or self.refused_s) - self.asked_s


class _Load:
    """Requests that come at a rate whatever happens, and are met once a turn, as sockets are."""

    def __init__(self, clock: _Clock, cost: Callable[[], float]) -> None:
        self.door = Admission(asyncio.get_running_loop())
        self.clock = clock
        self.cost = cost
        self.reads: list[_Read] = []
        self.longest_turn_s = 0.0

    def meet(self, count: int, came_s: float | None = None) -> None:
        """So many at once."""
        for _ in range(count):
            read = _Read(self.door, self.clock, self.cost())
            read.asked_s = self.clock.now_s if came_s is None else came_s
            self.reads.append(read)
            read.ask()

    async def turn(self) -> None:
        began_s = self.clock.now_s
        await asyncio.sleep(0)
        self.longest_turn_s = max(self.longest_turn_s, self.clock.now_s - began_s)
        self.clock.now_s += 0.00005  # what a turn costs by itself

    async def offer(self, per_s: float, seconds: float) -> list[_Read]:
        """Returns what has come in the meantime, all of it answered or refused."""
        first, until_s, next_s = len(self.reads), self.clock.now_s + seconds, self.clock.now_s
        while self.clock.now_s < until_s:
            arrived_until_s = self.clock.now_s
            while next_s <= arrived_until_s:
                self.meet(1, came_s=next_s)
                next_s += 1 / per_s
            await self.turn()
        return await self.settle(first)

    async def settle(self, first: int = 0) -> list[_Read]:
        """Until nobody waits."""
        while any(not read.answered_s and not read.refused_s for read in self.reads):
            await self.turn()
        return self.reads[first:]


def _late(reads: list[_Read]) -> float:
    """The 99th percentile of how long they waited."""
    return sorted(read.waited_s for read in reads)[len(reads) * 99 // 100] if reads else 0.0


def _answered(reads: list[_Read]) -> list[_Read]:
    return [read for read in reads if read.answered_s]


def _refused(reads: list[_Read]) -> list[_Read]:
    return [read for read in reads if read.refused_s]


@pytest.mark.parametrize("cost_s", [0.0001, 0.001])
def test_a_burst_is_answered_whole_and_what_exceeds_it_is_refused_at_once(clock: _Clock, cost_s: float) -> None:
    async def turns() -> None:
        load = _Load(clock, lambda: cost_s)
        await load.offer(100, 1.0)  # what requests cost is known
        assert not _refused(load.reads)
        burst, crowd = int(0.15 / cost_s), int(2.0 / cost_s)
        load.meet(burst)
        assert len(_answered(await load.settle())) == len(load.reads)
        assert not load.door.is_crowded
        assert load.longest_turn_s < 2 * SLICE_S, "what comes meanwhile is looked at all the time"
        first, began_s = len(load.reads), clock.now_s
        load.meet(crowd)
        reads = await load.settle(first)
        assert len(_answered(reads)) * cost_s == pytest.approx(MOST_LINE_S, rel=0.2)
        assert max(read.answered_s for read in reads) - began_s < 1.5 * MOST_LINE_S + 0.00003 * crowd
        assert load.door.is_crowded

    asyncio.run(turns())


@pytest.mark.parametrize("factor", [0.95, 1.0, 1.02, 1.1, 1.5, 2.0, 4.0, 8.0])
def test_at_any_load_refusals_come_at_once_and_the_server_works_all_the_time(clock: _Clock, factor: float) -> None:
    async def turns() -> None:
        draw = random.Random(7)
        load = _Load(clock, lambda: draw.expovariate(1 / 0.001))
        await load.offer(100, 1.0)
        reads = await load.offer(1_000 * factor, 5.0)
        assert _late(_refused(reads)) < 0.015, "from the first one on"
        assert max((read.waited_s for read in _refused(reads)), default=0.0) < 0.03
        assert _late(_answered(reads)) < 2 * MOST_LINE_S
        refusing_s = 0.00003 * len(_refused(reads))
        could = min(1_000 * factor * 5.0, (5.0 - refusing_s) / 0.001)
        assert len(_answered(reads)) > 0.9 * could
        assert load.door.is_crowded is (factor > 1.2) or factor < 1.2
        if factor > 1.2:
            last = [read for read in reads if read.asked_s > clock.now_s - 2.0]
            assert _late(_answered(last)) < 0.05, "the line of a crowd is short"

    asyncio.run(turns())


def test_when_it_is_over_bursts_are_answered_again(clock: _Clock) -> None:
    async def turns() -> None:
        load = _Load(clock, lambda: 0.001)
        await load.offer(4_000, 2.0)
        assert load.door.is_crowded
        assert load.door.room < 20
        await load.offer(500, 2.5)
        assert not load.door.is_crowded
        await load.offer(4_000, 2.0)
        await load.turn()
        clock.now_s += 3.0  # nothing at all is asked
        first = len(load.reads)
        load.meet(150)
        assert len(_answered(await load.settle(first))) == 150

    asyncio.run(turns())


def test_a_line_that_costs_more_than_was_thought_is_cut_where_nobody_has_waited_long(clock: _Clock) -> None:
    async def turns() -> None:
        costs = [0.0002]
        load = _Load(clock, lambda: costs[0])
        await load.offer(100, 2.0)
        costs[0] = 0.005
        first = len(load.reads)
        load.meet(900)
        reads = await load.settle(first)
        answered, refused = _answered(reads), _refused(reads)
        assert len(answered) + len(refused) == 900
        assert 30 < len(answered) < 160
        assert max(read.waited_s for read in answered) < 0.8
        assert sorted(read.waited_s for read in refused)[len(refused) // 2] < 0.15

    asyncio.run(turns())


def test_requests_in_line_have_half_of_the_time_when_other_work_makes_turns_long(clock: _Clock) -> None:
    async def turns() -> None:
        load = _Load(clock, lambda: 0.001)
        load.meet(150)
        for _ in range(20):
            clock.now_s += 0.015  # known queries, of which nothing is asked
            await load.turn()
        assert len(_answered(load.reads)) == 150

    asyncio.run(turns())


def test_tasks_have_their_turn_one_slice_after_the_other(clock: _Clock) -> None:
    async def read(door: Admission, began: list[float]) -> None:
        try:
            door.admit()
        except MustWait:
            await door.turn()
        began.append(clock.now_s)
        clock.now_s += 0.001
        door.end()

    async def turns() -> None:
        door, began = Admission(asyncio.get_running_loop()), list[float]()
        for _ in range(50):
            await read(door, began)
            await asyncio.sleep(0)
        began.clear()
        tasks = [asyncio.create_task(read(door, began)) for _ in range(100)]
        given_up = [asyncio.create_task(read(door, began)) for _ in range(50)]
        turn_began_s, longest_s = clock.now_s, 0.0
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        while not all(task.done() for task in tasks):
            longest_s = max(longest_s, clock.now_s - turn_began_s)
            turn_began_s = clock.now_s
            await asyncio.sleep(0)
        assert longest_s <= 2 * SLICE_S
        assert len(began) == 100
        refused = await asyncio.gather(*(read(door, began) for _ in range(1_000)), return_exceptions=True)
        assert sum(isinstance(each, Overloaded) for each in refused) > 700

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


def test_what_comes_when_a_turn_has_worked_for_a_slice_waits_for_the_next(clock: _Clock) -> None:
    async def turns() -> None:
        door = Admission(asyncio.get_running_loop())
        door.admit()
        door.admit()  # it has just begun
        clock.now_s += SLICE_S
        with pytest.raises(MustWait):
            door.admit()
        await asyncio.sleep(0)  # another turn
        door.admit()
        assert door.refused == 0

    asyncio.run(turns())


def test_without_an_event_loop_nothing_waits_and_nothing_is_refused(clock: _Clock) -> None:
    door = Admission(None)
    for _ in range(1_000):
        door.admit()
        clock.now_s += 0.001
    assert door.refused == 0
