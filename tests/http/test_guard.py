"""Who may ask, over raw sockets in both lanes: hosts, malformed requests, pages of other sites, proxies, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tcsql.errors import SetupError
from tcsql.http.addresses import LOOPBACK
from tcsql.http.guard import Asked, Guard
from tcsql.http.listening import listen
from tcsql.settings import Settings
from tests.http.conftest import LANES
from tests.http.keyring import bearer, make_key
from tests.http.serving import Running, finished, serving
from tests.http.test_fastlane import exchanged

Pair = tuple[Running, Running]

ROWS = 3
ORIGIN = "https://www.example.org"
READ = "/?command=select&table=t&where=id:NUMEQ:1"
WIPE = "/?command=delete&table=t&all=1"


def pair_of(tmp_path_factory: pytest.TempPathFactory, *flags: str) -> Iterator[Pair]:
    with ExitStack() as stack:
        servers = [
            stack.enter_context(serving(tmp_path_factory.mktemp(name) / "data", *lane, *flags))
            for name, lane in LANES.items()
        ]
        for server in servers:
            server.sql("CREATE TABLE t (id INT PRIMARY KEY)")
            server.post("command=insert&table=t", [{"id": number} for number in range(ROWS)])
        yield servers[0], servers[1]
        for server in servers:
            assert server.stop() == 0
            assert "bug" not in server.stderr(), server.stderr()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A server of each lane that lists one origin, with the same rows."""
    yield from pair_of(tmp_path_factory, "--cors-origins", ORIGIN)


@pytest.fixture(scope="module")
def open_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The same, by any name and also by GET."""
    yield from pair_of(tmp_path_factory, "--plain-public", "true", "--hosts", "*", "--get-writes", "true")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """A server with a key for everything; its token."""
    data = tmp_path_factory.mktemp("keyed") / "data"
    token = make_key(data)
    with serving(data) as server:
        server.client.headers["authorization"] = f"Bearer {token}"
        server.sql("CREATE TABLE t (id INT PRIMARY KEY)")
        yield server, token
        assert server.stop() == 0


def head(method: str, target: str, *headers: str, host: str | None = "localhost", version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", *([] if host is None else [f"Host: {host}"]), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def wipe(*headers: str, host: str | None = "localhost", version: str = "1.1", body: bytes = b"") -> bytes:
    return head("POST", WIPE, *headers, host=host, version=version) + body


KNOWN = head("GET", READ)  # asked before, so that the fast lane knows it by its bytes
LAST = head("GET", "/health", "Connection: close")


def replies(server: Running, *pieces: bytes) -> bytes:
    """What comes back until the connection closes, without the lines of the date."""
    return exchanged(server, *pieces).replace(b"\r\n\r\nserver:", b"\r\nserver:")


def both(pair: Pair, request: bytes) -> bytes:
    """What comes back for a request alone, and for one behind ordinary requests: the same in both lanes."""
    alone, behind = ({replies(server, *pieces, request + LAST) for server in pair} for pieces in ((), (KNOWN, KNOWN)))
    assert len(alone) == len(behind) == 1, (alone, behind)
    found = alone.pop()
    assert behind.pop().endswith(found)
    assert all(len(server.rows("table=t")) == ROWS for server in pair), "it was carried out"
    return found


def code(answer: bytes) -> tuple[int, str]:
    """Status and error code of a reply."""
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    found = re.search(rb'"code":"(\w+)"', answer)
    assert status is not None, answer
    return int(status[1]), found[1].decode() if found else ""


def number(answer: bytes) -> int:
    """Of replies."""
    return len(re.findall(rb"HTTP/1\.1 \d{3} ", answer))


CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
FORM = "Content-Length: 3"

MALFORMED: dict[str, bytes] = {
    "length and chunks": wipe(FORM, CHUNKED, body=END),
    "chunks and length": wipe(CHUNKED, FORM, body=END),
    "two lengths": wipe(FORM, "Content-Length: 4", body=b"a=bc"),
    "the same length twice": wipe(FORM, FORM, body=b"a=b"),
    "lengths in a list": wipe("Content-Length: 3, 3", body=b"a=b"),
    "a length with a plus": wipe("Content-Length: +0"),
    "a negative length": wipe("Content-Length: -0"),
    "a hexadecimal length": wipe("Content-Length: 0x0"),
    "a length with an underscore": wipe("Content-Length: 0_0"),
    "an empty length": wipe("Content-Length:"),
    "a length beyond 64 bits": wipe("Content-Length: 99999999999999999999999"),
    "a length in Arabic digits": wipe("Content-Length: ٠".encode().decode("latin-1")),
    "a blank before the colon of a length": wipe("Content-Length : 0"),
    "a folded header": wipe("Content-Length: 0", "X: a\r\n b"),
    "a folded header that is first": wipe("Content-Length: 0").replace(b"Host", b" X: a\r\nHost"),
    "a folded length": wipe("Content-Length:\r\n 0"),
    "folded chunks": wipe("Transfer-Encoding:\r\n chunked", body=END),
    "chunks twice": wipe(CHUNKED, CHUNKED, body=END),
    "chunks of gzip": wipe("Transfer-Encoding: gzip, chunked", body=END),
    "chunks that are compressed": wipe("Transfer-Encoding: chunked, gzip", body=END),
    "nearly chunked": wipe("Transfer-Encoding: xchunked", body=END),
    "chunked behind a control": wipe("Transfer-Encoding: \x0bchunked", body=END),
    "an identity": wipe("Transfer-Encoding: identity"),
    "an empty coding": wipe("Transfer-Encoding:", body=END),
    "chunks of HTTP/1.0": wipe(CHUNKED, version="1.0", body=END),
    "a chunk of negative size": wipe(CHUNKED, body=b"-1\r\n\r\n"),
    "a chunk with a plus": wipe(CHUNKED, body=b"+0\r\n\r\n"),
    "a hexadecimal chunk": wipe(CHUNKED, body=b"0x0\r\n\r\n"),
    "chunks with bare line ends": wipe(CHUNKED, body=b"0\n\n"),
    "HTTP/0.9": f"POST {WIPE}\r\n\r\n".encode(),
    "HTTP/0.9 with headers": f"POST {WIPE}\r\nHost: localhost\r\n\r\n".encode(),
    "HTTP/2.0": wipe("Content-Length: 0", version="2.0"),
    "HTTP/1.2": wipe("Content-Length: 0", version="1.2"),
    "HTTP/01.1": wipe("Content-Length: 0", version="01.1"),
    "http in small letters": wipe("Content-Length: 0").replace(b"HTTP", b"http"),
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bare line ends": wipe("Content-Length: 0").replace(b"\r\n", b"\n"),
    "a bare line end within": wipe("Content-Length: 0", "X: a\nY: b"),
    "a bare return": wipe("Content-Length: 0", "X: a\rY: b"),
    "NUL in a value": wipe("Content-Length: 0", "X: a\0b"),
    "an empty name": wipe("Content-Length: 0", ": b"),
    "no colon": wipe("Content-Length: 0", "X"),
    "a letter above ASCII in a name": wipe("Content-Length: 0", "X\xe9: b"),
    "a tab for a blank": wipe("Content-Length: 0").replace(b"POST ", b"POST\t"),
    "a blank before the method": b" " + wipe("Content-Length: 0"),
    "a blank behind the version": wipe("Content-Length: 0").replace(b"HTTP/1.1", b"HTTP/1.1 "),
    "a tunnel": head("CONNECT", "localhost:80"),
    "two keys": wipe("Content-Length: 0", "Authorization: Bearer a", "Authorization: Bearer b"),
    "the same key twice": wipe("Content-Length: 0", "Authorization: Bearer a", "authorization: Bearer a"),
    "a key and nothing": wipe("Content-Length: 0", "Authorization: Bearer a", "Authorization:"),
    "a blank before the colon of a key": wipe("Content-Length: 0", "Authorization : Bearer a"),
    "a blank before the colon of chunks": wipe("Transfer-Encoding : chunked", body=END),
    "a tab before the colon": wipe("Content-Length\t: 0"),
    "a blank before a name": wipe("Content-Length: 0", " X: a"),
    "a folded key": wipe("Content-Length: 0", "Authorization: Bearer\r\n a"),
    "a folded header with a tab": wipe("Content-Length: 0", "X: a\r\n\tb"),
    "NUL in a name": wipe("Content-Length: 0", "X\0: a"),
    "NUL in a key": wipe("Content-Length: 0", "Authorization: Bearer a\0b"),
    "NUL alone": b"\0\r\n\r\n",
    "a bare return before the end": wipe("Content-Length: 0").replace(b"\r\n\r\n", b"\r\r\n"),
    "a bare return behind the version": wipe("Content-Length: 0").replace(b"1.1\r\n", b"1.1\r"),
    "a bare return in a length": wipe("Content-Length: 0\r1"),
    "a delete in a value": wipe("Content-Length: 0", "X: a\x7fb"),
    "a control in a name": wipe("Content-Length: 0", "X\x01: a"),
    "a name in brackets": wipe("Content-Length: 0", "X(a): b"),
    "a length with a blank within": wipe("Content-Length: 1 0", body=b"0123456789"),
    "a length with a point": wipe("Content-Length: 3.0", body=b"a=b"),
    "a length in exponents": wipe("Content-Length: 3e0", body=b"a=b"),
    "a length that wraps 64 bits": wipe("Content-Length: 18446744073709551619", body=b"a=b"),
    "a length of 500 digits": wipe("Content-Length: " + "9" * 500),
    "a length and a length in chunks": wipe(FORM, "Content-Length: 3", CHUNKED, body=END),
    "chunks and identity": wipe("Transfer-Encoding: identity, chunked", body=END),
    "chunks with a parameter": wipe("Transfer-Encoding: chunked;q=1", body=END),
    "chunks in quotes": wipe('Transfer-Encoding: "chunked"', body=END),
    "a chunk of 17 digits": wipe(CHUNKED, body=b"1" + b"0" * 16 + b"\r\n\r\n"),
    "a chunk of no size": wipe(CHUNKED, body=b"\r\n\r\n"),
    "a chunk with an underscore": wipe(CHUNKED, body=b"0_0\r\n\r\n"),
    "a chunk with a blank before": wipe(CHUNKED, body=b" 0\r\n\r\n"),
    "a chunk that ends without a line end": wipe(CHUNKED, body=b"1\r\na0\r\n\r\n"),
    "HTTP/0.9, a blank behind": f"GET {READ} \r\n\r\n".encode(),
    "a version without a point": wipe("Content-Length: 0").replace(b"HTTP/1.1", b"HTTP/11"),
    "a version of two digits": wipe("Content-Length: 0").replace(b"HTTP/1.1", b"HTTP/1.10"),
    "another protocol": wipe("Content-Length: 0").replace(b"HTTP/1.1", b"RTSP/1.0"),
    "a method with a blank": wipe("Content-Length: 0").replace(b"POST ", b"PO ST "),
    "no method": wipe("Content-Length: 0").replace(b"POST ", b""),
    "a target with a blank": wipe("Content-Length: 0").replace(b"all=1", b"all=1 x"),
    "a target with a line feed": wipe("Content-Length: 0").replace(b"all=1", b"all=1\nx"),
    "a target with a NUL": wipe("Content-Length: 0").replace(b"all=1", b"all=1\0"),
    "a relative target": wipe("Content-Length: 0").replace(b"POST /", b"POST "),
    "a handshake of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}  # fmt: skip

MISDIRECTED: dict[str, bytes] = {
    "no host": wipe("Content-Length: 0", host=None),
    "no host by HTTP/1.0": wipe("Content-Length: 0", host=None, version="1.0"),
    "two hosts": wipe("Content-Length: 0", "Host: evil.example"),
    "the same host twice": wipe("Content-Length: 0", "Host: localhost"),
    "another host": wipe("Content-Length: 0", host="evil.example"),
    "another host, reading": head("GET", READ, host="evil.example"),
    "another host, a document": head("GET", "/status", host="evil.example"),
    "a host that begins as ours": wipe("Content-Length: 0", host="localhost.evil.example"),
    "a host that ends as ours": wipe("Content-Length: 0", host="evil-localhost"),
    "our host with a dot behind": wipe("Content-Length: 0", host="localhost."),
    "an empty host": wipe("Content-Length: 0", host=""),
    "a port alone": wipe("Content-Length: 0", host=":3888"),
    "a port that is no number": wipe("Content-Length: 0", host="localhost:3888x"),
    "a long port": wipe("Content-Length: 0", host="localhost:388888"),
    "two hosts in one": wipe("Content-Length: 0", host="localhost, localhost"),
    "a blank in the host": wipe("Content-Length: 0", host="localhost evil"),
    "an account before the host": wipe("Content-Length: 0", host="localhost@evil.example"),
    "an account at our host": wipe("Content-Length: 0", host="evil@localhost"),
    "a path in the host": wipe("Content-Length: 0", host="localhost/x"),
    "a host above ASCII": wipe("Content-Length: 0", host="localhost\xe9"),
    "an address of ours in another spelling": wipe("Content-Length: 0", host="2130706433"),
    "no brackets": wipe("Content-Length: 0", host="::1"),
    "half a bracket": wipe("Content-Length: 0", host="[::1"),
    "an absolute target of another host": head("POST", "http://evil.example" + WIPE, "Content-Length: 0"),
    "an absolute target with an account": head("POST", "http://x@localhost" + WIPE, "Content-Length: 0"),
    "an absolute target with another port": head("POST", "http://localhost:81" + WIPE, "Content-Length: 0"),
    "an absolute target of our host, Host not ours": head(
        "POST", "http://localhost" + WIPE, "Content-Length: 0", host="evil.example"
    ),
    "another scheme": head("POST", "ftp://localhost" + WIPE, "Content-Length: 0"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused_and_its_connection_closed(name: str, pair: Pair) -> None:
    answer = both(pair, MALFORMED[name])
    assert code(answer) == (400, "bad_request")
    assert (number(answer), answer.count(b"connection: close")) == (1, 1)


@pytest.mark.parametrize("name", MISDIRECTED)
def test_a_request_that_is_not_for_us_is_refused_and_its_connection_closed(name: str, pair: Pair) -> None:
    answer = both(pair, MISDIRECTED[name])
    assert code(answer) == (421, "misdirected_request")
    assert (number(answer), answer.count(b"connection: close")) == (1, 1)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:1", "127.0.0.1", "127.0.0.1:38",
    "[::1]", "[::1]:65535", "localhost:", " localhost\t"]
)  # fmt: skip
def test_our_own_names_are_taken_with_any_port(host: str, pair: Pair) -> None:
    answer = both(pair, head("GET", READ, host=host))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    if not host.endswith(":"):  # the parser takes no such target
        answer = both(pair, head("GET", f"http://{host.strip()}{READ}", host=host))
        assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_what_stands_behind_chunks_is_no_header(pair: Pair) -> None:
    body = b"0\r\nHost: evil.example\r\nSec-Fetch-Site: cross-site\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
    answer = both(pair, head("POST", READ, CHUNKED) + body)
    assert answer.count(b"HTTP/1.1 200 OK") == 2


# --- pages of other sites -------------------------------------------------------------------------------------


FOREIGN: dict[str, tuple[str, ...]] = {
    "a form of another site": ("Origin: https://evil.example", "Sec-Fetch-Site: cross-site"),
    "another port of this machine": ("Origin: http://localhost:3000", "Sec-Fetch-Site: same-site"),
    "an old browser": ("Origin: https://evil.example",),
    "a page of no origin": ("Origin: null",),
    "an empty origin": ("Origin:",),
    "no origin": ("Sec-Fetch-Site: cross-site",),
    "a site that nobody knows": ("Sec-Fetch-Site: other",),
    "two sites": ("Sec-Fetch-Site: none", "Sec-Fetch-Site: none"),
    "two origins": (f"Origin: {ORIGIN}", "Origin: https://evil.example"),
    "an origin that begins as a listed one": (f"Origin: {ORIGIN}.evil.example",),
    "a listed origin by http": ("Origin: http://www.example.org",),
    "our host with another port": ("Origin: http://localhost:81",),
    "an extension that calls itself as we are called": ("Origin: app://localhost",),
    "our origin that is of another site": ("Origin: http://localhost", "Sec-Fetch-Site: cross-site"),
}
ACTS: dict[str, bytes] = {
    "delete": head("POST", WIPE, "@", "Content-Length: 0"),
    "delete, in the body": head("POST", "/", "@", "Content-Length: 28") + b"command=delete&table=t&all=1",
    "delete in chunks": head("POST", WIPE, "@", CHUNKED) + END,
    "insert": head("POST", "/?command=insert&table=t", "@", "Content-Length: 9") + b'{"id":99}',
    "bulk": head("POST", "/?command=insert&table=t", "@", "Content-Length: 9", "Content-Type: application/x-ndjson")
    + b'{"id":99}',
    "update": head("POST", "/?command=update&table=t&all=1", "@", "Content-Length: 8") + b'{"id":9}',
    "sql": head("POST", "/?command=sql", "@", "Content-Length: 16") + b"sql=DROP+TABLE+t",
    "hint": head("POST", "/?command=hint&source=s&table=t&op=U", "@", "Content-Length: 1") + b"1",
    "action": head("POST", "/sources/shop?action=recopy", "@", "Content-Length: 0"),
    "backup": head("GET", "/backup", "@"),
}


def sent_by(request: bytes, *headers: str) -> bytes:
    """The request with headers in the place that it leaves for them."""
    return request.replace(b"@\r\n", "".join(f"{line}\r\n" for line in headers).encode())


A_FORM = "a form of another site"


@pytest.mark.parametrize(("page", "act"), [*((page, "delete") for page in FOREIGN), *((A_FORM, act) for act in ACTS)])
def test_a_page_of_another_site_changes_nothing(page: str, act: str, pair: Pair) -> None:
    answer = both(pair, sent_by(ACTS[act], *FOREIGN[page]))
    assert code(answer) == (403, "cross_site")
    assert b"access-control" not in answer
    assert number(answer) == 1


@pytest.mark.parametrize("page", FOREIGN)
def test_a_page_of_another_site_reads_nothing(page: str, pair: Pair) -> None:
    """It is answered, because an address typed by hand is; the browser keeps the answer from the page."""
    for request in (head("GET", READ, *FOREIGN[page]), head("POST", READ, "Content-Length: 0", *FOREIGN[page])):
        answer = both(pair, request)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert b"access-control" not in answer


def test_a_body_does_not_turn_a_read_of_another_site_into_a_write(pair: Pair) -> None:
    body = b"command=delete&table=t&all=1"
    for kind in ("Content-Type: application/x-www-form-urlencoded", "Content-Type: text/plain"):
        answer = both(pair, head("POST", "/?command=select", "Content-Length: 28", kind, *FOREIGN[A_FORM]) + body)
        assert code(answer) == (400, "bad_request")


def test_writes_by_get_are_refused_to_another_site_also_when_they_are_on(open_pair: Pair) -> None:
    for method, target in (("GET", WIPE), ("HEAD", WIPE), ("GET", WIPE.replace("delete", "%64elete"))):
        answer = both(open_pair, head(method, target, *FOREIGN[A_FORM]))
        assert answer.startswith(b"HTTP/1.1 403 ")


OURS: dict[str, tuple[str, ...]] = {
    "no browser": (),
    "an address typed by hand": ("Sec-Fetch-Site: none",),
    "a page of ours": ("Origin: http://localhost", "Sec-Fetch-Site: same-origin"),
    "a page of ours behind TLS": ("Origin: https://localhost", "Sec-Fetch-Site: same-origin"),
    "a listed page": (f"Origin: {ORIGIN}", "Sec-Fetch-Site: cross-site"),
}


@pytest.mark.parametrize("page", OURS)
def test_other_pages_may_write(page: str, pair: Pair) -> None:
    body = b'{"id":1}'
    for server in pair:
        request = head("POST", "/?command=insert&table=t", f"Content-Length: {len(body)}", *OURS[page]) + body
        answer = replies(server, request + LAST)
        assert b'{"inserted":0,"replaced":1,' in answer
        assert (b"access-control-allow-origin" in answer) == (page == "a listed page")


@pytest.mark.parametrize("target", [READ, "/status", "/?command=select&table=nope", "/nope"])
def test_a_listed_page_may_read_the_reply_whatever_it_says(target: str, pair: Pair) -> None:
    for server in pair:
        answer = replies(server, head("GET", target, f"Origin: {ORIGIN}", "Sec-Fetch-Site: cross-site") + LAST)
        first = answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
        assert f"access-control-allow-origin: {ORIGIN}".encode() in first
        assert b"vary: origin" in first
        assert b"*" not in answer.partition(b"\r\n\r\n")[0]


def test_a_preflight_is_answered_to_listed_pages_alone(pair: Pair) -> None:
    asked = ("Access-Control-Request-Method: POST",)
    answer = both(pair, head("OPTIONS", "/", f"Origin: {ORIGIN}", *asked))
    lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 204 No Content"
    assert not any(line.startswith(b"content-length") for line in lines), "a 204 has no length"
    assert {
        f"access-control-allow-origin: {ORIGIN}".encode(),
        b"access-control-allow-methods: GET, HEAD, POST",
        b"access-control-allow-headers: authorization, content-type",
        b"vary: origin",
    } <= set(lines)
    answer = both(pair, head("OPTIONS", "/", "Origin: https://evil.example", *asked))
    assert code(answer) == (405, "method_not_allowed")
    assert b"access-control" not in answer


# --- proxies and addresses ------------------------------------------------------------------------------------

THROUGH = (
    "Forwarded: for=1.2.3.4",
    "X-Forwarded-For: 1.2.3.4",
    "X-FORWARDED-PROTO: https",
    "x-forwarded-x:",
    "Via: 1.1 p",
    "X-Real-IP: 1.2.3.4",
    "CF-Connecting-IP: 1.2.3.4",
)


@pytest.mark.parametrize("header", THROUGH)
def test_what_came_through_a_proxy_is_remote_and_needs_a_key(
    header: str, pair: Pair, keyed: tuple[Running, str]
) -> None:
    for request in (head("GET", READ, header), head("GET", "/health", header), wipe("Content-Length: 0", header)):
        answer = both(pair, request)
        assert code(answer) == (403, "not_local")
        assert b"tcsql key make" in answer
        assert number(answer) == 1
    server, token = keyed
    assert replies(server, head("GET", READ, header, bearer(token)) + LAST).count(b"HTTP/1.1 200 OK") == 2
    assert code(replies(server, head("GET", READ, header) + LAST)) == (401, "unauthorized")


def test_any_host_means_any_host_but_one(open_pair: Pair) -> None:
    assert both(open_pair, head("GET", READ, host="db.example:80")).count(b"HTTP/1.1 200 OK") == 2
    for name in ("no host", "two hosts", "an empty host", "a blank in the host", "an absolute target of another host"):
        assert code(both(open_pair, MISDIRECTED[name])) == (421, "misdirected_request")
    for server in open_pair:
        assert "hosts allows any Host" in server.stderr()
        assert "can read keys and rows" in server.stderr()


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "203.0.113.1"])
def test_an_address_that_others_reach_is_refused_at_start(address: str, tmp_path: Path) -> None:
    found = finished("serve", "--data", "data", "--port", "0", "--host", address, cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith(f"tcsql: {address} is not loopback, and no key has been made")
    assert "tcsql key make NAME --scope read --data data" in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_loopback_needs_no_permission(address: str) -> None:
    listen(Settings(host=address, port=0), has_keys=False).close()


@pytest.mark.parametrize("address", ["0.0.0.0", "203.0.113.1"])
def test_an_address_that_others_reach_needs_a_key_and_a_way_to_keep_it(address: str) -> None:
    ways = (
        Settings(host=address, port=0, plain_public=True),
        Settings(host=address, port=0, proxies="10.0.0.1"),
        Settings(host=address, port=0, tls_certificate="chain.pem"),
    )
    for settings in ways:
        with pytest.raises(SetupError, match="no key has been made"):
            listen(settings, has_keys=False)
    with pytest.raises(SetupError, match="would not be encrypted") as found:
        listen(Settings(host=address, port=0), has_keys=True)
    assert found.value.hint is not None
    assert all(way in found.value.hint for way in ("--tls-certificate", "--proxies", "--plain-public true"))
    for settings in ways:
        if address == "0.0.0.0":
            listen(settings, has_keys=True).close()
        else:  # it is tried, but is not ours
            with pytest.raises(SetupError, match="cannot listen on"):
                listen(settings, has_keys=True)


def test_what_is_listened_on_is_a_host() -> None:
    guard = Guard(Settings(hosts="db.example", host="db.local"), "fe80::1%eth0")
    for host in (b"db.example", b"DB.local:1", b"[fe80::1]"):
        assert guard.admits(Asked("1.1", b"/", [(b"host", host)]), LOOPBACK) is None
    assert guard.admits(Asked("1.1", b"/", [(b"host", b"localhost")]), LOOPBACK) is not None


@pytest.mark.parametrize(
    "hosts", ["db.example:80", "127.0.0.1:80", "[a:1]", "a b", "http://x", "[::1", "db.example,*x", "é"]
)
def test_a_host_that_is_none_is_an_error_at_start(hosts: str) -> None:
    with pytest.raises(SetupError, match=r"hosts: .* is not a host"):
        Guard(Settings(hosts=hosts))


@pytest.mark.parametrize(
    "origin", ["*", "null", "www.example.org", "https://www.example.org/", "https://*.example.org"]
)
def test_an_origin_that_is_none_is_an_error_at_start(origin: str) -> None:
    with pytest.raises(SetupError, match=r"cors_origins: .* is not an origin"):
        Guard(Settings(cors_origins=origin))
