"""Listening: which addresses a server may listen on, and TLS.

    listen(settings, has_keys)  ->  the bound socket
    certified(settings)         ->  the context of TLS, or None
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
from pathlib import Path

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


def certified(settings: Settings) -> ssl.SSLContext | None:
    """TLS 1.2 and newer with the settings' certificate; None without one. Raises SetupError."""
    if not settings.tls_certificate:
        if settings.tls_key:
            raise SetupError("tls_key is given without tls_certificate", "name the file with the certificate chain")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for option in ("tls_certificate", "tls_key"):
        _require_readable(option, getattr(settings, option))
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key or None, password=_no_password)
    except ssl.SSLError as error:
        raise _unusable(settings, error) from None
    return context


def _require_readable(option: str, path: str) -> None:
    if not path:
        return
    try:
        Path(path).read_bytes()
    except OSError as error:
        reason = f"{option}: cannot read {path}: {error.strerror}"
        raise SetupError(reason, "the server reads it as the account that it runs as") from None


def _no_password() -> str:
    """What OpenSSL would ask a terminal for."""
    raise SetupError(
        "tls_key is encrypted", "a server cannot be asked for a password: openssl pkey -in FILE -out PLAIN_FILE"
    )


def _unusable(settings: Settings, error: ssl.SSLError) -> SetupError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return SetupError("tls_key is not the key of tls_certificate", "the certificate itself comes first in its file")
    if settings.tls_key:
        hint = "both are PEM: a chain of certificates, the server's own first, and its private key"
    else:
        hint = "it is PEM: the private key and a chain of certificates; or name the key's file by tls_key"
    return SetupError("tls_certificate and tls_key cannot be used: " + (error.reason or "no PEM").lower(), hint)


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
