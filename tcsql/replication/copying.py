"""The copy of one table: what to ask the source next, and what its answer changes here. No I/O.

    ASK    our keys, stretch after stretch: how many are gone at the source? More than half: somebody must say yes
    COPY   stretches of the source in its key order; every row is written, those that are equal cost nothing
    SWEEP  our keys once more: those that are gone at the source go here, at the very state at which they were missing

Changes of the table arrive beside all this in the same steps, so nothing is locked, and no order of keys is assumed to
be the same here and there. ASK and SWEEP begin anew after a restart, COPY goes on where it was.
Cost: COPY about 10 us a row here, ASK and SWEEP about 2 us a row here and a look-up by key there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tcsql.engine.change import RowChange
from tcsql.engine.held import pkeys_after
from tcsql.engine.table import Table
from tcsql.engine.values import PKey
from tcsql.errors import SourceFault
from tcsql.replication.applying import deletes, puts
from tcsql.replication.position import Phase, TablePosition
from tcsql.replication.source import KeysRead, RangeRead, ReadKeys, ReadRange


class Question(SourceFault):
    """What ``tcsql mysql accept`` says yes to. ``about``: a yes to one question is none to another."""

    def __init__(self, about: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.about = about


class MassDeletion(Question):
    """A copy would remove more than half of what we hold."""


def mass_deletion_of(table: str) -> str:
    """What the question about a table's rows is about."""
    return f"rows of {table}"


class TableCopy:
    """One table on its way to being followed; ``position`` is what to store with the changes of ``take``."""

    #: When it is done, all rows are those of the source.
    repairs = True

    def __init__(
        self, source: str, name: str, table: Table, position: TablePosition, step_rows: int, *, accepted: bool
    ) -> None:
        self.position = position
        #: The table's name at the source; ``table`` may have another, while it is beside the one that answers.
        self.name = name
        self._source = source
        self._table = table
        self._step_rows = step_rows
        self._accepted = accepted
        self._held = len(table)
        self._missing = 0
        #: The last key of ours that was asked for, in ASK and SWEEP.
        self._asked: PKey | None = None

    @property
    def is_done(self) -> bool:
        return self.position.phase is Phase.DONE

    @property
    def has_begun(self) -> bool:
        """Whether rows were copied that it does not read again."""
        position = self.position
        return position.phase is Phase.SWEEP or (position.phase is Phase.COPY and position.after is not None)

    def next_read(self) -> ReadRange | ReadKeys:
        """What the next step is to read as well."""
        if self.position.phase is Phase.COPY:
            return ReadRange(self.name, self.position.after, self._step_rows)
        keys = pkeys_after(self._table, self._asked, self._step_rows)
        return ReadKeys(self.name, keys, only_missing=True)

    def take(self, read: RangeRead | KeysRead, asked: ReadRange | ReadKeys) -> Sequence[RowChange]:
        """What the answer changes here; ``position`` moves. Raises MassDeletion."""
        if isinstance(read, RangeRead):
            return self._copied(read)
        assert isinstance(asked, ReadKeys)
        ended = len(asked.pkeys) < self._step_rows
        self._asked = asked.pkeys[-1] if asked.pkeys else self._asked
        if self.position.phase is Phase.ASK:
            self._count(sum(pkey in self._table.rows for pkey in read.missing), ended)
            return ()
        if ended:
            self.position = replace(self.position, phase=Phase.DONE, after=None)
        return deletes(self._table.schema, read.missing)

    def _copied(self, read: RangeRead) -> Sequence[RowChange]:
        position = replace(self.position, after=read.last, copied=self.position.copied + len(read.rows))
        if read.last is None:
            self._asked = None
            position = replace(position, phase=Phase.SWEEP if position.sweeps else Phase.DONE)
        self.position = position
        return puts(self._table.schema, read.rows)

    def _count(self, missing: int, ended: bool) -> None:
        self._missing += missing
        if self._missing * 2 > self._held and not self._accepted:
            raise MassDeletion(
                mass_deletion_of(self.name),
                f"table {self.name}: more than half of the {self._held} rows held here are gone at the source",
                f"if that is right, run: tcsql mysql accept {self._source}",
            )
        if ended:
            self.position = replace(self.position, phase=Phase.COPY, after=None, copied=0)
