"""E17: hostile work is refused, or answered rightly, and never keeps the server from others.

The stall meter of the server judges: how long its loop was away, and what it did. What the machine did with others, so
that the loop was ready and had no core, is told apart and no stall of ours. The quick share has a generous bound;
``make torture`` holds the promise, with a million rows.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from tests.http.conftest import LANES
from tests.http.serving import Running, serving
from tests.promises.hostile_work import DDL, Case, cases, rows
from tests.results import is_torture, record

ROWS: Final = 1_000_000 if is_torture() else 3_000
#: Every so many of the cases; those beside each other are of a kind.
EACH: Final = 1 if is_torture() else 3
#: O-2 for the long run; else only what cannot be the machine's fault.
STALL_MS: Final = 50 if is_torture() else 1_000
#: A million rows and a pattern with a thousand states take a minute on a machine that does other things, too.
ANSWER_S: Final = 300 if is_torture() else 60
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def bytes_of(case: Case) -> bytes:
    if case.raw:
        return case.raw
    head = f"POST /?{case.query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {case.kind}\r\n"
    return f"{head}Content-Length: {len(case.body)}\r\n\r\n".encode() + case.body


def stalls(server: Running) -> dict[str, Any]:
    return dict(server.client.get(server.url + "/status").json()["stalls"])


def ask(server: Running, case: Case) -> dict[str, Any]:
    """Statuses of the answers, seconds, and the stalls while they were made."""
    before = stalls(server)
    began = time.monotonic()
    try:
        answer = server.raw(bytes_of(case), timeout_s=ANSWER_S)
    except TimeoutError:
        answer = b""
    seconds = time.monotonic() - began
    after = stalls(server)
    known = {entry["at"] for entry in before["recent"]}
    new = [entry for entry in after["recent"] if entry["at"] not in known]
    print(f"{case.name}: {seconds:.2f} s, stalls {[own_ms(stall) for stall in new]}")  # shown when it fails, or by -s
    return {
        "name": case.name,
        "statuses": Counter(int(status) for status in _STATUS.findall(answer)),
        "seconds": round(seconds, 2),
        "stalls": new,
        "answer": answer[-300:],
    }


@pytest.mark.parametrize("lane", LANES if is_torture() else ["fast"])
def test_hostile_work_is_answered_and_keeps_nobody_waiting(tmp_path: Path, lane: str) -> None:
    with serving(tmp_path / "data", "--auto-index", "false", *LANES[lane]) as server:
        server.sql(DDL)
        for chunk in rows(ROWS):
            answer = server.post("command=insert&table=work", chunk, "application/x-ndjson")
            assert answer.status_code == 200, answer.text
        time.sleep(1)  # what follows a load in the background
        found = [ask(server, case) for case in islice(cases(), 0, None, EACH)]
        kept = server.get("command=select&table=work&type=count").json()
        assert "bug" not in server.stderr(), server.stderr()[-3_000:]
        assert server.stop() == 0
    wrong = [
        entry for entry in found
        if not entry["statuses"] or any(not (status == 200 or 400 <= status < 500) for status in entry["statuses"])
    ]  # fmt: skip  # one condition
    longest = sorted(
        ((own_ms(stall), entry["name"], stall) for entry in found for stall in entry["stalls"]), key=_length
    )
    figures = {
        "requests": sum(sum(entry["statuses"].values()) for entry in found),
        "cases": len(found),
        "longest_stall_ms": longest[-1][0] if longest else 0,
        "longest_with_waiting_for_a_core_ms": max((stall["ms"] for _, _, stall in longest), default=0),
        "longest_processor_ms": max((stall["cpu_ms"] for _, _, stall in longest), default=0),
        "longest_answer_s": max(entry["seconds"] for entry in found),
        "longest_stalls": [f"{name}: {ms} ms" for ms, name, _ in reversed(longest[-5:])],
    }
    passed = not wrong and figures["longest_stall_ms"] <= STALL_MS
    record("E17" if lane == "fast" else f"E17-{lane}", passed=passed, rows=ROWS, **figures)
    assert not wrong
    assert kept["count"] >= ROWS
    assert figures["longest_stall_ms"] <= STALL_MS, orjson.dumps(longest[-3:], option=orjson.OPT_INDENT_2).decode()


def own_ms(stall: dict[str, Any]) -> float:
    """What of a stall was not waiting for a core that others had."""
    return float(round(max(0.0, stall["ms"] - stall["waited_ms"]), 1))


def _length(entry: tuple[float, str, Any]) -> float:
    return entry[0]
