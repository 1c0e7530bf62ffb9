"""Writes over the wire: every form of a body, all or nothing, exact values, bulk loads that end at a bad line."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from urllib.parse import quote

import orjson
import pytest

from tests.http.serving import Running

FORM = "application/x-www-form-urlencoded"
NDJSON = "application/x-ndjson"


def code(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]  # type: ignore[attr-defined]  # an httpx.Response


ROW = {"id": 77, "uid": 5, "title": "übrig & 100% {ok}"}
BARE = orjson.dumps(ROW)
ENCODED = quote(BARE).encode()


@pytest.mark.parametrize(
    ("query", "body", "kind"),
    [
        ("command=insert&table=@", BARE, "application/json"),
        ("command=insert&table=@", BARE, "application/json; charset=utf-8"),
        ("command=insert&table=@", BARE, "APPLICATION/JSON"),
        ("command=insert&table=@", BARE, FORM),
        ("command=insert&table=@", BARE, "text/plain"),
        ("command=insert&table=@", BARE, None),
        ("command=insert&table=@", b"  \r\n" + BARE, FORM),
        ("command=insert&table=@", b"[" + BARE + b"]", FORM),
        ("command=insert&table=@", ENCODED, FORM),
        ("command=insert&table=@", ENCODED, None),
        ("command=insert&table=@", ENCODED.replace(b"%20", b"+"), "text/plain"),
        ("command=insert&table=@", ENCODED.lower(), FORM),
        ("command=insert&table=@", b"%5B" + ENCODED + b"%5D", FORM),
        ("command=insert&table=@", BARE + b"\n", NDJSON),
        ("command=insert&table=@&rows=" + quote(BARE), b"", None),
        ("", b"command=insert&table=@&rows=" + ENCODED, FORM),
        ("", b'{"command":"insert","table":"@","rows":' + BARE + b"}", "application/json"),
        ("", b'{"command":"insert","table":"@","rows":[' + BARE + b"]}", FORM),
        ("table=@", b'{"command":"insert","rows":[' + BARE + b"]}", "application/json"),
    ],
)
def test_a_row_is_inserted_whatever_way_it_comes(
    server: Running, posts: str, query: str, body: bytes, kind: str | None
) -> None:
    answer = server.post(query.replace("@", posts), body.replace(b"@", posts.encode()), kind)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["inserted"], answer.json()["replaced"]) == (1, 0)
    title = ROW["title"].lower() if body == ENCODED.lower() else ROW["title"]  # type: ignore[union-attr]  # it is text
    [row] = server.rows(f"table={posts}&where=pkey:NUMEQ:77&type=id,uid,title")
    assert row == {"id": 77, "uid": 5, "title": title}


def test_insert_replaces_whole_rows(server: Running, posts: str) -> None:
    answer = server.post(f"command=insert&table={posts}", [{"pkey": 1, "title": "new"}, {"id": 90}])
    assert answer.json()["inserted"] == 1
    assert answer.json()["replaced"] == 1
    assert answer.headers["tcsql-lsn"].endswith(f"-{answer.json()['lsn']}")
    [row] = server.rows(f"table={posts}&where=pkey:NUMEQ:1")
    assert row == {"id": 1, "uid": 0, "dateline": None, "idtype": None, "title": "new", "hits": None, "price": None}


def test_generated_keys_are_told(server: Running, posts: str) -> None:
    answer = server.post(f"command=insert&table={posts}", [{"uid": 1}, {"uid": 2}]).json()
    assert answer["last_insert_id"] == 12
    assert [row["id"] for row in server.rows(f"table={posts}&where=id:NUMGT:10")] == [11, 12]


def test_updates_merge_into_every_match(server: Running, posts: str) -> None:
    for query, body in (
        (f"command=update&table={posts}&where=uid:NUMEQ:1", {"title": "a", "price": 1.25}),
        ("", {"command": "update", "table": posts, "where": "uid:NUMEQ:1", "set": {"title": "b", "price": "7"}}),
        (f"command=update&table={posts}&all=1", {"title": "c"}),
    ):
        answer = server.post(query, body)
        assert answer.json()["updated"] == (10 if "all=1" in query else 4), answer.text
    assert {row["title"] for row in server.rows(f"table={posts}")} == {"c"}
    assert server.rows(f"table={posts}&where=pkey:NUMEQ:1&type=price,uid") == [{"uid": 1, "price": "7.00"}]


def test_updates_that_match_nothing_are_done(server: Running, posts: str) -> None:
    assert server.post(f"command=update&table={posts}&where=uid:NUMEQ:99", {"title": "x"}).json()["updated"] == 0


def test_deletes_need_a_condition_or_a_clear_word(server: Running, posts: str) -> None:
    assert code(server.post(f"command=delete&table={posts}")) == (400, "where_required")
    assert server.post(f"command=delete&table={posts}&where=uid:NUMEQ:1").json()["deleted"] == 4
    assert server.post("command=delete", f"table={posts}&where=uid:NUMEQ:2".encode(), FORM).json()["deleted"] == 3
    assert server.post("", {"command": "delete", "table": posts, "all": True}).json()["deleted"] == 3


BAD_ROWS: list[tuple[object, str]] = [
    ({"id": 1, "nope": 1}, "unknown_column"),
    ({"id": 1, "titel": "x"}, "unknown_column"),
    ({"id": "abc"}, "invalid_value"),
    ({"id": 1.5}, "invalid_value"),
    ({"id": 2**31}, "invalid_value"),
    ({"id": 1, "uid": None}, "invalid_value"),
    ({"id": 1, "hits": -1}, "invalid_value"),
    ({"id": 1, "title": "x" * 81}, "invalid_value"),
    ({"id": 1, "title": {"a": 1}}, "invalid_value"),
    ({"id": 1, "title": True}, "invalid_value"),
    ({"id": 1, "price": "1.234"}, "invalid_value"),
    ({"id": 1, "price": "1e99"}, "invalid_value"),
    (b'{"id":1,"hits":18446744073709551616}', "invalid_value"),
    (b'{"id":1,"hits":1e400}', "invalid_value"),
    (b'{"id":1,"hits":1e999999999}', "bad_request"),
    (b'{"id":1,"hits":Infinity}', "bad_request"),
    (b'{"id":1,"title":"\\ud800"}', "bad_request"),
    (b'{"id":1', "bad_request"),
    (b"", "bad_request"),
    (b"id=1&uid=2", "bad_request"),
    (b"null", "bad_request"),
    (b"[1]", "bad_request"),
    (b"[" * 50_000, "bad_request"),
    (b'{"id":1,"pkey":2}', "bad_request"),
]


@pytest.mark.parametrize(("row", "expected"), BAD_ROWS, ids=[str(row)[:40] for row, _ in BAD_ROWS])
def test_a_bad_row_is_refused_and_nothing_is_written(server: Running, posts: str, row: object, expected: str) -> None:
    before = server.rows(f"table={posts}")
    for body in (row, [{"id": 500}, row]) if not isinstance(row, bytes) else (row,):
        assert code(server.post(f"command=insert&table={posts}", body, "application/json")) == (400, expected)
    assert server.rows(f"table={posts}") == before


@pytest.mark.parametrize(
    ("query", "body", "status", "expected"),
    [
        ("command=update&table=@&where=uid:NUMEQ:1", {"id": 5}, 400, "invalid_value"),
        ("command=update&table=@&where=uid:NUMEQ:1", {"nope": 5}, 400, "unknown_column"),
        ("command=update&table=@&where=uid:NUMEQ:1", [{"title": "x"}], 400, "bad_request"),
        ("command=update&table=@&where=uid:NUMEQ:1", b"", 400, "bad_request"),
        ("command=update&table=@", {"title": "x"}, 400, "where_required"),
        ("command=update&table=@&where=titel:STREQ:x", {"title": "x"}, 400, "unknown_column"),
        ("command=delete&table=@&where=uid:NUMQE:1", b"", 400, "unknown_operator"),
        ("command=delete&table=nope&all=1", b"", 404, "unknown_table"),
        ("command=insert&table=nope", {"id": 1}, 404, "unknown_table"),
        ("command=insert", {"id": 1}, 400, "bad_request"),
        ("command=insert&table=@&rows=[]", {"id": 1}, 400, "bad_request"),
        ("command=insert&table=@", b"x", 400, "bad_request"),
        ("", {"command": "insert", "table": "@"}, 400, "bad_request"),
        ("", {"command": "insert", "table": "@", "rows": 5}, 400, "bad_request"),
        ("", {"command": "insert", "table": "@", "set": {}}, 400, "bad_request"),
        ("", {"command": "select", "table": "@", "rows": []}, 400, "bad_request"),
        ("", {"id": 1}, 400, "bad_request"),
        ("", [{"command": "select"}], 400, "bad_request"),
        ("", b"", 400, "bad_request"),
        ("command=select", {"command": "select"}, 400, "bad_request"),
        ("command=sql", {"sql": "SELECT 1"}, 400, "unsupported_statement"),
        ("command=sql", {"sql": "CREATE TABLE t (id INT PRIMARY KEY"}, 400, "sql_syntax"),
        ("command=sql", {"sql": "CREATE TABLE @ (id INT PRIMARY KEY)"}, 409, "schema_conflict"),
        ("command=sql", {"sql": "DROP TABLE nope"}, 404, "unknown_table"),
        ("command=sql", {"sql": " "}, 400, "bad_request"),
        ("command=sql", b"", 400, "bad_request"),
        ("command=nope", {"id": 1}, 400, "unknown_command"),
    ],
)
def test_a_bad_write_is_refused(
    server: Running, posts: str, query: str, body: object, status: int, expected: str
) -> None:
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    answer = server.post(query.replace("@", posts), sent.replace(b"@", posts.encode()), "application/json")
    assert code(answer) == (status, expected)
    assert len(server.rows(f"table={posts}")) == 10


def test_sql_errors_name_line_and_column(server: Running) -> None:
    error = server.post("command=sql", {"sql": "CREATE TABLE t (\n  id INTT PRIMARY KEY)"}).json()["error"]
    assert (error["line"], error["column"]) == (2, 6)


def test_several_statements_are_one_request(server: Running, posts: str) -> None:
    done = server.sql(f"ALTER TABLE {posts} ADD COLUMN x INT, ADD COLUMN z INT; CREATE INDEX x ON {posts} (x)")
    assert done["statements"] == 2
    bad = server.post(
        "command=sql", {"sql": f"ALTER TABLE {posts} ADD COLUMN y INT; ALTER TABLE {posts} DROP COLUMN zz"}
    )
    assert bad.status_code == 400
    assert code(server.get(f"command=select&table={posts}&type=y")) == (400, "unknown_column")


def test_exact_values_survive_the_way_in_and_out(server: Running, make_table: Callable[[str], str]) -> None:
    table = make_table("id BIGINT UNSIGNED PRIMARY KEY, d DECIMAL(40,20), t TEXT, j JSON, f DOUBLE, b BLOB")
    body = (
        b'[{"id":18446744073709551615,"d":12345678901234567890.12345678901234567890,"t":"\\u0000\\ud83d\\ude00",'
        b'"j":{"n":[1.50,123456789012345678901]},"f":0.1,"b":"AP8="},{"id":1,"t":"a\tb","f":NaN}]'
    )
    answer = server.post(f"command=insert&table={table}", body, "application/json")
    assert answer.json()["inserted"] == 2, answer.text
    content = server.get(f"command=select&table={table}&order_by=pkey&order_sort=NUMDESC").content
    assert b'"id":18446744073709551615,"d":"12345678901234567890.12345678901234567890"' in content
    rows = orjson.loads(content)["rows"]
    assert rows[0]["t"] == "\0\U0001f600"
    assert rows[0]["j"] == '{"n":[1.50,123456789012345678901]}'
    assert (rows[0]["f"], rows[0]["b"]) == (0.1, "AP8=")
    assert (rows[1]["t"], rows[1]["f"]) == ("a\tb", None)


def test_composite_keys_take_pkey_as_text(server: Running, make_table: Callable[[str], str]) -> None:
    table = make_table("a VARCHAR(9), b INT, n INT, PRIMARY KEY (a, b)")
    server.post(f"command=insert&table={table}", [{"pkey": r"x\,y,7", "n": 1}, {"a": "z", "b": 1, "n": 2}])
    assert server.rows(f"table={table}&type=pkey,n") == [{"a": "x,y", "b": 7, "n": 1}, {"a": "z", "b": 1, "n": 2}]
    escaped = quote(r"x\\,y,7")
    assert len(server.rows(f"table={table}&where=pkey:STREQ:{escaped}")) == 1


def lines(*rows: object) -> bytes:
    return b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows)


def test_a_bulk_load_counts_its_lines(server: Running, posts: str) -> None:
    body = lines({"id": 1}, b"", {"id": 100}, b"  \r", {"uid": 3})
    answer = server.post(f"command=insert&table={posts}", body.rstrip(b"\n"), NDJSON).json()
    assert (answer["inserted"], answer["replaced"], answer["lines"]) == (2, 1, 5)
    assert answer["last_insert_id"] == 101
    assert server.post(f"command=insert&table={posts}", b"", NDJSON).json()["lines"] == 0


@pytest.mark.parametrize(
    ("bad", "status", "expected"),
    [
        (b'{"id":', 400, "bad_request"),
        (b"[]", 400, "bad_request"),
        (b'{"id":"x"}', 400, "invalid_value"),
        (b'{"id":1,"nope":1}', 400, "unknown_column"),
        (b'{"id":1,"title":"' + b"x" * 70_000 + b'"}', 413, "payload_too_large"),
        (b'{"id":1}{"id":2}', 400, "bad_request"),
        (b'{"id":1},', 400, "bad_request"),
    ],
)
@pytest.mark.parametrize("in_front", [0, 1, 700])
def test_a_bulk_load_ends_at_a_bad_line(
    server: Running, make_table: Callable[[str], str], bad: bytes, status: int, expected: str, in_front: int
) -> None:
    table = make_table("id INT PRIMARY KEY, title TEXT")
    body = lines(*({"id": 1_000 + number} for number in range(in_front)), bad, *({"id": number} for number in range(9)))
    answer = server.post(f"command=insert&table={table}", body, NDJSON)
    assert code(answer) == (status, expected)
    error = answer.json()["error"]
    assert (error["line"], error["applied"]) == (in_front + 1, in_front)
    assert server.get(f"command=select&table={table}&type=count").json() == {"count": in_front}


def test_a_bulk_load_larger_than_any_other_body_is_streamed(server: Running, make_table: Callable[[str], str]) -> None:
    table = make_table("id INT PRIMARY KEY, title VARCHAR(400)")

    def pieces() -> Iterator[bytes]:
        for start in range(0, 6_000, 100):
            yield lines(*({"id": start + number, "title": "x" * 300} for number in range(100)))

    answer = server.post(f"command=insert&table={table}", pieces(), NDJSON)
    assert answer.json()["inserted"] == 6_000, answer.text
    assert answer.json()["lines"] == 6_000


def test_ndjson_is_for_inserts(server: Running, posts: str) -> None:
    for query in (f"command=update&table={posts}&all=1", f"table={posts}", f"command=select&table={posts}"):
        assert code(server.post(query, b"{}", NDJSON)) == (400, "bad_request")


def test_a_client_that_goes_away_leaves_whole_chunks(server: Running, make_table: Callable[[str], str]) -> None:
    table = make_table("id INT PRIMARY KEY")
    head = (
        f"POST /?command=insert&table={table} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: {NDJSON}\r\nContent-Length: 999999\r\n\r\n"
    )
    with socket.create_connection(server.address) as connection:
        connection.sendall(head.encode() + lines(*({"id": number} for number in range(1_200))))
    counted = 0
    for _ in range(200):
        counted = server.get(f"command=select&table={table}&type=count").json()["count"]
        if counted == 1_000:
            break
    assert counted == 1_000


def test_rows_of_mysql_are_kept_as_mysql_held_them_and_nonsense_is_still_refused(server: Running) -> None:
    server.sql("CREATE TABLE held (id INT PRIMARY KEY, day DATE, kind ENUM('a','b'), raw BLOB, price DECIMAL(4,2))")
    row = {"id": 1, "day": "0000-00-00", "kind": "", "raw": "AP8=", "price": "1.50"}
    assert code(server.post("command=insert&table=held", orjson.dumps(row))) == (400, "invalid_value")
    assert server.post("command=insert&table=held&trusted=1", orjson.dumps(row)).json()["inserted"] == 1
    assert server.rows("table=held") == [row]
    for bad in (
        {"id": "x"},
        {"id": 2**40},
        {"id": 2, "raw": "no base64!"},
        {"id": 2, "day": [1]},
        {"id": 2, "price": "z"},
    ):
        answer = server.post("command=insert&table=held&trusted=1", orjson.dumps(bad))
        assert code(answer) == (400, "invalid_value"), (bad, answer.text)
