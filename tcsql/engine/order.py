"""The order of a page as one comparable key per row, and the cursors that point between two rows of it.

The key of a row is a tuple: per order column whether it is NULL (NULL last in every direction), then the value,
turned round when descending; at the end the primary key, in the direction of the last order column. So a total
order is a plain tuple comparison, top-k is ``sort``, and "behind the cursor" is ``key > cursor key``.

A cursor holds the order columns' values and the primary key, no position: it stays valid while rows come and
go, after a restart and on another node. It carries a hash of the query it belongs to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson

from tcsql.engine.change import Row
from tcsql.engine.conditions import getter, type_of
from tcsql.engine.numbers import number_of_text
from tcsql.engine.query import OrderKind, OrderTerm, Select
from tcsql.engine.schema import TableSchema
from tcsql.engine.values import ColumnType, JsonValue, Kind, PKey
from tcsql.errors import InvalidCursor, InvalidValue

SortTuple = tuple[Any, ...]
_LAST: Final = (True,)


class _Reversed:
    """Text in descending order; numbers are negated instead, which is five times faster to compare."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __lt__(self, other: _Reversed) -> bool:
        return self.text > other.text

    def __le__(self, other: _Reversed) -> bool:
        return self.text >= other.text

    def __gt__(self, other: _Reversed) -> bool:
        return self.text < other.text

    def __ge__(self, other: _Reversed) -> bool:
        return self.text <= other.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def turned(value: Any) -> Any:
    """The value so that comparing runs the other way."""
    if isinstance(value, str):
        return _Reversed(value)
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
        self._parts = [(comparable(schema, term), term.descending) for term in self.terms]

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


def is_primary_order(schema: TableSchema, term: OrderTerm) -> bool:
    """Whether a term is the primary key in its own order; a composite key has no other."""
    if len(schema.primary_key) > 1:
        return term.column is None
    return term.column in (None, schema.primary_key[0]) and is_natural(schema, term)


def query_hash(query: Select) -> str:
    """What a cursor belongs to: table, conditions and order; not the columns or the page size."""
    where = [[(c.column, c.operator.value, c.operand, c.negated) for c in each] for each in query.where.any_of]
    order = [(term.column, term.kind.value, term.descending) for term in query.order]
    return hashlib.blake2b(orjson.dumps((query.table, where, order)), digest_size=6).hexdigest()


def encode_cursor(query: Select, schema: TableSchema, position: Position) -> str:
    """An opaque text for ``after`` and ``before``."""
    parts = position.pkey if isinstance(position.pkey, tuple) else (position.pkey,)
    stored = [column.type.stored(part) for column, part in zip(schema.pkey_columns, parts, strict=True)]
    data = orjson.dumps([query_hash(query), list(position.values), stored])
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_cursor(query: Select, schema: TableSchema, text: str) -> Position:
    """The position a cursor names; raises InvalidCursor for another query's, or for one that was altered."""
    try:
        raw = text.encode("ascii")
        data = orjson.loads(base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True))
        owner, values, key = data
        if owner != query_hash(query):
            raise InvalidCursor("the cursor belongs to another query", "use it with the same table, where and order")
        kinds = [type_of(schema, term.column) for term in Order(schema, query.order).terms]
        checked = tuple(_checked(kind, value) for kind, value in zip(kinds, values, strict=True))
        row = {
            name: _checked(schema.by_name[name].type, part) for name, part in zip(schema.primary_key, key, strict=True)
        }
        return Position(checked, schema.pkey_of(row))
    except (binascii.Error, ValueError, TypeError, InvalidValue):
        raise InvalidCursor("not a cursor of this server", "take it from next or prev of a reply, unchanged") from None


def _checked(kind: ColumnType | None, value: object) -> JsonValue:
    """Only what the column could hold may reach the comparison: a cursor comes from outside."""
    if value is None or (isinstance(value, str) and (kind is None or not kind.is_numeric)):
        return value
    if kind is not None and kind.is_numeric and not isinstance(value, bool):
        if kind.kind is Kind.INTEGER and isinstance(value, int):
            return value
        if kind.kind is not Kind.INTEGER and isinstance(value, (int, float, str)):
            return kind.from_client(value)
    raise ValueError
