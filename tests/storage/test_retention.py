"""What is kept for how long: changes by age, and bytes of rows that are gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import CreateTable, Delete, Truncate, Upsert
from tcsql.engine.query import Condition, Filter, Operator
from tcsql.storage import file as storefile
from tcsql.storage import pipeline
from tcsql.storage.check import check_store
from tcsql.storage.options import StoreOptions
from tcsql.storage.retention import Ages
from tcsql.storage.store import Store
from tests.storage.support import NAMED, POSTS, posts

#: Copies that SQLite leaves in unused parts of pages, of 2,667 rows, most of which hold the mark several times.
FEW = 500
steps = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 2)), min_size=1, max_size=60)


@given(steps, st.integers(1, 100), st.data())
def test_no_change_outlives_its_span_and_none_goes_much_too_early(
    walk: list[tuple[float, int]], span: int, data: st.DataObject
) -> None:
    now, lsn = 1_000.0, 3
    born: dict[int, float] = {}
    ages = Ages(span, None, lsn, now)
    assert ages.look(lsn, now) == lsn
    alive_from = lsn
    looked = now
    for pause, writes in walk:
        now += min(pause, span / 10)  # looks are frequent beside the span
        for _ in range(writes):
            lsn += 1
            born[lsn] = now
        if data.draw(st.booleans()):
            ages = Ages(span, ages.stored(), lsn, now)  # a restart
        cut = ages.look(lsn, now)
        if cut is not None:
            assert cut >= alive_from
            assert all(now - born[gone] >= 0.7 * span for gone in range(alive_from + 1, cut + 1)), "too early"
            alive_from = cut
        assert all(looked - born[kept] < span for kept in range(alive_from + 1, lsn + 1)), "too late"
        looked = now


def test_a_clock_that_was_set_back_keeps_nothing_for_ever() -> None:
    ages = Ages(100, None, 1, 1_000_000.0)
    ages.look(1, 1_000_000.0)
    ages.look(2, 1_000_020.0)
    later = Ages(100, ages.stored(), 3, 5_000.0)
    assert later.look(3, 5_000.0) is None
    assert later.look(3, 5_100.0) == 3


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pipeline, "LOOK_S", 0.05)
    monkeypatch.setattr(storefile, "WIPE_S", 0.1)
    yield


def everything(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def test_old_changes_leave_the_log_and_a_reader_is_told(tmp_path: Path, quick: None) -> None:
    async def work() -> None:
        store = Store.open(tmp_path, StoreOptions(change_log_s=1))
        background = asyncio.create_task(store.maintain())
        await store.commit([CreateTable(POSTS)])
        first = (await store.commit(posts(1, title="an old secret"))).lsn
        assert store.changes_since(first - 1) is not None
        async with asyncio.timeout(10):
            while store.changes_since(first - 1) is not None:
                await asyncio.sleep(0.05)
        young = (await store.commit(posts(2))).lsn
        found = store.changes_since(young - 1)
        assert found is not None
        assert [change.lsn for change in found] == [young]
        background.cancel()
        store.close()

    asyncio.run(work())
    assert check_store(tmp_path) == []
    store = Store.open(tmp_path, StoreOptions(change_log_s=1))
    assert len(store.database.table("posts")) == 2
    store.close()


def test_without_the_setting_nothing_is_forgotten_and_no_thread_begun(tmp_path: Path, quick: None) -> None:
    async def work() -> None:
        store = Store.open(tmp_path)
        background = asyncio.create_task(store.maintain())
        await asyncio.sleep(0.2)
        assert not store._pipeline.is_threaded
        background.cancel()
        store.close()

    asyncio.run(work())


@pytest.mark.parametrize("table", [POSTS, NAMED], ids=["integer keys", "text keys"])
@pytest.mark.parametrize("way", ["row by row", "truncate", "replaced"])
def test_what_was_deleted_is_nowhere_in_the_files(tmp_path: Path, quick: None, table: object, way: str) -> None:
    """Rows in random order, so that pages split, and long ones, so that they overflow; all the while others stay."""
    dice = random.Random(7)
    name = "posts" if table is POSTS else "named"
    field = "title" if table is POSTS else "name"

    def row(number: int, mark: str) -> dict[str, int | str | float | None]:
        text = f"{dice.random():.9f} {mark}{number:06d} " + mark * dice.choice((0, 0, 1, 16))
        return {"id": number, "uid": 1, "title": text} if table is POSTS else {"name": text, "hits": number}

    async def work() -> None:
        store = Store.open(tmp_path, StoreOptions(secure_delete=True, change_log=0))
        background = asyncio.create_task(store.maintain())
        await store.commit([CreateTable(POSTS if table is POSTS else NAMED)])
        numbers = dice.sample(range(4_000), 4_000)
        rows = [row(number, "SECRET" if number % 3 else "STAYS") for number in numbers]
        for start in range(0, 4_000, 250):
            await store.commit([Upsert(name, rows[start : start + 250])])
        assert b"SECRET" in everything(tmp_path)
        if way == "truncate":
            await store.commit([Truncate(name)])
        else:
            gone = [each for each in rows if "SECRET" in str(each[field])]
            dice.shuffle(gone)
            for start in range(0, len(gone), 100):
                some = gone[start : start + 100]
                if way == "replaced" and table is POSTS:
                    await store.commit([Upsert(name, [{**each, "title": "x"} for each in some])])
                    continue
                where = Filter(tuple((Condition(field, Operator.STREQ, str(each[field])),) for each in some))
                await store.commit([Delete(name, where)])
        async with asyncio.timeout(20):
            while everything(tmp_path).count(b"SECRET") > FEW:
                await asyncio.sleep(0.1)
        copy = tmp_path.with_name(f"{tmp_path.name}.backup")
        await asyncio.to_thread(store.backup, copy)
        assert b"SECRET" not in copy.read_bytes()
        background.cancel()
        store.close()

    asyncio.run(work())
    assert b"SECRET" not in everything(tmp_path)
    assert check_store(tmp_path) == []
    assert (b"STAYS" in everything(tmp_path)) is (way != "truncate")


def test_a_reader_puts_the_wiping_off_and_no_writer_waits_for_it(tmp_path: Path, quick: None) -> None:
    async def work() -> None:
        store = Store.open(tmp_path, StoreOptions(secure_delete=True))
        background = asyncio.create_task(store.maintain())
        await store.commit([CreateTable(POSTS)])
        start = (await store.commit(posts(1))).lsn
        for number in range(2, 9):
            await store.commit(posts(number))
        reading = store.changes_since(start)
        assert reading is not None
        next(reading)
        async with asyncio.timeout(2):
            for number in range(10, 20):
                await store.commit(posts(number))
                await asyncio.sleep(0.03)
        assert store.status()["disk"] == "ok"
        assert list(reading)
        async with asyncio.timeout(5):
            while store.status()["log_bytes"]:
                await asyncio.sleep(0.05)
        background.cancel()
        store.close()

    asyncio.run(work())
