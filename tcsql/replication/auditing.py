"""The audit that never ends: all tables are compared with their source, stretch by stretch, and mended.

    audit_s = 6000          every row once in so many seconds, 1 % a minute
    audit_rows_s = 5000     and never more rows a second, however many there are

What fires no trigger and leaves no other trace (a cascade that came later, triggers that were off for a moment, a fault
of ours) is found within that time. A stretch is compared as ``verifying`` does it: at one state of both sides, right
after the changes of its step. Rounds go on where they were after a lost connection, and begin anew for a table that was
made anew.

``verified_through`` is what a round proves: every row was compared at that moment or later.

Cost: reading ``audit_rows_s`` rows a second at the source at most, in steps of ``STEP_ROWS``, and 6 us a row here.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tcsql.engine.database import Database
from tcsql.replication.verifying import Difference, TableVerification

#: Rows of one step: comparing them takes 6 ms.
STEP_ROWS: Final = 1_000
#: Differences that are named, the newest.
MOST_NAMED: Final = 100
#: A table is gone through twice: what is missing or different here, what is extra.
_PASSES: Final = 2


@dataclass(slots=True)
class _Round:
    """One comparison of all tables: when it began, in both clocks, and the tables that are left."""

    began_s: float
    began_at: float
    left: deque[str]
    compared: int = 0
    broken: bool = False


@dataclass(slots=True)
class Audit:
    """The audit of one source. ``every_s``: 0, none. ``now``: a clock that never goes back; ``wall``: time of day."""

    every_s: float
    most_rows_s: float
    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    #: Complete rounds; when the newest of them began, by the time of day.
    rounds: int = 0
    verified_through: float | None = None
    counts: Counter[str] = field(default_factory=Counter)
    named: deque[Difference] = field(default_factory=lambda: deque(maxlen=MOST_NAMED))
    job: TableVerification | None = None
    _round: _Round | None = None
    _due_s: float = 0.0

    def due(self, tables: Sequence[str], database: Database) -> TableVerification | None:
        """The table of which a stretch is to be compared now; None: it is not time, or there is none.

        ``tables``: those that follow and can be compared.
        """
        now_s = self.now()
        if not self.every_s or not tables or now_s < self._due_s:
            return None
        if self.job is not None and (self.job.is_outdated(database) or self.job.name not in tables):
            self._break()
        if self._round is None:
            self._round = _Round(now_s, self.wall(), deque(tables))
        if self.job is None:
            while self._round.left and self._round.left[0] not in tables:
                self._break()
                self._round.left.popleft()
            if not self._round.left:
                self._end_round()
                return None
            self.job = TableVerification(database.table(self._round.left.popleft()), STEP_ROWS, repair=True)
        return self.job

    def took(self, rows: int, all_rows: int) -> None:
        """A stretch of so many rows was compared; the next is due when the rate of the round allows."""
        assert self.job is not None
        assert self._round is not None
        self._round.compared += rows
        rate = min(self.most_rows_s, max(1, _PASSES * all_rows) / self.every_s)
        self._due_s = max(self.now(), self._due_s) + rows / rate
        if self.job.is_done:
            self.counts.update(self.job.findings.counts)
            self.named.extend(self.job.findings.named)
            self.job = None
            if not self._round.left:
                self._end_round()

    def _break(self) -> None:
        """A table was made anew or does not follow now: this round does not prove that all of it was compared."""
        assert self._round is not None
        self._round.broken = True
        self.job = None

    def _end_round(self) -> None:
        done, self._round = self._round, None
        assert done is not None
        self._due_s = max(self._due_s, done.began_s + min(1.0, self.every_s))  # tables without rows: no busy loop
        if not done.broken:
            self.rounds += 1
            self.verified_through = done.began_at

    def report(self) -> dict[str, object]:
        """Plain figures for ``/status``; times are of day, UTC."""
        job = self.job
        counts = self.counts + (Counter() if job is None else job.findings.counts)
        through = None if self.verified_through is None else _utc(self.verified_through)
        return {
            "every_s": self.every_s,
            "most_rows_s": self.most_rows_s,
            "rounds": self.rounds,
            "verified_through": through,
            "table": None if job is None else job.name,
            "compared": 0 if self._round is None else self._round.compared,
            "differing": sum(counts.values()),
            "counts": dict(counts),
            "named": [each._asdict() for each in [*self.named, *([] if job is None else job.findings.named)]],
        }


def _utc(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
