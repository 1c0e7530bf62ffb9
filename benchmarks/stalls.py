"""``python -m benchmarks.stalls``: how long does anything a server does keep it from answering?

One server with a table of posts (1 M rows), another of the same size, and one with a FULLTEXT index, under a steady
load of the four queries and single inserts. One after another the things happen that could stall it: bulk loads,
schema changes, large atomic batches, TRUNCATE, a backup, scans, large replies. Meanwhile another process asks
``/health`` every 2 ms. The longest answer is at least as long as the longest stall, and the server's own stall meter
says the same from inside, with what was running. A stall with much less processor time than length was spent waiting:
for a core that others had, for the disk, or for the interpreter's lock.

Writes loadtest/results/stalls.json and prints the table. Takes about two minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.processes import Child, environment, python, tcsql_server
from benchmarks.shape import DDL, FIRST_DATELINE, TABLE, posts, to_json, write_ndjson

RESULT: Final = Path(__file__).parent.parent / "loadtest" / "results" / "stalls.json"
#: O-2: the longest stall of the event loop.
GOAL_MS: Final = 50
#: The largest atomic batch that the goal covers.
BATCH_ROWS: Final = 5_000
#: How long each thing is watched at least, and what follows it in the background at most.
_WATCHED_S: Final = 2.0
_SETTLING_S: Final = 20.0
_OTHER: Final = "other"
_TEXTS: Final = "texts"

Act = Callable[[Child], object]


def main(
    rows: Annotated[int, typer.Option(min=20_000, help="rows of the large tables")] = 1_000_000,
    output: Annotated[Path, typer.Option(help="where the JSON goes")] = RESULT,
    only: Annotated[str, typer.Option(help="only what has this in its name")] = "",
) -> None:
    """Measure stalls on this machine."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts = machine.describe()
    with tempfile.TemporaryDirectory(prefix="tcsql-bench-") as name:
        directory = Path(name)
        console.print(f"loading two tables of {rows:,} rows")
        data = _load(directory, rows)
        with tcsql_server(data) as server:
            found = _measure(server, rows, directory, console, only)
    _show(console, found)
    if not only:
        output.parent.mkdir(parents=True, exist_ok=True)
        document = {"machine": facts, "rows": rows, "goal_ms": GOAL_MS, "acts": found}
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        console.print(f"wrote {output.name}")


def _load(directory: Path, rows: int) -> Path:
    data = directory / "data"
    for table, count in ((TABLE, rows), (_OTHER, rows), (_TEXTS, rows // 20)):
        schema, lines = directory / f"{table}.sql", directory / f"{table}.ndjson"
        more = ",\n  FULLTEXT KEY `words` (`title`)" if table == _TEXTS else ""
        text = DDL.replace(f"`{TABLE}`", f"`{table}`").replace(
            "KEY `dateline` (`dateline`)", "KEY `dateline` (`dateline`)" + more
        )
        schema.write_text(text + ";\n", encoding="utf-8")
        write_ndjson(lines, count)
        python("tcsql", "load", lines, "--data", data, "--schema", schema, "--table", table, directory=directory)
        lines.unlink()
    return data


def _acts(rows: int, directory: Path) -> Iterator[tuple[str, Act]]:
    """Everything that happens, in order: what it is called, and what does it."""
    last = FIRST_DATELINE + 20 * rows
    batch = f"table={TABLE}&where=pkey:NUMBT:{rows // 2} {rows // 2 + BATCH_ROWS - 1}"
    texts = f"table={_TEXTS}&where=pkey:NUMBT:1 {min(BATCH_ROWS, rows // 20)}"
    yield "nothing but the load", lambda server: None
    yield f"insert of {BATCH_ROWS:,} rows in one request", lambda server: _insert(server, rows + 5_000_000)
    yield f"update of {BATCH_ROWS:,} rows in one request", lambda server: _write(server, "update", batch, {"hits": 7})
    yield (
        f"update of {BATCH_ROWS:,} keys of an index",
        lambda server: _write(server, "update", batch, {"dateline": last}),
    )
    yield f"delete of {BATCH_ROWS:,} rows in one request", lambda server: _write(server, "delete", batch, None)
    yield (
        f"update of {BATCH_ROWS:,} texts with FULLTEXT",
        lambda server: _write(server, "update", texts, {"title": "quite another title than it was before"}),
    )
    yield f"delete of {BATCH_ROWS:,} texts with FULLTEXT", lambda server: _write(server, "delete", texts, None)
    yield "bulk load of 200,000 rows", lambda server: _bulk(server, directory, 200_000, rows + 6_000_000)
    yield "CREATE INDEX", lambda server: _sql(server, f"CREATE INDEX hits ON {TABLE} (hits)")
    yield "CREATE INDEX of text", lambda server: _sql(server, f"CREATE INDEX title_hits ON {TABLE} (title, hits)")
    yield "DROP INDEX", lambda server: _sql(server, f"DROP INDEX title_hits ON {TABLE}")
    yield "ALTER TABLE ADD COLUMN", lambda server: _sql(server, f"ALTER TABLE {TABLE} ADD COLUMN stars INT NULL")
    yield "TRUNCATE of another table", lambda server: _sql(server, f"TRUNCATE TABLE {_OTHER}")
    yield "backup", _back_up
    yield (
        "groups over every row",
        lambda server: server.get(f"/?command=select&table={TABLE}&type=count,sum(hits)&group_by=idtype"),
    )
    yield (
        "scan of every row",
        lambda server: _refused_or_answered(
            server, f"/?command=select&table={TABLE}&type=count&where=title:STRRX:stone.*young"
        ),
    )
    yield "page of 10,000 rows", lambda server: server.get(f"/?command=select&table={TABLE}&limit_max=10000")
    yield (
        "page behind 900,000 rows",
        lambda server: server.get(
            f"/?command=select&table={TABLE}&limit_skip={rows * 9 // 10}&limit_max=10&order_by=hits&order_sort=NUMDESC"
        ),
    )


def _write(server: Child, command: str, where: str, values: dict[str, object] | None) -> object:
    target = f"/?command={command}&{where}".replace(" ", "%20")
    return server.post(target, b"" if values is None else json.dumps(values).encode())


def _insert(server: Child, first: int) -> object:
    rows = b"[%b]" % b",".join(to_json(post) for post in posts(BATCH_ROWS, first))
    return server.post(f"/?command=insert&table={TABLE}", rows)


def _bulk(server: Child, directory: Path, count: int, first: int) -> object:
    path = directory / "bulk.ndjson"
    with path.open("wb") as file:
        file.writelines(to_json(post) + b"\n" for post in posts(count, first))
    connection = server.connect()
    try:
        with path.open("rb") as file:
            headers = {"Content-Type": "application/x-ndjson", "Content-Length": str(path.stat().st_size)}
            connection.request("POST", f"/?command=insert&table={TABLE}", file, headers)
            answer = connection.getresponse()
            text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)
    finally:
        connection.close()


def _sql(server: Child, statement: str) -> object:
    done = server.post("/?command=sql", json.dumps({"sql": statement}).encode())
    until = time.perf_counter() + _SETTLING_S
    while time.perf_counter() < until:
        tables: Any = server.get("/status")["tables"]
        if all(index["ready"] for table in tables for index in table["indexes"]):
            break
        time.sleep(0.1)
    return done


def _back_up(server: Child) -> object:
    return _refused_or_answered(server, "/backup")


def _refused_or_answered(server: Child, target: str) -> object:
    connection = server.connect()
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        while answer.read(1 << 20):
            pass
        assert answer.status in (200, 422), answer.status
        return answer.status
    finally:
        connection.close()


def _measure(server: Child, rows: int, directory: Path, console: Console, only: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    windows = []
    with _beside("load", server, rows) as load, _beside("ping", server, rows) as pings:
        time.sleep(1)
        for name, act in _acts(rows, directory):
            if only not in name:
                continue
            console.print(name)
            before: Any = server.get("/status")["stalls"]
            began, started = time.time(), time.perf_counter()
            act(server)
            took = time.perf_counter() - started
            time.sleep(max(_WATCHED_S - took, 1.0))
            after: Any = server.get("/status")["stalls"]
            windows.append((began, time.time()))
            found.append({"name": name, "seconds": round(took, 3), "inside": _between(before, after)})
    samples = pings[0]
    for (began, ended), entry in zip(windows, found, strict=True):
        entry["outside"] = _summary([ms for at, ms in samples if began <= at <= ended])
    assert load[0]["failed"] == 0, load[0]
    return found


@contextmanager
def _beside(kind: str, server: Child, rows: int) -> Iterator[list[Any]]:
    """Another process for the time of the block; what it found is in the list afterwards."""
    command = [sys.executable, "-m", "benchmarks.stalls_load", kind, server.host, str(server.port), str(rows)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
    found: list[Any] = []
    try:
        yield found
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, f"{kind} has failed"
        found.append(json.loads(output))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _between(before: dict[str, Any], after: dict[str, Any]) -> dict[str, object]:
    """What the stall meter counted in between."""
    fresh = [entry for entry in after["recent"] if not before["recent"] or entry["at"] > before["recent"][-1]["at"]]
    return {
        "over_ms": {bound: count - before["over_ms"][bound] for bound, count in after["over_ms"].items()},
        "gc_ms": [round(now["ms"] - then["ms"], 2) for then, now in zip(before["gc"], after["gc"], strict=True)],
        "longest_ms": max((entry["ms"] for entry in fresh), default=0.0),
        "longest": max(fresh, key=lambda entry: float(entry["ms"]), default=None),
        "over_50_ms": [entry for entry in fresh if entry["ms"] > GOAL_MS],
    }


def _summary(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    if not ordered:
        return {"count": 0}

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    return {"count": len(ordered), "p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999), "max": ordered[-1]}


def _show(console: Console, found: Sequence[dict[str, Any]]) -> None:
    table = Table(title="answers of /health from outside, the longest stall from inside, its processor time, in ms")
    for heading in ("what happened", "s", "p50", "p99", "p99.9", "max", "stall", "cpu", "met", "where"):
        table.add_column(heading, justify="left" if heading in ("what happened", "where") else "right", no_wrap=True)
    for entry in found:
        outside, inside = entry["outside"], entry["inside"]
        longest = inside["longest"] or {}
        figures = [f"{outside.get(name, 0):.1f}" for name in ("p50", "p99", "p99.9", "max")]
        met = "yes" if outside.get("max", 0) <= GOAL_MS else "no"
        where = (longest.get("stack") or [""])[0].removeprefix("tcsql.")
        stall = (f"{inside['longest_ms']:.1f}", f"{longest.get('cpu_ms', 0.0):.1f}")
        row = (entry["name"], f"{entry['seconds']:.2f}", *figures, *stall, met, where)
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
