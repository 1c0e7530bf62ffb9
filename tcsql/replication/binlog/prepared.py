"""XA transactions that are prepared and have neither been committed nor rolled back: their events, packed. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from tcsql.replication.binlog.faults import unsuited
from tcsql.replication.binlog.place import Place

#: All that is kept, packed; more is not followed.
MOST_BYTES: Final = 64 << 20
#: Events are packed together from so many bytes on.
_BLOCK_BYTES: Final = 1 << 18
_HEAD: Final = 5


class _Kept(NamedTuple):
    since: Place
    blocks: list[bytes]


class Prepared:
    """By their names, in the order in which they were prepared."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._bytes = 0
        #: The one that is being read: its name, where it began, what of it is packed, and what is not yet.
        self._xid = ""
        self._growing = _Kept(Place(), [])
        self._loose = bytearray()

    def since(self) -> Place | None:
        """Where the first of them began."""
        return next((kept.since.start for kept in self._kept.values()), None)

    def begin(self, xid: str, since: Place) -> None:
        """Events of this one follow; ``since``: the place before them."""
        self.forget()
        self._xid, self._growing = xid, _Kept(since, [])

    def add(self, kind: int, body: bytes) -> None:
        """One event. Raises BinlogFault when all that is kept becomes too much."""
        self._loose += bytes([kind]) + len(body).to_bytes(_HEAD - 1, "little")
        self._loose += body
        if len(self._loose) >= _BLOCK_BYTES:
            self._pack()

    def _pack(self) -> None:
        block = zlib.compress(self._loose, 1)
        self._loose = bytearray()
        self._growing.blocks.append(block)
        self._bytes += len(block)
        if self._bytes > MOST_BYTES:
            raise unsuited("XA transactions that are prepared hold too many rows", "commit or roll them back there")

    def keep(self) -> None:
        """It is prepared."""
        if self._loose:
            self._pack()
        self.drop(self._xid)
        self._kept[self._xid] = self._growing
        self._xid, self._growing = "", _Kept(Place(), [])

    def forget(self) -> None:
        """What is being read was not prepared, or is kept already."""
        self._bytes -= sum(map(len, self._growing.blocks))
        self._xid, self._growing, self._loose = "", _Kept(Place(), []), bytearray()

    def drop(self, xid: str) -> None:
        """It was rolled back, or what it holds is known otherwise."""
        kept = self._kept.pop(xid, None)
        if kept is not None:
            self._bytes -= sum(map(len, kept.blocks))

    def take(self, xid: str) -> Iterator[tuple[int, bytes]]:
        """Its events, for the last time: type and body. Raises BinlogFault when it was prepared before our time."""
        kept = self._kept.get(xid)
        if kept is None:
            raise unsuited(
                f"XA transaction {xid[:80]} was prepared before the log is followed", "the table is copied afresh"
            )
        for block in kept.blocks:
            data = zlib.decompress(block)
            at = 0
            while at < len(data):
                size = int.from_bytes(data[at + 1 : at + _HEAD], "little")
                yield data[at], data[at + _HEAD : at + _HEAD + size]
                at += _HEAD + size
        self.drop(xid)
