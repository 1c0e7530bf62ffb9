"""Rows as they were at one moment, read a few at a time while they change: for scans that writers have overtaken.

A watch keeps, of every row that changes ahead of its mark, what the row was before; behind the mark everything has been
read already. Nothing is copied at the start, where references to 1 M rows would take 100 ms at once.

    read      chunks in the order of the primary key, leaving out keys that have changed; the mark moves on
    changed   at the end: what the others were before

Cost: 0.3 us for each row written meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

from tcsql.engine.index import OrderedIndex
from tcsql.engine.rows import Rows
from tcsql.engine.values import PKey


class Watch:
    """The rows of one table as they are now. ``end`` it."""

    def __init__(self, rows: Rows, primary: OrderedIndex) -> None:
        self._rows = rows
        self._primary = primary
        self._mark: PKey | None = None
        self._before: dict[PKey, bytes | None] = {}
        #: Rows behind the last are new: a scan that went on to them would never end while others append.
        self._last: PKey | None = next(primary.run(()).pkeys(len(primary) - 1, len(primary), False), None)
        rows.watchers.append(self._tell)

    def end(self) -> None:
        """Writers need not tell any more."""
        self._rows.watchers.remove(self._tell)

    def _tell(self, pkey: PKey, before: bytes | None) -> None:
        if self._mark is None or pkey > self._mark:  # type: ignore[operator]  # keys of one table
            self._before.setdefault(pkey, before)

    def chunks(self, limit_rows: int) -> Iterator[list[tuple[PKey, bytes]]]:
        """All rows as they were, in lists of up to so many. Between two of them rows may change."""
        while pkeys := self._next(limit_rows):
            pairs = zip(pkeys, self._rows.many(pkeys), strict=True)
            changed = self._before
            chunk = [pair for pair in pairs if pair[0] not in changed]
            self._mark = pkeys[-1]
            yield chunk
        rest = [(pkey, data) for pkey, data in self._before.items() if data is not None]
        for start in range(0, len(rest), limit_rows):
            yield rest[start : start + limit_rows]

    def _next(self, limit_rows: int) -> list[PKey]:
        run = self._primary.run(())
        at = 0
        if self._mark is not None:
            parts = self._mark if isinstance(self._mark, tuple) else (self._mark,)
            names = (column.name for column in self._primary.columns)
            at = run.seek(dict(zip(names, parts, strict=True)))[1]
        stop = min(run.size, at + limit_rows)
        pkeys = list(run.pkeys(at, stop, False)) if at < stop else []
        last = self._last
        if pkeys and (last is None or pkeys[-1] > last):  # type: ignore[operator]  # as above
            return [pkey for pkey in pkeys if last is not None and pkey <= last]  # type: ignore[operator]  # as above
        return pkeys
