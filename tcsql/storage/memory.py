"""The memory budget: how much the machine or its cgroup allows, and whether another write may still grow.

Two measures. What the tables hold, by the engine's own estimate, must stay below the limit. What the process
occupies (resident set) may cross it for other reasons, and does not shrink when rows are deleted: freed memory
stays with the allocator. So at the moment of crossing the size of the tables is remembered, and writes may grow
the tables up to that size again: it reuses what was freed.

Cost: the resident set is read at most every 50 ms, about 5 us.

``tune_process`` makes allocator and collector fit for a process that holds millions of rows.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tcsql.engine.change import Delete, DeleteKeys, DropColumn, DropIndex, DropTable, Truncate

#: Changes that are taken when the budget is full.
SHRINKING: Final = (Delete, DeleteKeys, Truncate, DropTable, DropColumn, DropIndex)
_SHARE: Final = 0.8
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_EVERY_S: Final = 0.05
#: From this part of the limit on automatic indexes are given up, and up to that one they are made.
_SHORT: Final = 0.95
_UNASKED: Final = 0.9
#: cgroup v1 says "no limit" with the largest page-aligned 63-bit number.
_NO_LIMIT: Final = 1 << 60


#: mallopt(3): blocks from this size on are mapped, and given back to the system the moment they are freed.
_M_MMAP_THRESHOLD: Final = -3
_MAPPED_BYTES: Final = 1 << 20
#: The default of 700 new objects makes a collection every 150 rows of a load; that is a third of the load's time.
#: The middle generation then holds 100,000 objects at most: grouping 300,000 rows by key never stalls above 11 ms,
#: with (50_000, 20, 100) it did for 45.
_COLLECT: Final = (10_000, 10, 100)


def tune_process() -> None:
    """Set up this process for holding much and making little garbage; to be called once, before a store is opened.

    glibc raises the size from which it maps blocks up to 32 MB as such blocks are freed; what a recovery used on its
    way would then stay with the process: 70 bytes a row.
    """
    gc.set_threshold(*_COLLECT)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library: nothing is known about its habits
    mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def default_limit() -> int:
    """80 % of the machine's or the cgroup's memory."""
    return int(available_bytes() * _SHARE)


def available_bytes() -> int:
    """What the machine or the tightest cgroup around this process has."""
    return min(os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES, cgroup_bytes(Path("/")))


def cgroup_bytes(root: Path) -> int:
    """The tightest memory limit of this process' cgroups, v1 or v2; a huge number when there is none."""
    limits = [_NO_LIMIT]
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return _NO_LIMIT
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            limits += _limits_up(root / "sys/fs/cgroup", group, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_up(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
    return min(limits)


def _limits_up(mount: Path, group: str, name: str) -> list[int]:
    """Limits of a cgroup and of all above it; in a container the own path may be missing, the top never is."""
    found = []
    directory = mount / group.lstrip("/")
    for step in (directory, *directory.parents):
        try:
            text = (step / name).read_text().strip()
        except OSError:
            text = "max"
        if text != "max":
            found.append(int(text))
        if step == mount:
            break
    return found


def resident_bytes() -> int:
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read(128).split()[1]) * _PAGE_BYTES


class Budget:
    """Says whether writes that grow are still welcome."""

    def __init__(
        self,
        limit_bytes: int,
        held_bytes: Callable[[], int],
        resident: Callable[[], int] = resident_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_bytes = limit_bytes
        self._held_bytes = held_bytes
        self._resident = resident
        self._clock = clock
        self._looked_at = float("-inf")
        self._ceiling: int | None = None
        self._is_full = False
        self._occupied = 0

    def is_full(self) -> bool:
        """Whether a write that grows has to be refused; the answer may be 50 ms old."""
        now = self._clock()
        if now - self._looked_at >= _EVERY_S:
            self._looked_at = now
            self._is_full = self._look()
        return self._is_full

    def is_short(self) -> bool:
        """Whether what can be spared should go: nearly all of the limit is used, or writes are refused already."""
        return self._held_bytes() > _SHORT * self.limit_bytes or self.is_full()

    def room_bytes(self) -> int:
        """What may be added without need: up to nine tenths of the limit, by either measure. Negative: nothing."""
        return int(_UNASKED * self.limit_bytes) - max(self._held_bytes(), self._occupies())

    def _occupies(self) -> int:
        with suppress(OSError):  # no descriptor is left for looking: what was seen last has to do
            self._occupied = self._resident()
        return self._occupied

    def _look(self) -> bool:
        held = self._held_bytes()
        if self._occupies() <= self.limit_bytes:
            self._ceiling = None
        elif self._ceiling is None:
            self._ceiling = held
        return held > self.limit_bytes or (self._ceiling is not None and held >= self._ceiling)
