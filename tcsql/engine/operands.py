"""Operands of prepared queries: bytes of a client to keys of an index, for what is plain. 0.1 us each.

A reader is made for one operator on one column type and reads the operands that nearly every request has: whole
numbers of up to 18 digits for integers, any text for the equality of texts. It returns None for everything else
(signs, fractions, lenient numbers): ``spans`` decides about those, and must agree about these.

What is plain, in one place: an operand of letters and digits (``bytes.isalnum``) means itself under percent-decoding,
escapes and splitting, so ``http.known`` cuts it out of a request unread, and hands on no other; of those, digits alone
(``bytes.isdigit``, up to ``MOST_DIGITS``) are a number. Both are ASCII: what else Unicode takes for a digit is not
plain.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final

from tcsql.engine.query import Condition, Operator
from tcsql.engine.values import ColumnType, Kind

#: Inclusive; comparable with every key of the column.
Bounds = tuple[Any, Any]
PointReader = Callable[[bytes], Any]
BoundsReader = Callable[[bytes], Bounds | None]

#: Always below 2**63: no clamping to think about.
MOST_DIGITS: Final = 18


def _integer(operand: bytes) -> int | None:
    return int(operand) if operand.isdigit() and len(operand) <= MOST_DIGITS else None


def point_reader(condition: Condition, kind: ColumnType | None) -> PointReader | None:
    """Reads the one key that a condition asks for; None when the condition is not of that kind."""
    if condition.negated or kind is None:
        return None
    if condition.operator is Operator.NUMEQ and kind.kind is Kind.INTEGER:
        return _integer
    if condition.operator is Operator.STREQ and not kind.is_numeric:
        return bytes.decode
    return None


def bounds_reader(condition: Condition, kind: ColumnType | None) -> BoundsReader | None:
    """Reads the lowest and the highest key that a condition allows; None when the condition is not of that kind."""
    point = point_reader(condition, kind)
    if point is not None:
        return lambda operand: None if (key := point(operand)) is None else (key, key)
    if condition.negated or kind is None or kind.kind is not Kind.INTEGER:
        return None
    return _RANGES.get(condition.operator)


def _at_least(operand: bytes) -> Bounds | None:
    return (int(operand), inf) if operand.isdigit() and len(operand) <= MOST_DIGITS else None


def _above(operand: bytes) -> Bounds | None:
    return (int(operand) + 1, inf) if operand.isdigit() and len(operand) <= MOST_DIGITS else None


def _at_most(operand: bytes) -> Bounds | None:
    return (-inf, int(operand)) if operand.isdigit() and len(operand) <= MOST_DIGITS else None


def _below(operand: bytes) -> Bounds | None:
    return (-inf, int(operand) - 1) if operand.isdigit() and len(operand) <= MOST_DIGITS else None


def above_operand(condition: Condition, kind: ColumnType | None) -> int | None:
    """By how much the lowest key exceeds the operand, in a condition without a highest; None for all others."""
    if condition.negated or kind is None or kind.kind is not Kind.INTEGER:
        return None
    return {Operator.NUMGE: 0, Operator.NUMGT: 1}.get(condition.operator)


_RANGES: Final[dict[Operator, BoundsReader]] = {
    Operator.NUMGE: _at_least,
    Operator.NUMGT: _above,
    Operator.NUMLE: _at_most,
    Operator.NUMLT: _below,
}
