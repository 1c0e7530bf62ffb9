"""Writing: single-row inserts by themselves, and reading while rows are written.

*writes*: 64 keep-alive connections, each insert answered after it is on disk (TCSQL: durability ``always``; MariaDB:
``innodb_flush_log_at_trx_commit=1``). Once on the servers' core, and once on both cores, which the generator then
shares. Afterwards the table is asked whether it has grown by every row that was acknowledged.

*mixed*: the rate of q1 to q3 while 2,000 rows/s are written, as a ratio to the same without, one right after the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from benchmarks.processes import environment
from benchmarks.shape import TABLE
from loadtest import asked
from loadtest.cells import Cell, measure
from loadtest.cores import BOTH, GENERATOR, SERVER, on_cores
from loadtest.stacks import Stack
from loadtest.template import get

CLIENTS: Final = 64
ROWS_PER_S: Final = 2_000
#: Connections of the readers in *mixed*.
READERS: Final = 100
#: How the rows of *mixed* come: one a request, as from web pages, or some together, as from a follower.
PACES: Final[Mapping[str, int]] = {"none": 0, "single": 1, "batches": 100}


class Keys:
    """Hands out ranges of keys that no row has."""

    def __init__(self) -> None:
        self._next = asked.FIRST_WRITTEN

    def take(self) -> int:
        first = self._next
        self._next += asked.WRITTEN_STEP
        return first


def inserts(stacks: Mapping[str, Stack], count: int, seconds: float, keys: Keys, keep: Callable[[Cell], None]) -> None:
    """Rounds of single-row inserts at every stack that takes them."""
    subjects = [(stacks[name], SERVER) for name in ("fast", "slow", "mariadb") if name in stacks]
    subjects += [(stacks["fast"], BOTH)] if "fast" in stacks else []
    for number in range(count):
        for stack, cores in subjects if number % 2 == 0 else reversed(subjects):
            spell = asked.insert_peer if stack.name == "mariadb" else asked.insert_ours
            with stack.awake():
                stack.pin(cores)
                before = _rows(stack)
                cell = measure(stack, spell(keys.take()), CLIENTS, seconds, number)
                kept = _rows(stack) - before if before is not None else None
                stack.pin(SERVER)
            # wrk stops with up to one answer a connection under way, which may be done or not
            assert kept is None or cell["requests"] <= kept <= cell["requests"] + CLIENTS, (kept, cell)
            keep({"round": number, "query": asked.INSERT, "cores": len(cores), "rows_kept": kept, **cell})


def _rows(stack: Stack) -> Any:
    """How many rows a TCSQL has; None for others."""
    if stack.name not in ("fast", "slow"):
        return None
    return json.loads(stack.send(get(f"/?command=select&type=count&table={TABLE}").filled(()))[1])["count"]


def mixed(stacks: Mapping[str, Stack], count: int, seconds: float, keys: Keys, keep: Callable[[Cell], None]) -> None:
    """Rounds of q1 to q3 with each pace of writing."""
    stack = stacks["fast"]
    for number in range(count):
        for query in ("q1", "q2", "q3"):
            paces = list(PACES)
            for pace in paces if number % 2 == 0 else reversed(paces):
                with stack.awake(), writing(stack.port, PACES[pace], keys) as written:
                    cell = measure(stack, stack.asks[query], READERS, seconds, number)
                keep({"round": number, "query": query, "writes": pace, "written": written, **cell})


@contextmanager
def writing(port: int, per_request: int, keys: Keys) -> Iterator[dict[str, Any]]:
    """Rows are written inside; what came of it stands in the dict afterwards. ``per_request`` 0: none."""
    found: dict[str, Any] = {}
    if not per_request:
        yield found
        return
    command = [sys.executable, "-m", "loadtest.writer", str(port), str(ROWS_PER_S), str(per_request), str(keys.take())]
    with on_cores(GENERATOR):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield found
        process.terminate()
        found.update(json.loads(process.communicate(timeout=30)[0]))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
