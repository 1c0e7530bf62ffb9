"""MySQL's schema statements, from text to tree: the statements that SHOW CREATE TABLE, mysqldump and people write.

A grammar of our own, because a list of columns must be read whatever server version printed it: attributes that no
general SQL parser knows (inet4, PERIOD FOR, WITH PARSER, ENGINE_ATTRIBUTE), version comments, prefix lengths. It goes
over the tokens once and never calls itself, so neither depth nor length of a text can hurt it: O(length).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tcsql.errors import did_you_mean
from tcsql.sql.alter import parse_alter
from tcsql.sql.columns import parse_column
from tcsql.sql.cursor import Cursor
from tcsql.sql.keys import at_key, parse_key, parse_key_parts, skip_key_options
from tcsql.sql.options import parse_table_options
from tcsql.sql.tokens import Source, TokenKind, tokenize
from tcsql.sql.tree import (
    Body,
    ColumnSpec,
    CreateIndex,
    CreateTable,
    DropIndex,
    DropTable,
    KeySpec,
    Name,
    RenameTables,
    Statement,
    Truncate,
)

MAX_STATEMENTS: Final = 10_000
SUPPORTED: Final = "the statements taken are CREATE, ALTER, DROP, TRUNCATE and RENAME TABLE, CREATE and DROP INDEX"
#: Where the rows' statements have their own commands.
_ELSEWHERE: Final = {
    "SELECT": "lists are asked for with command=select",
    "WITH": "lists are asked for with command=select",
    "INSERT": "rows are written with command=insert, dumps with tcsql load",
    "REPLACE": "rows are written with command=insert, dumps with tcsql load",
    "UPDATE": "rows are changed with command=update",
    "DELETE": "rows are removed with command=delete",
}
_OTHER_STATEMENTS: Final = (
    "SET", "USE", "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "GRANT", "REVOKE", "LOCK", "UNLOCK", "BEGIN", "START",
    "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "CALL", "DO", "LOAD", "HANDLER", "ANALYZE", "CHECK", "CHECKSUM",
    "OPTIMIZE", "REPAIR", "FLUSH", "KILL", "PURGE", "RESET", "CHANGE", "INSTALL", "UNINSTALL", "PREPARE", "EXECUTE",
    "DEALLOCATE", "XA", "VALUES", "TABLE", "IMPORT", "CLONE", "RESTART", "SHUTDOWN", "SIGNAL", "DELIMITER", "HELP",
    "CACHE", "BINLOG",
)  # fmt: skip


def parse_statements(sql: str) -> list[Statement]:
    """The statements of a text, separated by ``;``.

    Raises SqlSyntax (with ``line`` and ``column``) and UnsupportedStatement. O(length).

    >>> [type(s.body).__name__ for s in parse_statements("TRUNCATE t; RENAME TABLE a TO b, c TO d")]
    ['Truncate', 'RenameTables']
    """
    source = Source(sql)
    cursor = Cursor(source, tokenize(source))
    statements: list[Statement] = []
    while cursor.token.kind is not TokenKind.END:
        if cursor.accept(";"):
            continue
        if len(statements) >= MAX_STATEMENTS:
            raise cursor.error(f"more than {MAX_STATEMENTS} statements", "send them in several requests")
        at = cursor.token.start
        body = _parse_statement(cursor)
        if not cursor.at_end:
            raise cursor.error(f"{cursor.shown} does not belong here: the statement could end before it")
        statements.append(Statement(source, at, body))
    return statements


def _parse_statement(cursor: Cursor) -> Body:
    start = cursor.index
    for words, rule in _RULES:
        if cursor.accept(*words):
            return rule(cursor)
    cursor.back_to(start)
    word = cursor.token.key
    if word in _ELSEWHERE or word in _OTHER_STATEMENTS or word in ("CREATE", "ALTER", "DROP", "RENAME"):
        following = cursor.ahead(1).key
        what = f"{word} {following}" if word in ("CREATE", "ALTER", "DROP", "RENAME") and following else word
        raise cursor.unsupported(f"{what[:40]} is not supported", _ELSEWHERE.get(word, SUPPORTED))
    near = did_you_mean(word, ("CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", *_ELSEWHERE))
    raise cursor.error(f"{cursor.shown} begins no statement", near or SUPPORTED)


def _create_table(cursor: Cursor, or_replace: bool = False) -> CreateTable:
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = cursor.name("a table")
    if cursor.accept("LIKE") or cursor.accept("(", "LIKE"):
        like = cursor.name("a table")
        cursor.accept(")")
        return CreateTable(name, (), (), if_not_exists=if_not_exists, or_replace=or_replace, like=like)
    if cursor.token.key != "(":
        raise cursor.unsupported(f"CREATE TABLE {name.text} without a list of columns is not supported")
    opening = cursor.advance()
    columns: list[ColumnSpec] = []
    keys: list[KeySpec] = []
    notes: list[str] = []
    while True:
        if at_key(cursor):
            key = parse_key(cursor)
            if isinstance(key, str):
                notes.append(key)
            else:
                keys.append(key)
        else:
            columns.append(parse_column(cursor))
            notes.extend(columns[-1].notes)
        if not cursor.accept(","):
            break
    if cursor.token.kind is TokenKind.END:
        raise cursor.source.error(opening.start, "the ( here is not closed")
    if not cursor.accept(")"):
        raise cursor.error(f"expected , or ) after a column or key, found {cursor.shown}")
    options = parse_table_options(cursor)
    notes.extend(options.notes)
    return CreateTable(
        name, tuple(columns), tuple(keys), tuple(notes), options.auto_increment, if_not_exists, or_replace
    )


def _create_or_replace_table(cursor: Cursor) -> CreateTable:
    return _create_table(cursor, or_replace=True)


def _drop_table(cursor: Cursor) -> DropTable:
    if_exists = cursor.accept("IF", "EXISTS")
    names = [cursor.name("a table")]
    while cursor.accept(","):
        names.append(cursor.name("a table"))
    cursor.accept_any("RESTRICT", "CASCADE")
    return DropTable(tuple(names), if_exists)


def _truncate(cursor: Cursor) -> Truncate:
    cursor.accept("TABLE")
    return Truncate(cursor.name("a table"))


def _rename_tables(cursor: Cursor) -> RenameTables:
    pairs: list[tuple[Name, Name]] = []
    while True:
        old = cursor.name("a table")
        cursor.expect("TO")
        pairs.append((old, cursor.name("a table")))
        if not cursor.accept(","):
            return RenameTables(tuple(pairs))


def _index_rule(kind: str) -> Callable[[Cursor], CreateIndex]:
    def rule(cursor: Cursor) -> CreateIndex:
        if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
        at = cursor.token.start
        name = cursor.name("an index")
        skip_key_options(cursor)
        cursor.expect("ON")
        table = cursor.name("a table")
        parts = parse_key_parts(cursor)
        for part in parts:
            if part.column is None:
                raise cursor.unsupported("an index over an expression is not supported", at=part.at)
        _skip_how(cursor)
        return CreateIndex(table, KeySpec(kind, at, name, parts, if_not_exists))

    return rule


def _drop_index(cursor: Cursor) -> DropIndex:
    if_exists = cursor.accept("IF", "EXISTS")
    index = cursor.name("an index")
    cursor.expect("ON")
    table = cursor.name("a table")
    _skip_how(cursor)
    return DropIndex(table, index, if_exists)


def _skip_how(cursor: Cursor) -> None:
    """Index options, ALGORITHM and LOCK: how MySQL is to do it."""
    skip_key_options(cursor)
    while cursor.accept_any("ALGORITHM", "LOCK"):
        cursor.accept("=")
        cursor.advance()


_RULES: Final[tuple[tuple[tuple[str, ...], Callable[[Cursor], Body]], ...]] = (
    (("CREATE", "TABLE"), _create_table),
    (("CREATE", "OR", "REPLACE", "TABLE"), _create_or_replace_table),
    (("CREATE", "INDEX"), _index_rule("index")),
    (("CREATE", "UNIQUE", "INDEX"), _index_rule("unique")),
    (("CREATE", "FULLTEXT", "INDEX"), _index_rule("fulltext")),
    (("ALTER", "TABLE"), parse_alter),
    (("ALTER", "ONLINE", "TABLE"), parse_alter),
    (("ALTER", "IGNORE", "TABLE"), parse_alter),
    (("DROP", "TABLE"), _drop_table),
    (("DROP", "INDEX"), _drop_index),
    (("TRUNCATE",), _truncate),
    (("RENAME", "TABLE"), _rename_tables),
    (("RENAME", "TABLES"), _rename_tables),
)
