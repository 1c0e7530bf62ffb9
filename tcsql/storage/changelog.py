"""The bounded change log: what was changed by each lsn, for live streams that resume.

One record of the file holds the changes of one SQLite transaction, as lines. A batch's part is a head line
``lsn table layout n`` and 2n lines, the JSON of each row before and after, an empty line for none. ``n`` is -1
for a reset: a schema change, or more than 1,000 rows, where reading the list anew is cheaper than the changes.
Row JSON never contains a raw newline, so the bytes come back exactly as they went in, without parsing.

The log is cut at its old end when it exceeds a count or a size, by a tenth at a time. ``floor`` is the highest
lsn whose changes may be missing: whoever has seen less than that needs a reset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from tcsql.engine.change import RowsBatch, SchemaBatch

#: Small neighbours are counted together, up to this part of either limit: 0.2 MB are held, not 15 of 100,000 records.
_PARTS: Final = 1_000
#: A part with more rows is logged as a reset: it would push everything else out of the log.
RESET_ABOVE_ROWS: Final = 1_000
_RESET: Final = -1


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """What one batch did to one table: (before, after) of each row; ``rows`` None: anything, read it anew."""

    lsn: int
    table_id: int
    layout: int
    rows: tuple[tuple[bytes | None, bytes | None], ...] | None


class Record(NamedTuple):
    """The size of changes in the file, of one transaction or of several in a row; ``lsn`` is their last one."""

    lsn: int
    changes: int
    bytes: int


def encode(lsn: int, part: RowsBatch | SchemaBatch, layout: int) -> tuple[int, list[bytes]]:
    """How many changes a part of a batch makes, and its lines."""
    if isinstance(part, SchemaBatch) or len(part.ops) > RESET_ABOVE_ROWS:
        return 1, [b"%d %d %d %d" % (lsn, part.table_id, layout, _RESET)]
    lines = [b"%d %d %d %d" % (lsn, part.table_id, layout, len(part.ops))]
    for op in part.ops:
        lines.append(op.before or b"")
        lines.append(op.after or b"")
    return len(part.ops), lines


def encode_row(lsn: int, table_id: int, layout: int, before: bytes | None, after: bytes | None) -> bytes:
    """The lines, joined, of a batch that changes one row. 0.5 us, where ``encode`` takes 2."""
    return b"%d %d %d 1\n%b\n%b" % (lsn, table_id, layout, before or b"", after or b"")


def decode(payload: bytes) -> Iterator[LoggedChange]:
    """The changes of a record in lsn order; ValueError when the payload is not what ``encode`` wrote.

    >>> list(decode(b'7 1 0 1\\n\\n{"id":1}'))
    [LoggedChange(lsn=7, table_id=1, layout=0, rows=((None, b'{"id":1}'),))]
    """
    lines = payload.split(b"\n")
    at = 0
    while at < len(lines):
        lsn, table_id, layout, count = map(int, lines[at].split(b" "))
        at += 1
        if count == _RESET:
            yield LoggedChange(lsn, table_id, layout, None)
            continue
        images = [line or None for line in lines[at : at + 2 * count]]
        if count < 0 or len(images) != 2 * count:
            raise ValueError("a change record ends early")
        yield LoggedChange(lsn, table_id, layout, tuple(zip(images[::2], images[1::2], strict=True)))
        at += 2 * count


class LogBounds:
    """How much the log holds, and how much of its old end has to go. Sizes only, no contents.

    After a cut at an age, which may lie within what is counted together, up to a thousandth too much is counted.
    """

    def __init__(self, limit_changes: int, limit_bytes: int, records: Iterable[Record]) -> None:
        self.limit_changes = limit_changes
        self.limit_bytes = limit_bytes
        self._records: deque[Record] = deque()
        self.changes = self.bytes = 0
        for record in records:
            self.added(record, None)

    @property
    def is_on(self) -> bool:
        return self.limit_changes > 0 and self.limit_bytes > 0

    def cut_for(self, new: Record) -> int | None:
        """The lsn up to which records must go when ``new`` is added; None when nothing must.

        Cuts a tenth below the limits, so that a full log is not cut by every transaction.
        """
        changes, size = self.changes + new.changes, self.bytes + new.bytes
        if changes <= self.limit_changes and size <= self.limit_bytes:
            return None
        cut = None
        for record in self._records:
            if changes <= self.limit_changes * 0.9 and size <= self.limit_bytes * 0.9:
                break
            cut = record.lsn
            changes -= record.changes
            size -= record.bytes
        return cut

    def added(self, new: Record, cut: int | None) -> None:
        """Take note of a committed record and of the cut that went with it."""
        if cut is not None:
            self.cut(cut)
        self.changes += new.changes
        self.bytes += new.bytes
        if self._records:
            _, changes, size = self._records[-1]
            both = Record(new.lsn, changes + new.changes, size + new.bytes)
            if both.changes * _PARTS <= self.limit_changes and both.bytes * _PARTS <= self.limit_bytes:
                self._records.pop()
                new = both
        self._records.append(new)

    def __len__(self) -> int:
        """How many sizes are held."""
        return len(self._records)

    def cut(self, lsn: int) -> None:
        """Take note that everything up to ``lsn`` is gone."""
        while self._records and self._records[0].lsn <= lsn:
            old = self._records.popleft()
            self.changes -= old.changes
            self.bytes -= old.bytes
