"""Group commit on a thread of its own: all batches that wait are written in one transaction.

The event loop hands over lists of tickets (one hand-over a loop iteration, a SimpleQueue: no lock of Python's)
and gets one call back per group. While a group is being written and synced, the next one gathers by itself.

After a failed transaction the thread stands still until the loop has reverted everything not yet durable and
has said ``resume``: nothing that was built on refused rows can be written in between.

The thread needs Python's interpreter lock two or three times for each group, and a busy event loop gives it away only
every switch interval: 5 ms by default, 0.5 ms from here on (a group of 64 rows beside a loop that never rests:
12 ms before, 2 ms after; the loop loses nothing measurable).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from tcsql.errors import OutcomeUnknown, TCSQLError
from tcsql.storage.ticket import Ticket

SWITCH_INTERVAL_S: Final = 0.000_5
#: Row operations in one transaction; a group is closed by the hand-over that crosses it. Bounds how long one waits,
#: and how long the event loop is busy settling a group's tickets (1 us each).
GROUP_OPS: Final = 5_000


#: Work on the file that is no group: done before the next one.
Errand = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a group: durable up to ``lsn``, or failed. ``stopped``: the thread has ended.

    ``seconds`` and ``ops``: how long its transaction took, and the row operations in it; None, it was no transaction.
    """

    lsn: int = 0
    error: TCSQLError | None = None
    #: The group was written, and only writing the log back failed.
    after_commit: bool = False
    stopped: bool = False
    seconds: float | None = None
    ops: int = 0


class Committer:
    """``write`` commits a group, ``rest`` is called after it was answered, ``notify`` after each outcome."""

    def __init__(
        self, write: Callable[[Sequence[Ticket]], None], rest: Callable[[], None], notify: Callable[[], None]
    ) -> None:
        self.outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._write = write
        self._rest = rest
        self._notify = notify
        self._queue: SimpleQueue[list[Ticket] | Errand | None] = SimpleQueue()
        self._resumed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tcsql-committer", daemon=True)

    def start(self) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._thread.start()

    # --- called by the event loop's thread ------------------------------------------------------------------

    def hand_over(self, tickets: list[Ticket]) -> None:
        """Queue batches in lsn order; an empty list asks for new lsns only, and tries whether the disk takes them."""
        self._queue.put(tickets)

    def send(self, errand: Errand) -> None:
        """Have something done between two groups; forgotten when a group fails before."""
        self._queue.put(errand)

    def stop(self) -> None:
        """Write what is queued, then end; the last outcome says ``stopped``."""
        self._queue.put(None)

    def resume(self) -> None:
        """After a failure: forget what is queued and go on. The caller has reverted it."""
        stopping = False
        try:
            while True:
                stopping |= self._queue.get_nowait() is None
        except Empty:
            pass
        if stopping:
            self._queue.put(None)
        self._resumed.set()

    def join(self) -> None:
        self._thread.join()

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        stopping = False
        try:
            while not stopping:
                group, stopping = self._gather()
                if group is not None:
                    self._commit(group)
        finally:
            self._report(Outcome(stopped=True))

    def _gather(self) -> tuple[list[Ticket] | None, bool]:
        """Everything that waits, up to a bound; blocks until there is something. (None, True): only to stop."""
        while callable(group := self._queue.get()):
            self._run_errand(group)
        if group is None:
            return None, True
        ops = sum(ticket.ops for ticket in group)
        while ops < GROUP_OPS:
            try:
                more = self._queue.get_nowait()
            except Empty:
                break
            if more is None:
                return group, True
            if callable(more):
                self._run_errand(more)
                continue
            ops += sum(ticket.ops for ticket in more)
            group += more
        return group, False

    def _run_errand(self, errand: Errand) -> None:
        try:
            errand()
        except TCSQLError as error:
            self._report(Outcome(error=error, after_commit=True))

    def _commit(self, group: list[Ticket]) -> None:
        started = time.perf_counter()
        try:
            self._write(group)
        except TCSQLError as error:
            self._fail(Outcome(error=error))
            return
        except BaseException:
            # A bug of ours. Nobody may wait for ever, and the store must not go on: then let it be seen.
            self._fail(Outcome(error=OutcomeUnknown("a write failed for an unexpected reason", "see the log")))
            raise
        seconds = time.perf_counter() - started
        ops = sum(ticket.ops for ticket in group)
        self._report(Outcome(lsn=group[-1].lsn if group else 0, seconds=seconds, ops=ops))
        try:
            self._rest()
        except TCSQLError as error:
            self._report(Outcome(error=error, after_commit=True))

    def _fail(self, outcome: Outcome) -> None:
        self._resumed.clear()
        self._report(outcome)
        self._resumed.wait()

    def _report(self, outcome: Outcome) -> None:
        self.outcomes.put(outcome)
        self._notify()
