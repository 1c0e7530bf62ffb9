"""TLS by a certificate of the test's own, in both lanes; what is wrong with one is said at start; other addresses."""

from __future__ import annotations

import contextlib
import datetime
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tcsql.errors import SetupError
from tcsql.http.certificate import Certificate
from tcsql.settings import Settings
from tests.http.conftest import LANES
from tests.http.keyring import make_key
from tests.http.serving import Running, finished, serving, wait_for

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PASSWORD = b"a password"


class Paper:
    """A certificate for localhost and its key, in files."""

    def __init__(self, directory: Path, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        self.certificate = directory / f"{name}.pem"
        self.key = directory / f"{name}.key"
        self.both = directory / f"{name}-both.pem"
        self.locked = directory / f"{name}-locked.key"
        chain, plain = certificate.public_bytes(pem), key.private_bytes(pem, form, serialization.NoEncryption())
        self.certificate.write_bytes(chain)
        self.key.write_bytes(plain)
        self.both.write_bytes(plain + chain)
        self.locked.write_bytes(key.private_bytes(pem, form, serialization.BestAvailableEncryption(PASSWORD)))


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Paper:
    return Paper(tmp_path_factory.mktemp("paper"), "localhost")


@pytest.fixture(scope="module", params=LANES)
def secure(request: pytest.FixtureRequest, paper: Paper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that speaks TLS and waits a second for a handshake."""
    flags = ("--tls-certificate", str(paper.certificate), "--tls-key", str(paper.key), "--header-s", "1")
    with serving(tmp_path_factory.mktemp("secure") / "data", *flags, *LANES[request.param]) as running:
        running.client.close()
        running.client = httpx.Client(verify=ssl.create_default_context(cafile=str(paper.certificate)), timeout=20)
        running.url = running.url.replace("127.0.0.1", "localhost")
        yield running
        assert running.stop() == 0
        assert "bug" not in running.stderr(), running.stderr()
        assert "Traceback" not in running.stderr(), running.stderr()


def port_of(server: Running) -> int:
    return int(server.url.rpartition(":")[2])


def context_of(paper: Paper) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(paper.certificate))


def wrapped(server: Running, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port_of(server)), timeout=10)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


def rest_of(connection: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := connection.recv(65_536):
            answer += piece
    return answer


def test_requests_are_answered_over_tls_and_the_announced_url_says_so(secure: Running) -> None:
    assert all(" on https://127.0.0.1:" in line for line in secure.lines)
    secure.sql("CREATE TABLE t (id INT PRIMARY KEY, text VARCHAR(1000))")
    rows = [{"id": number, "text": "x" * 900} for number in range(1_000)]
    for part in range(0, 1_000, 100):
        assert secure.post("command=insert&table=t", rows[part : part + 100]).json()["inserted"] == 100
    for _ in range(3):
        assert secure.rows("table=t&where=id:NUMGE:0&limit_max=1000&order_by=id&order_sort=NUMASC") == rows
    assert secure.client.get(f"{secure.url}/backup").content.startswith(b"SQLite format 3\0")


def test_a_version_before_tls_1_2_is_not_spoken(secure: Running, paper: Paper) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = context_of(paper)
        context.minimum_version = context.maximum_version = version
        with closing(wrapped(secure, context)) as connection:
            connection.sendall(HEALTH)
            assert rest_of(connection).startswith(b"HTTP/1.1 200 OK")
    context = context_of(paper)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # without it this side would refuse
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        wrapped(secure, context)


def test_many_handshakes_at_once_are_all_done(secure: Running, paper: Paper) -> None:
    context = context_of(paper)
    with ExitStack() as stack:
        plain = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", port_of(secure)), timeout=10)))
            for _ in range(60)  # all wait to be accepted
        ]
        for each in plain:
            connection = stack.enter_context(closing(context.wrap_socket(each, server_hostname="localhost")))
            connection.sendall(HEALTH)
            assert rest_of(connection).startswith(b"HTTP/1.1 200 OK")


def test_what_is_no_handshake_or_never_ends_is_closed_and_others_go_on(secure: Running) -> None:
    with ExitStack() as stack:
        strangers = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", port_of(secure)), timeout=10)))
            for _ in range(4)
        ]
        for stranger, said in zip(strangers, (HEALTH, b"", b"\x16\x03\x01\x02\x00\x01", b"\0" * 100), strict=True):
            stranger.sendall(said)
        began = time.monotonic()
        assert secure.client.get(f"{secure.url}/health").status_code == 200
        for stranger in strangers:
            assert b"200 OK" not in rest_of(stranger)
        assert time.monotonic() - began < 5
        assert secure.client.get(f"{secure.url}/health").status_code == 200


def test_the_guard_stands_behind_tls_as_well(secure: Running, paper: Paper) -> None:
    for request, status in (
        (HEALTH.replace(b"localhost", b"evil.example"), b"421"),
        (HEALTH.replace(b"Host", b"X-Forwarded-For: 1.2.3.4\r\nHost"), b"403"),
        (HEALTH.replace(b"Host", b"X: " + b"a" * 20_000 + b"\r\nHost"), b"431"),
        (HEALTH.replace(b"/health", b"/?" + b"a" * 9_000), b"414"),
        (HEALTH[:-2], b"408"),
    ):
        with closing(wrapped(secure, context_of(paper))) as connection:
            connection.sendall(request)
            assert rest_of(connection).startswith(b"HTTP/1.1 " + status)


# --- what is wrong with a certificate -------------------------------------------------------------------------


def test_key_and_certificate_may_stand_in_one_file(paper: Paper) -> None:
    certificate = Certificate.of(Settings(tls_certificate=str(paper.both)))
    assert certificate is not None and certificate.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert Certificate.of(Settings()) is None


def test_a_certificate_that_cannot_be_used_is_said_at_start(paper: Paper, tmp_path: Path) -> None:
    other = Paper(tmp_path, "other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    right, key = str(paper.certificate), str(paper.key)
    wrong = {
        (right, str(other.key)): "tls_key is not the key of tls_certificate",
        (str(tmp_path / "nowhere.pem"), key): "tls_certificate: cannot read .*: No such file",
        (right, str(tmp_path / "nowhere.key")): "tls_key: cannot read .*: No such file",
        (right, str(tmp_path)): "tls_key: cannot read .*: Is a directory",
        (str(nonsense), key): "cannot be used",
        (right, str(nonsense)): "cannot be used",
        (right, ""): "cannot be used",
        (right, str(paper.locked)): "tls_key is encrypted",
        ("", key): "tls_key is given without tls_certificate",
    }
    for (certificate, tls_key), message in wrong.items():
        with pytest.raises(SetupError, match=message) as found:
            Certificate.of(Settings(tls_certificate=certificate, tls_key=tls_key))
        assert found.value.hint


def test_it_is_one_line_and_nothing_has_been_made(paper: Paper, tmp_path: Path) -> None:
    flags = ("--tls-certificate", str(paper.certificate), "--tls-key", str(tmp_path / "nowhere.key"))
    found = finished("serve", "--data", "data", "--port", "0", *flags, cwd=tmp_path)
    assert found.returncode == 2
    assert re.fullmatch(r"tcsql: tls_key: cannot read .*\n", found.stderr)
    assert not (tmp_path / "data").exists()


# --- an address that others reach -----------------------------------------------------------------------------


def own_address() -> str | None:
    """An address of this machine that is not loopback; None without a network."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        address = str(asked.getsockname()[0])
        return None if address.startswith("127.") else address


@pytest.mark.parametrize(
    ("way", "lane"),
    [
        ("certificate", "fast"),
        ("plain", "starlette"),
        ("proxy", "fast"),
        ("another proxy", "fast"),
        ("another proxy", "starlette"),
    ],
)
def test_who_comes_from_elsewhere_needs_a_key_and_a_way_that_keeps_it(
    way: str, lane: str, paper: Paper, tmp_path: Path
) -> None:
    """All addresses are listened on; the client comes to one of this machine that is not loopback, and from it."""
    address = own_address()
    if address is None:
        address = "127.0.0.2"  # no network: this machine alone, and the key is needed as well
    data, is_remote = tmp_path / "data", not address.startswith("127.")
    token = make_key(data)
    ways = {
        "certificate": ("--tls-certificate", str(paper.certificate), "--tls-key", str(paper.key)),
        "plain": ("--plain-public", "true"),
        "proxy": ("--proxies", address),
        "another proxy": ("--proxies", "198.51.100.1"),
    }
    flags = ("--host", "0.0.0.0", "--hosts", f"localhost,{address}", *ways[way], *LANES[lane])
    with serving(data, *flags) as server, httpx.Client(verify=False, timeout=10) as client:
        url = f"{'https' if way == 'certificate' else 'http'}://{address}:{port_of(server)}"
        asked = [client.get(f"{url}/status", headers=headers) for headers in ({}, {"authorization": f"Bearer {token}"})]
        refused = way == "another proxy" and is_remote
        assert [answer.status_code for answer in asked] == ([403, 403] if refused else [401, 200])
        if refused:
            assert "stated proxies alone" in asked[1].text
        warned = "can read keys and rows" in server.stderr()
        assert warned == (way == "plain")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5, "a client that is idle, and says no goodbye, is not waited for"


@pytest.mark.parametrize("kind", ["in all", "from one address"])
def test_handshakes_that_are_never_finished_count_as_connections(kind: str, paper: Paper, tmp_path: Path) -> None:
    address = (own_address() if kind == "from one address" else None) or "127.0.0.1"
    make_key(tmp_path / "data")
    is_counted = not address.startswith("127.")
    caps = ("--connections-per-address", "5") if is_counted else ("--max-connections", "5")
    flags = ("--host", "0.0.0.0", "--hosts", f"localhost,{address}", "--header-s", "2", *caps)
    tls = ("--tls-certificate", str(paper.certificate), "--tls-key", str(paper.key))
    with serving(tmp_path / "data", *flags, *tls) as server, ExitStack() as stack:
        server.client.close()
        silent = [
            stack.enter_context(closing(socket.create_connection((address, port_of(server)), timeout=10)))
            for _ in range(12)
        ]
        began = time.monotonic()
        for each in silent[6:]:
            assert rest_of(each) == b""
        assert time.monotonic() - began < 1, "those above the limit are closed at once"
        for each in silent[:6]:
            assert rest_of(each) == b""
        assert 1 < time.monotonic() - began < 5, "the others when their time is over"
        with httpx.Client(verify=context_of(paper), timeout=10) as client:

            def is_answered() -> bool:
                """A closed connection is counted until the server's next turn."""
                with suppress(httpx.ConnectError):
                    return client.get(f"https://localhost:{port_of(server)}/health").status_code == 200
                return False

            wait_for(is_answered)
        assert server.stop() == 0
        assert "Traceback" not in server.stderr(), server.stderr()
