"""wrk as a function: requests with random values to one server for some seconds, and what came back.

One thread on the generator's core, keep-alive, one request under way per connection. ``ask.lua`` puts a request
together in about half a microsecond. The rate is counted after a warm-up, in which all connections come at once and
are accepted; percentiles cannot be: they contain it. wrk's own errors are part of the result: a cell in which more
than 0.1 % of the requests failed in any way is void.
"""

from __future__ import annotations

import json
import math
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
    """What wrk counted. ``generator_core``: the share of its core that wrk used; near 1 it was the limit.

    ``requests`` in ``seconds`` are all, ``counted`` in ``window_s`` those after the warm-up.
    """

    requests: int
    seconds: float
    counted: int
    window_s: float
    bytes: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]
    generator_core: float

    @property
    def per_s(self) -> float:
        """Good answers a second, after the warm-up."""
        return max(0, self.counted - self.errors["status"]) / self.window_s

    @property
    def is_void(self) -> bool:
        """Too many requests failed, or none was answered."""
        return self.requests == 0 or sum(self.errors.values()) > MOST_ERRORS * self.requests


def warm_up_s(connections: int) -> float:
    """Time to open so many connections and have them accepted, even where accepting one takes 0.3 ms.

    >>> warm_up_s(100), warm_up_s(10_000)
    (0.54, 4.5)
    """
    return 0.5 + connections / 2_500


def run(port: int, template: Template, connections: int, seconds: float, seed: int) -> Measured:
    """Load 127.0.0.1:port for so long after a warm-up; raises RuntimeError with what wrk said when it could not."""
    warm_up = warm_up_s(connections)
    whole = math.ceil(warm_up + seconds)
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{whole}s"]
    command += ["--timeout", f"{_TIMEOUT_S}s", "--script", str(SCRIPT), f"http://127.0.0.1:{port}/"]
    command += ["--", str(seed), str(warm_up), *template.arguments()]
    before = _children_cpu_s()
    with on_cores(GENERATOR):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=whole + _SPARE_S)
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
