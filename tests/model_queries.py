"""Queries as list comprehensions over plain dicts of rows: filter, sort, cut, group.

Every query looks at every row. A page position is what a cursor stands for: the order values of a row and its key,
kept even when the row is gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from fractions import Fraction
from functools import cmp_to_key
from typing import Any

from tcsql.engine.query import (
    Aggregate,
    AggregateFunction,
    ColumnRef,
    Condition,
    Count,
    Filter,
    Group,
    OrderKind,
    OrderTerm,
    Select,
)
from tcsql.engine.schema import TableSchema
from tcsql.engine.values import JsonValue, Kind
from tcsql.errors import InvalidValue
from tests.model_language import Cell, Exact, Stored, cell, holds, natural, number_of, read_number, text_of

Row = dict[str, JsonValue]
#: One comparable value of an order; None is NULL and always comes last.
OrderValue = Exact | bytes | tuple[Exact | bytes, ...] | None
Position = tuple[OrderValue, ...]


@dataclass(frozen=True)
class ModelPage:
    """``has_next``/``has_prev``: whether rows follow the last, or precede the first."""

    total: int
    rows: list[Row]
    has_next: bool
    has_prev: bool


def key_of(schema: TableSchema, row: Mapping[str, JsonValue]) -> tuple[Exact | bytes, ...]:
    """The primary key, comparable part by part in each part's own type."""
    parts = []
    for name in schema.primary_key:
        value = row.get(name)
        if value is None:
            raise InvalidValue(name)
        parts.append(natural(schema.by_name[name].type, value))
    return tuple(parts)


def key_text(schema: TableSchema, row: Row) -> str:
    texts = [text_of(_present(row[name])) for name in schema.primary_key]
    if len(texts) == 1:
        return texts[0]
    return ",".join("".join("\\" + c if c in "\\," else c for c in text) for text in texts)


def _present(value: JsonValue) -> Stored:
    assert value is not None
    return value


def cell_of(schema: TableSchema, row: Row, column: ColumnRef) -> Cell | None:
    """What operators see; for a key of several columns its joined text."""
    if column is None and len(schema.primary_key) > 1:
        text = key_text(schema, row)
        return Cell(text, read_number(text))
    name = column if column is not None else schema.primary_key[0]
    value = row[name]
    return None if value is None else cell(schema.by_name[name].type, value)


def matches(schema: TableSchema, row: Row, where: Filter) -> bool:
    def true(condition: Condition) -> bool:
        seen = cell_of(schema, row, condition.column)
        return holds(condition.operator, seen, condition.operand, condition.negated)

    return not where.any_of or any(all(map(true, conjunction)) for conjunction in where.any_of)


def order_value(schema: TableSchema, row: Row, term: OrderTerm) -> OrderValue:
    if term.column is None and len(schema.primary_key) > 1:
        return key_of(schema, row)
    seen = cell_of(schema, row, term.column)
    if seen is None:
        return None
    return seen.text.encode() if term.kind is OrderKind.STR else seen.number


def that_count(schema: TableSchema, order: tuple[OrderTerm, ...]) -> tuple[OrderTerm, ...]:
    """The terms up to the primary key in its own order: no two rows are equal there, so none behind it counts."""
    for place, term in enumerate(order):
        if len(schema.primary_key) > 1:
            decides = term.column is None
        else:
            key = schema.by_name[schema.primary_key[0]]
            decides = term.column in (None, key.name) and key.type.is_numeric == (term.kind is OrderKind.NUM)
        if decides:
            return order[: place + 1]
    return order


def position(schema: TableSchema, row: Row, order: tuple[OrderTerm, ...]) -> Position:
    return (*(order_value(schema, row, term) for term in that_count(schema, order)), key_of(schema, row))


def compare(a: Position, b: Position, directions: tuple[bool, ...]) -> int:
    """Negative when ``a`` comes first. ``directions`` says descending, one per value."""
    for left, right, descending in zip(a, b, directions, strict=True):
        if left == right:
            continue
        if left is None or right is None:
            return 1 if left is None else -1
        smaller = left < right  # type: ignore[operator]  # both come from the same order term: same type
        return 1 if smaller == descending else -1
    return 0


def directions_of(order: tuple[OrderTerm, ...]) -> tuple[bool, ...]:
    """Ties follow the primary key in the direction of the last term."""
    terms = tuple(term.descending for term in order)
    return (*terms, terms[-1] if terms else False)


def _by_position(directions: tuple[bool, ...]) -> Callable[[tuple[Position, Row]], Any]:
    def compared(a: tuple[Position, Row], b: tuple[Position, Row]) -> int:
        return compare(a[0], b[0], directions)

    return cmp_to_key(compared)


@dataclass
class ModelTable:
    schema: TableSchema
    rows: dict[tuple[Exact | bytes, ...], Row] = field(default_factory=dict)
    next_key: int = 1

    def matching(self, where: Filter) -> list[Row]:
        return [row for row in self.rows.values() if matches(self.schema, row, where)]

    def select(self, query: Select, after: Position | None = None, before: Position | None = None) -> ModelPage:
        directions = directions_of(that_count(self.schema, query.order))
        found = [(position(self.schema, row, query.order), row) for row in self.matching(query.where)]
        found.sort(key=_by_position(directions))
        total = len(found)
        start, stop = query.skip, query.skip + query.limit
        if after is not None:
            start = sum(compare(at, after, directions) <= 0 for at, _ in found)
            stop = start + query.limit
        elif before is not None:
            stop = sum(compare(at, before, directions) < 0 for at, _ in found)
            start = max(0, stop - query.limit)
        names = query.columns if query.columns is not None else self.schema.names
        rows = [{name: row[name] for name in names} for _, row in found[start:stop]]
        return ModelPage(total, rows, len(rows) > 0 and stop < total, len(rows) > 0 and start > 0)

    def count(self, query: Count) -> int:
        return len(self.matching(query.where))

    def group(self, query: Group) -> tuple[int, list[Row]]:
        groups: dict[tuple[JsonValue, ...], list[Row]] = {} if query.by else {(): []}
        for row in self.matching(query.where):
            groups.setdefault(tuple(row[name] for name in query.by), []).append(row)
        answers = []
        for values, rows in groups.items():
            answer = dict(zip(query.by, values, strict=True))
            answer.update((each.label, aggregate(self.schema, rows, each)) for each in query.aggregates)
            answers.append((self._group_position(query, answer), answer))
        descending = tuple(term.descending for term in query.order)
        directions = descending + (descending[-1] if descending else False,) * len(query.by)
        answers.sort(key=_by_position(directions))
        page = answers[query.skip : query.skip + query.limit]
        return len(answers), [{name: answer[name] for name in query.output} for _, answer in page]

    def _group_position(self, query: Group, answer: Row) -> Position:
        values: list[OrderValue] = []
        for term in query.order:
            assert term.column is not None
            value = answer[term.column]
            if value is None:
                values.append(None)
            elif term.column in query.by:
                values.append(order_value(self.schema, answer, term))
            elif term.kind is OrderKind.STR:
                values.append(text_of(value).encode())
            else:
                values.append(read_number(value) if isinstance(value, str) else Fraction(value))
        for name in query.by:
            value = answer[name]
            values.append(None if value is None else natural(self.schema.by_name[name].type, value))
        return tuple(values)


def aggregate(schema: TableSchema, rows: list[Row], wanted: Aggregate) -> JsonValue:
    """NULLs are skipped; sums are exact; FLOAT sums are rounded once, so the order of rows cannot matter."""
    function, column = wanted.function, wanted.column
    if function is AggregateFunction.COUNT and column is None:
        return len(rows)
    name = column if column is not None else schema.primary_key[0]
    kind = schema.by_name[name].type
    values = [value for row in rows if (value := row[name]) is not None]
    if function is AggregateFunction.COUNT:
        return len(values)
    if not values:
        return None
    if function in (AggregateFunction.MIN, AggregateFunction.MAX):
        pick = min if function is AggregateFunction.MIN else max
        return pick(values, key=lambda value: natural(kind, value))
    total = sum((Fraction(number_of(kind, value)) for value in values), Fraction(0))
    average = function is AggregateFunction.AVG
    if kind.kind not in (Kind.INTEGER, Kind.DECIMAL):
        return _as_float(total / len(values) if average else total)
    if average:
        return _rounded(total / len(values), kind.scale + 4)
    return int(total) if kind.kind is Kind.INTEGER else _rounded(total, kind.scale)


def _as_float(number: Fraction) -> float | int | None:
    try:
        value = float(number)
    except OverflowError:
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _rounded(number: Fraction, digits: int) -> str:
    """Half away from zero, as MySQL rounds DECIMAL.

    >>> _rounded(Fraction(1, 8), 2), _rounded(Fraction(-1, 8), 2)
    ('0.13', '-0.13')
    """
    scaled = abs(number) * 10**digits
    whole = math.floor(scaled) + (1 if scaled - math.floor(scaled) >= Fraction(1, 2) else 0)
    context = Context(prec=400)
    text = format(Decimal(whole).scaleb(-digits, context), "f")
    return "-" + text if number < 0 and whole else text
