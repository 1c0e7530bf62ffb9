"""What queries cost: rows examined, the ways that were chosen, and both of the query that was answered last.

Prepared answers are counted by their own kind; a query that was planned counts each access that it used. Kinds:

    prepared    its shape was known: places follow from the operands alone
    equal       a run of an index, by equality
    range       a run of an index that a bound opens or closes
    fulltext    postings of a full-text index
    blocks      a run read in key order, block by block
    keys        a walk that looks keys up among those of another index
    order       an index walked for its order alone
    scan        every row

Cost: 0.5 us a query that was planned.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Protocol

from tcsql.engine.planner import Access
from tcsql.engine.query import Query
from tcsql.engine.textindex import TextIndex

KINDS: Final = ("prepared", "equal", "range", "fulltext", "blocks", "keys", "order", "scan")


class _Work(Protocol):
    @property
    def examined(self) -> int: ...
    @property
    def chosen(self) -> list[Access]: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """What one query cost; ``chosen``: kind and index of each access."""

    query: Query
    examined: int
    chosen: tuple[tuple[str, str], ...]


class Plans:
    """Of one database. ``last``: of the query that was planned last; ask for it in the turn in which it ended."""

    __slots__ = ("examined", "kinds", "last")

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.examined = 0
        self.last: Cost | None = None

    def note(self, query: Query, work: _Work) -> None:
        """A query that was planned has ended, by an answer or by its budget."""
        chosen = tuple([(kind_of(access), access.index.definition.name) for access in work.chosen])
        for kind, _ in chosen:
            self.kinds[kind] += 1
        self.examined += work.examined
        self.last = Cost(query, work.examined, chosen)

    def cost_of(self, query: Query) -> Cost | None:
        """What this query cost, if it was the last that was planned; None: prepared, or not planned at all."""
        return self.last if self.last is not None and self.last.query is query else None


def kind_of(access: Access) -> str:
    """The word for an access."""
    if access.within is not None:
        return "keys"
    if access.by_blocks:
        return "blocks"
    if isinstance(access.index, TextIndex):
        return "fulltext"
    if access.span is not None:
        return "range"
    if access.equal:
        return "equal"
    return "order" if access.ordered and access.index.definition.columns else "scan"
