"""The follower of one source: connects, follows until that fails, and tries again; and what operators ask of it.

What one connection does stands in ``tcsql.replication.following``, what is known between two of them in
``tcsql.replication.known``.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from tcsql.errors import SetupError, SourceAway, SourceFault, TCSQLError
from tcsql.replication.asyncsource import AsyncSource
from tcsql.replication.copying import MassDeletion
from tcsql.replication.following import Following
from tcsql.replication.known import KnownSource
from tcsql.sources import SourceSettings
from tcsql.storage.store import Store

logger = logging.getLogger("tcsql.replication")

#: Pauses before the next attempt to reach a source: doubled each time, the half of each by chance.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 15.0
#: The longest after a session that had caught up: a source that goes again and again is not given up for longer.
_PAUSE_OF_THE_WELL_S: Final = 1.0


class Follower(KnownSource):
    """One source of the settings. Made once; ``run`` returns when it is cancelled."""

    def __init__(
        self,
        settings: SourceSettings,
        store: Store,
        connect: Callable[[], AsyncSource],
        on_fresh: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(settings, store, on_fresh)
        self._connect = connect
        self._source: AsyncSource | None = None
        self._wake = asyncio.Event()

    # --- what others ask --------------------------------------------------------------------------------------

    def accept(self) -> None:
        """A person says yes to what is asked; without a question there is nothing to say yes to."""
        if self.question is not None:
            self.accepted.add(self.question)
        self._wake.set()

    def recopy(self, tables: Sequence[str]) -> None:
        """Copy tables anew beside the rows that are held."""
        self.recopies.update(tables)
        self._wake.set()

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
            self._wake.clear()  # what is asked for from now on may come too late for this session
            try:
                await self._session()
            except SourceAway as error:
                self.enter("away", error)
            except MassDeletion as error:
                self.enter("asking", error)
                pause_s = self.settings.check_s
            except (SourceFault, SetupError) as error:
                self.enter("stopped", error)
                pause_s = self.settings.check_s
                if "kind" in error.extra and await self._gives_up_the_log():
                    pause_s = _FIRST_PAUSE_S
            except TCSQLError as error:
                self.enter("waiting", error)
            except Exception as bug:  # of ours: it must neither end the following silently nor show as anything else
                logger.exception("source %s: a fault in TCSQL", self.name, exc_info=bug)
                self.enter("failed", SourceFault(f"a fault in TCSQL: {type(bug).__name__}", "see the log; tell us"))
                pause_s = self.settings.check_s
            self.counts.reconnects += 1
            if time.monotonic() - began > _LONGEST_PAUSE_S and self.state == "away":
                pause_s = _FIRST_PAUSE_S
            elif self.state == "away" and self.fresh_at is not None and self.fresh_at > began:
                pause_s = min(pause_s, _PAUSE_OF_THE_WELL_S)
            await self._pause(pause_s * (0.5 + random.random() / 2))  # noqa: S311  # jitter, nothing secret  # nosec B311
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _gives_up_the_log(self) -> bool:
        """The log cannot be read on from where we are: begin anew behind it, and compare all rows."""
        try:
            await self.begin_again()
            await self.commit([], self.stored.without_log())
        except TCSQLError as error:
            self.enter("waiting", error)
            return False
        return True

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def stop(self) -> None:
        """After ``run`` was cancelled: note that the stop was in order. The store must still be open."""
        if self.position.identity and not self.position.clean and self.store.read_only is None:
            await self.commit([], replace(self.position, clean=True))

    async def _session(self) -> None:
        """One connection, from opening to its failure."""
        await self.begin_again()
        self._source = source = self._connect()
        following = Following(self, source)
        try:
            await following.run()
        finally:
            self._source = None
            await following.end()
            await source.close()
