"""The planner: which run of which index a conjunction needs, how large it is, and what is left to test.

For one conjunction every index offers at most one *access*: an equality prefix (points of the first columns),
then a range of the next column or the order asked for. Sizes are exact, because bisecting is cheap: two
bisections a run, about 5 us each on 1 M rows. An access that leaves nothing to test gives the exact total.

Cost model, in rows fetched and tested (0.7 us each):

    order comes from the index, nothing left to test     the page
    order comes from the index, conditions left          page / share of matching rows, at most the run
    order must be made                                   the whole run

The share is estimated from the exact sizes of the other accesses as if columns were independent. They are
not (new posts have new dates), so the executor stops an ordered walk that has cost twice the best bounded access
and takes that one: never more than three times the better choice. That closes the classic trap of
``dateline >= T AND idtype = X ORDER BY pkey DESC LIMIT 10``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from tcsql.engine.conditions import type_of
from tcsql.engine.index import LeafRun, OrderedIndex, Run
from tcsql.engine.keys import KeyValue
from tcsql.engine.order import Order, is_natural
from tcsql.engine.query import Condition, Conjunction, Operator
from tcsql.engine.schema import Column
from tcsql.engine.spans import EVERY_VALUE, NULL_SPAN, Span, can_span, intersect, spans
from tcsql.engine.table import Table
from tcsql.engine.textindex import SERVED, TextIndex

#: An IN list may open this many runs; a longer one is tested row by row, as one set look-up each.
MAX_RUNS: Final = 4_096
#: Share of rows that a condition is taken to keep when no index knows.
GUESS: Final = 0.3
#: Sorting costs a decode and a key per row on top of the fetch.
SORT_COST: Final = 1.5
#: Ordering by primary key alone needs no row at all.
KEY_ONLY_COST: Final = 0.15

_POINTS: Final = frozenset({Operator.STREQ, Operator.NUMEQ, Operator.STROREQ, Operator.NUMOREQ})


@dataclass(frozen=True, slots=True)
class Stream:
    """Runs one behind the other, in output order; ``equal``: the columns that are fixed within it.

    ``null_column``: the last run holds the rows where this column is NULL, the ones before it those where it is not.
    """

    runs: tuple[Run, ...]
    equal: dict[str, KeyValue]
    null_column: str | None = None

    @property
    def size(self) -> int:
        return sum(run.size for run in self.runs)


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
    span: str = ""
    cost: float = field(default=0.0)

    @property
    def exact(self) -> bool:
        """The size is the number of matching rows."""
        return not self.residual and not self.overlapping


@dataclass(frozen=True, slots=True)
class Template:
    """What the shape of a query (columns, operators, order) decides about one index, whatever the operands."""

    index: OrderedIndex
    equal: tuple[tuple[Column, tuple[int, ...]], ...]
    ranged: tuple[int, ...]
    residual: tuple[int, ...]
    ordered: bool
    reverse: bool


Shape = tuple[object, ...]


class Planner:
    """Accesses of one table; templates are remembered by query shape until the schema or an index changes."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._templates: dict[Shape, list[Template]] = {}
        self._known: tuple[object, ...] = ()

    def accesses(self, conjunction: Conjunction, order: Order) -> list[Access]:
        """Every way to these rows, the scan of the whole table in key order among them."""
        found = [access for template in self._shaped(conjunction, order) if (access := _bind(template, conjunction))]
        found.extend(self._texts(conjunction, order))
        return found

    def _shaped(self, conjunction: Conjunction, order: Order) -> list[Template]:
        table = self._table
        state = (table.schema, *(index for index in table.indexes.values() if index.ready))
        if len(state) != len(self._known) or any(a is not b for a, b in zip(state, self._known, strict=True)):
            self._templates.clear()
            self._known = state
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
            if name is not None and kind is not None and can_span(condition.operator, condition.negated, kind):
                usable.setdefault(name, []).append(place)
        points = {
            name
            for name, places in usable.items()
            if any(_is_point(conjunction[place]) for place in places)
        }  # fmt: skip
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
        equal: list[tuple[Column, tuple[int, ...]]] = []
        for column in index.columns:
            if column.name not in points:
                break
            equal.append((column, tuple(usable[column.name])))
        rest = index.columns[len(equal) :]
        ranged = tuple(usable.get(rest[0].name, ())) if rest else ()
        ordered = _gives_order(self._table, order, {column.name for column, _ in equal}, rest)
        if not equal and not ranged and not ordered and index is not self._table.primary:
            return None
        covered = {place for _, places in equal for place in places}.union(ranged)
        residual = tuple(place for place in range(len(conjunction)) if place not in covered)
        return Template(index, tuple(equal), ranged, residual, ordered, order.descending)

    def _texts(self, conjunction: Conjunction, order: Order) -> Iterator[Access]:
        texts = {
            index.column.name: index
            for index in self._table.indexes.values()
            if isinstance(index, TextIndex) and index.ready
        }
        if not texts:
            return
        for condition in conjunction:
            text = texts.get(condition.column or self._table.schema.primary_key[0])
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
    return condition.operator in _POINTS or (condition.operator is Operator.NULL and not condition.negated)


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


def _spans_of(column: Column, places: Sequence[int], conjunction: Conjunction) -> tuple[Span, ...]:
    found: tuple[Span, ...] | None = None
    for place in places:
        own = spans(conjunction[place], column.type)
        assert own is not None
        found = own if found is None else intersect(found, own)
    assert found is not None
    return found


def _bind(template: Template, conjunction: Conjunction) -> Access | None:
    """Put the operands in: the runs with their exact sizes; None when an IN list opens too many."""
    index = template.index
    points: list[list[KeyValue]] = []
    for column, places in template.equal:
        found = _spans_of(column, places, conjunction)
        points.append([None if span.null else span.low for span in found])
    combinations = 1
    for values in points:
        combinations *= len(values)
    if combinations > MAX_RUNS:
        return None
    rest = index.columns[len(points) :]
    ranges: list[Span] = [EVERY_VALUE]
    if template.ranged:
        ranges = list(_spans_of(rest[0], template.ranged, conjunction))
    elif rest and rest[0].nullable:
        ranges = [EVERY_VALUE, NULL_SPAN]
    if template.reverse and template.ranged:
        ranges.reverse()
    equal_names = tuple(column.name for column, _ in template.equal)
    null_column = rest[0].name if len(ranges) == 2 and ranges[1] is NULL_SPAN else None
    streams = [
        Stream(
            tuple(index.run(equal, span) for span in ranges), dict(zip(equal_names, equal, strict=True)), null_column
        )
        for equal in product(*points)
    ]
    if len(streams) > 1:
        streams = [stream for stream in streams if stream.size]
    size = sum(stream.size for stream in streams)
    residual = tuple(conjunction[place] for place in template.residual)
    span = rest[0].name if template.ranged else ""
    return Access(index, streams, size, residual, template.ordered, template.reverse, False, equal_names, span)
