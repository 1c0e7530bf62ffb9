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

Who sends a request is found out with its header block, once. Whole requests are remembered only of callers that
nothing counts: who has a meter, a key's or an address's, takes the way over the block, 1 us longer.

What is above a cap of the guard is not ordinary either, so that it is refused in one place (``connection``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from tcsql.http.admission import Verdict
from tcsql.http.blocks import Block
from tcsql.http.connection import Guarded
from tcsql.http.following import is_hint
from tcsql.http.lanes import UNSEEN, Lanes
from tcsql.http.messages import Head, Reply
from tcsql.http.paths import PATHS
from tcsql.metrics import Sample

#: What one connection may take at once with a pipeline of requests: one of 256 KB took a second.
MOST_PIPELINE_S: Final = 0.002
_GET: Final = b"GET /?"
_PUBLISHED: Final = b"GET /q/"
_POST: Final = b"POST /?"


def protocol(lanes: Lanes) -> Callable[..., Connection]:
    """What uvicorn is told to make for each connection."""

    def make(
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        connections = cast(Collection[Guarded], server_state.connections)
        lanes.serve(
            connections,
            lambda: Connection(lanes, config, server_state, app_state.copy(), _loop),
            lambda: server_state.default_headers,
        )
        return Connection(lanes, config, server_state, app_state, _loop)

    return make


def _unknown(_data: bytes) -> bytes | None:
    """No request is known, as long as nobody has said who sends it."""
    return None


class Connection(Guarded):
    """One connection, in both lanes."""

    def __init__(
        self,
        lanes: Lanes,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(lanes, config, server_state, app_state, _loop)
        self._blocks = lanes.blocks(self.peer)
        #: Answers whole requests, of the queries that the last caller here may ask.
        self._request: Callable[[bytes], bytes | None] = _unknown
        self._timed: Callable[[bytes], bytes | None] | None = None
        #: Whether uvicorn has a request of this connection, or a part of one.
        self._theirs = not lanes.fast
        #: The header block of a write whose rows are on their way to the disk, and what came behind it.
        self._awaited: Block | None = None
        self._held = b""
        #: The header block of a read that waits for its turn; it is the first of what is held.
        self._in_line: Block | None = None
        self._is_shutting_down = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._blocks = self._lanes.blocks(self.peer)

    @property
    def _is_idle(self) -> bool:
        return self._awaited is None and not self._held and super()._is_idle

    # --- requests -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        lanes = self._lanes
        self.active_s = lanes.now_s
        if self._theirs and not self._is_ours_again():
            self._feed(data)
            return
        if self._awaited is not None or self._held or self.flow.write_paused:
            self._hold(data)
            return
        body = self._request(data) if len(data) <= lanes.most_known_bytes else None
        if body is not None:  # nearly every request of a busy client: nothing is left to parse
            self._write(lanes.page(body, self.server_state.default_headers))
            return
        self._one_by_one(data)

    def forget_requests(self) -> None:
        """The next request is looked at again."""
        self._request = _unknown

    def time_next(self, sample: Sample) -> bool:
        """Time the next request that is known by its bytes (``sampling``); False: it will be, or none is known."""
        request = self._request
        if request is _unknown or request is self._timed:
            return False

        def timed(data: bytes) -> bytes | None:
            started = time.perf_counter()
            body = request(data)
            if body is not None:
                sample.add(time.perf_counter() - started)
                self._request = request
            return body

        self._request = self._timed = timed
        return True

    def _is_ours_again(self) -> bool:
        cycle = self.cycle
        idle = (
            not self._in_message
            and not self.pipeline
            and not self._unfed
            and (cycle is None or cycle.response_complete)
        )
        self._theirs = not (idle and self._lanes.fast)
        return not self._theirs

    def _hand_over(self, data: bytes) -> None:
        self._theirs = True
        self._feed(data)

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
            if self._in_line is not None:
                self._held = data[start:]  # and read on, so that a client that gives up is noticed
                return
            if end == 0:
                self._hand_over(data[start:] if start else data)
                return
            start = end

    def _end_of_answered(self, data: bytes, start: int) -> int:
        """Take the request that begins there; gives where it ends, or 0, with nothing done: uvicorn has to."""
        end = data.find(b"\r\n\r\n", start) + 4
        if end < 4 or end - start > self._caps.head_bytes:
            return 0
        whole = data[start:end]
        target, _, block = whole.partition(b" HTTP/1.")
        vetted = self._blocks.get(block, UNSEEN)
        if vetted is UNSEEN:
            vetted = self._lanes.vet(block, self.peer)
        if vetted is None or len(target) > self._caps.url_bytes:
            return 0
        if vetted.content_length is None:
            return end if self._answered(target, vetted, whole) else 0
        stop = end + vetted.content_length
        if stop > len(data) or not target.startswith(_POST) or not _is_plain(target[5:]):
            return 0
        if vetted.is_metered and not is_hint(target[7:]) and self._is_over_rate(vetted):
            return stop
        head_of = Head(
            "POST",
            "/",
            target[7:],
            vetted.content_type,
            vetted.content_encoding,
            vetted.content_length,
            vetted.authorization,
            vetted.lost,
            caller=vetted.caller,
            address=vetted.client or self.peer.counted,
        )
        self._awaited = vetted
        if self._lanes.api.post_now(head_of, data[end:stop], self._on_written):
            self._is_paid = False
            return stop
        self._awaited = None
        return 0

    def _answered(self, target: bytes, vetted: Block, data: bytes) -> bool:
        """Answer a GET at once; False, with nothing done: uvicorn has to."""
        lanes = self._lanes
        if target.startswith(_GET):
            path, query = "/", target[6:]
        elif target.startswith(b"GET /") and target[4:] in _DOCUMENTS:
            path, query = target[4:].decode(), b""
        elif target.startswith(_PUBLISHED):
            return self._is_published(target, vetted)
        else:
            return False
        if vetted.is_metered and not self._is_paid and self._is_over_rate(vetted):
            return True
        known = vetted.known if path == "/" else None
        body = known.body(query) if known is not None else None
        if body is not None:
            self._write(lanes.page(body, self.server_state.default_headers))
            self._is_paid = self._is_admitted = False
            if vetted.is_common and known is not None:
                known.learn_request(data, query)
                self._request = known.request
            return True
        if path == "/" and self._is_put_off(vetted):
            return True
        return _is_plain(target[4:]) and self._is_answered(Head("GET", path, query, caller=vetted.caller), vetted)

    def _is_published(self, target: bytes, vetted: Block) -> bool:
        """The same for a published query."""
        if vetted.is_metered and not self._is_paid and self._is_over_rate(vetted):
            return True
        if vetted.keeps_alive and vetted.caller.refused is None:
            whole = self._lanes.published.reply(target, self.server_state.default_headers)
            if whole is not None:
                self._write(whole)
                self._is_paid = self._is_admitted = False
                return True
        if self._is_put_off(vetted):
            return True
        path, _, query = target[4:].partition(b"?")
        if b"%" in path or not _is_plain(target[4:]):
            return False
        return self._is_answered(Head("GET", path.decode(), query, caller=vetted.caller), vetted)

    def _is_answered(self, head_of: Head, vetted: Block) -> bool:
        """Answer what has its turn; False: it takes longer, and uvicorn has to."""
        api = self._lanes.api
        reply = api.answer_now(head_of, is_admitted=True)
        if api.admission is not None:
            api.admission.end()
        if reply is None:
            return False
        self._is_paid = self._is_admitted = False
        self._send(reply, vetted.keeps_alive)
        return True

    # --- turns ----------------------------------------------------------------------------------------------

    def _is_put_off(self, vetted: Block) -> bool:
        """Whether a read, of which nothing has been read yet, stands in line, or is refused; else it is its turn."""
        admission = self._lanes.api.admission
        if self._is_admitted or admission is None:
            return False
        verdict = admission.ask()
        if verdict is Verdict.NOW:
            self._is_admitted = True
            return False
        if verdict is Verdict.WAIT:
            self._in_line = vetted
            admission.wait(self)
        else:
            self._turn_away(vetted)
        return True

    def _turn_away(self, vetted: Block) -> None:
        self._is_paid = False
        self._write(self._lanes.late(vetted.keeps_alive))
        if not vetted.keeps_alive:
            self.transport.close()

    def go_on(self) -> bool:
        """The turn of the read that waits has come."""
        self._in_line = None
        admission = self._lanes.api.admission
        if admission is None or self.transport.is_closing():  # its client has given up
            return True
        self._is_admitted = True
        admission.begin()
        self._go_on()
        admission.end()  # of what has become known meanwhile
        self._is_admitted = False
        self._shut_down_if_due()
        return not self._theirs

    def turn_away(self) -> None:
        """The read that waits is refused."""
        vetted, self._in_line = self._in_line, None
        if vetted is None or self.transport.is_closing():
            return
        self._turn_away(vetted)
        self._held = self._held[self._held.find(b"\r\n\r\n") + 4 :]
        self._shut_down_if_due()
        self.loop.call_soon(self._go_on)

    def _is_over_rate(self, vetted: Block) -> bool:
        """Take a request off its meter; when there is none left, it is told so."""
        client = (vetted.client or self.peer.counted) if vetted.is_counted else ""
        error = self._lanes.guard.rates.refusal(vetted.caller, client)
        self._is_paid = error is None
        if error is not None:
            self._send(self._lanes.api.refuse(error, closes=False), vetted.keeps_alive)
        return error is not None

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
        if self._held and self._awaited is None and self._in_line is None:
            self.loop.call_soon(self._go_on)

    def shutdown(self) -> None:
        """The server stops: close, when what is under way has been answered."""
        self._is_shutting_down = True
        self._shut_down_if_due()

    def _shut_down_if_due(self) -> None:
        if self._is_shutting_down and self._awaited is None and self._in_line is None:
            super().shutdown()


_DOCUMENTS: Final = frozenset(path.encode() for path, methods in PATHS.items() if path != "/" and "GET" in methods)
#: Bytes that stand for themselves in a target, whoever parses it.
_PLAIN: Final = bytes(byte for byte in range(0x21, 0x7F) if byte not in b"#")


def _is_plain(target: bytes) -> bool:
    """Whether nothing in the target is uvicorn's to judge: controls, blanks, fragments, bytes above ASCII."""
    return not target.translate(None, _PLAIN)
