"""The stall meter: how long the event loop has been away, and what it did meanwhile.

A timer on the loop comes every 10 ms. When it comes late, something has kept the loop: one callback that did not
return (a stall), a collection of garbage, or simply many short requests in one turn, which libuv serves before it
looks at its timers (48 times 1,024 of them at most). The last is counted apart as *busy*: at least one request was
answered per millisecond, so nobody waited for another's work. How late says at least how long: up to 10 ms more.

Each timer sets an alarm (``setitimer``) for when it is 20 ms overdue, and the next one puts it off: the alarm only
rings in a stall, on the loop's own thread, and notes which functions were running. No thread wakes up for that, and
a call into C that takes long (freeing a big dict, collecting) shows as the function that made it.

A machine with other things to do keeps the loop, too. Of each stall the system says how long the thread was ready to
run and had no core (``waited_ms``); what is above that is the program's own: work, a lock, a page from the disk.

Cost: 5 us a timer, 0.05 % of a core; nothing per request; 1 us a collection.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import Final

PERIOD_S: Final = 0.010
#: Lateness from which on it counts: the timer's own grain is a millisecond, a slice of work is 5.
LATE_S: Final = 0.005
#: A timer that is this late has its stack looked at; O-2 allows 50 ms.
ALARM_S: Final = 0.020
BOUNDS_MS: Final = (5, 20, 50, 100)
#: The last stalls as long as that are kept for ``/status``, and so many functions noted of each.
KEPT: Final = 20
_FRAMES: Final = 12
_BUSY_REQUESTS_PER_S: Final = 1_000


class StallMeter:
    """One for each event loop. ``answered`` says how many requests have been answered so far."""

    def __init__(self, answered: Callable[[], int] = lambda: 0, clock: Callable[[], float] = time.perf_counter) -> None:
        self._answered = answered
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._alarm_is_ours = False
        self._due = self._cpu = self._waited = 0.0
        self._queue = RunQueue()
        self._done = 0
        self._stack: list[str] = []
        self._threads: list[str] = []
        self.stalls = Lateness()
        self.busy = Lateness()
        self.pauses = GcPauses(clock)
        self._paused = 0.0
        #: Called with each timer; nothing that takes time.
        self.on_tick: Callable[[], None] | None = None
        self.recent: deque[dict[str, object]] = deque(maxlen=KEPT)

    def start(self) -> None:
        """Begin; from the loop's thread. The alarm needs the main thread, elsewhere stalls carry no stack."""
        self._loop = asyncio.get_running_loop()
        gc.callbacks.append(self.pauses)
        self._queue.open()
        on_main = threading.current_thread() is threading.main_thread()
        if on_main and hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.siginterrupt(signal.SIGALRM, False)  # system calls of other threads go on
            self._alarm_is_ours = True
        self._next()

    def stop(self) -> None:
        """End; what was counted stays."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        gc.callbacks.remove(self.pauses)
        self._queue.close()
        if self._alarm_is_ours:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _next(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(PERIOD_S, self._tick)
        if self._alarm_is_ours:
            signal.setitimer(signal.ITIMER_REAL, PERIOD_S + ALARM_S)
        self._due = self._clock() + PERIOD_S
        self._cpu = time.thread_time()
        self._waited = self._queue.waited_s()
        self._done = self._answered()
        self._paused = self.pauses.total_s

    def _tick(self) -> None:
        late = self._clock() - self._due
        if late >= LATE_S:
            self._count(late)
        self._stack = self._threads = []
        if self.on_tick is not None:
            self.on_tick()
        self._next()

    def _count(self, late: float) -> None:
        requests = self._answered() - self._done
        if requests >= late * _BUSY_REQUESTS_PER_S:
            self.busy.add(late)
            return
        self.stalls.add(late)
        if late < ALARM_S:
            return
        self.recent.append(
            {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "ms": _ms(late),
                # far below ``ms``: it waited, for a core, a page, or a thread that held the interpreter
                "cpu_ms": _ms(max(0.0, time.thread_time() - self._cpu)),
                "waited_ms": _ms(self._queue.waited_s() - self._waited),
                "gc_ms": _ms(self.pauses.total_s - self._paused),
                "requests": requests,
                "stack": self._stack,
                "threads": self._threads,  # what the other threads were at: one of them may have held the interpreter
            }
        )

    def _on_alarm(self, _number: int, frame: FrameType | None) -> None:
        """The loop is overdue; runs on its thread between two instructions of what keeps it."""
        self._stack = _functions(frame, _FRAMES)
        own = threading.get_ident()
        others = (other for ident, other in sys._current_frames().items() if ident != own)  # noqa: SLF001  # documented
        self._threads = [" < ".join(_functions(other, 3)) for other in others]

    def status(self) -> dict[str, object]:
        """Plain figures for ``/status``."""
        return {
            "period_ms": _ms(PERIOD_S),
            **self.stalls.plain(),
            "busy": self.busy.plain(),
            "gc": self.pauses.plain(),
            "recent": list(self.recent),
        }


class RunQueue:
    """How long the thread that opened it was ready to run and had no core, as Linux counts it; 0 elsewhere."""

    def __init__(self) -> None:
        self._file = -1

    def open(self) -> None:
        with contextlib.suppress(OSError):  # another system, or a kernel that does not count
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def waited_s(self) -> float:
        """Seconds so far. 2 us."""
        if self._file < 0:
            return 0.0
        return int(os.pread(self._file, 64, 0).split()[1]) / 1e9


class Lateness:
    """How often by how much: counts above each bound, the longest, and all of it."""

    __slots__ = ("_above", "count", "longest_s", "total_s")

    def __init__(self) -> None:
        self._above = [0] * len(BOUNDS_MS)
        self.count = 0
        self.longest_s = self.total_s = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_s += seconds
        self.longest_s = max(self.longest_s, seconds)
        for place, bound in enumerate(BOUNDS_MS):
            if seconds * 1_000 <= bound:
                break
            self._above[place] += 1

    def upto(self) -> list[tuple[float, int]]:
        """(bound in seconds, how many were not longer), the bounds of a histogram."""
        return [(bound / 1_000, self.count - above) for bound, above in zip(BOUNDS_MS, self._above, strict=True)]

    def plain(self) -> dict[str, object]:
        """Plain figures.

        >>> late = Lateness()
        >>> for seconds in (0.006, 0.030, 0.070): late.add(seconds)
        >>> late.plain()
        {'over_ms': {'5': 3, '20': 2, '50': 1, '100': 0}, 'longest_ms': 70.0}
        """
        over = {str(bound): count for bound, count in zip(BOUNDS_MS, self._above, strict=True)}
        return {"over_ms": over, "longest_ms": _ms(self.longest_s)}


class GcPauses:
    """Time spent in the garbage collector, by generation; an entry of ``gc.callbacks``."""

    __slots__ = ("_began", "_by_generation", "_clock", "total_s")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = 0.0
        self.total_s = 0.0
        #: Of each generation: collections, seconds in all, the longest.
        self._by_generation = [[0, 0.0, 0.0] for _ in range(3)]

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = self._clock()
            return
        seconds = self._clock() - self._began
        self.total_s += seconds
        figures = self._by_generation[info["generation"]]
        figures[0] += 1
        figures[1] += seconds
        figures[2] = max(figures[2], seconds)

    def seconds(self) -> list[tuple[int, float]]:
        """(collections, seconds) of each generation."""
        return [(int(count), total) for count, total, _ in self._by_generation]

    def plain(self) -> list[dict[str, object]]:
        """One entry a generation, the youngest first."""
        return [
            {"collections": int(count), "ms": _ms(total), "longest_ms": _ms(longest)}
            for count, total, longest in self._by_generation
        ]


def _functions(frame: FrameType | None, most: int) -> list[str]:
    """The innermost functions, by module, name and line."""
    found: list[str] = []
    while frame is not None and len(found) < most:
        found.append(f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return found


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 3)
