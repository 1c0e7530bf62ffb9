"""The four queries of the seed inside the process: what the engine takes, and what a whole reply takes.

    q1  one row by its key         where=pkey:NUMEQ:<random>
    q2  the newest row of a user   where=uid:NUMEQ:<random>, by pkey backwards, 1 row
    q3  a compound list            where=dateline:NUMGE:<random>|idtype:STREQ:<random>, by pkey backwards, 10 rows
    q4  the same as a count

``engine``: Database.query. ``reply``: bytes of the query string to bytes of the body, through the endpoints that
every lane calls. Both on a table of the full size and on one of 10,000 rows, whose ratio is the growth.
"""

from __future__ import annotations

import asyncio
import gc
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.measure import Figure, Goal, Run
from benchmarks.references import Dictionary, SQLite
from benchmarks.shape import KINDS, TABLE, posts, schema, to_json, uid_values
from tcsql.engine.database import Database
from tcsql.engine.query import Condition, Count, Filter, Operator, OrderKind, OrderTerm, Query, Select
from tcsql.http.endpoints import Api
from tcsql.http.messages import Head
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level

GROUP: Final = "queries"
SMALL_ROWS: Final = 10_000
#: Queries a round and subject, and the time after which a slow subject has been seen enough.
_CALLS: Final = 1_000
_ENOUGH_S: Final = 1.0
_BACKWARDS: Final = (OrderTerm(None, OrderKind.NUM, descending=True),)
_NEWEST_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """One query as a value and as it comes over HTTP, with its operands for the references."""

    query: Query
    text: bytes
    operands: tuple[int | str, ...] = ()


def _one(column: str | None, operand: int) -> Asked:
    condition = Condition(column, Operator.NUMEQ, str(operand))
    query = Select(TABLE, where=Filter(((condition,),)), order=_BACKWARDS, limit=1)
    where = f"{column or 'pkey'}:NUMEQ:{operand}"
    text = f"command=select&type=*&where={where}&order_by=pkey&order_sort=NUMDESC&limit_skip=0&limit_max=1"
    return Asked(query, text.encode(), (operand,))


def _compound(since: int, kind: str, count: bool) -> Asked:
    both = (Condition("dateline", Operator.NUMGE, str(since)), Condition("idtype", Operator.STREQ, kind))
    where = f"where=dateline:NUMGE:{since}|idtype:STREQ:{kind}"
    if count:
        return Asked(Count(TABLE, Filter((both,))), f"command=select&type=count&{where}".encode(), (since, kind))
    query = Select(TABLE, where=Filter((both,)), order=_BACKWARDS, limit=10)
    text = f"command=select&type=*&{where}&order_by=pkey&order_sort=NUMDESC&limit_skip=0&limit_max=10"
    return Asked(query, text.encode(), (since, kind))


def _page(skip: int) -> Asked:
    query = Select(TABLE, order=_BACKWARDS, skip=skip, limit=10)
    text = f"command=select&type=*&order_by=pkey&order_sort=NUMDESC&limit_skip={skip}&limit_max=10"
    return Asked(query, text.encode())


class Cache:
    """A table of some size in a store without a file's rows, asked in both ways."""

    def __init__(self, rows: int, directory: Path) -> None:
        self.rows = rows
        self.database = Database()
        self.plain: dict[int, bytes] = {}
        self.database.restore(1, schema(), rows + 1, self._stored())
        # Rows in memory only: what is asked never touches the file.
        self._store = Store.open(directory, StoreOptions(durability=Level.MEMORY), database=self.database)
        self._api = Api(Settings(data=str(directory)), Metrics())
        self._api.open(self._store)
        self._loop = asyncio.new_event_loop()
        held = self.database.table(TABLE).rows
        self.plain = {post_id: row for post_id in range(1, rows + 1) if (row := held.get(post_id)) is not None}
        ends = [post.dateline for post in posts(rows)]
        self.first, self.last, self.newest = ends[0], ends[-1], ends[-_NEWEST_ROWS]

    def _stored(self) -> Iterator[tuple[int, bytes]]:
        return ((0, to_json(post)) for post in posts(self.rows))

    def engine(self, asked: Asked) -> object:
        return self.database.query(asked.query)

    def reply(self, asked: Asked) -> object:
        head = Head("GET", "/", asked.text)
        found = self._api.answer_now(head)
        if found is None:
            found = self._loop.run_until_complete(self._api.answer(head))
        assert found.status == 200, found.body
        return found

    def close(self) -> None:
        self._store.close()
        self._loop.close()

    def questions(self, draw: random.Random) -> dict[str, list[Asked]]:
        """The queries of a round by name, operands drawn anew."""
        key = partial(draw.randint, 1, self.rows)
        since = partial(draw.randint, self.first, self.last)
        return {
            "q1": [_one(None, key()) for _ in range(_CALLS)],
            "q2": [_one("uid", draw.randrange(uid_values(self.rows))) for _ in range(_CALLS)],
            "q3": [_compound(since(), draw.choice(KINDS), False) for _ in range(_CALLS)],
            "q4": [_compound(since(), draw.choice(KINDS), True) for _ in range(_CALLS)],
            "first": [_page(0)] * _CALLS,
            "deep": [_page(self.rows - 100)] * _CALLS,
            "rare": [_compound(self.newest, draw.choice(KINDS), False) for _ in range(_CALLS)],
        }


def microseconds(call: Callable[[Asked], object], questions: Sequence[Asked]) -> float:
    """Mean processor time of a call: a mean, so that one slow plan in a hundred shows."""
    until = time.perf_counter() + _ENOUGH_S
    started = time.process_time()
    done = 0
    for asked in questions:
        call(asked)
        done += 1
        if time.perf_counter() > until:
            break
    return (time.process_time() - started) / done * 1e6


@dataclass(slots=True)
class _Timings:
    """Microseconds of each subject and query, round by round."""

    rounds: dict[tuple[str, str], list[float]]

    def add(self, subject: str, query: str, value: float) -> None:
        self.rounds.setdefault((subject, query), []).append(value)


def measure(run: Run) -> list[Figure]:
    """All figures of the group."""
    with tempfile.TemporaryDirectory(dir=run.directory) as directory:
        run.say(f"building tables of {run.rows:,} and {SMALL_ROWS:,} rows, and SQLite's")
        large = Cache(run.rows, Path(directory) / "large")
        small = Cache(SMALL_ROWS, Path(directory) / "small")
        sqlite = SQLite()
        sqlite.create()
        sqlite.fill(posts(run.rows))
        gc.collect()
        gc.freeze()  # as the server does when it is ready
        try:
            timings = _rounds(run, large, small, sqlite)
        finally:
            large.close()
            small.close()
            sqlite.connection.close()
            gc.unfreeze()
    return _figures(run, timings)


def _rounds(run: Run, large: Cache, small: Cache, sqlite: SQLite) -> _Timings:
    timings = _Timings({})
    draw = random.Random(run.rows)
    dictionary = Dictionary(large.plain)
    for number in range(run.rounds):
        run.say(f"round {number + 1} of {run.rounds}")
        of_large, of_small = large.questions(draw), small.questions(draw)
        for query in of_large:
            for subject, call, questions in (
                ("engine", large.engine, of_large),
                ("engine small", small.engine, of_small),
                ("reply", large.reply, of_large),
                ("reply small", small.reply, of_small),
            ):
                timings.add(subject, query, microseconds(call, questions[query]))
        for query in ("q1", "q2", "q3", "q4"):
            timings.add("sqlite", query, microseconds(partial(_ask, getattr(sqlite, query)), of_large[query]))
        timings.add("dictionary", "q1", microseconds(partial(_ask, dictionary.row), of_large["q1"]))
    return timings


def _ask(call: Callable[..., object], asked: Asked) -> object:
    return call(*asked.operands)


_WHAT: Final = {
    "q1": "q1: one row by key",
    "q2": "q2: newest row of a user",
    "q3": "q3: compound list, 10 rows",
    "q4": "q4: compound count",
    "first": "first page of 10 of the whole table",
    "deep": "page of 10 at rows - 100",
    "rare": "q3, dates newer than all but 100 rows",
}


def _figures(run: Run, timings: _Timings) -> list[Figure]:
    found = []
    by = timings.rounds
    for query in ("q1", "q2", "q3", "q4"):
        for layer in ("engine", "reply"):
            reference = ("SQLite in memory", by["sqlite", query])
            found.append(_figure(f"{_WHAT[query]} ({layer})", by[layer, query], *reference))
    floor = ("dict look-up and join", by["dictionary", "q1"])
    found.append(_figure(f"{_WHAT['q1']} (engine), over the floor", by["engine", "q1"], *floor))
    for layer in ("engine", "reply"):
        for query in ("q1", "q2", "q3", "q4"):
            name = f"growth of {query} from {SMALL_ROWS:,} to {run.rows:,} rows ({layer})"
            found.append(_ratio(name, by[layer, query], f"at {SMALL_ROWS:,} rows", by[f"{layer} small", query]))
        for query, other in (("deep", "first"), ("q4", "q1"), ("rare", "q1")):
            found.append(_ratio(f"{_WHAT[query]} ({layer})", by[layer, query], _WHAT[other], by[layer, other]))
    return found


def _figure(name: str, rounds: list[float], reference: str, reference_rounds: list[float]) -> Figure:
    return Figure(GROUP, name, "us", rounds, None, reference, reference_rounds)


def _ratio(name: str, rounds: list[float], reference: str, reference_rounds: list[float]) -> Figure:
    return Figure(GROUP, name, "us", rounds, Goal("at most", 1.5, of="ratio"), reference, reference_rounds)
