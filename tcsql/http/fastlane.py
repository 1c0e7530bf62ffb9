"""The fast lane: uvicorn's own HTTP protocol, which answers complete, ordinary GET requests on the spot.

    data_received(bytes)  ->  one write          no task, no await, no parser, no timer

A request is ordinary when its request line is ``GET target HTTP/1.1`` (or 1.0), its header block is one that has been
*vetted*, and nothing else is under way on its connection. Everything else goes to uvicorn and Starlette, byte for
byte: partial requests, bodies, ``Expect``, upgrades, whatever the endpoints cannot answer at once, and all that is
malformed, so that one parser decides what HTTP is.

Vetting: a client sends the same header block with every request. It is parsed once, by uvicorn's parser, and
remembered as bytes, with what it means for the connection. A block is vetted only if it holds one complete request
without a body, an upgrade or an expectation.

Order: requests of one buffer are answered one after the other; the first that is not ordinary goes to uvicorn with
everything behind it, and the lane stays closed until that is answered. What a client sends that does not read, or
sends much at once, is held back, and no more is read from it meanwhile.

Idle connections are closed by one sweep a second over all of them, in both lanes; a timer for each request would
take 1 us of its 10.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from math import inf
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from tcsql.errors import BadRequest, Overloaded
from tcsql.http.accepting import Accepting
from tcsql.http.app import TARGET
from tcsql.http.blocks import Block, vet
from tcsql.http.endpoints import PATHS, Api
from tcsql.http.following import NO_FOLLOWERS, Followers
from tcsql.http.messages import CLOSE, Head, Header, Reply, refusal
from tcsql.storage.store import Store

#: A header block that is longer is not worth remembering.
MOST_BLOCK_BYTES: Final = 2_048
MOST_BLOCKS: Final = 1_024
#: Lengths of bodies for which the head is kept, 0.3 KB each.
MOST_PAGE_HEADS: Final = 4_096
#: A longer target is none, says uvicorn's parser of them.
MOST_HEAD_BYTES: Final = 65_535
#: What one connection may take at once with a pipeline of requests: one of 256 KB took a second.
MOST_PIPELINE_S: Final = 0.002
_SWEEP_S: Final = 1.0
_GET: Final = b"GET /?"
_POST: Final = b"POST /?"


class Lanes:
    """What all connections of one server share. ``protocol`` is what uvicorn is told to make for each of them."""

    def __init__(
        self, api: Api, fast: bool, max_connections: int, keepalive_s: int, listener: socket.socket | None = None
    ) -> None:
        self.api = api
        self.accepting: Accepting | None = None
        self._listener = listener
        self.request = api.known.request
        self.fast = fast
        self.max_connections = max_connections
        self.refused = 0
        #: Seconds of a clock that moves once a sweep: good enough for idleness, and free.
        self.now_s = time.monotonic()
        self._keepalive_s = keepalive_s
        self._blocks: dict[bytes, Block | None] = {}
        self._connections: set[Any] = set()
        self._store: Store | None = None
        #: Everything in front of the length of a page, and what it was made of.
        self._page_head = b""
        self._page_heads: dict[int, bytes] = {}
        self._head_lsn = -1
        self._head_defaults: object = None

    def open(self, store: Store, followers: Followers = NO_FOLLOWERS) -> None:
        """The store is recovered; what ``followers`` tell moves the age of data in the heads of pages."""
        self._store = store
        followers.on_fresh(self._forget_head)

    def _forget_head(self) -> None:
        self._head_lsn = -1

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        self._connections = server_state.connections
        if self.accepting is None and self._listener is not None:
            self.accepting = Accepting(
                self._listener, lambda: Connection(self, config, server_state, app_state.copy(), _loop)
            )
        return Connection(self, config, server_state, app_state, _loop)

    async def sweep(self) -> None:
        """Close idle connections and tidy up, once a second until cancelled. 0.1 us a connection."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.tidy(time.monotonic())

    def tidy(self, now_s: float) -> None:
        """One sweep: close what is idle, and what has not told its request in all that time."""
        oldest = self.now_s - self._keepalive_s  # by the clock of the last sweep, which the requests since then saw
        self.now_s = now_s
        for connection in list(self._connections):
            if connection.active_s < oldest or connection.head_s < oldest:
                connection.close_if_idle()
        self.api.known.forget_stale()

    def block(self, data: bytes) -> Block | None:
        """What a header block means (with the version before it); None when it is not ordinary."""
        try:
            return self._blocks[data]
        except KeyError:
            if len(data) > MOST_BLOCK_BYTES or data.find(b"\r\n\r\n") + 4 != len(data):
                return None  # too long, not whole, or more than one request
            if len(self._blocks) >= MOST_BLOCKS:
                self._blocks.clear()
            found = self._blocks[data] = vet(data, self.api.guard)
            return found

    def page(self, body: bytes, default_headers: list[Header]) -> bytes:
        """A whole reply around the body of a page; its head is made anew when second, durable lsn or age move."""
        store = self._store
        assert store is not None
        if store.durable_lsn != self._head_lsn or default_headers is not self._head_defaults:
            self._head_lsn, self._head_defaults = store.durable_lsn, default_headers
            self._page_head = _head(200, default_headers, self.api.page_headers()) + b"content-length: "
            self._page_heads.clear()
        length = len(body)
        head = self._page_heads.get(length)  # a third of the time of writing the length
        if head is None:
            head = b"%b%d\r\n\r\n" % (self._page_head, length)
            if len(self._page_heads) < MOST_PAGE_HEADS:
                self._page_heads[length] = head
        return head + body


def _head(status: int, default_headers: list[Header], headers: tuple[Header, ...]) -> bytes:
    lines = [b"%b: %b\r\n" % header for header in (*default_headers, *headers)]
    return b"".join([STATUS_LINE[status], *lines])


class Connection(HttpToolsProtocol):
    """One connection, in both lanes."""

    def __init__(
        self,
        lanes: Lanes,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._lanes = lanes
        self.active_s = lanes.now_s
        #: When the head that comes in pieces began: who sends a byte now and then is idle, too.
        self.head_s = inf
        #: Whether uvicorn has a request of this connection, or a part of one.
        self._theirs = not lanes.fast
        self._in_message = False
        #: The header block of a write whose rows are on their way to the disk, and what came behind it.
        self._awaited: Block | None = None
        self._held = b""
        self._is_shutting_down = False
        self._write: Callable[[bytes], None]

    # --- the connection -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        if self._lanes.accepting is not None:
            self._lanes.accepting.look()
        self._write = transport.write
        self.active_s = time.monotonic()
        if len(self.connections) > self._lanes.max_connections:
            self._refuse()

    def _refuse(self) -> None:
        """One connection too many: it is told so, and those that are open do not notice."""
        self._lanes.refused += 1
        error = Overloaded("too many connections are open", "retry, or raise max_connections")
        self._send(refusal(error), keeps_alive=False)

    def close_if_idle(self) -> None:
        """Nothing has come for a while: close, unless a reply is on its way."""
        if self._awaited is None and not self._held and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    # --- requests -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        lanes = self._lanes
        self.active_s = lanes.now_s
        if self._theirs and not self._is_ours_again():
            super().data_received(data)
            return
        if self._awaited is not None or self._held:
            self._hold(data)
            return
        if self.flow.write_paused:
            self._hold(data)
            return
        body = lanes.request(data)
        if body is not None:  # nearly every request of a busy client: nothing is left to parse
            self._write(lanes.page(body, self.server_state.default_headers))
            return
        self._one_by_one(data)

    def _is_ours_again(self) -> bool:
        cycle = self.cycle
        idle = not self._in_message and not self.pipeline and (cycle is None or cycle.response_complete)
        self._theirs = not (idle and self._lanes.fast)
        return not self._theirs

    def _hand_over(self, data: bytes) -> None:
        self._theirs = True
        super().data_received(data)

    def _one_by_one(self, data: bytes) -> None:
        """The requests of one buffer, in their order; what is not ordinary is uvicorn's, and all behind it.

        A buffer may hold thousands: after a while the others get their turn.
        """
        start, until = 0, time.perf_counter() + MOST_PIPELINE_S
        while start < len(data) and not self.transport.is_closing():
            if self._awaited is not None or self.flow.write_paused:
                self._hold(data[start:])
                return
            if start and time.perf_counter() > until:
                self._hold(data[start:])
                self.loop.call_soon(self._go_on)
                return
            end = self._end_of_answered(data, start)
            if end == 0:
                self._hand_over(data[start:] if start else data)
                return
            start = end

    def _end_of_answered(self, data: bytes, start: int) -> int:
        """Take the request that begins there; gives where it ends, or 0, with nothing done: uvicorn has to."""
        end = data.find(b"\r\n\r\n", start) + 4
        if end < 4 or end - start > MOST_HEAD_BYTES:
            return 0
        head = data[start:end]
        target, _, block = head.partition(b" HTTP/1.")
        vetted = self._lanes.block(block)
        if vetted is None:
            return 0
        if vetted.content_length is None:
            return end if self._answered(target, vetted, head) else 0
        stop = end + vetted.content_length
        if stop > len(data) or not target.startswith(_POST) or not _is_plain(target[5:]):
            return 0
        head_of = Head(
            "POST",
            "/",
            target[7:],
            vetted.content_type,
            vetted.content_encoding,
            vetted.content_length,
            vetted.authorization,
            vetted.lost,
        )
        self._awaited = vetted
        if self._lanes.api.post_now(head_of, data[end:stop], self._on_written):
            return stop
        self._awaited = None
        return 0

    def _answered(self, target: bytes, vetted: Block, data: bytes) -> bool:
        """Answer a GET at once; False, with nothing done: uvicorn has to."""
        lanes = self._lanes
        known = lanes.api.known
        if target.startswith(_GET):
            query = target[6:]
            body = known.body(query) if vetted.keeps_alive else None
            if body is not None:
                self._write(lanes.page(body, self.server_state.default_headers))
                known.learn_request(data, query)
                return True
            head = Head("GET", "/", query)
        elif target.startswith(b"GET /") and target[4:] in _DOCUMENTS:
            head = Head("GET", target[4:].decode())
        else:
            return False
        reply = lanes.api.answer_now(head) if _is_plain(target[4:]) else None
        if reply is None:
            return False
        self._send(reply, vetted.keeps_alive)
        return True

    # --- writes ---------------------------------------------------------------------------------------------

    def _hold(self, data: bytes) -> None:
        """A client that does not wait for the answer to its write, or does not read: what it sends next waits."""
        self._held += data
        self.flow.pause_reading()

    def _on_written(self, reply: Reply) -> None:
        """The reply to an insert: at once, or when its rows are on the disk."""
        awaited, self._awaited = self._awaited, None
        assert awaited is not None
        if self.transport.is_closing():
            return
        self.active_s = self._lanes.now_s
        self._send(reply, awaited.keeps_alive and not self._is_shutting_down)
        if self._held:
            self.loop.call_soon(self._go_on)  # many clients are answered in one go: their next requests wait a turn

    def _go_on(self) -> None:
        held, self._held = self._held, b""
        if held and not self.transport.is_closing():
            self.flow.resume_reading()
            self.data_received(held)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._held and self._awaited is None:
            self.loop.call_soon(self._go_on)

    def shutdown(self) -> None:
        """The server stops: close, when what is under way has been answered."""
        self._is_shutting_down = True
        if self._awaited is None:
            super().shutdown()

    def _send(self, reply: Reply, keeps_alive: bool) -> None:
        headers = (*reply.headers, (b"content-length", b"%d" % len(reply.body)))
        if not keeps_alive and CLOSE not in headers:
            headers += (CLOSE,)
        self._write(_head(reply.status, self.server_state.default_headers, headers) + b"\r\n" + reply.body)
        if CLOSE in headers:
            self.transport.close()

    # --- what uvicorn's parser and cycles say ---------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """What the parser does not take is refused as all else is; a request whose body it is gets no second reply."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        self._send(refusal(BadRequest("the request is malformed")), keeps_alive=False)

    def on_message_begin(self) -> None:
        self._in_message = True
        self.head_s = self._lanes.now_s
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.head_s = inf
        self.scope["state"][TARGET] = self.url  # the guard's: uvicorn keeps the path alone
        super().on_headers_complete()
        self.headers = []  # what stands behind a body in chunks is no header

    def on_message_complete(self) -> None:
        self._in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but without a timer for the idle time behind it: the sweep sees to that."""
        super().on_response_complete()
        self._unset_keepalive_if_required()
        self.active_s = self._lanes.now_s
        if self.head_s != inf:
            self.head_s = self.active_s  # it was not read from meanwhile


_DOCUMENTS: Final = frozenset(path.encode() for path, methods in PATHS.items() if path != "/" and "GET" in methods)
#: Bytes that stand for themselves in a target, whoever parses it.
_PLAIN: Final = bytes(byte for byte in range(0x21, 0x7F) if byte not in b"#")


def _is_plain(target: bytes) -> bool:
    """Whether nothing in the target is uvicorn's to judge: controls, blanks, fragments, bytes above ASCII."""
    return not target.translate(None, _PLAIN)
