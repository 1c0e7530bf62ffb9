"""``python -m loadtest.report``: docs/performance.md with its plots, from whatever results there are.

    loadtest/results/peers.json    loadtest.peers: goals, peers, writes, mixed, overload
    loadtest/results/sweep.json    benchmarks.sweep: no slow list
    loadtest/results/locust.json   the original's test by Locust
    loadtest/results/ladder.json   where the microseconds of a request go

A file that is not there has no section. The text needs nothing but the results; only ``--plots`` needs matplotlib.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from loadtest import goals, sections

RESULTS: Final = Path(__file__).parent / "results"
PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
PLOTS: Final = PAGE.parent / "performance"
_LINKS: Final = f"{PLOTS.name}/"
NAMES: Final = ("peers", "sweep", "locust", "ladder")
_MADE: Final = (
    "<!-- Made by `python -m loadtest.report` from loadtest/results/*.json: change the program, not this page. -->"
)
_INTRO: Final = (
    "How many requests TCSQL answers, beside everything a user would pick instead, on the same machine, in the same "
    "rounds, with the same rows and queries; what happens while it is written to, and when more comes than it can "
    "answer. What it costs inside the process, and how fast it loads and starts, is in [benchmarks](benchmarks.md)."
)


def load(directory: Path = RESULTS) -> dict[str, Any]:
    """The results that are there, by name."""
    files = {name: directory / f"{name}.json" for name in NAMES}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}


def page(results: Mapping[str, Any]) -> str:
    """The whole of docs/performance.md."""
    return "\n\n".join(part.strip("\n") for part in _parts(results)) + "\n"


def _parts(results: Mapping[str, Any]) -> Iterator[str]:
    yield "# Performance"
    yield _MADE
    yield _INTRO
    peers = results.get("peers", {})
    if peers:
        yield "## Goals"
        yield sections.goals(goals.judge(peers))
    if "peers" in peers:
        yield from _peers(peers["peers"])
    if "writes" in peers:
        yield "## Single-row writes"
        yield sections.writes(peers["writes"])
    if "mixed" in peers:
        yield "## Reading while rows are written"
        yield sections.mixed(peers["mixed"])
    if "overload" in peers:
        yield "## Overload"
        if any(cell["kind"] == "offered" for cell in peers["overload"]["cells"]):
            yield f"![good answers by offered load]({_LINKS}overload.svg)"
        yield from sections.overload(peers["overload"])
    if "sweep" in results:
        from benchmarks import sweep_report  # noqa: PLC0415  # only where there is something to report

        yield sweep_report.section(results["sweep"], _LINKS)
    if "locust" in results:
        from loadtest import locust_report  # noqa: PLC0415  # the same

        yield locust_report.section(results["locust"])
    if "ladder" in results:
        yield "## Where the microseconds go"
        yield sections.ladder(results["ladder"])
    if "peers" in peers:
        yield "## Method"
        yield sections.method(peers["peers"])


def _peers(section: Mapping[str, Any]) -> Iterator[str]:
    yield "## Requests a second"
    yield "The whole server side has one core. An asterisk: wrk had used up its own, so the stack allows more."
    for connections in sorted(section["connections"], reverse=True):
        yield f"### {connections:,} connections"
        yield f"![requests a second at {connections:,} connections]({_LINKS}peers-{connections}.svg)"
        yield sections.rates(section, connections)
        yield sections.ratios(section, connections)
    yield sections.void_cells(section)


def main(
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="draw the plots too; needs matplotlib")] = True,
) -> None:
    """Make docs/performance.md."""
    results = load()
    PAGE.write_text(page(results), encoding="utf-8")
    print(f"wrote {PAGE.name}")
    if plots:
        from loadtest import plots as drawn  # noqa: PLC0415  # needs matplotlib, which only this needs

        for path in drawn.draw(results, PLOTS):
            print(f"wrote {path.parent.name}/{path.name}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
