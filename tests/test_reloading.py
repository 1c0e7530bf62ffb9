"""A running server reads its configuration again: all of it or nothing, without a request that is not answered."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import LANES
from tests.http.serving import Running, finished, serving, wait_for

SCHEMA = "CREATE TABLE posts (id INT PRIMARY KEY, board INT, title VARCHAR(40), KEY (board))"
NEWEST = '[published.newest]\nquery = "table=posts&order_by=pkey&order_sort=NUMDESC"\n'
BOARD = '[published.board]\nquery = "table=posts&type=id&where=board:NUMEQ:{board:int(1..9)}"\n'
NOTHING: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}


@pytest.fixture(params=LANES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """It publishes ``newest``, and has three rows."""
    write(tmp_path, NEWEST)
    with serving(tmp_path / "data", "--config", str(tmp_path / "tcsql.toml"), *LANES[request.param]) as running:
        running.sql(SCHEMA)
        running.post("command=insert&table=posts", [{"id": number, "board": number} for number in (1, 2, 3)])
        yield running


def write(directory: Path, text: str) -> None:
    (directory / "tcsql.toml").write_text(text)


def reload(server: Running) -> tuple[int, dict[str, Any]]:
    answer = server.client.post(server.url + "/reload")
    return answer.status_code, answer.json()


def published(server: Running, call: str) -> tuple[int, Any]:
    answer = server.client.get(f"{server.url}/q/{call}")
    return answer.status_code, [row["id"] for row in answer.json().get("rows", [])]


def test_published_queries_come_change_and_go(server: Running, tmp_path: Path) -> None:
    for _ in range(3):  # also those that the fast lane knows by their bytes
        assert published(server, "newest") == (200, [3, 2, 1])
    assert published(server, "board?board=2") == (404, [])
    write(tmp_path, NEWEST + BOARD)
    assert reload(server) == (
        200,
        {"published": NOTHING | {"added": ["board"]}, "sources": NOTHING, "certificate": None, "at_next_start": []},
    )
    for _ in range(3):
        assert published(server, "board?board=2") == (200, [2])
    write(tmp_path, NEWEST.replace("NUMDESC", "NUMASC"))
    assert reload(server)[1]["published"] == {"added": [], "changed": ["newest"], "removed": ["board"]}
    for _ in range(3):
        assert published(server, "newest") == (200, [1, 2, 3])
        assert published(server, "board?board=2") == (404, [])
    assert "/q/board" not in server.client.get(server.url + "/openapi.json").json()["paths"]


def test_what_is_the_same_goes_on_with_its_counts(server: Running, tmp_path: Path) -> None:
    for _ in range(5):
        published(server, "newest")
    write(tmp_path, NEWEST + BOARD)
    reload(server)
    entries = server.client.get(server.url + "/status").json()
    assert {each["name"]: each["calls"] for each in entries["published"]} == {"newest": 5, "board": 0}
    write(tmp_path, "")
    reload(server)
    counted = server.client.get(server.url + "/metrics").text
    assert 'tcsql_requests_total{operation="published",status="200"} 5.0' in counted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[published.newest\n", "not TOML"),
        (NEWEST + '[published.b]\nquery = "table=posts&where=nope:NUMEQ:1"\n', "nope"),
        (NEWEST + '[published.b]\nstrict = true\nquery = "table=posts&where=title:STREQ:{t:text(9)}"\n', "scan"),
        (BOARD + "[limits]\nmax_row = 5\n", "max_row"),
        (BOARD + '[source.shop]\nurl = "mysql://db/shop"\n', "lacks tables"),
    ],
    ids=["no toml", "a column that is not there", "strict and scanning", "an option misspelt", "half a source"],
)
def test_a_mistake_changes_nothing_and_says_where_it_is(server: Running, tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, text)
    status, body = reload(server)
    assert (status, body["error"]["code"]) == (400, "bad_request")
    assert said in body["error"]["message"]
    assert str(tmp_path) not in json.dumps(body)
    assert published(server, "newest") == (200, [3, 2, 1])
    assert published(server, "board?board=2") == (404, [])


def test_options_are_told_to_count_from_the_next_start(server: Running, tmp_path: Path) -> None:
    write(tmp_path, NEWEST + "[limits]\nmax_rows = 2\nmax_conditions = 3\n")
    assert reload(server)[1]["at_next_start"] == ["max_rows", "max_conditions"]
    assert len(server.rows("table=posts&limit_max=3")) == 3


def test_a_source_begins_and_ends_without_a_restart(server: Running, tmp_path: Path) -> None:
    source = '[source.shop]\nurl = "mysql://nobody@127.0.0.1:1/shop"\ntables = ["posts"]\n'
    write(tmp_path, NEWEST + source)
    assert reload(server)[1]["sources"] == NOTHING | {"added": ["shop"]}
    assert server.post("command=insert&table=posts", {"id": 4}).json()["error"]["code"] == "followed_table"
    answer = server.get("command=select&table=posts")
    assert (len(answer.json()["rows"]), answer.headers["tcsql-stale"]) == (3, "shop")
    wait_for(lambda: server.client.get(server.url + "/ready").json()["sources"] == {"shop": "away"})
    write(tmp_path, NEWEST + source + "poll_ms = 50\n")
    assert reload(server)[1]["sources"] == NOTHING | {"changed": ["shop"]}
    wait_for(lambda: server.client.get(server.url + "/ready").json()["sources"] == {"shop": "away"})
    write(tmp_path, NEWEST)
    assert reload(server)[1]["sources"] == NOTHING | {"removed": ["shop"]}
    assert server.post("command=insert&table=posts", {"id": 4}).status_code == 200
    assert "tcsql-stale" not in server.get("command=select&table=posts").headers
    assert server.client.get(server.url + "/sources").json() == []


def test_a_hangup_and_the_command_do_the_same(server: Running, tmp_path: Path) -> None:
    write(tmp_path, BOARD)
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: published(server, "board?board=2") == (200, [2]))
    assert published(server, "newest") == (404, [])
    write(tmp_path, BOARD + NEWEST + "[limits]\nmax_rows = 2\n")
    ended = finished("reload", "--url", server.url, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "published queries: newest added\nat the next start: max_rows\n")
    assert finished("reload", "--url", server.url, cwd=tmp_path).stdout == "at the next start: max_rows\n"
    write(tmp_path, "[")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "nothing of the configuration was changed" in server.stderr())
    ended = finished("reload", "--url", server.url, cwd=tmp_path)
    assert ended.returncode == 1
    assert "not TOML" in ended.stderr
    assert published(server, "newest") == (200, [3, 2, 1])
