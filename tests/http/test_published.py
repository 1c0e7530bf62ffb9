"""``GET /q/NAME`` on a real server, in both lanes: answers, refusals, and that a value stays a value."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest

from tcsql.access.scopes import Scope
from tests.http.conftest import LANES
from tests.http.keyring import make_key
from tests.http.serving import Running, finished, serving

QUERIES = '''
[published.board_page]
query = "table=posts&type=id,title,dateline&where=board:NUMEQ:{board:int(1..500)}&order_by=dateline&order_sort=NUMDESC"
page_rows = 3
max_page = 50
cache_s = 5
description = "posts of a board, newest first"

[published.by_id]
query = "table=posts&where=pkey:NUMOREQ:{ids:ints(1..3)}"

[published.titles]
sql = "SELECT id, title FROM posts WHERE title LIKE CONCAT({q:text(20)}, '%') ORDER BY id LIMIT {n:int(1..5)=5}"

[published.exactly]
query = "table=posts&type=id&where=title:STREQ:{q:text(20)}"

[published.others]
sql = "SELECT count(*) FROM posts WHERE board <> {board:int(-5..500)}"

[published.kinds]
sql = """SELECT board, count(*) AS many FROM posts WHERE board IN ({boards:ints(1..9)})
  GROUP BY board ORDER BY many DESC LIMIT 9"""

[published.everything]
query = "table=posts&where=note:STRINC:{q:text(20)}&total=1"
budget_rows = 5

[published.later]
query = "table=later&where=id:NUMEQ:{id:int(1..9)}"
'''
TITLES = ["a|b", "a:b", "a\\b", "plain", "uid:NUMEQ:1", "100%", "Ünïcode"]


def rows() -> list[dict[str, Any]]:
    return [
        {"id": number, "board": None if number == 20 else number % 4, "title": TITLES[number % len(TITLES)],
         "dateline": 1_000 - number, "note": "secret"}
        for number in range(1, 21)
    ]  # fmt: skip


@pytest.fixture(scope="module", params=LANES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("published")
    (directory / "my.toml").write_text(QUERIES, encoding="utf-8")
    flags = ("--config", str(directory / "my.toml"), *LANES[request.param])
    with serving(directory / "data", *flags) as running:
        running.sql(
            "CREATE TABLE posts (id INT PRIMARY KEY, board INT, title VARCHAR(80), dateline INT NOT NULL, "
            "note VARCHAR(20), KEY (board, dateline), KEY (title))"
        )
        running.post("command=insert&table=posts", rows())
        yield running
        assert running.stop() == 0
        assert "bug" not in running.stderr(), running.stderr()


def ask(server: Running, path: str, **how: Any) -> httpx.Response:
    return server.client.get(f"{server.url}/q/{path}", **how)


def raw(server: Running, target: bytes, method: bytes = b"GET") -> tuple[int, Any]:
    """Status and body of a target as it is, past the client's own spelling."""
    answer = server.raw(method + b" " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body) if body else None


def ids(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["rows"]]


# --- answers ----------------------------------------------------------------------------------------------------


def test_pages_are_those_of_the_query_asked_with_a_key(server: Running) -> None:
    for board in (1, 2, 3, 77):
        for page in (1, 2, 3):
            for _ in range(2):  # the second time the short way answers
                mine = ask(server, f"board_page?board={board}&page={page}")
                query = (
                    f"command=select&table=posts&type=id,title,dateline&where=board:NUMEQ:{board}"
                    f"&order_by=dateline&order_sort=NUMDESC&limit_max=3&limit_skip={3 * page - 3}"
                )
                theirs = server.get(query).json()
                assert mine.json()["rows"] == theirs["rows"]
                assert mine.json()["total"] == theirs["total"]
                assert set(mine.json()["rows"][0] if mine.json()["rows"] else []) <= {"id", "title", "dateline"}


def test_the_first_page_needs_no_number(server: Running) -> None:
    assert ask(server, "board_page?board=1").content == ask(server, "board_page?board=1&page=1").content
    assert ask(server, "board_page?page=1&board=1").content == ask(server, "board_page?board=1").content


def test_cursors_lead_from_page_to_page_and_back(server: Running) -> None:
    first = ask(server, "board_page?board=1").json()
    second = ask(server, f"board_page?board=1&after={first['next']}").json()
    assert second["rows"] == ask(server, "board_page?board=1&page=2").json()["rows"]
    assert ask(server, f"board_page?board=1&before={second['prev']}").json()["rows"] == first["rows"]
    assert ask(server, f"board_page?board=2&after={first['next']}").json()["error"]["code"] == "invalid_cursor"
    for both in (f"after={first['next']}&before={second['prev']}", f"after={first['next']}&page=2"):
        assert ask(server, f"board_page?board=1&{both}").json()["error"]["code"] == "invalid_cursor"


def test_lists_totals_and_counts_are_published_too(server: Running) -> None:
    assert ids(ask(server, "by_id?ids=3,1,99")) == [1, 3]
    assert ask(server, "others?board=1").json() == {"count": 14}  # of 20 rows 5 have it, and one has NULL
    assert ask(server, "others?board=-1").json() == {"count": 19}
    kinds = ask(server, "kinds?boards=1,2").json()
    assert kinds == {"total": 2, "rows": [{"board": 2, "many": 5}, {"board": 1, "many": 5}]}


def test_a_default_is_taken_where_nothing_is_given(server: Running) -> None:
    assert len(ids(ask(server, "titles?q=a"))) == 5
    assert len(ids(ask(server, "titles?q=a&n=2"))) == 2


def test_replies_say_how_long_they_may_be_kept(server: Running) -> None:
    for _ in range(2):
        kept = ask(server, "board_page?board=1")
        assert kept.headers["cache-control"] == "public, max-age=5"
        assert kept.headers["x-content-type-options"] == "nosniff"
        assert kept.headers["content-type"] == "application/json"
        assert ask(server, "by_id?ids=1").headers["cache-control"] == "no-store"
    assert ask(server, "board_page?board=x").headers["cache-control"] == "no-store"


def test_a_write_shows_at_once(server: Running) -> None:
    before = ask(server, "board_page?board=400").json()
    server.post("command=insert&table=posts", {"id": 500, "board": 400, "title": "new", "dateline": 1, "note": ""})
    after = ask(server, "board_page?board=400").json()
    server.post("command=delete&table=posts&where=pkey:NUMEQ:500")
    assert (before["rows"], [row["id"] for row in after["rows"]]) == ([], [500])
    assert ask(server, "board_page?board=400").json()["rows"] == []


def test_head_gives_the_headers_of_get(server: Running) -> None:
    got = ask(server, "board_page?board=1")
    head = server.client.head(f"{server.url}/q/board_page?board=1")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "cache-control", "content-type", "tcsql-lsn"):
        assert head.headers[name] == got.headers[name]


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_get_and_head_is_taken(server: Running, method: str) -> None:
    answer = server.client.request(method, f"{server.url}/q/board_page?board=1")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["nothing", "board_pag?board=1", "board_page/", "board_page/x", "", "../q/x", "%00"])
def test_a_name_that_is_none_is_not_found(server: Running, path: str) -> None:
    answer = ask(server, path)
    assert answer.status_code == 404
    assert "posts" not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "", "board", "board=", "board=0", "board=501", "board=-1", "board=%2B1", "board=+1", "board=1%20", "board=01",
        "board=1.0", "board=1e2", "board=1_0", "board=%D9%A1", "board=%EF%BC%91", "board=1%0A", "board=1%00",
        "board=1|id:NUMEQ:2", "board=1%7Cid:NUMEQ:2", "board=1%26page=2", "board=" + "9" * 400, "board=1&board=1",
        "board=1&board=2", "board=1&page=0", "board=1&page=51", "board=1&page=-1", "board=1&page=2&page=2",
        "board=1&limit_max=100", "board=1&where=id:NUMEQ:1", "board=1&type=*", "board=1&command=delete&all=1",
        "Board=1", "board=1&x", "board=%zz", "board=%FF", "board=1&after=x", "board=1&before=", "board[]=1",
        "page=1", "board=1;page=2", "=1&board=1",
    ],
)  # fmt: skip
def test_what_is_no_value_of_its_place_is_refused_and_told_in_words_of_the_query(server: Running, query: str) -> None:
    ask(server, "board_page?board=1")  # so that the short way is there to be tried
    ask(server, "board_page?board=1&page=2")
    answer = ask(server, f"board_page?{query}")
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] in ("bad_request", "invalid_cursor")
    told = f"{error['message']} {error.get('hint')}"
    assert not [word for word in ("posts", "note", "NUMEQ", "my.toml") if word in told and word not in query]


@pytest.mark.parametrize("value", ["a|b", "a:b", "a\\b", "uid:NUMEQ:1", "100%", "Ünïcode"])
def test_a_text_is_compared_and_never_read(server: Running, value: str) -> None:
    expected = [row["id"] for row in rows() if row["title"] == value]
    assert ids(ask(server, f"exactly?q={quote(value, safe='')}")) == expected
    prefix = [row["id"] for row in rows() if row["title"].startswith(value)][:5]
    assert ids(ask(server, f"titles?q={quote(value, safe='')}")) == prefix


@pytest.mark.parametrize(
    "value", ["a|board:NUMEQ:1", "a%", "%", "_", "~x", "a' OR '1'='1", "*", "{q}", r"a\|b", "\ue000"]
)
def test_a_text_that_looks_like_grammar_finds_nothing(server: Running, value: str) -> None:
    assert ids(ask(server, f"exactly?q={quote(value, safe='')}")) == []
    assert ids(ask(server, f"titles?q={quote(value, safe='')}")) == []


@pytest.mark.parametrize("query", [b"q=a|b", b"q=a:b", b"q=a%7Cb", b"q=a%3Ab", b"q=a%3ab"])
def test_bytes_as_they_come_mean_what_they_decode_to(server: Running, query: bytes) -> None:
    status, body = raw(server, b"/q/exactly?" + query)
    wanted = "a|b" if b"|" in query or b"7C" in query else "a:b"
    assert (status, [row["id"] for row in body["rows"]]) == (200, [r["id"] for r in rows() if r["title"] == wanted])


@pytest.mark.parametrize(
    "query", [b"q=a\tb", b"q=\x00", b"q=\xff", b"q=a%0Ab", b"q=%00", b"q=%E2%80%A8", b"q=" + b"a" * 21]
)
def test_controls_broken_bytes_and_overlong_texts_are_refused(server: Running, query: bytes) -> None:
    assert raw(server, b"/q/exactly?" + query)[0] == 400


@pytest.mark.parametrize("query", ["ids=", "ids=1,2,3,4", "ids=1,,2", "ids=1%202", "ids=1;2", "ids=a", "ids=01"])
def test_a_list_has_its_bounds(server: Running, query: str) -> None:
    assert ask(server, f"by_id?{query}").status_code == 400


def test_a_call_that_examines_too_much_is_refused_without_a_word_about_the_table(server: Running) -> None:
    answer = ask(server, "everything?q=zzz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_costly")
    assert not [word for word in ("posts", "note", "INDEX", "5 rows") if word in answer.text]
    assert "published query everything was too costly" in server.stderr()


def test_a_table_may_come_later_and_change(server: Running) -> None:
    server.sql("DROP TABLE IF EXISTS later")
    away = ask(server, "later?id=1")
    assert (away.status_code, away.json()["error"]["code"]) == (503, "not_ready")
    assert away.headers["retry-after"] == "1"
    assert "later" not in away.json()["error"]["message"]
    server.sql("CREATE TABLE later (id INT PRIMARY KEY, n INT)")
    server.post("command=insert&table=later", {"id": 1, "n": 2})
    for _ in range(2):
        assert ask(server, "later?id=1").json()["rows"] == [{"id": 1, "n": 2}]
    server.sql("ALTER TABLE later DROP COLUMN n")
    assert ask(server, "later?id=1").json()["rows"] == [{"id": 1}]
    server.sql("DROP TABLE later")
    assert ask(server, "later?id=1").status_code == 503


# --- what is told of them ---------------------------------------------------------------------------------------


def test_the_description_lists_each_with_its_typed_parameters(server: Running) -> None:
    described = server.client.get(f"{server.url}/openapi.json").json()["paths"]
    page = described["/q/board_page"]["get"]
    assert page["summary"] == "posts of a board, newest first"
    told = {each["name"]: (each["required"], each["schema"]) for each in page["parameters"]}
    assert told["board"] == (True, {"type": "integer", "minimum": 1, "maximum": 500})
    assert told["page"] == (False, {"type": "integer", "minimum": 1, "maximum": 50, "default": 1})
    assert "after" in told
    n = next(each for each in described["/q/titles"]["get"]["parameters"] if each["name"] == "n")
    assert (n["required"], n["schema"]["default"]) == (False, 5)
    assert "/q/{name}" in described


def test_the_status_tells_which_would_scan_and_which_wait(server: Running) -> None:
    ask(server, "others?board=1")
    server.sql("DROP TABLE IF EXISTS later")
    document = server.client.get(f"{server.url}/status").json()
    told = {each["name"]: each for each in document["published"]}
    assert told["others"]["calls"] >= 1
    assert (told["board_page"]["scans"], told["everything"]["scans"]) == (False, True)
    assert (told["later"]["ready"], told["board_page"]["ready"]) == (False, True)
    assert "later" in told["later"]["why"]
    assert document["metrics"]["requests"]["published"]["200"] >= 1


def test_the_log_warns_of_what_would_scan(server: Running) -> None:
    lines = [orjson.loads(line)["message"] for line in server.stderr().splitlines()]
    assert any("[published.everything] query: no index serves this query" in line for line in lines)
    assert not any("[published.board_page]" in line for line in lines)


# --- pipelines, keys, the start ---------------------------------------------------------------------------------


def test_requests_of_one_buffer_are_answered_in_their_order(server: Running) -> None:
    ask(server, "board_page?board=1")
    block = b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    count = b"/?command=select&table=posts&type=count"
    targets = [b"/q/board_page?board=1", b"/q/nothing", b"/q/board_page?board=2", count, b"/q/others?board=1",
               b"/q/board_page?board=1&page=2"]  # fmt: skip
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = server.raw(b"".join(b"GET " + target + block for target in targets) + last)
    assert re.findall(rb"HTTP/1\.1 ([0-9]+)", answer) == [b"200", b"404", b"200", b"200", b"200", b"200", b"200"]


@pytest.mark.parametrize("lane", LANES)
def test_with_keys_nobody_in_particular_may_ask_this_and_nothing_else(lane: str, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(QUERIES, encoding="utf-8")
    (tmp_path / "data").mkdir()
    reader = make_key(tmp_path / "data", Scope.ADMIN)
    flags = ("--config", str(tmp_path / "my.toml"), *LANES[lane])
    with serving(tmp_path / "data", *flags) as running:
        trusted = {"authorization": f"Bearer {reader}"}
        create = {"sql": "CREATE TABLE posts (id INT PRIMARY KEY, board INT, title VARCHAR(80), dateline INT NOT NULL, "
                         "note VARCHAR(20), KEY (board, dateline))"}  # fmt: skip
        assert running.post("command=sql", create, headers=trusted).status_code == 200
        running.post("command=insert&table=posts", rows(), headers=trusted)
        for _ in range(3):
            assert len(ids(ask(running, "board_page?board=1"))) == 3
        assert len(ids(ask(running, "board_page?board=1", headers=trusted))) == 3
        assert running.get("command=select&table=posts").status_code == 401
        assert running.client.get(f"{running.url}/status").status_code == 401
        wrong = {"authorization": "Bearer tcsql_wrong"}
        for _ in range(2):
            assert ask(running, "board_page?board=1", headers=wrong).status_code == 401
        page = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
        assert "access-control-allow-origin" not in ask(running, "board_page?board=1", headers=page).headers
        running.stop()


def test_a_listed_origin_may_read_and_caches_tell_origins_apart(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(QUERIES + '[security]\ncors_origins = "https://forum.example"\n')
    with serving(tmp_path / "data", "--config", str(tmp_path / "my.toml")) as running:
        running.sql("CREATE TABLE posts (id INT PRIMARY KEY, board INT, title TEXT, dateline INT NOT NULL, note TEXT)")
        for _ in range(2):
            mine = ask(running, "board_page?board=1", headers={"origin": "https://forum.example"})
            assert mine.headers["access-control-allow-origin"] == "https://forum.example"
            assert "origin" in mine.headers["vary"]
            assert "origin" in ask(running, "board_page?board=1").headers["vary"]
        running.stop()


START = "CREATE TABLE posts (id INT PRIMARY KEY, board INT, title VARCHAR(9));"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('query = "table=posts&where=bord:NUMEQ:{b:int(1..9)}"', ["my.toml: [published.x] query", "bord", "board"]),
        ('query = "table=posts&where=board:NUMEQ:{b:int(1..9}"', ["[published.x] query", "{b:int(1..9}"]),
        ("sql = \"SELECT id FROM posts WHERE title > 'a' LIMIT 1\"", ["[published.x] sql", "title is varchar"]),
        ('query = "table=posts"\npage_row = 5', ["[published.x]", "page_row", "page_rows"]),
        ('query = "table=posts&where=title:STREQ:{q:text(9)}"\nstrict = true', ["[published.x] query", "no index"]),
    ],
)
def test_a_mistake_in_a_section_keeps_the_server_from_starting(tmp_path: Path, section: str, words: list[str]) -> None:
    (tmp_path / "my.toml").write_text("[published.x]\n" + section, encoding="utf-8")
    (tmp_path / "schema.sql").write_text(START, encoding="utf-8")
    done = finished(
        "serve", "--config", "my.toml", "--schema", "schema.sql", "--data", "data", "--port", "0", cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert not [word for word in words if word not in done.stderr], done.stderr


def test_a_strict_query_is_not_answered_while_no_index_serves_it(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(
        '[published.x]\nquery = "table=posts&where=board:NUMEQ:{b:int(1..9)}"\nstrict = true', encoding="utf-8"
    )
    with serving(tmp_path / "data", "--config", str(tmp_path / "my.toml")) as running:
        running.sql(START)
        assert ask(running, "x?b=1").status_code == 503
        running.sql("CREATE INDEX board ON posts (board)")
        assert ask(running, "x?b=1").json()["rows"] == []
        running.stop()


def test_a_client_that_sends_a_request_in_pieces_is_answered_alike(server: Running) -> None:
    whole = b"GET /q/board_page?board=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(server.address, timeout=10) as connection:
        for piece in (whole[:9], whole[9:30], whole[30:]):
            connection.sendall(piece)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    assert orjson.loads(answer.partition(b"\r\n\r\n")[2]) == ask(server, "board_page?board=1").json()
