"""E15: thousands of idle connections and dripping ones do not harm those who ask.

The quick share is small and says nothing about time; ``make torture`` holds the promise: 10,000 idle ones, 1,000 that
drip, and the 99th percentile of 50 good clients at most doubled. The good ones are measured before, with the crowd, and
again after it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.http.conftest import LANES
from tests.http.serving import Running, environment, serving
from tests.results import is_torture, record

IDLE, DRIPPING, GOOD = (10_000, 1_000, 50) if is_torture() else (500, 100, 10)
SECONDS: Final = 30.0 if is_torture() else 1.0
#: Bodies are cut after twice their deadline, and a sweep or two.
CROWD_S: Final = 2 * SECONDS if is_torture() else 5.0
#: The deadline of the drips: the default, or the shortest there is.
DEADLINE_S: Final = 10 if is_torture() else 1
MOST_TIMES: Final = 2.0
TARGET: Final = "/?command=select&table=t&where=id:NUMEQ:7"


@contextmanager
def crowd(server: Running, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    what, *others = map(str, arguments)
    host, port = server.address
    words = [sys.executable, "-m", "tests.promises.crowd", what, host, str(port), *others]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment(), cwd=root)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def measured(server: Running) -> dict[str, Any]:
    with crowd(server, "good", GOOD, SECONDS, TARGET) as process:
        return dict(json.loads(line_of(process)))


@pytest.mark.parametrize("lane", LANES if is_torture() else ["fast"])
def test_the_good_are_answered_beside_a_crowd_of_idle_and_dripping_connections(lane: str, tmp_path: Path) -> None:
    flags = ("--header-s", DEADLINE_S, "--body-s", DEADLINE_S, "--keepalive-s", 600, "--max-connections", 12_000)
    with serving(tmp_path / "data", *map(str, flags), *LANES[lane]) as server:
        server.sql("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20))")
        server.post("command=insert&table=t", [{"id": number, "name": f"row {number}"} for number in range(1_000)])
        before = measured(server)
        with crowd(server, "bad", IDLE, DRIPPING, CROWD_S, DEADLINE_S) as process:
            assert line_of(process) == "ready"
            beside = measured(server)
            told = dict(json.loads(line_of(process)))
        after = measured(server)
        assert server.client.get(f"{server.url}/health").status_code == 200
        assert server.stop() == 0
        assert "bug" not in server.stderr(), server.stderr()
    calm_ms = (before["p99_ms"] + after["p99_ms"]) / 2
    times = beside["p99_ms"] / calm_ms
    record(
        "E15" if lane == "fast" else "E15-starlette",
        passed=times <= MOST_TIMES and not beside["wrong"] and beside["answered"] > 0,
        idle_connections=IDLE,
        dripping_connections=DRIPPING,
        good_clients=GOOD,
        seconds=SECONDS,
        before=before,
        beside=beside,
        after=after,
        p99_times=round(times, 2),
        **told,
    )
    for figures in (before, beside, after):
        assert figures["wrong"] == {}, figures
        assert figures["answered"] > GOOD * SECONDS
    assert told["idle_closed"] == 0, "who is idle for less than keepalive_s stays"
    cut = told["dripping_told"]
    assert cut.get("408", 0) >= DRIPPING, f"each of them was cut at least once: {cut}"
    assert cut["408"] >= 0.99 * sum(cut.values()), cut
    if is_torture():
        assert times <= MOST_TIMES, (before, beside, after)
