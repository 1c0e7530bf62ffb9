"""A query is a value: what every interface translates its bytes into, and all the planner ever sees.

Names in a Query are resolved: real column names of the table, never ``pkey`` (``None`` stands for the
primary key as a whole, which may have several columns). Operands stay text, as the contract defines all
operators on text and numbers read from text; the binding to a column's type happens in the planner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Operator(Enum):
    """The operators of the contract; the value is the name on the wire."""

    STREQ = "STREQ"
    STRINC = "STRINC"
    STRBW = "STRBW"
    STREW = "STREW"
    STRAND = "STRAND"
    STROR = "STROR"
    STROREQ = "STROREQ"
    STRRX = "STRRX"
    NUMEQ = "NUMEQ"
    NUMGT = "NUMGT"
    NUMGE = "NUMGE"
    NUMLT = "NUMLT"
    NUMLE = "NUMLE"
    NUMBT = "NUMBT"
    NUMOREQ = "NUMOREQ"
    FTSPH = "FTSPH"
    FTSAND = "FTSAND"
    FTSOR = "FTSOR"
    FTSEX = "FTSEX"
    NULL = "NULL"


class OrderKind(Enum):
    """How a column is compared when ordering: as text (bytes of UTF-8) or as a number."""

    STR = "STR"
    NUM = "NUM"


class AggregateFunction(Enum):
    COUNT = "count"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"


#: A column of the table, or None for the primary key as a whole (``pkey``).
ColumnRef = str | None


@dataclass(frozen=True, slots=True)
class Condition:
    """``column:OPERATOR:operand``; with ``negated`` the whole truth value is inverted (NULL rows become true)."""

    column: ColumnRef
    operator: Operator
    operand: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class OrderTerm:
    column: ColumnRef
    kind: OrderKind
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate of a group query; ``column`` is None for ``count`` (rows) and for an aggregate of pkey."""

    function: AggregateFunction
    column: ColumnRef
    label: str


#: Conditions that must all hold.
Conjunction = tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """Rows that satisfy any of the conjunctions; no conjunction at all means every row.

    >>> Filter().matches_everything
    True
    """

    any_of: tuple[Conjunction, ...] = ()

    @property
    def matches_everything(self) -> bool:
        return not self.any_of or any(not conjunction for conjunction in self.any_of)

    def within(self, other: Filter) -> Filter:
        """Rows that satisfy both: the other's conditions stand behind those of each conjunction.

        >>> Filter().within(Filter(((Condition("a", Operator.NUMEQ, "1"),),))).any_of[0][0].column
        'a'
        """
        if not other.any_of:
            return self
        return Filter(tuple(own + added for own in self.any_of or ((),) for added in other.any_of))


@dataclass(frozen=True, slots=True)
class Select:
    """A page of rows. ``columns`` None means all. ``order`` empty means the primary key, ascending.

    ``after``/``before`` are cursors as received; ``limit`` 0 gives no rows but keeps the total.
    ``total``: insist on the exact total even if it costs a scan.
    """

    table: str
    columns: tuple[str, ...] | None = None
    where: Filter = Filter()
    order: tuple[OrderTerm, ...] = ()
    skip: int = 0
    limit: int = 100
    after: str | None = None
    before: str | None = None
    total: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows match; always exact."""

    table: str
    where: Filter = Filter()


@dataclass(frozen=True, slots=True)
class Group:
    """Totals per distinct combination of ``by`` (empty: one group of all rows).

    ``order`` names either a group column or the ``label`` of an aggregate. ``output`` is the order of the
    columns in a reply row: group columns and labels, as the client listed them.
    """

    table: str
    by: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    output: tuple[str, ...]
    where: Filter = Filter()
    order: tuple[OrderTerm, ...] = ()
    skip: int = 0
    limit: int = 100


Query = Select | Count | Group


def filter_columns(where: Filter) -> Iterator[ColumnRef]:
    """The columns that conditions name."""
    return (condition.column for conjunction in where.any_of for condition in conjunction)


def columns_of(query: Query) -> Iterator[ColumnRef]:
    """All columns that must be there for the query to have a meaning."""
    yield from filter_columns(query.where)
    match query:
        case Select():
            yield from query.columns or ()
            yield from (term.column for term in query.order)
        case Group():
            yield from query.by
            yield from (aggregate.column for aggregate in query.aggregates)
