"""Which followed tables a statement of the schema may concern. Pure.

Nobody can place every statement that servers know, so names decide: a table is concerned when the statement holds its
name as a word, whatever else it says. What surely changes no table's rows or columns is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

#: What a statement makes, alters or drops that is no table.
_NO_TABLE: Final = frozenset([
    "VIEW", "PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "USER", "ROLE", "SERVER", "DEFINER", "ALGORITHM", "SQL",
    "AGGREGATE", "PACKAGE", "INDEX", "UNIQUE", "FULLTEXT", "SPATIAL", "LOGFILE", "RESOURCE", "TEMPORARY", "INSTANCE",
])  # fmt: skip
_DATABASE: Final = frozenset(["DATABASE", "SCHEMA"])
_COMMENT: Final = re.compile(r"/\*(?![!M]).*?\*/|/\*M?!\d*|\*/|--[ \t].*?(?:\n|$)|#.*?(?:\n|$)", re.DOTALL)
_WORD: Final = re.compile(r"[^\s`\"'.,;()=]+")


def concerned(text: str, database: str, tables: Iterable[tuple[str, str]]) -> list[str]:
    """Names of the tables, given by database and name, that a statement run in ``database`` may concern.

    >>> concerned("RENAME TABLE `posts` TO old, shop.new TO posts", "shop", [("shop", "posts"), ("shop", "users")])
    ['posts']
    >>> concerned("CREATE VIEW newest AS SELECT * FROM posts", "shop", [("shop", "posts")])
    []
    >>> concerned("DROP DATABASE shop", "", [("shop", "posts")])
    ['posts']
    """
    words = _WORD.findall(_COMMENT.sub(" ", text))
    if len(words) < 2:
        return [name for _, name in tables]
    folded = {word.lower() for word in words}
    if words[1].upper() in _DATABASE:
        return [name for its, name in tables if its.lower() in folded or not its]
    if words[1].upper() in _NO_TABLE:
        return []
    return [
        name
        for its, name in tables
        if name.lower() in folded and (its.lower() == database.lower() or its.lower() in folded)
    ]
