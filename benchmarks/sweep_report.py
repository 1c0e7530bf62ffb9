"""The sweep in words: a line a curve on the terminal, and the section of docs/performance.md. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

LEVELS: Final = {"engine": "engine_us", "reply": "reply_us"}
_MOST_LISTED: Final = 40


def file_name(family: str) -> str:
    """The picture of a family.

    >>> file_name("alternatives (OR)")
    'sweep-alternatives-or.svg'
    """
    return f"sweep-{re.sub('[^a-z0-9]+', '-', family.lower()).strip('-')}.svg"


def line(curve: Mapping[str, Any]) -> str:
    """One curve: at each point the 99th percentile of the reply, in microseconds."""
    points = "  ".join(f"{point['at']:g}: {point['reply_us']['p99']:,.0f}" for point in curve["points"])
    return f"{curve['family']} | {curve['name']} | {points}"


def above_goal(results: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Judged points (curve, point) whose 99th percentile at the engine or the reply is above the goal, worst first."""
    found = [
        (curve, point)
        for curve in results["curves"]
        if not curve["excepted"]
        for point in curve["points"]
        if worst_us(point) > results["goal_us"]
    ]
    return sorted(found, key=lambda pair: -worst_us(pair[1]))


def judged_points(results: Mapping[str, Any]) -> int:
    return sum(len(curve["points"]) for curve in results["curves"] if not curve["excepted"])


def worst_us(point: Mapping[str, Any]) -> float:
    """The 99th percentile of the slower level."""
    return max(float(point[key]["p99"]) for key in LEVELS.values())


def section(results: Mapping[str, Any], pictures: str = "") -> str:
    """The Markdown of the section, from the content of sweep.json; ``pictures``: where its plots lie, "" for none."""
    return "\n".join(_lines(results, pictures)) + "\n"


def _lines(results: Mapping[str, Any], pictures: str) -> Iterator[str]:
    indexes = ", ".join(f"({', '.join(columns)})" for columns in results["indexes"])
    goal_ms = results["goal_us"] / 1_000
    above, judged = above_goal(results), judged_points(results)
    yield "## No slow list"
    yield ""
    yield (
        f"Every kind of list query, from a condition that no row satisfies to one that all do, on {results['rows']:,} "
        f"rows with the indexes {indexes}; {results['instances']} questions a point with operands drawn anew, inside "
        "the process. *engine* is the query as a value; *reply* is the bytes of a query string to the bytes of the "
        "body. Times are processor time of the answering thread. `dateline` rises with the key, `hits` is independent "
        "of everything. `make bench-sweep` measures it anew."
    )
    yield ""
    yield f"Measured {results['started']}; commit `{results['machine']['commit']}`."
    yield ""
    met = "met" if not above else "not met"
    yield (
        f"**Goal: no point above {goal_ms:g} ms by its 99th percentile when the right index exists: {met}.** "
        f"{judged - len(above)} of {judged} points are within it. Excepted are {_exceptions(results)}."
    )
    yield ""
    yield from _table(results)
    if pictures:
        yield ""
        for family, members in groupby(results["curves"], key=lambda curve: curve["family"]):
            if any(len(curve["points"]) > 1 for curve in members):
                yield f"![{family}: p50 and p99 over the parameter]({pictures}{file_name(family)})"
    if above:
        yield ""
        yield from _listed(above)
    excepted = [curve for curve in results["curves"] if curve["excepted"]]
    if excepted:
        yield ""
        yield "Curves that the goal does not cover, at their slowest point:"
        yield ""
        yield "| curve | why | reply p50 | reply p99 | at |"
        yield "|---|---|---:|---:|---:|"
        for curve in excepted:
            slow = max(curve["points"], key=worst_us)
            times = f"{_time(slow['reply_us']['p50'])} | {_time(slow['reply_us']['p99'])}"
            yield f"| {curve['family']}: {curve['name']} | {curve['excepted']} | {times} | {_at(curve, slow)} |"


def _exceptions(results: Mapping[str, Any]) -> str:
    reasons = list(dict.fromkeys(curve["excepted"] for curve in results["curves"] if curve["excepted"]))
    return "; ".join(reasons) if reasons else "none"


def _table(results: Mapping[str, Any]) -> Iterator[str]:
    yield "| kind | curves | points | median of p50, engine | reply | worst p99, engine | reply | above the goal |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    judged = [curve for curve in results["curves"] if not curve["excepted"]]
    for family, group in groupby(judged, key=lambda curve: curve["family"]):
        members = list(group)
        points = [point for curve in members for point in curve["points"]]
        if not points:
            continue
        middle = [_time(_middle([point[key]["p50"] for point in points])) for key in LEVELS.values()]
        worst = [_time(max(point[key]["p99"] for point in points)) for key in LEVELS.values()]
        above = sum(worst_us(point) > results["goal_us"] for point in points)
        yield f"| {family} | {len(members)} | {len(points)} | {' | '.join(middle + worst)} | {above} |"


def _listed(above: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Iterator[str]:
    yield (
        "Points above the goal, the worst first:"
        if len(above) <= _MOST_LISTED
        else (f"Points above the goal, the worst {_MOST_LISTED} of {len(above)}:")
    )
    yield ""
    yield "| curve | at | engine p50 | p99 | reply p50 | p99 | rows examined | runs |"
    yield "|---|---:|---:|---:|---:|---:|---:|---|"
    for curve, point in above[:_MOST_LISTED]:
        times = " | ".join(_time(point[key][part]) for key in LEVELS.values() for part in ("p50", "p99"))
        slowest = point["slowest"]
        name = f"{curve['family']}: {curve['name']}"
        runs = ", ".join(slowest["runs"])
        yield f"| {name} | {_at(curve, point)} | {times} | {slowest['rows_examined']:,} | {runs} |"


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _at(curve: Mapping[str, Any], point: Mapping[str, Any]) -> str:
    return f"{curve['axis']} {point['at']:g}"


def _time(us: float) -> str:
    return f"{us:,.0f} us" if us < 1_000 else f"{us / 1_000:,.1f} ms"
