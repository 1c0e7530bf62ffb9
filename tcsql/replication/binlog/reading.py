"""Pieces of a body, one after the other, and never past its end. Pure.

For what comes once an event or once a table; rows have code of their own (``compiled``).
"""

from __future__ import annotations

from typing import Final

from tcsql.replication.binlog.faults import broken

_NULL: Final = 251
_WIDE: Final = {252: 2, 253: 3, 254: 8}


class Reader:
    """Bytes and a place in them; every method raises BinlogFault where they end too early."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        """The next bytes."""
        end = self.at + size
        if end > len(self.data):
            raise broken("an event ends too early")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, size: int) -> int:
        """The next bytes as a number without sign, lowest byte first."""
        return int.from_bytes(self.take(size), "little")

    def packed(self) -> int:
        """A number in one to nine bytes, as the protocol packs lengths."""
        first = self.number(1)
        if first < _NULL:
            return first
        size = _WIDE.get(first)
        if size is None:
            raise broken("a length is none")
        return self.number(size)

    def text(self) -> bytes:
        """Bytes behind their length."""
        return self.take(self.packed())

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)
