"""Admission: what keeps good answers coming when more is asked than can be done.

Under overload every request waits, and those that are answered last are answered to nobody: their clients have given
up. So what would only wait is refused, with 503 and Retry-After, and it is refused *when it comes*: a refusal that was
waited for is worth as little as a late answer.

    ask()    NOW      in a turn of the event loop that has worked for less than ``SLICE_S``, with nobody waiting
             WAIT     its turn will come: it stands in line, which is worked off for a slice in each turn
             REFUSE   the line is as long as it may be, by what requests have cost lately

Turns stay short, so whatever the load is what has come is looked at within a few milliseconds, and who is refused hears
it then. Who stands in line is answered: the line is bounded by the time that it takes, ``MOST_LINE_S``, so that a
hundred clients that ask at the same moment are all answered. Once that was too little the server is *crowded*: a line
of ``CROWDED_LINE_S`` keeps it as busy, and nobody waits for what others left behind. It ends when a second has passed
that refused next to nothing. Costs are learned from every request; a line that turns out longer than twice the bound
is cut at its end, where those stand that have waited least.

Reads that need several turns go from here to ``longreads``.

Known queries are not asked: refusing one costs as much as answering it. Cost: 0.2 us a request; 10 us for one that
waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from enum import Enum, auto
from typing import Final, Protocol

from tcsql.errors import Overloaded

#: Work of one turn. A new connection takes five turns to be heard, so this and what refusing takes are well below the
#: 50 ms in which refusals are to come; what a turn costs by itself, 0.05 ms, is little beside it.
SLICE_S: Final = 0.003
#: Known queries and whatever else makes turns long leave those that wait as much time as they took, up to this.
_MOST_SLICE_S: Final = 0.02
#: Clients wait a second or two; this and an answer fit into that.
MOST_LINE_S: Final = 0.2
CROWDED_LINE_S: Final = 0.01
#: A longer line than was thought is cut at so many times the bound.
_TOO_LONG: Final = 2.0
#: What a request is thought to cost before any was answered, and of how many the mean is.
_FIRST_COST_S: Final = 0.0005
_MEAN_OF: Final = 32
#: The same for how much longer than their work turns are, and the most that one turn says: a crowd came in it.
_STRETCH_OF: Final = 8
_MOST_STRETCH: Final = 5.0
#: The server stays crowded for this long at least, and as long as one in ``_FEW`` requests was refused in such a time.
_LOOK_S: Final = 1.0
_FEW: Final = 50
#: New connections that are taken in a crowded turn beyond those that could be served in the last one.
_SPARE: Final = 4


def overloaded() -> Overloaded:
    """What those are told that are refused."""
    return Overloaded("more is asked than can be answered in time", "retry later; explain tells what queries cost")


class MustWait(Exception):
    """A request's turn has not come: ``turn`` waits for it."""


class Verdict(Enum):
    """Of a request that asks."""

    NOW = auto()
    WAIT = auto()
    REFUSE = auto()


class Waiting(Protocol):
    """A request in line. One of the two is called, once."""

    def go_on(self) -> bool:
        """Its turn has come. True: it has been worked on, or is gone; False: a task will as soon as we return."""

    def turn_away(self) -> None:
        """It is refused after all; that has been counted."""


class Admission:
    """One server's; belongs to an event loop. Without one every request is alone, and never refused."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.refused = 0
        self._loop = loop
        self._line: deque[Waiting] = deque()
        self._most_s = MOST_LINE_S
        #: Of the turn: when it began (None: none is under way), until when what comes is served at once, what was
        #: worked, and how many were admitted, also in the last one.
        self._began_s: float | None = None
        self._until_s = self._worked_s = 0.0
        self._admitted = self._admitted_before = 0
        #: Since when the request is worked on that was admitted last; None: it is done.
        self._served_from_s: float | None = None
        #: Seconds of work that a request costs, and how much longer turns are than that while there is a line.
        self._cost_s = _FIRST_COST_S
        self._stretch = 1.0
        #: While crowded: when the look began, and what was refused and admitted since.
        self._look_began_s = 0.0
        self._refused_since = self._admitted_since = 0

    @property
    def is_crowded(self) -> bool:
        """Whether more is asked than can be answered, lately."""
        return self._most_s == CROWDED_LINE_S

    @property
    def room(self) -> int:
        """How many new connections are worth taking in a turn of a crowded server."""
        return max(self._admitted, self._admitted_before) + _SPARE

    def ask(self) -> Verdict:
        """Whether a request is served, from NOW until ``end``; one that is to WAIT calls ``wait`` or ``turn``."""
        if self._loop is None:
            return Verdict.NOW
        now_s = time.perf_counter()
        if self._began_s is None:
            self._begin(now_s, SLICE_S)
            self._loop.call_soon(self._next_turn)
        elif self._line or now_s >= self._until_s:
            if self._line and self._line_s() >= self._most_s:
                self.refuse()
                return Verdict.REFUSE
            return Verdict.WAIT
        self._admitted += 1
        self._served_from_s = now_s
        return Verdict.NOW

    def admit(self) -> None:
        """As ``ask``, by raising: Overloaded, or MustWait."""
        verdict = self.ask()
        if verdict is Verdict.REFUSE:
            raise overloaded()
        if verdict is Verdict.WAIT:
            raise MustWait

    def wait(self, waiting: Waiting) -> None:
        """Stand in line."""
        self._line.append(waiting)

    async def turn(self) -> None:
        """Stand in line until it is this request's turn, which begins; raises Overloaded if it is refused after all."""
        waiting = _Task(asyncio.get_running_loop().create_future())
        self.wait(waiting)
        await waiting.future
        self.begin()

    def begin(self) -> None:
        """The turn of a request that waited has come: work on it begins."""
        self._served_from_s = time.perf_counter()

    def end(self) -> None:
        """The request that was admitted, if one was, has been answered or given on; nothing else ran meanwhile."""
        if self._served_from_s is None:
            return
        seconds = time.perf_counter() - self._served_from_s
        self._served_from_s = None
        self._worked_s += seconds
        self._cost_s += (seconds - self._cost_s) / _MEAN_OF

    def refuse(self) -> None:
        """A request is refused because too many wait."""
        self.refused += 1
        self._refused_since += 1
        if not self.is_crowded:
            self._most_s, self._look_began_s = CROWDED_LINE_S, time.perf_counter()
            self._refused_since, self._admitted_since = 1, 0

    def _line_s(self) -> float:
        """How long it takes to work off the line."""
        return len(self._line) * self._cost_s * self._stretch

    def _begin(self, now_s: float, slice_s: float) -> None:
        self._began_s, self._until_s, self._worked_s = now_s, now_s + slice_s, 0.0
        if self.is_crowded and now_s - self._look_began_s > _LOOK_S:
            self._look_again(now_s)

    def _next_turn(self) -> None:
        assert self._began_s is not None
        assert self._loop is not None
        now_s = time.perf_counter()
        last_s, worked_s = now_s - self._began_s, self._worked_s
        self._admitted_since += self._admitted
        self._admitted_before, self._admitted = self._admitted, 0
        if not self._line:
            self._began_s, self._stretch = None, 1.0
            return
        if worked_s > 0:
            self._stretch += (min(max(1.0, last_s / worked_s), _MOST_STRETCH) - self._stretch) / _STRETCH_OF
        self._begin(now_s, min(max(SLICE_S, last_s - worked_s), _MOST_SLICE_S))
        self._cut_line()
        try:
            self._work_off()
        finally:
            self._loop.call_soon(self._next_turn)  # behind the tasks whose turn it is

    def _work_off(self) -> None:
        soon_s = 0.0  # what tasks will take
        while self._line:
            self._admitted += 1
            if not self._line.popleft().go_on():
                soon_s += self._cost_s
            if time.perf_counter() + soon_s >= self._until_s:
                return

    def _cut_line(self) -> None:
        most = max(1, int(_TOO_LONG * MOST_LINE_S / self._cost_s))
        while len(self._line) > most:
            self.refuse()
            self._line.pop().turn_away()

    def _look_again(self, now_s: float) -> None:
        is_past = now_s - self._look_began_s > 2 * _LOOK_S  # nothing at all was asked for a second
        if is_past or self._refused_since * _FEW <= self._refused_since + self._admitted_since:
            self._most_s = MOST_LINE_S
        self._look_began_s = now_s
        self._refused_since = self._admitted_since = 0


class _Task:
    """A task in line."""

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future

    def go_on(self) -> bool:
        if self.future.done():  # cancelled
            return True
        self.future.set_result(None)
        return False

    def turn_away(self) -> None:
        if not self.future.done():
            self.future.set_exception(overloaded())
