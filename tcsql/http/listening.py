"""Listening: which addresses a server may listen on, and TLS.

    listen(settings, has_keys)  ->  the bound socket
    Listening(config, ...)      uvicorn's server, without signal handlers, and with handshakes that are counted

An address that other machines reach needs a key that was made, so that somebody decided who may ask, and a way in which
keys do not travel in the clear: a certificate, or stated proxies, which have one; or word that this network is trusted.
What is missing is said before the store is touched, with the commands that give it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Iterator

import uvicorn

from tcsql.errors import SetupError
from tcsql.http.accepting import Handshakes
from tcsql.http.guard import is_public
from tcsql.http.lanes import Lanes
from tcsql.settings import Settings


def listen(settings: Settings, *, has_keys: bool) -> socket.socket:
    """The bound socket; raises SetupError for an address that is taken, or that must not be listened on."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if is_public(str(address[0])):
            _require_protection(settings, has_keys)
        return socket.create_server(address[:2], family=family, backlog=settings.backlog)
    except (OSError, UnicodeError) as error:
        raise SetupError(
            f"cannot listen on {settings.host}:{settings.port}: {_reason(error)}", _advice(error)
        ) from None


def _reason(error: Exception) -> str:
    """What the system said, without the address that socket.create_server adds to it once more."""
    return (getattr(error, "strerror", None) or "not an address").partition(" (while attempting")[0]


def _advice(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return "another program has it; --port 0 picks a free one"
    if number == errno.EACCES:
        return "ports below 1024 need root, or the capability CAP_NET_BIND_SERVICE"
    return "--host takes an address of this machine: 127.0.0.1, ::1, or 0.0.0.0 for all of them"


def _require_protection(settings: Settings, has_keys: bool) -> None:
    if not has_keys:
        raise SetupError(
            f"{settings.host} is not loopback, and no key has been made: whoever reaches it could do everything",
            f"make one: tcsql key make NAME --scope read --data {settings.data}; or listen on 127.0.0.1",
        )
    if not (settings.tls_certificate or settings.proxies.strip() or settings.plain_public):
        raise SetupError(
            f"{settings.host} is not loopback, and connections would not be encrypted: keys could be read on their way",
            "give a certificate: --tls-certificate FILE --tls-key FILE; or name the reverse proxy that has one: "
            "--proxies ADDRESS; or, if you trust everybody on that network: --plain-public true",
        )


class Listening(uvicorn.Server):
    """uvicorn without its signal handlers: it would end the process by the signal, and we by exit code 0."""

    def __init__(self, config: uvicorn.Config, lanes: Lanes, tls: ssl.SSLContext | None, handshake_s: float) -> None:
        super().__init__(config)
        self._lanes = lanes
        self._tls = tls
        self._handshake_s = handshake_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, on bound sockets, but for TLS: it would count no handshake, and give it a minute."""
        if self._tls is None:
            await super().startup(sockets)
            return

        def make() -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn calls it
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )

        self.servers = [
            Handshakes(each, make, self._tls, self._handshake_s, self._lanes.admits_handshake)  # type: ignore[misc]  # closed and waited for as the servers of asyncio
            for each in sockets or ()
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
