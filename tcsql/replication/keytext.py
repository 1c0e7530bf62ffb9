r"""Primary keys as text: how triggers note them, how rows are asked for by them, and what they are here.

A key's text is ASCII, its columns' parts joined by commas (no part contains one), exact in both directions:

    integers, BIT, YEAR                       -42             the number
    DECIMAL, DATE, DATETIME, TIME             -12:34:56.25    as MySQL prints them
    TIMESTAMP                                 1700000000.5    Unix time: the same whatever zone the writer has
    ENUM, SET                                 3               the number, not the name
    CHAR, VARCHAR, TEXT                       C3A9            their UTF-8 bytes in hexadecimal
    BINARY, VARBINARY, BLOB                   00FF            their bytes in hexadecimal
    UUID, INET4, INET6                        3A3A31          their text in hexadecimal

Texts are equal when keys are the same bytes, although a collation may hold others equal, too ('a' = 'A'): one row of
the source then has one text at a time. A condition made here may therefore find a row under another spelling; whoever
asks selects ``key_expression`` as well and compares. Keys of other types, and those that ``key_problem`` names, have
no exact text.

Conditions compare the plain column with a literal of its own type, charset and collation, so that the primary key's
index is used. The session needs a ``sql_mode`` without NO_ZERO_DATE and, for TIMESTAMP, a time zone that is a fixed
offset. Pure; the text of an integer key is turned in 0.1 us.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Final

from tcsql.engine.schema import Column
from tcsql.engine.values import PKey
from tcsql.errors import SourceFault
from tcsql.literals import quote_name
from tcsql.replication.catalogue import CatalogueColumn
from tcsql.replication.source import KeyText

#: Most characters of a key's text: what the outbox has room for.
MOST_CHARACTERS: Final = 6200
#: Keys to ask for in one statement. From 1,000 on MariaDB makes a subquery of an IN list.
KEYS_AT_ONCE: Final = 900
#: "Greater" is not looked up in an index of an ENUM; a list of the members behind is, up to so many.
_MEMBERS_LISTED: Final = 256


class Form(Enum):
    """How a column of a key becomes text."""

    NUMBER = "number"
    ZEROFILL = "zerofill"
    MOMENT = "moment"
    TIMESTAMP = "timestamp"
    ENUM = "enum"
    SET = "set"
    TEXT = "text"
    BINARY = "binary"
    NAME = "name"


_FORMS: Final[dict[str, Form]] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "decimal"), Form.NUMBER),
    **dict.fromkeys(("bit", "year"), Form.ZEROFILL),
    **dict.fromkeys(("date", "datetime", "time"), Form.MOMENT),
    "timestamp": Form.TIMESTAMP,
    "enum": Form.ENUM,
    "set": Form.SET,
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), Form.TEXT),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), Form.BINARY),
    **dict.fromkeys(("uuid", "inet4", "inet6"), Form.NAME),
}
#: Charsets of which every character turns into Unicode and back (a test asks the server).
_ONE_BYTE: Final = "cp850 cp852 cp866 keybcs2 koi8r koi8u latin1 latin2 latin5 latin7 macce macroman"
_UNICODE: Final = "ucs2 utf16 utf16le utf32 utf8 utf8mb3 utf8mb4"
EXACT_CHARSETS: Final = frozenset(f"{_ONE_BYTE} {_UNICODE}".split())
#: Those with bytes that are no character: such bytes become "?", every character is exact.
LOOSE_CHARSETS: Final = frozenset(("ascii", "cp1250", "cp1251", "cp1256", "cp1257", "dec8", "greek", "hebrew"))
#: Most bytes that one character has in UTF-8.
_UTF8_BYTES: Final = {"ascii": 1, "utf16": 4, "utf16le": 4, "utf32": 4, "utf8mb4": 4}


def form_of(column: CatalogueColumn) -> Form | None:
    """How a column of this type becomes text; None when it cannot."""
    form = _FORMS.get(column.data_type)
    if form is Form.NUMBER and "zerofill" in column.column_type.lower():
        return None if column.data_type == "decimal" else Form.ZEROFILL
    return form


def key_problem(columns: Sequence[CatalogueColumn], zone: str) -> str | None:
    """Why a key of these columns has no exact text of at most ``MOST_CHARACTERS``; None when it has.

    ``zone``: the time zone in which TIMESTAMP columns are read.
    """
    if not columns:
        return "it has no primary key"
    longest = len(columns) - 1
    for column in columns:
        form = form_of(column)
        if form is None or column.is_json:
            return f"keys of type {column.column_type} (column {column.name}) are not followed"
        if column.key_prefix:
            return f"its primary key holds only the first {column.key_prefix} of column {column.name}"
        if form is Form.TEXT and column.charset not in EXACT_CHARSETS | LOOSE_CHARSETS:
            return f"texts of charset {column.charset} (column {column.name}) do not become Unicode and back exactly"
        if form is Form.TIMESTAMP and zone[:1] not in ("+", "-"):
            return f"TIMESTAMP column {column.name} of its key needs a time_zone that is an offset, not {zone}"
        longest += _longest(column, form)
    if longest > MOST_CHARACTERS:
        return f"the text of its key may have {longest} characters, more than {MOST_CHARACTERS}"
    return None


def _longest(column: CatalogueColumn, form: Form) -> int:
    if form is Form.TEXT:
        return 2 * (column.length or 0) * _UTF8_BYTES.get(column.charset, 3)
    if form in (Form.BINARY, Form.NAME):
        return 2 * (column.length or 45)
    return 70  # DECIMAL(65,30) with sign and point


# -- at the source: expressions --------------------------------------------------------------------------------


def key_expression(columns: Sequence[CatalogueColumn], prefix: str = "") -> str:
    """SQL that gives a key's text. ``prefix``: ``NEW.``, ``OLD.``, an alias with its point, or "".

    >>> id_ = CatalogueColumn("id", "int", "int(11)", "", "", False, None, "", None, False, 1)
    >>> key_expression([id_], "NEW.")
    'CAST(NEW.`id` AS CHAR)'
    """
    parts = [_EXPRESSIONS[_form(column)].format(prefix + quote_name(column.name)) for column in columns]
    return parts[0] if len(parts) == 1 else f"CONCAT_WS(',',{','.join(parts)})"


#: In triggers MariaDB's UNIX_TIMESTAMP of the zero date is NULL, elsewhere 0.
_UNIX_TIME: Final = "COALESCE(UNIX_TIMESTAMP({}),0)"
_EXPRESSIONS: Final = {
    Form.NUMBER: "CAST({} AS CHAR)",
    Form.ZEROFILL: "CAST({}+0 AS CHAR)",
    Form.MOMENT: "CAST({} AS CHAR)",
    Form.TIMESTAMP: f"CAST({_UNIX_TIME} AS CHAR)",
    Form.ENUM: "CAST({}+0 AS CHAR)",
    Form.SET: "CAST({}+0 AS CHAR)",
    Form.TEXT: "HEX(CONVERT({} USING utf8mb4))",
    Form.BINARY: "HEX({})",
    Form.NAME: "HEX(CAST({} AS CHAR))",
}
#: What tells two keys apart, byte by byte: HEX where a collation might hold unequal bytes equal.
_EXACT: Final = {
    **dict.fromkeys((Form.NUMBER, Form.MOMENT, Form.NAME), "{}"),
    **dict.fromkeys((Form.ZEROFILL, Form.ENUM, Form.SET), "{}+0"),
    Form.TIMESTAMP: _UNIX_TIME,  # two moments of the hour that is there twice are the same local time
    **dict.fromkeys((Form.TEXT, Form.BINARY), "HEX({})"),
}


def differs_expression(columns: Sequence[CatalogueColumn]) -> str:
    """SQL, for triggers: whether the old row's key has other bytes than the new one's."""
    pairs = []
    for column in columns:
        exact = _EXACT[_form(column)]
        old, new = (exact.format(prefix + quote_name(column.name)) for prefix in ("OLD.", "NEW."))
        pairs.append(f"{old} <> {new}")
    return " OR ".join(pairs)


def _form(column: CatalogueColumn) -> Form:
    form = form_of(column)
    if form is None:
        raise SourceFault(f"column {column.name} of type {column.column_type} cannot be part of a key that is followed")
    return form


# -- at the source: conditions --------------------------------------------------------------------------------


def literals(columns: Sequence[CatalogueColumn], text: KeyText) -> tuple[str, ...]:
    """SQL literals of a key's parts, to be compared with the plain columns; raises SourceFault for another's text."""
    parts = _parts(columns, text)
    try:
        return tuple(_literal(column, part) for column, part in zip(columns, parts, strict=True))
    except ValueError:
        raise _foreign(columns, text) from None


def _parts(columns: Sequence[CatalogueColumn], text: KeyText) -> list[str]:
    parts = text.split(",")
    if len(parts) != len(columns):
        raise _foreign(columns, text)
    return parts


def _foreign(columns: Sequence[CatalogueColumn | Column], text: str) -> SourceFault:
    names = ", ".join(column.name for column in columns)
    return SourceFault(
        f"{text[:80]!r} is no key of ({names})", "the primary key was changed: tcsql mysql setup, then copy afresh"
    )


_NUMERIC: Final = frozenset("0123456789.-")
_CLOCK: Final = _NUMERIC | frozenset(": ")
#: What UUIDs and addresses are written with.
_NAME: Final = frozenset("0123456789abcdefABCDEF-.:")


def _literal(column: CatalogueColumn, part: str) -> str:
    """What stands in a statement: only digits and the like, or hexadecimal that was read as such."""
    form = _form(column)
    if form is Form.NAME:
        return f"'{_name(_decoded(part))}'"
    if form in (Form.TEXT, Form.BINARY):
        digits = bytes.fromhex(part).hex()
        if form is Form.BINARY:
            return f"X'{digits}'"
        text = f"_utf8mb4 X'{digits}'"
        if column.charset != "utf8mb4":
            text = f"CONVERT({text} USING {column.charset})"
        return f"{text} COLLATE {column.collation}"
    if not part or not _CLOCK.issuperset(part) or (form is not Form.MOMENT and not _NUMERIC.issuperset(part)):
        raise ValueError
    if form is Form.MOMENT:
        return f"'{part}'"
    if form is Form.TIMESTAMP:
        return f"FROM_UNIXTIME({part})" if part.strip("0.") else "'0000-00-00 00:00:00'"
    return part


def _name(text: str) -> str:
    if not _NAME.issuperset(text):
        raise ValueError
    return text


def in_condition(columns: Sequence[CatalogueColumn], texts: Sequence[KeyText]) -> str:
    """SQL: the key is one of these, at most ``KEYS_AT_ONCE``; looked up in the primary key."""
    names = [quote_name(column.name) for column in columns]
    rows = [literals(columns, text) for text in texts]
    if len(names) == 1:
        return f"{names[0]} IN ({','.join(row[0] for row in rows)})"
    if any(_form(column) in (Form.ENUM, Form.SET) for column in columns):  # MySQL finds none of them in rows of values
        return " OR ".join(f"({' AND '.join(map('='.join, zip(names, row, strict=True)))})" for row in rows)
    return f"({','.join(names)}) IN ({','.join(map('({})'.format, map(','.join, rows)))})"


def after_condition(columns: Sequence[CatalogueColumn], text: KeyText) -> str:
    """SQL: the key is behind this one in the source's own order: ``a > x OR (a = x AND b > y)``.

    Alternatives, not ``a >= x AND (…)``: each becomes a range of the index, and no row before the key is read.
    """
    condition = ""
    for column, literal in reversed(list(zip(columns, literals(columns, text), strict=True))):
        name = quote_name(column.name)
        behind = _behind(column, name, literal)
        condition = f"{behind} OR ({name} = {literal} AND ({condition}))" if condition else behind
    return condition


def _behind(column: CatalogueColumn, name: str, literal: str) -> str:
    form = _form(column)
    if form is Form.ENUM:
        # counted generously: a comma inside a member makes one more
        members, number = column.column_type.count(",") + 1, int(literal)
        if members <= _MEMBERS_LISTED:
            return f"{name} IN ({','.join(map(str, range(number + 1, max(members, number + 1) + 1)))})"
    return f"{name}+0 > {literal}" if form in (Form.ENUM, Form.SET) else f"{name} > {literal}"


def order_by(columns: Sequence[CatalogueColumn]) -> str:
    """SQL: the source's own order of keys, which is that of its index (ENUM and SET: by number)."""
    return ",".join(quote_name(column.name) for column in columns)


# -- here --------------------------------------------------------------------------------


def pkeys_of(
    schema: Sequence[Column], columns: Sequence[CatalogueColumn], texts: Sequence[KeyText], zone: str
) -> list[PKey]:
    """The keys as the engine holds them. ``schema``: the key's columns as kept here; ``zone``: an offset, ``+02:00``.

    Raises SourceFault for a text that is no key of these columns.
    """
    readers = [_reader(kept, column, zone) for kept, column in zip(schema, columns, strict=True)]
    text = ""
    try:
        if len(readers) == 1:
            [read] = readers
            return [read(text) for text in texts]
        return [tuple(read(part) for read, part in zip(readers, text.split(","), strict=True)) for text in texts]
    except (ValueError, IndexError, OverflowError):
        raise _foreign(columns, text) from None


def pkey_of(schema: Sequence[Column], columns: Sequence[CatalogueColumn], text: KeyText, zone: str) -> PKey:
    """One key as the engine holds it, see ``pkeys_of``."""
    return pkeys_of(schema, columns, (text,), zone)[0]


def text_of(schema: Sequence[Column], columns: Sequence[CatalogueColumn], pkey: PKey, zone: str) -> KeyText:
    """The text that the source has for a key of ours: ``pkey_of`` backwards."""
    parts = pkey if isinstance(pkey, tuple) else (pkey,)
    return ",".join(
        _write(kept, _form(column), part, zone) for kept, column, part in zip(schema, columns, parts, strict=True)
    )


def _reader(kept: Column, column: CatalogueColumn, zone: str) -> Callable[[str], int | str]:
    """What makes a part of a text the engine's value."""
    form, scale = _form(column), kept.type.scale
    if form is Form.TIMESTAMP:
        offset = _offset(zone)
        return lambda part: _moment_of(part, scale, offset)
    if form is Form.NUMBER and column.data_type == "decimal":
        return lambda part: _scaled(part, scale)
    if form in (Form.NUMBER, Form.ZEROFILL):
        return int
    if form is Form.ENUM:
        return lambda part: _member(kept.type.members, int(part))
    if form is Form.SET:
        return lambda part: _chosen(kept.type.members, int(part))
    if form is Form.BINARY:
        return lambda part: b64encode(bytes.fromhex(part)).decode()
    return str if form is Form.MOMENT else _decoded


def _decoded(part: str) -> str:
    return bytes.fromhex(part).decode()


def _scaled(part: str, scale: int) -> int:
    if len(part.partition(".")[2]) != scale:
        raise ValueError
    return int(part.replace(".", "", 1))


def _member(members: Sequence[str], number: int) -> str:
    """0 is what MySQL puts in place of a value that is no member; its text is empty."""
    if number == 0 and "" not in members:
        return ""
    if number < 1:
        raise ValueError
    return members[number - 1]


def _chosen(members: Sequence[str], bits: int) -> str:
    if bits >> len(members):
        raise ValueError
    return ",".join(member for place, member in enumerate(members) if bits >> place & 1)


_ZERO: Final = "0000-00-00 00:00:00"
_EPOCH: Final = datetime.fromisoformat("1970-01-01")


@cache
def _offset(zone: str) -> timedelta:
    """The offset that a zone is; raises SourceFault for one with a name, where an hour may be there twice."""
    sign, (hours, point, minutes) = zone[:1], zone[1:].partition(":")
    if sign not in ("+", "-") or not point:
        raise SourceFault(f"a TIMESTAMP in a key needs a time_zone that is an offset, not {zone}", 'set "+00:00"')
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return -offset if sign == "-" else offset


def _moment_of(part: str, scale: int, offset: timedelta) -> str:
    """Unix time, which MySQL gives for the zero date as 0, to local date and time."""
    seconds, _, digits = part.partition(".")
    if len(digits) != scale:
        raise ValueError
    fraction = f".{digits}" if scale else ""
    if not part.strip("0."):
        return _ZERO + fraction
    return (_EPOCH + timedelta(seconds=int(seconds)) + offset).isoformat(" ") + fraction


def _unix_time_of(value: str, offset: timedelta) -> str:
    moment, point, digits = value.partition(".")
    if moment == _ZERO:
        return "0" + point + digits
    seconds = (datetime.fromisoformat(moment) - offset - _EPOCH) // timedelta(seconds=1)
    return f"{seconds}{point}{digits}"


def _write(kept: Column, form: Form, part: int | float | str, zone: str) -> str:
    """The engine's value of a part as text; what ``_reader`` reads."""
    if form in (Form.NUMBER, Form.ZEROFILL):
        return str(kept.type.stored(part))
    text = str(part)
    if form is Form.MOMENT:
        return text
    if form is Form.TIMESTAMP:
        return _unix_time_of(text, _offset(zone))
    if form is Form.ENUM:
        members = kept.type.members
        return str(members.index(text) + 1 if text in members else 0)
    if form is Form.SET:
        return str(sum(1 << kept.type.members.index(member) for member in text.split(",") if member))
    return (b64decode(text) if form is Form.BINARY else text.encode()).hex().upper()
