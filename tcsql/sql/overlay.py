"""The schemas as they will be after changes that nobody has applied yet.

A text of several statements is bound as a whole before its first change is applied; the later statements must see
the tables that the earlier ones make. Only names, columns and indexes matter to the binder: refusals (a table that
exists already, a column in use) are the engine's, which checks the same changes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from tcsql.engine.change import (
    AddColumn,
    AllowIndex,
    Change,
    CreateIndex,
    CreateTable,
    DropColumn,
    DropTable,
    IndexChange,
    RenameColumn,
    RenameIndex,
    RenameTable,
)
from tcsql.engine.schema import TableSchema

SchemaOf = Callable[[str], TableSchema | None]


class Overlay:
    """Looks a table up among the pending changes first, then in ``schema_of``."""

    def __init__(self, schema_of: SchemaOf) -> None:
        self._schema_of = schema_of
        self._pending: dict[str, TableSchema | None] = {}

    def __call__(self, table: str) -> TableSchema | None:
        return self._pending[table] if table in self._pending else self._schema_of(table)

    def apply(self, changes: Iterable[Change]) -> None:
        """Take these changes as done; those of rows and of unknown tables change nothing."""
        for change in changes:
            if isinstance(change, CreateTable):
                if not (change.if_not_exists and self(change.schema.name)):
                    self._pending[change.schema.name] = change.schema
            elif isinstance(change, DropTable):
                self._pending[change.table] = None
            elif isinstance(change, RenameTable):
                schema = self(change.table)
                self._pending[change.table] = None
                self._pending[change.to] = schema.with_(name=change.to) if schema else None
            elif isinstance(change, AddColumn | DropColumn | RenameColumn | IndexChange):
                schema = self(change.table)
                if schema is not None:
                    self._pending[change.table] = evolved(schema, change)


def evolved(schema: TableSchema, change: AddColumn | DropColumn | RenameColumn | IndexChange) -> TableSchema:
    """The schema after the change, as far as names go: layouts stay what they are."""
    columns, indexes = schema.columns, schema.indexes
    if isinstance(change, AddColumn):
        if change.column.name in schema.by_name:
            return schema
        place = 0 if change.after == "" else len(columns)
        if change.after:
            place = next((i + 1 for i, column in enumerate(columns) if column.name == change.after), place)
        return schema.with_(columns=(*columns[:place], change.column, *columns[place:]))
    if isinstance(change, DropColumn):
        left = tuple(column for column in columns if column.name != change.column)
        shorter = [replace(i, columns=tuple(name for name in i.columns if name != change.column)) for i in indexes]
        return schema.with_(columns=left, indexes=tuple(index for index in shorter if index.columns))
    if isinstance(change, RenameColumn):
        old, new = change.column, change.to
        return schema.with_(
            columns=tuple(replace(column, name=new) if column.name == old else column for column in columns),
            indexes=tuple(index.renamed({old: new}) for index in indexes),
            primary_key=tuple(new if name == old else name for name in schema.primary_key),
        )
    if isinstance(change, CreateIndex):
        others = (index for index in indexes if not (index.automatic and index.has_entries_of(change.index)))
        return schema.with_(indexes=(*others, change.index))
    if isinstance(change, RenameIndex):
        renamed = (replace(i, name=change.to, automatic=False) if i.name == change.index else i for i in indexes)
        return schema.with_(indexes=tuple(renamed))
    if isinstance(change, AllowIndex):
        return schema.with_(forbidden=tuple(index for index in schema.forbidden if index.name != change.index))
    return schema.with_(indexes=tuple(index for index in indexes if index.name.lower() != change.index.lower()))
