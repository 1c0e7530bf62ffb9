"""Select, count, group and order against SQLite, an oracle that shares neither code nor authors with the model.

Integers, DECIMAL as scaled integers, and text in BINARY collation (bytes of UTF-8): what SQL says exactly.
"""

from __future__ import annotations

import random
import sqlite3
from decimal import Decimal

import pytest

from tcsql.engine.change import CreateTable, Upsert
from tcsql.engine.query import (
    Aggregate,
    AggregateFunction,
    Condition,
    Count,
    Filter,
    Group,
    Operator,
    OrderKind,
    OrderTerm,
    Select,
)
from tcsql.engine.result import CountResult, Groups, Page
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tests.duel import Duel, decoded
from tests.model import Row
from tests.pools import BIG, INT, VARCHAR
from tests.strategies import EFFORT

ROWS = 300
QUERIES = 150
SMALL = tuple(range(-5, 15))
WORDS = ("", "a", "A", "ab", "abc", "b", "ä", "中", "z", "é", "10", "9", "\uffff", "😀")
SCHEMA = TableSchema(
    "t",
    (Column("id", INT, False), Column("n", INT), Column("m", BIG), Column("w", VARCHAR), Column("v", VARCHAR)),
    ("id",),
    (
        IndexDef("n", ("n",)),
        IndexDef("nw", ("n", "w")),
        IndexDef("wnm", ("w", "n", "m")),
        IndexDef("m", ("m",)),
        IndexDef("v", ("v",), fulltext=True),
    ),
)
NUMERIC = ("id", "n", "m")
TEXTUAL = ("w", "v")
COMPARISONS = {
    Operator.NUMEQ: "=",
    Operator.NUMGT: ">",
    Operator.NUMGE: ">=",
    Operator.NUMLT: "<",
    Operator.NUMLE: "<=",
}
#: SQL of each text operator, with the operand as the one parameter.
TEXT_TESTS = {
    Operator.STREQ: "{0} = ?",
    Operator.STRINC: "instr({0}, ?) > 0",
    Operator.STRBW: "substr({0}, 1, length(?1)) = ?1",
    Operator.STREW: "(length(?1) <= length({0}) AND substr({0}, length({0}) - length(?1) + 1) = ?1)",
}


def random_condition(dice: random.Random) -> tuple[Condition, str, list[str | int]]:
    """The condition, its SQL, and the parameters of that."""
    negated = dice.random() < 0.25
    if dice.random() < 0.15:
        column = dice.choice((*NUMERIC, *TEXTUAL))
        condition = Condition(column, Operator.NULL, "", negated)
        return condition, f"{column} IS {'NOT ' if negated else ''}NULL", []
    if dice.random() < 0.5:
        column = dice.choice(TEXTUAL)
        operator = dice.choice(list(TEXT_TESTS))
        operand = dice.choice(WORDS)
        sql = TEXT_TESTS[operator].format(column).replace("?1", "?")
        parameters: list[str | int] = [operand] * sql.count("?")
    else:
        column = dice.choice(NUMERIC)
        operator = dice.choice((*COMPARISONS, Operator.NUMBT, Operator.NUMOREQ))
        numbers = dice.choices(SMALL, k=2 if operator is Operator.NUMBT else dice.randrange(1, 4))
        if operator in COMPARISONS:
            operand, sql, parameters = str(numbers[0]), f"{column} {COMPARISONS[operator]} ?", [numbers[0]]
        else:
            operand, parameters = ",".join(map(str, numbers)), [*sorted(numbers)]
            between = operator is Operator.NUMBT
            sql = f"{column} BETWEEN ? AND ?" if between else f"{column} IN ({','.join('?' * len(numbers))})"
    truth = f"coalesce({sql}, 0)"
    return Condition(column, operator, operand, negated), f"NOT {truth}" if negated else truth, parameters


def random_filter(dice: random.Random) -> tuple[Filter, str, list[str | int]]:
    alternatives, texts, parameters = [], [], []
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3))):
        conjunction = []
        parts = []
        for _ in range(dice.randrange(1, 4)):
            condition, sql, values = random_condition(dice)
            conjunction.append(condition)
            parts.append(sql)
            parameters += values
        alternatives.append(tuple(conjunction))
        texts.append(f"({' AND '.join(parts)})")
    return Filter(tuple(alternatives)), " OR ".join(texts) or "1", parameters


def random_order(dice: random.Random) -> tuple[tuple[OrderTerm, ...], str]:
    terms, parts = [], []
    for _ in range(dice.randrange(4)):
        column = dice.choice((*NUMERIC, *TEXTUAL))
        kind = OrderKind.STR if column in TEXTUAL else dice.choice(list(OrderKind))
        descending = dice.random() < 0.5
        terms.append(OrderTerm(column, kind, descending))
        value = f"CAST({column} AS TEXT)" if kind is OrderKind.STR else column
        parts.append(f"{column} IS NULL, {value} {'DESC' if descending else 'ASC'}")
    parts.append(f"id {'DESC' if terms and terms[-1].descending else 'ASC'}")
    return tuple(terms), ", ".join(parts)


class Pair:
    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.rows: list[Row] = [
            {
                "id": number,
                "n": dice.choice((None, *SMALL)),
                "m": dice.choice((None, 0, 1, 2, 2**53 + 1, 2**55)),
                "w": dice.choice((None, *WORDS)),
                "v": dice.choice((None, *WORDS)) if dice.random() < 0.5 else "".join(dice.choices(WORDS, k=4)),
            }
            for number in dice.sample(range(-100, 1000), ROWS)
        ]
        self.duel = Duel()
        self.duel.change(CreateTable(SCHEMA))
        self.duel.change(Upsert("t", self.rows))
        self.sqlite = sqlite3.connect(":memory:")
        self.sqlite.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, m INTEGER, w TEXT, v TEXT)")
        self.sqlite.executemany("INSERT INTO t VALUES (:id, :n, :m, :w, :v)", self.rows)

    def sql(self, text: str, parameters: list[str | int]) -> list[tuple[object, ...]]:
        return self.sqlite.execute(text, parameters).fetchall()

    def compare_page(self) -> None:
        where, sql, parameters = random_filter(self.dice)
        order, order_sql = random_order(self.dice)
        skip, limit = self.dice.choice((0, 0, 3, 50)), self.dice.choice((0, 1, 7, 1000))
        page = self.duel.ask(Select("t", None, where, order, skip, limit, total=True))
        text = f"SELECT * FROM t WHERE {sql} ORDER BY {order_sql} LIMIT {limit} OFFSET {skip}"
        assert isinstance(page, Page)
        assert [tuple(row.values()) for row in decoded(page.rows)] == self.sql(text, parameters), text
        count = self.sql(f"SELECT count(*) FROM t WHERE {sql}", parameters)[0][0]
        assert page.total == count
        assert self.duel.ask(Count("t", where)) == CountResult(int(str(count)))

    def compare_groups(self) -> None:
        where, sql, parameters = random_filter(self.dice)
        by = tuple(self.dice.sample(("n", "w", "m"), self.dice.randrange(3)))
        column = self.dice.choice(NUMERIC)
        names = ("sum", "min", "max", "avg")
        wanted = (
            Aggregate(AggregateFunction.COUNT, None, "count"),
            *(Aggregate(AggregateFunction(name), column, name) for name in names),
        )
        answer = self.duel.ask(Group("t", by, wanted, (*by, "count", *names), where, limit=10_000))
        assert isinstance(answer, Groups)
        columns = ", ".join((*by, "count(*)", f"sum({column}), min({column}), max({column}), avg({column})"))
        grouping = f"GROUP BY {', '.join(by)} ORDER BY {', '.join(f'{c} IS NULL, {c}' for c in by)}" if by else ""
        text = f"SELECT {columns} FROM t WHERE {sql} {grouping}"
        found = [tuple(row.values()) for row in decoded(answer.rows)]
        expected = self.sql(text, parameters)
        assert [row[:-1] for row in found] == [row[:-1] for row in expected], text
        for mine, theirs in zip(found, expected, strict=True):
            assert (mine[-1] is None) == (theirs[-1] is None)
            if mine[-1] is not None:
                exact = Decimal(str(theirs[-1]))
                assert abs(Decimal(str(mine[-1])) - exact) <= max(Decimal("0.0001"), abs(exact) * Decimal("1e-14")), (
                    text
                )


@pytest.mark.parametrize("seed", range(2 * EFFORT))
def test_sqlite_gives_the_same_pages_counts_and_groups(seed: int) -> None:
    pair = Pair(random.Random(seed))
    for _ in range(QUERIES):
        pair.compare_page()
    for _ in range(QUERIES // 4):
        pair.compare_groups()
