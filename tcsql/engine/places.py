"""Where the run of a prepared query lies: operands to a leaf and two positions in it. 0.3 to 2 us.

What ``OrderedIndex.run`` finds out for every query anew (the form of the index, the columns that are fixed, the kind
of key) is decided here once for a shape; what is left is a dict look-up and at most two bisections.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from tcsql.engine.conditions import type_of
from tcsql.engine.index import OrderedIndex
from tcsql.engine.keys import Leaf, PackedCodec, Stretch
from tcsql.engine.operands import (
    MOST_DIGITS,
    BoundsReader,
    PointReader,
    above_operand,
    bounds_reader,
    point_reader,
)
from tcsql.engine.packed import PackedList
from tcsql.engine.planner import Template
from tcsql.engine.query import Conjunction
from tcsql.engine.schema import TableSchema

Operands = Sequence[bytes]
#: None: the general way has to look at these operands.
Locate = Callable[[Operands], Stretch | None]
_EMPTY: list[int] = []


def locator(schema: TableSchema, template: Template, conjunction: Conjunction) -> Locate | None:
    """What finds the run of a template; None when it is not one stretch of one leaf, or has unusual operands."""
    if not template.ranged and len(template.spans) > 1:
        return None  # rows without a value are a run of their own
    if any(len(places) > 1 for places in template.places) or len(template.ranged) > 2:
        return None
    points: list[tuple[int, PointReader]] = []
    ranges: list[tuple[int, BoundsReader]] = []
    for (place,) in template.places:
        read_point = point_reader(conjunction[place], type_of(schema, conjunction[place].column))
        if read_point is None:
            return None
        points.append((place, read_point))
    for place in template.ranged:
        read_range = bounds_reader(conjunction[place], type_of(schema, conjunction[place].column))
        if read_range is None:
            return None
        ranges.append((place, read_range))
    if template.index.partitioned and len(points) == len(ranges) == 1:
        place = ranges[0][0]
        above = above_operand(conjunction[place], type_of(schema, conjunction[place].column))
        if above is not None:
            return _from_low(template.index, points[0], place, above)
    if template.index.partitioned:
        return _in_partition(template.index, points, ranges) if points else None
    return _in_whole(template.index, points, ranges)


def _in_partition(
    index: OrderedIndex, points: list[tuple[int, PointReader]], ranges: list[tuple[int, BoundsReader]]
) -> Locate:
    (first, read), *others = points
    leaves, stretch = index.leaves, index.codec.stretch
    if not others and not ranges:

        def whole_leaf(operands: Operands) -> Stretch | None:
            key = read(operands[first])
            if key is None:
                return None
            leaf = leaves.get(key, _EMPTY)
            return leaf, 0, len(leaf)

        return whole_leaf
    if not others and len(ranges) == 1:
        ((ranged, read_range),) = ranges

        def stretch_of_leaf(operands: Operands) -> Stretch | None:
            key, bounds = read(operands[first]), read_range(operands[ranged])
            if key is None or bounds is None:
                return None
            leaf = leaves.get(key, _EMPTY)
            return stretch(leaf, *bounds)

        return stretch_of_leaf

    def in_leaf(operands: Operands) -> Stretch | None:
        key = read(operands[first])
        return None if key is None else _part(index, leaves.get(key, _EMPTY), others, ranges, operands)

    return in_leaf


# The next two read integers and look into packed leaves themselves: each call that is spared is 0.1 us of 1.


def _from_low(index: OrderedIndex, point: tuple[int, PointReader], lower_place: int, above: int) -> Locate:
    """``a = x AND b >= y``: what lists of one kind since a date come down to."""
    point_place, read_point = point
    leaf_of, codec = index.leaves.get, index.codec
    tail = codec.tail
    leading = codec.leading if isinstance(codec, PackedCodec) else None
    lowest, _, shift, may_be_null = leading if leading is not None else (0, 0, 0, True)

    def locate(operands: Operands) -> Stretch | None:
        operand, key = operands[lower_place], read_point(operands[point_place])
        if key is None or not operand.isdigit() or len(operand) > MOST_DIGITS:
            return None
        leaf, low = leaf_of(key, _EMPTY), int(operand) + above
        if isinstance(leaf, PackedList) and low > lowest and not may_be_null:
            return leaf, leaf.bisect_left(low - lowest << shift), leaf.size
        return tail(leaf, low)

    return locate


def _at_packed(index: OrderedIndex, codec: PackedCodec, place: int) -> Locate:
    """``a = x`` of integers: "the rows of this user"."""
    assert codec.leading is not None
    point, (lowest, top, shift, _) = codec.point, codec.leading
    width = 1 << shift

    def locate(operands: Operands) -> Stretch | None:
        operand = operands[place]
        if not operand.isdigit() or len(operand) > MOST_DIGITS:
            return None
        leaf, value = index.whole, int(operand)
        code = value - lowest
        if isinstance(leaf, PackedList) and 0 <= code < top:
            key = code << shift
            return leaf.stretch(key, key + width)
        return point(leaf, value)

    return locate


def _in_whole(
    index: OrderedIndex, points: list[tuple[int, PointReader]], ranges: list[tuple[int, BoundsReader]]
) -> Locate:
    stretch = index.codec.stretch
    if len(points) + len(ranges) != 1:
        return lambda operands: _part(index, index.whole, points, ranges, operands)
    if points:
        ((place, read),) = points
        if isinstance(index.codec, PackedCodec) and index.codec.leading is not None:
            return _at_packed(index, index.codec, place)
        point = index.codec.point

        def at_point(operands: Operands) -> Stretch | None:
            key = read(operands[place])
            return None if key is None else point(index.whole, key)

        return at_point
    ((place, read_range),) = ranges

    def in_range(operands: Operands) -> Stretch | None:
        bounds = read_range(operands[place])
        return None if bounds is None else stretch(index.whole, *bounds)

    return in_range


def _part(
    index: OrderedIndex,
    leaf: Leaf,
    points: list[tuple[int, PointReader]],
    ranges: list[tuple[int, BoundsReader]],
    operands: Operands,
) -> Stretch | None:
    """Any number of fixed columns, and up to two bounds of the next."""
    codec = index.codec
    equal = [read(operands[place]) for place, read in points]
    bounds = [read(operands[place]) for place, read in ranges]
    if None in equal or None in bounds:
        return None
    low, high = (max(b[0] for b in bounds), min(b[1] for b in bounds)) if bounds else (-inf, inf)  # type: ignore[index]  # None has just been excluded
    if not bounds:
        return leaf, codec.first(leaf, equal), codec.last(leaf, equal)
    start = codec.first(leaf, equal if low == -inf else (*equal, low))
    if high != inf:
        stop = codec.last(leaf, (*equal, high))
    else:
        nullable = codec.columns[len(equal)].nullable
        stop = codec.first(leaf, (*equal, None)) if nullable else codec.last(leaf, equal)
    return leaf, start, max(start, stop)
