r"""MySQL's string literals and quoted names, both ways: what the SQL parser and the dump formats share.

Escapes as in MySQL's manual, "String Literals": ``\0 \b \n \r \t \Z``, ``\%`` and ``\_`` keep their backslash,
any other escaped character stands for itself, a doubled quote for one.
"""

from __future__ import annotations

import re
from typing import Final

_ESCAPES: Final = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_TO_QUOTE: Final = re.compile("[\0\n\r\x1a'\"\\\\]")
_QUOTED: Final = {"\0": "\\0", "\n": "\\n", "\r": "\\r", "\x1a": "\\Z", "'": "\\'", '"': '\\"', "\\": "\\\\"}


def string_value(written: str) -> str:
    r"""What a quoted string or name stands for.

    >>> string_value(r"'it''s \'x\' 5\%'")
    "it's 'x' 5\\%"
    >>> string_value("`a``b`")
    'a`b'
    """
    quote, inner = written[0], written[1:-1]
    if quote == "`" or "\\" not in inner:
        return inner.replace(quote * 2, quote)
    parts = _ESCAPE.split(inner)  # text, escaped character, text, …: a doubled quote lies within one text
    parts[::2] = [part.replace(quote * 2, quote) for part in parts[::2]]
    parts[1::2] = [_ESCAPES.get(found, found) for found in parts[1::2]]
    return "".join(parts)


def quote_string(text: str) -> str:
    r"""A string literal, escaped as mysqldump does.

    >>> print(quote_string("it's\n"))
    'it\'s\n'
    """
    return "'" + _TO_QUOTE.sub(_quoted, text) + "'"


def _quoted(match: re.Match[str]) -> str:
    return _QUOTED[match[0]]


def quote_name(name: str) -> str:
    """A quoted name.

    >>> quote_name("order")
    '`order`'
    """
    return "`" + name.replace("`", "``") + "`"
