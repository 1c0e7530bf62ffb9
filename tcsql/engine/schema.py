"""Schemas: columns, declared indexes and the primary key of a table, as frozen values.

A schema change makes a new TableSchema with the next ``layout`` number; rows written under an older layout
are translated when they are read (see ``tcsql.engine.rows``), so adding or dropping a column touches no row.
Schemas travel as plain JSON (``to_json``/``from_json``): that is their form on disk, and what makes recovery
independent of the SQL parser.

The primary key: one column gives its sort key (int for integers, scaled int for DECIMAL, float, else str);
several give a tuple of them. Its text form, which clients see as ``pkey``, joins the columns' texts with
``,`` and puts ``\\`` before a ``,`` or ``\\`` inside a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from tcsql.engine.values import ColumnType, JsonValue, Kind, PKey
from tcsql.errors import InvalidValue, UnknownColumn, UnknownTable, did_you_mean

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

#: What a DEFAULT may ask for at the moment of writing.
CURRENT_TIMESTAMP: Final = "CURRENT_TIMESTAMP"


@dataclass(frozen=True)
class Column:
    """One column. ``default`` is a stored value; ``default_now``: CURRENT_TIMESTAMP; ``generated``: kept as a value."""

    name: str
    type: ColumnType
    nullable: bool = True
    default: JsonValue = None
    has_default: bool = False
    default_now: bool = False
    auto_increment: bool = False
    generated: bool = False
    #: The type and attributes as they were declared, for dumps: ``int(10) unsigned NOT NULL``.
    declared: str = ""


@dataclass(frozen=True)
class IndexDef:
    """An index: ordered over its columns, or full text over its one column. ``unique`` is not enforced.

    ``automatic``: nobody has declared it; it was made because queries needed it, and goes when memory is short.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    fulltext: bool = False
    notes: tuple[str, ...] = ()
    automatic: bool = False

    def has_entries_of(self, other: IndexDef) -> bool:
        """Whether both hold the same entries, whatever they are called."""
        return self.columns == other.columns and self.fulltext == other.fulltext

    def renamed(self, names: Mapping[str, str]) -> IndexDef:
        """The same index after columns were renamed."""
        return replace(self, columns=tuple(names.get(name, name) for name in self.columns))


@dataclass(frozen=True)
class TableSchema:
    """A table: columns in order, primary key columns, indexes, and the layout number of its rows."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    indexes: tuple[IndexDef, ...] = ()
    layout: int = 0
    #: Things a person should know: prefix lengths ignored, UNIQUE not enforced, generated columns.
    notes: tuple[str, ...] = ()
    #: AUTO_INCREMENT=n of the CREATE TABLE.
    auto_increment: int = 1
    #: How rows of each older layout become rows of this one: {layout: ((old name or None, column name), ...)}.
    history: Mapping[int, tuple[tuple[str | None, str], ...]] = field(default_factory=dict)
    #: What rows hold in a column that was added after they were written.
    fills: Mapping[str, JsonValue] = field(default_factory=dict)
    #: Automatic indexes that somebody has dropped: they are not made again.
    forbidden: tuple[IndexDef, ...] = ()

    @cached_property
    def declared_indexes(self) -> tuple[IndexDef, ...]:
        """The indexes that people have asked for."""
        return tuple(index for index in self.indexes if not index.automatic)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def pkey_columns(self) -> tuple[Column, ...]:
        return tuple(self.by_name[name] for name in self.primary_key)

    @cached_property
    def client_readers(self) -> tuple[tuple[Column, str, Callable[[Any], JsonValue]], ...]:
        """For each column what makes a client's value a stored one."""
        return tuple((column, column.name, column.type.client_reader()) for column in self.columns)

    @cached_property
    def mysql_readers(self) -> tuple[tuple[Column, str, Callable[[Any], JsonValue]], ...]:
        """For each column what makes a value from MySQL a stored one."""
        return tuple((column, column.name, column.type.from_mysql) for column in self.columns)

    @cached_property
    def auto_increment_column(self) -> Column | None:
        return next((column for column in self.columns if column.auto_increment), None)

    def column(self, name: str) -> Column:
        """The column of that name; MySQL's column names are case-insensitive, an exact match wins.

        Raises UnknownColumn with the nearest name.
        """
        found = self.by_name.get(name) or self._folded.get(name.lower())
        if found is None:
            shown = name[:64]
            raise UnknownColumn(f'table {self.name} has no column "{shown}"', did_you_mean(name, ("pkey", *self.names)))
        return found

    def require(self, names: Iterable[str | None]) -> None:
        """Raises UnknownColumn for what is no column, exactly written: a schema change may have come between."""
        for name in names:
            if name is not None and name not in self.by_name:
                raise UnknownColumn(f'table {self.name} has no column "{name[:64]}"', did_you_mean(name, self.names))

    @cached_property
    def _folded(self) -> dict[str, Column]:
        return {column.name.lower(): column for column in self.columns}

    def pkey_of(self, row: Mapping[str, JsonValue]) -> PKey:
        """The primary key of a full row of stored values; raises InvalidValue when a part is NULL."""
        parts = []
        for column in self.pkey_columns:
            value = row.get(column.name)
            if value is None:
                raise InvalidValue(f'primary key column "{column.name}" has no value')
            parts.append(column.type.sort_key(value))
        return parts[0] if len(parts) == 1 else tuple(parts)

    def pkey_text(self, pkey: PKey) -> str:
        """The text of a primary key, as ``pkey`` shows it to the STR operators.

        >>> from tcsql.engine.values import ColumnType, Kind
        >>> kind = ColumnType(Kind.TEXT, "varchar", length=9)
        >>> two = TableSchema("t", (Column("a", kind), Column("b", kind)), ("a", "b"))
        >>> two.pkey_text(("x,y", "z"))
        'x\\\\,y,z'
        """
        if not isinstance(pkey, tuple):
            kind = self.pkey_columns[0].type
            return kind.text(kind.stored(pkey))
        texts = [
            column.type.text(column.type.stored(part)) for column, part in zip(self.pkey_columns, pkey, strict=True)
        ]
        return ",".join(text.replace("\\", "\\\\").replace(",", "\\,") for text in texts)

    def with_(self, **changes: Any) -> TableSchema:
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; ``from_json`` gives an equal schema back."""
        data = asdict(self)
        for column in data["columns"]:
            column["type"]["kind"] = column["type"]["kind"].value
        data["history"] = {str(layout): moves for layout, moves in self.history.items()}
        # Left out where they say nothing: programs that did not know them can read the schema then.
        for index in data["indexes"]:
            if not index["automatic"]:
                del index["automatic"]
        if not self.forbidden:
            del data["forbidden"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TableSchema:
        """The schema that ``to_json`` made this data from."""
        columns = []
        for item in data["columns"]:
            kind = item["type"]
            type_ = ColumnType(**{**kind, "kind": Kind(kind["kind"]), "members": tuple(kind["members"])})
            columns.append(Column(**{**item, "type": type_}))
        indexes, forbidden = (
            tuple(
                IndexDef(**{**item, "columns": tuple(item["columns"]), "notes": tuple(item["notes"])})
                for item in data.get(part, ())
            )
            for part in ("indexes", "forbidden")
        )
        history = {int(layout): tuple((old, new) for old, new in moves) for layout, moves in data["history"].items()}
        plain = {**data, "columns": tuple(columns), "indexes": indexes, "forbidden": forbidden}
        plain["history"] = history
        return cls(**{**plain, "primary_key": tuple(data["primary_key"]), "notes": tuple(data["notes"])})


def no_table(name: str, known: Iterable[str]) -> UnknownTable:
    """The refusal of a name that is no table's, with the nearest one of those that are known."""
    return UnknownTable(f'there is no table "{name[:64]}"', did_you_mean(name, known))


def now_text(column: Column, now: datetime) -> JsonValue:
    """CURRENT_TIMESTAMP as the column holds it."""
    if column.type.kind is Kind.DATE:
        return now.date().isoformat()
    text = now.strftime("%Y-%m-%d %H:%M:%S")
    if column.type.scale:
        text += "." + f"{now.microsecond:06}"[: column.type.scale].ljust(column.type.scale, "0")
    return text[11:] if column.type.kind is Kind.TIME else text
