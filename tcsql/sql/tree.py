"""Statements as the parser hands them to the binder: what was written, with its place, before any meaning.

``at`` is the offset of a token in ``Statement.source``, which turns it into line and column when an error needs it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tcsql.sql.tokens import Source


@dataclass(frozen=True, slots=True)
class Name:
    """A table, column or index name as written, unquoted."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """A declared type. ``name``: MySQL's base name in lower case, synonyms resolved (``integer`` is ``int``)."""

    name: str
    at: int
    numbers: tuple[int, ...] = ()
    members: tuple[str, ...] = ()
    unsigned: bool = False
    charset: str | None = None


@dataclass(frozen=True, slots=True)
class Default:
    """A DEFAULT clause: a literal ``value``, or an ``expression`` that only MySQL can evaluate, except for ``moment``.

    ``moment``: the present ``timestamp``, ``date`` or ``time``.
    """

    at: int
    value: int | str | bytes | None = None
    moment: str | None = None
    expression: str | None = None


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """``declared``: type and attributes in one line, keys, CHECK and REFERENCES left out."""

    name: Name
    type: TypeSpec
    declared: str
    nullable: bool = True
    default: Default | None = None
    auto_increment: bool = False
    generated: bool = False
    primary: bool = False
    unique: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyPart:
    """A column of a key; ``column`` None: an expression, which is kept by nobody here."""

    at: int
    column: Name | None
    length: int | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class KeySpec:
    """``kind``: primary, unique, index, fulltext or spatial."""

    kind: str
    at: int
    name: Name | None
    parts: tuple[KeyPart, ...]
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class CreateTable:
    name: Name
    columns: tuple[ColumnSpec, ...]
    keys: tuple[KeySpec, ...]
    notes: tuple[str, ...] = ()
    auto_increment: int = 1
    if_not_exists: bool = False
    or_replace: bool = False
    like: Name | None = None


@dataclass(frozen=True, slots=True)
class DropTable:
    names: tuple[Name, ...]
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class Truncate:
    name: Name


@dataclass(frozen=True, slots=True)
class RenameTables:
    pairs: tuple[tuple[Name, Name], ...]


@dataclass(frozen=True, slots=True)
class CreateIndex:
    table: Name
    key: KeySpec


@dataclass(frozen=True, slots=True)
class DropIndex:
    """``constraint``: DROP CONSTRAINT, which may also name a CHECK or FOREIGN KEY that nobody kept."""

    table: Name
    index: Name
    if_exists: bool = False
    constraint: bool = False


@dataclass(frozen=True, slots=True)
class AddColumn:
    """``after``: None for the end; ``first`` wins over it."""

    column: ColumnSpec
    first: bool = False
    after: Name | None = None
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class DropColumn:
    name: Name
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class RenameColumn:
    name: Name
    to: Name


@dataclass(frozen=True, slots=True)
class ChangeColumn:
    """CHANGE and MODIFY: taken when they only rename, or change nothing that matters here."""

    name: Name
    column: ColumnSpec


@dataclass(frozen=True, slots=True)
class RenameIndex:
    name: Name
    to: Name


@dataclass(frozen=True, slots=True)
class AlterIndex:
    """ALTER INDEX … VISIBLE or INVISIBLE: whether an automatic index may be there."""

    index: Name
    visible: bool


@dataclass(frozen=True, slots=True)
class AlterTable:
    table: Name
    actions: tuple[Action, ...]
    rename_to: Name | None = None


Action = AddColumn | DropColumn | RenameColumn | ChangeColumn | CreateIndex | DropIndex | RenameIndex | AlterIndex
Body = CreateTable | DropTable | Truncate | RenameTables | CreateIndex | DropIndex | AlterTable


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and the text it stands in."""

    source: Source
    at: int
    body: Body
