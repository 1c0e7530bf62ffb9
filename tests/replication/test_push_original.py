"""The original's way, literally: triggers by hand post whole rows. It works, and its weaknesses are what they are.

What ``docs/push.md`` says of this form is asserted here, the bad part too: a reader must be able to rely on both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.serving import Running, serving, wait_for
from tests.replication.pushing import OTHER_PORT, PORT, PushServer

Cursor = Any

_COLUMNS = ("uid", "username", "dateline", "title", "price", "hot")
_TABLE = """CREATE TABLE sns_feed (feedid INT UNSIGNED PRIMARY KEY, uid INT, username VARCHAR(30), dateline DATETIME,
    title VARCHAR(200), price DECIMAL(12,3), hot BIGINT UNSIGNED) ENGINE=InnoDB"""
_ROW = ",".join(f"'{name}',{name}" for name in _COLUMNS)
#: As published: the row is read again by its key, made JSON, encoded and posted; the result is not looked at.
_POST = """CREATE OR REPLACE TRIGGER sns_feed_{event} AFTER {event} ON sns_feed FOR EACH ROW BEGIN
    SET @tcsql_result_json = (SELECT JSON_OBJECT('pkey',feedid,{row}) FROM sns_feed WHERE feedid = {key} LIMIT 1);
    SET @tcsql_result_eval = (SELECT http_post('127.0.0.1','{port}','command=insert', urlencode(@tcsql_result_json)));
    END"""
_DELETE = """CREATE OR REPLACE TRIGGER sns_feed_delete AFTER DELETE ON sns_feed FOR EACH ROW
    SET @tcsql_result_eval =
    (SELECT http_post('127.0.0.1','{port}',CONCAT('command=delete&where=pkey:NUMEQ:', OLD.feedid)))"""


_SHIPPED = Path(__file__).parents[2] / "mysql_udf_sync" / "sql" / "trigger_2010.sql"


@pytest.fixture(scope="module")
def mariadb(mariadb_that_calls: PushServer) -> PushServer:
    return mariadb_that_calls


@pytest.fixture
def shop(mariadb: PushServer) -> Iterator[Cursor]:
    with mariadb.database("sns") as connection:
        cursor = connection.cursor()
        cursor.execute(_TABLE)
        post_to(cursor, PORT)
        yield cursor


def post_to(cursor: Cursor, port: int) -> None:
    for event, key in (("insert", "NEW.feedid"), ("update", "OLD.feedid")):
        cursor.execute(_POST.format(event=event, key=key, row=_ROW, port=port))
    cursor.execute(_DELETE.format(port=port))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("original") / "data", "--port", str(PORT)) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def feed(served: Running) -> Running:
    """A TCSQL of its own, with the empty table."""
    served.sql("DROP TABLE IF EXISTS sns_feed")
    served.sql(_TABLE)
    return served


def ours(feed: Running) -> list[dict[str, Any]]:
    return feed.rows("table=sns_feed")


def theirs(shop: Cursor) -> list[dict[str, Any]]:
    names = ("feedid", *_COLUMNS)
    shop.execute("SELECT feedid,uid,username,CAST(dateline AS CHAR),title,CAST(price AS CHAR),hot FROM sns_feed")
    return [dict(zip(names, row, strict=True)) for row in shop.fetchall()]


def write(shop: Cursor) -> None:
    for number in range(1, 6):
        shop.execute(
            "INSERT INTO sns_feed VALUES (%s,%s,%s,%s,%s,%s,%s)",
            (number, number % 2, "张三", f"2010-09-0{number} 05:27:07", 'a\t"b" \\ 100% & {c}+%41', "1.250", 2**64 - 1),
        )


def test_rows_arrive_whole_are_replaced_and_deleted(feed: Running, shop: Cursor) -> None:
    write(shop)
    assert ours(feed) == theirs(shop)
    assert len(ours(feed)) == 5
    shop.execute("UPDATE sns_feed SET title = NULL, uid = 7 WHERE feedid < 3")
    shop.execute("DELETE FROM sns_feed WHERE feedid = 5")
    shop.execute("REPLACE INTO sns_feed VALUES (4,1,'x','2010-01-01 00:00:00','y',9,9),(6,1,NULL,NULL,NULL,NULL,NULL)")
    shop.execute("INSERT INTO sns_feed (feedid) VALUES (3) ON DUPLICATE KEY UPDATE hot = 5")
    assert ours(feed) == theirs(shop)
    assert len(ours(feed)) == 5


def test_a_rollback_cannot_be_recalled(feed: Running, shop: Cursor) -> None:
    write(shop)
    shop.execute("BEGIN")
    shop.execute("INSERT INTO sns_feed (feedid,uid) VALUES (100,1)")
    shop.execute("UPDATE sns_feed SET uid = 99 WHERE feedid = 1")
    shop.execute("DELETE FROM sns_feed WHERE feedid = 2")
    shop.execute("ROLLBACK")
    assert len(theirs(shop)) == 5
    assert [row["feedid"] for row in ours(feed)] == [1, 3, 4, 5, 100], "one row too much, one too few"
    assert ours(feed)[0]["uid"] == 99, "and one that never was"


def test_rows_in_front_of_the_one_that_fails_are_phantoms(feed: Running, shop: Cursor) -> None:
    shop.execute("INSERT INTO sns_feed (feedid) VALUES (3)")
    with pytest.raises(Exception, match="Duplicate entry"):
        shop.execute("INSERT INTO sns_feed (feedid) VALUES (1),(2),(3)")
    assert [row["feedid"] for row in theirs(shop)] == [3]
    assert [row["feedid"] for row in ours(feed)] == [1, 2, 3]


def test_an_update_of_the_key_leaves_the_old_row_and_brings_no_new_one(feed: Running, shop: Cursor) -> None:
    shop.execute("INSERT INTO sns_feed (feedid) VALUES (1)")
    shop.execute("UPDATE sns_feed SET feedid = 2")
    assert [row["feedid"] for row in theirs(shop)] == [2]
    assert [row["feedid"] for row in ours(feed)] == [1]


def test_truncate_is_not_seen(feed: Running, shop: Cursor) -> None:
    write(shop)
    shop.execute("TRUNCATE sns_feed")
    assert theirs(shop) == []
    assert len(ours(feed)) == 5


def seen_wrong(shop: Cursor, running: Running) -> bool:
    """Roll something back; whether it shows."""
    shop.execute("BEGIN")
    shop.execute("INSERT INTO sns_feed (feedid) VALUES (3)")
    shop.execute("DELETE FROM sns_feed WHERE feedid = 1")
    shop.execute("ROLLBACK")
    return [row["feedid"] for row in ours(running)] == [2, 3]


def test_a_source_without_a_token_audits_what_is_posted(mariadb: PushServer, shop: Cursor, tmp_path: Path) -> None:
    """The table follows and takes rows all the same: what a rollback left behind goes with the next comparison."""
    post_to(shop, OTHER_PORT)
    shop.execute("INSERT INTO sns_feed (feedid) VALUES (1)")
    config = tmp_path / "tcsql.toml"
    config.write_text(
        f"""[source.sns]
        url = "mysql://root@localhost/sns?unix_socket={mariadb.socket}"
        mode = "push"
        tables = ["sns_feed"]
        audit_s = 1
        """
    )
    flags = ("--port", str(OTHER_PORT), "--config", str(config))
    with serving(tmp_path / "data", *flags) as running:
        wait_for(lambda: running.get("command=select&table=sns_feed").status_code == 200 and ours(running))
        shop.execute("INSERT INTO sns_feed (feedid) VALUES (2)")
        wait_for(lambda: ours(running) == theirs(shop))
        assert any(seen_wrong(shop, running) for _ in range(5)), "each time a comparison came in between?"
        wait_for(lambda: ours(running) == theirs(shop))
        assert running.stop() == 0


def test_the_shipped_triggers_follow_changes_of_the_key_too(mariadb: PushServer, feed: Running, shop: Cursor) -> None:
    shop.execute("DROP TRIGGER sns_feed_insert")
    shop.execute("DROP TRIGGER sns_feed_update")
    shop.execute("DROP TRIGGER sns_feed_delete")
    mariadb.load("sns", _SHIPPED.read_text().replace("'3888'", f"'{PORT}'").encode())
    columns = "feedid,uid,username,title"
    for statement in (
        f"INSERT INTO sns_feed ({columns}) VALUES (1,5,'张三','a + b & 100%'),(2,6,NULL,''),(3,7,'x','y')",
        "UPDATE sns_feed SET feedid = feedid + 10, title = 'moved' WHERE feedid < 3",
        "UPDATE sns_feed SET uid = NULL WHERE feedid = 11",
        "DELETE FROM sns_feed WHERE feedid = 12",
    ):
        shop.execute(statement)
    found = [[row[name] for name in columns.split(",")] for row in ours(feed)]
    assert found == [[3, 7, "x", "y"], [11, None, "张三", "moved"]]
    shop.execute(f"SELECT {columns} FROM sns_feed")
    assert [list(row) for row in shop.fetchall()] == found


def test_what_is_written_while_nobody_listens_is_lost(shop: Cursor, tmp_path: Path) -> None:
    post_to(shop, OTHER_PORT)
    with serving(tmp_path / "data", "--port", str(OTHER_PORT)) as running:
        running.sql(_TABLE)
        shop.execute("INSERT INTO sns_feed (feedid) VALUES (1)")
        assert running.stop() == 0
    assert shop.execute("INSERT INTO sns_feed (feedid) VALUES (2)") == 1, "the writer is not told"
    with serving(tmp_path / "data", "--port", str(OTHER_PORT)) as running:
        shop.execute("INSERT INTO sns_feed (feedid) VALUES (3)")
        assert [row["feedid"] for row in theirs(shop)] == [1, 2, 3]
        assert [row["feedid"] for row in ours(running)] == [1, 3]
        assert running.stop() == 0
