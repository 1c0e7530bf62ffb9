"""Changes of a table's indexes, as functions from schema to schema, with every refusal.

Two kinds of indexes: those that people declare, and automatic ones, which the store makes because queries need them.
What people say wins:

    CREATE INDEX over the same columns   the automatic index becomes theirs, under their name; nothing is built again
    RENAME INDEX                         the same: who gives it a name wants to keep it
    DROP INDEX                           it goes, and is forbidden: not made again
    ALTER INDEX … VISIBLE                takes the ban back (CREATE INDEX over the same columns does, too)
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from tcsql.engine.change import AllowIndex, CreateIndex, DropIndex, RenameIndex
from tcsql.engine.schema import NAME, IndexDef, TableSchema
from tcsql.errors import InvalidValue, SchemaConflict, UnknownIndex, did_you_mean

#: What the names of automatic indexes begin with.
PREFIX: Final = "auto_"
_LONGEST: Final = 64


def check_index(schema: TableSchema, index: IndexDef) -> None:
    """Raises UnknownColumn, and InvalidValue for a full-text index over anything but one text column."""
    for name in index.columns:
        schema.column(name)
    if index.fulltext and (len(index.columns) != 1 or schema.by_name[index.columns[0]].type.is_numeric):
        raise InvalidValue(f"full-text index {index.name} needs exactly one text column")


def create_index(schema: TableSchema, change: CreateIndex, now: datetime) -> TableSchema:
    """The schema with the index; an automatic one over the same columns becomes it."""
    index = change.index
    if index.automatic:
        return _with_automatic(schema, index, now)
    check_index(schema, index)
    index = replace(index, columns=tuple(schema.column(name).name for name in index.columns))
    same = _automatic_twin(schema, index)
    if any(index.name == other.name for other in schema.indexes if other is not same):
        if change.if_not_exists:
            return schema
        raise SchemaConflict(f'table {schema.name} has an index "{index.name}" already')
    allowed = tuple(other for other in schema.forbidden if not other.has_entries_of(index))
    if same is None:
        return schema.with_(indexes=(*schema.indexes, index), forbidden=allowed)
    return schema.with_(indexes=tuple(index if other is same else other for other in schema.indexes))


def _automatic_twin(schema: TableSchema, index: IndexDef) -> IndexDef | None:
    return next((other for other in schema.indexes if other.automatic and other.has_entries_of(index)), None)


def _with_automatic(schema: TableSchema, index: IndexDef, now: datetime) -> TableSchema:
    """The schema with an index that the store proposes; unchanged when it is there by now, or forbidden."""
    check_index(schema, index)
    known = (*schema.indexes, *schema.forbidden)
    if any(index.has_entries_of(other) for other in known):
        return schema
    taken = {other.name.lower() for other in known}
    wanted = PREFIX + "_".join(index.columns)
    names = (wanted[:_LONGEST], *(f"{wanted[: _LONGEST - 4]}_{number}" for number in range(2, 1_000)))
    name = next(name for name in names if name.lower() not in taken)
    notes = tuple(f"{now:%Y-%m-%d %H:%M:%S} UTC: {note}" for note in index.notes)
    return schema.with_(indexes=(*schema.indexes, replace(index, name=name, notes=notes)))


def drop_index(schema: TableSchema, change: DropIndex) -> TableSchema:
    """The schema without the index; an automatic one is forbidden, unless it may return."""
    found = next((index for index in schema.indexes if index.name == change.index), None)
    if found is None:
        if change.if_exists:
            return schema
        raise _unknown(schema, change.index)
    kept = tuple(index for index in schema.indexes if index is not found)
    if not found.automatic or change.may_return:
        return schema.with_(indexes=kept)
    return schema.with_(indexes=kept, forbidden=(*schema.forbidden, replace(found, notes=())))


def rename_index(schema: TableSchema, change: RenameIndex) -> TableSchema:
    """The schema with the index under another name, where it is a declared one."""
    found = next((index for index in schema.indexes if index.name == change.index), None)
    if found is None:
        raise _unknown(schema, change.index)
    if any(index.name == change.to for index in schema.indexes if index is not found):
        raise SchemaConflict(f'table {schema.name} has an index "{change.to}" already')
    if not NAME.fullmatch(change.to):
        raise InvalidValue(f'"{change.to[:80]}" cannot be a name', "letters, digits and _, 64 at most, no digit first")
    notes = () if found.automatic else found.notes
    renamed = replace(found, name=change.to, automatic=False, notes=notes)
    return schema.with_(indexes=tuple(renamed if index is found else index for index in schema.indexes))


def allow_index(schema: TableSchema, change: AllowIndex) -> TableSchema:
    """The schema in which that automatic index may be made again."""
    kept = tuple(index for index in schema.forbidden if index.name != change.index)
    return schema if len(kept) == len(schema.forbidden) else schema.with_(forbidden=kept)


def _unknown(schema: TableSchema, name: str) -> UnknownIndex:
    known = [index.name for index in schema.indexes]
    return UnknownIndex(f'table {schema.name} has no index "{name[:64]}"', did_you_mean(name, known))
