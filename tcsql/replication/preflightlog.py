"""What stands in the way of following by the binary log: the part of ``preflight`` for that mode. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tcsql.literals import quote_name
from tcsql.replication.binlog.needs import REPLICA, hears_cascades, lacking, leaves_out_what_it_takes_over
from tcsql.replication.catalogue import ForeignKey
from tcsql.replication.facts import Account, Facts, version_of
from tcsql.replication.findings import NOTE, REFUSE, WARN, Finding
from tcsql.sources import SourceSettings


def of_server(facts: Facts) -> Iterator[Finding]:
    """Settings of the server that leave something out of its log."""
    for name, problem, remedy in lacking(facts.variables, facts.flavour):
        statement = remedy.removeprefix("run there: ")
        is_statement = statement != remedy
        message = problem if is_statement else f"{problem}; {remedy}"
        yield Finding(REFUSE, name, "", message, statement if is_statement else "")
    if facts.is_replica and leaves_out_what_it_takes_over(facts.variables):
        yield Finding(REFUSE, "log_slave_updates", "", "; ".join(REPLICA))
    for name, hides in (("binlog_do_db", False), ("binlog_ignore_db", True)):
        listed = facts.variables.get(name, "")
        is_listed = facts.database.lower() in listed.lower().split(",")
        if listed and is_listed is hides:
            message = f"{name} is {listed}: {facts.database} is left out of the log; start the server without it"
            yield Finding(REFUSE, name, "", message)
        elif listed:
            yield Finding(WARN, name, "", f"{name} is {listed}: changes may be left out of the log")
    yield Finding(NOTE, "sql_log_bin", "", "what a session writes with sql_log_bin = 0 is found by the audit only")


def missing_for_log(facts: Facts, account: Account) -> Iterator[tuple[str, str]]:
    """The GRANT for reading the log, if the account lacks the right."""
    if facts.grants is None or not facts.grants.allows("REPLICATION SLAVE"):
        yield f"GRANT REPLICATION SLAVE ON *.* TO {account}", f"{account} lacks REPLICATION SLAVE"


def of_cascade(
    facts: Facts, settings: SourceSettings, table: str, key: ForeignKey, qualified: str
) -> Iterator[Finding]:
    """A foreign key that changes rows by itself."""
    if hears_cascades(facts.flavour, version_of(facts.version)):
        return
    what = (
        f"foreign key {key.name} changes rows of {table} when {key.parent} changes (ON UPDATE {key.on_update},"
        f" ON DELETE {key.on_delete}), and this server does not log them"
    )
    if settings.cascades == "audit" and settings.audit_s:
        yield Finding(WARN, "foreign_key", table, f"{what}: found and repaired within {settings.audit_s} s (audit_s)")
        return
    yield Finding(
        REFUSE,
        "foreign_key",
        table,
        f'{what}; let the application do it, or allow {settings.audit_s} s of difference: cascades = "audit"',
        f"ALTER TABLE {qualified} DROP FOREIGN KEY {quote_name(key.name)}",
    )
