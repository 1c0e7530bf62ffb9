"""The first matches of a page, whatever order they come in: top-k by the order's key, each row once."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from tcsql.engine.executor import Steps
from tcsql.engine.order import SortTuple
from tcsql.engine.selection import BUCKET_ITEMS, let_go, window_steps
from tcsql.engine.tracking import untrack
from tcsql.engine.values import PKey
from tcsql.errors import TooCostly

_KEY: Final = attrgetter("key")


@dataclass(slots=True)  # to freeze it takes three times as long
class Match:
    """One matching row with its place in the order (empty when it came by position)."""

    key: SortTuple
    pkey: PKey
    data: bytes


class Collector:
    """Keeps the first ``need`` matches in order (the last ones if ``tail``), each row once.

    About 4 x need + 1,000 are held between prunings, so n rows cost O(n log need) and little memory. A small need is
    pruned as matches come; a large one by ``collect``, in steps, or its sort would hold up every other request.
    """

    def __init__(self, need: int, tail: bool) -> None:
        self._need = need
        self._limit = 4 * need + 1_000
        self._tail = tail
        self._small = self._limit <= BUCKET_ITEMS
        self._held: dict[PKey, Match] = {}
        #: The last key that was kept by a pruning: what lies beyond it is not worth holding.
        self._bound: SortTuple | None = None

    def add(self, match: Match) -> None:
        """Take a match, unless enough better ones are known."""
        if self._bound is not None and (match.key < self._bound if self._tail else match.key > self._bound):
            return
        self._held[match.pkey] = match
        if not self._small:
            untrack(match)  # a collection of garbage that walks a million of them takes 0.2 s
            untrack(match.key)
        elif len(self._held) > self._limit:
            held = sorted(self._held.values(), key=_KEY)
            self._hold(held[-self._need :] if self._tail else held[: self._need])

    def _hold(self, matches: list[Match]) -> None:
        self._held = {match.pkey: match for match in matches}
        self._bound = matches[0 if self._tail else -1].key

    def collect(self, matching: Steps) -> Steps:
        """Drive what adds matches, and prune in between."""
        try:
            for _ in matching:
                yield
                if len(self._held) > self._limit:
                    self._hold((yield from self.sorted()))
        except TooCostly:
            yield from let_go(self._held)
            raise

    def sorted(self, skip: int = 0) -> Generator[None, None, list[Match]]:
        """What is kept, in order, without the first ``skip``; it is kept no longer."""
        held = list(self._held.values())
        self._held = {}
        first, last = (max(0, len(held) - self._need), len(held)) if self._tail else (skip, self._need)
        return (yield from window_steps(held, first, max(first, last), _KEY))

    def __len__(self) -> int:
        return min(len(self._held), self._need)
