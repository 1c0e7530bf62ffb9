"""A server from its first row on: bulk load over HTTP into three indexes, memory, restart, memory again.

Each round has a fresh store. Memory is the resident set of the whole process: once as it is, and once without what
the same server takes with an empty store (interpreter and libraries). Time to ready is measured from the start of
the process; reading DDL, listening and answering /ready are in it.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.measure import Figure, Goal, Run
from benchmarks.processes import Child, python, tcsql_server
from benchmarks.shape import DDL, TABLE, write_ndjson

GROUP: Final = "server"
#: The goals are for 1 M rows; the server's own start counts less the more rows there are.
_BYTES: Final = Goal("at most", 400)
_READY: Final = Goal("at most", 5)


def measure(run: Run) -> list[Figure]:
    """All figures of the group."""
    figures = _Figures()
    with tempfile.TemporaryDirectory(dir=run.directory) as name:
        directory = Path(name)
        source = directory / "posts.ndjson"
        run.say(f"writing {run.rows:,} rows of NDJSON")
        write_ndjson(source, run.rows)
        for number in range(run.rounds):
            run.say(f"round {number + 1} of {run.rounds}")
            _round(run.rows, source, directory / f"round-{number}", figures)
    figures.ready.note = f"{run.rows:,} rows"
    return figures.all()


class _Figures:
    def __init__(self) -> None:
        self.bulk = Figure(
            GROUP, "bulk load over HTTP, one stream, three indexes", "rows/s", goal=Goal("at least", 60_000)
        )
        self.bulk.reference = "sqlite3 from the same file, same indexes"
        self.live = Figure(GROUP, "memory a row after the live load, all in", "bytes", goal=_BYTES)
        self.live_net = Figure(GROUP, "memory a row after the live load, without the empty server", "bytes")
        self.ready = Figure(GROUP, "restart to ready", "s", goal=_READY)
        self.ready.reference = "reading and decoding every row of the file"
        self.restarted = Figure(GROUP, "memory a row after a restart, all in", "bytes", goal=_BYTES)
        self.restarted_net = Figure(GROUP, "memory a row after a restart, without the empty server", "bytes")
        self.restarted_net.reference = self.live_net.reference = "a dict of the same rows"
        self.peak = Figure(GROUP, "memory a row at most while restarting, all in", "bytes")
        self.empty = Figure(GROUP, "memory of the empty server", "MiB")
        self.start = Figure(GROUP, "start of the empty server to ready", "s")

    def all(self) -> list[Figure]:
        found = (self.bulk, self.live, self.live_net, self.ready, self.restarted, self.restarted_net, self.peak,
                 self.empty, self.start)  # fmt: skip
        return [figure for figure in found if figure.rounds]


def _round(rows: int, source: Path, directory: Path, figures: _Figures) -> None:
    directory.mkdir()
    data = directory / "data"
    with tcsql_server(data) as server:
        empty = server.resident_bytes()
        figures.empty.rounds.append(empty / 2**20)
        figures.start.rounds.append(server.ready_s)
        server.post("/?command=sql", json.dumps({"sql": DDL}).encode())
        figures.bulk.rounds.append(rows / _bulk(server, source, rows))
        live = _settled_bytes(server)
        figures.live.rounds.append(live / rows)
        figures.live_net.rounds.append((live - empty) / rows)
    done = python("benchmarks.references", "load", source, directory / "reference.db", directory=directory)
    figures.bulk.reference_rounds.append(rows / done.seconds)
    with tcsql_server(data) as server:
        figures.ready.rounds.append(server.ready_s)
        _ask_once(server, rows)
        restarted = _settled_bytes(server)
        figures.restarted.rounds.append(restarted / rows)
        figures.restarted_net.rounds.append((restarted - empty) / rows)
        peak = server.peak_bytes()
        if peak is not None:
            figures.peak.rounds.append(peak / rows)
    plain = json.loads(python("benchmarks.references", "read", data / "tcsql.db", directory=directory).output)
    figures.ready.reference_rounds.append(plain["seconds"])
    figures.restarted_net.reference_rounds.append(plain["bytes_a_row"])
    figures.live_net.reference_rounds.append(plain["bytes_a_row"])


def _bulk(server: Child, source: Path, rows: int) -> float:
    """Seconds of one streamed insert."""
    connection = server.connect()
    try:
        with source.open("rb") as file:
            headers = {"Content-Type": "application/x-ndjson", "Content-Length": str(source.stat().st_size)}
            connection.blocksize = 256 * 1024
            started = time.perf_counter()
            connection.request("POST", f"/?command=insert&table={TABLE}", file, headers)
            answer = connection.getresponse()
            text = answer.read()
            seconds = time.perf_counter() - started
        assert answer.status == 200, text
        assert json.loads(text)["inserted"] == rows, text
        return seconds
    finally:
        connection.close()


def _settled_bytes(server: Child) -> int:
    """The resident set when the last checkpoint is written and background work has had its turn."""
    time.sleep(1)
    return server.resident_bytes()


def _ask_once(server: Child, rows: int) -> None:
    """All rows are there and a query is answered: no lazy part is left out of the time and the memory."""
    found = server.get(f"/?command=select&table={TABLE}&type=count")
    assert found["count"] == rows, found
    page = server.get(f"/?command=select&table={TABLE}&where=uid:NUMEQ:5&order_by=pkey&order_sort=NUMDESC")
    assert page["total"] is not None, page
