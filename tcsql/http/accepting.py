"""Accepting: connections that wait are taken many at a time, however busy the event loop is.

libuv accepts one connection in each turn of the loop (since 1.45). A turn that serves 10,000 connections takes 0.1 s,
with costly queries longer: ten connections a second would be all, and clients that reconnect would wait for ever. So
whenever the loop has accepted one, the others that wait are accepted here, up to a bound for each turn. Measured with
costly counts at four times the capacity, by clients that give up after a second: 0 good answers a second before, 91 %
of the capacity after, together with ``admission``.

Cost: one call of ``accept`` that finds nothing, 1 us, for a connection that comes alone; 70 us for each of many.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final

#: 18 ms of a turn.
MOST_A_TURN: Final = 256


class Accepting:
    """The rest of a listener's queue."""

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._protocol = protocol
        self._is_due = False
        self._under_way: set[asyncio.Task[object]] = set()

    def look(self) -> None:
        """A connection has been made: soon see whether others wait."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._accept)

    def _accept(self) -> None:
        self._is_due = False
        loop = asyncio.get_running_loop()
        for _ in range(MOST_A_TURN):
            try:
                connection, _ = self._listener.accept()
            except OSError:  # none waits; or no descriptor is left, or the server stops: the loop sees to those
                return
            connection.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
            self._under_way.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[object]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # the client has gone again: nothing to tell anybody


class Handshakes:
    """All connections of a listener that speaks TLS.

    A connection is not known to anybody else until its handshake is over, which a client may draw out for
    ``handshake_s`` with a descriptor of ours in its hand. So they are accepted and counted here: ``admits`` is asked
    with the address, how many handshakes are under way from there, and how many in all; who is not admitted is closed.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext,
        handshake_s: float,
        admits: Callable[[str, int, int], bool],
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._protocol = protocol
        self._tls = tls
        self._handshake_s = handshake_s
        self._admits = admits
        self._from: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more."""
        self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """As servers of asyncio; handshakes that are under way are nobody's to wait for."""
        for task in self._under_way:
            task.cancel()

    def _accept(self) -> None:
        for _ in range(MOST_A_TURN):
            try:
                connection, address = self._listener.accept()
            except OSError:  # none waits, or no descriptor is left
                return
            host = str(address[0])
            if not self._admits(host, self._from[host], len(self._under_way)):
                connection.close()
                continue
            connection.setblocking(False)
            self._from[host] += 1
            task = self._loop.create_task(self._shake(connection, host))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _shake(self, connection: socket.socket, host: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=self._handshake_s
            )
        except OSError:
            pass  # not TLS, too slow, or gone; the loop has closed it, and there is nothing to tell anybody
        finally:
            self._from[host] -= 1
            if not self._from[host]:
                del self._from[host]
