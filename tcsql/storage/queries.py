"""The reading half of the store: a query at once, within one turn, or in slices that let other requests pass.

Reads see what is applied, durable or not. ``budget_rows``: what a query may examine, if less than every query may.
Cost beside the engine's: 1 us.
"""

from __future__ import annotations

import time

from tcsql.engine.database import Database
from tcsql.engine.query import Query, columns_of
from tcsql.engine.result import Result
from tcsql.storage.turns import SLICE_S, in_slices


class Queries:
    """Belongs to the event loop's thread, or to the only one there is."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def query(self, query: Query) -> Result:
        """The answer at once, whatever it costs; sees what is applied, durable or not."""
        return self.database.query(query)

    def query_now(self, query: Query, budget_rows: int | None = None) -> Result | None:
        """The answer if it takes no more than one turn; None: ``run`` begins again, and takes several."""
        steps = self.database.steps(query, budget_rows)
        until = time.perf_counter() + SLICE_S
        try:
            next(steps)
            while time.perf_counter() < until:
                next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        return None

    async def run(self, query: Query, budget_rows: int | None = None) -> Result:
        """The answer, with other requests in between every 5 ms; raises UnknownColumn if one has gone meanwhile."""
        self._require(query)
        return await in_slices(self.database.steps(query, budget_rows))

    async def explain(self, query: Query, budget_rows: int | None = None) -> dict[str, object]:
        """How the query is answered, found out in the same slices; ``time_us`` includes what came in between."""
        started = time.perf_counter()
        self._require(query)
        plan = await in_slices(self.database.explain_steps(query, budget_rows))
        return {**plan, "time_us": _us_since(started)}

    def _require(self, query: Query) -> None:
        """A query that had to wait was read when the table may have had other columns."""
        self.database.schema(query.table).require(columns_of(query))

    def explain_now(self, query: Query) -> dict[str, object]:
        """The same at once, for programs that do nothing else."""
        started = time.perf_counter()
        return {**self.database.explain(query), "time_us": _us_since(started)}


def _us_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1e6)
