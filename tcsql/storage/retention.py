"""What is kept for how long: changes in the log by their age, and what was deleted in the file's pages.

    change_log_s     a change is gone from the log, and from the file, when it is older; looked at once a second
    secure_delete    SQLite overwrites with zeros what is deleted; ten seconds after a write at most its write-ahead log
                     is written back and cut to nothing, for its pages still hold what was there before; and at a clean
                     stop the file is written anew: of rows that were moved when a page was split or merged, SQLite
                     leaves copies in the unused part of pages (of 2,700 deleted rows, 5 to 9)

The age of a record is not stored with it, which would cost each write. Instead a mark is laid down ten times in the
span: changes up to this lsn are as old as that, or younger. So a change is forgotten up to a tenth of the span too
early and never late; marks stand in ``meta``, so that a restart does not make the log young again. A reader who
resumes behind the cut is told ``reset``, as by every other cut.

Cost: nothing per write. A mark is one small transaction; of ``secure_delete`` see docs/operations.md.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

#: Where the marks stand in ``meta``.
MARKS: Final = "change_marks"
#: Marks in a span; the more there are, the less is forgotten too early.
_MARKS: Final = 10
#: How often there is a look, and how often the log is emptied when what is deleted has to go.
LOOK_S: Final = 1.0
WIPE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Keeping:
    """The settings; ``change_log_s`` 0: however old. ``clock``: seconds since 1970, it has to survive a restart."""

    change_log_s: int = 0
    secure_delete: bool = False
    clock: Callable[[], float] = time.time

    @property
    def is_on(self) -> bool:
        return self.change_log_s > 0 or self.secure_delete


class Ages:
    """How old changes can be at most, by lsn. A clock that was set back makes nothing older than it is.

    >>> ages = Ages(100, None, lsn=5, now_s=1_000.0)      # nothing is known of what is there: it goes
    >>> ages.look(5, 1_000.0), ages.look(8, 1_000.5), ages.look(9, 1_010.0)
    (5, None, None)
    >>> ages.look(9, 1_099.0), ages.look(9, 1_100.0), ages.look(9, 1_200.0)
    (None, 9, None)
    """

    def __init__(self, span_s: float, stored: str | None, lsn: int, now_s: float) -> None:
        self._span_s = span_s
        #: (lsn, since): changes up to lsn, and behind the mark before it, were made at ``since`` or later.
        self._marks: deque[tuple[int, float]] = deque()
        self._since = now_s
        known = None if stored is None else orjson.loads(stored)
        if known is None:
            self._marks.append((lsn, now_s - span_s))
        else:
            self._marks.extend((int(mark), min(float(since), now_s)) for mark, since in known["marks"])
            self._marks.append((lsn, min(float(known["since"]), now_s)))
        self._marked = lsn
        #: Whether ``stored`` says something else than the file.
        self.is_news = True

    def look(self, lsn: int, now_s: float) -> int | None:
        """The lsn up to which changes have to go now; ``lsn``: of the last change in the file."""
        self._since = min(self._since, now_s)
        if lsn <= self._marked:
            self._since = now_s  # nothing has come since the last mark
        elif now_s - self._since >= self._span_s / _MARKS:
            self._marks.append((lsn, self._since))
            self._marked, self._since, self.is_news = lsn, now_s, True
        cut = None
        while self._marks and now_s - min(self._marks[0][1], now_s) >= self._span_s:
            cut = self._marks.popleft()[0]
            self.is_news = True
        return cut

    def stored(self) -> str:
        """What a restart is told."""
        return orjson.dumps({"marks": list(self._marks), "since": self._since}).decode()
