"""Views: the catalog as callers of equal rights know it. What is not theirs does not exist for them.

    view.request(parameters, caller)   judged, read by the grammar of this view, and narrowed: what may be carried out

Tables and columns outside the rights are unknown to the grammar, so they are refused with the words for a name that was
never there, and no hint lists them. ``type=*`` means the columns of the view. The forced filter of a table joins every
conjunction; writes carry it as ``within``, which the engine holds (``engine.writes``).

A table is *closed*, 403 for whatever is asked of it, when its filter cannot be read (a column was dropped or renamed),
and when the columns of the key leave out a part of the primary key: rows could neither be paged nor told apart, and a
cursor would show the part. Nothing is ever open because a limit does not fit.

What could tell of more than the view is left out: of a plan the sizes of runs and foreign index names, of refusals the
index that would help. Cursors begin with a hash of the query: that of the query as it was asked, not of the filter
(whose value somebody could find by trying), put in the place of the engine's on the way out and back on the way in.

Callers without limits share a view that adds nothing. A view is made once for each distinct rights, 20 us and as much
for each table; a narrowed query takes 3 us more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tcsql.access.callers import Caller, Rights
from tcsql.engine.change import Row
from tcsql.engine.conditions import check_patterns, filter_test
from tcsql.engine.cursors import hash_of
from tcsql.engine.query import Count, Filter, Group, Query, Select
from tcsql.engine.result import Page, Result
from tcsql.engine.schema import TableSchema, no_table
from tcsql.errors import (
    BadRequest,
    CallerError,
    Forbidden,
    InvalidCursor,
    InvalidValue,
    TCSQLError,
    TooCostly,
    UnknownColumn,
    UnknownTable,
)
from tcsql.http.grammar import (
    Catalog,
    Grammar,
    InsertRequest,
    Limits,
    ReadRequest,
    Request,
    SqlRequest,
)
from tcsql.http.judge import AT_ROOT, Judge, operation_of
from tcsql.http.known import KnownQueries
from tcsql.http.names import Names
from tcsql.http.parameters import Parameters
from tcsql.settings import Settings

_HASH: Final = 8
_MEND: Final = "whoever made the key has to make it anew"


@dataclass(frozen=True, slots=True)
class Face:
    """A table as a view shows it. ``columns``: what ``*`` means, None: all; ``within``: the forced filter."""

    whole: TableSchema
    schema: TableSchema
    columns: tuple[str, ...] | None
    within: Filter | None


class _Visible:
    """The catalog of a view: raises UnknownTable for what is outside, Forbidden for what is closed."""

    def __init__(self, catalog: Catalog, rights: Rights) -> None:
        self._catalog = catalog
        self._tables = rights.tables
        self._columns = dict(rights.columns)
        self._filters: dict[str, list[str]] = {}
        for table, where in rights.filters:
            self._filters.setdefault(table, []).append(where)
        self._reader = Grammar(catalog, Limits())
        self._faces: dict[str, Face] = {}

    def has(self, table: str) -> bool:
        """Whether the rights concern a table of that name, there or not."""
        return self._tables is None or table in self._tables

    def schema(self, table: str) -> TableSchema:
        return self.face(table).schema

    def schemas(self) -> list[TableSchema]:
        """The tables that are open."""
        found = []
        for schema in self._mine():
            try:
                found.append(self.face(schema.name).schema)
            except Forbidden:
                continue
        return found

    def require_open(self) -> None:
        """Raises Forbidden with the reason of a closed table, when every table of the rights is closed."""
        if not self.schemas():
            for schema in self._mine():
                self.face(schema.name)

    def _mine(self) -> list[TableSchema]:
        return [schema for schema in self._catalog.schemas() if self.has(schema.name)]

    def unknown(self, table: str) -> UnknownTable:
        """The refusal of a name, with the nearest one of this view."""
        return no_table(table, [schema.name for schema in self._mine()])

    def face(self, table: str) -> Face:
        """How a table is shown; made anew when its columns have changed."""
        if not self.has(table):
            raise self.unknown(table)
        try:
            whole = self._catalog.schema(table)
        except UnknownTable:
            raise self.unknown(table) from None
        known = self._faces.get(table)
        if known is None or known.whole is not whole:
            if len(self._faces) > len(self._catalog.schemas()):  # tables come and go
                self._faces.clear()
            known = self._faces[table] = self._made(whole)
        return known

    def _made(self, whole: TableSchema) -> Face:
        listed = self._columns.get(whole.name)
        schema, columns = whole, None
        if listed is not None:
            schema = _narrowed(whole, listed)
            columns = schema.names
        return Face(whole, schema, columns, self._filter(whole))

    def _filter(self, whole: TableSchema) -> Filter | None:
        texts = self._filters.get(whole.name)
        if texts is None:
            return None
        found = Filter()
        try:
            for text in texts:
                one = self._reader.where(Names(whole), [text])
                if one.matches_everything:
                    raise Forbidden(f"the filter of this key for table {whole.name} is empty", _MEND)
                found = found.within(one)
            check_patterns(found)
            filter_test(whole, found)
        except Forbidden:
            raise
        except CallerError:  # its words would name what the caller may not know
            raise Forbidden(f"the filter of this key does not fit table {whole.name}", _MEND) from None
        return found


def _narrowed(whole: TableSchema, listed: Sequence[str]) -> TableSchema:
    """The table without the columns that are not listed, and without indexes over them."""
    visible = {name.lower() for name in listed}
    columns = tuple(column for column in whole.columns if column.name.lower() in visible)
    names = {column.name for column in columns}
    if not names >= set(whole.primary_key):
        raise Forbidden(f"the columns of this key for table {whole.name} leave out the primary key", _MEND)
    indexes = tuple(index for index in whole.indexes if names >= set(index.columns))
    fills = {name: value for name, value in whole.fills.items() if name in names}
    return whole.with_(columns=columns, indexes=indexes, fills=fills, history={}, notes=(), forbidden=())


class View:
    """What callers of equal rights may ask for. ``budget_rows``: what one of their queries may examine, if less."""

    def __init__(self, catalog: Catalog, settings: Settings, judge: Judge, rights: Rights, known: KnownQueries) -> None:
        self.known = known
        self.is_partial = rights.is_partial
        self.budget_rows = rights.budget_rows
        self._judge = judge
        self._catalog = catalog
        self._visible = _Visible(catalog, rights) if rights.is_partial else None
        most = settings.max_rows if rights.max_rows is None else min(settings.max_rows, rights.max_rows)
        default = settings.default_table
        if self._visible is not None and not self._visible.has(default):
            default = ""
        self.grammar = Grammar(self._visible or catalog, Limits(most, settings.max_conditions, default))

    def request(self, parameters: Parameters, caller: Caller, is_bulk: bool = False) -> Request:
        """What may be carried out; raises Unauthorized and Forbidden before any name is looked up, and CallerError."""
        operation = operation_of(parameters.values, is_bulk)
        if operation is None:
            self._judge.require_any(AT_ROOT, caller)
            self.grammar.request(parameters)  # says so: no command, or none that there is
            raise AssertionError("a command has no operation")
        self._judge.require(operation, caller)
        try:
            request = self.grammar.request(parameters)
        except BadRequest:
            if self._visible is not None and "table" not in parameters.values:
                self._visible.require_open()  # no table to mean may be one that is closed
            raise
        if isinstance(request, ReadRequest) and not request.explain:
            exact = read_operation(request.query)
            if exact != operation:
                self._judge.require(exact, caller)
        return request if self._visible is None else self._within(self._visible, request)

    def schemas(self) -> list[TableSchema]:
        """The tables of this view."""
        return (self._visible or self._catalog).schemas()

    def can_learn(self, parameters: Parameters, request: ReadRequest) -> bool:
        """Whether the same words mean the same as long as the table and its indexes are what they are.

        In a part of the catalog a table that is not named can become another one; under a filter there is more in the
        query than its words say.
        """
        return self._visible is None or (not request.owner and "table" in parameters.values)

    # --- narrowing ------------------------------------------------------------------------------------------

    def _within(self, visible: _Visible, request: Request) -> Request:
        if isinstance(request, SqlRequest):
            return request  # judged: whole
        if isinstance(request, ReadRequest):
            return self._narrowed(visible.face(request.query.table), request)
        face = visible.face(request.schema.name)
        if isinstance(request, InsertRequest) and face.columns is not None:
            raise Forbidden(
                "a key that is limited to columns cannot insert: a row replaces all of an old one",
                "update the columns that this key may see",
            )
        return request if face.within is None else replace(request, within=face.within)

    def _narrowed(self, face: Face, request: ReadRequest) -> ReadRequest:
        query = request.query
        if isinstance(query, Select) and query.columns is None and face.columns is not None:
            query = replace(query, columns=face.columns)
        if face.within is None:
            return request if query is request.query else replace(request, query=query)
        narrowed: Query = replace(query, where=query.where.within(face.within))
        if not isinstance(query, Select) or not isinstance(narrowed, Select):
            return replace(request, query=narrowed, owner="-")
        owner, inner = f"{hash_of(query):08x}", f"{hash_of(narrowed):08x}"
        after, before = (_exchanged(text, owner, inner) for text in (query.after, query.before))
        return replace(request, query=replace(narrowed, after=after, before=before), owner=owner)

    def settable(self, schema: TableSchema, values: Row) -> Row:
        """The values of an update under the real names of columns of this view; raises UnknownColumn, InvalidValue."""
        if self._visible is None:
            return values
        real = {schema.column(name).name: value for name, value in values.items()}
        if len(real) < len(values):
            raise InvalidValue("a column is given twice")
        return real

    # --- on the way out -------------------------------------------------------------------------------------

    def shown(self, request: ReadRequest, found: Result) -> Result:
        """A result as this view shows it."""
        if not request.owner or not isinstance(found, Page):
            return found
        following, preceding = (
            None if text is None else request.owner + text[_HASH:] for text in (found.next, found.prev)
        )
        return Page(found.total, found.rows, following, preceding)

    def plan(self, request: ReadRequest, plan: Mapping[str, object]) -> Mapping[str, object]:
        """A plan as this view shows it."""
        if self._visible is None:
            return plan
        face = self._visible.face(request.query.table)
        if face.columns is None and face.within is None:
            return plan
        told = ("table", "time_us") if face.within is not None else ("table", "rows", "rows_examined", "time_us")
        names = set(face.schema.names)
        chosen = plan["chosen"]
        assert isinstance(chosen, list)
        accesses = [
            {
                "index": access["index"] if names >= set(access["columns"]) else None,
                "columns": [name for name in access["columns"] if name in names],
                "gives_order": access["gives_order"],
            }
            for access in chosen
        ]
        return {**{name: plan[name] for name in told if name in plan}, "chosen": accesses}

    def told(self, error: TCSQLError, *, of_insert: bool = False) -> TCSQLError:
        """A refusal that came up while a request was carried out, without what this view does not know.

        ``of_insert``: the names of columns in it are the client's, who sees all of them or could not insert.
        """
        if self._visible is None:
            return error
        if isinstance(error, TooCostly):
            return TooCostly(error.message, "ask for less, by conditions that fit an index")
        if isinstance(error, UnknownTable) or (isinstance(error, UnknownColumn) and not of_insert):
            # it was there when the request was read
            return type(error)("the table has changed meanwhile", "repeat the request")
        return error


def read_operation(query: Query) -> str:
    """The operation that a query is.

    >>> read_operation(Count("t"))
    'count'
    """
    return "count" if isinstance(query, Count) else "groups" if isinstance(query, Group) else "select"


def _exchanged(cursor: str | None, owner: str, inner: str) -> str | None:
    if cursor is None:
        return None
    if cursor[:_HASH] != owner:
        raise InvalidCursor("the cursor belongs to another query", "use it with the same table, where and order")
    return inner + cursor[_HASH:]
