"""What readers yield: rows in batches, schema statements, and what they had to leave out, each with its line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tcsql.engine.values import ClientValue

#: A value as a reader hands it on: a client's, or bytes from a dump's binary column.
Value = ClientValue | bytes | Decimal


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table in the order of the file.

    ``trusted``: they are MySQL's own, to be taken as MySQL stored them. ``place(n)``: line and text of row n, found
    only when it is asked for.
    """

    table: str
    rows: Sequence[Mapping[str, Value]]
    trusted: bool
    place: Callable[[int], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Ddl:
    """A schema statement, to be carried out before the next record is asked for."""

    sql: str
    line: int


@dataclass(frozen=True, slots=True)
class Use:
    """The dump goes on with another database."""

    database: str
    line: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A statement that means nothing here, such as CREATE VIEW; ``what`` is for the summary."""

    what: str
    line: int


@dataclass(frozen=True, slots=True)
class Bad:
    """A line or row that cannot be read; the reader has gone on behind it."""

    line: int
    text: str
    reason: str


Record = Rows | Ddl | Use | Skipped | Bad


class RowBatch:
    """Collects rows one by one and keeps them in order with the bad ones between them."""

    def __init__(self, table: str, trusted: bool, place: Callable[[int], tuple[int, str]]) -> None:
        self._table = table
        self._trusted = trusted
        self._place = place
        self._rows: list[Mapping[str, Value]] = []
        self._numbers: list[int] = []
        self.records: list[Record] = []

    def add(self, number: int, row: Mapping[str, Value]) -> None:
        """A good row; ``number`` is what ``place`` knows it by."""
        self._rows.append(row)
        self._numbers.append(number)

    def refuse(self, bad: Bad) -> None:
        self.flush()
        self.records.append(bad)

    def flush(self) -> None:
        """Make a record of the rows collected so far."""
        if self._rows:
            numbers, place = self._numbers, self._place
            self.records.append(Rows(self._table, self._rows, self._trusted, lambda n: place(numbers[n])))
            self._rows, self._numbers = [], []
