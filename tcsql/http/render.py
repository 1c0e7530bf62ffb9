"""Results become bytes. Pure: rows are JSON already, so a page is a join, and no row is parsed on its way out.

Rows never hold NaN or Infinity (a column cannot), so a reply is JSON by construction. ``bigint_text`` is the
one case that reads rows: integers beyond 2^53 get quotes, all else keeps its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from tcsql.engine import pagejson
from tcsql.engine.change import Tally
from tcsql.engine.result import CountResult, Page, Result
from tcsql.errors import TCSQLError

#: Beyond it not every integer is a float, and a float is all that JavaScript has.
_EXACT_IN_FLOAT: Final = 2**53

#: 5 ms, when every token is a number.
_QUOTED_AT_ONCE: Final = 65_536

_MAY_BE_BIG: Final = re.compile(rb"[0-9]{16}")
_STRING_OR_NUMBER: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9]+(?:[.eE][0-9eE.+-]*)?')


def result(value: Result, bigint_text: bool = False) -> bytes:
    """The body of a page, a count or groups.

    >>> result(Page(2, [b'{"id":1}', b'{"id":2}'], next="c"))
    b'{"total":2,"next":"c","prev":null,"rows":[{"id":1},{"id":2}]}'
    """
    if isinstance(value, CountResult):
        return pagejson.count(value.count)
    rows = [quoted_bigints(row) for row in value.rows] if bigint_text else value.rows
    if isinstance(value, Page):
        return pagejson.page(value.total, rows, _cursor(value.next), _cursor(value.prev))
    return b'{"total":%d,"rows":[%b]}' % (value.total, b",".join(rows))


def is_slow(value: Result) -> bool:
    """Whether quoting its integers takes some milliseconds: for a thread."""
    return not isinstance(value, CountResult) and sum(map(len, value.rows)) > _QUOTED_AT_ONCE


def _cursor(cursor: str | None) -> bytes | None:
    return None if cursor is None else cursor.encode()


def quoted_bigints(row: bytes) -> bytes:
    """Integers beyond 2^53 as strings.

    >>> quoted_bigints(b'{"a":9007199254740993,"b":"9007199254740993","c":1e20,"d":-7}')
    b'{"a":"9007199254740993","b":"9007199254740993","c":1e20,"d":-7}'
    """
    return _STRING_OR_NUMBER.sub(_quoted, row) if _MAY_BE_BIG.search(row) else row


def _quoted(match: re.Match[bytes]) -> bytes:
    token = match[0]
    if len(token) < 16 or not token.lstrip(b"-").isdigit() or abs(int(token)) <= _EXACT_IN_FLOAT:
        return token
    return b'"%b"' % token


def inserted(tally: Tally, lsn: int, lines: int | None = None) -> bytes:
    """The body of an insert; ``lines``: of a bulk load."""
    counted = b"" if lines is None else b',"lines":%d' % lines
    key = b"" if tally.last_insert_id is None else b',"last_insert_id":%d' % tally.last_insert_id
    return b'{"inserted":%d,"replaced":%d%b%b,"lsn":%d}' % (tally.inserted, tally.replaced, counted, key, lsn)


def updated(tally: Tally, lsn: int) -> bytes:
    return b'{"updated":%d,"lsn":%d}' % (tally.updated, lsn)


def deleted(tally: Tally, lsn: int) -> bytes:
    return b'{"deleted":%d,"lsn":%d}' % (tally.deleted, lsn)


def executed(statements: int, lsn: int) -> bytes:
    return b'{"statements":%d,"lsn":%d}' % (statements, lsn)


def error(caught: TCSQLError) -> bytes:
    """The body of a refusal; ``extra`` stands beside the message."""
    body: dict[str, object] = {"code": caught.code, "message": caught.message}
    if caught.hint is not None:
        body["hint"] = caught.hint
    return document({"error": body | caught.extra})


def document(value: Mapping[str, object] | Sequence[object]) -> bytes:
    """A plain document (status, explain, openapi): orjson, with texts for what JSON does not know."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: object) -> object:
    if isinstance(value, int):  # beyond 64 bit
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
