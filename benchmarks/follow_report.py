"""The figures of following as a table on the terminal, and docs/following-figures.md, made from the JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figure, Goal

PAGE: Final = Path(__file__).parent.parent / "docs" / "following-figures.md"
_VERDICT: Final = {True: "yes", False: "no", None: ""}


def show(console: Console, figures: Sequence[Figure]) -> None:
    table = Table(title="following MariaDB")
    for heading in ("what", "median", "unit", "rounds", "ratio", "goal", "met"):
        table.add_column(heading, justify="left" if heading in ("what", "unit") else "right")
    for figure in figures:
        table.add_row(figure.name, _number(figure.value), figure.unit, *_rest(figure))
    console.print(table)


def _rest(figure: Figure) -> tuple[str, str, str, str]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    spread = f"{_number(min(figure.rounds))} to {_number(max(figure.rounds))}"
    return spread, ratio, _goal(figure.goal), _VERDICT[figure.is_met]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _goal(goal: Goal | None) -> str:
    if goal is None:
        return ""
    of = " of the reference" if goal.of == "ratio" else ""
    return f"{goal.kind} {goal.bound:,g}{of}"


def write_page(result: Path) -> None:
    """The page from the JSON of ``follow``, and of ``follow_binlog`` where that is beside it."""
    text = page(json.loads(result.read_text(encoding="utf-8")))
    beside = result.with_name("follow_binlog.json")
    if beside.exists():
        text += binlog_part(json.loads(beside.read_text(encoding="utf-8")))
    PAGE.write_text(text, encoding="utf-8")


_ABOUT: Final = """
TCSQL, its worker, MariaDB and what writes to it are all on this machine. Read ratios first: absolute figures of a
machine with few cores shift by a factor of two between runs.

| what | median | lowest to highest round | ratio | goal | met |
|---|---|---|---|---|---|
"""
_HOW: Final = """
{rounds} rounds ({copies} of the copy); what is compared is measured in turns, and the ratio is the median of the
rounds' own ratios. The table has an integer key, six columns of 120 bytes as JSON and three indexes. MariaDB writes its
log at each commit (`innodb_flush_log_at_trx_commit=1`), without a binary log. TCSQL commits what it applies to disk
before it deletes it from the outbox. At the end of the run every row was compared with the source: all equal.
"""


def page(data: dict[str, Any]) -> str:
    """The page; nothing in it is not in the data."""
    figures = [Figure.from_json(each) for each in data["figures"]]
    measured = f"{_measured(data)} `make bench-follow` repeats it."
    text = f"<!-- Written by `make bench-follow`. Do not edit. -->\n# Following MySQL: figures\n\n{measured}\n{_ABOUT}"
    text += _lines(figures)
    text += "\n## How\n\n"
    text += _notes(figures)
    return text + _HOW.format(rounds=data["rounds"], copies=max(1, data["rounds"] // 2))


def _measured(data: dict[str, Any]) -> str:
    machine = data["machine"]
    return (
        f"Measured {data['started']} on {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"{machine['system']}, {machine['python']} ({machine['python_built_with']}), SQLite {machine['sqlite']}, "
        f"MariaDB {machine['source']}; commit {machine['commit']}; load average at the start "
        f"{machine['load_average_at_start']}."
    )


def _lines(figures: Sequence[Figure]) -> str:
    text = ""
    for figure in figures:
        spread, ratio, goal, met = _rest(figure)
        text += f"| {figure.name} | {_number(figure.value)} {figure.unit} | {spread} | {ratio} | {goal} | {met} |\n"
    return text


def _notes(figures: Sequence[Figure]) -> str:
    return "".join(f"- **{figure.name}**: {how}\n" for figure in figures if (how := _how(figure)))


_BINLOG: Final = """
## By the binary log

{measured}

| what | median | lowest to highest round | ratio | goal | met |
|---|---|---|---|---|---|
{lines}
{notes}
{rounds} rounds. Two TCSQL follow, one by the log, one a table alike by the outbox; while one is measured the other is
halted, in turns. MariaDB writes both its log and the binary log to disk at each commit. At the end of the run every row
of both was compared with the source: all equal.
"""


def binlog_part(data: dict[str, Any]) -> str:
    """What is added to the page by the figures of the binary log."""
    figures = [Figure.from_json(each) for each in data["figures"]]
    return _BINLOG.format(measured=_measured(data), lines=_lines(figures), notes=_notes(figures), rounds=data["rounds"])


def _how(figure: Figure) -> str:
    parts = [] if figure.note is None else [figure.note]
    if figure.reference is not None:
        parts.append(f"ratio to {figure.reference}: {_number(median(figure.reference_rounds))} {figure.unit}")
    return "; ".join(parts)
