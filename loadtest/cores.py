"""Which core does what: servers on one, the generator on another, so that neither takes the other's time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

SERVER: Final = frozenset({0})
GENERATOR: Final = frozenset({1})
BOTH: Final = SERVER | GENERATOR


@contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """What is started inside, and this thread itself, run there only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(pid: int, cores: frozenset[int]) -> None:
    """Move a process with all its threads; threads it makes later inherit."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(int(thread.name), cores)
