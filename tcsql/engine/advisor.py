"""Which index would serve a shape of queries, and when its absence has cost more than building it would.

A *shape* is a query without its operands: columns, operators, order. For each the advisor knows at most one index
that would serve it better than those that are there, and keeps an account of the rows that were examined in vain for
want of it. That is the ski-rental rule: rent until the rent paid equals the price, then buy; never more than twice
the cost of having known. Accounts fade, so that what happens rarely is never worth an index.

What serves a conjunction, best first: the columns that are fixed to values, then the order, for a walk that stops when
the page is full; the same columns, then a range, for a run that holds nothing else. Rows with equal index columns come
in the order of the primary key, so ``dateline >= T AND idtype = X ORDER BY pkey DESC`` is served by (idtype, dateline)
when few rows match, and by (idtype) when many do.

Pure: no clock and no data. Cost of ``note``: 3 us.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tcsql.engine.conditions import type_of
from tcsql.engine.order import Order, is_natural
from tcsql.engine.query import Condition, Conjunction, Operator, Query, Select
from tcsql.engine.result import Page, Result
from tcsql.engine.schema import TableSchema
from tcsql.engine.spans import POINTS, can_span
from tcsql.engine.textindex import SERVED

#: Fewer rows examined in vain are not worth a thought: 0.14 ms.
NOTED_ROWS: Final = 200
#: A row examined, and a row entered into an index, in microseconds.
EXAMINE_US: Final = 0.7
BUILD_US: Final = 3.5
#: Queries that must have suffered: one expensive report is no habit.
MIN_TIMES: Final = 8
#: A table is taken to have at least as many rows: below, everything is quick, and an index would be for nothing.
MIN_BUILD_ROWS: Final = 20_000
#: Shapes remembered, and accounts kept, of one table.
MAX_SHAPES: Final = 500
MAX_NEEDS: Final = 50

Columns = tuple[str, ...]
Shape = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """What an index does for a conjunction: the places of the conditions it settles, and whether it gives the order."""

    settled: frozenset[int]
    ordered: bool

    def includes(self, other: Service) -> bool:
        """Whether it does all that the other one does."""
        return self.settled >= other.settled and self.ordered >= other.ordered


@dataclass(slots=True)
class Need:
    """An index that is missed, and how much; ``query`` is the last one that missed it."""

    columns: Columns
    query: Query
    wasted_rows: float = 0.0
    times: float = 0.0

    def reason(self) -> str:
        """For people: what asked for it, and what its absence has cost."""
        cost_s = self.wasted_rows * EXAMINE_US / 1e6
        rows = f"{round(self.wasted_rows):,} rows in vain"
        return f"{shape_text(self.query)}: {round(self.times)} queries examined {rows}, {cost_s:.2g} s"


class Advisor:
    """The accounts of one table."""

    def __init__(self) -> None:
        self._schema: TableSchema | None = None
        self._shapes: dict[Shape, Columns | None] = {}
        self._needs: dict[Columns, Need] = {}
        #: What was found to be of no use, each with the share of its account that has not faded yet.
        self._declined: dict[Columns, float] = {}

    def note(self, schema: TableSchema, query: Query, examined: int, useful: int, times: int = 1) -> None:
        """Take down that a query, or many of one shape, examined many more rows than it had use for."""
        if examined - useful < NOTED_ROWS:
            return
        if schema is not self._schema:
            self._take(schema)
        shape = shape_of(query)
        columns = self._shapes[shape] if shape in self._shapes else self._learn(shape, schema, query)
        if columns is None:
            return
        need = self._needs.get(columns)
        if need is None:
            need = self._open(columns, query)
        need.wasted_rows += examined - useful
        need.times += times
        need.query = query

    def _take(self, schema: TableSchema) -> None:
        """Another schema: what was learnt of shapes is void, accounts stay where their index is still missing."""
        self._schema = schema
        self._shapes.clear()
        known = {index.columns for index in (*schema.indexes, *schema.forbidden)}
        for columns in [each for each in self._needs if each in known or not schema.by_name.keys() >= set(each)]:
            del self._needs[columns]

    def _learn(self, shape: Shape, schema: TableSchema, query: Query) -> Columns | None:
        if len(self._shapes) >= MAX_SHAPES:  # hostile variety must not grow without bound
            self._shapes.clear()
        refused = {*self._declined, *(index.columns for index in schema.forbidden)}
        wanted = self._shapes[shape] = wanted_columns(schema, query, refused)
        return wanted

    def _open(self, columns: Columns, query: Query) -> Need:
        if len(self._needs) >= MAX_NEEDS:
            del self._needs[min(self._needs.values(), key=lambda need: need.wasted_rows).columns]
        need = self._needs[columns] = Need(columns, query)
        return need

    def fade(self, share: float) -> None:
        """Let only this share of every account remain: time has passed."""
        for need in self._needs.values():
            need.wasted_rows *= share
            need.times *= share
        self._needs = {columns: need for columns, need in self._needs.items() if need.wasted_rows >= NOTED_ROWS}
        if self._declined:
            self._declined = {columns: left * share for columns, left in self._declined.items()}
            over = [columns for columns, left in self._declined.items() if left < 1 / 2]
            for columns in over:
                del self._declined[columns]
            if over:
                self._shapes.clear()

    def proposal(self, schema: TableSchema, rows: int) -> Need | None:
        """The index whose absence has cost most, if that is more than building it over so many rows would."""
        if schema is not self._schema:
            self._take(schema)
        price = max(rows, MIN_BUILD_ROWS) * BUILD_US
        due = [n for n in self._needs.values() if n.times >= MIN_TIMES and n.wasted_rows * EXAMINE_US >= price]
        return max(due, key=lambda need: need.wasted_rows, default=None)

    def decline(self, columns: Columns) -> None:
        """That index would be of no use: do not propose it for a while."""
        self._declined[columns] = 1.0
        self._needs.pop(columns, None)
        self._shapes.clear()

    def needs(self) -> list[Need]:
        """All accounts, the largest first."""
        return sorted(self._needs.values(), key=lambda need: -need.wasted_rows)


def useful_rows(result: Result) -> int:
    """The rows a query had to look at in any case: those of its page."""
    return len(result.rows) if isinstance(result, Page) else 0


# --- shapes -------------------------------------------------------------------------------------------------------


def shape_of(query: Query) -> Shape:
    """What queries that need the same index have in common."""
    conditions = [
        None if c is None else (c.column, c.operator, c.negated)
        for conjunction in query.where.any_of
        for c in (*conjunction, None)
    ]
    return type(query), query.order if isinstance(query, Select) else None, *conditions


def shape_text(query: Query) -> str:
    """A shape in words.

    >>> from tcsql.engine.query import Count, Filter
    >>> shape_text(Count("t", Filter(((Condition("a", Operator.NUMEQ, "1"), Condition(None, Operator.NULL, "")),))))
    'count where a:NUMEQ and pkey:NULL'
    """
    alternatives = [
        " and ".join(f"{c.column or 'pkey'}:{'~' if c.negated else ''}{c.operator.value}" for c in conjunction)
        for conjunction in query.where.any_of
    ]
    where = f" where {' or '.join(alternatives)}" if alternatives else ""
    terms = query.order if isinstance(query, Select) else ()
    order = ", ".join(f"{t.column or 'pkey'} {t.kind.value}{'DESC' if t.descending else 'ASC'}" for t in terms)
    return f"{type(query).__name__.lower()}{where}{f' order by {order}' if order else ''}"


# --- what would serve ---------------------------------------------------------------------------------------------


def wanted_columns(schema: TableSchema, query: Query, refused: Container[Columns] = ()) -> Columns | None:
    """The columns of an index, not ``refused``, that would serve the query better than those there are."""
    for conjunction in query.where.any_of or ((),):
        order = Order(schema, query.order) if isinstance(query, Select) else None
        held = services(schema, conjunction, order)
        for columns in _candidates(schema, conjunction, order):
            offered = service(schema, columns, conjunction, order)
            if columns not in refused and not any(each.includes(offered) for each in held):
                return columns
    return None


def services(schema: TableSchema, conjunction: Conjunction, order: Order | None) -> list[Service]:
    """What the primary key's order and each ordered index of the table do for a conjunction."""
    keys: list[Columns] = [(), *(index.columns for index in schema.indexes if not index.fulltext)]
    return [service(schema, columns, conjunction, order) for columns in keys]


def service(schema: TableSchema, columns: Columns, conjunction: Conjunction, order: Order | None) -> Service:
    """What an index over these columns, then the primary key's, does for a conjunction; ``order`` None: any will do."""
    points, _ = _spanned(schema, conjunction)
    names = list(dict.fromkeys((*columns, *schema.primary_key)))
    equal = 0
    while equal < len(names) and names[equal] in points:
        equal += 1
    usable = set(names[: equal + 1])
    settled = frozenset(
        place
        for place, condition in enumerate(conjunction)
        if _name(schema, condition) in usable and _spans(schema, condition)
    )
    return Service(settled, order is not None and _gives_order(schema, order, set(names[:equal]), names[equal:]))


def _candidates(schema: TableSchema, conjunction: Conjunction, order: Order | None) -> Iterator[Columns]:
    points, ranges = _spanned(schema, conjunction)
    terms = _order_columns(schema, order) if order is not None else None
    tails: list[Sequence[str]] = []
    if terms:
        tails.append(terms)
    tails.extend([name] for name in ranges)
    if not terms:
        tails.append(())
    for tail in tails:
        columns = list(dict.fromkeys((*points, *tail)))
        while columns and [columns[-1]] == list(schema.primary_key):
            columns.pop()  # every entry ends with it
        if columns and (columns[0],) != schema.primary_key:
            yield tuple(columns)


def _spanned(schema: TableSchema, conjunction: Conjunction) -> tuple[list[str], list[str]]:
    """Columns that are fixed to values, in the table's order, and those that a range holds, as written."""
    fixed: set[str] = set()
    ranges: list[str] = []
    for condition in conjunction:
        name = _name(schema, condition)
        if name is not None and _spans(schema, condition):
            if _is_point(condition):
                fixed.add(name)
            else:
                ranges.append(name)
    return (
        [name for name in schema.names if name in fixed],
        [name for name in dict.fromkeys(ranges) if name not in fixed],
    )


def _is_point(condition: Condition) -> bool:
    return condition.operator in POINTS or (condition.operator is Operator.NULL and not condition.negated)


def _name(schema: TableSchema, condition: Condition) -> str | None:
    if condition.column is not None:
        return condition.column
    return schema.primary_key[0] if len(schema.primary_key) == 1 else None


def _spans(schema: TableSchema, condition: Condition) -> bool:
    """Whether an index would be made for the condition: of a negated one, most rows are left."""
    kind = type_of(schema, condition.column)
    if kind is None or (condition.negated and condition.operator is not Operator.NULL):
        return False
    return can_span(condition.operator, kind)


def _order_columns(schema: TableSchema, order: Order) -> list[str] | None:
    """The columns of an order that an index can have; None when none can."""
    names: list[str] = []
    for term in order.terms:
        if term.column is None or term.descending != order.descending or not is_natural(schema, term):
            return None
        names.append(term.column)
    return names


def _gives_order(schema: TableSchema, order: Order, fixed: set[str], rest: Sequence[str]) -> bool:
    """Whether entries with ``fixed`` columns, sorted by the ``rest``, come in that order."""
    terms = _order_columns(schema, order)
    if terms is None:
        return False
    wanted = [name for name in dict.fromkeys((*terms, *schema.primary_key)) if name not in fixed]
    if [name for name in rest if name not in fixed][: len(wanted)] != wanted:
        return False
    # Backwards, NULL comes first in a key's second column, but last in the order asked for.
    return not order.descending or not any(schema.by_name[name].nullable for name in wanted[1:])


# --- for people ---------------------------------------------------------------------------------------------------


def advice_for(schema: TableSchema, query: Query) -> str | None:
    """The index that would serve the query, as a statement; None when there is none."""
    columns = wanted_columns(schema, query)
    if columns is not None:
        return f"CREATE INDEX {'_'.join(columns)[:64]} ON {schema.name} ({', '.join(columns)})"
    text = _text_column(schema, query)
    return f"CREATE FULLTEXT INDEX {text}_text ON {schema.name} ({text})" if text else None


def _text_column(schema: TableSchema, query: Query) -> str | None:
    indexed = {index.columns[0] for index in schema.indexes if index.fulltext}
    for conjunction in query.where.any_of:
        for c in conjunction:
            if c.column and not c.negated and c.operator in SERVED and c.column not in indexed:
                return c.column
    return None
