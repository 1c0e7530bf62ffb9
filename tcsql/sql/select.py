"""SELECT on one table as a query: what can be said with the same meaning, and nothing else.

    read_select("SELECT id, title FROM posts WHERE board = 5 ORDER BY dateline DESC LIMIT 20")
    .query(schema, …)    ->  the Query that the URL's grammar would give

sqlglot reads the statement; of its tree only the nodes named here are taken, with only the parts named here, so what
this module does not know is refused, never dropped. The conditions are made by ``selectwhere``. Marks, characters that
stand for values not known yet, may stand where a literal may.

What differs from MySQL on purpose is the comparison of texts: ours is by bytes, as MySQL's with a binary collation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tcsql.engine.query import (
    Aggregate,
    AggregateFunction,
    Count,
    Filter,
    Group,
    OrderKind,
    OrderTerm,
    Query,
    Select,
)
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import Kind
from tcsql.sql.selectwhere import Names, Where, placeholder, refuse, require_parts, shown
from tcsql.sql.tokens import Source

if TYPE_CHECKING:  # late, as in parser.py
    from sqlglot import exp

_FUNCTIONS: Final = {
    "Sum": AggregateFunction.SUM,
    "Avg": AggregateFunction.AVG,
    "Min": AggregateFunction.MIN,
    "Max": AggregateFunction.MAX,
}
_SUMMED: Final = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT})
#: Kinds whose order here is MySQL's: an ENUM goes by the place of its member there, a BLOB is base64 here.
_ORDERED: Final = _SUMMED | {Kind.TEXT, Kind.DATE, Kind.DATETIME}
_GROUPED: Final = frozenset(Kind) - {Kind.JSON}


@dataclass(frozen=True, slots=True)
class SelectText:
    """A SELECT that was read. ``limit`` and ``offset``: a number, a mark, or None where the statement says nothing."""

    table: str
    limit: int | str | None
    offset: int | str | None
    tree: exp.Select
    names: Names

    def query(self, schema: TableSchema, limit: int, most_conditions: int, types: Sequence[str] = ()) -> Query:
        """The query against a table, for pages of ``limit`` rows; ``types``: of the values that marks stand for.

        Raises UnsupportedStatement and UnknownColumn.
        """
        where = self.tree.args.get("where")
        found = Filter()
        if where is not None:
            require_parts(where, "this")
            found = Where(schema, self.names, types, most_conditions).filter(where.this)
        return _Output(self, schema, found).query(limit)


def read_select(text: str, marks: Sequence[str] = ()) -> SelectText:
    """The one SELECT of a text; raises SqlSyntax and UnsupportedStatement.

    >>> found = read_select("SELECT * FROM posts LIMIT 20")
    >>> found.table, found.limit, found.offset
    ('posts', 20, None)
    """
    from sqlglot import exp  # noqa: PLC0415 -- late, see parser.py

    from tcsql.sql import selecttree  # noqa: PLC0415 -- late, see parser.py

    number_of = {mark: number for number, mark in enumerate(marks)}
    if marks:
        text = re.sub("[" + "".join(marks) + "]", lambda found: ":" + placeholder(number_of[found[0]]), text)
    tree = selecttree.parse(Source(text))
    if not isinstance(tree, exp.Select):
        raise refuse("only a plain SELECT of one table is taken")
    require_parts(tree, "expressions", "from_", "where", "group", "order", "limit", "offset")
    source = tree.args.get("from_")
    if source is None:
        raise refuse("SELECT without FROM names no table", "SELECT … FROM table")
    require_parts(source, "this")
    table = source.this
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
        raise refuse(f"FROM {shown(table)} is not one table")
    require_parts(table, "this", "alias")
    if table.args.get("alias"):
        require_parts(table.args["alias"], "this")
    names = Names(table.name, table.alias, {placeholder(number): mark for mark, number in number_of.items()})
    limit, offset = tree.args.get("limit"), tree.args.get("offset")
    for each in (limit, offset):
        if each is not None:
            require_parts(each, "expression")
    return SelectText(
        table.name,
        None if limit is None else _rows(limit.expression, names),
        None if offset is None else _rows(offset.expression, names),
        tree,
        names,
    )


def _rows(node: exp.Expr, names: Names) -> int | str:
    mark = names.mark(node)
    if mark is not None:
        return mark
    text = node.name
    if node.key != "literal" or node.args.get("is_string") or not re.fullmatch("[0-9]{1,18}", text):
        raise refuse(f"{shown(node)} is not a number of rows", "write digits, or a place")
    return int(text)


class _Output:
    """What the rows of one SELECT hold and how they are ordered, against a table."""

    def __init__(self, text: SelectText, schema: TableSchema, where: Filter) -> None:
        self._text = text
        self._schema = schema
        self._where = where
        self._names = text.names

    def query(self, limit: int) -> Query:
        """The query; which of the three follows from what is selected."""
        tree = self._text.tree
        group = tree.args.get("group")
        items = tree.expressions
        if group is None and not any(_is_aggregate(_bare(item)) for item in items):
            order = tuple(self._term(each) for each in self._ordered())
            return Select(self._schema.name, self._columns(items), self._where, order, 0, limit)
        return self._totals(items, group, limit)

    def _columns(self, items: Sequence[exp.Expr]) -> tuple[str, ...] | None:
        if len(items) == 1 and items[0].key == "star":
            require_parts(items[0])
            return None
        names = [self._column_item(item).name for item in items]
        _require_different(names)
        return tuple(sorted(names, key=self._schema.names.index))

    def _column_item(self, item: exp.Expr) -> Column:
        column = self._names.column(_bare(item), self._schema)
        if item.key == "alias" and item.alias != column.name:
            raise refuse(f"{shown(item)}: rows keep the names of their columns", "leave AS out")
        return column

    # --- totals ---------------------------------------------------------------------------------------------

    def _totals(self, items: Sequence[exp.Expr], group: exp.Expr | None, limit: int) -> Query:
        by = () if group is None else self._by(group)
        aggregates: list[Aggregate] = []
        output: list[str] = []
        for item in items:
            bare = _bare(item)
            if _is_aggregate(bare):
                aggregates.append(self._aggregate(bare, item.alias if item.key == "alias" else ""))
                output.append(aggregates[-1].label)
                continue
            name = self._column_item(item).name
            if name not in by:
                raise refuse(f"{name} is neither in GROUP BY nor in an aggregate", f"GROUP BY {', '.join((*by, name))}")
            output.append(name)
        if not aggregates:
            raise refuse("GROUP BY without an aggregate", "add count(*)")
        _require_different([*by, *(aggregate.label for aggregate in aggregates)])
        _require_different(output)
        if not by:
            return self._total(aggregates, output)
        order = tuple(self._group_term(each, by, aggregates) for each in self._ordered())
        return Group(self._schema.name, by, tuple(aggregates), tuple(output), self._where, order, 0, limit)

    def _total(self, aggregates: Sequence[Aggregate], output: Sequence[str]) -> Query:
        tree = self._text.tree
        if any(tree.args.get(part) for part in ("order", "limit", "offset")):
            raise refuse("totals of all rows are one row", "leave ORDER BY and LIMIT out")
        if output == ["count"]:
            return Count(self._schema.name, self._where)
        return Group(self._schema.name, (), tuple(aggregates), tuple(output), self._where, (), 0, 1)

    def _by(self, group: exp.Expr) -> tuple[str, ...]:
        require_parts(group, "expressions")
        columns = [self._names.column(each, self._schema) for each in group.expressions]
        for column in columns:
            if column.type.kind not in _GROUPED:
                raise refuse(f"rows cannot be grouped by {column.name}, which is {column.type.name}")
        _require_different([column.name for column in columns])
        return tuple(column.name for column in columns)

    def _aggregate(self, node: exp.Expr, alias: str) -> Aggregate:
        if node.key == "count":
            require_parts(node, "this", "big_int")
            if node.this is None or node.this.key != "star":
                raise refuse(f"{shown(node)} is not supported", "count(*) counts rows")
            return Aggregate(AggregateFunction.COUNT, None, alias or "count")
        require_parts(node, "this")
        function = _FUNCTIONS[type(node).__name__]
        column = self._names.column(node.this, self._schema)
        summed = function in (AggregateFunction.SUM, AggregateFunction.AVG)
        if column.type.kind not in (_SUMMED if summed else _ORDERED):
            raise refuse(f"{function.value} of {column.name}, which is {column.type.name}, is not supported")
        return Aggregate(function, self._names.ref(column, self._schema), alias or f"{function.value}({column.name})")

    # --- order ----------------------------------------------------------------------------------------------

    def _ordered(self) -> list[exp.Expr]:
        order = self._text.tree.args.get("order")
        if order is None:
            return []
        require_parts(order, "expressions")
        for each in order.expressions:
            require_parts(each, "this", "desc", "nulls_first")
        return list(order.expressions)

    def _term(self, node: exp.Expr) -> OrderTerm:
        column = self._names.column(node.this, self._schema)
        ref = self._names.ref(column, self._schema)
        is_null_ruled_out = bool(self._where.any_of) and all(
            any(c.column == ref and c.negated is (c.operator.value == "NULL") for c in conjunction)
            for conjunction in self._where.any_of
        )
        if column.nullable and not is_null_ruled_out:
            _require_nulls_last(node, column.name)
        return OrderTerm(ref, _order_kind(column), bool(node.args.get("desc")))

    def _group_term(self, node: exp.Expr, by: Sequence[str], aggregates: Sequence[Aggregate]) -> OrderTerm:
        descending = bool(node.args.get("desc"))
        labels: Mapping[str, Aggregate] = {aggregate.label: aggregate for aggregate in aggregates}
        found = None
        if _is_aggregate(node.this):
            wanted = self._aggregate(node.this, "")
            found = next((a for a in aggregates if (a.function, a.column) == (wanted.function, wanted.column)), None)
            if found is None:
                raise refuse(f"{shown(node.this)} is not selected", "select what groups are ordered by")
        elif node.this.key == "column" and not node.this.text("table"):
            found = labels.get(node.this.name)
        if found is None:
            column = self._names.column(node.this, self._schema)
            if column.name not in by:
                raise refuse(f"{column.name} is neither grouped by nor an aggregate")
            if column.nullable:
                _require_nulls_last(node, column.name)
            return OrderTerm(column.name, _order_kind(column), descending)
        if found.function is AggregateFunction.COUNT:
            return OrderTerm(found.label, OrderKind.NUM, descending)
        column = self._schema.by_name[found.column or self._schema.primary_key[0]]
        if column.nullable or not by:
            _require_nulls_last(node, found.label)
        extreme = found.function in (AggregateFunction.MIN, AggregateFunction.MAX)
        return OrderTerm(found.label, _order_kind(column) if extreme else OrderKind.NUM, descending)


def _bare(item: exp.Expr) -> exp.Expr:
    return item.this if item.key == "alias" else item


def _is_aggregate(node: exp.Expr) -> bool:
    return type(node).__name__ in _FUNCTIONS or node.key == "count"


def _require_different(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        double = next(name for number, name in enumerate(names) if name in names[:number])
        raise refuse(f"{double} stands twice", "name each column once")


def _require_nulls_last(node: exp.Expr, name: str) -> None:
    """MySQL puts NULL first where the order ascends; every order of ours puts it last."""
    if node.args.get("nulls_first"):
        hint = f"add WHERE {name} IS NOT NULL, or DESC; the URL's grammar orders NULL last"
        raise refuse(f"ORDER BY {name}, which may be NULL, begins with NULL in MySQL", hint)


def _order_kind(column: Column) -> OrderKind:
    if column.type.kind not in _ORDERED:
        raise refuse(f"rows cannot be ordered by {column.name}, which is {column.type.name}")
    return OrderKind.NUM if column.type.is_numeric else OrderKind.STR
