"""What the disk lets the store do: told once, tried by itself, never blindly repeated; what waits for it is bounded."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from tcsql.engine.change import Upsert
from tcsql.errors import NoSpace, Overloaded, ReadOnly
from tcsql.replication.position import Position
from tcsql.storage import condition, pipeline
from tcsql.storage import store as store_module
from tcsql.storage.committer import GROUP_OPS
from tcsql.storage.condition import PROBE_S, QUIET_S, Condition
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin
from tests.replication.test_follower import caught_up, following, server, until
from tests.storage.faults import faulty_disk, no_space
from tests.storage.support import create_all, post, posts


def test_a_trouble_is_told_once_and_its_end_when_it_has_been_quiet(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    disk = Condition(lambda: now[0])
    disk.works()
    assert disk.state == "ok" and not disk.is_probe_due()
    for _ in range(1_000):  # small ones succeed, large ones do not
        disk.fails(NoSpace("full", "make room"))
        disk.refuses(3, 0)
        disk.works()
        now[0] += QUIET_S / 2_000
    assert disk.state == "no_space" and disk.read_only is None and len(caplog.records) == 1
    now[0] += QUIET_S
    assert disk.is_probe_due() and not disk.is_probe_due()
    now[0] += PROBE_S
    assert disk.is_probe_due()
    disk.works()
    assert disk.state == "ok"
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "in which 3000 were refused" in caplog.messages[1]


def test_an_error_that_does_not_pass_stays_until_the_end(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    disk = Condition(lambda: now[0])
    disk.fails(NoSpace("full", "make room"))
    disk.fails(ReadOnly("broken", "restart"))
    now[0] += 1_000
    disk.works()
    disk.fails(NoSpace("full", "make room"))
    assert (disk.state, disk.read_only is not None, disk.is_probe_due()) == ("read_only", True, False)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.CRITICAL]


def test_the_store_finds_out_by_itself_that_there_is_space_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condition, "QUIET_S", 0.05)
    monkeypatch.setattr(condition, "PROBE_S", 0.02)
    monkeypatch.setattr(store_module, "_MAINTAIN_IDLE_S", 0.01)

    async def main() -> None:
        with faulty_disk() as disk:
            store = Store.open(tmp_path, StoreOptions(vfs=disk.name))
            background = asyncio.create_task(store.maintain())
            await store.commit(create_all())
            disk.fault = no_space
            with pytest.raises(NoSpace):
                await store.commit(posts(1))
            await asyncio.sleep(0.2)
            assert store.condition.state == "no_space"
            disk.fault = None
            await until(lambda: store.condition.state == "ok", 5)
            await store.commit(posts(1))
            background.cancel()
            store.close()

    asyncio.run(main())


def test_what_waits_for_a_slow_disk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PENDING_OPS", 40)
    monkeypatch.setattr(pipeline, "MOST_WAITING", 3)
    monkeypatch.setattr(store_module, "MOST_ROOM_S", 0.1)

    async def main() -> None:
        store = Store.open(tmp_path, StoreOptions(interval_ms=60_000))
        await store.commit(create_all(), Origin(Level.ALWAYS))
        number = 0
        while store.has_room:  # a row of 10 KiB counts as eleven
            number += 1
            store.submit([Upsert("named", [{"name": f"n{number}", "hits": 1}])], Origin(Level.INTERVAL))
        assert number == 41
        waiting = [asyncio.create_task(store.commit(posts(n))) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await store.commit(posts(9))
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in ended] == [Overloaded] * 3
        await store.drain()
        assert store.pending == 0 and store.has_room
        await store.commit(posts(9), Origin(Level.ALWAYS))
        store.close()

    asyncio.run(main())


def test_large_rows_count_by_their_size(tmp_path: Path) -> None:
    async def main() -> None:
        store = Store.open(tmp_path)
        await store.commit(create_all())
        small = store.submit([Upsert("posts", [post(n) for n in range(100)])])
        large = store.submit([Upsert("pairs", [{"a": f"{n}", "b": n, "c": "x" * 200} for n in range(100)])])
        assert small.ops < 110 < large.ops < GROUP_OPS
        await store.drain()
        store.close()

    asyncio.run(main())


def test_a_follower_that_cannot_write_waits_and_its_position_stays(tmp_path: Path) -> None:
    """Outbox: what could not be stored here is neither acknowledged nor forgotten; and it comes when there is room."""
    source = server(rows=50)

    async def main() -> None:
        with faulty_disk() as disk:
            store = Store.open(tmp_path, StoreOptions(vfs=disk.name))
            async with following(store, source) as follower:
                await caught_up(follower, store, source)
                before, rows = store.positions()["shop"], len(list(store.database.rows("posts")))
                disk.fault = no_space
                source.commit("posts", [{"id": 1_000, "title": "new", "n": 1}])
                await until(lambda: follower.state == "waiting")
                assert follower.reason == "no space left for the store" and follower.remedy is not None
                await asyncio.sleep(0.3)  # and tries again meanwhile
                assert store.positions()["shop"] == before
                assert len(list(store.database.rows("posts"))) == rows
                assert source.noted  # nothing was deleted there
                disk.fault = None
                await caught_up(follower, store, source)
                assert Position.decode(store.positions()["shop"]).identity == "server-1"
            store.close()

    asyncio.run(main())
