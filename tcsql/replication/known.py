"""What is known of a source, apart from any connection to it: its settings, the position, the state, how fresh it is.

A follower makes it once; each connection works on it; ``/status`` reads it. Everything here belongs to the event loop's
thread.

States, each logged once when it begins: ``connecting``, ``copying``, ``following``, ``catching up`` (a backlog: one
step is not one state of the source), ``away`` (no answer: tried again, later and later), ``waiting`` (our own store
refuses: disk or memory full), ``stopped`` (a person must act; looked at again every ``check_s``), ``asking`` (``tcsql
mysql accept`` says yes), ``failed`` (a bug of ours; tried again after ``check_s``). In every state reads go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from tcsql.engine.change import Change, RowChange
from tcsql.errors import TCSQLError
from tcsql.metrics import SourceMetrics
from tcsql.replication.auditing import Audit
from tcsql.replication.copying import Question, TableCopy
from tcsql.replication.position import Position
from tcsql.replication.reconciling import Blocked
from tcsql.replication.source import Identity, TableState
from tcsql.replication.verifying import Verification
from tcsql.sources import SourceSettings
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin, Ticket

logger = logging.getLogger("tcsql.replication")

#: Rows a verification reads at once: comparing 2,000 takes 12 ms, in one turn.
_VERIFY_ROWS: Final = 2_000
#: A reason is no other one because a table has grown meanwhile.
_DIGITS: Final = re.compile(r"\d+")


class KnownSource:
    """One source of the settings, as far as it is known."""

    def __init__(self, settings: SourceSettings, store: Store, on_fresh: Callable[[], None]) -> None:
        self.settings = settings
        self.store = store
        self.on_fresh = on_fresh
        self.counts = SourceMetrics()
        self.state = "connecting"
        self.reason: str | None = None
        self.remedy: str | None = None
        self.identity: Identity | None = None
        #: How far we are; ``sent``: as the store was given it last; ``stored``: as it is durable here.
        self.position = self.sent = self.stored = Position()
        #: Steps that the disk has not taken yet, each by its last ticket and the position in that.
        self._under_way: deque[tuple[Ticket, Position]] = deque()
        #: The tables as the source has them, and those that cannot be followed.
        self.tables: dict[str, TableState] = {}
        self.blocked: Mapping[str, Blocked] = {}
        self.copies: deque[TableCopy] = deque()
        self.verification: Verification | None = None
        self.audit = Audit(settings.audit_s, settings.audit_rows_s)
        #: ``time.monotonic()`` of the newest complete state that is applied here; None before the first.
        self.fresh_at: float | None = None
        #: How long the newest heartbeat row took to get here.
        self.lag_ms: float | None = None
        #: What a person has asked for: a yes to a question, tables to be copied anew.
        #: ``question``: what is asked now; ``accepted``: questions answered by yes.
        self.question: str | None = None
        self.accepted: set[str] = set()
        self.recopies: set[str] = set()

    @property
    def name(self) -> str:
        return self.settings.name

    def age_ms(self, now_s: float) -> int | None:
        """How old the state is that is served; None before the first complete one."""
        return None if self.fresh_at is None else max(0, round((now_s - self.fresh_at) * 1000))

    def is_stale(self, now_s: float) -> bool:
        """Whether replies have to say that they are.

        Too old, not copied yet, with a table that cannot follow, between two states of the source, or with rows that
        a crash of the source may have taken back. Of a push, which never promises one state, doubts do not count.
        """
        age = self.age_ms(now_s)
        is_between = self.state == "catching up" or bool(self.copies)
        is_doubted = bool(self.position.unsure) and self.settings.mode != "push"
        return age is None or age > self.settings.stale_ms or is_between or is_doubted or bool(self.blocked)

    def enter(self, state: str, error: TCSQLError | None = None) -> None:
        """Change the state. Logged when it is another one; of what passes by itself, not each new reason."""
        is_new = state != self.state
        is_news = error is not None or (state == "following" and self.state != "catching up")
        self.question = error.about if isinstance(error, Question) else None
        if error is not None and state in ("stopped", "asking", "failed"):
            is_new = is_new or error.message != self.reason
        self.state, self.reason, self.remedy = (
            (state, None, None) if error is None else (state, error.message, error.hint)
        )
        if not is_new:
            return
        level = logging.WARNING if is_news else logging.INFO
        told = "" if self.reason is None else f": {self.reason}" + (f" ({self.remedy})" if self.remedy else "")
        logger.log(level, "source %s is %s%s", self.name, state, told)

    def report_blocked(self, blocked: Mapping[str, Blocked]) -> None:
        for name, why in blocked.items():
            before = self.blocked.get(name)
            if before is None or _DIGITS.sub("", before.problem) != _DIGITS.sub("", why.problem):
                logger.warning("source %s: table %s is not followed: %s (%s)", self.name, name, why.problem, why.remedy)
        for name in self.blocked.keys() - blocked.keys():
            logger.warning("source %s: table %s can be followed again", self.name, name)
        self.blocked = blocked

    def target(self, name: str) -> str:
        """The table here that changes of a table at the source go into."""
        position = self.position.tables.get(name)
        return (position.beside if position is not None else "") or name

    def own(self, in_the_way: Collection[str] = (), besides: Collection[str] = ()) -> None:
        """Take writes to our tables for ourselves. ``in_the_way``: never followed; what is here of them is not ours.

        ``besides``: tables that copies go into.

        Without a token triggers cannot send hints: they send whole rows, as any client does.
        """
        here = {schema.name for schema in self.store.database.schemas()}
        names = [table.name for table in self.settings.tables if table.name not in here or table.name not in in_the_way]
        shares_rows = self.settings.mode == "push" and not self.settings.push_token
        self.store.owners.release(self.name)
        self.store.owners.claim(self.name, names, shares_rows)
        self.store.owners.claim(self.name, {*besides, *(each.beside for each in self.position.tables.values())} - {""})

    async def commit(self, pieces: Sequence[Sequence[Change | RowChange]], position: Position) -> None:
        """Batches, the last with the position in its transaction; all durable when this returns."""
        await self.enqueue(pieces, position)
        await self.settle()
        self.position = position

    async def enqueue(self, pieces: Sequence[Sequence[Change | RowChange]], position: Position) -> None:
        """Batches, visible when this returns, the last with the position in its transaction; ``settle`` waits for it.

        Raises what ``Store.submit`` does, and why anything before was refused: nothing may be kept behind that.
        """
        ticket = self._under_way[-1][0] if self._under_way else None
        for number, changes in enumerate(pieces or [[]], 1):
            at = position if number >= len(pieces) else self.sent
            ticket = await self.store.enqueue(changes, Origin(Level.ALWAYS, self.name, at.encode()), ticket)
            await asyncio.sleep(0)
        assert ticket is not None
        self._under_way.append((ticket, position))
        self.sent = position

    async def settle(self, but: int = 0) -> None:
        """Return when all that was enqueued is durable, but the newest ``but`` steps; raises why it was refused."""
        while len(self._under_way) > but:
            ticket, position = self._under_way[0]
            await ticket.wait()
            self._under_way.popleft()
            self.stored = position

    async def begin_again(self) -> None:
        """Go on from what is durable, once the disk has taken or refused what is under way."""
        with contextlib.suppress(TCSQLError):  # whoever waited for it was told
            await self.settle()
        self._under_way.clear()
        self.position = self.sent = self.stored = Position.decode(self.store.positions().get(self.name, b""))

    def verify(self, tables: Sequence[str], repair: bool) -> bool:
        """Compare tables with the source; False when one is running already."""
        if self.verification is not None and self.verification.job is not None:
            return False
        ready = [name for name in tables if name in self.tables and name not in self.blocked]
        held = [self.store.database.table(name) for name in ready]
        self.verification = Verification(held, _VERIFY_ROWS, repair)
        return True
