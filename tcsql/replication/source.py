"""What a follower and a source say to one another, as plain values; the same for push, outbox and binlog.

A *step* takes the follower from one committed state of the source to a later one: the rows that changed, as they are
at that state, and on request a stretch of one table as of the very same state. That is all a follower needs:

    first copy   steps that also read the next stretch of a table, until its end (no lock, no long snapshot: whatever
                 changes before, between or behind the stretches arrives as a change of a later step)
    verify       the same stretches, compared with what is held instead of written
    sweep        steps that also read keys which we hold: those that are missing have gone at the source

Invariants, for every source:

    a row in a step is the row at the step's state, never an older one; a key without a row does not exist there
    states never go back; ``complete`` steps hold every change committed before their state
    what ``token`` stands for is given again, in a later step, until it was acknowledged: applying is idempotent
    a source never guesses: what it cannot read exactly is a SourceFault with the reason

Sources are blocking and live in a process of their own (``tcsql.replication.worker``), so that decoding rows never
holds up a reader. Values cross as columns: a row is one position in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from tcsql.engine.schema import TableSchema
from tcsql.engine.values import JsonValue, PKey

#: One column of many rows, as stored values.
Values = Sequence[JsonValue]
#: A primary key as the source writes it (see ``keytext``): comparable only there, exact in both directions.
KeyText = str


class Identity(NamedTuple):
    """Which server this is. ``server``: survives restarts, differs between servers; ``flavour``: mariadb or mysql.

    ``started_s``: when its process began, in Unix seconds, give or take one; 0 where that cannot be told.
    """

    server: str
    flavour: str
    version: str
    started_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TableState:
    """One followed table as the source has it now.

    ``definition``: a digest of columns, types and key: another digest is another table. ``incarnation``: changes when
    its rows were thrown away or swapped without a row event (TRUNCATE, table swap), or who tells of changes was away
    for a time; parts with | between them, each "" where it cannot be seen.
    ``problem``: why it cannot be followed now (lost triggers, no primary key), with ``remedy``, else None.
    ``rows``, ``bytes``: the source's estimates. ``needs``: bytes that it will take here, at most, by ours; 0: unknown.
    """

    name: str
    schema: TableSchema
    definition: str
    incarnation: str
    rows: int
    bytes: int
    problem: str | None = None
    remedy: str | None = None
    needs: int = 0


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table. ``columns``: in the order of the schema's columns, all of one length."""

    pkeys: Sequence[PKey] = ()
    columns: Sequence[Values] = ()

    def __len__(self) -> int:
        return len(self.pkeys)


@dataclass(frozen=True, slots=True)
class TableChange:
    """What has changed in one table: rows as they are at the step's state, and keys that have no row there."""

    rows: Rows
    gone: Sequence[PKey] = ()


@dataclass(frozen=True, slots=True)
class ReadRange:
    """Ask for the next stretch of a table in the source's own key order; ``after`` None: from its beginning."""

    table: str
    after: KeyText | None
    limit: int


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """Ask for rows by keys of ours. ``only_missing``: the answer needs no rows, only the keys that have none."""

    table: str
    pkeys: Sequence[PKey]
    only_missing: bool = False


@dataclass(frozen=True, slots=True)
class RangeRead:
    """The stretch asked for. ``last``: where to go on, None: the table ends here."""

    table: str
    rows: Rows
    last: KeyText | None


@dataclass(frozen=True, slots=True)
class KeysRead:
    """The rows of the keys asked for, and the keys that have none."""

    table: str
    rows: Rows
    missing: Sequence[PKey]


@dataclass(frozen=True, slots=True)
class Step:
    """From one state of the source to a later one.

    ``changes``: by table. ``read``: the answer to what was asked for; None when nothing was, or the source had too many
    changes to also read (then ask again). ``events``: how many changes the source had noted (several of one row count).
    ``token``: acknowledge it when all this is durable here. ``complete``: nothing committed before the state is left
    out; False while a backlog is worked off. ``position``: where a source with a log goes on from; b"" without one.
    ``source_s``: the source's clock (Unix seconds) at the state; ``heartbeat_s``: its clock in the newest heartbeat
    row seen so far, None before the first. ``taken_s``: ``time.monotonic()`` just before the state was taken, which is
    one clock for all processes of a machine. ``unsure``: tables of which changes may have been missed for good: compare
    all their rows, and repair; told once. Only a source that cannot give again what was lost says so. ``look``: a table
    that is not followed, though it should be, was altered: look at the tables at once.
    """

    changes: Mapping[str, TableChange] = field(default_factory=dict)
    read: RangeRead | KeysRead | None = None
    events: int = 0
    token: bytes = b""
    complete: bool = True
    position: bytes = b""
    source_s: float = 0.0
    heartbeat_s: float | None = None
    taken_s: float = 0.0
    unsure: Sequence[str] = ()
    look: bool = False


class Source(Protocol):
    """A source, blocking. Every method raises SourceAway (try again later) or SourceFault (a person must act)."""

    def open(self, position: bytes) -> Identity:
        """Connect, claim the source for us alone, go on from ``position`` (b"": from now)."""

    def tables(self) -> Sequence[TableState]:
        """All tables of the settings as they are now; cost: some queries of information_schema."""

    def follow(self, tables: Sequence[str]) -> None:
        """From now on steps carry the changes of these tables; of others they are consumed and dropped."""

    def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        """The next step. ``acknowledged``: the token of the last step, durable here now, b"" for none.

        Waits at most ``wait_s`` seconds for the first change when there is none and nothing to read.
        """

    def close(self) -> None:
        """Give up the claim and the connection."""
