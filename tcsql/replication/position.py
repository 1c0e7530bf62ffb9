"""How far a follower is: what it stores with the rows, in their transaction, and goes on from after any stop.

    identity   the source's; another one stops the follower until a person has said yes
    started_s  when its process began: a crash may have taken back what we have seen already
    log        where a source with a log goes on from; empty without one
    tables     of each table its definition and incarnation at the source, and how far its copy is

A table's phases: ``ASK`` (a re-copy counts which of our rows have gone, before anything is touched), ``COPY`` (stretch
after stretch; ``after`` is the last key copied), ``SWEEP`` (what we hold and the source does not, goes), ``DONE``.
A new table begins with ``COPY``: there is nothing to lose and nothing to sweep.

Pure; the form on disk is JSON with a version, and what an older program wrote stays readable.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

import orjson

from tcsql.replication.source import KeyText

_VERSION: Final = 1


class Phase(Enum):
    """How far the copy of a table is."""

    ASK = "ask"
    COPY = "copy"
    SWEEP = "sweep"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class TablePosition:
    """One table.

    ``after``: the last key copied; ``copied``: rows so far; ``sweeps``: rows were there before the copy.
    ``beside``: the table here that the copy goes into, while the one with its name answers with the columns of before.
    ``indexes``: those that the source had when it was looked at last; None: it was not looked at for them.
    """

    definition: str
    incarnation: str
    phase: Phase = Phase.COPY
    after: KeyText | None = None
    copied: int = 0
    sweeps: bool = False
    beside: str = ""
    indexes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Everything.

    ``clean``: the follower has stopped in order; a source that cannot send again needs an audit otherwise.
    """

    identity: str = ""
    log: bytes = b""
    tables: Mapping[str, TablePosition] = field(default_factory=dict)
    clean: bool = True
    started_s: float = 0.0
    #: How changes were learnt; in another mode the log says nothing, and what came in between is not known.
    mode: str = ""
    #: Tables of which changes may have been missed, or seen that were taken back: to be compared and repaired.
    unsure: frozenset[str] = frozenset()

    def with_table(self, name: str, table: TablePosition) -> Position:
        return replace(self, tables={**self.tables, name: table})

    def without_table(self, name: str) -> Position:
        return replace(self, tables={key: table for key, table in self.tables.items() if key != name})

    def without_log(self) -> Position:
        """Go on from now: what came in between is not known of any table."""
        return replace(self, log=b"", unsure=self.unsure | self.tables.keys())

    def encode(self) -> bytes:
        """As it is stored.

        >>> Position.decode(Position("db-1", b"5-1-7").encode()) == Position("db-1", b"5-1-7")
        True
        """
        tables = {
            name: {
                "definition": table.definition,
                "incarnation": table.incarnation,
                "phase": table.phase.value,
                "after": table.after,
                "copied": table.copied,
                "sweeps": table.sweeps,
                **({"beside": table.beside} if table.beside else {}),
                **({"indexes": table.indexes} if table.indexes is not None else {}),
            }
            for name, table in self.tables.items()
        }
        plain = {
            "version": _VERSION,
            "identity": self.identity,
            "started_s": self.started_s,
            "log": b64encode(self.log).decode(),
            "clean": self.clean,
            "mode": self.mode,
            "unsure": sorted(self.unsure),
            "tables": tables,
        }
        return orjson.dumps(plain)

    @classmethod
    def decode(cls, data: bytes) -> Position:
        """What ``encode`` made; b"" is the beginning. Raises ValueError for what this program does not know."""
        if not data:
            return cls()
        found = orjson.loads(data)
        if found["version"] != _VERSION:
            raise ValueError(f"the position has the form {found['version']}, this program knows {_VERSION}")
        tables = {name: _table(members) for name, members in found["tables"].items()}
        return cls(
            found["identity"],
            b64decode(found["log"]),
            tables,
            found["clean"],
            found["started_s"],
            found.get("mode", "outbox" if found["log"] else ""),
            frozenset(found["unsure"]),
        )


def _table(members: dict[str, Any]) -> TablePosition:
    indexes = members.get("indexes")
    told = {"phase": Phase(members["phase"]), "indexes": None if indexes is None else tuple(indexes)}
    return TablePosition(**{**members, **told})
