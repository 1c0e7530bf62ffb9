"""Searching rows to change while others keep changing them: in slices, and right at the end.

An update or delete by condition has to act on the rows as they are when it is applied. Its search begins again when
somebody writes meanwhile; a search of 1 M rows under constant writes would never end, and without a break it would keep
everybody waiting for a second. So, after some attempts, the search is made on the rows of one moment, and the keys of
all rows written since are noted. At its end those, a few hundred, are looked at again: what holds for the others then
still holds now.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime

from tcsql.engine.change import Batch, Delete, Row, Update
from tcsql.engine.conditions import filter_test
from tcsql.engine.executor import PinnedExecutor, Steps, Take, Work
from tcsql.engine.planner import Planner
from tcsql.engine.query import Filter
from tcsql.engine.rows import decode
from tcsql.engine.table import Table
from tcsql.engine.values import PKey
from tcsql.engine.writes import RowWriter


class _CurrentExecutor(PinnedExecutor):
    """Finds the rows that match when the search ends; whoever drives it goes on without a break from there."""

    def matches(self, where: Filter, take: Take) -> Steps:
        """The matching rows of the moment of the last slice."""
        found: dict[PKey, bytes] = {}
        written: set[PKey] = set()

        def note(pkey: PKey, before: bytes | None) -> None:
            written.add(pkey)

        def keep(pkey: PKey, data: bytes, row: Row | None) -> None:
            found[pkey] = data

        rows = self.table.rows
        self.pin(where)
        rows.watchers.append(note)
        try:
            yield from super().matches(where, keep)
        finally:
            rows.watchers.remove(note)
            self.end()
        test = filter_test(self.table.schema, where)
        for pkey in written:
            found.pop(pkey, None)
            data = rows.get(pkey)
            if data is not None and test(decode(data)):
                found[pkey] = data
        for pkey, data in found.items():
            take(pkey, data, None)


def batch_of(
    table: Table, planner: Planner, work: Work, change: Update | Delete, now: datetime
) -> Generator[None, None, Batch]:
    """The batch of one update or delete, in slices; rows may change between them, columns and indexes may not."""
    writer = RowWriter(table, _CurrentExecutor(table, planner, work), now)
    yield from writer.update(change) if isinstance(change, Update) else writer.delete(change)
    part = writer.batch()
    return Batch((part,) if part.ops else (), writer.tally())
