"""What the disk lets the store do, told once for each change: in the log, and in ``/status`` as ``disk``.

    ok           writes become durable
    no_space     the disk or a quota is full: writes get 507, reads go on. One empty transaction a second is tried, so
                 that the end of it is seen without a client's help; a refused transaction itself is never repeated
    overloaded   another program holds the file; as above
    no_memory    SQLite got no memory; as above
    read_only    an error after which nothing is known of the disk: only a restart ends it

A disk that is nearly full takes small transactions and refuses large ones. So it counts as well only when nothing was
refused for ``QUIET_S``: two lines in the log for each such time, whatever is asked. Cost of a good group: 50 ns.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from tcsql.errors import NoMemory, NoSpace, Overloaded, ReadOnly, TCSQLError

logger = logging.getLogger("tcsql.storage")

QUIET_S: Final = 2.0
#: Between two attempts to write when nobody else does.
PROBE_S: Final = 1.0
#: What passes by itself.
_PASSING: Final = (NoSpace, NoMemory, Overloaded)


class Condition:
    """Of one store. ``state`` is one of the words above."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.state = "ok"
        self.read_only: ReadOnly | None = None
        self.last_error: str | None = None
        self.refused = 0
        #: Writes that had been answered, by a durability that does not wait, and were undone.
        self.undone = 0
        self._clock = clock
        self._began_s = self._failed_s = self._tried_s = 0.0
        self._refused_before = 0

    def fails(self, error: TCSQLError) -> None:
        """A transaction, or the writing back of the log, has failed."""
        self.last_error = error.message
        self._failed_s = self._clock()
        if self.read_only is not None:
            return
        if not isinstance(error, _PASSING):
            self.read_only = error if isinstance(error, ReadOnly) else ReadOnly(error.message, error.hint)
            self.state = "read_only"
            logger.critical("writing has ended, reads go on: %s (%s)", error.message, error.hint)
        elif self.state == "ok":
            self.state = error.code
            self._began_s = self._tried_s = self._failed_s
            self._refused_before = self.refused
            logger.error("writes are refused, reads go on: %s (%s)", error.message, error.hint)

    def works(self) -> None:
        """A transaction has become durable."""
        if self.state == "ok" or self.read_only is not None:
            return
        now = self._clock()
        if now - self._failed_s >= QUIET_S:
            told = (now - self._began_s, self.refused - self._refused_before)
            self.state = "ok"
            logger.warning("writes are taken again, after %.0f s in which %d were refused", *told)

    def refuses(self, tickets: int, answered: int) -> None:
        """Count what a failure took back; ``answered`` of them had been acknowledged as not durable yet."""
        self.refused += tickets
        if answered:
            self.undone += answered
            logger.error("%d writes that were answered before they were durable are undone", answered)

    def is_probe_due(self) -> bool:
        """Whether to try an empty transaction now; counts as tried."""
        if self.state == "ok" or self.read_only is not None:
            return False
        now = self._clock()
        if now - max(self._tried_s, self._failed_s) < PROBE_S:
            return False
        self._tried_s = now
        return True
