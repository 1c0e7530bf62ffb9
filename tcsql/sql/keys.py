"""The grammar of keys: in CREATE TABLE, ALTER TABLE ADD and CREATE INDEX alike. What is not kept leaves a note."""

from __future__ import annotations

from typing import Final

from tcsql.sql.cursor import Cursor
from tcsql.sql.tokens import TokenKind
from tcsql.sql.tree import KeyPart, KeySpec, Name

#: Words that begin a key or constraint; all are reserved in MySQL except PERIOD, which must be followed by FOR.
_KEY_WORDS: Final = frozenset(
    {"PRIMARY", "KEY", "INDEX", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR", "CONSTRAINT", "FOREIGN", "CHECK", "PERIOD"}
)
_OPTIONS_WITH_VALUE: Final = (
    "KEY_BLOCK_SIZE", "COMMENT", "ENGINE_ATTRIBUTE", "SECONDARY_ENGINE_ATTRIBUTE", "CLUSTERING", "DISTANCE", "M",
)  # fmt: skip


def at_key(cursor: Cursor) -> bool:
    """Whether a key or constraint stands here, and not a column."""
    token, following = cursor.token, cursor.ahead(1)
    if token.kind is not TokenKind.WORD or token.key not in _KEY_WORDS:
        return False
    if token.key == "PERIOD":
        return following.key == "FOR"
    return token.key != "VECTOR" or following.key in ("KEY", "INDEX")


def parse_key(cursor: Cursor) -> KeySpec | str:
    """Read a key; a str is the note about one that is not kept (FOREIGN KEY, CHECK, SPATIAL). Raises SqlSyntax."""
    start, at = cursor.index, cursor.token.start
    if cursor.accept("CONSTRAINT") and cursor.token.key not in ("PRIMARY", "UNIQUE", "FOREIGN", "CHECK"):
        cursor.skip_name("a constraint")
    if cursor.token.key in ("FOREIGN", "CHECK", "PERIOD", "VECTOR"):
        what = {"FOREIGN": "FOREIGN KEY", "VECTOR": "VECTOR KEY"}.get(cursor.token.key, cursor.token.key)
        cursor.skip_to_comma()
        return f"{what} ignored: {cursor.written(start)}"
    kind = "index"
    if cursor.accept("PRIMARY"):
        cursor.expect("KEY")
        kind = "primary"
    elif word := cursor.accept_any("UNIQUE", "FULLTEXT", "SPATIAL"):
        cursor.accept_any("KEY", "INDEX")
        kind = word.lower()
    elif cursor.accept_any("KEY", "INDEX") is None:
        raise cursor.error(f"expected a key, found {cursor.shown}")
    key = _rest_of_key(cursor, kind, at)
    if kind == "spatial":
        return f"SPATIAL KEY ignored: {cursor.written(start)}"
    if any(part.column is None for part in key.parts):
        return f"key over an expression ignored: {cursor.written(start)}"
    return key


def _rest_of_key(cursor: Cursor, kind: str, at: int) -> KeySpec:
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name: Name | None = None
    if cursor.token.key != "(" and not _accept_using(cursor):
        name = cursor.name("an index")
    _accept_using(cursor)
    parts = parse_key_parts(cursor)
    skip_key_options(cursor)
    return KeySpec(kind, at, name, parts, if_not_exists)


def _accept_using(cursor: Cursor) -> bool:
    """USING BTREE, before or after the columns. All indexes here are ordered ones."""
    if cursor.token.key in ("USING", "TYPE") and cursor.ahead(1).key in ("BTREE", "HASH", "RTREE"):
        cursor.advance()
        cursor.advance()
        return True
    return False


def parse_key_parts(cursor: Cursor) -> tuple[KeyPart, ...]:
    """Read ``(column [(prefix)] [ASC|DESC], …)``."""
    cursor.expect("(")
    parts = []
    while True:
        at = cursor.token.start
        column: Name | None = None
        length: int | None = None
        if cursor.token.key == "(":
            cursor.skip_parentheses()
        else:
            column = cursor.name("a column")
            if cursor.accept("("):
                length = cursor.whole_number("a prefix length")
                cursor.expect(")")
        order = cursor.accept_any("ASC", "DESC")
        parts.append(KeyPart(at, column, length, order == "DESC"))
        if not cursor.accept(","):
            break
    cursor.expect(")")
    return tuple(parts)


def skip_key_options(cursor: Cursor) -> None:
    while True:
        if cursor.accept_any(*_OPTIONS_WITH_VALUE):
            cursor.accept("=")
            cursor.advance()
        elif cursor.accept("WITH", "PARSER"):
            cursor.skip_name("a parser")
        elif cursor.accept_any("VISIBLE", "INVISIBLE", "IGNORED") is None and not (
            cursor.accept("NOT", "IGNORED") or _accept_using(cursor)
        ):
            return
