"""Where a source is and who we are there: what a ``mysql://`` url, ``password_file`` and ``password_env`` say.

Paths are relative to the directory of the configuration file. Every mistake is a fault that says how to write it.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tcsql.errors import SetupError, SourceFault
from tcsql.sources import SourceSettings

_URL_PARAMETERS: Final = ("unix_socket", "tls", "tls_ca")
_TLS: Final = ("off", "on", "verify")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and who we are there; made of a url by ``address_of``. ``tls``: off, on or verify."""

    user: str
    password: str | None
    host: str
    port: int
    database: str
    unix_socket: str
    tls: str
    tls_ca: str

    def __repr__(self) -> str:  # the password is not for logs
        return f"Address({self.user}@{self.unix_socket or f'{self.host}:{self.port}'}/{self.database})"


def address_of(url: str) -> Address:
    """The parts of a ``mysql://`` url, percent-decoded; raises SourceFault.

    Without ``tls`` a connection to this machine is plain and any other is encrypted.

    >>> address_of("mysql://me:a%2Fb@db.example:3307/shop")
    Address(me@db.example:3307/shop)
    """
    wrong = "write it as mysql://user@host:3306/database"
    try:
        parts = urlsplit(url)
        port = parts.port or 3306
        parameters = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise SourceFault("the url of the source cannot be read", wrong) from None
    if parts.scheme not in ("mysql", "mariadb") or not parts.username:
        raise SourceFault("the url of the source is not of the form mysql://user@host/database", wrong)
    unknown = next((name for name, _ in parameters if name not in _URL_PARAMETERS), None)
    if unknown is not None:
        raise SourceFault(f"the url of the source has an unknown parameter {unknown}", ", ".join(_URL_PARAMETERS))
    given = dict(parameters)
    unix_socket, host = given.get("unix_socket", ""), unquote(parts.hostname or "127.0.0.1")
    here = bool(unix_socket) or host in ("localhost", "::1") or host.startswith("127.")
    tls = given.get("tls", "off" if here else "on")
    if tls not in _TLS:
        raise SourceFault(f"the url of the source has tls={tls}", "off, on or verify")
    return Address(
        user=unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        host=host,
        port=port,
        database=unquote(parts.path.removeprefix("/")),
        unix_socket=unix_socket,
        tls=tls,
        tls_ca=given.get("tls_ca", ""),
    )


def database_of(settings: SourceSettings) -> str:
    """The database that the url of a source names; raises SetupError for a url that cannot be read or names none."""
    try:
        database = address_of(settings.url).database
    except SourceFault as error:
        raise SetupError(f"source {settings.name}: {error.message}", error.hint) from None
    if not database:
        raise SetupError(f"the url of source {settings.name} names no database", "mysql://user@host:3306/database")
    return database


def password_of(settings: SourceSettings, base: Path | None) -> str:
    """The password of ``password_file`` (its first line) or ``password_env``, "" for none; raises SourceFault."""
    if settings.password_file:
        path = Path(settings.password_file)
        try:
            text = (path if base is None else base / path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise SourceFault(
                f"the password file {settings.password_file} of source {settings.name} cannot be read: {why}",
                "its first line is the password; a relative path is beside the configuration",
            ) from None
        return text.split("\n", 1)[0].removesuffix("\r")
    if settings.password_env:
        found = os.environ.get(settings.password_env)
        if found is None:
            raise SourceFault(
                f"the variable {settings.password_env} of source {settings.name} is not set",
                f"export {settings.password_env} before the server starts",
            )
        return found
    return ""


def tls_of(address: Address, base: Path | None) -> dict[str, Any]:
    """How to encrypt, as the driver's arguments; raises SourceFault for a ``tls_ca`` without certificates."""
    if address.tls == "off":
        return {"ssl_disabled": True}
    if address.tls == "on":
        return {"ssl": {"check_hostname": False, "verify_mode": False}}
    authorities = None
    if address.tls_ca:
        authorities = str(Path(address.tls_ca) if base is None else base / address.tls_ca)
        try:
            ssl.create_default_context(cafile=authorities)
        except OSError as error:  # also what is no certificate
            raise SourceFault(
                f"tls_ca={address.tls_ca} of the url cannot be used: {error.strerror or error}",
                "a file of certificates (PEM); a relative path is beside the configuration",
            ) from None
    return {"ssl_ca": authorities, "ssl_verify_cert": True, "ssl_verify_identity": True}
