"""promises.md, written from promises.toml and the results of experiments: ``python -m docs.promises``.

    page()    the text, made in memory; a test compares it with the file
    main()    writes it

An experiment whose last run failed stands under what is not kept yet, with what was seen.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
TABLE: Final = HERE / "promises.toml"
PAGE: Final = HERE / "promises.md"
RESULTS: Final = HERE / "results"
#: Figures of a result that the page shows; the others stand in its file.
_SHOWN: Final = 7
_HEAD: Final = """<!-- Written by `make docs` from promises.toml and results/. Change those, not this page. -->
# What is promised, and the test that proves it

A promise is listed as kept only when a test in this repository proves it, and a test looks whether those named here
are there. Tests are named `file::function`, below `tests/`. The ids are stable; later versions add to this page.

`make test` runs all of them, the long ones in a small share. `make torture` runs them at full length and writes what
was seen into `docs/results`, with the machine and the versions. [The threat model](threat-model.md) says what all this
is for.

## Kept
"""
_EXPERIMENTS: Final = """
## Experiments

What the promises rest on beyond single cases. The last full run of each is told with its date; where there is none yet,
the share of it that `make test` runs is all that there is.

| id | what | passes when | last full run | by |
|---|---|---|---|---|
"""
_OPEN: Final = """
## Not yet

| id | what is missing |
|---|---|
"""


def load() -> dict[str, Any]:
    """The table: ``ids``, and lists of ``promise``, ``experiment`` and ``open``."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def results() -> dict[str, list[dict[str, Any]]]:
    """What was written down last, by the id of the experiment; one that has parts has several."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(experiment_of(str(result["id"])), []).append(result)
    return found


def experiment_of(identity: str) -> str:
    """The experiment that a part belongs to.

    >>> experiment_of("E5-slow"), experiment_of("E24"), experiment_of("L-2-heads")
    ('E5', 'E24', 'L-2')
    """
    parts = identity.split("-")
    return "-".join(parts[:2]) if len(parts[0]) == 1 else parts[0]


def page() -> str:
    """The whole page."""
    table, seen = load(), results()
    failed = {identity: runs for identity, runs in seen.items() if not all(run["passed"] for run in runs)}
    text = _HEAD
    for group, promises in groupby(table["promise"], key=lambda promise: promise["group"]):
        text += f"\n### {group}\n\n| id | promise | proved by |\n|---|---|---|\n"
        text += "".join(
            f"| {promise['id']} | {promise['says']} | {_tests(promise['tests'])} |\n" for promise in promises
        )
    text += _EXPERIMENTS + "".join(_rows(table["experiment"], seen, failed))
    text += _OPEN + "".join(f"| {entry['id']} | {entry['missing']} |\n" for entry in table["open"])
    for identity, runs in failed.items():
        told = "; ".join(_told(run) for run in runs if not run["passed"])
        text += f"| {identity} | the last full run failed: {told} |\n"
    return text


def _rows(
    experiments: Iterable[Mapping[str, Any]], seen: Mapping[str, list[dict[str, Any]]], failed: Mapping[str, object]
) -> Iterator[str]:
    for experiment in experiments:
        identity = experiment["id"]
        if identity not in failed:
            told = "<br>".join(map(_told, seen.get(identity, ()))) or _told_by_files(experiment.get("tests", ()))
            by = f"`{experiment['program']}`" if "program" in experiment else _tests(experiment["tests"])
            yield f"| {identity} | {experiment['says']} | {experiment['passes']} | {told} | {by} |\n"


def _tests(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _told(run: Mapping[str, Any]) -> str:
    machine = run["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
    plain = {name: figure for name, figure in run["figures"].items() if not isinstance(figure, (dict, list))}
    figures = ", ".join(f"{name.replace('_', ' ')} {_figure(figure)}" for name, figure in list(plain.items())[:_SHOWN])
    part = "" if run["id"] == experiment_of(run["id"]) else f"{run['id']}: "
    return f"{part}[{run['date']}](results/{run['id']}.json), {where}{': ' if figures else ''}{figures}"


def _told_by_files(tests: Iterable[str]) -> str:
    """Of an experiment without figures: when its files last ran at full length, if all of them have."""
    told = []
    for file in dict.fromkeys(name.partition("::")[0] for name in tests):
        path = RESULTS / "torture" / f"{file.removesuffix('.py').replace('/', '.')}.json"
        if not path.exists():
            return ""
        run = json.loads(path.read_text(encoding="utf-8"))
        outcomes = ", ".join(f"{count:,} {kind}" for kind, count in run["outcomes"].items())
        told.append(f"[{run['date']}](results/torture/{path.name}): `{file}`, {outcomes}")
    return "<br>".join(told)


def _figure(figure: object) -> str:
    return f"{figure:,}" if isinstance(figure, (int, float)) and not isinstance(figure, bool) else str(figure)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
