"""Before the rounds: every stack is asked every query, and TCSQL until it has built the indexes that it misses.

The seed's own indexes leave q3 without one that gives both the type and the order. TCSQL notices, and builds it in the
background once that has cost more than the index will, which takes minutes when there is little to save; what it still
misses after half a minute is then made by ``CREATE INDEX``. MariaDB has been given it (``loadtest.fleet``), and Redis
has a set for it. What was built, how, and how long it took under load, is kept with the results.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from loadtest import wrk
from loadtest.stacks import Stack
from loadtest.template import get, post

CONNECTIONS: Final = 100
_PASS_S: Final = 1.0
#: So long it may find out by itself.
_PATIENCE_S: Final = 30
#: Enough to build an index on a machine ten times slower than any of today.
_MOST_S: Final = 180


def warm_up(stacks: Mapping[str, Stack], queries: Iterable[str], say: Callable[[str], None]) -> None:
    """Fill caches, and let TCSQL build what it misses; raises RuntimeError when a stack does not answer."""
    asked = list(queries)
    for stack in stacks.values():
        with stack.awake():
            started = time.monotonic()
            _ask(stack, asked)
            if stack.name in ("fast", "slow"):
                before: object = None
                # until nothing is missed, or what is missed costs nothing any more
                until = started + _PATIENCE_S
                while time.monotonic() < until and (missed := _missed(_table(stack))) != before and missed:
                    before = missed
                    _ask(stack, asked)
                stack.facts["was_given"] = _give(stack)
                built = [index for index in _table(stack)["indexes"] if index["automatic"]]
                stack.facts["built_itself"] = [f"({', '.join(index['columns'])})" for index in built]
                say(f"  {stack.title} has built {stack.facts['built_itself'] or 'no index'}")
            stack.facts["warm_up_s"] = round(time.monotonic() - started, 1)


def _give(stack: Stack) -> list[str]:
    """Make the indexes that are still missed; their columns."""
    table = _table(stack)
    given = [", ".join(index["columns"]) for index in table["missed_indexes"]]
    for number, columns in enumerate(given):
        text = f"CREATE INDEX given_{number} ON {table['name']} ({columns})"
        body = json.dumps({"sql": text}).encode()
        status, answer = stack.send(post("/?command=sql", len(body), body.decode()).filled(()))
        if status != 200:
            raise RuntimeError(f"{stack.title} does not make an index: {answer!r}")
    started = time.monotonic()
    while any(not index["ready"] for index in _table(stack)["indexes"]):
        if time.monotonic() > started + _MOST_S:
            raise RuntimeError(f"{stack.title} does not finish its index")
        time.sleep(0.2)
    return given


def _ask(stack: Stack, queries: Iterable[str]) -> None:
    for query in queries:
        if wrk.run(stack.port, stack.asks[query], CONNECTIONS, _PASS_S, 1).requests == 0:
            raise RuntimeError(f"{stack.title} answers nothing to {query}")


def _table(stack: Stack) -> dict[str, Any]:
    status, body = stack.send(get("/status").filled(()))
    if status != 200:
        raise RuntimeError(f"{stack.title} answers {status} to /status")
    (table,) = json.loads(body)["tables"]
    return dict(table)


def _missed(table: Mapping[str, Any]) -> list[object]:
    """Indexes that are missed, with what that has cost so far, and those that are being built, with their size."""
    missed: list[object] = [(index["columns"], index["share_of_price"]) for index in table["missed_indexes"]]
    return missed + [(index["name"], index["bytes"]) for index in table["indexes"] if not index["ready"]]
