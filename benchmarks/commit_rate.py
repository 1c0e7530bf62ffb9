"""Single-row commits a second through the store, 64 writers waiting, at each level of durability.

    python -m benchmarks.commit_rate [commits] [rows]

Inside one process, no HTTP: what the write door, the committer and the disk cost. Rows are overwritten at random
in a table of 100,000. One line a level: commits/s, latency, longest stall of the event loop, groups, the share of
the change log. Each level is measured with the change log and without.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median

import uvloop

from tcsql.engine.change import CreateTable, Row, Upsert
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin

WRITERS = 64
INT = ColumnType(Kind.INTEGER, "bigint", low=-(2**63), high=2**63 - 1)
TEXT = ColumnType(Kind.TEXT, "varchar", length=100)
POSTS = TableSchema(
    "posts",
    (
        Column("id", INT, nullable=False),
        *(Column(name, INT) for name in ("uid", "dateline", "hits")),
        *(Column(name, TEXT) for name in ("idtype", "title")),
    ),
    ("id",),
    (IndexDef("uid", ("uid",)), IndexDef("idtype", ("idtype", "dateline")), IndexDef("dateline", ("dateline",))),
)


def post(number: int, hits: int) -> Row:
    return {
        "id": number,
        "uid": number % 10_007,
        "dateline": 1_262_304_000 + number,
        "hits": hits,
        "idtype": f"type{number % 8}",
        "title": f"the title of the post with the number {number}",
    }


async def measure(directory: Path, level: Level, change_log: int, commits: int, rows: int) -> str:
    """One line of figures."""
    store = Store.open(directory, StoreOptions(durability=level, change_log=change_log))
    await store.commit([CreateTable(POSTS)], Origin(Level.ALWAYS))
    for start in range(0, rows, 5_000):
        await store.commit([Upsert("posts", [post(number, 0) for number in range(start, start + 5_000)])])
    gc.collect()
    gc.freeze()  # as the server does
    random = Random(1)
    latencies: list[float] = []
    left = commits
    stall_s = 0.0

    async def writer() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            began = time.perf_counter()
            await store.commit([Upsert("posts", [post(random.randrange(rows), left)])])
            latencies.append(time.perf_counter() - began)

    async def heartbeat() -> None:
        nonlocal stall_s
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            stall_s = max(stall_s, now - last - 0.001)
            last = now

    groups = store.status()["groups"]
    beating = asyncio.create_task(heartbeat())
    began = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    seconds = time.perf_counter() - began
    beating.cancel()
    groups = int(str(store.status()["groups"])) - int(str(groups))
    store.close()
    gc.unfreeze()
    latencies.sort()
    middle, high = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    return (
        f"{level.value:8} change log {'on ' if change_log else 'off'} {commits / seconds:8,.0f} commits/s"
        f"   p50 {middle * 1e3:6.2f} ms   p99 {high * 1e3:6.2f} ms   longest stall {stall_s * 1e3:5.1f} ms"
        f"   {groups:,} groups"
    )


def sync_ms(directory: Path) -> float:
    """What the disk takes for a page: no commit can be faster."""
    times = []
    with (directory / "page").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return median(times) * 1e3


def main(commits: int = 40_000, rows: int = 100_000) -> None:
    with tempfile.TemporaryDirectory() as name:
        print(f"one sync of this disk: {sync_ms(Path(name)):.2f} ms")
    for level in Level:
        for change_log in (100_000, 0) if level is not Level.MEMORY else (0,):
            with tempfile.TemporaryDirectory() as name, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                print(runner.run(measure(Path(name), level, change_log, commits, rows)), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
