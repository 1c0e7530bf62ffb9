"""locust users that ask the four queries of the seed, over connections that stay open or are opened each time.

``make loadtest`` runs them with a server of its own. By hand, against any server with the benchmark's table:

    locust -f loadtest/locustfile.py --host http://127.0.0.1:3888 --headless -u 1000 -r 200 -t 30s OpenUser

Each user opens its connection with a first request and then waits until all users have: what is measured is so
many connections at once, not a ramp. Every reply is judged by ``loadtest.locust_checks``; one that is wrong counts
as a failure.
"""

from __future__ import annotations

import http.client
import itertools
import os
import random
import sys
import time
from collections.abc import Iterator
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import gevent.event
from locust import FastHttpUser, events, task

from loadtest.locust_checks import FACTS_TARGET, QUESTIONS, Facts, facts_of
from loadtest.locust_client import SourceClients

#: The first request of each user, which opens its connection; not part of the figures.
CONNECT: Final = "connect"
#: Local addresses to connect from: 28,000 ports each.
SOURCES: Final = tuple(f"127.0.0.{last}" for last in range(2, 10))


class Gate:
    """Holds users back until all are connected; ``managed``: somebody else opens it."""

    def __init__(self) -> None:
        self.opened = gevent.event.Event()
        self.managed = False
        self.waiting = 0


gate = Gate()


def read_facts(host: str) -> Facts:
    """Ask the server what its rows are. Raises OSError when it does not answer, ValueError when it cannot be asked."""
    parts = urlsplit(host)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request("GET", FACTS_TARGET)
        return facts_of(connection.getresponse().read())
    finally:
        connection.close()


@events.test_start.add_listener
def _ask_facts(environment: Any, **_: Any) -> None:
    if QueryUser.facts is None:
        try:
            QueryUser.facts = read_facts(environment.host or "")
        except (OSError, ValueError) as error:
            environment.process_exit_code = 1
            environment.runner.quit()
            print(f"nothing to ask at {environment.host}: {error}", file=sys.stderr)


@events.spawning_complete.add_listener
def _all_spawned(**_: Any) -> None:
    if not gate.managed:
        gate.opened.set()


class QueryUser(FastHttpUser):  # type: ignore[misc]  # locust's classes are untyped
    """Asks the four queries in equal parts, each user at its own pace and from its own connection."""

    abstract = True
    concurrency = 1
    #: Seconds between the beginnings of two requests of a user; 0: the next as soon as the last is answered.
    period_s: ClassVar[float] = float(os.environ.get("LOADTEST_PERIOD_S", "0"))
    sent_headers: ClassVar[dict[str, str]] = {}
    #: Shared by all users of the process; asked of the server once, before the first is made.
    facts: ClassVar[Facts | None] = None
    numbers: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        number = next(self.numbers)
        self._draw = random.Random(f"{os.getpid()} {number}")
        self._beat = 0.0
        local = self.host is not None and "//127." in self.host
        self.client.client.clientpool = SourceClients(SOURCES[number % len(SOURCES)] if local else None)

    def wait_time(self) -> float:
        """Until the next beat of this user's own clock."""
        if not self.period_s:
            return 0.0
        now = time.monotonic()
        self._beat = max(self._beat + self.period_s, now - self.period_s)
        return max(0.0, self._beat - now)

    def on_start(self) -> None:
        """Connect, wait for the others, and begin somewhere in the period."""
        if self.facts is None:
            return  # the test is about to end
        self.client.get("/health", name=CONNECT, headers=self.sent_headers)
        gate.waiting += 1
        gate.opened.wait()
        delay = self._draw.random() * self.period_s
        self._beat = time.monotonic() + delay
        gevent.sleep(delay)

    def ask(self, name: str) -> None:
        """One request, judged."""
        assert self.facts is not None
        question = QUESTIONS[name](self.facts, self._draw)
        headers = self.sent_headers
        with self.client.get(question.target, name=name, headers=headers, catch_response=True) as response:
            problem = question.problem(response.status_code, response.content)
            if problem is not None:
                response.failure(f"{name}: {problem}")

    @task(1)
    def q1(self) -> None:
        self.ask("q1")

    @task(1)
    def q2(self) -> None:
        self.ask("q2")

    @task(1)
    def q3(self) -> None:
        self.ask("q3")

    @task(1)
    def q4(self) -> None:
        self.ask("q4")


class OpenUser(QueryUser):
    """One connection that stays open."""


class ClosingUser(QueryUser):
    """A connection for each request."""

    sent_headers: ClassVar[dict[str, str]] = {"Connection": "close"}
