"""What must be refused, over raw sockets: methods, paths, sizes, encodings, hostile queries. Never a 5xx."""

from __future__ import annotations

import re
import time

import orjson
import pytest

from tests.http.serving import Running


def request(method: str, target: str, headers: str = "", body: bytes = b"") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
    return (
        f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}{headers}\r\n".encode() + body
    )


def parsed(answer: bytes) -> tuple[int, bytes, dict[str, object]]:
    """Status, head and error of a raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    assert match is not None, answer[:200]
    return int(match[1]), head.lower(), orjson.loads(body)["error"] if body else {}


def get(query: str) -> bytes:
    """A query of the table ``posts``, for which ``@`` stands."""
    return request("GET", f"/?command=select&table=@&{query}")


def insert(body: bytes, headers: str = "") -> bytes:
    return request("POST", "/?command=insert&table=@", headers, body)


CASES: list[tuple[str, bytes, int, str]] = [
    ("put", request("PUT", "/?command=select"), 405, "method_not_allowed"),
    ("delete", request("DELETE", "/"), 405, "method_not_allowed"),
    ("patch", request("PATCH", "/"), 405, "method_not_allowed"),
    ("options", request("OPTIONS", "/"), 405, "method_not_allowed"),
    ("post to a document", request("POST", "/status"), 405, "method_not_allowed"),
    ("post a backup", request("POST", "/backup"), 405, "method_not_allowed"),
    ("unknown path", request("GET", "/nope"), 404, "not_found"),
    ("path with a slash behind", request("GET", "/health/"), 404, "not_found"),
    ("path in capitals", request("GET", "/Health"), 404, "not_found"),
    ("traversal", request("GET", "/../../etc/passwd"), 404, "not_found"),
    ("encoded traversal", request("GET", "/%2e%2e/%2e%2e/etc/passwd"), 404, "not_found"),
    ("nothing asked", request("GET", "/"), 400, "bad_request"),
    ("nothing posted", request("POST", "/"), 400, "bad_request"),
    ("invalid percent", request("GET", "/?command=select&where=%zz"), 400, "bad_request"),
    ("cut percent", request("GET", "/?command=select&where=%4"), 400, "bad_request"),
    ("invalid utf-8", request("GET", "/?command=select&where=%ff%fe"), 400, "bad_request"),
    ("encoded surrogate", request("GET", "/?command=select&where=%ed%a0%80"), 400, "bad_request"),
    ("overlong utf-8", request("GET", "/?command=select&where=%c0%af"), 400, "bad_request"),
    ("get insert", request("GET", "/?command=insert&table=t&rows=%5B%5D"), 405, "get_writes_off"),
    ("get update", request("GET", "/?command=update&all=1"), 405, "get_writes_off"),
    ("get delete", request("GET", "/?command=delete&all=1"), 405, "get_writes_off"),
    ("get sql", request("GET", "/?command=sql&sql=DROP+TABLE+t"), 405, "get_writes_off"),
    ("get write spelt by percent", request("GET", "/?command=%64elete&all=1"), 405, "get_writes_off"),
    ("get write behind a select", request("GET", "/?command=select&command=delete&all=1"), 400, "bad_request"),
    ("head delete", request("HEAD", "/?command=delete&all=1"), 405, ""),
    (
        "gzip",
        insert(b"x", "Content-Encoding: gzip\r\n"),
        415,
        "unsupported_encoding",
    ),
    ("br", insert(b"x", "Content-Encoding: BR\r\n"), 415, "unsupported_encoding"),
    (
        "compressed bulk",
        request(
            "POST", "/?command=insert&table=@", "Content-Encoding: gzip\r\nContent-Type: application/x-ndjson\r\n", b"x"
        ),
        415,
        "unsupported_encoding",
    ),
    (
        "body too large",
        insert(b"[" + b" " * 1_100_000),
        413,
        "payload_too_large",
    ),
    ("form too large", request("POST", "/", "", b"where=" + b"x" * 1_100_000), 413, "payload_too_large"),
    ("deep json", insert(b'{"a":' * 100_000), 400, "bad_request"),
    ("deep json parameters", request("POST", "/", "", b'{"where":' + b"[" * 100_000), 400, "bad_request"),
    ("many parameters", request("POST", "/", "", b"&".join([b"where=id:NUMEQ:1"] * 60_000)), 400, "bad_request"),
    (
        "many conditions",
        request("POST", "/?command=select&table=@", "", b"where=" + b"|".join([b"id:NUMEQ:1"] * 80_000)),
        400,
        "limit_exceeded",
    ),
    (
        "many conditions in the url",
        get("where=" + "|".join(["id:NUMEQ:1"] * 600)),
        400,
        "limit_exceeded",
    ),
    (
        "many unions",
        request("POST", "/?command=select&table=@", "", b"&".join([b"where=id:NUMEQ:1"] * 60_000)),
        400,
        "limit_exceeded",
    ),
    ("huge limit", get("limit_max=" + "9" * 7_000), 400, "bad_request"),
    ("huge skip", get("limit_skip=1000000000000000000"), 400, "bad_request"),
    ("huge min_lsn", get("min_lsn=" + "9" * 400), 400, "bad_request"),
    ("huge table name", request("GET", "/?command=select&table=" + "t" * 7_000), 404, "unknown_table"),
    (
        "huge column name",
        get("where=" + "c" * 7_000 + ":NUMEQ:1"),
        400,
        "unknown_column",
    ),
    (
        "huge operator",
        get("where=id:" + "O" * 7_000 + ":1"),
        400,
        "unknown_operator",
    ),
    (
        "huge order",
        get("order_by=id&order_sort=" + "N" * 7_000),
        400,
        "unknown_order",
    ),
    ("huge command", request("GET", "/?command=" + "c" * 7_000), 400, "unknown_command"),
    ("huge parameter name", request("GET", "/?" + "p" * 7_000 + "=1"), 400, "bad_request"),
    ("huge cursor", get("after=" + "A" * 7_000), 400, "invalid_cursor"),
    ("huge target", get("where=" + "c" * 50_000), 414, "uri_too_long"),
    ("nul in a table name", request("GET", "/?command=select&table=%00"), 404, "unknown_table"),
    ("nul in a column name", get("where=%00:NUMEQ:1"), 400, "unknown_column"),
    (
        "backtracking pattern",
        get("where=title:STRRX:(?<=a)b"),
        400,
        "invalid_pattern",
    ),
    (
        "long pattern",
        get("where=title:STRRX:" + "a" * 1_001),
        400,
        "invalid_pattern",
    ),
    ("unclosed pattern", get("where=title:STRRX:("), 400, "invalid_pattern"),
    ("back reference", get("where=title:STRRX:(a)%5C1"), 400, "invalid_pattern"),
    ("long sql", request("POST", "/?command=sql", "", b"sql=" + b"(" * 1_000_000), 400, "sql_syntax"),
    ("deep sql", request("POST", "/?command=sql", "", b"sql=CREATE TABLE t (" * 3_000), 400, "sql_syntax"),
    ("sql select", request("POST", "/?command=sql", "", b"sql=SELECT 1"), 400, "unsupported_statement"),
    ("sql that names no table", request("POST", "/?command=sql", "", b"sql=DROP TABLE"), 400, "sql_syntax"),
    ("negative limit", get("limit_max=-1"), 400, "bad_request"),
    ("sum of nothing", get("type=sum()"), 400, "unknown_column"),
]


@pytest.mark.parametrize(("name", "sent", "status", "code"), CASES, ids=[case[0] for case in CASES])
def test_refused_quickly_with_its_own_code(
    server: Running, posts: str, name: str, sent: bytes, status: int, code: str
) -> None:
    started = time.perf_counter()
    answered, head, error = parsed(server.raw(sent.replace(b"table=@", b"table=" + posts.encode())))
    assert (answered, error.get("code", "")) == (status, code), error
    assert time.perf_counter() - started < 2
    assert len(str(error)) < 1_000
    assert b"content-type: application/json" in head
    if status == 405 and code != "get_writes_off" and error:
        assert re.search(rb"allow: get", head)
    assert len(server.rows(f"table={posts}")) == 10


def test_a_declared_body_that_is_too_large_is_refused_unread(server: Running, posts: str) -> None:
    head = f"POST /?command=insert&table={posts} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n"
    status, answer, error = parsed(server.raw(head.encode()))
    assert (status, error["code"]) == (413, "payload_too_large")
    assert b"connection: close" in answer


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(server: Running, posts: str) -> None:
    lines = f"POST /?command=insert&table={posts} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    head = lines.encode()
    status, _, error = parsed(server.raw(head + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 17))
    assert (status, error["code"]) == (413, "payload_too_large")


def test_a_chunked_body_within_the_limit_is_taken(server: Running, posts: str) -> None:
    head = f"POST /?command=insert&table={posts} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    answer = server.raw(head.encode() + b"Connection: close\r\n\r\n" + b'5\r\n{"id"\r\n4\r\n:99}\r\n0\r\n\r\n')
    assert b'"inserted":1' in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /?command=select HTTP/1.1\r\nHost x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_ends_the_connection(server: Running, sent: bytes) -> None:
    answer = server.raw(sent)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_an_error_never_names_a_path_or_a_stack(server: Running, posts: str) -> None:
    for _, sent, _, _ in CASES:
        text = server.raw(sent.replace(b"table=@", b"table=" + posts.encode())).decode(errors="replace")
        assert "Traceback" not in text
        assert ".py" not in text
