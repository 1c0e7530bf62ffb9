"""Hypothesis strategies: schemas, rows, conditions and queries that collide often and are odd on purpose.

Values come from small pools, so that equal keys, ties and empty results all happen; operands come from the same
pools, so that conditions match. Everything is in stored form.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tcsql.engine.query import (
    Aggregate,
    AggregateFunction,
    ColumnRef,
    Condition,
    Count,
    Filter,
    Group,
    Operator,
    OrderKind,
    OrderTerm,
    Select,
)
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import ColumnType, JsonValue, Kind

Made = TypeVar("Made")


def per_schema(make: Callable[[TableSchema], Made]) -> Callable[[TableSchema], Made]:
    """Remember a strategy as long as its schema is in use: building strategies costs more than drawing from them."""
    known: dict[int, tuple[TableSchema, Made]] = {}

    def remembered(schema: TableSchema) -> Made:
        found = known.get(id(schema))
        if found is None or found[0] is not schema:
            if len(known) > 50:
                known.clear()
            found = known[id(schema)] = (schema, make(schema))
        return found[1]

    return remembered


#: How much of everything: 1 in the ordinary run, more when asked for torture.
EFFORT = {"default": 1, "torture": 40}[os.environ.get("TCSQL_TEST_PROFILE", "default")]


def effort(examples: int, steps: int = 50) -> settings:
    return settings(
        max_examples=examples * EFFORT,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


INT = ColumnType(Kind.INTEGER, "int", low=-(2**31), high=2**31 - 1)
TINY = ColumnType(Kind.INTEGER, "tinyint", low=-128, high=127)
BIG = ColumnType(Kind.INTEGER, "bigint", unsigned=True, low=0, high=2**64 - 1)
PRICE = ColumnType(Kind.DECIMAL, "decimal", length=10, scale=2)
WIDE = ColumnType(Kind.DECIMAL, "decimal", length=65, scale=30)
DOUBLE = ColumnType(Kind.FLOAT, "double")
VARCHAR = ColumnType(Kind.TEXT, "varchar", length=60)
TEXT = ColumnType(Kind.TEXT, "text", length=65535)
ENUM = ColumnType(Kind.ENUM, "enum", members=("new", "used", "alt", "Größe"))
DATE = ColumnType(Kind.DATE, "date")
DATETIME = ColumnType(Kind.DATETIME, "datetime")
MICROS = ColumnType(Kind.DATETIME, "timestamp", scale=6)
BLOB = ColumnType(Kind.BINARY, "varbinary", length=8)

TYPES = (INT, TINY, BIG, PRICE, WIDE, DOUBLE, VARCHAR, TEXT, ENUM, DATE, DATETIME, MICROS, BLOB)
TEXTUAL = (VARCHAR, TEXT)

#: Texts that have gone wrong somewhere: signs, zeros, separators, case, accents, width, order of code points.
TEXTS = (
    *("", " ", "a", "b", "ab", "abc", "Ab", "A", "aa", "a b", "b a", "a,b", ",", "a,b  c", " a", "a ", "x\ty", "x\ny"),
    *("0", "00", "-0", "+0", "7", "+7", "-7", "07", " 7", "7 ", "12abc", "1e3", "0x10", "1,000", ".5", "0.5", "-.5"),
    *("9007199254740992", "9007199254740993", "18446744073709551615", "99999999999999999999", "--5", "information"),
    *(
        "hello world",
        "Hello  World",
        "CAFÉ",
        "cafe",
        "café",
        "ＡＢＣ",
        "abc\u3000def",
        "中文全文检索",
        "全文",
        "中",
        "각",
        "가",
    ),
    *(
        "straße",
        "STRASSE",
        "ﬁne",
        "İi",
        "ñ",
        "n\u0303",
        "\uffff",
        "\U0001f600",
        "😀a",
        "a|b",
        'quo"te',
        "back\\slash",
        "null",
    ),
    *("the quick brown fox", "quick fox", "100% sure", "a_b", "$^.*", "2026-11-20", "😀"),
)

#: Small pools: collisions, ties and hits are the rule.
POOLS: dict[ColumnType, tuple[Any, ...]] = {
    INT: (0, 1, 2, 3, 5, 7, -1, -7, 12, 1000, INT.low, INT.high, *range(-9, 20)),
    TINY: (-3, -2, -1, 0, 1, 2, 3, TINY.low, TINY.high),
    BIG: (*range(9), 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1),
    PRICE: (
        *(f"{Decimal(each).scaleb(-2):.2f}" for each in range(-300, 300, 25)),
        "99999999.99",
        "-99999999.99",
        "1.01",
    ),
    WIDE: ("0." + "0" * 30, "0." + "0" * 29 + "1", "-" + "9" * 35 + "." + "9" * 30, "7." + "0" * 30),
    DOUBLE: (0, 1, 0.1, 0.5, -0.5, 7, 1e300, -1e300, 1e16, 5e-324, 2.0**53, 0.30000000000000004, 1.7e308),
    VARCHAR: TEXTS,
    TEXT: (*TEXTS, "lorem ipsum " * 30),
    ENUM: ENUM.members,
    DATE: ("1000-01-01", "2026-11-20", "2026-11-21", "9999-12-31"),
    DATETIME: ("2026-11-20 15:04:05", "2026-11-20 15:04:06", "1970-01-01 00:00:00"),
    MICROS: ("2026-11-20 15:04:05.000000", "2026-11-20 15:04:05.000001", "2038-01-19 03:14:07.999999"),
    BLOB: ("", "AA==", "AAE=", "/w==", "YWJj", "YWI="),
}
#: Larger pools for columns of a primary key, or tables would stay tiny.
KEYS: dict[ColumnType, tuple[Any, ...]] = {
    **POOLS,
    INT: (*POOLS[INT], *range(100, 200)),
    TINY: tuple(range(-60, 60)),
    BIG: (*POOLS[BIG], *range(100, 200)),
    PRICE: (*POOLS[PRICE], *(f"{each}.50" for each in range(-60, 60))),
    DOUBLE: (*POOLS[DOUBLE], *(each + 0.5 for each in range(1, 60))),
    VARCHAR: (*TEXTS, *(f"k{each}" for each in range(60))),
    TEXT: (*TEXTS, *(f"k{each}" for each in range(60))),
    DATE: (*POOLS[DATE], *(f"2026-01-{each:02}" for each in range(1, 32))),
}
VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {kind: st.sampled_from(pool) for kind, pool in POOLS.items()}
VALUES[VARCHAR] |= st.text("ab ,é中1", max_size=6)
VALUES[TEXT] |= st.text("ab ,é中1", max_size=12)

NUMBERS = st.sampled_from(
    (
        *(
            "0",
            "1",
            "2",
            "3",
            "5",
            "7",
            "-1",
            "-7",
            "+7",
            " 7",
            "07",
            "7.0",
            "0.1",
            "0.5",
            ".5",
            "-.5",
            "1.005",
            "2.99",
        ),
        *("abc", "", "9007199254740992", "9007199254740993", "18446744073709551615", "18446744073709551616", "1e3"),
        *("12abc", "0x10", "-2147483648", "2147483648", "0." + "0" * 29 + "1", "1" + "0" * 120, "-1" + "0" * 120),
        *("0." + "0" * 120 + "1", "2026"),
    )
)
TOKENS = st.lists(st.sampled_from(TEXTS) | NUMBERS, max_size=4)
#: Patterns on which POSIX, RE2 and Python agree.
PATTERNS = (
    "",
    "a",
    "^a",
    "a$",
    "^$",
    "a.*b",
    "[ab]+",
    "^[0-9]+$",
    "*ABC",
    "(ab|b a)",
    "x?y",
    "*^hello",
    "\\.",
    "^[^a]",
    "b{2}",
    "o w",
)
PHRASES = (
    "a",
    "b",
    "ab",
    "hello",
    "World",
    "CAFE",
    "é",
    "全文",
    "quick",
    "fox",
    "x",
    "1",
    "0",
    '"a b"',
    '"quick brown"',
    "ss",
)


@cache
def operands(operator: Operator, kind: ColumnType) -> st.SearchStrategy[str]:
    """Operands that have a chance to hold on such a column."""
    value = VALUES[kind].map(lambda each: each if isinstance(each, str) else kind.text(each))
    if operator is Operator.NULL:
        return st.just("")
    if operator is Operator.STRRX:
        return st.sampled_from(PATTERNS)
    if operator is Operator.FTSEX:
        words = st.sampled_from((*PHRASES, "&&", "||", "!!", '"', ""))
        return st.lists(words, max_size=6).map(" ".join)
    if operator in (Operator.FTSAND, Operator.FTSOR, Operator.FTSPH):
        return st.lists(st.sampled_from(PHRASES), max_size=3).map(" ".join) | value
    if operator in (Operator.STRAND, Operator.STROR, Operator.STROREQ, Operator.NUMBT, Operator.NUMOREQ):
        separator = st.sampled_from((",", " ", ", ", ";", "\t"))
        tokens = st.lists(value | NUMBERS, max_size=4)
        return st.tuples(separator, tokens).map(lambda pair: pair[0].join(pair[1])) | value
    if operator.value.startswith("NUM"):
        return NUMBERS | value
    cut = st.tuples(value, st.integers(0, 4), st.integers(0, 4)).map(lambda cut: cut[0][cut[1] : cut[1] + cut[2]])
    return value | cut | st.sampled_from(TEXTS)


@st.composite
def schemas(draw: st.DrawFn, name: str = "t", types: tuple[ColumnType, ...] = TYPES) -> TableSchema:
    """A table of 2 to 6 columns with a key of one or two of them, and up to four indexes."""
    kinds = draw(st.lists(st.sampled_from(types), min_size=2, max_size=6))
    key_parts = draw(st.sampled_from((1, 1, 1, 2)))
    counted = key_parts == 1 and kinds[0] in (INT, BIG) and draw(st.booleans())
    columns = tuple(
        Column(
            f"c{at}",
            kind,
            nullable=(nullable := at >= key_parts and draw(st.booleans())),
            default=(default := draw(st.none() | VALUES[kind]) if at >= key_parts else None),
            has_default=default is not None or nullable,
            auto_increment=counted and at == 0,
        )
        for at, kind in enumerate(kinds)
    )
    names = tuple(column.name for column in columns)
    schema = TableSchema(name, columns, names[:key_parts])
    for at in range(draw(st.integers(0, 4))):
        schema = replace(schema, indexes=(*schema.indexes, draw(indexes(schema, f"i{at}"))))
    return schema


def indexes(schema: TableSchema, name: str) -> st.SearchStrategy[IndexDef]:
    """An ordered index over one to three columns, or full text over a text column where there is one."""
    names = st.lists(st.sampled_from(schema.names), min_size=1, max_size=3, unique=True)
    ordered = names.map(lambda columns: IndexDef(name, tuple(columns)))
    textual = [column.name for column in schema.columns if column.type in TEXTUAL]
    if not textual:
        return ordered
    return ordered | st.sampled_from(textual).map(lambda column: IndexDef(name, (column,), fulltext=True))


def values(column: Column) -> st.SearchStrategy[JsonValue]:
    return st.none() | VALUES[column.type] if column.nullable else VALUES[column.type]


#: What clients cannot store, but MySQL can, and a follower must keep.
ONLY_MYSQL = {DATE: "0000-00-00", DATETIME: "0000-00-00 00:00:00", ENUM: "", VARCHAR: "longer than declared " * 5}


def rows(schema: TableSchema, trusted: bool = False) -> st.SearchStrategy[dict[str, JsonValue]]:
    return tables(schema, 1, 1, trusted).map(lambda found: found[0])


def tables(
    schema: TableSchema, least: int, most: int, trusted: bool = False
) -> st.SearchStrategy[list[dict[str, JsonValue]]]:
    """Many rows from one seed: a hundred draws cost Hypothesis more than all else together."""

    def make(size: int, seed: int) -> list[dict[str, JsonValue]]:
        dice = random.Random(seed)
        alike = _chosen_columns(schema, dice) if dice.random() < 0.6 else None
        return [_row(schema, alike or _chosen_columns(schema, dice), trusted, dice) for _ in range(size)]

    return st.builds(make, st.integers(least, most), st.integers(0, 2**32))


def _chosen_columns(schema: TableSchema, dice: random.Random) -> list[Column]:
    """Columns that have a DEFAULT or count up by themselves may be left out; loaders leave out the same in all rows."""
    optional = [column.nullable or column.has_default or column.auto_increment for column in schema.columns]
    pairs = zip(schema.columns, optional, strict=True)
    return [column for column, may_miss in pairs if not may_miss or dice.random() < 0.85]


def _row(schema: TableSchema, columns: list[Column], trusted: bool, dice: random.Random) -> dict[str, JsonValue]:
    row: dict[str, JsonValue] = {}
    for column in columns:
        pool = KEYS if column.name in schema.primary_key else POOLS
        value = dice.choice(pool[column.type])
        if column.nullable and dice.random() < 0.2:
            value = None
        if trusted and column.type in ONLY_MYSQL and dice.random() < 0.3:
            value = ONLY_MYSQL[column.type]
        row[column.name] = value
    return row


@per_schema
def references(schema: TableSchema) -> st.SearchStrategy[ColumnRef]:
    return st.sampled_from((None, *schema.names))


def type_of(schema: TableSchema, column: ColumnRef) -> ColumnType:
    return schema.by_name[schema.primary_key[0] if column is None else column].type


@st.composite
def conditions(draw: st.DrawFn, schema: TableSchema, operators: tuple[Operator, ...] = tuple(Operator)) -> Condition:
    column = draw(references(schema))
    operator = draw(st.sampled_from(operators))
    operand = draw(operands(operator, type_of(schema, column)))
    return Condition(column, operator, operand, draw(st.sampled_from((False, False, False, True))))


#: What an index can serve comes more often than what it cannot.
FREQUENT = (
    Operator.NUMGE,
    Operator.NUMLE,
    Operator.NUMBT,
    Operator.NUMEQ,
    Operator.STREQ,
    Operator.STRBW,
    Operator.STROREQ,
)


#: One value, and a list of them.
POINTS = {True: (Operator.NUMEQ, Operator.NUMOREQ), False: (Operator.STREQ, Operator.STROREQ)}


@st.composite
def aimed(draw: st.DrawFn, schema: TableSchema) -> tuple[Condition, ...]:
    """Points on the first columns of an index, perhaps a range of the next: what indexes are for."""
    index = draw(st.sampled_from(schema.indexes)) if schema.indexes else None
    columns = index.columns if index is not None else schema.primary_key
    found = []
    for name in columns[: draw(st.integers(1, len(columns)))]:
        kind = schema.by_name[name].type
        point, listed = POINTS[kind.is_numeric]
        operator = draw(st.sampled_from((point, point, listed, Operator.NULL)))
        values = draw(st.lists(VALUES[kind].map(kind.text), min_size=1, max_size=3 if operator is listed else 1))
        found.append(Condition(name, operator, "" if operator is Operator.NULL else ",".join(values)))
    if draw(st.booleans()):
        last = found.pop()
        assert last.column is not None
        operator = draw(st.sampled_from((*RANGES, *FREQUENT)))
        operand = draw(operands(operator, schema.by_name[last.column].type))
        found.append(Condition(last.column, operator, operand))
    return tuple(found)


RANGES = (Operator.NUMGT, Operator.NUMGE, Operator.NUMLT, Operator.NUMLE, Operator.NUMBT, Operator.STRBW)


@per_schema
def narrow_filters(schema: TableSchema) -> st.SearchStrategy[Filter]:
    """For deletes: filters that mostly leave rows behind, or random histories would tell of empty tables only."""
    one = conditions(schema, (*FREQUENT, *FREQUENT, *Operator)).map(lambda each: replace(each, negated=False))
    several = st.lists(one, min_size=1, max_size=3).map(tuple)
    return (several | aimed(schema)).map(lambda each: Filter((each,)))


@per_schema
def filters(schema: TableSchema) -> st.SearchStrategy[Filter]:
    one = conditions(schema, (*Operator, *FREQUENT, *FREQUENT))
    plain = st.lists(one, max_size=3).map(tuple)
    both = st.tuples(aimed(schema), st.lists(one, max_size=1)).map(lambda pair: (*pair[0], *pair[1]))
    conjunction = plain | both
    union = st.lists(conjunction, max_size=3).map(lambda any_of: Filter(tuple(any_of)))
    return st.just(Filter()) | conjunction.map(lambda each: Filter((each,))) | union


def order_terms(columns: st.SearchStrategy[ColumnRef]) -> st.SearchStrategy[OrderTerm]:
    return st.builds(OrderTerm, columns, st.sampled_from(OrderKind), st.booleans())


@per_schema
def orders(schema: TableSchema) -> st.SearchStrategy[tuple[OrderTerm, ...]]:
    """Any order, or one that an index may hold: its columns from some place on, all in one direction."""
    anyhow = st.lists(order_terms(references(schema)), max_size=3).map(tuple)
    return st.just(()) | anyhow | _held_orders(schema) | _held_orders(schema)


@per_schema
def _held_orders(schema: TableSchema) -> st.SearchStrategy[tuple[OrderTerm, ...]]:
    natural = {True: OrderKind.NUM, False: OrderKind.STR}
    parts = [
        index.columns[start:stop]
        for index in (*schema.indexes, IndexDef("PRIMARY", schema.primary_key))
        for start in range(len(index.columns))
        for stop in range(start + 1, len(index.columns) + 1)
    ]
    return st.builds(
        lambda names, descending: tuple(
            OrderTerm(name, natural[schema.by_name[name].type.is_numeric], descending) for name in names
        ),
        st.sampled_from(parts),
        st.booleans(),
    )


LIMITS = st.sampled_from((0, 1, 2, 3, 5, 10, 100))
SKIPS = st.sampled_from((0, 0, 0, 1, 2, 5, 50))


@per_schema
def selects(schema: TableSchema) -> st.SearchStrategy[Select]:
    chosen = st.none() | st.lists(st.sampled_from(schema.names), min_size=1, unique=True).map(tuple)
    return st.builds(
        Select,
        st.just(schema.name),
        chosen,
        filters(schema),
        orders(schema),
        SKIPS,
        LIMITS,
        total=st.booleans(),
    )


@per_schema
def counts(schema: TableSchema) -> st.SearchStrategy[Count]:
    return st.builds(Count, st.just(schema.name), filters(schema))


@per_schema
def groups(schema: TableSchema) -> st.SearchStrategy[Group]:
    return _groups(schema)


@st.composite
def _groups(draw: st.DrawFn, schema: TableSchema) -> Group:
    by = tuple(draw(st.lists(st.sampled_from(schema.names), max_size=2, unique=True)))
    wanted = []
    for at in range(draw(st.integers(1, 3))):
        function = draw(st.sampled_from(AggregateFunction))
        column = None if function is AggregateFunction.COUNT else draw(st.sampled_from(schema.names))
        wanted.append(Aggregate(function, column, f"{function.value}({at})"))
    output = tuple(draw(st.permutations((*by, *(each.label for each in wanted)))))
    order = draw(st.lists(order_terms(st.sampled_from(output)), max_size=2).map(tuple))
    return Group(schema.name, by, tuple(wanted), output, draw(filters(schema)), order, draw(SKIPS), draw(LIMITS))
