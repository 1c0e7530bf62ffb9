"""A backlog of a log: one step is prepared, one applied and one written at the same time. Broken at every point.

The fake log tells what it brings once a session, as the binary log does. The file is copied behind every transaction
that is written into it: what a crash in that moment would leave must be exactly the state at its position.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from tcsql.errors import NoSpace, SourceAway
from tcsql.replication.follower import Follower
from tcsql.replication.position import Position
from tcsql.replication.source import Identity, ReadKeys, ReadRange, Rows, Step, TableChange, TableState
from tcsql.sources import FollowedTable as Table
from tcsql.storage.store import Store
from tests.replication.fake_source import FakeServer, FakeSource, Values, schema_of
from tests.replication.test_follower import equal, run, settings, until

POSTS = "CREATE TABLE posts (id int PRIMARY KEY, n int, KEY (n))"
ROWS = 20


@dataclass
class Log(FakeServer):
    """A server with a log: ``history``, one dict of rows a transaction; so many of them are one step."""

    history: list[dict[int, Values]] = field(default_factory=list)
    a_step: int = 2
    #: What was asked of the connections, in order.
    asked: list[str] = field(default_factory=list)
    #: Steps are given while it says so.
    may_answer: Callable[[], bool] = lambda: True
    #: Raised by that many calls of ``step`` from now.
    fails_in: int = -1

    def write(self, rows: dict[int, int]) -> None:
        """One transaction."""
        full = {pkey: {"id": pkey, "n": n} for pkey, n in rows.items()}
        self.history.append(full)
        for pkey, row in full.items():
            self.rows["posts"][pkey] = row

    def state(self, count: int) -> dict[int, Values]:
        """The rows behind so many transactions."""
        rows: dict[int, Values] = {}
        for transaction in self.history[:count]:
            rows |= transaction
        return rows


class LogSource(FakeSource):
    """One connection; a place in the log is the number of transactions before it."""

    server: Log

    async def open(self, position: bytes) -> Identity:
        self.server.asked.append("open")
        self.at = int(position) if position else len(self.server.history)
        return await super().open(position)

    async def tables(self) -> Sequence[TableState]:
        self.server.asked.append("tables")
        return await super().tables()

    async def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        server = self.server
        assert not acknowledged
        server.asked.append("step")
        server.fails_in -= 1
        if not server.fails_in:
            raise SourceAway("gone")
        await asyncio.sleep(0.001 if self.at == len(server.history) else 0)
        while not server.may_answer():
            await asyncio.sleep(0.001)
        end = min(self.at + server.a_step, len(server.history))
        found: dict[int, Values] = {}
        for transaction in server.history[self.at : end]:
            found |= transaction
        self.at = end
        complete = end == len(server.history)
        columns = [[row[name] for row in found.values()] for name in ("id", "n")]
        changes = {"posts": TableChange(Rows(list(found), columns))} if found else {}
        answer = self._read(read) if complete and read is not None else None
        unsure, server.unsure = server.unsure, []
        if unsure:
            server.asked.append("told unsure")
        return Step(changes, answer, len(found), b"", complete, b"%d" % end, unsure=unsure)


def log() -> Log:
    made = Log({"posts": schema_of(POSTS)})
    made.write(dict.fromkeys(range(ROWS), 100))
    return made


def held(store: Store) -> dict[int, Values]:
    return {row["id"]: row for row in map(orjson.loads, store.database.rows("posts"))}


def transfers(server: Log, count: int, seed: int) -> None:
    """Transactions that move from one row to another: the sum of all is the same before and after each."""
    dice = random.Random(seed)
    for _ in range(count):
        one, other = dice.sample(range(ROWS), 2)
        much = dice.randrange(1, 50)
        rows = server.rows["posts"]
        server.write({one: rows[one]["n"] - much, other: rows[other]["n"] + much})


class Disk:
    """What the committer's thread writes with. Once it ``is_watched``, each transaction leaves a copy behind.

    Before it ``refuse`` may say so, by its number; while ``may_write`` is not set it waits.
    """

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_watched = False
        self.refuse: Callable[[int], bool] = lambda number: False
        self.may_write = threading.Event()
        self.may_write.set()
        self.made: list[Path] = []
        self._groups = 0
        self._write = store._file.write
        self._directory = store._file.path.parent
        monkeypatch.setattr(store._file, "write", self.write)

    def write(self, tickets: Any) -> Any:
        self.may_write.wait(10)
        if not self.is_watched:
            return self._write(tickets)
        self._groups += 1
        if self.refuse(self._groups):
            raise NoSpace("no space left")
        self._write(tickets)
        image = self._directory.with_name(f"image{self._groups}")
        shutil.copytree(self._directory, image)
        self.made.append(image)
        return None

    def states(self) -> list[tuple[int, dict[int, Values]]]:
        """The place and the rows of each."""
        found = []
        for image in self.made:
            store = Store.open(image)
            found.append((int(Position.decode(store.positions()["shop"]).log), held(store)))
            store.close()
        return found


async def backlog(
    store: Store, server: Log, then: Callable[[Follower], Awaitable[None]], begin: Callable[[], None]
) -> Follower:
    """Follow; once all is copied ``begin`` makes the backlog, before anybody else has a turn."""
    fixed = settings(tables=(Table(name="posts"),), mode="binlog")
    follower = Follower(fixed, store, lambda: LogSource(server))
    task = asyncio.create_task(follower.run())
    try:
        await until(lambda: follower.state == "following" and equal(store, server))
        begin()
        await then(follower)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return follower


def drained(store: Store, server: Log) -> Callable[[Follower], Awaitable[None]]:
    """All is equal, and at no time half a transaction is seen."""

    async def body(follower: Follower) -> None:
        def is_done() -> bool:
            follower._wake.set()  # no need to wait for the pause after a fault
            assert sum(row["n"] for row in held(store).values()) == 100 * ROWS
            return follower.state == "following" and int(follower.stored.log or b"0") == len(server.history)

        await until(is_done)
        assert equal(store, server)

    return body


POINTS = [("source", number) for number in range(1, 10)] + [("disk", number) for number in range(1, 4)] + [("none", 0)]


@pytest.mark.parametrize(("what", "number"), POINTS)
def test_a_backlog_that_breaks_at_any_point_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, number: int
) -> None:
    server = log()
    disks: list[Disk] = []

    async def body(store: Store) -> None:
        disks.append(disk := Disk(store, monkeypatch))
        disk.refuse = lambda group: what == "disk" and group == number

        def begin() -> None:
            transfers(server, 20, number)
            server.fails_in = number if what == "source" else -1
            disk.is_watched = True

        follower = await backlog(store, server, drained(store, server), begin)
        assert follower.counts.reconnects == (what != "none"), "it did not break where it was to"

    run(tmp_path / "data", body)
    states = disks[0].states()
    assert len(states) > 3
    for place, rows in states:
        assert rows == server.state(place), f"the file says {place}"
    assert [place for place, _ in states] == sorted(place for place, _ in states)
    assert states[-1][0] == len(server.history)


def test_what_comes_behind_a_refused_piece_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction too large for one batch: its first piece is refused, and the disk takes what comes then."""
    server = log()
    disks: list[Disk] = []

    async def body(store: Store) -> None:
        disks.append(disk := Disk(store, monkeypatch))
        disk.refuse = lambda group: group == 1

        def begin() -> None:
            server.write(dict.fromkeys(range(8_000), 1))
            disk.is_watched = True

        async def until_equal(follower: Follower) -> None:
            def is_done() -> bool:
                follower._wake.set()
                return follower.state == "following" and len(held(store)) == 8_000 and equal(store, server)

            await until(is_done, 20)
            assert follower.counts.reconnects == 1

        await backlog(store, server, until_equal, begin)

    run(tmp_path / "data", body)
    states = disks[0].states()
    whole = [rows == server.state(2) for place, rows in states if place == 2]
    assert whole
    assert all(whole)
    assert {place for place, _ in states} == {1, 2}


def test_no_more_than_three_steps_are_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = log()

    async def body(store: Store) -> None:
        disk = Disk(store, monkeypatch)

        def begin() -> None:
            transfers(server, 20, 1)
            server.asked.clear()
            disk.may_write.clear()

        async def look(follower: Follower) -> None:
            two = server.state(1 + 2 * server.a_step)
            try:
                await until(lambda: held(store) == two)
                for _ in range(50):
                    await asyncio.sleep(0.001)
                    assert held(store) == two, "the disk has not taken the first of two"
                    assert int(follower.stored.log) == 1
                    assert follower.state == "catching up"
                assert server.asked.count("step") <= 4, "the third is there; one was under way before the backlog"
            finally:
                disk.may_write.set()
            await drained(store, server)(follower)

        await backlog(store, server, look, begin)

    run(tmp_path / "data", body)


def test_a_new_session_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would begin at an older place than what is visible, and take that back for a while."""
    server = log()

    async def body(store: Store) -> None:
        disk = Disk(store, monkeypatch)

        def stop_after(group: int) -> bool:
            if group == 1:
                disk.may_write.clear()
            return False

        def begin() -> None:
            transfers(server, 20, 3)
            server.fails_in = 3
            server.asked.clear()
            server.may_answer = lambda: server.asked.count("step") < 2 or bool(disk.made)
            disk.refuse = stop_after
            disk.is_watched = True

        async def look(follower: Follower) -> None:
            try:
                await until(lambda: follower.state == "away")
                for _ in range(50):
                    follower._wake.set()
                    await asyncio.sleep(0.001)
                    assert "open" not in server.asked
            finally:
                disk.may_write.set()
            await drained(store, server)(follower)
            assert follower.counts.reconnects == 1

        await backlog(store, server, look, begin)

    run(tmp_path / "data", body)


def test_tables_that_are_unsure_are_looked_at_before_anything_else_is_asked(tmp_path: Path) -> None:
    server = log()

    async def body(store: Store) -> None:
        def begin() -> None:
            transfers(server, 20, 2)
            server.unsure = ["posts"]

        await backlog(store, server, drained(store, server), begin)

    run(tmp_path / "data", body)
    assert server.asked[server.asked.index("told unsure") + 1] == "tables"


class _Strict(FakeSource):
    """An outbox that is behind: each step has to be acknowledged with the next question."""

    token = b""

    async def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        assert acknowledged == self.token or read is not None, "asked for more before the last was durable"
        step = await super().step(wait_s, acknowledged, read)
        self.token = step.token
        return step


def test_what_has_to_be_acknowledged_is_not_asked_for_again_before_it_is(tmp_path: Path) -> None:
    server = FakeServer({"posts": schema_of(POSTS)}, most_events=3)

    async def body(store: Store) -> None:
        fixed = settings(tables=(Table(name="posts"),))
        follower = Follower(fixed, store, lambda: _Strict(server))
        task = asyncio.create_task(follower.run())
        await until(lambda: follower.state == "following")
        server.commit("posts", [{"id": number, "n": 1} for number in range(40)])
        await until(lambda: equal(store, server) and not server.noted)
        assert follower.counts.reconnects == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(tmp_path / "data", body)
