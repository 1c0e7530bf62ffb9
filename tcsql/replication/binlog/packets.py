"""Packets of a binary log that a server sends, cut out of its bytes as they come. Pure.

Each packet is an event behind a byte of zero; the end of the log is one of 0xFE, an error one of 0xFF. What has 16 MB
or more comes in several packets, which are joined. Packets are numbered, so none can be missing.
"""

from __future__ import annotations

from typing import Final

from tcsql.replication.binlog.events import MOST_EVENT_BYTES
from tcsql.replication.binlog.faults import broken
from tcsql.replication.rows import ServerError

_LONGEST: Final = 0xFFFFFF
_HEAD: Final = 4
_OK, _END, _ERROR = 0, 0xFE, 0xFF
_MOST_END_BYTES: Final = 8


class Packets:
    """Those of one answer. ``is_over``: the server says that nothing follows."""

    def __init__(self) -> None:
        self.is_over = False
        self._kept = bytearray()
        #: Packets of an event whose last one has not come.
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._number = 1

    @property
    def kept_bytes(self) -> int:
        """Bytes of an event that is not whole yet."""
        return len(self._kept) + self._parts_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The events that are whole with these bytes; raises BinlogFault, ServerError.

        Events before an error are lost with it: they are asked for again.
        """
        kept = self._kept
        kept += data
        events: list[bytes] = []
        at, end = 0, len(kept)
        while end - at >= _HEAD:
            size = int.from_bytes(kept[at : at + 3], "little")
            if end - at < _HEAD + size:
                break
            if kept[at + 3] != self._number:
                raise broken("a packet is missing")
            self._number = self._number + 1 & 255
            payload = bytes(kept[at + _HEAD : at + _HEAD + size])
            at += _HEAD + size
            event = self._event(payload)
            if event is not None:
                events.append(event)
        del kept[:at]
        return events

    def _event(self, payload: bytes) -> bytes | None:
        """The event that ends with this packet, else None."""
        if self._parts or len(payload) == _LONGEST:
            self._parts.append(payload)
            self._parts_bytes += len(payload)
            if self._parts_bytes > MOST_EVENT_BYTES:
                raise broken("an event is longer than any can be")
            if len(payload) == _LONGEST:
                return None
            payload = b"".join(self._parts)
            self._parts, self._parts_bytes = [], 0
        first = payload[0] if payload else -1
        if first == _OK:
            return payload[1:]
        if first == _ERROR:
            text = payload[9:] if payload[3:4] == b"#" else payload[3:]
            raise ServerError(int.from_bytes(payload[1:3], "little"), text.decode("utf-8", "replace"))
        if first == _END and len(payload) <= _MOST_END_BYTES:
            self.is_over = True
            return None
        raise broken("a packet holds no event")
