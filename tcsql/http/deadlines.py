"""Deadlines: how long a client may take for a head, a body, its next request, and for reading a reply.

    head        ``header_s`` from its first byte                        408, closed
    body        ``body_s``, and longer only while it comes at ``body_rate``    408, closed
    next one    ``keepalive_s`` without a byte                          closed
    reply       as a body: what is not taken at that rate after ``body_s``     cut

One sweep a second looks at all connections; there is no timer for a request, which would cost 1 us of its 10. So a
deadline comes up to two seconds late, and never early: times are those of the last sweep, when there was nothing newer.

Cost: 0.2 us a connection and second.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from collections.abc import Iterable
from contextlib import suppress
from math import inf
from typing import Final, Protocol

from tcsql.settings import Settings

#: A body, or a reply, that takes longer than ``body_s`` is looked at in stretches of this length.
STRETCH_S: Final = 10.0


class Pace:
    """Whether something that has had its time still moves fast enough; ``until_s`` is when it is looked at next."""

    __slots__ = ("_is_late", "moved", "until_s")

    def __init__(self) -> None:
        self.until_s = inf
        self.moved = 0
        self._is_late = False

    def begin(self, until_s: float) -> None:
        self.until_s, self.moved, self._is_late = until_s, 0, False

    def end(self) -> None:
        self.until_s = inf

    def is_too_slow(self, now_s: float, stretch_s: float, rate: int) -> bool:
        """Asked when ``until_s`` has come: whether too little has moved since; the next stretch begins.

        >>> pace = Pace()
        >>> pace.begin(60.0)
        >>> pace.is_too_slow(60.0, 10.0, rate=100), pace.is_too_slow(70.0, 10.0, rate=100)
        (False, True)
        """
        is_too_slow = self._is_late and self.moved < rate * stretch_s
        self.until_s, self.moved, self._is_late = now_s + stretch_s, 0, True
        return is_too_slow


class Watched(Protocol):
    """What is looked at of a connection; times by the sweep's clock."""

    #: The last byte that came, or the last reply; when a head began that is not whole yet, or never.
    active_s: float
    head_s: float
    body: Pace
    reply: Pace

    def close_if_idle(self) -> None:
        """Nothing has come for a while."""

    def refuse_head(self) -> None:
        """Its head is not whole in time."""

    def look_at_body(self, now_s: float, stretch_s: float, rate: int) -> None:
        """Its body is not whole in time."""

    def look_at_reply(self, now_s: float, stretch_s: float, rate: int) -> None:
        """It has not read its reply in time."""


class Reader(Protocol):
    """Who has not taken all of its reply."""

    def cut(self) -> None:
        """Let go of it, and of the connection."""


class Unsent:
    """Replies that wait for their readers, of all connections: bounded, because each has a large one for free.

    When there are too many bytes, who has waited longest is cut; one reply alone may be of any size. Costs nothing but
    for connections that do not take what they are sent.

    >>> unsent = Unsent(most=100)
    >>> unsent.bytes
    0
    """

    __slots__ = ("_held", "_most", "bytes")

    def __init__(self, most: int) -> None:
        self._most = most
        #: In the order in which they began to wait.
        self._held: dict[Reader, int] = {}
        self.bytes = 0

    def begin(self, reader: Reader, size: int) -> None:
        """So many bytes wait for it from now on."""
        self.end(reader)
        self._held[reader] = size
        self.bytes += size
        while self.bytes > self._most and len(self._held) > 1:
            slowest = next(iter(self._held))
            self.end(slowest)
            slowest.cut()

    def end(self, reader: Reader) -> None:
        """It has taken them, or is gone."""
        self.bytes -= self._held.pop(reader, 0)


class Deadlines:
    """Those of one server."""

    def __init__(self, settings: Settings) -> None:
        self.unsent = Unsent(settings.max_unsent_bytes)
        self._keepalive_s = float(settings.keepalive_s)
        self._header_s = float(settings.header_s)
        self.body_s = float(settings.body_s)
        self._stretch_s = min(STRETCH_S, self.body_s)
        self._rate = settings.body_rate

    def sweep(self, connections: Iterable[Watched], last_s: float) -> None:
        """Look at all connections, which have seen the clock of the last sweep, ``last_s``."""
        oldest, oldest_head = last_s - self._keepalive_s, last_s - self._header_s
        for connection in connections:
            if connection.active_s < oldest:
                connection.close_if_idle()
            if connection.head_s < oldest_head:
                connection.refuse_head()
            if connection.body.until_s < last_s:
                connection.look_at_body(last_s, self._stretch_s, self._rate)
            if connection.reply.until_s < last_s:
                connection.look_at_reply(last_s, self._stretch_s, self._rate)


def unacknowledged(descriptor: int) -> int:
    """Bytes that a socket holds and the other side has not taken; 0 where the system does not tell."""
    held = b"\0\0\0\0"
    with suppress(OSError):
        held = fcntl.ioctl(descriptor, termios.TIOCOUTQ, held)
    return int(struct.unpack("i", held)[0])
