"""The grammar of a column definition: name, type and attributes, in any order MySQL and MariaDB print them.

Attributes that mean nothing here (COLLATE, COMMENT, ON UPDATE) are read and kept in ``ColumnSpec.declared`` so that
a dump gives them back; those that only one server version takes (INVISIBLE, SRID, COLUMN_FORMAT) are dropped from
it, and keys, CHECK and REFERENCES are no part of it. ``declared`` of a column parses to an equal ``declared``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tcsql.literals import string_value
from tcsql.sql.cursor import Cursor
from tcsql.sql.tokens import Token, TokenKind
from tcsql.sql.tree import ColumnSpec, Default
from tcsql.sql.types import parse_type

#: What stands for the present moment, and which part of it.
_NOW: Final = {
    **dict.fromkeys(("CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP"), "timestamp"),
    **dict.fromkeys(("CURRENT_DATE", "CURDATE"), "date"),
    **dict.fromkeys(("CURRENT_TIME", "CURTIME"), "time"),
}
#: Attributes with one value (perhaps after a =) that are read and not kept.
_DROPPED_WITH_VALUE: Final = (
    "COLUMN_FORMAT", "STORAGE", "ENGINE_ATTRIBUTE", "SECONDARY_ENGINE_ATTRIBUTE", "SRID", "REF_SYSTEM_ID",
)  # fmt: skip


def parse_column(cursor: Cursor) -> ColumnSpec:
    """Read ``name type attribute…`` up to a ``,``, a ``)``, FIRST, AFTER or the end. Raises SqlSyntax."""
    return _ColumnParser(cursor).parse()


class _ColumnParser:
    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.declared: list[str] = []
        self.notes: list[str] = []
        self.is_json = False

    def parse(self) -> ColumnSpec:
        cursor = self.cursor
        name = cursor.name("a column")
        start = cursor.index
        type_ = parse_type(cursor)
        self.declared.append(cursor.written(start))
        spec = ColumnSpec(name, type_, "")
        if type_.name == "serial":  # the manual: an alias for exactly this
            spec = replace(
                spec,
                type=replace(type_, name="bigint", unsigned=True),
                nullable=False,
                auto_increment=True,
                unique=True,
            )
            self.declared = ["bigint unsigned NOT NULL AUTO_INCREMENT"]
        while not self._at_end_of_column():
            spec = self._attribute(spec)
        if self.is_json:
            spec = replace(spec, type=replace(spec.type, name="json"))
            # MariaDB's JSON is a longtext with a CHECK; its own name says the same to both servers
            self.declared = ["json", *(part for part in self.declared[1:] if not part.upper().startswith("COLLATE"))]
        return replace(spec, declared=" ".join(self.declared), notes=tuple(self.notes))

    def _at_end_of_column(self) -> bool:
        return self.cursor.at_end or self.cursor.token.key in (",", ")", "FIRST", "AFTER")

    def _attribute(self, spec: ColumnSpec) -> ColumnSpec:
        cursor = self.cursor
        start = cursor.index
        if cursor.accept("NOT", "NULL"):
            spec = replace(spec, nullable=False)
        elif cursor.accept("NULL"):
            spec = replace(spec, nullable=True)
        elif cursor.accept("DEFAULT"):
            spec = replace(spec, default=parse_default(cursor))
        elif cursor.accept("ON", "UPDATE"):
            if accept_now(cursor) is None:
                raise cursor.error(f"expected CURRENT_TIMESTAMP, found {cursor.shown}")
            self.notes.append(f"ON UPDATE of column {spec.name.text} happens in MySQL only")
        elif cursor.accept("AUTO_INCREMENT"):
            spec = replace(spec, auto_increment=True, nullable=False)
        elif cursor.accept("COMMENT"):
            cursor.expect_kind(TokenKind.STRING, "a quoted comment")
        elif cursor.accept("COLLATE") or cursor.accept("CHARACTER", "SET") or cursor.accept("CHARSET"):
            if cursor.accept_kind(TokenKind.STRING) is None:
                cursor.expect_kind(TokenKind.WORD, "a character set or collation")
        elif cursor.accept("GENERATED", "ALWAYS", "AS") or cursor.accept("AS"):
            self._generated()
            spec = replace(spec, generated=True)
        elif cursor.accept("SERIAL", "DEFAULT", "VALUE"):
            self.declared.append("NOT NULL AUTO_INCREMENT")
            return replace(spec, nullable=False, auto_increment=True, unique=True)
        else:
            return self._dropped_attribute(spec)
        self.declared.append(cursor.written(start))
        return spec

    def _generated(self) -> None:
        cursor = self.cursor
        if cursor.accept("ROW"):  # MariaDB's system versioning
            if cursor.accept_any("START", "END") is None:
                raise cursor.error(f"expected START or END, found {cursor.shown}")
            return
        cursor.skip_parentheses()
        cursor.accept_any("STORED", "VIRTUAL", "PERSISTENT")

    def _dropped_attribute(self, spec: ColumnSpec) -> ColumnSpec:
        """Attributes that are no part of ``declared``: keys, and what has no meaning here."""
        cursor = self.cursor
        start = cursor.index
        if cursor.accept("PRIMARY", "KEY") or cursor.accept("PRIMARY") or cursor.accept("KEY"):
            return replace(spec, primary=True, nullable=False)
        if cursor.accept("UNIQUE"):
            cursor.accept("KEY")
            return replace(spec, unique=True)
        if cursor.accept_any("VISIBLE", "INVISIBLE"):
            return spec
        if cursor.accept_any(*_DROPPED_WITH_VALUE):
            cursor.accept("=")
            cursor.advance()
            return spec
        if cursor.accept("COMPRESSED"):
            if cursor.accept("="):
                cursor.advance()
            return spec
        if cursor.accept("WITH", "SYSTEM", "VERSIONING") or cursor.accept("WITHOUT", "SYSTEM", "VERSIONING"):
            return spec
        if cursor.accept("REFERENCES"):
            self._skip_reference()
            self.notes.append(f"FOREIGN KEY ignored: {spec.name.text} {cursor.written(start)}")
            return spec
        if cursor.accept("CONSTRAINT") and cursor.token.key != "CHECK":
            cursor.skip_name("a constraint")
        if cursor.token.key == "CHECK":
            self._check(spec)
            return spec
        raise cursor.error(f"{cursor.shown} is no attribute of a column that is known here")

    def _check(self, spec: ColumnSpec) -> None:
        cursor = self.cursor
        start = cursor.index
        cursor.expect("CHECK")
        condition = cursor.index
        cursor.skip_parentheses()
        names = [token.key for token in cursor.between(condition)]
        cursor.accept("NOT", "ENFORCED") or cursor.accept("ENFORCED")
        if spec.type.name == "longtext" and names[:3] == ["(", "JSON_VALID", "("] and names[-2:] == [")", ")"]:
            self.is_json = True
        else:
            self.notes.append(f"CHECK ignored: {cursor.written(start)}")

    def _skip_reference(self) -> None:
        cursor = self.cursor
        cursor.skip_name("a table")
        if cursor.token.key == "(":
            cursor.skip_parentheses()
        while word := cursor.accept_any("MATCH", "ON"):
            cursor.advance()  # FULL, PARTIAL, SIMPLE; DELETE, UPDATE
            if word == "ON" and not (cursor.accept("SET", "NULL") or cursor.accept("NO", "ACTION")):
                cursor.accept("SET", "DEFAULT") or cursor.advance()


def accept_now(cursor: Cursor) -> str | None:
    """Move over CURRENT_TIMESTAMP or one of its kin, with or without parentheses and precision; which part it is."""
    word = cursor.accept_any(*_NOW)
    if word is None:
        return None
    if cursor.accept("("):
        cursor.accept_kind(TokenKind.NUMBER)
        cursor.expect(")")
    return _NOW[word]


def parse_default(cursor: Cursor) -> Default:
    """Read what follows DEFAULT: a literal, CURRENT_TIMESTAMP, or an expression, in parentheses or a call."""
    at, start = cursor.token.start, cursor.index
    depth = 0
    while cursor.accept("("):
        depth += 1
    found = _plain_default(cursor, at)
    closed = 0
    while closed < depth and cursor.accept(")"):
        closed += 1
    if found is not None and closed == depth:
        return replace(found, expression=cursor.written(start)) if found.now else found
    cursor.back_to(start)
    if cursor.token.key == "(":
        cursor.skip_parentheses()
    elif cursor.has_name and cursor.ahead(1).key == "(":
        cursor.advance()
        cursor.skip_parentheses()
    else:
        raise cursor.error(f"{cursor.shown} is not a value for DEFAULT", "write an expression in parentheses")
    return Default(at, expression=cursor.written(start))


def _plain_default(cursor: Cursor, at: int) -> Default | None:
    """A literal or CURRENT_TIMESTAMP at the cursor, else None; the cursor may have moved then."""
    if now := accept_now(cursor):
        return Default(at, now=now)
    if cursor.accept("NULL"):
        return Default(at)
    if word := cursor.accept_any("TRUE", "FALSE"):
        return Default(at, value=int(word == "TRUE"))
    sign = "-" if cursor.accept("-") else ""
    if not sign:
        cursor.accept("+")
    if token := cursor.accept_kind(TokenKind.NUMBER):
        return Default(at, value=_number(sign + token.text))
    if sign:
        return None
    if cursor.token.kind is TokenKind.WORD and cursor.ahead(1).kind in (
        TokenKind.STRING, TokenKind.HEX, TokenKind.BITS,
    ):  # fmt: skip
        cursor.advance()  # _utf8mb4'…', N'…', DATE '…'
    return _quoted_default(cursor, at)


def _number(text: str) -> int | str:
    digits = text.removeprefix("-")
    return int(text) if digits.isdecimal() and len(digits) <= 80 else text


def _quoted_default(cursor: Cursor, at: int) -> Default | None:
    if token := cursor.accept_kind(TokenKind.STRING):
        return Default(at, value=string_value(token.text))
    if token := cursor.accept_kind(TokenKind.HEX):
        return Default(at, value=hex_bytes(token))
    if token := cursor.accept_kind(TokenKind.BITS):
        return Default(at, value=bits_bytes(token))
    return None


def hex_bytes(token: Token) -> bytes:
    digits = token.text[2:].rstrip("'")
    return bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)


def bits_bytes(token: Token) -> bytes:
    digits = token.text[2:].rstrip("'")
    return int(digits or "0", 2).to_bytes(max(1, (len(digits) + 7) // 8), "big")
