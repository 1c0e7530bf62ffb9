"""A running server, as the commands see it: one request, one answer, errors as those of the server."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final
from urllib.parse import quote, urlsplit

from tcsql.errors import CallerError, SetupError

DEFAULT_URL: Final = "http://127.0.0.1:3888"
_TIMEOUT_S: Final = 120


class Refused(CallerError):
    """The server's own refusal, as it said it."""


def query_string(text: str) -> bytes:
    """A query as typed at a shell: blanks and other letters are encoded, what is encoded already stays.

    >>> query_string("where=title:STREQ:zwei wörter")
    b'where=title:STREQ:zwei%20w%C3%B6rter'
    """
    return quote(text.strip(), safe="!#$%&'()*+,/:;<=>?@[\\]^_`{|}~-.\"").replace("#", "%23").encode()


def get(url: str, path: str, query: bytes = b"") -> http.client.HTTPResponse:
    """The answer to a GET, its body unread; read to its end or closed, it leaves no connection behind.

    Raises SetupError when nobody answers, Refused for an error.
    """
    return _ask(url, "GET", path, query)


def document(url: str, path: str, query: bytes = b"", method: str = "GET") -> Any:
    """The JSON that a request without a body is answered with; raises as ``get`` does."""
    with _ask(url, method, path, query) as answer:
        return json.loads(answer.read())


def _ask(url: str, method: str, path: str, query: bytes) -> http.client.HTTPResponse:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise SetupError(f"{url} is not the address of a server", f"for example {DEFAULT_URL}")
    target = path + (f"?{query.decode('ascii')}" if query else "")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=_TIMEOUT_S)
    try:
        connection.request(method, target, headers={"Connection": "close"})  # so the response owns the socket
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise SetupError(f"no server answers at {url}: {reason}", "start one: tcsql serve; or use --data DIR") from None
    if answer.status not in (http.client.OK, http.client.ACCEPTED):
        with answer:
            raise _refusal(answer.status, answer.read(1_000_000))
    return answer


def _refusal(status: int, body: bytes) -> CallerError:
    try:
        error: dict[str, Any] = json.loads(body)["error"]
        return Refused(str(error["message"]), error.get("hint"))
    except (ValueError, KeyError, TypeError):
        return Refused(f"the server answered {status}")
