"""What locust's FastHttpUser needs for ten thousand connections in one process: a pool of its own.

Three things of geventhttpclient 2.3 to 2.6 stand in the way, all in its ConnectionPool:

    the test whether a kept connection still lives is ``select()``, which refuses descriptors from 1,024 on; the
    refusal is taken for "dead", so that beyond a thousand connections every request would quietly open a new one
    nobody can say which local address to connect from, so that all connections share 28,000 ports
    a connection that breaks is opened anew without a word: here connections are counted, so that it shows
"""

from __future__ import annotations

import socket
from typing import Any, Final

import gevent.socket
from gevent.monkey import get_original
from geventhttpclient.client import HTTPClient, HTTPClientPool
from geventhttpclient.connectionpool import ConnectionPool

#: The kernel's own poll, which does not switch to another greenlet.
_poll: Final = get_original("select", "poll")
_READABLE: Final = 1  # POLLIN
#: Linux: the port is chosen when connecting, from those that are free for this destination, not when binding.
_BIND_ADDRESS_NO_PORT: Final = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


class Opened:
    """How many connections were opened in all."""

    count = 0


class SourcePool(ConnectionPool):  # type: ignore[misc]  # the package's types are not followed
    """One user's connection, from a local address."""

    source: str | None = None

    def _is_socket_alive(self, sock: Any) -> bool:
        """Open, and nothing to read: an idle connection that is readable was closed by the server."""
        if sock is None or sock.fileno() < 0:
            return False
        poller = _poll()
        poller.register(sock.fileno(), _READABLE)
        return not poller.poll(0)

    def _create_tcp_socket(self, family: int, socktype: int, protocol: int) -> Any:
        made = gevent.socket.socket(family, socktype, protocol)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.source is not None:
            made.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            made.bind((self.source, 0))
        Opened.count += 1
        return made


class SourceClients(HTTPClientPool):  # type: ignore[misc]  # the package's types are not followed
    """Clients whose connections begin at ``source``; for one user, who has one connection at a time."""

    def __init__(self, source: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._source = source

    def get_client(self, url: Any) -> HTTPClient:
        key = url.host, url.port
        client = self.clients.get(key)
        if client is None:
            client = super().get_client(url)
            pool = SourcePool(url.host, url.port, url.host, url.port, size=1, network_timeout=60, connection_timeout=60)
            pool.source = self._source
            client._connection_pool = pool  # the package takes a pool from nobody
        return client
