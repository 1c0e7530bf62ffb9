"""``tcsql mysql``: what has to be at a MySQL or MariaDB server to be followed: setup, check, remove.

Nothing is changed without ``--apply``: setup and remove print what they would run, for the mysql client or to be read.
Passwords come from files, the environment or a url, and are never printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.table import Table

from tcsql.cli.console import console, safe
from tcsql.cli.options import effective_settings
from tcsql.configuration import memory_bytes
from tcsql.errors import SetupError, SourceAway, SourceFault, did_you_mean
from tcsql.literals import quote_name
from tcsql.replication.address import address_of, database_of
from tcsql.replication.connection import Connection, connect
from tcsql.replication.facts import Facts, gather
from tcsql.replication.preflight import Preflight, examine
from tcsql.replication.provision import (
    Statement,
    count_calls,
    plan_removal,
    plan_setup,
    remaining_grants,
    script_of,
    session_of,
)
from tcsql.sources import SourceSettings, sources_of
from tcsql.storage.memory import available_bytes

mysql = typer.Typer(
    name="mysql", help="Follow tables of MySQL and MariaDB: set up, check, watch, verify, remove.", no_args_is_help=True
)

Source = Annotated[str | None, typer.Argument(help="the source's name; all sources without it", show_default=False)]
Config = Annotated[
    str | None, typer.Option(help="configuration file (default: tcsql.toml if it exists)", show_default=False)
]
AdminUrl = Annotated[
    str | None,
    typer.Option(
        help="an account that may do it: mysql://root@localhost/?unix_socket=/run/mysqld/mysqld.sock",
        show_default=False,
    ),
]
AdminPassword = Annotated[
    Path | None, typer.Option(help="file whose first line is that account's password", show_default=False)
]
Apply = Annotated[bool, typer.Option("--apply", help="run it, instead of printing it")]
LockWait = Annotated[
    int, typer.Option(min=1, max=3600, help="seconds to wait for writers; others wait behind us meanwhile")
]

_LOCK_WAIT_S: Final = 5
_LOCK_WAIT_TIMEOUT: Final = 1205
#: What to do when the server refuses a statement of ours.
_HINTS: Final = {
    1419: "use an account with SUPER: --admin-url; or run there: SET GLOBAL log_bin_trust_function_creators = 1",
    1126: "install the library: make install in mysql_udf_sync, see its README",
    **dict.fromkeys((1044, 1142, 1227, 1370), "use an account that may: --admin-url mysql://root@…"),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """One source of the configuration, the directory that its paths are relative to, the memory that data may take."""

    settings: SourceSettings
    base: Path
    limit_bytes: int

    @property
    def database(self) -> str:
        """The database of its url; raises SetupError without one."""
        return database_of(self.settings)


def chosen_sources(name: str | None, config: str | None) -> list[Chosen]:
    """The source of that name, or all of them; raises SetupError."""
    effective = effective_settings({}, config)
    sources = sources_of(effective.file, effective.file_name)
    base = Path(effective.file_name).absolute().parent
    if not sources:
        raise SetupError(
            f"{effective.file_name} has no source", 'write [source.shop] with url = "mysql://…" and tables'
        )
    limit = memory_bytes(effective.settings.memory_limit, available_bytes())
    found = [Chosen(source, base, limit) for source in sources if name in (None, source.name)]
    if not found:
        names = [source.name for source in sources]
        raise SetupError(
            f"there is no source {name}", did_you_mean(str(name), names) or f"there are: {', '.join(names)}"
        )
    return found


@contextmanager
def _session(
    chosen: Chosen, admin_url: str | None = None, admin_password: Path | None = None, lock_wait_s: int = _LOCK_WAIT_S
) -> Iterator[Connection]:
    password = None
    if admin_password is not None:
        try:
            password = admin_password.read_text().partition("\n")[0].removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise SetupError(f"cannot read {admin_password}: {why}") from None
    _ = chosen.database  # a url without one is told of before anything is connected to
    try:
        with connect(
            chosen.settings, base=chosen.base, url=admin_url, password=password, lock_wait_s=lock_wait_s
        ) as connection:
            yield connection
    except SourceAway as error:  # whoever runs a command is there to try again
        raise SetupError(f"source {chosen.settings.name}: {error.message}", error.hint) from None


def _facts(chosen: Chosen, connection: Connection, admin_url: str | None) -> Facts:
    """What there is. Beside an administrator the follower's account signs in, too: the server alone knows its host."""
    own, kept_out = None, ""
    if admin_url is not None:
        try:
            own = connect(chosen.settings, base=chosen.base, into_database=False)
        except (SourceFault, SourceAway) as error:
            kept_out = f"{error.message} ({error.hint})" if error.hint else error.message
    user = address_of(chosen.settings.url).user
    with own or nullcontext():
        return gather(connection, chosen.settings, chosen.database, user, own=own, kept_out=kept_out)


# -- setup -------------------------------------------------------------------------------------------------------------


@mysql.command()
def setup(
    source: Source = None,
    *,
    config: Config = None,
    admin_url: AdminUrl = None,
    admin_password_file: AdminPassword = None,
    apply: Apply = False,
    grant_process: Annotated[
        bool, typer.Option("--grant-process", help="give the account PROCESS, too: it sees TRUNCATE then")
    ] = False,
    lock_wait: LockWait = _LOCK_WAIT_S,
) -> None:
    """Make what is missing at the server: rights, outbox, triggers, functions. Prints SQL; --apply runs it.

    A second run finds nothing to do. Reads the server with the account of the source, or of --admin-url.
    """
    for chosen in chosen_sources(source, config):
        with _session(chosen, admin_url, admin_password_file, lock_wait) as connection:
            facts = _facts(chosen, connection, admin_url)
            plan = plan_setup(facts, chosen.settings, grant_process)
            _head(chosen, facts, "set up" if plan else "set up already")
            if not apply and facts.account is None:
                user = address_of(chosen.settings.url).user
                print(f"-- CREATE USER '{safe(user)}'@'%' IDENTIFIED BY '…';  -- then run this again, for its rights")
            _run(chosen, connection, plan, apply, lock_wait)
            if apply:
                _tell(examine(_facts(chosen, connection, admin_url), chosen.settings))


def _head(chosen: Chosen, facts: Facts, what: str) -> None:
    settings = chosen.settings
    print(f"-- source {settings.name}: {facts.database}, mode {settings.mode}: {what}")


def _run(chosen: Chosen, connection: Connection, plan: Sequence[Statement], apply: bool, lock_wait_s: int) -> None:
    if not apply:
        print(script_of(plan, chosen.database, lock_wait_s), end="")
        return
    if plan:
        for sql in (*session_of(lock_wait_s), f"USE {quote_name(chosen.database)}"):
            connection.query(sql)
    for statement in plan:
        try:
            connection.query(statement.sql)
        except SourceFault as error:
            hint = _HINTS.get(int(error.extra.get("errno", 0)), error.hint)
            raise SourceFault(f"{error.message}, for: {statement.sql}", hint, **error.extra) from None
        except SourceAway as error:
            if error.extra.get("errno") != _LOCK_WAIT_TIMEOUT:
                raise
            raise SourceFault(*_blockers(connection, statement, lock_wait_s)) from None
        print(f"-- {statement.purpose}\n{safe(statement.sql)};")


def _blockers(connection: Connection, statement: Statement, lock_wait_s: int) -> tuple[str, str]:
    """Who holds what a statement waited for: the oldest open transaction, as far as the account may see."""
    waited = f"writers were in the way for {lock_wait_s} s of: {statement.purpose}"
    try:
        rows = connection.query(
            "SELECT trx_mysql_thread_id, user, host, TIMESTAMPDIFF(SECOND, trx_started, NOW()), command"
            " FROM information_schema.INNODB_TRX JOIN information_schema.PROCESSLIST ON id = trx_mysql_thread_id"
            " WHERE id <> CONNECTION_ID() ORDER BY trx_started LIMIT 3"
        )
    except SourceFault:
        rows = []
    if not rows:
        return waited, "run again with a longer --lock-wait; an account with PROCESS is told who it is"
    open_ = "; ".join(
        f"connection {number} of {user}@{host}, open for {age} s ({command})"
        for number, user, host, age, command in rows
    )
    return (
        f"{waited}; the oldest transactions: {open_}",
        f"end it, or run there: KILL {rows[0][0]}; then run this again",
    )


# -- check -------------------------------------------------------------------------------------------------------------


@mysql.command()
def check(
    source: Source = None,
    *,
    config: Config = None,
    admin_url: AdminUrl = None,
    admin_password_file: AdminPassword = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Name everything that is in the way or would go unseen, each with its remedy. Exit code 1 when something refuses.

    Changes nothing. Sizes here are estimates from a sample of rows.
    """
    found = {}
    for chosen in chosen_sources(source, config):
        with _session(chosen, admin_url, admin_password_file) as connection:
            facts = _facts(chosen, connection, admin_url)
            found[chosen.settings.name] = examine(facts, chosen.settings, chosen.limit_bytes)
    if as_json:
        report = {name: {**asdict(each), "refused": each.refused} for name, each in found.items()}
        print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        for name, each in found.items():
            _print_sizes(name, each)
            _tell(each)
    if any(each.refused for each in found.values()):
        raise typer.Exit(1)


def _print_sizes(name: str, preflight: Preflight) -> None:
    table = Table("table", title=f"source {name}", title_justify="left", caption="estimates", caption_justify="left")
    for heading in ("rows", "MiB there", "MiB here, at most"):
        table.add_column(heading, justify="right")
    for size in preflight.sizes:
        table.add_row(safe(size.table), f"{size.rows}", _mib(size.bytes_there), _mib(size.bytes_here))
    if len(preflight.sizes) > 1:
        here = sum(size.bytes_here for size in preflight.sizes)
        there = sum(size.bytes_there for size in preflight.sizes)
        table.add_row("all", f"{sum(size.rows for size in preflight.sizes)}", _mib(there), _mib(here))
    console().print(table)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"


def _tell(preflight: Preflight) -> None:
    for finding in preflight.findings:
        print(f"{finding.severity:6} {finding.code}: {safe(finding.message)}")
        if finding.statement:
            print(f"       run there: {safe(finding.statement)};")


# -- remove ------------------------------------------------------------------------------------------------------------


@mysql.command()
def remove(
    source: Source = None,
    *,
    config: Config = None,
    admin_url: AdminUrl = None,
    admin_password_file: AdminPassword = None,
    apply: Apply = False,
    lock_wait: LockWait = _LOCK_WAIT_S,
) -> None:
    """Take away everything that setup made: triggers, outbox, functions. Prints SQL; --apply runs it.

    The account keeps its rights: the statement that takes them away is printed for a person to run.
    """
    for chosen in chosen_sources(source, config):
        with _session(chosen, admin_url, admin_password_file, lock_wait) as connection:
            facts = _facts(chosen, connection, admin_url)
            plan = plan_removal(facts, chosen.settings, _calls(connection, facts))
            _head(chosen, facts, "remove" if plan else "nothing is left")
            _run(chosen, connection, plan, apply, lock_wait)
            for statement in remaining_grants(facts):
                print(f"-- {statement};  -- if nothing else needs the account")


def _calls(connection: Connection, facts: Facts) -> dict[str, int]:
    """Which of our functions other triggers call, in any database; only asked when there are functions."""
    if not facts.functions:
        return {}
    rows = connection.query(
        "SELECT CONCAT(TRIGGER_SCHEMA, '.', TRIGGER_NAME), ACTION_STATEMENT FROM information_schema.TRIGGERS"
    )
    own = [f"{facts.database}.{each.name}" for each in facts.own_triggers]
    return count_calls([(str(name), str(body)) for name, body in rows], own)
