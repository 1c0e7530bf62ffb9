"""Faults of the disk: what is refused was not done, what was acknowledged stays, reads go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from random import Random

import apsw
import pytest

from tcsql.engine.change import AddColumn, CreateTable, Delete, DropColumn, DropTable, RenameTable, Truncate, Upsert
from tcsql.engine.query import Count, Filter
from tcsql.engine.result import CountResult
from tcsql.engine.schema import Column
from tcsql.errors import NoSpace, OutcomeUnknown, Overloaded, ReadOnly, SetupError, TCSQLError
from tcsql.storage import committer, file, sqlite, wal
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin, Ticket
from tests.storage.faults import Disk, Fault, failing, faulty_disk, no_space
from tests.storage.support import COUNTED, TEXT, Contents, contents, create_all, post, posts

Work = Callable[[Store, Disk], Coroutine[None, None, None]]


@pytest.fixture
def disk() -> Iterator[Disk]:
    with faulty_disk() as disk:
        yield disk


def run(directory: Path, disk: Disk, work: Work, **options: object) -> None:
    async def main() -> None:
        store = Store.open(directory, StoreOptions(vfs=disk.name, **options))  # type: ignore[arg-type]  # by name
        try:
            if not store.database.schemas():
                await store.commit(create_all(), Origin(Level.ALWAYS))
            await work(store, disk)
        finally:
            disk.fault = None
            store.close()

    asyncio.run(main())


def reopened(directory: Path, disk: Disk | None = None) -> Contents:
    """What a later start finds; on a disk of ours it need not wait for the real one."""
    store = Store.open(directory, None if disk is None else StoreOptions(vfs=disk.name))
    held = contents(store.database)
    store.close()
    return held


# --- disk full ----------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_writes_keeps_reads_and_heals_by_itself(tmp_path: Path, disk: Disk) -> None:
    async def work(store: Store, disk: Disk) -> None:
        await store.commit(posts(1, 2, 3))
        before, durable = contents(store.database), store.durable_lsn
        disk.fault = no_space
        for _ in range(3):
            with pytest.raises(NoSpace) as caught:
                await store.commit(posts(3, 4, title="new"))
            assert caught.value.status == 507 and caught.value.hint
            assert contents(store.database) == before and store.durable_lsn == durable
            assert store.query(Count("posts")) == CountResult(3)
        assert store.status()["read_only"] is False and store.status()["refused"] == 3
        disk.fault = None
        committed = await store.commit(posts(5))
        assert committed.lsn == durable + 4  # the refused lsns are not used again
        assert store.query(Count("posts")) == CountResult(4)

    run(tmp_path, disk, work)
    assert len(reopened(tmp_path)["posts"][1]) == 4


def test_everything_pending_is_reverted_newest_first_and_all_are_told(tmp_path: Path, disk: Disk) -> None:
    """Row and schema changes of many kinds on top of each other; then memory equals the file again, exactly."""
    later = Column("later", TEXT, default="d", has_default=True)

    async def work(store: Store, disk: Disk) -> None:
        await store.commit(
            [*posts(*range(20)), Upsert("counted", [{"title": "a"}]), Upsert("named", [{"name": "n", "hits": 1}])]
        )
        before = contents(store.database)
        told: list[TCSQLError] = []
        store.on_reverted(told.append)
        disk.fault = failing("sync", "-wal", apsw.FullError)
        queued = Origin(Level.INTERVAL, "mysql", b"1")
        pile = [
            posts(1, 2, 30, title="x"),
            [Delete("posts", Filter())],
            posts(1, title="y"),
            [AddColumn("posts", later)],
            [Upsert("posts", [{**post(40), "later": "now"}])],
            [DropColumn("posts", "title")],
            [RenameTable("posts", "entries")],
            [CreateTable(COUNTED.with_(name="fresh")), RenameTable("named", "called")],
            [Upsert("fresh", [{"title": "b"}]), Upsert("counted", [{"title": "b"}, {"id": 2**64 - 2, "title": "c"}])],
            [Truncate("counted")],
            [DropTable("called")],
        ]
        tickets = [store.submit(changes, queued) for changes in pile]
        results = await asyncio.gather(
            store.commit([Upsert("entries", [{"id": 9, "uid": 9}])]),
            *(ticket.wait() for ticket in tickets),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [NoSpace] * 12
        assert len({id(result) for result in results}) == 12
        assert contents(store.database) == before
        assert len(told) == 1 and store.positions() == {}
        disk.fault = None
        await store.commit(posts(99))

    run(tmp_path, disk, work, interval_ms=60_000)
    held = reopened(tmp_path)
    assert set(held) == {"posts", "counted", "named", "pairs"} and len(held["posts"][1]) == 21


def test_a_callback_of_a_refused_write_finds_the_reason_and_the_rows_taken_back(tmp_path: Path, disk: Disk) -> None:
    async def work(store: Store, disk: Disk) -> None:
        seen: list[tuple[type, bool, object]] = []
        disk.fault = no_space

        def note(ticket: Ticket) -> None:
            seen.append((type(ticket.error), ticket.settled, store.query(Count("posts"))))

        tickets = [store.submit(posts(number)) for number in (1, 2)]
        for ticket in tickets:
            ticket.on_settled(note)
        for ticket in tickets:
            with pytest.raises(NoSpace):
                await ticket.wait()
        assert seen == [(NoSpace, True, CountResult(0))] * 2
        disk.fault = None

    run(tmp_path, disk, work)


def test_writes_that_arrive_during_a_failing_transaction_are_reverted_too(tmp_path: Path, disk: Disk) -> None:
    async def work(store: Store, disk: Disk) -> None:
        before = contents(store.database)
        disk.fault = no_space
        first = asyncio.create_task(store.commit(posts(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # handed over
        second = store.submit(posts(1, title="built on what is being refused"))
        for waiting in (first, second.wait()):
            with pytest.raises(NoSpace):
                await waiting
        assert contents(store.database) == before

    run(tmp_path, disk, work)


@pytest.mark.parametrize("handed_over", [True, False])
def test_what_was_built_on_refused_rows_is_never_written(tmp_path: Path, disk: Disk, handed_over: bool) -> None:
    """One call fails, and the disk is well again before the loop hears of it."""
    failures = iter([apsw.FullError("planted")])

    def once(operation: str, file: str) -> BaseException | None:
        return next(failures, None) if operation == "write" else None

    async def work(store: Store, disk: Disk) -> None:
        disk.fault = once
        first = store.submit(posts(1))
        store._pipeline._flush()
        time.sleep(0.03)  # the committer fails
        second = store.submit(posts(1, 2, title="built on it"), Origin(Level.INTERVAL))
        if handed_over:
            store._pipeline._flush()
        time.sleep(0.03)  # and would go on
        for ticket in (first, second):
            with pytest.raises(NoSpace):
                await ticket.wait()
        await store.commit(posts(3))

    run(tmp_path, disk, work, interval_ms=60_000)
    assert [row[:7] for row in reopened(tmp_path)["posts"][1]] == [b'{"id":3']


def test_a_store_opens_on_a_full_disk_and_writes_when_there_is_space(tmp_path: Path, disk: Disk) -> None:
    async def fill(store: Store, disk: Disk) -> None:
        await store.commit(posts(1))

    run(tmp_path, disk, fill)

    async def main() -> None:
        disk.fault = no_space
        store = Store.open(tmp_path, StoreOptions(vfs=disk.name))
        assert store.query(Count("posts")) == CountResult(1) and store.status()["last_error"]
        for _ in range(2):
            with pytest.raises(NoSpace):
                await store.commit(posts(2))
        disk.fault = None
        while True:
            try:
                committed = await store.commit(posts(2))
                break
            except NoSpace:  # the first attempt after the space is back renews the reserve of lsns
                await asyncio.sleep(0.01)
        assert committed.lsn > 2 and store.query(Count("posts")) == CountResult(2)
        store.close()

    asyncio.run(main())


def test_running_out_of_lsns_refuses_until_more_are_reserved(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tcsql.storage.fileformat.LSN_RESERVE", 6)

    async def work(store: Store, disk: Disk) -> None:
        disk.fault = no_space
        for _ in range(10):
            with pytest.raises(NoSpace):
                await store.commit(posts(1))
        assert store.lsn <= 12
        disk.fault = None
        with pytest.raises(NoSpace):
            await store.commit(posts(1))
        await asyncio.sleep(0.05)
        for number in range(30):
            await store.commit(posts(number))

    run(tmp_path, disk, work)
    assert len(reopened(tmp_path)["posts"][1]) == 30


def test_a_full_disk_at_a_checkpoint_loses_nothing(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "CHECKPOINT_FRAMES", 10)

    async def work(store: Store, disk: Disk) -> None:
        store._file._checkpoint_at = 10
        disk.fault = failing("write", ".db", apsw.FullError)
        for number in range(40):
            await store.commit(posts(number))
        await asyncio.sleep(0.01)
        assert "no space" in str(store.status()["last_error"]) and store.read_only is None
        disk.fault = None
        await store.commit(posts(41))

    run(tmp_path, disk, work)
    assert len(reopened(tmp_path)["posts"][1]) == 41


# --- I/O errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_an_io_error_makes_the_store_read_only_and_says_so(tmp_path: Path, disk: Disk, operation: str) -> None:
    before: Contents = {}

    async def work(store: Store, disk: Disk) -> None:
        await store.commit(posts(1, 2))
        before.update(contents(store.database))
        disk.fault = failing(operation, "-wal")
        with pytest.raises(ReadOnly) as caught:
            await store.commit(posts(3))
        assert caught.value.status == 503
        disk.fault = None
        with pytest.raises(ReadOnly):
            await store.commit(posts(4))
        assert contents(store.database) == before
        status = store.status()
        assert status["read_only"] is True and "IOError" in str(status["last_error"])

    run(tmp_path, disk, work)
    assert reopened(tmp_path) == before


def test_what_was_refused_does_not_come_back_after_a_crash(tmp_path: Path, disk: Disk) -> None:
    """The sync fails after the commit mark was written: SQLite's own recovery would take the transaction."""
    before: Contents = {}

    async def work(store: Store, disk: Disk) -> None:
        await store.commit(posts(1, 2))
        before.update(contents(store.database))
        disk.fault = failing("sync", "-wal")
        with pytest.raises(ReadOnly):
            await store.commit(posts(3))
        image = tmp_path / "image"
        image.mkdir()
        for name in ("tcsql.db", "tcsql.db-wal"):
            (image / name).write_bytes((tmp_path / "data" / name).read_bytes())

    run(tmp_path / "data", disk, work)
    assert reopened(tmp_path / "image") == before


def test_a_refusal_that_cannot_be_made_sure_is_an_unknown_outcome(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("planted")

    async def work(store: Store, disk: Disk) -> None:
        disk.fault = failing("sync", "-wal")
        monkeypatch.setattr(wal, "cut", broken)
        with pytest.raises(OutcomeUnknown) as caught:
            await store.commit(posts(1))
        assert caught.value.status == 500
        with pytest.raises(ReadOnly):
            await store.commit(posts(1))

    run(tmp_path, disk, work)


def test_an_io_error_at_a_checkpoint_makes_the_store_read_only(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(store: Store, disk: Disk) -> None:
        store._file._checkpoint_at = 1
        disk.fault = failing("sync", ".db")
        await store.commit(posts(1))  # it was durable before the checkpoint began
        await asyncio.sleep(0.05)
        with pytest.raises(ReadOnly):
            await store.commit(posts(2))

    run(tmp_path, disk, work)
    assert len(reopened(tmp_path)["posts"][1]) == 1


@pytest.mark.parametrize("fault", [no_space, failing("sync", "-wal")], ids=["full", "broken"])
def test_a_fault_while_closing_refuses_what_was_pending_and_frees_the_directory(
    tmp_path: Path, disk: Disk, fault: Fault
) -> None:
    async def main() -> None:
        store = Store.open(tmp_path, StoreOptions(vfs=disk.name, interval_ms=60_000))
        await store.commit(create_all())
        await store.commit(posts(1))
        lost = store.submit(posts(2), Origin(Level.INTERVAL))
        disk.fault = fault
        store.close()
        with pytest.raises(TCSQLError):
            await lost.wait()

    asyncio.run(main())
    disk.fault = None
    assert len(reopened(tmp_path)["posts"][1]) == 1


def test_a_disk_that_breaks_at_the_very_end_is_reported(tmp_path: Path, disk: Disk) -> None:
    store = Store.open(tmp_path, StoreOptions(vfs=disk.name))
    store.commit_blocking(create_all())
    disk.fault = failing("sync", ".db")
    with pytest.raises(ReadOnly):
        store.close()
    disk.fault = None
    assert len(reopened(tmp_path)) == 4


def test_a_fault_while_opening_is_a_setup_error_and_changes_nothing(tmp_path: Path, disk: Disk) -> None:
    async def fill(store: Store, disk: Disk) -> None:
        await store.commit(posts(1))

    run(tmp_path, disk, fill)
    disk.fault = failing("write", "-wal")
    with pytest.raises(SetupError):
        Store.open(tmp_path, StoreOptions(vfs=disk.name))
    disk.fault = None
    assert len(reopened(tmp_path)["posts"][1]) == 1


def test_another_program_that_locks_the_file_is_no_lasting_trouble(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_MS", 50)

    async def work(store: Store, disk: Disk) -> None:
        other = apsw.Connection(str(tmp_path / "tcsql.db"))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Overloaded) as caught:
            await store.commit(posts(1))
        assert caught.value.status == 503
        other.execute("ROLLBACK")
        other.close()
        await store.commit(posts(1))

    run(tmp_path, disk, work)


def test_blocking_commits_are_reverted_alike(tmp_path: Path, disk: Disk) -> None:
    store = Store.open(tmp_path, StoreOptions(vfs=disk.name))
    store.commit_blocking(create_all())
    before = contents(store.database)
    disk.fault = no_space
    with pytest.raises(NoSpace):
        store.commit_blocking(posts(1))
    assert contents(store.database) == before
    disk.fault = None
    store.commit_blocking(posts(1))
    store.close()


def test_in_memory_a_schema_change_that_cannot_be_kept_is_not_made(tmp_path: Path, disk: Disk) -> None:
    async def work(store: Store, disk: Disk) -> None:
        await store.commit(posts(1))
        disk.fault = no_space
        before = contents(store.database)
        with pytest.raises(NoSpace):
            await store.commit([DropTable("posts")])
        assert contents(store.database) == before
        await store.commit(posts(2))  # rows need no disk
        disk.fault = None
        await store.commit([DropTable("named")])

    run(tmp_path, disk, work, durability=Level.MEMORY)
    assert set(reopened(tmp_path)) == {"posts", "counted", "pairs"}


def test_a_bug_in_the_committer_leaves_nobody_waiting(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(store: Store, disk: Disk) -> None:
        await store.commit(posts(1))

        def bug(*_: object) -> None:
            raise AssertionError("planted")

        monkeypatch.setattr("tcsql.storage.transaction.Transaction.gather", bug)
        with pytest.raises(OutcomeUnknown):
            await store.commit(posts(2))
        with pytest.raises(ReadOnly):
            await store.commit(posts(3))

    seen = []
    monkeypatch.setattr(committer.threading, "excepthook", lambda args: seen.append(args.exc_type))
    run(tmp_path, disk, work)
    assert seen == [AssertionError]
    assert len(reopened(tmp_path)["posts"][1]) == 1


def test_a_bug_in_taking_back_leaves_nobody_waiting_and_no_more_is_written(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise AssertionError("planted")

    async def work(store: Store, disk: Disk) -> None:
        seen: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
        monkeypatch.setattr(store.database, "revert", bug)
        disk.fault = no_space
        with pytest.raises(OutcomeUnknown):
            await store.commit(posts(1))
        disk.fault = None
        with pytest.raises(ReadOnly):
            await store.commit(posts(2))
        assert [type(error) for error in seen] == [AssertionError]

    run(tmp_path, disk, work)
    assert reopened(tmp_path)["posts"][1] == ()


# --- every single call --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError], ids=["full", "io"])
@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_fault_at_any_call_loses_nothing_acknowledged(
    tmp_path: Path, disk: Disk, operation: str, error: type[apsw.Error]
) -> None:
    """The n-th call fails, for every n that a little life has; then the power goes out, whatever was synced stays."""
    random = Random(operation + error.__name__)
    for after in range(200):
        directory = tmp_path / f"{after}"
        disk.images.clear()
        survived = asyncio.run(_little_life(directory, disk, failing(operation, "", error, after)))
        if survived is None:
            continue
        acknowledged, is_over = survived
        held = reopened(disk.power_cut(tmp_path / f"{after}-cut", random), disk)
        numbers = {row.split(b",")[0] for row in held["posts"][1]} if "posts" in held else set()
        assert {b'{"id":%d' % number for number in acknowledged} <= numbers, after
        assert len(numbers) <= len(acknowledged), after
        if is_over:
            break
    assert after > 10 and is_over


async def _little_life(directory: Path, disk: Disk, fault: Fault) -> tuple[list[int], bool] | None:
    """Which posts were acknowledged, and whether the fault never came; None: the store could not be made."""
    hit = False

    def watched(operation: str, file: str) -> BaseException | None:
        nonlocal hit
        error = fault(operation, file)
        hit = hit or error is not None
        return error

    disk.fault = watched
    acknowledged = []
    try:
        store = Store.open(directory, StoreOptions(vfs=disk.name))
    except TCSQLError:
        disk.fault = None
        return None
    store._file._checkpoint_at = 8
    try:
        for number in range(12):
            try:
                await store.commit(create_all() if not number else posts(number))
                acknowledged.append(number)
            except TCSQLError:
                pass
    finally:
        disk.fault = None
        before_close = dict(disk.images)
        assert before_close
        if store.read_only is None:
            store.condition.read_only = ReadOnly("the power goes out here, not after a proper close")
        store.close()
    return [number for number in acknowledged if number], not hit
