"""The naive truth: tables as plain dicts of rows, changed one change at a time.

``Model`` takes the same values as the engine (``Query``, ``Change``, ``TableSchema``), so one value runs on both and
the answers must be equal. Refusals are the errors of ``tcsql.errors``; only their class counts. Every change works on
a copy of everything, so "nothing happened" after a refusal is true by construction.

Rows are given in stored form (what ``ColumnType.from_client`` returns): how client values become stored ones is
tested apart, in ``tests/engine/test_values.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tcsql.engine import change as ch
from tcsql.engine.query import Count, Filter, Group, Select
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import JsonValue, Kind
from tcsql.errors import InvalidValue, SchemaConflict, UnknownIndex, UnknownTable
from tests.model_queries import ModelPage, ModelTable, Position, Row, key_of, position

__all__ = ["Model", "ModelPage", "ModelTable", "Position", "Row", "key_of", "position"]


class Model:
    """A database; ``apply`` is all or nothing."""

    def __init__(self) -> None:
        self.tables: dict[str, ModelTable] = {}

    def table(self, name: str) -> ModelTable:
        if name not in self.tables:
            raise UnknownTable(name)
        return self.tables[name]

    def select(self, query: Select, after: Position | None = None, before: Position | None = None) -> ModelPage:
        return self.table(query.table).select(query, after, before)

    def count(self, query: Count) -> int:
        return self.table(query.table).count(query)

    def group(self, query: Group) -> tuple[int, list[Row]]:
        return self.table(query.table).group(query)

    def apply(self, changes: Sequence[ch.Change], now: datetime) -> ch.Tally:
        """Raises what the engine's ``check`` must raise; then nothing has changed."""
        trial = Model()
        trial.tables = {name: _copied(table) for name, table in self.tables.items()}
        tally = _Counter()
        for change in changes:
            trial._change(change, now, tally)
        self.tables = trial.tables
        return tally.tally()

    def _change(self, change: ch.Change, now: datetime, tally: _Counter) -> None:
        match change:
            case ch.CreateTable(schema, if_not_exists):
                if schema.name not in self.tables:
                    self.tables[schema.name] = ModelTable(schema, next_key=schema.auto_increment)
                elif not if_not_exists:
                    raise SchemaConflict(schema.name)
            case ch.DropTable(name, if_exists):
                if name in self.tables or not if_exists:
                    self.table(name)
                    del self.tables[name]
            case ch.RenameTable(name, to):
                table = self.table(name)
                if to in self.tables:
                    raise SchemaConflict(to)
                table.schema = replace(table.schema, name=to)
                self.tables = {(to if key == name else key): value for key, value in self.tables.items()}
            case ch.Upsert(name, rows):
                for row in rows:
                    _upsert(self.table(name), row, now, tally)
            case ch.Update(name, where, values):
                _update(self.table(name), where, values, tally)
            case ch.Delete(name, where):
                table = self.table(name)
                for row in table.matching(where):
                    del table.rows[key_of(table.schema, row)]
                    tally.deleted += 1
            case ch.DeleteKeys(name, keys):
                table = self.table(name)
                for row in list(table.rows.values()):
                    if table.schema.pkey_of(row) in keys:
                        del table.rows[key_of(table.schema, row)]
                        tally.deleted += 1
            case ch.Truncate(name):
                self.table(name).rows.clear()
                self.table(name).next_key = 1
            case _:
                _alter(self.table(change.table), change)


def _copied(table: ModelTable) -> ModelTable:
    return ModelTable(table.schema, {key: dict(row) for key, row in table.rows.items()}, table.next_key)


class _Counter:
    def __init__(self) -> None:
        self.inserted = self.replaced = self.updated = self.deleted = 0
        self.last_insert_id: int | None = None

    def tally(self) -> ch.Tally:
        return ch.Tally(self.inserted, self.replaced, self.updated, self.deleted, self.last_insert_id)


def _settle(column: Column, given: Row, now: datetime) -> JsonValue:
    """A column left out gets its DEFAULT, else NULL, else it is refused; so is NULL where NULL cannot be."""
    if column.name in given:
        value = given[column.name]
    elif column.default_now:
        value = now.isoformat(sep=" ", timespec="seconds")
    else:
        value = column.default
    if value is None and not column.nullable:
        raise InvalidValue(column.name)
    return value


def _upsert(table: ModelTable, given: Row, now: datetime, tally: _Counter) -> None:
    for name in given:
        table.schema.column(name)  # raises UnknownColumn
    counted = table.schema.auto_increment_column
    if counted is not None and given.get(counted.name) is None:
        if table.next_key > counted.type.high:
            raise InvalidValue("no number left")
        given = {**given, counted.name: table.next_key}
        tally.last_insert_id = table.next_key
    row = {column.name: _settle(column, given, now) for column in table.schema.columns}
    if counted is not None:
        value = row[counted.name]
        assert isinstance(value, int)
        table.next_key = max(table.next_key, value + 1)
    key = key_of(table.schema, row)
    if key in table.rows:
        tally.replaced += 1
    else:
        tally.inserted += 1
    table.rows[key] = row


def _update(table: ModelTable, where: Filter, values: Row, tally: _Counter) -> None:
    for name, value in values.items():
        column = table.schema.column(name)
        if name in table.schema.primary_key or (value is None and not column.nullable):
            raise InvalidValue(name)
    for row in table.matching(where):
        row.update(values)
        tally.updated += 1


def _alter(table: ModelTable, change: ch.Change) -> None:
    match change:
        case ch.AddColumn(_, column, after, if_not_exists):
            if column.name in table.schema.by_name:
                if if_not_exists:
                    return
                raise SchemaConflict(column.name)
            _add_column(table, column, after)
        case ch.DropColumn(_, name, if_exists):
            if name in table.schema.by_name or not if_exists:
                _drop_column(table, table.schema.column(name).name)
        case ch.RenameColumn(_, name, to):
            _rename_column(table, table.schema.column(name).name, to)
        case ch.CreateIndex(_, index, if_not_exists):
            same = _same_columns(table.schema.indexes, index)
            if index.automatic:
                if same is None and _same_columns(table.schema.forbidden, index) is None:
                    taken = {each.name for each in (*table.schema.indexes, *table.schema.forbidden)}
                    base = "auto_" + "_".join(index.columns)
                    names = [base, *(f"{base}_{number}" for number in range(2, 99))]
                    index = replace(index, name=next(name for name in names if name not in taken))
                    table.schema = replace(table.schema, indexes=(*table.schema.indexes, index))
                return
            if same is not None and same.automatic:
                others = [each for each in table.schema.indexes if each is not same]
                if all(index.name != other.name for other in others):
                    table.schema = replace(table.schema, indexes=(*others, index))
                elif not if_not_exists:
                    raise SchemaConflict(index.name)
                return
            if all(index.name != other.name for other in table.schema.indexes):
                lifted = _same_columns(table.schema.forbidden, index)
                forbidden = tuple(each for each in table.schema.forbidden if each is not lifted)
                indexes = (*table.schema.indexes, index)
                table.schema = replace(table.schema, indexes=indexes, forbidden=forbidden)
            elif not if_not_exists:
                raise SchemaConflict(index.name)
        case ch.DropIndex(_, name, if_exists, may_return):
            kept = tuple(index for index in table.schema.indexes if index.name != name)
            if len(kept) == len(table.schema.indexes) and not if_exists:
                raise UnknownIndex(name)
            gone = [each for each in table.schema.indexes if each.name == name and each.automatic and not may_return]
            table.schema = replace(table.schema, indexes=kept, forbidden=(*table.schema.forbidden, *gone))
        case ch.RenameIndex(_, name, to):
            names = [index.name for index in table.schema.indexes]
            if name not in names:
                raise UnknownIndex(name)
            if to != name and to in names:
                raise SchemaConflict(to)
            table.schema = replace(
                table.schema,
                indexes=tuple(
                    replace(index, name=to, automatic=False) if index.name == name else index
                    for index in table.schema.indexes
                ),
            )
        case ch.AllowIndex(_, name):
            left = tuple(each for each in table.schema.forbidden if each.name != name)
            table.schema = replace(table.schema, forbidden=left)
        case _:
            raise AssertionError(change)


def _add_column(table: ModelTable, column: Column, after: str | None) -> None:
    columns = list(table.schema.columns)
    if after is None:
        columns.append(column)
    else:
        at = 0 if after == "" else 1 + columns.index(table.schema.column(after))
        columns.insert(at, column)
    table.schema = replace(table.schema, columns=tuple(columns))
    value = column.default if column.nullable or column.has_default else implicit_default(column)
    for row in table.rows.values():
        row[column.name] = value


def implicit_default(column: Column) -> JsonValue:
    """What MySQL puts into existing rows when a NOT NULL column without a DEFAULT is added."""
    kind = column.type
    if kind.kind is Kind.DECIMAL:
        return "0" + ("." + "0" * kind.scale if kind.scale else "")
    fraction = "." + "0" * kind.scale if kind.scale else ""
    implicit: dict[Kind, JsonValue] = {
        Kind.INTEGER: 0,
        Kind.FLOAT: 0,
        Kind.DATE: "0000-00-00",
        Kind.DATETIME: "0000-00-00 00:00:00" + fraction,
        Kind.TIME: "00:00:00" + fraction,
        Kind.JSON: "null",
    }
    return kind.members[0] if kind.kind is Kind.ENUM else implicit.get(kind.kind, "")


def _drop_column(table: ModelTable, name: str) -> None:
    if name in table.schema.primary_key:
        raise SchemaConflict(name)
    columns = tuple(column for column in table.schema.columns if column.name != name)
    indexes = []
    for index in table.schema.indexes:
        left = tuple(column for column in index.columns if column != name)
        if left and not (index.automatic and left != index.columns):
            indexes.append(replace(index, columns=left))
    forbidden = tuple(index for index in table.schema.forbidden if name not in index.columns)
    table.schema = replace(table.schema, columns=columns, indexes=tuple(indexes), forbidden=forbidden)
    for row in table.rows.values():
        del row[name]


def _rename_column(table: ModelTable, name: str, to: str) -> None:
    if to in table.schema.by_name and to != name:
        raise SchemaConflict(to)

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(to if each == name else each for each in names)

    schema = table.schema
    table.schema = TableSchema(
        schema.name,
        tuple(replace(column, name=to) if column.name == name else column for column in schema.columns),
        renamed(schema.primary_key),
        tuple(_with_columns(index, renamed(index.columns)) for index in schema.indexes),
        auto_increment=schema.auto_increment,
        forbidden=tuple(_with_columns(index, renamed(index.columns)) for index in schema.forbidden),
    )
    for row in table.rows.values():
        row[to] = row.pop(name)


def _same_columns(indexes: Sequence[IndexDef], wanted: IndexDef) -> IndexDef | None:
    alike = [each for each in indexes if each.columns == wanted.columns and each.fulltext == wanted.fulltext]
    automatic = [each for each in alike if each.automatic]
    return next(iter(automatic or alike), None)


def _with_columns(index: IndexDef, columns: tuple[str, ...]) -> IndexDef:
    return replace(index, columns=columns)
