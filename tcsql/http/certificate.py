"""A certificate that is renewed while the server runs: used for the connections from then on, nothing is restarted.

    Certificate.of(settings)      ->  None without one; raises SetupError for one that cannot be used
    certificate.context           what handshakes are made with, one and the same as long as the server lives
    certificate.read()            take what the files hold now; raises SetupError, and then the one before is kept
    certificate.look()            the same if the files have changed: once a second, as for the keys

Certificate and key are two files, and whoever renews them replaces one after the other. So a change is taken when it
has stood still for one look, and first tried on a context of its own: the live one would keep the half that fits. What
was tried is what is taken, from memory, however the files change meanwhile. Connections that are open keep theirs.

Cost of a look: two stats, on a thread; of a change: 1 ms there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tcsql.errors import SetupError
from tcsql.settings import Settings

LOOK_S: Final = 1.0

logger = logging.getLogger("tcsql.server")
_Mark = tuple[tuple[int, int, int, int] | None, ...]


class Certificate:
    """Of one server, which may have been renewed since."""

    def __init__(self, settings: Settings) -> None:
        self._files = {"tls_certificate": settings.tls_certificate, "tls_key": settings.tls_key}
        self._taken = self._mark()
        self._seen = self._taken
        self.context = _context()
        self.read()

    @classmethod
    def of(cls, settings: Settings) -> Certificate | None:
        """The settings' certificate, for TLS 1.2 and newer; None without one. Raises SetupError."""
        if settings.tls_certificate:
            return cls(settings)
        if settings.tls_key:
            raise SetupError("tls_key is given without tls_certificate", "name the file with the certificate chain")
        return None

    def read(self) -> None:
        """Use what the files hold now for handshakes from now on. Raises SetupError: then the one before is used."""
        self._taken = self._seen = self._mark()
        contents = {option: _contents(option, path) for option, path in self._files.items() if path}
        with _held(contents) as (chain, key):
            for context in (_context(), self.context):
                self._load(context, chain, key)

    def look(self) -> bool | None:
        """Read the files if they are others than those read last: True, it was taken, False, it cannot be used."""
        mark = self._mark()
        if mark == self._taken or mark != self._seen:
            self._seen = mark
            return None
        try:
            self.read()
        except SetupError as error:
            told = (error.message, error.hint)
            logger.error("the new certificate is not used, the one before is: %s (%s)", *told)  # noqa: TRY400  # no bug
            return False
        logger.warning("the certificate was renewed: connections are made with the new one from now on")
        return True

    async def watch(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.to_thread(self.look)
            except RuntimeError as error:  # no thread can be started: later
                logger.error("the certificate cannot be looked at now: %s", error)  # noqa: TRY400  # no bug: no traceback

    def _mark(self) -> _Mark:
        return tuple(_mark(path) for path in self._files.values() if path)

    def _load(self, context: ssl.SSLContext, chain: str, key: str | None) -> None:
        try:
            context.load_cert_chain(chain, key, password=_no_password)
        except ssl.SSLError as error:
            raise _unusable(key is not None, error) from None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _mark(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _contents(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = f"{option}: cannot read {path}: {error.strerror}"
        raise SetupError(reason, "the server reads it as the account that it runs as") from None


@contextlib.contextmanager
def _held(contents: dict[str, bytes]) -> Iterator[tuple[str, str | None]]:
    """Paths of what was read, in memory alone: OpenSSL's loader takes nothing but paths."""
    with contextlib.ExitStack() as stack:
        paths = []
        for option, data in contents.items():
            file = stack.enter_context(open(os.memfd_create(option), "wb"))
            file.write(data)
            file.flush()
            paths.append(f"/proc/self/fd/{file.fileno()}")
        yield paths[0], paths[1] if len(paths) > 1 else None


def _no_password() -> str:
    """What OpenSSL would ask a terminal for."""
    raise SetupError(
        "tls_key is encrypted", "a server cannot be asked for a password: openssl pkey -in FILE -out PLAIN_FILE"
    )


def _unusable(has_key_file: bool, error: ssl.SSLError) -> SetupError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return SetupError("tls_key is not the key of tls_certificate", "the certificate itself comes first in its file")
    if has_key_file:
        hint = "both are PEM: a chain of certificates, the server's own first, and its private key"
    else:
        hint = "it is PEM: the private key and a chain of certificates; or name the key's file by tls_key"
    return SetupError("tls_certificate and tls_key cannot be used: " + (error.reason or "no PEM").lower(), hint)
