"""What to run at a source to set it up and to take everything away again, as statements that are only what is missing.

Setting up: functions, the outbox, rights of the follower's account, triggers that are missing or changed; triggers of
ours on tables that are followed no longer are dropped. What is there as it should be is left alone, so that a second
run finds nothing to do. Removing: triggers first, so that no write looks for what has gone.

A changed trigger is replaced without a moment in which a write would go unnoticed: by MariaDB in one statement, at
MySQL under a lock of the table. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tcsql.errors import SourceFault
from tcsql.literals import quote_name
from tcsql.replication.facts import Facts, wiring_of
from tcsql.replication.preflight import missing_grants, require_followable
from tcsql.replication.triggers import (
    FUNCTIONS,
    SESSION,
    Trigger,
    function_sql,
    outbox_problem,
    outbox_sql,
    triggers_of,
    wrong_triggers,
)
from tcsql.sources import SourceSettings

#: Findings that setup itself mends, or that are not in its way.
_MENDED: Final = ("grant_missing", "function", "triggers", "definer", "kept_out")
_DELIMITER: Final = "//"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, and what it is for. ``compound``: there are ; inside it."""

    sql: str
    purpose: str
    compound: bool = False


def plan_setup(facts: Facts, settings: SourceSettings, see_truncate: bool = False) -> list[Statement]:
    """What is missing, in the order to run it; raises SourceFault for what cannot be followed.

    ``see_truncate``: give the account PROCESS, too, without which TRUNCATE goes unseen. Triggers of another mode stay
    when this one needs none: the server may follow by them until it has been told; ``plan_removal`` takes them away.
    """
    mended = (*_MENDED, "outbox") if facts.outbox is None else _MENDED
    require_followable(facts, settings, mended)
    wiring = wiring_of(settings)
    plan = [
        Statement(function_sql(name), f"register {name}")
        for name in wiring.functions
        if facts.functions is None or name not in facts.functions
    ]
    if settings.mode == "outbox" and facts.outbox is None:
        plan.append(Statement(outbox_sql(settings.outbox), "the outbox"))
    plan += _grants(facts, settings, see_truncate)
    wanted: set[str] = set()
    for followed in settings.tables:
        table = facts.tables[followed.name]
        assert table is not None  # require_followable has seen to it
        triggers = triggers_of(table.name, table.key_columns, wiring)
        wanted.update(trigger.name for trigger in triggers)
        orphans = {each.name: "without its account" for each in facts.own_triggers if each.definer}
        wrong = {**orphans, **wrong_triggers(triggers, table.triggers)}
        # a trigger of that name may sit on another table, which has been renamed: it has to go first
        elsewhere = {each.name for each in facts.own_triggers if each.table.lower() != table.name.lower()}
        for trigger in triggers:
            if trigger.name in elsewhere:
                plan.append(_drop(trigger.name, "it sits on a table that has been renamed"))
            if trigger.name in wrong:
                plan += _make(trigger, wrong[trigger.name], facts.flavour)
    plan += [
        _drop(each.name, f"{each.table} is not followed any more")
        for each in facts.own_triggers
        if each.name not in wanted and (settings.mode != "binlog" or each.definer)
    ]
    return plan


def _grants(facts: Facts, settings: SourceSettings, see_truncate: bool) -> Iterator[Statement]:
    if facts.account is None:
        return
    for sql, purpose in missing_grants(facts, settings, facts.account):
        yield Statement(sql, purpose)
    if see_truncate and not (facts.grants is not None and facts.grants.allows("PROCESS")):
        yield Statement(f"GRANT PROCESS ON *.* TO {facts.account}", "to see TRUNCATE")


def _make(trigger: Trigger, wrong: str, flavour: str) -> Iterator[Statement]:
    purpose = f"note {trigger.event} of {trigger.table}"
    if wrong == "missing":
        yield Statement(trigger.create_sql, purpose, compound=True)
    elif flavour == "mariadb":
        replace = trigger.create_sql.replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER", 1)
        yield Statement(replace, f"{purpose}; it was {wrong}", compound=True)
    else:
        yield Statement(f"LOCK TABLES {quote_name(trigger.table)} WRITE", "no write between the old one and the new")
        yield _drop(trigger.name, f"it was {wrong}")
        yield Statement(trigger.create_sql, purpose, compound=True)
        yield Statement("UNLOCK TABLES", "writes go on")


def _drop(name: str, purpose: str) -> Statement:
    return Statement(f"DROP TRIGGER IF EXISTS {quote_name(name)}", purpose)


def plan_removal(facts: Facts, settings: SourceSettings, used_elsewhere: Mapping[str, int]) -> list[Statement]:
    """Everything of ours that is there. ``used_elsewhere``: by function, how many other triggers call it.

    Raises SourceFault when what is called the outbox is none.
    """
    plan = [_drop(each.name, f"of {each.table}") for each in facts.own_triggers]
    if facts.outbox is not None:
        problem = outbox_problem(facts.outbox)
        if problem is not None:
            raise SourceFault(
                f"{settings.outbox} is not dropped: {problem}",
                f"if it is not needed, run there: DROP TABLE {quote_name(settings.outbox)}",
            )
        plan.append(Statement(f"DROP TABLE {quote_name(settings.outbox)}", "the outbox"))
    plan += [
        Statement(f"DROP FUNCTION {name}", "nothing calls it any more")
        for name in facts.functions or ()
        if not used_elsewhere.get(name)
    ]
    return plan


def remaining_grants(facts: Facts) -> list[str]:
    """Statements that take the follower's rights away; they are for a person to run."""
    if facts.account is None:
        return []
    return [f"DROP USER {facts.account}"]


def count_calls(bodies: Sequence[tuple[str, str]], own: Iterable[str]) -> dict[str, int]:
    """How many triggers (name, body) other than ``own`` call each of our functions."""
    own = set(own)
    return {
        function: sum(name not in own and f"{function}(" in body.lower() for name, body in bodies)
        for function in FUNCTIONS
    }


def script_of(plan: Iterable[Statement], database: str, lock_wait_s: int) -> str:
    """The statements as a text for the mysql and mariadb clients; "" for none."""
    statements = list(plan)
    if not statements:
        return ""
    lines = [f"{sql};" for sql in session_of(lock_wait_s)]
    lines.append(f"USE {quote_name(database)};")
    for statement in statements:
        lines.append(f"-- {statement.purpose}")
        if statement.compound:
            lines += [f"DELIMITER {_DELIMITER}", f"{statement.sql}{_DELIMITER}", "DELIMITER ;"]
        else:
            lines.append(f"{statement.sql};")
    return "\n".join(lines) + "\n"


def session_of(lock_wait_s: int) -> tuple[str, ...]:
    """What the session says first. CREATE TRIGGER waits for open writers, and others wait behind it meanwhile."""
    return (*SESSION, f"SET SESSION lock_wait_timeout = {lock_wait_s}")
