"""A session that has had no answer for some time: is the server still at it, or will none ever come?

A statement may take minutes (a filter that few rows pass, a table that is locked), and a link may die without a word to
either end. Another session tells them apart: the server lists what each session is doing. Blocking.

    nobody answers there              the link or the server is dead
    ours is at a statement            it is waited for, however long that takes
    ours waits for us, or is gone     twice in a row: the answer was sent, and is lost
    it answers, and does not tell     (too many connections) it is believed for some minutes

Cost: one session more, once in three heartbeats (5 s at least) for as long as a statement takes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from tcsql.errors import SourceAway, SourceFault
from tcsql.replication.address import Address

_IDLE: Final = "sleep"
#: Numbers of errors that no server sends: nobody was reached.
_OF_THE_DRIVER: Final = range(2000, 3000)
_COMMAND_AT: Final = 4


class Asks(Protocol):
    """What is needed of a ``Connection``."""

    def query(self, sql: str, /) -> Iterable[tuple[Any, ...]]: ...


class Silence:
    """Of one session, which has that ``number`` there. ``again``: opens another; ``most_s``: without a clear answer."""

    def __init__(self, again: Callable[[], AbstractContextManager[Asks]], number: int, most_s: float) -> None:
        self._again = again
        self._number = number
        self._most_s = most_s
        #: At which silence our session was found to be at nothing.
        self._idle_s = 0.0

    def ask(self, silent_s: float) -> None:
        """Raises TimeoutError unless there is a reason to wait; ``silent_s``: since the last byte."""
        try:
            with self._again() as other:
                found = {int(row[0]): str(row[_COMMAND_AT]) for row in other.query("SHOW PROCESSLIST")}
        except (SourceAway, SourceFault) as error:
            number = int(error.extra.get("errno") or 0)
            if number and number not in _OF_THE_DRIVER and silent_s < self._most_s:
                return
            raise TimeoutError(f"nothing has come for {silent_s:.1f} s, and another session: {error.message}") from None
        if found.get(self._number, _IDLE).lower() != _IDLE:
            self._idle_s = 0.0
            return
        was_idle, self._idle_s = 0 < self._idle_s < silent_s, silent_s
        if was_idle:
            raise TimeoutError(f"nothing has come for {silent_s:.1f} s, and the server is at nothing for us")


def socket_to(address: Address, within_s: float) -> socket.socket:
    """A connected socket that notices a dead peer; raises OSError."""
    if not address.unix_socket:
        sock = socket.create_connection((address.host, address.port), within_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", 10),
            ("TCP_KEEPINTVL", 5),
            ("TCP_KEEPCNT", 4),
            ("TCP_USER_TIMEOUT", 30_000),
        ):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return sock
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(within_s)
        sock.connect(address.unix_socket)
    except OSError:
        sock.close()
        raise
    return sock
