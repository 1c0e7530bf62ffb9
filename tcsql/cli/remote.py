"""A running server, as the commands see it: one request, one answer, errors as those of the server.

A key comes from a file or from the environment, never from the command line, where every user of the machine can read
it. It goes where the url says and nowhere else: no redirection is followed, no proxy asked.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

import typer

from tcsql.access.keys import parts_of
from tcsql.cli.options import effective_settings
from tcsql.errors import CallerError, SetupError

#: No url: the server that the settings of this directory and environment describe.
HERE: Final = ""
OF_SETTINGS: Final = "default: TCSQL_URL, else where the settings say that it listens"
_EXAMPLE: Final = "http://127.0.0.1:3888"
URL_VARIABLE: Final = "TCSQL_URL"
KEY_VARIABLE: Final = "TCSQL_KEY"
_TIMEOUT_S: Final = 120
_PORTS: Final = {"http": 80, "https": 443}
_OF_SENDER: Final = frozenset(("unauthorized", "forbidden", "not_local", "rate_limited"))
_KEY_HINT: Final = "a key is what tcsql key make printed: tcsql_…, in the first line of a file that you may read"
#: A key has 58 letters; what is longer is another file.
_MOST_LINE: Final = 1_000

Url = Annotated[str, typer.Option(help=f"the running server ({OF_SETTINGS})", show_default=False)]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help=f"a file whose first line is the key to present (default: {KEY_VARIABLE})"),
]


class Refused(CallerError):
    """The server's own refusal, as it said it; ``said``: its code."""

    said = ""

    @property
    def is_of_sender(self) -> bool:
        """Whether it is about who sends, so that no other row would be taken either."""
        return self.said in _OF_SENDER


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server listens, and the key that it is shown."""

    url: str
    key: str | None = field(default=None, repr=False)

    def connect(self, timeout_s: float = _TIMEOUT_S) -> http.client.HTTPConnection:
        """A connection, made by the first request."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        port = parts.port or _PORTS[parts.scheme]
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(parts.hostname, port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(parts.hostname, port, timeout=timeout_s)

    def headers(self) -> Mapping[str, str]:
        """What every request says of its sender."""
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def away(self, error: Exception) -> SetupError:
        """Nobody answers."""
        reason = getattr(error, "strerror", None) or str(error)
        hint = "start one: tcsql serve; or use --data DIR"
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted: {error.verify_message}"
            hint = "SSL_CERT_FILE names the file of other authorities to trust"
        elif isinstance(error, ssl.SSLError):
            reason, hint = (
                f"no TLS there: {error.reason or error}",
                "a server without a certificate is asked by http://",
            )
        elif isinstance(error, http.client.RemoteDisconnected):
            hint = "a server with a certificate is asked by https://"
        return SetupError(f"no server answers at {self.url}: {reason}", hint)

    def refusal(self, status: int, error: Mapping[str, Any]) -> Refused:
        """What the server said, as an error; ``error``: that member of its reply."""
        hint = error.get("hint")
        if status == http.client.UNAUTHORIZED and self.key is None:
            hint = f"give a key: --key-file FILE, or {KEY_VARIABLE} in the environment; tcsql key make makes one"
        extra = {name: error[name] for name in ("line", "applied") if name in error}
        refused = Refused(str(error.get("message") or f"the server answered {status}"), hint, **extra)
        refused.said = str(error.get("code"))
        return refused


def server_at(url: str, key_file: Path | None = None) -> Server:
    """The server at an address, with the key of that file, else of the environment; raises SetupError.

    A key that would cross a network in the clear is warned of.
    """
    url = url or os.environ.get(URL_VARIABLE, "") or _described()
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        is_address = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        is_address = False
    if not is_address:
        raise SetupError(f"{url} is not the address of a server", f"for example {_EXAMPLE}")
    key = _key(key_file)
    if key is not None and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        print(f"tcsql: warning: the key goes to {parts.hostname} in the clear; use https", file=sys.stderr)
    return Server(whole, key)


def _described() -> str:
    """Where the server of the settings listens; one that listens everywhere is asked on this machine."""
    settings = effective_settings({}).settings
    scheme = "https" if settings.tls_certificate else "http"
    host = "127.0.0.1" if settings.host in ("", "0.0.0.0", "::") else settings.host  # noqa: S104  # compared, not listened on  # nosec B104
    return f"{scheme}://[{host}]:{settings.port}" if ":" in host else f"{scheme}://{host}:{settings.port}"


def _key(file: Path | None) -> str | None:
    if file is not None:
        try:
            with open(file, encoding="ascii", errors="replace") as opened:
                text, where = opened.readline(_MOST_LINE), str(file)
        except OSError as error:
            raise SetupError(f"cannot read the key file {file}: {error.strerror}", _KEY_HINT) from None
    else:
        text, where = os.environ.get(KEY_VARIABLE, ""), KEY_VARIABLE
        if not text.strip():
            return None
    if parts_of(text.strip()) is None:
        raise SetupError(f"{where} holds no key", _KEY_HINT)
    return text.strip()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def query_string(text: str) -> bytes:
    """A query as typed at a shell: blanks and other letters are encoded, what is encoded already stays.

    >>> query_string("where=title:STREQ:zwei wörter")
    b'where=title:STREQ:zwei%20w%C3%B6rter'
    """
    return quote(text.strip(), safe="!#$%&'()*+,/:;<=>?@[\\]^_`{|}~-.\"").replace("#", "%23").encode()


def get(server: Server, path: str, query: bytes = b"") -> http.client.HTTPResponse:
    """The answer to a GET, its body unread; read to its end or closed, it leaves no connection behind.

    Raises SetupError when nobody answers, Refused for an error.
    """
    return _ask(server, "GET", path, query)


def document(server: Server, path: str, query: bytes = b"", method: str = "GET") -> Any:
    """The JSON that a request without a body is answered with; raises as ``get`` does."""
    with _ask(server, method, path, query) as answer:
        return json.loads(answer.read())


def _ask(server: Server, method: str, path: str, query: bytes) -> http.client.HTTPResponse:
    target = path + (f"?{query.decode('ascii')}" if query else "")
    connection = server.connect()
    try:
        # closed behind the answer, so that the answer owns the socket
        connection.request(method, target, headers={"Connection": "close", **server.headers()})
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise server.away(error) from None
    if answer.status not in (http.client.OK, http.client.ACCEPTED):
        with answer:
            raise server.refusal(answer.status, error_of(answer.read(1_000_000)))
    return answer


def error_of(body: bytes) -> Mapping[str, Any]:
    """The member ``error`` of a reply; empty for what is no reply of ours."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}
