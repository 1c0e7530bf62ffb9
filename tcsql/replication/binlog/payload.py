"""MySQL's compressed transactions: one event that holds those of a transaction, cut out as they are unpacked. Pure.

Unpacked piece by piece: a transaction of any size takes the memory of its largest event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import zstandard

from tcsql.replication.binlog.events import HEADER_BYTES, MOST_EVENT_BYTES
from tcsql.replication.binlog.faults import broken, unknown
from tcsql.replication.binlog.reading import Reader

_END, _SIZE, _METHOD, _UNPACKED = 0, 1, 2, 3
_ZSTD: Final = 0
_NONE: Final = 255
_PIECE: Final = 1 << 18


def events_of_payload(body: bytes) -> Iterator[bytes]:
    """The events, which have no checksums of their own; raises BinlogFault."""
    reader = Reader(body)
    fields: dict[int, int] = {}
    while True:
        kind = reader.packed()
        if kind == _END:
            break
        field = Reader(reader.text())
        if kind not in (_SIZE, _METHOD, _UNPACKED):
            continue  # such fields may be added and left out
        fields[kind] = field.packed()
    data = reader.rest()
    if fields.get(_SIZE) != len(data):
        raise broken("a compressed transaction has another size than it says")
    method = fields.get(_METHOD, _ZSTD)
    if method == _NONE:
        pieces = iter((data,))
    elif method == _ZSTD:
        pieces = _unpacked(data)
    else:
        raise unknown(f"a transaction that is compressed by method {method}")
    yield from _cut(pieces, fields.get(_UNPACKED, len(data)))


def _unpacked(data: bytes) -> Iterator[bytes]:
    try:
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            while piece := reader.read(_PIECE):
                yield piece
    except zstandard.ZstdError:
        raise broken("a compressed transaction cannot be read") from None


def _cut(pieces: Iterator[bytes], length: int) -> Iterator[bytes]:
    """Events out of pieces that end anywhere; all of them together have that length."""
    kept = bytearray()
    at = taken = 0
    for piece in pieces:
        taken += len(piece)
        if taken > length:
            raise broken("a compressed transaction is longer than it says")
        del kept[:at]
        at = 0
        kept += piece
        while len(kept) - at >= HEADER_BYTES:
            size = int.from_bytes(kept[at + 9 : at + 13], "little")
            if not HEADER_BYTES <= size <= MOST_EVENT_BYTES:
                raise broken("an event has no size")
            if len(kept) - at < size:
                break
            yield bytes(kept[at : at + size])
            at += size
    if taken != length or at != len(kept):
        raise broken("a compressed transaction ends too early")
