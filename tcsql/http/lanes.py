"""What all connections of one server share: counts, vetted header blocks, the heads of pages, the sweep.

A client sends the same header block with every request. It is vetted once (``blocks``), and remembered as bytes with
what it means: for the connection, for the body, and who sends it. The same bytes mean another sender when they come
from this machine than from elsewhere, so there is one memory for each kind of peer. All of it is forgotten when keys
change.

The sweep comes once a second: deadlines of all connections, and what is not needed any more.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from tcsql.errors import Overloaded
from tcsql.http.accepting import Accepting
from tcsql.http.addresses import Kind, Peer
from tcsql.http.admission import overloaded
from tcsql.http.blocks import Block, vet
from tcsql.http.deadlines import Deadlines
from tcsql.http.endpoints import Api
from tcsql.http.following import NO_FOLLOWERS, Followers
from tcsql.http.messages import CLOSE, Header, refusal
from tcsql.http.published_lane import PublishedLane
from tcsql.settings import Settings
from tcsql.storage.store import Store

if TYPE_CHECKING:
    from tcsql.http.connection import Guarded

#: A header block that is longer is not worth remembering.
MOST_BLOCK_BYTES: Final = 2_048
MOST_BLOCKS: Final = 1_024
#: A longer request is looked at head by head: it may be above a limit.
MOST_KNOWN_BYTES: Final = 2_048
#: Lengths of bodies for which the head is kept, 0.3 KB each.
MOST_PAGE_HEADS: Final = 4_096
_SWEEP_S: Final = 1.0
#: Connections that are looked at before others have their turn: 0.1 ms, and 30 us for each that is cut.
_SWEPT_A_TURN: Final = 500

Blocks = dict[bytes, Block | None]
#: Stands for a block that nobody has looked at.
UNSEEN: Final = Block(keeps_alive=False)
OVERLOADED: Final = overloaded()


class Lanes:
    """One server's; ``listener`` is given when connections that wait are to be accepted many at a time."""

    def __init__(self, api: Api, settings: Settings, listener: socket.socket | None = None) -> None:
        self.api = api
        self.guard = api.guard
        self.accepting: Accepting | None = None
        self._listener = listener
        self.fast = settings.fast_lane
        self.most_known_bytes = min(MOST_KNOWN_BYTES, settings.max_url_bytes, settings.max_header_bytes)
        self.deadlines = Deadlines(settings)
        #: Seconds of a clock that moves once a sweep: good enough for idleness, and free.
        self.now_s = time.monotonic()
        self.refused = 0
        self._max_connections = settings.max_connections
        self._most_from_one = settings.connections_per_address
        self._from: Counter[str] = Counter()
        self._blocks: dict[Kind, Blocks] = {kind: {} for kind in Kind}
        self._connections: Collection[Guarded] = ()
        self._store: Store | None = None
        #: Everything in front of the length of a page, and what it was made of.
        self._page_head = b""
        self._page_heads: dict[int, bytes] = {}
        self._head_lsn = -1
        self._head_defaults: object = None
        #: The whole refusal of what would only wait: on a connection that stays, and on one that ends with it.
        self._late = self._late_at_door = b""
        self._late_defaults: object = None
        self._defaults: Callable[[], list[Header]] = list
        self.published = PublishedLane(api.published, api.page_headers, head)
        api.access.on_change(self.forget)

    def open(self, store: Store, followers: Followers = NO_FOLLOWERS) -> None:
        """The store is recovered; what ``followers`` tell moves the age of data in the heads of pages."""
        self._store = store
        followers.on_fresh(self._forget_head)
        self.forget()

    def serve(
        self,
        connections: Collection[Guarded],
        make: Callable[[], Guarded],
        default_headers: Callable[[], list[Header]] = list,
    ) -> None:
        """uvicorn has begun: ``connections`` are those that are open, ``make`` is how another is made."""
        self._connections = connections
        self._defaults = default_headers
        if self.accepting is None and self._listener is not None:
            self.accepting = Accepting(self._listener, make, self)

    def forget(self) -> None:
        """Callers may not be who they were: forget all that was remembered of their requests."""
        for blocks in self._blocks.values():
            blocks.clear()
        self.api.forget_callers()
        for connection in self._connections:
            connection.forget_requests()

    def _forget_head(self) -> None:
        self._head_lsn = -1

    # --- connections ----------------------------------------------------------------------------------------

    def join(self, peer: Peer) -> Overloaded | None:
        """A connection was made; why it cannot stay, or None. ``leave`` is called for it in any case."""
        if peer.kind is Kind.REMOTE:
            self._from[peer.counted] += 1
            if self._from[peer.counted] > self._most_from_one:
                self._refuses("address")
                return Overloaded(
                    "too many connections are open from this address", "close some, or raise connections_per_address"
                )
        if len(self._connections) > self._max_connections:
            self._refuses("all")
            return Overloaded("too many connections are open", "retry, or raise max_connections")
        return None

    def _refuses(self, reason: str) -> None:
        self.refused += 1
        self.api.metrics.connections_refused[reason] += 1

    def admits_handshake(self, host: str, from_there: int, under_way: int) -> bool:
        """Whether another handshake of TLS may begin; the first one too many is told so when it is over."""
        peer = self.guard.addresses.peer(host)
        if peer.kind is Kind.REMOTE and from_there + self._from[peer.counted] > self._most_from_one:
            self._refuses("address")
            return False
        if len(self._connections) + under_way > self._max_connections:
            self._refuses("all")
            return False
        return True

    def leave(self, peer: Peer) -> None:
        """The end of a connection that has joined."""
        if peer.kind is Kind.REMOTE:
            self._from[peer.counted] -= 1
            if not self._from[peer.counted]:
                del self._from[peer.counted]

    @property
    def connections(self) -> Collection[Guarded]:
        """Those that are open."""
        return self._connections

    async def sweep(self) -> None:
        """Look at deadlines and tidy up, once a second until cancelled; others get their turn in between."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            last_s, self.now_s = self.now_s, time.monotonic()
            connections = list(self._connections)
            for start in range(0, len(connections), _SWEPT_A_TURN):
                self.deadlines.sweep(connections[start : start + _SWEPT_A_TURN], last_s)
                await asyncio.sleep(0)
            self._forget_old()

    def tidy(self, now_s: float) -> None:
        """One sweep at once."""
        last_s, self.now_s = self.now_s, now_s
        self.deadlines.sweep(list(self._connections), last_s)
        self._forget_old()

    def _forget_old(self) -> None:
        self.api.metrics.connections_open = len(self._connections)
        self.guard.rates.forget()
        self.api.known.forget_stale()
        self.api.published.forget_stale()

    # --- requests -------------------------------------------------------------------------------------------

    def blocks(self, peer: Peer) -> Blocks:
        """What is remembered of header blocks from there."""
        return self._blocks[peer.kind]

    def vet(self, data: bytes, peer: Peer) -> Block | None:
        """What a header block means (with the version before it); None when it is not ordinary."""
        if len(data) > MOST_BLOCK_BYTES or data.find(b"\r\n\r\n") + 4 != len(data):
            return None  # too long, not whole, or more than one request
        blocks = self._blocks[peer.kind]
        if len(blocks) >= MOST_BLOCKS:
            blocks.clear()
        found = blocks[data] = vet(data, self.api, peer)
        return found

    def late(self, keeps_alive: bool) -> bytes:
        """The whole reply, counted, to a read that ``admission`` refused; it says whether the connection stays."""
        self.api.count_refusal(OVERLOADED)
        if self._defaults() is not self._late_defaults:
            self._make_late(self._defaults())
        return self._late if keeps_alive else self._late_at_door

    def room(self) -> int | None:
        """How many new connections are taken in this turn before others are refused unread; None: all."""
        admission = self.api.admission
        return admission.room if admission is not None and admission.is_crowded else None

    def late_at_door(self) -> bytes:
        """The same reply, counted, to who has only just come: the connection ends with it."""
        admission = self.api.admission
        if admission is not None:
            admission.refuse()
        return self.late(keeps_alive=False)

    def _make_late(self, default_headers: list[Header]) -> None:
        reply = refusal(OVERLOADED)
        headers = (*reply.headers, (b"content-length", b"%d" % len(reply.body)))
        self._late = head(reply.status, default_headers, headers) + b"\r\n" + reply.body
        self._late_at_door = head(reply.status, default_headers, (*headers, CLOSE)) + b"\r\n" + reply.body
        self._late_defaults = default_headers

    def page(self, body: bytes, default_headers: list[Header]) -> bytes:
        """A whole reply around the body of a page; its head is made anew when second, durable lsn or age move."""
        store = self._store
        assert store is not None
        if store.durable_lsn != self._head_lsn or default_headers is not self._head_defaults:
            self._head_lsn, self._head_defaults = store.durable_lsn, default_headers
            self._page_head = head(200, default_headers, self.api.page_headers()) + b"content-length: "
            self._page_heads.clear()
        length = len(body)
        found = self._page_heads.get(length)  # a third of the time of writing the length
        if found is None:
            found = b"%b%d\r\n\r\n" % (self._page_head, length)
            if len(self._page_heads) < MOST_PAGE_HEADS:
                self._page_heads[length] = found
        return found + body


def head(status: int, default_headers: list[Header], headers: tuple[Header, ...]) -> bytes:
    """The head of a reply without the empty line at its end."""
    lines = [b"%b: %b\r\n" % header for header in (*default_headers, *headers)]
    return b"".join([STATUS_LINE[status], *lines])
