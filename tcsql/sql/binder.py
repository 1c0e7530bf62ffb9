"""From statements to changes: columns get their types, keys their names, ALTER TABLE becomes single steps.

The binder refuses what has no place in the text's own terms (a key over a column that is not there, a table without
a primary key) with line and column; whether a change fits the tables at hand is for ``Database.check``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from tcsql.engine.change import (
    AddColumn,
    AllowIndex,
    Change,
    CreateIndex,
    CreateTable,
    DropColumn,
    DropIndex,
    DropTable,
    RenameColumn,
    RenameIndex,
    RenameTable,
    Truncate,
)
from tcsql.engine.schema import IndexDef, TableSchema
from tcsql.errors import CallerError, UnknownTable, UnsupportedStatement
from tcsql.sql import tree
from tcsql.sql.notes import whole_of
from tcsql.sql.overlay import Overlay, SchemaOf
from tcsql.sql.parser import parse_statements
from tcsql.sql.tables import MAX_COLUMNS, MAX_INDEXES, bind_column, bind_index, bind_table
from tcsql.sql.tokens import Source


def changes_of(sql: str, schema_of: SchemaOf) -> list[Change]:
    """The changes that a text of schema statements asks for, in order; one request, all or nothing.

    ``schema_of`` gives the schema of a table or None. Raises SqlSyntax and UnsupportedStatement (both with ``line``
    and ``column``), UnknownTable, UnknownColumn. O(length of the text).

    >>> [change] = changes_of("CREATE TABLE t (id int PRIMARY KEY, title varchar(80), KEY (title))", lambda name: None)
    >>> change.schema.names, change.schema.primary_key, change.schema.indexes[0].name
    (('id', 'title'), ('id',), 'title')
    """
    return bind_all(parse_statements(sql), schema_of)


def bind_all(statements: Sequence[tree.Statement], schema_of: SchemaOf) -> list[Change]:
    """The changes of parsed statements, each seeing what those before it make."""
    overlay = Overlay(schema_of)
    changes: list[Change] = []
    for statement in statements:
        bound = bind(statement, overlay)
        overlay.apply(bound)
        changes += bound
    return changes


def bind(statement: tree.Statement, schema_of: SchemaOf) -> list[Change]:
    """The changes of one statement; errors of unknown columns get its line and column too."""
    body, source = statement.body, statement.source
    if isinstance(body, tree.CreateTable):
        return _create_table(body, source, schema_of)
    if isinstance(body, tree.DropTable):
        return [DropTable(name.text, body.if_exists) for name in body.names]
    if isinstance(body, tree.Truncate):
        return [Truncate(body.name.text)]
    if isinstance(body, tree.RenameTables):
        return [RenameTable(old.text, new.text) for old, new in body.pairs]
    if isinstance(body, tree.AlterTable):
        return _AlterBinder(body, source, schema_of).bind()
    actions = tree.AlterTable(body.table, (body,))
    return _AlterBinder(actions, source, schema_of).bind()


def _create_table(body: tree.CreateTable, source: Source, schema_of: SchemaOf) -> list[Change]:
    changes: list[Change] = [DropTable(body.name.text, if_exists=True)] if body.or_replace else []
    if body.like is None:
        return [*changes, CreateTable(bind_table(body, source), body.if_not_exists)]
    model = _known(body.like, source, schema_of)
    copy = model.with_(
        name=body.name.text,
        indexes=model.declared_indexes,
        layout=0,
        history={},
        fills={},
        auto_increment=1,
        forbidden=(),
    )
    return [*changes, CreateTable(copy, body.if_not_exists)]


def _known(name: tree.Name, source: Source, schema_of: SchemaOf) -> TableSchema:
    schema = schema_of(name.text)
    if schema is None:
        line, column = source.place(name.at)
        raise UnknownTable(f"line {line}, column {column}: there is no table {name.text}", line=line, column=column)
    return schema


class _AlterBinder:
    """Binds the actions of one ALTER TABLE; each sees the table as the ones before it leave it."""

    def __init__(self, body: tree.AlterTable, source: Source, schema_of: SchemaOf) -> None:
        self.body = body
        self.source = source
        self.table = body.table.text
        _known(body.table, source, schema_of)
        self.overlay = Overlay(schema_of)

    @property
    def schema(self) -> TableSchema:
        schema = self.overlay(self.table)
        assert schema is not None  # known when the binder was made, and no action drops the table
        return schema

    def bind(self) -> list[Change]:
        changes: list[Change] = []
        for action in self.body.actions:
            bound = self._action(action)
            self.overlay.apply(bound)
            changes += bound
        if self.body.rename_to is not None:
            changes.append(RenameTable(self.table, self.body.rename_to.text))
        return changes

    def _action(self, action: tree.Action) -> list[Change]:
        if isinstance(action, tree.AddColumn):
            return self._add_column(action)
        if isinstance(action, tree.DropColumn):
            known = self.schema.by_name.keys()
            name = action.name.text
            if not (action.if_exists and name.lower() not in {column.lower() for column in known}):
                name = self._column(action.name)
            return [DropColumn(self.table, name, action.if_exists)]
        if isinstance(action, tree.RenameColumn):
            return [RenameColumn(self.table, self._column(action.name), action.to.text)]
        if isinstance(action, tree.ChangeColumn):
            return self._change_column(action)
        if isinstance(action, tree.CreateIndex):
            return self._create_index(action.key)
        if isinstance(action, tree.RenameIndex):
            found = self._index(action.name.text)
            return [RenameIndex(self.table, found.name if found else action.name.text, action.to.text)]
        if isinstance(action, tree.AlterIndex):
            return self._alter_index(action)
        return self._drop_index(action)

    def _column(self, name: tree.Name) -> str:
        return self._placed(name.at, lambda: self.schema.column(name.text).name)

    def _placed(self, at: int, look_up: Callable[[], str]) -> str:
        try:
            return look_up()
        except CallerError as error:
            line, column = self.source.place(at)
            error.extra = {**error.extra, "line": line, "column": column}
            raise

    def _add_column(self, action: tree.AddColumn) -> list[Change]:
        spec = action.column
        column = bind_column(spec, self.source)
        if spec.primary or column.auto_increment:
            raise self._unsupported(spec.name.at, "a column of the primary key cannot be added")
        if len(self.schema.columns) >= MAX_COLUMNS:
            raise self.source.error(spec.name.at, f"a table has at most {MAX_COLUMNS} columns")
        after: str | None = None
        if action.first:
            after = ""
        elif action.after is not None:
            after = self._column(action.after)
        changes: list[Change] = [AddColumn(self.table, column, after, action.if_not_exists)]
        if spec.unique:
            part = tree.KeyPart(spec.name.at, spec.name)
            key = tree.KeySpec("unique", spec.name.at, None, (part,), action.if_not_exists)
            self.overlay.apply(changes)
            changes += self._create_index(key)
        return changes

    def _change_column(self, action: tree.ChangeColumn) -> list[Change]:
        old = self.schema.column(self._column(action.name))
        new = bind_column(action.column, self.source)
        if old.name in self.schema.primary_key:
            new = replace(new, nullable=False)
        if replace(new, name=old.name, declared=old.declared) != old:
            raise self._unsupported(
                action.name.at,
                f"the definition of column {old.name} cannot be changed from {old.declared or old.type.name}",
                "RENAME COLUMN renames; for another type create a table, load the rows into it and RENAME TABLE",
            )
        return [RenameColumn(self.table, old.name, new.name)] if new.name != old.name else []

    def _create_index(self, key: tree.KeySpec) -> list[Change]:
        if len(self.schema.declared_indexes) >= MAX_INDEXES:
            raise self.source.error(key.at, f"a table has at most {MAX_INDEXES} indexes")
        make = partial(CreateIndex, self.table, if_not_exists=key.if_not_exists)
        return [make(index) for index in bind_index(key, self.schema, self.source)]

    def _alter_index(self, action: tree.AlterIndex) -> list[Change]:
        """Automatic indexes are forbidden and allowed again; a declared one is used whenever it helps."""
        name = action.index.text.lower()
        if action.visible:
            return [AllowIndex(self.table, each.name) for each in self.schema.forbidden if each.name.lower() == name]
        found = self._index(name)
        return [DropIndex(self.table, found.name)] if found is not None and found.automatic else []

    def _drop_index(self, action: tree.DropIndex) -> list[Change]:
        name = action.index.text
        if name.upper() == "PRIMARY":
            raise self._unsupported(action.index.at, "the primary key of a table cannot be dropped")
        parts = [
            index for index in self.schema.indexes if (whole := whole_of(index)) and whole[0].lower() == name.lower()
        ]
        if parts:
            return [DropIndex(self.table, index.name, action.if_exists) for index in parts]
        found = self._index(name)
        if found is None and action.constraint:
            return []  # a CHECK or FOREIGN KEY, of which nothing was kept
        return [DropIndex(self.table, found.name if found else name, action.if_exists)]

    def _index(self, name: str) -> IndexDef | None:
        return next((index for index in self.schema.indexes if index.name.lower() == name.lower()), None)

    def _unsupported(self, at: int, message: str, hint: str | None = None) -> UnsupportedStatement:
        line, column = self.source.place(at)
        return UnsupportedStatement(f"line {line}, column {column}: {message}", hint, line=line, column=column)
