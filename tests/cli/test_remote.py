"""Where the commands send a key: nowhere but to the url, over TLS that is checked, or with a warning."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tcsql.access.keys import token_of
from tcsql.cli import targets
from tcsql.cli.remote import Refused, Server, document, server_at
from tcsql.cli.targets import RowRefused, ServerTarget
from tcsql.errors import SetupError
from tests.cli.conftest import Run

TOKEN = token_of("3f9a0c12", bytes(32))
Answers = list[tuple[int, dict[str, str], bytes]]


class Fake:
    """A server of another kind: gives what it is told to, notes the path and the key of each request."""

    def __init__(self, port: int, answers: Answers, seen: list[tuple[str, str | None]]) -> None:
        self.port = port
        self.answers = answers
        self.seen = seen


@contextmanager
def fake(*answers: tuple[int, dict[str, str], bytes], context: ssl.SSLContext | None = None) -> Iterator[Fake]:
    seen: list[tuple[str, str | None]] = []
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers["content-length"] or 0))
            seen.append((self.path, self.headers["authorization"]))
            status, headers, body = left.pop(0)
            self.send_response(status)
            closes = {"connection": "close"} if self.headers["connection"] == "close" else {}
            for name, value in {**headers, **closes, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name is the base's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield Fake(server.server_port, left, seen)
        finally:
            server.shutdown()
            thread.join()


def error(status: int, code: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    return status, headers or {}, json.dumps({"error": {"code": code, "message": f"it is {code}"}}).encode()


def test_a_redirection_is_not_followed_with_the_key() -> None:
    with fake() as thief, fake((302, {"location": f"http://127.0.0.1:{thief.port}/"}, b"")) as asked:
        with pytest.raises(Refused, match="302"):
            document(Server(f"http://127.0.0.1:{asked.port}", TOKEN), "/status")
        assert asked.seen == [("/status", f"Bearer {TOKEN}")]
        assert thief.seen == []


def test_no_proxy_of_the_environment_gets_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake() as proxy, fake((200, {}, b"{}")) as asked:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert document(Server(f"http://127.0.0.1:{asked.port}", TOKEN), "/status") == {}
        assert (len(asked.seen), proxy.seen) == (1, [])


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://127.0.0.1:1", False),
        ("localhost:1", False),
        ("http://[::1]:1", False),
        ("https://db.example", False),
        ("http://db.example", True),
        ("192.0.2.1:3888", True),
        ("http://127.0.0.1.db.example", True),
    ],
)
def test_a_key_in_the_clear_is_warned_of_once(
    url: str, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server_at(url)
    assert capsys.readouterr().err == "", "without a key there is nothing to warn of"
    monkeypatch.setenv("TCSQL_KEY", TOKEN)
    assert server_at(url).key == TOKEN
    said = capsys.readouterr().err
    assert said.count("in the clear") == said.count("\n") == int(warned)
    assert TOKEN not in said + repr(server_at(url))


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:0", "http://x:port", "http://x:99999", "//"])
def test_what_is_no_address_gets_nothing(url: str) -> None:
    with pytest.raises(SetupError, match="not the address of a server"):
        server_at(url)


@pytest.mark.parametrize(
    "text", ["", "\n" + TOKEN, TOKEN[:-1], TOKEN + "A", f"Bearer {TOKEN}", f"{TOKEN} {TOKEN}", "\xff" * 58, "x" * 10**6]
)
def test_a_file_that_holds_no_key_is_told_without_being_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(SetupError, match="holds no key") as caught:
        server_at("127.0.0.1", file)
    assert "tcsql_3f" not in caught.value.message + str(caught.value.hint)
    with pytest.raises(SetupError, match="cannot read the key file"):
        server_at("127.0.0.1", tmp_path / "nosuch")


def test_the_file_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = token_of("00000001", bytes(32))
    (tmp_path / "key").write_text(f"  {other}  \r\nsecond line\n")
    monkeypatch.setenv("TCSQL_KEY", TOKEN)
    assert server_at("127.0.0.1", tmp_path / "key").key == other
    monkeypatch.setenv("TCSQL_KEY", " ")
    assert server_at("127.0.0.1").key is None


def insert_one(asked: Fake) -> None:
    with closing(ServerTarget(Server(f"http://127.0.0.1:{asked.port}", TOKEN))) as target:
        target._single("command=insert", b"{}", 7)


def test_what_is_about_the_sender_is_not_put_on_a_row() -> None:
    for status, code in ((401, "unauthorized"), (403, "forbidden")):
        with fake(error(status, code)) as asked, pytest.raises(Refused, match=code):
            insert_one(asked)
    with fake(error(403, "row_forbidden")) as asked, pytest.raises(RowRefused) as caught:
        insert_one(asked)
    assert caught.value.number == 7


def test_a_load_waits_when_its_key_is_too_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tcsql.cli.targets.time.sleep", waits.append)
    told = [error(429, "rate_limited", {"retry-after": text}) for text in ("2", "99999", "soon")]
    with fake(*told, (200, {}, b'{"inserted":1}')) as asked:
        insert_one(asked)
    assert waits == [2.0, 60.0, 1.0]
    assert asked.seen == [("/?command=insert", f"Bearer {TOKEN}")] * 4
    monkeypatch.setattr(targets, "_MOST_WAITS", 5)
    with fake(*[error(429, "rate_limited")] * 5) as asked, pytest.raises(Refused, match="rate_limited"):
        insert_one(asked)
    assert asked.answers == []


def test_tls_is_spoken_and_a_certificate_that_nobody_vouches_for_gets_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", "private", "-out", "public"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "public", tmp_path / "private")
    monkeypatch.setenv("TCSQL_KEY", TOKEN)
    with fake((200, {}, b'{"rows":[]}'), context=context) as asked:
        url = f"https://localhost:{asked.port}"
        code, _, said = run("query", "--url", url)
        assert (code, said.count("\n")) == (2, 1)
        assert "its certificate is not trusted" in said
        assert asked.seen == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "public"))
        assert run("query", "--json", "--url", url)[:2] == (0, '{"rows":[]}\n')
        assert asked.seen[0][1] == f"Bearer {TOKEN}"


def test_without_a_url_commands_ask_the_server_that_the_settings_describe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert server_at("").url == "http://127.0.0.1:3888"
    Path("tcsql.toml").write_text('[server]\nport = 4100\nhost = "0.0.0.0"\n')
    assert server_at("").url == "http://127.0.0.1:4100"
    monkeypatch.setenv("TCSQL_PORT", "4200")
    monkeypatch.setenv("TCSQL_HOST", "::1")
    monkeypatch.setenv("TCSQL_TLS_CERTIFICATE", "own.pem")
    assert server_at("").url == "https://[::1]:4200"
    monkeypatch.setenv("TCSQL_URL", "db.example:5000")
    assert server_at("").url == "http://db.example:5000"
    assert server_at("http://localhost:1").url == "http://localhost:1"
