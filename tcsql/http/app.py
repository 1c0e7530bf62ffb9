"""The Starlette lane: ASGI in, the guard, the endpoints' replies out; nothing decided here."""

from __future__ import annotations

from asyncio import to_thread
from typing import Final

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from tcsql.access.callers import Caller
from tcsql.errors import Overloaded, RateLimited, TooSlow
from tcsql.http.addresses import UNKNOWN, Peer
from tcsql.http.admission import MustWait
from tcsql.http.endpoints import Api
from tcsql.http.following import is_hint
from tcsql.http.guard import PREFLIGHT, Asked, Sender
from tcsql.http.messages import LOST_HEADER, Body, Disconnected, Head, Header, Reply, lost_of

#: Bytes of a file per write: a few of them fit into the socket's buffer.
_PIECE_BYTES: Final = 262_144
#: Where the connection leaves, in the state of a scope: the target as it was sent, who connected, whether a meter has
#: counted the request already, whether it is admitted already, and later whether its body comes too slowly.
TARGET: Final = "target"
PEER: Final = "peer"
IS_PAID: Final = "is_paid"
IS_ADMITTED: Final = "is_admitted"
IS_TOO_SLOW: Final = "is_too_slow"
#: The rest of a longer body is not waited for when its request is refused.
_MOST_SKIPPED_BYTES: Final = 65_536
_NO_CONTENT: Final = 204


def create_app(api: Api) -> Starlette:
    """The ASGI application of one server."""
    app = Starlette()
    app.router.default = _Lane(api)  # a route has a pattern, and a path with a line end matches none
    return app


class _Lane:
    """Asks the guard, then hands each request to the endpoints: at once when they can, else with its body."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        api, state = self._api, scope["state"]
        peer = state.get(PEER, UNKNOWN)
        asked = Asked(scope["http_version"], state.get(TARGET) or scope["raw_path"], scope["headers"])
        refused = api.guard.admits(asked, peer)
        if refused is not None:
            await _send(api.refuse(refused), send)
            return
        sender = api.guard.sender(asked, peer, api.access)
        if sender.is_turned_away and sender.caller.refused is not None:
            await _send(api.refuse(sender.caller.refused), send)
            return
        cors = api.guard.cors(asked)
        head = _head(scope, api.guard.is_cross_site(asked), sender.caller, sender.client or peer.counted)
        limited = None if state.get(IS_PAID) else self._over_rate(sender, peer, head)
        if limited is not None:
            body_bytes = asked.body_bytes
            closes = body_bytes is None or body_bytes > _MOST_SKIPPED_BYTES
            await _send(api.refuse(limited, closes=closes), send, cors)
            return
        if cors and scope["method"] == "OPTIONS":
            await _send(Reply(204, headers=PREFLIGHT), send, cors)
            return
        try:
            reply = await self._now(head, bool(state.get(IS_ADMITTED)))
            if reply is None:
                reply = await api.answer(head, _body(scope, receive))
        except Disconnected:
            return  # chunks of a bulk load that are applied stay
        await _send(reply, send, cors)

    async def _now(self, head: Head, is_admitted: bool) -> Reply | None:
        """The reply to what needs no body, when its turn has come; None: ``answer`` has to."""
        api, admission = self._api, self._api.admission
        if is_admitted and admission is not None:
            admission.begin()
        try:
            reply = api.answer_now(head, is_admitted)
        except MustWait:
            assert admission is not None
            try:
                await admission.turn()
            except Overloaded as error:
                return api.refuse(error, closes=False)
            reply = api.answer_now(head, is_admitted=True)
        if admission is not None:
            admission.end()
        return reply

    def _over_rate(self, sender: Sender, peer: Peer, head: Head) -> RateLimited | None:
        if not sender.is_metered or (head.method == "POST" and head.path == "/" and is_hint(head.query)):
            return None
        client = (sender.client or peer.counted) if sender.is_counted else ""
        return self._api.guard.rates.refusal(sender.caller, client)


async def _body(scope: Scope, receive: Receive) -> Body:
    """The pieces of a body; raises Disconnected, and TooSlow when the connection says so."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return
        if scope["state"].get(IS_TOO_SLOW):
            raise TooSlow("the body of the request comes too slowly", "send it faster, or in parts")


def _head(scope: Scope, is_cross_site: bool, caller: Caller, address: str) -> Head:
    method = scope["method"]
    if method != "POST":
        accept = [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"]
        return Head(
            method,
            scope["path"],
            scope["query_string"],
            is_cross_site=is_cross_site,
            caller=caller,
            address=address,
            accept=",".join(accept),
        )
    named = dict.fromkeys((b"content-type", b"content-encoding", b"content-length", b"authorization", LOST_HEADER), "")
    for name, value in scope["headers"]:
        if name in named:
            named[name] = value.decode("latin-1")
    length = named[b"content-length"]
    return Head(
        method,
        scope["path"],
        scope["query_string"],
        named[b"content-type"],
        named[b"content-encoding"].strip().lower(),
        int(length) if length.isdecimal() else None,
        named[b"authorization"],
        lost_of(named[LOST_HEADER]),
        is_cross_site,
        caller,
        address,
    )


async def _send(reply: Reply, send: Send, more: tuple[Header, ...] = ()) -> None:
    size = reply.size if reply.file is not None else len(reply.body)
    length = () if reply.status == _NO_CONTENT else ((b"content-length", b"%d" % size),)
    headers = [*reply.headers, *more, *length]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if reply.file is None:
        await send({"type": "http.response.body", "body": reply.body})
        return
    with reply.file as file:
        left = size
        while left:
            piece = await to_thread(file.read, min(left, _PIECE_BYTES))
            left = left - len(piece) if piece else 0
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
