"""The original's own way of writing, as its triggers and its UDF send it: a row posted whole, a delete by condition."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, quote_plus

import orjson
import pytest

from tests.http.serving import Running

FORM = b"application/x-www-form-urlencoded"
#: What lib_mysqludf_json makes of a row: six digits of a real, NaN for a NULL number, control bytes as they are.
ROW = '{"pkey":7,"uid":5,"idtype":"blogid","title":"caf\u00e9\tund 100% & {mehr}","price":12.500000,"hits":NaN}'
READ = {"id": 7, "uid": 5, "idtype": "blogid", "title": "caf\u00e9\tund 100% & {mehr}", "price": "12.50", "hits": None}


def sent(query: str, body: bytes = b"", kind: bytes = b"", version: bytes = b"1.1", length: bool = True) -> bytes:
    """A POST byte for byte."""
    lines = [b"POST /?%b HTTP/%b" % (query.encode(), version), b"Host: 127.0.0.1", b"Connection: close"]
    lines += [b"Content-Type: " + kind] if kind else []
    lines += [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join([*lines, b"", body])


def answer(server: Running, request: bytes) -> tuple[int, dict[str, object]]:
    head, _, body = server.raw(request).partition(b"\r\n\r\n")
    return int(head.split()[1]), orjson.loads(body)


@pytest.mark.parametrize("kind", [FORM, FORM + b"; charset=UTF-8", b"", b"text/plain"])
@pytest.mark.parametrize("encoded", [quote, quote_plus, str])
def test_a_posted_row_is_an_upsert(server: Running, posts: str, kind: bytes, encoded: Callable[[str], str]) -> None:
    body = encoded(ROW).encode()
    query = f"command=insert&table={posts}"
    status, first = answer(server, sent(query, body, kind))
    assert (status, first["inserted"], first["replaced"]) == (200, 0, 1), first
    columns = "type=id,uid,idtype,title,price,hits"
    assert server.rows(f"table={posts}&where=pkey:NUMEQ:7&{columns}") == [READ]
    named = encoded(ROW.replace('"pkey":7', '"id":70')).encode()
    status, second = answer(server, sent(query, named, kind, version=b"1.0"))
    assert (status, second["inserted"], second["replaced"]) == (200, 1, 0), second
    assert server.rows(f"table={posts}&where=pkey:NUMEQ:70&{columns}") == [READ | {"id": 70}]


@pytest.mark.parametrize(("kind", "length"), [(FORM, True), (b"", True), (b"", False), (FORM, False)])
@pytest.mark.parametrize("pkey", ["pkey", "id"])
def test_a_delete_by_key_needs_no_body(server: Running, posts: str, kind: bytes, length: bool, pkey: str) -> None:
    query = f"command=delete&table={posts}&where={pkey}:NUMEQ:5"
    for deleted in (1, 0):
        status, reply = answer(server, sent(query, kind=kind, length=length))
        assert (status, reply.get("deleted")) == (200, deleted), reply
    assert [row["id"] for row in server.rows(f"table={posts}&type=id")] == [1, 2, 3, 4, 6, 7, 8, 9, 10]


def test_a_condition_may_be_escaped_or_not(server: Running, posts: str) -> None:
    for where, left in (("uid:NUMEQ:1|idtype:STREQ:photoid", 8), (quote("uid:NUMEQ:2|idtype:STREQ:photoid"), 7)):
        status, _ = answer(server, sent(f"command=delete&table={posts}&where={where}"))
        assert status == 200
        assert len(server.rows(f"table={posts}&type=id")) == left


@pytest.mark.parametrize("body", [b"", b"NULL", b"null", b"%4E%55%4C%4C", b"%5B%5D+"])
def test_a_row_that_the_trigger_did_not_find_changes_nothing(server: Running, posts: str, body: bytes) -> None:
    """An update of the key: the trigger looks for the old one, finds nothing and posts the encoding of NULL."""
    before = server.rows(f"table={posts}")
    status, reply = answer(server, sent(f"command=insert&table={posts}", body, FORM))
    assert status == (200 if body.startswith(b"%5B") else 400), reply
    assert server.rows(f"table={posts}") == before


def test_rows_of_mysql_may_be_sent_as_such(server: Running, make_table: Callable[[str], str]) -> None:
    """``trusted=1``: zero dates are what MySQL may hold and a client may not send."""
    table = make_table("id INT PRIMARY KEY, d DATETIME, n INT(5) UNSIGNED ZEROFILL, b BIT(8)")
    body = quote('{"pkey":1,"d":"0000-00-00 00:00:00","n":"00042","b":5}').encode()
    assert answer(server, sent(f"command=insert&table={table}", body, FORM))[0] == 400
    assert answer(server, sent(f"command=insert&trusted=1&table={table}", body, FORM))[0] == 200
    assert server.rows(f"table={table}") == [{"id": 1, "d": "0000-00-00 00:00:00", "n": 42, "b": 5}]


def test_a_key_of_several_columns_is_deleted_by_its_columns(server: Running, make_table: Callable[[str], str]) -> None:
    table = make_table("a INT, b VARCHAR(9), n INT, PRIMARY KEY (a, b)")
    for body in ('{"pkey":"1,x","n":1}', '{"a":1,"b":"y","n":2}'):
        assert answer(server, sent(f"command=insert&table={table}", quote(body).encode()))[0] == 200
    assert answer(server, sent(f"command=delete&table={table}&where=a:NUMEQ:1|b:STREQ:x"))[1]["deleted"] == 1
    assert answer(server, sent(f"command=delete&table={table}&where=pkey:STREQ:1,y"))[1]["deleted"] == 1
