"""The stall meter counts a loop that is kept, tells a busy one and a collection apart, and rests with an idle one."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from tcsql.stalls import RunQueue, StallMeter
from tests.http.serving import serving


def kept(seconds: float, answered: int = 0) -> dict[str, Any]:
    """What the meter says of a loop that does nothing but one ``time.sleep``."""
    count = 0

    async def main() -> dict[str, Any]:
        nonlocal count
        meter = StallMeter(lambda: count)
        meter.start()
        await asyncio.sleep(0.05)
        count += answered
        if seconds:
            planted(seconds)
        await asyncio.sleep(0.1)
        meter.stop()
        return meter.status()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def planted(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        time.sleep(0.001)


def test_a_planted_stall_is_counted_with_its_length_and_what_ran() -> None:
    status = kept(0.12)
    assert status["over_ms"]["5"] >= status["over_ms"]["100"] >= 1
    assert 100 <= status["longest_ms"] < 1_000
    longest = max(status["recent"], key=lambda entry: entry["ms"])
    assert any("tests.test_stalls:planted:" in frame for frame in longest["stack"]), longest
    assert longest["cpu_ms"] < longest["ms"], "it slept"
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_waiting_for_a_core_is_told_apart() -> None:
    both = os.sched_getaffinity(0)
    queue = RunQueue()
    queue.open()
    os.sched_setaffinity(0, {min(both)})
    rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before, until = queue.waited_s(), time.monotonic() + 20
        while queue.waited_s() < before + 0.05:
            assert time.monotonic() < until, "somebody else had the same core, and was not seen"
    finally:
        rival.kill()
        rival.wait()
        os.sched_setaffinity(0, both)
        queue.close()
    assert queue.waited_s() == 0.0, "closed"
    recent = kept(0.12)["recent"]
    assert recent
    assert all(0 <= entry["waited_ms"] <= entry["ms"] + 20 for entry in recent), "counted from the timer before"


def test_an_idle_loop_has_no_stall() -> None:
    assert min(kept(0)["longest_ms"] for _ in range(3)) < 20, "of three, as others may need the machine too"


def test_a_turn_of_many_requests_is_busy_and_no_stall() -> None:
    status = kept(0.12, answered=10_000)
    assert status["busy"]["over_ms"]["100"] == 1
    assert status["over_ms"]["100"] == 0


def test_a_collection_is_counted_by_generation() -> None:
    async def main() -> dict[str, Any]:
        meter = StallMeter()
        meter.start()
        before = meter.status()["gc"][2]["collections"]
        gc.collect()
        meter.stop()
        gc.collect()
        return {"seen": meter.status()["gc"][2]["collections"] - before}

    assert asyncio.run(main()) == {"seen": 1}


def test_the_status_of_a_server_tells_its_stalls(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        stalls = server.client.get(server.url + "/status").json()["stalls"]
        assert set(stalls["over_ms"]) == {"5", "20", "50", "100"}
        assert len(stalls["gc"]) == 3
        assert server.stop() == 0
