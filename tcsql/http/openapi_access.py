"""What ``/openapi.json`` says of access: the scheme of keys, the scope of each operation, and refusals of any request.

Written into a finished description from the table of operations and the error tree, so that a path that is added
cannot lack it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tcsql.access.scopes import OPERATIONS, needed
from tcsql.errors import (
    CrossSite,
    Forbidden,
    HeadersTooLarge,
    MisdirectedRequest,
    NotLocal,
    Overloaded,
    RateLimited,
    Stopping,
    TCSQLError,
    TooSlow,
    Unauthorized,
    UriTooLong,
)
from tcsql.http.judge import AT_ROOT
from tcsql.http.paths import operation_at
from tcsql.settings import Settings

SCHEME: Final = "key"
#: What any request may be refused with, whatever it asks; the first two only where a key may be missing or too little.
BY_KEY: Final = (Unauthorized, Forbidden)
BY_GUARD: Final = (
    NotLocal,
    TooSlow,
    UriTooLong,
    MisdirectedRequest,
    RateLimited,
    HeadersTooLarge,
    Overloaded,
    Stopping,
)
READS_AT_ROOT: Final = ("select", "count", "groups", "explain")
_METHODS: Final = {"get", "post"}


def add_access(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The description with its security scheme, and scopes and refusals at every operation; the same object."""
    document["components"]["securitySchemes"] = {
        SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "a key, made with tcsql key make; without any, requests from this machine may do everything",
        }
    }
    for path, item in document["paths"].items():
        for method, described in item.items():
            if method in _METHODS:
                _add(described, _operations(path, method), settings)
    return document


def _operations(path: str, method: str) -> tuple[str, ...]:
    if path == "/":
        return AT_ROOT if method == "post" else READS_AT_ROOT
    known = "/q/{name}" if path.startswith("/q/") else path
    operation = operation_at(known, method.upper(), b"")
    assert operation is not None, f"{method} {path} is no operation"
    return (operation,)


def _add(described: dict[str, Any], operations: Iterable[str], settings: Settings) -> None:
    scopes = {name: needed(name, settings) for name in operations}
    is_open = all(scope is None and OPERATIONS[name].needs is None for name, scope in scopes.items())
    described["security"] = [] if is_open else [{SCHEME: []}, {}]
    described["x-scopes"] = {name: scope or "open" for name, scope in scopes.items()}
    refusals: list[type[TCSQLError]] = [*BY_GUARD, *(() if is_open else BY_KEY)]
    if any(OPERATIONS[name].changes or name == "backup" for name in scopes):
        refusals.append(CrossSite)
    by_status: dict[str, list[str]] = {}
    for refusal in refusals:
        by_status.setdefault(str(refusal.status), []).append(refusal.code)
    for status, codes in by_status.items():
        reply = {"description": ", ".join(codes), "content": {"application/json": {"schema": _ERROR}}}
        described["responses"].setdefault(status, reply)


_ERROR: Final = {"$ref": "#/components/schemas/Error"}
