"""What writes to the source while following is measured, each in a process of its own, one JSON line at its end.

    steady RATE ROWS TABLE   so many transactions a second, each changes so many rows, until standard input closes
    probe URL TABLE          about 20 single-row commits a second; how long after each its row was visible over HTTP

``python -m benchmarks.follow_writers SOCKET HIGHEST_ID steady|probe …``. Rows are chosen uniformly; a change moves the
row in the index of ``dateline``.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import threading
import time
from typing import Any, Final
from urllib.parse import urlsplit

import pymysql

DATABASE: Final = "shop"
_THREADS: Final = 5
_PROBES_S: Final = 0.05
_LOOK_S: Final = 0.0003
#: A row that is not visible by then never will be.
_LOST_S: Final = 30.0


def connect(path: str) -> pymysql.connections.Connection[Any]:
    return pymysql.connect(unix_socket=path, user="root", database=DATABASE, charset="utf8mb4", local_infile=True)


def steady(path: str, highest: int, rate: float, rows: int, table: str) -> dict[str, object]:
    """Transactions in so many threads, each on its own beat."""
    over = threading.Event()
    done = [0] * _THREADS

    def write(number: int) -> None:
        draw = random.Random(number)
        connection = connect(path)
        cursor = connection.cursor()
        period = _THREADS / rate
        due = time.perf_counter() + period * number / _THREADS
        while not over.wait(max(0.0, due - time.perf_counter())):
            # in the order of keys, so that writers do not run into deadlocks
            keys = ",".join(map(str, sorted(draw.randint(1, highest) for _ in range(rows))))
            cursor.execute(f"UPDATE {table} SET hits = hits + 1, dateline = dateline + 1 WHERE id IN ({keys})")
            connection.commit()
            done[number] += 1
            due = max(due + period, time.perf_counter() - 1)
        connection.close()

    threads = [threading.Thread(target=write, args=[number]) for number in range(_THREADS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    select.select([sys.stdin], [], [])
    over.set()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    return {"transactions_per_s": sum(done) / elapsed, "rows_per_s": rows * sum(done) / elapsed}


class Client:
    """One request at a time on a raw socket: a client library's own pauses must not be measured."""

    def __init__(self, url: str, table: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._table = table
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def hits(self, key: int) -> int:
        target = f"/?command=select&table={self._table}&type=hits&where=id:NUMEQ:{key}"
        self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"}]}"):
            piece = self._socket.recv(65_536)
            assert piece, answer
            answer += piece
        return int(json.loads(answer.partition(b"\r\n\r\n")[2])["rows"][0]["hits"])


def probe(path: str, highest: int, url: str, table: str) -> dict[str, object]:
    """From the moment COMMIT has answered until a read sees the row."""
    connection = connect(path)
    cursor = connection.cursor()
    client = Client(url, table)
    draw = random.Random(99)
    latencies = []
    commits = []
    while not select.select([sys.stdin], [], [], _PROBES_S * draw.uniform(0.5, 1.5))[0]:
        key, mark = draw.randint(1, highest), draw.randint(1_000_000, 2_000_000_000)
        began = time.perf_counter()
        cursor.execute(f"UPDATE {table} SET hits = %s WHERE id = %s", (mark, key))
        connection.commit()
        committed = time.perf_counter()
        while not mark <= client.hits(key) < mark + 1_000:  # others may have counted on
            assert time.perf_counter() - committed < _LOST_S, f"the change of row {key} was never visible"
            time.sleep(_LOOK_S)
        latencies.append((time.perf_counter() - committed) * 1e3)
        commits.append((committed - began) * 1e3)
    return {"latencies_ms": latencies, "commits_ms": commits}


def main() -> None:
    path, highest, kind, *rest = sys.argv[1:]
    if kind == "steady":
        found = steady(path, int(highest), float(rest[0]), int(rest[1]), rest[2])
    else:
        found = probe(path, int(highest), rest[0], rest[1])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
