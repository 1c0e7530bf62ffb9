"""From sqlglot's nodes to the tree that the binder reads: names checked, defaults and keys with their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlglot import exp

from tcsql.engine.schema import NAME
from tcsql.sql import tree
from tcsql.sql.dialect import RELOAD, AlterIndex, RenameTables
from tcsql.sql.tokens import Source
from tcsql.sql.types import with_charset

#: Attributes that are part of a column's declaration, for dumps; keys, CHECK, REFERENCES and INVISIBLE are not.
_DECLARED: Final = (
    exp.NotNullColumnConstraint, exp.CommentColumnConstraint, exp.AutoIncrementColumnConstraint,
    exp.DefaultColumnConstraint, exp.OnUpdateColumnConstraint, exp.ComputedColumnConstraint,
    exp.CollateColumnConstraint, exp.CharacterSetColumnConstraint,
)  # fmt: skip
_MOMENTS: Final[dict[type[exp.Expr], str]] = {
    exp.CurrentTimestamp: "timestamp",
    exp.CurrentDate: "date",
    exp.CurrentTime: "time",
}


class Converter:
    """Turns the nodes of one text; errors have their places in it."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def body(self, node: exp.Expr) -> tree.Body:
        """The statement that a node is."""
        if isinstance(node, exp.Create):
            return self._index(node) if isinstance(node.this, exp.Index) else self._table(node)
        if isinstance(node, exp.Drop) and node.args["kind"] == "INDEX":
            table, [index] = node.args["cluster"].this, node.args["tables"]
            return tree.DropIndex(self.name(table), self.name(index, "an index"), _exists(node))
        if isinstance(node, exp.Drop):
            return tree.DropTable(tuple(map(self.name, node.args["tables"])), _exists(node))
        if isinstance(node, exp.TruncateTable):
            return tree.Truncate(self.name(node.expressions[0]))
        if isinstance(node, RenameTables):
            return tree.RenameTables(
                tuple((self.name(old), self.name(new)) for old, new in (pair.expressions for pair in node.expressions))
            )
        assert isinstance(node, exp.Alter)  # the dialect has rules for no other statement
        return self._alter(node)

    def name(self, node: exp.Expr, what: str = "a table") -> tree.Name:
        """A name that TCSQL takes."""
        name = node.this if isinstance(node, exp.Table) else node
        if isinstance(node, exp.Table) and (database := node.args.get("db")):
            raise self.source.error(
                database.meta["end"] + 1,
                f'"{database.name}" names a database, and TCSQL has one set of tables',
                f'write the table\'s name without "{database.name}."',
            )
        if not NAME.fullmatch(name.name):
            raise self.source.error(
                _at(name),
                f'"{name.name[:40]}" cannot be the name of {what}',
                "names have 1 to 64 letters, digits and _ of ASCII and do not begin with a digit",
            )
        return tree.Name(name.name, _at(name))

    # -- tables ------------------------------------------------------------------------------------------------------

    def _table(self, node: exp.Create) -> tree.CreateTable:
        schema = node.this
        found = list(schema.expressions)
        if options := node.args.get("properties"):
            found += options.expressions
        name = self.name(schema.this if isinstance(schema, exp.Schema) else schema)
        columns: list[tree.ColumnSpec] = []
        keys: list[tree.KeySpec] = []
        notes: list[str] = []
        counter = 1
        like: tree.Name | None = None
        for part in found:
            if isinstance(part, exp.ColumnDef):
                columns.append(self.column(part))
                notes.extend(columns[-1].notes)
            elif isinstance(part, exp.LikeProperty):
                like = self.name(part.this)
            elif isinstance(part, exp.AutoIncrementProperty):
                counter = max(1, int(part.this.name))
            elif isinstance(part, exp.WithSystemVersioningProperty):
                notes.append("WITH SYSTEM VERSIONING ignored: old versions of rows are not kept")
            elif isinstance(part, exp.PartitionedByProperty):
                notes.append("PARTITION BY ignored: a table is one piece")
            elif isinstance(part, exp.Constraint | exp.IndexColumnConstraint):
                if ignored := _why_ignored(part):
                    notes.append(f"{ignored} ignored: {part.meta['written']}")
                else:
                    keys.append(self.key(part))
        if like is None and not isinstance(schema, exp.Schema):
            end = name.at + len(name.text)
            raise self.source.unsupported(end, f"CREATE TABLE {name.text} without a list of columns is not supported")
        return tree.CreateTable(
            name, tuple(columns), tuple(keys), tuple(notes), counter, _exists(node), bool(node.args["replace"]), like
        )

    def _index(self, node: exp.Create) -> tree.CreateIndex:
        index = node.this
        parts = tuple(map(self._part, index.args["params"].args["columns"]))
        for part in parts:
            if part.column is None:
                raise self.source.unsupported(part.at, "an index over an expression is not supported")
        kind = "fulltext" if node.args["kind"] == "FULLTEXT" else "unique" if node.args["unique"] else "index"
        name = self.name(index.this, "an index")
        key = tree.KeySpec(kind, name.at, name, parts, _exists(node))
        return tree.CreateIndex(self.name(index.args["table"]), key)

    def key(self, node: exp.Expr) -> tree.KeySpec:
        """A key of CREATE TABLE and ALTER TABLE ADD."""
        name = self.name(node.this, "an index") if node.this else None
        parts = tuple(map(self._part, node.expressions))
        return tree.KeySpec(node.args["kind"].lower(), _at(node), name, parts, bool(node.meta["exists"]))

    def _part(self, node: exp.Expr) -> tree.KeyPart:
        this = node.this
        length = int(this.expression.name) if isinstance(this, exp.ColumnPrefix) else None
        column = None if isinstance(this, exp.Var) else self.name(this if length is None else this.this, "a column")
        return tree.KeyPart(_at(node), column, length, bool(node.args["desc"]))

    # -- columns -----------------------------------------------------------------------------------------------------

    def column(self, node: exp.ColumnDef) -> tree.ColumnSpec:
        """A column with its type, its default and what is said about it."""
        name = self.name(node.this, "a column")
        type_ = node.args["kind"]
        kinds = [constraint.kind for constraint in node.constraints]
        flags = {kind.name for kind in kinds if isinstance(kind, exp.Var)}
        serial = type_.meta["written"].lower() == "serial"
        json = type_.args["kind"] == "longtext" and any(_is_json_check(kind) for kind in kinds)
        default, nullable, notes, charset, of_type = None, not serial, [], None, True
        declared = ["bigint unsigned NOT NULL AUTO_INCREMENT" if serial else "json" if json else type_.meta["written"]]
        for constraint, kind in zip(node.constraints, kinds, strict=True):
            written = constraint.meta["written"]
            charsets = isinstance(kind, exp.CharacterSetColumnConstraint | exp.CollateColumnConstraint)
            of_type = of_type and (charsets or kind.name in ("UNSIGNED", "SIGNED"))
            if isinstance(kind, _DECLARED) and not ((json or serial) and charsets):
                declared.append(written)
            if isinstance(kind, exp.NotNullColumnConstraint):
                nullable = bool(kind.args.get("allow_null"))
            elif isinstance(kind, exp.PrimaryKeyColumnConstraint | exp.AutoIncrementColumnConstraint):
                nullable = False
            elif isinstance(kind, exp.DefaultColumnConstraint):
                default = self._default(kind.this)
            elif isinstance(kind, exp.OnUpdateColumnConstraint):
                notes.append(f"ON UPDATE of column {name.text} happens in MySQL only")
            elif isinstance(kind, exp.Reference):
                notes.append(f"FOREIGN KEY ignored: {name.text} {written}")
            elif isinstance(kind, exp.CheckColumnConstraint) and not (json and _is_json_check(kind)):
                notes.append(f"CHECK ignored: {written}")
            elif charsets and of_type and (not charset or isinstance(kind, exp.CharacterSetColumnConstraint)):
                charset = kind.this.name.lower()
            elif isinstance(kind, exp.Var) and kind.name in ("UNSIGNED", "SIGNED") and not serial:
                declared.append(written)
            elif isinstance(kind, exp.Var) and kind.name == "SERIAL":
                declared.append("NOT NULL AUTO_INCREMENT")
                nullable = False
        values = type_.expressions
        texts = tuple(value.name.rstrip(" ") for value in values if value.is_string)  # as MySQL keeps them
        numbers = tuple(int(value.name) for value in values if not value.is_string)
        kind_name = "json" if json else with_charset(type_.args["kind"], charset)
        spec = tree.TypeSpec(kind_name, _at(type_), numbers, texts, serial or "UNSIGNED" in flags, charset)
        automatic = serial or "SERIAL" in flags
        return tree.ColumnSpec(
            name,
            spec,
            " ".join(declared),
            nullable,
            default,
            automatic or _has(kinds, exp.AutoIncrementColumnConstraint),
            _has(kinds, exp.ComputedColumnConstraint),
            _has(kinds, exp.PrimaryKeyColumnConstraint),
            automatic or _has(kinds, exp.UniqueColumnConstraint),
            tuple(notes),
        )

    @staticmethod
    def _default(node: exp.Expr) -> tree.Default:
        at, written = _at(node), node.meta["written"]
        if moment := _MOMENTS.get(type(node)):
            return tree.Default(at, moment=moment, expression=written)
        if isinstance(node, exp.Null):
            return tree.Default(at)
        if isinstance(node, exp.Boolean):
            return tree.Default(at, value=int(node.this))
        if isinstance(node, exp.HexString):
            digits = node.name
            return tree.Default(at, value=bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits))
        if isinstance(node, exp.BitString):
            return tree.Default(at, value=int(node.name or "0", 2).to_bytes(max(1, (len(node.name) + 7) // 8), "big"))
        if isinstance(node, exp.Concat):  # 'a' 'b' is one string in MySQL
            return tree.Default(at, value="".join(part.name for part in node.expressions))
        if isinstance(node, exp.National) or node.is_string:
            return tree.Default(at, value=node.name)
        number = node.this if isinstance(node, exp.Neg) else node
        if isinstance(number, exp.Literal):
            text = number.name if number is node else "-" + number.name
            return tree.Default(at, value=int(text) if number.name.isdecimal() and len(text) <= 80 else text)
        return tree.Default(at, expression=written)

    # -- ALTER TABLE -------------------------------------------------------------------------------------------------

    def _alter(self, node: exp.Alter) -> tree.AlterTable:
        table = self.name(node.this)
        rename_to: tree.Name | None = None
        actions: list[tree.Action] = []
        for action in node.args["actions"]:
            if isinstance(action, exp.AlterRename):
                rename_to = self.name(action.this)
            elif isinstance(action, exp.AddConstraint):
                actions.extend(self._added_key(table, action.expressions[0]))
            else:
                actions.append(self._action(table, action))
        return tree.AlterTable(table, tuple(actions), rename_to)

    def _added_key(self, table: tree.Name, node: exp.Expr) -> list[tree.Action]:
        ignored = _why_ignored(node)
        if ignored in ("SPATIAL KEY", "key over an expression"):
            raise self.source.unsupported(_at(node), "an index of this kind is not supported")
        if ignored:
            return []
        key = self.key(node)
        if key.kind == "primary":
            raise self.source.unsupported(_at(node), "the primary key of a table cannot be changed", RELOAD)
        return [tree.CreateIndex(table, key)]

    def _action(self, table: tree.Name, node: exp.Expr) -> tree.Action:
        if isinstance(node, exp.ColumnDef):
            position = node.args["position"]
            after = self.name(position.this, "a column") if position and position.this else None
            return tree.AddColumn(self.column(node), position is not None and after is None, after, _exists(node))
        if isinstance(node, exp.Drop):
            kind, [name] = node.args["kind"], node.args["tables"]
            if kind == "COLUMN":
                return tree.DropColumn(self.name(name, "a column"), _exists(node))
            return tree.DropIndex(table, self.name(name, "an index"), _exists(node), kind == "CONSTRAINT")
        if isinstance(node, exp.ModifyColumn):
            column = self.column(node.this)
            old = node.args["rename_from"]
            return tree.ChangeColumn(self.name(old, "a column") if old else column.name, column)
        if isinstance(node, exp.RenameColumn):
            return tree.RenameColumn(self.name(node.this, "a column"), self.name(node.args["to"], "a column"))
        if isinstance(node, AlterIndex):
            return tree.AlterIndex(self.name(node.this, "an index"), bool(node.args["visible"]))
        assert isinstance(node, exp.RenameIndex)  # the dialect has rules for no other action
        return tree.RenameIndex(self.name(node.this, "an index"), self.name(node.args["to"], "an index"))


def _why_ignored(node: exp.Expr) -> str | None:
    """What a key that is not kept is called in the note about it."""
    if isinstance(node, exp.Constraint):
        return node.name
    if node.args["kind"] == "SPATIAL":
        return "SPATIAL KEY"
    return "key over an expression" if any(isinstance(part.this, exp.Var) for part in node.expressions) else None


def _is_json_check(kind: exp.Expr) -> bool:
    return isinstance(kind, exp.CheckColumnConstraint) and kind.name == "JSON"


def _has(kinds: Sequence[exp.Expr], wanted: type[exp.Expr]) -> bool:
    return any(isinstance(kind, wanted) for kind in kinds)


def _exists(node: exp.Expr) -> bool:
    return bool(node.args.get("exists"))


def _at(node: exp.Expr) -> int:
    return int(node.meta["start"])
