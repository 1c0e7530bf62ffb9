"""The grammar: parameters and the schemas become one ``Request`` value. Pure; sections 1 and 2 of the contract.

    Grammar(catalog, limits).request(parameters)  ->  ReadRequest | InsertRequest | UpdateRequest | ...

Every name is resolved here, so that the engine never sees ``pkey`` nor a misspelt column: ``None`` stands for
the primary key as a whole, and the real name of a one-column key resolves to ``None`` as well, so that both
spellings share a plan. Refusals name what was meant.

Cost: the common list query takes a few microseconds. What depends on a table alone (names, order terms, column
lists) is remembered per table in ``Names`` and thrown away when the table's schema is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tcsql.engine.query import Condition, Conjunction, Count, Filter, Group, Operator, OrderTerm, Query, Select
from tcsql.engine.schema import TableSchema
from tcsql.errors import (
    BadRequest,
    InvalidCursor,
    LimitExceeded,
    UnknownCommand,
    UnknownOperator,
    WhereRequired,
    did_you_mean,
)
from tcsql.http.bounds import MAX_VALUES, MAX_WHERE, check_lists
from tcsql.http.names import REMEMBERED, Names, Output
from tcsql.http.parameters import COMMANDS, PARAMETERS, READS, Parameters

OPERATORS: Final[Mapping[str, tuple[Operator, bool]]] = {
    sign + operator.value: (operator, bool(sign)) for operator in Operator for sign in ("", "~")
}

#: Digits of a limit: 18 always fit a signed 64-bit integer.
_LIMIT_DIGITS: Final = 18


class Catalog(Protocol):
    """What the grammar asks of a database."""

    def schema(self, table: str) -> TableSchema: ...

    def schemas(self) -> list[TableSchema]: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a request, and the table that is meant when none is named."""

    max_rows: int = 10_000
    max_conditions: int = 256
    default_table: str = ""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """select and explain. ``min_lsn``: (store id or "", lsn) to wait for. ``owner``: of cursors, see ``views``."""

    query: Query
    explain: bool = False
    bigint_text: bool = False
    min_lsn: tuple[str, int] | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class InsertRequest:
    """``rows``: the parameter of that name, JSON text; None when the body is the data. ``within``: of ``views``."""

    schema: TableSchema
    rows: str | None = None
    trusted: bool = False
    within: Filter | None = None


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """``values``: the parameter ``set``, JSON text; None when the body is the data."""

    schema: TableSchema
    where: Filter
    values: str | None = None
    within: Filter | None = None


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    schema: TableSchema
    where: Filter
    within: Filter | None = None


@dataclass(frozen=True, slots=True)
class SqlRequest:
    sql: str


WriteRequest = InsertRequest | UpdateRequest | DeleteRequest | SqlRequest
Request = ReadRequest | WriteRequest


class Grammar:
    """Reads requests against the tables of one catalog."""

    def __init__(self, catalog: Catalog, limits: Limits = Limits()) -> None:
        self._catalog = catalog
        self._limits = limits
        self._names: dict[str, Names] = {}

    def request(self, parameters: Parameters) -> Request:
        """The request that the parameters mean; raises CallerError of the fitting class."""
        values = parameters.values
        command = values.get("command")
        if command in READS:
            return self._read(command, parameters)
        if command is None:
            raise BadRequest("no command", f"add command={'|'.join(COMMANDS)}")
        if command not in COMMANDS:
            raise UnknownCommand(f'unknown command "{command[:64]}"', did_you_mean(command, COMMANDS))
        _refuse_foreign(command, parameters)
        if command == "hint":
            raise BadRequest("hint is a POST whose query string begins with it", "POST /?command=hint&source=…&table=…")
        if command == "sql":
            if not values.get("sql", "").strip():
                raise BadRequest("no statement", 'send {"sql": "CREATE TABLE ..."}')
            return SqlRequest(values["sql"])
        names = self.names(values.get("table"))
        if command == "insert":
            return InsertRequest(names.schema, values.get("rows"), _flag(values, "trusted"))
        where = self.where(names, parameters.where)
        if where.matches_everything and not _flag(values, "all"):
            raise WhereRequired(
                f"{command} without a condition would touch every row",
                "add all=1 if that is meant",
            )
        if command == "delete":
            return DeleteRequest(names.schema, where)
        return UpdateRequest(names.schema, where, values.get("set"))

    def names(self, table: str | None) -> Names:
        """The names of a table; None means the default table. Raises UnknownTable."""
        schema = self._default() if table is None else self._catalog.schema(table)
        names = self._names.get(schema.name)
        if names is None or names.schema is not schema:
            if len(self._names) >= REMEMBERED:  # tables come and go; what is dropped must not stay
                self._names.clear()
            names = self._names[schema.name] = Names(schema)
        return names

    def _default(self) -> TableSchema:
        if self._limits.default_table:
            return self._catalog.schema(self._limits.default_table)
        schemas = self._catalog.schemas()
        if len(schemas) == 1:
            return schemas[0]
        if not schemas:
            raise BadRequest("there is no table yet", "create one with command=sql")
        shown = ", ".join(sorted(schema.name for schema in schemas)[:8])
        raise BadRequest("no table named, and the server has several", f"add table=, one of: {shown}")

    def _read(self, command: str, parameters: Parameters) -> ReadRequest:
        values = parameters.values
        if not _OF_WRITES.isdisjoint(values):
            _refuse_foreign(command, parameters)
        names = self.names(values.get("table"))
        where = self.where(names, parameters.where)
        grouped = "group_by" in values
        listed = values.get("type", "*")
        output = _STAR if listed == "*" and not grouped else names.output(listed, grouped)
        skip = limit_of(values["limit_skip"], "limit_skip") if "limit_skip" in values else 0
        query: Query
        if output.aggregates:
            query = self._totals(names, output, values, where, skip)
        else:
            by = values.get("order_by")
            order = names.order(by, values.get("order_sort")) if by is not None else _no_order(values)
            after, before = values.get("after"), values.get("before")
            if after is not None or before is not None:
                _check_cursors(after, before, values)
            total = _flag(values, "total")
            table = names.schema.name
            query = Select(
                table,
                output.columns,
                where,
                order,
                skip,
                self._page(values),
                after,
                before,
                total,
            )
        return ReadRequest(
            query,
            command == "explain",
            _choice(values, "bigint", "number") == "string",
            lsn_of(values["min_lsn"]) if "min_lsn" in values else None,
        )

    def _totals(
        self,
        names: Names,
        output: Output,
        values: Mapping[str, str],
        where: Filter,
        skip: int,
    ) -> Query:
        if "after" in values or "before" in values:
            raise InvalidCursor("a cursor belongs to a page of rows", "use limit_skip for groups")
        _flag(values, "total")
        table = names.schema.name
        limit = self._page(values)
        if output.listed == ("count",) and "group_by" not in values:
            if "order_by" in values:  # of no effect on one number, yet a wrong name should not pass
                names.order(values["order_by"], values.get("order_sort"))
            return Count(table, where)
        by = names.group_columns(values.get("group_by"))
        labels = {aggregate.label for aggregate in output.aggregates}
        for name in output.listed:
            if name not in labels and name not in by:
                raise BadRequest(
                    f'column "{name}" is not in group_by',
                    f"add it: group_by={','.join((*by, name))}",
                )
        shown = (*(name for name in by if name not in output.listed), *output.listed)
        order = _no_order(values)
        if "order_by" in values:
            order = names.group_order(by, output.aggregates, values["order_by"], values.get("order_sort"))
        return Group(table, by, output.aggregates, shown, where, order, skip, limit)

    def _page(self, values: Mapping[str, str]) -> int:
        if "limit_max" not in values:
            return min(100, self._limits.max_rows)
        limit = limit_of(values["limit_max"], "limit_max")
        if limit > self._limits.max_rows:
            raise LimitExceeded(
                f"limit_max={limit} is above {self._limits.max_rows}, the most rows of one page",
                "page with after=; whoever runs the server sets max_rows, for all or for a key",
            )
        return limit

    def where(self, names: Names, wheres: Sequence[str]) -> Filter:
        """What the parameters ``where`` of a request mean in a table."""
        if not wheres:
            return _EVERYTHING
        left = self._limits.max_conditions
        length = 0
        any_of = []
        for where in wheres:
            # counted before anything is built: a hostile where of 100,000 conditions costs one count
            left -= where.count("|") + 1 if "\\" not in where else 1
            if left < 0:
                raise self._too_many()
            length += len(where)
            if length > MAX_WHERE:
                raise LimitExceeded(f"where has more than {MAX_WHERE} characters", "ask in several requests")
            any_of.append(self._conjunction(names, where))
        if sum(map(len, any_of)) > self._limits.max_conditions:
            raise self._too_many()
        if length > MAX_VALUES:  # a shorter text cannot list so many
            check_lists(any_of)
        return Filter(tuple(any_of))

    def _too_many(self) -> LimitExceeded:
        most = self._limits.max_conditions
        return LimitExceeded(
            f"more than {most} conditions",
            "ask in several requests, or raise max_conditions",
        )

    def _conjunction(self, names: Names, where: str) -> Conjunction:
        if not where:
            return ()
        conditions = []
        for text in where.split("|") if "\\" not in where else _split_escaped(where, self._limits.max_conditions):
            name, _, rest = text.partition(":")
            operator, colon, operand = rest.partition(":")
            found = OPERATORS.get(operator)
            if found is None or not colon:
                found = _operator_of(text, name, operator, colon)
            if found[0] is Operator.NULL and operand:
                raise BadRequest(f'condition "{text[:80]}": NULL takes no expression', f'write "{name}:{operator}"')
            if "\\" in operand:
                operand = _ESCAPED.sub(r"\1", operand)
            conditions.append(Condition(names.ref(name), found[0], operand, found[1]))
        return tuple(conditions)


_STAR: Final = Output()
_OF_WRITES: Final = frozenset(name for name, known in PARAMETERS.items() if "select" not in known.commands)
_EVERYTHING: Final = Filter()
_ESCAPED: Final = re.compile(r"\\([\\|])")
_SEPARATOR: Final = re.compile(r"\\[\\|]|\|")


def _split_escaped(where: str, most: int) -> list[str]:
    r"""Split at every ``|`` that no escape covers; ``\\`` is one escaped backslash, so ``x\\|`` does separate."""
    parts, start = [], 0
    for match in _SEPARATOR.finditer(where):
        if match[0] == "|":
            parts.append(where[start : match.start()])
            start = match.end()
            if len(parts) > most:  # the caller refuses; no need to read on
                break
    parts.append(where[start:])
    return parts


def _operator_of(text: str, name: str, operator: str, colon: str) -> tuple[Operator, bool]:
    """The rare spellings and every refusal: NULL needs no expression, all others do."""
    found = OPERATORS.get(operator)
    if found is not None and found[0] is Operator.NULL:
        return found  # col:NULL and col:NULL: are the same
    if found is not None:
        raise BadRequest(
            f'condition "{text[:80]}" has no expression',
            f'write "{name}:{operator}:" for an empty one',
        )
    if not text:
        raise BadRequest("empty condition in where", r"a literal | is written \|")
    if ":" not in text:
        hint = r"conditions are column:OPERATOR:expression; a literal | is written \|"
        raise BadRequest(f'"{text[:80]}" is not a condition', hint)
    near = did_you_mean(operator, OPERATORS)
    raise UnknownOperator(
        f'unknown operator "{operator[:64]}" in "{text[:80]}"',
        near or "operators are upper case",
    )


def _refuse_foreign(command: str, parameters: Parameters) -> None:
    given = [*parameters.values, *(["where"] if parameters.where else [])]
    for name in given:
        if command not in PARAMETERS[name].commands:
            taken = ", ".join(name for name, known in PARAMETERS.items() if command in known.commands)
            raise BadRequest(f"{command} takes no parameter {name}", f"{command} takes: {taken}")


def _no_order(values: Mapping[str, str]) -> tuple[OrderTerm, ...]:
    if "order_sort" in values and "order_by" not in values:
        raise BadRequest("order_sort without order_by", "add order_by=pkey for the primary key")
    return ()


def _check_cursors(after: str | None, before: str | None, values: Mapping[str, str]) -> None:
    if after is not None and before is not None:
        raise InvalidCursor("after and before together", "give one of them")
    if "limit_skip" in values:
        raise InvalidCursor(
            "a cursor together with limit_skip",
            "the cursor alone says where the page begins",
        )


def limit_of(text: str, name: str) -> int:
    """A limit by our own strict grammar: 1 to 18 ASCII digits; ``int`` would take ``1_000`` and Arabic digits.

    >>> limit_of("0010", "limit_max")
    10
    """
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(f'{name}="{text[:40]}" is not a whole number of digits 0 to 9')
    if len(text) > _LIMIT_DIGITS:
        raise BadRequest(f"{name} has more than {_LIMIT_DIGITS} digits")
    return int(text)


def lsn_of(text: str) -> tuple[str, int]:
    """``1042`` or ``storeid-1042``, as a reply gave it, to (store id or "", lsn)."""
    store, dash, digits = text.rpartition("-")
    if dash and not (store.isascii() and store.isalnum()):
        raise BadRequest(
            f'min_lsn="{text[:80]}" is not an lsn',
            "copy lsn or the header TCSQL-Lsn of a reply",
        )
    return store, limit_of(digits, "min_lsn")


def _choice(values: Mapping[str, str], name: str, default: str) -> str:
    value = values.get(name, default)
    known = PARAMETERS[name].values
    if value is not default and value not in known:
        raise BadRequest(
            f'{name}="{value[:40]}" is not known',
            f"{name} is one of: {', '.join(known)}",
        )
    return value


def _flag(values: Mapping[str, str], name: str) -> bool:
    return name in values and _choice(values, name, "0") == "1"
