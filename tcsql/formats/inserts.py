"""Rows of ``INSERT … VALUES (…),(…)``: a whole megabyte of them by one compiled pattern, column by column.

For each shape of INSERT (table and columns) a pattern matches one row with one group a value; ``findall`` runs it
over a region of text in C. What the pattern does not match (the end of the statement, an incomplete row, something
strange) is swallowed whole by its last group, so that nothing between rows can be passed over. Values are
then converted by column: one ``map(int, …)`` instead of a million calls. A row that the pattern does not take goes
through ``read_row``, which knows every literal and says what is wrong.

"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import Kind
from tcsql.errors import UnknownColumn
from tcsql.formats.charsets import Charset
from tcsql.formats.records import Value
from tcsql.literals import string_value

_STRING: Final = r"'[^'\\]*+(?>(?:(?:\\.|'')[^'\\]*+)*)'"
_BARE: Final = r"[-+.0-9A-Za-z]++"
#: A literal: 'text', 12.5e3, NULL, 0xFF, or a string with an introducer: _binary '…', x'…', b'…'.
_VALUE: Final = rf"{_STRING}|{_BARE}|(?:_[a-z0-9]++[ ]?|[xXbBnN]){_STRING}"
#: Patterns of more columns take seconds to compile; such rows are read one by one.
_MAX_PATTERN_COLUMNS: Final = 400

_ANY_VALUE: Final = re.compile(
    rf"""(?:(?:{_STRING})|"[^"\\]*+(?>(?:(?:\\.|"")[^"\\]*+)*)"|(?:_[A-Za-z0-9]++\s*+|[xXbBnN]){_STRING}|{_BARE})""",
    re.DOTALL,
)
#: (?>(?:…)*), here and elsewhere, is (?:…)*+ in a form that Python before 3.11.5 gets right: of an iteration that fails
#: it keeps what was consumed (CPython issue 106052), and Debian 12 has 3.11.2.
_SPACE: Final = re.compile(r"(?>(?:\s++|--(?=\s)[^\n]*+|#[^\n]*+|/\*.*?\*/)*)", re.DOTALL)
_UNENDED: Final = re.compile(
    r"""(?>(?:_[A-Za-z0-9]++\s*+|[xXbBnN])?)(?:'(?>(?:[^'\\]++|\\.|'')*)\\?|"(?>(?:[^"\\]++|\\.|"")*)\\?)\Z""",
    re.DOTALL,
)
_PREFIXED: Final = re.compile(rf"(_[A-Za-z0-9]+|[xXbBnN])\s*({_STRING})", re.DOTALL)
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,80}")
_DECIMAL: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_QUOTED_ONLY: Final = frozenset({Kind.DATE, Kind.DATETIME, Kind.TIME, Kind.ENUM, Kind.SET})
#: MySQL takes it in any case; dumps write the first two.
_NULLS: Final = frozenset({"NULL", "null", "Null"})
_SHOWN_CHARACTERS: Final = 60

#: The literals of one column to its values; raises ValueError with what is wrong.
_Converter = Callable[[Sequence[str]], list[Value]]


class Incomplete(Exception):
    """The text ends inside a row."""


class BadRow(Exception):
    """A row that cannot be read; ``end``: where the reader may go on."""

    def __init__(self, reason: str, end: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.end = end


@dataclass(frozen=True)
class Shape:
    """One shape of INSERT: the header as written, its table, and the columns its rows have.

    Without columns it matches rows of any number of values, to pass over them.
    """

    header: str
    table: str
    columns: tuple[Column, ...]
    charset: Charset

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """One row and what separates it from the next, which may be the header of the next statement.

        One group a column; what is no row is swallowed, up to the end, by the group after them.
        """
        if len(self.columns) > _MAX_PATTERN_COLUMNS:
            return None
        values = r"\s*+,\s*+".join(f"({_VALUE})" for _ in self.columns)
        if not values:
            values = rf"(?:{_VALUE})(?>(?:\s*+,\s*+(?:{_VALUE}))*)"
        behind = rf"\s*+(?:,\s*+|;\s*+{re.escape(self.header)}\s*+|(?=;))"
        return re.compile(rf"\(\s*+{values}\s*+\){behind}|(.++)", re.DOTALL)

    @cached_property
    def _converters(self) -> dict[bool, list[_Converter]]:
        return {clean: [_converter(column, self.charset, clean) for column in self.columns] for clean in (True, False)}

    def convert(self, raw: list[tuple[str, ...]], is_clean: bool) -> list[dict[str, Value]]:
        """Typed values of rows as ``pattern`` found them; raises ValueError when one cannot be converted.

        ``is_clean``: all of the text came from bytes that are text (see ``charsets``).
        """
        columns = zip(*raw, strict=True)
        typed = [convert(column) for convert, column in zip(self._converters[is_clean], columns, strict=False)]
        names = self.names
        return [dict(zip(names, values, strict=True)) for values in zip(*typed, strict=True)]

    def convert_one(self, raw: tuple[str, ...]) -> dict[str, Value]:
        """The same for one row; the ValueError names the column."""
        if len(raw) != len(self.columns):
            raise ValueError(f"the row has {len(raw)} values, {len(self.columns)} are expected")
        row: dict[str, Value] = {}
        for column, convert, text in zip(self.columns, self._converters[False], raw, strict=True):
            try:
                row[column.name] = convert((text,))[0]
            except ValueError as error:
                raise ValueError(f'column "{column.name}": {error}') from None
        return row


def shape_of(header: str, table: str, names: Sequence[str] | None, schema: TableSchema, charset: Charset) -> Shape:
    """The shape of an INSERT with these columns (None: all of the table's). Raises UnknownColumn, ValueError."""
    if names is None:
        return Shape(header, table, schema.columns, charset)
    columns = tuple(_column(name, schema) for name in names)
    if len({column.name for column in columns}) != len(columns):
        raise ValueError("a column is named twice")
    return Shape(header, table, columns, charset)


def _column(name: str, schema: TableSchema) -> Column:
    try:
        return schema.column(name)
    except UnknownColumn as error:
        raise ValueError(error.message) from None


def read_row(text: str, start: int) -> tuple[tuple[str, ...], int]:
    """The literals of the row ``( … )`` that begins at ``start``, and where it ends; raises Incomplete, BadRow."""
    values: list[str] = []
    position = skip_space(text, start)
    if text[position : position + 1] != "(":
        if position >= len(text):
            raise Incomplete
        raise BadRow(f"expected ( and a row, found {_shown(text, position)}", position)
    position += 1
    while True:
        position = skip_space(text, position)
        match = _ANY_VALUE.match(text, position)
        if match is None or match.end() == len(text):
            if position >= len(text) or match is not None or _UNENDED.match(text, position):
                raise Incomplete
            raise BadRow(f"expected a value, found {_shown(text, position)}", position)
        values.append(match.group())
        position = skip_space(text, match.end())
        sign = text[position : position + 1]
        if sign == ")":
            return tuple(values), position + 1
        if not sign:
            raise Incomplete
        if sign != ",":
            raise BadRow(f"expected , or ) after a value, found {_shown(text, position)}", position)
        position += 1


def skip_space(text: str, position: int) -> int:
    """Behind white space and comments."""
    match = _SPACE.match(text, position)
    assert match is not None  # every part is optional
    return match.end()


def _shown(text: str, position: int) -> str:
    return repr(text[position : position + 20])


def _converter(column: Column, charset: Charset, is_clean: bool) -> _Converter:
    kind = column.type.kind
    if column.type.name == "bit":
        return lambda texts: [_binary(text, charset, is_number=True) for text in texts]
    if kind is Kind.INTEGER:
        return _integers
    if kind is Kind.FLOAT:
        return lambda texts: [_float(text) for text in texts]
    if kind is Kind.DECIMAL:
        return lambda texts: [_decimal(text) for text in texts]
    if kind is Kind.BINARY:
        return lambda texts: [_binary(text, charset) for text in texts]
    quoted_only = kind in _QUOTED_ONLY
    return lambda texts: _texts(texts, charset, quoted_only, is_clean)


def _integers(texts: Sequence[str]) -> list[Value]:
    try:
        return list(map(int, texts))
    except ValueError:
        return [None if text in _NULLS else _integer(text) for text in texts]


def _integer(text: str) -> int | None:
    plain = _unquoted(text)
    if plain is None:
        return None
    if _INTEGER.fullmatch(plain):
        return int(plain)
    if plain.upper() in ("TRUE", "FALSE"):
        return int(plain.upper() == "TRUE")
    raise ValueError(f"{_cut(text)} is not a whole number")


def _float(text: str) -> float | None:
    plain = _unquoted(text)
    if plain is not None and not _DECIMAL.fullmatch(plain):
        raise ValueError(f"{_cut(text)} is not a number")
    return None if plain is None else float(plain)


def _decimal(text: str) -> str | None:
    plain = _unquoted(text)
    if plain is not None and not _DECIMAL.fullmatch(plain):
        raise ValueError(f"{_cut(text)} is not a decimal number")
    return plain


def _texts(texts: Sequence[str], charset: Charset, quoted_only: bool, is_clean: bool) -> list[Value]:
    values: list[Value] = []
    append = values.append
    for text in texts:
        inner = text[1:-1]
        # the common case first: a quoted string without an escape; 100 ns a value
        if text[0] == "'" and "\\" not in inner and "'" not in inner and (is_clean or inner.isascii()):
            append(inner)
        elif text in _NULLS:
            append(None)
        else:
            append(_text(text, charset, quoted_only))
    return values


def _text(text: str, charset: Charset, quoted_only: bool) -> str | None:
    if text[0] in "'\"":
        return charset.clean(string_value(text))
    if text in _NULLS:
        return None
    if found := _PREFIXED.fullmatch(text):
        introducer = found[1].lower()
        if introducer in ("_utf8", "_utf8mb3", "_utf8mb4", "n"):
            return charset.clean(string_value(found[2]))
        raw = _binary(text, charset)
    elif text[:2] in ("0x", "0X"):
        raw = _binary(text, charset)
    elif _DECIMAL.fullmatch(text) and not quoted_only:
        return text
    else:
        raise ValueError(f"{_cut(text)} is not a quoted value")
    assert raw is not None  # only NULL gives None
    return raw.decode("utf-8", "replace")


def _binary(text: str, charset: Charset, is_number: bool = False) -> bytes | None:
    """Bytes of a binary or BIT column, whichever way they are written."""
    if text[0] in "'\"":
        return charset.encode(string_value(text))
    if text[:2] in ("0x", "0X"):
        return bytes.fromhex(text[2:] if len(text) % 2 == 0 else "0" + text[2:])
    if text in _NULLS:
        return None
    if found := _PREFIXED.fullmatch(text):
        inner = found[2][1:-1]
        if found[1] in "xX":
            return bytes.fromhex(inner)
        if found[1] in "bB":
            return int(inner or "0", 2).to_bytes(max(1, (len(inner) + 7) // 8), "big")
        return charset.encode(string_value(found[2]))
    if is_number and text.isdecimal() and len(text) <= 20:
        return int(text).to_bytes(9, "big")
    if _DECIMAL.fullmatch(text):
        return text.encode()
    raise ValueError(f"{_cut(text)} is not a binary value")


def _unquoted(text: str) -> str | None:
    if text[0] in "'\"":
        return string_value(text)
    return None if text in _NULLS else text


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
