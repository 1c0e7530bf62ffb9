"""Tokens of MySQL's SQL, with the place of each, from one compiled pattern in one pass.

Version comments (``/*!80023 INVISIBLE */``, ``/*M!100301 … */``) are code, as in MySQL: their marks vanish, their
contents are tokens. All other comments vanish whole. Strings keep their source form until ``string_value`` reads
them, so a column's declaration can be given back as it was written. Possessive patterns (``*+``) never backtrack:
the cost is linear in the text whatever it holds.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final, NamedTuple

from tcsql.errors import SqlSyntax

#: A schema of 4,096 columns has about 200 KiB; the body limit of the HTTP interface is the same number.
MAX_TEXT: Final = 1 << 20
#: An ENUM can have 65,535 members, of two tokens each. Keeps the work on hostile text below half a second.
MAX_TOKENS: Final = 200_000


class TokenKind(Enum):
    WORD = "word"  # keyword or plain identifier
    NAME = "name"  # `quoted identifier`
    STRING = "string"
    NUMBER = "number"
    HEX = "hex"  # x'41' or 0x41
    BITS = "bits"  # b'01' or 0b01
    SYMBOL = "symbol"
    END = "end"


class Token(NamedTuple):
    """One token: ``text`` as written; ``key`` its upper-case form for words and the text itself otherwise."""

    kind: TokenKind
    text: str
    key: str
    start: int
    end: int


@dataclass(frozen=True)
class Source:
    """The text of a request: makes errors that carry line and column (both from 1)."""

    text: str

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, from 1. O(log lines)."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def error(self, offset: int, message: str, hint: str | None = None) -> SqlSyntax:
        line, column = self.place(offset)
        return SqlSyntax(f"line {line}, column {column}: {message}", hint, line=line, column=column)


_TOKEN: Final = re.compile(
    r"""
    (?P<space> \s++ | --(?=\s|$)[^\n]*+ | \#[^\n]*+ | /\*M!999999\\-.*?\*/ | /\*(?!M?!).*?\*/ )
  | (?P<open>  /\*M?![0-9]{0,6} )
  | (?P<close> \*/ )
  | (?P<hex>   [xX]'[0-9A-Fa-f]*+' | 0x[0-9A-Fa-f]++(?![\w$]) )
  | (?P<bits>  [bB]'[01]*+' | 0b[01]++(?![\w$]) )
  | (?P<string> '(?:[^'\\]++|\\.|'')*+' | "(?:[^"\\]++|\\.|"")*+" )
  | (?P<name>  `(?:[^`]++|``)*+` )
  | (?P<number> (?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?(?![A-Za-z_$]) )
  | (?P<word>  [\w$@]++ )
  | (?P<open_end> ['"`] | /\* )
  | (?P<symbol> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_KINDS: Final = {kind.value: kind for kind in TokenKind}
_UNENDED: Final = {"'": "string", '"': "string", "`": "quoted name", "/": "comment"}


_TOO_LONG_HINT: Final = "send the statements one by one; rows are loaded with command=insert or tcsql load"


def tokenize(source: Source) -> list[Token]:
    """All tokens, ended by one of kind END. Raises SqlSyntax for what never ends. O(length)."""
    text = source.text
    if len(text) > MAX_TEXT:
        raise SqlSyntax(
            f"the statements have {len(text)} characters, at most {MAX_TEXT} are taken at once",
            _TOO_LONG_HINT,
        )
    tokens: list[Token] = []
    open_at: int | None = None
    for match in _TOKEN.finditer(text):
        group = match.lastgroup
        assert group is not None  # the last alternative takes any character
        if group == "space":
            continue
        start = match.start()
        if group == "open":
            if open_at is not None:
                raise source.error(start, "a version comment inside a version comment")
            open_at = start
        elif group == "close":
            if open_at is None:
                raise source.error(start, "*/ ends no comment")
            open_at = None
        elif group == "open_end":
            raise source.error(start, f"the {_UNENDED[match.group()[0]]} that begins here does not end")
        else:
            written = match.group()
            key = written.upper() if group == "word" else written
            tokens.append(Token(_KINDS[group], written, key, start, match.end()))
            if len(tokens) > MAX_TOKENS:
                raise source.error(start, f"more than {MAX_TOKENS} words and signs", _TOO_LONG_HINT)
    if open_at is not None:
        raise source.error(open_at, "the comment that begins here does not end")
    tokens.append(Token(TokenKind.END, "", "", len(text), len(text)))
    return tokens
