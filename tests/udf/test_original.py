"""The functions of 2010 by name: http_post to allowed receivers only, urlencode, json_object."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
import pytest

from tests.udf.library import Cursor, Loader, info, value
from tests.udf.receiver import Behaviour, Receiver

POST = "http_post('127.0.0.1', %s, %s, %s)"


def test_http_post_sends_what_it_is_given(loader: Loader, cursor: Cursor) -> None:
    with Receiver() as receiver:
        loader.load(f"allow = {receiver.target}", "token = a-secret", "timeout_ms = 5000")
        body = bytes(range(256))
        assert value(cursor, POST, receiver.port, "command=insert", body) == 200
        assert value(cursor, POST, str(receiver.port), "command=delete&where=pkey:NUMEQ:7|a:STREQ:b c", "") == 200
        assert value(cursor, "http_post('127.0.0.1', %s, 'a=b')", receiver.port) == 200
        assert [request.line.split(" ")[1] for request in receiver.requests] == [
            "/?command=insert",
            "/?command=delete&where=pkey:NUMEQ:7|a:STREQ:b%20c",
            "/?a=b",
        ]
        first = receiver.requests[0]
        assert first.body == body and first.headers["Host"] == receiver.target
        assert first.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert "Authorization" not in first.headers and receiver.connections == 1
        receiver.behaviour = Behaviour(status=409)
        assert value(cursor, POST, receiver.port, "command=insert", "x") == 409


def test_http_post_goes_nowhere_else(loader: Loader, cursor: Cursor) -> None:
    with Receiver() as receiver, Receiver() as other:
        loader.load(f"allow = {receiver.target}", f"target = {other.target}", "source = shop")
        for host in ("127.0.0.2", "localhost", "127.1", " 127.0.0.1", "127.0.0.1 ", "2130706433", "", None):
            assert value(cursor, "http_post(%s, %s, 'a', 'b')", host, receiver.port) is None
        for port in (other.port, receiver.port + 1, f" {receiver.port}", f"0{receiver.port}", "", None):
            assert value(cursor, "http_post('127.0.0.1', %s, 'a', 'b')", port) is None
        assert receiver.connections == other.connections == 0


@pytest.mark.parametrize(("query", "size"), [("a" * 4097, 0), ("a", 65537), (None, 0)])
def test_http_post_takes_no_more_than_its_limits(loader: Loader, cursor: Cursor, query: str | None, size: int) -> None:
    with Receiver() as receiver:
        loader.load(f"allow = {receiver.target}")
        assert value(cursor, POST, receiver.port, query, "x" * size) is None
        assert value(cursor, POST, receiver.port, "a", None) is None
        assert receiver.requests == [] and info(cursor, 1)["lost"] == (query is not None)


def test_each_receiver_has_a_circuit_of_its_own(loader: Loader, cursor: Cursor) -> None:
    with Receiver() as good, Receiver() as bad:
        loader.load(
            f"allow = {good.target}",
            f"allow = {bad.target}",
            "timeout_ms = 5000",
            "failures = 1",
            "cooldown_ms = 60000",
        )
        bad.behaviour = Behaviour(status=500)
        assert [value(cursor, POST, bad.port, "a", "b") for _ in range(3)] == [500, None, None]
        assert [value(cursor, POST, good.port, "a", "b") for _ in range(3)] == [200, 200, 200]
        assert [info(cursor, number)["circuit"] for number in range(3)] == ["closed", "closed", "open"]


def test_urlencode_is_undone_by_every_decoder(loader: Loader, cursor: Cursor) -> None:
    loader.load("")
    everything = bytes(range(256))
    encoded = value(cursor, "urlencode(%s)", everything)
    assert unquote_to_bytes(encoded) == everything and b"+" not in encoded and b" " not in encoded
    assert value(cursor, "urlencode(%s)", "张三 & 100%").decode() == "%E5%BC%A0%E4%B8%89%20%26%20100%25"
    assert value(cursor, "urlencode(NULL)") is None and value(cursor, "urlencode('')") == b""
    assert value(cursor, "urlencode(-1.5)") == b"-1.5"
    assert len(value(cursor, "urlencode(REPEAT(' ', 1000000))")) == 3_000_000


COLUMNS = {
    "i": ("INT", -7, -7),
    "z": ("INT(5) ZEROFILL", 42, 42),
    "b": ("BIT(8)", b"7", 55),
    "u": ("BIGINT UNSIGNED", 2**63 - 1, 2**63 - 1),
    "de": ("DECIMAL(20,5) ZEROFILL", "1.5", 1.5),
    "fl": ("FLOAT", 1234567.75, 1234567.75),
    "du": ("DOUBLE", 0.1, 0.1),
    "vc": ("VARCHAR(99)", 'quo"te \\ \n\t\0\x01 ü漢😀', 'quo"te \\ \n\t\0\x01 ü漢😀'),
    "la": ("VARCHAR(9) CHARACTER SET latin1", "né", "n\ufffd"),
    "bl": ("BLOB", b"\0\xffa", "\0\ufffda"),
    "dt": ("DATETIME(3)", "2026-01-02 03:04:05.678", "2026-01-02 03:04:05.678"),
    "tm": ("TIME", "-01:00:00", "-01:00:00"),
    "ye": ("YEAR", 2026, 2026),
    "en": ("ENUM('a','ü')", "ü", "ü"),
    "nu": ("INT", None, None),
}


def test_json_object_of_every_type(loader: Loader, cursor: Cursor) -> None:
    loader.load("")
    columns = ",".join(f"{name} {kind}" for name, (kind, _, _) in COLUMNS.items())
    cursor.execute(f"CREATE TABLE types ({columns})")
    marks = ",".join(["%s"] * len(COLUMNS))
    cursor.execute(f"INSERT INTO types VALUES ({marks})", [given for _, given, _ in COLUMNS.values()])
    text = value(cursor, f"tcsql_json_object({','.join(COLUMNS)}) FROM types")
    expected: dict[str, Any] = {name: read for name, (_, _, read) in COLUMNS.items()}
    assert orjson.loads(text) == expected and list(orjson.loads(text)) == list(COLUMNS)
    assert b'"z":42,' in text and b'"de":1.50000,' in text
    # what a type loses, and how not to lose it
    cursor.execute("UPDATE types SET u = 18446744073709551615")
    lossless = "tcsql_json_object(CAST(u AS DECIMAL(20)) AS u, CONVERT(la USING utf8mb4) AS la, TO_BASE64(bl) AS bl)"
    assert orjson.loads(value(cursor, f"{lossless} FROM types")) == {"u": 2**64 - 1, "la": "né", "bl": "AP9h"}


def test_json_object_names_members_as_the_original_did(loader: Loader, cursor: Cursor) -> None:
    loader.load("")
    cursor.execute("INSERT INTO posts VALUES (1, 2)")
    found = value(
        cursor, 'tcsql_json_object(id AS pkey, p.n, `p`.`id`, shop.p.n + 1 AS `more "n"`, n + 1) FROM posts p'
    )
    assert orjson.loads(found) == {"pkey": 1, "n": 2, "id": 1, 'more "n"': 3, "n + 1": 3}
    assert value(cursor, "tcsql_json_object()") == b"{}"
    cursor.execute("CREATE TABLE seen (text TEXT)")
    cursor.execute(
        "CREATE TRIGGER see AFTER UPDATE ON posts FOR EACH ROW"
        " INSERT INTO seen VALUES (tcsql_json_object(NEW.id, OLD.n AS o))"
    )
    cursor.execute("UPDATE posts SET n = 5")
    assert orjson.loads(value(cursor, "text FROM seen")) == {"id": 1, "o": 2}


def test_where_the_server_has_a_json_object_its_name_is_taken(loader: Loader, cursor: Cursor) -> None:
    name = loader.load("")
    with pytest.raises(Exception, match="same name as a native function"):
        cursor.execute(f"CREATE FUNCTION json_object RETURNS STRING SONAME '{name}'")
