"""The planner: which run of which index a conjunction needs, how large it is, and what is left to test.

For one conjunction every index offers at most one *access*: an equality prefix (points of the first columns),
then a range of the next column or the order asked for. Sizes are exact, because bisecting is cheap: two
bisections a run, about 5 us each on 1 M rows. An access that leaves nothing to test gives the exact total.

Cost model, in rows fetched and tested (0.7 us each):

    order comes from the index, nothing left to test     the page
    order comes from the index, conditions left          page / share of matching rows, at most the run
    order is the primary key's                           the run's keys, or the few blocks of them that come first
    order must be made                                   the whole run

The share is estimated from the exact sizes of the other accesses as if columns were independent. They are
not (new posts have new dates), so the executor stops an ordered walk that has cost as much as the best bounded
access would and takes that one: never more than twice the better choice. That closes the classic trap of
``dateline >= T AND idtype = X ORDER BY pkey DESC LIMIT 10``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Final

from tcsql.engine.conditions import type_of
from tcsql.engine.index import KeysRun, LeafRun, OrderedIndex, Run
from tcsql.engine.keys import KeyValue
from tcsql.engine.order import Order, is_natural
from tcsql.engine.query import Condition, Conjunction, Operator
from tcsql.engine.schema import Column
from tcsql.engine.spans import EVERY_VALUE, NULL_SPAN, POINTS, Span, can_span, intersect, spans
from tcsql.engine.table import Table
from tcsql.engine.textindex import SERVED, TextIndex

#: An IN list may open this many runs; a longer one is tested row by row, as one set look-up each.
MAX_RUNS: Final = 1_000
#: Share of rows that a condition is taken to keep when no index knows.
GUESS: Final = 0.3
#: Sorting costs a decode and a key per row on top of the fetch.
SORT_COST: Final = 4.5
#: Ordering by primary key alone needs no row at all.
KEY_ONLY_COST: Final = 0.15


@dataclass(frozen=True, slots=True)
class Stream:
    """Runs one behind the other, in output order; ``equal``: the columns that are fixed within it.

    ``following``: the column that comes next in the index. It is NULL in the rows of the last run if
    ``has_null_run``, and in no others.
    """

    runs: tuple[Run, ...]
    equal: dict[str, KeyValue]
    following: str | None = None
    has_null_run: bool = False

    @property
    def size(self) -> int:
        return sum([run.size for run in self.runs])


@dataclass(slots=True)
class Access:
    """One way to the rows of a conjunction; each stream is in order by itself when ``ordered``."""

    index: OrderedIndex | TextIndex
    streams: list[Stream]
    size: int
    residual: Conjunction
    ordered: bool
    reverse: bool
    #: Streams may hold the same row (postings of several grams).
    overlapping: bool = False
    equal: tuple[str, ...] = ()
    span: str | None = None
    cost: float = field(default=0.0)
    #: It is read by primary key, block by block (see keyorder), because that is cheaper than sorting it.
    by_blocks: bool = False
    #: An access to what its residual asks for: rows are looked for among its keys instead of being tested.
    within: Access | None = None

    @property
    def exact(self) -> bool:
        """The size is the number of matching rows."""
        return not self.residual and not self.overlapping


@dataclass(frozen=True, slots=True)
class Template:
    """What the shape of a query (columns, operators, order) decides about one index, whatever the operands."""

    index: OrderedIndex
    #: Columns fixed to points, and for each the places of its conditions.
    equal: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]
    #: The next column, the places of its conditions, and its spans where it has none.
    following: str | None
    ranged: tuple[int, ...]
    spans: tuple[Span, ...]
    residual: tuple[int, ...]
    ordered: bool
    reverse: bool


Shape = tuple[object, ...]


class Planner:
    """Accesses of one table; templates are remembered by query shape until the schema or an index changes."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._templates: dict[Shape, list[Template]] = {}
        self._shape_version = -1

    def accesses(
        self, conjunction: Conjunction, order: Order, operands: Operands | None = None, known: Access | None = None
    ) -> list[Access]:
        """Every way to these rows, the scan of the whole table in key order among them.

        ``known``: what ``counting`` gave, which takes long to find out again for a long IN list.
        """
        operands = operands or Operands(self._table, conjunction)
        found = []
        for template in self._shaped(conjunction, order):
            is_known = known is not None and known.index is template.index and not template.residual
            access = known if is_known else _bind(template, operands, MAX_RUNS)
            if access is not None:
                found.append(access)
        found.extend(self._texts(conjunction, order))
        return found or [self._scan(conjunction, order)]

    def templates(self, conjunction: Conjunction, order: Order) -> list[Template]:
        """What the shape decides, index by index; good until ``shape_version`` of the table moves."""
        return self._shaped(conjunction, order)

    def _scan(self, conjunction: Conjunction, order: Order) -> Access:
        """The whole table, every condition left to test: what remains when an IN list opens too many runs."""
        primary = self._table.primary
        ordered = _gives_order(self._table, order, set(), primary.columns)
        everything = tuple(range(len(conjunction)))
        template = Template(primary, (), (), None, (), (EVERY_VALUE,), everything, ordered, order.descending)
        access = _bind(template, Operands(self._table, conjunction), MAX_RUNS)
        assert access is not None  # one run
        return access

    def direct(self, conjunction: Conjunction, order: Order, operands: Operands) -> Access | None:
        """The access that gives order and total at once, if there is one: nothing can be cheaper."""
        for template in self._shaped(conjunction, order):
            if template.ordered and not template.residual:
                access = _bind(template, operands, max_streams=1)
                if access is not None and access.streams:
                    return access
        return None

    def counting(self, conjunction: Conjunction, order: Order, operands: Operands | None = None) -> Access | None:
        """An access that leaves nothing to test, in order or not: its size is the number of matching rows."""
        operands = operands or Operands(self._table, conjunction)
        for template in self._shaped(conjunction, order):
            if not template.residual:
                access = _bind(template, operands, MAX_RUNS)
                if access is not None:
                    return access
        return None

    def _shaped(self, conjunction: Conjunction, order: Order) -> list[Template]:
        if self._shape_version != self._table.shape_version:
            self._templates.clear()
            self._shape_version = self._table.shape_version
        shape = (tuple((c.column, c.operator, c.negated) for c in conjunction), order.terms, order.descending)
        templates = self._templates.get(shape)
        if templates is None:
            if len(self._templates) > 1_000:  # hostile variety of shapes must not grow without bound
                self._templates.clear()
            templates = self._templates[shape] = list(self._make(conjunction, order))
        return templates

    def _make(self, conjunction: Conjunction, order: Order) -> Iterator[Template]:
        schema = self._table.schema
        single_key = schema.primary_key[0] if len(schema.primary_key) == 1 else None
        usable: dict[str, list[int]] = {}
        for place, condition in enumerate(conjunction):
            name = condition.column if condition.column is not None else single_key
            kind = type_of(schema, condition.column)
            if name is not None and kind is not None and can_span(condition.operator, kind):
                usable.setdefault(name, []).append(place)
        points = {name for name, places in usable.items() if any(_is_point(conjunction[place]) for place in places)}
        for index in (self._table.primary, *self._table.indexes.values()):
            if isinstance(index, OrderedIndex) and index.ready:
                template = self._template(index, conjunction, order, usable, points)
                if template is not None:
                    yield template

    def _template(
        self,
        index: OrderedIndex,
        conjunction: Conjunction,
        order: Order,
        usable: dict[str, list[int]],
        points: set[str],
    ) -> Template | None:
        equal: list[str] = []
        for column in index.columns:
            if column.name not in points:
                break
            equal.append(column.name)
        rest = index.columns[len(equal) :]
        ranged = tuple(usable.get(rest[0].name, ())) if rest else ()
        ordered = _gives_order(self._table, order, set(equal), rest)
        if not equal and not ranged and not ordered and index is not self._table.primary:
            return None
        places = tuple(tuple(usable[name]) for name in equal)
        covered = {place for group in places for place in group}.union(ranged)
        residual = tuple(place for place in range(len(conjunction)) if place not in covered)
        default = (EVERY_VALUE, NULL_SPAN) if rest and rest[0].nullable else (EVERY_VALUE,)
        following = rest[0].name if rest else None
        return Template(index, tuple(equal), places, following, ranged, default, residual, ordered, order.descending)

    def _texts(self, conjunction: Conjunction, order: Order) -> Iterator[Access]:
        texts = {
            index.column.name: index
            for index in self._table.indexes.values()
            if isinstance(index, TextIndex) and index.ready
        }
        if not texts:
            return
        key = self._table.schema.primary_key
        for condition in conjunction:
            name = condition.column if condition.column is not None or len(key) > 1 else key[0]
            text = texts.get(name) if name is not None else None  # a key of several columns has no index of its text
            if text is None or condition.negated or condition.operator not in SERVED:
                continue
            leaves = text.candidates(condition.operator, condition.operand)
            if leaves is not None:
                streams = [Stream((LeafRun(leaf, text.codec, 0, len(leaf)),), {}) for leaf in leaves]
                size = sum(map(len, leaves))
                label = (f"{text.column.name} {condition.operator.value}",)
                yield Access(
                    text, streams, size, conjunction, not order.terms, order.descending, len(leaves) > 1, label
                )


def _is_point(condition: Condition) -> bool:
    return not condition.negated and (condition.operator in POINTS or condition.operator is Operator.NULL)


def _gives_order(table: Table, order: Order, fixed: set[str], rest: Sequence[Column]) -> bool:
    """Whether entries with ``fixed`` columns, sorted by the ``rest``, come in the order asked for."""
    schema = table.schema
    wanted: list[str] = []
    for term in order.terms:
        if term.column is None or term.descending != order.descending or not is_natural(schema, term):
            return False
        wanted.append(term.column)
    wanted.extend(schema.primary_key)
    wanted = [name for name in dict.fromkeys(wanted) if name not in fixed]
    given = [name for name in dict.fromkeys(column.name for column in rest) if name not in fixed]
    if given[: len(wanted)] != wanted:
        return False
    # Backwards, NULL comes first in a key's second column, but last in the order asked for.
    return not order.descending or all(not schema.by_name[name].nullable for name in wanted[1:])


class Operands:
    """The spans of a conjunction's conditions, each computed once for all templates that ask."""

    __slots__ = ("_found", "conjunction", "table")

    def __init__(self, table: Table, conjunction: Conjunction) -> None:
        self.conjunction = conjunction
        self.table = table
        self._found: dict[int, tuple[Span, ...]] = {}

    def spans(self, places: tuple[int, ...]) -> tuple[Span, ...]:
        """Where all these conditions, which are on one column, hold."""
        found = self._one(places[0])
        for place in places[1:]:
            found = intersect(found, self._one(place))
        return found

    def _one(self, place: int) -> tuple[Span, ...]:
        found = self._found.get(place)
        if found is None:
            condition = self.conjunction[place]
            kind = type_of(self.table.schema, condition.column)
            assert kind is not None
            computed = spans(condition, kind)
            assert computed is not None
            if computed and computed[-1].null and condition.column is not None:
                nullable = self.table.schema.by_name[condition.column].nullable
                computed = computed if nullable or not condition.negated else computed[:-1]
            elif computed and computed[-1].null:
                computed = computed[:-1] if condition.negated else computed  # a primary key is never NULL
            found = self._found[place] = computed
        return found


def _bind(template: Template, operands: Operands, max_streams: int) -> Access | None:
    """Put the operands in: the runs with their exact sizes; None when IN lists open too many."""
    points = [[None if s.null else s.low for s in operands.spans(places)] for places in template.places]
    combinations = prod(map(len, points))
    if combinations > 1 and not template.index.declared and len(template.index.columns) == 1:
        return _bind_keys(template, operands, points[0])
    if combinations > max_streams:
        return None
    ranges = operands.spans(template.ranged) if template.ranged else template.spans
    if len(ranges) > MAX_RUNS:
        return None
    has_null_run = bool(ranges) and ranges[-1].null
    if template.reverse and template.ranged:  # NULL comes last in both directions
        ranges = (*ranges[-2::-1], NULL_SPAN) if has_null_run else ranges[::-1]
    run, following = template.index.run, template.following
    streams = [
        Stream(
            tuple([run(equal, span) for span in ranges]),
            dict(zip(template.equal, equal, strict=True)),
            following,
            has_null_run,
        )
        for equal in product(*points)
    ]
    if combinations > 1:
        streams = [stream for stream in streams if stream.size]
    conjunction = operands.conjunction
    return Access(
        template.index,
        streams,
        sum([stream.size for stream in streams]),
        tuple([conjunction[place] for place in template.residual]),
        template.ordered,
        template.reverse,
        equal=template.equal,
        span=template.following if template.ranged else None,
    )


def _bind_keys(template: Template, operands: Operands, keys: list[KeyValue]) -> Access:
    """Several primary keys are one run of those that are there."""
    rows = operands.table.rows
    run = KeysRun([key for key in keys if key is not None and key in rows])
    conjunction = operands.conjunction
    return Access(
        template.index,
        [Stream((run,), {}, template.index.columns[0].name)],
        run.size,
        tuple([conjunction[place] for place in template.residual]),
        template.ordered,
        template.reverse,
        equal=template.equal,
    )
