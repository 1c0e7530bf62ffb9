"""Connections that wait are accepted many in a turn of the event loop."""

from __future__ import annotations

import asyncio
import socket

import uvloop

from tcsql.http import accepting
from tcsql.http.accepting import Accepting

CLIENTS = 300


def test_waiting_connections_are_taken_many_in_a_turn_and_no_more_than_the_bound() -> None:
    async def serve() -> list[int]:
        loop = asyncio.get_running_loop()
        turn = 0
        made: list[int] = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                made.append(turn)
                others.look()

        with socket.create_server(("127.0.0.1", 0), backlog=CLIENTS) as listener:
            others = Accepting(listener, Protocol)
            clients = []
            for _ in range(CLIENTS):  # all wait before the loop looks for the first time
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
                clients.append(client)
            server = await loop.create_server(Protocol, sock=listener)
            while len(made) < CLIENTS and turn < 10 * CLIENTS:
                turn += 1
                await asyncio.sleep(0)
            for client in clients:
                client.close()
            server.close()
        return made

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        made = runner.run(serve())
    assert len(made) == CLIENTS
    assert made[-1] - made[0] < 20  # one a turn would be 300
    assert max(map(made.count, set(made))) <= accepting.MOST_A_TURN + 1
