"""What passes through the write door: the level of durability asked for, and the ticket of one batch.

A ticket lives on the event loop's thread; the committer's thread only reads ``lsn``, ``batch`` and ``origin``,
which never change. It is settled exactly once: durable, or refused with an error after its batch was reverted.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

from tcsql.engine.change import Batch, SchemaBatch, Tally
from tcsql.engine.database import Undo
from tcsql.errors import TCSQLError


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
    """One applied batch on its way to the disk; ``ops``: its row operations, a schema change counts as one."""

    __slots__ = ("_error", "_waiters", "batch", "level", "lsn", "ops", "origin", "settled", "undo")

    def __init__(self, lsn: int, batch: Batch, undo: Undo, origin: Origin, level: Level) -> None:
        self.lsn = lsn
        self.batch = batch
        self.ops = sum(1 if isinstance(part, SchemaBatch) else len(part.ops) for part in batch.parts)
        self.undo: Undo | None = undo
        self.origin = origin
        self.level = level
        self.settled = False
        self._error: TCSQLError | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

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

    async def wait(self) -> None:
        """Return when the batch is durable; raises why it was refused. A cancelled waiter changes nothing."""
        if not self.settled:
            waiter = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = [waiter]
            else:
                self._waiters.append(waiter)
            await waiter
        if self._error is not None:
            # A fresh one for each waiter: an exception that is raised twice collects both tracebacks.
            raise type(self._error)(self._error.message, self._error.hint, **self._error.extra)

    def settle(self, error: TCSQLError | None = None) -> None:
        self.settled = True
        self.undo = None
        self._error = error
        for waiter in self._waiters or ():
            if not waiter.done():  # done: its task was cancelled
                waiter.set_result(None)
        self._waiters = None
