"""sqlglot's tree of one SELECT, by MySQL's own rules. Imported when the first SELECT comes: see ``parser``."""

from __future__ import annotations

from typing import Final

from sqlglot import exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import ParseError
from sqlglot.tokenizer_core import TokenType

from tcsql.sql import dialect
from tcsql.sql.tokens import Source

#: ``!`` binds tighter than NOT in MySQL, and ``||`` may join texts there, by a server's mode.
_REFUSED: Final = {"!": "write NOT", "||": "write OR"}


class Selects(MySQL):
    """The dialect, as sqlglot registers it: comments are blanks already."""

    Tokenizer = dialect.SchemaStatements.Tokenizer


_DIALECT: Final = Selects()


def parse(source: Source) -> exp.Expr:
    """The tree of the one statement of a text. Raises SqlSyntax, UnsupportedStatement. O(tokens)."""
    found = dialect.statements(source)
    if len(found) != 1:
        raise source.error(0, f"{len(found)} statements instead of one SELECT")
    [tokens] = found
    if tokens[0].token_type is not TokenType.SELECT:
        raise source.unsupported(tokens[0].start, "only SELECT is taken", "SELECT … FROM table")
    for token in tokens:
        hint = _REFUSED.get(source.text[token.start : token.end + 1])
        if hint is not None:
            raise source.unsupported(token.start, f"{token.text} is not taken", hint)
    try:
        [tree] = _DIALECT.parser().parse(tokens, source.text)
    except ParseError as error:
        about = error.errors[0] if error.errors else {}
        message = str(about.get("description") or "this cannot be read").rstrip(".")
        line, column = about.get("line"), about.get("col")
        place = f"line {line}, column {column}: " if line else ""
        raise source.error(tokens[0].start, f"{place}{message}") from None
    except RecursionError:
        raise source.error(tokens[0].start, "this statement is nested too deeply") from None
    if tree is None:
        raise source.error(tokens[0].start, "this cannot be read")
    return tree
