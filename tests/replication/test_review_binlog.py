"""A binlog source in this process against a mirror of its steps: writers, DDL, filters, ends of sessions."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pymysql
import pytest

from tcsql.engine.values import PKey
from tcsql.errors import SourceAway
from tcsql.replication import binlogsource
from tcsql.replication.binlog import receiving, sight
from tcsql.replication.binlog.faults import BinlogFault
from tcsql.replication.binlog.gather import Gathering
from tcsql.replication.binlog.late import read_without
from tcsql.replication.binlog.place import place_of
from tcsql.replication.binlog.structure import concerned
from tcsql.replication.binlog.tables import Change
from tcsql.replication.binlogsource import BinlogSource
from tcsql.replication.session import Woken
from tcsql.replication.source import KeysRead, RangeRead, ReadRange, Rows, Step
from tcsql.sources import FollowedTable, SourceSettings
from tests.mariadb import MariaDB
from tests.replication.binlogging import forget_all_logs, is_mysql, log_server, run
from tests.replication.following import SERVERS_IN_TURN

_NUMBERS = count(1)
SUM = 100
FORMS = (
    "CREATE TABLE a (id INT PRIMARY KEY, n INT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE b (id INT PRIMARY KEY, n INT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE even (id INT PRIMARY KEY, n INT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE moved (id INT PRIMARY KEY, x INT NOT NULL, y INT NOT NULL) ENGINE=InnoDB",
)
TABLES = (*(FollowedTable(name=name) for name in ("a", "b", "moved")), FollowedTable(name="even", where="n % 2 = 0"))


# -- pure --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(300))
def test_whatever_the_order_of_changes_each_key_has_its_own_row(seed: int) -> None:
    rng = random.Random(seed)
    rows: dict[PKey, str] = {}
    gathering = Gathering()
    touched: set[PKey] = set()
    for number in range(rng.randrange(1, 12)):
        key, other, value = rng.randrange(4), rng.randrange(4), f"{seed}-{number}"
        after = Rows([other if key in rows else key], [[other if key in rows else key], [value]])
        if key in rows and rng.random() < 0.4:
            gathering.add(Change(("shop", "t"), "delete", Rows(), [key], None, 1))
            del rows[key]
        elif key in rows and (other == key or other not in rows):
            gathering.add(Change(("shop", "t"), "update", after, [key], None, 1))
            del rows[key]
            rows[other] = value
        elif key not in rows:
            gathering.add(Change(("shop", "t"), "insert", after, [], None, 1))
            rows[key] = value
        touched |= {key, other}
        gathering.commit()
    change = gathering.take().get("t")
    found = {} if change is None else dict(zip(change.rows.pkeys, zip(*change.rows.columns, strict=True), strict=True))
    assert found == {key: (key, value) for key, value in rows.items()}
    assert change is None or (touched >= {*change.gone} and not {*change.gone} & found.keys())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("RENAME TABLE `x # y` TO z, `posts` TO old", ["posts"]),
        ("ALTER TABLE t COMMENT 'a -- b', RENAME TO posts", ["posts"]),
        ("DROP TABLE t/**/,posts/*x*/", ["posts"]),
        ("ALTER TABLE `my posts` ADD c INT", ["posts", "my posts"]),
        ("ALTER TABLE `a``b` ADD c INT", ["a`b"]),
        ("/*!50001 TRUNCATE TABLE POSTS */", ["posts"]),
        ("CREATE OR REPLACE TABLE posts (id INT)", ["posts"]),
        ("ALTER TABLE other.posts ADD c INT", ["posts"]),
        ("ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE posts", ["posts"]),
        ("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `posts`", []),
        ("CREATE TEMPORARY TABLE posts (id INT)", []),
        ("CREATE INDEX posts ON other (a)", []),
        ("ALTER TABLE postscript ADD c INT", []),
        ("DROP DATABASE `shop`", ["posts", "my posts", "a`b"]),
        ("TRUNCATE", ["posts", "my posts", "a`b"]),
    ],
)
def test_a_statement_concerns_the_tables_that_it_names(text: str, names: list[str]) -> None:
    assert concerned(text, "shop", [("shop", "posts"), ("shop", "my posts"), ("shop", "a`b")]) == names


def test_what_a_snapshot_may_not_hold_is_taken_out_of_rows_and_missing_keys() -> None:
    late = {"t": {2: None}}
    assert read_without(RangeRead("t", Rows([1, 2], [[1, 2]]), "9"), late) == RangeRead("t", Rows([1], [[1]]), "9")
    assert read_without(KeysRead("t", Rows([2], [[2]]), [3, 2]), late) == KeysRead("t", Rows([], [[]]), [3])
    assert read_without(RangeRead("u", Rows([2], [[2]]), None), late) == RangeRead("u", Rows([2], [[2]]), None)


# -- servers -----------------------------------------------------------------------------------------------------------


class Mirror:
    """What a follower would hold: steps applied one after the other; what is unsure is copied again."""

    def __init__(self, server: MariaDB, database: str) -> None:
        self.database = database
        url = f"mysql://root@localhost/{database}?unix_socket={server.socket}"
        number = 20_000 + next(_NUMBERS)
        self.settings = SourceSettings(
            name="shop", url=url, mode="binlog", tables=TABLES, server_id=number, heartbeat_ms=100
        )
        self.source = BinlogSource(self.settings, None, lambda seconds: Woken.NOT)
        self.place = b""
        self.rows: dict[str, dict[PKey, tuple[Any, ...]]] = {table.name: {} for table in TABLES}
        self.copies: dict[str, str | None] = {}
        self.looks = 0

    def open(self) -> None:
        self.source.open(self.place)
        self.look()

    def look(self) -> None:
        self.looks += 1
        states = self.source.tables()
        assert [state.problem for state in states] == [None] * len(TABLES)
        self.source.follow([state.name for state in states])

    def begin(self) -> None:
        self.open()
        self.copies = dict.fromkeys(self.rows)
        while self.copies:
            self.step()

    def step(self, wait_s: float = 0.02) -> Step:
        name = next(iter(self.copies), "")
        asked = ReadRange(name, self.copies[name], 7) if name else None
        step = self.source.step(wait_s, b"", asked)
        if step.read is not None and self.copies[name] is None:
            self.rows[name].clear()
        for table, change in step.changes.items():
            for key in change.gone:
                self.rows[table].pop(key, None)
            self._put(table, change.rows)
        if isinstance(step.read, RangeRead):
            self._put(name, step.read.rows)
            self.copies[name] = step.read.last
            if step.read.last is None:
                del self.copies[name]
        self.place = step.position or self.place
        if step.unsure:
            self.copies.update(dict.fromkeys(step.unsure))
            self.look()
        return step

    def _put(self, table: str, rows: Rows) -> None:
        if len(rows):
            assert len({*rows.pkeys}) == len(rows)
            self.rows[table].update(zip(rows.pkeys, zip(*rows.columns, strict=True), strict=True))

    def reopen(self) -> None:
        """As after a crash: what was not stored is asked for again."""
        self.source.close()
        self.open()


@pytest.fixture(scope="module", params=SERVERS_IN_TURN)
def server(request: pytest.FixtureRequest) -> Iterator[MariaDB]:
    with log_server(request.param) as running:
        yield running


@pytest.fixture
def mirror(server: MariaDB) -> Iterator[Mirror]:
    name = f"mirror{next(_NUMBERS)}"
    with server.database(name) as connection:
        run(connection, *FORMS)
        opened = Mirror(server, name)
        yield opened
        opened.source.close()


@pytest.fixture
def writer(server: MariaDB, mirror: Mirror) -> Iterator[pymysql.connections.Connection[Any]]:
    with server.connect(mirror.database) as connection:
        yield connection


def held(connection: pymysql.connections.Connection[Any], table: str) -> dict[PKey, tuple[Any, ...]]:
    where = next(each.where for each in TABLES if each.name == table) or "TRUE"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} WHERE {where}")
        return {row[0]: tuple(row) for row in cursor.fetchall()}


def settle(mirror: Mirror, connection: pymysql.connections.Connection[Any]) -> None:
    deadline = time.monotonic() + 10
    while True:
        step = mirror.step()
        same = all(mirror.rows[name] == held(connection, name) for name in mirror.rows)
        if same and not mirror.copies and not step.unsure and step.complete:
            return
        if time.monotonic() > deadline:
            assert not mirror.copies
            assert mirror.rows == {name: held(connection, name) for name in mirror.rows}
            raise AssertionError("it does not come to rest")


Writer = pymysql.connections.Connection


def test_a_place_is_told_only_when_all_before_it_was_given(
    mirror: Mirror, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.begin()
    monkeypatch.setattr(receiving, "MOST_EVENTS", 3)
    run(writer, "INSERT INTO even VALUES (1,2)", *(f"INSERT INTO a VALUES ({n},0)" for n in range(9)))
    for _ in range(20):  # from what is not told after a few steps a session would begin again and again
        for _ in range(6):
            mirror.step()
        mirror.reopen()
        if 8 in mirror.rows["a"]:
            break
    settle(mirror, writer)


def test_a_backlog_is_read_in_steps_of_bounded_size_also_where_a_stretch_is_wanted(
    mirror: Mirror, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.begin()
    mirror.source.close()
    run(writer, *(f"INSERT INTO a VALUES ({n},0)" for n in range(60)))
    run(writer, *(f"INSERT INTO even VALUES ({n},{n})" for n in range(60)))
    monkeypatch.setattr(receiving, "MOST_EVENTS", 5)
    opened_s = time.monotonic()
    mirror.open()
    mirror.copies["b"] = None
    while mirror.copies:
        step = mirror.step()
        assert step.events <= 6
        if len(mirror.rows["a"]) < 60:
            assert step.taken_s < opened_s, "what is a backlog is not fresh"
    settle(mirror, writer)
    deadline = time.monotonic() + 5
    while mirror.step().taken_s <= opened_s:
        assert time.monotonic() < deadline


def test_rows_that_are_passed_over_before_the_look_are_told_each_time(mirror: Mirror, writer: Writer) -> None:
    mirror.begin()
    run(writer, "ALTER TABLE a COMMENT 'x'")
    told = [mirror.source.step(0.2, b"", None).unsure for _ in range(2)]
    assert ["a"] in told
    run(writer, "INSERT INTO a VALUES (1,1)")
    assert ["a"] in [mirror.source.step(0.2, b"", None).unsure for _ in range(3)]
    mirror.copies["a"] = None
    mirror.look()
    settle(mirror, writer)


def test_a_log_of_another_form_is_no_storm_of_looks(mirror: Mirror, writer: Writer) -> None:
    mirror.begin()
    mirror.source.close()
    run(writer, "ALTER TABLE moved ADD z INT NOT NULL DEFAULT 0")
    run(writer, *(f"INSERT INTO moved VALUES ({n},1,2,3)" for n in range(100)))
    run(writer, "ALTER TABLE moved DROP z")
    before = mirror.looks
    mirror.open()
    settle(mirror, writer)
    assert mirror.looks - before <= 5


def test_a_log_that_is_the_same_to_the_byte_but_for_its_rows_is_not_taken_for_the_one_that_was_followed(
    server: MariaDB, mirror: Mirror, writer: Writer
) -> None:
    """After RESET as many transactions of the same sizes: file, position and names are those of our place."""
    run(writer, *(f"INSERT INTO a VALUES ({n},0)" for n in range(100, 300)))
    forget_all_logs(server)
    mirror.begin()
    run(writer, *(f"UPDATE a SET n = 7 WHERE id = {n}" for n in range(100, 120)))
    settle(mirror, writer)
    deadline = time.monotonic() + 5
    while place_of(mirror.place) != mirror.source._log.parser.place:
        assert time.monotonic() < deadline
        mirror.step()
    mirror.source.close()
    time.sleep(1.1)  # servers note in whole seconds when a file was begun
    forget_all_logs(server)
    run(writer, *(f"UPDATE a SET n = 7 WHERE id = {n}" for n in range(200, 240)))
    mirror.source.open(mirror.place)  # the file, the position and the name of what stands there are as they were
    with pytest.raises(BinlogFault, match="begun anew"):
        for _ in range(50):
            mirror.source.step(0.1, b"", None)


def test_a_snapshot_begins_between_transactions(
    mirror: Mirror, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.begin()
    log = mirror.source._receiving
    assert log is not None
    begin, receive = sight.begin_snapshot, log._receive
    began: list[bool] = []

    def watched(connection: Any) -> Any:
        began.append(log.parser.is_between)
        return begin(connection)

    kept: list[bytes] = []

    def one_by_one(wait_s: float) -> bool:
        """Each event comes alone."""
        if not kept:
            receive(wait_s)
            kept.extend(log._events)
            log._events.clear()
        if not kept:
            return False
        log._events.append(kept.pop(0))
        return True

    monkeypatch.setattr(binlogsource, "begin_snapshot", watched)
    monkeypatch.setattr(log, "_receive", one_by_one)
    for number in range(20):
        run(writer, "BEGIN", f"INSERT INTO a VALUES ({number},1)", f"INSERT INTO b VALUES ({number},1)", "COMMIT")
        mirror.copies["b"] = None
        mirror.step()
    assert began
    assert all(began)


def test_a_step_ends_though_other_tables_never_rest(mirror: Mirror, writer: Writer, server: MariaDB) -> None:
    run(writer, "CREATE TABLE noise (id INT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB")
    mirror.begin()
    ends = threading.Event()

    def write() -> None:
        with server.connect(mirror.database) as connection:
            while not ends.is_set():
                run(connection, "INSERT INTO noise VALUES ()")

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        began = time.monotonic()
        for _ in range(5):
            mirror.step(0.05)
        assert time.monotonic() - began < 2.5
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def test_a_log_without_any_transaction_is_a_place_to_begin_and_to_go_on_from(
    mirror: Mirror, writer: Writer, server: MariaDB
) -> None:
    forget_all_logs(server)
    mirror.open()
    run(writer, "INSERT INTO a VALUES (1,1)")
    mirror.copies = dict.fromkeys(mirror.rows)
    settle(mirror, writer)
    mirror.reopen()
    run(writer, "INSERT INTO a VALUES (2,1)")
    mirror.copies["b"] = None
    settle(mirror, writer)


def test_numbers_in_a_domain_that_go_back_hide_no_row(mirror: Mirror, writer: Writer, server: MariaDB) -> None:
    if is_mysql(server):
        return  # its sets have no order
    run(writer, "INSERT INTO a VALUES (1,1)", "INSERT INTO a VALUES (2,1)")
    mirror.begin()
    run(writer, "SET SESSION server_id = 77", "SET SESSION gtid_seq_no = 1", "INSERT INTO a VALUES (3,1)")
    settle(mirror, writer)
    run(writer, "SET SESSION gtid_seq_no = 1000", "INSERT INTO a VALUES (4,1)")
    run(writer, "SET SESSION gtid_seq_no = 500", "INSERT INTO a VALUES (5,1)", "INSERT INTO a VALUES (6,1)")
    settle(mirror, writer)
    mirror.reopen()
    run(writer, "INSERT INTO a VALUES (7,1)")
    settle(mirror, writer)


def test_checksums_that_are_switched_off_and_on_again_are_no_fault(mirror: Mirror, writer: Writer) -> None:
    mirror.begin()
    for number, kind in enumerate(("NONE", "CRC32", "NONE", "CRC32")):
        run(writer, f"SET GLOBAL binlog_checksum = {kind}", f"INSERT INTO a VALUES ({number},1)")
        settle(mirror, writer)


# -- four writers ------------------------------------------------------------------------------------------------------


def _write(server: MariaDB, database: str, seed: int, ends: threading.Event, faults: list[BaseException]) -> None:
    rng = random.Random(seed)
    with server.connect(database, autocommit=False) as connection:
        while not ends.is_set():
            key, other = rng.sample(range(20), 2)
            statements = {
                0: (f"UPDATE a SET n = n - 1 WHERE id = {key}", f"UPDATE b SET n = n + 1 WHERE id = {key}"),
                1: (f"REPLACE INTO even VALUES ({key},{rng.randrange(9)})", f"DELETE FROM even WHERE id = {other}"),
                2: (
                    f"UPDATE moved SET id = 1000 + {seed} WHERE id = {key}",
                    f"UPDATE moved SET id = {key} WHERE id = {other}",
                    f"UPDATE moved SET id = {other} WHERE id = 1000 + {seed}",
                ),
                3: (f"REPLACE INTO moved (id,x,y) VALUES ({key},{key},{seed})", f"DELETE FROM moved WHERE id={other}"),
                4: (f"UPDATE even SET n = n + 1 WHERE id IN ({key},{other})",),
            }[rng.randrange(5)]
            try:
                run(connection, *statements)
                if rng.random() < 0.1:
                    connection.rollback()
                else:
                    connection.commit()
            except pymysql.err.OperationalError as error:
                if error.args[0] not in (1205, 1213, 1412):
                    faults.append(error)
                    return
                connection.rollback()
            except pymysql.err.IntegrityError:
                connection.rollback()
            time.sleep(0.001)


DDL = (
    "ALTER TABLE moved CHANGE x y INT NOT NULL, CHANGE y x INT NOT NULL",
    "ALTER TABLE moved ADD z INT NOT NULL DEFAULT 7 AFTER id",
    "ALTER TABLE moved DROP z",
    "TRUNCATE TABLE moved",
    "CREATE TABLE next LIKE moved; RENAME TABLE moved TO old, next TO moved; DROP TABLE old",
)


@pytest.mark.parametrize("seed", range(3))
def test_a_mirror_of_all_steps_equals_the_source(
    mirror: Mirror, writer: Writer, server: MariaDB, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(receiving, "MOST_EVENTS", rng.choice((2, 9, 50)))
    for key in range(20):
        run(writer, f"INSERT INTO a VALUES ({key},{SUM})", f"INSERT INTO b VALUES ({key},0)")
        run(writer, f"INSERT INTO moved VALUES ({key},{key},1)", f"INSERT INTO even VALUES ({key},{key})")
    ends, faults = threading.Event(), list[BaseException]()
    threads = [
        threading.Thread(target=_write, args=(server, mirror.database, seed * 10 + n, ends, faults)) for n in range(4)
    ]
    mirror.open()
    mirror.copies = dict.fromkeys(mirror.rows)
    for thread in threads:
        thread.start()
    try:
        until, compared = time.monotonic() + 1.2, 0
        while time.monotonic() < until:
            try:
                step = mirror.step()
                if step.complete and not mirror.copies.keys() & {"a", "b"}:
                    compared += 1
                    assert {mirror.rows["a"][key][1] + mirror.rows["b"][key][1] for key in range(20)} == {SUM}
                chance = rng.random()
                if chance < 0.02:
                    mirror.reopen()
                elif chance < 0.04:
                    for statement in rng.choice(DDL).split(";"):
                        with contextlib.suppress(pymysql.err.OperationalError):  # no such column now
                            run(writer, statement)
                elif chance < 0.06:
                    mirror.copies.setdefault(rng.choice([*mirror.rows]), None)
            except SourceAway as away:
                assert "altered" in away.message or "definition has changed" in away.message
                mirror.copies["moved"] = None
                mirror.reopen()
    finally:
        ends.set()
        for thread in threads:
            thread.join()
    assert not faults
    settle(mirror, writer)
