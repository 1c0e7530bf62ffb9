"""Choosing among accesses, in the planner's unit: rows fetched and tested (0.7 us each)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Final

from tcsql.engine.index import OrderedIndex
from tcsql.engine.keyorder import key_order
from tcsql.engine.needles import may_spare
from tcsql.engine.order import Order
from tcsql.engine.planner import GUESS, SORT_COST, Access, Planner
from tcsql.engine.query import Conjunction
from tcsql.engine.table import Table

#: A row that is told by its bytes not to match, without being decoded.
NEEDLE_COST: Final = 0.8
#: A row that is fetched, decoded and tested.
TEST_COST: Final = 4.0
#: A walk below this is not worth interrupting.
MIN_WALK_ROWS: Final = 100
#: A key of many that are gathered for the first of them.
LOOK_COST: Final = 0.09
#: A key that is looked for among others.
FIND_COST: Final = 0.12
#: Keys among which others are looked for: to gather so many takes two milliseconds.
MOST_WITHIN: Final = 20_000
#: A walk may find too little, so it has to promise more than something certain.
RISK: Final = 1.6
#: So few rows are tested sooner than that.
LEAST_WALKED: Final = 50
#: So few keys are sorted sooner than a second way is thought about.
LEAST_BY_BLOCKS: Final = 1_000
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


def choose(accesses: Sequence[Access], order: Order, need: int, table: Table) -> Access:
    """The cheapest access for the first ``need`` rows in order; sets how each would be carried out, and its cost."""
    matches = estimate_matches(accesses, len(table))
    for access in accesses:
        access.cost = _cost(access, order, need, matches)
        access.by_blocks, access.within = False, None
        if (
            not order.terms
            and not access.ordered
            and access.size > (LEAST_WALKED if access.residual else LEAST_BY_BLOCKS)
        ):
            _weigh_blocks(access, need, matches, table)
        if access.residual and (access.ordered or not order.terms):
            _weigh_keys(access, accesses, need, matches)
    return min(accesses, key=lambda access: (_expected(access), access.size))


def _expected(access: Access) -> float:
    """The cost, and for a walk what it costs on top if it finds too little and is given up."""
    is_walk = access.residual and (access.ordered or access.by_blocks)
    return RISK * access.cost if is_walk else access.cost


def _cost(access: Access, order: Order, need: int, matches: float) -> float:
    streams = len(access.streams)
    if access.ordered and access.residual:
        return _walk_cost(access, need, walk_rows(need * max(1, streams), access.size, matches))
    if access.ordered and streams <= 1:
        return float(min(access.size, need))
    if not order.terms and access.exact:
        return access.size * LOOK_COST + streams + min(access.size, need)
    return float(min(access.size, need * streams)) if access.ordered else _whole_cost(access, order)


def _whole_cost(access: Access, order: Order) -> float:
    """Reading all rows, to test or to sort them."""
    if order.terms:
        return access.size * SORT_COST
    return access.size * (TEST_COST if access.residual else SORT_COST)


def _walk_cost(access: Access, need: int, walked: float) -> float:
    tested = walked * TEST_COST
    return min(tested, need + walked * NEEDLE_COST) if may_spare(access.residual) else tested


def _weigh_blocks(access: Access, need: int, matches: float, table: Table) -> None:
    """Read it by primary key, block by block, if that is cheaper than sorting it."""
    by_key = key_order(table.schema, access)
    if by_key is None:
        return
    keys: Any = table.primary.whole
    if access.residual:
        rows = walk_rows(need, access.size, matches)
        price = _walk_cost(access, need, rows)
    else:
        rows, price = float(need), float(need)
    price += by_key.cost(rows, keys[0], keys[len(keys) - 1])
    if price < access.cost:
        access.cost, access.by_blocks = price, True


def _weigh_keys(access: Access, accesses: Sequence[Access], need: int, matches: float) -> None:
    """Look for the rows among the keys of what the residual asks for, if that is cheaper than testing rows."""
    walked = float(access.size)
    if access.ordered:
        walked = walk_rows(need * max(1, len(access.streams)), access.size, matches)
    elif access.overlapping:
        return
    for other in accesses:
        if other.size > MOST_WITHIN or other is access or not isinstance(other.index, OrderedIndex):
            continue
        price = other.size * LOOK_COST + walked * FIND_COST + need
        if price < access.cost and set(access.residual).isdisjoint(other.residual):
            access.cost, access.within, access.by_blocks = price, other, False


def by_keys(access: Access, order: Order) -> bool:
    """Whether all its matches are known by their keys, and keys are the order."""
    return not order.terms and (access.exact or (access.within is not None and not access.ordered))


def most_cost(access: Access, order: Order) -> float:
    """What an access costs at most: an estimate of how matches lie has no share in it."""
    return (
        access.cost
        if not access.residual or by_keys(access, order)
        else access.size * (SORT_COST if order.terms else TEST_COST)
    )


def fallback(accesses: Sequence[Access], walked: Access, order: Order) -> Access:
    """What to take when a walk has found too little."""
    others = [access for access in accesses if access is not walked]
    return min(others or accesses, key=lambda access: most_cost(access, order))


def walk_rows(need: int, size: int, matches: float) -> float:
    """Rows that a walk over a run of ``size`` rows looks at for ``need`` of its ``matches``, if they lie evenly."""
    return min(float(size), need * size / matches) if matches > 0 else float(size)


def walk_bound(accesses: Sequence[Access], walked: Access, order: Order) -> int:
    """Rows a walk may examine before the best access that is bounded by its own size takes over."""
    if len(accesses) < 2:
        return walked.size + 1
    if walked.within is not None:
        each = FIND_COST
    else:
        each = (NEEDLE_COST + TEST_COST) / 2 if may_spare(walked.residual) else TEST_COST
    return max(MIN_WALK_ROWS, int(most_cost(fallback(accesses, walked, order), order) / each))


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
