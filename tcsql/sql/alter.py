"""The grammar of ALTER TABLE: a table of rules, one for each action. What changes nothing here is read and dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tcsql.errors import did_you_mean
from tcsql.sql.columns import parse_column
from tcsql.sql.cursor import Cursor
from tcsql.sql.keys import at_key, parse_key
from tcsql.sql.options import accept_option
from tcsql.sql.tree import (
    Action,
    AddColumn,
    AlterTable,
    ChangeColumn,
    ColumnSpec,
    CreateIndex,
    DropColumn,
    DropIndex,
    Name,
    RenameColumn,
    RenameIndex,
)

_RELOAD: Final = "create a table with the new definition, load the rows into it, and RENAME TABLE"

#: Each action makes a new schema of up to 4,096 columns.
MAX_ACTIONS: Final = 1_000


def parse_alter(cursor: Cursor) -> AlterTable:
    """Read what follows ALTER TABLE. Raises SqlSyntax, UnsupportedStatement."""
    cursor.accept("IF", "EXISTS")
    rule = _AlterParser(cursor, cursor.name("a table"))
    while True:
        rule.action()
        if len(rule.actions) > MAX_ACTIONS:
            raise cursor.error(f"more than {MAX_ACTIONS} actions in one ALTER TABLE")
        if not cursor.accept(","):
            return AlterTable(rule.table, tuple(rule.actions), rule.rename_to)


class _AlterParser:
    def __init__(self, cursor: Cursor, table: Name) -> None:
        self.cursor = cursor
        self.table = table
        self.actions: list[Action] = []
        self.rename_to: Name | None = None

    def action(self) -> None:
        cursor = self.cursor
        for words, rule in _RULES:
            if cursor.accept(*words):
                rule(self)
                return
        if accept_option(cursor):
            while accept_option(cursor):  # options of one list need no comma
                pass
            return
        words_known = sorted({words[0] for words, _ in _RULES})
        raise cursor.error(
            f"{cursor.shown} is no action of ALTER TABLE that is known here",
            did_you_mean(cursor.token.key, words_known),
        )

    def add(self) -> None:
        cursor = self.cursor
        if at_key(cursor):
            self._add_key()
        elif cursor.token.key in ("PARTITION", "SYSTEM"):
            self.refuse()
        else:
            self.add_column()

    def _add_key(self) -> None:
        cursor = self.cursor
        at = cursor.token.start
        key = parse_key(cursor)
        if isinstance(key, str):
            if key.startswith(("SPATIAL", "key over")):
                raise cursor.unsupported("an index of this kind is not supported", at=at)
            return  # FOREIGN KEY, CHECK: nothing to keep
        if key.kind == "primary":
            raise cursor.unsupported("the primary key of a table cannot be changed", _RELOAD, at)
        self.actions.append(CreateIndex(self.table, key))

    def add_column(self) -> None:
        cursor = self.cursor
        if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
        if cursor.accept("("):
            while True:
                self.actions.append(AddColumn(parse_column(cursor), if_not_exists=if_not_exists))
                if not cursor.accept(","):
                    break
            cursor.expect(")")
            return
        column = parse_column(cursor)
        first = cursor.accept("FIRST")
        after = cursor.name("a column") if not first and cursor.accept("AFTER") else None
        self.actions.append(AddColumn(column, first, after, if_not_exists))

    def drop_column(self) -> None:
        if_exists = self.cursor.accept("IF", "EXISTS")
        self.actions.append(DropColumn(self.cursor.name("a column"), if_exists))
        self.cursor.accept_any("RESTRICT", "CASCADE")

    def drop_index(self) -> None:
        if_exists = self.cursor.accept("IF", "EXISTS")
        self.actions.append(DropIndex(self.table, self.cursor.name("an index"), if_exists))

    def drop_constraint(self) -> None:
        if_exists = self.cursor.accept("IF", "EXISTS")
        self.actions.append(DropIndex(self.table, self.cursor.name("a constraint"), if_exists, constraint=True))

    def drop_unkept(self) -> None:
        self.cursor.accept("IF", "EXISTS")
        self.cursor.skip_name("a constraint")

    def rename_column(self) -> None:
        old = self.cursor.name("a column")
        self.cursor.expect("TO")
        self.actions.append(RenameColumn(old, self.cursor.name("a column")))

    def rename_index(self) -> None:
        old = self.cursor.name("an index")
        self.cursor.expect("TO")
        self.actions.append(RenameIndex(old, self.cursor.name("an index")))

    def rename_table(self) -> None:
        self.cursor.accept_any("TO", "AS", "=")
        self.rename_to = self.cursor.name("a table")

    def change(self) -> None:
        self.cursor.accept("IF", "EXISTS")
        self._change(self.cursor.name("a column"), parse_column(self.cursor))

    def modify(self) -> None:
        self.cursor.accept("IF", "EXISTS")
        column = parse_column(self.cursor)
        self._change(column.name, column)

    def _change(self, name: Name, column: ColumnSpec) -> None:
        if self.cursor.token.key in ("FIRST", "AFTER"):
            raise self.cursor.unsupported("a column keeps its place in the table", _RELOAD)
        self.actions.append(ChangeColumn(name, column))

    def how(self) -> None:
        """ALGORITHM=…, LOCK=…: how MySQL is to do it."""
        self.cursor.accept("=")
        self.cursor.advance()

    def order_by(self) -> None:
        while True:
            self.cursor.skip_name("a column")
            self.cursor.accept_any("ASC", "DESC")
            # a comma is followed by another column here, or by the next action
            if self.cursor.token.key != "," or self.cursor.ahead(2).key not in (",", "ASC", "DESC", ";", ""):
                return
            self.cursor.advance()

    def convert(self) -> None:
        self.cursor.accept_any("CHARACTER")
        self.cursor.accept_any("SET", "CHARSET")
        self.cursor.advance()
        if self.cursor.accept("COLLATE"):
            self.cursor.advance()

    def alter_index(self) -> None:
        self.cursor.skip_name("an index")
        self.cursor.accept("NOT")
        self.cursor.accept_any("VISIBLE", "INVISIBLE", "IGNORED")

    def nothing(self) -> None:
        """An action without a meaning here."""

    def refuse(self) -> None:
        raise self.cursor.unsupported("this action of ALTER TABLE is not supported", _RELOAD)


_Rule = Callable[[_AlterParser], None]
#: In order: longer ones stand before their own beginnings.
_RULES: Final[tuple[tuple[tuple[str, ...], _Rule], ...]] = (
    (("ADD", "COLUMN"), _AlterParser.add_column),
    (("ADD",), _AlterParser.add),
    (("DROP", "COLUMN"), _AlterParser.drop_column),
    (("DROP", "INDEX"), _AlterParser.drop_index),
    (("DROP", "KEY"), _AlterParser.drop_index),
    (("DROP", "PRIMARY"), _AlterParser.refuse),
    (("DROP", "PARTITION"), _AlterParser.refuse),
    (("DROP", "SYSTEM", "VERSIONING"), _AlterParser.nothing),
    (("DROP", "FOREIGN", "KEY"), _AlterParser.drop_unkept),
    (("DROP", "CHECK"), _AlterParser.drop_unkept),
    (("DROP", "CONSTRAINT"), _AlterParser.drop_constraint),
    (("DROP",), _AlterParser.drop_column),
    (("RENAME", "COLUMN"), _AlterParser.rename_column),
    (("RENAME", "INDEX"), _AlterParser.rename_index),
    (("RENAME", "KEY"), _AlterParser.rename_index),
    (("RENAME",), _AlterParser.rename_table),
    (("CHANGE", "COLUMN"), _AlterParser.change),
    (("CHANGE",), _AlterParser.change),
    (("MODIFY", "COLUMN"), _AlterParser.modify),
    (("MODIFY",), _AlterParser.modify),
    (("ALTER", "INDEX"), _AlterParser.alter_index),
    (("ALTER", "KEY"), _AlterParser.alter_index),
    (("ALTER",), _AlterParser.refuse),
    (("ENABLE", "KEYS"), _AlterParser.nothing),
    (("DISABLE", "KEYS"), _AlterParser.nothing),
    (("ORDER", "BY"), _AlterParser.order_by),
    (("CONVERT", "TO"), _AlterParser.convert),
    (("ALGORITHM",), _AlterParser.how),
    (("LOCK",), _AlterParser.how),
    (("FORCE",), _AlterParser.nothing),
    (("AUTO_INCREMENT",), _AlterParser.refuse),
    (("PARTITION", "BY"), _AlterParser.refuse),
)
