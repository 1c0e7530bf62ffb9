"""What passes through the write door: the level of durability asked for, and the ticket of one batch.

A ticket lives on the event loop's thread; the committer's thread only reads ``lsn``, ``batch`` and ``origin``,
which never change. It is settled exactly once: durable, or refused with an error after its batch was reverted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from tcsql.engine.change import Batch, NewRows, RowOp, SchemaBatch, Tally
from tcsql.engine.database import Undo
from tcsql.errors import TCSQLError

logger = logging.getLogger("tcsql.storage")


class Level(Enum):
    """When a write is answered.

    ALWAYS: its transaction has committed and is synced. INTERVAL: applied and queued, committed at most
    ``interval_ms`` later. MEMORY: applied.
    """

    ALWAYS = "always"
    INTERVAL = "interval"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where changes come from: the level asked for (None: the store's own) and a follower's position.

    ``position`` of ``source`` becomes durable in the same transaction as the rows.
    """

    level: Level | None = None
    source: str | None = None
    position: bytes = b""


CLIENT = Origin()


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit is answered with."""

    lsn: int
    tally: Tally


class Ticket:
    """One applied batch on its way to the disk; ``ops``: its row operations, a schema change counts as one.

    A row of more than 1 KiB counts once more for each, so that a bound of operations is one of memory too.

    ``error`` says why it was refused, once it is settled; None when it is durable.
    """

    __slots__ = ("_callbacks", "batch", "error", "level", "lsn", "ops", "origin", "settled", "undo")

    def __init__(self, lsn: int, batch: Batch, undo: Undo, origin: Origin, level: Level) -> None:
        self.lsn = lsn
        self.batch = batch
        self.ops = 0
        for part in batch.parts:
            self.ops += 1 if isinstance(part, SchemaBatch) else _weight(part.ops)
        self.undo: Undo | None = undo
        self.origin = origin
        self.level = level
        self.settled = False
        self.error: TCSQLError | None = None
        self._callbacks: list[Callable[[Ticket], None]] | None = None

    @property
    def tally(self) -> Tally:
        return self.batch.tally

    @property
    def writes(self) -> bool:
        """Whether there is anything to make durable: changes, or a follower's position."""
        return not self.batch.is_empty or self.origin.source is not None

    @property
    def position(self) -> tuple[str, bytes] | None:
        source = self.origin.source
        return None if source is None else (source, self.origin.position)

    @property
    def is_answerable(self) -> bool:
        """Whether its level of durability is reached: what does not wait for the disk is answered at once."""
        return self.settled or self.level is not Level.ALWAYS

    def on_settled(self, callback: Callable[[Ticket], None]) -> None:
        """Call ``callback(ticket)`` once, on the event loop's thread: when it settles, at once if it has already.

        For who needs no task: a callback costs 0.1 us, a future and the task that waits for it 10 us. What a callback
        raises is logged: it is no reason to keep the other tickets of the group waiting.
        """
        if self.settled:
            self._call(callback)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    async def wait(self) -> None:
        """Return when the batch is durable; raises why it was refused. A cancelled waiter changes nothing."""
        if not self.settled:
            waiter = asyncio.get_running_loop().create_future()
            self.on_settled(lambda _: _wake(waiter))
            await waiter
        if self.error is not None:
            # A fresh one for each waiter: an exception that is raised twice collects both tracebacks.
            raise type(self.error)(self.error.message, self.error.hint, **self.error.extra)

    def settle(self, error: TCSQLError | None = None) -> None:
        """Once: tell everybody who asked."""
        self.settled = True
        self.undo = None
        self.error = error
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            self._call(callback)

    def _call(self, callback: Callable[[Ticket], None]) -> None:
        try:
            callback(self)
        except Exception as error:  # a bug of the caller's, who is known by its traceback only
            logger.exception("a callback of a settled write failed", exc_info=error)


def _weight(ops: Sequence[RowOp]) -> int:
    if len(ops) == 1:  # nearly always
        ((_, before, after),) = ops
        return 1 + (len(after or before or b"") >> 10)
    if isinstance(ops, NewRows):
        return len(ops) + (sum(map(len, ops.rows)) >> 10)
    size = 0
    for op in ops:
        size += len(op.after or op.before or b"")
    return len(ops) + (size >> 10)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():  # done: its task was cancelled
        waiter.set_result(None)
