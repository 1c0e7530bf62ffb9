"""The follower against a server that lives in memory: every history ends with equal tables, and nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from tcsql.engine.change import CreateIndex, CreateTable, Delete, DropIndex, DropTable, Upsert
from tcsql.engine.query import Filter
from tcsql.engine.schema import IndexDef
from tcsql.errors import FollowedTable, SourceAway, SourceFault
from tcsql.replication.follower import Follower
from tcsql.replication.followers import Followers
from tcsql.replication.position import Phase, Position
from tcsql.replication.reporting import report
from tcsql.replication.source import ReadKeys, ReadRange
from tcsql.sources import FollowedTable as Table
from tcsql.sources import SourceSettings
from tcsql.storage.store import Store
from tests.replication.fake_source import FakeServer, FakeSource, schema_of

POSTS = "CREATE TABLE posts (id int PRIMARY KEY, title varchar(80), n int, KEY (n))"
NAMES = "CREATE TABLE names (name varchar(20) PRIMARY KEY, n int)"


def server(rows: int = 0) -> FakeServer:
    made = FakeServer({"posts": schema_of(POSTS), "names": schema_of(NAMES)})
    made.commit("posts", [{"id": number, "title": f"post {number}", "n": number % 7} for number in range(rows)])
    made.commit("names", [{"name": f"n{number}", "n": number} for number in range(rows)])
    made.noted.clear()  # they were there before the triggers
    return made


def settings(**options: Any) -> SourceSettings:
    tables = (Table(name="posts"), Table(name="names"))
    fixed: dict[str, Any] = {
        "name": "shop",
        "url": "mysql://x@y/shop",
        "tables": tables,
        "poll_ms": 1,
        "copy_rows": 100,
    }
    return SourceSettings(**{**fixed, **options})


def held(store: Store, table: str) -> list[dict[str, Any]]:
    return [orjson.loads(row) for row in store.database.rows(table)]


def equal(store: Store, source: FakeServer) -> bool:
    tables = {schema.name for schema in store.database.schemas()}
    return all(
        table in tables and held(store, table) == [rows[key] for key in sorted(rows)]  # type: ignore[type-var]  # keys of one table compare
        for table, rows in source.rows.items()
    )


@asynccontextmanager
async def following(store: Store, source: FakeServer, **options: Any) -> AsyncIterator[Follower]:
    follower = Follower(settings(**options), store, lambda: FakeSource(source))
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


async def caught_up(follower: Follower, store: Store, source: FakeServer) -> None:
    await until(lambda: follower.state == "following" and not source.noted and equal(store, source))


def run(directory: Path, body: Callable[[Store], Awaitable[None]]) -> None:
    async def main() -> None:
        store = Store.open(directory)
        try:
            await body(store)
        finally:
            store.close()

    asyncio.run(main())


def test_a_first_copy_and_what_comes_later_arrive(tmp_path: Path) -> None:
    source = server(rows=250)

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            source.commit("posts", [{"id": 7, "title": "changed", "n": 1}], deletes=[9])
            source.commit("names", [{"name": "ä", "n": None}], deletes=["n3"])
            await caught_up(follower, store, source)
            status = report(follower, 0.0)
            assert [table["state"] for table in status["tables"]] == ["following"] * 2  # type: ignore[attr-defined]  # plain data

    run(tmp_path, body)


def test_changes_during_the_copy_are_not_lost(tmp_path: Path) -> None:
    source = server(rows=900)
    dice = random.Random(5)

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            while follower.state != "following":
                number = dice.randrange(1200)
                source.commit("posts", [{"id": number, "title": "during", "n": number}], [dice.randrange(900)])
                source.commit("names", [{"name": f"n{number}", "n": -1}], [f"n{dice.randrange(900)}"])
                await asyncio.sleep(0)
            await caught_up(follower, store, source)

    run(tmp_path, body)


@pytest.mark.parametrize("seed", range(8))
def test_random_histories_with_stops_and_faults_end_equal(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    source = server(rows=dice.choice([0, 30, 400]))
    source.most_events = dice.choice([3, 50_000])

    async def body(store: Store) -> None:
        for _ in range(6):
            async with following(store, source, copy_rows=100) as follower:
                for _ in range(dice.randrange(40)):
                    table = dice.choice(["posts", "names"])
                    number = dice.randrange(60)
                    key = number if table == "posts" else f"n{number}"
                    row = {"id": number, "title": str(dice.random()), "n": dice.choice([None, 1, 2]), "name": key}
                    source.commit(table, [row] if dice.random() < 0.7 else (), [key] if dice.random() < 0.4 else ())
                    if dice.random() < 0.1:
                        source.faults.append(SourceAway("gone"))
                        follower._wake.set()
                    if dice.random() < 0.05:
                        source.incarnation += "x"
                        follower.recopy(["names"])
                    await asyncio.sleep(dice.choice([0, 0, 0.001]))
                    follower._wake.set()  # no need to wait for the pause after a fault
        source.faults.clear()
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            store.database.check_invariants()

    run(tmp_path, body)
    run(tmp_path, lambda store: asyncio.sleep(0, _require(equal(store, source))))


def _require(condition: bool) -> None:
    assert condition


def test_a_copy_goes_on_where_it_was(tmp_path: Path) -> None:
    source = server(rows=1000)

    async def first(store: Store) -> None:
        async with following(store, source):
            await until(lambda: len(store.database.schemas()) == 2 and len(store.database.table("posts")) >= 300)

    async def second(store: Store) -> None:
        before = Position.decode(store.positions()["shop"]).tables["posts"]
        assert before.phase is Phase.COPY
        assert 300 <= before.copied < 1000
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            assert follower.position.tables["posts"].copied == 1000, "rows were copied twice"

    run(tmp_path, first)
    run(tmp_path, second)


def test_rows_that_were_here_before_are_swept(tmp_path: Path) -> None:
    source = server(rows=300)

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            for key in range(0, 300, 3):  # without a note: as TRUNCATE and a new load would
                del source.rows["posts"][key]
            source.rows["posts"][1] = {"id": 1, "title": "swapped", "n": 0}
            source.incarnation = "2"
            follower.recopy([])
            follower.recopies.add("names")
            await caught_up(follower, store, source)

    run(tmp_path, body)


def test_a_table_emptied_without_a_row_event_is_empty_here_too(tmp_path: Path) -> None:
    source = server(rows=50)

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            await caught_up(follower, store, source)
            source.rows["posts"].clear()
            source.incarnation = "2"
            await caught_up(follower, store, source)

    run(tmp_path, body)


def test_a_copy_that_would_remove_most_rows_asks_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = server(rows=10)

    async def body(store: Store) -> None:
        store.commit_blocking([*created_all(source)])
        store.commit_blocking([Upsert("posts", [{"id": number} for number in range(5, 500)])])
        async with following(store, source) as follower:
            await until(lambda: follower.state == "asking")
            assert "accept shop" in (follower.remedy or "")
            for _ in range(3):
                taken = source.looked
                follower._wake.set()
                await until(lambda taken=taken: source.looked > taken)  # type: ignore[misc]  # mypy infers no type for a lambda's default
            assert sum("is asking" in record.getMessage() for record in caplog.records) == 1
            assert len(store.database.table("posts")) == 495, "nothing may be touched before the answer"
            follower.accept()
            await caught_up(follower, store, source)

    run(tmp_path, body)


def created_all(source: FakeServer) -> list[Any]:
    return [CreateTable(schema) for schema in source.schemas.values()]


def test_another_server_stops_the_follower_until_somebody_says_yes(tmp_path: Path) -> None:
    source = server(rows=20)

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            source.identity = "server-2"
            source.rows["posts"].pop(3)
            source.faults.append(SourceAway("gone"))
            await until(lambda: follower.state == "stopped")
            assert "another server" in (follower.reason or "")
            assert len(store.database.table("posts")) == 20
            follower.accept()
            await caught_up(follower, store, source)

    run(tmp_path, body)


def test_lost_triggers_block_a_table_and_its_return_copies_it_anew(tmp_path: Path) -> None:
    source = server(rows=40)

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            await caught_up(follower, store, source)
            source.problem["posts"] = "the triggers are missing"
            await until(lambda: "posts" in follower.blocked)
            assert follower.is_stale(0.0)
            source.rows["posts"][999] = {"id": 999, "title": "unnoted", "n": 0}
            del source.rows["posts"][4]
            source.commit("names", [{"name": "other", "n": 1}])
            await until(lambda: "other" in [row["name"] for row in held(store, "names")])
            assert len(store.database.table("posts")) == 40, "what is held goes on answering"
            del source.problem["posts"]
            await caught_up(follower, store, source)

    run(tmp_path, body)


def test_verification_names_planted_differences_and_repairs_them_when_asked(tmp_path: Path) -> None:
    source = server(rows=5000)

    async def body(store: Store) -> None:
        async with following(store, source, copy_rows=1000) as follower:
            await caught_up(follower, store, source)
            source.rows["posts"][17]["title"] = "different"
            del source.rows["posts"][4999]
            source.rows["posts"][6000] = {"id": 6000, "title": "missing here", "n": 1}
            for repair in (False, True):
                assert follower.verify(["posts", "names"], repair)
                assert not follower.verify(["posts"], repair), "one at a time"
                found = follower.verification
                assert found is not None
                await until(lambda found=found: found.job is None)  # type: ignore[misc]  # mypy infers no type for a lambda's default
                report = found.report()
                assert report["state"] == "done"
                assert report["rows"] == 10_000
                named = sorted((row["pkey"], row["kind"], row["columns"]) for row in report["named"])  # type: ignore[attr-defined]  # plain data
                assert named == [("17", "different", ("title",)), ("4999", "extra", ()), ("6000", "missing", ())]
                assert equal(store, source) is repair
            assert follower.verify(["posts", "names"], repair=False)
            await until(lambda: follower.verification is not None and follower.verification.job is None)
            assert follower.verification is not None
            assert follower.verification.differing == 0

    run(tmp_path, body)


def test_rows_that_change_while_they_are_verified_are_no_difference(tmp_path: Path) -> None:
    source = server(rows=4000)

    async def body(store: Store) -> None:
        async with following(store, source, copy_rows=1000) as follower:
            await caught_up(follower, store, source)
            assert follower.verify(["posts", "names"], repair=False)
            found = follower.verification
            assert found is not None
            number = 0
            while found.job is not None:
                number += 1
                source.commit(
                    "posts", [{"id": number * 37 % 5000, "title": f"t{number}", "n": 0}], [number * 11 % 4000]
                )
                await asyncio.sleep(0)
            assert found.differing == 0
            assert number > 3

    run(tmp_path, body)


def test_nothing_is_acknowledged_before_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = server(rows=5)

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            enqueue = store.enqueue
            refused = 0

            async def fail(*arguments: Any) -> Any:
                nonlocal refused
                if refused < 3:
                    refused += 1
                    raise SourceAway("as if the disk had been full")
                return await enqueue(*arguments)

            monkeypatch.setattr(store, "enqueue", fail)
            source.commit("posts", [{"id": 1, "title": "kept", "n": 1}])
            await until(lambda: refused == 3, 20)
            assert source.noted or held(store, "posts")[1]["title"] == "kept"
            await caught_up(follower, store, source)

    run(tmp_path, body)


def test_what_a_crash_of_the_source_took_back_is_taken_back_here(tmp_path: Path) -> None:
    source = server(rows=2500)
    source.started_s = 1000.0

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            before = dict(source.rows["posts"][5])
            source.commit("posts", [{"id": 5, "title": "seen, and lost with the log", "n": 0}], [6])
            kept = source.rows["posts"].get(6) or {"id": 6, "title": "post 6", "n": 6}
            await caught_up(follower, store, source)
            source.rows["posts"] |= {5: before, 6: kept}
            source.started_s = 1010.0
            source.faults.append(SourceAway("killed"))
            await caught_up(follower, store, source)
            await until(lambda: not follower.position.unsure)
            assert follower.counts.repaired == 2
        assert Position.decode(store.positions()["shop"]).started_s == 1010.0

    run(tmp_path, body)


def test_an_audit_that_was_interrupted_is_made_after_the_restart(tmp_path: Path) -> None:
    source = server(rows=2500)
    source.started_s = 1000.0

    async def first(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
        source.rows["names"]["n7"] = {"name": "n7", "n": -5}
        source.started_s = 2000.0
        async with following(store, source) as follower:
            await until(lambda: bool(follower.position.unsure))

    async def second(store: Store) -> None:
        assert not equal(store, source)
        async with following(store, source) as follower:
            await caught_up(follower, store, source)

    run(tmp_path, first)
    run(tmp_path, second)


@pytest.mark.parametrize("copies", [True, False])
def test_what_is_missed_while_rows_are_compared_is_compared_again(tmp_path: Path, copies: bool) -> None:
    """A row of a stretch that has been read changes, and nobody is told but that something was missed."""
    source = server(5_000)

    def miss(read: ReadRange | ReadKeys) -> None:
        if isinstance(read, ReadRange) and read.after is not None and source.rows["posts"][0]["title"] != "missed":
            source.rows["posts"][0] = {**source.rows["posts"][0], "title": "missed"}
            source.unsure = ["posts"]

    async def body(store: Store) -> None:
        if copies:
            source.on_read = miss
        async with following(store, source, copy_rows=1_000) as follower:
            if not copies:
                await caught_up(follower, store, source)
                source.on_read = miss
                source.unsure = ["posts"]
            await until(lambda: source.rows["posts"][0]["title"] == "missed")
            await until(lambda: equal(store, source))

    run(tmp_path, body)


def test_what_is_missed_while_a_comparison_waits_for_a_copy_is_compared_again(tmp_path: Path) -> None:
    """The table that is compared is not the one that is read when it is told that something was missed."""
    source = server(5_000)

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)

            def miss(read: ReadRange | ReadKeys) -> None:
                if (
                    read.table == "posts"
                    and isinstance(read, ReadRange)
                    and source.rows["posts"][0]["title"] == "post 0"
                ):
                    follower.recopy(["names"])  # goes before the rest of the comparison
                if read.table == "names" and source.rows["posts"][0]["title"] == "post 0":
                    source.rows["posts"][0] = {**source.rows["posts"][0], "title": "missed"}
                    source.unsure = ["posts"]

            source.on_read = miss
            source.unsure = ["posts"]
            await until(lambda: source.rows["posts"][0]["title"] == "missed")
            await until(lambda: equal(store, source))

    run(tmp_path, body)


def test_each_change_of_state_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = server(rows=5)
    caplog.set_level(logging.WARNING, "tcsql.replication")

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            caplog.clear()
            source.faults += [SourceAway("the server has gone")] * 4
            await until(lambda: not source.faults)
            await caught_up(follower, store, source)

    run(tmp_path, body)
    assert [record.getMessage() for record in caplog.records] == [
        "source shop is away: the server has gone",
        "source shop is following",
    ]


def test_a_fault_that_a_person_must_mend_is_shown_with_its_remedy(tmp_path: Path) -> None:
    source = server()
    source.faults = [SourceFault("access denied", "GRANT SELECT ON shop.* TO tcsql")]

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await until(lambda: follower.state == "stopped")
            assert report(follower, 0.0)["hint"] == "GRANT SELECT ON shop.* TO tcsql"
            follower.accept()  # wakes it
            await until(lambda: follower.state == "following")

    run(tmp_path, body)


def test_a_bug_shows_as_one_and_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = server(rows=3)

    async def body(store: Store) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(FakeSource, "tables", lambda self: 1 / 0)
            follower = Follower(settings(), store, lambda: FakeSource(source))
            task = asyncio.create_task(follower.run())
            await until(lambda: follower.state == "failed")
            assert follower.is_stale(0.0)
            assert "ZeroDivisionError" in (follower.reason or "")
        follower.accept()  # wakes it
        await caught_up(follower, store, source)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(tmp_path, body)


def test_a_backlog_says_that_it_is_one_before_its_first_piece_shows(tmp_path: Path) -> None:
    source = server(rows=10)

    async def body(store: Store) -> None:
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
            seen: set[tuple[str, bool]] = set()
            store.on_durable(lambda _lsn, _tickets: seen.add((follower.state, follower.is_stale(time.monotonic()))))
            source.commit("posts", [{"id": number, "title": "many", "n": 1} for number in range(7_000)])
            await caught_up(follower, store, source)
            assert seen == {("catching up", True)}
            assert not follower.is_stale(time.monotonic())

    run(tmp_path, body)


def test_a_table_with_other_columns_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    source = server(rows=3)

    async def body(store: Store) -> None:
        store.commit_blocking([created("CREATE TABLE posts (id int PRIMARY KEY, other int)")])
        store.commit_blocking([Upsert("posts", [{"id": 1, "other": 2}])])
        async with following(store, source) as follower:
            await until(lambda: "posts" in follower.blocked and follower.state == "following")
            assert held(store, "posts") == [{"id": 1, "other": 2}]
            await store.commit([DropTable("posts")])
            follower.recopy([])
            follower.recopies.add("posts")
            await caught_up(follower, store, source)

    run(tmp_path, body)


def created(sql: str) -> Any:
    return CreateTable(schema_of(sql))


def test_a_table_that_will_not_fit_is_refused_before_its_copy_begins(tmp_path: Path) -> None:
    source = server(rows=5)

    async def body(store: Store) -> None:
        source.needs = store.budget.limit_bytes * 2
        async with following(store, source, check_s=0) as follower:
            await until(lambda: follower.state == "following")
            assert follower.blocked.keys() == {"posts", "names"}
            assert "memory_limit" in follower.blocked["names"].remedy
            assert not store.database.schemas()
            source.needs = 1000
            await caught_up(follower, store, source)

    run(tmp_path, body)


def test_the_right_to_see_table_ids_may_come_and_go(tmp_path: Path) -> None:
    source = server(rows=5)

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            await caught_up(follower, store, source)
            for incarnation in ("", "1", ""):
                source.incarnation = incarnation
                taken = source.looked
                await until(lambda taken=taken: source.looked > taken + 2)  # type: ignore[misc]  # mypy infers no type for a lambda's default
            assert follower.position.tables["posts"].phase is Phase.DONE
            source.rows["posts"].clear()
            source.incarnation = "2"
            await caught_up(follower, store, source)

    run(tmp_path, body)


WIDER = "CREATE TABLE posts (id int PRIMARY KEY, extra int, title varchar(80), KEY (extra))"


def widen(source: FakeServer) -> None:
    """One column goes, another comes in the middle, at the source."""
    source.schemas["posts"] = schema_of(WIDER)
    for row in source.rows["posts"].values():
        row["extra"] = 5
        row.pop("n", None)


def test_while_columns_change_the_old_list_goes_on_answering_and_says_that_it_is_stale(tmp_path: Path) -> None:
    source = server(rows=500)
    seen: set[tuple[bool, bool, str]] = set()

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            await caught_up(follower, store, source)
            await store.commit([CreateIndex("posts", IndexDef("by_title", ("title",)))])
            await store.commit([CreateIndex("posts", IndexDef("gone_with_its_column", ("n", "title")))])
            before = held(store, "posts")

            def look(read: ReadRange | ReadKeys) -> None:
                seen.add((held(store, "posts") == before, follower.is_stale(time.monotonic()), follower.state))
                if len(seen) == 1:
                    source.commit("posts", [{"id": 7, "title": "changed meanwhile", "extra": 1}], deletes=[9])

            source.on_read = look
            widen(source)
            await caught_up(follower, store, source)
            assert {(True, True, "copying")} == {each for each in seen if each[2] == "copying"}
            schema = store.database.schema("posts")
            assert schema.names == ("id", "extra", "title")
            assert {index.columns for index in schema.indexes} == {("extra",), ("title",)}
            assert {each.name for each in store.database.schemas()} == {"names", "posts"}
            assert report(follower, 0.0)["tables"][0].keys().isdisjoint({"copied_into"})  # type: ignore[index]  # plain data

    run(tmp_path, body)


def test_an_index_that_is_made_at_the_source_is_made_here_and_one_that_is_dropped_there_stays(tmp_path: Path) -> None:
    source = server(rows=50)

    def columns(store: Store) -> list[tuple[str, ...]]:
        return sorted(index.columns for index in store.database.schema("posts").indexes)

    def alter(keys: str) -> None:
        source.schemas["posts"] = schema_of(f"CREATE TABLE posts (id int PRIMARY KEY, title varchar(80), n int{keys})")

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            await caught_up(follower, store, source)
            await store.commit([CreateIndex("posts", IndexDef("mine", ("n", "title")))])
            alter(", KEY (n), KEY by_title (title), KEY theirs (n, title)")
            await until(lambda: columns(store) == [("n",), ("n", "title"), ("title",)])
            await store.commit([DropIndex("posts", "by_title")])  # made there once, not wanted here
            alter(", KEY by_title (title), KEY later (title, n)")
            await until(lambda: columns(store) == [("n",), ("n", "title"), ("title", "n")])
            assert not follower.is_stale(time.monotonic()), "rows are not copied for it"
        alter(", KEY by_title (title), KEY later (title, n), KEY meanwhile (n, id)")
        async with following(store, source) as follower:
            await until(lambda: ("n", "id") in columns(store))
            await caught_up(follower, store, source)
        assert "by_title" not in {index.name for index in store.database.schema("posts").indexes}

    run(tmp_path, body)


def test_a_copy_beside_the_old_list_goes_on_after_a_stop_or_begins_anew_when_columns_change_again(
    tmp_path: Path,
) -> None:
    source = server(rows=500)

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            await caught_up(follower, store, source)
        widen(source)
        reads: list[ReadRange | ReadKeys] = []
        for _ in range(3):  # each time stopped in the middle
            async with following(store, source, copy_rows=20) as follower:
                source.on_read = reads.append
                await until(lambda: len(reads) > 3)
                assert "posts__next" in {schema.name for schema in store.database.schemas()}
                with pytest.raises(FollowedTable):
                    await store.commit([Upsert("posts__next", [{"id": 1}])])
            reads.clear()
        assert store.database.schema("posts").names == ("id", "title", "n")
        assert len(store.database.table("posts__next")) >= 120
        source.schemas["posts"] = schema_of("CREATE TABLE posts (id int PRIMARY KEY, title varchar(80))")
        for row in source.rows["posts"].values():
            row.pop("extra")
        async with following(store, source) as follower:
            await caught_up(follower, store, source)
        assert {each.name for each in store.database.schemas()} == {"names", "posts"}

    run(tmp_path, body)


def test_columns_that_are_again_what_they_were_and_tables_no_longer_followed_leave_nothing_beside(
    tmp_path: Path,
) -> None:
    source = server(rows=300)
    old = source.schemas["posts"]

    async def halfway(store: Store) -> None:
        widen(source)
        reads: list[ReadRange | ReadKeys] = []
        source.on_read = reads.append
        async with following(store, source, copy_rows=20, check_s=0):
            await until(lambda: len(reads) > 3)

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            await caught_up(follower, store, source)
        await halfway(store)
        source.schemas["posts"] = old
        for row in source.rows["posts"].values():
            row["n"] = row.pop("extra")
        async with following(store, source, check_s=0) as follower:
            await caught_up(follower, store, source)
        assert {each.name for each in store.database.schemas()} == {"names", "posts"}
        await halfway(store)
        del source.schemas["posts"]
        async with following(store, source, tables=(Table(name="names"),)) as follower:
            await until(lambda: follower.state == "following")
        assert {each.name for each in store.database.schemas()} == {"names", "posts"}

    run(tmp_path, body)


def test_without_room_for_two_a_table_whose_columns_change_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = server(rows=100)

    async def body(store: Store) -> None:
        async with following(store, source, check_s=0) as follower:
            await caught_up(follower, store, source)
        widen(source)
        monkeypatch.setattr(store.budget, "limit_bytes", store.database.memory_bytes)
        source.needs = 1
        reads: list[set[str]] = []
        source.on_read = lambda read: reads.append({schema.name for schema in store.database.schemas()})
        async with following(store, source, check_s=0):
            await until(lambda: bool(reads))
        assert reads[0] == {"posts", "names"}
        assert store.database.schema("posts").names == ("id", "extra", "title")

    run(tmp_path, body)


def test_clients_cannot_write_to_a_followed_table_but_may_index_it(tmp_path: Path) -> None:
    source = server(rows=3)

    async def body(store: Store) -> None:
        followers = Followers([settings()], store, tmp_path, lambda _settings, _base: FakeSource(source))
        followers.start()
        try:
            await until(lambda: followers.status()[0]["state"] == "following")
            with pytest.raises(FollowedTable):
                await store.commit([Upsert("posts", [{"id": 1}])])
            with pytest.raises(FollowedTable):
                await store.commit([Delete("names", Filter())])
            await store.commit([CreateIndex("posts", IndexDef("by_title", ("title",)))])
            freshness = followers.freshness()
            assert freshness is not None
            assert freshness[0] is not None
            assert freshness[1] == ()
        finally:
            await followers.stop()
        assert Position.decode(store.positions()["shop"]).clean

    run(tmp_path, body)
