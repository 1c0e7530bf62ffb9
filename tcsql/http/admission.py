"""Admission: what keeps good answers coming when more is asked than can be done.

Under overload every request waits, and those that are answered last are answered to nobody: their clients have given
up. So requests are refused at once, with 503 and Retry-After, when they would only wait:

    of one turn     a turn of the event loop serves what has come since the last one. When it has worked for
                    ``MOST_TURN_S``, what is left of it is refused, so that nobody waits longer than two such turns
    long reads      a read that needs several turns runs beside at most ``MOST_RUNNING`` others; one that would wait
                    ``MOST_WAIT_S`` for its place is refused at once, by how fast places became free lately, and one
                    that has waited so long, because they took longer, is refused then

Known queries are not asked: refusing one costs as much as answering it. Cost: 0.1 us a request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tcsql.errors import Overloaded

#: Clients wait a second or two; a turn of this length and the next one fit into that.
MOST_TURN_S: Final = 0.3
#: Each gets a slice of 5 ms in its turn, so the others wait 40 ms at most for the next.
MOST_RUNNING: Final = 8
MOST_WAIT_S: Final = 1.0
#: How much of what was known of the pace is left when another place has become free.
_KEPT: Final = 0.9


class Admission:
    """One server's; belongs to an event loop. Without one every request is alone, and never refused."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.refused = 0
        self._loop = loop
        self._turn_began_s: float | None = None
        self._places = asyncio.Semaphore(MOST_RUNNING)
        self._waiting = 0
        #: Seconds between two places that become free while reads wait, and when the last one did.
        self._pace_s = 0.0
        self._freed_s = 0.0

    def admit(self) -> None:
        """Raises Overloaded when this turn of the event loop has lasted too long already."""
        if self._loop is None:
            return
        now = time.perf_counter()
        if self._turn_began_s is None:
            self._turn_began_s = now
            self._loop.call_soon(self._end_turn)
        elif now - self._turn_began_s > MOST_TURN_S:
            raise self._overloaded()

    def _end_turn(self) -> None:
        self._turn_began_s = None

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among the long reads; raises Overloaded when none becomes, or would become, free in time."""
        if self._waiting * self._pace_s > MOST_WAIT_S:
            raise self._overloaded()
        self._waiting += 1
        try:
            async with asyncio.timeout(MOST_WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise self._overloaded() from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free()

    def _free(self) -> None:
        now_s = time.perf_counter()
        if self._waiting and self._freed_s:  # else it says how little is asked
            self._pace_s = _KEPT * self._pace_s + (1 - _KEPT) * (now_s - self._freed_s)
        self._freed_s = now_s if self._waiting else 0.0
        self._places.release()

    def _overloaded(self) -> Overloaded:
        self.refused += 1
        return Overloaded("more is asked than can be answered in time", "retry later; explain tells what queries cost")
