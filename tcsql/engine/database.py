"""The database: all tables, one way to check a change, one way to apply it, one way to ask.

``check`` makes every refusal and changes nothing; ``apply`` cannot fail and is visible at once; ``revert`` takes
back what an ``apply`` did, newest first. Nothing here waits, reads a clock or writes a file: that is the store's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from tcsql.engine import evolution
from tcsql.engine.advisor import NOTED_ROWS, useful_rows
from tcsql.engine.autoindex import AutoIndexes
from tcsql.engine.change import (
    Batch,
    Change,
    Delete,
    RowOp,
    RowsBatch,
    SchemaBatch,
    SchemaChange,
    Tally,
    Update,
    budget_of,
)
from tcsql.engine.executor import Executor, PinnedExecutor, Work
from tcsql.engine.explain import advice, explain
from tcsql.engine.graveyard import Graveyard
from tcsql.engine.invariants import check_tables
from tcsql.engine.patience import batch_of
from tcsql.engine.planner import KEY_ONLY_COST, Planner
from tcsql.engine.plans import Plans
from tcsql.engine.prepared import PreparedQueries
from tcsql.engine.query import Query, columns_of, filter_columns
from tcsql.engine.replysize import UNBOUNDED
from tcsql.engine.result import Result
from tcsql.engine.schema import TableSchema, no_table
from tcsql.engine.single import SingleInserts
from tcsql.engine.slices import RESTARTS, answered, explained, finish, lasting, restarting
from tcsql.engine.status import table_status
from tcsql.engine.table import Table
from tcsql.engine.writes import RowWriter
from tcsql.errors import UnsupportedStatement

#: L-7: rows one query may examine.
QUERY_BUDGET_ROWS = 2_000_000

Undo = list[Callable[[], None]]
T = TypeVar("T")


class Database:
    """Tables by name. One writer; readers see every applied batch whole."""

    def __init__(self, query_budget_rows: int = QUERY_BUDGET_ROWS, reply_bytes: int = UNBOUNDED) -> None:
        self.query_budget_rows, self._reply_bytes = query_budget_rows, reply_bytes
        self._tables: dict[str, Table] = {}
        self._by_id: dict[int, Table] = {}
        self._planners: dict[int, Planner] = {}
        self._singles = SingleInserts()
        self._prepared: dict[int, PreparedQueries] = {}
        self._graveyard = Graveyard()
        #: Which indexes queries miss, and which could be spared.
        self.auto_indexes = AutoIndexes()
        self.plans = Plans()
        self._next_id = 1

    # --- what is there --------------------------------------------------------------------------------------

    def table(self, name: str) -> Table:
        """The table of that name; raises UnknownTable with the nearest one."""
        table = self._tables.get(name)
        if table is None:
            raise no_table(name, self._tables)
        return table

    def schema(self, table: str) -> TableSchema:
        return self.table(table).schema

    def schemas(self) -> list[TableSchema]:
        return [table.schema for table in self._tables.values()]

    def table_id(self, table: str) -> int:
        return self.table(table).id

    def rows(self, table: str) -> Iterator[bytes]:
        """All rows in primary-key order, as JSON. The table must not change meanwhile."""
        held = self.table(table)
        for pkey in held.pkeys_in_order():
            row = held.rows.get(pkey)
            assert row is not None
            yield row

    @property
    def memory_bytes(self) -> int:
        return sum(table.memory_bytes for table in self._tables.values())

    def status(self) -> list[dict[str, object]]:
        """One entry a table, for people and dashboards."""
        return [table_status(table, self.auto_indexes.needs(table)) for table in self._tables.values()]

    # --- changing -------------------------------------------------------------------------------------------

    def check(self, changes: Sequence[Change], now: datetime) -> Batch:
        """The batch these changes make, or the error of the first that cannot be done. Changes nothing."""
        return self.check_row(changes) or finish(self.check_steps(changes, now))

    def check_row(self, changes: Sequence[Change]) -> Batch | None:
        """What ``check`` gives for one plain row of one insert, at a quarter of the cost; None for anything else."""
        return self._singles.batch(changes, self._tables)

    def check_steps(self, changes: Sequence[Change], now: datetime) -> Generator[None, None, Batch]:
        """``check`` in slices: an update or delete may have to search. The batch holds until the next ``apply``.

        When a table concerned has changed between two slices it begins again, the last time on the rows of one moment,
        or, if there are several changes, without a break.
        """
        if all(isinstance(change, SchemaChange) for change in changes):
            return self._check_schemas(changes, now)  # type: ignore[arg-type]  # just tested
        for _ in range(RESTARTS):
            writers: dict[str, RowWriter] = {}
            attempt = self._check_rows(changes, now, writers)
            while True:
                try:
                    next(attempt)
                except StopIteration as stop:
                    batch: Batch = stop.value
                    return batch
                yield
                if any(self._tables.get(name) is not w.table or w.is_overtaken for name, w in writers.items()):
                    break
        alone = changes[0] if len(changes) == 1 else None
        if isinstance(alone, (Update, Delete)):
            return (yield from self._check_patiently(alone, now))
        return finish(self._check_rows(changes, now, {}))

    def _check_patiently(self, change: Update | Delete, now: datetime) -> Generator[None, None, Batch]:
        while True:
            table = self.table(change.table)
            table.schema.require(filter_columns(change.where))
            steps = batch_of(table, self._planner(table), Work(budget_of(change, self.query_budget_rows)), change, now)
            if (batch := (yield from lasting(self._tables, table, steps))) is not None:
                return batch[0]

    def _check_rows(
        self, changes: Sequence[Change], now: datetime, writers: dict[str, RowWriter]
    ) -> Generator[None, None, Batch]:
        for change in changes:
            if isinstance(change, SchemaChange):
                raise UnsupportedStatement("rows and schema cannot change in one request")
            writer = writers.get(change.table)
            if writer is None:
                table = self.table(change.table)
                executor = Executor(table, self._planner(table), Work(budget_of(change, self.query_budget_rows)))
                writer = writers[change.table] = RowWriter(table, executor, now)
            if isinstance(change, (Update, Delete)):
                writer.table.schema.require(filter_columns(change.where))
            yield from writer.take(change)
        parts = tuple(part for writer in writers.values() if (part := writer.batch()).ops)
        counters = {
            w.table.id: w.auto_increment for w in writers.values() if w.auto_increment != w.table.auto_increment
        }
        return Batch(parts, Tally.sum([writer.tally() for writer in writers.values()]), counters)

    def _check_schemas(self, changes: Sequence[SchemaChange], now: datetime) -> Batch:
        staged = {table.id: table.schema for table in self._tables.values()}
        parts: list[SchemaBatch] = []
        fresh = self._next_id
        for change in changes:
            part = evolution.schema_part(change, staged, fresh, now)
            if part is None:
                continue
            fresh += part.before is None
            if part.after is None:
                del staged[part.table_id]
            else:
                staged[part.table_id] = part.after
            parts.append(part)
        counters = {
            part.table_id: evolution.first_key(part)
            for part in parts
            if part.table_id in staged and (part.removes_rows or not part.before)
        }
        return Batch(tuple(parts), Tally(), counters)

    def apply(self, batch: Batch) -> Undo:
        """Make the batch visible. Cannot fail. Cost: about 5 us a row and 2 us for each index it touches."""
        undo: Undo = []
        for part in batch.parts:
            if isinstance(part, RowsBatch):
                table = self._by_id[part.table_id]
                if part.row is None:
                    table.apply(part.ops)
                else:
                    self._singles.of(table).apply(part)
                undo.append(partial(self._take_back, part))
            else:
                undo.append(self._apply_schema(part))
        for table_id, counter in batch.auto_increment.items():
            held = self._by_id.get(table_id)
            if held is not None and held.auto_increment != counter:
                undo.append(partial(self._set_counter, table_id, held.auto_increment))
                held.auto_increment = counter
        return undo

    def revert(self, undo: Undo) -> None:
        """Take back one ``apply``; the newest first."""
        for step in reversed(undo):
            step()

    def _apply_schema(self, part: SchemaBatch) -> Callable[[], None]:
        old = self._by_id.get(part.table_id)
        if part.after is None or part.before is None or part.removes_rows:
            new = Table(part.table_id, part.after) if part.after is not None else None
            if new is not None and old is not None:
                new.version = old.version + 1

            def undo() -> None:
                self._replace(self._by_id.get(part.table_id), old)

            self._replace(old, new, undo)
            return undo
        assert old is not None
        before = part.before
        if part.after.layout == before.layout:
            self._relayout(old, part.after)
            return lambda: self._relayout(self._by_id[part.table_id], before)
        kept = old.rows.snapshot()  # a change of columns cannot be taken back from the translated rows
        counter = old.auto_increment
        self._relayout(old, part.after)
        return lambda: self._restore_old(part.table_id, before, kept, counter)

    # An undo looks its table up by id: taking back a later change of columns has made another object of it.

    def _take_back(self, part: RowsBatch) -> None:
        self._by_id[part.table_id].apply([RowOp(op.pkey, op.after, op.before) for op in part.ops])

    def _set_counter(self, table_id: int, counter: int) -> None:
        self._by_id[table_id].auto_increment = counter

    def _restore_old(
        self, table_id: int, schema: TableSchema, rows: Callable[[], Iterator[bytes]], counter: int
    ) -> None:
        table = self._by_id[table_id]
        fresh = Table(table_id, schema)
        fresh.restore((schema.layout, row) for row in rows())
        fresh.auto_increment, fresh.version = counter, table.version + 1
        self._replace(table, fresh)

    def _relayout(self, table: Table, schema: TableSchema) -> None:
        if table.schema.name != schema.name:
            del self._tables[table.schema.name]
            self._tables[schema.name] = table
        table.relayout(schema)

    def _replace(self, old: Table | None, new: Table | None, undo: Callable[[], None] | None = None) -> None:
        """Put a table in the place of another; ``undo`` may put the old one back."""
        if old is not None:
            self._graveyard.bury(old, undo)
            del self._tables[old.schema.name], self._by_id[old.id]
            self._planners.pop(old.id, None)
            self._singles.forget(old)
            self._prepared.pop(old.id, None)
            self.auto_indexes.forget(old.id)
            old.shape_version += 1  # what was prepared for it is not to be used again
        if new is not None:
            if old is None and len(self._tables) == 1:  # a request that named no table meant the only one
                next(iter(self._tables.values())).shape_version += 1
            self._graveyard.exhume(new)
            self._tables[new.schema.name] = self._by_id[new.id] = new
            self._next_id = max(self._next_id, new.id + 1)

    def restore(
        self, table_id: int, schema: TableSchema, auto_increment: int, rows: Iterable[tuple[int, bytes]]
    ) -> None:
        """A table as it was stored: (layout, row JSON) in any order; indexes are sorted once. 2 to 4 us a row."""
        table = Table(table_id, schema)
        table.restore(rows)
        table.auto_increment = auto_increment
        self._replace(None, table)

    def begin_bulk(self, table: str) -> None:
        """Suspend the indexes of a table while a program that does nothing else fills it; see ``Table``."""
        self._graveyard.empty()
        self.table(table).begin_bulk()

    def end_bulk(self, table: str) -> None:
        """Make the indexes whole again, sorted once."""
        self.table(table).end_bulk()

    def maintain(self, more: Callable[[], bool]) -> bool:
        """Background work in small steps while ``more()``; True when work is left."""
        left = len(self._graveyard) > 0
        while left and more():
            left = self._graveyard.step() and len(self._graveyard) > 0
        for table in list(self._tables.values()):
            left = table.maintain(more) or left
        return left

    # --- asking ---------------------------------------------------------------------------------------------

    def query(self, query: Query) -> Result:
        """The answer at once, whatever it costs."""
        return finish(self.steps(query))

    def steps(self, query: Query, budget_rows: int | None = None) -> Generator[None, None, Result]:
        """The answer in slices of at most a few hundred rows; between them the tables may change.

        What is prepared is answered at once, everything else by ``general_steps``. ``budget_rows``: what it may
        examine, if that is less than every query may.
        """
        found = self.prepared(query.table).answer(query)
        if found is None:
            return (yield from self.general_steps(query, budget_rows))
        self.plans.kinds["prepared"] += 1
        return found

    def prepared(self, table: str) -> PreparedQueries:
        """The prepared queries of a table; raises UnknownTable."""
        held = self.table(table)
        found = self._prepared.get(held.id)
        if found is None:
            found = self._prepared[held.id] = PreparedQueries(held, self._planner(held), self._reply_bytes)
        return found

    def general_steps(self, query: Query, budget_rows: int | None = None) -> Generator[None, None, Result]:
        """The answer to any query, planned for it alone.

        One request sees one state: when the table has changed the search begins again, and after three times it
        works on references to the rows as they stand.
        """
        return self._seeing_one_state(query, self._answered, budget_rows)

    def _answered(self, query: Query, executor: Executor) -> Generator[None, None, Result]:
        return answered(query, executor, self._ended)

    def _ended(self, query: Query, work: Work, result: Result | None) -> None:
        """Count what a query cost (None: too much), and note it if an index may be missing, 3 us."""
        self.plans.note(query, work)
        table = self._tables.get(query.table)
        if table is None or (result is not None and work.examined <= NOTED_ROWS):
            return
        spared = 0 if result is None else round((1 - KEY_ONLY_COST) * work.keys)
        self.auto_indexes.note(table, query, work.examined - spared, 0 if result is None else useful_rows(result))

    def tables(self) -> list[Table]:
        """All tables, to look at."""
        return list(self._tables.values())

    def explain(self, query: Query) -> dict[str, object]:
        """How the query would be answered: the chosen access, the others with their sizes, rows examined."""
        return finish(self.explain_steps(query))

    def explain_steps(self, query: Query, budget_rows: int | None = None) -> Generator[None, None, dict[str, object]]:
        """The same in slices: explaining a query means answering it."""
        return self._seeing_one_state(query, explained, budget_rows)

    def plan(self, query: Query) -> dict[str, object]:
        """What ``explain`` tells before anything is answered: no row is examined."""
        table = self.table(query.table)
        table.schema.require(columns_of(query))
        return explain(Executor(table, self._planner(table), self._work(table, query)), query)

    def _seeing_one_state(
        self, query: Query, attempt: Callable[[Query, Executor], Generator[None, None, T]], budget_rows: int | None
    ) -> Generator[None, None, T]:
        for number in range(RESTARTS):
            table = self.table(query.table)
            if number:
                table.schema.require(columns_of(query))
            steps = attempt(query, Executor(table, self._planner(table), self._work(table, query, budget_rows)))
            if (found := (yield from restarting(self._tables, table, steps))) is not None:
                return found[0]
        while True:
            table = self.table(query.table)
            table.schema.require(columns_of(query))
            pinned = PinnedExecutor(table, self._planner(table), self._work(table, query, budget_rows))
            pinned.pin(query.where)
            try:
                if (found := (yield from lasting(self._tables, table, attempt(query, pinned)))) is not None:
                    return found[0]
            finally:
                pinned.end()

    def _work(self, table: Table, query: Query, budget_rows: int | None = None) -> Work:
        most = self.query_budget_rows if budget_rows is None else min(budget_rows, self.query_budget_rows)
        return Work(most, lambda: advice(table, query), self._reply_bytes)

    def _planner(self, table: Table) -> Planner:
        planner = self._planners.get(table.id)
        if planner is None:
            planner = self._planners[table.id] = Planner(table)
        return planner

    def check_invariants(self) -> None:
        """AssertionError with what is wrong. O(all entries)."""
        check_tables(self._tables, self._by_id)
