"""Long work on the event loop in slices, so that other requests get their turn in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import Final, TypeVar

#: A query works this long before other requests get a turn.
SLICE_S: Final = 0.005

T = TypeVar("T")


async def in_slices(steps: Generator[None, None, T]) -> T:
    """Drive steps to their result, giving way to others every 5 ms."""
    until = time.perf_counter() + SLICE_S
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if time.perf_counter() >= until:
            await asyncio.sleep(0)
            until = time.perf_counter() + SLICE_S


class Turn:
    """For writers that never have to wait: 5 ms of a turn of the event loop between them, then others run."""

    def __init__(self) -> None:
        self._began: float | None = None

    async def give_way(self) -> None:
        """Return at once, or after everybody else had a turn."""
        now = time.perf_counter()
        if self._began is None:
            self._began = now
            asyncio.get_running_loop().call_soon(self._end)
        elif now - self._began >= SLICE_S:
            await asyncio.sleep(0)

    def _end(self) -> None:
        self._began = None
