"""Admission: what keeps good answers coming when more is asked than can be done.

Under overload every request waits, and those that are answered last are answered to nobody: their clients have given
up. So requests are refused at once, with 503 and Retry-After, when they would only wait:

    of one turn     a turn of the event loop serves what has come since the last one. When it has worked for so long,
                    what is left of it is refused: nobody waits longer than two turns, whether for an answer or for
                    hearing that there is none. Who asks for little meets turns of up to ``MOST_TURN_S``, so that a
                    hundred clients that ask at the same moment are all answered. Once that was too little the server
                    is *crowded*: turns of ``CROWDED_TURN_S``, until a second has passed that refused next to nothing
    long reads      a read that needs several turns runs beside at most ``MOST_RUNNING`` others; one that would wait
                    ``MOST_WAIT_S`` for its place is refused at once, by how fast places became free lately, and one
                    that has waited so long, because they took longer, is refused then

A single bound cannot do both: turns of 0.3 s made refusals wait for 0.6 s, and each turn met three thousand requests
of which most were too old to be answered; turns of 10 ms would refuse what is nothing but a burst.

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
MOST_TURN_S: Final = 0.2
#: Two of these, with what refusing takes, are far less than the 50 ms in which refusals are to come.
CROWDED_TURN_S: Final = 0.01
#: The server stays crowded for this long at least, and as long as one in ``_FEW`` requests was refused in such a time.
_LOOK_S: Final = 1.0
_FEW: Final = 50
#: New connections that are taken in a crowded turn beyond those that could be served in the last one.
_SPARE: Final = 4
#: Each gets a slice of 5 ms in its turn, so the others wait 40 ms at most for the next.
MOST_RUNNING: Final = 8
MOST_WAIT_S: Final = 1.0
#: How much of what was known of the pace is left when another place has become free.
_KEPT: Final = 0.9


def overloaded() -> Overloaded:
    """What those are told that are refused."""
    return Overloaded("more is asked than can be answered in time", "retry later; explain tells what queries cost")


class Admission:
    """One server's; belongs to an event loop. Without one every request is alone, and never refused."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.refused = 0
        self._loop = loop
        self._turn_began_s: float | None = None
        #: Of the turn: whether it is over for those that come now, how many were admitted, and in the last one.
        self._is_over = False
        self._admitted = self._admitted_before = 0
        self._most_s = MOST_TURN_S
        #: While crowded: when the look began, and what was refused and admitted since.
        self._look_began_s = 0.0
        self._refused_since = self._admitted_since = 0
        self._places = asyncio.Semaphore(MOST_RUNNING)
        self._waiting = 0
        #: Seconds between two places that become free while reads wait, and when the last one did.
        self._pace_s = 0.0
        self._freed_s = 0.0

    @property
    def is_crowded(self) -> bool:
        """Whether more is asked than can be answered, lately."""
        return self._most_s == CROWDED_TURN_S

    @property
    def room(self) -> int:
        """How many new connections are worth taking in a turn of a crowded server."""
        return max(self._admitted, self._admitted_before) + _SPARE

    def is_late(self) -> bool:
        """Whether what is left of this turn is refused; who then refuses says so by ``refuse``."""
        if self._is_over or self._loop is None:
            return self._is_over
        now = time.perf_counter()
        if self._turn_began_s is None:
            self._turn_began_s = now
            self._loop.call_soon(self._end_turn)
            if self.is_crowded and now - self._look_began_s > _LOOK_S:
                self._look_again(now)
            return False
        self._is_over = now - self._turn_began_s > self._most_s
        return self._is_over

    def refuse(self) -> None:
        """A request is refused because the turn is late."""
        self.refused += 1
        self._refused_since += 1
        if not self.is_crowded:
            self._most_s, self._look_began_s = CROWDED_TURN_S, time.perf_counter()
            self._refused_since, self._admitted_since = 1, 0

    def admit(self) -> None:
        """Raises Overloaded when this turn of the event loop has lasted too long already."""
        if self.is_late():
            self.refuse()
            raise overloaded()
        self._admitted += 1

    def _look_again(self, now_s: float) -> None:
        if self._refused_since * _FEW <= self._refused_since + self._admitted_since:
            self._most_s = MOST_TURN_S
        self._look_began_s = now_s
        self._refused_since = self._admitted_since = 0

    def _end_turn(self) -> None:
        self._turn_began_s = None
        self._is_over = False
        self._admitted_since += self._admitted
        self._admitted_before, self._admitted = self._admitted, 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among the long reads; raises Overloaded when none becomes, or would become, free in time."""
        if self._waiting * self._pace_s > MOST_WAIT_S:
            self.refused += 1
            raise overloaded()
        self._waiting += 1
        try:
            async with asyncio.timeout(MOST_WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            self.refused += 1
            raise overloaded() from None
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
