"""A place in a list of tokens, and the moves every grammar rule is made of. Never recursive, so no text exhausts it."""

from __future__ import annotations

from tcsql.engine.schema import NAME
from tcsql.errors import SqlSyntax, UnsupportedStatement
from tcsql.literals import string_value
from tcsql.sql.tokens import Source, Token, TokenKind
from tcsql.sql.tree import Name

_SHOWN_CHARACTERS = 40


class Cursor:
    """Reads tokens from left to right; ``accept`` moves on only when it matches, ``expect`` raises SqlSyntax."""

    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self.source = source
        self._tokens = tokens
        self._index = 0

    @property
    def token(self) -> Token:
        return self._tokens[self._index]

    @property
    def index(self) -> int:
        return self._index

    def ahead(self, count: int) -> Token:
        """The token ``count`` places further, or the end."""
        return self._tokens[min(self._index + count, len(self._tokens) - 1)]

    @property
    def at_end(self) -> bool:
        """At the end of a statement."""
        return self.token.kind is TokenKind.END or self.token.key == ";"

    def advance(self) -> Token:
        token = self._tokens[self._index]
        if token.kind is not TokenKind.END:
            self._index += 1
        return token

    def accept(self, *keys: str) -> bool:
        """Move over these words or symbols if all of them stand here in this order."""
        tokens, index = self._tokens, self._index
        for offset, key in enumerate(keys):
            if index + offset >= len(tokens) or tokens[index + offset].key != key:
                return False
        self._index = index + len(keys)
        return True

    def accept_any(self, *keys: str) -> str | None:
        """Move over one of these words; which one it was."""
        key = self.token.key
        if key not in keys:
            return None
        self.advance()
        return key

    def expect(self, *keys: str) -> Token:
        token = self.token
        if not self.accept(*keys):
            raise self.error(f"expected {' '.join(keys)}, found {self.shown}")
        return token

    def accept_kind(self, kind: TokenKind) -> Token | None:
        return self.advance() if self.token.kind is kind else None

    def expect_kind(self, kind: TokenKind, what: str) -> Token:
        token = self.accept_kind(kind)
        if token is None:
            raise self.error(f"expected {what}, found {self.shown}")
        return token

    def whole_number(self, what: str) -> int:
        token = self.expect_kind(TokenKind.NUMBER, what)
        if not token.text.isdecimal() or len(token.text) > 20:
            raise self.source.error(token.start, f"expected {what}, found {token.text[:_SHOWN_CHARACTERS]}")
        return int(token.text)

    def name(self, what: str) -> Name:
        """A name that TCSQL takes; ``what`` says of which thing, for the error."""
        token = self.token
        if not self._is_name(token):
            raise self.error(f"expected the name of {what}, found {self.shown}")
        self.advance()
        name = self._name_of(token, what)
        if self.token.key == "." and what == "a table":
            raise self.error(
                f'"{name.text}" names a database, and TCSQL has one set of tables',
                f'write the table\'s name without "{name.text}."',
            )
        return name

    def skip_name(self, what: str) -> str:
        """Any name, qualified or not, of a thing that is not kept."""
        while True:
            token = self.token
            if not self._is_name(token):
                raise self.error(f"expected the name of {what}, found {self.shown}")
            self.advance()
            if not self.accept("."):
                return token.text if token.kind is TokenKind.WORD else string_value(token.text)

    @staticmethod
    def _is_name(token: Token) -> bool:
        return (
            token.kind is TokenKind.WORD
            or token.kind is TokenKind.NAME
            or (token.kind is TokenKind.STRING and token.text[0] == '"')  # names under ANSI_QUOTES
        )

    def _name_of(self, token: Token, what: str) -> Name:
        text = token.text if token.kind is TokenKind.WORD else string_value(token.text)
        if not NAME.fullmatch(text):
            raise self.source.error(
                token.start,
                f'"{text[:_SHOWN_CHARACTERS]}" cannot be the name of {what}',
                "names have 1 to 64 letters, digits and _ of ASCII and do not begin with a digit",
            )
        return Name(text, token.start)

    @property
    def has_name(self) -> bool:
        return self._is_name(self.token)

    def skip_parentheses(self) -> None:
        """Move over a balanced ( … ), whatever it holds."""
        opening = self.expect("(")
        depth = 1
        while depth:
            token = self.advance()
            if token.key == "(":
                depth += 1
            elif token.key == ")":
                depth -= 1
            elif token.kind is TokenKind.END:
                raise self.source.error(opening.start, "the ( here is not closed")

    def skip_to_comma(self) -> None:
        """Move to the , or ) that ends this item of a list, or to the end of the statement."""
        while not self.at_end and self.token.key not in (",", ")"):
            if self.token.key == "(":
                self.skip_parentheses()
            else:
                self.advance()

    def back_to(self, index: int) -> None:
        """Go back to a place that ``index`` gave."""
        self._index = index

    def between(self, start: int) -> list[Token]:
        """The tokens from ``start`` up to here."""
        return self._tokens[start : self._index]

    def written(self, start: int, end: int | None = None) -> str:
        """The tokens from ``start`` up to ``end`` (default: here) in one line, one blank between what stood apart."""
        tokens = self._tokens[start : self._index if end is None else end]
        parts: list[str] = []
        for index, token in enumerate(tokens):
            if index and tokens[index - 1].end < token.start:
                parts.append(" ")
            parts.append(token.text)
        return "".join(parts)

    @property
    def shown(self) -> str:
        token = self.token
        if token.kind is TokenKind.END:
            return "the end of the text"
        return token.text if len(token.text) <= _SHOWN_CHARACTERS else token.text[:_SHOWN_CHARACTERS] + "…"

    def error(self, message: str, hint: str | None = None) -> SqlSyntax:
        return self.source.error(self.token.start, message, hint)

    def unsupported(self, message: str, hint: str | None = None, at: int | None = None) -> UnsupportedStatement:
        line, column = self.source.place(self.token.start if at is None else at)
        return UnsupportedStatement(f"line {line}, column {column}: {message}", hint, line=line, column=column)
