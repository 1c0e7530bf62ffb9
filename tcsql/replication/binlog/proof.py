"""Up to when all that a server has committed is known to be read: what its age is counted from. Blocking.

That events come says nothing: they may be of last week, on a slow link. Heartbeats say nothing either: a server whose
log was thrown away under us (RESET) goes on to send them, and nothing else. So once in ``every_s`` it is asked how far
it is; when the log is read as far, all that was committed before the question is here. With the same question it says
how often RESET was run, and whether it has become a replica: then the session ends, and the next finds out whether the
log is still the one we read, and has all that we need.

Cost: two short statements in ``every_s``.
"""

from __future__ import annotations

import time
from typing import Final

from tcsql.errors import SourceAway
from tcsql.replication.binlog.sight import Sight, reach, turns_of
from tcsql.replication.binlog.stream import Parser
from tcsql.replication.connection import Connection

#: An answer that takes longer than so many heartbeats is none.
_MISSED_BEATS: Final = 3
_LEAST_PATIENCE_S: Final = 1.0
#: What is sent is not visible for a moment, what is visible not sent, no longer.
_MOST_APART_S: Final = 30.0


class Proof:
    """Of one session. ``proved_s``: by ``time.monotonic()``; 0 until the first.

    ``turns``: see ``turns_of``, before anything was asked of the log.
    """

    def __init__(self, every_s: float, turns: str = "") -> None:
        self.proved_s = 0.0
        self._every_s = every_s
        self._turns = turns
        self._goal: Sight | None = None
        self._asked_s = 0.0

    def look(self, connection: Connection, parser: Parser, moved_s: float) -> None:
        """Whether the log is read as far as the server was; asks it when it is time. Raises SourceAway, SourceFault.

        ``moved_s``: when the server sent something last that was no heartbeat.
        """
        now = time.monotonic()
        goal = self._goal
        if goal is not None and not goal.covers(parser.place):
            if now - self._asked_s > _MOST_APART_S:
                raise SourceAway("the source has less in its log than it has sent")
            self._goal = self._reach(connection)
        elif goal is not None and goal.is_reached(*parser.at, parser.mysql_gtids):
            self.proved_s = max(self.proved_s, self._asked_s)
            self._goal = None
        elif goal is not None and now - max(self._asked_s, moved_s) > _MOST_APART_S:
            raise SourceAway("the source does not send what it shows")
        if self._goal is None and now - self._asked_s >= self._every_s:
            self._goal, self._asked_s = self._reach(connection), now

    def require_no_turn(self, connection: Connection) -> None:
        """Raises SourceAway when the log may be another since this session has begun."""
        turns = turns_of(connection)
        if turns != self._turns:
            raise SourceAway(f"RESET was run at the source, or it was made a replica, and is looked at anew: {turns}")

    def _reach(self, connection: Connection) -> Sight:
        """How far the server is; on a link that is dead nobody waits for that."""
        with connection.patience(max(_LEAST_PATIENCE_S, _MISSED_BEATS * self._every_s)):
            found = reach(connection)
            self.require_no_turn(connection)  # behind it: a RESET before the answer was counted before it
            return found
