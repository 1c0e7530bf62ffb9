"""``python -m loadtest.peers``: TCSQL beside what a user would pick instead, measured and kept as JSON.

Four sections, all of them unless ``--only`` names some:

    peers     q1 to q4 at every stack at 100, 1,000 and 10,000 connections
    mixed     reading while rows are written
    writes    single-row inserts
    overload  more than the server can do

A complete run at full size goes to loadtest/results/peers.json; smaller ones only where ``--output`` says. A section
that was not run keeps what the file had. The file is written after every round: what was measured is never lost.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import machine
from loadtest import cells, fleet, limits, overload, report, warmup, writes
from loadtest.asked import QUERIES
from loadtest.cells import Cell
from loadtest.stacks import Stack

SECTIONS: Final = ("peers", "mixed", "writes", "overload")
OUTPUT: Final = Path(__file__).parent / "results" / "peers.json"
FULL_ROWS: Final = 1_000_000
_CONNECTIONS: Final = (100, 1_000, 10_000)
_SAMPLES: Final = 25


class Results:
    """The file of results: sections by name, written whenever something came in."""

    def __init__(self, path: Path | None, about: dict[str, Any], console: Console) -> None:
        self._path = path
        self._about = about
        self._console = console
        self.data: dict[str, Any] = {}
        if path is not None and path.exists():
            self.data = json.loads(path.read_text(encoding="utf-8"))

    def begin(self, section: str, **more: object) -> dict[str, Any]:
        """A section anew, with where and when it was measured."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        found: dict[str, Any] = {"started": now, **self._about, **more, "cells": []}
        self.data[section] = found
        return found

    def keeper(self, section: dict[str, Any]) -> Callable[[Cell], None]:
        """Takes cells: shows them, and keeps them."""

        def keep(cell: Cell) -> None:
            section["cells"].append(cell)
            self._console.print("  " + _line(cell), style="red" if cell["void"] else None, highlight=False)
            self.write()

        return keep

    def write(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self.data, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


def _line(cell: Cell) -> str:
    """A cell as one line of the terminal."""
    names = ("round", "connections", "query", "stack", "writes", "cores", "factor")
    what = " ".join(
        f"{cell[name]}" if name in ("query", "stack") else f"{name} {cell[name]}" for name in names if name in cell
    )
    times = (
        f"p50 {cell['p50_ms']:.1f} p99 {cell['p99_ms']:.1f} ms" if "p50_ms" in cell else f"p99 {cell['good_p99_ms']} ms"
    )
    errors = {name: count for name, count in cell.get("errors", {}).items() if count}
    void = f"  VOID {errors}" if cell["void"] else ""
    busy = "  generator at its limit" if cell["generator_core"] >= cells.SATURATED else ""
    disturbed = "  disturbed" if cell.get("others_core", 0) > cells.DISTURBED else ""
    return f"{what}: {cell['per_s']:,.0f}/s, {times}{void}{busy}{disturbed}"


def main(
    rows: Annotated[int, typer.Option(min=1_000, max=9_000_000, help="rows of the table")] = FULL_ROWS,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of each measurement")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="seconds of each cell")] = 5,
    stack: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(fleet.TITLES)}; may be repeated")] = None,
    query: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(QUERIES)}; may be repeated")] = None,
    connections: Annotated[list[int] | None, typer.Option(help="how many at once; may be repeated")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(SECTIONS)}; may be repeated")] = None,
    output: Annotated[Path | None, typer.Option(help="where the JSON goes")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="measure although the machine lacks something")] = False,
) -> None:
    """Measure TCSQL and its peers on this machine."""
    # unwind as for Ctrl-C: servers that are stopped would outlive us otherwise
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    stacks = _chosen("stack", stack, tuple(fleet.TITLES))
    queries = _chosen("query", query, tuple(QUERIES))
    wanted = _chosen("section", only, SECTIONS)
    if not {"fast", "slow"}.intersection(stacks):
        raise typer.BadParameter("the constants of nginx are as large as TCSQL's replies: add --stack fast or slow")
    levels = tuple(connections or _CONNECTIONS)
    _check(console, max(levels), anyway)
    if output is None and rows >= FULL_ROWS:
        output = OUTPUT
    about = {"machine": machine.describe(), "versions": fleet.versions(), "rows": rows, "rounds": rounds}
    results = Results(output, {**about, "seconds": seconds}, console)
    with tempfile.TemporaryDirectory(prefix="tcsql-peers-") as directory:
        plan = fleet.Plan(rows, stacks, max(levels), Path(directory), lambda text: console.print(text, style="dim"))
        with fleet.fleet(plan) as started:
            run = Run(started, plan, rounds, seconds, results)
            console.print(f"{run.verify():,} answers of the peers are the same as ours")
            run.warm_up(queries)
            if "peers" in wanted:
                run.peers(queries, levels)
            keys = writes.Keys()
            if "mixed" in wanted and "fast" in started:
                run.section("mixed", lambda keep: writes.mixed(started, rounds, seconds, keys, keep))
            if "writes" in wanted:
                run.section("writes", lambda keep: writes.inserts(started, rounds, seconds, keys, keep))
            if "overload" in wanted and "fast" in started:
                run.overload()
    if output is not None:
        console.print(f"wrote {output.name}; python -m loadtest.report makes {report.PAGE.name}")


class Run:
    """A fleet that runs, and the measurements that are made of it."""

    def __init__(
        self, stacks: dict[str, Stack], plan: fleet.Plan, rounds: int, seconds: float, results: Results
    ) -> None:
        self._stacks = stacks
        self._plan = plan
        self._rounds = rounds
        self._seconds = seconds
        self._results = results

    def verify(self) -> int:
        """All stacks give the same answers; how many were compared."""
        for stack in self._stacks.values():
            stack.resume()
        compared = fleet.same_answers(self._stacks, _SAMPLES)
        for stack in self._stacks.values():
            stack.stop()
        return compared

    def warm_up(self, queries: tuple[str, ...]) -> None:
        self._plan.say("warming up")
        warmup.warm_up(self._stacks, queries, self._plan.say)

    def peers(self, queries: tuple[str, ...], levels: tuple[int, ...]) -> None:
        def measure(keep: Callable[[Cell], None]) -> None:
            cells.rounds(self._stacks, queries, levels, self._rounds, self._seconds, keep)

        self.section("peers", measure, connections=levels, queries=queries)

    def section(self, name: str, measure: Callable[[Callable[[Cell], None]], None], **more: object) -> dict[str, Any]:
        """Measure one section into the results."""
        self._plan.say(name)
        facts = {stack.name: {"title": stack.title, **stack.facts} for stack in self._stacks.values()}
        section = self._results.begin(name, stacks=facts, **more)
        measure(self._results.keeper(section))
        self._results.write()
        return section

    def overload(self) -> None:
        """Three experiments in one section; their cells tell themselves apart by ``kind``."""
        stack, most = self._stacks["fast"], self._plan.connections

        def measure(keep: Callable[[Cell], None]) -> None:
            seconds, rounds = self._seconds, self._rounds
            overload.connections(stack, rounds, seconds, most, lambda cell: keep({"kind": "connections", **cell}))
            overload.offered(stack, self._plan.rows, rounds, seconds, lambda cell: keep({"kind": "offered", **cell}))

        section = self.section("overload", measure)
        section["limit"] = overload.limit(stack, self._plan.rows, most + fleet.MARGIN)
        self._plan.say(f"  past the limit: {section['limit']}")
        self._results.write()


def _chosen(what: str, given: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    unknown = set(given or ()).difference(known)
    if unknown:
        raise typer.BadParameter(f"no {what} {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return tuple(name for name in known if not given or name in given)


def _check(console: Console, connections: int, anyway: bool) -> None:
    """Stop, and say what to do, when the machine lacks what so many connections need."""
    lacking = limits.lacks(limits.of_this_machine(), connections)
    for lack in lacking:
        console.print(f"[yellow]{lack}[/]", soft_wrap=True)
    if lacking and not anyway:
        console.print("or ask for fewer with --connections, or measure all the same with --anyway", style="yellow")
        raise typer.Exit(2)


if __name__ == "__main__":
    typer.run(main)
