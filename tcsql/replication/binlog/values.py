"""What the rows hold as raw numbers and bytes, to stored values: column by column, as ``mapping`` does it. Pure.

What is text, JSON, binary or a geometry has the same bytes here and in the text protocol, so it goes through the very
functions of ``mapping``; other charsets are turned into UTF-8 before. All else ends in the text or the number that a
typed SELECT would have given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from tcsql.engine.values import ColumnType, JsonValue
from tcsql.replication.binlog import mariadbtypes, temporal
from tcsql.replication.binlog.charsets import BINARY, UTF8, charset_of, texts_of
from tcsql.replication.binlog.faults import broken, unknown
from tcsql.replication.binlog.jsontext import json_text
from tcsql.replication.binlog.numbers import bits, decimal_reader, floats
from tcsql.replication.binlog.tablemap import Field, MapColumn
from tcsql.replication.catalogue import CatalogueColumn
from tcsql.replication.mapping import decoder

#: A whole column, as it was cut out of the rows, to stored values.
ColumnReader = Callable[[Sequence[Any]], list[JsonValue]]
_MOST_KEPT: Final = 20_000
_FIRST_YEAR: Final = 1900
_INTEGERS: Final = frozenset([Field.TINY, Field.SHORT, Field.LONG, Field.LONGLONG])
_COMPRESSED: Final = frozenset([Field.BLOB_COMPRESSED, Field.VARCHAR_COMPRESSED])
_BYTES: Final = frozenset([Field.STRING, Field.VARCHAR, Field.VAR_STRING, Field.BLOB]) | _COMPRESSED
_BY_NAME: Final = {"uuid": mariadbtypes.uuid, "inet4": mariadbtypes.inet4, "inet6": mariadbtypes.inet6}
#: What MariaDB's COMPRESSED columns can hold at most, by the bytes of a length.
_MOST_COMPRESSED: Final = {1: 255, 2: 65_535, 3: (1 << 24) - 1, 4: (1 << 32) - 1}


def column_reader(column: MapColumn, known: CatalogueColumn, kind: ColumnType, zone: temporal.Zone) -> ColumnReader:
    """What turns a column into stored values. ``known``: the column by the source's catalogue, which fits.

    The reader raises BinlogFault, or SourceFault for what no such column holds.
    """
    read = _reader(column, known, kind, zone)

    def with_nulls(raw: Sequence[Any]) -> list[JsonValue]:
        if None not in raw:
            return read(raw)
        if not known.nullable:
            raise broken(f"column {known.name} is NULL, which it cannot be")
        present = [value for value in raw if value is not None]
        found = iter(read(present) if present else ())
        return [None if value is None else next(found) for value in raw]

    return with_nulls


def _reader(column: MapColumn, known: CatalogueColumn, kind: ColumnType, zone: temporal.Zone) -> ColumnReader:
    """The same for columns without NULL."""
    its = column.type
    if its in _INTEGERS:
        return list
    if its in _BYTES:
        return _bytes_reader(column, known, kind)
    if its in (Field.GEOMETRY, Field.VECTOR):
        return _by_mapping(known, kind)
    if its == Field.JSON:
        # what a partial update has changed is text already
        return lambda raw: [value if type(value) is str else json_text(value) for value in raw]
    if its in (Field.FLOAT, Field.DOUBLE):
        return floats  # type: ignore[return-value]  # mypy holds lists of subtypes apart
    if its in (Field.ENUM, Field.SET):
        return _members(column, kind.members)
    if its == Field.YEAR:
        return lambda raw: [year and year + _FIRST_YEAR for year in raw]
    if its == Field.INT24:
        return lambda raw: [int.from_bytes(value, "little", signed=not column.unsigned) for value in raw]
    if its == Field.NEWDECIMAL:
        return _remembered(decimal_reader(*column.meta))
    if its == Field.BIT:
        return lambda raw: list(map(bits, raw))
    return _moments(column, kind.scale, zone)


def _by_mapping(known: CatalogueColumn, kind: ColumnType) -> ColumnReader:
    """What reads the column of an answer to SELECT."""
    read = decoder(known, kind)
    return lambda raw: read(list(raw))


def _moments(column: MapColumn, digits: int, zone: temporal.Zone) -> ColumnReader:
    its = column.type
    if its == Field.DATETIME2:
        return lambda raw: temporal.datetimes(raw, column.meta[0])  # type: ignore[return-value]  # lists of subtypes
    if its == Field.TIMESTAMP2:
        return lambda raw: temporal.timestamps(raw, column.meta[0], zone)  # type: ignore[return-value]  # the same
    if its in (Field.DATE, Field.NEWDATE):
        return temporal.dates  # type: ignore[return-value]  # the same
    if its == Field.TIME2:
        return _remembered(lambda value: temporal.time_of(value, column.meta[0]))
    if its == Field.TIMESTAMP and digits:
        return _each(lambda value: temporal.hires_timestamp(value, digits, zone))
    if its == Field.TIMESTAMP:
        return _each(lambda value: temporal.moment(int.from_bytes(value, "little"), zone))
    if its == Field.DATETIME:
        return _each(lambda value: temporal.hires_datetime(value, digits) if digits else temporal.old_datetime(value))
    if its == Field.TIME:
        return _each(lambda value: temporal.hires_time(value, digits) if digits else temporal.old_time(value))
    raise unknown(f"a column of type {its}")


def _each(read: Callable[[bytes], str]) -> ColumnReader:
    return lambda raw: list(map(read, raw))


class _Remembered(dict[bytes, JsonValue]):
    def __init__(self, read: Callable[[bytes], JsonValue]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, key: bytes) -> JsonValue:
        if len(self) >= _MOST_KEPT:
            self.clear()
        value = self[key] = self._read(key)
        return value


def _remembered(read: Callable[[bytes], JsonValue]) -> ColumnReader:
    """Each value once, as long as they are not too many; prices and the like come again and again."""
    find = _Remembered(read).__getitem__
    return lambda raw: list(map(find, raw))


def _members(column: MapColumn, members: Sequence[str]) -> ColumnReader:
    """ENUM: the place of a member from 1 on, 0 for none of them. SET: a bit for each."""
    if column.type == Field.ENUM:
        names = ("", *members)

        def member(value: bytes) -> str:
            place = int.from_bytes(value, "little")
            if place >= len(names):
                raise broken("an ENUM has a member that it does not have")
            return names[place]

        return _remembered(member)

    def chosen(value: bytes) -> str:
        number = int.from_bytes(value, "little")
        if number >> len(members):
            raise broken("a SET has a member that it does not have")
        return ",".join(name for place, name in enumerate(members) if number >> place & 1)

    return _remembered(chosen)


def _bytes_reader(column: MapColumn, known: CatalogueColumn, kind: ColumnType) -> ColumnReader:
    special = _BY_NAME.get(known.data_type)
    if special is not None:
        return lambda raw: list(map(special, raw))
    charset = charset_of(column.collation)
    plain = _by_mapping(known, kind)
    if charset == BINARY and column.type == Field.STRING:  # zero bytes at the end are not written
        width = column.length
        read: ColumnReader = lambda raw: plain([value.ljust(width, b"\0") for value in raw])  # noqa: E731  # it is typed
    elif charset == BINARY or charset in UTF8:
        read = plain
    else:

        def read(raw: Sequence[Any]) -> list[JsonValue]:
            return [text if type(text) is str else kind.from_mysql(text) for text in texts_of(charset, raw)]

    if column.type not in _COMPRESSED:
        return read
    most = column.length if column.type == Field.VARCHAR_COMPRESSED else _MOST_COMPRESSED[column.meta[0]]
    return lambda raw: read([mariadbtypes.uncompressed(value, most) for value in raw])
