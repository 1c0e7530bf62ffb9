"""``python -m benchmarks``: measure everything, print it, and keep it as JSON.

The results of a complete run at full size go to benchmarks/results/latest.json, from which ``--write-docs`` makes
docs/benchmarks.md without measuring. Smaller runs are printed, and written only where ``--output`` says.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from benchmarks import load, machine, queries, report, server, writes
from benchmarks.measure import Figure, Group, Run

GROUPS: Final[Mapping[str, Group]] = {
    queries.GROUP: queries.measure,
    load.GROUP: load.measure,
    server.GROUP: server.measure,
    writes.GROUP: writes.measure,
}
FULL_ROWS: Final = 1_000_000


def main(
    rows: Annotated[int, typer.Option(min=20_000, help="rows of the large table")] = FULL_ROWS,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of each measurement")] = 3,
    only: Annotated[list[str] | None, typer.Option(help=f"a group: {', '.join(GROUPS)}; may be repeated")] = None,
    output: Annotated[Path | None, typer.Option(help="where the JSON goes")] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="make docs/benchmarks.md, measure nothing")] = False,
) -> None:
    """Measure TCSQL on this machine."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    if write_docs:
        report.write_page()
        console.print(f"wrote {report.PAGE.name}")
        return
    unknown = set(only or ()).difference(GROUPS)
    if unknown:
        raise typer.BadParameter(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    wanted = [group for group in GROUPS if not only or group in only]
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = machine.describe()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="tcsql-bench-") as directory:
        for group in wanted:
            console.print(f"[bold]{group}[/]")
            found = GROUPS[group](Run(rows, rounds, Path(directory), console))
            report.show(console, group, found)
            figures += found
    _note_load(console, facts)
    if output is None and len(wanted) == len(GROUPS) and rows >= FULL_ROWS:
        output = report.LATEST
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(report.document(facts, rows, rounds, started, figures), encoding="utf-8")
        console.print(f"wrote {json.dumps(output.name)}; --write-docs makes the page from {report.LATEST.name}")


def _note_load(console: Console, facts: Mapping[str, object]) -> None:
    load_then = facts["load_average_at_start"]
    cores = os.cpu_count() or 1
    if isinstance(load_then, float) and load_then > cores / 4:
        console.print(f"[yellow]the machine was busy at the start (load {load_then}): trust ratios only[/]")


if __name__ == "__main__":
    typer.run(main)
