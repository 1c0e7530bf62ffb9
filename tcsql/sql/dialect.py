"""MySQL's schema statements for sqlglot: its MySQL dialect, extended by what servers print and it does not take.

sqlglot gives the tokens, the statements and their nodes. Added or replaced, in the places that its dialects use:
column definitions (see ``columns.py``); keys with prefix lengths, DESC and options, in CREATE TABLE, ALTER TABLE and
CREATE INDEX alike (``KEY_PARSERS``); table options and PARTITION BY (``_parse_property``); CREATE FULLTEXT INDEX,
RENAME TABLE; the actions of ALTER TABLE (``ALTER_PARSERS``), None for those that change nothing here.

Statements are split and their parentheses counted on tokens, before anything recurses. sqlglot's fallback to an opaque
Command (and its warning) is an error here. Importing sqlglot takes time and memory: only parse_statements does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, NoReturn

from sqlglot import exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import TokenError
from sqlglot.helper import ensure_list
from sqlglot.tokenizer_core import Token, TokenType

from tcsql.errors import did_you_mean
from tcsql.sql.keys import KeyParser
from tcsql.sql.tokens import Source, code_of

#: Deeper nests are no schema.
MAX_DEPTH: Final = 200
#: Each action makes a new schema of up to 4,096 columns.
MAX_ACTIONS: Final = 1_000

RELOAD: Final = "create a table with the new definition, load the rows into it, and RENAME TABLE"
#: Of MySQL 9 and MariaDB 11, by their manuals ("CREATE TABLE", table_options).
_TABLE_OPTIONS: Final = (
    "ENGINE", "TYPE", "AVG_ROW_LENGTH", "CHARSET", "COLLATE", "CHECKSUM", "TABLE_CHECKSUM", "COMMENT", "COMPRESSION",
    "CONNECTION", "DELAY_KEY_WRITE", "ENCRYPTION", "ENCRYPTED", "ENCRYPTION_KEY_ID", "ENGINE_ATTRIBUTE",
    "SECONDARY_ENGINE_ATTRIBUTE", "INSERT_METHOD", "KEY_BLOCK_SIZE", "MAX_ROWS", "MIN_ROWS", "PACK_KEYS", "PASSWORD",
    "ROW_FORMAT", "SECONDARY_ENGINE", "STATS_AUTO_RECALC", "STATS_PERSISTENT", "STATS_SAMPLE_PAGES", "TABLESPACE",
    "STORAGE", "UNION", "AUTOEXTEND_SIZE", "PAGE_CHECKSUM", "PAGE_COMPRESSED", "PAGE_COMPRESSION_LEVEL", "SEQUENCE",
    "TRANSACTIONAL", "IETF_QUOTES",
)  # fmt: skip
_TWO_WORD_OPTIONS: Final = (("CHAR", "SET"), ("CHARACTER", "SET"), ("DATA", "DIRECTORY"), ("INDEX", "DIRECTORY"))
_QUERY_WORDS: Final = ("SELECT", "AS", "IGNORE", "REPLACE", "WITH", "VALUES", "TABLE")


class RenameTables(exp.Expression):
    """RENAME TABLE: pairs of tables in ``expressions``."""

    arg_types = {"expressions": True}  # noqa: RUF012 -- sqlglot's own form of a node


class AlterIndex(exp.Expression):
    """ALTER INDEX: the index, and whether it is to be ``visible``."""

    arg_types = {"this": True, "visible": True}  # noqa: RUF012 -- sqlglot's own form of a node


def statements(source: Source) -> list[list[Token]]:
    """The tokens of each statement, split at every ``;``. Raises SqlSyntax, for parentheses that do not match too."""
    found: list[list[Token]] = [[]]
    opened: list[Token] = []
    for token in _tokens(source):
        if token.token_type is TokenType.L_PAREN:
            opened.append(token)
            if len(opened) > MAX_DEPTH:
                raise source.error(token.start, f"more than {MAX_DEPTH} parentheses inside one another")
        elif token.token_type is TokenType.R_PAREN and opened:
            opened.pop()
        if token.token_type is not TokenType.SEMICOLON:
            found[-1].append(token)
            continue
        if opened:
            break
        found.append([])
    if opened:
        raise source.error(opened[-1].start, "the ( here is not closed")
    return [tokens for tokens in found if tokens]


def _tokens(source: Source) -> list[Token]:
    try:
        return _DIALECT.tokenize(code_of(source))
    except TokenError as error:  # none is known that code_of lets pass
        raise source.error(error.start or 0, "words and signs near here cannot be told apart") from None


def parse(tokens: list[Token], source: Source) -> exp.Expr:
    """The tree of one statement. Raises SqlSyntax, UnsupportedStatement. O(tokens)."""
    parser = _Parser(dialect=_DIALECT)
    parser.source = source
    try:
        [found] = parser.parse(tokens, source.text)
    except RecursionError:  # no rule here recurses by the text's depth; sqlglot's own may
        raise source.error(tokens[0].start, "this statement is nested too deeply") from None
    assert found is not None  # the caller's statements begin with words that have a rule
    return found


class _Parser(KeyParser):
    # -- statements --------------------------------------------------------------------------------------------------

    def _parse_statement(self) -> exp.Expr | None:
        node = super()._parse_statement()
        if self._curr:
            self._parse_as_command(self._prev)
        return node

    def _parse_create(self) -> exp.Create:
        fulltext = self._match_text_seq("FULLTEXT")
        node = super()._parse_create()
        if fulltext:
            node.set("kind", "FULLTEXT")
        assert isinstance(node, exp.Create)  # its fallback to a Command raises here
        return node

    def _parse_index(self, index: exp.Expr | None = None, anonymous: bool = False) -> exp.Index | None:
        if index is None:  # sqlglot looks for an index after every CREATE TABLE
            return self.fail("expected the name of an index") if anonymous else None
        self._parse_index_constraint_options()
        if not self._match(TokenType.ON):
            self.raise_error("Expected ON")
        table = self._parse_table_parts()
        params = exp.IndexParameters(columns=self._parse_key_parts())
        self._parse_how()
        return exp.Index(this=index, table=table, params=params)

    def _parse_schema(self, this: exp.Expr | None = None) -> exp.Expr | None:
        if self._match_text_seq("(", "LIKE"):
            like = exp.LikeProperty(this=self._parse_table_parts())
            self._match_r_paren()
            return exp.Schema(this=this, expressions=[like])
        if not self._match(TokenType.L_PAREN, advance=False):
            return this
        parts = self._parse_wrapped_csv(lambda: self._parse_constraint() or self._parse_field_def())
        return exp.Schema(this=this, expressions=parts)

    def _parse_properties(self, before: bool | None = None) -> exp.Properties | None:
        """All that follows the ) of CREATE TABLE."""
        if before:
            return self.fail("a list of columns does not begin with ,") if self._prev.text == "," else None
        properties = super()._parse_properties()
        if self._match_texts(_QUERY_WORDS, advance=False):
            raise self.unsupported("CREATE TABLE … SELECT is not supported", "create the table, then load its rows")
        if self._curr:
            known = (*_TABLE_OPTIONS, "AUTO_INCREMENT")
            self.fail(f"{self.shown()} is no table option", did_you_mean(self._curr.text, known))
        return properties

    def _parse_property(self) -> exp.Expr | None:
        """What may follow the ) of CREATE TABLE, one clause of it."""
        if self._match_text_seq("LIKE"):
            return exp.LikeProperty(this=self._parse_table_parts())
        if self._match_text_seq("WITH", "SYSTEM", "VERSIONING"):
            return exp.WithSystemVersioningProperty(on=True)
        if self._match_text_seq("PARTITION BY"):
            while self._curr:
                self._advance()
            return exp.PartitionedByProperty(this=exp.Var(this=""))
        if self._match_text_seq("AUTO_INCREMENT"):
            self._match_text_seq("=")
            return exp.AutoIncrementProperty(this=self._parse_type_size())
        return self._parse_option()

    def _parse_option(self) -> exp.Property | None:
        """A table option; sqlglot takes any name with a =, which would hide a mistyped one."""
        self._match(TokenType.DEFAULT)
        if self._match_text_seq("START", "TRANSACTION"):
            return exp.Property(this=exp.var("START"), value=exp.var("TRANSACTION"))
        pairs = any(self._match_text_seq(*pair, advance=False) for pair in _TWO_WORD_OPTIONS)
        if pairs:
            self._advance()
        quoted = self._match(TokenType.IDENTIFIER, advance=False) and self._next.token_type is TokenType.EQ
        if pairs or quoted or self._match_texts(_TABLE_OPTIONS, advance=False):
            name = self._curr.text
            self._advance()
            self._skip_value()
            return exp.Property(this=exp.var(name), value=exp.Var(this=self._prev.text))
        if self._prev.token_type is TokenType.DEFAULT:
            self.fail(f"expected an option after DEFAULT, found {self.shown()}")
        return None

    def _parse_drop(self, exists: bool = False, kind: str | None = None) -> exp.Drop:
        """DROP INDEX and DROP TABLE."""
        node = super()._parse_drop(exists, kind)
        assert isinstance(node, exp.Drop)  # its fallback to a Command raises here
        if node.args["kind"] == "INDEX" and node.args["cluster"] is None:
            self.raise_error("Expected ON")
        self._parse_how()
        return node

    def _parse_truncate_table(self) -> exp.Expr:
        self._match(TokenType.TABLE)
        return exp.TruncateTable(expressions=[self._parse_table_parts()])

    def _parse_rename(self) -> exp.Expr:
        self._match_texts(("TABLE", "TABLES"))
        return RenameTables(expressions=self._parse_csv(self._parse_renamed_table))

    def _parse_renamed_table(self) -> exp.Expr:
        old = self._parse_table_parts()
        return exp.Tuple(expressions=[old, self._parse_to(self._parse_table_parts)])

    def _parse_to(self, rule: Callable[[], exp.Expr]) -> exp.Expr:
        if not self._match_text_seq("TO"):
            self.raise_error("Expected TO")
        return rule()

    # -- ALTER TABLE -------------------------------------------------------------------------------------------------

    def _parse_alter(self) -> exp.Alter:
        self._match_texts(("ONLINE", "IGNORE"))
        self._match(TokenType.TABLE)
        exists = self._parse_exists()
        table = self._parse_table_parts()
        actions: list[exp.Expr] = []
        count = 0
        while True:
            actions += ensure_list(self._parse_action())
            count += 1
            if count > MAX_ACTIONS:
                self.fail(f"more than {MAX_ACTIONS} actions in one ALTER TABLE")
            if not self._match(TokenType.COMMA):
                return exp.Alter(this=table, kind="TABLE", exists=exists, actions=actions)

    def _parse_action(self) -> Any:
        """One action: its node, a list of nodes, or None."""
        if self._match_texts(self.ALTER_PARSERS):
            return self.ALTER_PARSERS[self._prev.text.upper()](self)
        if self._parse_option() is None:
            near = did_you_mean(self._curr.text, sorted(self.ALTER_PARSERS))
            self.fail(f"{self.shown()} is no action of ALTER TABLE that is known here", near)
        while self._parse_option() is not None:  # options of one list need no comma
            pass
        return None

    def _refuse(self) -> NoReturn:
        raise self.unsupported("this action of ALTER TABLE is not supported", RELOAD)

    def _parse_alter_table_add(self) -> list[Any]:
        if not self._match_text_seq("COLUMN"):
            if self._match_texts(("PARTITION", "SYSTEM"), advance=False):
                self._refuse()
            if key := self._parse_constraint():
                return [exp.AddConstraint(expressions=[key])]
        exists = self._parse_exists(not_=True)
        if self._match(TokenType.L_PAREN, advance=False):
            columns = self._parse_wrapped_csv(self._parse_field_def)
        else:
            columns = [self._parse_field_def()]
        for column in columns:
            column.set("exists", exists)
        return columns

    def _parse_drop_action(self) -> exp.Expr | None:
        if self._match_texts(("PRIMARY KEY", "PARTITION")):
            self._refuse()
        if self._match_text_seq("SYSTEM", "VERSIONING"):
            return None
        unkept = self._match_texts(("FOREIGN KEY", "CHECK"))
        kind = "COLUMN"
        if not unkept and self._match_texts(("COLUMN", "INDEX", "KEY", "CONSTRAINT")):
            kind = self._prev.text.upper().replace("KEY", "INDEX")
        exists = self._parse_exists()
        name = self._name()
        self._match_texts(("RESTRICT", "CASCADE"))
        return None if unkept else exp.Drop(kind=kind, exists=exists, tables=[name])

    def _parse_rename_action(self) -> exp.Expr:
        if self._match_texts(("COLUMN", "INDEX", "KEY")):
            node = exp.RenameColumn if self._prev.text.upper() == "COLUMN" else exp.RenameIndex
            old = self._name()
            return node(this=old, to=self._parse_to(self._name))
        self._match_texts(("TO", "AS")) or self._match(TokenType.EQ)
        return exp.AlterRename(this=self._parse_table_parts())

    def _parse_alter_table_modify(self, rename: bool = False) -> exp.Expr:
        self._match(TokenType.COLUMN)
        self._parse_exists()
        old = self._name() if rename else None
        column = self._parse_field_def()
        if position := column.args.get("position"):
            raise self.source.unsupported(position.meta["start"], "a column keeps its place in the table", RELOAD)
        return exp.ModifyColumn(this=column, rename_from=old)

    def _parse_alter_table_alter(self) -> exp.Expr:
        if not self._match_texts(("INDEX", "KEY")):
            self._refuse()
        name = self._name()
        negated = self._match(TokenType.NOT)
        if not self._match_texts(("VISIBLE", "INVISIBLE", "IGNORED")):
            self.raise_error("Expected VISIBLE or INVISIBLE")
        return AlterIndex(this=name, visible=(self._prev.text.upper() == "VISIBLE") is not bool(negated))

    def _parse_order_by(self) -> None:
        while True:
            self._name()
            self._match_texts(("ASC", "DESC"))
            # a comma is followed by another column here, or by the next action
            after = self._tokens[self._index + 2] if self._index + 2 < self._tokens_size else None
            more = after is None or after.text.upper() in (",", "ASC", "DESC")
            if not (more and self._match(TokenType.COMMA)):
                return

    def _parse_conversion(self) -> None:
        if not self._match_text_seq("TO") or self._parse_option() is None:
            self.raise_error("Expected TO CHARACTER SET")
        self._parse_option()  # COLLATE

    def _parse_keys(self) -> None:
        if not self._match_text_seq("KEYS"):
            self.raise_error("Expected KEYS")

    ALTER_PARSERS: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "ADD": lambda self: self._parse_alter_table_add(),
        "DROP": lambda self: self._parse_drop_action(),
        "RENAME": lambda self: self._parse_rename_action(),
        "CHANGE": lambda self: self._parse_alter_table_modify(rename=True),
        "MODIFY": lambda self: self._parse_alter_table_modify(),
        "ALTER": lambda self: self._parse_alter_table_alter(),
        "ORDER BY": lambda self: self._parse_order_by(),
        "CONVERT": lambda self: self._parse_conversion(),
        "FORCE": lambda self: None,
        **dict.fromkeys(("ENABLE", "DISABLE"), lambda self: self._parse_keys()),
        **dict.fromkeys(("ALGORITHM", "LOCK"), lambda self: self._skip_value()),
        **dict.fromkeys(("AUTO_INCREMENT", "PARTITION BY"), lambda self: self._refuse()),
    }
    STATEMENT_PARSERS: ClassVar[dict[TokenType, Callable[[Any], exp.Expr]]] = {
        TokenType.CREATE: lambda self: self._parse_create(),
        TokenType.ALTER: lambda self: self._parse_alter(),
        TokenType.DROP: lambda self: self._parse_drop(),
        TokenType.TRUNCATE: lambda self: self._parse_truncate_table(),
        TokenType.RENAME: lambda self: self._parse_rename(),
    }


class _Tokenizer(MySQL.Tokenizer):
    COMMENTS: ClassVar[list[str | tuple[str, str]]] = []  # blanks already, see tokens.py
    COMMANDS: ClassVar[set[TokenType]] = set()  # RENAME would swallow its statement as one string


class SchemaStatements(MySQL):
    """The dialect, as sqlglot registers it."""

    Tokenizer = _Tokenizer
    Parser = _Parser


_DIALECT: Final = SchemaStatements()
