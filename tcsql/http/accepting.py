"""Accepting: connections that wait are taken many at a time, however busy the event loop is.

libuv accepts one connection in each turn of the loop (since 1.45). A turn that serves 10,000 connections takes 0.1 s,
with costly queries longer: ten connections a second would be all, and clients that reconnect would wait for ever. So
whenever the loop has accepted one, the others that wait are accepted here, up to a bound for each turn. Measured with
costly counts at four times the capacity, by clients that give up after a second: 0 good answers a second before, 91 %
of the capacity after, together with ``admission``.

While the server is crowded (``admission``), only as many new connections are taken in a turn as it can serve, so that
those that are open come first. What others that wait have sent is looked at: an ordinary read is refused on the spot,
with 503 and the end of the connection, for 25 us; anything else (health, writes, nothing yet) is taken as always.
Where many wait, those whose clients have given up meanwhile are closed: they would take the place of the living.

Cost: one call of ``accept`` that finds nothing, 1 us, for a connection that comes alone; 70 us for each of many.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

#: 18 ms of a turn.
MOST_A_TURN: Final = 256
#: With those that are refused or gone: 12 ms of a turn more.
MOST_LOOKED_AT: Final = 1_024
#: When more than these are taken in a turn many wait, and some have waited for too long.
_FEW: Final = 64
#: States of TCP in which the other side sends no more; the state is the first byte that the kernel tells.
_GONE: Final = (7, 8)  # CLOSE, CLOSE_WAIT
#: What may be refused unread, and how much of it is looked at: a longer request is taken.
_READS: Final = (b"GET /?", b"GET /q/")
_MOST_BYTES: Final = 4_096


class Door(Protocol):
    """Says how many may come in."""

    def room(self) -> int | None:
        """How many new connections are taken in this turn before others are refused unread; None: all."""

    def late_at_door(self) -> bytes:
        """What those are told that are refused."""


class Accepting:
    """The rest of a listener's queue."""

    def __init__(
        self, listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol], door: Door | None = None
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._protocol = protocol
        self._door = door
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
        room = self._door.room() if self._door is not None else None
        taken = 0
        for _ in range(MOST_LOOKED_AT):
            if taken == MOST_A_TURN:
                return
            try:
                connection, _ = self._listener.accept()
            except OSError:  # none waits; or no descriptor is left, or the server stops: the loop sees to those
                return
            connection.setblocking(False)
            if taken >= _FEW and _is_gone(connection):
                connection.close()
                continue
            if room is not None and taken >= room and self._is_refused(connection):
                continue
            taken += 1
            task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
            self._under_way.add(task)
            task.add_done_callback(self._done)

    def _is_refused(self, connection: socket.socket) -> bool:
        """Refuse who asks for an ordinary read and nothing else."""
        assert self._door is not None
        try:
            asked = connection.recv(_MOST_BYTES, socket.MSG_PEEK)
            if not asked.startswith(_READS) or not asked.endswith(b"\r\n\r\n"):
                return False
            connection.recv(len(asked))  # closing with something unread would reset the connection, reply and all
            connection.send(self._door.late_at_door())
        except OSError:  # nothing has come yet, or the client has gone
            return False
        connection.close()
        return True

    def _done(self, task: asyncio.Task[object]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # the client has gone again: nothing to tell anybody


def _is_gone(connection: socket.socket) -> bool:
    """Whether the client has closed it while it waited: it gave up, and an answer would be nobody's."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _GONE


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
