"""What exists once the store is open: views and their writers, admission, and the headers of replies.

``Serving`` says whether it is there: a server listens before its store is open, and until it has stopped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from tcsql.access.callers import ALL_RIGHTS, Caller, Rights
from tcsql.access.scopes import Scope
from tcsql.errors import BadRequest, NotReady, Stopping
from tcsql.http.admission import Admission
from tcsql.http.following import Followers, HintReader, age_headers
from tcsql.http.gathering import Gathering
from tcsql.http.grammar import Grammar
from tcsql.http.judge import Judge
from tcsql.http.known import KnownQueries
from tcsql.http.longreads import LongReads
from tcsql.http.messages import JSON_HEADERS, Header
from tcsql.http.views import View
from tcsql.http.writes import Writer
from tcsql.settings import Settings
from tcsql.storage.store import Store

LSN_HEADER: Final = b"tcsql-lsn"
#: What is remembered at once; with more, all of them are made anew as they are needed.
MOST_VIEWS: Final = 256
MOST_CALLERS: Final = 4_096


@dataclass(frozen=True, slots=True)
class Place:
    """What serves a caller. ``known``: None, it may not read; its view's otherwise."""

    view: View
    writer: Writer
    known: KnownQueries | None


class Opened:
    """What exists once the store is open."""

    __slots__ = (
        "_headers",
        "_headers_lsn",
        "_judge",
        "_known",
        "_places",
        "_settings",
        "_store_id",
        "_views",
        "admission",
        "followers",
        "gathering",
        "hints",
        "long_reads",
        "store",
    )

    def __init__(
        self, store: Store, settings: Settings, followers: Followers, judge: Judge, known: KnownQueries
    ) -> None:
        self.store = store
        self.followers = followers
        self.hints = HintReader()
        self._settings = settings
        self._judge = judge
        self._known = known
        self._views: dict[Rights, tuple[View, Writer]] = {}
        self._places: dict[Caller, Place] = {}
        self.admission = Admission(_running_loop())
        self.long_reads = LongReads(self._refuses_read)
        self.gathering = Gathering(settings.max_gathered_bytes)
        self._store_id = store.id.encode()
        self._headers_lsn = -1
        self._headers: tuple[Header, ...] = ()
        followers.on_fresh(self._forget_headers)

    def _refuses_read(self) -> None:
        self.admission.refused += 1

    @property
    def grammar(self) -> Grammar:
        """That of callers who see everything."""
        return self.view(ALL_RIGHTS).grammar

    def view(self, rights: Rights) -> View:
        """The catalog as callers with these rights know it."""
        return self._viewed(rights)[0]

    def place(self, caller: Caller) -> Place:
        """What serves a caller. 0.1 us for one that was seen before."""
        found = self._places.get(caller)
        if found is None:
            if len(self._places) >= MOST_CALLERS:
                self._places.clear()
            view, writer = self._viewed(caller.rights)
            reads = caller.refused is None and caller.has(Scope.READ)
            found = Place(view, writer, view.known if reads else None)
            if caller.refused is None:  # of those there may be any number
                self._places[caller] = found
        return found

    def forget_callers(self) -> None:
        """Keys have changed: who asks is looked up anew. Views that nobody asked for since they did are let go."""
        used = {caller.rights for caller in self._places}
        self._views = {rights: kept for rights, kept in self._views.items() if rights in used or rights is ALL_RIGHTS}
        self._places.clear()
        self._judge.forget()

    def _viewed(self, rights: Rights) -> tuple[View, Writer]:
        key = rights if rights.is_limited else ALL_RIGHTS  # scopes are the judge's
        found = self._views.get(key)
        if found is None:
            if len(self._views) >= MOST_VIEWS:
                self._views.clear()
            known = self._known.branch() if key.is_limited else self._known
            view = View(self.store.database, self._settings, self._judge, key, known)
            found = self._views[key] = view, Writer(self.store, view, self._judge, self._settings, self.gathering)
        return found

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
