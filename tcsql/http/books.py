"""The books: what is written down of requests. Counts and times of all, slow reads, and the audit log.

One object for both lanes and every endpoint, asked when a request has been answered. Costs what ``metrics``, ``slow``
and ``audit`` say: 0.3 us a request, next to nothing more for what is neither slow nor audited.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from tcsql.access.callers import ANONYMOUS, Caller
from tcsql.audit import Audit
from tcsql.engine.plans import Cost
from tcsql.engine.query import Query
from tcsql.errors import TCSQLError
from tcsql.http import render
from tcsql.http.access import WRONG
from tcsql.http.following import ACTIONS, PREFIX
from tcsql.http.messages import Head, Reply, refusal
from tcsql.http.paths import allowed, known_path, operation_at
from tcsql.http.slow import SlowLog
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tcsql.storage.store import Store

logger = logging.getLogger("tcsql.http")

#: A name is no longer; what is, comes from a client that is only trying.
_MOST_CHARACTERS: Final = 64
#: Nobody in particular, and whoever sends a key that is none of ours.
_STRANGERS: Final = (ANONYMOUS.id, WRONG.id)


class Books:
    """Of one server."""

    def __init__(self, settings: Settings, metrics: Metrics, audit: Audit | None = None) -> None:
        self.metrics = metrics
        self.slow = SlowLog(settings.slow_ms)
        self.audit = audit or Audit()
        self._slow_s = self.slow.threshold_s

    def answered(self, operation: str, head: Head, reply: Reply, started_s: float) -> None:
        """A request is done; ``operation``: ``refused`` when it was not carried out.

        What strangers were refused is counted and not noted: anybody could fill the disk with it.
        """
        self.metrics.answered(operation, reply.status, time.perf_counter() - started_s)
        if operation == "refused":
            operation = asked_for(head)
        if operation in self.audit.operations and head.caller.id not in _STRANGERS:
            self._note(operation, head, reply)

    def refused(self, head: Head, error: TCSQLError) -> Reply:
        """The reply to a request that cannot be carried out, counted by its code."""
        self.metrics.refused(error.code)
        if error.exit_code != TCSQLError.exit_code:  # meant for the operator: its message may name paths
            return _internal(head, error)
        return refusal(error, allowed(head.path))

    def failed(self, head: Head, bug: Exception) -> Reply:
        """The reply to a request that a bug has stopped."""
        self.metrics.refused(TCSQLError.code)
        return _internal(head, bug)

    def read(
        self, operation: str, query: Query, store: Store, caller: Caller, *, since: float, status: int = 200
    ) -> None:
        """A read has ended, in this turn; ``status``: of its refusal, if it was one."""
        seconds = time.perf_counter() - since
        if seconds > self._slow_s:
            cost = store.database.plans.cost_of(query)
            self.slow.add(operation, query, seconds, caller=caller.id, cost=cost, status=status)

    def published(self, before: Cost | None, store: Store, caller: Caller, since: float) -> None:
        """A published query has ended, in this turn; ``before``: what had been planned last when it began."""
        last = store.database.plans.last
        if last is not None and last is not before:
            self.read("published", last.query, store, caller, since=since)

    @property
    def audits_writes(self) -> bool:
        """Whether every write is written down."""
        return "insert" in self.audit.operations

    def _note(self, operation: str, head: Head, reply: Reply) -> None:
        about = reply.about
        if operation == "source":
            said = _of_source(head)
        elif about is None:
            said = {}
        else:
            said = {"table": about.table, "rows": about.rows, "lsn": about.lsn, "did": list(about.did) or None}
        self.audit.note(operation, head.caller.id, address=head.address, status=reply.status, **said)


def _internal(head: Head, bug: Exception) -> Reply:
    logger.error("bug or fault: %.20r %.100r failed", head.method, head.path, exc_info=bug)
    return Reply(500, render.error(TCSQLError("something is wrong with this server, not with the request")))


def asked_for(head: Head) -> str:
    """The operation that a refused request asked for, as far as its head tells; "" when it does not."""
    try:
        return operation_at(known_path(head.path), head.method, head.query) or ""
    except TCSQLError:
        return ""


def _of_source(head: Head) -> dict[str, object]:
    """Which source, which action, which table; of words that are none of ours nothing but that."""
    given = dict(part.split("=", 1) for part in head.query.decode("latin-1").split("&") if "=" in part)
    action = given.get("action", "")
    return {
        "source": head.path.removeprefix(PREFIX)[:_MOST_CHARACTERS],
        "action": action if action in ACTIONS else "unknown",
        "table": given.get("table", "")[:_MOST_CHARACTERS],
    }
