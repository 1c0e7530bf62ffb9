"""The Starlette lane: ASGI in, the endpoints' replies out, nothing decided here."""

from __future__ import annotations

from asyncio import to_thread
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tcsql.http.endpoints import Api
from tcsql.http.messages import LOST_HEADER, Body, Disconnected, Head, Reply, lost_of

#: Bytes of a file per write: a few of them fit into the socket's buffer.
_PIECE_BYTES: Final = 262_144


def create_app(api: Api) -> Starlette:
    """The ASGI application of one server."""
    return Starlette(routes=[Route("/{path:path}", _Lane(api))])


class _Lane:
    """Hands each request to the endpoints: at once when they can, else with its body."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = _head(scope)
        reply = self._api.answer_now(head)
        if reply is None:
            try:
                reply = await self._api.answer(head, _body(Request(scope, receive)))
            except Disconnected:
                return  # chunks of a bulk load that are applied stay
        await _send(reply, send)


async def _body(request: Request) -> Body:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise Disconnected from None


def _head(scope: Scope) -> Head:
    method = scope["method"]
    if method != "POST":
        return Head(method, scope["path"], scope["query_string"])
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
    )


async def _send(reply: Reply, send: Send) -> None:
    size = reply.size if reply.file is not None else len(reply.body)
    headers = [*reply.headers, (b"content-length", b"%d" % size)]
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
