"""WHERE as a filter: conditions joined by AND, OR and NOT become conjunctions of which any holds.

SQL has three truth values and a row counts only if the whole is TRUE; a condition of ours has two, and its negation
is true of NULL. So an expression is read twice over: as the rows for which it is TRUE, and, below a NOT, as those for
which it is FALSE. Neither holds a row whose value is NULL, so a negated condition comes with ``~NULL``.

    NOT (a = 1 AND b > 2)    ->    a:~NUMEQ:1 & a:~NULL    or    b:NUMLE:2

Numbers compare with numeric columns and texts with text columns; where MySQL would convert one into the other, the
statement is refused. Ranges are for numbers: no operator of ours compares the order of texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from tcsql.engine.query import ColumnRef, Condition, Conjunction, Filter, Operator
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import Kind
from tcsql.errors import InvalidValue, LimitExceeded, UnknownColumn, UnsupportedStatement

if TYPE_CHECKING:  # late, as in parser.py
    from sqlglot import exp

#: A place in a statement as it was parsed, and one that is cut off at the end of a message.
PLACEHOLDER: Final = re.compile(":tcsql_place_([0-9]{2})")
_CUT_PLACEHOLDER: Final = re.compile(":tcsql[a-z_]*[0-9]?$")
#: What can be said instead.
INSTEAD: Final = "say it in the URL's grammar"
_COMPARISONS: Final = {
    "eq": Operator.NUMEQ,
    "gt": Operator.NUMGT,
    "gte": Operator.NUMGE,
    "lt": Operator.NUMLT,
    "lte": Operator.NUMLE,
}
#: The other side of the same comparison, and what is true where it is false (and nothing is NULL).
_TURNED: Final = {"eq": "eq", "neq": "neq", "gt": "lt", "gte": "lte", "lt": "gt", "lte": "gte"}
_OPPOSITE: Final = {"gt": "lte", "gte": "lt", "lt": "gte", "lte": "gt"}
_PLAIN_NUMBER: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_WORD: Final = re.compile(r"[^\x00-\x20,]+")
_TEMPORAL: Final = frozenset({Kind.DATE, Kind.DATETIME, Kind.TIME})
_CHOSEN: Final = frozenset({Kind.ENUM, Kind.SET})
_TEXTS: Final = _TEMPORAL | _CHOSEN | {Kind.TEXT}

#: Conjunctions of which any holds; none at all: no row.
AnyOf = list[Conjunction]


class Value(NamedTuple):
    """An operand: a literal or a mark. ``type``: ``number``, ``text``, or the type of the place."""

    text: str
    type: str


def refuse(message: str, hint: str | None = INSTEAD) -> UnsupportedStatement:
    """The refusal of what has no equal here."""
    return UnsupportedStatement(message, hint)


def placeholder(number: int) -> str:
    """What a mark is called in the statement that is parsed; ``PLACEHOLDER`` finds it in a message."""
    return f"tcsql_place_{number:02}"


def shown(node: exp.Expr) -> str:
    """A node as SQL, for messages."""
    return f'"{_CUT_PLACEHOLDER.sub("…", node.sql(dialect="mysql")[:80])}"'


def require_parts(node: exp.Expr, *known: str) -> None:
    """Raises UnsupportedStatement when a node has a part that nobody looks at."""
    for name, part in node.args.items():
        if name not in known and part not in (None, False, []):
            what = name.rstrip("_").replace("_", " ").upper()
            raise refuse(f"{what} in {shown(node)} is not supported")


@dataclass(frozen=True, slots=True)
class Names:
    """What names mean in one statement: the table, its alias, and the marks of placeholders."""

    table: str
    alias: str
    marks: Mapping[str, str]

    def mark(self, node: exp.Expr) -> str | None:
        """The mark that a placeholder stands for; None when the node is none. Raises UnsupportedStatement."""
        if node.key != "placeholder":
            return None
        mark = self.marks.get(node.name)
        if mark is None:
            raise refuse(f"{shown(node)} stands for no value", "write {name:type}")
        return mark

    def column(self, node: exp.Expr, schema: TableSchema) -> Column:
        """The column that a node names; raises UnsupportedStatement and UnknownColumn."""
        if node.key != "column" or node.this.key != "identifier":
            raise refuse(f"{shown(node)} is not a column")
        require_parts(node, "this", "table")
        owner = node.text("table")
        if owner and owner not in (self.table, self.alias):
            raise UnknownColumn(f"{shown(node)} is of another table")
        return schema.column(node.name)

    def ref(self, column: Column, schema: TableSchema) -> ColumnRef:
        """The column as queries name it."""
        return None if schema.primary_key == (column.name,) else column.name


class Where:
    """Reads one WHERE against a table. ``types``: of the places, by the number of their mark."""

    def __init__(self, schema: TableSchema, names: Names, types: Sequence[str], most_conditions: int) -> None:
        self._schema = schema
        self._names = names
        self._types = dict(zip(names.marks.values(), types, strict=True))
        self._most = most_conditions

    def filter(self, node: exp.Expr) -> Filter:
        """The filter that holds exactly where the expression is TRUE."""
        any_of = self._rows(node, True)
        if not any_of:
            raise refuse(f"no row can match {shown(node)}", None)
        if any(not conjunction for conjunction in any_of):
            return Filter()
        return Filter(tuple(dict.fromkeys(any_of)))

    def _rows(self, node: exp.Expr, wanted: bool) -> AnyOf:
        """The rows for which an expression is TRUE, or, if that is not wanted, FALSE."""
        key = node.key
        if key == "paren":
            require_parts(node, "this")
            return self._rows(node.this, wanted)
        if key == "not":
            require_parts(node, "this")
            return self._rows(node.this, not wanted)
        if key in ("and", "or"):
            require_parts(node, "this", "expression")
            left, right = self._rows(node.this, wanted), self._rows(node.expression, wanted)
            return self._bounded(left + right if (key == "or") is wanted else _both(left, right, self._most))
        rule = self._RULES.get(key)
        if rule is None:
            raise refuse(f"{shown(node)} is not a condition that is taken")
        if node.args.get("negate"):
            wanted = not wanted
        return self._bounded(rule(self, node, wanted))

    def _bounded(self, any_of: AnyOf) -> AnyOf:
        if sum(map(len, any_of)) > self._most:
            raise LimitExceeded(f"more than {self._most} conditions", "raise max_conditions, or ask for less")
        return any_of

    # --- conditions -----------------------------------------------------------------------------------------

    def _comparison(self, node: exp.Expr, wanted: bool) -> AnyOf:
        require_parts(node, "this", "expression")
        key, left, right = node.key, node.this, node.expression
        if left.key != "column":
            key, left, right = _TURNED[key], right, left
        column = self._names.column(left, self._schema)
        if key in ("eq", "neq"):
            return self._equality(column, [self._value(right)], (key == "eq") is wanted)
        value = self._number(column, self._value(right))
        return [(self._is(column, _COMPARISONS[key if wanted else _OPPOSITE[key]], value),)]

    def _in(self, node: exp.Expr, wanted: bool) -> AnyOf:
        require_parts(node, "this", "expressions", "negate")
        column = self._names.column(node.this, self._schema)
        if not node.expressions:
            raise refuse(f"{shown(node)} has no list")
        return self._equality(column, [self._value(each) for each in node.expressions], wanted, listed=True)

    def _between(self, node: exp.Expr, wanted: bool) -> AnyOf:
        require_parts(node, "this", "low", "high", "negate")
        column = self._names.column(node.this, self._schema)
        low, high = (self._number(column, self._value(node.args[end])) for end in ("low", "high"))
        if wanted:
            return [(self._is(column, Operator.NUMGE, low), self._is(column, Operator.NUMLE, high))]
        return [(self._is(column, Operator.NUMLT, low),), (self._is(column, Operator.NUMGT, high),)]

    def _null(self, node: exp.Expr, wanted: bool) -> AnyOf:
        require_parts(node, "this", "expression", "negate")
        if node.expression.key != "null":
            raise refuse(f"{shown(node)} is not IS NULL")
        column = self._names.column(node.this, self._schema)
        if not column.nullable:
            return [] if wanted else [()]
        return [(self._is(column, Operator.NULL, "", negated=not wanted),)]

    def _like(self, node: exp.Expr, wanted: bool) -> AnyOf:
        require_parts(node, "this", "expression", "negate")
        column = self._names.column(node.this, self._schema)
        if column.type.kind not in _TEXTS:
            raise refuse(f"LIKE on {column.name}, which is {column.type.name}, is not supported")
        begins, ends, text = self._pattern(node.expression)
        if begins and ends and not text:
            return [self._present(column)] if wanted else []
        operator = {
            (False, False): Operator.STREQ,
            (False, True): Operator.STRBW,
            (True, False): Operator.STREW,
            (True, True): Operator.STRINC,
        }[begins, ends]
        return self._either(column, operator, text, wanted)

    _RULES: Final[Mapping[str, Callable[[Where, exp.Expr, bool], AnyOf]]] = {
        **dict.fromkeys(("eq", "neq", "gt", "gte", "lt", "lte"), _comparison),
        "in": _in,
        "between": _between,
        "is": _null,
        "like": _like,
    }

    def _equality(self, column: Column, values: Sequence[Value], wanted: bool, listed: bool = False) -> AnyOf:
        for value in values:
            if value.type in ("ints", "words") and not listed:
                raise refuse(f"a list of values is not equal to {column.name}", f"write {column.name} IN ( … )")
        if column.type.is_numeric:
            numbers = [self._number(column, value) for value in values]
            lists = len(values) > 1 or values[0].type == "ints"
            return self._either(column, Operator.NUMOREQ if lists else Operator.NUMEQ, ",".join(numbers), wanted)
        texts = [self._text(column, value) for value in values]
        if len(values) > 1 and all(self._is_word(column, value) for value in values):
            return self._either(column, Operator.STROREQ, ",".join(texts), wanted)
        found = [self._either(column, Operator.STREQ, text, wanted) for text in texts]
        if wanted:
            return [conjunction for any_of in found for conjunction in any_of]
        joined = found[0]
        for any_of in found[1:]:
            joined = _both(joined, any_of, self._most)
        return joined

    def _is_word(self, column: Column, value: Value) -> bool:
        is_text = value.type == "date" or (value.type == "text" and value.text not in self._types)
        return is_text and column.type.kind in _TEXTS and _WORD.fullmatch(value.text) is not None

    def _either(self, column: Column, operator: Operator, operand: str, wanted: bool) -> AnyOf:
        """A condition, or the rows for which it is FALSE: neither holds NULL."""
        condition = self._is(column, operator, operand, negated=not wanted)
        return [(condition,) if wanted else (condition, *self._present(column))]

    def _present(self, column: Column) -> Conjunction:
        return (self._is(column, Operator.NULL, "", negated=True),) if column.nullable else ()

    def _is(self, column: Column, operator: Operator, operand: str, negated: bool = False) -> Condition:
        return Condition(self._names.ref(column, self._schema), operator, operand, negated)

    # --- operands -------------------------------------------------------------------------------------------

    def _value(self, node: exp.Expr) -> Value:
        mark = self._names.mark(node)
        if mark is not None:
            return Value(mark, self._types[mark])
        if node.key == "boolean":
            return Value("1" if node.this else "0", "number")
        if node.key == "null":
            raise refuse("a comparison with NULL is never true", "write IS NULL or IS NOT NULL")
        minus = node.key == "neg"
        literal = node.this if minus else node
        if literal.key != "literal" or (minus and literal.args.get("is_string")):
            raise refuse(f"{shown(node)} is not a literal")
        if literal.args.get("is_string"):
            return Value(literal.name, "text")
        if not _PLAIN_NUMBER.fullmatch(literal.name):
            raise refuse(f"{shown(node)} is not a plain number", "write it without an exponent")
        return Value(("-" if minus else "") + literal.name, "number")

    def _number(self, column: Column, value: Value) -> str:
        if not column.type.is_numeric:
            raise refuse(
                f"{column.name} is {column.type.name}: it is not compared as a number here",
                "compare it with a text by =, <>, IN or LIKE",
            )
        if value.type not in ("number", "int", "choice", "ints"):
            raise refuse(f"{column.name} is {column.type.name}: it is compared with numbers", "leave the quotes out")
        return value.text

    def _text(self, column: Column, value: Value) -> str:
        kind = column.type.kind
        if kind not in _TEXTS:
            raise refuse(f"{column.name} is {column.type.name}: only IS NULL is taken of it")
        if value.type in ("number", "int", "ints", "words"):
            raise refuse(f"{column.name} is {column.type.name}: it is compared with texts", "put quotes around it")
        is_literal = value.text not in self._types
        if kind in _TEMPORAL and not is_literal and (kind, value.type) != (Kind.DATE, "date"):
            raise refuse(f"a place of type {value.type} is not compared with {column.name}, a {column.type.name}")
        if kind is not Kind.TEXT and is_literal:
            self._require_canonical(column, value.text)
        return value.text

    def _require_canonical(self, column: Column, text: str) -> None:
        try:
            stored = column.type.from_client(text)
        except InvalidValue as error:
            raise refuse(f"{column.name}: {error.message}", None) from None
        if stored != text:
            raise refuse(f"{column.name} holds {stored!r} for {text!r}", f"write {stored!r}")

    def _pattern(self, node: exp.Expr) -> tuple[bool, bool, str]:
        """Whether anything may stand in front, behind, and the text between."""
        parts: list[str] = []  # "%" alone is the wildcard; texts and marks otherwise
        for each in node.expressions if node.key == "concat" else [node]:
            mark = self._names.mark(each)
            if mark is not None:
                if node.key != "concat":
                    raise refuse(
                        "a value could hold LIKE's own signs", "write LIKE CONCAT({place}, '%'): it is taken literally"
                    )
                parts.append("=" + mark)
            elif each.key == "literal" and each.args.get("is_string"):
                parts += _like_parts(each.name)
            else:
                raise refuse(f"{shown(each)} is not a text")
        begins, ends = parts[:1] == ["%"], parts[-1:] == ["%"]
        while parts[:1] == ["%"]:
            del parts[0]
        while parts[-1:] == ["%"]:
            del parts[-1]
        if "%" in parts:
            raise refuse(f"LIKE {shown(node)}: % stands at the ends only", "STRRX in the URL's grammar takes patterns")
        return begins, ends, "".join(part[1:] for part in parts)


def _like_parts(pattern: str) -> list[str]:
    r"""``%`` for the wildcard, ``=x`` for a character that stands for itself.

    >>> _like_parts(r"a\%%")
    ['=a', '=%', '%']
    """
    parts, place = list[str](), 0
    while place < len(pattern):
        sign = pattern[place]
        if sign == "\\" and place + 1 < len(pattern):
            place += 1
            parts.append("=" + pattern[place])
        elif sign == "_":
            raise refuse("LIKE with _ is not supported", r"write \_ for the sign; STRRX in the URL's grammar has .")
        else:
            parts.append("%" if sign == "%" else "=" + sign)
        place += 1
    return parts


def _both(left: AnyOf, right: AnyOf, most: int) -> AnyOf:
    """All of one with all of the other."""
    if len(left) * len(right) > most:
        raise LimitExceeded(f"more than {most} conditions once every AND of ORs is written out")
    return [tuple(dict.fromkeys((*a, *b))) for a in left for b in right]
