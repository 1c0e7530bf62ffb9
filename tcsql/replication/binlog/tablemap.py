"""What a table map says of a table: types, and with binlog_row_metadata=FULL names, signs, charsets, members. Pure.

A table map stands before the rows of each statement. The servers write signs always, names only with FULL; without
names a column could be taken for another after an ALTER, so a map without them is a fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from tcsql.replication.binlog.faults import broken, unknown, unsuited
from tcsql.replication.binlog.reading import Reader

#: More columns than a table can have (4,096) are none.
_MOST_COLUMNS: Final = 4096
TABLE_ID_BYTES: Final = 6


class Field(IntEnum):
    """Types of columns in the log."""

    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    TIMESTAMP = 7
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    TIME = 11
    DATETIME = 12
    YEAR = 13
    NEWDATE = 14
    VARCHAR = 15
    BIT = 16
    TIMESTAMP2 = 17
    DATETIME2 = 18
    TIME2 = 19
    BLOB_COMPRESSED = 140
    VARCHAR_COMPRESSED = 141
    VECTOR = 242
    JSON = 245
    NEWDECIMAL = 246
    ENUM = 247
    SET = 248
    BLOB = 252
    VAR_STRING = 253
    STRING = 254
    GEOMETRY = 255


#: Bytes of metadata of each type.
_METADATA: Final = {
    **dict.fromkeys((Field.TINY, Field.SHORT, Field.LONG, Field.INT24, Field.LONGLONG, Field.YEAR), 0),
    **dict.fromkeys((Field.DATE, Field.NEWDATE, Field.TIME, Field.DATETIME, Field.TIMESTAMP), 0),
    **dict.fromkeys((Field.FLOAT, Field.DOUBLE, Field.TIMESTAMP2, Field.DATETIME2, Field.TIME2), 1),
    **dict.fromkeys((Field.BLOB, Field.BLOB_COMPRESSED, Field.GEOMETRY, Field.JSON, Field.VECTOR), 1),
    **dict.fromkeys((Field.VARCHAR, Field.VARCHAR_COMPRESSED, Field.VAR_STRING, Field.STRING), 2),
    **dict.fromkeys((Field.NEWDECIMAL, Field.BIT, Field.ENUM, Field.SET), 2),
}
#: Those that the servers write a sign of.
_SIGNED: Final = frozenset(
    (
        *(Field.TINY, Field.SHORT, Field.INT24, Field.LONG, Field.LONGLONG, Field.YEAR),
        *(Field.NEWDECIMAL, Field.FLOAT, Field.DOUBLE),
    )
)
#: Those that they write a collation of.
_TEXTS: Final = frozenset(
    [Field.STRING, Field.VAR_STRING, Field.VARCHAR, Field.BLOB, Field.BLOB_COMPRESSED, Field.VARCHAR_COMPRESSED]
)
_TEXTS_OF_MARIADB: Final = _TEXTS | {Field.GEOMETRY}
_MEMBERS: Final = frozenset([Field.ENUM, Field.SET])


class _Meta(IntEnum):
    SIGNEDNESS = 1
    DEFAULT_CHARSET = 2
    COLUMN_CHARSET = 3
    COLUMN_NAME = 4
    SET_MEMBERS = 5
    ENUM_MEMBERS = 6
    GEOMETRY_TYPE = 7
    PRIMARY_KEY = 8
    PRIMARY_KEY_WITH_PREFIX = 9
    MEMBERS_DEFAULT_CHARSET = 10
    MEMBERS_COLUMN_CHARSET = 11
    VISIBILITY = 12
    VECTOR_DIMENSIONS = 13


class MapColumn(NamedTuple):
    """One column. ``meta``: two bytes whose meaning the type decides (length, precision and scale, fraction digits).

    ``collation``: 0 where the type has none. ``members``: of ENUM and SET, in the charset of the collation.
    """

    name: str
    type: int
    meta: tuple[int, int]
    unsigned: bool
    collation: int
    members: tuple[bytes, ...]

    @property
    def length(self) -> int:
        """The metadata as one number: most bytes of a text, bytes of a length."""
        return self.meta[0] | self.meta[1] << 8


class TableMap(NamedTuple):
    """A table as the log has it. ``key``: places of the primary key's columns, () where there is none."""

    database: str
    name: str
    columns: tuple[MapColumn, ...]
    key: tuple[int, ...]


def names_of(body: bytes) -> tuple[str, str]:
    """Database and table, without reading further."""
    reader = Reader(body, TABLE_ID_BYTES + 2)
    return _name(reader), _name(reader)


def _name(reader: Reader) -> str:
    text = reader.text()
    reader.take(1)  # a zero byte
    return _utf8(text)


def _utf8(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise broken("a name is no text") from None


def table_map_of(body: bytes, *, is_mariadb: bool) -> TableMap:
    """The table map in an event's body; raises BinlogFault."""
    reader = Reader(body, TABLE_ID_BYTES + 2)
    database, name = _name(reader), _name(reader)
    count = reader.packed()
    if not 0 < count <= _MOST_COLUMNS:
        raise broken(f"table {name} has {count} columns")
    raw_types = reader.take(count)
    described = Reader(reader.text())
    types = [_type(kind, described) for kind in raw_types]
    if described.left:
        raise broken(f"table {name} says more of its columns than it has")
    reader.take((count + 7) // 8)  # which may be NULL
    more = _more(reader)
    if _Meta.COLUMN_NAME not in more:
        raise unsuited(
            f"table {database}.{name} comes without the names of its columns",
            "run there: SET GLOBAL binlog_row_metadata = 'FULL'; a server before MySQL 8 or MariaDB 10.5: mode outbox",
        )
    names = _names(more[_Meta.COLUMN_NAME], count)
    unsigned = _signs(more.get(_Meta.SIGNEDNESS, b""), types)
    collations = _collations(more, types, _TEXTS_OF_MARIADB if is_mariadb else _TEXTS)
    members = _members(more, types)
    columns = tuple(
        MapColumn(names[at], kind, meta, at in unsigned, collations.get(at, 0), members.get(at, ()))
        for at, (kind, meta) in enumerate(types)
    )
    return TableMap(database, name, columns, _key(more, count))


def _type(kind: int, described: Reader) -> tuple[int, tuple[int, int]]:
    """A type and its two bytes of metadata; a STRING may be an ENUM or a SET, and its length is bent to fit."""
    size = _METADATA.get(kind)  # type: ignore[call-overload]  # numbers that are no Field are what is looked for
    if size is None:
        raise unknown(f"a column of type {kind}")
    first, second = (*described.take(size), 0, 0)[:2]
    if kind != Field.STRING:
        return kind, (first, second)
    # the real type stands first; two bits of a length above 255 are kept, inverted, in bits that all types have set
    real = first | 0x30
    length = second | ((first & 0x30) ^ 0x30) << 4
    if real not in (Field.STRING, Field.ENUM, Field.SET):
        raise unknown(f"a column of type {real}")
    return real, (length & 255, length >> 8)


def _more(reader: Reader) -> dict[int, bytes]:
    """Optional metadata by its kind; those not known change no value's meaning and are left."""
    more: dict[int, bytes] = {}
    while reader.left:
        kind = reader.number(1)
        if kind in more:
            raise broken("a table says something twice")
        more[kind] = reader.text()
    return more


def _names(data: bytes, count: int) -> list[str]:
    reader = Reader(data)
    names = [_utf8(reader.text()) for _ in range(count)]
    if reader.left:
        raise broken("a table has more names than columns")
    return names


def _signs(data: bytes, types: Sequence[tuple[int, tuple[int, int]]]) -> set[int]:
    """Places of columns without sign."""
    numeric = [at for at, (kind, _) in enumerate(types) if kind in _SIGNED]
    if len(data) != (len(numeric) + 7) // 8:
        raise broken("a table has more or fewer signs than numbers")
    return {at for bit, at in enumerate(numeric) if data[bit >> 3] & 0x80 >> (bit & 7)}


def _collations(
    more: dict[int, bytes], types: Sequence[tuple[int, tuple[int, int]]], kinds: frozenset[Field]
) -> dict[int, int]:
    texts = [at for at, (kind, _) in enumerate(types) if kind in kinds]
    members = [at for at, (kind, _) in enumerate(types) if kind in _MEMBERS]
    found = _collations_of(texts, more.get(_Meta.DEFAULT_CHARSET), more.get(_Meta.COLUMN_CHARSET))
    return found | _collations_of(
        members, more.get(_Meta.MEMBERS_DEFAULT_CHARSET), more.get(_Meta.MEMBERS_COLUMN_CHARSET)
    )


def _collations_of(places: Sequence[int], usual: bytes | None, each: bytes | None) -> dict[int, int]:
    """By place: either one for all and those that differ, or one for each."""
    if usual is not None:
        reader = Reader(usual)
        found = dict.fromkeys(places, reader.packed())
        while reader.left:
            at = reader.packed()
            if at >= len(places):
                raise broken("a table has more charsets than texts")
            found[places[at]] = reader.packed()
        return found
    if each is None and places:
        raise broken("a table has no charsets of its texts")
    reader = Reader(each or b"")
    found = {at: reader.packed() for at in places}
    if reader.left:
        raise broken("a table has more charsets than texts")
    return found


def _members(more: dict[int, bytes], types: Sequence[tuple[int, tuple[int, int]]]) -> dict[int, tuple[bytes, ...]]:
    found = {}
    for kind, meta in ((Field.SET, _Meta.SET_MEMBERS), (Field.ENUM, _Meta.ENUM_MEMBERS)):
        reader = Reader(more.get(meta, b""))
        for at in (at for at, (its, _) in enumerate(types) if its == kind):
            count = reader.packed()
            if count > reader.left:
                raise broken("an ENUM or SET ends within its members")
            found[at] = tuple(reader.text() for _ in range(count))
        if reader.left:
            raise broken("a table has more members than columns for them")
    return found


def _key(more: dict[int, bytes], count: int) -> tuple[int, ...]:
    places = []
    plain = _Meta.PRIMARY_KEY in more
    reader = Reader(more.get(_Meta.PRIMARY_KEY if plain else _Meta.PRIMARY_KEY_WITH_PREFIX, b""))
    while reader.left:
        places.append(reader.packed())
        if not plain:
            reader.packed()  # so many characters of it
    if any(at >= count for at in places):
        raise broken("a key has columns that the table has not")
    return tuple(places)
