"""The Makefile, the tests in C under sanitizers, and the SQL files as an administrator runs them."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

import orjson
import pytest

from tests.udf.library import LIBRARY, SOURCE, Cursor, Loader, make, value
from tests.udf.receiver import Receiver

SQL = SOURCE / "sql"


def test_the_parts_pass_their_tests_under_sanitizers(loader: Loader) -> None:
    done = make("test", f"BUILD={loader.build}", f"CONF={loader.conf}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all right" in done.stdout
    assert "-fsanitize=address,undefined" in done.stdout and "-Werror" in done.stdout


def test_install_never_replaces_another_library_of_the_same_name(loader: Loader, tmp_path: Path) -> None:
    arguments = ("install", f"BUILD={loader.build}", f"CONF={loader.conf}")
    plugins = tmp_path / "plugins"
    for _ in range(2):  # the same again is nothing new
        done = make(*arguments, f"PLUGIN_DIR={plugins}")
        assert done.returncode == 0, done.stderr
    assert (plugins / LIBRARY).read_bytes() == (loader.build / LIBRARY).read_bytes()
    (plugins / LIBRARY).write_bytes(b"an older build")
    done = make(*arguments, f"PLUGIN_DIR={plugins}")
    assert done.returncode != 0 and "raise VERSION" in done.stderr
    done = make(*arguments, "PLUGIN_DIR=")
    assert done.returncode != 0 and "SELECT @@plugin_dir" in done.stderr


def test_sql_and_readme_name_the_file_that_is_built() -> None:
    for path in (*SQL.glob("*.sql"), SOURCE / "README.md"):
        assert set(re.findall(r"tcsql_udf_[0-9.]+so", path.read_text())) <= {LIBRARY}, path.name
    assert LIBRARY in (SQL / "install.sql").read_text()


@pytest.fixture
def by_hand(loader: Loader, cursor: Cursor) -> Cursor:
    """Functions registered by install.sql, all but json_object, which this server has."""
    name = loader.load("")
    loader.server.load("shop", (SQL / "uninstall.sql").read_bytes())
    text = (SQL / "install.sql").read_text().replace(LIBRARY, name)
    text = re.sub(r"^-- (CREATE FUNCTION (?!json_object))", r"\1", text, flags=re.MULTILINE)
    loader.server.load("shop", text.encode())
    for event in ("ins", "upd", "del"):
        cursor.execute(f"DROP TRIGGER posts_{event}")
    return cursor


def conf_for(loader: Loader, receiver: Receiver) -> None:
    """The functions anew, with a configuration; by hand it would be a restart of the server."""
    loader.load(
        f"target = {receiver.target}",
        "source = shop",
        "allow = 127.0.0.1:3888",
        "doorbell = /nowhere",
        "timeout_ms = 5000",
    )


def test_uninstall_leaves_nothing_behind(loader: Loader, by_hand: Cursor) -> None:
    functions = "COUNT(*) FROM mysql.func WHERE dl LIKE 'tcsql%'"
    assert value(by_hand, functions) == 6
    loader.server.load("shop", (SQL / "uninstall.sql").read_bytes())
    assert value(by_hand, functions) == 0


def test_the_hint_triggers(loader: Loader, by_hand: Cursor, receiver: Receiver) -> None:
    conf_for(loader, receiver)
    loader.server.load("shop", (SQL / "trigger_hint.sql").read_bytes())
    for statement in (
        "INSERT INTO posts VALUES (1, 0)",
        "UPDATE posts SET n = 1",
        "UPDATE posts SET id = 2",
        "DELETE FROM posts",
    ):
        by_hand.execute(statement)
    told = [(request.line.split("&op=")[1][0], request.body) for request in receiver.requests]
    assert told == [("I", b"1"), ("U", b"1"), ("U", b"2\n1"), ("D", b"2")]


def test_the_outbox_triggers(loader: Loader, by_hand: Cursor, receiver: Receiver) -> None:
    conf_for(loader, receiver)
    loader.server.load("shop", (SQL / "trigger_outbox.sql").read_bytes())
    by_hand.execute("INSERT INTO posts VALUES (1, 0), (-5, 0)")
    by_hand.execute("START TRANSACTION")
    by_hand.execute("UPDATE posts SET id = 9 WHERE id = 1")
    by_hand.execute("DELETE FROM posts WHERE id = -5")
    by_hand.execute("SELECT op, pk FROM tcsql_outbox WHERE tab = 'posts' ORDER BY seq")
    noted = [("I", "1"), ("I", "-5"), ("U", "9"), ("U", "1"), ("D", "-5")]
    assert list(by_hand.fetchall()) == noted
    by_hand.execute("ROLLBACK")
    assert value(by_hand, "COUNT(*) FROM tcsql_outbox") == 2


def test_the_triggers_of_2010(loader: Loader, by_hand: Cursor) -> None:
    text = (SQL / "trigger_2010.sql").read_text()
    assert text.count("'127.0.0.1', '3888'") == 4
    by_hand.execute(
        "CREATE TABLE sns_feed (feedid INT PRIMARY KEY, uid INT, username VARCHAR(20), title VARCHAR(99), dateline INT)"
    )
    with Receiver() as receiver:
        loader.load(f"allow = {receiver.target}", "timeout_ms = 5000")
        loader.server.load("shop", text.replace("3888", str(receiver.port)).encode())
        by_hand.execute("INSERT INTO sns_feed VALUES (7, 29, '张三', 'a & \"b\" + 100%%', NULL)")
        by_hand.execute("UPDATE sns_feed SET feedid = 8, title = '\0'")
        by_hand.execute("DELETE FROM sns_feed")
        queries = [request.line.split("?")[1].split(" ")[0] for request in receiver.requests]
        delete = "command=delete&table=sns_feed&where=pkey:NUMEQ:"
        insert = "command=insert&table=sns_feed"
        assert queries == [insert, insert, f"{delete}7", f"{delete}8"]
        rows = [orjson.loads(urllib.parse.unquote_to_bytes(body)) for body in receiver.bodies[:2]]
        first = {"pkey": 7, "uid": 29, "username": "张三", "title": 'a & "b" + 100%%', "dateline": None}
        assert rows == [first, first | {"pkey": 8, "title": "\0"}]
