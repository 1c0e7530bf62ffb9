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
#: A name that needs no quotes; in all of the text, as what looks like a comment may stand between quotes.
_NAME: Final = re.compile(r"[\w$]+")


def concerned(text: str, database: str, tables: Iterable[tuple[str, str]]) -> list[str]:
    """Names of the tables, given by database and name, that a statement run in ``database`` may concern.

    >>> concerned("RENAME TABLE `posts` TO old, shop.new TO posts", "shop", [("shop", "posts"), ("shop", "users")])
    ['posts']
    >>> concerned("CREATE VIEW newest AS SELECT * FROM posts", "shop", [("shop", "posts")])
    []
    >>> concerned("RENAME TABLE `old # one` TO x, `my posts` TO y", "shop", [("shop", "my posts"), ("shop", "users")])
    ['my posts']
    >>> concerned("DROP DATABASE shop", "", [("shop", "posts")])
    ['posts']
    """
    words = _WORD.findall(_COMMENT.sub(" ", text))
    if len(words) < 2:
        return [name for _, name in tables]
    lowered = text.lower()
    folded = set(_NAME.findall(lowered))

    def is_named(name: str) -> bool:
        its = name.lower()
        return its in folded if _NAME.fullmatch(its) else its in lowered or its.replace("`", "``") in lowered

    if words[1].upper() in _DATABASE:
        return [name for its, name in tables if is_named(its) or not its]
    if words[1].upper() in _NO_TABLE:
        return []
    return [name for its, name in tables if is_named(name) and (its.lower() == database.lower() or is_named(its))]
