"""Tables that were dropped or emptied: kept while the change may be taken back, then freed a little at a time.

A table of 1 M rows that loses its last reference gives its objects back at once: 200 ms in which nobody is answered.
And some of its parts refer to each other, so it would wait for a full collection first; for ever, if the collector was
told to leave it alone (``gc.freeze``, after a start). So a table is taken apart on purpose, by the background work of
its database.

When it may be: an undo holds the table it would put back, and lives until the change is durable. A weak reference to
the undo tells. Readers in slices look after every slice whether the table is still the one of that name, and leave.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Final

from tcsql.engine.table import Table

Undo = Callable[[], None]
#: A table this small is freed with the next funeral, without waiting for background work: 50 us.
SMALL_ROWS: Final = 500


class Graveyard:
    """Tables out of use, oldest first."""

    def __init__(self) -> None:
        self._held: list[tuple[Table, weakref.ref[Undo] | None]] = []

    def __len__(self) -> int:
        return len(self._held)

    def bury(self, table: Table, undo: Undo | None) -> None:
        """Take a table over; ``undo`` may yet put it back."""
        for held, ref in list(self._held):
            if len(held) <= SMALL_ROWS and (ref is None or ref() is None):
                self._free(held)
        self._held.append((table, None if undo is None else weakref.ref(undo)))

    def exhume(self, table: Table) -> None:
        """A table that has been put back."""
        self._held = [each for each in self._held if each[0] is not table]

    def step(self) -> bool:
        """Free some thousand rows or entries; False when there is nothing to free, as yet."""
        for table, ref in self._held:
            if ref is None or ref() is None:
                if not table.dismantle():
                    self.exhume(table)
                return True
        return False

    def empty(self) -> None:
        """Free whatever can be freed, at once."""
        while self.step():
            pass

    def _free(self, table: Table) -> None:
        while table.dismantle():
            pass
        self.exhume(table)
