"""Requests that wait for an lsn to become durable (``min_lsn``).

A heap by lsn: a group that becomes durable costs O(log n) for each waiter it wakes. A waiter that gave up stays
in the heap until its lsn comes or half of the heap is like it, so waiting for an lsn that never comes leaks nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

from tcsql.errors import WaitTimeout


class LsnWaiters:
    def __init__(self) -> None:
        self._heap: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._given_up = 0

    def __len__(self) -> int:
        return len(self._heap)

    async def wait(self, lsn: int, timeout_s: float) -> None:
        """Return when ``wake`` has reached ``lsn``; raises WaitTimeout."""
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, (lsn, next(self._order), future))
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            raise WaitTimeout(f"lsn {lsn} was not reached in {timeout_s:g} s", "repeat the request") from None
        finally:
            if future.cancelled():
                self._give_up()

    def _give_up(self) -> None:
        self._given_up += 1
        if self._given_up > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if not entry[2].done()]
            heapq.heapify(self._heap)
            self._given_up = 0

    def wake(self, lsn: int) -> None:
        """Everything up to ``lsn`` is durable."""
        while self._heap and self._heap[0][0] <= lsn:
            future = heapq.heappop(self._heap)[2]
            if future.done():
                self._given_up -= 1
            else:
                future.set_result(None)
