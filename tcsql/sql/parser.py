"""MySQL's schema statements, from text to tree: the statements that SHOW CREATE TABLE, mysqldump and people write.

sqlglot reads them, by the dialect in ``dialect.py``. It is imported when the first statement comes, not before: that
takes a quarter of a second and 13 MiB, and a server that gets no SQL needs neither.
"""

from __future__ import annotations

import re
import sys
from typing import Final

from tcsql.errors import CallerError, did_you_mean
from tcsql.sql.tokens import Source
from tcsql.sql.tree import Statement

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
_HEAD: Final = re.compile(
    r"(CREATE (OR REPLACE )?TABLE|CREATE (UNIQUE |FULLTEXT )?INDEX|ALTER (ONLINE |IGNORE )?TABLE|DROP (TABLE|INDEX)"
    r"|TRUNCATE|RENAME TABLES?)(?![^ ])"
)


def is_parser_loaded() -> bool:
    """Whether sqlglot is here, so that a statement takes no longer than its length says."""
    return f"{__package__}.dialect" in sys.modules and f"{__package__}.convert" in sys.modules


def parse_statements(sql: str) -> list[Statement]:
    """The statements of a text, separated by ``;``.

    Raises SqlSyntax (with ``line`` and ``column``) and UnsupportedStatement. O(length).

    >>> [type(s.body).__name__ for s in parse_statements("TRUNCATE t; RENAME TABLE a TO b, c TO d")]
    ['Truncate', 'RenameTables']
    """
    from tcsql.sql import convert, dialect  # noqa: PLC0415 -- late, see above

    source = Source(sql)
    converter = convert.Converter(source)
    found: list[Statement] = []
    for tokens in dialect.statements(source):
        at = tokens[0].start
        if len(found) >= MAX_STATEMENTS:
            raise source.error(at, f"more than {MAX_STATEMENTS} statements", "send them in several requests")
        words = [sql[token.start : token.end + 1].upper() for token in tokens[:4]]
        if _HEAD.match(" ".join(words)) is None:
            raise _no_rule(source, at, words)
        found.append(Statement(source, at, converter.body(dialect.parse(tokens, source))))
    return found


def _no_rule(source: Source, at: int, words: list[str]) -> CallerError:
    """The error for a statement that is none of those taken."""
    word = words[0]
    if word in ("CREATE", "ALTER", "DROP", "RENAME"):
        return source.unsupported(at, f"{' '.join(words[:2])[:40]} is not supported", SUPPORTED)
    if word in _ELSEWHERE or word in _OTHER_STATEMENTS:
        return source.unsupported(at, f"{word} is not supported", _ELSEWHERE.get(word, SUPPORTED))
    near = did_you_mean(word, ("CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", *_ELSEWHERE))
    return source.error(at, f"{source.text[at : at + min(len(word), 40)]} begins no statement", near or SUPPORTED)
