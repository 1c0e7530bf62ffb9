"""A link to a server that lets so many events of its binary log pass and no more: whoever reads stands at a border.

with EventLink(server.socket) as link:      # link.path: a unix socket that leads to the server
    link.allow(7)
    …                                       # somebody connects and reads the log
    link.wait_until_held()                  # the seventh event has been sent, the eighth is kept back
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Final

from tests.replication.binlogging import Link

_DUMPS: Final = frozenset([18, 30])
_HEARTBEATS: Final = frozenset([27, 41])
_HEAD: Final = 4
_ALL: Final = 1 << 30
_LONGEST: Final = 0xFFFFFF


class EventLink(Link):
    """See above. ``passed``: events of the connection that asked for a log last; heartbeats are none."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.passed = 0
        self._most = _ALL
        self._dumping: set[socket.socket] = set()
        self._is_held = threading.Event()

    def allow(self, events: int = _ALL) -> None:
        """So many for the next connection that asks for a log; those that wait now never get theirs."""
        self._most = events
        self._is_held.clear()

    def wait_until_held(self, timeout_s: float = 30.0) -> bool:
        """Whether one event more than those has come."""
        return self._is_held.wait(timeout_s)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if data[3:4] == b"\0" and data[_HEAD] in _DUMPS:  # a command is sent alone, and its packet begins anew
                    self._dumping.add(target)
                    self.passed = 0
                if source in self._dumping:
                    self._pass_events(source, target, data)
                    return
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _pass_events(self, source: socket.socket, target: socket.socket, data: bytes) -> None:
        """Packet after packet. What does not begin with 0 is no event: the end of the log, or an error."""
        kept, most, is_rest = bytearray(data), self._most, False
        while not self._ends.is_set():
            while len(kept) >= _HEAD and len(kept) >= _HEAD + (size := int.from_bytes(kept[:3], "little")):
                is_event = not is_rest and kept[_HEAD] == 0 and kept[_HEAD + 5] not in _HEARTBEATS
                if is_event and self.passed >= most:
                    self._is_held.set()
                    self._ends.wait()
                    return
                self.passed += is_event
                is_rest = size == _LONGEST
                target.sendall(kept[: _HEAD + size])
                del kept[: _HEAD + size]
            more = source.recv(65_536)
            if not more:
                target.shutdown(socket.SHUT_WR)
                return
            kept += more
