"""A writer that keeps a pace: so many rows a second in requests of so many rows, over a few keep-alive connections.

Run as ``python -m loadtest.writer PORT ROWS_PER_S ROWS_PER_REQUEST FIRST_ID`` until it gets SIGTERM; then it prints one
JSON object: rows that were answered 200, seconds, refusals, and the longest time that an answer took. Open loop: when
answers are late, the next requests take other connections, so the pace holds until all of them wait.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import deque
from itertools import islice
from typing import Final, cast

import uvloop

from benchmarks.shape import TABLE, posts, to_json

CONNECTIONS: Final = 64
_MOST_ROWS: Final = 1_000_000
#: Requests are sent in little groups at this distance: a timer for each would cost the generator's core more.
_TICK_S: Final = 0.005


class Connection(asyncio.Protocol):
    """One request under way at most."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._received = b""
        self._sent_at = 0.0
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one without inheriting from it

    def send(self, request: bytes) -> None:
        assert self.transport is not None
        self._sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"}"):
            return  # a reply is one JSON object
        good = self._received.startswith(b"HTTP/1.1 200")
        self._received = b""
        self._writer.answered(self, good, time.perf_counter() - self._sent_at)

    def connection_lost(self, error: Exception | None) -> None:
        self._writer.lost()


class Writer:
    """Makes rows with new keys, and sends them when it is time."""

    def __init__(self, per_request: int, first_id: int) -> None:
        self._per_request = per_request
        # more than any run sends: the shape draws users and datelines for as many rows as it is told
        self._rows = map(to_json, posts(_MOST_ROWS, first_id))
        self._free: deque[Connection] = deque()
        self._stopping = False
        self.good = self.refused = 0
        self.longest_s = 0.0

    async def open(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
            self._free.append(connection)

    def _request(self) -> bytes:
        rows = list(islice(self._rows, self._per_request))
        body = b"[" + b",".join(rows) + b"]" if self._per_request > 1 else rows[0]
        head = f"POST /?command=insert&table={TABLE} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        return b"%bContent-Length: %d\r\n\r\n%b" % (head.encode(), len(body), body)

    def answered(self, connection: Connection, good: bool, seconds: float) -> None:
        self._free.append(connection)
        self.longest_s = max(self.longest_s, seconds)
        if good:
            self.good += self._per_request
        else:
            self.refused += 1

    def lost(self) -> None:
        if not self._stopping:
            self.refused += 1

    async def keep_pace(self, requests_per_s: float, stop: asyncio.Event) -> float:
        """Send until told to stop; returns the seconds it lasted."""
        started = time.perf_counter()
        sent = 0
        while not stop.is_set():
            due = int((time.perf_counter() - started) * requests_per_s)
            while sent < due and self._free:
                self._free.popleft().send(self._request())
                sent += 1
            await asyncio.sleep(_TICK_S)
        elapsed = time.perf_counter() - started
        for _ in range(1_000):  # the last answers, 5 s at most
            if len(self._free) == CONNECTIONS:
                break
            await asyncio.sleep(_TICK_S)
        self._stopping = True
        return elapsed


async def main() -> None:
    port, rows_per_s, per_request, first_id = map(int, sys.argv[1:])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    writer = Writer(per_request, first_id)
    await writer.open(port)
    print("ready", flush=True)
    seconds = await writer.keep_pace(rows_per_s / per_request, stop)
    found = {
        "rows": writer.good,
        "per_s": round(writer.good / seconds, 1),
        "refused": writer.refused,
        "longest_ms": round(writer.longest_s * 1e3, 2),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
