"""The write door without faults: levels, lsns, waiting, positions, changes, backup, the end."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path

import apsw
import pytest

from tcsql.engine.change import (
    AddColumn,
    CreateTable,
    Delete,
    DropColumn,
    DropTable,
    RenameTable,
    Truncate,
    Update,
    Upsert,
)
from tcsql.engine.query import Condition, Count, Filter, Operator, Select
from tcsql.engine.result import CountResult, Page
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import InvalidValue, NoMemory, SetupError, Stopping, UnknownTable, WaitTimeout
from tcsql.storage.changelog import LoggedChange
from tcsql.storage.check import check_store
from tcsql.storage.options import StoreOptions
from tcsql.storage.pipeline import PENDING_OPS
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin, Ticket
from tests.storage.support import COUNTED, POSTS, TEXT, contents, create_all, post, posts

INTERVAL = StoreOptions(durability=Level.INTERVAL, interval_ms=20)
MEMORY = StoreOptions(durability=Level.MEMORY)
NOTHING = Filter(((Condition("id", Operator.NUMEQ, "-1"),),))


def run(
    directory: Path, work: Callable[[Store], Coroutine[None, None, None]], options: StoreOptions | None = None
) -> None:
    """Open a store with the usual tables, do the work, close it."""

    async def main() -> None:
        store = Store.open(directory, options)
        try:
            if not store.database.schemas():
                await store.commit(create_all(), Origin(Level.ALWAYS))
            await work(store)
        finally:
            store.close()

    asyncio.run(main())


def stored_rows(directory: Path, name: str = "posts") -> list[str]:
    """What another program sees in the file."""
    connection = apsw.Connection(str(directory / "tcsql.db"), flags=apsw.SQLITE_OPEN_READONLY)
    (number,) = connection.execute("SELECT id FROM tables WHERE name = ?", (name,)).fetchone() or (0,)
    rows = [row for (row,) in connection.execute(f"SELECT row FROM rows_{number} ORDER BY pkey")]
    connection.close()
    return rows


# --- levels -------------------------------------------------------------------------------------------------


def test_always_answers_after_the_file_has_the_rows(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        committed = await store.commit(posts(1, 2))
        assert stored_rows(tmp_path) == ['{"id":1,"uid":1,"title":"t"}', '{"id":2,"uid":2,"title":"t"}']
        assert store.durable_lsn == store.lsn == committed.lsn
        assert committed.tally.inserted == 2

    run(tmp_path, work)


def test_a_write_is_visible_before_it_is_durable(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        ticket = store.submit(posts(1))
        assert store.query(Count("posts")) == CountResult(1)
        assert not ticket.settled and store.durable_lsn < ticket.lsn == store.lsn
        await ticket.wait()
        assert ticket.settled and store.durable_lsn == ticket.lsn

    run(tmp_path, work)


def test_a_callback_is_called_once_when_its_write_is_durable(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        seen: list[tuple[int, int, bool]] = []

        def note(ticket: Ticket) -> None:
            seen.append((ticket.lsn, store.durable_lsn, ticket.error is None))

        ticket = store.submit(posts(1))
        ticket.on_settled(note)
        ticket.on_settled(note)
        assert seen == [] and not ticket.is_answerable
        await ticket.wait()
        assert seen == [(ticket.lsn, ticket.lsn, True)] * 2 and ticket.is_answerable
        ticket.on_settled(note)  # settled already: at once
        assert len(seen) == 3

    run(tmp_path, work)


def test_a_callback_that_fails_keeps_nobody_else_waiting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(ticket: Ticket) -> None:
        raise ZeroDivisionError

    async def work(store: Store) -> None:
        first, second = store.submit(posts(1)), store.submit(posts(2))
        first.on_settled(fail)
        await second.wait()
        await first.wait()

    run(tmp_path, work)
    assert "ZeroDivisionError" in caplog.text


def test_levels_below_always_are_answerable_at_once(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        assert store.submit(posts(1)).is_answerable
        assert not store.submit(posts(2), Origin(Level.ALWAYS)).is_answerable

    run(tmp_path, work, INTERVAL)


def test_room_ends_when_too_much_is_pending_and_comes_back(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        assert store.has_room
        last = None
        for start in range(0, PENDING_OPS + 1, 1_000):
            last = store.submit(posts(*range(start, start + 1_000)))
        assert not store.has_room
        assert last is not None
        await last.wait()
        assert store.has_room

    run(tmp_path, work)


def test_interval_answers_at_once_and_is_durable_within_the_interval(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        committed = await store.commit(posts(1))
        assert store.durable_lsn < committed.lsn and stored_rows(tmp_path) == []
        await store.wait_for(committed.lsn, 1)
        assert len(stored_rows(tmp_path)) == 1

    run(tmp_path, work, INTERVAL)


def test_an_always_write_takes_the_waiting_ones_with_it(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        first = store.submit(posts(1), Origin(Level.INTERVAL))
        await store.commit(posts(2))
        assert first.settled and store.status()["groups"] == 2

    run(tmp_path, work, StoreOptions(interval_ms=60_000))


def test_writers_that_wait_together_share_one_transaction(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        before = store.status()["groups"]
        await asyncio.gather(*(store.commit(posts(number)) for number in range(64)))
        assert store.status()["groups"] == before + 1  # type: ignore[operator]  # a figure, an int
        assert len(stored_rows(tmp_path)) == 64

    run(tmp_path, work)


def test_a_writer_that_never_waits_lets_others_run(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for number in range(3_000):
            await store.commit(posts(number))
        task.cancel()
        assert turns > 3

    run(tmp_path, work, StoreOptions(durability=Level.INTERVAL, interval_ms=60_000))


def test_memory_keeps_schemas_and_forgets_rows(tmp_path: Path) -> None:
    async def write(store: Store) -> None:
        committed = await store.commit(posts(1, 2), Origin(Level.ALWAYS, "mysql", b"7"))
        assert store.durable_lsn == committed.lsn and stored_rows(tmp_path) == []
        assert store.positions() == {"mysql": b"7"}

    async def look(store: Store) -> None:
        assert len(store.database.schemas()) == 4 and store.query(Count("posts")) == CountResult(0)
        # A position without its rows would make a follower skip them.
        assert store.positions() == {}
        await store.commit(posts(5))

    run(tmp_path, write, MEMORY)
    run(tmp_path, look)
    assert len(stored_rows(tmp_path)) == 1


def test_memory_refuses_a_store_with_rows_on_disk(tmp_path: Path) -> None:
    async def write(store: Store) -> None:
        await store.commit(posts(1, 2, 3))

    run(tmp_path, write)
    with pytest.raises(SetupError, match="holds 3 rows on disk"):
        Store.open(tmp_path, MEMORY)
    assert len(stored_rows(tmp_path)) == 3


# --- refusals and numbers -----------------------------------------------------------------------------------


def test_a_refused_write_changes_nothing_and_uses_no_lsn(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        before, lsn = contents(store.database), store.lsn
        with pytest.raises(InvalidValue):
            await store.commit([Upsert("posts", [post(1), {"id": "x", "uid": 1, "title": "t"}])])
        with pytest.raises(UnknownTable):
            await store.commit([Upsert("post", [post(1)])])
        assert contents(store.database) == before and store.lsn == lsn

    run(tmp_path, work)


def test_a_write_that_changes_nothing_waits_for_what_it_saw(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        nothing = [Update("posts", NOTHING, {"uid": 1})]
        assert (await store.commit(nothing)).lsn == store.lsn  # nothing pending: at once
        pending = store.submit(posts(1), Origin(Level.INTERVAL))
        committed = await store.commit(nothing)
        assert committed.lsn == pending.lsn and pending.settled

    run(tmp_path, work, StoreOptions(interval_ms=60_000))


def test_a_clean_stop_continues_the_lsns_without_a_gap(tmp_path: Path) -> None:
    seen = []

    async def work(store: Store) -> None:
        assert store.recovered.clean
        seen.append((await store.commit(posts(1))).lsn)

    for _ in range(3):
        run(tmp_path, work)
    assert seen == [2, 3, 4]


def test_current_timestamp_comes_from_the_stores_clock(tmp_path: Path) -> None:
    stamped = TableSchema(
        "stamped",
        (
            Column("id", POSTS.columns[0].type, nullable=False),
            Column("at", ColumnType(Kind.DATETIME, "datetime"), default_now=True),
        ),
        ("id",),
    )

    async def work(store: Store) -> None:
        await store.commit([CreateTable(stamped)])
        await store.commit([Upsert("stamped", [{"id": 1}])])
        assert list(store.database.rows("stamped")) == [b'{"id":1,"at":"2026-01-02 03:04:05"}']

    run(tmp_path, work, StoreOptions(clock=lambda: datetime(2026, 1, 2, 3, 4, 5)))


def test_above_the_memory_limit_writes_are_refused_and_deletes_are_not(tmp_path: Path) -> None:
    async def fill(store: Store) -> None:
        await store.commit(posts(*range(100)))

    async def work(store: Store) -> None:
        with pytest.raises(NoMemory):
            await store.commit(posts(200))
        assert store.query(Count("posts")) == CountResult(100)
        await store.commit([Delete("posts", Filter())])
        assert store.query(Count("posts")) == CountResult(0)

    run(tmp_path, fill)
    run(tmp_path, work, StoreOptions(memory_limit=1))


# --- waiting ------------------------------------------------------------------------------------------------


def test_waiting_for_an_lsn_ends_when_it_is_durable_or_in_time(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.wait_for(store.lsn, 0.01)
        waiter = asyncio.create_task(store.wait_for(store.lsn + 2, 5))
        with pytest.raises(WaitTimeout):
            await store.wait_for(store.lsn + 1, 0.01)
        await store.commit(posts(1))
        assert not waiter.done()
        await store.commit(posts(2))
        await waiter
        assert store.status()["waiting"] == 0

    run(tmp_path, work)


def test_waiting_for_what_never_comes_leaks_nothing(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        for _ in range(20):
            waits = [store.wait_for(10**12, 0.001) for _ in range(10)]
            results = await asyncio.gather(*waits, return_exceptions=True)
            assert all(isinstance(result, WaitTimeout) for result in results)
        assert store.status()["waiting"] <= 20  # type: ignore[operator]  # a figure, an int

    run(tmp_path, work)


def test_a_cancelled_writer_does_not_stop_the_write(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        task = asyncio.create_task(store.commit(posts(1)))
        await asyncio.sleep(0)
        task.cancel()
        await store.commit(posts(2))
        assert len(stored_rows(tmp_path)) == 2

    run(tmp_path, work)


def test_a_long_query_lets_others_run(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.commit([Upsert("posts", [post(number, f"title {number}") for number in range(20_000)])])
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        where = Filter(((Condition("title", Operator.STRRX, "7.*9$"),),))
        counted = await store.run(Count("posts", where))
        task.cancel()
        assert counted == store.query(Count("posts", where)) and turns > 1

    run(tmp_path, work)


# --- restart ------------------------------------------------------------------------------------------------


def test_a_restart_gives_back_exactly_what_was_there(tmp_path: Path) -> None:
    before = {}

    async def write(store: Store) -> None:
        await store.commit([Upsert("counted", [{"id": 2**64 - 1, "title": "last"}, {"id": 2**63, "title": "middle"}])])
        await store.commit([Truncate("counted"), RenameTable("named", "called")])
        await store.commit([Upsert("counted", [{"title": "first"}, {"id": 2**63 + 5, "title": "wrapped"}])])
        await store.commit(
            [
                Upsert(
                    "called",
                    [{"name": "Größe,\\", "hits": 1}, {"name": "", "hits": None}, {"name": "a\x00b", "hits": 2}],
                )
            ]
        )
        await store.commit([Upsert("pairs", [{"a": "x,y", "b": -1, "c": None}, {"a": "x", "b": 2, "c": "ü\n"}])])
        await store.commit(posts(3, 1, -2))
        await store.commit([AddColumn("posts", Column("extra", TEXT, default="d", has_default=True), "id")])
        await store.commit([Update("posts", Filter(((Condition("id", Operator.NUMEQ, "1"),),)), {"extra": "new"})])
        await store.commit([Delete("posts", Filter(((Condition("id", Operator.NUMEQ, "3"),),)))])
        await store.commit([CreateTable(COUNTED.with_(name="gone")), DropTable("gone")])
        before.update(contents(store.database))

    async def compare(store: Store) -> None:
        assert contents(store.database) == before
        assert store.recovered.rows == 9

    run(tmp_path, write)
    run(tmp_path, compare)


def test_rows_and_schemas_that_change_in_one_group_keep_their_order(tmp_path: Path) -> None:
    before = {}
    extra = Column("extra", TEXT, default="d", has_default=True)
    steps = [
        posts(1, 2),
        [AddColumn("posts", extra)],
        [Upsert("posts", [{**post(2), "extra": "own"}])],
        [DropColumn("posts", "title")],
        [Upsert("posts", [{"id": 3, "uid": 3, "extra": "late"}])],
        [Upsert("counted", [{"title": "gone"}])],
        [Truncate("counted")],
        [Upsert("counted", [{"title": "kept"}])],
        [Upsert("named", [{"name": "n", "hits": 1}])],
        [RenameTable("named", "called")],
        [Upsert("called", [{"name": "m", "hits": 2}])],
        [DropTable("pairs")],
    ]

    async def write(store: Store) -> None:
        groups = store.status()["groups"]
        for changes in steps:
            store.submit(changes, Origin(Level.INTERVAL))
        await store.wait_for(store.lsn, 5)
        assert store.status()["groups"] == groups + 1  # type: ignore[operator]  # a figure, an int
        before.update(contents(store.database))

    async def compare(store: Store) -> None:
        assert contents(store.database) == before and len(before) == 3

    run(tmp_path, write, INTERVAL)
    run(tmp_path, compare)
    assert check_store(tmp_path) == []


def test_rows_of_several_layouts_come_back_in_the_newest(tmp_path: Path) -> None:
    async def write(store: Store) -> None:
        await store.commit(posts(1))
        await store.commit([AddColumn("posts", Column("extra", TEXT, default="d", has_default=True))])
        await store.commit([Upsert("posts", [{**post(2), "extra": "own"}])])

    async def look(store: Store) -> None:
        assert list(store.database.rows("posts")) == [
            b'{"id":1,"uid":1,"title":"t","extra":"d"}',
            b'{"id":2,"uid":2,"title":"t","extra":"own"}',
        ]

    run(tmp_path, write)
    assert [("extra" in row) for row in stored_rows(tmp_path)] == [False, True]
    run(tmp_path, look)


def test_generated_keys_are_never_given_twice(tmp_path: Path) -> None:
    keys = []

    async def work(store: Store) -> None:
        keys.append((await store.commit([Upsert("counted", [{"title": "t"}])])).tally.last_insert_id)
        await store.commit([Delete("counted", Filter())])

    for _ in range(3):
        run(tmp_path, work)
    assert keys == [1, 2, 3]


def test_recovery_reports_progress_up_to_all_rows(tmp_path: Path) -> None:
    async def fill(store: Store) -> None:
        await store.commit([Upsert("posts", [post(number) for number in range(50_000)])])

    run(tmp_path, fill)
    seen: list[tuple[int, int]] = []
    Store.open(tmp_path, progress=lambda done, total: seen.append((done, total))).close()
    assert seen == sorted(seen) and len(seen) > 2 and seen[-1] == (50_000, 50_000)


def test_a_closed_store_is_one_file_of_this_user(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.commit(posts(1))

    run(tmp_path / "data", work)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["lock", "tcsql.db"]


def test_a_closed_store_refuses_writes(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(Stopping):
            await store.commit(posts(1))

    run(tmp_path, work)


def test_closing_writes_what_is_pending_and_answers_it(tmp_path: Path) -> None:
    tickets: list[Ticket] = []

    async def work(store: Store) -> None:
        tickets.append(store.submit(posts(1), Origin(Level.INTERVAL)))
        tickets.append(store.submit(posts(2), Origin(Level.MEMORY)))
        store.close()
        assert all(ticket.settled for ticket in tickets)

    run(tmp_path, work, StoreOptions(interval_ms=60_000))
    assert len(stored_rows(tmp_path)) == 2


def test_blocking_commits_work_without_a_loop(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.commit_blocking(create_all())
    committed = store.commit_blocking(posts(1, 2))
    assert (committed.lsn, store.durable_lsn, len(stored_rows(tmp_path))) == (2, 2, 2)
    store.close()


# --- positions and changes ----------------------------------------------------------------------------------


def test_a_position_becomes_durable_with_its_rows(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        ticket = store.submit(posts(1), Origin(source="mysql", position=b"\x00binlog:4"))
        assert store.positions() == {}
        await ticket.wait()
        assert store.positions() == {"mysql": b"\x00binlog:4"}
        await store.commit([], Origin(source="mysql", position=b"5"))
        await store.commit([], Origin(source="other", position=b"1"))

    async def look(store: Store) -> None:
        assert store.positions() == {"mysql": b"5", "other": b"1"}

    run(tmp_path, work)
    run(tmp_path, look)


def test_listeners_hear_of_every_lsn_once_and_in_order(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        heard: list[tuple[int, int]] = []
        stop = store.on_durable(lambda lsn, tickets: heard.extend((lsn, ticket.lsn) for ticket in tickets))
        await asyncio.gather(*(store.commit(posts(number)) for number in range(10)))
        stop()
        await store.commit(posts(11))
        assert [lsn for _, lsn in heard] == list(range(2, 12))
        assert all(durable >= lsn for durable, lsn in heard)

    run(tmp_path, work)


def test_changes_since_an_lsn_say_what_each_batch_did(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.commit(posts(1))
        start = store.lsn
        await store.commit([*posts(1, title="new"), Upsert("named", [{"name": "n", "hits": 1}])])
        await store.commit([Delete("posts", Filter())])
        await store.commit([Truncate("named")])
        one, other = store.database.table_id("posts"), store.database.table_id("named")
        changes = store.changes_since(start)
        assert changes is not None
        old, new = b'{"id":1,"uid":1,"title":"t"}', b'{"id":1,"uid":1,"title":"new"}'
        assert list(changes) == [
            LoggedChange(start + 1, one, 0, ((old, new),)),
            LoggedChange(start + 1, other, 0, ((None, b'{"name":"n","hits":1}'),)),
            LoggedChange(start + 2, one, 0, ((new, None),)),
            LoggedChange(start + 3, other, 0, None),
        ]
        current = store.changes_since(store.lsn)
        assert current is not None and list(current) == []
        assert store.changes_since(store.lsn + 1) is None

    run(tmp_path, work)


def test_changes_survive_a_restart_and_are_gone_beyond_the_bound(tmp_path: Path) -> None:
    async def write(store: Store) -> None:
        for number in range(50):
            await store.commit(posts(number))

    async def look(store: Store) -> None:
        assert store.changes_since(1) is None
        floor = next(lsn for lsn in range(store.lsn) if store.changes_since(lsn) is not None)
        assert store.lsn - 20 <= floor <= store.lsn - 17
        changes = store.changes_since(floor)
        assert changes is not None
        assert [change.lsn for change in changes] == list(range(floor + 1, store.lsn + 1))

    bounded = StoreOptions(change_log=20)
    run(tmp_path, write, bounded)
    run(tmp_path, look, bounded)


def test_a_log_that_was_off_in_between_has_a_gap_and_says_so(tmp_path: Path) -> None:
    lsns = []

    async def write(store: Store) -> None:
        lsns.append((await store.commit(posts(len(lsns)))).lsn)
        if not store.options.change_log:
            assert store.changes_since(lsns[-1] - 1) is None

    off = StoreOptions(change_log=0)
    for options in (None, off, None):
        run(tmp_path, write, options)

    async def look(store: Store) -> None:
        assert store.changes_since(lsns[0] - 1) is None and store.changes_since(lsns[0]) is None
        changes = store.changes_since(lsns[1])
        assert changes is not None and [change.lsn for change in changes] == [lsns[2]]

    run(tmp_path, look)


def test_changes_made_while_rows_were_in_memory_are_a_gap(tmp_path: Path) -> None:
    lsns = []

    async def write(store: Store) -> None:
        lsns.append((await store.commit(posts(1))).lsn)

    run(tmp_path, write, MEMORY)

    async def look(store: Store) -> None:
        assert store.changes_since(lsns[0] - 1) is None

    run(tmp_path, look)


# --- backup -------------------------------------------------------------------------------------------------


def test_a_backup_of_a_running_store_starts_as_a_store_of_its_own(tmp_path: Path) -> None:
    data, restored = tmp_path / "data", tmp_path / "restored"

    async def work(store: Store) -> None:
        await store.commit(posts(1, 2), Origin(source="mysql", position=b"9"))
        before = contents(store.database)
        writing = True

        async def write() -> None:
            number = 100
            while writing:
                number += 1
                await store.commit(posts(number))

        writers = [asyncio.create_task(write()) for _ in range(4)]
        restored.mkdir()
        await asyncio.to_thread(store.backup, restored / "tcsql.db")
        writing = False
        await asyncio.gather(*writers)
        lsn = store.lsn
        assert sorted(path.name for path in restored.iterdir()) == ["tcsql.db"]
        copy = Store.open(restored)
        assert copy.id != store.id and copy.recovered.clean and copy.lsn <= lsn
        assert copy.positions() == {"mysql": b"9"}
        rows = list(copy.database.rows("posts"))
        assert rows[:2] == list(before["posts"][1])
        copy.database.check_invariants()
        copy.close()

    run(data, work)


def test_a_backup_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious")

    async def work(store: Store) -> None:
        with pytest.raises(SetupError, match="exists already"):
            store.backup(tmp_path / "there")
        with pytest.raises(SetupError, match="cannot be written"):
            store.backup(tmp_path / "no" / "such" / "place")

    run(tmp_path / "data", work)
    assert (tmp_path / "there").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "there"]


def test_a_backup_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        store.backup(tmp_path / "copy.db")

    run(tmp_path / "data", work)
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600


def test_the_files_are_their_owners_alone_in_a_directory_that_others_may_enter(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    store = Store.open(tmp_path / "shared")
    store.commit_blocking(create_all())
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "shared").iterdir()}
    assert found == dict.fromkeys(("tcsql.db", "tcsql.db-wal", "tcsql.db-shm", "lock"), 0o600)
    store.close()


# --- threads ------------------------------------------------------------------------------------------------


def test_the_committer_ends_with_the_store(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.commit(posts(1))
        assert any(thread.name == "tcsql-committer" for thread in threading.enumerate())

    run(tmp_path, work)
    assert not any(thread.name == "tcsql-committer" for thread in threading.enumerate())


def test_the_log_is_written_back_before_it_grows_without_bound(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        for start in range(0, 60_000, 1_000):
            await store.commit([Upsert("posts", [post(number, "x" * 150) for number in range(start, start + 1_000)])])
        # 60,000 rows make 13 MB of pages; the log holds 4 MB and what one group adds.
        assert os.path.getsize(tmp_path / "tcsql.db-wal") < 6 << 20

    run(tmp_path, work)


def test_pages_follow_the_state_of_the_store(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.commit(posts(1))
        page = await store.run(Select("posts"))
        assert page == Page(1, [b'{"id":1,"uid":1,"title":"t"}'])

    run(tmp_path, work)
