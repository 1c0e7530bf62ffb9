"""A load generator in a process of its own: keep-alive connections that each send, wait for the answer, send again.

Closed loop: one request under way per connection. Run as ``python -m benchmarks.generator HOST PORT CONNECTIONS
SECONDS FIRST_ID USERS``; every request inserts one new row of the seed's shape. It prints one JSON object: answers,
seconds, latencies, and the share of a core it used itself. A share near 1 means that it, and not the server, was
the limit.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator
from itertools import count
from typing import Final, cast

import uvloop

from benchmarks.shape import FIRST_DATELINE, KINDS, TABLE, Post, to_json

#: Connections start their clocks after this time, when all of them are warm.
_WARM_UP_S: Final = 0.5


def requests(first_id: int, users: int) -> Iterator[bytes]:
    """Whole requests, one new row each."""
    draw = random.Random(first_id)
    head = f"POST /?command=insert&table={TABLE} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    for post_id in count(first_id):
        kind = KINDS[draw.randrange(len(KINDS))]
        dateline = FIRST_DATELINE + 30_000_000 + (post_id - first_id) // 100
        post = Post(post_id, draw.randrange(users), dateline, kind, "light house by the quiet river at night", 1)
        body = to_json(post)
        yield b"%bContent-Length: %d\r\n\r\n%b" % (head.encode(), len(body), body)


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last is complete."""

    def __init__(self, source: Iterator[bytes], latencies: list[float], refusals: list[bytes]) -> None:
        self._source = source
        self._latencies = latencies
        self._refusals = refusals
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._sent_at = 0.0
        self.stopping = False
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one without inheriting from it
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._source))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return
        self._latencies.append(time.perf_counter() - self._sent_at)
        if not head.startswith(b"HTTP/1.1 200"):
            self._refusals.append(self._received)
        self._received = b""
        if self.stopping:
            assert self._transport is not None
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.stopping:
            self._refusals.append(b"connection lost")
        if not self.ended.done():
            self.ended.set_result(None)


def _content_length(head: bytes) -> int:
    start = head.lower().index(b"content-length:") + 15
    end = head.find(b"\r\n", start)
    return int(head[start:] if end < 0 else head[start:end])


async def load(host: str, port: int, connections: int, seconds: float, source: Iterator[bytes]) -> dict[str, object]:
    """Load the server for some seconds after a warm-up."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    refusals: list[bytes] = []
    made = [Connection(source, latencies, refusals) for _ in range(connections)]
    for connection in made:
        await loop.create_connection(lambda connection=connection: connection, host, port)  # type: ignore[misc]  # mypy infers no type for a lambda's default
    await asyncio.sleep(_WARM_UP_S)
    latencies.clear()
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    timed = sorted(latencies)
    for connection in made:
        connection.stopping = True
    await asyncio.wait_for(asyncio.gather(*(connection.ended for connection in made)), 30)
    assert not refusals, refusals[0][:1_000]
    return {
        "answers": len(timed),
        "per_s": len(timed) / elapsed,
        "p50_ms": timed[len(timed) // 2] * 1e3,
        "p99_ms": timed[len(timed) * 99 // 100] * 1e3,
        "own_core": cpu / elapsed,
    }


def main() -> None:
    host, port, connections, seconds, first_id, users = sys.argv[1:]
    source = requests(int(first_id), int(users))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(load(host, int(port), int(connections), float(seconds), source))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
