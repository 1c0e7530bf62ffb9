"""Up to when all that a server has committed is known to be read: what its age is counted from. Blocking.

That events come says nothing: they may be of last week, on a slow link. The server is asked how far it is; once the
log is read as far, all that was committed before the question is here. From then on its heartbeats say the same, since
it sends them when it has nothing else to send. While events come without a pause it is asked again, once in
``every_s``; while none do, now and then: a log that was begun anew (RESET) is noticed by its being shorter.
"""

from __future__ import annotations

import time
from typing import Final

from tcsql.errors import SourceAway
from tcsql.replication.binlog.sight import Sight, reach
from tcsql.replication.binlog.stream import Parser
from tcsql.replication.connection import Connection

_IDLE_S: Final = 10.0
#: An answer that takes longer than so many heartbeats is none.
_MISSED_BEATS: Final = 3
_LEAST_PATIENCE_S: Final = 1.0
#: What is sent is not visible for a moment, no longer.
_MOST_AHEAD_S: Final = 30.0


class Proof:
    """Of one session. ``proved_s``: by ``time.monotonic()``; 0 until the first."""

    def __init__(self, every_s: float) -> None:
        self.proved_s = 0.0
        self._every_s = every_s
        self._goal: Sight | None = None
        self._asked_s = 0.0

    def prove(self, moment_s: float) -> None:
        """All that was committed before the moment is read."""
        self.proved_s = max(self.proved_s, moment_s)

    def beat(self, heard_s: float) -> None:
        """A heartbeat came. Before the first proof it may come while the server passes over what is done."""
        if self._goal is None and self.proved_s:
            self.prove(heard_s)

    def look(self, connection: Connection, parser: Parser, heard_s: float) -> None:
        """Whether the log is read as far as the server was; asks it when it is time. Raises SourceAway, SourceFault."""
        now = time.monotonic()
        goal = self._goal
        if goal is not None and not goal.covers(parser.place):
            if now - self._asked_s > _MOST_AHEAD_S:
                raise SourceAway("the source has less in its log than it has sent")
            self._goal = self._reach(connection)
        elif goal is not None and goal.is_reached(*parser.at, parser.mysql_gtids):
            self.prove(self._asked_s)
            self._goal = None
        is_due = heard_s > self.proved_s and now - self.proved_s > self._every_s
        if self._goal is None and (is_due or now - self._asked_s > _IDLE_S):
            self._goal, self._asked_s = self._reach(connection), now

    def _reach(self, connection: Connection) -> Sight:
        """How far the server is; on a link that is dead nobody waits for that."""
        with connection.patience(max(_LEAST_PATIENCE_S, _MISSED_BEATS * self._every_s)):
            return reach(connection)
