"""A server that follows MySQL, as a process: start, a source that is away, what stops it, and the order of the end."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.serving import finished, serving, wait_for
from tests.mariadb import MariaDB
from tests.replication.following import following


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


def make_posts(server: MariaDB, database: str) -> None:
    with server.connect() as connection:
        cursor = connection.cursor()
        cursor.execute(f"CREATE DATABASE {database}")
        cursor.execute(f"CREATE TABLE {database}.posts (id INT PRIMARY KEY, title VARCHAR(80))")
        cursor.execute(f"INSERT INTO {database}.posts VALUES (1,'one'),(2,'two')")
        connection.commit()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_source_that_is_away_keeps_nobody_from_starting_and_reading(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:  # rows of an earlier time
        server.sql("CREATE TABLE posts (id INT PRIMARY KEY, title VARCHAR(80)); CREATE TABLE own (id INT PRIMARY KEY)")
        server.post("command=insert&table=posts", {"id": 1, "title": "held"})
        assert server.stop() == 0
    url = f"mysql://nobody@127.0.0.1:{closed_port()}/shop"
    (tmp_path / "tcsql.toml").write_text(f'[source.shop]\nurl = "{url}"\ntables = ["posts"]\n')
    with serving(tmp_path / "data") as server:
        wait_for(lambda: server.client.get(server.url + "/ready").json()["sources"] == {"shop": "away"})
        answer = server.get("command=select&table=posts")
        assert answer.json()["rows"] == [{"id": 1, "title": "held"}]
        assert answer.headers["tcsql-stale"] == "shop"
        assert "tcsql-age-ms" not in answer.headers  # nobody knows how old it is
        refused = server.post("command=insert&table=posts", {"id": 2})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "followed_table")
        assert server.post("command=insert&table=own", {"id": 2}).status_code == 200
        assert server.client.post(server.url + "/sources/shop?action=verify").status_code == 503
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 5
        lines = [json.loads(line) for line in server.stderr().splitlines()]
        assert ["source shop is away" in line["message"] for line in lines] == [True]  # once, not at every attempt


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[source.shop]\nurl = "mysql://db/shop"\n', "tcsql.toml: [source.shop] lacks tables"),
        ('[source.shop]\nurl = "mysql://db/shop"\ntabels = ["posts"]\n', "unknown key 'tabels'"),
        (
            "".join(f'[source.{name}]\nurl = "mysql://db/{name}"\ntables = ["posts"]\n' for name in "ab"),
            "table posts is followed by a and by b",
        ),
    ],
    ids=["no tables", "misspelt", "two owners"],
)
def test_a_wrong_section_is_one_line_at_start(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "tcsql.toml").write_text(text)
    ended = finished("serve", "--port", "0", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_a_stop_ends_the_followers_before_the_store_and_the_next_start_goes_on(
    mariadb: MariaDB, tmp_path: Path
) -> None:
    make_posts(mariadb, "shop")
    with following(mariadb, "shop", tmp_path / "node", ["posts"]) as node:
        node.settle()
        answer = node.live.get("command=select&table=posts")
        assert [row["title"] for row in answer.json()["rows"]] == ["one", "two"]
        assert int(answer.headers["tcsql-age-ms"]) < 5_000
        assert "tcsql-stale" not in answer.headers
        worker = node.worker()
        assert worker is not None
        log = node.stop()
        assert "bug" not in log
        assert "Traceback" not in log
        assert not worker.is_running()
        with mariadb.connect("shop") as connection:
            connection.cursor().execute("INSERT INTO posts VALUES (3,'three')")
            connection.commit()
        node.start()
        node.assert_equal()
        assert "is copied" not in node.log()  # it went on from where it was
        assert len(node.live.rows("table=posts")) == 3
        status = node.status()
        assert (status["mode"], status["counts"]["reconnects"], status["stale"]) == ("outbox", 0, False)
        assert status["counts"]["lag_s"]["count"] > 0


def test_durability_in_memory_copies_anew_after_a_start(mariadb: MariaDB, tmp_path: Path) -> None:
    make_posts(mariadb, "memory")
    more = '[durability]\ndurability = "memory"'
    with following(mariadb, "memory", tmp_path / "node", ["posts"], more=more) as node:
        node.assert_equal()
        node.stop()
        node.start()
        node.wait_until_following()
        node.assert_equal()


def test_what_clients_wrote_while_a_source_was_not_configured_is_found_when_it_is_back(
    mariadb: MariaDB, tmp_path: Path
) -> None:
    make_posts(mariadb, "forgotten")
    with following(mariadb, "forgotten", tmp_path / "node", ["posts"]) as node:
        node.settle()
        node.stop()
        rows = tmp_path / "posts.csv"
        rows.write_text("id,title\n99,loaded\n")
        loaded = finished("load", str(rows), "--data", str(node.directory / "data"), cwd=tmp_path)
        assert (loaded.returncode, loaded.stderr.count("follows shop")) == (1, 1)
        config = node.config.read_text()
        node.config.write_text("")
        server = node.start()
        assert server.client.get(server.url + "/sources").json() == []
        assert server.post("command=insert&table=posts", {"id": 1, "title": "mine"}).status_code == 200
        assert "source shop is not configured any more" in node.stop()
        loaded = finished("load", str(rows), "--data", str(node.directory / "data"), cwd=tmp_path)
        assert loaded.returncode == 0, loaded.stderr
        node.config.write_text(config)
        node.start()
        node.wait_until_following()
        node.assert_equal()
        assert [row["title"] for row in node.live.rows("table=posts")] == ["one", "two"]


def test_a_table_in_the_way_is_a_persons_until_it_is_gone(mariadb: MariaDB, tmp_path: Path) -> None:
    make_posts(mariadb, "occupied")
    with following(mariadb, "occupied", tmp_path / "node", ["posts"], start=False) as node:
        config = node.config.read_text()
        node.config.write_text("")
        server = node.start()
        server.sql("CREATE TABLE posts (id INT PRIMARY KEY, body TEXT)")
        server.post("command=insert&table=posts", {"id": 5, "body": "mine"})
        node.stop()
        node.config.write_text(config)
        server = node.start()
        node.wait_for(lambda: node.table_status("posts")["state"] == "blocked")
        assert "drop it here" in node.table_status("posts")["remedy"]
        assert server.rows("table=posts") == [{"id": 5, "body": "mine"}]
        node.wait_for(lambda: node.status()["state"] == "following")
        verified = finished("mysql", "verify", "shop", "--table", "posts", "--url", server.url, cwd=tmp_path)
        assert verified.returncode == 1
        assert "shop.posts was not compared: a table of that name is here already" in verified.stdout
        server.sql("DROP TABLE posts")
        node.wait_until_following()
        node.assert_equal()
        assert server.post("command=insert&table=posts", {"id": 5, "title": "x"}).status_code == 409
