"""Query events: what a statement in the log means for a follower of rows. Pure.

With row events a log has statements for the borders of transactions and for what changes the schema. A statement that
changes rows (statement format) cannot be followed and is a fault, as is one that is not known.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final, NamedTuple

from tcsql.replication.binlog.charsets import BINARY, UTF8, charset_of, text_of
from tcsql.replication.binlog.faults import BinlogFault, broken, unknown, unsuited
from tcsql.replication.binlog.mariadbtypes import inflate
from tcsql.replication.binlog.reading import Reader

_POST_HEADER: Final = 13
_CHARSETS: Final = 4
#: Status variables before that of the charsets, with their bytes; -1: a text behind its length and a zero byte.
_STATUS_BYTES: Final = {0: 4, 1: 8, 3: 4}
_CATALOG: Final = frozenset([2, 6])
_MOST_TEXT: Final = 1 << 30

#: Blanks and comments before and between words; what stands in /*! */ is run by the server, hence not a comment.
_BLANK: Final = r"(?:\s|/\*(?!!|M!).*?\*/|--[ \t].*?(?:\n|$)|#.*?(?:\n|$))"
_WORD: Final = re.compile(rf"{_BLANK}*(?:/\*M?!\d*{_BLANK}*)?([A-Za-z]+)({_BLANK}+([A-Za-z]+))?", re.DOTALL)
_NOTHING: Final = re.compile(rf"{_BLANK}*", re.DOTALL)
_XID: Final = re.compile(r"XA\s+(\w+)\s+(X'[0-9A-Fa-f]*',X'[0-9A-Fa-f]*',[0-9]+)", re.IGNORECASE)
_ROWS: Final = frozenset(["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "SELECT", "CALL", "DO", "VALUES"])
_SCHEMA: Final = frozenset(["CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"])
#: Of accounts, maintenance, plugins: none changes rows or tables.
_OTHER: Final = frozenset(
    (
        *(
            "GRANT",
            "REVOKE",
            "SET",
            "FLUSH",
            "ANALYZE",
            "OPTIMIZE",
            "REPAIR",
            "CHECK",
            "INSTALL",
            "UNINSTALL",
            "COMMENT",
        ),
        *("RESET", "CHANGE", "PURGE", "CACHE", "IMPORT", "BINLOG", "SHUTDOWN", "EXECUTE", "USE", "LOCK", "UNLOCK"),
    )
)


class Sense(Enum):
    """What a statement is to us."""

    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()
    SCHEMA = auto()
    NOTHING = auto()
    XA_START = auto()
    XA_END = auto()
    XA_COMMIT = auto()
    XA_ROLLBACK = auto()


class Statement(NamedTuple):
    """``database``: the one in use, "" for none; ``xid``: of an XA statement, as it is written there."""

    sense: Sense
    database: str
    text: str
    xid: str = ""


def statement_of(body: bytes, *, is_compressed: bool = False) -> Statement:
    """The statement in an event's body; raises BinlogFault for one that changes rows or is not known."""
    reader = Reader(body)
    reader.take(8)  # the connection, and how long the statement took
    length = reader.number(1)
    reader.take(2)  # the error that it ended in
    status = reader.take(reader.number(2))
    database = reader.take(length).decode("utf-8", "replace")
    reader.take(1)
    data = _uncompressed(reader.rest()) if is_compressed else reader.rest()
    if data == b"BEGIN":
        return Statement(Sense.BEGIN, database, "BEGIN")
    text = _decoded(data, status)
    sense, xid = _sense(text)
    return Statement(sense, database, text, xid)


def _uncompressed(data: bytes) -> bytes:
    """A head with the method and the size of the length, the length, and what zlib made."""
    return inflated(data, _MOST_TEXT)


def inflated(data: bytes, most: int) -> bytes:
    """What MariaDB compressed of an event, at most so many bytes; raises BinlogFault."""
    if not data or data[0] & 0xF0 != 0x80:
        raise unknown("an event that is compressed by another method")
    size = data[0] & 7
    length = int.from_bytes(data[1 : 1 + size], "big")
    if length > most:
        raise broken("what is compressed is longer than an event can be")
    return inflate(data[1 + size :], length)


def _decoded(data: bytes, status: bytes) -> str:
    """The text, in the charset of the session that ran it; it is looked at, not run."""
    if data.isascii():
        return data.decode("ascii")
    try:
        charset = charset_of(_collation(status))
        if charset != BINARY and charset not in UTF8:
            found = text_of(charset)(data)
            return found if type(found) is str else data.decode("utf-8", "replace")
    except BinlogFault:  # no server lets a session have it; what is not ASCII decides nothing here
        pass
    return data.decode("utf-8", "replace")


def _collation(status: bytes) -> int:
    """The collation of the session's texts; 45 (utf8mb4) where it is not said."""
    reader = Reader(status)
    while reader.left:
        kind = reader.number(1)
        if kind == _CHARSETS:
            return reader.number(2)
        if kind in _STATUS_BYTES:
            reader.take(_STATUS_BYTES[kind])
        elif kind in _CATALOG:
            reader.take(reader.number(1) + (kind == 2))
        else:
            break
    return 45


def _sense(text: str) -> tuple[Sense, str]:
    match = _WORD.match(text)
    if match is None:
        if _NOTHING.fullmatch(text):  # what a server sends in place of an event that is not meant for us
            return Sense.NOTHING, ""
        raise unknown(f"the statement {text[:80]!r}")
    word, second = match[1].upper(), (match[3] or "").upper()
    if word == "XA":
        return _xa_sense(text)
    if word in ("BEGIN", "COMMIT"):
        return Sense[word], ""
    if word == "ROLLBACK":
        if second:
            raise unsuited("a transaction was rolled back in part", "keep to tables of InnoDB in transactions")
        return Sense.ROLLBACK, ""
    if word in _SCHEMA:
        return Sense.SCHEMA, ""
    if word in _OTHER or word in ("SAVEPOINT", "RELEASE"):
        return Sense.NOTHING, ""
    if word in _ROWS:
        raise unsuited(
            f"it has the statement {text[:80]!r}, not its rows", "run there: SET GLOBAL binlog_format = 'ROW'"
        )
    raise unknown(f"the statement {text[:80]!r}")


def _xa_sense(text: str) -> tuple[Sense, str]:
    match = _XID.match(text.lstrip())
    senses = {
        "START": Sense.XA_START,
        "BEGIN": Sense.XA_START,
        "END": Sense.XA_END,
        "COMMIT": Sense.XA_COMMIT,
        "ROLLBACK": Sense.XA_ROLLBACK,
        "PREPARE": Sense.NOTHING,
    }
    if match is None or match[1].upper() not in senses:
        raise unknown(f"the statement {text[:80]!r}")
    return senses[match[1].upper()], match[2].lower()


def xid_text(format_id: int, gtrid: bytes, bqual: bytes) -> str:
    """An XA transaction's name as XA statements in the log write it.

    >>> xid_text(1, b"ab", b"")
    "x'6162',x'',1"
    """
    return f"x'{gtrid.hex()}',x'{bqual.hex()}',{format_id}"
