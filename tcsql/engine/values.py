"""Column types and values: what a MySQL column can hold, and the four faces of one stored value.

A stored value is what stands in a row's JSON: int for integers, BIT and YEAR; int or float for FLOAT and
DOUBLE; text for everything else (DECIMAL with its full scale, dates as ISO text, BLOBs as base64, JSON as its
text). NULL is None. From a stored value follow, purely by its type:

    text(v)      what the STR operators and orders see: the canonical decimal form for numbers
    number(v)    what the NUM operators see: exact int or Decimal, never a detour through float
    sort_key(v)  the type's natural order: int (DECIMAL scaled to an integer), float, or str

UTF-8 was designed so that byte order equals code point order; Python compares str by code point. So ``str``
comparison *is* the byte order of the contract, and no key has to be encoded.

Two ways lead in: ``from_client`` is strict and refuses what the column cannot hold, ``from_mysql`` keeps
whatever MySQL could store.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from enum import Enum
from functools import cached_property
from math import isfinite
from typing import Final

import orjson

from tcsql.engine.numbers import LONGEST_INT_TEXT, number_of_text
from tcsql.engine.times import date_text, datetime_text, time_text
from tcsql.errors import InvalidValue

JsonValue = int | float | str | None
#: What a client's JSON may hold for a column; containers only for JSON and SET columns.
ClientValue = int | float | str | bool | Decimal | list[object] | dict[str, object] | None
#: A primary key as the engine holds it: comparable in its own type; a tuple for several columns.
PKey = int | float | str | tuple[int | float | str, ...]
Number = int | Decimal | float
SortKey = int | float | str


class Kind(Enum):
    """The behaviours a column can have; many MySQL types share one."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    TEXT = "text"
    BINARY = "binary"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    ENUM = "enum"
    SET = "set"
    JSON = "json"


NUMERIC_KINDS: Final = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT})


@dataclass(frozen=True)
class ColumnType:
    """One MySQL column type.

    ``name`` is MySQL's base name in lower case (``bigint``, ``varchar``, ``datetime``). ``length``: characters
    for CHAR/VARCHAR, bytes for BINARY/TEXT/BLOB, digits for DECIMAL, bits for BIT. ``scale``: fraction digits
    of DECIMAL and of the time types. ``low``/``high``: bounds of an INTEGER kind.

    >>> ColumnType(Kind.DECIMAL, "decimal", length=10, scale=2).sort_key("-1.50")
    -150
    """

    kind: Kind
    name: str
    length: int | None = None
    scale: int = 0
    unsigned: bool = False
    low: int = 0
    high: int = 0
    members: tuple[str, ...] = ()

    @property
    def is_numeric(self) -> bool:
        return self.kind in NUMERIC_KINDS

    def text(self, value: int | float | str) -> str:
        """Canonical text of a stored value (not NULL)."""
        if type(value) is str:
            return value
        return str(value) if type(value) is int else format(Decimal(repr(value)), "f").removesuffix(".0")

    def number(self, value: int | float | str) -> Number:
        """The value as an exact number; text by the lenient reading of ``number_of_text``."""
        if type(value) is not str:
            return value  # type: ignore[return-value]  # int or float: exact as it stands
        return Decimal(value) if self.kind is Kind.DECIMAL else number_of_text(value)

    def sort_key(self, value: int | float | str) -> SortKey:
        """The key of the type's own order; DECIMAL becomes the integer value x 10**scale."""
        if self.kind is Kind.DECIMAL:
            return int(str(value).replace(".", "", 1))
        if self.kind is Kind.FLOAT:
            return float(value)
        return value

    def stored(self, key: SortKey) -> int | float | str:
        """The stored value that ``sort_key`` came from."""
        if self.kind is Kind.DECIMAL:
            return _scaled_text(int(key), self.scale)
        if self.kind is Kind.FLOAT:
            return _plain_float(float(key))
        return key

    def from_client(self, value: ClientValue) -> JsonValue:
        """A client's value as stored; raises InvalidValue when the type cannot hold it exactly."""
        return None if value is None else self._reader(self, value)

    def from_mysql(self, value: int | float | str | bytes | Decimal | None) -> JsonValue:
        """A value from MySQL as stored; never refuses what MySQL could store. BLOBs: bytes, or base64 text."""
        return None if value is None else _from_mysql(self, value)

    def client_reader(self) -> Callable[[ClientValue], JsonValue]:
        """``from_client`` for many values: plain integers and short ASCII text pass without a further call.

        Twice as fast on a row of eight such columns.
        """
        slow = self.from_client
        if self.kind is Kind.INTEGER:
            low, high = self.low, self.high
            return lambda value: value if type(value) is int and low <= value <= high else slow(value)
        if self.kind is Kind.TEXT:
            length = self.length if self.length is not None else 0

            def read_text(value: ClientValue) -> JsonValue:
                return value if type(value) is str and len(value) <= length and value.isascii() else slow(value)

            return read_text
        return slow

    @cached_property
    def _reader(self) -> Callable[[ColumnType, ClientValue], JsonValue]:
        return _READERS[self.kind]


def _scaled_text(scaled: int, scale: int) -> str:
    if not scale:
        return str(scaled)
    digits = str(abs(scaled)).rjust(scale + 1, "0")
    return f"{'-' if scaled < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def _plain_float(value: float) -> int | float:
    """Whole floats print as MySQL prints them, ``5`` and not ``5.0``; beyond 2**53 the float's own form is kept."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,100}")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def _refuse(kind: ColumnType, value: object, why: str) -> InvalidValue:
    shown = str(value) if isinstance(value, Decimal) else repr(value)
    return InvalidValue(f"{shown if len(shown) <= 60 else shown[:57] + '...'} {why}", hint=f"the column is {kind.name}")


def _read_integer(kind: ColumnType, value: ClientValue) -> int:
    if (
        (isinstance(value, str) and _INTEGER.fullmatch(value))
        or isinstance(value, int)
        or (isinstance(value, (float, Decimal)) and isfinite(value) and value == int(value))
    ):
        number = int(value)
    else:
        raise _refuse(kind, value, "is not a whole number")
    if not kind.low <= number <= kind.high:
        raise _refuse(kind, value, f"is outside {kind.low} to {kind.high}")
    return number


def _read_decimal(kind: ColumnType, value: ClientValue) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = repr(value)
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):
            raise _refuse(kind, value, "is not a decimal number")
        value = Decimal(value)
    if not isinstance(value, Decimal) or not value.is_finite():
        raise _refuse(kind, value, "is not a decimal number")
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if value and value.adjusted() >= 66:
        raise _refuse(kind, value, f"has more than {(kind.length or 10) - kind.scale} digits before the point")
    shift = exponent + kind.scale
    coefficient = int("".join(map(str, digits)) or "0") if len(digits) < LONGEST_INT_TEXT else 10**80
    if shift < 0:
        coefficient, lost = divmod(coefficient, 10 ** min(-shift, 4_400))
        if lost:
            raise _refuse(kind, value, f"has more than {kind.scale} digits after the point")
    elif coefficient:
        coefficient *= 10**shift
    if coefficient >= 10 ** (kind.length or 10):
        raise _refuse(kind, value, f"has more than {(kind.length or 10) - kind.scale} digits before the point")
    if sign and coefficient and kind.unsigned:
        raise _refuse(kind, value, "is negative, the column is unsigned")
    return _scaled_text(-coefficient if sign else coefficient, kind.scale)


_LARGEST_SINGLE: Final = 3.4028234663852886e38
_LARGEST_DOUBLE: Final = 1.7976931348623157e308


def _read_float(kind: ColumnType, value: ClientValue) -> int | float:
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise _refuse(kind, value, "is not a number")
    if isinstance(value, (bool, list, dict)) or value is None:
        raise _refuse(kind, value, "is not a number")
    try:
        number = float(value)
    except (OverflowError, InvalidOperation):
        number = float("inf")
    if not abs(number) <= (_LARGEST_SINGLE if kind.name == "float" else _LARGEST_DOUBLE):  # NaN too
        raise _refuse(kind, value, "is too large for a floating-point number")
    if number < 0 and kind.unsigned:
        raise _refuse(kind, value, "is negative, the column is unsigned")
    return _plain_float(number + 0.0)


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _plain_text(kind: ColumnType, value: ClientValue) -> str:
    if isinstance(value, (bool, list, dict)) or value is None:
        raise _refuse(kind, value, "is not text")
    text = str(value)
    if not text.isascii() and _SURROGATE.search(text):
        raise _refuse(kind, text, "has half of a surrogate pair, which is no character")
    return text


def _read_text(kind: ColumnType, value: ClientValue) -> str:
    text = _plain_text(kind, value)
    if kind.length is not None:
        counts_characters = kind.name in ("char", "varchar")
        size = len(text) if counts_characters or text.isascii() else len(text.encode())
        if size > kind.length:
            unit = "characters" if counts_characters else "bytes"
            raise _refuse(kind, text, f"has {size} {unit}, the column holds {kind.length}")
    return text


def _base64(kind: ColumnType, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _refuse(kind, text, "is not base64 text") from None


def _read_binary(kind: ColumnType, value: ClientValue) -> str:
    text = _plain_text(kind, value)
    raw = _base64(kind, text)
    if kind.length is not None and len(raw) > kind.length:
        raise _refuse(kind, text, f"has {len(raw)} bytes, the column holds {kind.length}")
    if kind.name == "binary" and kind.length is not None:
        raw = raw.ljust(kind.length, b"\0")  # MySQL pads BINARY(n) with zero bytes
    return base64.b64encode(raw).decode()


def _read_moment(kind: ColumnType, value: ClientValue) -> str:
    text = _plain_text(kind, value)
    try:
        if kind.kind is Kind.DATE:
            return date_text(text)
        return (datetime_text if kind.kind is Kind.DATETIME else time_text)(text, kind.scale)
    except ValueError as error:
        raise _refuse(kind, text, str(error)) from None


def _member(kind: ColumnType, text: str) -> str:
    if text in kind.members:
        return text
    folded = [member for member in kind.members if member.lower() == text.lower()]
    if len(folded) != 1:
        raise _refuse(kind, text, f"is none of {', '.join(map(repr, kind.members[:8]))}")
    return folded[0]


def _read_enum(kind: ColumnType, value: ClientValue) -> str:
    return _member(kind, _plain_text(kind, value))


def _read_set(kind: ColumnType, value: ClientValue) -> str:
    if isinstance(value, list):
        parts = [part if isinstance(part, str) else "," for part in value]  # "," is never a member: refused below
    else:
        parts = _plain_text(kind, value).split(",")
    chosen = {_member(kind, part) for part in parts if part}
    return ",".join(member for member in kind.members if member in chosen)


def _json_number(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value))
    raise TypeError


def _read_json(kind: ColumnType, value: ClientValue) -> str:
    if not isinstance(value, str):
        try:
            return orjson.dumps(value, default=_json_number).decode()
        except TypeError:
            raise _refuse(kind, value, "has a number or a text that JSON cannot hold exactly") from None
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        raise _refuse(kind, value, "is not JSON text") from None
    return value


_READERS: Final[dict[Kind, Callable[[ColumnType, ClientValue], JsonValue]]] = {
    Kind.INTEGER: _read_integer,
    Kind.DECIMAL: _read_decimal,
    Kind.FLOAT: _read_float,
    Kind.TEXT: _read_text,
    Kind.BINARY: _read_binary,
    Kind.DATE: _read_moment,
    Kind.DATETIME: _read_moment,
    Kind.TIME: _read_moment,
    Kind.ENUM: _read_enum,
    Kind.SET: _read_set,
    Kind.JSON: _read_json,
}


def _from_mysql(kind: ColumnType, value: int | float | str | bytes | Decimal) -> JsonValue:
    if isinstance(value, bytes):
        if kind.kind is Kind.INTEGER:  # BIT(n) arrives as its bytes
            value = int.from_bytes(value, "big")
        elif kind.kind is Kind.BINARY:
            return base64.b64encode(value).decode()
        else:
            value = value.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
    if not isinstance(value, (str, int, float, Decimal)):  # over HTTP anything may be sent as MySQL's
        raise _refuse(kind, value, "is no value of MySQL's")
    if kind.is_numeric:
        try:
            return _number_from_mysql(kind, value)
        except (ValueError, ArithmeticError):
            raise _refuse(kind, value, "is no value of MySQL's column: its definition differs from ours") from None
    if kind.kind is Kind.BINARY:
        return base64.b64encode(_base64(kind, str(value))).decode()
    return value if type(value) is str else str(value)


def _number_from_mysql(kind: ColumnType, value: int | float | str | Decimal) -> JsonValue:
    """Raises ValueError or ArithmeticError for what no such column holds: indexes rely on an integer's bounds."""
    if kind.kind is Kind.INTEGER:
        whole = value if type(value) is int else int(value)
        if not kind.low <= whole <= kind.high:
            raise ValueError
        return whole
    if kind.kind is Kind.FLOAT:
        number = float(value)
        if not isfinite(number):
            raise ValueError
        return _plain_float(number)
    exact = Decimal(repr(value) if isinstance(value, float) else value)
    return _scaled_text(int(exact.scaleb(kind.scale, _WIDE)), kind.scale)


#: DECIMAL(65,30) needs 65 digits; the default context has 28 and would round.
_WIDE: Final = Context(prec=200)
