"""Model and engine against Tokyo Cabinet: thousands of random queries over random tables with odd values.

The tool is asked about un-indexed tables only; the engine answers every query without an index, with all of them,
and with one set in between. Pages in the order of the primary key must be equal row by row. Tokyo Cabinet leaves ties
open, so pages in the order of a column must have equal sort keys, and rows that match.

What is different on purpose is kept out of the pools: ``inf`` and ``nan`` prefixes, tokens of FTSAND and FTSOR that
are not in normal form, folding beyond Latin letters, numbers beyond the 64-bit mantissa of a long double. Patterns are
those on which all dialects agree. ``TCSQL_TEST_SEED`` repeats a run.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tcsql.engine.change import CreateTable, Upsert
from tcsql.engine.database import Database
from tcsql.engine.query import Condition, Conjunction, Count, Filter, Operator, OrderKind, OrderTerm, Select
from tcsql.engine.result import CountResult, Page
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tests.duel import NOW, decoded
from tests.model import Model, Row
from tests.model_queries import key_text, matches, order_value
from tests.oracle_tctmgr import TokyoTable
from tests.pools import BIG, DOUBLE, INT, PATTERNS, PRICE, VARCHAR
from tests.strategies import EFFORT

TABLES = 6
ROWS = 120
QUERIES = 520
SEED = int(os.environ.get("TCSQL_TEST_SEED", random.SystemRandom().randrange(10**9)))

KEY = ColumnType(Kind.TEXT, "varchar", length=20)
TEXTS = (
    *("", " ", "a", "b", "ab", "abc", "Ab", "A", "aa", "a b", "b a", "a,b", ",", "a,b  c", " a", "a ", "x\ty", "x\ny"),
    *(
        "x\ry",
        "x\x0by\x01a",
        "a\x7fb",
        "a\r\nb",
        "0",
        "00",
        "-0",
        "+0",
        "7",
        "+7",
        "-7",
        "07",
        " 7",
        "7 ",
        "\t7",
        "12abc",
        "1e3",
        "0x10",
        "1,000",
    ),
    *(".5", "0.5", "-.5", "0.50", "0.1234567890123456", "9007199254740992", "9007199254740993", "18446744073709551615"),
    *(
        "--5",
        "- 5",
        "5.",
        "hello world",
        "CAFÉ",
        "中文全文检索",
        "全文",
        "中",
        "\uffff",
        "😀",
        "😀a",
        "a|b",
        "a:b",
        "it's",
        '"q"',
    ),
    *("back\\slash", "null", "2026-11-20", "$x^", "a.b", "~a", "!a", "l" + "o" * 3000 + "ng", "%", "_", "ab,ab,ab"),
)
PROSE = (
    *(
        "hello world",
        "Hello  World",
        "HELLO",
        "café noir",
        "CAFÉ",
        "naïve Ñandú",
        "ＡＢＣ　ｄｅｆ",
        "abc def",
        "中文全文检索",
        "全文 检索",
    ),
    *(
        "the quick brown fox",
        "The quick, brown\tfox",
        "fox\nquick",
        " padded ",
        "",
        "a",
        "b",
        "a b c",
        "Ü",
        "Ångström Øre",
    ),
    *("x" * 2000 + " needle", "Привет мир", "ΑΒΓ", "100% &&", "a||b", "１２３", "123"),
)
PHRASES = (
    *(
        "hello",
        "lo wo",
        "WORLD",
        "cafe",
        "CAFÉ",
        "abc",
        "ａｂｃ",
        "全文",
        "检索",
        "quick",
        "brown fox",
        "fox",
        "a",
        "b",
        "c",
    ),
    *("needle", "привет", "αβγ", "123", "o", "", " ", "zzz", "naive", "nandu", "angstrom", "o w"),
)
PLAIN = (
    "hello",
    "world",
    "cafe",
    "abc",
    "def",
    "全文",
    "检索",
    "quick",
    "brown",
    "fox",
    "a",
    "b",
    "needle",
    "123",
    "zzz",
)
EXPRESSION = (
    *PLAIN,
    *PLAIN,
    "CAFÉ",
    "ＡＢＣ",
    '"brown fox"',
    '"HELLO  world"',
    '"a b',
    "a&&b",
    '""',
    "&&",
    "||",
    "!!",
    "||",
    "!!",
)
NUMBERS = (
    *(
        "0",
        "1",
        "5",
        "7",
        "-7",
        "+7",
        " 7",
        "07",
        "7.0",
        "0.5",
        ".5",
        "-.5",
        "12",
        "1000",
        "abc",
        "",
        "1e3",
        "0x10",
        "2.5",
    ),
    *("9007199254740992", "9007199254740993", "18446744073709551615", "-2147483648", "0.1", "2.99", "--5", "5."),
)
POOLS = {
    "n": (0, 1, 2, 3, 5, 7, -1, -7, 12, 1000, INT.low, INT.high),
    "u": (0, 1, 7, 12, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1),
    "p": ("0.00", "0.10", "0.50", "-0.50", "2.50", "2.99", "7.00", "-7.00", "12.00", "99999999.99"),
    "f": (0, 1, 0.1, 0.5, -0.5, 2.5, 7, 1000, 12345.678),
    "t": TEXTS,
    "d": PROSE,
}
TYPES = {"n": INT, "u": BIG, "p": PRICE, "f": DOUBLE, "t": VARCHAR, "d": VARCHAR}
#: Every kind of index: on each type, over several columns, full text, and on what the key is.
INDEXES = (
    *(IndexDef(f"i_{name}", (name,)) for name in TYPES),
    IndexDef("i_nt", ("n", "t")),
    IndexDef("i_tn", ("t", "n")),
    IndexDef("i_pun", ("p", "u", "n")),
    IndexDef("i_kt", ("k", "t")),
    IndexDef("ft_t", ("t",), fulltext=True),
    IndexDef("ft_d", ("d",), fulltext=True),
)
FULL_TEXT = (Operator.FTSPH, Operator.FTSAND, Operator.FTSOR, Operator.FTSEX)


def schema_of(key: ColumnType) -> TableSchema:
    long_text = replace(VARCHAR, length=5000)
    types = {name: long_text if kind is VARCHAR else kind for name, kind in TYPES.items()}
    columns = (Column("k", key, nullable=False), *(Column(name, kind) for name, kind in types.items()))
    return TableSchema("t", columns, ("k",))


def random_rows(dice: random.Random, key: ColumnType) -> list[Row]:
    if key is KEY:
        odd = [text for text in TEXTS if 0 < len(text) <= 20]
        keys: list[int | str] = [*odd, *(f"{dice.choice('abz')}{number}" for number in range(ROWS - len(odd)))]
    else:
        keys = list(dice.sample(range(-50, 2_000), ROWS))
    dice.shuffle(keys)
    return [
        {"k": each, **{name: dice.choice(pool) if dice.random() < 0.85 else None for name, pool in POOLS.items()}}
        for each in keys
    ]


def random_operand(dice: random.Random, column: str, operator: Operator, rows: list[Row]) -> str:
    present = [str(row[column]) for row in rows if row[column] is not None]
    if operator is Operator.NULL:
        return ""
    if operator is Operator.STRRX:
        return dice.choice(PATTERNS)
    if operator is Operator.FTSPH:
        return dice.choice(PHRASES)
    if operator in (Operator.FTSAND, Operator.FTSOR):
        return dice.choice((" ", ",", "\t", "\r\n", ", ")).join(dice.choices(PLAIN, k=dice.randrange(4)))
    if operator is Operator.FTSEX:
        return dice.choice((" ", " ", "  ")).join(dice.choices(EXPRESSION, k=dice.randrange(7)))
    if operator in (Operator.STRAND, Operator.STROR, Operator.STROREQ, Operator.NUMBT, Operator.NUMOREQ):
        pool = present if dice.random() < 0.5 else NUMBERS
        separator = dice.choice((",", " ", ", ", ";", "\t", " , "))
        return separator.join(dice.choice(pool) for _ in range(dice.randrange(4)))
    if operator.value.startswith("NUM"):
        return dice.choice(present if dice.random() < 0.4 else NUMBERS)
    value = dice.choice(present if dice.random() < 0.7 else TEXTS)
    if operator is Operator.STREQ or dice.random() < 0.3:
        return value
    start = dice.randrange(len(value) + 1)
    cut = {Operator.STRBW: value[:start], Operator.STREW: value[start:]}
    return cut.get(operator, value[start : start + dice.randrange(5)])


def random_condition(dice: random.Random, rows: list[Row]) -> Condition:
    operator = dice.choice(list(Operator))
    column = "d" if operator in FULL_TEXT else dice.choice(("k", *TYPES))
    operand = random_operand(dice, column, operator, rows)
    return Condition(None if column == "k" else column, operator, operand, dice.random() < 0.25)


def random_query(dice: random.Random, rows: list[Row], key: ColumnType) -> Select:
    conditions = [random_condition(dice, rows) for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3)))]
    if len(conditions) > 1 and dice.random() < 0.2:  # a union, compared as a set
        return Select("t", where=Filter(tuple((each,) for each in conditions)), limit=ROWS)
    column = dice.choice((None, None, None, *TYPES))
    # The tool orders odd text keys by another reading of numbers, and ties there are open.
    kind = OrderKind.STR if column is None and key is KEY else dice.choice(list(OrderKind))
    where: tuple[Conjunction, ...] = (tuple(conditions),) if conditions else ()
    skip = dice.choice((0, 0, 0, 1, 3, 20, 200))
    limit = dice.choice((0, 1, 5, 10, 1000, 1000))
    return Select(
        "t", where=Filter(where), order=(OrderTerm(column, kind, dice.random() < 0.5),), skip=skip, limit=limit
    )


class Contest:
    """One table everywhere: in the tool, in the model, and in engines with different indexes."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.key = self.dice.choice((BIG, INT, KEY))
        self.schema = schema_of(self.key)
        self.rows = random_rows(self.dice, self.key)
        if self.key is BIG:
            self.rows = [{**row, "k": abs(int(row["k"] or 0)) * 10**15 + at} for at, row in enumerate(self.rows)]
        self.tokyo = TokyoTable(directory, self.schema)
        self.tokyo.put(self.rows)
        self.model = Model()
        self.model.apply([CreateTable(self.schema), Upsert("t", self.rows)], NOW)
        self.bare = self.engine(())
        self.full = self.engine(INDEXES)
        self.some = [self.engine((index,)) for index in INDEXES]
        self.by_key = {key_text(self.schema, row): row for row in self.rows}

    def engine(self, indexes: tuple[IndexDef, ...]) -> Database:
        database = Database()
        for change in (CreateTable(replace(self.schema, indexes=indexes)), Upsert("t", self.rows)):
            database.apply(database.check([change], NOW))
        database.check_invariants()
        return database

    def judge(self, query: Select, found: list[str]) -> None:
        """The tool's answer against the model's, the model's against each engine's."""
        page = self.model.select(query)
        mine = [key_text(self.schema, row) for row in page.rows]
        if not query.order:
            assert sorted(mine) == sorted(found)
        elif query.order[0].column is None:
            assert mine == found
        else:
            term = query.order[0]
            rows = [self.by_key[key] for key in found]
            assert all(matches(self.schema, row, query.where) for row in rows)
            assert len(set(found)) == len(found)
            assert [order_value(self.schema, row, term) for row in rows] == [
                order_value(self.schema, row, term) for row in page.rows
            ]
        for engine in (self.bare, self.full, self.dice.choice(self.some)):
            result = engine.query(query)
            assert isinstance(result, Page)
            assert decoded(result.rows) == page.rows
            assert result.total in (page.total, None)
        assert self.full.query(Count("t", query.where)) == CountResult(page.total)


@pytest.mark.parametrize("number", range(TABLES * EFFORT))
def test_model_and_engine_answer_as_tokyo_cabinet_does(number: int, tmp_path: Path) -> None:
    contest = Contest(tmp_path, SEED + number)
    queries = [random_query(contest.dice, contest.rows, contest.key) for _ in range(QUERIES)]
    for query, found in zip(queries, contest.tokyo.search(queries), strict=True):
        try:
            contest.judge(query, found)
        except AssertionError as error:
            raise AssertionError(
                f"TCSQL_TEST_SEED={SEED}, table {number}: {query}\ntctmgr: {found}\n{error}"
            ) from error
