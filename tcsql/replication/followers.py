"""All followers of a server: started and stopped together, and what the HTTP interface asks of them.

The oldest source decides how fresh the server is: one number for every reply, because a page does not say which of its
tables were looked at. Cost: a turn of the event loop ten times a second while there is a source.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from tcsql.errors import (
    BadRequest,
    Busy,
    NotFound,
    OperatorError,
    SourceAway,
    TCSQLError,
    Unauthorized,
    UnknownTable,
    did_you_mean,
)
from tcsql.replication.asyncsource import AsyncSource
from tcsql.replication.follower import Follower
from tcsql.replication.position import Position
from tcsql.replication.reporting import report
from tcsql.sources import SourceSettings
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin

logger = logging.getLogger("tcsql.replication")

ACTIONS: Final = ("verify", "repair", "recopy", "accept")
#: How often the age in replies is made anew when no step does.
_TICK_S: Final = 0.1


class Followers:
    """The sources of one server. ``connect`` makes a source; ``base``: the directory of the configuration file."""

    def __init__(
        self,
        sources: Sequence[SourceSettings],
        store: Store,
        base: Path,
        connect: Callable[[SourceSettings, Path], AsyncSource],
    ) -> None:
        self._store, self._base, self._connect = store, base, connect
        self._followers = {source.name: self._made(source) for source in sources}
        for follower in self._followers.values():
            follower.own()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []

    def _made(self, source: SourceSettings) -> Follower:
        return Follower(source, self._store, lambda: self._connect(source, self._base), self._tell)

    @property
    def settings(self) -> Mapping[str, SourceSettings]:
        """What is followed, by name."""
        return {name: follower.settings for name, follower in self._followers.items()}

    def on_fresh(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` when the age may have changed: after each step, and ten times a second."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    # --- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow what is not followed yet; needs a running event loop."""
        for follower in self._followers.values():
            if follower.name not in self._tasks:
                task = asyncio.create_task(follower.run(), name=f"follow {follower.name}")
                task.add_done_callback(_report_failure)
                self._tasks[follower.name] = task
        if self._followers and self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """End all of them, in order; the store must still be open."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        await self._stop([*self._followers])

    async def _stop(self, names: Sequence[str]) -> None:
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in names:
            try:
                await self._followers[name].stop()
            except TCSQLError as error:
                logger.warning("source %s: its stop could not be noted: %s", name, error.message)

    async def change(self, sources: Sequence[SourceSettings]) -> None:
        """Follow these from now on; rows stay, and go on answering.

        What is said as before goes on untouched. A source that is said otherwise connects anew and goes on where it
        was; by another mode its rows are compared first, and are stale until then. The tables of one that is not said
        any more take writes from clients.
        """
        said = {source.name: source for source in sources}
        old = self.settings
        gone = [name for name in old if name not in said]
        changed = [name for name in old if name in said and said[name] != old[name]]
        added = [name for name in said if name not in old]
        await self._stop(gone + changed)
        for name in gone + changed:  # first all are let go, as a table may have gone from one to the other
            self._store.owners.release(name)
        for name in gone:
            del self._followers[name]
        self._followers.update({name: self._made(said[name]) for name in changed + added})
        for name in changed + added:
            self._followers[name].own()
        await forget_others(self._store, said)
        self.start()
        self._tell()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._tell()

    # --- what HTTP asks ---------------------------------------------------------------------------------------

    def status(self) -> list[dict[str, object]]:
        """One entry a source, for people and dashboards."""
        now = time.monotonic()
        return [report(follower, now) for follower in self._followers.values()]

    def freshness(self) -> tuple[int | None, tuple[str, ...]] | None:
        """Age of the oldest source in ms (None: one has not been copied yet), and which are stale; None without any."""
        if not self._followers:
            return None
        now = time.monotonic()
        ages = [follower.age_ms(now) for follower in self._followers.values()]
        known = [age for age in ages if age is not None]
        stale = tuple(follower.name for follower in self._followers.values() if follower.is_stale(now))
        return (max(known) if len(known) == len(ages) else None), stale

    def act(self, source: str, action: str, table: str | None = None) -> dict[str, object]:
        """What an operator asks for; the state after it. Raises NotFound, UnknownTable, BadRequest, SourceAway."""
        follower = self._named(source)
        names = [each.name for each in follower.settings.tables]
        if table is not None and table not in names:
            raise UnknownTable(f'source {source} follows no table "{table[:64]}"', did_you_mean(table, names))
        tables = names if table is None else [table]
        match action:
            case "accept":
                follower.accept()
            case "recopy":
                follower.recopy(tables)
            case "verify" | "repair":
                self._verify(follower, tables, action == "repair")
            case _:
                raise BadRequest(f'no action "{action[:64]}"', did_you_mean(action, ACTIONS) or ", ".join(ACTIONS))
        return report(follower, time.monotonic())

    def _verify(self, follower: Follower, tables: Sequence[str], repair: bool) -> None:
        if follower.state not in ("following", "catching up"):
            raise SourceAway(f"source {follower.name} is {follower.state}", "verify when it is following")
        if not follower.verify(tables, repair):
            raise Busy(f"source {follower.name} is being verified already", "GET /sources tells how far it is")

    def hint(self, source: str, token: bytes, table: str, keys: Sequence[str], lost: int = 0) -> int:
        """Rows of a push source may have changed. Raises NotFound, Unauthorized, UnknownTable."""
        follower = self._named(source)
        settings = follower.settings
        if settings.mode != "push":
            raise NotFound(f"source {source} takes no hints", 'only one with mode = "push" does')
        if not settings.push_token or not hmac.compare_digest(token, settings.push_token.encode()):
            raise Unauthorized("the token of the hint is not that of the source", "push_token and push.conf must agree")
        if settings.table(table) is None:
            raise UnknownTable(f'source {source} follows no table "{table[:64]}"')
        follower.hint(table, keys, lost)
        follower.counts.hints += len(keys)
        return len(keys)

    def _named(self, source: str) -> Follower:
        follower = self._followers.get(source)
        if follower is None:
            raise NotFound(f'no source "{source[:64]}"', did_you_mean(source, self._followers))
        return follower


async def forget_others(store: Store, named: Collection[str]) -> None:
    """Clients may write from now on what a source wrote that is not configured any more: it cannot just go on."""
    for name in store.positions().keys() - set(named):
        position = store.positions()[name]
        if not position:
            continue
        try:
            await store.commit([], Origin(Level.ALWAYS, name))
            logger.warning("source %s is not configured any more: its tables take writes from clients", name)
        except OperatorError as error:
            store.owners.claim(name, Position.decode(position).tables)
            logger.warning("source %s is not configured any more, and cannot be forgotten: %s", name, error.message)


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("a follower has failed", exc_info=task.exception())
