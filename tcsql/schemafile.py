"""``schema.sql`` of the configuration: applied to a store without tables, compared with every other.

The file is the owner's word on what the tables are. A store that says otherwise is not changed behind anybody's
back, and not served either: the difference is named, and the server ends with exit code 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tcsql.engine.change import Change
from tcsql.engine.database import Database
from tcsql.engine.schema import Column, TableSchema
from tcsql.errors import CallerError, SchemaMismatch, SetupError
from tcsql.sql import changes_of
from tcsql.storage.options import utc_now
from tcsql.storage.store import Store

#: An error is one line; the first few differences say which of the two is the wrong one.
_SHOWN: Final = 5


async def adopt_schema(store: Store, path: str) -> Sequence[Change]:
    """Apply the file to a store without tables, else compare; "" is no file. Raises SchemaMismatch, SetupError.

    Gives what was applied.
    """
    if not path:
        return ()
    text = _read(path)
    try:
        changes = changes_of(text, lambda name: None)
    except CallerError as error:
        raise SetupError(f"{path}: {error.message}", error.hint) from None
    if not store.database.schemas():
        await store.commit(changes)
        return changes
    wanted = Database()
    wanted.apply(wanted.check(changes, utc_now()))
    held = {schema.name: schema for schema in store.database.schemas()}
    found = [line for schema in wanted.schemas() for line in differences(held.get(schema.name), schema)]
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise SchemaMismatch(
            f"the store and {path} differ: {'; '.join(found[:_SHOWN])}{more}",
            "alter the tables through command=sql, or correct the file",
        )
    return ()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SetupError(f"cannot read the schema {path}: {error.strerror}", "the setting schema names it") from None
    except UnicodeDecodeError as error:
        raise SetupError(f"{path} is not UTF-8 at byte {error.start}") from None


def differences(held: TableSchema | None, wanted: TableSchema) -> list[str]:
    """What differs, a line each. Tables of the store that the file does not name are left alone."""
    name = wanted.name
    if held is None:
        return [f"table {name} is not in the store"]
    found = [_column_difference(name, column, held, wanted) for column in dict.fromkeys((*held.names, *wanted.names))]
    if not any(found) and held.names != wanted.names:
        found.append(f"the columns of {name} stand in another order")
    if held.primary_key != wanted.primary_key:
        found.append(f"the primary key of {name} is ({','.join(held.primary_key)}) in the store")
    of_store = {index.name: (index.columns, index.fulltext) for index in held.declared_indexes}
    of_file = {index.name: (index.columns, index.fulltext) for index in wanted.indexes}
    for index in dict.fromkeys((*of_store, *of_file)):
        if index not in of_file:
            found.append(f"index {name}.{index} is in the store only")
        elif index not in of_store:
            found.append(f"index {name}.{index} is not in the store")
        elif of_store[index] != of_file[index]:
            found.append(f"index {name}.{index} has other columns in the store")
    return [line for line in found if line]


def _column_difference(table: str, column: str, held: TableSchema, wanted: TableSchema) -> str:
    if column not in wanted.by_name:
        return f"column {table}.{column} is in the store only"
    if column not in held.by_name:
        return f"column {table}.{column} is not in the store"
    mine, theirs = held.by_name[column], wanted.by_name[column]
    if _meaning(mine) == _meaning(theirs):
        return ""
    return f"column {table}.{column} is {mine.declared} in the store and {theirs.declared} in the file"


def _meaning(column: Column) -> Column:
    """A column without the spelling of its type."""
    return replace(column, declared="")
