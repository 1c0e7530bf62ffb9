"""Everything that setup, check and removal have to know of a source, asked for once, as one value.

Whatever an account may not see is None here, never a guess: an administrator sees more than the follower's account.
Cost: some ten statements for the server and ten for each table; one of them reads 200 rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tcsql.errors import SourceFault
from tcsql.literals import quote_name, quote_string
from tcsql.replication.catalogue import CatalogueTable, as_text, chosen_columns, read_tables
from tcsql.replication.grants import Grants, Query, grants_of, read_grants
from tcsql.replication.triggers import FUNCTIONS, Wiring, is_own_trigger
from tcsql.sources import FollowedTable, SourceSettings

_SAMPLE_ROWS: Final = 200
_VARIABLES: Final = (
    "log_bin", "log_bin_trust_function_creators", "read_only", "slave_run_triggers_for_rbr", "lower_case_table_names",
    "innodb_read_only", "binlog_format", "binlog_row_image", "binlog_row_metadata", "gtid_mode", "log_slave_updates",
    "log_replica_updates",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Account:
    """A server's account, as it spells it."""

    user: str
    host: str

    def __str__(self) -> str:
        return f"{quote_string(self.user)}@{quote_string(self.host)}"


@dataclass(frozen=True, slots=True)
class OwnTrigger:
    """A trigger that was set up for this outbox, wherever it is now.

    ``definer``: the account that it runs as, when that is known to have gone; "" else.
    """

    name: str
    table: str
    definer: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A source as it is. ``account``: the follower's; None when there is none of that name.

    ``grants``: its rights, None when they may not be seen; ``admin``: the rights of the account that looked.
    ``functions``: registered functions of ours with their library, None when that may not be seen.
    ``kept_out``: why the follower's account could not sign in, when that was tried.
    ``where_errors``: what the server says of a row filter that it refuses; ``row_bytes``: mean size of a row's values
    in a sample, for tables with rows.
    """

    flavour: str
    version: str
    database: str
    variables: Mapping[str, str]
    account: Account | None
    grants: Grants | None
    admin: Grants
    tables: Mapping[str, CatalogueTable | None]
    outbox: CatalogueTable | None
    own_triggers: Sequence[OwnTrigger]
    functions: Mapping[str, str] | None
    is_replica: bool | None = None
    kept_out: str = ""
    where_errors: Mapping[str, str] = field(default_factory=dict)
    row_bytes: Mapping[str, float] = field(default_factory=dict)


def wiring_of(settings: SourceSettings) -> Wiring:
    """How the triggers of a source tell of keys. A push without a token: nobody could send hints, rows are posted."""
    push = settings.mode == "push"
    by_hand = settings.mode == "binlog" or (push and not settings.push_token)
    return Wiring(settings.outbox, push, bool(settings.doorbell), by_hand=by_hand)


class Session(Protocol):
    """What is needed of a ``Connection``."""

    flavour: str
    version: str

    def query(self, sql: str, params: tuple[object, ...] = (), /) -> Iterable[tuple[Any, ...]]: ...


def gather(
    session: Session,
    settings: SourceSettings,
    database: str,
    user: str,
    *,
    own: Session | None = None,
    kept_out: str = "",
) -> Facts:
    """Look at a source. Raises SourceAway, SourceFault.

    ``user``: the follower's, whoever asks. ``own``: its own session, when somebody else asks: which account the server
    takes it for, and what that may do, need no guess then; ``kept_out``: why there is none.
    """
    query, flavour, version = session.query, session.flavour, session.version
    admin = read_grants(query)
    account = _account(query, user) if own is None else _current(own.query)
    names = [table.name for table in settings.tables]
    sees_ids = admin.allows("PROCESS")
    tables = read_tables(query, database, names, flavour, sees_ids)
    outbox = read_tables(query, database, [settings.outbox], flavour, sees_ids=False)[settings.outbox]
    where_errors, row_bytes = {}, {}
    for table in settings.tables:
        there = tables[table.name]
        if there is None or there.kind not in ("BASE TABLE", "SYSTEM VERSIONED"):
            continue
        error = _where_error(query, database, table)
        if error is not None:
            where_errors[table.name] = error
        else:
            size = mean_row_bytes(query, there, table)
            if size is not None:
                row_bytes[table.name] = size
    return Facts(
        flavour=flavour,
        version=version,
        database=database,
        variables={**_variables(query), **_left_out_of_the_log(query, flavour)},
        account=account,
        grants=_grants(query, account, admin) if own is None else read_grants(own.query),
        admin=admin,
        tables=tables,
        outbox=outbox,
        own_triggers=_own_triggers(query, database, settings.outbox),
        functions=_functions(query),
        is_replica=_is_replica(query, flavour, version),
        kept_out=kept_out,
        where_errors=where_errors,
        row_bytes=row_bytes,
    )


def _current(query: Query) -> Account:
    [(current,)] = query("SELECT CURRENT_USER()")
    user, _, host = str(current).rpartition("@")
    return Account(user, host)


def _account(query: Query, user: str) -> Account | None:
    """The account of that name: the one that asks, else the one the server has; of several the one for all hosts."""
    current = _current(query)
    if current.user == user:
        return current
    try:
        hosts = sorted(str(row[0]) for row in query("SELECT Host FROM mysql.user WHERE User = %s", (user,)))
    except SourceFault:
        return None
    if not hosts:
        return None
    return Account(user, "%" if "%" in hosts else hosts[0])


def _grants(query: Query, account: Account | None, own: Grants) -> Grants | None:
    if account is None:
        return None
    if account == _current(query):
        return own
    try:
        return grants_of(str(row[0]) for row in query(f"SHOW GRANTS FOR {account}"))
    except SourceFault:
        return None


def _variables(query: Query) -> dict[str, str]:
    wanted = ",".join(map(quote_string, _VARIABLES))
    return {
        str(name).lower(): str(value).upper()
        for name, value in query(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({wanted})")
    }


def _left_out_of_the_log(query: Query, flavour: str) -> dict[str, str]:
    """Databases that the binary log is kept for, or not for: no variables of the server. {}: this account may not ask.

    Cost: one round trip.
    """
    try:
        rows = [*query("SHOW MASTER STATUS" if flavour == "mariadb" else "SHOW BINARY LOG STATUS")]
    except SourceFault:
        return {}
    return {"binlog_do_db": str(rows[0][2]), "binlog_ignore_db": str(rows[0][3])} if rows else {}


def _functions(query: Query) -> dict[str, str] | None:
    # CONVERT: the columns have a binary collation on some servers, and arrive as bytes there
    sql = "SELECT CONVERT(name USING utf8mb4), CONVERT(dl USING utf8mb4) FROM mysql.func WHERE name IN (%s, %s)"
    try:
        rows = query(sql, tuple(FUNCTIONS))
    except SourceFault:
        return None
    return {str(name): str(library) for name, library in rows}


def _own_triggers(query: Query, database: str, outbox: str) -> list[OwnTrigger]:
    rows = query(
        "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_STATEMENT, DEFINER FROM information_schema.TRIGGERS"
        " WHERE TRIGGER_SCHEMA = %s ORDER BY TRIGGER_NAME",
        (database,),
    )
    own = [
        (str(name), str(table), str(definer))
        for name, table, body, definer in rows
        if is_own_trigger(outbox, str(name), as_text(body))
    ]
    accounts = _accounts(query) if own else None
    return [
        OwnTrigger(name, table, "" if accounts is None or definer in accounts else definer)
        for name, table, definer in own
    ]


def _accounts(query: Query) -> set[str] | None:
    try:
        return {f"{as_text(user)}@{as_text(host)}" for user, host in query("SELECT User, Host FROM mysql.user")}
    except SourceFault:
        return None


def _is_replica(query: Query, flavour: str, version: str) -> bool | None:
    """Whether the server gets its rows from another one; None when the account may not see that."""
    old = flavour == "mariadb" or version_of(version) < (8, 0, 22)
    try:
        return bool(list(query("SHOW SLAVE STATUS" if old else "SHOW REPLICA STATUS")))
    except SourceFault:
        return None


def version_of(version: str) -> tuple[int, ...]:
    """The numbers of a version.

    >>> version_of("10.11.6-MariaDB-0+deb12u1-log")
    (10, 11, 6)
    """
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0])[:3])


def _where_error(query: Query, database: str, table: FollowedTable) -> str | None:
    if not table.where:
        return None
    try:
        list(query(f"SELECT 1 FROM {quote_name(database)}.{quote_name(table.name)} WHERE ({table.where}\n) LIMIT 0"))  # noqa: S608  # the filter is the operator's own SQL  # nosec B608
    except SourceFault as error:
        return error.message
    return None


def mean_row_bytes(query: Query, there: CatalogueTable, table: FollowedTable) -> float | None:
    """Mean bytes of a row's values as text, from the first rows; None without rows or the right to read them."""
    try:
        columns = chosen_columns(there, table.columns)
    except SourceFault:
        return None
    sizes = "+".join(f"COALESCE(LENGTH({quote_name(column.name)}),4)" for column in columns)
    names = ",".join(quote_name(column.name) for column in columns)
    name = f"{quote_name(there.database)}.{quote_name(there.name)}"
    try:
        [(mean,)] = query(f"SELECT AVG({sizes}) FROM (SELECT {names} FROM {name} LIMIT {_SAMPLE_ROWS}) AS sample")  # noqa: S608  # names are quoted  # nosec B608
    except SourceFault:
        return None
    return None if mean is None else float(mean)
