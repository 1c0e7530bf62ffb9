"""Scopes, and the one table of what may be asked: every operation, the scope it needs, and whether it changes anything.

    OPERATIONS["delete"]     ->  needs Scope.WRITE, changes rows
    allowed(operation, ...)  ->  the only place that says yes or no

The endpoints name the operation before they carry anything out, and ask here; the test of every operation with every
scope on every listener is driven by the same table, and fails for an operation that the table does not know.

Settings say who may have what a server tells of itself. They cannot give away what changes anything, nor a backup to
whoever may not read: it holds every row, and rows deleted lately.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """What a key may be used for. ``admin`` holds all others; whoever may ask at all may call published queries."""

    PUBLISHED = "published"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


#: A need that is none: whoever reaches the server.
OPEN: Final = "open"


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked for.

    ``needs``: the scope, or None for what is open to everybody. ``changes``: rows, tables, or what an admin sees to.
    ``setting``: the option that may say another scope. ``by_token``: judged by the token of a source, not by a key.
    ``whole``: tells of all tables and rows, or changes any: not for a key that is limited to some.
    """

    name: str
    needs: Scope | None
    changes: bool = False
    setting: str = ""
    by_token: bool = False
    whole: bool = False


OPERATIONS: Final[Mapping[str, Operation]] = {
    operation.name: operation
    for operation in (
        Operation("health", None, setting="health_scope"),
        Operation("ready", None, setting="ready_scope"),
        Operation("preflight", None),
        Operation("published", Scope.PUBLISHED),
        Operation("select", Scope.READ),
        Operation("count", Scope.READ),
        Operation("groups", Scope.READ),
        Operation("explain", Scope.READ),
        Operation("insert", Scope.WRITE, changes=True),
        Operation("bulk", Scope.WRITE, changes=True),
        Operation("update", Scope.WRITE, changes=True),
        Operation("delete", Scope.WRITE, changes=True),
        Operation("trusted", Scope.ADMIN, changes=True, whole=True),
        Operation("sql", Scope.ADMIN, changes=True, whole=True),
        Operation("hint", None, changes=True, by_token=True),
        Operation("status", Scope.READ, setting="status_scope"),
        Operation("openapi", Scope.READ, setting="openapi_scope"),
        Operation("metrics", Scope.ADMIN, setting="metrics_scope", whole=True),
        Operation("sources", Scope.ADMIN, setting="sources_scope", whole=True),
        Operation("slow", Scope.ADMIN, setting="slow_scope", whole=True),
        Operation("source", Scope.ADMIN, changes=True, whole=True),
        Operation("reload", Scope.ADMIN, changes=True, whole=True),
        Operation("backup", Scope.ADMIN, setting="backup_scope", whole=True),
    )
}


def held(scopes: AbstractSet[Scope]) -> frozenset[Scope]:
    """All scopes that come with those named.

    >>> len(held({Scope.READ})), len(held({Scope.ADMIN}))
    (2, 4)
    """
    return frozenset(Scope) if Scope.ADMIN in scopes else frozenset({*scopes, Scope.PUBLISHED})


def needed(operation: str, settings: object = None) -> Scope | None:
    """The scope that an operation needs under these settings; None: open to everybody.

    >>> needed("delete"), needed("health")
    (<Scope.WRITE: 'write'>, None)
    """
    found = OPERATIONS[operation]
    if settings is None or not found.setting:
        return found.needs
    said = str(getattr(settings, found.setting))
    return None if said == OPEN else Scope(said)
