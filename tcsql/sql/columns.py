"""Column definitions for sqlglot's MySQL parser: types by MySQL's own names, attributes of MySQL and MariaDB.

Expressions (CHECK, GENERATED, DEFAULT in parentheses) mean nothing here and differ from server to server: they are
passed over as balanced parentheses, so no depth of them recurses. Nodes have their text in ``meta["written"]`` and
their place in ``meta["start"]``. All errors are SqlSyntax and UnsupportedStatement, with line and column.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar, Final, NoReturn

from sqlglot import exp
from sqlglot.parsers.mysql import MySQLParser
from sqlglot.tokenizer_core import Token, TokenType

from tcsql.errors import UnsupportedStatement
from tcsql.sql.tokens import Source
from tcsql.sql.types import type_hint, type_name

#: Columns, keys and tables that one statement names. MySQL has at most 4,096 columns and 64 keys.
MAX_PARTS: Final = 5_000
_SHOWN_CHARACTERS: Final = 40
_QUOTED: Final = (TokenType.STRING, TokenType.IDENTIFIER, TokenType.NATIONAL_STRING)
#: Attributes of a column with one value (perhaps after a =) that only one server takes.
COLUMN_OPTIONS: Final = (
    "COLUMN_FORMAT", "STORAGE", "ENGINE_ATTRIBUTE", "SECONDARY_ENGINE_ATTRIBUTE", "SRID", "REF_SYSTEM_ID",
)  # fmt: skip
_NOW: Final[dict[str, type[exp.Expr]]] = {
    **dict.fromkeys(("CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP"), exp.CurrentTimestamp),
    **dict.fromkeys(("CURRENT_DATE", "CURDATE"), exp.CurrentDate),
    **dict.fromkeys(("CURRENT_TIME", "CURTIME"), exp.CurrentTime),
}


class ColumnParser(MySQLParser):
    """sqlglot's MySQL parser with the errors of TCSQL, names as written, and column definitions."""

    source: Source
    parts: int = 0

    # -- errors ------------------------------------------------------------------------------------------------------

    @property
    def here(self) -> int:
        """The offset of the present token, or of the end."""
        return self._curr.start if self._curr else self._prev.end + 1

    def shown(self) -> str:
        if not self._curr:
            return "the end of the statement"
        text = self._raw(self._curr)
        return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"

    def raise_error(self, message: str, token: Token | None = None) -> NoReturn:
        raise self.source.error(self.here, f"{message[:1].lower()}{message[1:]}, found {self.shown()}")

    def fail(self, message: str, hint: str | None = None) -> NoReturn:
        raise self.source.error(self.here, message, hint)

    def unsupported(self, message: str, hint: str | None = None) -> UnsupportedStatement:
        return self.source.unsupported(self.here, message, hint)

    def _parse_as_command(self, start: Token) -> NoReturn:
        self.fail(f"{self.shown()} does not belong here")

    def _count(self) -> None:
        self.parts += 1
        if self.parts > MAX_PARTS:
            self.fail(f"more than {MAX_PARTS} columns, keys or tables in one statement")

    # -- what rules are made of --------------------------------------------------------------------------------------

    def _raw(self, token: Token) -> str:
        return self.sql[token.start : token.end + 1]

    def _written(self, start: int) -> str:
        """The tokens from ``start`` up to here in one line, one blank between what stood apart."""
        parts: list[str] = []
        end = None
        for token in self._tokens[start : self._index]:
            if end is not None and token.start > end:
                parts.append(" ")
            raw = self._raw(token)
            parts.append(raw if token.token_type in _QUOTED else " ".join(raw.split()))
            end = token.end + 1
        return "".join(parts)

    def _balanced(self) -> bool:
        """Move over ( … ), whatever it holds; ``statements`` knows that it is closed."""
        if not self._match(TokenType.L_PAREN):
            return False
        depth = 1
        while depth:
            depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(self._curr.token_type, 0)
            self._advance()
        return True

    def _skip_item(self) -> None:
        """Move to the , or ) that ends this item of a list, or to the end."""
        while self._curr and not self._match_set((TokenType.COMMA, TokenType.R_PAREN), advance=False):
            if not self._balanced():
                self._advance()

    def _skip_option(self, names: tuple[str, ...]) -> bool:
        """Move over ``NAME [=] value``."""
        if not self._match_texts(names):
            return False
        self._skip_value()
        return True

    def _skip_value(self) -> None:
        self._match_text_seq("=")
        if not (self._balanced() or self._advance_any()):
            self.fail(f"expected the value of an option, found {self.shown()}")

    def _identifier_expression(self, token: Token | None = None, quoted: bool | None = None) -> exp.Identifier:
        """A name as written: the text of a keyword's token is in upper case."""
        token = token or self._prev
        text = token.text if token.token_type in _QUOTED else self._raw(token)
        return self.expression(exp.Identifier(this=text, quoted=token.token_type in _QUOTED), token)

    def _parse_id_var(self, any_token: bool = True, tokens: Collection[TokenType] | None = None) -> exp.Expr | None:
        if self._curr.token_type is TokenType.STRING and self._raw(self._curr)[0] == "'":
            return None  # "…" may be a name, under ANSI_QUOTES
        return super()._parse_id_var(any_token, tokens)

    def _name(self) -> exp.Expr:
        return self._parse_id_var() or self.fail(f"expected a name, found {self.shown()}")

    def _parse_table_parts(self, *args: Any, **kwargs: Any) -> exp.Table:
        self._count()
        parts = [self._name()]
        while self._match(TokenType.DOT):
            self._count()
            parts.append(self._name())
        return exp.Table(this=parts[-1], db=parts[-2] if len(parts) > 1 else None)

    # -- columns -----------------------------------------------------------------------------------------------------

    def _parse_field_def(self) -> exp.ColumnDef:
        return self._parse_column_def(self._name())

    def _parse_column_def(self, this: exp.Expr | None, computed_column: bool = True) -> exp.ColumnDef:
        self._count()
        kind = self._parse_types()
        constraints: list[exp.ColumnConstraint] = []
        of_type = True
        while self._curr and not self._match_set((TokenType.COMMA, TokenType.R_PAREN), advance=False):
            if self._match_texts(("FIRST", "AFTER"), advance=False):
                break
            of_type = of_type and self._match_texts(self.TYPE_ATTRIBUTES, advance=False)
            if not of_type and self._match_texts(self.ONLY_OF_TYPES, advance=False):
                self.fail(f"{self.shown()} belongs to the type, before other attributes")
            constraints.append(self._parse_column_constraint())
        place, position = self._curr, None
        if self._match_text_seq("FIRST"):
            position = exp.ColumnPosition(position="FIRST").update_positions(place)
        elif self._match_text_seq("AFTER"):
            position = exp.ColumnPosition(this=self._name(), position="AFTER").update_positions(place)
        return exp.ColumnDef(this=this, kind=kind, constraints=constraints, position=position)

    def _parse_types(self, *args: Any, **kwargs: Any) -> exp.DataType:
        """A type: ``kind`` has MySQL's own name of it, which sqlglot does not keep (its INT8 is a TINYINT)."""
        start, token = self._index, self._curr
        if not token or token.token_type in _QUOTED:
            self.fail(f"expected a type, found {self.shown()}")
        name = type_name(token.text)
        if self._next.token_type not in _QUOTED and (longer := type_name(f"{token.text} {self._next.text}")):
            name = longer
            self._advance()
        if name is None:
            self.fail(f"there is no type {self.shown()}", type_hint(token.text))
        self._advance()
        values: list[exp.Expr] = []
        if name in ("enum", "set"):
            values = self._parse_wrapped_csv(self._member)
        elif self._match(TokenType.L_PAREN, advance=False):
            values = self._parse_wrapped_csv(self._parse_type_size)
        kind = exp.DataType(this=exp.DType.USERDEFINED, kind=name, expressions=values).update_positions(token)
        kind.meta["written"] = self._written(start)
        return kind

    def _member(self) -> exp.Expr:
        self._match(TokenType.INTRODUCER)  # the text has come as Unicode
        if not self._match(TokenType.STRING, advance=False):
            self.fail(f"expected a quoted member, found {self.shown()}")
        self._advance()
        return exp.Literal.string(self._prev.text)

    def _parse_type_size(self) -> exp.DataTypeParam:
        if not self._curr.text.isdecimal() or len(self._curr.text) > 20:
            self.fail(f"expected a length, found {self.shown()}")
        return exp.DataTypeParam(this=self._parse_number())

    def _parse_column_constraint(self) -> exp.ColumnConstraint:
        start = self._index
        named = self._match(TokenType.CONSTRAINT)
        if named and not self._match_texts(("CHECK",), advance=False):
            self._name()
        at = self._index
        rule = self.CONSTRAINT_PARSERS.get(self._curr.text.upper())
        kind = None
        if rule is not None and self._match_texts(self.CONSTRAINT_PARSERS):
            kind = rule(self)
        if kind is None:
            self._retreat(at)
            self.fail(f"{self.shown()} is no attribute of a column that is known here")
        constraint = exp.ColumnConstraint(kind=kind)
        constraint.meta["written"] = self._written(at if named else start)
        return constraint

    def _parse_default(self) -> exp.Expr:
        """A literal or CURRENT_TIMESTAMP in its own node, anything else as a Var."""
        start = self._index
        depth = 0
        while self._match(TokenType.L_PAREN):
            depth += 1
        value = self._now() or self._literal()
        if value is None or not all(self._match(TokenType.R_PAREN) for _ in range(depth)):
            self._retreat(start)
            if not self._balanced():
                self._advance_any()
                if not self._balanced():
                    self._retreat(start)
                    self.fail(f"{self.shown()} is not a value for DEFAULT", "write an expression in parentheses")
            value = exp.Var(this=self._written(start))
        value.meta["written"] = self._written(start)
        return exp.DefaultColumnConstraint(this=value.update_positions(self._tokens[start]))

    def _now(self) -> exp.Expr | None:
        if not self._match_texts(_NOW):
            return None
        node = _NOW[self._prev.text.upper()]()
        if self._match(TokenType.L_PAREN):
            self._match(TokenType.NUMBER)
            self._match_r_paren()
        return node

    def _literal(self) -> exp.Expr | None:
        sign = self._match_texts(("-", "+")) and self._prev.text
        word = not self._match_set((*_QUOTED, TokenType.NUMBER, *self.RESERVED_TOKENS), advance=False)
        if word and self._next.token_type in (TokenType.STRING, TokenType.HEX_STRING, TokenType.BIT_STRING):
            self._advance()  # _utf8mb4'…', DATE '…'
        if self._match(TokenType.L_PAREN, advance=False):
            return None
        value = self._parse_primary()
        return exp.Neg(this=value) if value and sign == "-" else value

    def _parse_on_update(self) -> exp.Expr | None:
        if not self._match(TokenType.UPDATE):
            return None
        return exp.OnUpdateColumnConstraint(this=self._now() or self.raise_error("Expected CURRENT_TIMESTAMP"))

    def _parse_generated(self) -> exp.Expr | None:
        """[GENERATED ALWAYS] AS (…) or, under MariaDB's system versioning, AS ROW START."""
        if self._prev.text.upper() == "GENERATED" and not self._match_text_seq("ALWAYS", "AS"):
            return None
        if self._match_text_seq("ROW"):
            if not self._match_texts(("START", "END")):
                self.raise_error("Expected START or END")
        elif not self._balanced():
            self.raise_error("Expected (")
        else:
            self._match_texts(("STORED", "VIRTUAL", "PERSISTENT"))
        return exp.ComputedColumnConstraint(this=exp.Var(this=""))

    def _parse_check_constraint(self) -> exp.CheckColumnConstraint:
        start = self._index
        if not self._balanced():
            self.raise_error("Expected (")
        names = [token.text.upper() for token in self._tokens[start : self._index]]
        json = names[:3] == ["(", "JSON_VALID", "("] and names[-2:] == [")", ")"]
        self._match_text_seq("NOT", "ENFORCED") or self._match_text_seq("ENFORCED")
        return exp.CheckColumnConstraint(this=exp.Var(this="JSON" if json else ""))

    def _parse_references(self, match: bool = True) -> exp.Reference:
        self._parse_table_parts()
        self._balanced()
        while self._match_texts(("MATCH", "ON")):
            if self._prev.text.upper() == "ON":
                self._advance_any()  # DELETE, UPDATE
            if not (self._match_pair(TokenType.SET, TokenType.NULL) or self._match_text_seq("NO", "ACTION")):
                if self._match(TokenType.SET) and not self._match(TokenType.DEFAULT, advance=False):
                    self.raise_error("Expected NULL or DEFAULT")
                self._advance_any()  # FULL, PARTIAL, SIMPLE; CASCADE, RESTRICT; DEFAULT
        return exp.Reference(this=exp.Var(this=""))

    def _parse_charset(self) -> exp.Expr:
        if self._prev.text.upper() != "CHARSET" and not self._match(TokenType.SET):
            self.raise_error("Expected SET")
        return exp.CharacterSetColumnConstraint(this=self._word())

    def _word(self) -> exp.Expr:
        return self._parse_var_or_string() or self.raise_error("Expected a name")

    def _parse_ignored(self) -> exp.Expr | None:
        """An attribute that only one server takes."""
        name = self._prev.text.upper()
        if name in ("WITH", "WITHOUT"):
            return exp.Var(this="IGNORED") if self._match_text_seq("SYSTEM", "VERSIONING") else None
        if name == "COMPRESSED":
            if self._match(TokenType.EQ, advance=False):
                self._skip_value()
        elif name in COLUMN_OPTIONS:
            self._retreat(self._index - 1)
            self._skip_option(COLUMN_OPTIONS)
        return exp.Var(this="IGNORED")

    ONLY_OF_TYPES: ClassVar = ("UNSIGNED", "ZEROFILL", "SIGNED", "BINARY", "BYTE", "ASCII", "UNICODE", "CHAR")
    TYPE_ATTRIBUTES: ClassVar = (*ONLY_OF_TYPES, "CHARACTER", "CHARSET", "COLLATE")
    CONSTRAINT_PARSERS: ClassVar[dict[str, Callable[[Any], exp.Expr | None]]] = {
        "NOT": MySQLParser.CONSTRAINT_PARSERS["NOT"],
        "NULL": MySQLParser.CONSTRAINT_PARSERS["NULL"],
        "COMMENT": lambda self: exp.CommentColumnConstraint(
            this=self._parse_string() or self.raise_error("Expected a quoted comment")
        ),
        "AUTO_INCREMENT": lambda self: exp.AutoIncrementColumnConstraint(),
        "DEFAULT": lambda self: self._parse_default(),
        "ON": lambda self: self._parse_on_update(),
        "GENERATED": lambda self: self._parse_generated(),
        "AS": lambda self: self._parse_generated(),
        "CHECK": lambda self: self._parse_check_constraint(),
        "REFERENCES": lambda self: self._parse_references(),
        "COLLATE": lambda self: exp.CollateColumnConstraint(this=self._word()),
        **dict.fromkeys(("CHARACTER", "CHAR", "CHARSET"), lambda self: self._parse_charset()),
        "BYTE": lambda self: exp.CharacterSetColumnConstraint(this=exp.var("binary")),
        **dict.fromkeys(("UNSIGNED", "ZEROFILL"), lambda self: exp.Var(this="UNSIGNED")),
        **dict.fromkeys(("SIGNED", "BINARY", "ASCII", "UNICODE"), lambda self: exp.Var(this="SIGNED")),
        **dict.fromkeys(("PRIMARY KEY", "PRIMARY", "KEY"), lambda self: exp.PrimaryKeyColumnConstraint()),
        "UNIQUE": lambda self: exp.UniqueColumnConstraint(index_type=self._match(TokenType.KEY)),
        "SERIAL": lambda self: exp.Var(this="SERIAL") if self._match_text_seq("DEFAULT", "VALUE") else None,
        **dict.fromkeys(
            (*COLUMN_OPTIONS, "VISIBLE", "INVISIBLE", "COMPRESSED", "WITH", "WITHOUT"),
            lambda self: self._parse_ignored(),
        ),
    }
