"""Schema changes as functions from schema to schema, with every refusal.

A change of columns gives the next layout number and extends ``history``: for each older layout, where each of
today's columns comes from. An index loses the columns that are dropped, as in MySQL, and goes with its last one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tcsql.engine.change import (
    AddColumn,
    AllowIndex,
    CreateIndex,
    CreateTable,
    DropColumn,
    DropIndex,
    DropTable,
    IndexChange,
    RenameColumn,
    RenameIndex,
    RenameTable,
    SchemaBatch,
    SchemaChange,
    Truncate,
)
from tcsql.engine.indexdefs import allow_index, check_index, create_index, drop_index, rename_index
from tcsql.engine.schema import NAME, Column, TableSchema, no_table, now_text
from tcsql.engine.values import JsonValue, Kind
from tcsql.errors import InvalidValue, SchemaConflict

AlterChange = AddColumn | DropColumn | RenameColumn | IndexChange


def schema_part(change: SchemaChange, staged: dict[int, TableSchema], fresh: int, now: datetime) -> SchemaBatch | None:
    """One schema change against the schemas as the request has made them so far; None when nothing is to do."""
    ids = {schema.name: table_id for table_id, schema in staged.items()}
    if isinstance(change, CreateTable):
        if change.schema.name in ids:
            if change.if_not_exists:
                return None
            raise SchemaConflict(f'there is a table "{change.schema.name}" already')
        validate(change.schema)
        return SchemaBatch(fresh, None, change.schema)
    if change.table not in ids:
        if isinstance(change, DropTable) and change.if_exists:
            return None
        raise no_table(change.table, ids)
    table_id = ids[change.table]
    schema = staged[table_id]
    match change:
        case DropTable():
            return SchemaBatch(table_id, schema, None, removes_rows=True)
        case Truncate():
            return SchemaBatch(table_id, schema, schema, removes_rows=True)
        case RenameTable():
            if change.to in ids:
                raise SchemaConflict(f'there is a table "{change.to}" already')
            after = schema.with_(name=change.to)
            validate(after)
        case _:
            after = altered(schema, change, now)
    return None if after is schema else SchemaBatch(table_id, schema, after)


def first_key(part: SchemaBatch) -> int:
    """AUTO_INCREMENT of a new table as declared; TRUNCATE begins again with 1, as in MySQL."""
    return 1 if part.before is not None or part.after is None else part.after.auto_increment


def validate(schema: TableSchema) -> None:
    """Refuse a schema that no table could have; the SQL parser checks more and with positions."""
    for name in (schema.name, *schema.names):
        _check_name(name)
    folded = [name.lower() for name in schema.names]
    doubled = next((name for name in schema.names if folded.count(name.lower()) > 1), None)
    if doubled is not None:
        raise SchemaConflict(f'column "{doubled}" stands twice')
    if not schema.primary_key:
        raise InvalidValue(f"table {schema.name} has no primary key", "add PRIMARY KEY (…)")
    for name in schema.primary_key:
        schema.column(name)
    for index in schema.indexes:
        check_index(schema, index)
    names = [index.name for index in schema.indexes]
    if len(names) != len(set(names)):
        raise SchemaConflict(f"two indexes of table {schema.name} have the same name")


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidValue(f'"{name[:80]}" cannot be a name', "letters, digits and _, 64 at most, no digit first")


def altered(schema: TableSchema, change: AlterChange, now: datetime) -> TableSchema:
    """The schema after the change; the same object when IF [NOT] EXISTS makes it nothing."""
    match change:
        case AddColumn():
            return _add_column(schema, change, now)
        case DropColumn():
            return _drop_column(schema, change)
        case RenameColumn():
            return _rename_column(schema, change)
        case CreateIndex():
            return create_index(schema, change, now)
        case DropIndex():
            return drop_index(schema, change)
        case RenameIndex():
            return rename_index(schema, change)
        case AllowIndex():
            return allow_index(schema, change)


def _relaid(schema: TableSchema, columns: tuple[Column, ...], sources: dict[str, str | None]) -> TableSchema:
    """The next layout; ``sources``: the present name of each new column, None for one that begins with its default."""
    step = tuple((sources[column.name], column.name) for column in columns)
    history = {
        layout: tuple((origins[source] if source is not None else None, name) for source, name in step)
        for layout, moves in schema.history.items()
        for origins in [{name: origin for origin, name in moves}]
    }
    history[schema.layout] = step
    return schema.with_(columns=columns, layout=schema.layout + 1, history=history)


def _add_column(schema: TableSchema, change: AddColumn, now: datetime) -> TableSchema:
    column = change.column
    _check_name(column.name)
    if any(column.name.lower() == name.lower() for name in schema.names):
        if change.if_not_exists:
            return schema
        raise SchemaConflict(f'table {schema.name} has a column "{column.name}" already')
    if column.auto_increment:
        raise InvalidValue("an AUTO_INCREMENT column cannot be added", "it would have to be the primary key")
    columns = list(schema.columns)
    if change.after is None:
        columns.append(column)
    else:
        place = 0 if change.after == "" else columns.index(schema.column(change.after)) + 1
        columns.insert(place, column)
    sources: dict[str, str | None] = {name: name for name in schema.names}
    relaid = _relaid(schema, tuple(columns), {**sources, column.name: None})
    return relaid.with_(fills={**schema.fills, column.name: fill_of(column, now)})


def fill_of(column: Column, now: datetime) -> JsonValue:
    """What existing rows hold in a new column: its DEFAULT, else NULL, else MySQL's implicit default."""
    if column.default_now:
        return now_text(column, now)
    return column.default if column.nullable or column.default is not None else implicit_default(column)


def implicit_default(column: Column) -> JsonValue:
    """What MySQL puts into existing rows when a NOT NULL column without a DEFAULT is added."""
    kind = column.type
    fraction = "." + "0" * kind.scale if kind.scale else ""
    match kind.kind:
        case Kind.INTEGER | Kind.FLOAT:
            return 0
        case Kind.DECIMAL:
            return "0" + fraction
        case Kind.DATE:
            return "0000-00-00"
        case Kind.DATETIME:
            return "0000-00-00 00:00:00" + fraction
        case Kind.TIME:
            return "00:00:00" + fraction
        case Kind.ENUM:
            return kind.members[0]
        case Kind.JSON:
            return "null"
        case _:
            return ""


def _drop_column(schema: TableSchema, change: DropColumn) -> TableSchema:
    if change.if_exists and change.column.lower() not in {name.lower() for name in schema.names}:
        return schema
    name = schema.column(change.column).name
    if name in schema.primary_key:
        raise SchemaConflict(f'column "{name}" belongs to the primary key', "make a new table with another key")
    columns = tuple(column for column in schema.columns if column.name != name)
    shrunk = (
        replace(index, columns=tuple(each for each in index.columns if each != name))
        for index in schema.indexes
        if not (index.automatic and name in index.columns)  # made for queries that asked for all its columns
    )
    relaid = _relaid(schema, columns, {column.name: column.name for column in columns})
    return relaid.with_(
        indexes=tuple(index for index in shrunk if index.columns),
        forbidden=tuple(index for index in schema.forbidden if name not in index.columns),
    )


def _rename_column(schema: TableSchema, change: RenameColumn) -> TableSchema:
    old = schema.column(change.column).name
    _check_name(change.to)
    if any(change.to.lower() == name.lower() for name in schema.names if name != old):
        raise SchemaConflict(f'table {schema.name} has a column "{change.to}" already')
    if change.to == old:
        return schema
    names = {old: change.to}
    columns = tuple(replace(column, name=names.get(column.name, column.name)) for column in schema.columns)
    back: dict[str, str | None] = {names.get(name, name): name for name in schema.names}
    return _relaid(schema, columns, back).with_(
        fills={names.get(name, name): value for name, value in schema.fills.items()},
        primary_key=tuple(names.get(name, name) for name in schema.primary_key),
        indexes=tuple(index.renamed(names) for index in schema.indexes),
        forbidden=tuple(index.renamed(names) for index in schema.forbidden),
    )
