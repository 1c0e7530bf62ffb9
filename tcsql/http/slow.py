"""The slow log: the last reads that took longer than ``slow_ms``, with what they examined and how. For ``/slow``.

    {"time": …, "operation": "select", "table": "posts", "query": "where=uid:NUMEQ:?&order_by=dateline&…",
     "seconds": 0.04, "rows_examined": 52000, "plan": ["scan PRIMARY"], "caller": "k3y1d", "status": 200}

Operands are left out: what is asked for is the client's, the shape is the operator's. ``seconds`` is the time that the
client waited here, with the waiting for a place and the turns of others in it. A read whose shape is prepared has no
plan; a request that is known by its bytes is answered in microseconds, so it is not looked at.

Cost: one comparison a read; 20 us a slow one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from tcsql.engine.plans import Cost
from tcsql.engine.query import Condition, Group, OrderTerm, Query, Select
from tcsql.logs import clean, time_of

KEPT: Final = 128
#: Of a query with hundreds of conditions the first ones tell its shape.
_MOST_CHARACTERS: Final = 1_000
_KEY: Final = "pkey"


class SlowLog:
    """Of one server. ``threshold_s``: compare with it before ``add`` is called."""

    def __init__(self, slow_ms: float, clock: Callable[[], float] = time.time) -> None:
        self.threshold_s = slow_ms / 1000
        #: Slow reads since the start.
        self.count = 0
        self._clock = clock
        self._entries: deque[dict[str, object]] = deque(maxlen=KEPT)

    def add(
        self, operation: str, query: Query, seconds: float, *, caller: str, cost: Cost | None, status: int = 200
    ) -> None:
        """A read was slow; ``cost`` None: it was not planned."""
        self.count += 1
        self._entries.append(
            {
                "time": time_of(self._clock()),
                "operation": operation,
                "table": query.table,
                "query": shape(query)[:_MOST_CHARACTERS],
                "seconds": round(seconds, 6),
                "rows_examined": None if cost is None else cost.examined,
                "plan": [] if cost is None else [f"{kind} {index}" for kind, index in cost.chosen],
                "caller": caller,
                "status": status,
            }
        )

    def plain(self) -> dict[str, object]:
        """All that is kept, the newest first."""
        return {"slow_ms": self.threshold_s * 1000, "count": self.count, "reads": clean(list(reversed(self._entries)))}


def shape(query: Query) -> str:
    """A query in the URL's grammar without its operands.

    >>> shape(Select("t", skip=40, total=True))
    'limit_skip=40&limit_max=100&total=1'
    """
    parts = [f"where={_conditions(conjunction)}" for conjunction in query.where.any_of if conjunction]
    match query:
        case Select():
            parts += [] if query.columns is None else [f"type={','.join(query.columns)}"]
            parts += _order(query.order)
            parts += [f"limit_skip={query.skip}"] if query.skip else []
            parts += [f"limit_max={query.limit}"]
            parts += [f"{name}=?" for name in ("after", "before") if getattr(query, name) is not None]
            parts += ["total=1"] if query.total else []
        case Group():
            parts += [f"type={','.join(query.output)}", f"group_by={','.join(query.by)}", *_order(query.order)]
            parts += [f"limit_skip={query.skip}"] if query.skip else []
            parts += [f"limit_max={query.limit}"]
        case _:
            parts += ["type=count"]
    return "&".join(parts)


def _conditions(conjunction: tuple[Condition, ...]) -> str:
    return "|".join(
        f"{each.column or _KEY}:{'~' if each.negated else ''}{each.operator.value}:?" for each in conjunction
    )


def _order(terms: tuple[OrderTerm, ...]) -> list[str]:
    if not terms:
        return []
    sorts = [f"{term.kind.value}{'DESC' if term.descending else 'ASC'}" for term in terms]
    return [f"order_by={','.join(term.column or _KEY for term in terms)}", f"order_sort={','.join(sorts)}"]
