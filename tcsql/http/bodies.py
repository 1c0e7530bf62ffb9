"""Bodies: the bytes of a write become rows. Pure.

Two readers, one meaning. ``orjson`` reads nearly everything; the exact reader (the standard library's, with
``Decimal`` for fractions) takes over where orjson would lose digits or refuse what old clients send:

    the table has DECIMAL columns · a number of 19 digits or more · NaN (NULL) · raw control characters

What holds for both: at most 32 levels of nesting; no Infinity; no lone surrogates; of a member given twice the
last one counts; ``pkey`` is the primary key (for a key of several columns its text form, split again). Values
are not checked against their columns here: that is the engine's ``check``.

Cost: about 1 microsecond a row of eight columns with orjson, ten times that with the exact reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, cast

import orjson

from tcsql.engine.change import Row
from tcsql.engine.schema import TableSchema
from tcsql.engine.values import ClientValue, Kind
from tcsql.errors import BadRequest
from tcsql.http.parameters import percent_decoded

MAX_LEVELS: Final = 32

#: Digits that a float would round, so that orjson's reading cannot be trusted.
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}|[0-9]{16}[.eE]")
#: Every digit as 0: a search for sixteen zeros takes a thirtieth of the time of the pattern.
_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")
#: A container as a member's value: only then can a row be nested, or need its own text kept.
_NESTED: Final = re.compile(rb":[ \t\r\n]*[\[{]")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
#: Powers of ten beyond any MySQL number (DOUBLE ends at 1.8e308); larger ones would only cost memory.
_MAX_EXPONENT: Final = 400


#: Brackets as one kind each, everything else left out.
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
#: The depth is looked at after every so many brackets; in between it cannot rise by more.
_STRIDE: Final = 128


def is_hopelessly_deep(body: bytes) -> bool:
    """Whether the text nests far deeper than 32 levels, found out without reading it.

    A reader makes a megabyte of brackets into objects first, which takes 0.1 s; this takes at most 10 ms, and
    nothing for a text of few brackets. Between 32 and 160 levels the reader has the last word.

    >>> is_hopelessly_deep(b"[" * 1_000), is_hopelessly_deep(b'["' + b"[" * 1_000 + b'"]')
    (True, False)
    """
    if body.count(b"[") + body.count(b"{") <= _STRIDE:
        return False
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    brackets = b"".join(bare.split(b'"')[::2]).translate(_BRACKETS, _NO_BRACKETS)
    depth = 0
    for start in range(0, len(brackets), _STRIDE):
        stop = min(start + _STRIDE, len(brackets))
        depth += 2 * brackets.count(b"[", start, stop) - (stop - start)
        if depth > MAX_LEVELS:
            return True
    return False


def json_value(body: bytes, exact: bool = False, what: str = "the body") -> Any:
    """Any JSON value; raises BadRequest with line and column of what is wrong.

    >>> json_value(b'{"a": 18446744073709551616, "b": NaN}')
    {'a': 18446744073709551616, 'b': None}
    """
    if is_hopelessly_deep(body):
        raise BadRequest(f"{what} is nested deeper than {MAX_LEVELS} levels")
    if not exact and not _has_long_number(body):
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            value = _exact_value(body, what)
    else:
        value = _exact_value(body, what)
    if _NESTED.search(body) and not _is_shallow(value, MAX_LEVELS):
        raise BadRequest(f"{what} is nested deeper than {MAX_LEVELS} levels")
    return value


def _has_long_number(body: bytes) -> bool:
    return b"0" * 16 in body.translate(_ZEROS) and _LONG_NUMBER.search(body) is not None


def _exact_value(body: bytes, what: str) -> Any:
    if not body.strip():
        raise BadRequest(f"{what} is empty")
    try:
        value = json.loads(
            body.decode(), strict=False, parse_float=_exact_number, parse_int=_integer, parse_constant=_constant
        )
    except UnicodeDecodeError as error:
        raise BadRequest(f"{what} is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"{what} is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise BadRequest(f"{what} is nested deeper than {MAX_LEVELS} levels") from None
    if _SURROGATE.search(body):
        _refuse_lone_surrogates(value, what)
    return value


def _exact_number(text: str) -> Decimal:
    number = Decimal(text)
    if number.adjusted() > _MAX_EXPONENT:
        raise BadRequest(f"number {text[:40]} is too large")
    return number


def _integer(text: str) -> int:
    if len(text) > _MAX_EXPONENT:
        raise BadRequest(f"a number of {len(text)} digits is too large")
    return int(text)


def _constant(name: str) -> None:
    """Old UDFs write NaN for NULL; an infinity has no meaning in any column."""
    if name != "NaN":
        raise BadRequest(f"{name} is not a value that a column can hold")


def _is_shallow(value: object, levels: int) -> bool:
    """Level by level, not by recursion: a megabyte of brackets must not hold up the other requests."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if type(outer) is dict else outer if type(outer) is list else ())
            if type(inner) is dict or type(inner) is list
        ]
        if not layer:
            return True
    return False


def _refuse_lone_surrogates(value: object, what: str) -> None:
    """Both halves of a pair have been joined by now, so what cannot be encoded stands alone."""
    for text in _texts(value, MAX_LEVELS + 1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadRequest(f"{what} has a lone surrogate, which is no character") from None


def _texts(value: object, levels: int) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not levels:
        return []
    if isinstance(value, dict):
        return [text for name, item in value.items() for text in (name, *_texts(item, levels - 1))]
    return [text for item in value for text in _texts(item, levels - 1)] if isinstance(value, list) else []


class RowReader:
    """Reads the rows of one table; make one per request and schema."""

    __slots__ = ("_json_columns", "_schema", "exact")

    def __init__(self, schema: TableSchema) -> None:
        self._schema = schema
        self.exact = any(column.type.kind is Kind.DECIMAL for column in schema.columns)
        self._json_columns = [column.name for column in schema.columns if column.type.kind is Kind.JSON]

    def rows(self, body: bytes) -> list[Row]:
        """The row, or the array of rows, of an insert."""
        return self.rows_of(json_value(unwrapped(body), self.exact))

    def rows_of(self, value: object) -> list[Row]:
        """Rows of a value that is read already (the member ``rows`` of a JSON request)."""
        items = value if isinstance(value, list) else [value]
        rows = []
        for number, item in enumerate(items, 1):
            if not isinstance(item, dict):
                place = f"row {number}" if isinstance(value, list) else "the body"
                raise BadRequest(f"{place} is not a JSON object", 'a row is {"column": value, ...}')
            rows.append(self._row(item))
        return rows

    def line(self, line: bytes) -> Row:
        """One line of NDJSON."""
        value = json_value(line, self.exact, "the line")
        if not isinstance(value, dict):
            raise BadRequest("the line is not a JSON object", 'a line is {"column": value, ...}')
        return self._row(value)

    def lines(self, lines: Sequence[bytes]) -> list[Row]:
        """Many lines of NDJSON: read together where that cannot differ, else one by one. 0.6 us a plain line."""
        rows = self._together(lines)
        return rows if rows is not None else [self.line(line) for line in lines]

    def _together(self, lines: Sequence[bytes]) -> list[Row] | None:
        """The lines as one array, if each is one object that orjson reads exactly.

        A line end inside a text is no JSON and braces must match: there are as many objects as lines only if each
        line is one of them.
        """
        text = b"\n".join(lines)
        body = b"[%b]" % text.replace(b"}\n{", b"},\n{")
        if text[:1] != b"{" or text[-1:] != b"}" or len(body) - len(text) != len(lines) + 1:  # a comma and two brackets
            return None
        try:
            rows = None if _has_long_number(body) else orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if rows is None or len(rows) != len(lines):
            return None
        # Two counts spare nearly everybody the search: 0.2 us a line.
        may_nest = body.count(b"{") != len(rows) or body.count(b"[") != 1
        if may_nest and _NESTED.search(body) and (self.exact or not _is_shallow(rows, MAX_LEVELS)):
            return None
        if self.exact and any(isinstance(value, float) for row in rows for value in row.values()):
            return None  # it had digits that its column, of whatever type, is to have too
        if not self._json_columns and b'"pkey"' not in body and b"\\u" not in body:
            return cast(list[Row], rows)  # nothing that ``_row`` would change
        return list(map(self._row, rows))

    def values(self, body: bytes) -> Row:
        """The columns to change of an update."""
        return self.values_of(json_value(unwrapped(body), self.exact))

    def values_of(self, value: object) -> Row:
        """Columns to change, of a value that is read already (the member ``set`` of a JSON request)."""
        if not isinstance(value, dict):
            raise BadRequest("the columns to change are not a JSON object", 'send {"column": value, ...}')
        return self._row(value)

    def _row(self, members: dict[str, ClientValue]) -> Row:
        if "pkey" in members and "pkey" not in self._schema.by_name:
            members = self._with_key(members)
        for name in self._json_columns:
            value = members.get(name)
            if isinstance(value, (dict, list, Decimal, int)):
                members[name] = json_text(value)
        return cast(Row, members)  # values are the client's until the engine's check has settled them

    def _with_key(self, members: Mapping[str, ClientValue]) -> dict[str, ClientValue]:
        """``pkey`` under its real names; the same key given twice must be the same."""
        plain = dict(members)
        given = plain.pop("pkey")
        columns = self._schema.pkey_columns
        parts: list[ClientValue] = [given]
        if len(columns) > 1:
            parts = list(split_pkey(given)) if isinstance(given, str) else parts
            if len(parts) != len(columns):
                names = ",".join(self._schema.primary_key)
                raise BadRequest(
                    f"pkey has {len(parts)} of {len(columns)} parts", f'send the text "{names}", or columns'
                )
        for column, part in zip(columns, parts, strict=True):
            other = plain.setdefault(column.name, part)
            if other is not part and column.type.from_client(other) != column.type.from_client(part):
                raise BadRequest(f'pkey and "{column.name}" differ', "leave one of them out")
        return plain


_KEY_PART: Final = re.compile(r"(?:[^\\,]|\\.)*", re.DOTALL)


def split_pkey(text: str) -> list[str]:
    r"""The parts of a composite key's text: joined by ``,`` with ``\`` before a ``,`` or ``\`` inside a part.

    >>> split_pkey(r"x\,y,z,\\")
    ['x,y', 'z', '\\']
    """
    parts, place = [], 0
    while True:
        match = _KEY_PART.match(text, place)
        assert match is not None  # the pattern takes the empty text
        parts.append(re.sub(r"\\(.)", r"\1", match[0], flags=re.DOTALL))
        place = match.end()
        if place == len(text):
            return parts
        if text[place] != ",":
            raise BadRequest("pkey ends with a single backslash", r"write \\ for a backslash")
        place += 1


def json_text(value: object) -> str:
    """JSON text with every number as it was written: for JSON columns, whose text is what is stored.

    >>> json_text({"a": [Decimal("1.50"), 2**70, None]})
    '{"a":[1.50,1180591620717411303424,null]}'
    """
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_text(name)}:{json_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(json_text(item) for item in value) + "]"
    if isinstance(value, Decimal) or type(value) is int:
        return str(value)
    return orjson.dumps(value).decode()


def looks_like_json(body: bytes) -> bool:
    """An object or array, bare or URL-encoded: what curl and the original's UDF send under any label."""
    return body.lstrip(b" \t\r\n+")[:1] in (b"{", b"[") or body.lstrip(b" \t\r\n+")[:3].upper() in (b"%7B", b"%5B")


def unwrapped(body: bytes) -> bytes:
    """A URL-encoded JSON body decoded once; JSON itself as it is.

    >>> unwrapped(b"%7B%22a%22%3A+%22100%25%22%7D")
    b'{"a": "100%"}'
    """
    if not body.lstrip(b" \t\r\n+").startswith(b"%"):
        return body
    try:
        return percent_decoded(body.decode("ascii"), "the body").encode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the URL-encoded body has a raw byte above 127 at {error.start}") from None


class LineSplitter:
    """Cuts a stream of chunks into lines, bounded: ``feed`` chunks, then ``finish``; lines come without their end."""

    __slots__ = ("_max_line_bytes", "_rest")

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now, and one that is too long already: raises nothing, the caller measures."""
        *lines, self._rest = (self._rest + chunk).split(b"\n") if self._rest else chunk.split(b"\n")
        if len(self._rest) > self._max_line_bytes:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def finish(self) -> list[bytes]:
        """The last line, when the stream did not end with a line end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []
