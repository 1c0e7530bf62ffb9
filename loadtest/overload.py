"""More than the server can do: more connections, more requests than it can answer, more connections than it allows.

*connections*: wrk, closed loop, 1x to 8x of an eighth of the most connections, which each ask again when answered.
*offered*: open loop (``loadtest.openloop``), 0.5x to 8x of the capacity that was measured just before, with a query
that costs the server about 1 ms, because a generator on one core can offer eight times that, but not eight times q1.
*limit*: every allowed connection is taken and answered; then 500 more come; then all the first ones ask again.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from statistics import quantiles
from typing import Any, Final

from benchmarks.processes import environment
from loadtest import wrk
from loadtest.asked import Values, costly
from loadtest.cells import Cell, measure
from loadtest.cores import GENERATOR, on_cores
from loadtest.stacks import Stack

FACTORS: Final = (1, 2, 4, 8)
OFFERED: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 0.5)
_PROBES: Final = 64
#: Capacity that the costly query is made for, requests a second.
_WANTED_CAPACITY: Final = 1_000
_PAST_LIMIT: Final = 500
_TIMEOUT_S: Final = 10.0


def connections(stack: Stack, count: int, seconds: float, most: int, keep: Callable[[Cell], None]) -> None:
    """Closed loop: the rate of q1 by the number of connections."""
    for number in range(count):
        factors = FACTORS if number % 2 == 0 else FACTORS[::-1]
        for factor in factors:
            many = factor * most // FACTORS[-1]
            with stack.awake():
                cell = measure(stack, stack.asks["q1"], many, seconds, number)
            keep({"round": number, "query": "q1", "factor": factor, **cell})


def offered(stack: Stack, rows: int, count: int, seconds: float, keep: Callable[[Cell], None]) -> None:
    """Open loop: good answers by the offered load, each round against its own capacity."""
    with stack.awake():
        span = _span(stack, rows)
    for number in range(count):
        with stack.awake():
            capacity = wrk.run(stack.port, costly(rows, span), _PROBES, max(2, seconds), number).per_s
            for place, factor in enumerate(OFFERED):
                found = _offer(stack.port, capacity * factor, seconds, rows, span)
                cell = {"round": number, "place": place, "factor": factor, "capacity": round(capacity, 1), **found}
                keep({**cell, "void": False, "per_s": found["good_per_s"]})


def _span(stack: Stack, rows: int) -> int:
    """How many rows the costly query looks at, so that it costs what it should."""
    span = min(rows // 4, 1_000)
    for turn in range(3):
        capacity = wrk.run(stack.port, costly(rows, span), _PROBES, 1, turn).per_s
        span = max(20, min(rows // 2, int(span * capacity / _WANTED_CAPACITY)))
    return span


def _offer(port: int, per_s: float, seconds: float, rows: int, span: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtest.openloop", *map(str, (port, per_s, seconds, rows, span))]
    with on_cores(GENERATOR):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        raise RuntimeError(f"the generator ended with {done.returncode}: {done.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def limit(stack: Stack, rows: int, allowed: int) -> Mapping[str, object]:
    """Past the limit of connections: how the new ones are refused, and what the old ones notice."""
    request = stack.asks["q1"].filled([Values(rows).rows]).encode()
    with stack.awake(), ExitStack() as cleanup:
        time.sleep(1)  # the connection that asked whether it is awake is gone by then
        existing = [cleanup.enter_context(_connection(stack.port)) for _ in range(allowed)]
        before = [_ask(connection, request) for connection in existing]
        outcomes: dict[str, int] = {}
        refused_s: list[float] = []
        for _ in range(_PAST_LIMIT):
            started = time.perf_counter()
            outcome = _try(stack.port, request, cleanup)
            if outcome in ("503", "closed"):
                refused_s.append(time.perf_counter() - started)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        after = [_ask(connection, request) for connection in existing]
    return {
        "allowed": allowed,
        "existing_answered_before": before.count(200),
        "existing_answered_after": after.count(200),
        "past_limit": _PAST_LIMIT,
        "outcomes": outcomes,
        "refused_p50_ms": _percentile(refused_s, 50),
        "refused_p99_ms": _percentile(refused_s, 99),
    }


def _connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)


def _ask(connection: socket.socket, request: bytes) -> int | None:
    """The status, or None when the connection is no more."""
    with suppress(OSError, http.client.HTTPException):
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        return answer.status
    return None


def _try(port: int, request: bytes, cleanup: ExitStack) -> str:
    """What becomes of one connection too many: its status, or closed, or silence."""
    connection = cleanup.enter_context(_connection(port))
    try:
        # it may close before it has read anything, with its answer waiting for us
        with suppress(ConnectionError):
            connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
    except TimeoutError:
        return "silence"
    except (OSError, http.client.HTTPException):
        return "closed"
    return str(answer.status)


def _percentile(values: list[float], percent: int) -> float | None:
    """In milliseconds; None without values."""
    if len(values) < 2:
        return None
    return round(quantiles(values, n=100, method="inclusive")[percent - 1] * 1e3, 3)
