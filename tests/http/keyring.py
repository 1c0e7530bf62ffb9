"""Keys for servers of tests, made as ``tcsql key make`` makes them, without a process for each."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from tcsql.access.keyfile import KeyFile
from tcsql.access.keys import ID_BYTES, SECRET_BYTES, Key, check, digest_of, token_of
from tcsql.access.scopes import Scope


def make_key(directory: Path, *scopes: Scope, **limits: Any) -> str:
    """Put a key into the file of a data directory; its token. A server that runs takes it within a second."""
    key_id, secret = secrets.token_hex(ID_BYTES), secrets.token_bytes(SECRET_BYTES)
    token = token_of(key_id, secret)
    key = Key(
        id=key_id,
        name=f"key-{key_id}",
        sha256=digest_of(token),
        scopes=frozenset(scopes or {Scope.ADMIN}),
        made=int(time.time()),
        **limits,
    )
    check(key)
    KeyFile(directory).change(lambda ring: ring.with_(key))
    return token


def bearer(token: str) -> str:
    """The header that carries a key."""
    return f"Authorization: Bearer {token}"
