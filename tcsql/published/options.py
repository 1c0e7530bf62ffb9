"""The published queries of ``tcsql.toml``: what anybody who reaches the server may ask, and nothing else.

    [published.board_page]
    query = "table=posts&where=board:NUMEQ:{board:int(1..500)}&order_by=dateline&order_sort=NUMDESC"
    page_rows = 20

Options are fields, as in ``tcsql.settings``: name, type, default and reason in one place; the reference derives from
them. What is misspelt or does not fit is a SetupError that names file, section and option. Pure.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final, get_type_hints

from tcsql.errors import SetupError, did_you_mean
from tcsql.published.places import Text, text_of

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
MOST_QUERIES: Final = 1_000


def _option(default: Any, reason: str, *, low: int = 0, high: int = 2**31, unit: str = "") -> Any:
    return field(default=default, metadata={"reason": reason, "low": low, "high": high, "unit": unit})


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One ``[published.NAME]``. ``text``: of ``query`` or ``sql``, cut at its places."""

    name: str
    where: str
    text: Text
    query: str = _option("", "what is asked, in the grammar of a URL behind the ?, with typed places; or give sql")
    sql: str = _option("", "the same as one SELECT, with typed places")
    description: str = _option("", "a sentence for /openapi.json")
    page_rows: int = _option(
        0, "rows of a page, and the parameter page is taken; 0: the query's own limit, one page", high=10**7
    )
    max_page: int = _option(100, "highest page that may be asked for, when page_rows is given", low=1, high=10**9)
    cache_s: int = _option(
        0,
        "browsers and proxies may keep a reply so long; 0: none of them may",
        unit="s",
        high=31_536_000,
    )
    budget_rows: int = _option(
        0, "rows that one call may examine; 0: as many as the setting published_budget_rows says", high=2**53
    )
    strict: bool = _option(
        False, "refuse to start when no index serves the query, so that it would scan its table; else that is a warning"
    )

    @property
    def option(self) -> str:
        """Which of the two options holds the text."""
        return "sql" if self.sql else "query"


OPTIONS: Final[Mapping[str, Field[Any]]] = {option.name: option for option in fields(Published) if option.metadata}


def published_of(text: str | None, file_name: str = "tcsql.toml") -> tuple[Published, ...]:
    """The published queries of a configuration file, in its order; raises SetupError.

    >>> found = published_of('[published.newest]\\nquery = "table=posts&limit_max={n:int(1..50)=20}"')
    >>> found[0].name, found[0].option, found[0].text.places[0].default
    ('newest', 'query', '20')
    """
    if text is None:
        return ()
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{file_name} is not TOML: {error}") from None
    sections = document.get("published", {})
    if not isinstance(sections, dict) or not all(isinstance(members, dict) for members in sections.values()):
        raise SetupError(f"{file_name}: a published query has a name", "write [published.board_page], for example")
    if len(sections) > MOST_QUERIES:
        raise SetupError(f"{file_name} publishes more than {MOST_QUERIES} queries")
    return tuple(_published(name, members, f"{file_name}: [published.{name}]") for name, members in sections.items())


def _published(name: str, members: Mapping[str, Any], where: str) -> Published:
    if not _NAME.fullmatch(name):
        raise SetupError(f"{where}: {name!r} is no name", "letters, digits and _, at most 64, no digit first")
    hints = get_type_hints(Published)
    values = {}
    for option, value in members.items():
        if option not in OPTIONS:
            raise SetupError(f"{where} has an unknown key {option!r}", did_you_mean(option, OPTIONS))
        values[option] = _read(value, hints[option], OPTIONS[option].metadata, f"{where} {option}")
    if bool(values.get("query")) == bool(values.get("sql")):
        raise SetupError(f"{where} needs query or sql, one of them", 'for example query = "table=posts&limit_max=20"')
    if "max_page" in values and not values.get("page_rows"):
        raise SetupError(f"{where} has max_page without page_rows", "page_rows says how long a page is")
    option = "sql" if values.get("sql") else "query"
    return Published(name=name, where=where, text=text_of(values[option], f"{where} {option}"), **values)


def _read(value: Any, wanted: Any, about: Mapping[str, Any], where: str) -> Any:
    if wanted is bool:
        if not isinstance(value, bool):
            raise SetupError(f"{where} is true or false")
        return value
    if wanted is int:
        if type(value) is not int or not about["low"] <= value <= about["high"]:
            raise SetupError(f"{where} is a whole number, {about['low']} to {about['high']}")
        return value
    if not isinstance(value, str) or "\0" in value:
        raise SetupError(f"{where} is a text")
    return value
