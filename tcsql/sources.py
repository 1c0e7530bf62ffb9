"""The sources of ``tcsql.toml``: which MySQL tables are followed, from where, and how.

    [source.shop]
    url = "mysql://tcsql@127.0.0.1:3306/shop"      # unix_socket=/run/mysqld/mysqld.sock as a parameter, too
    password_file = "shop.password"                 # or password_env, or in the url
    mode = "outbox"                                 # push, outbox
    tables = ["posts", "users"]

    [source.shop.table.users]                       # only where something is special
    columns = ["id", "name"]                        # others never enter memory
    where = "deleted = 0"                           # only rows of which this is true, in MySQL's own words

Options are fields, as in ``tcsql.settings``: name, type, default and reason in one place; the reference derives from
them. What is misspelt or does not fit is a SetupError that names file, section and option. Pure.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final, get_type_hints

from tcsql.errors import SetupError, did_you_mean

MODES: Final = ("outbox", "push", "binlog")
#: What to do about foreign keys whose work the server does not tell of.
CASCADES: Final = ("refuse", "audit")
#: Hints get lost: what was missed is found sooner.
PUSH_AUDIT_S: Final = 600
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_ZONE: Final = re.compile(r"[+-](?:0[0-9]|1[0-4]):[0-5][0-9]|[A-Za-z_]+(?:/[A-Za-z_+\-0-9]+)*")


def _option(default: Any, reason: str, *, low: float = 0, high: float = 2**31, unit: str = "") -> Any:
    about = {"reason": reason, "low": low, "high": high, "unit": unit}
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedTable:
    """One table of a source. ``columns`` empty: all of them."""

    name: str
    columns: tuple[str, ...] = _option((), "columns to keep; others never enter memory (default: all)")
    where: str = _option("", "a condition in MySQL's own words; only rows of which it is true are kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """One ``[source.NAME]``."""

    name: str
    url: str = _option(
        MISSING, "mysql://user@host:port/database; parameters: unix_socket, tls (off, on, verify), tls_ca (a file)"
    )
    tables: tuple[FollowedTable, ...] = _option(MISSING, "the tables to follow")
    mode: str = _option(
        "outbox",
        "how changes are learnt: outbox (a table filled by triggers), push (triggers call us) or binlog (as a replica)",
    )
    password_file: str = _option(
        "", "file whose first line is the password; a relative path is beside the configuration"
    )
    password_env: str = _option("", "environment variable that holds the password")
    outbox: str = _option("tcsql_outbox", "name of the outbox table, in the database of the url; one for each server")
    doorbell: str = _option(
        "", "path of a datagram socket that triggers ring at once; without it changes are polled for"
    )
    poll_ms: int = _option(100, "longest pause between two looks at the outbox", unit="ms", low=1, high=60_000)
    heartbeat_ms: int = _option(
        1000, "a row is written to the outbox so often, to see the source alive", unit="ms", low=100, high=600_000
    )
    stale_ms: int = _option(
        5000, "older than this, replies say that they are stale", unit="ms", low=100, high=86_400_000
    )
    check_s: int = _option(
        60, "so often triggers and tables are compared with what was set up", unit="s", low=1, high=86_400
    )
    copy_rows: int = _option(
        5000, "rows of one step of a first copy; readers wait for no more than one", low=100, high=100_000
    )
    audit_s: int = _option(
        6000,
        "all rows are compared with the source once in this time, a few at a time, and repaired; 0 never. "
        "In mode push the default is 600",
        unit="s",
        high=2_592_000,
    )
    audit_rows_s: int = _option(
        5000, "rows a second that are compared at most, whatever audit_s says", unit="1/s", low=1, high=10**6
    )
    server_id: int = _option(
        0, "binlog: our number among the replicas of the server; 0: made of this machine, directory and source"
    )
    cascades: str = _option(
        "refuse",
        "binlog: tables that foreign keys with CASCADE or SET NULL change, where the server does not log it: refuse, "
        "or audit: what they change is found and repaired within audit_s",
    )
    push_token: str = _option("", "push: what the triggers' function must present; the same as in push.conf")
    time_zone: str = _option("+00:00", "zone in which TIMESTAMP columns are read, as MySQL spells it")

    def __repr__(self) -> str:  # a url may hold a password
        return f"SourceSettings({self.name!r})"

    def table(self, name: str) -> FollowedTable | None:
        return next((table for table in self.tables if table.name == name), None)


OPTIONS: Final[Mapping[str, Field[Any]]] = {option.name: option for option in fields(SourceSettings) if option.metadata}
TABLE_OPTIONS: Final[Mapping[str, Field[Any]]] = {
    option.name: option for option in fields(FollowedTable) if option.metadata
}


def sources_of(text: str | None, file_name: str = "tcsql.toml") -> tuple[SourceSettings, ...]:
    """The sources of a configuration file, in its order; raises SetupError.

    >>> found = sources_of('[source.shop]\\nurl = "mysql://me@db/shop"\\ntables = ["posts"]')
    >>> found[0].name, found[0].mode, found[0].tables[0].name
    ('shop', 'outbox', 'posts')
    """
    if text is None:
        return ()
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{file_name} is not TOML: {error}") from None
    sections = document.get("source", {})
    if not isinstance(sections, dict) or not all(isinstance(members, dict) for members in sections.values()):
        raise SetupError(f"{file_name}: a source has a name", "write [source.shop], for example")
    found = tuple(_source(name, members, f"{file_name}: [source.{name}]") for name, members in sections.items())
    _require_no_table_twice(found, file_name)
    return found


def _require_no_table_twice(sources: Sequence[SourceSettings], file_name: str) -> None:
    owners: dict[str, str] = {}
    for source in sources:
        for table in source.tables:
            other = owners.setdefault(table.name, source.name)
            if other != source.name:
                raise SetupError(f"{file_name}: table {table.name} is followed by {other} and by {source.name}")


def _source(name: str, members: dict[str, Any], where: str) -> SourceSettings:
    _require_name(name, where)
    special = members.pop("table", {})
    values = _values(members, OPTIONS, SourceSettings, where, skip=("tables",))
    for needed in ("url", "tables"):
        if needed not in members:
            raise SetupError(
                f"{where} lacks {needed}", "url names the server and database, tables lists what to follow"
            )
    names = members["tables"]
    if not isinstance(names, list) or not names or not all(isinstance(each, str) for each in names):
        raise SetupError(f"{where}: tables is a list of names", 'for example tables = ["posts", "users"]')
    if len(set(names)) < len(names):
        raise SetupError(f"{where}: a table is listed twice")
    if not isinstance(special, dict) or not all(isinstance(each, dict) for each in special.values()):
        raise SetupError(f"{where}: table is a section", f"write [source.{name}.table.{names[0]}]")
    for table in special:
        if table not in names:
            raise SetupError(f"{where}: {table} has a section, but is not among its tables", did_you_mean(table, names))
    tables = tuple(_table(each, special.get(each, {}), where) for each in names)
    _require_choices(values, where)
    if not _ZONE.fullmatch(values.get("time_zone", "+00:00")):
        raise SetupError(f"{where}: time_zone is not one of MySQL's", 'for example "+00:00" or "Europe/Berlin"')
    _require_name(values.get("outbox", "outbox"), where)
    if values.get("password_file") and values.get("password_env"):
        raise SetupError(f"{where} has password_file and password_env", "one of them")
    if values.get("outbox", "tcsql_outbox") in names:
        raise SetupError(
            f"{where}: {values['outbox']} is the outbox and among its tables", "give the outbox another name"
        )
    if values.get("mode") == "push":
        values.setdefault("audit_s", PUSH_AUDIT_S)
    return SourceSettings(name=name, tables=tables, **values)


def _require_choices(values: Mapping[str, Any], where: str) -> None:
    for option, choices in (("mode", MODES), ("cascades", CASCADES)):
        if values.get(option, choices[0]) not in choices:
            raise SetupError(f"{where}: {option} is {' or '.join(choices)}", did_you_mean(str(values[option]), choices))


def _table(name: str, members: dict[str, Any], where: str) -> FollowedTable:
    _require_name(name, where)
    values = _values(members, TABLE_OPTIONS, FollowedTable, f"{where[:-1]}.table.{name}]")
    return FollowedTable(name=name, **values)


def _require_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SetupError(f"{where}: {name!r} is no name", "letters, digits and _, at most 64, no digit first")


def _values(
    members: dict[str, Any], options: Mapping[str, Field[Any]], of: type, where: str, skip: Sequence[str] = ()
) -> dict[str, Any]:
    hints = get_type_hints(of)
    values = {}
    for name, value in members.items():
        if name not in options:
            raise SetupError(f"{where} has an unknown key {name!r}", did_you_mean(name, [*options, "table"]))
        if name not in skip:
            values[name] = _read(value, hints[name], options[name].metadata, f"{where} {name}")
    return values


def _read(value: Any, wanted: Any, about: Mapping[str, Any], where: str) -> Any:
    if wanted is int:
        if type(value) is not int or not about["low"] <= value <= about["high"]:
            raise SetupError(f"{where} is a whole number, {about['low']} to {about['high']}")
        return value
    if wanted is str:
        if not isinstance(value, str) or "\0" in value:
            raise SetupError(f"{where} is a text")
        return value
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise SetupError(f"{where} is a list of names")
    if len(set(value)) < len(value):
        raise SetupError(f"{where} names a column twice")
    return tuple(value)
