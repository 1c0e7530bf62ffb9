"""The reference of HTTP figures: uvicorn with the server's own settings, answering every request with a constant.

Run as ``python -m benchmarks.constant``; it prints its URL and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

_BODY: Final = b'{"inserted":1,"replaced":0,"lsn":1000042}'
_HEADERS: Final = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, send the constant."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        host, port = listener.getsockname()
        print(f"listening on http://{host}:{port}", flush=True)
        config = uvicorn.Config(
            answer, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
