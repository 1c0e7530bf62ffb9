"""Events that name a transaction: GTIDs of both servers, prepared XA transactions. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from tcsql.replication.binlog.faults import broken, unknown
from tcsql.replication.binlog.gtids import uuid_text
from tcsql.replication.binlog.reading import Reader
from tcsql.replication.binlog.statements import xid_text

_STANDALONE: Final = 1
_GROUP_COMMIT: Final = 2
_PREPARED: Final = 64
_COMPLETED: Final = 128
#: Fields of a tagged GTID, by their numbers.
_FLAGS, _UUID, _NUMBER, _TAG = 0, 1, 2, 3


class Named(NamedTuple):
    """The name of a transaction that begins. ``gtid``: "" for one without name (MySQL with gtid_mode=OFF).

    ``is_standalone``: MariaDB's: one statement, no end mark. ``prepared``: MariaDB's: its XA name, which is prepared.
    """

    gtid: str
    is_standalone: bool = False
    prepared: str = ""


def mariadb_gtid(body: bytes, server_id: int) -> Named:
    """MariaDB's; raises BinlogFault."""
    reader = Reader(body)
    number, domain, flags = reader.number(8), reader.number(4), reader.number(1)
    if flags & _GROUP_COMMIT:
        reader.take(8)
    xid = ""
    if flags & (_PREPARED | _COMPLETED):
        format_id, first, second = reader.number(4), reader.number(1), reader.number(1)
        xid = xid_text(format_id, reader.take(first), reader.take(second))
    prepared = xid if flags & _PREPARED else ""
    return Named(f"{domain}-{server_id}-{number}", bool(flags & _STANDALONE), prepared)


def mysql_gtid(body: bytes) -> Named:
    """MySQL's, without tag."""
    reader = Reader(body)
    reader.take(1)
    uuid = uuid_text(reader.take(16))
    return Named(f"{uuid}:{reader.number(8)}")


def tagged_gtid(body: bytes) -> Named:
    """MySQL's, with a tag: fields with their numbers, in a format that later servers may add fields to."""
    reader = Reader(body)
    version = _number(reader)
    if version != 1:
        raise unknown(f"a transaction's name of version {version}")
    _number(reader)  # bytes of it all
    _number(reader)  # the last field that has to be known
    uuid, number, tag = b"", 0, ""
    while reader.left and not (uuid and number and tag):
        field = _number(reader)
        if field == _FLAGS:
            reader.take(1)
        elif field == _UUID:
            uuid = bytes(_number(reader) & 255 for _ in range(16))
        elif field == _NUMBER:
            number = _signed(reader)
        elif field == _TAG:
            tag = reader.take(_number(reader)).decode("ascii", "replace")
        else:
            break
    if not uuid or number <= 0:
        raise broken("a transaction has no name")
    return Named(f"{uuid_text(uuid)}:{tag}:{number}" if tag else f"{uuid_text(uuid)}:{number}")


def _number(reader: Reader) -> int:
    """A number whose lowest set bits, in unary, say how many bytes follow."""
    first = reader.number(1)
    more = 0
    while first >> more & 1:
        more += 1
    if more > 7:
        return reader.number(8)
    return (first | reader.number(more) << 8) >> more + 1


def _signed(reader: Reader) -> int:
    number = _number(reader)
    return ~(number >> 1) if number & 1 else number >> 1


def xa_prepare(body: bytes) -> tuple[bool, str]:
    """Whether it commits at once, and the XA transaction's name."""
    reader = Reader(body)
    one_phase, format_id = bool(reader.number(1)), reader.number(4)
    first, second = reader.number(4), reader.number(4)
    return one_phase, xid_text(format_id, reader.take(first), reader.take(second))
