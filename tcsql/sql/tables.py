"""From the parts of a CREATE TABLE to a TableSchema: columns, primary key, indexes and their names.

Index names follow MySQL: a key without a name takes its first column's, then ``_2``, ``_3`` …
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Final

from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import ColumnType, JsonValue, Kind
from tcsql.errors import InvalidValue
from tcsql.sql import tree
from tcsql.sql.notes import NOT_ENFORCED, descending_note, part_note, prefix_note
from tcsql.sql.tokens import Source
from tcsql.sql.types import column_type

#: MySQL's own limits.
MAX_COLUMNS: Final = 4_096
MAX_INDEXES: Final = 64
MAX_KEY_PARTS: Final = 16

_MOMENT_KINDS: Final = {
    "timestamp": (Kind.DATE, Kind.DATETIME, Kind.TIME),
    "date": (Kind.DATE,),
    "time": (Kind.TIME,),
}
_ZERO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?: [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?)?")
_NO_KEY_HINT: Final = (
    "add PRIMARY KEY (column) over columns that name a row, "
    "or a column `id` bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY"
)


def bind_table(body: tree.CreateTable, source: Source) -> TableSchema:
    """The schema of a CREATE TABLE. Raises SqlSyntax with line and column."""
    columns = _columns(body, source)
    by_name = {column.name.lower(): column for column in columns}
    primary_key, key_notes = _primary_key(body, by_name, source)
    settled = tuple(replace(column, nullable=False) if column.name in primary_key else column for column in columns)
    for column in settled:
        if column.name in primary_key and column.type.kind is Kind.JSON:
            raise source.error(body.name.at, f"column {column.name} is JSON and cannot be part of the primary key")
    notes = [*body.notes, *key_notes, *_column_notes(body, settled, primary_key)]
    schema = TableSchema(body.name.text, settled, primary_key, notes=tuple(notes), auto_increment=body.auto_increment)
    inline = [_inline_unique(spec) for spec in body.columns if spec.unique]
    for key in (*inline, *(key for key in body.keys if key.kind != "primary")):
        schema = schema.with_(indexes=(*schema.indexes, *bind_index(key, schema, source)))
        if len(schema.indexes) > MAX_INDEXES:
            raise source.error(key.at, f"a table has at most {MAX_INDEXES} indexes")
    return schema


def _inline_unique(spec: tree.ColumnSpec) -> tree.KeySpec:
    return tree.KeySpec("unique", spec.name.at, None, (tree.KeyPart(spec.name.at, spec.name),))


def _columns(body: tree.CreateTable, source: Source) -> list[Column]:
    columns: list[Column] = []
    seen: set[str] = set()
    automatic: str | None = None
    for spec in body.columns:
        column = bind_column(spec, source)
        if column.name.lower() in seen:
            raise source.error(spec.name.at, f"column {column.name} is there twice")
        if column.auto_increment and automatic is not None:
            raise source.error(spec.name.at, f"column {automatic} is AUTO_INCREMENT already, there can be only one")
        if len(columns) >= MAX_COLUMNS:
            raise source.error(spec.name.at, f"a table has at most {MAX_COLUMNS} columns")
        seen.add(column.name.lower())
        automatic = column.name if column.auto_increment else automatic
        columns.append(column)
    if not columns:
        raise source.error(body.name.at, f"table {body.name.text} has no columns")
    return columns


def _primary_key(
    body: tree.CreateTable, by_name: dict[str, Column], source: Source
) -> tuple[tuple[str, ...], list[str]]:
    inline = [spec.name for spec in body.columns if spec.primary]
    clauses = [key for key in body.keys if key.kind == "primary"]
    if len(inline) + len(clauses) > 1:
        at = clauses[-1].at if clauses else inline[-1].at
        raise source.error(at, "a table has one primary key", "name its columns together: PRIMARY KEY (a, b)")
    if inline:
        return (inline[0].text,), []
    if not clauses:
        unique = [key for key in body.keys if key.kind == "unique"]
        hint = _NO_KEY_HINT
        if unique:
            candidate = ", ".join(part.column.text for part in unique[0].parts if part.column)
            hint = f"its UNIQUE key could be the one: write PRIMARY KEY ({candidate})"
        raise source.error(body.name.at, f"table {body.name.text} has no primary key", hint)
    names, notes = _key_columns(clauses[0], by_name, source)
    return names, [f"PRIMARY KEY: {note}" for note in notes]


def _key_columns(key: tree.KeySpec, by_name: dict[str, Column], source: Source) -> tuple[tuple[str, ...], list[str]]:
    """The columns of a key under their declared names, and notes about what is ignored."""
    names: list[str] = []
    notes: list[str] = []
    for part in key.parts:
        assert part.column is not None  # keys over expressions do not come this far
        found = by_name.get(part.column.text.lower())
        if found is None:
            raise source.error(part.at, f'the key names column "{part.column.text}", which the table does not have')
        if found.name in names:
            raise source.error(part.at, f"column {found.name} is twice in this key")
        names.append(found.name)
        if part.length is not None:
            notes.append(prefix_note(found.name, part.length))
        if part.descending:
            notes.append(descending_note(found.name))
    if len(names) > MAX_KEY_PARTS:
        raise source.error(key.at, f"a key has at most {MAX_KEY_PARTS} columns")
    return tuple(names), notes


def bind_index(key: tree.KeySpec, schema: TableSchema, source: Source) -> list[IndexDef]:
    """The index a key asks for; a FULLTEXT key over several columns becomes one for each. Raises SqlSyntax."""
    by_name = {column.name.lower(): column for column in schema.columns}
    columns, notes = _key_columns(key, by_name, source)
    name = _index_name(key, columns, schema, source)
    if key.kind != "fulltext":
        unique = key.kind == "unique"
        return [IndexDef(name, columns, unique=unique, notes=(*notes, *([NOT_ENFORCED] if unique else [])))]
    for column in columns:
        if schema.by_name[column].type.kind not in (Kind.TEXT, Kind.JSON):  # MariaDB's JSON is a longtext
            raise source.error(key.at, f"FULLTEXT needs text columns, and {column} is not one")
    if len(columns) == 1:
        return [IndexDef(name, columns, fulltext=True)]
    note = part_note(name, columns)
    names = [name, *(_free_name(f"{name}_{column}"[:60], schema) for column in columns[1:])]
    return [
        IndexDef(part, (column,), fulltext=True, notes=(note,)) for part, column in zip(names, columns, strict=True)
    ]


def _index_name(key: tree.KeySpec, columns: tuple[str, ...], schema: TableSchema, source: Source) -> str:
    if key.name is None:
        return _free_name(columns[0], schema)
    name = key.name.text
    if name.upper() == "PRIMARY":
        raise source.error(key.name.at, "only the primary key is called PRIMARY")
    taken = any(
        index.name.lower() == name.lower() and not (index.automatic and index.columns == columns)
        for index in schema.indexes
    )
    if taken and not key.if_not_exists:
        raise source.error(key.name.at, f"index {name} is there twice")
    return name


def _free_name(wanted: str, schema: TableSchema) -> str:
    taken = {index.name.lower() for index in schema.indexes}
    number = 1
    name = wanted
    while name.lower() in taken:
        number += 1
        name = f"{wanted[:60]}_{number}"
    return name


def bind_column(spec: tree.ColumnSpec, source: Source) -> Column:
    """A column with its type and default. Raises SqlSyntax with line and column."""
    kind = column_type(spec.type, source)
    if spec.auto_increment and kind.kind is not Kind.INTEGER:
        raise source.error(spec.name.at, "AUTO_INCREMENT needs an integer column")
    literal = _literal_default(spec, kind, source)
    now = _asks_for_now(spec.default, kind)
    return Column(
        spec.name.text,
        kind,
        nullable=spec.nullable,
        default=literal,
        has_default=literal is not None or now,
        default_now=now,
        auto_increment=spec.auto_increment,
        generated=spec.generated,
        declared=spec.declared,
    )


def _literal_default(spec: tree.ColumnSpec, kind: ColumnType, source: Source) -> JsonValue:
    default = spec.default
    if default is None or default.value is None:
        return None
    try:
        return _stored_default(default.value, kind)
    except (InvalidValue, ValueError, InvalidOperation) as error:
        why = error.message if isinstance(error, InvalidValue) else f"{default.value!r} is not its kind of value"
        raise source.error(default.at, f"the DEFAULT of column {spec.name.text}: {why}") from None


def _stored_default(value: int | str | bytes, kind: ColumnType) -> JsonValue:
    if isinstance(value, bytes):
        if kind.is_numeric:
            return kind.from_client(int.from_bytes(value, "big"))
        return kind.from_mysql(_padded(value, kind))
    if kind.kind is Kind.BINARY:
        return kind.from_mysql(_padded(str(value).encode(), kind))
    if kind.kind in (Kind.DATE, Kind.DATETIME):
        text = "0000-00-00 00:00:00" if value == 0 else str(value)
        if _ZERO_DATE.fullmatch(text) and (text.startswith("0000") or "-00" in text):
            return _zero_date(kind, text)
        return kind.from_client(text)
    if kind.kind is Kind.INTEGER and isinstance(value, str):
        return kind.from_client(Decimal(value))  # '1.0' and 1e1 are whole numbers, too
    if kind.kind is Kind.TIME and value == 0:
        return "00:00:00" + ("." + "0" * kind.scale if kind.scale else "")
    return kind.from_client(str(value) if kind.kind in (Kind.ENUM, Kind.SET, Kind.JSON) else value)


def _zero_date(kind: ColumnType, text: str) -> str:
    """A date that is none in the calendar and that MySQL keeps all the same."""
    day, _, clock = text.partition(" ")
    if kind.kind is Kind.DATE:
        return day
    clock, _, digits = (clock or "00:00:00").partition(".")
    return f"{day} {clock}" + (f".{digits[: kind.scale].ljust(kind.scale, '0')}" if kind.scale else "")


def _padded(value: bytes, kind: ColumnType) -> bytes:
    """MySQL pads BINARY(n) with zero bytes."""
    return value.ljust(kind.length or 0, b"\0") if kind.name == "binary" else value


def _asks_for_now(default: tree.Default | None, kind: ColumnType) -> bool:
    """Whether a DEFAULT is the present moment as the column holds it: CURDATE() for a DATE, not for a DATETIME."""
    if default is None or default.moment is None:
        return False
    return kind.kind in _MOMENT_KINDS[default.moment]


def _column_notes(body: tree.CreateTable, columns: tuple[Column, ...], primary_key: tuple[str, ...]) -> list[str]:
    notes = []
    for spec, column in zip(body.columns, columns, strict=True):
        if column.generated:
            notes.append(f"column {column.name} is generated by MySQL: its values are kept as they come")
        if spec.default is not None and spec.default.expression is not None and not column.default_now:
            notes.append(f"DEFAULT of column {column.name} is evaluated by MySQL only: {spec.default.expression}")
        if column.name.lower() == "pkey" and primary_key != (column.name,):
            notes.append("column pkey is hidden in queries by the name of the primary key")
    return notes
