"""The fast lane beside Starlette's, byte by byte over raw sockets: replies, order, cuts, pressure, idleness, limits."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
from uvicorn.server import ServerState

from tcsql.http import fastlane
from tcsql.http.app import create_app
from tcsql.http.endpoints import Api
from tcsql.http.fastlane import Connection, protocol
from tcsql.http.lanes import Lanes
from tcsql.http.messages import Head, Reply
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tests.http.conftest import LANES
from tests.http.serving import Running, serving, wait_for

LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def get(query: str | bytes, *headers: str, version: str = "1.1") -> bytes:
    text = query if isinstance(query, bytes) else query.encode()
    lines = "".join(f"{line}\r\n" for line in ("Host: localhost", *headers)).encode()
    return b"GET /?" + text + f" HTTP/{version}\r\n".encode() + lines + b"\r\n"


def post(query: str, body: object, *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = "".join(f"{line}\r\n" for line in ("Host: localhost", f"Content-Length: {len(data)}", *headers))
    return f"POST /?{query} HTTP/1.1\r\n{lines}\r\n".encode() + data


class Wire:
    """One connection, and its replies one after the other."""

    def __init__(self, server: Running) -> None:
        self.socket = socket.create_connection(server.address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = b""

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _more(self) -> bool:
        piece = self.socket.recv(262_144)
        self._held += piece
        return bool(piece)

    def reply(self) -> tuple[bytes, bytes]:
        """Head and body of the next reply."""
        while b"\r\n\r\n" not in self._held:
            assert self._more(), "the connection ended"
        head, _, rest = self._held.partition(b"\r\n\r\n")
        size = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]  # every reply has one
        parts = [rest]
        while (have := sum(map(len, parts))) < size:
            piece = self.socket.recv(262_144)
            assert piece, "the connection ended"
            parts.append(piece)
        whole = b"".join(parts) if have else rest
        self._held = whole[size:]
        return head, whole[:size]

    def ask(self, request: bytes) -> dict[str, Any]:
        self.send(request)
        return dict(orjson.loads(self.reply()[1]))

    def rest(self) -> bytes:
        """What comes until the server closes."""
        try:
            while self._more():
                pass
        except ConnectionError:
            pass
        return self._held

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed it; nothing else is to come."""
        self.socket.settimeout(0.001)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        finally:
            self.socket.settimeout(10)


@pytest.fixture
def wire(server: Running) -> Iterator[Wire]:
    with closing(Wire(server)) as made:
        yield made


# --- the same bytes -------------------------------------------------------------------------------------------


TABLE = (
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, uid INT NOT NULL DEFAULT 0, dateline INT, "
    "idtype VARCHAR(20) NOT NULL DEFAULT '', title VARCHAR(80), hits BIGINT UNSIGNED, "
    "KEY (uid, dateline), KEY (idtype), KEY (idtype, dateline))"
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Running]]:
    """A server of each lane with the same content; each test writes to both alike."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(serving(tmp_path_factory.mktemp(name) / "data", *flags))
            for name, flags in LANES.items()
        ]
        for server in servers:
            server.sql(TABLE)
            rows = [
                {
                    "id": number,
                    "uid": number % 3,
                    "dateline": 1_000 * (number % 9),
                    "idtype": ("blogid", "7")[number % 2],
                    "title": f"Title {number}",
                    "hits": 2**64 - number,
                }
                for number in range(1, 31)
            ]
            assert server.post("command=insert&table=t", rows).json()["inserted"] == 30
        yield servers[0], servers[1]
        for server in servers:
            assert server.stop() == 0
            assert "bug" not in server.stderr(), server.stderr()


_VARIABLE = re.compile(rb"date: [^\r]*|(?<=tcsql-lsn: )[0-9a-f]+")


def exchanged(server: Running, *pieces: bytes) -> bytes:
    """All that comes back until the connection closes, but for what differs between any two servers or seconds."""
    with closing(Wire(server)) as wire:
        try:
            for piece in pieces:
                wire.send(piece)
                if piece is not pieces[-1]:
                    wire.reply()
        except ConnectionError:
            pass  # refused before all was sent
        return _VARIABLE.sub(b"", wire.rest())


SEEDS = {
    "row": "command=select&type=*&where=pkey:NUMEQ:{0}",
    "of a user": "command=select&where=uid:NUMEQ:{0}&order_by=dateline&order_sort=NUMDESC&limit_skip=0&limit_max=3",
    "since": "command=select&where=dateline:NUMGE:{0}|idtype:STREQ:blogid&order_by=pkey&order_sort=NUMDESC&limit_max=4",
    "count": "command=select&type=count&where=uid:NUMEQ:{0}|dateline:NUMGE:{0}",
    "another order": "command=select&order_by=pkey&where=idtype:STREQ:{0}&limit_max=2&type=id,title",
    "condition last": "command=select&limit_max=2&where=uid:NUMEQ:{0}",
    "encoded": "command=select&limit_max=2&where=uid%3ANUMEQ%3A{0}%7Cidtype%3astreq%3aX".replace("streq", "STREQ"),
}
OPERANDS = ("1", "2", "1", "7", "blogid", "1000", "999999999999999999", "9" * 19, "-1", "",
    "1.5", "%31", "1%20", "1+", "+1", "1|", "1%7C", "|", "1:2", "1&", "1#x", "%zz", "%ff",
    "1&where=uid:NUMEQ:2", "1|uid:NUMEQ:1", "1|uid:NULL")  # fmt: skip


@pytest.mark.parametrize("name", SEEDS)
def test_a_query_gets_the_same_bytes_in_both_lanes_known_or_not(name: str, pair: tuple[Running, Running]) -> None:
    requests = [get(SEEDS[name].format(operand)) for operand in OPERANDS]
    one_by_one = [exchanged(server, *requests, requests[0], LAST) for server in pair]
    assert one_by_one[0] == one_by_one[1]
    fast, slow = (exchanged(server, b"".join(requests) * 2 + LAST) for server in pair)
    assert fast == slow
    assert fast.count(b"HTTP/1.1 ") == 2 * len(requests) + 1
    with closing(Wire(pair[0])) as first, closing(Wire(pair[1])) as second:
        for request in requests * 2:  # whole buffers, which are known by their bytes
            for wire in (first, second):
                wire.send(request)
            one, two = first.reply(), second.reply()
            assert (_VARIABLE.sub(b"", one[0]), one[1]) == (_VARIABLE.sub(b"", two[0]), two[1]), request


ONE = "command=select&table=t&where=uid:NUMEQ:1&limit_max=1"
OPERATORS = ("STREQ", "STRINC", "STRBW", "STREW", "STRAND", "STROR", "STROREQ", "STRRX", "NUMEQ", "NUMGT", "NUMGE",
    "NUMLT", "NUMLE", "NUMBT", "NUMOREQ", "FTSPH", "FTSAND", "FTSOR", "FTSEX", "NULL",
    "~STREQ", "numeq", "NOPE")  # fmt: skip
INSERT = "command=insert&table=t"
ROW = {"uid": 5, "title": "new"}

ODD: dict[str, bytes] = {
    **{f"operator {name}": get(f"command=select&type=id&where=title:{name}:Title") for name in OPERATORS},
    **{f"number {name}": get(f"command=select&type=id&where=dateline:{name}:3000,5000") for name in OPERATORS},
    "head": get(ONE).replace(b"GET", b"HEAD", 1),
    "head of a document": b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "health": b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "ready": b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "openapi": b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "document with a query": b"GET /health?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "document, encoded": b"GET /h%65alth HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "document with a slash": b"GET /health/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "document with two slashes": b"GET //health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "unknown path": b"GET /nope?x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "root without a query": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an empty query": b"GET /? HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "absolute form": b"GET http://localhost/?" + ONE.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "connect": b"CONNECT x:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no slash": b"GET ?" + ONE.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "fragment": get(ONE + "#there"),
    "fragment first": b"GET /#?" + ONE.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "repeated parameter": get(ONE + "&limit_max=1"),
    "two where": get(ONE + "&where=uid:NUMEQ:2"),
    "unknown parameter": get(ONE + "&x=1"),
    "empty parts": get("&&" + ONE + "&&"),
    "encoded separators": get(ONE.replace(":", "%3a").replace("=", "%3D")),
    "encoded command": get(ONE.replace("select", "%73elect")),
    "plus": get("command=select&where=title:STREQ:Title+1&type=id"),
    "raw umlaut": get("command=select&where=title:STREQ:\u00e9&type=id"),
    "raw bytes that are not utf-8": get(b"command=select&where=title:STREQ:\xff\xfe"),
    "a control in the target": get("command=select&where=title:STREQ:\x01"),
    "nul in the target": get("command=select&where=title:STREQ:\x00"),
    "a tab in the target": get("command=select\t&x"),
    "a blank in the target": get("command=select &x"),
    "a tab before the version": b"GET /?" + ONE.encode() + b"\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two blanks": b"GET  /?" + ONE.encode() + b"  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "version twice": b"GET /?" + ONE.encode() + b" HTTP/1.1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "quotes and braces": get('command=select&where=title:STREQ:"{}"<>^`&type=id'),
    "a long target": get("command=select&type=id&where=title:STREQ:" + "x" * 9_000),
    "a very long target": get("command=select&type=id&where=title:STREQ:" + "x" * 70_000),
    "http 1.0": get(ONE, version="1.0"),
    "http 1.0 kept alive": get(ONE, "Connection: keep-alive", version="1.0"),
    "http 1.2": get(ONE, version="1.2"),
    "http 2.0": get(ONE, version="2.0"),
    "http 0.9": b"GET /?" + ONE.encode() + b"\r\n\r\n",
    "close": get(ONE, "Connection: close"),
    "close in capitals": get(ONE, "CONNECTION: CLOSE"),
    "close among others": get(ONE, "Connection: x, close"),
    "keep alive": get(ONE, "Connection: keep-alive"),
    "lower-case method": get(ONE).replace(b"GET", b"get", 1),
    "unknown method": get(ONE).replace(b"GET", b"FETCH", 1),
    "known but other method": get(ONE).replace(b"GET", b"DELETE", 1),
    "no host": b"GET /?" + ONE.encode() + b" HTTP/1.1\r\n\r\n",
    "two hosts": get(ONE, "Host: y"),
    "an empty host": b"GET /?" + ONE.encode() + b" HTTP/1.1\r\nHost:\r\n\r\n",
    "a host with a port like an operand": get(ONE.replace(":", "%3A")).replace(b"localhost", b"localhost:1&y"),
    "no length, get": get(ONE, "Content-Length: 0"),
    "a body of a get": get(ONE, "Content-Length: 5") + b"12345",
    "a bad length": get(ONE, "Content-Length: x"),
    "a negative length": get(ONE, "Content-Length: -1"),
    "two lengths": get(ONE, "Content-Length: 1", "Content-Length: 2") + b"12",
    "a blank before the colon": get(ONE, "X : y"),
    "no colon": get(ONE, "X y"),
    "an empty name": get(ONE, ": y"),
    "folded": get(ONE, "X: a\r\n b"),
    "bare line ends": get(ONE).replace(b"\r\n", b"\n"),
    "a bare line end within": get(ONE, "X: a\nY: b"),
    "a bare return": get(ONE, "X: a\rY: b"),
    "nul in a header": get(ONE, "X: a\x00"),
    "latin-1 in a header": get(ONE).replace(b"Host: localhost", b"Host: \xe9"),
    "empty lines first": b"\r\n\r\n" + get(ONE),
    "a bare line end first": b"\n" + get(ONE),
    "upgrade": get(ONE, "Connection: upgrade", "Upgrade: websocket"),
    "upgrade to http 2": get(ONE, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"),
    "upgrade not meant": get(ONE, "Upgrade: websocket"),
    "expectation of a get": get(ONE, "Expect: 100-continue"),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "explain": get("command=explain&where=id:NUMEQ:1&limit_max=1").replace(b"explain", b"explain&x"),
    "get insert": get(INSERT + "&rows=%7B%7D"),
    "insert": post(INSERT, ROW),
    "insert as json": post(INSERT, ROW, "Content-Type: application/json; charset=utf-8"),
    "insert of several": post(INSERT, [ROW, ROW]),
    "insert as lines": post(INSERT, b'{"uid":1}\n{"uid":2}\n', "Content-Type: application/x-ndjson"),
    "insert as a form": post(INSERT, b"%7B%22uid%22%3A5%7D", "Content-Type: application/x-www-form-urlencoded"),
    "insert of nothing": post(INSERT, b""),
    "insert of nonsense": post(INSERT, b"{nonsense"),
    "insert of an unknown column": post(INSERT, {"nope": 1}),
    "insert into an unknown table": post("command=insert&table=nope", ROW),
    "insert with an unknown parameter": post(INSERT + "&x=1", ROW),
    "insert compressed": post(INSERT, b"x", "Content-Encoding: gzip"),
    "insert not compressed": post(INSERT, ROW, "Content-Encoding: Identity"),
    "insert and close": post(INSERT, ROW, "Connection: close"),
    "insert of http 1.0": post(INSERT, ROW).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "insert expected": post(INSERT, ROW, "Expect: 100-continue"),
    "insert in chunks": b"POST /?%b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" % INSERT.encode()
    + b'8\r\n{"uid":1\r\n1\r\n}\r\n0\r\n\r\n',
    "insert with a length and chunks": post(INSERT, ROW, "Transfer-Encoding: chunked"),
    "insert without a length": b"POST /?" + INSERT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "insert with a type twice": post(INSERT, ROW, "Content-Type: a/b", "Content-Type: application/x-ndjson"),
    "insert with a fragment": post(INSERT + "#x", ROW),
    "insert with a blank": post(INSERT + " ", ROW),
    "insert by parameters": post("", {"command": "insert", "table": "t", "rows": [ROW]}),
    "insert elsewhere": post(INSERT, ROW).replace(b"POST /?", b"POST /health?"),
    "insert by put": post(INSERT, ROW).replace(b"POST", b"PUT"),
    "update": post("command=update&table=t&where=uid:NUMEQ:5", {"title": "changed"}),
    "delete": post("command=delete&table=t&where=uid:NUMEQ:5", b""),
    "select by post": post(ONE, b""),
    "rows too large": post(INSERT, b"[" + b" " * 1_100_000 + b"]"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_and_ordinary_requests_get_the_same_bytes_in_both_lanes(name: str, pair: tuple[Running, Running]) -> None:
    request = ODD[name]
    ordinary = get(ONE)
    # What stands behind an upgrade in its buffer is the other protocol's: uvicorn drops it.
    behind = (request, ordinary + LAST) if "Upgrade:" in request.decode("latin-1") else (request + ordinary + LAST,)
    for pieces in (behind, (ordinary, *behind)):
        fast, slow = (exchanged(server, *pieces) for server in pair)
        assert fast == slow
        assert fast.startswith(b"HTTP/1.1 "), "nothing came back"


def test_what_stands_before_a_malformed_request_is_answered_by_the_fast_lane(pair: tuple[Running, Running]) -> None:
    """Starlette's lane answers the malformed one alone when it comes in the same buffer: it has begun no other yet."""
    pieces = (get(ONE) * 2 + ODD["no colon"] + get(ONE),)
    fast, slow = (exchanged(server, *pieces) for server in pair)
    assert fast.count(b" 200 OK") == 2
    assert slow.startswith(b"HTTP/1.1 400 ")
    assert fast.endswith(slow)


# --- what is known --------------------------------------------------------------------------------------------


def counted(server: Running) -> dict[str, Any]:
    return dict(server.client.get(server.url + "/status").json()["metrics"])


def test_status_counts_every_answer_and_row_exactly(server: Running, posts: str, wire: Wire) -> None:
    def query(uid: int) -> bytes:
        return get(f"command=select&table={posts}&where=uid:NUMEQ:{uid}&limit_max=3&limit_skip=0&type=*")

    before = counted(server)
    for uid in (0, 1, 2, 0, 1, 2):  # 3 rows each
        assert len(wire.ask(query(uid))["rows"]) == 3
    wire.send(b"".join(query(uid) for uid in (0, 1, 2)) + query(9))  # a pipeline, the last without rows
    assert [len(orjson.loads(wire.reply()[1])["rows"]) for _ in range(4)] == [3, 3, 3, 0]
    assert wire.ask(query(-1))["rows"] == []  # known, but the careful way has to look
    for _ in range(3):
        assert wire.ask(get(f"command=select&table={posts}&type=count&where=uid:NUMEQ:1")) == {"count": 4}
    assert wire.ask(get(f"command=select&table={posts}&where=nope:NUMEQ:1"))["error"]
    after = counted(server)
    assert after["rows_sent"] - before["rows_sent"] == 27
    for operation, status, number in (("select", "200", 11), ("count", "200", 3), ("select", "400", 1)):
        was = before["requests"].get(operation, {}).get(status, 0)
        assert after["requests"][operation][status] - was == number, (operation, status)


def test_known_queries_do_not_take_the_careful_way(server: Running, posts: str, wire: Wire) -> None:
    def careful() -> int:
        return int(counted(server)["latency_s"].get("select", {}).get("count", 0))

    before = careful()
    for number in range(1, 9):
        page = wire.ask(get(f"command=select&table={posts}&where=pkey:NUMEQ:{number}&bigint=number"))
        assert [row["id"] for row in page["rows"]] == [number]
    assert careful() == before + 1


def test_a_change_of_the_schema_reaches_known_requests(server: Running, posts: str, wire: Wire) -> None:
    request = get(f"command=select&table={posts}&where=uid:NUMEQ:1&limit_max=1&limit_skip=1")
    columns = ["id", "uid", "dateline", "idtype", "title", "hits", "price"]

    def shown() -> list[str]:
        for _ in range(2):
            page = wire.ask(request)
        return list(page["rows"][0]) if "rows" in page else [page["error"]["code"]]

    assert shown() == columns
    server.sql(f"ALTER TABLE {posts} ADD COLUMN more INT")
    assert shown() == [*columns, "more"]
    server.sql(f"ALTER TABLE {posts} DROP COLUMN hits")
    assert shown() == [*columns[:5], "price", "more"]
    server.sql(f"CREATE INDEX other ON {posts} (uid, price)")
    assert shown() == [*columns[:5], "price", "more"]
    server.sql(f"DROP INDEX uid ON {posts}")
    assert wire.ask(request)["total"] == 4
    server.sql(f"RENAME TABLE {posts} TO {posts}_old")
    assert shown() == ["unknown_table"]
    server.sql(f"RENAME TABLE {posts}_old TO {posts}")
    assert wire.ask(request)["total"] == 4
    server.sql(f"TRUNCATE TABLE {posts}")
    assert wire.ask(request) == wire.ask(request) == {"total": 0, "next": None, "prev": None, "rows": []}
    server.sql(f"DROP TABLE {posts}")
    assert shown() == ["unknown_table"]


def test_the_only_table_is_meant_only_while_there_is_no_other(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as running, closing(Wire(running)) as wire:
        running.sql(TABLE)
        request = get("command=select&where=uid:NUMEQ:1&limit_max=1")
        for _ in range(3):
            assert wire.ask(request)["total"] == 0
        running.sql("CREATE TABLE second (id INT PRIMARY KEY)")
        assert wire.ask(request)["error"]["code"] == "bad_request"
        running.sql("DROP TABLE second")
        assert wire.ask(request)["total"] == 0
        assert running.stop() == 0


# --- order and cuts -------------------------------------------------------------------------------------------


def test_requests_of_every_kind_in_one_buffer_are_answered_in_order(server: Running, posts: str, wire: Wire) -> None:
    def count(uid: int) -> bytes:
        return get(f"command=select&table={posts}&type=count&where=uid:NUMEQ:{uid}")

    insert = post(f"command=insert&table={posts}", {"uid": 70, "title": "x"})
    slow = post(f"command=insert&table={posts}", b'{"uid":70}\n' * 30, "Content-Type: application/x-ndjson")
    update = post(f"command=update&table={posts}&where=uid:NUMEQ:70", {"uid": 71})
    head = count(1).replace(b"GET", b"HEAD")
    steps = [count(70), insert, count(70), slow, count(70), insert, insert, count(70), update, count(70), count(71)]
    wire.send(b"".join(steps))
    found = [orjson.loads(wire.reply()[1]) for _ in steps]
    numbers = [each.get("count", each.get("inserted", each.get("updated"))) for each in found]
    assert numbers == [0, 1, 1, 30, 31, 1, 1, 33, 33, 0, 33]
    wire.send(count(1) + head + LAST)
    assert orjson.loads(wire.reply()[1]) == {"count": 4}
    assert wire.rest().count(b"HTTP/1.1 200 OK") == 2


def test_two_requests_cut_in_two_at_every_byte(server: Running, posts: str, wire: Wire) -> None:
    insert = post(f"command=insert&table={posts}", {"uid": 80})
    both = insert + get(f"command=select&table={posts}&type=count&where=uid:NUMEQ:80")
    for cut in range(1, len(both)):
        wire.send(both[:cut])
        time.sleep(0.0005)
        wire.send(both[cut:])
        assert orjson.loads(wire.reply()[1])["inserted"] == 1
        assert orjson.loads(wire.reply()[1]) == {"count": cut}


def test_a_request_sent_byte_by_byte(server: Running, posts: str, wire: Wire) -> None:
    for request in (
        get(f"command=select&table={posts}&type=count"),
        post(f"command=insert&table={posts}", {"uid": 1}),
    ) * 2:
        for place in range(len(request)):
            wire.send(request[place : place + 1])
        assert b" 200 OK" in wire.reply()[0]


def test_a_client_that_leaves_early_leaves_whole_writes(server: Running, make_table: Callable[[str], str]) -> None:
    table = make_table("id INT PRIMARY KEY AUTO_INCREMENT, n INT")
    insert = post(f"command=insert&table={table}", {"n": 1})
    for number in range(20):
        with closing(Wire(server)) as wire:
            wire.send(insert * (number % 4) + insert[: len(insert) - 1 - number] if number % 2 else insert * 3)
            if number % 3 == 0:
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset
    with closing(Wire(server)) as wire:
        inserts = [wire.ask(insert)["inserted"] for _ in range(3)]
        rows = wire.ask(get(f"command=select&table={table}&limit_max=1000&type=id"))["rows"]
    assert inserts == [1, 1, 1]
    assert [row["id"] for row in rows] == list(range(1, len(rows) + 1)), "no key was taken twice or lost"
    assert 3 <= len(rows) <= 3 + 3 * 10 + 3 * 10


# --- pressure -------------------------------------------------------------------------------------------------


def resident_bytes(server: Running) -> int:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * 4_096


def test_a_client_that_does_not_read_is_waited_for(server: Running, make_table: Callable[[str], str]) -> None:
    table = make_table("id INT PRIMARY KEY, n INT, t VARCHAR(120), KEY (n)")
    lines = b"\n".join(b'{"id":%d,"n":1,"t":"%b"}' % (number, b"x" * 100) for number in range(800))
    assert server.post(f"command=insert&table={table}", lines, "application/x-ndjson").json()["inserted"] == 800
    limits = [700 + number % 90 for number in range(600)]  # 600 pages of 100 KB
    requests = [get(f"command=select&table={table}&where=n:NUMEQ:1&limit_max={limit}") for limit in limits]
    with closing(Wire(server)) as wire, closing(Wire(server)) as other:
        wire.socket.settimeout(30)
        before = resident_bytes(server)
        wire.send(b"".join(requests))
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:  # the others go on
            assert other.ask(get(f"command=select&table={table}&type=count&where=n:NUMEQ:1")) == {"count": 800}
        assert resident_bytes(server) - before < 30_000_000
        for limit in limits:
            assert wire.reply()[1].count(b'{"id":') == limit


# --- idleness, limits, the end --------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=LANES)
def narrow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with room for five connections, which may be idle for a second."""
    flags = ("--keepalive-s", "1", "--max-connections", "5", *LANES[request.param])
    with serving(tmp_path_factory.mktemp("narrow") / "data", *flags) as running:
        running.sql(TABLE)
        running.client.close()  # it would be one of the five
        yield running
        assert running.stop() == 0
        assert "bug" not in running.stderr(), running.stderr()


def test_one_connection_too_many_is_refused_and_the_others_go_on(narrow: Running) -> None:
    request = get("command=select&type=count&where=uid:NUMEQ:1")
    with ExitStack() as stack:
        five = [stack.enter_context(closing(Wire(narrow))) for _ in range(5)]
        for wire in five:
            assert wire.ask(request) == {"count": 0}
        for _ in range(3):
            with closing(Wire(narrow)) as sixth:
                head, body = sixth.reply()
                assert head.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 1" in head and b"connection: close" in head
                assert orjson.loads(body)["error"]["code"] == "overloaded"
                assert sixth.rest() == b""
        for wire in five:
            assert wire.ask(request) == {"count": 0}
        five[2].close()

        def is_taken() -> bool:
            with closing(Wire(narrow)) as again:
                again.send(request + LAST)
                return again.rest().startswith(b"HTTP/1.1 200 OK")

        wait_for(is_taken)


def test_idle_connections_are_closed_and_busy_ones_are_not(narrow: Running) -> None:
    request = get("command=select&type=count&where=uid:NUMEQ:1")
    with ExitStack() as stack:
        silent, asked, partial, busy, writing = (stack.enter_context(closing(Wire(narrow))) for _ in range(5))
        started = time.monotonic()
        assert asked.ask(request) == {"count": 0}
        partial.send(request[:20])
        insert = post("command=insert&table=t", b'{"uid":9}\n' * 2, "Content-Type: application/x-ndjson")
        writing.send(insert[:-5])  # its request is under way
        waiting = {"silent": silent, "asked": asked, "partial": partial}
        while waiting:
            assert time.monotonic() < started + 8, f"{list(waiting)} are still open"
            assert busy.ask(request)["count"] is not None
            waiting = {name: wire for name, wire in waiting.items() if not wire.is_closed}
        assert time.monotonic() - started > 0.9
        writing.send(insert[-5:])
        assert orjson.loads(writing.reply()[1])["inserted"] == 2


@pytest.mark.parametrize("lane", LANES)
def test_what_was_answered_before_the_end_is_there_after_it(lane: str, tmp_path: Path) -> None:
    """SIGTERM with idle connections and one full of inserts."""
    insert = post("command=insert&table=t", {"uid": 1})
    with ExitStack() as stack:
        running = stack.enter_context(serving(tmp_path / "data", *LANES[lane]))
        running.sql(TABLE)
        idle = [stack.enter_context(closing(Wire(running))) for _ in range(3)]
        idle[0].ask(get("command=select&type=count"))
        wire = stack.enter_context(closing(Wire(running)))
        wire.send(insert * 300)
        wire.reply()
        running.process.send_signal(signal.SIGTERM)
        answered = 1 + wire.rest().count(b'"inserted":1,')
        started = time.monotonic()
        assert all(each.rest() == b"" for each in idle)
        assert running.stop() == 0
        assert time.monotonic() - started < 5
    with serving(tmp_path / "data", *LANES[lane]) as running:
        rows = running.get("command=select&limit_max=1000&type=id").json()["rows"]
        assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
        assert answered <= len(rows) <= 300
        assert running.stop() == 0


# --- writes that wait for the disk, step by step --------------------------------------------------------------


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    return run


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.closed
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", b"".join(self.written))]

    @property
    def bodies(self) -> list[bytes]:
        return [data.partition(b"\r\n\r\n")[2] for data in self.written]


class SlowDisk(Api):
    """Inserts are answered when the test says so."""

    def __init__(self) -> None:
        super().__init__(Settings(), Metrics())
        self.waiting: list[tuple[bytes, Callable[[Reply], None]]] = []

    def answer_now(self, head: Head, is_admitted: bool = False) -> Reply | None:
        return Reply(200, b"read %b" % head.query)

    def post_now(self, head: Head, body: bytes, done: Callable[[Reply], None]) -> bool:
        self.waiting.append((body, done))
        return True

    def finish(self) -> None:
        body, done = self.waiting.pop(0)
        done(Reply(200, b"wrote %b" % body))


class Bench:
    """One connection of the fast lane without a socket, and others of the same server."""

    def __init__(self, api: SlowDisk | None = None) -> None:
        self.api = api or SlowDisk()
        self.lanes = Lanes(self.api, Settings(max_connections=10, header_s=30))
        self._config = uvicorn.Config(create_app(self.api), ws="none", lifespan="off", log_config=None)
        self._config.load()
        self.state = ServerState()
        self.connection, self.transport = self.another()

    def another(self) -> tuple[Connection, Transport]:
        connection = protocol(self.lanes)(self._config, self.state, {}, asyncio.get_running_loop())
        transport = Transport()
        connection.connection_made(transport)
        return connection, transport


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@on_a_loop
async def test_requests_behind_a_write_wait_for_its_answer() -> None:
    bench = Bench()
    bench.connection.data_received(post("", b"1") + get("a") + post("", b"2") + get("b")[:30])
    assert bench.transport.paused, "a client that sends on is not read from"
    bench.connection.data_received(get("b")[30:] + post("", b"3"))
    await turns()
    assert (bench.transport.written, len(bench.api.waiting)) == ([], 1)
    bench.api.finish()
    await turns()
    assert bench.transport.bodies == [b"wrote 1", b"read a"]
    bench.api.finish()
    await turns()
    assert bench.transport.bodies == [b"wrote 1", b"read a", b"wrote 2", b"read b"]
    bench.api.finish()
    assert bench.transport.bodies[4:] == [b"wrote 3"]
    assert not bench.transport.paused
    assert not bench.transport.closed


@on_a_loop
async def test_nothing_is_lost_that_comes_between_an_answer_and_the_next_turn() -> None:
    bench = Bench()
    bench.connection.data_received(post("", b"1") + get("a"))
    bench.api.finish()
    bench.connection.data_received(get("b"))  # before what is held has had its turn
    await turns()
    assert bench.transport.bodies == [b"wrote 1", b"read a", b"read b"]


@on_a_loop
async def test_a_client_that_has_gone_gets_no_answer_and_does_no_harm() -> None:
    bench = Bench()
    bench.connection.data_received(post("", b"1") + post("", b"2"))
    bench.transport.closed = True
    bench.connection.connection_lost(ConnectionResetError())
    bench.api.finish()
    await turns()
    assert (bench.transport.written, bench.api.waiting) == ([], []), "what stood behind was never begun"


@on_a_loop
async def test_the_end_of_the_server_waits_for_a_write_and_then_closes() -> None:
    bench = Bench()
    bench.connection.data_received(post("", b"1") + get("a"))
    bench.connection.shutdown()
    bench.connection.close_if_idle()
    assert not bench.transport.closed
    bench.api.finish()
    await turns()
    assert bench.transport.bodies == [b"wrote 1"]
    assert b"connection: close\r\n" in bench.transport.written[0]
    assert bench.transport.closed


@on_a_loop
async def test_the_end_of_the_server_closes_an_idle_connection() -> None:
    bench = Bench()
    bench.connection.data_received(get("a"))
    bench.connection.shutdown()
    assert bench.transport.bodies == [b"read a"]
    assert bench.transport.closed


@on_a_loop
async def test_a_write_that_asks_to_close_is_the_last() -> None:
    bench = Bench()
    bench.connection.data_received(post("", b"1", "Connection: close") + get("a"))
    bench.api.finish()
    await turns()
    assert bench.transport.bodies == [b"wrote 1"]
    assert bench.transport.closed


@on_a_loop
async def test_a_long_pipeline_gives_way_to_others_after_a_while() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastlane, "MOST_PIPELINE_S", 0.0)
        bench = Bench()
        bench.connection.data_received(get("a") + get("b") + get("c"))
        assert (bench.transport.bodies, bench.transport.paused) == ([b"read a"], True)
        bench.connection.data_received(get("d"))
        await turns(1)
        assert bench.transport.bodies == [b"read a", b"read b"]
        await turns(5)
        assert bench.transport.bodies == [b"read a", b"read b", b"read c", b"read d"]
        assert not bench.transport.paused


@on_a_loop
async def test_requests_of_a_client_that_does_not_read_wait_until_it_does() -> None:
    bench = Bench()
    bench.connection.pause_writing()
    bench.connection.data_received(get("a"))
    bench.connection.data_received(get("b") + get("c"))
    bench.connection.close_if_idle()
    await turns()
    assert (bench.transport.written, bench.transport.paused, bench.transport.closed) == ([], True, False)
    bench.connection.resume_writing()
    await turns()
    assert bench.transport.bodies == [b"read a", b"read b", b"read c"]
    assert not bench.transport.paused


@on_a_loop
async def test_a_request_told_too_slowly_is_not_waited_for() -> None:
    bench = Bench()
    now, slow = time.monotonic(), get("b", "Cookie: " + "c" * 100)
    bench.lanes.tidy(now)
    bench.connection.data_received(get("a"))
    for byte in range(29):
        bench.lanes.tidy(now + byte)
        bench.connection.data_received(slow[byte : byte + 1])
    assert not bench.transport.closed
    bench.lanes.tidy(now + 32)
    bench.connection.data_received(b"x")
    bench.lanes.tidy(now + 33)
    assert bench.transport.closed
    assert bench.transport.bodies[0] == b"read a"
    assert bench.transport.written[1].startswith(b"HTTP/1.1 408 ")
    assert len(bench.transport.written) == 2
