"""Prepared queries: what the shape of a query decides, decided once; only operands are put in. 0.5 to 3 us an answer.

The shape is everything but operands, offset and page size. A shape is prepared when one conjunction of simple
conditions is answered by runs whose places follow from the operands alone (``ways``).

An answer is what the general way gives, to the byte; whatever it would have to think about (an operand that is no
plain number or text, a walk that finds too little) is left to it: ``answer`` returns None.

A prepared query holds on to the index objects, so it is good only for one ``shape_version`` of its table
(``is_current``); rows may change freely.

Rows that are too long for one reply are not joined: ``body`` leaves them to the careful way, whose ``answer`` refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tcsql.engine import pagejson
from tcsql.engine.places import Operands
from tcsql.engine.planner import Planner
from tcsql.engine.query import Count, Query, Select
from tcsql.engine.replysize import BYTES_PER_SLICE, UNBOUNDED, fits_always, size_of, too_large
from tcsql.engine.result import CountResult, Page
from tcsql.engine.rows import Rows, project
from tcsql.engine.shortcuts import Answered, Body, MakeBody, Use
from tcsql.engine.table import Table
from tcsql.engine.ways import CountAnswer, SelectAnswer, count_way, page_way
from tcsql.engine.ways import Rows as Found

#: Hostile variety of shapes must not grow without bound.
MOST_SHAPES: Final = 1_000


class Prepared:
    """One shape of query on one table. One of ``select`` and ``count`` is there, the other is None."""

    __slots__ = ("_most_bytes", "_shortcut", "count", "select", "table", "version")

    def __init__(
        self,
        table: Table,
        select: SelectAnswer | None,
        count: CountAnswer | None,
        shortcut: MakeBody | None,
        most_bytes: int,
    ) -> None:
        self.table = table
        self._most_bytes = most_bytes
        self._shortcut = shortcut
        self.version = table.shape_version
        #: (operands, skip, limit) to a page.
        self.select = select
        #: (operands) to a number.
        self.count = count

    @property
    def is_current(self) -> bool:
        """Whether columns and indexes are still those it was made for."""
        return self.table.shape_version == self.version

    def is_too_long(self, rows: Sequence[bytes]) -> bool:
        """Whether these rows are more than one reply may hold: 50 ns, or 20 each in a table of long ones."""
        return self.table.rows.longest * len(rows) > self._most_bytes and size_of(rows) > self._most_bytes

    def body(self, skip: int, limit: int, answered: Answered) -> Body:
        """What gives the reply's body for operands of letters and digits; for a count offset and size say nothing."""
        careful = self._page_body(skip, limit, answered)
        if self._shortcut is None or (self.select is not None and (skip or not limit)):
            return careful
        return self._shortcut(Use(limit, fits_always(limit, self._most_bytes), careful, answered))

    def _page_body(self, skip: int, limit: int, answered: Answered) -> Body:
        table, version, select, is_too_long = self.table, self.version, self.select, self.is_too_long

        def body(operands: Operands) -> bytes | None:
            found = select(operands, skip, limit) if select is not None and table.shape_version == version else None
            if found is None or is_too_long(found[1]):
                return None
            answered.unusual += 1
            answered.unusual_rows += len(found[1])
            return pagejson.page(*found)

        return body


class PreparedQueries:
    """The prepared queries of one table, by shape; forgotten when its columns or indexes change."""

    def __init__(self, table: Table, planner: Planner, most_bytes: int = UNBOUNDED) -> None:
        self._table = table
        self._planner = planner
        self._most_bytes = most_bytes
        self._version = -1
        self._known: dict[object, Prepared | None] = {}

    def find(self, query: Query) -> Prepared | None:
        """What answers this query; None: the general way. 1.5 us for a shape that is known."""
        if self._version != self._table.shape_version:
            self._known.clear()
            self._version = self._table.shape_version
        if len(query.where.any_of) > 1:
            return None
        if isinstance(query, Select) and (query.after is not None or query.before is not None or query.total):
            return None
        shape = _shape(query)
        if shape not in self._known:
            if len(self._known) >= MOST_SHAPES:
                self._known.clear()
            self._known[shape] = prepare(self._table, self._planner, query, self._most_bytes)
        return self._known[shape]

    def answer(self, query: Query) -> Page | CountResult | None:
        """The answer, if the query is prepared and its operands are plain; raises ReplyTooLarge."""
        prepared = self.find(query)
        if prepared is None:
            return None
        try:
            operands = [condition.operand.encode() for each in query.where.any_of for condition in each]
        except UnicodeEncodeError:  # half of a pair: equal to nothing, and the general way knows
            return None
        if prepared.count is not None:
            count = prepared.count(operands)
            return None if count is None else CountResult(count)
        assert prepared.select is not None
        assert isinstance(query, Select)
        found = prepared.select(operands, query.skip, query.limit)
        if found is None:
            return None
        total, rows, behind, before = found
        if prepared.is_too_long(rows):
            raise too_large(self._most_bytes)
        return Page(total, list(rows), _text(behind), _text(before))


def _text(cursor: bytes | None) -> str | None:
    return None if cursor is None else cursor.decode()


def _shape(query: Query) -> object:
    where = [[(c.column, c.operator, c.negated) for c in conjunction] for conjunction in query.where.any_of]
    conditions = tuple(where[0]) if where else None
    if isinstance(query, Select):
        return conditions, query.order, query.columns
    return conditions, type(query)


def prepare(table: Table, planner: Planner, query: Query, most_bytes: int) -> Prepared | None:
    """What answers all queries of this one's shape; None when only the general way does. 20 to 50 us."""
    if len(query.where.any_of) > 1:
        return None
    conjunction = query.where.any_of[0] if query.where.any_of else ()
    if isinstance(query, Count):
        counting = count_way(table, planner, conjunction)
        return None if counting is None else Prepared(table, None, counting.answer, counting.shortcut, most_bytes)
    if not isinstance(query, Select) or query.after is not None or query.before is not None or query.total:
        return None
    paging = page_way(table, planner, query, conjunction)
    if paging is None:
        return None
    if query.columns is not None:
        return Prepared(table, _projected(paging.answer, query.columns, table.rows), None, None, most_bytes)
    return Prepared(table, paging.answer, None, paging.shortcut, most_bytes)


def _projected(select: SelectAnswer, columns: tuple[str, ...], rows_of: Rows) -> SelectAnswer:
    """Some columns of the rows; long rows are left to the general way, which decodes a few of them at a time."""

    def answer(operands: Operands, skip: int, limit: int) -> Found | None:
        found = select(operands, skip, limit)
        if found is None:
            return None
        total, rows, behind, before = found
        if rows_of.longest * len(rows) > BYTES_PER_SLICE and size_of(rows) > BYTES_PER_SLICE:
            return None
        return total, [project(row, columns) for row in rows], behind, before

    return answer
