"""Hints leave before their transaction ends: what is rolled back was pushed all the same. Asserted as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pymysql
import pytest

from tests.udf.library import Cursor, Loader, value
from tests.udf.receiver import Receiver, until


@pytest.fixture
def pushed(loader: Loader, receiver: Receiver) -> Iterator[Receiver]:
    # seconds, so that nothing that is counted here is lost on a busy machine
    loader.load(
        f"target = {receiver.target}", "source = shop", "token = t", "timeout_ms = 5000", "connect_timeout_ms = 5000"
    )
    yield receiver


def told(receiver: Receiver) -> list[str]:
    """Operation and key of every hint."""
    return [f"{request.line.split('&op=')[1][0]}{request.body.decode()}" for request in receiver.requests]


def rows(cursor: Cursor) -> list[int]:
    cursor.execute("SELECT id FROM posts ORDER BY id")
    return [key for (key,) in cursor.fetchall()]


def test_a_rollback_was_pushed(pushed: Receiver, cursor: Cursor) -> None:
    cursor.execute("START TRANSACTION")
    cursor.execute("INSERT INTO posts VALUES (1, 0)")
    cursor.execute("ROLLBACK")
    assert told(pushed) == ["I1"] and rows(cursor) == []


def test_what_a_savepoint_takes_back_was_pushed(pushed: Receiver, cursor: Cursor) -> None:
    for statement in (
        "START TRANSACTION",
        "INSERT INTO posts VALUES (1, 0)",
        "SAVEPOINT s",
        "INSERT INTO posts VALUES (2, 0)",
        "ROLLBACK TO SAVEPOINT s",
        "COMMIT",
    ):
        cursor.execute(statement)
    assert told(pushed) == ["I1", "I2"] and rows(cursor) == [1]


def test_rows_before_a_duplicate_key_were_pushed(pushed: Receiver, cursor: Cursor) -> None:
    cursor.execute("INSERT INTO posts VALUES (3, 0)")
    with pytest.raises(pymysql.err.IntegrityError):
        cursor.execute("INSERT INTO posts VALUES (1, 0), (2, 0), (3, 0), (4, 0)")
    assert told(pushed) == ["I3", "I1", "I2"] and rows(cursor) == [3]


def test_what_a_deadlock_victim_did_was_pushed(loader: Loader, pushed: Receiver, cursor: Cursor) -> None:
    cursor.execute("INSERT INTO posts VALUES (1, 0), (2, 0)")
    victims = []
    both_hold_one = threading.Barrier(2)

    def update(first: int, second: int) -> None:
        with loader.server.connect("shop", autocommit=False) as connection:
            own = connection.cursor()
            own.execute("UPDATE posts SET n = n + 1 WHERE id = %s", (first,))
            both_hold_one.wait()
            try:
                own.execute("UPDATE posts SET n = n + 1 WHERE id = %s", (second,))
                connection.commit()
            except pymysql.err.OperationalError as error:
                victims.append(error.args[0])

    writers = [threading.Thread(target=update, args=order) for order in ((1, 2), (2, 1))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert victims == [1213]
    assert sorted(told(pushed)) == ["I1", "I2", "U1", "U1", "U2"] or sorted(told(pushed)) == [
        "I1",
        "I2",
        "U1",
        "U2",
        "U2",
    ]
    assert value(cursor, "SUM(n) FROM posts") == 2


@pytest.mark.parametrize(
    ("statement", "hints"),
    [
        ("INSERT INTO posts VALUES (1, 9) ON DUPLICATE KEY UPDATE n = 9", ["U1"]),
        ("REPLACE INTO posts VALUES (1, 9)", ["D1", "I1"]),
        ("INSERT IGNORE INTO posts VALUES (1, 9)", []),
        ("UPDATE posts SET n = 0 WHERE id = 1", ["U1"]),
        ("UPDATE posts SET id = 7 WHERE id = 1", ["U7"]),
        ("DELETE FROM posts", ["D1", "D2"]),
        ("TRUNCATE TABLE posts", []),
        ("INSERT INTO posts SELECT id + 10, 0 FROM posts", ["I11", "I12"]),
    ],
)
def test_what_each_statement_says(pushed: Receiver, cursor: Cursor, statement: str, hints: list[str]) -> None:
    cursor.execute("INSERT INTO posts VALUES (1, 0), (2, 0)")
    pushed.requests.clear()
    cursor.execute(statement)
    assert told(pushed) == hints


def test_a_foreign_key_that_cascades_says_nothing(pushed: Receiver, cursor: Cursor) -> None:
    cursor.execute("CREATE TABLE parent (id INT PRIMARY KEY) ENGINE=InnoDB")
    cursor.execute("ALTER TABLE posts ADD FOREIGN KEY (n) REFERENCES parent (id) ON DELETE CASCADE")
    cursor.execute("INSERT INTO parent VALUES (1)")
    cursor.execute("INSERT INTO posts VALUES (5, 1)")
    cursor.execute("DELETE FROM parent")
    assert rows(cursor) == [] and told(pushed) == ["I5"]
    cursor.execute("DROP TABLE posts")


def test_a_hint_comes_before_its_row_can_be_seen(loader: Loader, pushed: Receiver, cursor: Cursor) -> None:
    with loader.server.connect("shop", autocommit=False) as writer:
        writer.cursor().execute("INSERT INTO posts VALUES (1, 0)")
        until(lambda: told(pushed) == ["I1"], "the hint")
        assert rows(cursor) == []
        writer.commit()
    assert rows(cursor) == [1]
