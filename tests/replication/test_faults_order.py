"""Outbox: whatever the order in which transactions begin, number their rows and commit, nothing is lost and nothing
invented. Through the real server process, on MariaDB and MySQL.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pymysql
import pytest

from tests.replication.following import SERVERS_IN_TURN, Node, following, torture

Connection = pymysql.connections.Connection
TABLE = "CREATE TABLE posts (id INT PRIMARY KEY, uid INT NOT NULL, title VARCHAR(40), KEY (uid)) ENGINE=InnoDB"
WORDS = """CREATE TABLE words (word VARCHAR(20) NOT NULL, part CHAR(4) NOT NULL, n INT, PRIMARY KEY (word, part))
    ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"""

#: Logged when it begins: the state itself may be over before anybody asks for it.
CATCHING_UP = "source shop is catching up"


@pytest.fixture(scope="module", params=SERVERS_IN_TURN)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with request.param() as server, server.database("shop") as connection:
        for statement in (TABLE, WORDS):
            connection.cursor().execute(statement)
        directory = tmp_path_factory.mktemp("order")
        more = '[server]\nlog_level = "info"'
        with following(server, "shop", directory, ["posts", "words"], poll_ms=5, more=more) as running:
            yield running


@pytest.fixture
def writer(node: Node) -> Iterator[Connection]:
    with node.server.connect("shop", autocommit=False) as connection:
        connection.cursor().execute("DELETE FROM posts")
        connection.cursor().execute("DELETE FROM words")
        connection.commit()
        yield connection


@pytest.fixture
def other(node: Node) -> Iterator[Connection]:
    with node.server.connect("shop", autocommit=False) as connection:
        yield connection


def run(connection: Connection, statement: str, *values: object) -> None:
    connection.cursor().execute(statement, values)


def ids(node: Node, where: str = "") -> list[int]:
    return [row["id"] for row in node.live.rows("table=posts&limit_max=10000" + where)]


def outbox_rows(node: Node) -> int:
    with node.server.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM tcsql_outbox WHERE tab <> ''")
        return int(cursor.fetchone()[0])


def test_a_lower_number_that_commits_later_is_not_passed_over(
    node: Node, writer: Connection, other: Connection
) -> None:
    for round_ in range(10):
        run(writer, "INSERT INTO posts VALUES (%s,1,'numbered first, committed last')", 2 * round_)
        run(other, "INSERT INTO posts VALUES (%s,2,'numbered last, committed first')", 2 * round_ + 1)
        other.commit()
        node.settle()
        assert 2 * round_ + 1 in ids(node)
        assert 2 * round_ not in ids(node)
        writer.commit()
        node.settle()
        assert 2 * round_ in ids(node)
    node.assert_equal()


def test_two_late_transactions_that_touch_one_row_leave_the_last_state(
    node: Node, writer: Connection, other: Connection
) -> None:
    run(writer, "INSERT INTO posts VALUES (1,0,'first'),(2,0,'x')")
    writer.commit()
    for number in range(1, 20):
        run(writer, "UPDATE posts SET uid = %s WHERE id = 2", number)
        run(other, "UPDATE posts SET uid = %s WHERE id = 1", number)
        other.commit()
        run(writer, "UPDATE posts SET uid = -%s WHERE id = 1", number)
        writer.commit()
    node.assert_equal()
    assert ids(node, "&where=uid:NUMEQ:-19") == [1]


def test_holes_that_rollbacks_leave_hold_nothing_up(node: Node, writer: Connection) -> None:
    for number in range(200):
        run(writer, "INSERT INTO posts VALUES (%s,1,'kept?')", number)
        if number % 3:
            writer.rollback()
        else:
            writer.commit()
    node.assert_equal()
    assert ids(node) == list(range(0, 200, 3))
    node.wait_for(lambda: outbox_rows(node) == 0)


def test_what_was_rolled_back_to_a_savepoint_is_never_seen(node: Node, writer: Connection) -> None:
    run(writer, "INSERT INTO posts VALUES (1,1,'before')")
    run(writer, "SAVEPOINT here")
    run(writer, "INSERT INTO posts VALUES (2,1,'phantom')")
    run(writer, "UPDATE posts SET title = 'phantom' WHERE id = 1")
    node.settle()
    assert ids(node) == []
    run(writer, "ROLLBACK TO SAVEPOINT here")
    run(writer, "INSERT INTO posts VALUES (3,1,'after')")
    writer.commit()
    node.assert_equal()
    assert [row["title"] for row in node.live.rows("table=posts")] == ["before", "after"]


def test_a_statement_that_fails_at_its_third_row_leaves_no_trace(node: Node, writer: Connection) -> None:
    run(writer, "INSERT INTO posts VALUES (5,1,'there')")
    writer.commit()
    with pytest.raises(pymysql.err.IntegrityError):
        run(writer, "INSERT INTO posts VALUES (3,1,'x'),(4,1,'x'),(5,1,'twice'),(6,1,'x')")
    run(writer, "INSERT INTO posts VALUES (7,1,'same transaction')")
    writer.commit()
    node.assert_equal()
    assert ids(node) == [5, 7]


def test_a_transaction_that_stays_open_across_many_polls_arrives_when_it_commits(
    node: Node, writer: Connection, other: Connection
) -> None:
    polls = 1_000 if torture() else 100
    run(writer, "INSERT INTO posts VALUES (1,1,'waits')")
    before = node.status()["counts"]["steps"]
    number = 1
    while node.status()["counts"]["steps"] < before + polls:
        number += 1
        run(other, "INSERT INTO posts VALUES (%s,2,'goes on')", number)
        other.commit()
        assert 1 not in ids(node, "&where=uid:NUMEQ:1")
    writer.commit()
    node.assert_equal()
    assert ids(node) == list(range(1, number + 1))


def test_keys_that_change_swap_come_back_or_are_written_a_hundred_times(node: Node, writer: Connection) -> None:
    run(writer, "INSERT INTO posts VALUES (1,1,'one'),(2,2,'two'),(3,3,'three'),(4,4,'four')")
    writer.commit()
    node.assert_equal()
    run(writer, "UPDATE posts SET id = 10 WHERE id = 1")
    writer.commit()
    node.assert_equal()
    for old, new in ((2, -1), (3, 2), (-1, 3)):
        run(writer, "UPDATE posts SET id = %s WHERE id = %s", new, old)
    writer.commit()
    node.assert_equal()
    assert [row["title"] for row in node.live.rows("table=posts")] == ["three", "two", "four", "one"]
    run(writer, "DELETE FROM posts WHERE id = 4")
    run(writer, "INSERT INTO posts VALUES (4,44,'again')")
    writer.commit()
    node.assert_equal()
    run(writer, "INSERT INTO posts VALUES (5,5,'came')")
    run(writer, "DELETE FROM posts WHERE id = 5")
    writer.commit()
    node.assert_equal()
    for number in range(100):
        run(writer, "UPDATE posts SET uid = %s WHERE id = 2", number)
    writer.commit()
    node.assert_equal()
    assert node.live.rows("table=posts&where=id:NUMEQ:2")[0]["uid"] == 99
    run(writer, "UPDATE posts SET id = id + 100 ORDER BY id DESC")
    run(writer, "UPDATE posts SET id = id - 99 ORDER BY id")
    writer.commit()
    node.assert_equal()


def test_keys_that_mysql_holds_equal_are_one_row_here(node: Node, writer: Connection) -> None:
    run(writer, "INSERT INTO words VALUES ('anna','a',1),('Émile','b',2)")
    writer.commit()
    node.assert_equal()
    for spelling in ("ANNA", "Anna", "ánna", "anna "):
        run(writer, "UPDATE words SET word = %s WHERE word = 'anna'", spelling)
        writer.commit()
        node.assert_equal()
        assert len(node.live.rows("table=words")) == 2
    run(writer, "REPLACE INTO words VALUES ('ANNA','A',3)")
    run(writer, "INSERT INTO words VALUES ('émile','B',9) ON DUPLICATE KEY UPDATE n = 10")
    writer.commit()
    node.assert_equal()
    run(writer, "DELETE FROM words WHERE word = 'emile'")
    run(writer, "INSERT INTO words VALUES ('EMILE','b',5)")
    writer.commit()
    node.assert_equal()
    assert sorted(row["word"] for row in node.live.rows("table=words")) == ["ANNA", "EMILE"]


def test_numbers_of_the_outbox_that_begin_again_are_harmless(node: Node, writer: Connection) -> None:
    for number in range(3):
        run(writer, "INSERT INTO posts VALUES (%s,1,'x')", number)
        writer.commit()
        node.assert_equal()
        node.wait_for(lambda: outbox_rows(node) == 0)
        run(writer, "ALTER TABLE tcsql_outbox AUTO_INCREMENT = 1")
    run(writer, "UPDATE posts SET uid = 2")
    writer.commit()
    node.assert_equal()


def fill(writer: Connection, rows: int, first: int = 0) -> None:
    for start in range(first, first + rows, 10_000):
        values = ",".join(f"({number},1,'filler')" for number in range(start, start + 10_000))
        run(writer, f"INSERT INTO posts VALUES {values}")


def test_a_transaction_that_a_poll_cuts_in_two_is_never_shown_half_without_saying_so(
    node: Node, writer: Connection, other: Connection
) -> None:
    rows = 300_000 if torture() else 60_000
    run(writer, "INSERT INTO posts VALUES (-1,10,'half'),(-2,10,'half')")
    writer.commit()
    node.settle()
    node.stop()
    run(writer, "UPDATE posts SET uid = 5 WHERE id = -1")
    fill(other, rows)
    other.commit()
    run(writer, "UPDATE posts SET uid = 15 WHERE id = -2")
    writer.commit()
    node.start()
    until = time.monotonic() + 120
    while len(ids(node, f"&where=id:NUMEQ:{rows - 1}")) == 0 or node.status()["state"] != "following":
        before = node.status()["state"]
        halves = node.live.rows("table=posts&type=uid&where=id:NUMLT:0")
        states = {before, node.status()["state"]}
        total = sum(row["uid"] for row in halves)
        assert total == 20 or states & {"connecting", "catching up"}, (halves, states)
        assert time.monotonic() < until
    assert CATCHING_UP in node.log()
    node.assert_equal()


def test_a_backlog_is_worked_off_and_ends_equal(node: Node, writer: Connection) -> None:
    """More rows than one poll takes; above 50,000 a poll is not one state, and the status says so."""
    rows = 1_000_000 if torture() else 60_000
    fill(writer, rows)
    run(writer, "UPDATE posts SET uid = 2 WHERE id IN (0, %s)", rows - 1)
    node.wait_until_following()  # what tests before have left may be worked off still, and would be told once for both
    told = node.log().count(CATCHING_UP)
    writer.commit()
    node.wait_for(lambda: ids(node, f"&where=id:NUMEQ:{rows - 1}"), 300)
    node.assert_equal()
    assert node.log().count(CATCHING_UP) > told
    assert node.live.get("command=select&table=posts&type=count").json() == {"count": rows}
