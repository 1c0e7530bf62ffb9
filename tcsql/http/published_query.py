"""What a published query means in its table: the finished query with marks in it, and how values make it one to ask.

    draft_of(published, settings)     all that can be told without a table; raises SetupError
    draft.template(catalog)           the query against a table as it is now; UnknownTable while there is none
    template.query(values, …)         the query of one request

Reading happens here, once for each state of a table's columns; a request only fills values in. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from tcsql.engine.conditions import check_patterns
from tcsql.engine.query import Condition, Count, Filter, Group, Query, Select
from tcsql.engine.schema import TableSchema
from tcsql.errors import CallerError, SetupError, UnknownTable
from tcsql.http.grammar import Catalog, Grammar, Limits, ReadRequest, limit_of
from tcsql.http.parameters import Parameters, of_query
from tcsql.http.published_operands import Fill, check, fill_of, mark, marks_in, shown
from tcsql.published.options import Published
from tcsql.published.places import Place
from tcsql.settings import Settings
from tcsql.sql.select import SelectText, read_select

_REFUSED: Final = {
    "min_lsn": "a published query waits for nothing",
    "after": "where a page begins is said by who calls",
    "before": "where a page begins is said by who calls",
}
_WHERE_PLACES_STAND: Final = "places stand in the expressions of where, in limit_max and in limit_skip"


@dataclass(frozen=True, slots=True)
class Size:
    """A number of rows: as written, or the value of a place."""

    number: int
    place: int | None = None

    def of(self, values: Sequence[str]) -> int:
        return self.number if self.place is None else int(values[self.place])


@dataclass(frozen=True, slots=True)
class Template:
    """A query against one state of its table. ``fills``: by conjunction and condition; None: as it stands."""

    schema: TableSchema
    marked: Query
    fills: tuple[tuple[Fill | None, ...], ...]
    limit: Size
    skip: Size
    bigint_text: bool
    #: Whether ``after`` and ``before`` are taken, and cursors given.
    has_cursors: bool

    def query(self, values: Sequence[str], skip: int, limit: int, after: str | None, before: str | None) -> Query:
        """The query of one request. 2 us."""
        marked = self.marked
        where = Filter(
            tuple(
                tuple(
                    condition
                    if fill is None
                    else Condition(condition.column, condition.operator, fill(values), condition.negated)
                    for condition, fill in zip(conjunction, fills, strict=True)
                )
                for conjunction, fills in zip(marked.where.any_of, self.fills, strict=True)
            )
        )
        match marked:
            case Select():
                columns, order, total = marked.columns, marked.order, marked.total
                return Select(marked.table, columns, where, order, skip, limit, after, before, total)
            case Count():
                return Count(marked.table, where)
            case Group():
                return Group(
                    marked.table, marked.by, marked.aggregates, marked.output, where, marked.order, skip, limit
                )

    def alone(self, operand: str) -> int | None:
        """The number of the place that is the whole of an operand."""
        return marks_in(operand)[0] if len(operand) == 1 else None

    def sample(self, places: Sequence[Place]) -> Query:
        """The query with some value in each place."""
        values = [place.sample for place in places]
        return self.query(values, self.skip.of(values), self.limit.of(values), None, None)


class Draft:
    """A published query as far as it can be read without its table."""

    def __init__(self, published: Published, settings: Settings, table: str, limit: Size, skip: Size) -> None:
        self.published = published
        self.places = published.text.places
        self.table = table
        self.where = f"{published.where} {published.option}"
        self._limits = Limits(settings.max_rows, settings.max_conditions)
        self._limit, self._skip = self._sizes(limit, skip)

    def template(self, catalog: Catalog) -> Template:
        """The query against the table as it is now; raises UnknownTable, and SetupError for what does not fit it."""
        schema = catalog.schema(self.table)
        try:
            query, bigint_text = self._read(catalog, schema)
            self._check_limit(query)
            self._check_places(query, schema)
        except UnknownTable:
            raise
        except CallerError as error:
            hint = _WHERE_PLACES_STAND if marks_in(error.message) else error.hint
            raise SetupError(f"{self.where}: {shown(error.message, self.places)}", hint) from None
        fills = tuple(
            tuple(fill_of(condition.operand) for condition in conjunction) for conjunction in query.where.any_of
        )
        limit = self._limit if self._limit is not None else Size(0 if isinstance(query, Count) else query.limit)
        cursors = self._has_cursors(query, schema)
        found = Template(schema, query, fills, limit, self._skip, bigint_text, cursors)
        self._check_choices(found)
        return found

    def _read(self, catalog: Catalog, schema: TableSchema) -> tuple[Query, bool]:
        raise NotImplementedError

    def _sizes(self, limit: Size, skip: Size) -> tuple[Size | None, Size]:
        """Limit and offset; a negative number is one that the text does not say."""
        where, rows = self.where, self.published.page_rows
        if rows and (limit.number >= 0 or skip.number >= 0):
            raise SetupError(f"{where} says itself which rows, and page_rows too", "leave one of them out")
        for size, what in ((limit, "limit"), (skip, "offset")):
            place = None if size.place is None else self.places[size.place]
            if place is not None and (place.type != "int" or place.low < 0):
                raise SetupError(f"{where}: {{{place.name}}} as {what} has to be an int that begins at 0 or above")
        most = rows or (limit.number if limit.place is None else int(self.places[limit.place].high))
        if most > self._limits.max_rows:
            raise SetupError(f"{where} gives up to {most} rows, max_rows is {self._limits.max_rows}", "give fewer")
        return Size(rows) if rows else limit if limit.number >= 0 else None, skip if skip.number >= 0 else Size(0)

    def _check_limit(self, query: Query) -> None:
        if isinstance(query, Count):
            if self.published.page_rows:
                raise SetupError(f"{self.where} gives a number, which has no pages", "leave page_rows out")
        elif query.limit < 0:
            raise SetupError(f"{self.where} does not say how many rows", "add LIMIT, or page_rows")

    def _check_places(self, query: Query, schema: TableSchema) -> None:
        used = {size.place for size in (self._limit, self._skip) if size is not None}
        for conjunction in query.where.any_of:
            for condition in conjunction:
                joins_key = condition.column is None and len(schema.primary_key) > 1
                check(condition, self.places, joins_key, self.where)
                used.update(marks_in(condition.operand))
        for number, place in enumerate(self.places):
            if number not in used:
                raise SetupError(f"{self.where}: {{{place.name}}} stands where no value is taken", _WHERE_PLACES_STAND)

    def _check_choices(self, template: Template) -> None:
        """Patterns are compiled with each of the choices in them."""
        samples = [place.sample for place in self.places]
        for number, place in enumerate(self.places):
            for member in place.members:
                values = [*samples[:number], member, *samples[number + 1 :]]
                try:
                    check_patterns(template.query(values, 0, 1, None, None).where)
                except CallerError as error:
                    raise SetupError(f"{self.where}: {{{place.name}}} as {member!r}: {error.message}") from None
        if not self.places:
            check_patterns(template.marked.where)

    def _has_cursors(self, query: Query, schema: TableSchema) -> bool:
        """Whether a cursor tells nothing but what the columns of a page tell as well: it holds order and key."""
        if not isinstance(query, Select) or self._skip.place is not None or self._skip.number:
            return False
        if self._limit is not None and (self._limit.place is not None or not self._limit.number):
            return False
        if query.columns is None:
            return True
        told = {*schema.primary_key, *(term.column for term in query.order if term.column is not None)}
        return told <= set(query.columns)


class UrlDraft(Draft):
    """``query``: the URL's grammar."""

    def __init__(self, published: Published, settings: Settings) -> None:
        where = f"{published.where} query"
        parameters = _parameters(published, where)
        values = parameters.values
        for name, reason in _REFUSED.items():
            if name in values:
                raise SetupError(f"{where}: {name} is not taken", reason)
        if values.setdefault("command", "select") != "select":
            raise SetupError(f"{where}: a published query is a select", "leave command out")
        table = values.get("table", "")
        if not table or marks_in(table):
            raise SetupError(f"{where} has to name its table", "begin with table=")
        limit, skip = (_size(values, name, where) for name in ("limit_max", "limit_skip"))
        super().__init__(published, settings, table, limit, skip)
        if self._limit is not None:
            values["limit_max"] = str(self._limit.number)
        self._parameters = parameters

    def _read(self, catalog: Catalog, schema: TableSchema) -> tuple[Query, bool]:
        request = Grammar(catalog, self._limits).request(self._parameters)
        assert isinstance(request, ReadRequest)
        return request.query, request.bigint_text


def _parameters(published: Published, where: str) -> Parameters:
    text = published.text
    try:
        parameters = of_query(text.marked(mark).encode())
    except CallerError as error:
        raise SetupError(f"{where}: {shown(error.message, text.places)}", error.hint) from None
    standing = sum(len(marks_in(value)) for value in (*parameters.values.values(), *parameters.where))
    if standing != len(text.stands) or any(marks_in(piece) for piece in text.pieces):
        raise SetupError(f"{where} holds characters of Unicode's private use", "they stand for places here")
    return parameters


def _size(values: dict[str, str], name: str, where: str) -> Size:
    """A number or a place; -1: not said. What is left in ``values`` is a number the grammar takes."""
    text = values.get(name)
    if text is None:
        return Size(-1)
    stands = marks_in(text)
    if stands and len(text) > 1:
        raise SetupError(f"{where}: in {name} a place stands alone")
    if stands:
        values[name] = "1"
        return Size(1, stands[0])
    try:
        return Size(limit_of(text, name))
    except CallerError as error:
        raise SetupError(f"{where}: {error.message}", error.hint) from None


class SqlDraft(Draft):
    """``sql``: one SELECT."""

    def __init__(self, published: Published, settings: Settings) -> None:
        where, text = f"{published.where} sql", published.text
        if any(marks_in(piece) for piece in text.pieces):
            raise SetupError(f"{where} holds characters of Unicode's private use", "they stand for places here")
        try:
            self._select: SelectText = read_select(
                text.marked(mark), [mark(number) for number in range(len(text.places))]
            )
        except CallerError as error:
            raise SetupError(f"{where}: {shown(error.message, text.places)}", error.hint) from None
        limit, skip = (
            Size(-1) if size is None else Size(1, ord(size) - ord(mark(0))) if isinstance(size, str) else Size(size)
            for size in (self._select.limit, self._select.offset)
        )
        super().__init__(published, settings, self._select.table, limit, skip)

    def _read(self, catalog: Catalog, schema: TableSchema) -> tuple[Query, bool]:
        limit = -1 if self._limit is None else self._limit.number
        query = self._select.query(schema, limit, self._limits.max_conditions, [place.type for place in self.places])
        return query, False


def draft_of(published: Published, settings: Settings) -> Draft:
    """What can be told without a table; raises SetupError."""
    return SqlDraft(published, settings) if published.sql else UrlDraft(published, settings)


def scans(plan: Mapping[str, Any], query: Query, schema: TableSchema) -> bool:
    """Whether the query examines more rows the larger its table grows, for want of an index.

    Judged by what every access could do, not by the cheapest one: in a table that is empty yet a scan costs nothing.
    """
    texts = {index.name for index in schema.indexes if index.fulltext}
    return any(all(_scans(access, query, texts) for access in each["accesses"]) for each in plan["alternatives"])


def _scans(access: Mapping[str, Any], query: Query, texts: AbstractSet[str]) -> bool:
    if access["equal"] or access["range"] or access["within_keys_of"] or access["index"] in texts:
        return False
    if isinstance(query, Group) or access["left_to_test"]:
        return True  # to walk in the order wanted and test each row is short only while enough rows match
    return isinstance(query, Select) and not access["gives_order"]
