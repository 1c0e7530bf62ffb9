"""What a server says of its tables, as frozen values: columns, key, engine, foreign keys, partitions, triggers.

Everything is asked through a ``Query``, so no driver is known here. Statements are the same for MariaDB and MySQL;
the one difference (where InnoDB keeps its table ids) is asked for by the flavour. The session must have no
ANSI_QUOTES in its sql_mode: ``SHOW CREATE TABLE`` is read with backquotes.

Cost: about eight short statements for each table, and one for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

from tcsql.engine.change import CreateTable
from tcsql.engine.schema import NAME, TableSchema
from tcsql.errors import CallerError, SourceFault, did_you_mean
from tcsql.literals import quote_name
from tcsql.replication.grants import Query
from tcsql.sql import changes_of

_DIGEST_LETTERS: Final = 32
#: LEFT instead of LIKE: names are full of _, which LIKE takes for any character.
_TABLE_IDS_MARIADB: Final = "SELECT NAME, TABLE_ID FROM information_schema.INNODB_SYS_TABLES WHERE LEFT(NAME, %s) = %s"
_TABLE_IDS_MYSQL: Final = "SELECT NAME, TABLE_ID FROM information_schema.INNODB_TABLES WHERE LEFT(NAME, %s) = %s"


@dataclass(frozen=True, slots=True)
class CatalogueColumn:
    """One column as information_schema has it; names of types, charsets and collations in lower case.

    ``length``: most characters of a text type, most bytes of a binary one, else None. ``extra`` tells auto_increment
    and generated columns. ``is_json``: MariaDB keeps JSON as a longtext that a check holds to be JSON.
    ``key_position``: place in the primary key, 1 the first, 0 not of it. ``key_prefix``: only so many characters of
    it are in the key, 0 all.
    """

    name: str
    data_type: str
    column_type: str
    charset: str
    collation: str
    nullable: bool
    default: str | None
    extra: str
    length: int | None
    is_json: bool
    key_position: int
    key_prefix: int = 0

    @property
    def is_generated(self) -> bool:
        """Computed by the server from other columns."""
        return "generated" in self.extra


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key where the table is the child. The rules: CASCADE, SET NULL, SET DEFAULT, RESTRICT, NO ACTION."""

    name: str
    columns: tuple[str, ...]
    parent_database: str
    parent: str
    on_update: str
    on_delete: str

    @property
    def acts(self) -> bool:
        """Whether a change of the parent changes rows here, without a trigger of ours being told."""
        return any(rule in ("CASCADE", "SET NULL", "SET DEFAULT") for rule in (self.on_update, self.on_delete))


@dataclass(frozen=True, slots=True)
class CatalogueTrigger:
    """A trigger. ``event``: INSERT, UPDATE, DELETE; ``timing``: BEFORE, AFTER; ``digest``: of its body's text.

    ``created``: when, as Unix time; "" where the server does not note it.
    """

    name: str
    event: str
    timing: str
    digest: str
    definer: str = ""
    created: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class CatalogueTable:
    """One table. ``kind``: BASE TABLE, VIEW, SEQUENCE, SYSTEM VERSIONED; ``rows`` and ``bytes`` are estimates.

    ``incarnation``: InnoDB's id of the table; another one after TRUNCATE, a swap, or a rebuild; "" when the account
    may not see it (PROCESS). ``triggers``: only those that the account may see (TRIGGER).
    """

    database: str
    name: str
    kind: str
    engine: str
    columns: tuple[CatalogueColumn, ...]
    primary_key: tuple[str, ...]
    create_sql: str
    rows: int
    bytes: int
    foreign_keys: tuple[ForeignKey, ...] = ()
    partitions: tuple[str, ...] = ()
    triggers: tuple[CatalogueTrigger, ...] = ()
    incarnation: str = ""

    @property
    def key_columns(self) -> tuple[CatalogueColumn, ...]:
        """The columns of the primary key, in its order."""
        return tuple(sorted((each for each in self.columns if each.key_position), key=lambda each: each.key_position))

    def column(self, name: str) -> CatalogueColumn | None:
        """The column of that name, whatever its case, as MySQL does."""
        return next((each for each in self.columns if each.name.lower() == name.lower()), None)


def body_digest(body: str) -> str:
    """What a trigger's body is compared by."""
    return sha256(body.encode()).hexdigest()[:_DIGEST_LETTERS]


def read_tables(
    query: Query, database: str, names: Iterable[str], flavour: str, sees_ids: bool
) -> dict[str, CatalogueTable | None]:
    """The tables of those names, in their order; None for one that is not there or may not be seen.

    ``flavour``: mariadb or mysql; ``sees_ids``: whether the account has PROCESS, without which the server refuses to
    show table ids.
    """
    found = {name: _read_table(query, database, name) for name in names}
    ids = read_incarnations(query, database, flavour) if sees_ids else {}
    return {name: table and replace(table, incarnation=ids.get(name, "")) for name, table in found.items()}


def read_incarnations(query: Query, database: str, flavour: str) -> dict[str, str]:
    """InnoDB's ids of all tables of a database, by table; those of partitions joined. Needs PROCESS."""
    prefix = _file_name(database) + "/"
    rows = query(_TABLE_IDS_MARIADB if flavour == "mariadb" else _TABLE_IDS_MYSQL, (len(prefix), prefix))
    ids: dict[str, list[int]] = {}
    for name, number in rows:
        table = re.split("#[Pp]#", as_text(name)[len(prefix) :])[0]
        ids.setdefault(table, []).append(int(number))
    return {table: "-".join(map(str, sorted(numbers))) for table, numbers in ids.items()}


def _file_name(name: str) -> str:
    """A name as InnoDB writes it: what is no letter, digit or _ becomes @ and four hexadecimal digits."""
    return re.sub(r"[^A-Za-z0-9_]", lambda match: f"@{ord(match[0]):04x}", name)


def _read_table(query: Query, database: str, name: str) -> CatalogueTable | None:
    where = (database, name)
    facts = list(
        query(
            "SELECT TABLE_TYPE, ENGINE, TABLE_ROWS, DATA_LENGTH, TABLE_SCHEMA, TABLE_NAME"
            " FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
            where,
        )
    )
    if not facts:
        return None
    kind, engine, rows, size, *spelled = facts[0]
    if (spelled := [as_text(each) for each in spelled]) != [database, name]:
        raise SourceFault(
            f"the source calls {database}.{name} {'.'.join(spelled)} (lower_case_table_names), in its log, too",
            f'write tables = ["{spelled[1]}"], and /{spelled[0]} in the url',
        )
    created = list(query(f"SHOW CREATE TABLE {quote_name(database)}.{quote_name(name)}"))
    create_sql = as_text(created[0][1])
    key = _read_primary_key(query, where)
    columns = _read_columns(query, where, key, create_sql)
    return CatalogueTable(
        database,
        name,
        as_text(kind),
        as_text(engine),
        columns,
        tuple(key),
        create_sql,
        int(rows or 0),
        int(size or 0),
        foreign_keys_of(create_sql, database),
        _read_partitions(query, where),
        read_triggers(query, database, name),
    )


def _read_primary_key(query: Query, where: tuple[str, str]) -> dict[str, int]:
    """The columns of the primary key in order, each with the length of its prefix, 0 all of it."""
    rows = query(
        "SELECT COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX",
        where,
    )
    return {as_text(name): int(prefix or 0) for name, prefix in rows}


def _read_columns(
    query: Query, where: tuple[str, str], key: dict[str, int], create_sql: str
) -> tuple[CatalogueColumn, ...]:
    rows = query(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, IS_NULLABLE, COLUMN_DEFAULT,"
        " EXTRA, CHARACTER_MAXIMUM_LENGTH FROM information_schema.COLUMNS"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
        where,
    )
    positions = {name: position for position, name in enumerate(key, 1)}
    columns = []
    for its_name, its_type, column_type, charset, collation, nullable, default, extra, length in rows:
        name, data_type = as_text(its_name), as_text(its_type).lower()
        is_json = data_type == "json" or (data_type == "longtext" and f"json_valid({quote_name(name)})" in create_sql)
        columns.append(
            CatalogueColumn(
                name,
                data_type,
                as_text(column_type),
                as_text(charset).lower(),
                as_text(collation).lower(),
                nullable == "YES",
                None if default is None else as_text(default),
                as_text(extra).lower(),
                None if length is None else int(length),
                is_json,
                positions.get(name, 0),
                key.get(name, 0),
            )
        )
    return tuple(columns)


_NAME: Final = r"`((?:[^`]|``)+)`"
#: A foreign key as SHOW CREATE TABLE writes it, on a line of its own; rules that do nothing are left out there.
_FOREIGN_KEY: Final = re.compile(
    rf"^\s+CONSTRAINT {_NAME} FOREIGN KEY \(([^)]*)\) REFERENCES (?:{_NAME}\.)?{_NAME} \([^)]*\)([A-Z ]*)",
    re.MULTILINE,
)
_RULE: Final = r"ON {} (CASCADE|SET NULL|SET DEFAULT|RESTRICT|NO ACTION)"


def foreign_keys_of(create_sql: str, database: str) -> tuple[ForeignKey, ...]:
    """The foreign keys of a table, from SHOW CREATE TABLE: information_schema hides their rules from plain readers."""
    found = []
    for name, columns, parent_database, parent, rules in _FOREIGN_KEY.findall(create_sql):
        update, delete = (re.search(_RULE.format(event), rules) for event in ("UPDATE", "DELETE"))
        found.append(
            ForeignKey(
                _unquoted(name),
                tuple(map(_unquoted, re.findall(_NAME, columns))),
                _unquoted(parent_database) or database,
                _unquoted(parent),
                update[1] if update else "RESTRICT",
                delete[1] if delete else "RESTRICT",
            )
        )
    return tuple(found)


def _unquoted(name: str) -> str:
    return name.replace("``", "`")


def _read_partitions(query: Query, where: tuple[str, str]) -> tuple[str, ...]:
    rows = query(
        "SELECT PARTITION_NAME FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
        " AND PARTITION_NAME IS NOT NULL ORDER BY PARTITION_ORDINAL_POSITION",
        where,
    )
    return tuple(as_text(row[0]) for row in rows)


def read_triggers(query: Query, database: str, table: str) -> tuple[CatalogueTrigger, ...]:
    """The triggers of a table that the account may see (it needs TRIGGER on it); one statement."""
    rows = query(
        "SELECT TRIGGER_NAME, EVENT_MANIPULATION, ACTION_TIMING, ACTION_STATEMENT, DEFINER, UNIX_TIMESTAMP(CREATED)"
        " FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = %s AND EVENT_OBJECT_TABLE = %s"
        " ORDER BY TRIGGER_NAME",
        (database, table),
    )
    return tuple(
        CatalogueTrigger(
            as_text(name), as_text(event), as_text(timing), body_digest(as_text(body)), as_text(definer), as_text(made)
        )
        for name, event, timing, body, definer, made in rows
    )


def as_text(value: Any) -> str:
    """A text of information_schema, which some servers send as bytes; NULL is ""."""
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def chosen_columns(table: CatalogueTable, columns: Sequence[str]) -> tuple[CatalogueColumn, ...]:
    """The columns to keep, in the table's own order; none named: all. Raises SourceFault for one that is not there."""
    if not columns:
        return table.columns
    wanted = {name.lower() for name in columns}
    for name in columns:
        if table.column(name) is None:
            known = [column.name for column in table.columns]
            raise SourceFault(f'table {table.name} has no column "{name}" at the source', did_you_mean(name, known))
    missing = [name for name in table.primary_key if name.lower() not in wanted]
    if missing:
        raise SourceFault(
            f"the columns of {table.name} lack {', '.join(missing)} of its primary key",
            f"add {', '.join(missing)} to columns",
        )
    return tuple(column for column in table.columns if column.name.lower() in wanted)


def schema_of(table: CatalogueTable, columns: Sequence[str] = ()) -> TableSchema:
    """The table as TCSQL keeps it: the columns chosen, and the indexes over nothing but them.

    Raises SourceFault for a table that cannot be kept (no primary key, a column that is not there).
    """
    kept = {column.name for column in chosen_columns(table, columns)}
    unknown = [column.name for column in table.columns if column.name not in kept and not NAME.fullmatch(column.name)]
    try:
        [change] = changes_of(_without(table.create_sql, unknown), lambda name: None)
    except CallerError as error:
        raise SourceFault(f"table {table.name} cannot be kept here: {error.message}", error.hint) from error
    if not isinstance(change, CreateTable):
        raise SourceFault(f"{table.name} is no table", "views and sequences have no rows of their own to follow")
    schema = change.schema
    lost = kept.difference(schema.names)
    if lost:  # computed from a column that was left out for its name
        raise SourceFault(f"columns of {table.name} cannot be read: {', '.join(sorted(lost))}", "leave them out, too")
    return schema.with_(
        name=table.name,
        columns=tuple(column for column in schema.columns if column.name in kept),
        indexes=tuple(index for index in schema.indexes if kept.issuperset(index.columns)),
        auto_increment=1,
        notes=tuple(note for note in schema.notes if not note.startswith("FOREIGN KEY")),
    )


def _without(create_sql: str, names: Sequence[str]) -> str:
    """A table's text without columns whose names cannot be columns here, and without the keys over them.

    SHOW CREATE TABLE gives each definition a line of its own.
    """
    if not names:
        return create_sql
    head, *lines = create_sql.split("\n")
    end = next(place for place, line in enumerate(lines) if line.startswith(")"))
    kept = [line.rstrip(",") for line in lines[:end] if not any(quote_name(name) in line for name in names)]
    return "\n".join([head, ",\n".join(kept), *lines[end:]])


def definition_of(table: CatalogueTable, columns: Sequence[str] = (), where: str = "", zone: str = "") -> str:
    """A digest of all that decides which values arrive: another digest is another table, to be copied afresh.

    Columns that are not kept do not count. ``zone`` counts for tables with a TIMESTAMP column.
    """
    kept = chosen_columns(table, columns)
    parts: list[object] = [table.name, table.primary_key, where]
    parts += [
        (column.name, column.column_type, column.charset, column.collation, column.is_json, column.nullable)
        for column in kept
    ]
    if any(column.data_type == "timestamp" for column in kept):
        parts.append(zone)
    return sha256(repr(parts).encode()).hexdigest()[:_DIGEST_LETTERS]
