"""What happens around a measurement of stalls, each in a process of its own, one JSON line on standard output.

    ping    GET /health on one connection every 2 ms: when each was asked, and how long its answer took
    load    reads q1 to q4 and single inserts, so many a second in all, until standard input is closed

``python -m benchmarks.stalls_load ping|load HOST PORT ROWS``. The pinger asks for real-time priority, which root has:
else every turn that the scheduler gives to others looks like a stall of the server.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.shape import FIRST_DATELINE, KINDS, TABLE, uid_values

PERIOD_S: Final = 0.002
#: Requests a second: about a twentieth of what the server can do, so that latency shows stalls and no queues.
LOAD_PER_S: Final = 600
_WRITES: Final = 0.2
_BUFFER: Final = 1 << 16


class Connection:
    """One request at a time on a raw socket: a client library's own pauses must not be measured."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> int:
        """The status of the answer, which is read to its end."""
        self._socket.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        left = next(int(line[15:]) for line in lines if line.startswith(b"content-length:")) - len(body)
        while left > 0:
            left -= len(self._more())
        return int(head[9:12])

    def _more(self) -> bytes:
        piece = self._socket.recv(_BUFFER)
        if not piece:
            raise ConnectionError("the server has closed the connection")
        return piece


def ping(host: str, port: int) -> object:
    """Pairs of (seconds since the epoch, milliseconds)."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        print("no real-time priority: others' turns are in the figures", file=sys.stderr)
    connection = Connection(host, port)
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    samples = []
    due = time.perf_counter()
    while not _is_over(max(0.0, due - time.perf_counter())):
        at, began = time.time(), time.perf_counter()
        connection.ask(request)
        took = time.perf_counter() - began
        samples.append((at, round(took * 1e3, 3)))
        due = max(due + PERIOD_S, began)
    return samples


def load(host: str, port: int, rows: int) -> object:
    """How many requests were answered, and how many not with 200."""
    connection = Connection(host, port)
    counts = {"answered": 0, "failed": 0}
    requests = _requests(random.Random(7), rows)
    due = time.perf_counter()
    while not _is_over(max(0.0, due - time.perf_counter())):
        counts["answered" if connection.ask(next(requests)) == 200 else "failed"] += 1
        due = max(due + 1 / LOAD_PER_S, time.perf_counter() - 0.1)
    return counts


def _is_over(wait_s: float) -> bool:
    """Wait so long; True when standard input was closed meanwhile."""
    return bool(select.select([sys.stdin], [], [], wait_s)[0])


def _requests(draw: random.Random, rows: int) -> Iterator[bytes]:
    reads = (
        lambda: f"type=*&where=pkey:NUMEQ:{draw.randint(1, rows)}&limit_max=1",
        lambda: (
            f"type=*&where=uid:NUMEQ:{draw.randrange(uid_values(rows))}&order_by=pkey&order_sort=NUMDESC&limit_max=1"
        ),
        lambda: f"type=*&where={_both(draw, rows)}&order_by=pkey&order_sort=NUMDESC&limit_max=10",
        lambda: f"type=count&where={_both(draw, rows)}",
    )
    while True:
        if draw.random() < _WRITES:
            yield _insert(draw, rows)
        else:
            ask: Callable[[], str] = draw.choice(reads)
            yield f"GET /?command=select&table={TABLE}&{ask()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _both(draw: random.Random, rows: int) -> str:
    since = FIRST_DATELINE + draw.randrange(20 * rows)
    return f"dateline:NUMGE:{since}|idtype:STREQ:{draw.choice(KINDS)}"


def _insert(draw: random.Random, rows: int) -> bytes:
    row = {
        "uid": draw.randrange(uid_values(rows)),
        "dateline": FIRST_DATELINE + draw.randrange(20 * rows),
        "idtype": draw.choice(KINDS),
        "title": "a row that was written meanwhile",
        "hits": draw.randrange(2_000),
    }
    body = json.dumps(row).encode()
    head = f"POST /?command=insert&table={TABLE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


if __name__ == "__main__":
    kind, host, port, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    print(json.dumps(ping(host, port) if kind == "ping" else load(host, port, rows)))
