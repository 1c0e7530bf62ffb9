"""Table options: ENGINE, CHARSET, COMMENT … are read and mean nothing here; AUTO_INCREMENT counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tcsql.errors import did_you_mean
from tcsql.sql.cursor import Cursor
from tcsql.sql.tokens import TokenKind

#: Of MySQL 9 and MariaDB 11, by their manuals ("CREATE TABLE", table_options).
_OPTIONS: Final = (
    "ENGINE", "TYPE", "AVG_ROW_LENGTH", "CHARSET", "COLLATE", "CHECKSUM", "TABLE_CHECKSUM", "COMMENT", "COMPRESSION",
    "CONNECTION", "DELAY_KEY_WRITE", "ENCRYPTION", "ENCRYPTED", "ENCRYPTION_KEY_ID", "ENGINE_ATTRIBUTE",
    "SECONDARY_ENGINE_ATTRIBUTE", "INSERT_METHOD", "KEY_BLOCK_SIZE", "MAX_ROWS", "MIN_ROWS", "PACK_KEYS", "PASSWORD",
    "ROW_FORMAT", "SECONDARY_ENGINE", "STATS_AUTO_RECALC", "STATS_PERSISTENT", "STATS_SAMPLE_PAGES", "TABLESPACE",
    "STORAGE", "UNION", "AUTOEXTEND_SIZE", "PAGE_CHECKSUM", "PAGE_COMPRESSED", "PAGE_COMPRESSION_LEVEL", "SEQUENCE",
    "TRANSACTIONAL", "IETF_QUOTES",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableOptions:
    auto_increment: int = 1
    notes: tuple[str, ...] = ()


def accept_option(cursor: Cursor) -> bool:
    """Move over one option that means nothing here; False when none stands here."""
    cursor.accept("DEFAULT")
    if cursor.accept("CHARACTER", "SET") or cursor.accept("DATA", "DIRECTORY") or cursor.accept("INDEX", "DIRECTORY"):
        pass
    elif cursor.accept("START", "TRANSACTION"):
        return True
    elif cursor.token.kind is TokenKind.NAME and cursor.ahead(1).key == "=":
        cursor.advance()  # an option of the storage engine, as MariaDB prints it
    elif cursor.accept_any(*_OPTIONS) is None:
        return False
    cursor.accept("=")
    if cursor.token.key == "(":
        cursor.skip_parentheses()
    elif cursor.token.kind in (TokenKind.WORD, TokenKind.NAME, TokenKind.STRING, TokenKind.NUMBER):
        cursor.advance()
    else:
        raise cursor.error(f"expected the value of an option, found {cursor.shown}")
    return True


def parse_table_options(cursor: Cursor) -> TableOptions:
    """Read all that follows the ) of CREATE TABLE. Raises SqlSyntax, UnsupportedStatement."""
    auto_increment = 1
    notes: list[str] = []
    while not cursor.at_end:
        start = cursor.index
        if cursor.accept("AUTO_INCREMENT"):
            cursor.accept("=")
            auto_increment = max(1, cursor.whole_number("a number"))
        elif cursor.accept("WITH", "SYSTEM", "VERSIONING"):
            notes.append("WITH SYSTEM VERSIONING ignored: old versions of rows are not kept")
        elif cursor.accept("PARTITION", "BY"):
            _skip_to_end(cursor)
            notes.append("PARTITION BY ignored: a table is one piece")
        elif cursor.token.key in ("SELECT", "AS", "IGNORE", "REPLACE", "WITH", "VALUES", "TABLE"):
            raise cursor.unsupported("CREATE TABLE … SELECT is not supported", "create the table, then load its rows")
        elif not cursor.accept(",") and not accept_option(cursor):
            raise cursor.error(
                f"{cursor.shown} is no table option", did_you_mean(cursor.token.key, (*_OPTIONS, "AUTO_INCREMENT"))
            )
        assert cursor.index > start  # every branch moves on or raises
    return TableOptions(auto_increment, tuple(notes))


def _skip_to_end(cursor: Cursor) -> None:
    while not cursor.at_end:
        if cursor.token.key == "(":
            cursor.skip_parentheses()
        else:
            cursor.advance()
