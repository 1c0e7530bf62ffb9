"""What stands in the way of following a source, and what would go unseen: a list of findings, each with its remedy.

    refuse   it cannot be followed, or would become wrong unseen: nothing is set up
    warn     it can be followed, but somebody should know
    note     how it is

``code`` is stable; ``statement`` is what to run at the source, exactly, or "". Pure: facts in, findings out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tcsql.engine.schema import NAME
from tcsql.errors import SourceFault
from tcsql.literals import quote_name
from tcsql.replication.catalogue import CatalogueTable, chosen_columns, schema_of
from tcsql.replication.facts import Account, Facts, version_of, wiring_of
from tcsql.replication.findings import NOTE, REFUSE, WARN, Finding
from tcsql.replication.keytext import LOOSE_CHARSETS, Form, form_of, key_problem
from tcsql.replication.preflightlog import missing_for_log, of_cascade, of_server
from tcsql.replication.sizing import Size, size_of
from tcsql.replication.triggers import LIBRARY, outbox_problem, triggers_of, wrong_triggers
from tcsql.sources import FollowedTable, SourceSettings

#: Older servers lack several triggers for an event, or a snapshot that can be relied on.
_OLDEST: Final = {"mariadb": (10, 3), "mysql": (5, 7)}
_TESTED: Final = {"mariadb": ((10, 11),), "mysql": ((9, 7),)}
_SECRET: Final = re.compile(r"passw|passwd|pwd|secret|token|api_?key|salt|credential|iban|card_?n|cvv", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Preflight:
    """All findings, those that refuse first, and the sizes of the tables."""

    findings: tuple[Finding, ...]
    sizes: tuple[Size, ...]

    @property
    def refused(self) -> bool:
        return any(finding.severity == REFUSE for finding in self.findings)


def examine(facts: Facts, settings: SourceSettings, limit_bytes: int = 0) -> Preflight:
    """All that can be said of a source before it is followed, and again afterwards.

    ``limit_bytes``: the memory that data may take here; 0: not compared.
    """
    findings = [*_server(facts, settings), *_account(facts, settings)]
    sizes = []
    for followed in settings.tables:
        table = facts.tables[followed.name]
        if table is None:
            findings.append(_missing(facts, followed))
            continue
        findings += _table(facts, settings, table, followed)
        sizes.append(size_of(table, followed, facts.row_bytes.get(followed.name)))
    findings += _wiring(facts, settings)
    here = sum(size.bytes_here for size in sizes)
    if limit_bytes and here > limit_bytes:
        findings.append(
            Finding(WARN, "memory", "", f"the tables may take {here >> 20} MiB here, more than {limit_bytes >> 20} MiB")
        )
    order = (REFUSE, WARN, NOTE)
    return Preflight(tuple(sorted(findings, key=lambda finding: order.index(finding.severity))), tuple(sizes))


def require_followable(facts: Facts, settings: SourceSettings, also: Sequence[str] = ()) -> None:
    """Raise SourceFault for the first finding that refuses; codes in ``also`` are what setup is about to mend."""
    for finding in examine(facts, settings).findings:
        if finding.severity == REFUSE and finding.code not in also:
            raise SourceFault(finding.message, finding.statement or None)


# -- the server --------------------------------------------------------------------------------------------------------


def _server(facts: Facts, settings: SourceSettings) -> Iterator[Finding]:
    number = version_of(facts.version)
    name = f"{'MariaDB' if facts.flavour == 'mariadb' else 'MySQL'} {facts.version}"
    if number < _OLDEST[facts.flavour]:
        oldest = ".".join(map(str, _OLDEST[facts.flavour]))
        yield Finding(REFUSE, "version_old", "", f"{name} is older than {oldest}")
    elif number[:2] not in _TESTED[facts.flavour]:
        tested = ", ".join(".".join(map(str, each)) for each in _TESTED[facts.flavour])
        yield Finding(NOTE, "version_untested", "", f"{name}: the tests run on {tested}")
    if settings.mode == "binlog":
        yield from of_server(facts)
        return
    if facts.variables.get("innodb_read_only") == "ON":
        yield Finding(REFUSE, "read_only", "", "innodb_read_only is on: no outbox can be kept there")
    elif facts.variables.get("read_only") in ("ON", "1") and settings.mode == "outbox":
        yield Finding(
            WARN,
            "read_only",
            "",
            "read_only is on: rows of the outbox can be deleted by an account with READ_ONLY ADMIN (SUPER) only",
            "SET GLOBAL read_only = 0",
        )
    fires = facts.variables.get("slave_run_triggers_for_rbr") in ("YES", "LOGGING", "ENFORCE")
    if facts.is_replica and not fires:
        yield Finding(
            REFUSE,
            "replica",
            "",
            "the server is a replica of another: rows that it takes over fire no triggers",
            "SET GLOBAL slave_run_triggers_for_rbr = 'YES'" if facts.flavour == "mariadb" else "",
        )
    if settings.mode == "push":
        yield Finding(
            NOTE,
            "push_best_effort",
            "",
            f"push may lose changes; all rows are compared within {settings.audit_s} s (audit_s)"
            if settings.audit_s
            else "push may lose changes, and audit_s is 0: nothing finds them",
        )
    if settings.time_zone[:1] not in ("+", "-"):
        yield Finding(
            NOTE,
            "named_zone",
            "",
            f"TIMESTAMPs are read in {settings.time_zone}: when clocks go back, two an hour apart look the same",
        )


# -- the account -------------------------------------------------------------------------------------------------------


def _account(facts: Facts, settings: SourceSettings) -> Iterator[Finding]:
    if facts.kept_out:
        yield Finding(REFUSE, "kept_out", "", f"the account of the url cannot sign in: {facts.kept_out}")
    if facts.account is None:
        user = "the account of the url"
        yield Finding(NOTE, "account_unknown", "", f"{user} is not there, or may not be seen by this one")
        return
    if facts.grants is None:
        yield Finding(NOTE, "grants_unknown", "", f"the rights of {facts.account} may not be seen by this account")
        return
    for statement, message in missing_grants(facts, settings, facts.account):
        yield Finding(REFUSE, "grant_missing", "", message, statement)
    if settings.mode != "binlog" and not facts.grants.allows("PROCESS"):
        found_by = f"the audit, within {settings.audit_s} s, or by" if settings.audit_s else "nothing but"
        yield Finding(
            WARN,
            "truncate_unseen",
            "",
            f"without PROCESS {facts.account} cannot see table ids: TRUNCATE, EXCHANGE PARTITION and swapped tables"
            f" are found by {found_by} tcsql mysql verify",
            f"GRANT PROCESS ON *.* TO {facts.account}",
        )


def missing_grants(facts: Facts, settings: SourceSettings, account: Account) -> Iterator[tuple[str, str]]:
    """GRANT statements for what the follower's account needs and lacks, each with what it is for."""
    database = facts.database
    of_tables = ("SELECT",) if settings.mode == "binlog" else ("SELECT", "TRIGGER")
    needed: list[tuple[tuple[str, ...], str]] = [
        (of_tables, table.name) for table in settings.tables if not _is_absent(facts, table.name)
    ]
    if settings.mode == "binlog":
        yield from missing_for_log(facts, account)
    if settings.mode == "outbox":
        needed.append((("SELECT", "INSERT", "DELETE"), settings.outbox))
    for rights, table in needed:
        lacking = [right for right in rights if not _allowed(facts, right, table, settings.table(table))]
        if lacking:
            wanted = ", ".join(lacking)
            yield (
                f"GRANT {wanted} ON {quote_name(database)}.{quote_name(table)} TO {account}",
                f"{account} lacks {wanted} on {database}.{table}",
            )


def _allowed(facts: Facts, right: str, table: str, followed: FollowedTable | None) -> bool:
    if facts.grants is None:
        return False
    if facts.grants.allows(right, facts.database, table):
        return True
    held = facts.grants.columns(right, facts.database, table)
    return followed is not None and bool(followed.columns) and held.issuperset(map(str.lower, followed.columns))


# -- the tables --------------------------------------------------------------------------------------------------------


def _is_absent(facts: Facts, name: str) -> bool:
    """Whether a table is not there, for sure: seen by an account that sees all of the database."""
    return facts.tables[name] is None and facts.admin.allows("SELECT", facts.database, name)


def _missing(facts: Facts, followed: FollowedTable) -> Finding:
    if _is_absent(facts, followed.name):
        return Finding(REFUSE, "table_missing", followed.name, f"there is no table {followed.name} in {facts.database}")
    account = facts.account
    grant = f"GRANT SELECT, TRIGGER ON {quote_name(facts.database)}.{quote_name(followed.name)} TO {account}"
    return Finding(
        REFUSE,
        "table_missing",
        followed.name,
        f"there is no table {followed.name} in {facts.database}, or the account may not see it",
        grant if account is not None else "",
    )


def _table(facts: Facts, settings: SourceSettings, table: CatalogueTable, followed: FollowedTable) -> Iterator[Finding]:
    name = table.name
    qualified = f"{quote_name(table.database)}.{quote_name(name)}"
    if table.kind not in ("BASE TABLE", "SYSTEM VERSIONED"):
        yield Finding(REFUSE, "no_table", name, f"{name} is a {table.kind.lower()}: it has no rows of its own")
        return
    if table.engine.lower() != "innodb":
        why = "a rolled back change stays there, and its note does not"
        statement = f"ALTER TABLE {qualified} ENGINE=InnoDB"
        yield Finding(REFUSE, "engine", name, f"the engine of {name} is {table.engine}, not InnoDB: {why}", statement)
    yield from _key(table, settings, qualified)
    for key in table.foreign_keys:
        if key.acts and settings.mode == "binlog":
            yield from of_cascade(facts, settings, name, key, qualified)
        elif key.acts:
            yield Finding(
                REFUSE,
                "foreign_key",
                name,
                f"foreign key {key.name} changes rows of {name} when {key.parent} changes (ON UPDATE {key.on_update},"
                f" ON DELETE {key.on_delete}), and no trigger is told; let the application do it",
                f"ALTER TABLE {qualified} DROP FOREIGN KEY {quote_name(key.name)}",
            )
    if table.partitions and settings.mode != "binlog":
        seen = facts.grants is not None and facts.grants.allows("PROCESS")
        how = "the whole table is then copied afresh" if seen else "that goes unseen without PROCESS"
        yield Finding(
            NOTE if seen else WARN,
            "partitions",
            name,
            f"{name} has {len(table.partitions)} partitions: TRUNCATE, DROP and EXCHANGE PARTITION fire no trigger;"
            f" {how}",
        )
    yield from _columns(table, followed, settings.name)
    error = facts.where_errors.get(name)
    if error is not None:
        yield Finding(REFUSE, "where", name, f"the row filter of {name} is refused: {error}")


def _key(table: CatalogueTable, settings: SourceSettings, qualified: str) -> Iterator[Finding]:
    columns, name = table.key_columns, table.name
    if not columns:
        statement = f"ALTER TABLE {qualified} ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY"
        yield Finding(
            REFUSE, "no_primary_key", name, f"{name} has no primary key, so none of its rows has a name", statement
        )
        return
    problem = key_problem(columns, settings.time_zone)
    if problem is not None:
        yield Finding(REFUSE, "key_type", name, f"{name} cannot be followed: {problem}")
        return
    for column in columns:
        if form_of(column) is Form.TEXT and not column.collation.endswith("_bin"):
            yield Finding(
                NOTE,
                "key_collation",
                name,
                f"{name}.{column.name} is compared by {column.collation} there; here keys are told apart by bytes,"
                " and a changed spelling is a changed key",
            )
        if column.charset in LOOSE_CHARSETS:
            yield Finding(
                WARN,
                "key_charset",
                name,
                f"{name}.{column.name}: bytes that are no character of {column.charset} cannot be told apart",
            )


def _columns(table: CatalogueTable, followed: FollowedTable, source: str) -> Iterator[Finding]:
    try:
        kept = chosen_columns(table, followed.columns)
        odd = [column.name for column in kept if not NAME.fullmatch(column.name)]
        if odd:
            yield Finding(
                REFUSE,
                "name",
                table.name,
                f"names have letters, digits and _ here, no digit first; leave out of {table.name}, by its columns:"
                f" {', '.join(map(repr, odd))}",
            )
        elif table.key_columns:
            schema_of(table, followed.columns)
    except SourceFault as error:
        hint = f" ({error.hint})" if error.hint else ""
        yield Finding(REFUSE, "columns", table.name, error.message + hint)
        return
    secret = [column.name for column in kept if _SECRET.search(column.name)]
    if secret:
        yield Finding(
            WARN,
            "secret_columns",
            table.name,
            f"{', '.join(secret)} of {table.name} would be held in memory and answered to clients:"
            f" list the others as columns of [source.{source}.table.{table.name}]",
        )


# -- what was set up ---------------------------------------------------------------------------------------------------


def _wiring(facts: Facts, settings: SourceSettings) -> Iterator[Finding]:
    """What ``tcsql mysql setup`` makes: nothing of it yet is a note, only parts of it is a fault."""
    wiring = wiring_of(settings)
    yield from _functions(facts, wiring.functions)
    run = f"run: tcsql mysql setup {settings.name} --apply"
    if settings.mode == "binlog":
        pass
    elif wiring.by_hand:
        yield Finding(NOTE, "by_hand", "", "no push_token: rows are posted by triggers made by hand, see docs/push.md")
    elif facts.outbox is None and not facts.own_triggers:
        yield Finding(NOTE, "not_set_up", "", f"nothing is set up yet; {run}")
        yield from _creators(facts)
        return
    if settings.mode == "outbox":
        problem = outbox_problem(facts.outbox)
        if problem is not None:
            statement = "" if facts.outbox is None else f"DROP TABLE {quote_name(settings.outbox)}"
            yield Finding(REFUSE, "outbox", "", f"{settings.outbox} is no outbox: {problem}; {run}", statement)
    broken = False
    for followed in settings.tables:
        table = facts.tables[followed.name]
        if table is None or key_problem(table.key_columns, settings.time_zone) is not None:
            continue
        wrong = wrong_triggers(triggers_of(table.name, table.key_columns, wiring), table.triggers)
        if wrong:
            broken = True
            shown = ", ".join(f"{name} is {how}" for name, how in wrong.items())
            yield Finding(REFUSE, "triggers", table.name, f"triggers of {table.name}: {shown}; {run}")
    for each in facts.own_triggers:
        if each.definer:
            broken = True
            yield Finding(
                REFUSE,
                "definer",
                each.table,
                f"trigger {each.name} runs as {each.definer}, an account that is not there: every {each.name[-3:]} of"
                f" {each.table} fails; {run}",
            )
    if broken:
        yield from _creators(facts)
    else:
        yield from _unused(facts, settings)


def _unused(facts: Facts, settings: SourceSettings) -> Iterator[Finding]:
    """What another mode has left; never a statement by which a trigger that is still there would fail."""
    if settings.mode == "binlog" and facts.own_triggers:
        yield Finding(
            NOTE,
            "triggers_unused",
            "",
            f"{len(facts.own_triggers)} triggers of another mode are there still: once the server follows by the log"
            f" (tcsql mysql status), run: tcsql mysql remove {settings.name} --apply",
        )
    elif settings.mode != "outbox" and facts.outbox is not None and outbox_problem(facts.outbox) is None:
        yield Finding(
            NOTE,
            "outbox_unused",
            "",
            f"{settings.outbox} is not needed in mode {settings.mode}",
            f"DROP TABLE {quote_name(settings.outbox)}",
        )


def _functions(facts: Facts, needed: Sequence[str]) -> Iterator[Finding]:
    for name in needed:
        library = None if facts.functions is None else facts.functions.get(name)
        if facts.functions is None:
            yield Finding(NOTE, "function_unknown", "", f"whether {name} is registered may not be seen by this account")
        elif library is None:
            yield Finding(
                REFUSE,
                "function",
                "",
                f"the function {name} is not registered: install {LIBRARY} (mysql_udf_sync), then run setup",
                f"CREATE FUNCTION {name} RETURNS INTEGER SONAME '{LIBRARY}'",
            )
        elif library != LIBRARY:
            yield Finding(NOTE, "function_other", "", f"{name} is of {library}; this version comes with {LIBRARY}")


def _creators(facts: Facts) -> Iterator[Finding]:
    logs = facts.variables.get("log_bin") == "ON"
    if logs and facts.variables.get("log_bin_trust_function_creators") == "OFF" and not facts.admin.allows("SUPER"):
        yield Finding(
            WARN,
            "trigger_creators",
            "",
            "the server keeps a binary log and lets accounts with SUPER alone create triggers: set up by one of those",
            "SET GLOBAL log_bin_trust_function_creators = 1",
        )
