"""The push from end to end: triggers set up by the program, its function in a real server, a real TCSQL.

All rows are copied at the start; what comes later is there by hints alone: no audit is due within a test, unless the
test is about audits. ``by_hints`` holds that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from tests.replication.following import MARKER
from tests.replication.pushing import SOON_S, TOKEN, PushNode, PushServer, pushing
from tests.replication.workload_tables import SCHEMA, VALUES

POSTS = "CREATE TABLE posts (id INT PRIMARY KEY, uid INT, title VARCHAR(200), KEY (uid)) ENGINE=InnoDB"


@pytest.fixture(scope="module")
def mariadb(mariadb_that_calls: PushServer) -> PushServer:
    return mariadb_that_calls


@pytest.fixture(scope="module")
def shop(mariadb: PushServer) -> Iterator[Any]:
    with mariadb.database("shop") as connection:
        cursor = connection.cursor()
        cursor.execute(MARKER)
        cursor.execute(POSTS)
        cursor.execute(SCHEMA["wide"])
        cursor.execute("INSERT INTO posts SELECT seq, seq % 7, CONCAT('title ', seq) FROM seq_1_to_1000")
        yield cursor


@pytest.fixture(scope="module")
def node(mariadb: PushServer, shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushNode]:
    with pushing(mariadb, tmp_path_factory.mktemp("push") / "node", "posts", "wide", check_s=60) as made:
        made.begin()
        yield made


def test_writes_of_all_kinds_arrive(node: PushNode, shop: Any) -> None:
    with node.by_hints():
        shop.execute("INSERT INTO posts VALUES (-1,1,'new'),(-2,1,NULL)")
        shop.execute("UPDATE posts SET title = 'changed' WHERE id BETWEEN 10 AND 300")
        shop.execute("DELETE FROM posts WHERE id BETWEEN 400 AND 450")
    with node.by_hints():
        shop.execute("UPDATE posts SET id = id + 10000 WHERE id BETWEEN 500 AND 600")
        shop.execute("REPLACE INTO posts VALUES (1,1,'replaced'),(2000,2,'new')")
        shop.execute("INSERT INTO posts VALUES (2,9,'x') ON DUPLICATE KEY UPDATE title = 'merged', id = 2002")
    with node.by_hints():
        shop.execute("BEGIN")
        shop.execute("UPDATE posts SET id = 0 WHERE id = 3")
        shop.execute("UPDATE posts SET id = 3 WHERE id = 4")
        shop.execute("UPDATE posts SET id = 4 WHERE id = 0")
        shop.execute("COMMIT")


def test_values_of_all_types_arrive_as_select_gives_them(node: PushNode, shop: Any) -> None:
    shop.execute("SET SESSION sql_mode = ''")  # zero dates, too
    names = ",".join(VALUES)
    marks = ",".join(["%s"] * (len(VALUES) + 1))
    with node.by_hints():
        for number in range(5):
            row = [values[number % len(values)] for values in VALUES.values()]
            shop.execute(f"INSERT INTO wide (id,{names}) VALUES ({marks})", [2**64 - 1 - number, *row])
    assert len(node.live.rows("table=wide")) == 5
    with node.by_hints():
        for number in range(5):
            changes = ",".join(f"{name} = %s" for name in VALUES)
            row = [values[(number + 1) % len(values)] for values in VALUES.values()]
            shop.execute(f"UPDATE wide SET {changes} WHERE id = %s", [*row, 2**64 - 1 - number])


def test_a_row_that_is_committed_late_arrives_by_a_later_reading(node: PushNode, shop: Any) -> None:
    with node.by_hints():
        shop.execute("BEGIN")
        shop.execute("INSERT INTO posts VALUES (20000,1,'late')")
        shop.execute("UPDATE posts SET title = 'late' WHERE id = 20")
        time.sleep(1.0)
        assert node.live.rows("table=posts&where=pkey:NUMOREQ:20000&type=title") == []
        assert node.live.rows("table=posts&where=title:STREQ:late") == []
        shop.execute("COMMIT")


def test_what_is_rolled_back_is_never_seen(node: PushNode, mariadb: PushServer, shop: Any) -> None:
    with node.by_hints(), mariadb.connect("shop", autocommit=False) as writer:
        cursor = writer.cursor()
        cursor.execute("INSERT INTO posts VALUES (30000,1,'phantom')")
        cursor.execute("DELETE FROM posts WHERE id = 30")
        cursor.execute("SAVEPOINT a")
        cursor.execute("UPDATE posts SET title = 'phantom' WHERE id = 31")
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            assert node.live.rows("table=posts&where=title:STREQ:phantom") == []
            assert len(node.live.rows("table=posts&where=pkey:NUMEQ:30")) == 1
        writer.rollback()
        with pytest.raises(Exception, match="Duplicate entry"):
            shop.execute("INSERT INTO posts VALUES (30001,1,'phantom'),(30002,1,'phantom'),(31,1,'phantom')")


def test_only_the_token_of_the_source_opens_the_door(node: PushNode) -> None:
    assert node.hint("1").status_code == 202
    for wrong in ("x", TOKEN[:-1], TOKEN + "x", TOKEN.upper()):
        answer = node.hint("1", wrong)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


def test_forged_hints_change_nothing(node: PushNode, mariadb: PushServer, shop: Any) -> None:
    """Whoever may log in to the server may call its functions."""
    shop.execute("CREATE USER nobody@localhost")
    with node.by_hints(), pymysql.connect(unix_socket=mariadb.socket, user="nobody") as forger:
        cursor = forger.cursor()
        for table, key in (("posts", "1"), ("posts", "77777"), ("posts", "1 OR 1"), ("posts", "ä"), ("users", "1")):
            cursor.execute("SELECT tcsql_push(%s,'D',%s)", (table, key))
            [(status,)] = cursor.fetchall()
            assert status == {"ä": 400, "1": 202 if table == "posts" else 404}.get(key, 202)
    assert node.live.rows("table=posts&where=pkey:NUMEQ:77777") == []


def test_a_flood_of_hints_is_read_for_its_keys_alone(node: PushNode, shop: Any) -> None:
    """100,000 hints for 1,000 keys."""
    before = node.status()["counts"]
    worker = node.worker()
    assert worker is not None
    memory = worker.memory_info().rss
    body = "\n".join(map(str, range(1, 1_001)))
    with node.by_hints():
        for number in range(100):
            assert node.hint(body).json() == {"hints": 1_000}
            if number == 50:
                shop.execute("UPDATE posts SET title = CONCAT(title, '!') WHERE id < 500")
    node.wait_for(lambda: node.status()["counts"]["events"] - before["events"] >= 100_000)
    after = node.status()["counts"]
    assert after["rows"] - before["rows"] < 20_000, "a row that is the same is not given again"
    assert worker.memory_info().rss - memory < 32 << 20


def test_hints_that_were_lost_are_made_good_by_a_comparison(node: PushNode, shop: Any) -> None:
    """As when the function's circuit was open: it tells how many it could not deliver."""
    shop.execute(
        "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE EVENT_MANIPULATION = "
        "'INSERT' AND EVENT_OBJECT_TABLE = 'posts'"
    )
    [(name, body)] = shop.fetchall()
    for statement in (f"DROP TRIGGER `{name}`", "INSERT INTO posts VALUES (40000,1,'untold')"):
        shop.execute(statement)
    shop.execute("SET SESSION sql_mode = ''")
    shop.execute(f"CREATE TRIGGER `{name}` AFTER INSERT ON `posts` FOR EACH ROW {body}")
    assert node.differences() != {}
    copied = node.log().count("table posts is copied")
    assert node.hint("1", **{"tcsql-lost": "1"}).status_code == 202
    node.wait_until_equal(timeout_s=SOON_S)

    def is_told() -> bool:  # the look before the comparison may find that the trigger is another one
        return node.status()["counts"]["repaired"] == 1 or node.log().count("table posts is copied") > copied

    node.wait_for(is_told)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_is_written_while_nobody_listens_is_found_at_the_start(
    node: PushNode, mariadb: PushServer, shop: Any, end: str
) -> None:
    getattr(node, end)()
    shop.execute(
        f"INSERT INTO posts SELECT seq, 1, '{end}' FROM seq_50000_to_50100 ON DUPLICATE KEY UPDATE title = '{end}'"
    )
    shop.execute("DELETE FROM posts WHERE id BETWEEN 700 AND 710")
    shop.execute("SELECT JSON_VALUE(tcsql_udf_info(), '$.receivers[0].circuit')")
    assert shop.fetchall() == ((b"open",),), "the writer waits for nobody"
    node.start()
    node.wait_until_following()
    node.wait_until_equal(timeout_s=SOON_S)
    time.sleep(0.06)  # the circuit lets one through again
    shop.execute("UPDATE posts SET uid = 5 WHERE id = 50001")
    node.wait_until_equal(timeout_s=SOON_S)
