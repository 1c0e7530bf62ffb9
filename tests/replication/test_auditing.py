"""The continuous audit: what nobody told of is mended in its time, the source asked for no more than was said."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tcsql.engine.database import Database
from tcsql.replication.auditing import STEP_ROWS, Audit
from tcsql.replication.reporting import report
from tcsql.replication.source import ReadKeys, ReadRange
from tcsql.sources import sources_of
from tcsql.storage.store import Store
from tests.mariadb import MariaDB
from tests.replication.fake_source import FakeServer
from tests.replication.following import following as real
from tests.replication.test_follower import caught_up, equal, following, run, server, until


def plant(source: FakeServer, dice: random.Random) -> int:
    """A hundred differences that no trigger tells of: missing here, extra here, changed, swapped."""
    posts = source.rows["posts"]
    keys = dice.sample(sorted(posts), 100)  # type: ignore[type-var]  # keys of one table compare
    for key in keys[:25]:
        del posts[key]
    for number in range(25):
        posts[10_000 + number] = {"id": 10_000 + number, "title": "nobody told", "n": number}
    for key in keys[25:50]:
        posts[key]["n"] = None
    for one, other in zip(keys[50:75], keys[75:], strict=True):
        posts[one]["title"], posts[other]["title"] = posts[other]["title"], posts[one]["title"]
    return 125


def test_a_hundred_planted_differences_are_found_and_mended_within_the_stated_time(tmp_path: Path) -> None:
    source = server(rows=5_000)

    async def body(store: Store) -> None:
        async with following(store, source, copy_rows=1_000, audit_s=1, audit_rows_s=1_000_000) as follower:
            await caught_up(follower, store, source)
            planted = plant(source, random.Random(1))
            await until(lambda: equal(store, source), seconds=6)
            await until(lambda: follower.counts.repaired == planted)
            shown = report(follower, 0.0)["audit"]
            assert shown["counts"] == {"extra": 25, "missing": 25, "different": 75}  # type: ignore[index]  # plain data
            assert {each["kind"] for each in shown["named"]} == {"extra", "missing", "different"}  # type: ignore[index]  # plain data
            rounds = follower.audit.rounds
            await until(lambda: follower.audit.rounds > rounds)
            assert follower.counts.differences == planted
            assert follower.audit.verified_through is not None
            assert follower.state == "following"
            assert not follower.is_stale(follower.fresh_at or 0.0)

    run(tmp_path, body)


def test_rows_that_change_while_they_are_audited_are_no_difference(tmp_path: Path) -> None:
    source = server(rows=3_000)

    async def body(store: Store) -> None:
        async with following(store, source, copy_rows=1_000, audit_s=1, audit_rows_s=1_000_000) as follower:
            await caught_up(follower, store, source)
            number = 0
            while follower.audit.rounds < 2:
                number += 1
                row = {"id": number * 37 % 4_000, "title": f"t{number}", "n": 0}
                source.commit("posts", [row], [number * 11 % 3_000])
                await asyncio.sleep(0.0002)
            assert follower.counts.differences == 0
            assert number > 100

    run(tmp_path, body)


@pytest.mark.parametrize(("options", "most"), [({"audit_s": 0}, 0), ({"audit_s": 1, "audit_rows_s": 2_000}, 3_000)])
def test_the_source_is_asked_for_no_more_than_was_stated(tmp_path: Path, options: dict[str, int], most: int) -> None:
    source = server(rows=5_000)
    asked = 0

    def count(read: ReadRange | ReadKeys) -> None:
        nonlocal asked
        asked += STEP_ROWS

    async def body(store: Store) -> None:
        async with following(store, source, copy_rows=1_000, **options) as follower:
            await caught_up(follower, store, source)
            source.on_read = count
            await asyncio.sleep(1.0)
            assert (asked > 0) is bool(most)
            assert asked <= most
            assert (follower.audit.rounds == 0) is True

    run(tmp_path, body)


def test_an_audit_goes_on_after_a_lost_connection_and_proves_nothing_of_a_table_that_was_out_of_it(
    tmp_path: Path,
) -> None:
    source = server(rows=2_500)

    async def body(store: Store) -> None:
        audit = Audit(100, 10**6, now=lambda: clock[0], wall=lambda: 1_000 + clock[0])
        clock = [0.0]
        async with following(store, source, copy_rows=1_000, audit_s=0) as follower:
            await caught_up(follower, store, source)
        database = store.database
        assert through(audit, database, clock, ["posts", "names"]) == ["posts"] * 6 + ["names"] * 6
        assert (audit.rounds, audit.verified_through) == (1, 1_000.0)
        assert clock[0] == pytest.approx(100, rel=0.35)  # the last stretches of each pass are shorter than a step
        clock[0] += 100
        job = audit.due(["posts", "names"], database)
        assert job is not None
        audit.took(0, 5_000)
        assert through(audit, database, clock, ["names"]) == ["names"] * 6
        assert (audit.rounds, audit.verified_through) == (1, 1_000.0), "not all posts were compared in that round"

    run(tmp_path, body)


def through(audit: Audit, database: Database, clock: list[float], tables: list[str]) -> list[str]:
    """One round, step by step with a clock of our own: which table each step was of."""
    seen = []
    while True:
        job = audit.due(tables, database)
        if job is None:
            if seen and audit.job is None and not audit.report()["compared"]:
                return seen
            clock[0] += 1
            continue
        seen.append(job.name)
        read = job.next_read()
        job.is_done = seen.count(job.name) == 6
        audit.took(read.limit if isinstance(read, ReadRange) else len(read.pkeys), 5_000)


def test_push_is_audited_more_often_unless_somebody_says_otherwise() -> None:
    text = '[source.shop]\nurl = "mysql://me@db/shop"\ntables = ["posts"]\n'
    assert sources_of(text)[0].audit_s == 6_000
    assert sources_of(text + 'mode = "push"')[0].audit_s == 600
    assert sources_of(text + 'mode = "push"\naudit_s = 0')[0].audit_s == 0


def test_what_was_written_while_the_triggers_were_off_is_mended_through_a_real_server(
    any_server: MariaDB, tmp_path: Path
) -> None:
    with any_server.database("audited") as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE posts (id INT PRIMARY KEY, title VARCHAR(40)) ENGINE=InnoDB")
        cursor.executemany(
            "INSERT INTO posts VALUES (%s,%s)", [(number, f"post {number}") for number in range(1, 3_001)]
        )
        with real(any_server, "audited", tmp_path / "node", ["posts"], check_s=3_600, audit_s=2) as node:
            node.assert_equal()
            cursor.execute("SHOW TRIGGERS LIKE 'posts'")
            for trigger in cursor.fetchall():
                cursor.execute(f"DROP TRIGGER {trigger[0]}")
            cursor.execute("DELETE FROM posts WHERE id % 100 = 0")
            cursor.execute("UPDATE posts SET title = 'unseen' WHERE id % 100 = 1")
            cursor.execute("INSERT INTO posts VALUES (5000,'unseen')")
            node.setup()
            assert node.differences() != {}
            node.wait_until_equal(timeout_s=20)
            found = node.status()["audit"]
            assert found["counts"] == {"extra": 30, "different": 30, "missing": 1}
            assert "the audit has repaired" in node.log()
