"""Clients that come at a given rate whether or not the server keeps up, and give up after a deadline.

Run as ``python -m loadtest.openloop PORT PER_S SECONDS ROWS SPAN``. Every request is the costly count of
``loadtest.asked``: work for the server, next to none for us. A request takes an idle connection or opens one; when the
answer has not come within the deadline the client closes the connection, as a person does who reloads the page.
Prints one JSON object: what was offered, answered in time, late, refused.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque
from typing import Final, cast

import uvloop

from loadtest.asked import costly

#: An answer after this time is of no use to anybody.
DEADLINE_S: Final = 1.0
#: Below the servers' own limit of connections, which is another experiment.
MOST_CONNECTIONS: Final = 9_000
_TICK_S: Final = 0.002
#: Counting starts when the queue that the load makes has had time to build up.
WARM_UP_S: Final = 2.0


class Client(asyncio.Protocol):
    """One connection; asks once at a time."""

    def __init__(self, crowd: Crowd, request: bytes) -> None:
        self._crowd = crowd
        self._first: bytes = request
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None
        self.asked_at = 0.0
        self.waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one without inheriting from it
        if self.waiting:
            self._transport.write(self._first)

    def ask(self, request: bytes, now: float) -> None:
        self.asked_at, self.waiting = now, True
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"}"):
            return  # a reply is one JSON object
        if self.waiting:
            self.waiting = False
            self._crowd.answered(self, self._received[9:12])
        self._received = b""

    def connection_lost(self, error: Exception | None) -> None:
        self._crowd.lost(self)
        self.waiting = False

    def give_up(self) -> None:
        self.waiting = False
        if self._transport is not None:
            self._transport.abort()


class Crowd:
    """All clients, and the tally of what happened to their requests after the warm-up."""

    def __init__(self, port: int, rows: int, span: int) -> None:
        self._port = port
        self._template = costly(rows, span)
        self._draw = random.Random(11)
        self._idle: deque[Client] = deque()
        self._pending: deque[tuple[float, Client]] = deque()
        self._connections: set[Client] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._counting = False
        self.tally = dict.fromkeys(("offered", "good", "late", "refused", "lost", "unsent"), 0)
        self.good_s: list[float] = []
        self.refused_s: list[float] = []

    def _count(self, what: str) -> None:
        if self._counting:
            self.tally[what] += 1

    def _request(self) -> bytes:
        return self._template.filled(self._template.draw(self._draw)).encode()

    def ask(self) -> None:
        """One more request now."""
        now = time.perf_counter()
        self._count("offered")
        while self._idle:
            client = self._idle.popleft()
            if client in self._connections:
                client.ask(self._request(), now)
                self._pending.append((now + DEADLINE_S, client))
                return
        if len(self._connections) >= MOST_CONNECTIONS:
            self._count("unsent")
            return
        request = self._request()
        client = Client(self, request)
        client.ask(request, now)
        self._connections.add(client)
        self._pending.append((now + DEADLINE_S, client))
        task = asyncio.ensure_future(self._open(client))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, client: Client) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", self._port)
        except OSError:
            self.lost(client)
        else:
            if not client.waiting and time.perf_counter() - client.asked_at >= DEADLINE_S:
                client.give_up()  # it gave up before it was connected

    def answered(self, client: Client, status: bytes) -> None:
        taken = time.perf_counter() - client.asked_at
        self._idle.append(client)
        if status == b"200":
            self._count("good")
            if self._counting:
                self.good_s.append(taken)
        else:
            self._count("refused")
            if self._counting:
                self.refused_s.append(taken)

    def lost(self, client: Client) -> None:
        if client in self._connections:
            self._connections.discard(client)
            if client.waiting:
                self._count("lost")

    def expire(self) -> None:
        """Clients whose deadline is over give up."""
        now = time.perf_counter()
        while self._pending and self._pending[0][0] <= now:
            _, client = self._pending.popleft()
            if client.waiting and now - client.asked_at >= DEADLINE_S:
                self._count("late")
                self._connections.discard(client)
                client.give_up()

    async def run(self, per_s: float, seconds: float) -> float:
        """Offer the load; returns the seconds that were counted."""
        started = time.perf_counter()
        counted_from = 0.0
        asked = 0
        while (now := time.perf_counter() - started) < WARM_UP_S + seconds:
            if not self._counting and now >= WARM_UP_S:
                self._counting, counted_from = True, now
            while asked < int(now * per_s):
                self.ask()
                asked += 1
            self.expire()
            await asyncio.sleep(_TICK_S)
        return now - counted_from


def _late(times: list[float]) -> float | None:
    """The 99th percentile, ms."""
    return round(sorted(times)[len(times) * 99 // 100] * 1e3, 2) if times else None


async def main() -> None:
    port, per_s, seconds, rows, span = sys.argv[1:]
    crowd = Crowd(int(port), int(rows), int(span))
    cpu = time.process_time()
    elapsed = await crowd.run(float(per_s), float(seconds))
    cpu = time.process_time() - cpu
    found = {
        **crowd.tally,
        "seconds": round(elapsed, 3),
        "good_per_s": round(crowd.tally["good"] / elapsed, 1),
        "good_p99_ms": _late(crowd.good_s),
        "refused_p99_ms": _late(crowd.refused_s),
        "generator_core": round(cpu / (elapsed + WARM_UP_S), 3),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
