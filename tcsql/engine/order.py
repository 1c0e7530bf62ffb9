"""The order of a page as one comparable key per row.

The key of a row is a tuple: per order column whether it is NULL (NULL last in every direction), then the value,
turned round when descending; at the end the primary key, in the direction of the last order column. So a total
order is a plain tuple comparison, top-k is ``sort``, and "behind the cursor" is ``key > cursor key``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson

from tcsql.engine.change import Row
from tcsql.engine.conditions import getter, type_of
from tcsql.engine.numbers import number_of_text
from tcsql.engine.query import OrderKind, OrderTerm
from tcsql.engine.rows import decode
from tcsql.engine.schema import TableSchema
from tcsql.engine.tracking import untrack
from tcsql.engine.values import JsonValue, Kind, PKey

SortTuple = tuple[Any, ...]
_LAST: Final = (True,)


class _Reversed(str):
    """Text in descending order; numbers are negated instead, which is five times faster to compare."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __le__(self, other: str) -> bool:
        return str.__ge__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)

    def __ge__(self, other: str) -> bool:
        return str.__le__(self, other)


def turned(value: Any) -> Any:
    """The value so that comparing runs the other way."""
    if isinstance(value, str):
        text = _Reversed(value)
        untrack(text)  # there may be a million of them
        return text
    if isinstance(value, tuple):
        return tuple(turned(part) for part in value)
    return value.copy_negate() if isinstance(value, Decimal) else -value


@dataclass(frozen=True, slots=True)
class Position:
    """A place between rows: stored values of the order columns, and the primary key of the row it was taken from."""

    values: tuple[JsonValue, ...]
    pkey: PKey


def comparable(schema: TableSchema, term: OrderTerm) -> Callable[[int | float | str], Any]:
    """Stored value to what the term compares."""
    kind = type_of(schema, term.column)
    if term.kind is OrderKind.STR:
        return kind.text if kind is not None else str
    if kind is not None and kind.is_numeric:
        return kind.sort_key
    return lambda value: number_of_text(str(value))


def is_natural(schema: TableSchema, term: OrderTerm) -> bool:
    """Whether the term is the order of the column's own index keys."""
    kind = type_of(schema, term.column)
    return kind is not None and kind.is_numeric == (term.kind is OrderKind.NUM)


class Order:
    """One order over one table: terms, then the primary key in the direction of the last term.

    ``terms`` are those that count: the primary key in its own order decides every tie, so it and what stands
    behind it are left out; with no term at all, rows need not be decoded to be sorted.
    """

    def __init__(self, schema: TableSchema, terms: Sequence[OrderTerm]) -> None:
        self.schema = schema
        cut = next((place for place, term in enumerate(terms) if is_primary_order(schema, term)), None)
        self.terms = tuple(terms[:cut])
        last = terms[cut] if cut is not None else terms[-1] if terms else None
        self.descending = last is not None and last.descending
        self._readers = [getter(schema, term.column) for term in self.terms]
        self._member = self._integer_member()
        self._parts = [(comparable(schema, term), term.descending) for term in self.terms]

    def _integer_member(self) -> bytes:
        """How the one column that decides is written in a row, if it is an integer in the direction of an integer key.

        Quotes within texts are escaped, so a row holds these bytes only where the column stands, if no name has one.
        """
        key = self.schema.primary_key
        if len(key) != 1:
            return b""
        kinds = [self.schema.by_name[key[0]].type]
        for term in self.terms:
            if term.column is None or not is_natural(self.schema, term) or term.descending != self.descending:
                return b""
            kinds.append(self.schema.by_name[term.column].type)
        if len(kinds) != 2 or any(kind.kind is not Kind.INTEGER for kind in kinds) or '"' in "".join(self.schema.names):
            return b""
        return orjson.dumps(self.terms[0].column) + b":"

    def values(self, row: Row) -> tuple[JsonValue, ...]:
        """Stored values of the terms' columns: what a cursor holds."""
        return tuple(read(row) for read in self._readers)

    def key(self, values: Sequence[JsonValue], pkey: PKey) -> SortTuple:
        """What to compare; smaller comes first."""
        parts: list[Any] = []
        for value, (convert, descending) in zip(values, self._parts, strict=True):
            if value is None:
                parts.append(_LAST)
            else:
                converted = convert(value)
                parts.append((False, turned(converted) if descending else converted))
        parts.append(turned(pkey) if self.descending else pkey)
        return tuple(parts)

    def key_of_row(self, row: Row, pkey: PKey) -> SortTuple:
        return self.key(self.values(row), pkey)

    def key_of_data(self, data: bytes, pkey: Any) -> SortTuple:
        """The same of an undecoded row: 0.6 us where a single integer column decides, 3 us elsewhere."""
        member = self._member
        if not member:
            return self.key_of_row(decode(data), pkey)
        start = data.index(member) + len(member)
        stop = data.find(b",", start)
        digits = data[start : stop if stop > 0 else -1]
        if digits == b"null":
            return (_LAST, -pkey if self.descending else pkey)
        value = int(digits)
        return ((False, -value), -pkey) if self.descending else ((False, value), pkey)


def is_primary_order(schema: TableSchema, term: OrderTerm) -> bool:
    """Whether a term is the primary key in its own order; a composite key has no other."""
    if len(schema.primary_key) > 1:
        return term.column is None
    return term.column in (None, schema.primary_key[0]) and is_natural(schema, term)
