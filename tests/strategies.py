"""Hypothesis strategies: schemas, rows, and questions about them.

Schemas are drawn piece by piece, so that a failing one is shrunk; rows and questions are thrown by dice from one drawn
seed, which is many times faster, and the failing question is printed whole anyway. The types are at hand here too.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tcsql.engine.query import Condition, Count, Filter, Group, Operator, OrderTerm, Query, Select
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import ColumnType, JsonValue
from tests import pools
from tests.dice import LISTS, Questions
from tests.pools import (
    BIG,
    DATE,
    DATETIME,
    ENUM,
    INT,
    KEYS,
    PATTERNS,
    PHRASES,
    POOLS,
    TEXT,
    TEXTS,
    TEXTUAL,
    TYPES,
    VARCHAR,
)

NUMBERS = st.sampled_from(pools.NUMBERS)

#: How much of everything: 1 in the ordinary run, more when asked for torture.
EFFORT = {"default": 1, "torture": 40}[os.environ.get("TCSQL_TEST_PROFILE", "default")]


def effort(examples: int, steps: int = 50) -> settings:
    """Two thirds of the examples in the ordinary run, whose seeds are other ones each time."""
    return settings(
        max_examples=examples * EFFORT if EFFORT > 1 else examples * 2 // 3,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {kind: st.sampled_from(pool) for kind, pool in POOLS.items()}
VALUES[VARCHAR] |= st.text("ab ,é中1", max_size=6)
VALUES[TEXT] |= st.text("ab ,é中1", max_size=12)


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
    if operator in LISTS:
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


Thrown = TypeVar("Thrown")


def thrown(schema: TableSchema, throw: Callable[[Questions], Thrown]) -> st.SearchStrategy[Thrown]:
    return st.integers(0, 2**32).map(lambda seed: throw(Questions(schema, seed)))


def conditions(schema: TableSchema) -> st.SearchStrategy[Condition]:
    return thrown(schema, Questions.condition)


def filters(schema: TableSchema) -> st.SearchStrategy[Filter]:
    return thrown(schema, Questions.filter)


def narrow_filters(schema: TableSchema) -> st.SearchStrategy[Filter]:
    """For deletes: filters that mostly leave rows behind."""
    return thrown(schema, Questions.narrow_filter)


def orders(schema: TableSchema) -> st.SearchStrategy[tuple[OrderTerm, ...]]:
    return thrown(schema, Questions.order)


def selects(schema: TableSchema) -> st.SearchStrategy[Select]:
    return thrown(schema, Questions.select)


def counts(schema: TableSchema) -> st.SearchStrategy[Count]:
    return thrown(schema, Questions.count)


def groups(schema: TableSchema) -> st.SearchStrategy[Group]:
    return thrown(schema, Questions.group)


def questions(schema: TableSchema, count: int) -> st.SearchStrategy[list[Query]]:
    """Many queries of every kind at once."""
    return thrown(schema, lambda dice: [dice.query() for _ in range(count)])
