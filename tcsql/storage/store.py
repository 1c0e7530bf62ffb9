"""The store: a database in memory and its SQLite file behind one write door.

A write is checked (every refusal happens here), given an lsn and applied on the event loop's thread without
giving way, so that it is visible at once and all requests see one state; then its ticket goes to the disk.
Until then it waits in the pipeline, with what is needed to revert it. Invariants:

    a ticket settles without an error only after its transaction has been synced
    durable_lsn <= lsn; lsns only grow, across crashes too, and a refused one is never given out again
    after a failed transaction everything pending is reverted, newest first: memory equals the file again

Everything but ``open`` and ``backup`` belongs to one thread: the event loop's, or the only one there is
(``commit_blocking``). Cost of a commit beside check and apply: about 10 us, and its share of one sync.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tcsql.engine.change import Batch, Change, SchemaBatch
from tcsql.engine.database import Database
from tcsql.errors import NoMemory, NoSpace, ReadOnly, Stopping, TCSQLError
from tcsql.metrics import Histogram
from tcsql.storage import memory, recovery
from tcsql.storage.caretaker import Caretaker
from tcsql.storage.changelog import LoggedChange
from tcsql.storage.condition import Condition
from tcsql.storage.file import StoreFile
from tcsql.storage.lock import DirectoryLock
from tcsql.storage.options import StoreOptions
from tcsql.storage.ownership import Owners
from tcsql.storage.pipeline import MOST_ROOM_S, Pipeline
from tcsql.storage.queries import Queries
from tcsql.storage.reader import ChangeReader, back_up
from tcsql.storage.retention import Keeping
from tcsql.storage.ticket import CLIENT, Committed, Level, Origin, Ticket
from tcsql.storage.turns import Turn, in_slices
from tcsql.storage.waiters import LsnWaiters

#: Background work: 4 ms, then a pause twice as long; a look every quarter of a second when there was none.
MAINTAIN_SLICE_S: Final = 0.004
_MAINTAIN_PAUSE_S: Final = 0.008
_MAINTAIN_IDLE_S: Final = 0.25

DurableListener = Callable[[int, Sequence[Ticket]], None]
RevertListener = Callable[[TCSQLError], None]


class Store(Queries):
    """A data directory that is open. Made by ``open``, ended by ``close``."""

    def __init__(
        self, lock: DirectoryLock, file: StoreFile, database: Database, options: StoreOptions, found: recovery.Recovered
    ) -> None:
        super().__init__(database)
        self.id = file.id
        self.options = options
        self.recovered = found
        self.lsn = self.durable_lsn = file.state.lsn
        #: Which tables follow a source, and take their rows from it alone.
        self.owners = Owners()
        self.condition = Condition()
        limit = memory.default_limit() if options.memory_limit is None else options.memory_limit
        self.budget = memory.Budget(limit, lambda: database.memory_bytes)
        self._lock = lock
        self._file = file
        self._positions = dict(file.positions)
        self._changes = ChangeReader(file.path, options.vfs)
        self._in_memory = options.durability is Level.MEMORY
        self._pipeline = Pipeline(file, database, options.interval_ms / 1000, self)
        self._turn = Turn()
        self._waiters = LsnWaiters()
        self._on_durable: list[DurableListener] = []
        self._on_reverted: list[RevertListener] = []
        self._closed = False
        self._caretaker = Caretaker(database, self.budget, options.auto_index)
        self._counts = {"commits": 0, "groups": 0}

    @classmethod
    def open(
        cls,
        directory: Path,
        options: StoreOptions | None = None,
        progress: recovery.Progress | None = None,
        database: Database | None = None,
    ) -> Store:
        """Open a data directory, made when missing; returns when every row is in memory.

        ``progress(rows_done, rows_total)`` is called now and then. May run in a thread of its own. Raises
        StoreDamaged, StoreNewer, SetupError, with nothing changed. Cost: 0.3 us a row, and the engine's share.
        """
        options = StoreOptions() if options is None else options
        database = Database() if database is None else database
        lock = DirectoryLock(directory)
        try:
            limits = (options.change_log, options.change_log_bytes)
            file = recovery.open_file(directory, options.durability is not Level.MEMORY, limits, options.vfs)
            try:
                file.keep(Keeping(options.change_log_s, options.secure_delete))
                found = recovery.load(file, database, progress)
                error = recovery.begin(file)
            except BaseException:
                file.close()
                raise
        except BaseException:
            lock.release()
            raise
        store = cls(lock, file, database, options, found)
        if error is not None:
            store.disk_failed(error)
        return store

    @property
    def read_only(self) -> ReadOnly | None:
        """Why nothing is written any more; None: writes are welcome, as far as there is space."""
        return self.condition.read_only

    # --- reading --------------------------------------------------------------------------------------------

    def positions(self) -> dict[str, bytes]:
        """How far each follower is, durably: what it has to go on from after a restart or a revert."""
        return dict(self._positions)

    def changes_since(self, lsn: int) -> Iterator[LoggedChange] | None:
        """The durable changes after ``lsn`` in order, up to now; None: some are gone, a reset is needed.

        Close the iterator if it is not read to its end: until then it holds a snapshot of the file.
        """
        if lsn == self.durable_lsn:
            return iter(())
        if self._in_memory or not self._file.state.log_floor <= lsn < self.durable_lsn:
            return None
        return self._changes.since(lsn, self.durable_lsn)

    async def wait_for(self, lsn: int, timeout_s: float) -> None:
        """Return when everything up to ``lsn`` is durable; raises WaitTimeout."""
        if lsn > self.durable_lsn:
            await self._waiters.wait(lsn, timeout_s)

    # --- writing --------------------------------------------------------------------------------------------

    async def commit(self, changes: Sequence[Change], origin: Origin = CLIENT) -> Committed:
        """Make the changes and answer at the level of durability asked for.

        Raises the errors of Database.check, NoMemory, NoSpace, ReadOnly, Overloaded, Stopping: not done;
        OutcomeUnknown. A caller that is cancelled meanwhile does not stop the write.
        """
        if not self._pipeline.has_room:
            await self._pipeline.room(MOST_ROOM_S)
        self._require_writable(changes, origin)
        batch = self.database.check_row(changes)
        if batch is None:
            batch = await in_slices(self.database.check_steps(changes, self.options.clock()))
            self._require_writable(changes, origin)
        # The batch holds until the next apply: no await between here and there.
        ticket = self._apply(batch, origin)
        if not ticket.settled:
            self._pipeline.enqueue(ticket)
        if ticket.level is Level.ALWAYS:
            await ticket.wait()
        else:
            await self._turn.give_way()
        return Committed(ticket.lsn, ticket.tally)

    @property
    def has_room(self) -> bool:
        """Whether ``commit`` would begin at once: when not, too much is on its way to the disk."""
        return self._pipeline.has_room

    def submit(self, changes: Sequence[Change], origin: Origin = CLIENT) -> Ticket:
        """Check and apply now; ``ticket.on_settled`` or ``await ticket.wait()`` tell when that is durable.

        Needs a running event loop. Raises as ``commit`` does, with nothing done. Does not wait when too much is
        pending, as ``commit`` does: ask ``has_room`` first.
        """
        ticket = self._check_and_apply(changes, origin)
        if not ticket.settled:
            self._pipeline.enqueue(ticket)
        return ticket

    async def room(self) -> None:
        """Return when ``has_room``; raises why what is under way was refused."""
        await self._pipeline.room()

    async def enqueue(self, changes: Sequence[Change], origin: Origin = CLIENT, after: Ticket | None = None) -> Ticket:
        """``submit`` once there is room: for who has many batches on the way and waits for the last.

        ``after``: the one before; where that was refused its error is raised, as what comes next was built on it.
        """
        await self._pipeline.room()
        if after is not None and after.settled:
            await after.wait()
        return self.submit(changes, origin)

    def commit_blocking(self, changes: Sequence[Change], origin: Origin = CLIENT) -> Committed:
        """Make the changes durable before returning, without an event loop: for programs that do nothing else."""
        ticket = self._check_and_apply(changes, origin)
        if not ticket.settled:
            self._pipeline.write_now(ticket)
        return Committed(ticket.lsn, ticket.tally)

    def _check_and_apply(self, changes: Sequence[Change], origin: Origin) -> Ticket:
        self._require_writable(changes, origin)
        batch = self.database.check_row(changes) or self.database.check(changes, self.options.clock())
        return self._apply(batch, origin)

    def _apply(self, batch: Batch, origin: Origin) -> Ticket:
        """Number and apply; the ticket is settled already when there is nothing to make durable."""
        level = Level.MEMORY if self._in_memory else origin.level or self.options.durability
        ticket = Ticket(self.lsn, batch, [], origin, level)
        if not ticket.writes:
            # It saw a state that may yet be reverted: its answer waits for what is pending, and fails with it.
            if not self._pipeline.pending:
                ticket.settle()
            return ticket
        # The file is ahead only when it could not reserve lsns at the start and has done so since.
        ticket.lsn = max(self.lsn, self._file.state.lsn) + 1
        if self._in_memory:
            self._write_schemas(ticket)
        self.lsn = ticket.lsn
        ticket.undo = self.database.apply(batch)
        if self._in_memory:
            ticket.settle()
            self.settled(ticket.lsn, [ticket])
        return ticket

    def _require_writable(self, changes: Sequence[Change], origin: Origin) -> None:
        if self.owners.of:
            self.owners.require(changes, origin.source)
        if self._closed:
            raise Stopping("the store is closed")
        if self.read_only is not None:
            raise ReadOnly(self.read_only.message, self.read_only.hint)
        if self.lsn >= self._file.reserved_lsn:
            self._renew_reserve()
        if self.budget.is_full() and not all(isinstance(change, memory.SHRINKING) for change in changes):
            raise NoMemory("the memory budget is used up", "delete rows, or raise memory_limit; reads go on")

    def _renew_reserve(self) -> None:
        """Lsns have run out because the disk has been full for a million attempts, or since the start."""
        if self._pipeline.is_threaded:
            self._pipeline.renew_reserve()
            raise NoSpace("the store could not reserve numbers for new writes", "make room on its disk")
        self._write_through([])

    def _write_schemas(self, ticket: Ticket) -> None:
        """Of rows in memory only the schemas are durable; before they are applied, so nothing has to be reverted."""
        if any(isinstance(part, SchemaBatch) for part in ticket.batch.parts):
            self._write_through([ticket])

    def _write_through(self, tickets: list[Ticket]) -> None:
        try:
            self._file.write(tickets)
        except TCSQLError as error:
            self.disk_failed(error)
            raise

    # --- told by the pipeline -------------------------------------------------------------------------------

    def settled(self, lsn: int, tickets: Sequence[Ticket]) -> None:
        """A group is durable. Only now do others hear of it."""
        for ticket in tickets:
            if ticket.position is not None:
                source, position = ticket.position
                self._positions[source] = position
        self.durable_lsn = lsn
        self._counts["groups"] += 1
        self._counts["commits"] += len(tickets)
        self._waiters.wake(lsn)
        for listener in self._on_durable:
            listener(lsn, tickets)

    def refused(self, error: TCSQLError, tickets: Sequence[Ticket]) -> None:
        """Everything pending has been taken back."""
        self.disk_failed(error)
        early = sum(ticket.level is not Level.ALWAYS and ticket.origin.source is None for ticket in tickets)
        self.condition.refuses(len(tickets), early)
        for listener in self._on_reverted:
            listener(error)

    def disk_failed(self, error: TCSQLError) -> None:
        """Remember an error of the disk; after any that space or patience cannot cure the store only reads."""
        self.condition.fails(error)

    def disk_works(self) -> None:
        """A transaction has become durable."""
        self.condition.works()

    # --- listeners, background, the end ---------------------------------------------------------------------

    def on_durable(self, listener: DurableListener) -> Callable[[], None]:
        """Call ``listener(lsn, tickets)`` after each group has become durable; returns how to stop it."""
        self._on_durable.append(listener)
        return lambda: self._on_durable.remove(listener)

    def on_reverted(self, listener: RevertListener) -> Callable[[], None]:
        """Call ``listener(error)`` after what was pending has been taken back: followers go on from ``positions``."""
        self._on_reverted.append(listener)
        return lambda: self._on_reverted.remove(listener)

    async def maintain(self) -> None:
        """Background work of the engine (building indexes), 4 ms at a time, until the store is closed."""
        looked_at = time.perf_counter()
        while not self._closed:
            if self.condition.is_probe_due():
                self._pipeline.renew_reserve()
            self._pipeline.look_after(time.monotonic())
            elapsed_s = time.perf_counter() - looked_at
            if elapsed_s >= _MAINTAIN_IDLE_S:
                looked_at += elapsed_s
                await self._look_after_indexes(elapsed_s)
            until = time.perf_counter() + MAINTAIN_SLICE_S
            is_work_left = self.database.maintain(lambda until=until: time.perf_counter() < until)  # type: ignore[misc]  # mypy infers no type for a lambda's default
            await asyncio.sleep(_MAINTAIN_PAUSE_S if is_work_left else _MAINTAIN_IDLE_S)

    async def _look_after_indexes(self, elapsed_s: float) -> None:
        if self.condition.state != "ok":
            return  # what can wait does not add to the trouble
        change = self._caretaker.look(elapsed_s)
        if change is None:
            return
        with suppress(TCSQLError):  # nobody waits for an answer, and it is proposed again
            await self.commit([change])

    def backup(self, path: Path) -> None:
        """Copy the durable state into a new file; to be run in a thread of its own. Raises SetupError."""
        back_up(self._file.path, path, self.options.vfs, rewritten=self.options.secure_delete)

    def status(self) -> dict[str, object]:
        """Plain figures for ``/status``."""
        file_bytes, log_bytes = self._file.file_bytes()
        return {
            "id": self.id,
            "checksums": self._file.has_checksums,
            "lsn": self.lsn,
            "durable_lsn": self.durable_lsn,
            "durability": self.options.durability.value,
            "read_only": self.read_only is not None,
            "disk": self.condition.state,
            "last_error": self.condition.last_error,
            "file_bytes": file_bytes,
            "log_bytes": log_bytes,
            "memory_bytes": self.database.memory_bytes,
            "memory_limit": self.budget.limit_bytes,
            "auto_index": self.options.auto_index,
            "index_waits_for": self.database.auto_indexes.waits_for,
            "pending": self.pending,
            "waiting": len(self._waiters),
            "recovered_rows": self.recovered.rows,
            "recovered_clean": self.recovered.clean,
            **self._counts,
            "refused": self.condition.refused,
            "undone": self.condition.undone,
        }

    @property
    def commit_times(self) -> tuple[Histogram, Histogram]:
        """Of the transactions since the start: seconds, and row operations in them."""
        return self._pipeline.commit_s, self._pipeline.commit_ops

    async def drain(self) -> None:
        """Return when everything applied is durable or refused: ``close`` then has little left to do."""
        await self._pipeline.drain()

    @property
    def pending(self) -> int:
        """Writes that are applied and not durable yet."""
        return len(self._pipeline.pending)

    def close(self) -> None:
        """Write what is pending, settle every ticket, mark the stop as clean, leave one file. Blocks.

        On a full disk the log stays beside the file, and the next start finds an unclean stop: nothing is lost.
        Raises ReadOnly when the disk fails; the directory is free in any case. May run in a thread of its own when
        nobody else calls the store any more.
        """
        if self._closed:
            return
        self._closed = True
        self._changes.close()
        try:
            self._pipeline.close()
            if self.read_only is None:
                self._file.finish(self.lsn)
            else:
                self._file.close()
        except NoSpace as error:
            self.disk_failed(error)
        finally:
            self._lock.release()
