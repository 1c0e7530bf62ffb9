"""Long reads: few at once, nobody takes all the places, and what would wait too long is refused at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tcsql.access.callers import ANONYMOUS, LOCAL, Caller, Rights
from tcsql.access.scopes import Scope, held
from tcsql.errors import Overloaded
from tcsql.http import longreads
from tcsql.http.longreads import ADDRESS_SHARE, MOST_RUNNING, SHARE, LongReads

READER = Rights(held({Scope.READ}))
KEY, OTHER = Caller("aaaaaaaa", READER), Caller("bbbbbbbb", READER)


class Crowd:
    """Reads that last until they are told to end."""

    def __init__(self, reads: LongReads) -> None:
        self._reads = reads
        self._end = asyncio.Event()
        self.running: list[tuple[Caller, str]] = []
        self.refused: list[tuple[Caller, str]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, times: int, caller: Caller, address: str = "203.0.113.1") -> None:
        self._tasks += [asyncio.create_task(self._read(caller, address)) for _ in range(times)]
        for _ in range(5):
            await asyncio.sleep(0)

    async def _read(self, caller: Caller, address: str) -> None:
        try:
            async with self._reads.place(caller, address):
                self.running.append((caller, address))
                await self._end.wait()
        except Overloaded:
            self.refused.append((caller, address))

    async def end(self) -> None:
        self._end.set()
        await asyncio.gather(*self._tasks)


def within(test: Callable[[LongReads, Crowd], object]) -> LongReads:
    async def run() -> LongReads:
        reads = LongReads()
        crowd = Crowd(reads)
        await test(reads, crowd)  # type: ignore[misc]  # each test gives a coroutine
        await crowd.end()
        return reads

    return asyncio.run(run())


def test_one_key_takes_half_of_the_places_and_others_find_theirs_free() -> None:
    async def test(reads: LongReads, crowd: Crowd) -> None:
        await crowd.ask(50, KEY)
        assert crowd.running == [(KEY, "203.0.113.1")] * SHARE
        await crowd.ask(SHARE, OTHER)
        assert len(crowd.running) == SHARE * 2 == MOST_RUNNING

    assert len(within(test)) == 0


def test_strangers_take_half_of_the_places_together_and_one_address_fewer() -> None:
    async def test(reads: LongReads, crowd: Crowd) -> None:
        await crowd.ask(20, ANONYMOUS, "203.0.113.1")
        assert len(crowd.running) == ADDRESS_SHARE
        await crowd.ask(1, ANONYMOUS, "203.0.113.2")
        assert crowd.running[-1] == (ANONYMOUS, "203.0.113.2")
        for number in range(20):
            await crowd.ask(1, ANONYMOUS, f"198.51.100.{number}")
        assert len(crowd.running) == SHARE
        await crowd.ask(SHARE, KEY)
        assert len(crowd.running) == MOST_RUNNING

    assert len(within(test)) == 0


def test_this_machine_may_have_all_places_while_there_are_no_keys() -> None:
    async def test(reads: LongReads, crowd: Crowd) -> None:
        await crowd.ask(20, LOCAL, "")
        assert len(crowd.running) == MOST_RUNNING

    within(test)


def test_those_who_wait_for_their_share_keep_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longreads, "MOST_WAIT_S", 0.2)

    async def run() -> None:
        refusals: list[int] = []
        reads = LongReads(lambda: refusals.append(1))

        async def read(caller: Caller, lasts_s: float) -> float:
            began_s = time.perf_counter()
            async with reads.place(caller, ""):
                waited_s = time.perf_counter() - began_s
                await asyncio.sleep(lasts_s)
            return waited_s

        greedy = [asyncio.create_task(read(KEY, 0.05)) for _ in range(200)]
        await asyncio.sleep(0.02)
        assert await read(OTHER, 0) < 0.02  # its places are free, however many wait for those of the other
        found = await asyncio.gather(*greedy, return_exceptions=True)
        refused = [each for each in found if isinstance(each, Overloaded)]
        assert SHARE <= len(found) - len(refused) <= 200 - SHARE
        assert len(refusals) == len(refused)
        assert len(reads) == 0

    asyncio.run(run())


def test_a_place_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longreads, "MOST_WAIT_S", 0.1)

    async def test(reads: LongReads, crowd: Crowd) -> None:
        await crowd.ask(MOST_RUNNING + 2, LOCAL, "")
        async with asyncio.timeout(5):
            while len(crowd.refused) < 2:
                await asyncio.sleep(0.01)
        assert len(crowd.running) == MOST_RUNNING

    within(test)


def test_a_read_that_would_wait_too_long_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longreads, "MOST_RUNNING", 1)
    monkeypatch.setattr(longreads, "MOST_WAIT_S", 0.2)

    async def run() -> None:
        reads = LongReads()

        async def read() -> tuple[bool, float]:
            asked_s = time.perf_counter()
            try:
                async with reads.place(LOCAL, ""):
                    await asyncio.sleep(0.01)
            except Overloaded:
                return False, time.perf_counter() - asked_s
            return True, time.perf_counter() - asked_s

        first = [asyncio.create_task(read()) for _ in range(100)]  # four times what can be done in the time
        await asyncio.sleep(0.15)
        late = await asyncio.gather(*(read() for _ in range(50)))
        assert all(waited_s < 0.1 for done, waited_s in late if not done)
        assert not all(done for done, _ in late)
        assert any(done for done, _ in await asyncio.gather(*first))

    asyncio.run(run())
