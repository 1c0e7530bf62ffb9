"""MySQL's binary JSON as the text that a SELECT prints, and changes of parts of it (partial updates). Pure.

A value is read into a tree: an object is a dict in its own order (by length, then bytes), an array a list, and all
else the text that it is printed as. Changes are done on the tree as the server does them on the value.

Values may lie anywhere in the bytes, so a few bytes could claim to hold millions: no more is read than there is.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from math import isfinite
from struct import Struct, error
from typing import Final

from tcsql.replication.binlog.faults import broken, unknown
from tcsql.replication.binlog.numbers import decimal_bytes, decimal_reader
from tcsql.replication.binlog.reading import Reader
from tcsql.replication.binlog.tablemap import Field

#: The text of a scalar as it is printed, else what is in it.
Tree = str | list["Tree"] | dict[str, "Tree"]

_MOST_DEPTH: Final = 101
_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY = 0, 1, 2, 3
_LITERAL: Final = 4
_DOUBLE: Final = 11
_STRING: Final = 12
_OPAQUE: Final = 15
_LITERALS: Final = ("null", "true", "false")
_INTEGERS: Final = {5: "<h", 6: "<H", 7: "<i", 8: "<I", 9: "<q", 10: "<Q"}
_UNPACK: Final = {kind: Struct(form).unpack_from for kind, form in _INTEGERS.items()}
_UNPACK_DOUBLE: Final = Struct("<d").unpack_from
#: Fit into the place of an offset of two bytes, and of four.
_INLINE: Final = {False: frozenset([_LITERAL, 5, 6]), True: frozenset([_LITERAL, 5, 6, 7, 8])}
_ESCAPES: Final = {
    **{code: f"\\u{code:04x}" for code in range(32)},
    **{ord(plain): f"\\{short}" for plain, short in ('""', "\\\\", "\bb", "\tt", "\nn", "\ff", "\rr")},
}
_SPECIAL: Final = re.compile(r'[\x00-\x1f"\\]')
_LEG: Final = re.compile(r'\.([^\W\d][\w$]*|[$_][\w$]*)|\.("(?:[^"\\]|\\.)*")|\[(\d{1,10})\]')
_UNESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}
_REPLACE, _INSERT, _REMOVE = 0, 1, 2


def json_text(data: bytes) -> str:
    """The text of a value; nothing at all is what an unset column of an older server holds, and printed as null."""
    return printed(json_tree(data))


def json_tree(data: bytes) -> Tree:
    """The value as a tree; raises BinlogFault."""
    if not data:
        return "null"
    try:
        return _Document(data).value(data[0], 1, 0)
    except (error, IndexError, UnicodeDecodeError):
        raise broken("a JSON value cannot be read") from None


def printed(tree: Tree) -> str:
    """The tree as text."""
    if isinstance(tree, str):
        return tree
    if isinstance(tree, list):
        return f"[{', '.join(map(printed, tree))}]"
    return "{" + ", ".join(f"{_quoted(key)}: {printed(value)}" for key, value in tree.items()) + "}"


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"' if _SPECIAL.search(text) else f'"{text}"'


class _Document:
    """One value's bytes and how much of them may still be read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise broken("a JSON value holds more than it has bytes")

    def value(self, kind: int, at: int, depth: int) -> Tree:
        """The value of a type that lies at ``at``."""
        if kind <= _LARGE_ARRAY:
            return self._container(kind, at, depth + 1)
        if kind == _STRING:
            return _quoted(self._bytes(at).decode())
        if kind == _OPAQUE:
            return self._opaque(self._data[at], self._bytes(at + 1))
        if kind == _DOUBLE:
            return double_text(_UNPACK_DOUBLE(self._data, at)[0])
        return self._scalar(kind, at)

    def _scalar(self, kind: int, at: int) -> str:
        if kind == _LITERAL:
            return _LITERALS[self._data[at]]
        unpack = _UNPACK.get(kind)
        if unpack is None:
            raise unknown(f"JSON of type {kind}")
        return str(unpack(self._data, at)[0])

    def _bytes(self, at: int) -> bytes:
        """Bytes behind their length, seven bits a byte, the lowest first."""
        length = shift = 0
        while True:
            byte = self._data[at]
            at += 1
            length |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 28:
                raise broken("a JSON text has no length")
        self._spend(length)
        if at + length > len(self._data):
            raise broken("a JSON text ends too early")
        return self._data[at : at + length]

    def _container(self, kind: int, start: int, depth: int) -> Tree:
        """Count, size, the places of keys, the types and places of values; places count from ``start``."""
        if depth > _MOST_DEPTH:
            raise broken("a JSON value is nested deeper than any")
        is_large = kind in (_LARGE_OBJECT, _LARGE_ARRAY)
        is_object = kind in (_SMALL_OBJECT, _LARGE_OBJECT)
        width = 4 if is_large else 2
        count, size = self._number(start, width), self._number(start + width, width)
        if start + size > len(self._data):
            raise broken("a JSON value ends too early")
        at = start + 2 * width
        self._spend(count * (1 + width))
        keys = []
        if is_object:
            for _ in range(count):
                place, length = start + self._number(at, width), self._number(at + width, 2)
                self._spend(length)
                keys.append(self._slice(place, length).decode())
                at += width + 2
        values: list[Tree] = []
        for _ in range(count):
            its = self._data[at]
            if its in _INLINE[is_large]:
                values.append(self._scalar(its, at + 1))
            else:
                values.append(self.value(its, start + self._number(at + 1, width), depth))
            at += 1 + width
        return dict(zip(keys, values, strict=True)) if is_object else values

    def _slice(self, at: int, length: int) -> bytes:
        if at + length > len(self._data):
            raise broken("a JSON key ends too early")
        return self._data[at : at + length]

    def _number(self, at: int, width: int) -> int:
        return int.from_bytes(self._slice(at, width), "little")

    def _opaque(self, kind: int, data: bytes) -> str:
        """What JSON has no type for."""
        if kind == Field.NEWDECIMAL:
            if len(data) < 2 or len(data) != 2 + decimal_bytes(data[0], data[1]):
                raise broken("a DECIMAL within JSON is none")
            return decimal_reader(data[0], data[1])(data[2:])
        if kind in (Field.DATE, Field.TIME, Field.DATETIME, Field.TIMESTAMP):
            if len(data) != 8:
                raise broken("a moment within JSON is none")
            return f'"{_moment(kind, int.from_bytes(data, "little", signed=True))}"'
        encoded = b2a_base64(data, newline=False).decode()
        # the server breaks lines after 76 letters
        lines = "\\n".join(encoded[at : at + 76] for at in range(0, len(encoded), 76))
        return f'"base64:type{kind}:{lines}"'


def double_text(value: float) -> str:
    """A DOUBLE within JSON: always with a point or an exponent.

    >>> double_text(1e15), double_text(100.0), double_text(1e-5)
    ('1e15', '100.0', '0.00001')
    """
    if not isfinite(value):
        raise broken("a number within JSON is none")
    sign = "-" if str(value)[0] == "-" else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction.rstrip("0")).lstrip("0")
    if not digits:
        return f"{sign}0.0"
    # where the point stands: behind so many of the digits
    stripped = (whole + fraction.rstrip("0")) if whole.strip("0") else fraction.rstrip("0")
    point = len(whole) if whole.strip("0") else len(digits) - len(stripped)
    point += int(exponent or 0)
    digits = digits.rstrip("0")
    return sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    """Digits with their point; far from it with an exponent."""
    if -15 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    if 0 < point <= 15:
        if len(digits) <= point:
            return f"{digits.ljust(point, '0')}.0"
        return f"{digits[:point]}.{digits[point:]}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1}"


def _moment(kind: int, packed: int) -> str:
    """A date or time: 24 bits of microseconds under bits that are laid out as those of columns are."""
    sign, number = ("-", -packed) if packed < 0 else ("", packed)
    micros, whole = number & 0xFFFFFF, number >> 24
    clock = f"{whole >> 12 & (0x3FF if kind == Field.TIME else 31):02}:{whole >> 6 & 63:02}:{whole & 63:02}.{micros:06}"
    if kind == Field.TIME:
        return sign + clock
    months = whole >> 22
    date = f"{months // 13:04}-{months % 13:02}-{whole >> 17 & 31:02}"
    return date if kind == Field.DATE else f"{date} {clock}"


# --- partial updates ------------------------------------------------------------------------------------------


def changed(before: bytes | Tree, changes: bytes) -> Tree:
    """The value after the changes of a partial update; raises BinlogFault where they do not fit the value before."""
    tree = json_tree(before) if isinstance(before, bytes) else before
    reader = Reader(changes)
    while reader.left:
        operation = reader.number(1)
        try:
            path = legs_of(reader.text().decode())
        except UnicodeDecodeError:
            raise broken("a path within JSON is no text") from None
        if operation > _REMOVE:
            raise unknown(f"a change of JSON of kind {operation}")
        value = None if operation == _REMOVE else json_tree(reader.text())
        tree = _change(tree, path, operation, value)
    return tree


def legs_of(path: str) -> list[str | int]:
    """The parts of a path: names of members, places in arrays.

    >>> legs_of('$.a[3]."b c"')
    ['a', 3, 'b c']
    """
    if path[:1] != "$":
        raise broken("a path within JSON is none")
    legs: list[str | int] = []
    at = 1
    while at < len(path):
        match = _LEG.match(path, at)
        if match is None:
            raise broken("a path within JSON is none")
        name, quoted, place = match.groups()
        legs.append(int(place) if place is not None else name if name is not None else _unquoted(quoted))
        at = match.end()
    return legs


def _unquoted(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        return _UNESCAPES.get(match[2], match[2])

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", plain, text[1:-1], flags=re.DOTALL)


def _change(tree: Tree, path: list[str | int], operation: int, value: Tree | None) -> Tree:
    if not path:
        if operation != _REPLACE or value is None:
            raise broken("a change of JSON does not fit its value")
        return value
    *way, last = path
    holder = tree
    for leg in way:
        holder = _member(holder, leg)
    if isinstance(holder, dict) and isinstance(last, str):
        _change_object(holder, last, operation, value)
    elif isinstance(holder, list) and isinstance(last, int):
        _change_array(holder, last, operation, value)
    else:
        raise broken("a change of JSON does not fit its value")
    return tree


def _member(holder: Tree, leg: str | int) -> Tree:
    if isinstance(holder, dict) and isinstance(leg, str) and leg in holder:
        return holder[leg]
    if isinstance(holder, list) and isinstance(leg, int) and leg < len(holder):
        return holder[leg]
    raise broken("a change of JSON does not fit its value")


def _change_object(holder: dict[str, Tree], key: str, operation: int, value: Tree | None) -> None:
    if (operation == _INSERT) == (key in holder):
        raise broken("a change of JSON does not fit its value")
    if value is None:
        del holder[key]
        return
    holder[key] = value
    if operation == _INSERT:
        ordered = sorted(holder.items(), key=lambda member: (len(member[0].encode()), member[0].encode()))
        holder.clear()
        holder.update(ordered)


def _change_array(holder: list[Tree], place: int, operation: int, value: Tree | None) -> None:
    # what is inserted behind the end goes to the end, as the server does it
    if operation != _INSERT and place >= len(holder):
        raise broken("a change of JSON does not fit its value")
    if value is None:
        del holder[place]
    elif operation == _INSERT:
        holder.insert(place, value)
    else:
        holder[place] = value
