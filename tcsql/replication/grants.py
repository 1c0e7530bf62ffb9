"""What an account may do, as ``SHOW GRANTS`` prints it, read into a value that can be asked.

Only what this server says of the account itself is believed; rights that come by a role count once the role is on
(``SHOW GRANTS`` prints the grants of roles that are on, too). Pure, but for the one query that ``read_grants`` makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tcsql.literals import string_value

_GRANT: Final = re.compile(
    r"GRANT (?P<rights>.+?) ON (?:TABLE )?(?P<database>\*|`(?:[^`]|``)*`)\.(?P<table>\*|`(?:[^`]|``)*`) TO ", re.DOTALL
)
#: Rights of one column stand in parentheses behind the right: SELECT (`id`, `name`).
_RIGHT: Final = re.compile(r"([A-Z][A-Z_ ]*[A-Z])\s*(\([^()]*\))?")
_NAME: Final = re.compile(r"`((?:[^`]|``)*)`")
_ALL: Final = "ALL PRIVILEGES"


class Query(Protocol):
    """Runs one statement, with ``%s`` for each parameter, and gives all its rows: ``Connection.query``."""

    def __call__(self, sql: str, params: tuple[object, ...] = (), /) -> Iterable[tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """Rights on one level. ``database``, ``table`` "*": all of them. ``columns`` empty: all of them."""

    right: str
    database: str
    table: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grants:
    """All rights of an account."""

    grants: tuple[Grant, ...]

    def allows(self, right: str, database: str = "*", table: str = "*") -> bool:
        """Whether ``right`` is given for all columns of the table; without one: for the whole server.

        >>> held = grants_of(["GRANT SELECT, PROCESS ON *.* TO `me`@`%`", "GRANT INSERT ON `shop`.* TO `me`@`%`"])
        >>> held.allows("PROCESS"), held.allows("INSERT", "shop", "posts"), held.allows("INSERT", "shop2", "posts")
        (True, True, False)
        """
        return any(
            grant.right in (right, _ALL) and not grant.columns and _covers(grant, database, table)
            for grant in self.grants
        )

    def columns(self, right: str, database: str, table: str) -> frozenset[str]:
        """The columns that ``right`` is given for one by one, in lower case."""
        return frozenset(
            column.lower()
            for grant in self.grants
            if grant.right == right and grant.columns and _covers(grant, database, table)
            for column in grant.columns
        )


def _covers(grant: Grant, database: str, table: str) -> bool:
    if grant.database != "*" and not _like(grant.database, database):
        return False
    return grant.table in ("*", table)


def _like(pattern: str, name: str) -> bool:
    r"""Database names in grants are patterns: ``_`` one character, ``%`` any, ``\`` takes both for themselves."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return re.fullmatch("".join(wild.get(part) or re.escape(part[-1]) for part in parts), name, re.DOTALL) is not None


def grants_of(lines: Iterable[str]) -> Grants:
    """The value of what ``SHOW GRANTS`` prints; lines that give no rights on tables (roles, PROXY) are passed over."""
    found = []
    for line in lines:
        match = _GRANT.match(line)
        if match is None:
            continue
        database, table = (part if part == "*" else string_value(part) for part in match.group("database", "table"))
        for right, columns in _RIGHT.findall(match["rights"]):
            names = tuple(name.replace("``", "`") for name in _columns(columns))
            found.append(Grant(_ALL if right == "ALL" else right, database, table, names))
    return Grants(tuple(found))


def _columns(written: str) -> list[str]:
    """The names in ``(`a`, b)``: MySQL quotes them, older servers of MariaDB do not."""
    quoted = _NAME.findall(written)
    return quoted or [part.strip() for part in written[1:-1].split(",") if part.strip()]


def read_grants(query: Query) -> Grants:
    """The rights of the account that ``query`` runs as; one statement."""
    return grants_of(str(row[0]) for row in query("SHOW GRANTS"))
