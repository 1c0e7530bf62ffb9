"""Vetting: what a block of headers means: the connection, the body, who sends it; by uvicorn's own parser.

A block begins behind ``HTTP/1.`` of the request line and ends with the empty line. It is good for the fast lane if it
holds one whole request without an upgrade, an expectation or a body in pieces, and if the guard has nothing to say
about it. 15 us; the lanes remember the answer for all connections of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import httptools

from tcsql.access.callers import LOCAL, Caller
from tcsql.http.addresses import Kind, Peer
from tcsql.http.endpoints import Api
from tcsql.http.guard import Asked
from tcsql.http.known import KnownQueries
from tcsql.http.messages import LOST_HEADER, lost_of

#: A body that lies in one buffer is far shorter.
MOST_LENGTH_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Block:
    """A vetted header block: whether the connection stays open after the reply, what it says of body and sender.

    ``is_metered``: by the meter of the caller, or by that of an address if ``is_counted``: of ``client``, if a proxy
    named one, else of the connection. ``known``: the queries that its caller may ask without a look at them, or None;
    ``is_common``: the same bytes come again, and mean the same, so that whole requests are worth remembering.
    """

    keeps_alive: bool
    #: None: there is no body.
    content_length: int | None = None
    content_type: str = ""
    content_encoding: str = ""
    authorization: str = ""
    lost: int = 0
    caller: Caller = LOCAL
    client: str = ""
    is_counted: bool = False
    is_metered: bool = False
    known: KnownQueries | None = None
    is_common: bool = False


class _Vetting:
    """Callbacks of the parser: the headers of one request, and whether they ended."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.ended = False
        self.keeps_alive = False
        self.version = ""
        self.parser = httptools.HttpRequestParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        # Here, because the parser forgets it when the message ends.
        self.version = self.parser.get_http_version()
        self.keeps_alive = self.version != "1.0" and self.parser.should_keep_alive()
        self.ended = True


#: Headers that make a request more than its request line and a body.
_NOT_ORDINARY: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"http2-settings"})
#: Headers that the endpoints look at.
_READ: Final = frozenset({b"content-length", b"content-type", b"content-encoding", b"authorization", LOST_HEADER})


def vet(data: bytes, api: Api, peer: Peer) -> Block | None:
    """What the block means; None: it is uvicorn's to judge, or the guard refuses it or has something to add."""
    seen, guard = _Vetting(), api.guard
    try:
        seen.parser.feed_data(b"POST / HTTP/1." + data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    names = [name for name, _ in seen.headers]
    if not seen.ended or not _NOT_ORDINARY.isdisjoint(names) or len(names) > guard.caps.headers:
        return None
    asked = Asked(seen.version, b"/", seen.headers)
    if guard.admits(asked, peer) or guard.is_cross_site(asked) or guard.cors(asked):
        return None
    sender = guard.sender(asked, peer, api.access)
    if sender.is_turned_away:
        return None
    found = {name: value for name, value in seen.headers if name in _READ}
    if sum(name in _READ for name in names) != len(found):
        return None  # one of them stands twice
    length = found.get(b"content-length")
    if length is not None and (not length.isdigit() or len(length) > MOST_LENGTH_DIGITS):
        return None
    caller = sender.caller
    return Block(
        seen.keeps_alive,
        None if length is None else int(length),
        found.get(b"content-type", b"").decode("latin-1"),
        found.get(b"content-encoding", b"").decode("latin-1").strip().lower(),
        found.get(b"authorization", b"").decode("latin-1"),
        lost_of(found.get(LOST_HEADER, b"").decode("latin-1")),
        caller,
        sender.client,
        sender.is_counted,
        is_metered=sender.is_metered,
        known=api.known_for(caller) if seen.keeps_alive else None,
        is_common=not sender.is_metered and peer.kind is not Kind.PROXY,
    )
