"""Group totals by scan: count, sum, avg, min and max per group, as MySQL defines them.

NULL values are skipped and NULL is a group of its own. Sums are exact: integers as integers, DECIMAL as
scaled integers, floats as multiples of the smallest double, rounded once at the end, so that the order of adding
never shows; averages of exact columns carry four digits more than the column, rounded half away from zero. Text
columns are summed by the contract's reading of numbers and give a float, as MySQL does. Memory: one accumulator
per group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from operator import itemgetter
from typing import Any, Final

import orjson

from tcsql.engine.change import Row
from tcsql.engine.conditions import getter, type_of
from tcsql.engine.executor import Executor
from tcsql.engine.numbers import number_of_text
from tcsql.engine.order import SortTuple, turned
from tcsql.engine.query import Aggregate, AggregateFunction, Group, OrderKind, OrderTerm
from tcsql.engine.replysize import BYTES_PER_SLICE, require_fitting
from tcsql.engine.result import Groups
from tcsql.engine.rows import decode
from tcsql.engine.schema import TableSchema
from tcsql.engine.selection import let_go, window_steps
from tcsql.engine.values import ColumnType, JsonValue, Kind, PKey
from tcsql.errors import TooCostly

_WIDE: Final = Context(prec=200, rounding=ROUND_HALF_UP)
_AVG_DIGITS: Final = 4
#: The smallest double is 2**-1074.
_FLOAT_BITS: Final = 1_074


class _Accumulator:
    """Everything one aggregate needs of the values of one group."""

    __slots__ = ("best", "count", "exact")

    def __init__(self) -> None:
        self.count = 0
        self.exact: Any = 0
        self.best: Any = None


class _Column:
    """How one aggregate reads, adds and gives its column."""

    def __init__(self, schema: TableSchema, aggregate: Aggregate) -> None:
        self.aggregate = aggregate
        self._kind = type_of(schema, aggregate.column)
        self._counts_rows = aggregate.function is AggregateFunction.COUNT and aggregate.column is None
        self._read: Callable[[Row], JsonValue] | None = None if self._counts_rows else getter(schema, aggregate.column)

    def add(self, to: _Accumulator, row: Row) -> None:
        value = 1 if self._read is None else self._read(row)
        if value is None:
            return
        to.count += 1
        match self.aggregate.function:
            case AggregateFunction.SUM | AggregateFunction.AVG:
                self._sum(to, value)
            case AggregateFunction.MIN:
                key = self._key(value)
                if to.best is None or key < to.best[0]:
                    to.best = (key, value)
            case AggregateFunction.MAX:
                key = self._key(value)
                if to.best is None or key > to.best[0]:
                    to.best = (key, value)

    def _key(self, value: int | float | str) -> Any:
        return value if self._kind is None else self._kind.sort_key(value)

    def _sum(self, to: _Accumulator, value: int | float | str) -> None:
        kind = self._kind
        if kind is not None and kind.kind in (Kind.INTEGER, Kind.DECIMAL):
            to.exact += kind.sort_key(value)
        elif kind is not None and kind.kind is Kind.FLOAT:
            to.exact += _in_smallest_units(float(value))
        else:
            to.exact += Fraction(number_of_text(str(value)))

    def result(self, of: _Accumulator) -> JsonValue:
        function, kind = self.aggregate.function, self._kind
        if function is AggregateFunction.COUNT:
            return of.count
        if of.count == 0:
            return None
        if function in (AggregateFunction.MIN, AggregateFunction.MAX):
            best: JsonValue = of.best[1]
            return best
        average = function is AggregateFunction.AVG
        if kind is not None and kind.kind in (Kind.INTEGER, Kind.DECIMAL):
            return _exact_average(of, kind) if average else kind.stored(of.exact)
        try:
            floats = kind is not None and kind.kind is Kind.FLOAT
            total = Fraction(of.exact, 1 << _FLOAT_BITS) if floats else Fraction(of.exact)
            number = float(total / of.count if average else total)
        except OverflowError:
            return None
        return _plain(number)


def _plain(number: float) -> float | int | None:
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _exact_average(of: _Accumulator, kind: ColumnType) -> str:
    scale = kind.scale if kind.kind is Kind.DECIMAL else 0
    exact = _WIDE.divide(Decimal(of.exact), Decimal(of.count))
    quantum = Decimal(1).scaleb(-_AVG_DIGITS)
    return format(_WIDE.scaleb(exact.quantize(quantum, context=_WIDE), -scale), "f")


def _in_smallest_units(value: float) -> int:
    """The float as a multiple of 2**-1074, exactly. 0.3 us.

    >>> _in_smallest_units(5e-324), _in_smallest_units(0.5) == 1 << 1073
    (1, True)
    """
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_FLOAT_BITS + 1 - denominator.bit_length())


def group_steps(executor: Executor, query: Group) -> Generator[None, None, Groups]:
    """One page of the groups. Cost: every matching row is decoded (0.7 us), then those of the page are sorted."""
    schema = executor.table.schema
    columns = [_Column(schema, aggregate) for aggregate in query.aggregates]
    groups: dict[tuple[JsonValue, ...], list[_Accumulator]] = {}
    if not query.by:
        groups[()] = [_Accumulator() for _ in columns]

    def take(pkey: PKey, data: bytes, row: Row | None) -> None:
        row = row if row is not None else decode(data)
        key = tuple([row[name] for name in query.by])
        accumulators = groups.get(key)
        if accumulators is None:
            accumulators = groups[key] = [_Accumulator() for _ in columns]
        for column, accumulator in zip(columns, accumulators, strict=True):
            column.add(accumulator, row)

    try:
        yield from executor.matches(query.where, take)
    except TooCostly:
        yield from let_go(groups)
        raise
    answers: list[tuple[SortTuple, dict[str, JsonValue]]] = []
    labels = {aggregate.label: _label_type(schema, aggregate) for aggregate in query.aggregates}
    while groups:  # emptied on the way: freed at once, a million groups would hold up other requests
        key, accumulators = groups.popitem()
        answer = dict(zip(query.by, key, strict=True))
        for column, accumulator in zip(columns, accumulators, strict=True):
            answer[column.aggregate.label] = column.result(accumulator)
        answers.append((_position(schema, query, labels, answer), answer))
        if len(answers) % 1_000 == 0:
            yield
    total = len(answers)
    page = yield from window_steps(answers, query.skip, query.skip + query.limit, itemgetter(0))
    rows, size, yielded = list[bytes](), 0, 0
    for _, answer in page:
        rows.append(orjson.dumps({name: _exact(answer[name]) for name in query.output}))
        size += len(rows[-1]) + 1
        require_fitting(size, executor.work.most_bytes)
        if size - yielded > BYTES_PER_SLICE:
            yielded = size
            yield
    return Groups(total, rows)


def _exact(value: JsonValue) -> JsonValue | orjson.Fragment:
    """A sum may leave 64 bits, where orjson gives up: its digits are JSON as they stand."""
    return value if type(value) is not int or -(2**63) <= value < 2**64 else orjson.Fragment(str(value))


def _label_type(schema: TableSchema, aggregate: Aggregate) -> ColumnType | None:
    """The type of an aggregate that gives a value of the column itself."""
    if aggregate.function in (AggregateFunction.MIN, AggregateFunction.MAX):
        return type_of(schema, aggregate.column)
    return None


def _position(
    schema: TableSchema, query: Group, labels: dict[str, ColumnType | None], answer: dict[str, JsonValue]
) -> SortTuple:
    """Explicit terms, then the group columns in their own order, in the direction of the last term."""
    parts: list[Any] = []
    for term in query.order:
        assert term.column is not None
        kind = labels.get(term.column) if term.column in labels else schema.by_name[term.column].type
        parts.append(_part(answer[term.column], _reader(kind, term), term.descending))
    descending = bool(query.order) and query.order[-1].descending
    parts.extend(_part(answer[name], schema.by_name[name].type.sort_key, descending) for name in query.by)
    return tuple(parts)


def _reader(kind: ColumnType | None, term: OrderTerm) -> Callable[[Any], Any]:
    if term.kind is OrderKind.STR:
        return kind.text if kind is not None else lambda value: value if isinstance(value, str) else _text(value)
    if kind is not None and kind.is_numeric:
        return kind.sort_key
    return lambda value: number_of_text(value) if isinstance(value, str) else value


def _text(value: int | float) -> str:
    return str(value) if isinstance(value, int) else format(Decimal(repr(value)), "f")


def _part(value: JsonValue, read: Callable[[Any], Any], descending: bool) -> SortTuple:
    if value is None:
        return (True,)
    return (False, turned(read(value)) if descending else read(value))
