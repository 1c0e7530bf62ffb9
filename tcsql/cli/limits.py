"""What limits a key, as it is typed at a shell: columns, filters, durations, dates. Raises SetupError for slips."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from tcsql.access.keys import IDENTIFIER
from tcsql.engine.change import CreateTable
from tcsql.engine.schema import TableSchema
from tcsql.errors import CallerError, SetupError
from tcsql.http.grammar import Grammar
from tcsql.http.parameters import of_query
from tcsql.sql import changes_of

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_DATES: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> int:
    """A duration in seconds.

    >>> seconds_of("90d"), seconds_of("1h")
    (7776000, 3600)
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise SetupError(f"{text[:40]!r} is not a duration", "for example 30m, 12h, 90d or 4w")
    return int(found[1]) * _UNITS[found[2]]


def moment_of(text: str, now_s: int) -> int:
    """When something ends: a duration from now, or a date (its first moment, UTC), which must be to come.

    >>> moment_of("2027-01-01", 0), moment_of("2m", 0)
    (1798761600, 120)
    """
    moment = now_s + seconds_of(text) if _DURATION.fullmatch(text) else _date_of(text)
    if moment <= now_s:
        raise SetupError(f"{text[:40]} is over already", "a key expires later than now")
    return moment


def _date_of(text: str) -> int:
    for form in _DATES:
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    raise SetupError(f"{text[:40]!r} is no date", "for example 90d, 2027-01-31 or 2027-01-31T12:00:00Z, in UTC")


def columns_of(texts: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Columns by table.

    >>> columns_of(["posts=id,title"])
    (('posts', ('id', 'title')),)
    """
    pairs = [_pair(text, "posts=id,title") for text in texts]
    return tuple(sorted((table, tuple(name.strip() for name in names.split(","))) for table, names in pairs))


def filters_of(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Conditions by table, read as a ``where`` would be; whether the table has such columns is seen when it is there.

    >>> filters_of(["posts=tenant:NUMEQ:5|hidden:NUMEQ:0"])
    (('posts', 'tenant:NUMEQ:5|hidden:NUMEQ:0'),)
    """
    pairs = [_pair(text, "posts=tenant:NUMEQ:5") for text in texts]
    for table, where in pairs:
        _check_filter(table, where)
    return tuple(sorted(pairs))


def _pair(text: str, example: str) -> tuple[str, str]:
    table, equals, rest = text.partition("=")
    if not equals or not IDENTIFIER.fullmatch(table) or not rest:
        raise SetupError(f"{text[:80]!r} names no table", f"write it as {example}")
    return table, rest


class _AnyTable:
    """A catalog of one table, which has every column that is asked for."""

    def __init__(self, table: str, columns: Sequence[str]) -> None:
        names = "".join(f", `{name}` TEXT" for name in columns)
        [change] = changes_of(f"CREATE TABLE `{table}` (`_` INT PRIMARY KEY{names})", lambda name: None)
        assert isinstance(change, CreateTable)
        self._schema = change.schema

    def schema(self, name: str) -> TableSchema:
        return self._schema

    def schemas(self) -> list[TableSchema]:
        return [self._schema]


def _check_filter(table: str, where: str) -> None:
    # where an escaped | makes more pieces than conditions, the table has a column more than it needs
    columns = {piece.partition(":")[0] for piece in where.split("|")} - {"pkey", "_"}
    known = [name for name in columns if IDENTIFIER.fullmatch(name)]
    try:
        Grammar(_AnyTable(table, known)).request(of_query(f"command=select&where={quote(where, safe='')}".encode()))
    except CallerError as error:
        raise SetupError(f"the filter of {table} cannot be read: {error.message}", error.hint) from None
