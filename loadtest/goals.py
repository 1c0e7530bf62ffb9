"""The goals, and what was reached of each: figures from the results, judged without a tolerance. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.report import number
from loadtest.cells import Cell, chosen, middle, ratio

QUERIES: Final = ("q1", "q2", "q3", "q4")
#: (connections, reference, goals of q1 to q4): the rate of our fast lane as a multiple of the reference's.
RATIOS: Final = (
    (10_000, "constant", (0.90, 0.90, 0.85, 0.85)),
    (10_000, "redis", (2.5, 2.5, 3.0, 2.0)),
    (10_000, "mariadb", (15.0, 15.0, 20.0, 300.0)),
    (1_000, "constant", (0.90, 0.90, 0.85, 0.85)),
    (1_000, "redis", (2.5, 2.5, 3.0, 2.0)),
    (1_000, "mariadb", (15.0, 15.0, 20.0, 300.0)),
    (100, "constant", (0.90, 0.85, 0.80, 0.80)),
)
_WORDS: Final[Mapping[str, str]] = {
    "constant": "of nginx returning a constant",
    "redis": "times nginx + Lua + Redis",
    "mariadb": "times Starlette + MariaDB",
}
INSERTS_PER_S: Final = 20_000
WHILE_WRITING: Final = 0.8
AT_OVERLOAD: Final = 0.9
OVERLOAD: Final = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """A goal ("at least") and the figure; None: not measured, or all were void. ``query``: of which, if of one."""

    what: str
    goal: float
    reached: float | None
    unit: str = "x"
    query: str = ""

    @property
    def verdict(self) -> str:
        if self.reached is None:
            return "not measured"
        return "yes" if self.reached >= self.goal else "no"

    def cells(self) -> tuple[str, str, str, str]:
        reached = "" if self.reached is None else f"{_shown(self.reached)} {self.unit}"
        return self.what, f"{_shown(self.goal)} {self.unit}", reached, self.verdict


def _shown(value: float) -> str:
    return f"{value:.2f}" if value < 10 else number(value)


def judge(results: Mapping[str, Any]) -> list[Judged]:
    """All goals that the content of peers.json can say something about."""
    found: list[Judged] = []
    if "peers" in results:
        found += _peers(results["peers"])
    if "writes" in results:
        found.append(_inserts(results["writes"]["cells"]))
    if "mixed" in results:
        found += _mixed(results["mixed"]["cells"])
    if "overload" in results:
        found += _overload(results["overload"])
    return found


def of_reference(
    cells: Sequence[Cell], query: str, connections: int, reference: str, subject: str = "fast"
) -> float | None:
    """The rate of a stack as a multiple of another's, of the same query and as many connections."""
    where = {"query": query, "connections": connections}
    return ratio(chosen(cells, stack=subject, **where), chosen(cells, stack=reference, **where))


def _peers(section: Mapping[str, Any]) -> Iterator[Judged]:
    for connections, reference, goals in RATIOS:
        for query, goal in zip(QUERIES, goals, strict=True):
            reached = of_reference(section["cells"], query, connections, reference)
            yield Judged(f"at {connections:,} connections, {_WORDS[reference]}", goal, reached, query=query)


def _inserts(cells: Sequence[Cell]) -> Judged:
    """The better of one core and both: the goal does not say which."""
    rates = [middle(chosen(cells, stack="fast", cores=cores)) for cores in (1, 2)]
    known = [rate for rate in rates if rate is not None]
    what = "single-row inserts over 64 connections, each on disk before its answer"
    return Judged(what, INSERTS_PER_S, max(known, default=None), "rows/s")


def while_writing(cells: Sequence[Cell], query: str, pace: str) -> float | None:
    return ratio(chosen(cells, query=query, writes=pace), chosen(cells, query=query, writes="none"))


def _mixed(cells: Sequence[Cell]) -> Iterator[Judged]:
    paces = {"single": "one by one", "batches": "in batches of 100"}
    for pace, words in paces.items():
        for query in QUERIES[:3]:
            what = f"while 2,000 rows/s are written {words}, of the rate without"
            yield Judged(what, WHILE_WRITING, while_writing(cells, query, pace), query=query)


def of_peak(cells: Sequence[Cell], kind: str, factor: float) -> float | None:
    """Good answers at so many times the load, as a part of the best rate of the same round; the median."""
    found = []
    for round_number in {cell["round"] for cell in cells}:
        those = chosen(cells, kind=kind, round=round_number)
        peak = max((cell["per_s"] for cell in those), default=0)
        found += [cell["per_s"] / peak for cell in those if cell["factor"] == factor and peak]
    return median(found) if found else None


def _overload(section: Mapping[str, Any]) -> Iterator[Judged]:
    cells = section["cells"]
    for kind, words in (("connections", "connections"), ("offered", "capacity offered")):
        what = f"good answers at {OVERLOAD}x the {words}, of the peak"
        yield Judged(what, AT_OVERLOAD, of_peak(cells, kind, OVERLOAD))
    if (limit := section.get("limit")) is not None:
        refused = sum(count for outcome, count in limit["outcomes"].items() if outcome in ("503", "closed"))
        yield Judged("connections past the limit that are refused at once", 1.0, refused / limit["past_limit"])
        kept = limit["existing_answered_after"] / limit["allowed"]
        yield Judged("connections within the limit that go on being answered", 1.0, kept)
