"""Cells and rounds: what is measured one after another, in which order, and the ratios that are made of it.

In a round every (connections, query) is asked of every stack, one right after the other in a shuffled order, so that
what slows a busy machine for a minute slows all of them. A ratio is the median of the rounds' own ratios.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, Final

import psutil  # type: ignore[import-untyped]  # ships no types

from loadtest import wrk
from loadtest.stacks import Stack
from loadtest.template import Template

#: One measurement as it is kept: plain data, because the report is made from the file.
Cell = dict[str, Any]
#: At least this share of its core taken: the generator was the limit, or near it.
SATURATED: Final = 0.95
#: More than this share of a core taken by strangers to the measurement: the cell is disturbed.
DISTURBED: Final = 0.1


def measure(stack: Stack, template: Template, connections: int, seconds: float, seed: int) -> Cell:
    """One cell of a stack that is awake."""
    before, all_before = stack.cpu_s(), _all_cpu_s()
    found = wrk.run(stack.port, template, connections, seconds, seed)
    used = stack.cpu_s() - before
    others = _all_cpu_s() - all_before - used - found.generator_core * found.seconds
    cell: Cell = {"stack": stack.name, "connections": connections, "per_s": round(found.per_s, 1), **asdict(found)}
    cell["server_core"] = round(used / found.seconds, 3)
    cell["others_core"] = round(max(0.0, others / found.seconds), 3)
    cell["resident_bytes"] = stack.resident_bytes()
    cell["void"] = found.is_void
    return cell


def _all_cpu_s() -> float:
    """Processor time of everything on this machine, without interrupts."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def rounds(
    stacks: Mapping[str, Stack],
    queries: Iterable[str],
    connections: Sequence[int],
    count: int,
    seconds: float,
    keep: Callable[[Cell], None],
) -> None:
    """All cells of all rounds; each is handed to ``keep`` as soon as it is there."""
    shuffle = random.Random()
    asked = list(queries)
    for number in range(count):
        for many in connections:
            for query in asked:
                order = list(stacks.values())
                shuffle.shuffle(order)
                seed = number * 1_000_003 + many * 31 + asked.index(query)
                for stack in order:
                    with stack.awake():
                        cell = measure(stack, stack.asks[query], many, seconds, seed)
                    keep({"round": number, "query": query, **cell})


def chosen(cells: Iterable[Cell], **wanted: object) -> list[Cell]:
    """Cells with these values that are not void, in the order of their rounds."""
    found = [cell for cell in cells if not cell["void"] and all(cell[key] == value for key, value in wanted.items())]
    return sorted(found, key=lambda cell: cell["round"])


def middle(cells: Iterable[Cell], value: str = "per_s") -> float | None:
    """The median of a value; None when no cell counts.

    >>> middle([{"per_s": 3.0}, {"per_s": 1.0}, {"per_s": 2.0}])
    2.0
    """
    values = [float(cell[value]) for cell in cells]
    return median(values) if values else None


def ratio(cells: Sequence[Cell], reference: Sequence[Cell]) -> float | None:
    """The median of the ratios of cells to those of the same round; None when no round has both.

    >>> ours, theirs = {"round": 0, "per_s": 8}, {"round": 0, "per_s": 2}
    >>> ratio([ours, {"round": 1, "per_s": 6}], [{"round": 1, "per_s": 3}, theirs])
    3.0
    """
    other = {cell["round"]: float(cell["per_s"]) for cell in reference if cell["per_s"]}
    found = [float(cell["per_s"]) / other[cell["round"]] for cell in cells if cell["round"] in other]
    return median(found) if found else None
