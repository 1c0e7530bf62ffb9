"""Who may write to a table: clients, or the source that it follows.

A table that follows a source is a copy. A row that somebody else writes into it would be gone at the next change of the
row there, or stay for ever beside rows that exist; so the store takes its rows and its columns from that source alone
(``Origin.source``). Indexes are ours, not the source's: anybody may make and drop them.

Triggers that send whole rows as inserts and deletes (``lets_clients_write``) cannot be told from other clients, so
such tables take rows from everybody, and only their columns are the source's.

Cost: nothing while no table follows anything, 0.3 us a change otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tcsql.engine.change import (
    AllowIndex,
    Change,
    CreateIndex,
    CreateTable,
    DropIndex,
    RenameIndex,
    RenameTable,
    RowChange,
)
from tcsql.errors import FollowedTable, SetupError

_ANYBODY: Final = (CreateIndex, DropIndex, RenameIndex, AllowIndex)


class Owners:
    """The tables of one store that follow a source. ``of``: table to source."""

    __slots__ = ("_shared", "of")

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self._shared: set[str] = set()

    def claim(self, source: str, tables: Iterable[str], lets_clients_write: bool = False) -> None:
        """From now on these tables follow ``source``; they need not exist yet. Raises SetupError.

        Claiming again is allowed and changes nothing but ``lets_clients_write``.
        """
        tables = tuple(tables)
        for table in tables:
            if self.of.get(table, source) != source:
                raise SetupError(f"table {table} is followed by {self.of[table]} and by {source}")
        for table in tables:
            self.of[table] = source
            (self._shared.add if lets_clients_write else self._shared.discard)(table)

    def release(self, source: str) -> None:
        """The source is no longer followed: its tables are like all others."""
        for table in [table for table, owner in self.of.items() if owner == source]:
            del self.of[table]
            self._shared.discard(table)

    def require(self, changes: Sequence[Change], source: str | None) -> None:
        """Raises FollowedTable for the first change that ``source`` (None: a client) may not make."""
        for change in changes:
            if isinstance(change, _ANYBODY):
                continue
            for table in _tables_of(change):
                owner = self.of.get(table)
                if owner is None or owner == source:
                    continue
                if not (table in self._shared and isinstance(change, RowChange)):
                    raise FollowedTable(f"table {table} follows {owner}", "write to MySQL; indexes may be made here")

    def require_rows_from_clients(self, table: str) -> None:
        """Raises FollowedTable if clients may not write rows of the table: before a long body is read."""
        owner = self.of.get(table)
        if owner is not None and table not in self._shared:
            raise FollowedTable(f"table {table} follows {owner}", "write to MySQL; indexes may be made here")


def _tables_of(change: Change) -> tuple[str, ...]:
    if isinstance(change, CreateTable):
        return (change.schema.name,)
    if isinstance(change, RenameTable):
        return change.table, change.to
    return (change.table,)
