"""Transactions as what a step holds: by table, each row as it is after all of them, and the keys that have gone. Pure.

    gathered = Gathering()
    gathered.add(change) …                       as they come, also before it is known whether they are committed
    gathered.commit() or gathered.undo()         at the end mark
    gathered.take()                              {"posts": TableChange(…)}; then it is empty

One transaction or a hundred become one step, so that readers see whole transactions only. Values stay the columns that
they were read as; what is kept for a row beside them is its place: 100 bytes, and 0.25 us.

``size`` counts bytes of events, of short rows more. One transaction above ``MOST_BYTES`` cannot be one step, whatever
we do: ``take_parts`` gives what of it there is, and the rest follows; until its end readers are between two states.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

from tcsql.engine.values import JsonValue, PKey
from tcsql.replication.binlog.tables import Change
from tcsql.replication.source import Rows, TableChange, Values

#: Bytes of events: 200,000 rows of 500 bytes are 100 MB here and, as values, three times that.
MOST_BYTES: Final = 256_000_000
#: What a row takes as values at least, however short it is in an event.
_ROW_BYTES: Final = 300
#: The place of a key that has no row.
_GONE: Final = -1


class _Table:
    """One table: parts of columns as they came, and where in them each key's row is now."""

    def __init__(self) -> None:
        self.parts: list[Rows] = []
        self.places: dict[PKey, int] = {}
        self.rows = 0

    def add(self, change: Change) -> None:
        first, places = self.rows, self.places
        pkeys = change.rows.pkeys
        if change.verb != "delete":
            self.parts.append(change.rows)
            self.rows += len(pkeys)
        if change.verb == "delete":
            places.update(dict.fromkeys(change.before, _GONE))
        elif change.verb == "insert" or list(change.before) == list(pkeys):
            places.update(zip(pkeys, range(first, self.rows), strict=True))
        else:  # keys have changed: in the order of the rows, as one may take the key that another has left
            for place, (old, new) in enumerate(zip(change.before, pkeys, strict=True), first):
                places[old] = _GONE
                places[new] = place

    def change(self) -> TableChange:
        gone = [key for key, place in self.places.items() if place == _GONE]
        if not self.parts:
            return TableChange(Rows(), gone)
        columns = [_joined([part.columns[at] for part in self.parts]) for at in range(len(self.parts[0].columns))]
        if [*self.places.values()] == [*range(self.rows)]:  # a key that has gone and come back stands at its old place
            return TableChange(Rows(list(self.places), columns), gone)
        kept = [(key, place) for key, place in self.places.items() if place != _GONE]
        chosen = [[column[place] for _, place in kept] for column in columns]
        return TableChange(Rows([key for key, _ in kept], chosen), gone)


def _joined(parts: Sequence[Values]) -> list[JsonValue]:
    return list(chain.from_iterable(parts))


class Gathering:
    """Committed transactions, and the one that has not ended. ``size``: bytes of events of all of them.

    ``events``: rows of events of those that are committed.
    """

    def __init__(self) -> None:
        self._committed: list[Change] = []
        self._open: list[Change] = []
        self._size = self._open_size = 0
        self.events = 0

    @property
    def size(self) -> int:
        return self._size + self._open_size

    def add(self, change: Change) -> None:
        """Rows of the transaction that has not ended."""
        self._open.append(change)
        self._open_size += max(change.size, _ROW_BYTES * len(change))

    def commit(self) -> None:
        """It is whole: it counts."""
        self._committed += self._open
        self._size += self._open_size
        self.events += sum(map(len, self._open))
        self._open, self._open_size = [], 0

    def leave_out(self, table: str) -> None:
        """What has come of a table in the transaction that has not ended does not count."""
        self._open = [change for change in self._open if change.table[1] != table]

    def undo(self) -> None:
        """It has never been."""
        self._open, self._open_size = [], 0

    def take(self) -> dict[str, TableChange]:
        """By table, what is committed; the gathering goes on without it. 0.4 us a row of four columns."""
        committed, self._committed = self._committed, []
        self._size = self.events = 0
        return _by_table(committed)

    def take_parts(self) -> dict[str, TableChange]:
        """The same, and what has come of the transaction that has not ended: it can no longer be undone here."""
        self.commit()
        return self.take()


def _by_table(changes: Sequence[Change]) -> dict[str, TableChange]:
    tables: dict[str, _Table] = {}
    for change in changes:
        table = tables.get(change.table[1])
        if table is None:
            table = tables[change.table[1]] = _Table()
        table.add(change)
    return {name: table.change() for name, table in tables.items()}
