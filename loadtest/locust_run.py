"""``make loadtest``: ten thousand locust users against a server of its own, three times, and what came of it.

    open     connections that stay open, the next request as soon as the last is answered
    paced    the same connections, each user at its own pace, at half the rate of ``open``
    closing  a connection for each request

A Python generator is used up long before the server is: ``open`` and ``closing`` say what the generator can do (its
share of a core is part of the result), and their latencies are mostly the generator's own queue. ``paced`` leaves
it room, so that its latencies are the server's with the generator's wake-ups. What the server itself can do is
measured by wrk (``make bench-peers``).

Server on core 0, generator on the others; everything ends by itself and by its own process id.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import psutil  # type: ignore[import-untyped]  # ships no types
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.processes import Child, environment, python, tcsql_server
from benchmarks.shape import DDL, write_ndjson
from loadtest.cores import SERVER, pin
from loadtest.limits import of_this_machine
from loadtest.locust_checks import percentile
from loadtest.locust_needs import connected, kernel, needs, overflows

RESULTS: Final = Path(__file__).parent / "results" / "locust.json"
FULL_ROWS: Final = 1_000_000
FULL_USERS: Final = 10_000
#: Local addresses the users come from, as in the locustfile (which cannot be imported here: it patches sockets).
SOURCES: Final = 8
#: Connections beyond the users' that the server must take: our own, and those that still close.
_MARGIN: Final = 1_000
_PACED_SHARE: Final = 0.5
_CONNECT_S: Final = 240
_SATURATED: Final = 0.9
SCENARIOS: Final[Mapping[str, tuple[str, str]]] = {
    "open": ("OpenUser", "connections stay open, as fast as the generator can"),
    "paced": ("OpenUser", "connections stay open, at half that rate"),
    "closing": ("ClosingUser", "a connection for each request"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    users: int
    seconds: float
    spawn_rate: int
    processes: int
    cores: tuple[int, ...]


class Generators:
    """The locust processes of one scenario, users shared out among them."""

    def __init__(self, plan: Plan, server: Child, user_class: str, period_s: float) -> None:
        self._plan = plan
        shares = [plan.users // plan.processes + (n < plan.users % plan.processes) for n in range(plan.processes)]
        host = f"http://{server.host}:{server.port}"
        module = (sys.executable, "-m", "loadtest.locust_generate")
        rate = max(1, plan.spawn_rate // plan.processes)
        self.processes = [
            subprocess.Popen(
                [*module, host, user_class, *map(str, (share, rate, period_s, plan.seconds))],
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for share in shares
        ]
        for number, process in enumerate(self.processes):
            pin(process.pid, frozenset({plan.cores[number % len(plan.cores)]}))

    def wait_until_connected(self) -> int:
        """How many users say they are connected."""
        return sum(int(self._line(process).removeprefix("connected ")) for process in self.processes)

    def begin(self) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def results(self) -> list[dict[str, Any]]:
        """What each found, when its time is over."""
        found = [json.loads(self._line(process)) for process in self.processes]
        for process in self.processes:
            process.wait(_CONNECT_S)
        return found

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a generator ended with exit code {process.wait()} before it was done")
        return line.strip()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def run(plan: Plan, server: Child, name: str, period_s: float = 0.0) -> dict[str, Any]:
    """One scenario, as plain data."""
    user_class, what = SCENARIOS[name]
    overflowed = overflows()
    started = time.perf_counter()
    with ExitStack() as cleanup:
        generators = Generators(plan, server, user_class, period_s)
        cleanup.callback(generators.end)
        users = generators.wait_until_connected()
        ramp_s = time.perf_counter() - started
        at_once = connected(server.port)
        cpu, began = server.cpu_s(), time.perf_counter()
        core_before = psutil.cpu_times(percpu=True)
        generators.begin()
        samples = []
        while (left := plan.seconds - (time.perf_counter() - began)) > 0:
            time.sleep(min(1.0, left))
            samples.append(connected(server.port))
        server_core = (server.cpu_s() - cpu) / (time.perf_counter() - began)
        busy = [_busy(core_before[core], after) for core, after in enumerate(psutil.cpu_times(percpu=True))]
        parts = generators.results()
    return {
        "scenario": name,
        "what": what,
        "users": users,
        "ramp_s": round(ramp_s, 1),
        "connected_before_load": at_once,
        "connected_under_load": {"least": min(samples, default=0), "most": max(samples, default=0)},
        "connections_opened_under_load": sum(part["opened_under_load"] for part in parts),
        "listen_queue_overflows": overflows() - overflowed,
        "period_s": round(period_s, 3),
        "server_core": round(server_core, 3),
        "generator_core": [round(part["own_core"], 3) for part in parts],
        "cores_busy": [round(share, 3) for share in busy],
        "generator_was_the_limit": all(busy[core] > _SATURATED for core in plan.cores[: plan.processes]),
        "connect_failures": _merged([part["connect_failures"] for part in parts]),
        **_summary(parts),
    }


def _busy(before: Any, after: Any) -> float:
    """The share of a core's time in which it did anything, for us or for others."""
    passed = sum(after) - sum(before)
    idle = after.idle + after.iowait - before.idle - before.iowait
    return 1 - idle / passed if passed else 0.0


def _summary(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Requests/s, percentiles and failures, in all and by query, over all generators."""
    seconds = max(float(part["seconds"]) for part in parts)
    queries: dict[str, Any] = {}
    for name in parts[0]["latencies_ms"]:
        latencies = [value for part in parts for value in part["latencies_ms"][name]]
        queries[name] = _of(latencies, _merged([part["failures"][name] for part in parts]), seconds)
    together = [value for part in parts for taken in part["latencies_ms"].values() for value in taken]
    failures = _merged([part["failures"][name] for part in parts for name in queries])
    return {"seconds": round(seconds, 2), "all": _of(together, failures, seconds), "queries": queries}


def _of(latencies: list[float], failures: Mapping[str, int], seconds: float) -> dict[str, Any]:
    latencies.sort()
    return {
        "answers": len(latencies),
        "per_s": round(len(latencies) / seconds, 1),
        "p50_ms": round(percentile(latencies, 0.5), 2) if latencies else None,
        "p99_ms": round(percentile(latencies, 0.99), 2) if latencies else None,
        "failed": sum(failures.values()),
        "failures": dict(sorted(failures.items(), key=lambda pair: -pair[1])[:10]),
    }


def _merged(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in counts:
        for reason, count in each.items():
            found[reason] = found.get(reason, 0) + count
    return found


@contextmanager
def loaded_server(rows: int, users: int, console: Console) -> Iterator[Child]:
    """A server of our own on the servers' core, with rows of the seed's shape."""
    with tempfile.TemporaryDirectory(prefix="tcsql-loadtest-") as name:
        directory = Path(name)
        console.print(f"loading {rows:,} rows into a store of its own", style="dim")
        ndjson, schema = directory / "posts.ndjson", directory / "schema.sql"
        write_ndjson(ndjson, rows)
        schema.write_text(DDL + ";\n", encoding="utf-8")
        data = directory / "data"
        python("tcsql", "load", ndjson, "--data", data, "--schema", schema, directory=directory)
        options = ("--max-connections", str(users + _MARGIN), "--backlog", "16384")
        with tcsql_server(data, *options) as server:
            pin(server.process.pid, SERVER)
            yield server


def show(console: Console, results: Mapping[str, Any]) -> None:
    """The scenarios as a table."""
    table = Table("scenario", "query", "req/s", "p50 ms", "p99 ms", "failed")
    for scenario in results["scenarios"]:
        for query, found in {**scenario["queries"], "all": scenario["all"]}.items():
            row = (f"{found['per_s']:,.0f}", f"{found['p50_ms']}", f"{found['p99_ms']}", f"{found['failed']:,}")
            table.add_row(scenario["scenario"], query, *row, end_section=query == "all")
    console.print(table)
    for scenario in results["scenarios"]:
        own = ", ".join(f"{share:.0%}" for share in scenario["generator_core"])
        limit = ": its core was used up, so it was the limit" if scenario["generator_was_the_limit"] else ""
        console.print(
            f"{scenario['scenario']}: {scenario['connected_before_load']:,} connected at once before the load, "
            f"{scenario['connected_under_load']['least']:,} to {scenario['connected_under_load']['most']:,} under it; "
            f"generator {own} of a core, server {scenario['server_core']:.0%}{limit}"
        )


def main(
    rows: Annotated[int, typer.Option(min=1_000, help="rows of the table")] = FULL_ROWS,
    users: Annotated[int, typer.Option(min=1, help="users connected at once")] = FULL_USERS,
    seconds: Annotated[float, typer.Option(min=1, help="length of each scenario")] = 20,
    spawn_rate: Annotated[int, typer.Option(min=1, help="users that connect within a second")] = 1_000,
    processes: Annotated[int, typer.Option(min=1, help="generator processes")] = 1,
    only: Annotated[list[str] | None, typer.Option(help=f"a scenario: {', '.join(SCENARIOS)}; may be repeated")] = None,
    output: Annotated[Path | None, typer.Option(help="where the JSON goes")] = None,
) -> None:
    """Run the scenarios. A complete run at full size keeps its results in loadtest/results/locust.json."""
    console = Console()
    unknown = set(only or ()).difference(SCENARIOS)
    if unknown:
        raise typer.BadParameter(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    if only and "paced" in only and "open" not in only:
        raise typer.BadParameter("paced goes at half the rate of open: run both")
    limits = of_this_machine()
    lacking = needs(limits, users, processes, spawn_rate, SOURCES)
    if lacking:
        console.print("This machine cannot carry the test:", *map(str, lacking), sep="\n- ", markup=False)
        raise typer.Exit(2)
    cores = tuple(core for core in range(limits.cores) if core not in SERVER)
    plan = Plan(users, seconds, spawn_rate, processes, cores)
    wanted = [name for name in SCENARIOS if not only or name in only]
    started, facts = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), machine.describe()
    scenarios: list[dict[str, Any]] = []
    with loaded_server(rows, users, console) as server:
        rate = 0.0
        for name in wanted:
            console.print(f"{name}: {SCENARIOS[name][1]}", style="bold")
            found = run(plan, server, name, users / (_PACED_SHARE * rate) if name == "paced" else 0.0)
            rate = found["all"]["per_s"] if name == "open" else rate
            scenarios.append(found)
            if not found["all"]["answers"]:
                break  # the others would fail as this one did
    results = {
        "started": started,
        "machine": {**facts, "locust": version("locust"), "geventhttpclient": version("geventhttpclient")},
        "kernel": {**kernel(), "open_files": limits.open_files},
        "rows": rows,
        "users": users,
        "sources": SOURCES,
        "spawn_rate": spawn_rate,
        "generator_processes": processes,
        "scenarios": scenarios,
    }
    show(console, results)
    if output is None and rows >= FULL_ROWS and users >= FULL_USERS and len(wanted) == len(SCENARIOS):
        output = RESULTS
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        console.print(f"wrote {output.name}")
    if any(scenario["all"]["failed"] or not scenario["all"]["answers"] for scenario in scenarios):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
