"""The ways to the answer of a prepared shape: what ``prepared`` decides between, each a closure over what it needs.

    row      one row by its key                      a dict look-up
    page     one run gives order and total           two bisections and a slice, at any depth
    count    one run holds exactly the matches       two bisections
    walk     one run gives the order, another the    the head of the ordered run, tested from a memory of its
             total, conditions are left to test      columns; or the keys of the exact run, sorted: what is cheaper

A way takes operands as bytes and gives the rows of the answer, or None: the general way has to look at these operands.
The cases that nearly every request is also have a shortcut, which gives the reply's JSON at once. Making one takes
20 to 50 us, once for a shape; an answer 1 to 3 us.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from tcsql.engine import cost, shortcuts
from tcsql.engine.conditions import type_of
from tcsql.engine.cursors import is_at_key, page_cursors, shape_hash
from tcsql.engine.heads import Heads
from tcsql.engine.operands import Bounds, BoundsReader, bounds_reader, point_reader
from tcsql.engine.order import Order
from tcsql.engine.places import Locate, Operands, locator
from tcsql.engine.planner import KEY_ONLY_COST, Planner, Template
from tcsql.engine.query import Conjunction, Select
from tcsql.engine.schema import TableSchema
from tcsql.engine.selection import first_of
from tcsql.engine.shortcuts import InKeyOrder, MakeBody, Walk
from tcsql.engine.table import Table
from tcsql.engine.values import PKey

#: Total, rows, cursor behind, cursor before.
Rows = tuple[int, Sequence[bytes], bytes | None, bytes | None]
SelectAnswer = Callable[[Operands, int, int], Rows | None]
CountAnswer = Callable[[Operands], int | None]
#: What a walk may examine, and a sort of keys hold, before the general way takes over, which gives way to others.
MOST_WALKED: Final = 512
MOST_SORTED: Final = 4_000
#: A row of a run's head that is passed by, in rows examined the general way.
HEAD_COST: Final = 0.1


class PageWay(NamedTuple):
    """(operands, skip, limit) to a page; what makes its shortcut, where there is one."""

    answer: SelectAnswer
    shortcut: MakeBody | None


class CountWay(NamedTuple):
    """(operands) to a number, and its shortcut."""

    answer: CountAnswer
    shortcut: MakeBody


def page_way(table: Table, planner: Planner, query: Select, conjunction: Conjunction) -> PageWay | None:
    """The way to pages of a shape."""
    page = _PageWriter(table, query)
    return _row(page, conjunction) or _run_page(page, planner, conjunction) or _walk(page, planner, conjunction)


class _PageWriter:
    """What all ways to a page share: the order, the rows, and how cursors of the shape are written."""

    def __init__(self, table: Table, query: Select) -> None:
        self.table = table
        self.order = Order(table.schema, query.order)
        self.rows_of = table.rows.many
        self.cursors = page_cursors(table.schema, query)
        self.is_at_key = is_at_key(table.schema, self.order)
        self.query = query

    def in_order(self, template: Template) -> InKeyOrder:
        """For shortcuts, which write cursors in short form themselves."""
        return InKeyOrder(self.table, template.index, template.reverse, shape_hash(self.query))

    def rows(self, pkeys: Sequence[PKey], operands: Operands, total: int, skip: int) -> Rows:
        """The answer whose rows have these keys, the first of them ``skip`` rows behind the first of all."""
        rows = self.rows_of(pkeys)
        return total, rows, *self.cursors(operands, pkeys, rows, skip + len(rows) < total, skip > 0)


# --- one row by its key -------------------------------------------------------------------------------------


def _row(page: _PageWriter, conjunction: Conjunction) -> PageWay | None:
    table = page.table
    key = table.schema.primary_key
    if len(conjunction) != 1 or len(key) != 1 or conjunction[0].column not in (None, key[0]):
        return None
    read = point_reader(conjunction[0], type_of(table.schema, None))
    if read is None:
        return None
    get, primary = table.rows.get, table.primary

    def answer(operands: Operands, skip: int, limit: int) -> Rows | None:
        wanted = read(operands[0])
        if wanted is None:
            return None
        primary.uses += 1
        row = get(wanted)
        if row is None:
            return 0, (), None, None
        return 1, (row,) if limit and not skip else (), None, None

    return PageWay(answer, partial(shortcuts.row_body, table, bytes.decode if read is bytes.decode else int))


# --- a page of one run --------------------------------------------------------------------------------------


def _run_page(page: _PageWriter, planner: Planner, conjunction: Conjunction) -> PageWay | None:
    for template in planner.templates(conjunction, page.order):
        if template.ordered and not template.residual:
            locate = locator(page.table.schema, template, conjunction)
            if locate is not None:
                return PageWay(_page_of_run(page, template, locate), _shortcut_to_run(page, template, locate))
    return None


def _shortcut_to_run(page: _PageWriter, template: Template, locate: Locate) -> MakeBody | None:
    index = template.index
    if not page.is_at_key or index.codec.bits is None:
        return None
    return partial(shortcuts.run_body, page.in_order(template), index.codec.bits, locate)


def _page_of_run(page: _PageWriter, template: Template, locate: Locate) -> SelectAnswer:
    index, reverse, codec, cursors = template.index, template.reverse, template.index.codec, page.cursors
    pkeys_of, pkey_of, rows_of, row_of = codec.page, codec.one, page.rows_of, page.table.rows.one

    def answer(operands: Operands, skip: int, limit: int) -> Rows | None:
        place = locate(operands)
        if place is None:
            return None
        index.uses += 1
        leaf, start, end = place
        size, stop = end - start, skip + limit
        if stop > size:
            if skip >= size:
                return size, (), None, None
            stop = size
        first, behind = (end - stop, end - skip) if reverse else (start + skip, start + stop)
        if behind - first == 1:  # "the newest of": half the time of a list of one
            pkeys = [pkey_of(leaf, first)]
            rows = [row_of(pkeys[0])]
        elif limit:
            pkeys = pkeys_of(leaf, first, behind)
            if reverse:
                pkeys.reverse()
            rows = rows_of(pkeys)
        else:
            return size, (), None, None
        if skip or stop < size:
            return size, rows, *cursors(operands, pkeys, rows, stop < size, skip > 0)
        return size, rows, None, None

    return answer


# --- a number -----------------------------------------------------------------------------------------------


def count_way(table: Table, planner: Planner, conjunction: Conjunction) -> CountWay | None:
    """The way to counts of a shape."""
    found = _exact(table.schema, planner, conjunction)
    if found is None:
        return None
    template, locate = found
    index = template.index

    def answer(operands: Operands) -> int | None:
        place = locate(operands)
        if place is None:
            return None
        index.uses += 1
        return place[2] - place[1]

    return CountWay(answer, partial(shortcuts.count_body, table, index, locate))


def _exact(schema: TableSchema, planner: Planner, conjunction: Conjunction) -> tuple[Template, Locate] | None:
    """The run that holds the matching rows and no others."""
    for template in planner.templates(conjunction, Order(schema, ())):
        if not template.residual:
            locate = locator(schema, template, conjunction)
            if locate is not None:
                return template, locate
    return None


# --- a walk -------------------------------------------------------------------------------------------------


def _walk(page: _PageWriter, planner: Planner, conjunction: Conjunction) -> PageWay | None:
    schema = page.table.schema
    exact = _exact(schema, planner, conjunction)
    ordered = [t for t in planner.templates(conjunction, page.order) if t.ordered and not t.ranged]
    if exact is None or not ordered:
        return None
    template = max(ordered, key=lambda t: len(t.equal))
    locate = locator(schema, template, conjunction)
    tested = _tested(schema, template, conjunction)
    if locate is None or tested is None:
        return None
    return _page_of_walk(page, template, locate, exact, tested)


def _tested(
    schema: TableSchema, template: Template, conjunction: Conjunction
) -> tuple[tuple[str, ...], tuple[tuple[int, BoundsReader], ...]] | None:
    """The columns that are left to test, and for each the place of its operand and its reader."""
    names, readers = [], []
    for place in template.residual:
        condition = conjunction[place]
        name = condition.column if condition.column is not None else schema.primary_key[0]
        read = bounds_reader(condition, type_of(schema, condition.column))
        if read is None or schema.by_name[name].nullable:
            return None
        names.append(name)
        readers.append((place, read))
    return tuple(names), tuple(readers)


def _bounds_of(readers: Sequence[tuple[int, BoundsReader]]) -> Callable[[Operands], Sequence[Bounds] | None]:
    """Reads the bounds of all tested columns; None when one of the operands is not plain."""
    if len(readers) == 1:
        ((place, read),) = readers
        return lambda operands: None if (bounds := read(operands[place])) is None else (bounds,)

    def read_all(operands: Operands) -> Sequence[Bounds] | None:
        found = [read(operands[place]) for place, read in readers]
        return None if None in found else found  # type: ignore[return-value]  # None has just been excluded

    return read_all


def _page_of_walk(
    page: _PageWriter,
    template: Template,
    locate: Locate,
    exact: tuple[Template, Locate],
    tested: tuple[tuple[str, ...], tuple[tuple[int, BoundsReader], ...]],
) -> PageWay:
    names, readers = tested
    index, reverse, places = template.index, template.reverse, [group[0] for group in template.places]
    exact_index, locate_exact = exact[0].index, exact[1]
    heads = Heads(page.table, index.codec, names, reverse)
    by_key = not page.order.terms
    only = places[0] if len(places) == 1 else None
    detours = page.table.detours_of(page.query)
    table, heads_by_key, cursors, read_bounds = page.table, heads.by_key, page.cursors, _bounds_of(readers)

    def answer(operands: Operands, skip: int, limit: int) -> Rows | None:
        matches = locate_exact(operands)
        bounds = read_bounds(operands)
        if matches is None or bounds is None:
            return None
        total, stop = matches[2] - matches[1], skip + limit
        stop = min(stop, total)
        if skip >= stop:
            exact_index.uses += 1
            return total, (), None, None
        key = operands[only] if only is not None else tuple([operands[place] for place in places])
        head = heads_by_key.get(key)
        if head is not None and head.version == table.version and head.all_match(bounds, stop):
            index.uses += 1
            rows = head.rows[skip:stop]
            return total, rows, *cursors(operands, head.pkeys[skip:stop], rows, stop < total, skip > 0)
        run = locate(operands)
        if run is None:
            return None
        size = run[2] - run[1]
        walk = cost.walk_rows(stop, size, total)
        if by_key and total * KEY_ONLY_COST < walk:
            if total > MOST_SORTED:
                return None
            exact_index.uses += 1
            detours.times += 1
            detours.rows += total * KEY_ONLY_COST
            keys = first_of(exact_index.codec.many(*matches), stop, reverse)
            return page.rows(keys[skip:stop], operands, total, skip)
        if walk > MOST_WALKED:
            return None
        if head is None or head.version != table.version:
            head = heads.new(key)
        found = head.places(bounds, stop)
        while len(found) < stop:
            if len(head) >= min(MOST_WALKED, size):
                return None
            heads.grow(head, run, stop)
            found = head.places(bounds, stop)
        index.uses += 1
        detours.times += 1
        detours.rows += found[-1] * HEAD_COST
        return page.rows([head.pkeys[place] for place in found[skip:]], operands, total, skip)

    shortcut: MakeBody | None = None
    if page.is_at_key and only is not None and len(readers) == 1:
        walk = Walk(heads_by_key, locate_exact, only, readers[0])
        shortcut = partial(shortcuts.walk_body, page.in_order(template), walk)
    return PageWay(answer, shortcut)
