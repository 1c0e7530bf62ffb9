"""``python -m benchmarks.sweep``: is there a list that is slow? Every kind of query, from no row to all of them.

Each curve of ``benchmarks.sweep_shapes`` is asked at each of its points some 200 times with operands drawn anew,
inside the process, at two levels: ``engine`` is Database.query, ``reply`` the bytes of a query string to the bytes
of the body through the endpoints that every connection uses. What is kept of a point are the median and the 99th
percentile, and of a point above the goal the slowest question with what ``explain`` says of it.

Times are processor time of the thread that answers: on a busy machine waiting for a core is not the planner's
fault. Nothing is built in the background while it measures, so that the declared indexes are what is judged.

Cost: one to three minutes at 1,000,000 rows when no point is slow; a slow point is asked for
1.5 s, and at least six times.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import machine, sweep_plot, sweep_report
from benchmarks.shape import to_json
from benchmarks.sweep_shapes import Curve, Data, curves, rows, schema
from tcsql.engine.database import Database
from tcsql.engine.query import Query, Select
from tcsql.engine.result import Page
from tcsql.http.endpoints import Api
from tcsql.http.grammar import Grammar, ReadRequest
from tcsql.http.messages import Head
from tcsql.http.parameters import of_query
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level

FULL_ROWS: Final = 1_000_000
RESULTS: Final = Path(__file__).parent.parent / "loadtest" / "results" / "sweep.json"
#: No point may be above this at 1 M rows, by its 99th percentile.
GOAL_US: Final = 1_000
#: A slow point has been seen enough after so many questions or so long, whichever comes later.
_ENOUGH: Final = 6
_ENOUGH_S: Final = 1.5
_WARM_UP: Final = 5
_WARM_UP_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Question:
    """A request as text and as the value it means."""

    text: str
    query: Query


@dataclass(frozen=True, slots=True)
class Timing:
    """What the instances of one point took at one level, in microseconds."""

    p50_us: float
    p99_us: float
    asked: int
    slowest: Question


class Subject:
    """The table in a store without a file's rows, asked in both ways."""

    def __init__(self, count: int, directory: Path) -> None:
        self.database = Database()
        self.database.restore(1, schema(), count + 1, ((0, to_json(post)) for post in rows(count)))
        # Rows in memory only: what is asked never touches the file.
        self._store = Store.open(directory, StoreOptions(durability=Level.MEMORY), database=self.database)
        self._api = Api(Settings(data=str(directory)), Metrics())
        self._api.open(self._store)
        self._loop = asyncio.new_event_loop()
        self._grammar = Grammar(self.database)

    def question(self, text: str) -> Question:
        request = self._grammar.request(of_query(text.encode()))
        assert isinstance(request, ReadRequest)
        return Question(text, request.query)

    def behind(self, asked: Question) -> Question | None:
        """The page behind the one asked for, by its cursor; None when it is the last."""
        page = self.database.query(asked.query)
        assert isinstance(page, Page)
        if page.next is None:
            return None
        text = "&".join(part for part in asked.text.split("&") if not part.startswith("limit_skip="))
        assert isinstance(asked.query, Select)
        return Question(f"{text}&after={page.next}", replace(asked.query, skip=0, after=page.next))

    def engine(self, asked: Question) -> None:
        self.database.query(asked.query)

    def reply(self, asked: Question) -> bytes:
        """The body."""
        head = Head("GET", "/", asked.text.encode())
        found = self._api.answer_now(head)
        if found is None:
            found = self._loop.run_until_complete(self._api.answer(head))
        assert found.status == 200, (asked.text, found.body)
        return found.body

    def explain(self, asked: Question) -> dict[str, object]:
        """The runs that were read and the rows examined."""
        plan: Any = self.database.explain(asked.query)
        runs = [f"{access['index']}: {access['rows_in_runs']:,} rows" for access in plan["chosen"]]
        return {"runs": runs, "rows_examined": plan["rows_examined"]}

    def close(self) -> None:
        self._store.close()
        self._loop.close()


def timed(call: Callable[[Question], object], questions: Sequence[Question]) -> Timing:
    """Ask until all are asked, or a slow point has been seen enough."""
    until = time.perf_counter() + _WARM_UP_S
    for asked in questions[:_WARM_UP]:
        call(asked)
        if time.perf_counter() > until:
            break
    clock = time.thread_time_ns
    until = time.perf_counter() + _ENOUGH_S
    taken: list[tuple[int, int]] = []
    for place, asked in enumerate(questions):
        began = clock()
        call(asked)
        taken.append((clock() - began, place))
        if place >= _ENOUGH and time.perf_counter() > until:
            break
    taken.sort()
    middle, late = taken[len(taken) // 2][0], taken[min(len(taken) - 1, len(taken) * 99 // 100)][0]
    return Timing(middle / 1e3, late / 1e3, len(taken), questions[taken[-1][1]])


def instances(
    curve: Curve, data: Data, subject: Subject, point: float, count: int, draw: random.Random
) -> list[Question]:
    """Questions of one point; fewer where a list has no page behind the one drawn."""
    found = []
    for _ in range(count):
        asked: Question | None = subject.question(curve.ask(data, draw, point))
        if curve.cursor and asked is not None:
            asked = subject.behind(asked)
        if asked is not None:
            found.append(asked)
    return found


def measured(curve: Curve, data: Data, subject: Subject, count: int, seed: int) -> Iterator[dict[str, object]]:
    """The points of a curve."""
    draw = random.Random(seed)
    for point in curve.points:
        questions = instances(curve, data, subject, point, count, draw)
        if not questions:
            continue
        engine, reply = timed(subject.engine, questions), timed(subject.reply, questions)
        found: dict[str, object] = {
            "at": point,
            "engine_us": {"p50": round(engine.p50_us, 1), "p99": round(engine.p99_us, 1), "asked": engine.asked},
            "reply_us": {"p50": round(reply.p50_us, 1), "p99": round(reply.p99_us, 1), "asked": reply.asked},
        }
        if max(engine.p99_us, reply.p99_us) > GOAL_US:
            found["slowest"] = {"request": engine.slowest.text, **subject.explain(engine.slowest)}
        yield found


def sweep(count: int, instances_: int, families: Sequence[str], console: Console) -> dict[str, Any]:
    """Everything, as plain data for the JSON, the page and the plots."""
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = machine.describe()
    done: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="tcsql-sweep-") as directory:
        console.print(f"building {count:,} rows with {len(schema().indexes)} indexes", style="dim")
        subject, data = Subject(count, Path(directory) / "data"), Data(rows(count))
        gc.collect()
        gc.freeze()  # as the server does when it is ready
        try:
            for number, curve in enumerate(curves()):
                if families and curve.family not in families:
                    continue
                points = list(measured(curve, data, subject, instances_, number))
                done.append(
                    {
                        "family": curve.family,
                        "name": curve.name,
                        "axis": curve.axis,
                        "excepted": curve.excepted,
                        "points": points,
                    }
                )
                console.print(sweep_report.line(done[-1]), highlight=False, markup=False)
        finally:
            subject.close()
            gc.unfreeze()
    return {
        "started": started,
        "machine": facts,
        "rows": count,
        "instances": instances_,
        "goal_us": GOAL_US,
        "indexes": [list(index.columns) for index in schema().indexes],
        "curves": done,
    }


def section(results: Mapping[str, Any], pictures: str = "") -> str:
    """The part of docs/performance.md about the sweep, as Markdown, from the content of sweep.json.

    ``pictures``: what links to the plots begin with, such as ``performance/``; without it there are none.
    """
    return sweep_report.section(results, pictures)


def main(
    rows_: Annotated[int, typer.Option("--rows", min=10_000, help="rows of the table")] = FULL_ROWS,
    instances_: Annotated[int, typer.Option("--instances", min=20, help="questions a point and level")] = 200,
    family: Annotated[list[str] | None, typer.Option(help="only this family of curves; may be repeated")] = None,
    output: Annotated[Path | None, typer.Option(help="where the JSON goes")] = None,
    plots: Annotated[Path | None, typer.Option(help="a directory for the plots (SVG)")] = None,
) -> None:
    """Sweep the selectivity of every kind of list query. A complete run at full size keeps its results."""
    console = Console()
    known = dict.fromkeys(curve.family for curve in curves())
    unknown = set(family or ()).difference(known)
    if unknown:
        raise typer.BadParameter(f"no family {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    results = sweep(rows_, instances_, family or (), console)
    above = sweep_report.above_goal(results)
    console.print(f"{len(above)} of {sweep_report.judged_points(results)} points are above {GOAL_US} us")
    if output is None and not family and rows_ >= FULL_ROWS:
        output = RESULTS
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        console.print(f"wrote {output.name}")
    if plots is None and output == RESULTS:
        plots = sweep_plot.DIRECTORY
    if plots is not None:
        for path in sweep_plot.draw(results, plots):
            console.print(f"wrote {path.name}")


if __name__ == "__main__":
    typer.run(main)
