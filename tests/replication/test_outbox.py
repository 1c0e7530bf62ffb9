"""What one poll of the outbox does, on MariaDB and MySQL: order of commits, keys, filters, faults, what it deletes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tcsql.errors import SourceAway, SourceFault
from tcsql.replication import outbox
from tcsql.replication.outbox import OutboxSource
from tcsql.replication.rows import Result
from tcsql.replication.session import Woken
from tcsql.replication.snapshot import BEGIN
from tcsql.replication.source import KeysRead, RangeRead, ReadKeys, ReadRange
from tcsql.replication.triggers import trigger_stem
from tcsql.sources import FollowedTable
from tests.mariadb import MariaDB
from tests.replication.polling import Shop, shop

POSTS = "CREATE TABLE posts (id INT PRIMARY KEY, uid INT, title VARCHAR(40), secret VARCHAR(40)) ENGINE=InnoDB"
WORDS = """CREATE TABLE words (word VARCHAR(20) NOT NULL PRIMARY KEY, n INT)
    ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"""


@pytest.fixture(scope="module")
def shared(any_server: MariaDB) -> Iterator[Shop]:
    with shop(any_server, POSTS, WORDS) as opened:
        yield opened


@pytest.fixture
def at(shared: Shop) -> Iterator[Shop]:
    """Empty tables, and a source that has just been opened."""
    shared.source.close()
    shared.token = b""
    shared.source.wait = shared.wait
    shared.write("DELETE FROM posts", "DELETE FROM words", "DELETE FROM tcsql_outbox")
    shared.start()
    yield shared
    shared.source.close()


@pytest.fixture
def own(any_server: MariaDB) -> Iterator[Shop]:
    """A database for a test that alters it."""
    with shop(any_server, POSTS, WORDS) as opened:
        yield opened


# -- order of commits --------------------------------------------------------------------------------------------------


def test_a_lower_number_that_commits_later_is_found(at: Shop) -> None:
    with at.another() as early:
        early.query("START TRANSACTION")
        early.query("INSERT INTO posts VALUES (1, 1, 'numbered first', NULL)")
        at.write("INSERT INTO posts VALUES (2, 1, 'committed first', NULL)")
        assert at.step().changes["posts"].rows.pkeys == [2]
        for _ in range(5):
            assert at.step().events == 0
        early.query("COMMIT")
        assert at.step().changes["posts"].rows.pkeys == [1]
    at.step()
    assert at.noted_seqs() == []


def test_what_commits_between_the_snapshot_and_the_delete_is_not_deleted(at: Shop) -> None:
    with at.another() as late:
        at.write("INSERT INTO posts VALUES (1, 1, '', NULL)")
        late.query("START TRANSACTION")
        late.query("INSERT INTO posts VALUES (2, 1, '', NULL)")
        at.write("INSERT INTO posts VALUES (3, 1, '', NULL)")
        assert at.step().changes["posts"].rows.pkeys == [1, 3]
        late.query("COMMIT")  # its number lies between those that were seen
        at.write("INSERT INTO posts VALUES (4, 1, '', NULL)")
        step = at.step()
    assert step.changes["posts"].rows.pkeys == [2, 4]
    assert len(at.noted_seqs()) == 2, "exactly the two that were seen are gone"


def test_the_delete_does_not_wait_for_open_writers(at: Shop) -> None:
    with at.another() as writer:
        at.write("INSERT INTO posts VALUES (1, 1, '', NULL)")
        writer.query("START TRANSACTION")
        writer.query("INSERT INTO posts VALUES (2, 1, '', NULL)")
        at.write("INSERT INTO posts VALUES (3, 1, '', NULL)")
        at.source.connection.query("SET SESSION innodb_lock_wait_timeout = 1")
        at.step()
        at.step()  # would be SourceAway after a second, had it to wait
        assert at.noted_seqs() == []


def test_rollbacks_leave_holes_and_no_change(at: Shop) -> None:
    with at.another() as writer:
        for number in range(20):
            writer.query("START TRANSACTION")
            writer.query("INSERT INTO posts VALUES (%s, 1, '', NULL)", (number,))
            writer.query("ROLLBACK" if number % 2 else "COMMIT")
    step = at.step()
    assert step.changes["posts"].rows.pkeys == list(range(0, 20, 2))
    assert step.changes["posts"].gone == []
    at.step()
    assert at.noted_seqs() == []


def test_more_runs_than_go_out_together_are_all_deleted(at: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_DELETES_AT_ONCE", 3)
    at.write(*(f"INSERT INTO tcsql_outbox (seq,tab,op,pk) VALUES ({2 * n},'posts','U','{n}')" for n in range(1, 12)))
    step = at.step()
    assert (step.events, step.changes["posts"].gone) == (11, list(range(1, 12)))
    at.step()
    assert at.noted_seqs() == []


def test_a_transaction_that_stays_open_for_many_polls_is_seen_as_a_whole(at: Shop) -> None:
    with at.another() as long:
        long.query("START TRANSACTION")
        long.query("INSERT INTO posts VALUES (1, 1, '', NULL)")
        for number in range(100):
            at.write(f"REPLACE INTO posts VALUES (2, {number}, '', NULL)")
            assert at.step().changes["posts"].rows.columns[1] == [number]
        long.query("INSERT INTO posts VALUES (3, 1, '', NULL)")
        long.query("COMMIT")
    assert at.step().changes["posts"].rows.pkeys == [1, 3]


def test_numbers_that_begin_anew_are_not_passed_over(at: Shop) -> None:
    at.write("INSERT INTO posts VALUES (1, 1, '', NULL), (2, 1, '', NULL), (3, 1, '', NULL)")
    at.step()
    at.step()
    at.write("TRUNCATE TABLE tcsql_outbox", "INSERT INTO posts VALUES (4, 1, '', NULL)")
    assert at.noted_seqs() == [1]
    assert at.step().changes["posts"].rows.pkeys == [4]


# -- keys --------------------------------------------------------------------------------------------------------------


def test_the_row_is_read_once_however_often_it_changed(at: Shop) -> None:
    with at.another() as writer:
        writer.query("START TRANSACTION")
        writer.query("INSERT INTO posts VALUES (1, 0, '', NULL)")
        for number in range(1, 101):
            writer.query("UPDATE posts SET uid = %s WHERE id = 1", (number,))
        writer.query("COMMIT")
    step = at.step()
    assert (step.events, step.changes["posts"].rows.columns[:2]) == (101, [[1], [100]])


def test_key_changes_swaps_and_reinserts(at: Shop) -> None:
    at.write("INSERT INTO posts VALUES (1, 1, 'one', NULL), (2, 2, 'two', NULL), (5, 5, 'five', NULL)")
    at.step()
    with at.another() as writer:
        writer.query("START TRANSACTION")
        writer.query("UPDATE posts SET id = -1 WHERE id = 1")
        writer.query("UPDATE posts SET id = 1 WHERE id = 2")
        writer.query("UPDATE posts SET id = 2 WHERE id = -1")
        writer.query("DELETE FROM posts WHERE id = 5")
        writer.query("INSERT INTO posts VALUES (5, 6, 'again', NULL), (7, 7, 'seven', NULL)")
        writer.query("DELETE FROM posts WHERE id = 7")
        writer.query("COMMIT")
    change = at.step().changes["posts"]
    rows = at.rows("posts", change.rows)
    assert {key: row["title"] for key, row in rows.items()} == {1: "two", 2: "one", 5: "again"}
    assert sorted(change.gone) == [-1, 7]  # type: ignore[type-var]  # all of them integers


def test_a_key_that_changes_its_spelling_goes_under_the_old_one(at: Shop) -> None:
    at.write("INSERT INTO words VALUES ('a', 1), ('ä b', 2)")
    at.step()
    at.write("UPDATE words SET word = 'A' WHERE word = 'a'")
    change = at.step().changes["words"]
    assert (change.rows.pkeys, change.gone) == (["A"], ["a"])
    read = at.step(ReadKeys("words", ["a", "A", "ä b"])).read
    assert isinstance(read, KeysRead)
    assert (sorted(map(str, read.rows.pkeys)), read.missing) == (["A", "ä b"], ["a"])


def test_a_text_that_is_no_key_makes_the_table_unsure(at: Shop) -> None:
    at.write(
        "INSERT INTO posts VALUES (1, 1, '', NULL)",
        "INSERT INTO tcsql_outbox (tab,op,pk) VALUES ('posts','U','1,2'), ('posts','U','x'' OR 1=1'), ('posts','U','')",
    )
    step = at.step()
    assert (list(step.unsure), step.changes["posts"].rows.pkeys) == (["posts"], [1])
    step = at.step()
    assert (step.unsure, step.events) == ((), 0)


def test_notes_of_tables_that_are_not_followed_are_taken_and_dropped(at: Shop) -> None:
    at.source.follow(["words"])
    at.write("INSERT INTO posts VALUES (1, 1, '', NULL)", "INSERT INTO words VALUES ('a', 1)")
    step = at.step()
    assert (step.events, list(step.changes)) == (2, ["words"])
    at.step()
    assert at.noted_seqs() == []


# -- what is read beside -----------------------------------------------------------------------------------------------


def test_a_stretch_is_of_the_same_state_as_the_changes(at: Shop) -> None:
    at.write("INSERT INTO posts VALUES (1, 1, 'a', NULL), (2, 1, 'b', NULL), (3, 1, 'c', NULL)")
    step = at.step(ReadRange("posts", None, 2))
    assert isinstance(step.read, RangeRead)
    assert (step.read.rows.pkeys, step.read.last, step.changes["posts"].rows.pkeys) == ([1, 2], "2", [1, 2, 3])
    at.write("DELETE FROM posts WHERE id = 3")
    step = at.step(ReadRange("posts", step.read.last, 2))
    assert isinstance(step.read, RangeRead)
    assert (step.read.rows.pkeys, step.read.last, step.changes["posts"].gone) == ([], None, [3])


def test_what_commits_between_two_statements_of_a_poll_is_of_the_next(
    at: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.write("INSERT INTO posts VALUES (1, 1, 'old', NULL), (2, 1, 'old', NULL)")
    at.step()  # the next one deletes first, which is done in another isolation
    at.write("UPDATE posts SET uid = 2")
    read = at.source.connection.read

    def read_and_disturb(sql: str) -> list[Result]:
        results = read(sql)
        if BEGIN in sql:
            at.write("UPDATE posts SET title = 'new' WHERE id = 1", "DELETE FROM posts WHERE id = 2")
        return results

    with monkeypatch.context() as patched:
        patched.setattr(at.source.connection, "read", read_and_disturb)
        step = at.step(ReadRange("posts", None, 10))
    assert step.changes["posts"].rows.columns[:3] == [[1, 2], [2, 2], ["old", "old"]]
    assert isinstance(step.read, RangeRead)
    assert step.read.rows.columns == step.changes["posts"].rows.columns
    change = at.step().changes["posts"]
    assert (change.rows.columns[2], change.gone) == (["new"], [2])


def test_keys_that_are_missing_are_told_without_rows(at: Shop) -> None:
    at.write("INSERT INTO posts VALUES (1, 1, 'a', NULL), (2, 1, 'b', NULL)")
    asked = [0, 1, 2, *range(3, 2_500)]
    read = at.step(ReadKeys("posts", asked, only_missing=True)).read
    assert isinstance(read, KeysRead)
    assert (len(read.rows), list(read.missing)) == (0, [0, *range(3, 2_500)])
    whole = at.step(ReadKeys("posts", asked)).read
    assert isinstance(whole, KeysRead)
    assert (whole.rows.pkeys, whole.missing) == ([1, 2], read.missing)


def test_too_many_notes_come_in_parts_and_nothing_is_read_beside(at: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_NOTES", 10)
    monkeypatch.setattr(at.source, "_sql_notes", at.source._sql_notes.replace("50000", "10"))
    at.step()  # the first heartbeat is a note, too
    at.write("INSERT INTO posts VALUES " + ",".join(f"({n},0,'',NULL)" for n in range(25)))
    parts = [at.step(ReadRange("posts", None, 5)) for _ in range(3)]
    assert [(part.events, part.complete, part.read is None) for part in parts] == [
        (10, False, True),
        (10, False, True),
        (5, True, False),
    ]
    assert [key for part in parts for key in part.changes["posts"].rows.pkeys] == list(range(25))


def test_more_keys_than_one_statement_asks_for(at: Shop) -> None:
    at.write("INSERT INTO posts VALUES " + ",".join(f"({n},{n % 7},'',NULL)" for n in range(2_000)))
    at.write("DELETE FROM posts WHERE id % 2 = 1")
    change = at.step().changes["posts"]
    assert sorted(change.rows.pkeys) == list(range(0, 2_000, 2))
    assert sorted(change.gone) == list(range(1, 2_000, 2))  # type: ignore[type-var]  # all of them integers


def test_wide_rows_are_read_few_at_a_time(at: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    at.step()
    at.write("INSERT INTO posts VALUES " + ",".join(f"({n},0,'',NULL)" for n in range(10)))
    reader = at.source.readers["posts"]
    monkeypatch.setattr(reader, "most_rows", 3)
    monkeypatch.setattr(reader, "row_bytes", outbox.MOST_BYTES // 4)
    step = at.step(ReadRange("posts", None, 100))
    assert (step.events, step.complete, step.read) == (4, False, None)
    assert step.changes["posts"].rows.pkeys == [0, 1, 2, 3]
    while not (step := at.step(ReadRange("posts", None, 100))).complete:
        assert step.events <= 4
    assert isinstance(step.read, RangeRead)
    assert (step.read.rows.pkeys, step.read.last) == ([0, 1, 2], "2")
    assert list(at.copied("posts", limit=100)) == list(range(10))
    keys = at.step(ReadKeys("posts", list(range(-5, 20)))).read
    assert isinstance(keys, KeysRead)
    assert (keys.rows.pkeys, len(keys.missing)) == (list(range(10)), 15)


def test_column_list_and_condition(any_server: MariaDB) -> None:
    only = FollowedTable(name="posts", columns=("id", "title"), where="uid = 7 OR title = '100%' -- both")
    with shop(any_server, POSTS, follow=(only,)) as at:
        at.write(
            "INSERT INTO posts VALUES (1, 7, 'in', 'hidden'), (2, 8, 'out', 'hidden'), (3, 8, '100%', 'hidden'),"
            " (4, NULL, 'out', NULL)"
        )
        change = at.step().changes["posts"]
        expected = {1: {"id": 1, "title": "in"}, 3: {"id": 3, "title": "100%"}}
        assert (at.rows("posts", change.rows), change.gone) == (expected, [2, 4])
        assert at.copied("posts") == expected
        at.write("UPDATE posts SET uid = 8 WHERE id = 1", "UPDATE posts SET uid = 7 WHERE id = 2")
        change = at.step().changes["posts"]
        assert (change.rows.pkeys, change.gone) == ([2], [1])


# -- given until acknowledged ------------------------------------------------------------------------------------------


def test_what_is_not_acknowledged_is_given_again(at: Shop) -> None:
    at.write("INSERT INTO posts VALUES (1, 1, 'a', NULL)")
    first = at.step()
    assert at.step(acknowledge=False).changes == first.changes
    at.source.close()
    at.start()
    again = at.step()  # acknowledges a token of the last session, which means nothing now
    assert again.changes == first.changes
    assert at.step().events == 0
    assert at.noted_seqs() == []


def test_a_connection_that_is_killed_is_away_and_loses_nothing(at: Shop) -> None:
    at.write("INSERT INTO posts VALUES (1, 1, 'a', NULL)")
    at.step()
    at.write(f"KILL {at.source.connection.number}")
    with pytest.raises(SourceAway):
        at.step()
    with pytest.raises(SourceAway):
        at.step()
    at.start()
    assert at.step().changes["posts"].rows.pkeys == [1]


def test_a_second_reader_is_refused_by_the_number_of_the_first(at: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_LOCK_WAIT_S", 0)
    number = at.source.connection.number
    second = OutboxSource(at.settings, None, at.wait)
    with pytest.raises(SourceFault, match=f"read by another TCSQL: connection {number} of root") as caught:
        second.open(b"")
    assert f"KILL {number}" in str(caught.value.hint)
    monkeypatch.undo()  # the server may take a moment to notice that the first has gone
    at.source.close()
    second.open(b"")
    second.close()


def test_the_server_is_the_same_after_another_connection(at: Shop) -> None:
    first = at.source.open(b"")
    again = at.source.open(b"")
    assert first.server == again.server and len(first.server) >= 32
    assert (first.flavour == "mariadb") == ("MariaDB" in first.version)
    assert abs(first.started_s - again.started_s) <= 1.0


# -- heartbeats and pauses ---------------------------------------------------------------------------------------------


def test_heartbeats_come_back_and_leave_nothing_behind(any_server: MariaDB) -> None:
    with shop(any_server, POSTS, heartbeat_ms=100) as at:
        first = at.step()
        assert first.heartbeat_s is not None
        assert abs(first.source_s - first.heartbeat_s) < 5
        at.source._beat_at -= 1.0
        at.query("DO SLEEP(0.02)")
        second = at.step()
        assert second.heartbeat_s is not None
        assert first.heartbeat_s < second.heartbeat_s <= second.source_s + 0.001
        assert (second.events, second.token, at.query("SELECT * FROM tcsql_outbox")) == (0, b"", [])


def test_pauses_begin_short_after_a_change_and_double(any_server: MariaDB) -> None:
    with shop(any_server, POSTS, poll_ms=10) as at:
        answers: list[Woken] = []
        pauses: list[float] = []

        def wait(seconds: float) -> Woken:
            pauses.append(round(seconds * 1000, 1))
            return answers.pop(0) if answers else Woken.CALLED

        at.source.wait = wait
        at.write("INSERT INTO posts VALUES (1, 1, 'a', NULL)")
        assert at.step().events == 1
        answers[:] = [Woken.NOT] * 6 + [Woken.RUNG]
        at.source.step(60.0, at.token, None)
        assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 0.5]


def test_a_ring_is_answered_by_looking_and_a_call_by_coming_back(at: Shop) -> None:
    def ring(seconds: float) -> Woken:
        at.write("INSERT INTO posts VALUES (9, 1, 'rung', NULL)")
        return Woken.RUNG

    at.source.wait = ring
    assert at.source.step(60.0, b"", None).changes["posts"].rows.pkeys == [9]


# -- what changes under us ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alter",
    [
        "ALTER TABLE posts MODIFY uid BIGINT",
        "ALTER TABLE posts MODIFY title VARCHAR(41)",
        "ALTER TABLE posts MODIFY uid INT UNSIGNED",
        "ALTER TABLE posts DROP COLUMN secret",
        "ALTER TABLE posts CHANGE secret hidden VARCHAR(40)",
        "RENAME TABLE posts TO gone",
    ],
)
def test_a_table_that_is_altered_is_never_read_by_its_old_definition(own: Shop, alter: str) -> None:
    own.write("INSERT INTO posts VALUES (1, 1, 'a', NULL)", alter)
    with pytest.raises(SourceAway, match="table posts was altered"):
        own.step()
    states = own.start()
    assert ("posts" in [state.name for state in states]) == ("RENAME" not in alter)
    if "RENAME" not in alter:
        assert own.step().changes["posts"].rows.pkeys == [1]


def test_columns_and_indexes_may_be_added_meanwhile(own: Shop) -> None:
    before = own.source.tables()[0].definition
    own.write("ALTER TABLE posts ADD COLUMN more INT FIRST, ADD KEY (uid), ADD UNIQUE KEY (title)")
    own.write("INSERT INTO posts (id, uid, title) VALUES (1, 2, 'three')")
    assert own.step().changes["posts"].rows.columns == [[1], [2], ["three"], [None]]
    assert own.source.tables()[0].definition != before


def test_lost_and_changed_triggers_are_a_problem_with_its_remedy(own: Shop) -> None:
    own.write(f"DROP TRIGGER {trigger_stem('tcsql_outbox', 'posts')}_upd")
    posts, words = own.source.tables()
    assert words.problem is None
    assert "missing" in str(posts.problem) and posts.remedy == "tcsql mysql setup shop --apply"
    with pytest.raises(SourceFault, match="table posts cannot be followed"):
        own.source.follow(["posts"])


def test_tables_that_cannot_be_followed_say_why(any_server: MariaDB) -> None:
    tables = tuple(FollowedTable(name=name) for name in ("plain", "keyless", "moved", "nowhere"))
    with shop(any_server, "CREATE TABLE moved (id INT PRIMARY KEY) ENGINE=InnoDB") as at:
        at.write("CREATE TABLE plain (id INT PRIMARY KEY) ENGINE=MyISAM", "CREATE TABLE keyless (id INT)")
        source = OutboxSource(at.settings, None, at.wait)
        source.settings = type(at.settings)(name="shop", url=at.settings.url, tables=tables)
        at.source.close()
        source.open(b"")
        found = {state.name: state.problem for state in source.tables()}
        source.close()
        assert list(found) == ["plain", "keyless", "moved"]
        assert "its engine is MyISAM" in str(found["plain"])
        assert "primary key" in str(found["keyless"])
        assert found["moved"] is None


def test_one_table_that_may_not_be_read_does_not_stop_the_others(own: Shop) -> None:
    account = "'reader'@'localhost'"
    own.write(f"CREATE USER {account}", f"GRANT SELECT, INSERT, DELETE ON {own.database}.tcsql_outbox TO {account}")
    try:
        own.write(f"GRANT SELECT, TRIGGER ON {own.database}.posts TO {account}")
        own.write(f"GRANT INSERT ON {own.database}.words TO {account}")
        own.source.close()
        url = own.settings.url.replace("root@", "reader@")
        source = OutboxSource(dataclasses.replace(own.settings, url=url), None, own.wait)
        source.open(b"")
        posts, words = source.tables()
        source.close()
        assert posts.problem is None
        assert "SELECT command denied" in str(words.problem)
        assert words.remedy == f"run there: GRANT SELECT ON `{own.database}`.`words` TO {account}"
    finally:
        own.write(f"DROP USER {account}")


def test_an_outbox_that_is_not_there_names_the_command(own: Shop) -> None:
    own.write("DROP TABLE tcsql_outbox")
    with pytest.raises(SourceFault, match="there is no outbox tcsql_outbox") as caught:
        own.step()
    assert caught.value.hint == "tcsql mysql setup shop --apply"
    with pytest.raises(SourceFault, match="there is no outbox tcsql_outbox"):
        own.source.open(b"")


# -- a server of its own ----------------------------------------------------------------------------------------------


def test_a_server_that_crashes_gives_again_what_was_not_acknowledged() -> None:
    """Also on a server whose binary log takes statements only, which refuses READ COMMITTED."""
    options = ("--innodb-flush-log-at-trx-commit=1", "--log-bin=log", "--binlog-format=STATEMENT", "--sync-binlog=1")
    with MariaDB(*options) as server, shop(server, POSTS) as at:
        first = at.source.open(b"").server
        at.start()
        at.write("INSERT INTO posts VALUES (1, 1, 'a', NULL), (2, 1, 'b', NULL)")
        assert at.step().changes["posts"].rows.pkeys == [1, 2]
        at.write("INSERT INTO posts VALUES (3, 1, 'c', NULL)")
        assert at.step().changes["posts"].rows.pkeys == [3]
        assert not at.source._locks_rows_only
        assert len(at.noted_seqs()) == 1, "without READ COMMITTED exactly the two that were seen are gone, too"
        server.kill()
        with pytest.raises(SourceAway):
            at.step()
        with pytest.raises(SourceAway):
            at.source.open(b"")
        server.start()
        identity = at.source.open(b"")
        assert identity.server == first
        at.start()
        assert at.step().changes["posts"].rows.pkeys == [3]
        at.connection.close()
        at.connection = at.another()
        at.step()
        assert at.noted_seqs() == []
