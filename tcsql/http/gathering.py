"""Gathered bodies: what requests have sent that cannot be carried out before it is whole, bounded for all together.

A body is bounded by ``max_body_bytes``; ten thousand connections that each hold back the last byte of one would be
gigabytes. So every piece is counted while its request is under way, with what becomes of it:

    with gathering.room(caller) as room: room.take(len(piece))      raises Overloaded: 503, Retry-After

One caller has half of the room at most, so that others can go on; a body that is alone may always have all of it. Who
drips is ended by its deadline (``deadlines``), so room comes back. Cost: 0.3 us a piece.
"""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from tcsql.access.callers import LOCAL, Caller
from tcsql.errors import Overloaded


class Gathering:
    """One server's; ``most``: bytes of all bodies together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        #: By caller, who has one body or more under way.
        self.of: Counter[str] = Counter()

    def room(self, caller: Caller) -> Room:
        """For one request; what it took is given back at its end."""
        return Room(self, caller)


class Room:
    """What one request has taken."""

    __slots__ = ("_caller", "_gathering", "_most", "bytes")

    def __init__(self, gathering: Gathering, caller: Caller) -> None:
        self._gathering = gathering
        self._caller = caller.id
        self._most = gathering.most if caller is LOCAL else gathering.most // 2
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give(self.bytes)

    def take(self, size: int) -> None:
        """So many more bytes are held; raises Overloaded when others hold as much as there may be."""
        gathering = self._gathering
        held, mine = gathering.bytes + size, gathering.of[self._caller] + size
        if self.bytes < gathering.bytes and (held > gathering.most or mine > self._most):
            if not gathering.of[self._caller]:
                del gathering.of[self._caller]
            raise Overloaded("too many bodies of requests are under way", "retry later, or send less at a time")
        self.bytes += size
        gathering.bytes = held
        gathering.of[self._caller] = mine

    def give(self, size: int) -> None:
        """So many of them are not held any more."""
        gathering = self._gathering
        self.bytes -= size
        gathering.bytes -= size
        gathering.of[self._caller] -= size
        if gathering.of[self._caller] <= 0:
            del gathering.of[self._caller]
