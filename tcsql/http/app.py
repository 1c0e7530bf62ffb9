"""The Starlette lane: ASGI in, the guard, the endpoints' replies out; nothing decided here."""

from __future__ import annotations

from asyncio import to_thread
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tcsql.http.endpoints import Api
from tcsql.http.guard import PREFLIGHT, Asked
from tcsql.http.messages import LOST_HEADER, Body, Disconnected, Head, Header, Reply, lost_of

#: Bytes of a file per write: a few of them fit into the socket's buffer.
_PIECE_BYTES: Final = 262_144
#: Where the connection leaves the target as it was sent, in the state of a scope.
TARGET: Final = "target"
_NO_CONTENT: Final = 204


def create_app(api: Api) -> Starlette:
    """The ASGI application of one server."""
    return Starlette(routes=[Route("/{path:path}", _Lane(api))])


class _Lane:
    """Asks the guard, then hands each request to the endpoints: at once when they can, else with its body."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        api = self._api
        target = scope["state"].get(TARGET) or scope["raw_path"]
        asked = Asked(scope["http_version"], target, scope["headers"])
        refused = api.guard.admits(asked)
        if refused is not None:
            await _send(api.refuse(refused), send)
            return
        cors = api.guard.cors(asked)
        if cors and scope["method"] == "OPTIONS":
            await _send(Reply(204, headers=PREFLIGHT), send, cors)
            return
        head = _head(scope, api.guard.is_cross_site(asked))
        reply = api.answer_now(head)
        if reply is None:
            try:
                reply = await api.answer(head, _body(Request(scope, receive)))
            except Disconnected:
                return  # chunks of a bulk load that are applied stay
        await _send(reply, send, cors)


async def _body(request: Request) -> Body:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise Disconnected from None


def _head(scope: Scope, is_cross_site: bool) -> Head:
    method = scope["method"]
    if method != "POST":
        return Head(method, scope["path"], scope["query_string"], is_cross_site=is_cross_site)
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
