"""Binary log: whatever transactions do before they commit, what is here are the states that were committed, each whole.

Through the real server process, on MariaDB and on MySQL 9.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil  # type: ignore[import-untyped]  # ships no types
import pymysql
import pytest

from tests.replication.binlogging import (
    COPIED,
    binlog,
    insert_numbers,
    is_mysql,
    log_lines,
    log_server,
    run,
    xa,
    xa_end,
)
from tests.replication.following import SERVERS, Node, torture

Connection = pymysql.connections.Connection
TABLES = {
    "posts": "(id INT PRIMARY KEY, uid INT NOT NULL, title VARCHAR(40), KEY (uid)) ENGINE=InnoDB",
    "words": """(word VARCHAR(20) NOT NULL, part CHAR(4) NOT NULL, n INT, PRIMARY KEY (word, part))
        ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci""",
    "first": "(id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, KEY (n)) ENGINE=InnoDB",
    "second": "(id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, KEY (n)) ENGINE=InnoDB",
    "big": "(id INT PRIMARY KEY, uid INT NOT NULL, title VARCHAR(500), KEY (uid)) ENGINE=InnoDB",
}
#: Columns are as long as rows of lists are; the transaction is 100 MB in the log.
LONG = "REPEAT('title ', 80)"
BIG_ROWS = 200_000 if torture() else 50_000
#: The worker holds no more of one transaction than ``gather.MOST_BYTES`` of its events.
MOST_MB = 400 if torture() else 150
CATCHING_UP = "source shop is catching up"


@pytest.fixture(scope="module", params=SERVERS)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with log_server(request.param) as server, server.database("shop") as connection:
        run(connection, *(f"CREATE TABLE {name} {form}" for name, form in TABLES.items()))
        directory = tmp_path_factory.mktemp("order")
        more = '[server]\nlog_level = "info"'
        with binlog(server, "shop", directory, list(TABLES), more=more, check_s=3600) as running:
            yield running


@pytest.fixture
def writer(node: Node) -> Iterator[Connection]:
    with node.server.connect("shop", autocommit=False, local_infile=True) as connection:
        run(connection, *(f"DELETE FROM {table}" for table in TABLES))
        connection.commit()
        yield connection


@pytest.fixture
def other(node: Node) -> Iterator[Connection]:
    with node.server.connect("shop", autocommit=False) as connection:
        yield connection


def ids(node: Node, where: str = "") -> list[int]:
    return [row["id"] for row in node.live.rows("table=posts&limit_max=10000" + where)]


def titles(node: Node) -> list[str]:
    return [row["title"] for row in node.live.rows("table=posts&limit_max=10000")]


def test_what_is_rolled_back_whole_or_to_a_savepoint_is_never_seen(node: Node, writer: Connection) -> None:
    run(writer, "INSERT INTO posts VALUES (1,1,'before')", "SAVEPOINT here")
    run(writer, "INSERT INTO posts VALUES (2,1,'phantom')", "UPDATE posts SET title = 'phantom' WHERE id = 1")
    node.settle()
    assert ids(node) == []
    run(writer, "ROLLBACK TO SAVEPOINT here", "INSERT INTO posts VALUES (3,1,'after')")
    writer.commit()
    run(writer, "UPDATE posts SET title = 'phantom'", "DELETE FROM posts WHERE id = 3")
    writer.rollback()
    with pytest.raises(pymysql.err.IntegrityError):
        run(writer, "INSERT INTO posts VALUES (4,1,'x'),(3,1,'twice'),(5,1,'x')")
    run(writer, "INSERT INTO posts VALUES (7,1,'same transaction')")
    writer.commit()
    node.assert_equal()
    assert titles(node) == ["before", "after", "same transaction"]


def test_late_commits_arrive_in_the_order_of_the_commits(node: Node, writer: Connection, other: Connection) -> None:
    run(writer, "INSERT INTO posts VALUES (1,0,'x'),(2,0,'x')")
    writer.commit()
    for number in range(1, 15):
        run(writer, f"UPDATE posts SET uid = {number} WHERE id = 2")
        run(other, f"UPDATE posts SET uid = {number} WHERE id = 1")
        other.commit()
        node.settle()
        assert [row["uid"] for row in node.live.rows("table=posts")] == [number, -number + 1]
        run(writer, f"UPDATE posts SET uid = -{number} WHERE id IN (1,2)")
        writer.commit()
    node.assert_equal()


def test_every_kind_of_statement_that_changes_rows(node: Node, writer: Connection, tmp_path: Any) -> None:
    run(writer, "INSERT INTO posts VALUES (1,1,'one'),(2,2,'two'),(3,3,'three')")
    run(writer, "REPLACE INTO posts VALUES (1,9,'replaced'),(4,4,'new')")
    run(writer, "INSERT INTO posts VALUES (2,0,'x'),(5,5,'five') ON DUPLICATE KEY UPDATE uid = uid + 10")
    run(writer, "INSERT IGNORE INTO posts VALUES (3,0,'ignored'),(6,6,'six')")
    run(writer, "INSERT INTO posts SELECT id + 100, uid, title FROM posts")
    writer.commit()
    node.assert_equal()
    run(writer, "INSERT INTO first VALUES (1,1),(2,2),(3,3)", "INSERT INTO second VALUES (1,10),(2,20),(4,40)")
    run(writer, "UPDATE first, second SET first.n = second.n, second.n = first.n + 1 WHERE first.id = second.id")
    run(writer, "UPDATE posts JOIN first ON posts.id = first.id SET posts.title = 'joined', first.n = -1")
    run(writer, "DELETE first, posts FROM first JOIN posts ON posts.id = first.id WHERE first.id = 2")
    writer.commit()
    node.assert_equal()
    lines = tmp_path / "rows.tsv"
    lines.write_text("".join(f"{number}\t{number % 7}\tloaded é {number}\n" for number in range(3, 900)))
    run(writer, f"LOAD DATA LOCAL INFILE '{lines}' REPLACE INTO TABLE posts CHARACTER SET utf8mb4")
    writer.commit()
    node.assert_equal()
    run(writer, "UPDATE posts SET uid = uid + 1 ORDER BY id DESC LIMIT 10", "DELETE FROM posts ORDER BY id LIMIT 50")
    run(writer, "UPDATE posts SET uid = uid")
    writer.commit()
    node.assert_equal()


def test_keys_that_change_swap_come_back_or_are_written_a_hundred_times(node: Node, writer: Connection) -> None:
    run(writer, "INSERT INTO posts VALUES (1,1,'one'),(2,2,'two'),(3,3,'three'),(4,4,'four')")
    writer.commit()
    run(writer, "UPDATE posts SET id = 10 WHERE id = 1")
    run(writer, *(f"UPDATE posts SET id = {new} WHERE id = {old}" for old, new in ((2, -1), (3, 2), (-1, 3))))
    writer.commit()
    node.assert_equal()
    assert titles(node) == ["three", "two", "four", "one"]
    run(writer, "DELETE FROM posts WHERE id = 4", "INSERT INTO posts VALUES (4,44,'again')")
    run(writer, "INSERT INTO posts VALUES (5,5,'came')", "DELETE FROM posts WHERE id = 5")
    run(writer, "UPDATE posts SET id = id + 1 ORDER BY id DESC", "UPDATE posts SET id = id - 1 ORDER BY id")
    run(writer, *(f"UPDATE posts SET uid = {number} WHERE id = 2" for number in range(100)))
    writer.commit()
    node.assert_equal()
    assert titles(node) == ["three", "two", "again", "one"]


def test_keys_that_change_their_spelling_only(node: Node, writer: Connection) -> None:
    run(writer, "INSERT INTO words VALUES ('anna','a',1),('émile','b',2),('Zoë','c',3)")
    writer.commit()
    node.assert_equal()
    run(writer, "UPDATE words SET word = 'ANNA' WHERE word = 'anna'", "UPDATE words SET part = 'B' WHERE part = 'b'")
    run(writer, "INSERT INTO words VALUES ('ZOE','C',9) ON DUPLICATE KEY UPDATE n = n + 1")
    run(writer, "REPLACE INTO words VALUES ('EMILE','b',7)")
    writer.commit()
    node.assert_equal()
    assert sorted(row["word"] for row in node.live.rows("table=words")) == ["ANNA", "EMILE", "Zoë"]


def test_what_is_prepared_is_seen_when_it_is_committed_however_late_and_not_when_it_is_rolled_back(
    node: Node, writer: Connection
) -> None:
    run(writer, "INSERT INTO posts VALUES (1,1,'there'),(2,1,'there')")
    writer.commit()
    xa(node.server, "kept", "UPDATE posts SET title = 'kept' WHERE id = 1", "INSERT INTO posts VALUES (11,1,'kept')")
    xa(node.server, "gone", "UPDATE posts SET title = 'gone' WHERE id = 2", "INSERT INTO posts VALUES (12,1,'gone')")
    run(writer, "INSERT INTO posts VALUES (3,1,'meanwhile')")
    writer.commit()
    node.settle()
    assert titles(node) == ["there", "there", "meanwhile"]
    node.kill()  # what was prepared is not held here: it has to be read again
    node.start()
    node.settle()
    assert titles(node) == ["there", "there", "meanwhile"]
    xa_end(node.server, "XA ROLLBACK 'gone'")
    xa_end(node.server, "XA COMMIT 'kept'")
    node.assert_equal()
    assert titles(node) == ["kept", "there", "meanwhile", "kept"]
    with node.server.connect("shop") as connection:
        run(connection, "XA START 'one'", "DELETE FROM posts WHERE id = 3", "XA END 'one'", "XA COMMIT 'one' ONE PHASE")
    node.assert_equal()
    assert log_lines(node, *COPIED) == []


def test_compressed_events_and_transactions_are_read_as_others_are(node: Node, writer: Connection) -> None:
    run(writer, "INSERT INTO posts VALUES (1,1,'plain')")
    writer.commit()
    with node.server.connect() as admin:
        if not is_mysql(node.server):
            run(admin, "SET GLOBAL log_bin_compress = ON", "SET GLOBAL log_bin_compress_min_len = 10")
        try:
            with node.server.connect("shop", autocommit=False) as packing:
                if is_mysql(node.server):
                    run(packing, "SET SESSION binlog_transaction_compression = ON")
                insert_numbers(packing, "big", 3_000, "n % 7", LONG)
                run(packing, "UPDATE posts SET title = REPEAT('compressed', 4)", "DELETE FROM big WHERE id % 2 = 0")
                run(packing, "UPDATE big SET uid = uid + 1, title = 'short' WHERE id % 3 = 0")
                packing.commit()
                run(packing, "INSERT INTO posts VALUES (2,2,REPEAT('compressed', 4))")
                packing.commit()
        finally:
            if not is_mysql(node.server):
                run(admin, "SET GLOBAL log_bin_compress = OFF")
    run(writer, "INSERT INTO posts VALUES (3,3,'plain')")
    writer.commit()
    node.assert_equal()
    assert len(ids(node)) == 3
    assert log_lines(node, *COPIED) == []


def test_no_transaction_is_ever_half_visible_neither_in_a_table_nor_between_two(node: Node, writer: Connection) -> None:
    """Each transaction adds seven rows to both tables, and sets one number in both.

    Whoever reads the number here, there, and here again, must find them in order: whichever table was written first,
    a half would be seen.
    """
    run(writer, "INSERT INTO first VALUES (1,0)", "INSERT INTO second VALUES (1,0)")
    writer.commit()
    node.settle()
    ends = threading.Event()
    done = 0

    def write() -> None:
        nonlocal done
        with node.server.connect("shop", autocommit=False) as own:
            while not ends.is_set():
                done += 1
                tables = ("first", "second") if done % 2 else ("second", "first")
                for table in tables:
                    run(own, f"INSERT INTO {table} (n) VALUES (-1),(-1),(-1),(-1),(-1),(-1),(-1)")
                    run(own, f"UPDATE {table} SET n = {done} WHERE id = 1")
                own.commit()
                if done % 20 == 0:
                    time.sleep(0.01)

    def number(table: str) -> int:
        return int(node.live.rows(f"table={table}&where=id:NUMEQ:1")[0]["n"])

    def rows(table: str) -> int:
        return int(node.live.get(f"command=select&table={table}&type=count&where=n:NUMEQ:-1").json()["count"])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        began = time.monotonic()
        looks, states = 0, set()
        while time.monotonic() < began + (60 if torture() else 3) or looks <= 50 or len(states) <= 20:
            assert time.monotonic() < began + 180
            for one, two in (("first", "second"), ("second", "first")):
                before, between, after = number(one), number(two), number(one)
                assert before <= between <= after
                assert rows(one) % 7 == 0
                looks += 1
                states.add(between)
    finally:
        ends.set()
        thread.join()
    node.assert_equal()
    assert number("first") == number("second") == done


def test_a_huge_transaction_takes_bounded_memory_and_is_not_shown_half_without_saying_so(
    node: Node, writer: Connection, record_property: Any
) -> None:
    run(writer, "INSERT INTO big VALUES (-1,10,'half'),(-2,10,'half')")
    insert_numbers(writer, "big", 2_000, "n % 7", LONG)
    run(writer, "DELETE FROM big WHERE id >= 0")
    writer.commit()
    node.assert_equal(["big"])
    worker = node.worker()
    assert isinstance(worker, psutil.Process)
    before = most = worker.memory_info().rss
    run(writer, "UPDATE big SET uid = 5 WHERE id = -1")
    insert_numbers(writer, "big", BIG_ROWS, "n % 7", LONG)
    run(writer, "UPDATE big SET uid = 15 WHERE id = -2")
    told = node.log().count(CATCHING_UP)
    writer.commit()
    until = time.monotonic() + 120
    is_here = False
    while not is_here or node.status()["state"] != "following":
        is_here = bool(node.live.rows("table=big&where=id:NUMEQ:-2|uid:NUMEQ:15"))
        state = node.status()["state"]
        total = sum(row["uid"] for row in node.live.rows("table=big&type=uid&where=id:NUMLT:0"))
        assert total == 20 or "catching up" in (state, node.status()["state"]), (total, state)
        most = max(most, worker.memory_info().rss)
        assert time.monotonic() < until
    record_property("MB that the worker grew by", (most - before) >> 20)
    assert (most - before) >> 20 < MOST_MB
    assert node.log().count(CATCHING_UP) > told
    assert node.live.get("command=select&table=big&type=count").json() == {"count": BIG_ROWS + 2}
    node.assert_equal(list(TABLES) if torture() else ["posts", "words", "first", "second"])
    run(writer, "DELETE FROM big")
    writer.commit()
    node.assert_equal()
