"""What names mean in one table: columns, ``pkey``, order lists, and what ``type`` asks for. Pure.

One ``Names`` belongs to one schema value; the grammar throws it away when the table's schema is replaced. What
a client spelt before is remembered (bounded), so that the lists of a common query cost one look-up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from tcsql.engine.query import Aggregate, AggregateFunction, ColumnRef, OrderKind, OrderTerm
from tcsql.engine.schema import TableSchema
from tcsql.errors import BadRequest, LimitExceeded, UnknownColumn, UnknownOrder, did_you_mean

ORDERS: Final[Mapping[str, tuple[OrderKind, bool]]] = {
    kind.value + direction: (kind, direction == "DESC") for kind in OrderKind for direction in ("ASC", "DESC")
}
FUNCTIONS: Final[Mapping[str, AggregateFunction]] = {function.value: function for function in AggregateFunction}

#: Columns in an order or a group: as many as MySQL allows in an index.
MAX_LISTED: Final = 16
#: Remembered spellings per table: enough for any application, small against a client that varies them on purpose.
REMEMBERED: Final = 256

_AGGREGATE: Final = re.compile(r"([A-Za-z_]+)\(([^()]*)\)")
_COUNT: Final = Aggregate(AggregateFunction.COUNT, None, "count")

_K = TypeVar("_K")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Output:
    """What ``type`` asks for: columns (None: all), or aggregates; ``listed`` is the client's own order."""

    columns: tuple[str, ...] | None = None
    aggregates: tuple[Aggregate, ...] = ()
    listed: tuple[str, ...] = ()


class Names:
    """The names of one table, with what was read before remembered."""

    __slots__ = ("_orders", "_outputs", "_refs", "schema")

    def __init__(self, schema: TableSchema) -> None:
        self.schema = schema
        self._refs: dict[str, ColumnRef] = {name: name for name in schema.names}
        if len(schema.primary_key) == 1:
            self._refs[schema.primary_key[0]] = None
        self._refs["pkey"] = None
        self._orders: dict[tuple[str, str | None], tuple[OrderTerm, ...]] = {}
        self._outputs: dict[tuple[str, bool], Output] = {}

    def ref(self, name: str) -> ColumnRef:
        """The column that ``name`` means; raises UnknownColumn with the nearest name."""
        try:
            return self._refs[name]
        except KeyError:
            return self._refs[self.schema.column(name).name]

    def real(self, name: str) -> tuple[str, ...]:
        """The real column or columns behind a name: several for the ``pkey`` of a composite key."""
        return self.schema.primary_key if name == "pkey" else (self.schema.column(name).name,)

    def natural_kind(self, ref: ColumnRef) -> OrderKind:
        """How a column is ordered when the client does not say: by its own type."""
        if ref is None and len(self.schema.primary_key) > 1:
            return OrderKind.STR
        column = self.schema.by_name[self.schema.primary_key[0] if ref is None else ref]
        return OrderKind.NUM if column.type.is_numeric else OrderKind.STR

    def order(self, columns: str, sorts: str | None) -> tuple[OrderTerm, ...]:
        """The terms of ``order_by`` and ``order_sort``."""
        return _remembered(self._orders, (columns, sorts), lambda: _order_of(self, columns, sorts))

    def output(self, text: str, grouped: bool) -> Output:
        """What ``type`` means, with or without ``group_by``."""
        return _remembered(self._outputs, (text, grouped), lambda: _output_of(self, text, grouped))

    def group_columns(self, group_by: str | None) -> tuple[str, ...]:
        """The real columns of ``group_by``; none: one group of all rows."""
        by = (
            [real for name in _listed(group_by, "group_by") for real in self.real(name)] if group_by is not None else []
        )
        return tuple(_without_doubles(by, "group_by"))

    def group_order(
        self, by: tuple[str, ...], aggregates: tuple[Aggregate, ...], columns: str, sorts: str | None
    ) -> tuple[OrderTerm, ...]:
        """Groups are ordered by a group column or by an aggregate's label."""
        kinds = {name: self.natural_kind(self.ref(name)) for name in by}
        for aggregate in aggregates:
            extreme = aggregate.function in (AggregateFunction.MIN, AggregateFunction.MAX)
            kinds[aggregate.label] = self.natural_kind(aggregate.column) if extreme else OrderKind.NUM
        terms: list[str] = []
        for item in _listed(columns, "order_by"):
            match = _AGGREGATE.fullmatch(item)
            terms += [_aggregate(self, match).label] if match else [item] if item in kinds else self.real(item)
        for name in terms:
            if name not in kinds:
                hint = did_you_mean(name, kinds) or f"groups are ordered by one of: {', '.join(kinds)}"
                raise UnknownColumn(f'"{name}" is neither in group_by nor in type', hint)
        if sorts is None:
            return tuple(OrderTerm(name, kinds[name]) for name in terms)
        return tuple(OrderTerm(name, *sort) for name, sort in zip(terms, _sorts(sorts, len(terms)), strict=True))


def _remembered(memory: dict[_K, _T], key: _K, read: Callable[[], _T]) -> _T:
    found = memory.get(key)
    if found is None:
        found = read()
        if len(memory) >= REMEMBERED:
            memory.clear()
        memory[key] = found
    return found


def _order_of(names: Names, columns: str, sorts: str | None) -> tuple[OrderTerm, ...]:
    refs = [names.ref(name) for name in _listed(columns, "order_by")]
    if sorts is None:
        # The primary key ascending is what every order ends with anyway, so the list stops there.
        refs = refs[: refs.index(None)] if None in refs else refs
        return tuple(OrderTerm(ref, names.natural_kind(ref)) for ref in refs)
    return tuple(OrderTerm(ref, *sort) for ref, sort in zip(refs, _sorts(sorts, len(refs)), strict=True))


def _listed(columns: str, parameter: str) -> list[str]:
    listed = columns.split(",", MAX_LISTED)
    if len(listed) > MAX_LISTED:
        raise LimitExceeded(f"{parameter} lists more than {MAX_LISTED} columns")
    if "" in listed:
        raise BadRequest(f"{parameter} has an empty column name", f"leave {parameter} out, or name columns")
    return listed


def _sorts(text: str, expected: int) -> list[tuple[OrderKind, bool]]:
    listed = text.split(",", MAX_LISTED)
    for sort in listed:
        if sort not in ORDERS:
            hint = did_you_mean(sort, ORDERS) or f"orders are {', '.join(ORDERS)}"
            raise UnknownOrder(f'unknown order "{sort[:64]}"', hint)
    if len(listed) != expected:
        why = f"order_by lists {expected} columns, order_sort {len(listed)} orders"
        raise BadRequest(why, "both lists are equally long")
    return [ORDERS[sort] for sort in listed]


def _without_doubles(listed: list[str], parameter: str) -> list[str]:
    if len(set(listed)) < len(listed):
        double = next(name for number, name in enumerate(listed) if name in listed[:number])
        raise BadRequest(f'{parameter} lists "{double}" twice')
    return listed


def _output_of(names: Names, text: str, grouped: bool) -> Output:
    """``type`` read as columns or as aggregates.

    In a list, ``count`` is the column of that name if the table has one and nothing else speaks of groups.
    """
    if text == "*":
        if grouped:
            raise BadRequest("group_by without aggregates", "list them in type, for example type=count")
        return Output()
    most = (len(AggregateFunction) + 1) * (len(names.schema.columns) + 1)
    items = text.split(",", most)
    if len(items) > most:
        raise LimitExceeded(f"type lists more than {most} names", "that is more than the table can give")
    totals = grouped or text == "count" or "(" in text or ("count" in items and "count" not in names.schema.by_name)
    columns: list[str] = []
    aggregates: list[Aggregate] = []
    listed: list[str] = []
    for item in items:
        match = _AGGREGATE.fullmatch(item)
        if totals and (match or item == "count"):
            aggregates.append(_aggregate(names, match) if match else _COUNT)
            listed.append(aggregates[-1].label)
        elif not item:
            raise BadRequest("type has an empty column name", "type=* gives all columns")
        else:
            columns += names.real(item)
            listed += names.real(item)
    _without_doubles(listed, "type")
    if totals and not aggregates:
        raise BadRequest("group_by without aggregates", f"add one: type={text[:200]},count")
    place = {name: number for number, name in enumerate(names.schema.names)}
    in_order = tuple(sorted(columns, key=place.__getitem__))  # replies keep the table's order
    return Output(None if totals else in_order, tuple(aggregates), tuple(listed))


def _aggregate(names: Names, match: re.Match[str]) -> Aggregate:
    function, column = match.groups()
    known = FUNCTIONS.get(function)
    if known is None:
        hint = did_you_mean(function, FUNCTIONS) or f"aggregates are {', '.join(FUNCTIONS)}"
        raise UnknownColumn(f'unknown aggregate "{function[:64]}"', hint)
    if known is AggregateFunction.COUNT:
        raise BadRequest(f'"count({column[:64]})" is not known', "count alone counts the rows of each group")
    real = names.real(column)
    label = f"{function}({real[0] if len(real) == 1 else 'pkey'})"
    return Aggregate(known, names.ref(column), label)
