"""Single-row writes over HTTP: 64 clients that wait for each answer, every answer after a sync to disk.

The reference is uvicorn answering the same requests with a constant: what the HTTP server alone would allow.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Figure, Run
from benchmarks.processes import Child, constant_server, python, tcsql_server
from benchmarks.shape import DDL, uid_values

GROUP: Final = "writes"
CLIENTS: Final = 64
_SECONDS: Final = 5.0
#: Keys of rows that are written start behind any that were loaded, and each round has its own.
_FIRST_ID: Final = 100_000_000
_SATURATED: Final = 0.9


def generate(child: Child, first_id: int, users: int, directory: Path) -> dict[str, Any]:
    """Run the generator against a server and read its result."""
    arguments = (child.host, child.port, CLIENTS, _SECONDS, first_id, users)
    found: dict[str, Any] = json.loads(python("benchmarks.generator", *arguments, directory=directory).output)
    return found


def measure(run: Run) -> list[Figure]:
    """Writes a second, their latencies, and the constant's."""
    rate = Figure(GROUP, f"single-row inserts, {CLIENTS} clients, durability always", "1/s")
    rate.reference = "uvicorn answering a constant"
    middle = Figure(GROUP, "the same: median time of a request", "ms")
    late = Figure(GROUP, "the same: 99th percentile", "ms")
    cores = Figure(GROUP, "the same: cores used by the server", "cores")
    busiest = 0.0
    with tempfile.TemporaryDirectory(dir=run.directory) as name:
        directory = Path(name)
        with tcsql_server(directory / "data") as server, constant_server(directory) as constant:
            server.post("/?command=sql", json.dumps({"sql": DDL}).encode())
            for number in range(run.rounds):
                run.say(f"round {number + 1} of {run.rounds}")
                first_id = _FIRST_ID * (number + 1)
                cpu = server.cpu_s()
                found = generate(server, first_id, uid_values(run.rows), directory)
                cores.rounds.append((server.cpu_s() - cpu) / _SECONDS)
                plain = generate(constant, first_id, uid_values(run.rows), directory)
                rate.rounds.append(found["per_s"])
                rate.reference_rounds.append(plain["per_s"])
                middle.rounds.append(found["p50_ms"])
                late.rounds.append(found["p99_ms"])
                busiest = max(busiest, found["own_core"])
                if plain["own_core"] > _SATURATED:
                    rate.reference = "uvicorn answering a constant (the generator was saturated: it allows more)"
    share = f"the generator used {busiest:.0%} of a core"
    rate.note = f"{share}: it was the limit" if busiest > _SATURATED else share
    return [rate, middle, late, cores]
