"""The judge: whether a caller may have what a request asks for. The only place that says yes or no.

    operation_of(parameters)          the operation that a request for rows, tables or plans is, by its words alone
    Judge(settings).require(...)      returns, or raises Unauthorized (401) or Forbidden (403)

What is asked is named before a table or a column is looked up, so that a refusal tells nothing of what there is. Which
scope an operation needs stands in ``tcsql.access.scopes``; tables, columns and rows are not judged: for a caller who
may not see them they do not exist (``views``).

Cost: 0.1 us for a caller that may; a refusal takes 2 us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tcsql.access.callers import ANONYMOUS, Caller
from tcsql.access.scopes import OPERATIONS, Scope, needed
from tcsql.errors import Forbidden, TCSQLError, Unauthorized
from tcsql.settings import Settings

#: What can be asked of ``/``, but for what is judged by the token of a source.
AT_ROOT: Final = ("select", "count", "groups", "explain", "insert", "bulk", "update", "delete", "trusted", "sql")
#: Remembered at once; each holds its caller, so that no other can take its place.
MOST_CALLERS: Final = 4_096
_BY_NAME: Final = frozenset(("explain", "update", "delete", "sql", "hint"))
_HINT: Final = "send Authorization: Bearer and a key; whoever runs the server makes one with tcsql key make"


def operation_of(values: Mapping[str, str], is_bulk: bool = False) -> str | None:
    """The name of what these parameters ask for, in ``OPERATIONS``; None when they ask for nothing that is known.

    >>> operation_of({"command": "select", "type": "count"}), operation_of({"command": "insert", "trusted": "1"})
    ('count', 'trusted')
    """
    command = values.get("command")
    if command == "select":
        if "group_by" in values:
            return "groups"
        listed = values.get("type", "*")
        return "count" if listed == "count" else "groups" if "(" in listed else "select"
    if command == "insert":
        return "trusted" if values.get("trusted", "0") != "0" else "bulk" if is_bulk else "insert"
    return command if command in _BY_NAME else None


class Judge:
    """The rules of one server."""

    def __init__(self, settings: Settings) -> None:
        self._needs: dict[str, Scope | None] = {name: needed(name, settings) for name in OPERATIONS}
        #: What each caller may have: a caller never changes, so neither does this.
        self._granted: dict[Caller, frozenset[str]] = {}

    def forget(self) -> None:
        """Keys have changed: callers that there are no more are let go."""
        self._granted.clear()

    def refusal(self, operation: str, caller: Caller) -> TCSQLError | None:
        """Why this caller may not have this; None: it may."""
        about, scope = OPERATIONS[operation], self._needs[operation]
        if about.needs is None and scope is None:
            return None  # health, the token of a source: open whatever key comes with it
        if caller.refused is not None:
            return caller.refused
        if not caller.has(scope):
            return _too_little(operation, (scope,) if scope is not None else (), caller)
        if about.whole and scope not in (None, Scope.PUBLISHED) and caller.rights.is_partial:
            return Forbidden(
                f"{operation} concerns all tables, and this key is limited", "use a key without limits to tables"
            )
        return None

    def require(self, operation: str, caller: Caller) -> None:
        """Return if this caller may have this; raises Unauthorized and Forbidden."""
        granted = self._granted.get(caller)
        if granted is None and caller.refused is None:  # of those there may be any number
            if len(self._granted) >= MOST_CALLERS:
                self._granted.clear()
            granted = self._granted[caller] = frozenset(
                name for name in OPERATIONS if self.refusal(name, caller) is None
            )
        if granted is None or operation not in granted:
            _raise(self.refusal(operation, caller))

    def require_any(self, operations: Iterable[str], caller: Caller) -> None:
        """Return if the caller may have one of them: where it cannot be told yet what is asked."""
        refusals = [self.refusal(operation, caller) for operation in operations]
        if None not in refusals:
            scopes = dict.fromkeys(self._needs[operation] for operation in operations)
            _raise(caller.refused or _too_little("this", [scope for scope in scopes if scope is not None], caller))


def _too_little(what: str, scopes: Iterable[Scope], caller: Caller) -> TCSQLError:
    if caller is ANONYMOUS:
        return Unauthorized(f"{what} needs a key", _HINT)
    return Forbidden(f"the key's scopes do not allow {what}", f"it needs the scope {' or '.join(scopes)}")


def _raise(refusal: TCSQLError | None) -> None:
    if refusal is not None:
        raise refusal.with_traceback(None)  # a caller's own is raised again and again, and would keep every traceback
