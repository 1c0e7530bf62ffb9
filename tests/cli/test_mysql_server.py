"""``tcsql mysql status, verify, recopy, accept`` against a running server that follows a real one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.http.serving import Running
from tests.mariadb import MariaDB
from tests.replication.following import Node, following

ROWS = 3_000


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A table of 3,000 rows and one of three, followed; lost triggers stay unnoticed for an hour."""
    with MariaDB() as server:
        with server.connect() as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE DATABASE shop")
            cursor.execute("CREATE TABLE shop.posts (id INT PRIMARY KEY, title VARCHAR(80), n INT)")
            rows = [(number, f"title {number}", number % 7) for number in range(ROWS)]
            cursor.executemany("INSERT INTO shop.posts VALUES (%s,%s,%s)", rows)
            cursor.execute("CREATE TABLE shop.users (name VARCHAR(20) PRIMARY KEY)")
            cursor.execute("INSERT INTO shop.users VALUES ('a'),('b'),('c')")
            connection.commit()
        directory = tmp_path_factory.mktemp("shop") / "node"
        with following(server, "shop", directory, ["posts", "users"], check_s=3_600) as made:
            yield made


@contextmanager
def unnoticed(node: Node) -> Iterator[Any]:
    """A cursor whose writes no trigger sees."""
    with node.server.connect("shop") as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = 'shop'")
        names = [name for (name,) in cursor.fetchall()]
        made = []
        for name in names:
            cursor.execute(f"SHOW CREATE TRIGGER `{name}`")
            made.append(cursor.fetchone()[2])
            cursor.execute(f"DROP TRIGGER `{name}`")
        yield cursor
        connection.commit()
        for statement in made:
            cursor.execute(statement)


def cells(out: str) -> list[list[str]]:
    """The rows of a printed table."""
    lines = [line for line in out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_status_shows_sources_and_tables(run: Run, node: Node) -> None:
    code, out, err = run("mysql", "status", "--url", node.live.url)
    assert (code, err) == (0, "")
    shop, posts, users, marker = cells(out)
    assert shop[:3] == ["shop", "outbox", "following"]
    assert re.fullmatch(r"\d+ ms|\d+\.\d s", shop[3])
    assert shop[4] == "no"
    assert re.fullmatch(r"mariadb \d+\.\d+\.\d+", shop[7])
    assert posts[:4] == ["shop", "posts", "following", str(ROWS)]
    assert users[:4] == ["shop", "users", "following", "3"]
    assert marker[:3] == ["shop", "marker", "following"]
    code, out, _ = run("mysql", "status", "--url", node.live.url, "--json")
    [source] = json.loads(out)
    assert (source["name"], source["state"], len(source["tables"])) == ("shop", "following", 3)


def test_verify_says_that_all_are_equal(run: Run, node: Node) -> None:
    node.settle()
    code, out, err = run("mysql", "verify", "shop", "--url", node.live.url)
    assert (code, err) == (0, "")
    assert re.fullmatch(rf"shop: {ROWS + 4} rows of posts, users, marker: all are equal\n", out)
    code, out, _ = run("mysql", "verify", "shop", "--table", "users", "--url", node.live.url)
    assert (code, out) == (0, "shop: 3 rows of users: all are equal\n")


def test_verify_names_every_row_that_differs_and_repairs_it(run: Run, node: Node) -> None:
    with unnoticed(node) as cursor:
        cursor.execute("UPDATE posts SET title = 'changed', n = 99 WHERE id = 7")
        cursor.execute("DELETE FROM posts WHERE id = 8")
        cursor.execute("INSERT INTO posts VALUES (90001, 'new', 1)")
        cursor.execute("INSERT INTO users VALUES ('\x1b[31mred')")
    expected = [
        ["posts", "7", "different", "title, n"],
        ["posts", "90001", "missing", "not here"],
        ["posts", "8", "extra", "not at the source"],
        ["users", r"\x1b[31mred", "missing", "not here"],
    ]
    for flag, verdict, exit_code in (((), "4 differ", 1), (("--repair",), "4 differ, repaired", 0)):
        code, out, err = run("mysql", "verify", "shop", *flag, "--url", node.live.url)
        assert (code, err) == (exit_code, "")
        assert sorted(cells(out)) == sorted(expected)
        assert out.splitlines()[-1].endswith(f": {verdict}")
    code, out, _ = run("mysql", "verify", "shop", "--url", node.live.url)
    assert code == 0
    assert out.endswith("all are equal\n")
    assert node.live.rows("table=posts&where=id:NUMEQ:7")[0]["title"] == "changed"


def test_recopy_finds_what_was_missed(run: Run, node: Node) -> None:
    with unnoticed(node) as cursor:
        cursor.execute("UPDATE posts SET title = 'again' WHERE id = 9")
        cursor.execute("DELETE FROM posts WHERE id = 10")
    code, out, _ = run("mysql", "recopy", "shop", "--table", "posts", "--url", node.live.url)
    assert (code, out) == (0, "shop: posts is copied anew; tcsql mysql status tells how far it is\n")
    node.wait_until_equal()
    assert node.live.rows("table=posts&where=id:NUMEQ:9")[0]["title"] == "again"


def test_a_copy_that_would_remove_most_rows_asks_and_goes_on_when_accepted(run: Run, node: Node) -> None:
    with unnoticed(node) as cursor:
        cursor.execute("DELETE FROM posts WHERE id >= 1000")
    run("mysql", "recopy", "shop", "--url", node.live.url)
    node.wait_for(lambda: node.status()["state"] == "asking")
    assert len(node.live.rows("table=posts&type=id&limit_max=10000")) > 1_000
    code, out, _ = run("mysql", "status", "--url", node.live.url)
    assert code == 0
    assert "tcsql mysql accept shop" in out
    assert run("mysql", "verify", "shop", "--url", node.live.url)[0] == 1
    code, out, _ = run("mysql", "accept", "shop", "--url", node.live.url)
    assert code == 0
    assert out.startswith("shop: accepted: ")
    node.wait_until_following()
    node.assert_equal()
    assert run("mysql", "accept", "shop", "--url", node.live.url)[1] == "shop is following and asks nothing\n"
    assert len(node.live.rows("table=posts&type=id&limit_max=10000")) < 1_000


def test_what_is_wrong_is_one_line(run: Run, node: Node) -> None:
    url = ("--url", node.live.url)
    for arguments, said in (
        (("verify", "shoq"), 'tcsql: no source "shoq" (did you mean "shop"?)\n'),
        (("verify", "shop", "--table", "post"), 'source shop follows no table "post" (did you mean "posts"?)\n'),
        (("recopy", "s/?#"), 'tcsql: no source "s/?#"\n'),
        (("accept", "shoq"), 'tcsql: no source "shoq" (did you mean "shop"?)\n'),
    ):
        code, out, err = run("mysql", *arguments, *url)
        assert (code, out) == (1, "")
        assert err.endswith(said)
        assert err.count("\n") == 1
    code, _, err = run("mysql", "status", "--url", "http://127.0.0.1:1")
    assert (code, err.startswith("tcsql: no server answers at")) == (2, True)


def test_a_server_without_sources_says_how_to_name_one(run: Run, server: Running) -> None:
    code, out, _ = run("mysql", "status", "--url", server.url)
    assert (code, out) == (0, "no source: write [source.NAME] into tcsql.toml\n")
