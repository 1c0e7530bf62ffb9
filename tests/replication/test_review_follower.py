"""Interleavings of copies, comparisons, crashes and answers that a hard look at the follower asked about."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from tcsql.engine.change import CreateTable, Upsert
from tcsql.engine.held import rows_of
from tcsql.errors import NoSpace, SourceAway, SourceFault
from tcsql.replication.follower import Follower
from tcsql.replication.followers import Followers
from tcsql.replication.position import Position
from tcsql.replication.source import KeysRead, ReadKeys, ReadRange, Step
from tcsql.sources import FollowedTable as Table
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level
from tests.replication.fake_source import FakeServer, FakeSource, schema_of
from tests.replication.test_follower import caught_up, following, run, server, settings, until


def test_a_crash_of_the_source_during_a_copy_takes_back_rows_that_were_copied(tmp_path: Path) -> None:
    source = server(rows=1000)
    source.started_s = 1000.0
    first = min(source.rows["posts"], key=str)
    lasting = dict(source.rows["posts"][first])
    source.rows["posts"][first] = {**lasting, "title": "visible, and not on the disk there"}

    async def until_half(store: Store) -> None:
        async with following(store, source):
            await until(lambda: len(store.database.schemas()) == 2 and len(store.database.table("posts")) >= 300)

    async def afterwards(store: Store) -> None:
        assert Position.decode(store.positions()["shop"]).tables["posts"].after is not None
        async with following(store, source) as follower:
            await caught_up(follower, store, source)

    run(tmp_path, until_half)
    source.rows["posts"][first] = lasting
    source.started_s = 2000.0
    run(tmp_path, afterwards)


def test_a_table_that_is_no_longer_followed_leaves_no_doubt_behind(tmp_path: Path) -> None:
    source = server(rows=5)

    async def unsure(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
        position = Position.decode(store.positions()["shop"])
        await follower.commit([], Position(**{**_members(position), "unsure": frozenset(["names"])}))

    async def without(store: Store) -> None:
        async with following(store, source, tables=(Table(name="posts"),)) as follower:
            await until(lambda: follower.state == "following")
            assert follower.verify(["posts"], repair=False)
            found = follower.verification
            await until(lambda: found is not None and found.job is None)
            taken = source.taken
            await until(lambda: source.taken > taken + 5)
            assert follower.verification is found, "what a person has asked for is still there to be read"
            assert not follower.position.unsure

    run(tmp_path, unsure)
    del source.schemas["names"]  # a source speaks of the tables of its settings
    run(tmp_path, without)


def _members(position: Position) -> dict[str, Any]:
    return {name: getattr(position, name) for name in Position.__slots__}


def test_tables_are_looked_at_while_a_long_copy_goes_on(tmp_path: Path) -> None:
    source = server(rows=3000)
    looked: list[int] = []
    source.on_read = lambda read: looked.append(source.looked)

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            await caught_up(follower, store, source)

    run(tmp_path, body)
    assert len(set(looked)) > 10, "lost triggers and TRUNCATE would go unseen for as long as the copy takes"


def test_a_yes_answers_the_question_that_was_asked(tmp_path: Path) -> None:
    """Another server behind the url, and then that it has hardly any rows."""
    source = server(rows=200)

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            source.identity = "server-2"
            for key in range(20, 200):
                del source.rows["posts"][key]
            source.faults.append(SourceAway("gone"))
            await until(lambda: follower.state == "stopped")
            follower.accept()
            await until(lambda: follower.state == "asking")
            assert len(store.database.table("posts")) == 200
            follower.accept()
            await caught_up(follower, store, source)
            assert len(store.database.table("posts")) == 20

    run(tmp_path, body)


def test_a_yes_to_nothing_that_was_asked_is_no_yes_later(tmp_path: Path) -> None:
    source = server(rows=20)

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            source.faults += [SourceAway("gone"), SourceFault("access denied")]
            await until(lambda: follower.state == "stopped")
            source.identity = "server-2"
            follower.accept()
            await until(lambda: "another server" in (follower.reason or ""))
            await asyncio.sleep(0.05)
            assert follower.state == "stopped"

    run(tmp_path, body)


def test_backlogs_that_come_and_go_are_no_flood_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = server(rows=5)
    caplog.set_level(logging.INFO, "tcsql.replication")

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            caplog.clear()
            source.most_events = 1
            for number in range(5):
                source.commit("posts", [{"id": number, "title": "new"}, {"id": number + 1, "title": "new"}])
                await caught_up(follower, store, source)

    run(tmp_path, body)
    assert [record.getMessage() for record in caplog.records].count("source shop is catching up") == 5
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_table_that_does_not_fit_is_told_once_however_its_size_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = server(rows=5)

    async def body(store: Store) -> None:
        source.needs = store.budget.limit_bytes * 2
        async with following(store, source, check_s=0) as follower:
            await until(lambda: follower.blocked.keys() == {"posts", "names"})
            for number in range(10):
                source.needs += 10 << 20
                source.rows["posts"][1000 + number] = {"id": 1000 + number}
                looked = source.looked
                await until(lambda looked=looked: source.looked > looked + 1)  # type: ignore[misc]  # mypy infers no type for a lambda's default

    run(tmp_path, body)
    assert len([record for record in caplog.records if "is not followed" in record.getMessage()]) == 2


def test_rows_that_are_kept_in_memory_alone_are_copied_again_after_a_restart(tmp_path: Path) -> None:
    source = server(rows=30)

    async def both(expect: Sequence[str]) -> None:
        store = Store.open(tmp_path, StoreOptions(durability=Level.MEMORY))
        try:
            async with following(store, source, check_s=0) as follower:
                await caught_up(follower, store, source)
                if expect:  # a schema that changes is written, whatever else is not
                    source.schemas["names"] = schema_of("CREATE TABLE names (name varchar(20) PRIMARY KEY, extra int)")
                    source.rows["names"] = {
                        key: {"name": row["name"], "extra": 1} for key, row in source.rows["names"].items()
                    }
                    await caught_up(follower, store, source)
        finally:
            store.close()

    asyncio.run(both(["a change"]))
    asyncio.run(both([]))
    source.commit("posts", [{"id": 77, "title": "seen by who kept nothing"}])
    asyncio.run(both([]))
    run(tmp_path, lambda store: _all_equal(store, source))


async def _all_equal(store: Store, source: FakeServer) -> None:
    async with following(store, source) as follower:
        await caught_up(follower, store, source)


def test_a_copy_is_asked_for_again_while_it_goes_on(tmp_path: Path) -> None:
    source = server(rows=900)

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            while follower.state != "following":
                follower.recopy(["posts"] if source.taken < 200 else [])
                source.commit("posts", [{"id": source.taken % 1000, "title": "during"}], [source.taken * 7 % 900])
                await asyncio.sleep(0)
            await caught_up(follower, store, source)

    run(tmp_path, body)


def test_a_table_is_blocked_and_free_again_while_it_is_copied(tmp_path: Path) -> None:
    source = server(rows=900)

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            await until(lambda: len(store.database.schemas()) == 2 and len(store.database.table("posts")) >= 300)
            source.problem["posts"] = "the triggers are missing"
            await until(lambda: "posts" in follower.blocked)
            for key in sorted(source.rows["posts"], key=str)[:50]:
                del source.rows["posts"][key]
            del source.problem["posts"]
            await caught_up(follower, store, source)

    run(tmp_path, body)


def test_a_reverted_batch_in_the_middle_of_a_copy_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for two groups: what was pending is taken back, and the copy goes on from what is durable."""
    source = server(rows=900)

    async def body(store: Store) -> None:
        write = store._file.write
        left = 2

        def full(tickets: Any) -> Any:
            nonlocal left
            if left and any(ticket.ops > 50 for ticket in tickets):
                left -= 1
                raise NoSpace("no space left")
            return write(tickets)

        monkeypatch.setattr(store._file, "write", full)
        async with following(store, source) as follower:
            while follower.state != "following":
                source.commit("posts", [{"id": source.taken % 1000, "title": "during"}], [source.taken * 7 % 900])
                await asyncio.sleep(0)
                follower._wake.set()
            await caught_up(follower, store, source)
            assert not left

    run(tmp_path, body)


# -- what is acknowledged, and when ------------------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [False, True])
def test_nothing_is_acknowledged_while_the_disk_is_still_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    source = server(rows=2000)
    disk = threading.Event()

    async def body(store: Store) -> None:
        write = store._file.write

        def slow(tickets: Any) -> Any:
            if _title(store, 0) == "on its way":
                disk.wait(10)
            return write(tickets)

        monkeypatch.setattr(store._file, "write", slow)
        async with following(store, source) as follower:
            await (
                until(lambda: len(store.database.schemas()) == 2 and len(store.database.table("posts")) >= 300)
                if copies
                else caught_up(follower, store, source)
            )
            try:
                source.commit("posts", [{"id": 0, "title": "on its way"}])
                await until(lambda: _title(store, 0) == "on its way")
                await asyncio.sleep(0.05)
                assert source.noted
                assert copies is bool(follower.copies)
            finally:
                disk.set()
            await caught_up(follower, store, source)

    run(tmp_path, body)


def _title(store: Store, pkey: int) -> object:
    row = rows_of(store.database.table("posts"), [pkey])[0]
    return None if row is None else orjson.loads(row)["title"]


def test_rows_and_position_are_durable_in_the_same_moment(tmp_path: Path) -> None:
    source = server(rows=1000)
    seen: list[tuple[int, int]] = []

    async def body(store: Store) -> None:
        def look(_lsn: int, _tickets: object) -> None:
            table = Position.decode(store.positions()["shop"]).tables.get("posts")
            if table is not None:
                seen.append((table.copied, len(store.database.table("posts"))))

        store.on_durable(look)
        async with following(store, source) as follower:
            await caught_up(follower, store, source)

    run(tmp_path, body)
    assert len(seen) > 10
    assert [copied for copied, _ in seen] == [held for _, held in seen]


class _Reinserting(FakeSource):
    """Right after the sweep has found a row gone, somebody inserts it again."""

    told = 0

    async def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        step = await super().step(wait_s, acknowledged, read)
        if isinstance(step.read, KeysRead) and 3 in step.read.missing:
            _Reinserting.told += 1
            if _Reinserting.told == 2:  # the first time is the count before the copy
                self.server.commit("posts", [{"id": 3, "title": "again"}])
        return step


def test_a_row_that_comes_back_while_it_is_swept_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = server(rows=500)
    monkeypatch.setattr(_Reinserting, "told", 0)

    async def body(store: Store) -> None:
        store.commit_blocking([CreateTable(schema) for schema in source.schemas.values()])
        store.commit_blocking([Upsert("posts", [{"id": number} for number in range(500)])])
        del source.rows["posts"][3]
        follower = Follower(settings(), store, lambda: _Reinserting(source))
        task = asyncio.create_task(follower.run())
        try:
            await caught_up(follower, store, source)
            assert _Reinserting.told == 2
            assert _title(store, 3) == "again"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(tmp_path, body)


def test_rows_that_a_crash_may_have_taken_back_are_stale_until_they_were_compared(tmp_path: Path) -> None:
    source = server(rows=5000)
    source.started_s = 1000.0
    stale: list[bool] = []

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            assert not follower.is_stale(time.monotonic())
            source.on_read = lambda read: stale.append(follower.is_stale(time.monotonic()))
            source.started_s = 2000.0
            source.faults.append(SourceAway("killed"))
            await until(lambda: bool(stale) and not follower.position.unsure)
            assert all(stale)
            assert not follower.is_stale(time.monotonic())

    run(tmp_path, body)


def test_a_full_disk_does_not_keep_the_other_followers_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = server(rows=5)

    async def body(store: Store) -> None:
        followers = Followers([settings()], store, tmp_path, lambda _settings, _base: FakeSource(source))
        followers.start()
        await until(lambda: followers.status()[0]["state"] == "following")

        async def full(*_: Any) -> Any:
            raise NoSpace("no space left")

        monkeypatch.setattr(store, "enqueue", full)
        await followers.stop()
        assert not Position.decode(store.positions()["shop"]).clean

    run(tmp_path, body)


def test_a_copy_that_was_asked_for_is_made_when_the_disk_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = server(rows=50)

    async def body(store: Store) -> None:
        async with following(store, source, check_s=3600) as follower:
            await caught_up(follower, store, source)
            enqueue = store.enqueue
            refused = 0

            async def full(*arguments: Any) -> Any:
                nonlocal refused
                if not refused:
                    refused += 1
                    raise NoSpace("no space left")
                return await enqueue(*arguments)

            monkeypatch.setattr(store, "enqueue", full)
            source.rows["posts"][7] = {"id": 7, "title": "nobody was told", "n": 0}
            follower.recopy(["posts"])
            await until(lambda: refused == 1)
            await caught_up(follower, store, source)

    run(tmp_path, body)
