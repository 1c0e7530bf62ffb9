"""The push source against a real server: hints in, committed rows out. The clock is the test's, so nothing waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tcsql.errors import SourceAway
from tcsql.replication import push
from tcsql.replication.catalogue import read_tables
from tcsql.replication.connection import connect
from tcsql.replication.hints import PAUSES_S, SETTLE_S, Hints
from tcsql.replication.keytext import key_expression
from tcsql.replication.push import PushSource
from tcsql.replication.session import Woken
from tcsql.replication.source import KeysRead, RangeRead, ReadKeys, ReadRange, Step
from tcsql.replication.tablereader import KeysFound, TableReader
from tcsql.replication.triggers import SESSION, Wiring, triggers_of
from tcsql.sources import FollowedTable, SourceSettings
from tests.replication.pushing import TOKEN, PushServer

Cursor = Any


@pytest.fixture(scope="module")
def mariadb(mariadb_that_calls: PushServer) -> PushServer:
    """Nobody listens where its functions call: hints are given by hand."""
    return mariadb_that_calls


@pytest.fixture
def shop(mariadb: PushServer) -> Iterator[Cursor]:
    with mariadb.database("shop") as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE posts (id INT PRIMARY KEY, title VARCHAR(20)) ENGINE=InnoDB")
        cursor.execute("CREATE TABLE names (name VARCHAR(9) PRIMARY KEY, n INT) ENGINE=InnoDB")
        yield cursor


def set_up(settings: SourceSettings) -> None:
    """The triggers, as the setup makes them."""
    with connect(settings) as connection:
        for statement in SESSION:
            connection.query(statement)
        names = [table.name for table in settings.tables]
        for name, table in read_tables(connection.query, "shop", names, "mariadb", False).items():
            assert table is not None
            if not table.triggers:
                for trigger in triggers_of(name, table.key_columns, Wiring("tcsql_outbox", push=True)):
                    connection.query(trigger.create_sql)


@pytest.fixture
def follower(mariadb: PushServer, shop: Cursor) -> Iterator[Follower]:
    made = Follower(mariadb, "posts", "names")
    yield made
    made.source.close()


class Follower:
    """A push source with a clock of its own; ``rows``: what a follower would hold."""

    def __init__(self, server: PushServer, *tables: str) -> None:
        self.now = 1_000.0
        self.waited: list[float] = []
        settings = SourceSettings(
            name="shop",
            url=f"mysql://root@localhost/shop?unix_socket={server.socket}",
            mode="push",
            push_token=TOKEN,
            tables=tuple(FollowedTable(name=name) for name in tables),
        )
        self.source = PushSource(settings, None, self._wait, lambda: self.now)
        self.on_wait: Callable[[], bool] = lambda: False
        self.rows: dict[str, dict[Any, tuple[Any, ...]]] = {name: {} for name in tables}
        set_up(settings)
        self.source.open(b"")
        self.source.tables()
        self.source.follow(tables)
        assert sorted(self.step().unsure) == sorted(tables)

    def _wait(self, seconds: float) -> Woken:
        assert seconds > 0
        self.waited.append(seconds)
        if self.on_wait():
            return Woken.CALLED
        self.now += seconds
        return Woken.NOT

    def hint(self, table: str, *keys: str) -> None:
        self.source.hint(table, keys)

    def step(self, wait_s: float = 0.0, read: ReadRange | ReadKeys | None = None) -> Step:
        step = self.source.step(wait_s, b"", read)
        for name, change in step.changes.items():
            for pkey in change.gone:
                self.rows[name].pop(pkey, None)
            columns = zip(*change.rows.columns, strict=True)
            self.rows[name].update(zip(change.rows.pkeys, columns, strict=True))
        return step

    def catch_up(self, until_s: float = 100.0) -> int:
        """Steps until nothing is due any more, or the clock has gone so far; how many of them brought something."""
        end, brought = self.now + until_s, 0
        while self.now < end:
            brought += bool(self.step(wait_s=end - self.now).changes)
        return brought


def test_a_hinted_row_is_read_as_it_is_committed(follower: Follower, shop: Cursor) -> None:
    shop.execute("INSERT INTO posts VALUES (1,'a'),(2,'b'),(3,'c')")
    follower.hint("posts", "1", "2", "9")
    step = follower.step()
    assert follower.rows["posts"] == {1: (1, "a"), 2: (2, "b")}
    assert (list(step.changes["posts"].gone), step.events, step.token, step.position) == ([9], 3, b"", b"")
    assert step.complete
    assert step.heartbeat_s == step.source_s > 1.7e9
    assert step.taken_s > 0
    shop.execute("DELETE FROM posts WHERE id = 1")
    follower.hint("posts", "1")
    follower.step()
    assert follower.rows["posts"] == {2: (2, "b")}


@pytest.mark.parametrize("commit_s", [0.0003, 0.004, 0.7, 11.0, 50.0])
def test_a_late_commit_is_seen_by_a_later_reading(
    mariadb: PushServer, follower: Follower, shop: Cursor, commit_s: float
) -> None:
    with mariadb.connect("shop") as writer:
        cursor = writer.cursor()
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO posts VALUES (1,'late')")
        hinted = follower.now
        follower.hint("posts", "1")
        follower.catch_up(commit_s)
        assert follower.rows["posts"] == {}
        cursor.execute("COMMIT")
        while not follower.rows["posts"] and follower.now - hinted < 100:
            follower.step(wait_s=100)
        assert follower.now - hinted <= max(4 * commit_s, PAUSES_S[0]) + 1e-6


def test_a_rollback_leaves_nothing(mariadb: PushServer, follower: Follower, shop: Cursor) -> None:
    shop.execute("INSERT INTO posts VALUES (1,'a')")
    with mariadb.connect("shop") as writer:
        cursor = writer.cursor()
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO posts VALUES (2,'phantom')")
        cursor.execute("UPDATE posts SET title = 'phantom' WHERE id = 1")
        follower.hint("posts", "2", "1")
        follower.catch_up(0.2)
        cursor.execute("ROLLBACK")
    follower.catch_up()
    assert follower.rows["posts"] == {1: (1, "a")}


def test_what_was_said_is_not_said_again(follower: Follower, shop: Cursor) -> None:
    shop.execute("INSERT INTO posts VALUES (1,'a')")
    follower.hint("posts", "1", "7")
    assert follower.catch_up() == 1
    assert len(follower.waited) >= len(PAUSES_S)
    follower.hint("posts", "1", "7")
    assert not follower.step().changes, "neither for a new hint"
    shop.execute("UPDATE posts SET title = NULL")
    shop.execute("INSERT INTO posts VALUES (7,'g')")
    assert follower.catch_up() == 1
    assert follower.rows["posts"] == {1: (1, None), 7: (7, "g")}
    shop.execute("UPDATE posts SET id = id - 8")
    follower.hint("posts", "-1", "-7", "1", "7")
    assert follower.catch_up() == 1
    assert follower.rows["posts"] == {-1: (-1, "g"), -7: (-7, None)}


def test_rows_read_beside_are_not_taken_for_said(follower: Follower, shop: Cursor) -> None:
    """Said: b. Copied: c. Then b again: that it was said once must not keep it back."""
    shop.execute("INSERT INTO posts VALUES (1,'b')")
    follower.hint("posts", "1")
    follower.step()
    shop.execute("UPDATE posts SET title = 'c'")
    step = follower.step(read=ReadRange("posts", None, 10))
    assert isinstance(step.read, RangeRead)
    assert (list(step.read.rows.pkeys), step.read.last) == ([1], None)
    shop.execute("UPDATE posts SET title = 'b'")
    follower.now += 1
    assert list(follower.step().changes["posts"].rows.columns[1]) == ["b"]
    step = follower.step(read=ReadKeys("posts", [1, 2], only_missing=True))
    assert isinstance(step.read, KeysRead)
    assert list(step.read.missing) == [2]


#: Keys of every kind, with values that are hard to write.
KEYS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "k_int": ("INT", (0, -(2**31), 2**31 - 1)),
    "k_unsigned": ("BIGINT UNSIGNED", (0, 2**64 - 1)),
    "k_zerofill": ("INT(5) ZEROFILL", (0, 7, 2**32 - 1)),
    "k_decimal": ("DECIMAL(20,4)", ("-9999999999999999.9999", "0", "-0.0001", "1.5")),
    "k_date": ("DATE", ("0000-00-00", "2020-00-00", "9999-12-31")),
    "k_datetime": ("DATETIME(6)", ("0000-00-00 00:00:00", "2020-02-29 01:02:03.000400")),
    "k_time": ("TIME(3)", ("-838:59:59", "838:59:59", "-00:00:00.001", "00:00:01")),
    "k_timestamp": ("TIMESTAMP(3)", ("0000-00-00 00:00:00", "2038-01-19 01:14:07", "1970-01-02 00:00:01.001")),
    "k_year": ("YEAR", (0, 1901, 2155)),
    "k_bit": ("BIT(12)", (0, 4095)),
    "k_enum": ("ENUM('new','Größe','漢')", ("new", "Größe", "")),
    "k_set": ("SET('x','y','é')", ("", "x,é")),
    "k_text": ("VARCHAR(20)", ("", "a,b", "ü漢😀", "'\\\0", "x ")),
    "k_latin": ("VARCHAR(20) CHARACTER SET latin1", ("é€ÿ", "\\'")),
    "k_binary": ("VARBINARY(20)", (b"", b"\0\xff", b"'")),
    "k_fixed": ("BINARY(3)", (b"\0", b"abc")),
    "k_uuid": ("UUID", ("00000000-0000-0000-0000-000000000001",)),
    "k_inet": ("INET6", ("::", "::ffff:1.2.3.4", "fe80::1")),
}
FORGED = (
    *("", " ", ",", "1,", "1,2", "1 OR 1=1", "'", "NULL", "1e400", "-", "--1", "1--1", "1_0", " 1", "1 ", "+1", "0x1"),
    *("1.0", "-0", "007", "NaN", "Infinity", "1.2.3", "1700000000.5.5", ".5", "5.", "..", "::", "1:2", "99:99:99"),
    *(
        "2020-1-1",
        "2020-01-01 ",
        "2020-01-01T00:00:00",
        "2020-02-31",
        "2020-99-99",
        "999:00:00.000",
        "9" * 99,
        "4" * 5000,
    ),
    *("6", "6g", "6 1", "61 62", "c3a9", "C3", "FF", "EDA080", "00", "3A3A31", "7A7A", "61,61", "F4908080", "EFBFBD"),
)


def test_keys_of_all_kinds_are_found_and_forged_ones_passed_over(mariadb: PushServer, shop: Cursor) -> None:
    """Every account of the server may call the function, with whatever it likes: nothing may stop the source."""
    shop.execute("SET SESSION sql_mode = '', time_zone = '+05:30'")
    for name, (kind, values) in KEYS.items():
        shop.execute(f"CREATE TABLE {name} (k {kind} NOT NULL PRIMARY KEY, v INT) ENGINE=InnoDB")
        shop.executemany(f"INSERT INTO {name} VALUES (%s,1)", [(value,) for value in values])
    follower = Follower(mariadb, *KEYS)
    with connect(follower.source.settings) as connection:
        found = read_tables(connection.query, "shop", list(KEYS), "mariadb", False)
    for name, table in found.items():
        assert table is not None
        shop.execute(f"SELECT CONVERT({key_expression(table.key_columns)} USING ascii) FROM {name}")
        for text in [text for (text,) in shop.fetchall()] + list(FORGED):
            follower.hint(name, text)
            follower.step()
        assert len(follower.rows[name]) == len(KEYS[name][1]), f"{name}: {follower.rows[name]}"
    follower.hint("mysql", "1")
    follower.now += SETTLE_S
    assert follower.step().unsure == []
    follower.source.close()


def test_a_key_that_the_server_does_not_take_costs_a_comparison_and_no_more(
    mariadb: PushServer, shop: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.execute("CREATE TABLE moments (k TIMESTAMP(1) PRIMARY KEY, v INT) ENGINE=InnoDB")
    follower = Follower(mariadb, "moments", "posts")
    monkeypatch.setattr(TableReader, "is_key", lambda self, text: True)
    monkeypatch.setattr(TableReader, "keys_of", lambda self, texts: KeysFound(list(texts), list(texts), []))
    shop.execute("INSERT INTO posts VALUES (1,'a')")
    follower.hint("moments", "1.2.3")
    follower.hint("posts", "1")
    assert not follower.step().changes
    follower.now += SETTLE_S
    assert follower.step().unsure == ["moments", "posts"]
    follower.hint("posts", "1")
    assert follower.step().changes
    follower.source.close()


def test_a_key_that_a_collation_holds_equal_is_found_by_its_bytes(follower: Follower, shop: Cursor) -> None:
    shop.execute("INSERT INTO names VALUES ('a',1)")
    follower.hint("names", "61")
    follower.step()
    shop.execute("UPDATE names SET name = 'A'")
    follower.hint("names", "61", "41")
    follower.step()
    assert follower.rows["names"] == {"A": ("A", 1)}


def test_a_step_of_many_keys_says_that_more_wait(
    follower: Follower, shop: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "MOST_KEYS", 1_000)
    shop.execute("INSERT INTO posts SELECT seq, seq FROM seq_1_to_2500")
    follower.hint("posts", *map(str, range(1, 2_501)))
    assert [follower.step().complete for _ in range(4)] == [False, False, True, True]
    assert len(follower.rows["posts"]) == 2_500


def test_one_step_is_one_state_of_all_tables(mariadb: PushServer, follower: Follower, shop: Cursor) -> None:
    shop.execute("INSERT INTO posts VALUES (1,'0')")
    shop.execute("INSERT INTO names VALUES ('n',0)")
    query = follower.source.connection.read
    with mariadb.connect("shop", autocommit=False) as writer:
        cursor = writer.cursor()

        def written_in_between(sql: str) -> list[Any]:
            answers = []
            for statement in sql.split(";"):
                answers += query(statement)
                cursor.execute("UPDATE posts SET title = title + 1")
                cursor.execute("UPDATE names SET n = n + 1")
                writer.commit()
            return answers

        follower.source.connection.read = written_in_between  # type: ignore[method-assign]  # a write after each
        seen = set()
        for _ in range(3):
            follower.hint("posts", "1")
            follower.hint("names", "6E")
            follower.step()
            seen.add((follower.rows["posts"][1][1], follower.rows["names"]["n"][1]))
        assert seen == {("1", 1), ("6", 6), ("11", 11)}


def test_waiting_ends_when_a_hint_comes_or_somebody_wants_something(follower: Follower, shop: Cursor) -> None:
    shop.execute("INSERT INTO posts VALUES (1,'a')")

    def called() -> bool:
        follower.now += 0.25
        follower.hint("posts", "1")
        return True

    follower.on_wait = called
    began = follower.now
    assert follower.step(wait_s=10).changes
    assert follower.now - began == 0.25
    follower.on_wait = lambda: len(follower.waited) > 3
    follower.catch_up(0.001)
    before = follower.now
    follower.step(wait_s=10)
    assert follower.now == before, "it was asked to come back"


def test_lost_and_changed_triggers_are_a_problem_of_their_table(follower: Follower, shop: Cursor) -> None:
    shop.execute("SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'shop' ORDER BY 1")
    names = [name for (name,) in shop.fetchall()]
    assert len(names) == 6
    assert [state.problem for state in follower.source.tables()] == [None, None]
    shop.execute(f"DROP TRIGGER `{names[0]}`")
    problems = [state for state in follower.source.tables() if state.problem]
    assert len(problems) == 1
    assert "is missing" in str(problems[0].problem)
    assert problems[0].remedy == "tcsql mysql setup shop --apply"
    left = ["posts" if problems[0].name == "names" else "names"]
    follower.source.follow(left)
    follower.hint(problems[0].name, "1")
    assert follower.step().events == 0
    set_up_again = f"CREATE TRIGGER `{names[0]}` AFTER INSERT ON {problems[0].name} FOR EACH ROW DO 1"
    shop.execute(set_up_again)
    assert any("is changed" in str(state.problem) for state in follower.source.tables())
    shop.execute(f"DROP TRIGGER `{names[0]}`")
    set_up_all(follower, shop)
    assert not any(state.problem for state in follower.source.tables())
    follower.source.follow(["posts", "names"])
    assert follower.step().unsure == [problems[0].name], "what was written meanwhile was told to nobody"
    assert follower.step().unsure == []


def set_up_all(follower: Follower, shop: Cursor) -> None:
    shop.execute("SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'shop'")
    for (name,) in shop.fetchall():
        shop.execute(f"DROP TRIGGER `{name}`")
    set_up(follower.source.settings)


def test_hints_above_the_bound_make_their_table_unsure(follower: Follower) -> None:
    follower.source._hints = Hints(most=10)  # a bound that a test can reach
    follower.hint("posts", *map(str, range(11)))
    assert follower.step().unsure == []
    follower.now += SETTLE_S
    assert follower.step().unsure == ["posts"]
    assert follower.step().unsure == []


def test_hints_that_the_caller_lost_make_all_tables_unsure(follower: Follower) -> None:
    follower.source.hint("posts", ["1"], 17)
    follower.source.hint("elsewhere", ["1"], 1)
    follower.now += SETTLE_S
    assert follower.step().unsure == ["names", "posts"]
    assert follower.step().unsure == []


def test_after_an_error_the_session_has_ended(mariadb: PushServer, follower: Follower, shop: Cursor) -> None:
    shop.execute(f"KILL {follower.source.connection.number}")
    with pytest.raises(SourceAway):
        follower.step()
    with pytest.raises(SourceAway):
        follower.step()
    follower.source.open(b"")
    follower.source.tables()
    follower.source.follow(["posts"])
    assert follower.step().unsure == ["posts"]
