"""A connection within bounds: uvicorn's own HTTP protocol with the caps and deadlines of the guard, for both lanes.

Caps are counted as bytes arrive: what the parser holds of a head that is not whole, or of what stands around chunks, is
bounded, whether it comes at once or drips. uvicorn's parser alone would take 60 MB of headers. Deadlines are the
sweep's (``deadlines``), which calls what is to be done here.

Pipelines: uvicorn makes a request of whatever lies in a buffer, 6,000 of 256 KB, before the first is answered. Here the
parser gets a small piece, and the next one when all requests of that have been begun.

Cost: 1 us a request of the Starlette lane; the fast lane does not come here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tcsql.errors import BadRequest, HeadersTooLarge, Overloaded, TCSQLError, TooSlow, UriTooLong
from tcsql.http.addresses import UNKNOWN
from tcsql.http.app import IS_ADMITTED, IS_PAID, IS_TOO_SLOW, PEER, TARGET
from tcsql.http.deadlines import Pace, unacknowledged
from tcsql.http.lanes import Lanes, head
from tcsql.http.messages import CLOSE, Reply

#: What the parser gets while it finds requests: at most some fifty, 2 ms. Pieces of bodies grow.
_PIECE_BYTES: Final = 1_024
_MOST_PIECE_BYTES: Final = 8_192


class Guarded(HttpToolsProtocol):
    """One connection; who it is, what it may send, and how long it may take."""

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
        self._caps = lanes.guard.caps
        self.peer = UNKNOWN
        self.active_s = lanes.now_s
        #: When the head that comes in pieces began: who sends a byte now and then is idle, too.
        self.head_s = inf
        self.body, self.reply = Pace(), Pace()
        self._unsent = 0
        self._in_message = False
        #: Bytes that the parser got since it last had something to tell; of the head those that it has told.
        self._quiet_bytes = 0
        self._head_bytes = 0
        self._refusal: TCSQLError | None = None
        #: What the parser gets when the requests before it have been begun, and how much it gets at a time.
        self._unfed = b""
        self._piece_bytes = self._least_bytes = min(_PIECE_BYTES, self._caps.head_bytes)
        self._most_bytes = min(_MOST_PIECE_BYTES, self._caps.head_bytes)
        #: What the parser got of a head, from the piece in which it began.
        self._fed: bytes | memoryview = b""
        #: Whether the request that is handed on has been counted by its meter.
        self._is_paid = False
        #: Whether its turn has come (``admission``).
        self._is_admitted = False
        self._write: Callable[[bytes], None]

    # --- the connection -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        lanes = self._lanes
        if lanes.accepting is not None:
            lanes.accepting.look()
        self._write = transport.write
        self.active_s = time.monotonic()
        self.peer = lanes.guard.addresses.peer(self.client[0] if self.client else None)
        refused = lanes.join(self.peer)
        if refused is not None:  # it is told so, and those that are open do not notice
            self._refuse(refused)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lanes.leave(self.peer)
        self._lanes.deadlines.unsent.end(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops. TLS waits for the other side's goodbye, half a minute: the next sweep does not."""
        super().shutdown()
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.active_s = -inf

    def forget_requests(self) -> None:
        """Who sends requests here may not be who it was."""

    @property
    def _is_idle(self) -> bool:
        """Whether no reply is on its way, nor anything to be replied to."""
        return not self._unfed and (self.cycle is None or self.cycle.response_complete)

    def _send(self, reply: Reply, keeps_alive: bool) -> None:
        headers = (*reply.headers, (b"content-length", b"%d" % len(reply.body)))
        if not keeps_alive and CLOSE not in headers:
            headers += (CLOSE,)
        self._write(head(reply.status, self.server_state.default_headers, headers) + b"\r\n" + reply.body)
        if CLOSE in headers:
            self.transport.close()

    def _refuse(self, error: TCSQLError) -> None:
        self._send(self._lanes.api.refuse(error), keeps_alive=False)

    def pause_writing(self) -> None:
        """The client does not read as fast as it asks."""
        super().pause_writing()
        deadlines = self._lanes.deadlines
        self.reply.begin(self._lanes.now_s + deadlines.body_s)
        deadlines.unsent.begin(self, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self.reply.end()
        self._lanes.deadlines.unsent.end(self)

    def cut(self) -> None:
        """Others have their replies waiting, too, and there is no more room for all of them."""
        self._lanes.api.metrics.refused(Overloaded.code)
        self.transport.abort()

    # --- what the sweep says --------------------------------------------------------------------------------

    def close_if_idle(self) -> None:
        if self.transport.is_closing():  # and what was to be read before has not been
            if self.reply.until_s == inf:
                self.transport.abort()
        elif self._is_idle:
            self.transport.close()

    def refuse_head(self) -> None:
        if self._is_idle and not self.transport.is_closing():
            self.head_s = inf
            self._refuse(TooSlow("the head of the request took too long", "send it at once"))

    def look_at_body(self, now_s: float, stretch_s: float, rate: int) -> None:
        if self.flow.read_paused:  # it is us who do not read
            self.body.begin(now_s + stretch_s)
        elif self.body.is_too_slow(now_s, stretch_s, rate):
            if self.cycle.response_complete:
                self.transport.close()
            else:  # who reads the body may have carried out a part of it, and says so
                self.scope["state"][IS_TOO_SLOW] = True
                self.cycle.message_event.set()

    def look_at_reply(self, now_s: float, stretch_s: float, rate: int) -> None:
        held, socket = self.transport.get_write_buffer_size(), self.transport.get_extra_info("socket")
        if socket is not None:
            held += unacknowledged(socket.fileno())
        self._unsent, self.reply.moved = held, self._unsent - held
        if self.reply.is_too_slow(now_s, stretch_s, rate):
            self.transport.abort()

    # --- what uvicorn's parser and cycles say ---------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        """As uvicorn's ``data_received``, in pieces that are short enough for the parser to say something of each."""
        if self._unfed:
            self._unfed += data
            self.flow.pause_reading()
            return
        if len(data) <= self._piece_bytes:
            self._is_fed(data)
            return
        view, start = memoryview(data), 0
        while start < len(data):
            if self.pipeline:  # and so nothing is read, until they have been begun
                self._unfed = bytes(view[start:])
                return
            stop = start + self._piece_bytes
            self._piece_bytes = min(2 * self._piece_bytes, self._most_bytes)  # unless a request begins
            if not self._is_fed(view[start:stop]):
                return
            start = stop

    def _feed_on(self) -> None:
        data, self._unfed = self._unfed, b""
        if data and not self.transport.is_closing():
            self.flow.resume_reading()
            self._feed(data)

    def _is_fed(self, piece: bytes | memoryview) -> bool:
        """Give it to the parser; False: the rest of the buffer is nobody's."""
        self._quiet_bytes += len(piece)
        self._fed = bytes(self._fed) + bytes(piece) if self.head_s != inf else piece
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            return False
        except httptools.HttpParserError:
            self._cut(self._refusal or BadRequest("the request is malformed"))
            return False
        if self._quiet_bytes > self._caps.head_bytes:
            self._cut(self._too_large())
            return False
        if self._quiet_bytes and not self._in_message:  # empty lines, of which the parser tells nothing: a head begins
            self._in_message = True
            self.head_s = self._lanes.now_s
        if self.head_s == inf:
            self._fed = b""
        return not self.transport.is_closing()

    def _cut(self, error: TCSQLError) -> None:
        """What cannot be read on is refused as all else is; a request whose body it is gets no second reply."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        if not self.transport.is_closing():
            self._refuse(error)

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(
            f"the head of the request is larger than {self._caps.head_bytes} bytes", "an operator sets max_header_bytes"
        )

    def on_message_begin(self) -> None:
        self._in_message = True
        self._piece_bytes = self._least_bytes
        self.head_s = min(self.head_s, self._lanes.now_s)
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._caps.url_bytes:
            self._refusal = UriTooLong(
                f"the target is longer than {self._caps.url_bytes} bytes", "send the parameters as a POST"
            )
            raise self._refusal

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value) + 4
        if len(self.headers) > self._caps.headers:
            self._refusal = HeadersTooLarge(
                f"more than {self._caps.headers} headers", "send fewer, or an operator sets max_headers"
            )
            raise self._refusal
        if self._head_bytes + len(self.url) > self._caps.head_bytes:
            self._refusal = self._too_large()
            raise self._refusal

    def on_headers_complete(self) -> None:
        # the parser takes other protocols, as RTSP, for HTTP, and several blanks for one
        if b"%b %b HTTP/1." % (self.parser.get_method(), self.url) not in bytes(self._fed):
            raise ValueError("not a request line of HTTP")
        self.head_s = inf
        self._quiet_bytes = 0
        state = self.scope["state"]
        state[TARGET], state[PEER] = self.url, self.peer  # for the app
        state[IS_PAID], state[IS_ADMITTED] = self._is_paid, self._is_admitted
        self._is_paid = self._is_admitted = False
        self.body.begin(self._lanes.now_s + self._lanes.deadlines.body_s)
        super().on_headers_complete()
        self.headers = []  # what stands behind a body in chunks is no header

    def on_body(self, body: bytes) -> None:
        self._quiet_bytes = 0
        self.body.moved += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        self._piece_bytes = self._least_bytes
        self._quiet_bytes = 0
        self.body.end()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but without a timer for the idle time behind it: the sweep sees to that."""
        super().on_response_complete()
        self._unset_keepalive_if_required()
        self.active_s = self._lanes.now_s
        if self.head_s != inf:
            self.head_s = self.active_s  # it was not read from meanwhile
        if self._unfed and not self.transport.is_closing():
            self.flow.pause_reading()
            if not self.pipeline:
                self.loop.call_soon(self._feed_on)
