"""What one single-row insert costs behind the HTTP interface: the event loop's thread, the committer's, both at once.

    python -m benchmarks.inserts [rows] [inserts]

Three ways to look at ``Store.submit`` at durability ``always``, into a table of that many rows with three indexes:

    alone     64 inserts, then the loop rests until their group is synced: processor time of both threads per insert
    together  64 clients, each sends the next when the last is settled, and the loop never rests: the threads contend
              for the interpreter; with so many microseconds of other work per insert on the loop
    wire      the same behind a server that does nothing else: a few lines of HTTP on asyncio, no checks, no routes;
              the load comes from ``benchmarks.generator`` in a process of its own. No real server can be faster.

Processor time is what to compare: rates depend on the disk and on what else the machine does. Beside the version that
knew one way for all writes, in interleaved runs on a store in memory files: the loop's thread 37.5 us an insert before
and 14.5 after (single rows checked and applied by ``engine/single``), the committer's 7.5 and 5.2 (a group in one
statement, ``storage/fileformat``); behind the smallest server 54 us and 29.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import orjson
import uvloop

from benchmarks.processes import environment
from benchmarks.shape import KINDS, TABLE, Post, posts, schema, to_json, uid_values
from tcsql.engine.change import CreateTable, Upsert
from tcsql.storage import memory
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Ticket

CLIENTS: Final = 64
_FIRST_ID: Final = 100_000_000
_WIRE_S: Final = 3.0


def bodies(users: int) -> Iterator[bytes]:
    """One new row each, as a client sends it."""
    for number in range(10_000_000):
        kind = KINDS[number * 7919 % len(KINDS)]
        dateline = 1_300_000_000 + number // 100
        yield to_json(Post(_FIRST_ID + number, number * 104_729 % users, dateline, kind, "light house by the river", 1))


def filled(directory: Path, rows: int) -> Store:
    """A store with the table of the benchmarks in it, set up as the server's."""
    memory.tune_process()
    store = Store.open(directory, StoreOptions())
    if not store.database.schemas():
        store.commit_blocking([CreateTable(schema())])
        source = posts(rows)
        while chunk := [post._asdict() for post in islice(source, 5_000)]:
            store.commit_blocking([Upsert(TABLE, chunk)])
        store.close()
        store = Store.open(directory, StoreOptions())
    gc.collect()
    gc.freeze()
    return store


def committer_s() -> float:
    """Processor time of the committer's thread so far."""
    found = [thread for thread in threading.enumerate() if thread.name == "tcsql-committer"]
    return time.clock_gettime(time.pthread_getcpuclockid(found[0].ident or 0)) if found else 0.0


class Clients:
    """Inserts that follow one another; ``burn_us``: what the loop does besides for each."""

    def __init__(self, store: Store, source: Iterator[bytes], inserts: int, burn_us: float) -> None:
        self._store = store
        self._source = source
        self._left = inserts
        self._burn_s = burn_us / 1e6
        self.done = asyncio.get_running_loop().create_future()
        self._running = 0

    def start(self, clients: int) -> None:
        self._running = clients
        for _ in range(clients):
            self._next(None)

    def _next(self, settled: Ticket | None) -> None:
        if self._left <= 0:
            self._running -= 1
            if not self._running:
                self.done.set_result(None)
            return
        self._left -= 1
        asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        if self._burn_s:
            until = time.perf_counter() + self._burn_s
            while time.perf_counter() < until:
                pass
        self._store.submit([Upsert(TABLE, [orjson.loads(next(self._source))])]).on_settled(self._next)


async def alone(store: Store, source: Iterator[bytes], inserts: int) -> str:
    """Groups of 64 with rests between them."""
    loop = asyncio.get_running_loop()
    own = other = waited = 0.0
    for _ in range(inserts // CLIENTS):
        rows = [orjson.loads(body) for body in islice(source, CLIENTS)]
        group = loop.create_future()
        left = CLIENTS

        def settled(ticket: Ticket, group: asyncio.Future[None] = group) -> None:
            nonlocal left
            left -= 1
            if not left:
                group.set_result(None)

        began, thread, theirs = time.perf_counter(), time.thread_time(), committer_s()
        for row in rows:
            store.submit([Upsert(TABLE, [row])]).on_settled(settled)
        await group
        own += time.thread_time() - thread
        waited += time.perf_counter() - began
        other += committer_s() - theirs
    n = inserts // CLIENTS * CLIENTS
    return (
        f"alone     loop {own / n * 1e6:5.1f} us   committer {other / n * 1e6:5.1f} us   "
        f"a group of {CLIENTS} {waited / n * CLIENTS * 1e3:5.2f} ms"
    )


async def together(store: Store, source: Iterator[bytes], inserts: int, burn_us: float) -> str:
    """Clients that never rest."""
    clients = Clients(store, source, inserts, burn_us)
    groups = int(str(store.status()["groups"]))
    began, own, other = time.perf_counter(), time.thread_time(), committer_s()
    clients.start(CLIENTS)
    await clients.done
    seconds, own, other = time.perf_counter() - began, time.thread_time() - own, committer_s() - other
    groups = int(str(store.status()["groups"])) - groups
    return (
        f"together  {inserts / seconds:7,.0f}/s with {burn_us:2.0f} us of other work   "
        f"loop {own / inserts * 1e6:5.1f} us   committer {other / inserts * 1e6:5.1f} us   "
        f"groups of {inserts / groups:5.1f}"
    )


class Wire(asyncio.Protocol):
    """A POST in one piece, answered when it is durable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is one without inheriting from it

    def data_received(self, data: bytes) -> None:
        row = orjson.loads(data[data.index(b"\r\n\r\n") + 4 :])
        self._store.submit([Upsert(TABLE, [row])]).on_settled(self._answer)

    def _answer(self, ticket: Ticket) -> None:
        assert self._transport is not None
        body = b'{"lsn":%d,"inserted":%d}' % (ticket.lsn, ticket.tally.inserted)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def wire(store: Store, users: int) -> str:
    """The generator against the smallest server there can be."""
    server = await asyncio.get_running_loop().create_server(lambda: Wire(store), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    arguments = (host, port, CLIENTS, _WIRE_S, 2 * _FIRST_ID, users)
    command = [sys.executable, "-m", "benchmarks.generator", *map(str, arguments)]
    groups, commits = (int(str(store.status()[name])) for name in ("groups", "commits"))
    own, other = time.thread_time(), committer_s()
    child = await asyncio.create_subprocess_exec(*command, env=environment(), stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    own, other = time.thread_time() - own, committer_s() - other
    server.close()
    found = json.loads(output)
    groups, commits = (int(str(store.status()[n])) - m for n, m in (("groups", groups), ("commits", commits)))
    return (
        f"wire      {found['per_s']:7,.0f}/s   p50 {found['p50_ms']:.2f} ms   p99 {found['p99_ms']:.2f} ms   "
        f"loop {own / commits * 1e6:5.1f} us   committer {other / commits * 1e6:5.1f} us   "
        f"groups of {commits / groups:5.1f}   generator {found['own_core']:.0%} of a core"
    )


async def measure(store: Store, rows: int, inserts: int) -> None:
    """All three, printed as they come."""
    source = bodies(uid_values(rows))
    await alone(store, source, 2_000)
    print(await alone(store, source, inserts), flush=True)
    for burn_us in (0, 15):
        print(await together(store, source, inserts, burn_us), flush=True)
    print(await wire(store, uid_values(rows)), flush=True)


def main(rows: int = 100_000, inserts: int = 40_000) -> None:
    with tempfile.TemporaryDirectory() as name, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        store = filled(Path(name), rows)
        try:
            runner.run(measure(store, rows, inserts))
        finally:
            store.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
