"""Where the microseconds of a request go, and what each trick took away: ``python -m benchmarks.ladder``.

In one process, without sockets: bytes of a request in, one call of ``transport.write`` out, processor time per request.
The rungs are the real ways through the program, from the most general to the fast lane; the parts are the pieces of
the last rung, each measured alone. The foot is uvicorn's protocol with a constant: what no trick of ours removes.

Every figure is the smallest mean of several repetitions over 1,000 requests, operands drawn anew. The result goes to
``loadtest/results/ladder.json`` and from there into docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from benchmarks.machine import describe
from benchmarks.queries import Asked, Cache
from benchmarks.shape import TABLE
from tcsql.engine import pagejson
from tcsql.engine.change import CreateIndex
from tcsql.engine.places import Operands
from tcsql.engine.prepared import Prepared
from tcsql.engine.query import Select
from tcsql.engine.schema import IndexDef
from tcsql.engine.shortcuts import Answered, Body
from tcsql.engine.slices import finish
from tcsql.http import known, render
from tcsql.http.addresses import LOOPBACK
from tcsql.http.fastlane import protocol
from tcsql.http.grammar import ReadRequest
from tcsql.http.lanes import Lanes
from tcsql.http.parameters import of_query
from tcsql.http.published import Publications
from tcsql.published.options import published_of
from tcsql.settings import Settings

RESULT: Final = Path(__file__).parent.parent / "loadtest" / "results" / "ladder.json"
QUERIES: Final = ("q1", "q2", "q3", "q4")
_REPETITIONS: Final = 9
#: q1 to q4 once more, as queries that everybody may call.
_PUBLISHED: Final = f"""
[published.q1]
query = "table={TABLE}&where=pkey:NUMEQ:{{id:int(0..99999999)}}&order_by=pkey&order_sort=NUMDESC&limit_max=1"
[published.q2]
query = "table={TABLE}&where=uid:NUMEQ:{{id:int(0..99999999)}}&order_by=pkey&order_sort=NUMDESC&limit_max=1"
[published.q3]
query = '''table={TABLE}&where=dateline:NUMGE:{{since:int(0..9999999999)}}|idtype:STREQ:{{kind:text(20)}}\
&order_by=pkey&order_sort=NUMDESC&limit_max=10'''
[published.q4]
query = "table={TABLE}&type=count&where=dateline:NUMGE:{{since:int(0..9999999999)}}|idtype:STREQ:{{kind:text(20)}}"
"""
_NAMES: Final = {"q1": ("id",), "q2": ("id",), "q3": ("since", "kind"), "q4": ("since", "kind")}
_HEADERS: Final = b" HTTP/1.1\r\nHost: 127.0.0.1:3888\r\n\r\n"
_DEFAULTS: Final = [(b"date", b"Fri, 20 Nov 2026 21:20:01 GMT"), (b"server", b"tcsql")]
_CONSTANT: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n" + b'{"count":12345}'


class _Transport(asyncio.Transport):
    """Takes replies and forgets them."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written = 0

    def write(self, data: object) -> None:
        self.written += 1

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


class _Constant(HttpToolsProtocol):
    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            self.transport.write(_CONSTANT)


def microseconds(call: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Processor time of one call: the smallest mean of the repetitions."""
    best = float("inf")
    for _ in range(_REPETITIONS):
        started = time.process_time_ns()
        for argument in arguments:
            call(argument)
        best = min(best, (time.process_time_ns() - started) / len(arguments) / 1000)
    return best


class Ladder:
    """One table, and every way in which its queries can be answered."""

    def __init__(self, rows: int, directory: Path) -> None:
        self.cache = Cache(rows, directory)
        database = self.cache.database
        definition = IndexDef("idtype", ("idtype",))
        database.apply(database.check([CreateIndex(TABLE, definition)], datetime.now(UTC).replace(tzinfo=None)))
        while database.maintain(lambda: True):
            pass
        self.api = self.cache._api
        opened = self.api._serving.opened
        assert opened is not None
        self.grammar = opened.grammar
        self.api.published = Publications(published_of(_PUBLISHED), Settings())
        lanes = Lanes(self.api, Settings())
        lanes.open(self.cache._store)
        config = uvicorn.Config(_no_app, http=protocol(lanes), lifespan="off", log_config=None)  # type: ignore[arg-type]  # as the server does
        state = ServerState()
        state.default_headers = _DEFAULTS
        self.lanes = lanes
        self.transport = _Transport()
        self._bodies: dict[tuple[Prepared, int, int], Body] = {}
        self.connection = protocol(lanes)(config, state, {}, asyncio.get_running_loop())
        self.connection.connection_made(self.transport)
        self.constant = _Constant(config, state, {}, asyncio.get_running_loop())
        self.constant.connection_made(self.transport)

    # --- rungs ----------------------------------------------------------------------------------------------

    def general(self, asked: Asked) -> bytes:
        """Parameters, grammar, a plan for this query alone, the reply's body."""
        request = self.grammar.request(of_query(asked.text))
        assert isinstance(request, ReadRequest)
        return render.result(finish(self.cache.database.general_steps(request.query)))

    def prepared(self, asked: Asked) -> bytes:
        """The same, with the plan of the shape."""
        request = self.grammar.request(of_query(asked.text))
        assert isinstance(request, ReadRequest)
        found = self.cache.database.prepared(TABLE).answer(request.query)
        return render.result(found if found is not None else self.cache.database.query(request.query))

    def known(self, asked: Asked) -> bytes:
        """The query string looked up with its operands cut out; the vetted header block, the head from a table."""
        target, _, block = (b"GET /?" + asked.text + _HEADERS).partition(b" HTTP/1.")
        assert self.lanes.blocks(LOOPBACK)[block] is not None
        body = self.api.known.body(target[6:])
        return self.lanes.page(body if body is not None else self.prepared(asked), _DEFAULTS)

    def measure(self, draw: random.Random) -> list[dict[str, object]]:
        """All rungs and parts, q1 to q4 side by side."""
        questions = self.cache.questions(draw)
        for asked in (questions[name][0] for name in QUERIES):  # known from now on
            data = b"GET /?" + asked.text + _HEADERS
            for _ in range(3):
                self.connection.data_received(data)
        for name in QUERIES:
            self.connection.data_received(_call(name, questions[name][0]))
        steps: list[dict[str, object]] = []

        def step(what: str, call: Callable[[Any], object], of: Callable[[Asked], object]) -> None:
            figures = {name: round(microseconds(call, [of(each) for each in questions[name]]), 2) for name in QUERIES}
            steps.append({"step": what, **{f"{name} µs": figure for name, figure in figures.items()}})

        step("a plan for each query", self.general, _same)
        step("+ a plan for each shape", self.prepared, _same)
        step("+ query strings and header blocks known", self.known, _same)
        step("+ whole requests known: the fast lane", self.connection.data_received, _request)
        step("of that: finding the request", known._split_request, _request)
        step("of that: the body, by a shortcut", _body, self._shortcut)
        step("the same body by steps: rows, then JSON", _body, self._steps)
        step("of that: the head around that", self._head, self._body)
        figures = {
            name: round(
                microseconds(self.connection.data_received, [_call(name, asked) for asked in questions[name]]), 2
            )
            for name in QUERIES
        }
        called = {f"{name} µs": figure for name, figure in figures.items()}
        steps.append({"step": "the same as published queries, /q/NAME", **called})
        step("the foot: the same protocol, a constant reply", self.constant.data_received, _request)
        return steps

    # --- parts ----------------------------------------------------------------------------------------------

    def _prepared(self, asked: Asked) -> tuple[Prepared, int, int, list[bytes]]:
        request = self.grammar.request(of_query(asked.text))
        assert isinstance(request, ReadRequest)
        query = request.query
        prepared = self.cache.database.prepared(TABLE).find(query)
        assert prepared is not None
        operands = [condition.operand.encode() for condition in query.where.any_of[0]]
        skip, limit = (query.skip, query.limit) if isinstance(query, Select) else (0, 0)
        return prepared, skip, limit, operands

    def _shortcut(self, asked: Asked) -> tuple[Body, list[bytes]]:
        prepared, skip, limit, operands = self._prepared(asked)
        key = prepared, skip, limit
        if key not in self._bodies:  # one for a spelling, as the fast lane has it
            self._bodies[key] = prepared.body(skip, limit, Answered())
        return self._bodies[key], operands

    def _steps(self, asked: Asked) -> tuple[Body, list[bytes]]:
        prepared, skip, limit, operands = self._prepared(asked)
        select, count = prepared.select, prepared.count

        def body(operands: Operands) -> bytes | None:
            if select is None:
                number = count(operands) if count is not None else None
                return None if number is None else pagejson.count(number)
            found = select(operands, skip, limit)
            return None if found is None else pagejson.page(*found)

        return body, operands

    def _body(self, asked: Asked) -> bytes:
        return self.prepared(asked)

    def _head(self, body: bytes) -> bytes:
        return self.lanes.page(body, _DEFAULTS)


async def _no_app(scope: object, receive: object, send: object) -> None:
    """Never asked."""


def _same(asked: Asked) -> Asked:
    return asked


def _request(asked: Asked) -> bytes:
    return b"GET /?" + asked.text + _HEADERS


def _call(name: str, asked: Asked) -> bytes:
    given = "&".join(f"{each}={value}" for each, value in zip(_NAMES[name], asked.operands, strict=True))
    return b"GET /q/" + f"{name}?{given}".encode() + _HEADERS


def _body(asked: tuple[Body, list[bytes]]) -> bytes | None:
    body, operands = asked
    return body(operands)


async def run(rows: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as directory:
        ladder = Ladder(rows, Path(directory))
        gc.collect()
        gc.freeze()
        try:
            steps = ladder.measure(random.Random(rows))
        finally:
            ladder.cache.close()
            gc.unfreeze()
    return {
        "machine": describe(),
        "rows": rows,
        "about": f"Processor time of one request in microseconds, in one process and without sockets, {rows:,} rows "
        "(`python -m benchmarks.ladder`). Each rung holds the ones above it; the parts are those of the fast lane, "
        "measured alone, so they leave out the calls between them. What the kernel takes for reading and writing, 6 to "
        "13 µs as connections grow, comes on top for every server alike.",
        "steps": steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="keep the result for docs/performance.md")
    arguments = parser.parse_args()
    result = asyncio.run(run(arguments.rows))
    for step in result["steps"]:  # type: ignore[attr-defined]  # the list made above
        print(
            "  ".join(
                str(value).rjust(8) if isinstance(value, float) else str(value).ljust(48) for value in step.values()
            )
        )
    if arguments.write:
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
