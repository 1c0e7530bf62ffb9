"""Paths: what there is to ask, by which methods, and the operation that a request is. Names only; nothing is looked up.

Whoever adds a path adds it here, and with it an operation of ``tcsql.access.scopes``: it is named before a request is
carried out, and judged by that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tcsql.http.following import PREFIX, is_hint
from tcsql.http.judge import operation_of
from tcsql.http.messages import Head
from tcsql.http.parameters import READS, WRITES, of_query

#: What a server says of itself, and the operation that it is.
SAID: Final[Mapping[str, str]] = {
    "/health": "health",
    "/ready": "ready",
    "/status": "status",
    "/sources": "sources",
    "/slow": "slow",
    "/metrics": "metrics",
    "/openapi.json": "openapi",
}
PUBLISHED_PREFIX: Final = "/q/"
SOURCE: Final = PREFIX + "{name}"
PUBLISHED: Final = PUBLISHED_PREFIX + "{name}"
RELOAD: Final = "/reload"
#: Every path with the methods it takes.
PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "/": ("GET", "HEAD", "POST"),
    **dict.fromkeys(SAID, ("GET", "HEAD")),
    SOURCE: ("GET", "HEAD", "POST"),
    "/backup": ("GET",),
    RELOAD: ("POST",),
    PUBLISHED: ("GET", "HEAD"),
}


def known_path(path: str) -> str:
    """The key of ``PATHS`` that a path falls under.

    >>> known_path("/sources/shop"), known_path("/sources/")
    ('/sources/{name}', '/sources/')
    """
    for prefix, known in ((PREFIX, SOURCE), (PUBLISHED_PREFIX, PUBLISHED)):
        if path.startswith(prefix) and len(path) > len(prefix):
            return known
    return path


def allowed(path: str) -> str:
    """The methods of a path, as the header Allow lists them."""
    return ", ".join(PATHS.get(known_path(path), ()))


def operation_at(path: str, method: str, query: bytes) -> str | None:
    """The operation that a request is; ``path``: a key of ``PATHS``. None: a body has to say it, or it is none.

    >>> operation_at("/", "POST", b"command=delete&table=posts"), operation_at("/sources/{name}", "POST", b"")
    ('delete', 'source')
    """
    if path in SAID:
        return SAID[path]
    if path in ("/backup", RELOAD):
        return path[1:]
    if path == PUBLISHED:
        return "published"
    if path == SOURCE:
        return "source" if method == "POST" else "sources"
    if method == "POST" and is_hint(query):
        return "hint"
    return operation_of(of_query(query).values)


def acts(head: Head) -> bool:
    """Whether a request changes something or takes everything. No body changes the command that the URL names."""
    if head.path == "/":
        command = of_query(head.query).values.get("command")
        return command not in READS if head.method == "POST" else command in WRITES
    return head.method == "POST" or head.path == "/backup"
