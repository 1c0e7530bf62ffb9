"""wrk as a function: requests with random values to one server for some seconds, and what came back.

One thread on the generator's core, keep-alive, one request under way per connection. ``ask.lua`` puts a request
together in about half a microsecond. wrk's own errors are part of the result: a cell in which more than 0.1 % of the
requests failed in any way is void.
"""

from __future__ import annotations

import json
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtest.cores import GENERATOR, on_cores
from loadtest.template import Template

SCRIPT: Final = Path(__file__).parent / "ask.lua"
#: Part of the requests that may fail before a cell says nothing.
MOST_ERRORS: Final = 0.001
#: Longer than any queue of 10,000 at the slowest peer, so that slowness shows as latency and not as an error.
_TIMEOUT_S: Final = 60
#: For opening the connections and for closing them, beside the time of the measurement.
_SPARE_S: Final = 60
_MARK: Final = "RESULT "


@dataclass(frozen=True, slots=True)
class Measured:
    """What wrk counted. ``generator_core``: the share of its core that wrk used; near 1 it was the limit."""

    requests: int
    seconds: float
    bytes: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]
    generator_core: float

    @property
    def per_s(self) -> float:
        """Good answers a second."""
        return max(0, self.requests - self.errors["status"]) / self.seconds

    @property
    def is_void(self) -> bool:
        """Too many requests failed, or none was answered."""
        return self.requests == 0 or sum(self.errors.values()) > MOST_ERRORS * self.requests


def run(port: int, template: Template, connections: int, seconds: float, seed: int) -> Measured:
    """Load 127.0.0.1:port; raises RuntimeError with what wrk said when it could not."""
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--timeout", f"{_TIMEOUT_S}s", "--script", str(SCRIPT), f"http://127.0.0.1:{port}/"]
    command += ["--", str(seed), *template.arguments()]
    before = _children_cpu_s()
    with on_cores(GENERATOR):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + _SPARE_S)
    if done.returncode:
        raise RuntimeError(f"wrk ended with {done.returncode}: {done.stdout}{done.stderr}")
    return parse(done.stdout, _children_cpu_s() - before)


def parse(output: str, cpu_s: float) -> Measured:
    """The line that ask.lua prints at the end; raises RuntimeError with the output when it is not there."""
    line = next((line for line in output.splitlines() if line.startswith(_MARK)), None)
    if line is None:
        raise RuntimeError(f"wrk printed no result: {output}")
    found: dict[str, Any] = json.loads(line.removeprefix(_MARK))
    return Measured(**found, generator_core=round(cpu_s / found["seconds"], 3))


def _children_cpu_s() -> float:
    """Processor time of the children that have ended; wrk is the only one that ends while it is measured."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
