"""Hints: which rows to read again, and when. Pure: the clock is passed in.

A hint says that a row is *about to* change: triggers fire before their transaction commits, and it may roll back.
So a key is read at once and then again and again, with growing pauses, until a commit that took even that long would
have been seen:

    hint, read, 0.5 ms, read, 1 ms, read, 2 ms, ... 16 ms, 64 ms, 256 ms, 1 s, 4 s, 16 s, 60 s, read for the last time

A commit is seen by the first read behind it. So it is seen after at most four times the time from hint to commit, and
one more than 81 s behind its hint is not seen at all (the audit finds it): the last pause covers a writer that waited
for a lock as long as MySQL lets it, 50 s. The many short pauses are for the many commits that take milliseconds.

Invariants:

    a key is held once however often it is hinted; a new hint starts its tries anew, even while the key is being read
    a key that was handed out is tried again, unless ``read`` says that its rows were read
    at most ``most`` keys are held; a hint above is not forgotten silently: ``forgotten`` names its table

Each number of tries made has a queue of its own. All keys in it wait equally long, so a queue is in the order of its
keys' times by itself and nothing is ever sorted. Cost: 1 microsecond a hint, 1 a try, 230 bytes a key held.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

#: Seconds from a try to the next; the first is made at once.
PAUSES_S: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.064, 0.256, 1.0, 4.0, 16.0, 60.0)
#: Keys held at most: those hinted at in 81 s, so 12,000 different ones a second.
MOST_KEYS: Final = 1_000_000
#: How long no hint of a table may have been dropped or lost before a look at all its rows is worth its cost.
SETTLE_S: Final = 2.0

#: A row: its table, and its key as the source writes it (see ``keytext``).
Hint = tuple[str, str]

#: The place of a key that was taken: indexes the last queue, where it never is.
_READING: Final = -1


class Hints:
    """The keys to be read again, each with its next time."""

    __slots__ = ("_forgotten", "_most", "_pauses", "_queues", "_taken", "_where")

    def __init__(self, pauses_s: Sequence[float] = PAUSES_S, most: int = MOST_KEYS) -> None:
        self._pauses = tuple(pauses_s)
        self._most = most
        #: By tries made: when each key is due, in that order.
        self._queues: tuple[OrderedDict[Hint, float], ...] = tuple(OrderedDict() for _ in range(len(self._pauses) + 1))
        #: Every key held, and which queue it is in; ``_READING`` for none.
        self._where: dict[Hint, int] = {}
        #: Keys that are being read, and the queue they came from.
        self._taken: dict[Hint, int] = {}
        #: Tables of which hints were dropped or lost, and when the last time.
        self._forgotten: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._where)

    def add(self, table: str, keys: Iterable[str], now: float) -> bool:
        """Hints that came in; True when something is due earlier than before.

        >>> hints = Hints()
        >>> hints.add("posts", ["1", "2", "1"], now=7.0), len(hints), hints.next_s()
        (True, 2, 7.0)
        """
        first = self._queues[0]
        before = len(first)
        for key in keys:
            hint = (table, key)
            place = self._where.get(hint)
            if place == 0:
                continue
            if place is not None:
                self._queues[place].pop(hint, None)
            elif len(self._where) >= self._most:
                self._forgotten[table] = now
                continue
            first[hint] = now
            self._where[hint] = 0
        return len(first) > before

    def next_s(self) -> float | None:
        """When the next key is due, on the clock of ``now``; None: none is held."""
        return min((next(iter(queue.values())) for queue in self._queues if queue), default=None)

    def take(self, now: float, limit: int) -> list[Hint]:
        """Up to ``limit`` keys that are due, to be read in a state that begins from now on; fresh ones first.

        Then call ``read``, or ``take`` again when they could not be read: it hands them out once more.

        >>> hints = Hints()
        >>> _ = hints.add("posts", ["1"], now=7.0)
        >>> hints.take(6.9, 10), hints.take(7.0, 10), hints.read(7.2), hints.take(7.2, 10), hints.next_s()
        ([], [('posts', '1')], None, [], 7.2005)
        """
        self._give_back(now)
        found: list[Hint] = []
        for place, queue in enumerate(self._queues):
            while queue and len(found) < limit:
                hint, due = next(iter(queue.items()))
                if due > now:
                    break
                del queue[hint]
                self._where[hint] = _READING
                self._taken[hint] = place
                found.append(hint)
        return found

    def read(self, now: float) -> None:
        """What was taken has been read: each key waits for its next try, after the last one it is done with."""
        for hint, place in self._taken.items():
            if self._where.get(hint) != _READING:
                continue  # hinted at anew, or let go
            if place < len(self._pauses):
                self._wait(hint, place + 1, now + self._pauses[place])
            else:
                del self._where[hint]
        self._taken.clear()

    def _give_back(self, now: float) -> None:
        """Keys taken and not read are due again at once, as if just hinted at."""
        for hint in self._taken:
            if self._where.get(hint) == _READING:
                self._wait(hint, 0, now)
        self._taken.clear()

    def _wait(self, hint: Hint, place: int, due: float) -> None:
        self._queues[place][hint] = due
        self._where[hint] = place

    def drop(self, tables: Iterable[str]) -> None:
        """Forget the keys of these tables: nobody follows them any more."""
        gone = frozenset(tables)
        for hint in [hint for hint in self._where if hint[0] in gone]:
            self._queues[self._where.pop(hint)].pop(hint, None)
        for table in gone:
            self._forgotten.pop(table, None)

    def give_up(self, now: float) -> None:
        """What was taken cannot be read: one of the keys is none, and which is not known. Their tables are named."""
        self.lose({table for table, _ in self._taken}, now)
        for hint in self._taken:
            if self._where.get(hint) == _READING:
                del self._where[hint]
        self._taken.clear()

    def lose(self, tables: Iterable[str], now: float) -> None:
        """Hints of these tables got lost on their way here."""
        self._forgotten.update(dict.fromkeys(tables, now))

    def forgotten(self, now: float) -> list[str]:
        """Tables to be compared in full, because hints of theirs are missing and that is over now. Each once."""
        quiet = [table for table, last in self._forgotten.items() if now - last >= SETTLE_S]
        for table in quiet:
            del self._forgotten[table]
        return quiet
