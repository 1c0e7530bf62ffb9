"""What exists once the store is open: the grammar, the writer, admission, and the headers of replies.

``Serving`` says whether it is there: a server listens before its store is open, and until it has stopped.
"""

from __future__ import annotations

import asyncio
from typing import Final

from tcsql.errors import BadRequest, NotReady, Stopping
from tcsql.http.admission import Admission
from tcsql.http.following import Followers, HintReader, age_headers
from tcsql.http.grammar import Grammar, Limits
from tcsql.http.messages import JSON_HEADERS, Header
from tcsql.http.writes import Writer
from tcsql.settings import Settings
from tcsql.storage.store import Store

LSN_HEADER: Final = b"tcsql-lsn"


class Opened:
    """What exists once the store is open."""

    __slots__ = (
        "_headers",
        "_headers_lsn",
        "_store_id",
        "admission",
        "followers",
        "grammar",
        "hints",
        "store",
        "writer",
    )

    def __init__(self, store: Store, settings: Settings, followers: Followers) -> None:
        self.store = store
        self.followers = followers
        self.hints = HintReader()
        self.grammar = Grammar(
            store.database, Limits(settings.max_rows, settings.max_conditions, settings.default_table)
        )
        self.writer = Writer(store, self.grammar, settings.max_body_bytes, settings.max_line_bytes)
        self.admission = Admission(_running_loop())
        self._store_id = store.id.encode()
        self._headers_lsn = -1
        self._headers: tuple[Header, ...] = ()
        followers.on_fresh(self._forget_headers)

    def headers(self) -> tuple[Header, ...]:
        """Headers of a reply that holds data: the newest durable lsn, and the age; made anew when they have moved."""
        lsn = self.store.durable_lsn
        if lsn != self._headers_lsn:
            self._headers, self._headers_lsn = (*self.headers_at(lsn), *age_headers(self.followers)), lsn
        return self._headers

    def _forget_headers(self) -> None:
        self._headers_lsn = -1

    def headers_at(self, lsn: int) -> tuple[Header, ...]:
        """Headers of the reply to a write."""
        return (*JSON_HEADERS, (LSN_HEADER, b"%b-%d" % (self._store_id, lsn)))

    async def wait_for(self, store_id: str, lsn: int, timeout_s: float) -> None:
        """``min_lsn``; an lsn of another server says nothing here."""
        if store_id and store_id != self.store.id:
            raise BadRequest("min_lsn comes from another server", "read from the server that took the write")
        if lsn > self.store.durable_lsn:
            await self.store.wait_for(lsn, timeout_s)


class Serving:
    """Where a server is between its start and its end. ``opened``: None until the store is recovered."""

    __slots__ = ("is_stopping", "opened")

    def __init__(self) -> None:
        self.opened: Opened | None = None
        self.is_stopping = False

    def state(self) -> Opened:
        """What serves requests now; raises NotReady before that, Stopping after it."""
        if self.is_stopping:
            raise Stopping("the server is stopping")
        if self.opened is None:
            raise NotReady("the server is reading its store", "ask /ready for its progress")
        return self.opened


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
