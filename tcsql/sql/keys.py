"""Keys for sqlglot's MySQL parser: in CREATE TABLE, ALTER TABLE ADD and CREATE INDEX alike.

Every key is an IndexColumnConstraint with its ``kind`` and its columns as Ordered nodes; a key that is not kept
(FOREIGN KEY, CHECK, PERIOD, VECTOR) is a Constraint called by its kind. Options of keys are read and not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from tcsql.sql.columns import ColumnParser

_KEY_OPTIONS: Final = (
    "KEY_BLOCK_SIZE", "COMMENT", "ENGINE_ATTRIBUTE", "SECONDARY_ENGINE_ATTRIBUTE", "CLUSTERING", "DISTANCE", "M",
)  # fmt: skip
_UNKEPT_KEYS: Final = ("FOREIGN KEY", "CHECK", "PERIOD", "VECTOR")


class KeyParser(ColumnParser):
    """Adds the keys of a table to the column definitions."""

    def _parse_constraint(self) -> exp.Expr | None:
        """A key or constraint of a table, None where a column stands; those not kept are a Constraint of their name."""
        start, first = self._index, self._curr
        if self._match(TokenType.CONSTRAINT):
            if not self._match_texts(("PRIMARY KEY", "UNIQUE", "FOREIGN KEY", "CHECK"), advance=False):
                self._name()
        elif first.text.upper() in ("PERIOD", "VECTOR") and self._next.text.upper() not in ("FOR", "KEY", "INDEX"):
            return None  # a column may be called so
        self._count()
        node: exp.Expr
        if self._match_texts(_UNKEPT_KEYS):
            what = self._prev.text.upper()
            self._skip_item()
            node = exp.Constraint(this=exp.var("VECTOR KEY" if what == "VECTOR" else what), expressions=[])
        elif self._match_texts(self.KEY_PARSERS):
            node = self.KEY_PARSERS[self._prev.text.upper()](self)
        elif first.token_type is TokenType.CONSTRAINT:
            self.fail(f"expected a key, found {self.shown()}")
        else:
            return None
        node.meta["written"] = self._written(start)
        return node.update_positions(first)

    def _parse_key(self, kind: str) -> exp.Expr:
        """What follows PRIMARY KEY, UNIQUE, FULLTEXT … or KEY itself, as sqlglot's node of an index."""
        if kind != "INDEX":
            self._match_texts(("KEY", "INDEX"))
        exists = self._parse_exists(not_=True)
        name = None
        if not self._match(TokenType.L_PAREN, advance=False) and not self._parse_using():
            name = self._name()
        self._parse_index_constraint_options()
        node = exp.IndexColumnConstraint(this=name, kind=kind, expressions=self._parse_key_parts())
        node.meta["exists"] = exists
        self._parse_index_constraint_options()
        return node

    KEY_PARSERS: ClassVar[dict[str, Callable[[Any], exp.Expr]]] = {
        "PRIMARY KEY": lambda self: self._parse_key("PRIMARY"),
        "KEY": lambda self: self._parse_key("INDEX"),
        "INDEX": lambda self: self._parse_key("INDEX"),
        "UNIQUE": lambda self: self._parse_key("UNIQUE"),
        "FULLTEXT": lambda self: self._parse_key("FULLTEXT"),
        "SPATIAL": lambda self: self._parse_key("SPATIAL"),
    }

    def _parse_key_parts(self) -> list[exp.Expr]:
        return self._parse_wrapped_csv(self._parse_index_key_part)

    def _parse_index_key_part(self) -> exp.Expr:
        """``column [(length)] [ASC|DESC]`` or an expression in parentheses, which becomes a Var."""
        first = self._curr
        this: exp.Expr
        if self._balanced():
            this = exp.Var(this="")
        else:
            this = self._name()
            if self._match(TokenType.L_PAREN):
                this = exp.ColumnPrefix(this=this, expression=self._parse_type_size())
                self._match_r_paren()
        descending = self._match(TokenType.DESC)
        self._match(TokenType.ASC)
        return exp.Ordered(this=this, desc=descending, nulls_first=False).update_positions(first)

    def _parse_using(self) -> bool:
        """USING BTREE, before or after the columns. All indexes here are ordered ones."""
        if not self._match_texts(("USING", "TYPE"), advance=False):
            return False
        if self._next.text.upper() not in ("BTREE", "HASH", "RTREE"):
            return False
        self._advance(2)
        return True

    def _parse_index_constraint_options(self) -> list[exp.IndexConstraintOption]:
        """Options of a key, then ALGORITHM and LOCK: how a server is to do it. None of them is kept."""
        while (
            self._parse_using()
            or self._skip_option(_KEY_OPTIONS)
            or self._match_texts(("VISIBLE", "INVISIBLE", "IGNORED"))
            or self._match_text_seq("NOT", "IGNORED")
            or (self._match_text_seq("WITH", "PARSER") and self._name())
        ):
            pass
        return []

    def _parse_how(self) -> None:
        self._parse_index_constraint_options()
        while self._skip_option(("ALGORITHM", "LOCK")):
            pass
