"""The same binary in MySQL 9: what the servers share needs no second look, what a server could do otherwise does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from tests.replication.mysql9 import MySQL9, needs_mysql9
from tests.udf.conftest import POSTS
from tests.udf.library import Cursor, Loader, info, value
from tests.udf.receiver import Receiver, until

pytestmark = needs_mysql9


@pytest.fixture(scope="module")
def mysql(loader: Loader) -> Iterator[Loader]:
    beside = Loader(loader.conf.parent, MySQL9)
    with beside.server:
        yield beside
        assert beside.alive


@pytest.fixture
def posts(mysql: Loader) -> Iterator[Cursor]:
    with mysql.server.database("shop") as connection:
        cursor = connection.cursor()
        for statement in POSTS.split(";\n"):
            cursor.execute(statement)
        yield cursor


def load(mysql: Loader, receiver: Receiver, *more: str) -> str:
    return mysql.load(f"target = {receiver.target}", "source = shop", *more)


def test_every_function_works(mysql: Loader, posts: Cursor) -> None:
    with Receiver() as receiver:
        load(mysql, receiver, f"allow = {receiver.target}", "timeout_ms = 5000", "connect_timeout_ms = 5000")
        posts.execute("INSERT INTO posts VALUES (1, 0), (2, 0)")
        posts.execute("DELETE FROM posts WHERE id = 1")
        assert receiver.bodies == [b"1", b"2", b"1"] and receiver.connections == 1
        assert value(posts, "tcsql_push('posts', 'I', %s)", b"a\0" * 32769) is None
        assert value(posts, "tcsql_push('posts', 'I', NULL)") is None and value(posts, "tcsql_doorbell()") == 0
        assert value(posts, "http_post('127.0.0.1', %s, 'a=b', urlencode('ü'))", receiver.port) == 200
        assert receiver.bodies[-1] == b"%C3%BC"
        found = value(
            posts, "tcsql_json_object(id AS pkey, p.n, 1.50 AS d, 0.1e0 AS r, 'ü\"' AS s, NULL AS x) FROM posts p"
        )
        assert orjson.loads(found) == {"pkey": 2, "n": 0, "d": 1.5, "r": 0.1, "s": 'ü"', "x": None}
        assert info(posts)["lost"] == 1


def test_dropped_functions_leave_no_trap_behind(mysql: Loader, posts: Cursor, tmp_path: Path) -> None:
    with Receiver(tmp_path / "r") as receiver:
        load(mysql, receiver)
        writers = [mysql.server.connect("shop") for _ in range(5)]
        for key, writer in enumerate(writers):
            writer.cursor().execute("INSERT INTO posts VALUES (%s, 0)", (key,))
        posts.execute("DROP FUNCTION tcsql_push")
        for writer in writers:
            writer.close()
        until(lambda: receiver.open == 0, "connections closed")
        assert mysql.alive


def test_a_new_version_comes_in_under_a_lock_without_one_failed_write(
    mysql: Loader, posts: Cursor, tmp_path: Path
) -> None:
    with Receiver(tmp_path / "old") as old, Receiver(tmp_path / "new") as new:
        load(mysql, old, "timeout_ms = 5000")
        stop = threading.Event()

        def write() -> int:
            with mysql.server.connect("shop") as connection:
                key = 0
                while not stop.is_set():
                    connection.cursor().execute("INSERT INTO posts VALUES (%s, 0)", (key,))
                    key += 1
                return key

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            until(lambda: len(old.requests) > 30, "hints by the old version")
            posts.execute("FLUSH TABLES posts WITH READ LOCK")
            load(mysql, new, "timeout_ms = 5000")
            posts.execute("UNLOCK TABLES")
            until(lambda: len(new.requests) > 30, "hints by the new version")
            stop.set()
            written = writer.result()
        assert len(old.requests) + len(new.requests) == written
