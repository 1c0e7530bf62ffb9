"""Figures as a table on the terminal, as JSON for programs, and as docs/benchmarks.md, which is made from the JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figure, Goal

LATEST: Final = Path(__file__).parent / "results" / "latest.json"
PAGE: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_VERDICT: Final = {True: "yes", False: "no", None: ""}
_COLOUR: Final = {True: "green", False: "red", None: "default"}

_TITLES: Final = {
    "queries": "Queries inside the process",
    "load": "Loading from the command line",
    "server": "A server: bulk load, memory, restart",
    "writes": "Single-row writes over HTTP",
}
_ABOUT: Final = {
    "queries": (
        "*engine* is `Database.query`; *reply* is the bytes of a query string to the bytes of the body, through the "
        "endpoints that every connection uses, without sockets. Means of processor time over up to 1,000 calls with "
        "random operands, so that one slow plan in a hundred shows."
    ),
    "load": (
        "`tcsql load FILE --data DIR` into an empty table with three indexes, from the start of the command to its "
        "exit: interpreter, schema and the last sync are in it."
    ),
    "server": (
        "`tcsql serve` with its default settings (`durability = always`). Memory is the resident set of the whole "
        "process divided by the rows, once as it is and once without what the same server takes with an empty store. "
        "Time to ready runs from the start of the process to the first 200 of `/ready`."
    ),
    "writes": (
        "Keep-alive connections that each send one insert, wait for its answer, and send the next; every answer comes "
        "after the row has been synced to disk. The generator is a process of its own."
    ),
}


_MADE: Final = (
    "<!-- Made by `python -m benchmarks --write-docs` from benchmarks/results/latest.json: change the program, "
    "not this page. -->"
)
_SHAPE: Final = (
    "What TCSQL costs and does on {rows:,} rows of about 122 bytes of JSON: posts of a forum with a primary key, a "
    "user (one for every ten rows), a rising date, one of eight types with skewed frequencies, a title and a counter, "
    "and the indexes `KEY (uid)`, `KEY (idtype, dateline)` and `KEY (dateline)`. `make bench` measures it on your "
    "machine in about ten minutes and changes nothing outside a temporary directory but the results."
)
_HOW: Final = (
    "Medians of {rounds} rounds; subject and reference take turns within each round, and a ratio is the median of the "
    "rounds' own ratios, so that what slows a busy machine slows both. Compare ratios rather than absolute numbers. "
    "Servers, loads and generators are processes of their own on the loopback address."
)
_ON: Final = (
    "Measured {started} on {cores} cores of {processor}, {memory_gib} GiB, {system}, load {load_average_at_start} at "
    "the start; {python} ({python_built_with}), SQLite {sqlite} (references: {sqlite_of_references}), {packages}; "
    "commit `{commit}`."
)


def number(value: float) -> str:
    """Three digits that mean something.

    >>> [number(value) for value in (0.01234, 1.26, 37.46, 412.3, 61234.5)]
    ['0.0123', '1.26', '37.5', '412', '61,200']
    """
    if value == 0:
        return "0"
    if abs(value) >= 1_000:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def _goal(goal: Goal | None) -> str:
    if goal is None:
        return ""
    return f"{goal.kind} {number(goal.bound)}{' x' if goal.of == 'ratio' else ''}"


def _cells(figure: Figure) -> tuple[str, ...]:
    low, high = min(figure.rounds), max(figure.rounds)
    ratio = "" if figure.ratio is None else f"{number(figure.ratio)} x {figure.reference}"
    return (
        figure.name + (f" ({figure.note})" if figure.note else ""),
        f"{number(figure.value)} {figure.unit}",
        f"{number(low)} to {number(high)}",
        ratio,
        _goal(figure.goal),
        _VERDICT[figure.is_met],
    )


_HEADS: Final = ("figure", "median", "rounds", "beside", "goal", "met")


def show(console: Console, group: str, figures: Sequence[Figure]) -> None:
    """One group as a table."""
    table = Table(*_HEADS, title=_TITLES[group], title_justify="left")
    for figure in figures:
        *cells, verdict = _cells(figure)
        table.add_row(*cells, f"[{_COLOUR[figure.is_met]}]{verdict}[/]")
    console.print(table)


def document(machine: dict[str, object], rows: int, rounds: int, started: str, figures: Sequence[Figure]) -> str:
    """The JSON of a run."""
    data = {
        "started": started,
        "rows": rows,
        "rounds": rounds,
        "machine": machine,
        "figures": [figure.to_json() for figure in figures],
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def page(data: dict[str, Any]) -> str:
    """docs/benchmarks.md from the JSON of a run."""
    machine = data["machine"]
    figures = [Figure.from_json(item) for item in data["figures"]]
    judged = [figure for figure in figures if figure.is_met is not None]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    parts = [
        "# Benchmarks",
        _MADE,
        _SHAPE.format(rows=data["rows"]),
        f"{sum(bool(figure.is_met) for figure in judged)} of {len(judged)} goals are met.",
        "## How",
        _HOW.format(rounds=data["rounds"]),
        _ON.format(started=data["started"], **{**machine, "packages": packages}),
    ]
    for group, title in _TITLES.items():
        chosen = [figure for figure in figures if figure.group == group]
        if chosen:
            parts += [f"## {title}", _ABOUT[group], _markdown(chosen)]
    return "\n\n".join(parts) + "\n"


def _markdown(figures: Sequence[Figure]) -> str:
    lines = [f"| {' | '.join(_HEADS)} |", "|---|---:|---:|---|---|---|"]
    lines += [f"| {' | '.join(_cells(figure))} |" for figure in figures]
    return "\n".join(lines)


def write_page(source: Path = LATEST, target: Path = PAGE) -> None:
    """Make the page anew from the results."""
    target.write_text(page(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")
