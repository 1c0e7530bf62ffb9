"""The follower of one source: asks for steps, applies them through the write door, and says how fresh it is.

    connect -> compare identity and tables with the stored position -> steps, for ever
    a step: changes applied and durable, then its read goes to the copy or the verification that asked for it,
            what that changes is committed with the new position; then the step is acknowledged

States, each shown in ``/status`` and logged once when it begins: ``connecting``, ``copying``, ``following``,
``catching up`` (a backlog: one step is not one state of the source), ``away`` (no answer: tried again, later and
later), ``waiting`` (our own store refuses: disk or memory full), ``stopped`` (a person must act; looked at again every
``check_s``), ``asking`` (``tcsql mysql accept`` says yes). In every state reads go on.

Everything runs on the event loop; the source itself lives in a process of its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tcsql.engine.change import Change, RowChange
from tcsql.errors import SetupError, SourceAway, SourceFault, TCSQLError
from tcsql.metrics import SourceMetrics
from tcsql.replication.applying import batches
from tcsql.replication.asyncsource import AsyncSource
from tcsql.replication.copying import MassDeletion, TableCopy
from tcsql.replication.position import Phase, Position
from tcsql.replication.reconciling import Blocked, Plan, reconcile
from tcsql.replication.source import Identity, RangeRead, ReadKeys, ReadRange, Step, TableState
from tcsql.replication.verifying import TableVerification, Verification
from tcsql.sources import SourceSettings
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin, Ticket

logger = logging.getLogger("tcsql.replication")

#: Pauses before the next attempt to reach a source: doubled each time, with as much chance on top as itself.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 15.0
#: Rows a verification reads at once: comparing 2,000 takes 12 ms, in one turn.
_VERIFY_ROWS: Final = 2_000
#: Changes beside a stretch up to which the next one is read ahead.
_FEW_EVENTS: Final = 500

#: By how much two readings of a server's start may differ: it is told in whole seconds.
_CLOCK_S: Final = 1.5

_Job = TableCopy | TableVerification


class Follower:
    """One source of the settings. Made once; ``run`` returns when it is cancelled."""

    def __init__(
        self,
        settings: SourceSettings,
        store: Store,
        connect: Callable[[], AsyncSource],
        on_fresh: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.counts = SourceMetrics()
        self.state = "connecting"
        self.reason: str | None = None
        self.remedy: str | None = None
        self.identity: Identity | None = None
        self.lag_ms: float | None = None
        self.blocked: Mapping[str, Blocked] = {}
        self.verification: Verification | None = None
        self._store = store
        self._connect = connect
        self._on_fresh = on_fresh
        self.position = Position()
        self._heartbeat_s: float | None = None
        #: The position that is durable here.
        self._stored = Position()
        #: ``time.monotonic()`` of the newest complete state that is applied here; None before the first.
        self._fresh_at: float | None = None
        self.tables: dict[str, TableState] = {}
        self._copies: deque[TableCopy] = deque()
        self._accepted = False
        self._recopies: set[str] = set()
        self._wake = asyncio.Event()
        self._source: AsyncSource | None = None
        #: A step that was asked for while the one before is applied.
        self._ahead: tuple[_Job | None, ReadRange | ReadKeys | None, asyncio.Future[Step]] | None = None
        self._audited_s = 0.0
        #: Tables that became unsure while they were compared: what has been compared by then may be what was missed.
        self._doubted: set[str] = set()

    # --- what others ask --------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.settings.name

    def age_ms(self, now_s: float) -> int | None:
        """How old the state is that is served; None before the first complete one."""
        return None if self._fresh_at is None else max(0, round((now_s - self._fresh_at) * 1000))

    def is_stale(self, now_s: float) -> bool:
        """Whether replies have to say that they are: too old, not copied yet, or with a table that cannot follow."""
        age = self.age_ms(now_s)
        return age is None or age > self.settings.stale_ms or bool(self._copies) or bool(self.blocked)

    def accept(self) -> None:
        """A person says yes to what is asked; without a question there is nothing to say yes to."""
        self._accepted = self.state in ("asking", "stopped")
        self._wake.set()

    def recopy(self, tables: Sequence[str]) -> None:
        """Copy tables anew beside the rows that are held."""
        self._recopies.update(tables)
        self._wake.set()

    def verify(self, tables: Sequence[str], repair: bool) -> bool:
        """Compare tables with the source; False when one is running already."""
        if self.verification is not None and self.verification.job is not None:
            return False
        ready = [name for name in tables if name in self.tables and name not in self.blocked]
        held = [self._store.database.table(name) for name in ready]
        self.verification = Verification(held, _VERIFY_ROWS, repair)
        return True

    def hint(self, table: str, keys: Sequence[str], lost: int = 0) -> None:
        """A push source heard that rows may have changed; ``lost``: and before of others, which did not get here."""
        if self._source is not None:
            self._source.hint(table, keys, lost)

    # --- running ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow until cancelled; every failure ends in a state and another attempt."""
        pause_s = _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                await self._session()
            except SourceAway as error:
                self._enter("away", error)
            except MassDeletion as error:
                self._enter("asking", error)
                pause_s = self.settings.check_s
            except (SourceFault, SetupError) as error:
                self._enter("stopped", error)
                pause_s = self.settings.check_s
            except TCSQLError as error:
                self._enter("waiting", error)
            finally:
                await self._disconnect()
            self.counts.reconnects += 1
            if time.monotonic() - began > _LONGEST_PAUSE_S and self.state == "away":
                pause_s = _FIRST_PAUSE_S
            await self._pause(pause_s * (1 + random.random()))  # noqa: S311  # jitter, nothing secret
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def stop(self) -> None:
        """After ``run`` was cancelled: note that the stop was in order. The store must still be open."""
        if self.position.identity and not self.position.clean and self._store.read_only is None:
            await self._commit([], replace(self.position, clean=True))

    async def _disconnect(self) -> None:
        source, self._source = self._source, None
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead[2].cancel()
            await asyncio.gather(ahead[2], return_exceptions=True)
        self._copies.clear()
        if self.verification is not None:
            self.verification.break_off("the connection was lost")
        if source is not None:
            await source.close()

    async def _session(self) -> None:
        """One connection, from opening to its failure."""
        self.position = self._stored = Position.decode(self._store.positions().get(self.name, b""))
        self._source = source = self._connect()
        self.identity = await source.open(self.position.log)
        self._require_identity(self.identity)
        self.position = self._after_a_break(self.position, self.identity)
        await self._look_at_tables(source)
        acknowledged = b""
        looked_s = self._audited_s = time.monotonic()
        while True:
            if self._ahead is None and (self._recopies or time.monotonic() - looked_s > self.settings.check_s):
                looked_s = time.monotonic()
                await self._look_at_tables(source)
            self._audit_when_due()
            acknowledged = await self._step(source, acknowledged)

    def _require_identity(self, identity: Identity) -> None:
        known = self.position.identity
        if known and known != identity.server and not self._accepted:
            raise SourceFault(
                f"source {self.name} is another server now: {identity.server}, it was {known}",
                f"if that is right, run: tcsql mysql accept {self.name}",
            )

    def _after_a_break(self, position: Position, identity: Identity) -> Position:
        """The position at the start of a session, with what may have been missed before it."""
        unsure = position.unsure
        if position.started_s and abs(position.started_s - identity.started_s) > _CLOCK_S:
            # InnoDB shows a commit before its log is on disk: a crash can take back what was applied here.
            logger.warning("source %s was restarted: its rows are compared", self.name)
            unsure |= position.tables.keys()
        if self.settings.mode == "push" and not position.clean:
            unsure |= position.tables.keys()
        return replace(position, clean=False, started_s=identity.started_s, unsure=unsure)

    async def _look_at_tables(self, source: AsyncSource) -> None:
        """Compare what the source has with what we follow, and begin the copies that are due."""
        assert self.identity is not None
        states = await source.tables()
        database = self._store.database
        room = self._store.budget.limit_bytes - database.memory_bytes
        plan = reconcile(
            self.settings,
            states,
            self.position,
            database,
            self.identity,
            room_bytes=room,
            recopies=self._recopies,
        )
        self._recopies.clear()
        self.own(plan.blocked.keys() - plan.position.tables.keys())
        await self._carry_out(plan)
        self.tables = {state.name: state for state in states}
        self._report_blocked(plan.blocked)
        followed = [state.name for state in states if state.name not in plan.blocked]
        await source.follow(followed)
        under_way = {copy.name: copy for copy in self._copies}
        self._copies.clear()
        if self.verification is not None and self.verification.is_outdated(database):
            self.verification.break_off("a table was made anew")
        for name in followed:
            position = self.position.tables[name]
            if position.phase is not Phase.DONE:
                copy = under_way.get(name)
                if copy is None or copy.position != position:
                    table = database.table(name)
                    copy = TableCopy(self.name, table, position, self.settings.copy_rows, self._accepted)
                self._copies.append(copy)

    def own(self, in_the_way: Collection[str] = ()) -> None:
        """Take writes to our tables for ourselves. ``in_the_way``: never followed; what is here of them is not ours.

        Without a token triggers cannot send hints: they send whole rows, as any client does.
        """
        here = {schema.name for schema in self._store.database.schemas()}
        names = [table.name for table in self.settings.tables if table.name not in here or table.name not in in_the_way]
        shares_rows = self.settings.mode == "push" and not self.settings.push_token
        self._store.owners.release(self.name)
        self._store.owners.claim(self.name, names, shares_rows)

    async def _carry_out(self, plan: Plan) -> None:
        if plan.schema_changes or plan.position != self._stored:
            await self._commit([plan.schema_changes], plan.position)

    def _report_blocked(self, blocked: Mapping[str, Blocked]) -> None:
        for name, why in blocked.items():
            if self.blocked.get(name) != why:
                logger.warning("source %s: table %s is not followed: %s (%s)", self.name, name, why.problem, why.remedy)
        for name in self.blocked.keys() - blocked.keys():
            logger.warning("source %s: table %s can be followed again", self.name, name)
        self.blocked = blocked

    def _audit_when_due(self) -> None:
        """Compare and repair what may have missed changes, as the source says; a push source from time to time."""
        every_s = self.settings.audit_s
        if self.settings.mode == "push" and every_s and time.monotonic() - self._audited_s > every_s:
            self._audited_s = time.monotonic()
            self.position = replace(self.position, unsure=self.position.unsure | self.position.tables.keys())
        due = self.position.unsure - self.blocked.keys()
        if due and not self._copies:
            self.verify(sorted(due), repair=True)

    # --- one step ---------------------------------------------------------------------------------------------

    async def _step(self, source: AsyncSource, acknowledged: bytes) -> bytes:
        """One step, durable here; gives the token to acknowledge with the next."""
        if self._ahead is not None:
            (job, asked, answer), self._ahead = self._ahead, None
            step = await answer
        else:
            job = self._job()
            asked = None if job is None else job.next_read()
            wait_s = 0.0 if asked is not None else self.settings.poll_ms / 1000
            step = await source.step(wait_s, acknowledged, asked)
        self._read_ahead(source, job, asked, step)
        await self._apply(step)
        if job is not None and job.name in step.unsure and not (isinstance(asked, ReadRange) and asked.after is None):
            self._doubted.add(job.name)
        if job is not None and asked is not None and step.read is not None:
            changes = job.take(step.read, asked)
            position = self.position
            if isinstance(job, TableCopy):
                position = position.with_table(job.name, job.position)
            if job.is_done and job.repairs:
                position = replace(position, unsure=position.unsure - ({job.name} - self._doubted))
                self._doubted.discard(job.name)
            if changes or position != self._stored:
                await self._commit([[change] for change in changes], position)
            self._finish(job)
        self._now_fresh(step)
        return step.token

    def _read_ahead(
        self, source: AsyncSource, job: _Job | None, asked: ReadRange | ReadKeys | None, step: Step
    ) -> None:
        """Let the source read the next stretch while this one is applied here.

        What this step brings is not durable yet, so it is not acknowledged: the source tells it again. That costs
        little only where there is little, else the stretch has to wait.
        """
        if not isinstance(asked, ReadRange) or not isinstance(step.read, RangeRead) or step.events > _FEW_EVENTS:
            return
        if step.read.last is not None:
            following = replace(asked, after=step.read.last)
            self._ahead = job, following, asyncio.ensure_future(source.step(0.0, b"", following))

    async def _apply(self, step: Step) -> None:
        schemas = {name: self._store.database.schema(name) for name in step.changes}
        pieces = batches(step.changes, schemas)
        position = replace(self.position, unsure=self.position.unsure.union(step.unsure))
        if step.position:
            position = replace(position, log=step.position)
        if pieces or position != self._stored:
            await self._commit(pieces, position)
        self.counts.steps += 1
        self.counts.events += step.events
        for change in step.changes.values():
            self.counts.rows += len(change.rows)
            self.counts.gone += len(change.gone)
        if step.changes:
            self.counts.lag_s.add(max(0.0, time.monotonic() - step.taken_s))
        if self._copies:
            self._enter("copying")
        elif not step.complete or len(pieces) > 1:
            self._enter("catching up")
        else:
            self._enter("following")
            self._accepted = False

    async def _commit(self, pieces: Sequence[Sequence[Change | RowChange]], position: Position) -> None:
        """Batches, the last with the position in its transaction; all durable when this returns."""
        tickets: list[Ticket] = []
        for number, changes in enumerate(pieces or [[]], 1):
            at = position if number >= len(pieces) else self._stored
            tickets.append(await self._store.enqueue(changes, Origin(Level.ALWAYS, self.name, at.encode())))
            await asyncio.sleep(0)
        for ticket in tickets:
            await ticket.wait()
        self.position = self._stored = position

    def _job(self) -> _Job | None:
        if self._copies:
            return self._copies[0]
        return None if self.verification is None else self.verification.job

    def _finish(self, job: _Job) -> None:
        if not job.is_done:
            return
        if isinstance(job, TableCopy):
            self._copies.popleft()
            logger.warning("source %s: table %s is copied, %d rows", self.name, job.name, job.position.copied)
            if not self._copies:
                self._accepted = False
            return
        assert self.verification is not None
        self.verification.advance()
        self.counts.differences += job.findings.differing
        if self.verification.repair:
            self.counts.repaired += job.findings.differing

    def _now_fresh(self, step: Step) -> None:
        if step.complete and not self._copies:
            self._fresh_at = step.taken_s
            if step.heartbeat_s is not None and step.heartbeat_s != self._heartbeat_s:
                self._heartbeat_s = step.heartbeat_s
                self.lag_ms = round(max(0.0, step.source_s - step.heartbeat_s) * 1000, 1)
            self._on_fresh()

    # --- telling ----------------------------------------------------------------------------------------------

    def _enter(self, state: str, error: TCSQLError | None = None) -> None:
        """Change the state. Logged when it is another one; of what passes by itself, not each new reason."""
        is_new = state != self.state
        if error is not None and state in ("stopped", "asking"):
            is_new = is_new or error.message != self.reason
        self.state, self.reason, self.remedy = (
            (state, None, None) if error is None else (state, error.message, error.hint)
        )
        if not is_new:
            return
        level = logging.WARNING if error is not None or state == "following" else logging.INFO
        told = "" if self.reason is None else f": {self.reason}" + (f" ({self.remedy})" if self.remedy else "")
        logger.log(level, "source %s is %s%s", self.name, state, told)
