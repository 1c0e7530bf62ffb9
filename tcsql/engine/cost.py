"""Choosing among accesses, in the planner's unit: rows fetched and tested (0.7 us each)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

from tcsql.engine.needles import may_spare
from tcsql.engine.order import Order
from tcsql.engine.planner import GUESS, KEY_ONLY_COST, SORT_COST, Access, Planner
from tcsql.engine.query import Conjunction
from tcsql.engine.table import Table

#: A row that is told by its bytes not to match, without being decoded.
NEEDLE_COST: Final = 0.2
#: A walk below this is not worth interrupting.
MIN_WALK_ROWS: Final = 500
#: Inclusion and exclusion over k alternatives asks 2**k - 1 sizes; beyond 3 a scan is the honest way.
MAX_UNION_TERMS: Final = 3


def smallest(accesses: Sequence[Access]) -> Access:
    """The access that examines the fewest rows when all matching rows are wanted."""
    return min(accesses, key=lambda access: (access.size, len(access.residual)))


def exact_size(accesses: Sequence[Access]) -> int | None:
    """The number of matching rows, if one access leaves nothing to test, or shows that there are none."""
    for access in accesses:
        if access.exact or access.size == 0:
            return access.size
    return None


def estimate_matches(accesses: Sequence[Access], rows: int) -> float:
    """Matching rows: exact if known, else the smallest access thinned by the shares of what it leaves to test."""
    known = exact_size(accesses)
    if known is not None:
        return known
    best = smallest(accesses)
    estimate = float(best.size)
    for condition in best.residual:
        shares = [a.size / rows for a in accesses if condition not in a.residual] if rows else []
        estimate *= min(shares, default=GUESS)
    return estimate


def choose(accesses: Sequence[Access], order: Order, need: int, rows: int) -> Access:
    """The cheapest access for the first ``need`` rows in order; sets ``cost`` on all of them."""
    matches = estimate_matches(accesses, rows)
    for access in accesses:
        access.cost = _cost(access, order, need, matches)
    return min(accesses, key=lambda access: (access.cost, access.size))


def _cost(access: Access, order: Order, need: int, matches: float) -> float:
    if access.ordered:
        if not access.residual:
            return float(min(access.size, need * max(1, len(access.streams)) if len(access.streams) > 1 else need))
        walked = walk_rows(need * max(1, len(access.streams)), access.size, matches)
        return min(walked, need + walked * NEEDLE_COST) if may_spare(access.residual) else walked
    if not order.terms and access.exact:
        return access.size * KEY_ONLY_COST
    return access.size * SORT_COST


def walk_rows(need: int, size: int, matches: float) -> float:
    """Rows that a walk over a run of ``size`` rows looks at for ``need`` of its ``matches``, if they lie evenly."""
    return min(float(size), need * size / matches) if matches > 0 else float(size)


def walk_bound(accesses: Sequence[Access], walked: Access) -> int:
    """Rows an ordered walk may examine before the best access that is bounded by its own size takes over."""
    others = [access.size for access in accesses if access is not walked]
    return max(MIN_WALK_ROWS, 2 * min(others)) if others else walked.size + 1


def union_size(planner: Planner, table: Table, conjunctions: Sequence[Conjunction]) -> int | None:
    """The size of a union by inclusion and exclusion, if every intersection is exactly known. O(2**k log n)."""
    if len(conjunctions) > MAX_UNION_TERMS:
        return None
    order = Order(table.schema, ())
    total = 0
    for count in range(1, len(conjunctions) + 1):
        for chosen in combinations(conjunctions, count):
            merged = tuple(dict.fromkeys(condition for conjunction in chosen for condition in conjunction))
            size = exact_size(planner.accesses(merged, order))
            if size is None:
                return None
            total += size if count % 2 else -size
    return total
