"""What is set up at the source, as SQL: the outbox table, three triggers for each table, the functions they call.

A trigger knows the key's columns and nothing else of its table, so that columns may be added, dropped and renamed
without the application's writes failing. It notes the table's name as it was when it was set up.

    INSERT  the new key
    UPDATE  the new key, and the old one when its bytes differ ('a' to 'A' is such a change, equal as they may be there)
    DELETE  the old key

Names are a digest of outbox and table: the same each time, and two followers of one server do not meet. What a trigger
should say is compared with what information_schema shows by a digest of the body, to the letter. Triggers are made
with an empty sql_mode, which MySQL keeps with them: whatever the writer's mode, a note never makes a write fail.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from tcsql.literals import quote_name, quote_string
from tcsql.replication.catalogue import CatalogueColumn, CatalogueTable, CatalogueTrigger, body_digest
from tcsql.replication.keytext import MOST_CHARACTERS, differs_expression, key_expression

#: The library with the functions, as its Makefile names it: another version is another file.
LIBRARY: Final = "tcsql_udf_1.0.so"
#: What its functions return, for CREATE FUNCTION.
FUNCTIONS: Final = {"tcsql_push": "INTEGER", "tcsql_doorbell": "INTEGER"}
#: All names of triggers of ours begin so.
PREFIX: Final = "tcsql_"
#: Whoever makes or drops triggers says so first: text is UTF-8, and the mode is kept with the trigger.
SESSION: Final = ("SET NAMES utf8mb4", "SET SESSION sql_mode = ''")

_EVENTS: Final = (("INSERT", "ins", "I"), ("UPDATE", "upd", "U"), ("DELETE", "del", "D"))
_NAME_DIGITS: Final = 12
#: The table that a trigger's body notes.
_NOTED: Final = re.compile(r"(?: VALUES |DO tcsql_push)\('([A-Za-z0-9_]+)',")
#: name, type, charset, collation, extra of each column of an outbox; integers without their display width.
_OUTBOX_COLUMNS: Final = (
    ("seq", "bigint unsigned", "", "", "auto_increment"),
    ("tab", "varchar(64)", "ascii", "ascii_bin", ""),
    ("op", "char(1)", "ascii", "ascii_bin", ""),
    ("pk", f"varchar({MOST_CHARACTERS})", "ascii", "ascii_bin", ""),
)


def outbox_sql(name: str) -> str:
    """CREATE TABLE of an outbox. Unqualified, as in the triggers: a database that is renamed keeps working."""
    return (
        f"CREATE TABLE {quote_name(name)} (seq BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,"
        f" tab VARCHAR(64) NOT NULL, op CHAR(1) NOT NULL, pk VARCHAR({MOST_CHARACTERS}) NOT NULL)"
        " ENGINE=InnoDB CHARACTER SET ascii COLLATE ascii_bin COMMENT='keys of changed rows, for TCSQL'"
    )


def outbox_problem(table: CatalogueTable | None) -> str | None:
    """Why a table is no outbox of ours, None when it is one."""
    if table is None:
        return "it is not there"
    if table.engine.lower() != "innodb":
        return f"its engine is {table.engine}, not InnoDB"
    found = tuple(
        (
            column.name,
            column.column_type.replace("bigint(20)", "bigint"),
            column.charset,
            column.collation,
            column.extra,
        )
        for column in table.columns
    )
    if found != _OUTBOX_COLUMNS or table.primary_key != ("seq",):
        return "its columns are others than ours"
    return None


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger as it should be."""

    name: str
    table: str
    event: str
    body: str

    @property
    def digest(self) -> str:
        return body_digest(self.body)

    @property
    def create_sql(self) -> str:
        """One statement; a client that ends statements at ; needs another delimiter for it."""
        return (
            f"CREATE TRIGGER {quote_name(self.name)} AFTER {self.event} ON {quote_name(self.table)}"
            f" FOR EACH ROW {self.body}"
        )


@dataclass(frozen=True, slots=True)
class Wiring:
    """How triggers tell of a key: into ``outbox``, by the ``push`` function; ``doorbell``: and ring.

    ``by_hand``: not at all; whatever triggers there are, they are the administrator's own.
    """

    outbox: str
    push: bool = False
    doorbell: bool = False
    by_hand: bool = False

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions that its triggers call."""
        if self.by_hand:
            return ()
        return ("tcsql_push",) * self.push + ("tcsql_doorbell",) * (self.doorbell and not self.push)


def triggers_of(table: str, columns: Sequence[CatalogueColumn], wiring: Wiring) -> tuple[Trigger, ...]:
    """The triggers of a table: three or none. ``columns``: its primary key; raises SourceFault when that has no text.

    >>> id_ = CatalogueColumn("id", "int", "int(11)", "", "", False, None, "", None, False, 1)
    >>> [insert, update, delete] = triggers_of("posts", [id_], Wiring("tcsql_outbox"))
    >>> insert.name, delete.body
    ('tcsql_2320516c2278_ins', "INSERT INTO `tcsql_outbox` (tab,op,pk) VALUES ('posts','D',CAST(OLD.`id` AS CHAR))")
    """
    if wiring.by_hand:
        return ()
    new, old = key_expression(columns, "NEW."), key_expression(columns, "OLD.")
    notes = {
        "INSERT": [_note(table, "I", new, wiring)],
        "UPDATE": [
            _note(table, "U", new, wiring),
            f"IF {differs_expression(columns)} THEN {_note(table, 'U', old, wiring)}; END IF",
        ],
        "DELETE": [_note(table, "D", old, wiring)],
    }
    found = []
    for event, suffix, _ in _EVENTS:
        parts = notes[event]
        if wiring.doorbell and not wiring.push:
            parts.append("DO tcsql_doorbell()")
        body = parts[0] if len(parts) == 1 else f"BEGIN {'; '.join(parts)}; END"
        found.append(Trigger(f"{trigger_stem(wiring.outbox, table)}_{suffix}", table, event, body))
    return tuple(found)


def _note(table: str, op: str, key: str, wiring: Wiring) -> str:
    if wiring.push:
        return f"DO tcsql_push({quote_string(table)},'{op}',{key})"
    values = f"{quote_string(table)},'{op}',{key}"
    return f"INSERT INTO {quote_name(wiring.outbox)} (tab,op,pk) VALUES ({values})"  # noqa: S608  # names are quoted  # nosec B608


def trigger_stem(outbox: str, table: str) -> str:
    """What the names of a table's three triggers begin with; at most 22 characters with the ending."""
    return PREFIX + sha256(f"{outbox}.{table}".encode()).hexdigest()[:_NAME_DIGITS]


def made_at(outbox: str, table: CatalogueTable) -> str:
    """When the triggers of a table were made: made anew they were away before, and changes with them."""
    stem = trigger_stem(outbox, table.name)
    return ",".join(sorted(trigger.created for trigger in table.triggers if trigger.name.startswith(stem)))


def is_own_trigger(outbox: str, name: str, body: str) -> bool:
    """Whether a trigger was set up for this outbox, whatever its table is called now: its name is made of both."""
    noted = _NOTED.search(body)
    stem, _, event = name.rpartition("_")
    return noted is not None and event in ("ins", "upd", "del") and stem == trigger_stem(outbox, noted[1])


def wrong_triggers(expected: Sequence[Trigger], present: Iterable[CatalogueTrigger]) -> dict[str, str]:
    """Names of triggers that are not as they should be, each with what is wrong: missing, changed or foreign."""
    found = {trigger.name: trigger for trigger in present}
    wrong = {}
    for trigger in expected:
        there = found.get(trigger.name)
        if there is None:
            wrong[trigger.name] = "missing"
        elif (there.event, there.timing, there.digest) != (trigger.event, "AFTER", trigger.digest):
            wrong[trigger.name] = "changed"
    return wrong


def trigger_problem(table: str, expected: Sequence[Trigger], present: Iterable[CatalogueTrigger]) -> str | None:
    """What the periodic check says of a table's triggers; None when all are as set up."""
    wrong = wrong_triggers(expected, present)
    if not wrong:
        return None
    if len(wrong) == len(expected) and set(wrong.values()) == {"missing"}:
        return f"the triggers of {table} are not there, or the account may not see them"
    shown = ", ".join(f"{name} is {how}" for name, how in wrong.items())
    return f"of the triggers of {table}, {shown}"


def function_sql(name: str) -> str:
    """CREATE FUNCTION of one of ours."""
    return f"CREATE FUNCTION {name} RETURNS {FUNCTIONS[name]} SONAME '{LIBRARY}'"
