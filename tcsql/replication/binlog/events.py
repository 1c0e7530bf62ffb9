"""Frames of a binary log: headers, types, checksums, the format that a log announces of itself. Pure.

An event is 19 bytes of header, a body, and four bytes of CRC-32 where the log has checksums. The same bytes come from
files and, each behind one byte more, from a server. Checksums are compared always: 0.1 us for a short event.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from tcsql.replication.binlog.faults import broken, unknown, unsuited

MAGIC: Final = b"\xfebin"
HEADER_BYTES: Final = 19
#: Nothing that a server writes is longer: max_allowed_packet ends at 1 GB, and a row has an image before and after.
MOST_EVENT_BYTES: Final = (1 << 31) + (1 << 20)
_HEADER: Final = Struct("<IBIIIH").unpack_from
_CRC: Final = Struct("<I").unpack_from
_CRC_BYTES: Final = 4
_TYPE_AT: Final = 4
_NO_CHECKSUM: Final = 0
_CRC32: Final = 1
_FLAGS_AT: Final = 17
_IN_USE: Final = 1
#: Those who do not know its type may skip the event.
IGNORABLE: Final = 0x80


class Type(IntEnum):
    """Types of events: numbers up to 42 are MySQL's, from 160 on MariaDB's."""

    QUERY = 2
    STOP = 3
    ROTATE = 4
    INTVAR = 5
    CREATE_FILE = 8
    APPEND_BLOCK = 9
    DELETE_FILE = 11
    RAND = 13
    USER_VAR = 14
    FORMAT = 15
    XID = 16
    BEGIN_LOAD = 17
    EXECUTE_LOAD = 18
    TABLE_MAP = 19
    WRITE_V1 = 23
    UPDATE_V1 = 24
    DELETE_V1 = 25
    INCIDENT = 26
    HEARTBEAT = 27
    IGNORABLE = 28
    ROWS_QUERY = 29
    WRITE = 30
    UPDATE = 31
    DELETE = 32
    GTID = 33
    ANONYMOUS_GTID = 34
    PREVIOUS_GTIDS = 35
    TRANSACTION_CONTEXT = 36
    VIEW_CHANGE = 37
    XA_PREPARE = 38
    PARTIAL_UPDATE = 39
    PAYLOAD = 40
    HEARTBEAT_V2 = 41
    TAGGED_GTID = 42
    ANNOTATE = 160
    CHECKPOINT = 161
    MARIADB_GTID = 162
    GTID_LIST = 163
    START_ENCRYPTION = 164
    QUERY_COMPRESSED = 165
    WRITE_COMPRESSED_V1 = 166
    UPDATE_COMPRESSED_V1 = 167
    DELETE_COMPRESSED_V1 = 168
    WRITE_COMPRESSED = 169
    UPDATE_COMPRESSED = 170
    DELETE_COMPRESSED = 171


class Header(NamedTuple):
    """The head of an event. ``position``: where the next one begins in the file, 0 for an event in no file."""

    timestamp_s: int
    type: int
    server_id: int
    size: int
    position: int
    flags: int


class Format(NamedTuple):
    """What a log says of itself. ``has_checksums``: of all events that follow; ``post_header``: by type - 1."""

    server: str
    has_checksums: bool
    post_header: bytes

    def post_header_of(self, kind: int) -> int:
        """Bytes of the fixed part of an event's body; raises BinlogFault for a type that the server does not have."""
        if not 0 < kind <= len(self.post_header):
            raise unknown(f"an event of type {kind}")
        return self.post_header[kind - 1]


def header_of(event: bytes | memoryview) -> Header:
    """The head; raises BinlogFault unless the event is as long as it says."""
    if len(event) < HEADER_BYTES:
        raise broken("an event ends in its head")
    header = Header(*_HEADER(event))
    if header.size != len(event):
        raise broken(f"an event of {header.size} bytes has {len(event)}")
    return header


def body_of(event: bytes, format_: Format) -> bytes:
    """The event without head and checksum; raises BinlogFault when the checksum is another."""
    if not format_.has_checksums:
        return event[HEADER_BYTES:]
    return event[HEADER_BYTES : len(event) - checked(event)]


def checked(event: bytes) -> int:
    """Bytes of the checksum, after it was compared."""
    end = len(event) - _CRC_BYTES
    if end < HEADER_BYTES:
        raise broken("an event ends in its checksum")
    if crc32(memoryview(event)[:end]) != _CRC(event, end)[0]:
        raise broken("an event has another checksum than it was written with")
    return _CRC_BYTES


def format_of(event: bytes) -> Format:
    """The format that a description event announces; raises BinlogFault for one that is not of these servers."""
    if len(event) < HEADER_BYTES + 2 + 50 + 4 + 1 + 5:
        raise broken("its description is too short")
    algorithm = event[-5]
    # it has a checksum even where the others have none. A log that is being written says so in a flag, which is no part
    plain = bytearray(event)
    plain[_FLAGS_AT] &= ~_IN_USE
    checked(bytes(plain))
    if algorithm not in (_NO_CHECKSUM, _CRC32):
        raise unsuited(f"its checksum is of kind {algorithm}", "run there: SET GLOBAL binlog_checksum = 'CRC32'")
    body = event[HEADER_BYTES:-5]
    version = int.from_bytes(body[:2], "little")
    if version != 4 or body[56] != HEADER_BYTES:
        raise unknown(f"version {version}")
    server = body[2:52].split(b"\0")[0].decode("latin1")
    return Format(server, algorithm == _CRC32, body[57:])


def is_format(event: bytes) -> bool:
    """Whether it is a description event."""
    return len(event) > _TYPE_AT and event[_TYPE_AT] == Type.FORMAT


def is_heartbeat(event: bytes) -> bool:
    """Whether it says nothing but that the server is there."""
    return len(event) > _TYPE_AT and event[_TYPE_AT] in (Type.HEARTBEAT, Type.HEARTBEAT_V2)


def events_of_file(data: bytes) -> Iterator[bytes]:
    """The events of a whole file; raises BinlogFault where it is cut."""
    if data[:4] != MAGIC:
        raise broken("it is no binary log (or it is encrypted)")
    at = len(MAGIC)
    while at < len(data):
        if at + HEADER_BYTES > len(data):
            raise broken("it ends in the head of an event")
        size = int.from_bytes(data[at + 9 : at + 13], "little")
        if size < HEADER_BYTES or at + size > len(data):
            raise broken("it ends within an event")
        yield data[at : at + size]
        at += size
