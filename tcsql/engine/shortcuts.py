"""Shortcuts: the replies that nearly every request asks for, from operands to JSON in one function. 0.5 to 2 us.

A prepared way (``ways``) gives rows, a writer makes cursors of them, another one JSON; each step is general, and each
call between them takes 0.1 us. A shortcut does all of it for the usual case only and leaves every other one to
``careful``, the same answer by those steps:

    row     the row is there
    run     a first page, in the order of an integer primary key
    walk    such a page whose rows all stand at the beginning of the ordered run, as remembered in its head
    count   always

Operands consist of letters and digits: ``int`` takes them as numbers or refuses, and more than 18 digits find nothing
here. Like the ways themselves, a shortcut answers for one ``shape_version`` of its table: None when that has passed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from zlib import crc32

from tcsql.engine.cursors import SEPARATOR
from tcsql.engine.heads import Head
from tcsql.engine.index import OrderedIndex
from tcsql.engine.operands import BoundsReader
from tcsql.engine.pagejson import COUNT, FIRST_AT_KEY, FIRST_AT_KEY_LONG, LONG_HASH, WHOLE
from tcsql.engine.places import Locate, Operands
from tcsql.engine.table import Table

#: The reply's body; None: the general way has to look at these operands.
Body = Callable[[Operands], bytes | None]


class Answered:
    """Counts what has been answered: replies, and rows in them. The usual ones take one addition for both."""

    __slots__ = ("rows_of_usual", "unusual", "unusual_rows", "usual")

    def __init__(self) -> None:
        self.usual = self.rows_of_usual = self.unusual = self.unusual_rows = 0

    @property
    def hits(self) -> int:
        return self.usual + self.unusual

    @property
    def rows(self) -> int:
        return self.usual * self.rows_of_usual + self.unusual_rows

    def begin_anew(self) -> None:
        """Nothing has been answered."""
        self.usual = self.unusual = self.unusual_rows = 0


class Use(NamedTuple):
    """What a shortcut is made for: pages of ``limit`` rows from the first on, the same by steps, and what counts.

    ``longest``: of rows of which so many fit into a reply whatever they are; a table with a longer one is left to
    ``careful``, which adds up.
    """

    limit: int
    longest: int
    careful: Body
    answered: Answered


MakeBody = Callable[[Use], Body]


class InKeyOrder(NamedTuple):
    """The run that gives the order of a page, and the hash that its cursors start with."""

    table: Table
    ordered: OrderedIndex
    reverse: bool
    shape: int


class Walk(NamedTuple):
    """What is walked: the operand that chooses the head, and the only one that is left to test."""

    heads: dict[object, Head]
    locate_exact: Locate
    head_place: int
    tested: tuple[int, BoundsReader]


def row_body(table: Table, read: Callable[[bytes], Any], use: Use) -> Body:
    """One row by its key; ``read``: int or bytes.decode."""
    version, rows, primary, (_, longest, careful, answered) = table.shape_version, table.rows, table.primary, use
    answered.rows_of_usual = 1

    def body(operands: Operands) -> bytes | None:
        if table.shape_version != version:
            return None
        try:
            row = rows.current[read(operands[0])]
        except (KeyError, ValueError):  # not there, or not moved to this layout yet; or no number
            return careful(operands)
        if rows.longest > longest:
            return careful(operands)
        primary.uses += 1
        answered.usual += 1
        return WHOLE % (1, row)

    return body


def run_body(page: InKeyOrder, bits: tuple[int, int], locate: Locate, use: Use) -> Body:
    """The first page of one run; ``bits``: those of the index's codec."""
    (table, index, reverse, shape), (mask, low), (limit, longest, careful, answered) = page, bits, use
    version, rows, join = table.shape_version, table.rows, SEPARATOR.join
    answered.rows_of_usual = limit

    def body(operands: Operands) -> bytes | None:
        if table.shape_version != version:
            return None
        place = locate(operands)
        if place is None:
            return None
        leaf, start, end = place
        total = end - start
        if total > limit:
            if reverse:
                start = end - limit
            else:
                end = start + limit
        if rows.longest > longest:
            return careful(operands)
        current = rows.current
        try:
            if end - start == 1:  # "the newest of": half the time of a list of one
                last = (leaf[start] & mask) + low
                joined = current[last]
            else:
                keys = leaf[start:end]
                joined = b",".join([current[(key & mask) + low] for key in (reversed(keys) if reverse else keys)])
                last = (keys[0 if reverse else -1] & mask) + low if keys else 0
        except KeyError:  # not moved to this layout yet
            return careful(operands)
        index.uses += 1
        if total <= limit:
            answered.unusual += 1
            answered.unusual_rows += total
            return WHOLE % (total, joined)
        answered.usual += 1
        owner = crc32(join(operands), shape)
        return (FIRST_AT_KEY if owner < LONG_HASH else FIRST_AT_KEY_LONG) % (total, owner, last, joined)

    return body


def walk_body(page: InKeyOrder, walk: Walk, use: Use) -> Body:
    """A first page that is the beginning of the ordered run."""
    (table, index, _, shape), (limit, _, careful, answered) = page, use
    heads, locate_exact, head_place, (place, read_bounds) = walk
    version, join = table.shape_version, SEPARATOR.join
    answered.rows_of_usual = limit

    def body(operands: Operands) -> bytes | None:
        if table.shape_version != version:
            return None
        head, bounds = heads.get(operands[head_place]), read_bounds(operands[place])
        if head is None or bounds is None or head.version != table.version:
            return careful(operands)
        first = head.pages.get(limit) or head.first_page(limit)
        if first is None or first.lowest < bounds[0] or first.highest > bounds[1]:
            return careful(operands)
        matches = locate_exact(operands)
        if matches is None or matches[2] - matches[1] <= limit:
            return careful(operands)
        index.uses += 1
        answered.usual += 1
        owner = crc32(join(operands), shape)
        page = FIRST_AT_KEY if owner < LONG_HASH else FIRST_AT_KEY_LONG
        return page % (matches[2] - matches[1], owner, first.last, first.joined)

    return body


def count_body(table: Table, index: OrderedIndex, locate: Locate, use: Use) -> Body:
    """The number of rows in a run."""
    version, answered = table.shape_version, use.answered

    def body(operands: Operands) -> bytes | None:
        place = locate(operands) if table.shape_version == version else None
        if place is None:
            return None
        index.uses += 1
        answered.usual += 1
        return COUNT % (place[2] - place[1])

    return body
