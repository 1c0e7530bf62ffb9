"""Whole replies of published queries for the fast lane: from a target to the bytes to write. 1 us, and the body.

What stands around a body changes once a second, with the newest durable lsn, and with the time that caches may keep the
reply; it is made once for each of these and each length. Calls are counted by the queries, and not timed: two looks at
the clock would be a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tcsql.errors import RetryLater
from tcsql.http.messages import Header
from tcsql.http.published import Publications

#: In front of the name, in a request line.
AT: Final = b"GET /q/"
MOST_HEADS: Final = 4_096

#: The head of a reply without the empty line: status, headers of every reply, its own.
MakeHead = Callable[[int, list[Header], tuple[Header, ...]], bytes]


class PublishedLane:
    """One server's. ``headers``: those of any page, raising RetryLater while the server does not serve."""

    def __init__(
        self, publications: Publications, headers: Callable[[], tuple[Header, ...]], make_head: MakeHead
    ) -> None:
        self._publications = publications
        self._queries = publications.by_bytes
        self._headers = headers
        self._make_head = make_head
        self._heads: dict[tuple[int, int], bytes] = {}
        self._heads_of: tuple[Header, ...] = ()
        self._heads_with: object = None

    def reply(self, target: bytes, default_headers: list[Header]) -> bytes | None:
        """The reply to ``GET /q/NAME?…``; None: the endpoints have to look at it."""
        name, _, raw = target[7:].partition(b"?")
        query = self._queries.get(name)
        if query is None or query.fast is None:
            return None
        body = query.fast.body(raw)
        if body is None:
            return None
        try:
            headers = self._headers()
        except RetryLater:
            return None
        if headers is not self._heads_of or default_headers is not self._heads_with or len(self._heads) > MOST_HEADS:
            self._heads.clear()
            self._heads_of, self._heads_with = headers, default_headers
        query.hits += 1
        key = query.published.cache_s, len(body)
        head = self._heads.get(key)
        if head is None:
            own = (*self._publications.headers(headers, key[0]), (b"content-length", b"%d" % key[1]))
            head = self._heads[key] = self._make_head(200, default_headers, own) + b"\r\n"
        return head + body
