"""Overload: what would only wait is refused at once, and the rest is answered."""

from __future__ import annotations

import asyncio
import time

import pytest

from tcsql.errors import Overloaded
from tcsql.http import admission
from tcsql.http.admission import Admission, MustWait


def test_what_comes_when_a_turn_has_worked_for_a_slice_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "SLICE_S", 0.1)

    async def turns() -> None:
        door = Admission(asyncio.get_running_loop())
        door.admit()
        door.admit()  # it has just begun
        time.sleep(0.11)
        with pytest.raises(MustWait):
            door.admit()
        await asyncio.sleep(0)  # another turn
        door.admit()
        assert door.refused == 0

    asyncio.run(turns())


def test_long_reads_run_beside_few_others_and_wait_for_a_place_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_RUNNING", 2)
    monkeypatch.setattr(admission, "MOST_WAIT_S", 0.3)
    running = most = 0

    async def read(door: Admission, until: asyncio.Event) -> None:
        nonlocal running, most
        async with door.place():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            await until.wait()
            running -= 1

    async def reads() -> None:
        door, at_once, never = Admission(asyncio.get_running_loop()), asyncio.Event(), asyncio.Event()
        at_once.set()
        await asyncio.gather(*(read(door, at_once) for _ in range(10)))
        assert most == 2
        first = [asyncio.create_task(read(door, never)) for _ in range(2)]
        await asyncio.sleep(0)  # they have their places
        with pytest.raises(Overloaded):
            await read(door, never)
        never.set()
        await asyncio.gather(*first)
        await read(door, at_once)  # the places are free again
        assert door.refused == 1

    asyncio.run(reads())


def test_a_long_read_that_would_wait_too_long_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_RUNNING", 1)
    monkeypatch.setattr(admission, "MOST_WAIT_S", 0.2)

    async def read(door: Admission) -> tuple[bool, float]:
        asked_s = time.perf_counter()
        try:
            async with door.place():
                await asyncio.sleep(0.01)
        except Overloaded:
            return False, time.perf_counter() - asked_s
        return True, time.perf_counter() - asked_s

    async def reads() -> None:
        door = Admission(asyncio.get_running_loop())
        first = [asyncio.create_task(read(door)) for _ in range(100)]  # four times what can be done in the time
        await asyncio.sleep(0.15)
        refused = await asyncio.gather(*(read(door) for _ in range(50)))
        assert not any(is_good for is_good, _ in refused)
        # a turn of the loop, whatever else the machine does; who waits for it waits 0.2 s
        assert sorted(seconds for _, seconds in refused)[25] < 0.1, "nobody waits to hear it"
        assert sum(is_good for is_good, _ in await asyncio.gather(*first)) >= 5
        assert (await read(door))[0], "it is over"

    asyncio.run(reads())


def test_without_an_event_loop_nothing_is_refused() -> None:
    door = Admission(None)
    door.admit()
    time.sleep(0.001)
    door.admit()
    assert door.refused == 0
