"""One connection to a source: what its tables are, and step after step until it fails.

    compare identity and tables with the stored position -> begin the copies that are due -> steps, for ever
    a step: changes applied and durable, then its read goes to the copy or the verification that asked for it,
            what that changes is committed with the new position; then the step is acknowledged

While there is a backlog three things go on at once: the source prepares the next step, this one is applied, the disk
takes the one before. That is for steps without a token, which the source does not tell again; a step with one is
acknowledged, and the next one asked for, when it is durable. Steps are applied and become durable in their order, each
with the position behind it, and a refused one takes all after it back: then the session ends, and the next one begins
where the disk is.

Everything runs on the event loop; the source itself lives in a process of its own. Cost of a backlog's row: 10 us here
with three indexes, 2 us of the committer's thread, 3 us in the source's process; memory: three steps, or one large one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Final

from tcsql.engine.change import Change, DropTable, RenameTable, RowChange
from tcsql.replication.applying import batches
from tcsql.replication.asyncsource import AsyncSource
from tcsql.replication.copying import Question, TableCopy, mass_deletion_of
from tcsql.replication.known import KnownSource
from tcsql.replication.position import Phase, Position
from tcsql.replication.reconciling import reconcile
from tcsql.replication.source import Identity, RangeRead, ReadKeys, ReadRange, Step
from tcsql.replication.verifying import TableVerification

logger = logging.getLogger("tcsql.replication")

#: Changes beside a stretch up to which the next one is read ahead.
_FEW_EVENTS: Final = 500
#: Changes of a step up to which the next one is prepared while it is applied: a large one fills the memory by itself.
_MOST_BESIDE: Final = 20_000
#: After a complete step with changes the next waits so many times as long as this one took, at most so long: under
#: constant changes several transactions then share what each step costs here, in the worker and at the source.
_REST: Final = 6
_LONGEST_REST_S: Final = 0.008
#: How often the log tells how far a copy is.
_PROGRESS_S: Final = 5.0
#: By how much two readings of a server's start may differ: it is told in whole seconds.
_CLOCK_S: Final = 1.5

_Job = TableCopy | TableVerification
_Asked = ReadRange | ReadKeys | None


class Following:
    """What is known of a source, kept up to date over one connection."""

    def __init__(self, known: KnownSource, source: AsyncSource) -> None:
        self._known = known
        self._source = source
        #: A step that was asked for while the one before is applied.
        self._ahead: tuple[_Job | None, _Asked, asyncio.Future[Step]] | None = None
        self._told_s = time.monotonic()
        self._looked_s = time.monotonic()
        self._rest_until = 0.0
        self._heartbeat_s: float | None = None
        #: Tables that became unsure while they were read: what had been read by then may be what was missed.
        self._doubted: set[str] = set()

    async def run(self) -> None:
        """Follow until something fails."""
        known = self._known
        if known.position.mode not in ("", known.settings.mode):
            logger.warning("source %s follows by %s now: its rows are compared", known.name, known.settings.mode)
            known.position = known.position.without_log()
        known.position = replace(known.position, mode=known.settings.mode)
        known.identity = await self._source.open(known.position.log)
        self._require_identity(known.identity)
        known.position = self._after_a_break(known.position, known.identity)
        await self._look_at_tables(known.identity)
        self._doubted.update(copy.name for copy in known.copies if copy.has_begun)
        acknowledged = b""
        while True:
            if self._ahead is None and self._is_look_due():
                await self._look_at_tables(known.identity)
            self._compare_what_is_unsure()
            acknowledged = await self._step(acknowledged)

    def _is_look_due(self) -> bool:
        return bool(self._known.recopies) or time.monotonic() - self._looked_s > self._known.settings.check_s

    async def end(self) -> None:
        """Nothing of this connection is waited for any more."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead[2].cancel()
            await asyncio.gather(ahead[2], return_exceptions=True)
        self._known.copies.clear()
        if self._known.verification is not None:
            self._known.verification.break_off("the connection was lost")

    def _require_identity(self, identity: Identity) -> None:
        known = self._known
        server, about = known.position.identity, f"server {identity.server}"
        if server and server != identity.server and about not in known.accepted:
            raise Question(
                about,
                f"source {known.name} is another server now: {identity.server}, it was {server}",
                f"if that is right, run: tcsql mysql accept {known.name}",
            )

    def _after_a_break(self, position: Position, identity: Identity) -> Position:
        """The position at the start of a session, with what may have been missed before it."""
        known = self._known
        unsure = position.unsure
        if position.started_s and abs(position.started_s - identity.started_s) > _CLOCK_S:
            # InnoDB shows a commit before its log is on disk: a crash can take back what was applied here.
            logger.warning("source %s was restarted: its rows are compared", known.name)
            unsure |= position.tables.keys()
        if known.settings.mode == "push" and not position.clean:
            unsure |= position.tables.keys()
        return replace(position, clean=False, started_s=identity.started_s, unsure=unsure)

    async def _look_at_tables(self, identity: Identity) -> None:
        """Compare what the source has with what we follow, and begin the copies that are due."""
        known = self._known
        self._looked_s = time.monotonic()
        states = await self._source.tables()
        recopies = frozenset(known.recopies)
        database = known.store.database
        plan = reconcile(
            known.settings,
            states,
            known.position,
            database,
            identity,
            room_bytes=known.store.budget.limit_bytes - database.memory_bytes,
            recopies=recopies,
        )
        besides = [table.beside for table in plan.position.tables.values()]
        known.own(plan.blocked.keys() - plan.position.tables.keys(), besides)
        if plan.schema_changes or plan.position != known.sent:
            await known.commit([plan.schema_changes], plan.position)
        known.recopies -= recopies
        known.tables = {state.name: state for state in states}
        known.report_blocked(plan.blocked)
        followed = [state.name for state in states if state.name not in plan.blocked]
        await self._source.follow(followed)
        under_way = {copy.name: copy for copy in known.copies}
        known.copies.clear()
        if known.verification is not None and known.verification.is_outdated(database):
            known.verification.break_off("a table was made anew")
        for name in followed:
            position = known.position.tables[name]
            if position.phase is not Phase.DONE:
                copy = under_way.get(name)
                if copy is None or copy.position != position:
                    table = database.table(known.target(name))
                    is_accepted = mass_deletion_of(name) in known.accepted
                    copy = TableCopy(known.name, name, table, position, known.settings.copy_rows, accepted=is_accepted)
                known.copies.append(copy)

    def _compare_what_is_unsure(self) -> None:
        """Compare and repair at once what may have missed changes, as the source says."""
        known = self._known
        due = known.position.unsure - known.blocked.keys()
        if due and not known.copies:
            known.verify(sorted(due), repair=True)

    # --- one step ---------------------------------------------------------------------------------------------

    async def _step(self, acknowledged: bytes) -> bytes:
        """One step, durable here; gives the token to acknowledge with the next."""
        known = self._known
        if self._ahead is not None:
            (job, asked, answer), self._ahead = self._ahead, None
            step = await answer
        else:
            job = self._job()
            asked = None if job is None else job.next_read()
            if asked is None:
                await asyncio.sleep(max(0.0, self._rest_until - time.monotonic()))
            wait_s = 0.0 if asked is not None else known.settings.poll_ms / 1000
            step = await self._source.step(wait_s, acknowledged, asked)
        came_s = time.monotonic()
        self._ask_ahead(job, asked, step)
        one_state = await self._apply(step)
        # what is to be acknowledged, and what a read is compared with, has to be durable
        may_be_on_its_way = self._ahead is not None and not step.token and step.read is None
        await known.settle(but=1 if may_be_on_its_way else 0)
        self._tell(step, one_state)
        self._doubt(step)
        if job is not None and asked is not None:
            await self._give(job, asked, step)
        self._now_fresh(step)
        if step.events and step.complete:
            now = time.monotonic()
            self._rest_until = now + min(_LONGEST_REST_S, _REST * (now - came_s))
        return step.token

    def _doubt(self, step: Step) -> None:
        """Note which tables became unsure while they were being read, by whatever has begun: it may wait for others."""
        if step.unsure:
            verification = self._known.verification
            jobs: list[_Job] = [*self._known.copies]
            if verification is not None and verification.job is not None:
                jobs.append(verification.job)
            self._doubted.update(job.name for job in jobs if job.has_begun and job.name in step.unsure)

    async def _give(self, job: _Job, asked: ReadRange | ReadKeys, step: Step) -> None:
        """The answer to whom it was asked for, and what that changes here."""
        known = self._known
        if step.read is None:
            return
        before = job.findings.differing if isinstance(job, TableVerification) else 0
        changes = job.take(step.read, asked)
        position = known.position
        pieces: list[list[Change | RowChange]] = [[change] for change in changes]
        if isinstance(job, TableCopy):
            beside = job.position.beside
            if job.is_done and beside:
                pieces.append([DropTable(job.name), RenameTable(beside, job.name)])
                job.position = replace(job.position, beside="")
            position = position.with_table(job.name, job.position)
        if job.is_done and job.repairs and job is not known.audit.job:
            position = replace(position, unsure=position.unsure - ({job.name} - self._doubted))
            self._doubted.discard(job.name)
        if pieces or position != known.sent:
            await known.commit(pieces, position)
        if job is known.audit.job:
            rows = len(step.read.rows) if isinstance(step.read, RangeRead) else len(asked.pkeys)  # type: ignore[union-attr]  # keys are answered by keys
            self._audited(rows, before)
        elif job.is_done:
            self._finish(job)
        elif isinstance(job, TableCopy) and time.monotonic() - self._told_s > _PROGRESS_S:
            self._told_s = time.monotonic()
            told = (known.name, job.name, job.position.copied, known.tables[job.name].rows)
            logger.info("source %s: table %s: %d rows of about %d are copied", *told)

    def _ask_ahead(self, job: _Job | None, asked: _Asked, step: Step) -> None:
        """Let the source prepare the next step while this one is applied here; not when tables are to be looked at."""
        if step.unsure or self._is_look_due():
            return
        if not step.complete and not step.token and step.read is None and step.events <= _MOST_BESIDE:
            self._ahead = job, asked, self._asking(asked)
        elif job is self._known.audit.job or step.events > _FEW_EVENTS:
            return  # the audit takes its time; what would be told again, as it is not acknowledged, may cost too much
        elif isinstance(asked, ReadRange) and isinstance(step.read, RangeRead) and step.read.last is not None:
            following = replace(asked, after=step.read.last)
            self._ahead = job, following, self._asking(following)

    def _asking(self, asked: _Asked) -> asyncio.Future[Step]:
        wait_s = 0.0 if asked is not None else self._known.settings.poll_ms / 1000
        return asyncio.ensure_future(self._source.step(wait_s, b"", asked))

    async def _apply(self, step: Step) -> bool:
        """What the step changes, visible here and on its way to the disk; whether it shows one state of the source."""
        known = self._known
        schemas = {name: known.store.database.schema(known.target(name)) for name in step.changes}
        pieces = batches(step.changes, schemas)
        position = replace(known.position, unsure=known.position.unsure.union(step.unsure))
        if step.position:
            position = replace(position, log=step.position)
        one_state = step.complete and len(pieces) <= 1
        if not known.copies and not one_state:
            known.enter("catching up")  # said before the first piece shows
        if pieces or position != known.sent:
            await known.enqueue(pieces, position)
            known.position = position
        if step.unsure or step.look:
            self._looked_s = -known.settings.check_s  # they may have another form now
        return one_state

    def _tell(self, step: Step, one_state: bool) -> None:
        """What the step was, for those who watch."""
        known = self._known
        known.counts.steps += 1
        known.counts.events += step.events
        for change in step.changes.values():
            known.counts.rows += len(change.rows)
            known.counts.gone += len(change.gone)
        if step.changes:
            known.counts.lag_s.add(max(0.0, time.monotonic() - step.taken_s))
        if known.copies:
            if known.state != "asking" or known.copies[0].position.phase is not Phase.ASK:
                known.enter("copying")
        elif one_state:
            known.enter("following")
            known.accepted.clear()

    def _job(self) -> _Job | None:
        known = self._known
        if known.copies:
            return known.copies[0]
        if known.verification is not None and known.verification.job is not None:
            return known.verification.job
        ready = [name for name in known.tables if name not in known.blocked and name not in known.position.unsure]
        return known.audit.due(ready, known.store.database)

    def _audited(self, rows: int, before: int) -> None:
        """So many rows of the audit were compared; ``before`` them its table had so many differences."""
        known = self._known
        job = known.audit.job
        assert job is not None
        found = job.findings.differing - before
        if found:
            logger.warning("source %s: table %s: the audit has repaired %d rows", known.name, job.name, found)
        known.counts.differences += found
        known.counts.repaired += found
        known.audit.took(rows, sum(len(known.store.database.table(name).rows) for name in known.tables))

    def _finish(self, job: _Job) -> None:
        known = self._known
        if isinstance(job, TableCopy):
            known.copies.popleft()
            if known.verification is not None and known.verification.is_outdated(known.store.database):
                known.verification.break_off("a table was made anew")
            logger.warning("source %s: table %s is copied, %d rows", known.name, job.name, job.position.copied)
            if not known.copies:
                known.accepted.clear()
            return
        assert known.verification is not None
        known.verification.advance()
        known.counts.differences += job.findings.differing
        if known.verification.repair:
            known.counts.repaired += job.findings.differing

    def _now_fresh(self, step: Step) -> None:
        known = self._known
        if step.complete and not known.copies:
            known.fresh_at = max(known.fresh_at or 0.0, step.taken_s)  # a new session has to prove it anew
            if step.heartbeat_s is not None and step.heartbeat_s != self._heartbeat_s:
                self._heartbeat_s = step.heartbeat_s
                known.lag_ms = round(max(0.0, step.source_s - step.heartbeat_s) * 1000, 1)
            known.on_fresh()
