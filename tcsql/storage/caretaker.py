"""When indexes are made and given up without anybody asking: the store's half of ``engine/autoindex``.

It knows what the engine must not: how much time has passed, and how much memory there is. It only proposes; the
change goes through the one write door, as everybody's. Cost of a look: some microseconds.
"""

from __future__ import annotations

from typing import Final

from tcsql.engine.change import CreateIndex, DropIndex
from tcsql.engine.database import Database
from tcsql.storage.memory import Budget

#: What was examined in vain counts half after this time: what costs less than an index in that time gets none.
HALF_LIFE_S: Final = 3600.0


class Caretaker:
    """Looks after the automatic indexes of one database."""

    def __init__(self, database: Database, budget: Budget, makes_indexes: bool) -> None:
        self._database = database
        self._budget = budget
        self._makes_indexes = makes_indexes

    def look(self, elapsed_s: float) -> CreateIndex | DropIndex | None:
        """What is to be changed by now; ``elapsed_s`` is the time since the last look.

        Indexes go when memory is short even where none are made: they may come from before the setting was changed.
        """
        auto, tables = self._database.auto_indexes, self._database.tables()
        auto.look(tables, 0.5 ** (elapsed_s / HALF_LIFE_S))
        if self._budget.is_short():
            return auto.spare(tables)
        return auto.wanted(tables, self._budget.room_bytes()) if self._makes_indexes else None
