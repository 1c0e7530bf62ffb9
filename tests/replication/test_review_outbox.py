"""What is lost at the source itself, between two looks: an outbox that was emptied, triggers that were away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tcsql.replication.reconciling import merged_incarnation
from tcsql.replication.source import TableState
from tcsql.replication.triggers import outbox_sql, trigger_stem
from tests.mariadb import MariaDB
from tests.replication.polling import Shop, shop

POSTS = "CREATE TABLE posts (id INT PRIMARY KEY, n INT) ENGINE=InnoDB"
WORDS = "CREATE TABLE words (word VARCHAR(20) NOT NULL PRIMARY KEY) ENGINE=InnoDB"


@pytest.fixture
def at(any_server: MariaDB) -> Iterator[Shop]:
    with shop(any_server, POSTS, WORDS) as opened:
        yield opened


@pytest.mark.parametrize(
    "emptied", [("TRUNCATE TABLE tcsql_outbox",), ("DROP TABLE tcsql_outbox", outbox_sql("tcsql_outbox"))]
)
@pytest.mark.parametrize("is_open", [True, False])
def test_an_outbox_that_was_emptied_makes_all_tables_unsure(at: Shop, emptied: tuple[str, ...], is_open: bool) -> None:
    position = b""
    for number in range(5):
        at.write(f"INSERT INTO posts VALUES ({number}, 1)")
        step = at.step()
        position = step.position or position
        assert not step.unsure
    at.write("INSERT INTO posts VALUES (77, 1)", *emptied)
    if is_open:
        at.source._beat_at = 0.0
    else:
        at.source.close()
        at.source.open(position)
        at.source.tables()
        at.source.follow(["posts", "words"])
    step = at.step()
    assert set(step.unsure) == {"posts", "words"}
    at.source._beat_at = 0.0
    assert not at.step().unsure, "told once"
    at.source.close()
    at.source.open(step.position)
    at.source.tables()
    at.source.follow(["posts", "words"])
    assert not at.step().unsure, "the position is one of the new outbox"


def test_a_position_of_another_mode_is_none_of_the_outbox(at: Shop) -> None:
    at.source.close()
    at.source.open(b"0-1-7")
    at.source.tables()
    at.source.follow(["posts", "words"])
    assert not at.step().unsure


def test_late_commits_rollbacks_and_rebuilds_are_no_emptied_outbox(at: Shop) -> None:
    position = b""
    with at.another() as late:
        late.query("START TRANSACTION")
        late.query("INSERT INTO posts VALUES (1, 1)")
        at.write("INSERT INTO posts VALUES (2, 1)")
        for _ in range(3):
            at.source._beat_at = 0.0
            step = at.step()
            position = step.position or position
            assert not step.unsure
        late.query("COMMIT")
        at.source._beat_at = 0.0
        step = at.step()
        assert step.changes["posts"].rows.pkeys == [1]
        assert not step.unsure
    at.step()
    at.write("OPTIMIZE TABLE tcsql_outbox")
    at.source.open(step.position or position)
    at.source.tables()
    at.source.follow(["posts", "words"])
    assert not at.step().unsure


def test_triggers_that_were_away_between_two_looks_make_the_table_another_incarnation(at: Shop) -> None:
    before, words = at.source.tables()
    again, _ = at.source.tables()
    assert again.incarnation == before.incarnation
    name = f"{trigger_stem('tcsql_outbox', 'posts')}_upd"
    body = str(at.query(f"SHOW CREATE TRIGGER {name}")[0][2])
    time.sleep(0.05)  # the server notes hundredths of a second
    at.write(f"DROP TRIGGER {name}", "INSERT INTO posts VALUES (1, 1)", "UPDATE posts SET n = 2", body)
    after, words_after = at.source.tables()
    assert after.problem is None
    assert merged_incarnation(before.incarnation, after.incarnation) is None
    assert merged_incarnation(words.incarnation, words_after.incarnation) == words.incarnation
    at.source._sees_ids = False  # the right to see table ids has gone: triggers are still told apart
    blind, words_blind = at.source.tables()
    assert merged_incarnation(before.incarnation, blind.incarnation) is None
    assert merged_incarnation(words.incarnation, words_blind.incarnation) == words.incarnation


@pytest.mark.parametrize(
    ("known", "found", "merged"),
    [
        ("7", "7", "7"), ("7", "", "7"), ("", "7", "7"), ("7", "8", None), ("7|a", "7|a", "7|a"), ("7|a", "|a", "7|a"),
        ("7|a", "7|", "7|a"), ("7|a", "7|b", None), ("7", "7|a", "7|a"), ("|a", "8|a", "8|a"), ("", "", ""),
    ],
)  # fmt: skip
def test_an_incarnation_is_compared_as_far_as_both_can_be_seen(known: str, found: str, merged: str | None) -> None:
    assert merged_incarnation(known, found) == merged


def test_a_state_keeps_its_incarnation(at: Shop) -> None:
    posts: TableState = at.source.tables()[0]
    assert posts.incarnation.count("|") == 1
    assert replace(posts, incarnation="") != posts


def test_looking_at_a_table_that_is_not_there_leaves_no_snapshot_open(at: Shop) -> None:
    """The last table of the settings is the one: nothing after it ends the transaction in which it was looked at."""
    at.write("RENAME TABLE words TO other")
    at.step()
    at.source.tables()
    at.source.follow(["posts"])
    for number in range(3):
        at.step()
        at.write(f"INSERT INTO posts VALUES ({number}, 1)")
        assert at.step().changes["posts"].rows.pkeys == [number]
