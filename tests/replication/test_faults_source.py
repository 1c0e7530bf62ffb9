"""The source is away, refuses us, is another one, or would empty us: reads go on, and what is wrong is said once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.mariadb import MariaDB
from tests.replication.following import PASSWORD, USER, Node, following

Connection = pymysql.connections.Connection
TABLE = "CREATE TABLE posts (id INT PRIMARY KEY, n INT NOT NULL) ENGINE=InnoDB"


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with MariaDB() as running:
        yield running


def fill(server: MariaDB, database: str = "shop") -> None:
    with server.connect() as connection:
        cursor = connection.cursor()
        cursor.execute(f"CREATE DATABASE {database}")
        connection.select_db(database)
        cursor.execute(TABLE)
        cursor.executemany("INSERT INTO posts VALUES (%s,%s)", [(each, each % 7) for each in range(200)])


@pytest.fixture(scope="module")
def shared(server: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    fill(server)
    directory = tmp_path_factory.mktemp("source")
    with following(server, "shop", directory, ["posts"], poll_ms=20, stale_ms=500) as running:
        yield running


@pytest.fixture
def node(shared: Node, server: MariaDB) -> Iterator[Node]:
    """A node that follows ``server`` with a new log, whatever a test before has left."""
    options = dict(shared.options)
    if shared.running is None:
        shared.start()
    shared.wait_until_following()
    yield shared
    if shared.running is not None:
        shared.stop()
    if shared.server is not server:
        shared.forget()
    shared.server, shared.options = server, options
    shared.write_config()


def run(server: MariaDB, *statements: str) -> None:
    with server.connect("shop") as connection:
        for statement in statements:
            connection.cursor().execute(statement)


def count(node: Node) -> int:
    return int(node.live.get("command=select&table=posts&type=count").json()["count"])


def log_of(node: Node) -> list[dict[str, Any]]:
    return [json.loads(line) for line in node.log().splitlines() if line.startswith("{")]


def told(node: Node, text: str) -> int:
    """How many log lines say so."""
    return sum(text in json.dumps(line) for line in log_of(node))


def test_reads_go_on_while_the_source_is_away_and_say_how_old_they_are(node: Node, server: MariaDB) -> None:
    def is_fresh() -> bool:  # sooner or later, as a busy machine may hold it up for half a second
        headers = node.live.get("command=select&table=posts&limit_max=1").headers
        return "tcsql-stale" not in headers and int(headers["tcsql-age-ms"]) < 500

    node.wait_for(is_fresh)
    server.stop()
    try:
        node.wait_for(lambda: node.status()["state"] == "away")
        time.sleep(0.7)
        stale = node.live.get("command=select&table=posts&limit_max=1")
        assert stale.status_code == 200
        assert stale.headers["tcsql-stale"]
        age = int(stale.headers["tcsql-age-ms"])
        assert age > 500
        assert count(node) == 200
        time.sleep(0.5)
        later = int(node.live.get("command=select&table=posts&limit_max=1").headers["tcsql-age-ms"])
        assert 300 < later - age < 3_000
        retries = node.status()["counts"]["reconnects"]
        assert 1 <= retries <= 12  # with growing pauses, not as fast as it can
        assert told(node, "is away") == 1
    finally:
        server.start()
    run(server, "UPDATE posts SET n = 99 WHERE id = 3")
    node.assert_equal()
    node.wait_for(is_fresh)
    assert told(node, "is away") == 1


def test_started_while_the_source_is_away_it_serves_what_it_holds(node: Node, server: MariaDB) -> None:
    node.stop()
    server.stop()
    try:
        node.start()
        answer = node.live.get("command=select&table=posts&type=count")
        assert answer.json() == {"count": 200}
        assert answer.headers["tcsql-stale"]
        node.wait_for(lambda: node.status()["state"] == "away")
    finally:
        server.start()
    node.wait_until_following()
    node.assert_equal()


def test_a_source_that_does_not_answer_is_away_too(node: Node, server: MariaDB) -> None:
    """SIGSTOP: the connection stands, nothing comes. Reads go on, the age grows; afterwards it follows."""
    assert server.process is not None
    server.process.send_signal(19)
    try:
        time.sleep(1)
        answer = node.live.get("command=select&table=posts&limit_max=1")
        assert answer.headers["tcsql-stale"]
        assert int(answer.headers["tcsql-age-ms"]) > 500
    finally:
        server.process.send_signal(18)
    run(server, "UPDATE posts SET n = 98 WHERE id = 3")
    node.assert_equal()


def test_writes_of_clients_are_refused_and_those_of_the_source_are_not(node: Node) -> None:
    for query, body in (
        ("command=insert&table=posts", {"id": 1, "n": 1}),
        ("command=sql", {"sql": "DROP TABLE posts"}),
    ):
        answer = node.live.post(query, body)
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "followed_table"
    node.assert_equal()


def test_a_password_that_is_wrong_is_told_with_what_to_do_and_reads_go_on(node: Node, server: MariaDB) -> None:
    node.stop()
    node.options["url"] = f"mysql://{USER}:other-words-8@localhost/shop?unix_socket={server.socket}"
    node.write_config()
    node.start()
    node.wait_for(lambda: node.status()["state"] == "stopped")
    status = node.status()
    assert USER in status["reason"]
    assert "password" in f"{status['reason']} {status['hint']}"
    assert "other-words-8" not in json.dumps(status) + node.log()
    assert count(node) == 200
    assert node.live.get("command=select&table=posts&limit_max=1").headers["tcsql-stale"]
    time.sleep(1.5)
    assert told(node, "is stopped") == 1
    run(server, f"ALTER USER {USER}@localhost IDENTIFIED BY 'other-words-8'")
    try:
        node.wait_until_following()
        node.assert_equal()
    finally:
        run(server, f"ALTER USER {USER}@localhost IDENTIFIED BY '{PASSWORD}'")


def test_a_right_that_is_missing_is_told_with_the_statement_that_grants_it(node: Node, server: MariaDB) -> None:
    run(server, "CREATE OR REPLACE USER poor@localhost", "GRANT SELECT ON shop.posts TO poor@localhost")
    node.stop()
    node.options["url"] = f"mysql://poor@localhost/shop?unix_socket={server.socket}"
    node.write_config()
    node.start()
    node.wait_for(lambda: node.status()["state"] == "stopped")
    status = node.status()
    assert "GRANT" in f"{status['reason']} {status['hint']}"


def test_another_server_behind_the_same_address_stops_it_until_somebody_says_yes(
    node: Node, server: MariaDB, tmp_path: Path
) -> None:
    node.stop()
    with MariaDB() as other:
        fill(other)
        with other.connect("shop") as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE TABLE marker (id INT PRIMARY KEY, n BIGINT NOT NULL) ENGINE=InnoDB")
            cursor.execute("INSERT INTO marker VALUES (1,0)")
            cursor.execute("UPDATE posts SET n = 1000")
            cursor.execute("DELETE FROM posts WHERE id < 10")
        node.server = other
        node.write_config()
        node.setup()
        node.start()
        node.wait_for(lambda: node.status()["state"] in ("stopped", "asking"))
        assert "tcsql mysql accept" in node.status()["hint"]
        time.sleep(0.3)
        assert count(node) == 200
        node.ask("accept")
        node.wait_until_following()
        node.assert_equal()
        assert count(node) == 190


def test_when_more_than_half_of_the_rows_would_go_it_stops_and_asks(node: Node, server: MariaDB) -> None:
    node.tables.remove("posts")
    node.stop()
    node.write_config()
    node.start()
    node.settle()
    run(server, "DELETE FROM posts WHERE id < 150")
    node.settle()  # posts is not followed now: noted, and consumed
    node.stop()
    node.tables.append("posts")
    node.write_config()
    node.start()
    node.wait_for(lambda: node.status()["state"] == "asking")
    assert "tcsql mysql accept" in node.status()["hint"]
    time.sleep(1.5)
    assert told(node, "is asking") == 1
    assert count(node) == 200
    node.ask("accept")
    node.wait_until_following()
    node.assert_equal()
    assert count(node) == 50


def test_an_account_of_triggers_that_is_dropped_is_told(node: Node, server: MariaDB) -> None:
    """Every write to the table fails then: the application says so, and check names the remedy."""
    with server.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT definer FROM information_schema.triggers WHERE trigger_schema = 'shop'")
        [definer] = cursor.fetchall()
        user, _, host = definer[0].partition("@")
        if user == "root":
            cursor.execute("CREATE OR REPLACE USER definer@localhost")
            cursor.execute("GRANT ALL ON shop.* TO definer@localhost")
            cursor.execute("SHOW CREATE TRIGGER " + _first_trigger(cursor))
            statement = cursor.fetchone()[2]
            name = statement.split("TRIGGER")[1].split()[0]
            cursor.execute(f"DROP TRIGGER {name}")
            cursor.execute(statement.replace("DEFINER=`root`@`localhost`", "DEFINER=`definer`@`localhost`"))
            user, host = "definer", "localhost"
        cursor.execute(f"DROP USER '{user}'@'{host}'")
        with pytest.raises(pymysql.err.OperationalError):
            cursor.execute("INSERT INTO posts VALUES (5000,1)")
    done = node.check()
    assert done.returncode != 0
    assert user in done.stdout + done.stderr
    node.setup()
    run(server, "INSERT INTO posts VALUES (5000,1)")
    node.wait_until_following()
    node.assert_equal()


def _first_trigger(cursor: Any) -> str:
    cursor.execute(
        """SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = 'shop'
        AND event_object_table = 'posts' AND event_manipulation = 'INSERT'"""
    )
    return f"`{cursor.fetchone()[0]}`"
