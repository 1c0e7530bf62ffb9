"""Long reads: those that need several turns of the event loop run beside few others, and nobody takes all the places.

    async with long_reads.place(caller, address): ...      raises Overloaded when no place becomes free in time

There are ``MOST_RUNNING`` places. One key may have ``SHARE`` of them, everybody without a key together as many, and one
address without a key ``ADDRESS_SHARE``: whoever asks for what takes long, as often as it likes, keeps others from half
of the places at most. More would not serve anybody sooner, since all of them share one processor. This machine, while
there are no keys, may have all: nobody else can ask.

Who has its share waits in a line of its own, and then in that for the places. A read that would wait ``MOST_WAIT_S`` is
refused at once, by how fast its line moved lately, and one that has waited so long, because others took longer, is
refused then.

Cost: 20 us a read, and 1 KB a caller while one of its reads is under way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from tcsql.access.callers import ANONYMOUS, LOCAL, Caller
from tcsql.http.admission import overloaded

#: Each gets a slice of 5 ms in its turn, so the others wait 40 ms at most for the next.
MOST_RUNNING: Final = 8
#: Of one key; of all without one.
SHARE: Final = 4
#: Of one address without a key.
ADDRESS_SHARE: Final = 2
MOST_WAIT_S: Final = 1.0
#: How much of what was known of the pace is left when another place has become free.
_KEPT: Final = 0.9


class _Line:
    """Some places, and who waits for one of them, first come first served."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._waiting = 0
        #: Who waits or has a place.
        self.concerned = 0
        #: Seconds between two places that become free while somebody waits, and when the last one did.
        self._pace_s = self._freed_s = 0.0

    @property
    def is_hopeless(self) -> bool:
        """Whether one more would wait too long."""
        return self._waiting * self._pace_s > MOST_WAIT_S

    async def enter(self) -> None:
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        now_s = time.perf_counter()
        if self._waiting and self._freed_s:  # else it says how little is asked
            self._pace_s = _KEPT * self._pace_s + (1 - _KEPT) * (now_s - self._freed_s)
        self._freed_s = now_s if self._waiting else 0.0
        self._free.release()


class LongReads:
    """One server's. ``refused`` is called for each read that gets no place."""

    def __init__(self, refused: Callable[[], None] = lambda: None) -> None:
        self._refused = refused
        self._places = _Line(MOST_RUNNING)
        #: Of callers, by what they are known by, while one of their reads is under way.
        self._shares: dict[tuple[str, str], _Line] = {}

    def __len__(self) -> int:
        """Callers of whom something is remembered."""
        return len(self._shares)

    @asynccontextmanager
    async def place(self, caller: Caller, address: str) -> AsyncIterator[None]:
        """A place among the long reads; raises Overloaded when none becomes, or would become, free in time."""
        shares = _shares_of(caller, address)
        lines = [*(self._shares.setdefault(name, _Line(most)) for name, most in shares), self._places]
        entered: list[_Line] = []
        for line in lines:
            line.concerned += 1
        try:
            await self._enter(lines, entered)
            yield
        finally:
            for line in reversed(entered):
                line.leave()
            for line in lines:
                line.concerned -= 1
            for name, _ in shares:
                if not self._shares[name].concerned:
                    del self._shares[name]

    async def _enter(self, lines: Sequence[_Line], entered: list[_Line]) -> None:
        try:
            async with asyncio.timeout(MOST_WAIT_S):
                for line in lines:
                    if line.is_hopeless:
                        raise TimeoutError
                    await line.enter()
                    entered.append(line)
        except TimeoutError:
            self._refused()
            raise overloaded() from None


def _shares_of(caller: Caller, address: str) -> Sequence[tuple[tuple[str, str], int]]:
    """What a caller is known by, and the places that it may have; narrow lines first."""
    if caller is LOCAL:
        return ()
    if caller is ANONYMOUS:
        return (("address", address), ADDRESS_SHARE), (("key", caller.id), SHARE)
    return ((("key", caller.id), SHARE),)
