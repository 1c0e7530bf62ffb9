"""Driving work in slices, so that its outcome shows one state of the data whatever is written between two of them.

``restarting`` gives an attempt up when its table has changed, and begins again; ``lasting`` drives what copes with
changed rows, and gives up only when the table is another one or has other columns or indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Final, TypeVar

from tcsql.engine.aggregate import group_steps
from tcsql.engine.executor import Executor, Work
from tcsql.engine.explain import explain
from tcsql.engine.page import PageSearch
from tcsql.engine.query import Count, Group, Query, Select
from tcsql.engine.result import CountResult, Result
from tcsql.engine.table import Table
from tcsql.errors import TooCostly

#: A scan that was overtaken by writes this often works on the rows of one moment instead.
RESTARTS: Final = 3

T = TypeVar("T")
Steps = Generator[None, None, T]


def finish(steps: Steps[T]) -> T:
    """Drive steps to their result without a break."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def driven(steps: Steps[T], holds: Callable[[], bool]) -> Generator[None, None, tuple[T] | None]:
    """The result of the steps, alone in a tuple; None when after a slice what they build on no longer holds."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return (result,)
        yield
        if not holds():
            steps.close()
            return None


def restarting(tables: Mapping[str, Table], table: Table, steps: Steps[T]) -> Generator[None, None, tuple[T] | None]:
    """``driven`` as long as nothing in the table changes."""
    name, version = table.schema.name, table.version
    return (yield from driven(steps, lambda: table.version == version and tables.get(name) is table))


def lasting(tables: Mapping[str, Table], table: Table, steps: Steps[T]) -> Generator[None, None, tuple[T] | None]:
    """``driven`` as long as no more than rows changes."""
    name, schema = table.schema.name, table.schema
    return (yield from driven(steps, lambda: table.schema is schema and tables.get(name) is table))


def run(query: Query, executor: Executor) -> Steps[Result]:
    """The answer."""
    match query:
        case Select():
            return (yield from PageSearch(executor, query).run())
        case Count():
            return CountResult((yield from executor.count(query.where)))
        case Group():
            return (yield from group_steps(executor, query))


def answered(query: Query, executor: Executor, ended: Callable[[Query, Work, Result | None], None]) -> Steps[Result]:
    """The answer; ``ended`` is told of it, or with None that it was too costly."""
    try:
        result = yield from run(query, executor)
    except TooCostly:
        ended(query, executor.work, None)
        raise
    ended(query, executor.work, result)
    return result


def explained(query: Query, executor: Executor) -> Steps[dict[str, object]]:
    """What answering it took."""
    yield from run(query, executor)
    return explain(executor, query)
