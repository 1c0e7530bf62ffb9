"""The text of a request: its places for errors, and its code without comments, ready for sqlglot's tokenizer.

Comments become blanks and the marks of version comments too (``/*!80023 INVISIBLE */`` and ``/*M!100301 … */`` are
code, as in MySQL), so every offset stays what it was. What never ends is refused here, with its place, and so is a
text too long to be a schema. Possessive patterns (``*+``) never backtrack: the cost is linear whatever the text holds.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tcsql.errors import SqlSyntax, UnsupportedStatement

#: A schema of 4,096 columns has about 200 KiB; the body limit of the HTTP interface is the same number.
MAX_TEXT: Final = 1 << 20
#: An ENUM can have 65,535 members, of two tokens each. Keeps the work on hostile text below a second.
MAX_TOKENS: Final = 200_000
_TOO_LONG_HINT: Final = "send the statements one by one; rows are loaded with command=insert or tcsql load"


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

    def unsupported(self, offset: int, message: str, hint: str | None = None) -> UnsupportedStatement:
        line, column = self.place(offset)
        return UnsupportedStatement(f"line {line}, column {column}: {message}", hint, line=line, column=column)


_LEXEME: Final = re.compile(
    r"""
    (?P<blank> \s++ )
  | (?P<comment> --(?=\s|$)[^\n]*+ | \#[^\n]*+ | /\*M!999999\\-.*?\*/ | /\*(?!M?!).*?\*/ )
  | (?P<open>  /\*M?![0-9]{0,6} )
  | (?P<close> \*/ )
  | (?P<bad>   [xX]'(?![0-9A-Fa-f]*+'(?!')) | [bB]'(?![01]*+'(?!')) )
  | (?P<code>  [xXbBnN]?'(?>(?:[^'\\]++|\\.|'')*)' | "(?>(?:[^"\\]++|\\.|"")*)" | `(?>(?:[^`]++|``)*)` | [\w$@]++ )
  | (?P<endless> ['"`] | /\* )
  | (?P<sign>  . )
    """,
    re.VERBOSE | re.DOTALL,
)
_ENDLESS: Final = {"'": "string", '"': "string", "`": "quoted name", "/": "comment"}
_NOT_NEWLINE: Final = re.compile(r"[^\n]")


def code_of(source: Source) -> str:
    """The text with blanks for comments. Raises SqlSyntax for what never ends or is too long. O(length)."""
    text = source.text
    if len(text) > MAX_TEXT:
        message = f"the statements have {len(text)} characters, at most {MAX_TEXT} are taken at once"
        raise source.error(0, message, _TOO_LONG_HINT)
    parts: list[str] = []
    count = 0
    open_at: int | None = None
    for match in _LEXEME.finditer(text):
        kind, start, written = match.lastgroup, match.start(), match.group()
        if kind in ("comment", "open", "close"):
            parts.append(_NOT_NEWLINE.sub(" ", written))
        else:
            parts.append(written)
            count += kind != "blank"
        if kind == "open":
            if open_at is not None:
                raise source.error(start, "a version comment inside a version comment")
            open_at = start
        elif kind == "close":
            if open_at is None:
                raise source.error(start, "*/ ends no comment")
            open_at = None
        elif kind == "endless":
            raise source.error(start, f"the {_ENDLESS[written[0]]} that begins here does not end")
        elif kind == "bad":
            raise source.error(
                start, f"this {'hexadecimal' if written[0] in 'xX' else 'binary'} string has other digits"
            )
        elif count > MAX_TOKENS:
            raise source.error(start, f"more than {MAX_TOKENS} words and signs", _TOO_LONG_HINT)
    if open_at is not None:
        raise source.error(open_at, "the comment that begins here does not end")
    return "".join(parts)
