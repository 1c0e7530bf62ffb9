"""One generator process: locust as a library, told on its standard input when to begin.

    python -m loadtest.locust_generate HOST USER_CLASS USERS SPAWN_RATE PERIOD_S SECONDS

It prints ``connected N`` when its users are (or cannot be) connected, waits for a line, runs for so many seconds,
and prints one JSON object: requests and failures by query, latencies as the users saw them, the processor time it
took itself. A generator that used a whole core was the limit, whatever the server could do.
"""

from __future__ import annotations

import gc
import json
import logging
import resource
import sys
import time
from array import array
from typing import Any, Final

import gevent
from gevent import monkey

monkey.patch_all()

from locust import events  # noqa: E402  # gevent's patches come before anything opens a socket
from locust.env import Environment  # noqa: E402  # as above: behind gevent's patches

from loadtest import locustfile  # noqa: E402  # as above: behind gevent's patches
from loadtest.locust_checks import QUESTIONS  # noqa: E402  # as above: behind gevent's patches
from loadtest.locust_client import Opened  # noqa: E402  # as above: behind gevent's patches

#: Users that have not connected so long after the last was to start will not.
_CONNECT_S: Final = 60


class Figures:
    """Latencies and failures by query, from the moment the gate opens until it ends."""

    def __init__(self) -> None:
        self.latencies_ms = {name: array("f") for name in QUESTIONS}
        self.failures: dict[str, dict[str, int]] = {name: {} for name in QUESTIONS}
        self.connect_failures: dict[str, int] = {}
        self.counting = False

    def take(self, name: str, response_time: float, exception: BaseException | None, **_: Any) -> None:
        """locust's request event."""
        if exception is not None and name not in self.failures:
            reason = repr(exception)[:200]
            self.connect_failures[reason] = self.connect_failures.get(reason, 0) + 1
        if not self.counting or name not in self.failures:
            return
        if exception is None:
            self.latencies_ms[name].append(response_time)
        else:
            reason = str(exception)[:200]
            self.failures[name][reason] = self.failures[name].get(reason, 0) + 1


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    host, user_class, users, spawn_rate, period_s, seconds = sys.argv[1:]
    wanted = int(users)
    locustfile.gate.managed = True
    locustfile.QueryUser.period_s = float(period_s)
    locustfile.QueryUser.facts = locustfile.read_facts(host)
    logging.getLogger("locust.runners").setLevel(logging.ERROR)  # it warns of the spawn rate, which is meant
    figures = Figures()
    events.request.add_listener(figures.take)
    environment = Environment(user_classes=[getattr(locustfile, user_class)], host=host, events=events)
    runner = environment.create_local_runner()
    runner.start(wanted, spawn_rate=float(spawn_rate))
    until = time.monotonic() + wanted / float(spawn_rate) + _CONNECT_S
    while locustfile.gate.waiting < wanted and time.monotonic() < until:
        gevent.sleep(0.1)
    print(f"connected {locustfile.gate.waiting}", flush=True)
    gevent.get_hub().threadpool.apply(sys.stdin.readline)
    gc.collect()
    gc.freeze()  # a collection over ten thousand users takes 100 ms, which would count as the server's
    opened_before = Opened.count
    started, cpu = time.perf_counter(), cpu_s()
    figures.counting = True
    locustfile.gate.opened.set()
    gevent.sleep(float(seconds))
    figures.counting = False
    elapsed, cpu = time.perf_counter() - started, cpu_s() - cpu
    found = {
        "seconds": elapsed,
        "own_core": cpu / elapsed,
        "users": locustfile.gate.waiting,
        "opened_to_connect": opened_before,
        "opened_under_load": Opened.count - opened_before,
        "connect_failures": figures.connect_failures,
        "failures": figures.failures,
        "latencies_ms": {name: [round(value, 3) for value in taken] for name, taken in figures.latencies_ms.items()},
    }
    print(json.dumps(found), flush=True)
    sys.stdout.flush()
    runner.quit()


if __name__ == "__main__":
    main()
