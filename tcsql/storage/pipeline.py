"""Tickets on their way from memory to the disk, in lsn order, with what is needed to take them back.

Tickets of one loop iteration (or of one interval) are handed to the committer together. When their transaction
is synced they settle; when it fails, everything pending is reverted, newest first, and refused: what was applied
later was built on it. One thread calls everything here; the committer's thread only wakes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from queue import Empty
from typing import Final, Protocol

from tcsql.engine.database import Database
from tcsql.errors import OutcomeUnknown, Overloaded, TCSQLError
from tcsql.metrics import BATCH_BOUNDS, WAIT_BOUNDS_S, Histogram
from tcsql.storage.committer import GROUP_OPS, Committer, Outcome
from tcsql.storage.file import StoreFile
from tcsql.storage.retention import LOOK_S
from tcsql.storage.ticket import Level, Ticket

#: Row operations pending above which a commit first waits: a disk slower than its writers, or a bulk load. 100 MB at
#: most, as large rows count several times.
PENDING_OPS: Final = 20 * GROUP_OPS
#: Requests that wait for that, each with its rows, up to 1 MiB; one more is refused. And how long they wait.
MOST_WAITING: Final = 256
MOST_ROOM_S: Final = 5.0


class Watcher(Protocol):
    """Who is told what became of the tickets."""

    def settled(self, lsn: int, tickets: Sequence[Ticket]) -> None: ...
    def refused(self, error: TCSQLError, tickets: Sequence[Ticket]) -> None: ...
    def disk_failed(self, error: TCSQLError) -> None: ...
    def disk_works(self) -> None: ...


class Pipeline:
    """Between the write door and the store's file."""

    def __init__(self, file: StoreFile, database: Database, interval_s: float, watcher: Watcher) -> None:
        self.pending: deque[Ticket] = deque()
        self._file = file
        self._database = database
        self._interval_s = interval_s
        self._watcher = watcher
        self._pending_ops = 0
        self._held: list[Ticket] = []
        self._held_ops = 0
        self._flush_handle: asyncio.Handle | None = None
        self._flush_is_soon = False
        self._committer: Committer | None = None
        self._committer_ended = False
        self._waiting = 0
        self._looked_s = -inf
        #: Of transactions: seconds, with the sync, and row operations in them.
        self.commit_s = Histogram(WAIT_BOUNDS_S)
        self.commit_ops = Histogram(BATCH_BOUNDS)
        #: From here on ``close`` collects the outcomes, maybe on a thread of its own.
        self._closing = False

    @property
    def is_threaded(self) -> bool:
        return self._committer is not None

    @property
    def has_room(self) -> bool:
        """Whether ``room`` returns at once."""
        return self._pending_ops <= PENDING_OPS

    async def room(self, patience_s: float | None = None) -> None:
        """Return when not too much is pending; raises why that was refused.

        With ``patience_s`` raises Overloaded when that takes longer, or when too many wait already.
        """
        if self.has_room:
            return
        if patience_s is not None and self._waiting >= MOST_WAITING:
            raise _slow()
        self._waiting += 1
        try:
            async with asyncio.timeout(patience_s):
                while not self.has_room:
                    await self.pending[0].wait()
        except TimeoutError:
            raise _slow() from None
        finally:
            self._waiting -= 1

    def enqueue(self, ticket: Ticket) -> None:
        """Take an applied ticket; needs a running event loop, and starts the committer at the first."""
        loop = asyncio.get_running_loop()
        if self._committer is None:
            self._started_committer()
        self._add(ticket)
        self._held_ops += ticket.ops
        if ticket.writes:
            self._held.append(ticket)
        if ticket.level is Level.ALWAYS or self._held_ops >= GROUP_OPS:
            if not self._flush_is_soon:
                self._cancel_flush()
                self._flush_is_soon = True
                self._flush_handle = loop.call_soon(self._flush)
        elif self._flush_handle is None:
            self._flush_handle = loop.call_later(self._interval_s, self._flush)

    def write_now(self, ticket: Ticket) -> None:
        """Take an applied ticket and make it durable before returning; raises why it was refused."""
        assert self._committer is None, "the store belongs to an event loop"
        self._add(ticket)
        try:
            self._file.write([ticket])
        except TCSQLError as error:
            self._refuse_pending(error)
            raise
        self.settle_up_to(ticket.lsn)
        self._watcher.disk_works()
        try:
            self._file.checkpoint()
        except TCSQLError as error:
            self._watcher.disk_failed(error)

    def look_after(self, now_s: float) -> None:
        """Have the file forget what is kept for a time only, once a second; ``now_s``: of a clock that never jumps."""
        if self._file.keeping.is_on and self._file.rows_kept and now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._started_committer().send(self._file.tidy)

    def renew_reserve(self) -> None:
        """Have the committer reserve more lsns; it may take a while, and fail."""
        self._started_committer().hand_over([])

    async def drain(self) -> None:
        """Return when nothing is pending: all of it durable or refused."""
        while self.pending:
            if self._committer is not None:
                self._flush()
            with suppress(TCSQLError):  # those who wait for it are told
                await self.pending[-1].wait()

    def settle_up_to(self, lsn: int) -> None:
        """Everything up to ``lsn`` is durable."""
        tickets = []
        while self.pending and self.pending[0].lsn <= lsn:
            ticket = self.pending.popleft()
            self._pending_ops -= ticket.ops
            tickets.append(ticket)
        if tickets:
            try:
                self._watcher.settled(lsn, tickets)  # first: who is called back finds ``durable_lsn`` grown
            finally:
                for ticket in tickets:
                    ticket.settle()

    def close(self) -> None:
        """Write what is pending, settle or refuse it, end the committer. Blocks."""
        self._closing = True
        if self._committer is None:
            return
        self._flush()
        self._committer.stop()
        while not self._committer_ended:
            self._take(self._committer.outcomes.get())
        self._committer.join()

    # --- inside ---------------------------------------------------------------------------------------------

    def _add(self, ticket: Ticket) -> None:
        self.pending.append(ticket)
        self._pending_ops += ticket.ops

    def _started_committer(self) -> Committer:
        if self._committer is not None:
            return self._committer
        loop = asyncio.get_running_loop()

        def notify() -> None:
            try:
                loop.call_soon_threadsafe(self._collect)
            except RuntimeError:
                assert loop.is_closed()  # then close() collects

        self._committer = Committer(self._file.write, self._file.checkpoint, notify)
        self._committer.start()
        return self._committer

    def _cancel_flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        self._flush_handle = None
        self._flush_is_soon = False

    def _flush(self) -> None:
        self._cancel_flush()
        held, self._held, self._held_ops = self._held, [], 0
        if held:
            assert self._committer is not None
            self._committer.hand_over(held)

    def _collect(self) -> None:
        assert self._committer is not None
        try:
            while not self._closing:
                self._take(self._committer.outcomes.get_nowait())
        except Empty:
            pass

    def _take(self, outcome: Outcome) -> None:
        if outcome.stopped:
            self._committer_ended = True
        elif outcome.error is None:
            if outcome.seconds is not None:
                self.commit_s.add(outcome.seconds)
                self.commit_ops.add(outcome.ops)
            self.settle_up_to(outcome.lsn)
            self._watcher.disk_works()
        elif outcome.after_commit:
            self._watcher.disk_failed(outcome.error)
        else:
            assert self._committer is not None
            try:
                self._refuse_pending(outcome.error)
            finally:
                self._committer.resume()

    def _refuse_pending(self, error: TCSQLError) -> None:
        self._cancel_flush()
        self._held.clear()
        self._held_ops = self._pending_ops = 0
        tickets = list(self.pending)
        self.pending.clear()
        try:
            for ticket in reversed(tickets):
                assert ticket.undo is not None
                self._database.revert(ticket.undo)
        except BaseException:
            # A bug of ours. Nobody may wait for ever, and memory is not to be built on: then let it be seen.
            error = OutcomeUnknown("refused writes could not be taken back", "restart: the file holds the truth")
            raise
        finally:
            try:
                self._watcher.refused(error, tickets)
            finally:
                for ticket in tickets:
                    ticket.settle(error)


def _slow() -> Overloaded:
    return Overloaded("more is written than the disk takes", "retry later; fewer, larger writes cost less")
