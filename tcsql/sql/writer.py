"""Schemas back to MySQL's CREATE TABLE: what the parser reads again as an equal schema.

Columns are printed as they were declared; a column without a declaration (from a guess over a CSV file, or made by a
program) gets one from its type. What the engine does not keep of an index comes back from its notes. Not printed:
automatic indexes, and FOREIGN KEY, CHECK, SPATIAL and PARTITION, of which only table notes are left.

The table's collation is utf8mb4_bin, because that is how values compare here: rows that differ only in case or
accents are different rows, and must not collide in a server that reads the dump.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Final

from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.literals import quote_name, quote_string
from tcsql.sql.notes import descending, prefixes, whole_of
from tcsql.sql.tokens import Source

#: MySQL indexes these only up to a prefix length. 255 characters fit every index of InnoDB.
_NEED_PREFIX: Final = frozenset(
    {"tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob"}
)
_PREFIX: Final = 255
_PRIMARY_NOTE: Final = "PRIMARY KEY: "


def create_table_sql(schema: TableSchema, for_values: bool = False) -> str:
    """The CREATE TABLE of a schema, without a ``;``.

    ``for_values``: GENERATED clauses stand in a version comment of a version that no server has. The server takes
    the column as a plain one, so that INSERTs can carry its values, and the parser here still sees the clause.

    >>> from tcsql.sql.binder import changes_of
    >>> [change] = changes_of("create table t (id int, t text, primary key (id), key (t))", lambda name: None)
    >>> print(create_table_sql(change.schema))
    CREATE TABLE `t` (
      `id` int,
      `t` text,
      PRIMARY KEY (`id`),
      KEY `t` (`t`(255))
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
    """
    lines = [f"{quote_name(column.name)} {_declaration(column, for_values)}" for column in schema.columns]
    notes = tuple(note.removeprefix(_PRIMARY_NOTE) for note in schema.notes if note.startswith(_PRIMARY_NOTE))
    lines.append("PRIMARY KEY " + _key_columns(IndexDef("PRIMARY", schema.primary_key, notes=notes), schema))
    printed: set[str] = set()
    for index in schema.declared_indexes:
        whole = whole_of(index)
        name, columns = whole or (index.name, index.columns)
        if name not in printed:
            printed.add(name)
            known = tuple(column for column in columns if column in schema.by_name)
            lines.append(
                _key(IndexDef(name, known or index.columns, index.unique, index.fulltext, index.notes), schema)
            )
    body = ",\n  ".join(lines)
    counter = f" AUTO_INCREMENT={schema.auto_increment}" if schema.auto_increment > 1 else ""
    options = f"ENGINE=InnoDB{counter} DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
    return f"CREATE TABLE {quote_name(schema.name)} (\n  {body}\n) {options}"


def _key(index: IndexDef, schema: TableSchema) -> str:
    kind = "FULLTEXT KEY" if index.fulltext else "UNIQUE KEY" if index.unique else "KEY"
    if index.fulltext:
        columns = ",".join(map(quote_name, index.columns))
        return f"{kind} {quote_name(index.name)} ({columns})"
    return f"{kind} {quote_name(index.name)} {_key_columns(index, schema)}"


def _key_columns(index: IndexDef, schema: TableSchema) -> str:
    lengths, backwards = prefixes(index), descending(index)
    parts = []
    for name in index.columns:
        length = lengths.get(name)
        if length is None and schema.by_name[name].type.name in _NEED_PREFIX:
            length = _PREFIX
        prefix = f"({length})" if length is not None else ""
        parts.append(quote_name(name) + prefix + (" DESC" if name in backwards else ""))
    return f"({','.join(parts)})"


def _declaration(column: Column, for_values: bool) -> str:
    if not column.declared:
        return _composed(column)
    return _plain_column(column.declared) if for_values and column.generated else column.declared


def _plain_column(declared: str) -> str:
    """The declaration with its GENERATED clause in a comment that only the parser here reads."""
    from tcsql.sql.dialect import statements  # noqa: PLC0415 -- late: most dumps have no generated column

    [tokens] = statements(Source(declared))
    words = [declared[token.start : token.end + 1].upper() for token in tokens]
    first = next(index for index, word in enumerate(words) if word in ("GENERATED", "AS"))
    last = words.index("AS", first) + 1
    depth = int(words[last] == "(")
    while depth:
        last += 1
        depth += {"(": 1, ")": -1}.get(words[last], 0)
    if words[last + 1 :] and words[last + 1] in ("STORED", "VIRTUAL", "PERSISTENT", "START", "END"):
        last += 1
    start, end = tokens[first].start, tokens[last].end + 1
    return f"{declared[:start]}/*!999999 {declared[start:end]} */{declared[end:]}"


def _composed(column: Column) -> str:
    """A declaration made from the type, for columns that came without one."""
    parts = [_type_sql(column.type)]
    if not column.nullable:
        parts.append("NOT NULL")
    if column.auto_increment:
        parts.append("AUTO_INCREMENT")
    elif column.default_now:
        precision = f"({column.type.scale})" if column.type.scale else ""
        parts.append(f"DEFAULT CURRENT_TIMESTAMP{precision}")
    elif column.has_default and column.default is not None:
        parts.append(f"DEFAULT {_default_sql(column)}")
    elif column.nullable:
        parts.append("DEFAULT NULL")
    return " ".join(parts)


def _default_sql(column: Column) -> str:
    assert column.default is not None
    kind = column.type.kind
    if kind is Kind.BINARY:
        raw = b64decode(str(column.default))
        return f"0x{raw.hex()}" if raw else "''"
    if column.type.is_numeric:
        return column.type.text(column.default)
    return quote_string(str(column.default)) if kind is not Kind.JSON else f"({quote_string(str(column.default))})"


def _type_sql(kind: ColumnType) -> str:
    unsigned = " unsigned" if kind.unsigned else ""
    if kind.members:
        return f"{kind.name}({','.join(map(quote_string, kind.members))})"
    if kind.kind is Kind.DECIMAL:
        return f"decimal({kind.length},{kind.scale}){unsigned}"
    if kind.kind in (Kind.DATETIME, Kind.TIME):
        return f"{kind.name}({kind.scale})" if kind.scale else kind.name
    if kind.name in ("char", "varchar", "binary", "varbinary", "bit"):
        return f"{kind.name}({kind.length})"
    return kind.name + unsigned
