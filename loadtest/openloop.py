"""Clients that come at a given rate whether or not the server keeps up, and give up after a deadline.

Run as ``python -m loadtest.openloop PORT PER_S SECONDS ROWS SPAN``. Every request is the costly count of
``loadtest.asked``: work for the server, next to none for us. A request takes an idle connection or opens one; when the
answer has not come within the deadline the client closes the connection, as a person does who reloads the page: that
request, and those of clients that come again when they were refused, are among those that are offered.
Prints one JSON object: what was offered, answered in time, late, refused. All times count from the moment at which a
request was due; ``lateness_p99_ms`` tells how much of them is ours. Times of refusals count from the first one, all
else after a warm-up.

Plain sockets and epoll: about 40 us for a request on a new connection, a third of what asyncio takes, because at eight
times the capacity nearly every request needs a new one. Several source addresses, since each closed connection
keeps its port for a while.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from collections import deque
from itertools import cycle
from typing import Final

from loadtest.asked import costly

#: An answer after this time is of no use to anybody.
DEADLINE_S: Final = 1.0
#: Below the server's own limit of connections, which is another experiment.
MOST_CONNECTIONS: Final = 9_000
#: Counting starts when the queue that the load makes has had time to build up.
WARM_UP_S: Final = 2.0
_SOURCES: Final = tuple(f"127.0.0.{number}" for number in range(2, 10))
#: Linux: the port is chosen when connecting, so that one port serves several destinations; not in Python's socket yet.
_IP_BIND_ADDRESS_NO_PORT: Final = 24
#: Requests that are sent before answers are read again.
_BURST: Final = 100


class Client:
    """One connection with at most one request under way. ``number`` tells its requests apart."""

    __slots__ = ("asked_at", "number", "received", "socket", "unsent", "waiting")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.asked_at = 0.0
        self.number = 0
        self.received = b""
        self.unsent = b""
        self.waiting = False


class Crowd:
    """All clients, and the tally of what happened to their requests after the warm-up."""

    def __init__(self, port: int, rows: int, span: int) -> None:
        self._address = ("127.0.0.1", port)
        self._template = costly(rows, span)
        self._draw = random.Random(11)
        self._sources = cycle(_SOURCES)
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._idle: deque[Client] = deque()
        self._pending: deque[tuple[float, Client, int]] = deque()
        self._counting = False
        self.tally = dict.fromkeys(("offered", "good", "late", "refused", "lost", "unsent"), 0)
        self.good_s: list[float] = []
        self.refused_s: list[float] = []
        self.lateness_s: list[float] = []

    def _count(self, what: str) -> None:
        if self._counting:
            self.tally[what] += 1

    def _ask(self, due_s: float) -> None:
        """One more request, on an idle connection or a new one."""
        self._count("offered")
        client = self._idle.pop() if self._idle else self._connected()
        if client is None:
            self._count("unsent")
            return
        client.asked_at, client.waiting = due_s, True
        if self._counting:
            self.lateness_s.append(time.perf_counter() - due_s)
        client.number += 1
        client.unsent = self._template.filled(self._template.draw(self._draw)).encode()
        self._pending.append((client.asked_at + DEADLINE_S, client, client.number))
        self._send(client)

    def _connected(self) -> Client | None:
        """A new connection, established or on its way; None when there are too many."""
        if len(self._clients) >= MOST_CONNECTIONS:
            return None
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((next(self._sources), 0))
        connection.connect_ex(self._address)
        client = Client(connection)
        self._clients[connection.fileno()] = client
        self._poll.register(connection.fileno(), select.EPOLLIN)
        return client

    def _send(self, client: Client) -> None:
        try:
            client.socket.send(client.unsent)  # far below the socket's buffer: all or nothing
        except BlockingIOError:
            self._poll.modify(client.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        except OSError:
            self._lose(client)
        else:
            client.unsent = b""

    def _ready(self, number: int, events: int) -> None:
        client = self._clients.get(number)
        if client is None:
            return  # it gave up in this very turn
        if events & select.EPOLLOUT and client.unsent:
            self._poll.modify(number, select.EPOLLIN)
            self._send(client)
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and number in self._clients:
            self._receive(client)

    def _receive(self, client: Client) -> None:
        try:
            data = client.socket.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(client)
            return
        client.received += data
        if client.received.endswith(b"}"):  # a reply is one JSON object
            self._answered(client, client.received[9:12])

    def _answered(self, client: Client, status: bytes) -> None:
        ends, client.received, client.waiting = b"connection: close" in client.received, b"", False
        if ends:
            self._close(client)
        else:
            self._idle.append(client)
        taken_s, good = time.perf_counter() - client.asked_at, status == b"200"
        self._count("refused" if not good else "good" if taken_s <= DEADLINE_S else "late")
        if not good:
            self.refused_s.append(taken_s)  # also while the queue builds up: the first refusals are the hardest
        elif self._counting:
            self.good_s.append(taken_s)

    def _lose(self, client: Client) -> None:
        """The server has closed it."""
        if client.waiting:
            self._count("lost")
        elif client in self._idle:
            self._idle.remove(client)
        self._close(client)

    def _close(self, client: Client) -> None:
        client.waiting = False
        del self._clients[client.socket.fileno()]
        client.socket.close()

    def _expire(self) -> None:
        """Clients whose deadline is over give up."""
        now = time.perf_counter()
        while self._pending and self._pending[0][0] <= now:
            _, client, number = self._pending.popleft()
            if client.waiting and client.number == number:
                self._count("late")
                self._close(client)

    def run(self, per_s: float, seconds: float) -> float:
        """Offer the load; returns the seconds that were counted."""
        started = time.perf_counter()
        counted_from = 0.0
        asked = 0
        while (now := time.perf_counter() - started) < WARM_UP_S + seconds:
            if not self._counting and now >= WARM_UP_S:
                self._counting, counted_from = True, now
            due = int(now * per_s) - asked
            for _ in range(min(due, _BURST)):
                asked += 1
                self._ask(started + asked / per_s)
            for number, events in self._poll.poll(0 if due > _BURST else 0.001, 1_024):
                self._ready(number, events)
            self._expire()
        return now - counted_from


def _late(times: list[float]) -> float | None:
    """The 99th percentile, ms."""
    return round(sorted(times)[len(times) * 99 // 100] * 1e3, 2) if times else None


def main() -> None:
    port, per_s, seconds, rows, span = sys.argv[1:]
    crowd = Crowd(int(port), int(rows), int(span))
    cpu = time.process_time()
    elapsed = crowd.run(float(per_s), float(seconds))
    cpu = time.process_time() - cpu
    found = {
        **crowd.tally,
        "seconds": round(elapsed, 3),
        "good_per_s": round(crowd.tally["good"] / elapsed, 1),
        "good_p99_ms": _late(crowd.good_s),
        "refused_p99_ms": _late(crowd.refused_s),
        "lateness_p99_ms": _late(crowd.lateness_s),
        "generator_core": round(cpu / (elapsed + WARM_UP_S), 3),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
