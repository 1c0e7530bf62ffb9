"""Types that MariaDB alone has: UUID, INET4, INET6, and columns that are COMPRESSED. Pure.

To the log UUID and INET are CHARs of bytes; only the table's definition tells what they are.
"""

from __future__ import annotations

import zlib
from typing import Final

from tcsql.replication.binlog.faults import broken, unknown
from tcsql.replication.binlog.gtids import uuid_text

#: The head of a COMPRESSED value: four bits of method, one that says that zlib's own head is left out, three of size.
_ZLIB: Final = 8


def uuid(value: bytes) -> str:
    """A UUID. In tables its parts stand in another order, in the log they do not."""
    return uuid_text(value.ljust(16, b"\0"))


def inet4(value: bytes) -> str:
    """An IPv4 address."""
    return ".".join(map(str, value.ljust(4, b"\0")))


def inet6(value: bytes) -> str:
    """An IPv6 address as MariaDB writes it: the longest run of zeros left out, even a single one; IPv4 with dots.

    >>> inet6(bytes.fromhex("00010000000200030004000500060007"))
    '1::2:3:4:5:6:7'
    """
    value = value.ljust(16, b"\0")
    if value[:10] == bytes(10) and (value[10:12] == b"\xff\xff" or (value[10:12] == b"\0\0" and any(value[12:14]))):
        return ("::ffff:" if value[10] else "::") + inet4(value[12:])
    parts = [f"{value[at] << 8 | value[at + 1]:x}" for at in range(0, 16, 2)]
    longest = max(
        (
            (length, -first)
            for first in range(8)
            for length in range(1, 9 - first)
            if parts[first : first + length] == ["0"] * length
        ),
        default=None,
    )
    if longest is None:
        return ":".join(parts)
    length, first = longest[0], -longest[1]
    return f"{':'.join(parts[:first])}::{':'.join(parts[first + length :])}"


def uncompressed(value: bytes, most: int) -> bytes:
    """A value of a COMPRESSED column; ``most``: bytes that the column can hold."""
    if not value:
        return value
    head = value[0]
    if not head:
        return value[1:]
    size = head & 7
    if head >> 4 != _ZLIB:
        raise unknown(f"a column that is compressed by method {head >> 4}")
    length = int.from_bytes(value[1 : 1 + size], "big")
    if length > most:
        raise broken("a compressed value is longer than its column")
    return inflate(value[1 + size :], length, -zlib.MAX_WBITS if head & 8 else zlib.MAX_WBITS)


def inflate(data: bytes, length: int, window: int = zlib.MAX_WBITS) -> bytes:
    """What zlib packed, exactly so long; raises BinlogFault, and takes no more memory than ``length``."""
    try:
        reader = zlib.decompressobj(window)
        found = reader.decompress(data, length + 1)
    except zlib.error:
        raise broken("what is compressed cannot be read") from None
    if len(found) != length or not reader.eof or reader.unused_data:
        raise broken("what is compressed has another length than it says")
    return found
