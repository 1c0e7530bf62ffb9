"""What a condition means in the natural order of its column: a few spans of sort keys.

This is the one place that decides how NUM operators meet integers, DECIMALs and floats, and which STR
operators are ranges of text. The scan tests a row by these spans and the index bisects by them, so an index
can change the cost of an answer but not the answer.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Final

from tcsql.engine.fulltext import tokens
from tcsql.engine.numbers import number_of_text
from tcsql.engine.query import Condition, Operator
from tcsql.engine.values import ColumnType, Kind, SortKey


@dataclass(frozen=True, slots=True)
class Span:
    """Keys from ``low`` to ``high``; None: unbounded. NULL belongs to no span but the one with ``null``."""

    low: SortKey | None = None
    high: SortKey | None = None
    high_open: bool = False
    null: bool = False

    @property
    def is_point(self) -> bool:
        return self.null or (self.low is not None and self.low == self.high and not self.high_open)


EVERY_VALUE: Final = Span()
NULL_SPAN: Final = Span(null=True)
NOTHING: Final[tuple[Span, ...]] = ()

_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
#: No MySQL number reaches 10**100, and beyond it int() of a Decimal gets slow.
_BEYOND: Final = 10**100
_SEPARATORS: Final = re.compile("[ ,]+")

#: Operators that ask for single values.
POINTS: Final = frozenset({Operator.STREQ, Operator.NUMEQ, Operator.STROREQ, Operator.NUMOREQ})
_TEXT_POINTS: Final = frozenset({Operator.STREQ, Operator.STROREQ})


def numbers(expression: str) -> list[int | Decimal]:
    """The numbers of NUMBT and NUMOREQ: separated by blanks and commas only.

    >>> numbers("25;30 7,,8")
    [25, 7, 8]
    """
    return [number_of_text(part) for part in _SEPARATORS.split(expression) if part]


def can_span(operator: Operator, column: ColumnType) -> bool:
    """Whether ``spans`` gives an answer for this operator on this type, negated or not, whatever the operand."""
    if operator is Operator.NULL:
        return True
    if operator.value.startswith("NUM"):
        return column.is_numeric
    if operator in _TEXT_POINTS:
        return column.kind is not Kind.FLOAT
    return operator is Operator.STRBW and not column.is_numeric


def spans(condition: Condition, column: ColumnType) -> tuple[Span, ...] | None:
    """The keys that satisfy the condition, as disjoint ascending spans; None when only looking at the row tells.

    Cost: O(k log k) for k tokens.
    """
    operator, operand = condition.operator, condition.operand
    if operator is Operator.NULL:
        return (EVERY_VALUE,) if condition.negated else (NULL_SPAN,)
    if not can_span(operator, column):
        return None
    if condition.negated:
        return _outside(_positive_spans(operator, operand, column), column)
    return _positive_spans(operator, operand, column)


def _positive_spans(operator: Operator, operand: str, column: ColumnType) -> tuple[Span, ...]:
    if operator is Operator.STRBW:
        return (prefix_span(operand),)
    if operator in _TEXT_POINTS:
        words = [operand] if operator is Operator.STREQ else tokens(operand)
        keys = {key for word in words if (key := _key_of_text(word, column)) is not None}
        return tuple(Span(key, key) for key in sorted(keys))
    return _numeric_spans(operator, operand, column)


def _outside(inside: tuple[Span, ...], column: ColumnType) -> tuple[Span, ...]:
    """Every key in none of the spans, and NULL, of which no condition holds."""
    found = []
    low: SortKey | None = None
    for span in inside:
        if span.low is not None and (low is None or low < span.low):  # type: ignore[operator]  # keys of one column
            found.append(Span(low, span.low, high_open=True))
        if span.high is None:
            return (*found, NULL_SPAN)
        low = span.high if span.high_open else _following(span.high, column)
        if low == math.inf:
            return (*found, NULL_SPAN)
    return (*found, Span(low), NULL_SPAN)


def _following(key: SortKey, column: ColumnType) -> SortKey:
    """The least key above this one."""
    if isinstance(key, str):
        return key + "\0"
    return math.nextafter(key, math.inf) if column.kind is Kind.FLOAT else key + 1


def prefix_span(prefix: str) -> Span:
    """All text that begins with ``prefix``: up to, not including, the next text of that length."""
    stem = prefix.rstrip("\U0010ffff")
    if not prefix:
        return EVERY_VALUE
    if not stem:
        return Span(low=prefix)
    return Span(prefix, stem[:-1] + chr(ord(stem[-1]) + 1), high_open=True)


def _key_of_text(text: str, column: ColumnType) -> SortKey | None:
    """The key whose canonical text this is; None when no value of the type prints like that."""
    if not column.is_numeric:
        return text
    if len(text) > 100 or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        return None
    if column.kind is Kind.INTEGER and "." in text:
        return None
    key = column.sort_key(int(text) if column.kind is Kind.INTEGER else text)
    return key if column.text(column.stored(key)) == text else None


def _numeric_spans(operator: Operator, operand: str, column: ColumnType) -> tuple[Span, ...]:
    if operator is Operator.NUMOREQ:
        points = {span.low for number in numbers(operand) for span in _number_span(Operator.NUMEQ, number, column)}
        return tuple(Span(key, key) for key in sorted(points))  # type: ignore[type-var]  # numbers only, never None
    if operator is Operator.NUMBT:
        ends: list[int | Decimal] = [*numbers(operand)[:2], 0, 0][:2]
        low, high = sorted(ends)
        lower, upper = _number_span(Operator.NUMGE, low, column), _number_span(Operator.NUMLE, high, column)
        span = Span(lower[0].low, upper[0].high)
        return (span,) if span.low <= span.high else NOTHING  # type: ignore[operator]  # both ends are numbers
    return _number_span(operator, number_of_text(operand), column)


def _number_span(operator: Operator, number: int | Decimal, column: ColumnType) -> tuple[Span, ...]:
    if column.kind is Kind.FLOAT:
        return _float_span(operator, number)
    scale = column.scale if column.kind is Kind.DECIMAL else 0
    floor, ceiling = _around(number, scale)
    match operator:
        case Operator.NUMEQ:
            return (Span(floor, floor),) if floor == ceiling else NOTHING
        case Operator.NUMGE:
            return (Span(low=ceiling),)
        case Operator.NUMGT:
            return (Span(low=floor + 1),)
        case Operator.NUMLE:
            return (Span(high=floor),)
        case _:
            return (Span(high=ceiling - 1),)


def _around(number: int | Decimal, scale: int) -> tuple[int, int]:
    """Floor and ceiling of number x 10**scale, clamped to what any column could hold."""
    if isinstance(number, Decimal):
        if number.adjusted() > 99:
            clamped = _BEYOND if number > 0 else -_BEYOND
            return clamped, clamped
        if number.adjusted() < -99:  # so near to zero that only its sign counts
            return (0, 1) if number > 0 else (-1, 0) if number < 0 else (0, 0)
        scaled = number.scaleb(scale, _EXACT)
        return math.floor(scaled), math.ceil(scaled)
    clamped = max(-_BEYOND, min(_BEYOND, number)) * 10**scale
    return clamped, clamped


def _float_span(operator: Operator, number: int | Decimal) -> tuple[Span, ...]:
    """Floats meet the expression as the nearest float; strict bounds become the next float."""
    try:
        value = float(number)
    except OverflowError:
        value = math.inf if number > 0 else -math.inf
    match operator:
        case Operator.NUMEQ:
            return (Span(value, value),)
        case Operator.NUMGE:
            return (Span(low=value),)
        case Operator.NUMGT:
            return (Span(low=math.nextafter(value, math.inf)),) if value < math.inf else NOTHING
        case Operator.NUMLE:
            return (Span(high=value),)
        case _:
            return (Span(high=math.nextafter(value, -math.inf)),) if value > -math.inf else NOTHING


def intersect(left: tuple[Span, ...], right: tuple[Span, ...]) -> tuple[Span, ...]:
    """The keys in both, of disjoint ascending spans. Cost: linear, for IN lists come from outside and may be long."""
    found = []
    i = j = 0
    while i < len(left) and j < len(right):
        both = _overlap(left[i], right[j])
        if both is not None:
            found.append(both)
        if _ends_first(left[i], right[j]):
            i += 1
        else:
            j += 1
    return tuple(found)


def _overlap(a: Span, b: Span) -> Span | None:
    if a.null or b.null:
        return a if a.null and b.null else None
    low = a.low if b.low is None else b.low if a.low is None else max(a.low, b.low)
    high, high_open = (a.high, a.high_open) if _ends_first(a, b) else (b.high, b.high_open)
    if low is not None and high is not None and (low > high or (low == high and high_open)):  # type: ignore[operator]  # one type
        return None
    return Span(low, high, high_open)


def _ends_first(a: Span, b: Span) -> bool:
    """Whether nothing of ``a`` lies behind ``b``. NULL stands behind every value."""
    if a.null or b.null:
        return b.null
    if a.high is None or b.high is None:
        return b.high is None
    return a.high < b.high or (a.high == b.high and (a.high_open or not b.high_open))  # type: ignore[operator]  # one type


def contains(span: Span, key: SortKey) -> bool:
    """Whether a key (not NULL) lies in the span."""
    if span.null or (span.low is not None and key < span.low):  # type: ignore[operator]  # keys of one column
        return False
    return span.high is None or (key < span.high if span.high_open else key <= span.high)  # type: ignore[operator]  # one column
