"""Requests and replies as values: what every lane hands in and gets back, free of any framework."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from tcsql.access.callers import LOCAL, Caller
from tcsql.errors import MethodNotAllowed, RetryLater, TCSQLError, Unauthorized
from tcsql.http import render

Header = tuple[bytes, bytes]
#: The pieces of a request's body as they arrive.
Body = AsyncIterator[bytes]

#: ``no-store``: a list that a cache keeps is a list that is no longer live. ``nosniff``: JSON is never a page.
JSON_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
CLOSE: Final[Header] = (b"connection", b"close")


#: Comes with a hint whose sender could not deliver others before.
LOST_HEADER: Final = b"tcsql-lost"
_MOST_DIGITS: Final = 18
#: The rest of the body is not read, so what follows it cannot be found.
_CLOSING: Final = (403, 408, 413, 414, 415, 431)


def lost_of(value: str) -> int:
    """The number in ``TCSQL-Lost``; 0 for what is none.

    >>> lost_of("17"), lost_of(""), lost_of("-1"), lost_of("9" * 40)
    (17, 0, 0, 999999999999999999)
    """
    return int(value[:_MOST_DIGITS]) if value.isascii() and value.isdigit() else 0


class Disconnected(Exception):
    """The client went away while its body was read: raised by a lane's ``Body``."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body. ``path`` is percent-decoded, ``query`` raw; media types are as sent.

    ``lost``: how many hints whoever sends this one could not deliver before. ``is_cross_site``: a page of another site
    sends it. ``caller``: who sends it, and what they may do; ``address``: from where, "" when nobody asked.
    """

    method: str
    path: str
    query: bytes = b""
    content_type: str = ""
    content_encoding: str = ""
    content_length: int | None = None
    authorization: str = ""
    lost: int = 0
    is_cross_site: bool = False
    caller: Caller = LOCAL
    address: str = ""
    accept: str = ""

    @property
    def media_type(self) -> str:
        return self.content_type.partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class About:
    """What was done, for the audit log: the table, rows, the lsn, the statements; never a value."""

    table: str = ""
    rows: int | None = None
    lsn: int | None = None
    did: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply; the lane adds Content-Length. ``file``: sent instead of ``body``, ``size`` bytes, then closed.

    ``about``: of a write, what was done.
    """

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = JSON_HEADERS
    file: BinaryIO | None = None
    size: int = 0
    about: About | None = None


def refusal(error: TCSQLError, allow: str = "", closes: bool = False) -> Reply:
    """The reply to any error of the tree; what makes a connection unusable closes it."""
    headers = JSON_HEADERS
    if isinstance(error, RetryLater):
        headers += ((b"retry-after", b"%d" % int(error.extra.get("retry_after_s", 1))),)
    if isinstance(error, Unauthorized):
        headers += ((b"www-authenticate", b"Bearer"),)
    if isinstance(error, MethodNotAllowed):
        headers += ((b"allow", allow.encode()),)
    if closes or error.status in _CLOSING:
        headers += (CLOSE,)
    return Reply(error.status, render.error(error), headers)
