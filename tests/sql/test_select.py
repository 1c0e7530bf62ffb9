"""SELECT as queries: against SQLite and MariaDB, which share nothing with us but SQL; and all that is refused."""

from __future__ import annotations

import random
import sqlite3
from datetime import datetime
from typing import Any

import orjson
import pytest

from tcsql.engine.change import Upsert
from tcsql.engine.database import Database
from tcsql.engine.query import Count, Group, Operator, Select
from tcsql.engine.result import CountResult
from tcsql.errors import CallerError, LimitExceeded, SqlSyntax, UnknownColumn, UnsupportedStatement
from tcsql.sql import changes_of
from tcsql.sql.select import read_select
from tests.mariadb import MariaDB
from tests.strategies import EFFORT

NOW = datetime(2026, 1, 2)
ROWS = 120
STATEMENTS = 400 * EFFORT
TABLE = (
    "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, n INT, m INT NOT NULL, p DECIMAL(6,2), w VARCHAR(20), "
    "v VARCHAR(20) NOT NULL, d DATE)"
)
KEYS = ", KEY n (n), KEY nw (n, w), KEY wm (w, m), KEY m (m), KEY v (v), KEY p (p), KEY d (d))"
WORDS = ("", "a", "A", "ab", "abc", "b", "ä", "中", "z", "10", "a b", "x,y", "100%", "😀")
DAYS = ("2026-01-01", "2026-01-02", "2026-02-01")
COLUMNS = ("id", "n", "m", "p", "w", "v", "d")
NULLABLE = frozenset("npwd")


def rows(draw: random.Random) -> list[dict[str, Any]]:
    def maybe(value: Any) -> Any:
        return None if draw.random() < 0.25 else value

    return [
        {
            "id": number,
            "n": maybe(draw.randint(-3, 6)),
            "m": draw.randint(-3, 6),
            "p": maybe(f"{draw.randint(-200, 300) / 100:.2f}"),
            "w": maybe(draw.choice(WORDS)),
            "v": draw.choice(WORDS),
            "d": maybe(draw.choice(DAYS)),
        }
        for number in range(ROWS)
    ]


def database_of(data: list[dict[str, Any]], indexed: bool = True) -> Database:
    found = Database()
    found.apply(found.check(changes_of(TABLE[:-1] + (KEYS if indexed else ")"), lambda name: None), NOW))
    found.apply(found.check([Upsert("t", tuple(data))], NOW))
    return found


class Dice:
    """Random statements that all three understand."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def number(self) -> str:
        return self.draw.choice([str(self.draw.randint(-4, 7)), f"{self.draw.randint(-20, 30) / 10:.1f}"])

    def text(self) -> str:
        return "'" + self.draw.choice(WORDS) + "'"

    def atom(self) -> str:
        draw = self.draw
        kind = draw.randrange(8)
        number, text = draw.choice(("id", "n", "m", "p")), draw.choice("wv")
        if kind == 0:
            return f"{number} {draw.choice(['=', '<>', '!=', '<', '<=', '>', '>='])} {self.number()}"
        if kind == 1:
            return f"{self.number()} {draw.choice(['=', '<>', '<', '>='])} {number}"
        if kind == 2:
            values = ", ".join(self.number() for _ in range(draw.randint(1, 4)))
            return f"{number} {draw.choice(['', 'NOT '])}IN ({values})"
        if kind == 3:
            return f"{number} {draw.choice(['', 'NOT '])}BETWEEN {self.number()} AND {self.number()}"
        if kind == 4:
            return f"{text} {draw.choice(['=', '<>'])} {self.text()}"
        if kind == 5:
            values = ", ".join(self.text() for _ in range(draw.randint(1, 4)))
            return f"{text} {draw.choice(['', 'NOT '])}IN ({values})"
        if kind == 6:
            stem = draw.choice(("", "a", "b", "ab", "x,", "1"))
            pattern = draw.choice(["{}", "{}%", "%{}", "%{}%"]).format(stem)
            return f"{text} {draw.choice(['', 'NOT '])}LIKE '{pattern}'"
        column = draw.choice(COLUMNS)
        if draw.random() < 0.3:
            return f"d {draw.choice(['=', '<>'])} '{draw.choice(DAYS)}'"
        return f"{column} IS {draw.choice(['', 'NOT '])}NULL"

    def condition(self, depth: int) -> str:
        if depth == 0 or self.draw.random() < 0.3:
            return self.atom()
        kind = self.draw.randrange(3)
        if kind == 0:
            return f"NOT ({self.condition(depth - 1)})"
        join = ("AND", "OR")[kind - 1]
        return f"({self.condition(depth - 1)} {join} {self.condition(depth - 1)})"

    def where(self) -> str:
        return f" WHERE {self.condition(3)}" if self.draw.random() < 0.9 else ""

    def statement(self) -> str:
        kind = self.draw.randrange(4)
        if kind == 0:
            return f"SELECT count(*) FROM t{self.where()}"
        if kind == 1:
            return f"SELECT count(*) AS many, sum(m) AS s, min(n) AS low, max(v) AS high FROM t{self.where()}"
        if kind == 2:
            by = self.draw.sample(["n", "m", "w", "v"], self.draw.randint(1, 2))
            then = "".join(f", {name} DESC" for name in by)
            selected = f"{', '.join(by)}, count(*) AS many, sum(id) AS s, max(m) AS high"
            return (
                f"SELECT {selected} FROM t{self.where()} GROUP BY {', '.join(by)} "
                f"ORDER BY many DESC{then} LIMIT {self.draw.randint(1, 12)}"
            )
        columns = self.draw.sample(COLUMNS, self.draw.randint(1, 4))
        shown = ", ".join(["id", *(name for name in columns if name != "id")])
        order = [
            name + (" DESC" if name in NULLABLE or self.draw.random() < 0.5 else "")
            for name in self.draw.sample(["n", "m", "w", "v", "p", "d"], self.draw.randint(0, 2))
        ]
        limit = f"LIMIT {self.draw.randint(1, 40)}"
        offset = f" OFFSET {self.draw.randint(0, 30)}" if self.draw.random() < 0.4 else ""
        direction = self.draw.choice(["", " DESC"])
        return f"SELECT {shown} FROM t{self.where()} ORDER BY {', '.join([*order, 'id' + direction])} {limit}{offset}"


def answer(database: Database, sql: str) -> list[dict[str, Any]]:
    """The rows that our query gives."""
    read = read_select(sql)
    try:
        query = read.query(database.schema("t"), -1 if read.limit is None else int(read.limit), 4_096)
    except UnsupportedStatement as error:
        assert error.message.startswith("no row can match"), f"{sql}: {error.message}"
        return [{"count(*)": 0}] if sql.startswith("SELECT count(*) FROM") else []
    if isinstance(query, Select):
        query = Select(query.table, query.columns, query.where, query.order, int(read.offset or 0), query.limit)
    found = database.query(query)
    if isinstance(found, CountResult):
        return [{"count(*)": found.count}]
    return [orjson.loads(row) for row in found.rows]


def plain(rows: list[dict[str, Any]]) -> list[dict[str, str | None]]:
    """Values as texts: a DECIMAL is a text here, a Decimal there and a number elsewhere."""

    def text(name: str, value: Any) -> str | None:
        if value is None:
            return None
        return f"{float(value):.2f}" if name in ("p", "s", "low") else str(value)

    return [{name.lower(): text(name, value) for name, value in row.items()} for row in rows]


def is_empty_total(sql: str, ours: list[dict[str, Any]]) -> bool:
    """A statement that was refused because no row can match: the other gives totals of nothing."""
    return not ours and "AS low" in sql


def test_random_statements_give_the_rows_of_sqlite() -> None:
    draw = random.Random(6)
    data = rows(draw)
    databases = [database_of(data), database_of(data, indexed=False)]
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA case_sensitive_like = ON")
    connection.execute(TABLE)
    connection.executemany("INSERT INTO t VALUES (:id, :n, :m, :p, :w, :v, :d)", data)
    dice = Dice(draw)
    empty = 0
    for number in range(STATEMENTS):
        sql = dice.statement()
        theirs = [dict(row) for row in connection.execute(sql)]
        ours = answer(databases[number % 2], sql)
        empty += not theirs
        if is_empty_total(sql, ours):
            assert theirs[0]["many"] == 0, sql
            continue
        assert plain(ours) == plain(theirs), sql
    assert empty < STATEMENTS / 2
    connection.close()


def test_random_statements_give_the_rows_of_mariadb() -> None:
    draw = random.Random(7)
    data = rows(draw)
    database = database_of(data)
    with MariaDB() as server, server.database("sel") as connection:
        cursor = connection.cursor()
        cursor.execute(TABLE + " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
        for row in data:
            cursor.execute("INSERT INTO t VALUES (%s, %s, %s, %s, %s, %s, %s)", list(row.values()))
        dice = Dice(draw)
        for _ in range(STATEMENTS // 2):
            sql = dice.statement()
            cursor.execute(sql)
            names = [about[0] for about in cursor.description]
            theirs = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            ours = answer(database, sql)
            if is_empty_total(sql, ours):
                assert theirs[0]["many"] == 0, sql
                continue
            assert plain(ours) == plain(theirs), sql


# --- what is made of a statement --------------------------------------------------------------------------------

SCHEMA = database_of([]).schema("t")


def query_of(sql: str, limit: int = 20, **how: Any) -> Any:
    return read_select(sql).query(SCHEMA, limit, 256, **how)


def conditions(sql: str) -> list[list[str]]:
    where = query_of(f"SELECT id FROM t WHERE {sql} LIMIT 1").where
    return [
        [f"{c.column or 'pkey'}:{'~' * c.negated}{c.operator.value}:{c.operand}" for c in conjunction]
        for conjunction in where.any_of
    ]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("n = 1", [["n:NUMEQ:1"]]),
        ("id = 1", [["pkey:NUMEQ:1"]]),
        ("t.n = TRUE", [["n:NUMEQ:1"]]),
        ("n <> 1", [["n:~NUMEQ:1", "n:~NULL:"]]),
        ("m <> 1", [["m:~NUMEQ:1"]]),
        ("NOT n = 1", [["n:~NUMEQ:1", "n:~NULL:"]]),
        ("NOT n > -1.5", [["n:NUMLE:-1.5"]]),
        ("NOT (n = 1 AND w = 'a')", [["n:~NUMEQ:1", "n:~NULL:"], ["w:~STREQ:a", "w:~NULL:"]]),
        ("n NOT IN (1, 2)", [["n:~NUMOREQ:1,2", "n:~NULL:"]]),
        ("w IN ('a', 'b')", [["w:STROREQ:a,b"]]),
        ("w IN ('a', 'b c')", [["w:STREQ:a"], ["w:STREQ:b c"]]),
        ("n NOT BETWEEN 1 AND 2", [["n:NUMLT:1"], ["n:NUMGT:2"]]),
        ("w LIKE 'a%'", [["w:STRBW:a"]]),
        ("w LIKE '%a'", [["w:STREW:a"]]),
        ("w LIKE '%%a%'", [["w:STRINC:a"]]),
        (r"w LIKE '%50\%%'", [["w:STRINC:50%"]]),
        ("w NOT LIKE 'a'", [["w:~STREQ:a", "w:~NULL:"]]),
        ("w LIKE '%'", [["w:~NULL:"]]),
        ("n IS NULL OR n IS NOT NULL", [["n:NULL:"], ["n:~NULL:"]]),
        ("w LIKE CONCAT('a', '%')", [["w:STRBW:a"]]),
        ("d = '2026-01-02'", [["d:STREQ:2026-01-02"]]),
        ("v LIKE '%'", []),
        ("w = 'it''s' AND /* a comment */ n = .5 -- another", [["w:STREQ:it's", "n:NUMEQ:0.5"]]),
    ],
)
def test_a_condition_is_true_exactly_where_sql_says_true(sql: str, expected: list[list[str]]) -> None:
    assert conditions(sql) == expected


def test_what_is_selected_says_which_query_it_is() -> None:
    assert isinstance(query_of("SELECT * FROM t LIMIT 1"), Select)
    assert query_of("SELECT v, id FROM t LIMIT 1").columns == ("id", "v")
    assert isinstance(query_of("SELECT count(*) FROM t"), Count)
    assert isinstance(query_of("SELECT count(*) AS count FROM t AS x WHERE x.n = 1"), Count)
    group = query_of("SELECT n, count(*), sum(m) AS total FROM t GROUP BY n ORDER BY total DESC LIMIT 3")
    assert isinstance(group, Group)
    assert group.output == ("n", "count", "total")
    assert query_of("SELECT max(id) FROM t", limit=-1).limit == 1


def test_marks_stand_for_values_in_conditions_and_limits() -> None:
    read = read_select("SELECT id FROM t WHERE w LIKE CONCAT(\ue000, '%') AND n = \ue001 LIMIT \ue002 OFFSET 3",
                       ["\ue000", "\ue001", "\ue002"])  # fmt: skip
    assert (read.limit, read.offset) == ("\ue002", 3)
    where = read.query(SCHEMA, 1, 256, ["text", "int", "int"]).where
    assert [(c.operator, c.operand) for c in where.any_of[0]] == [
        (Operator.STRBW, "\ue000"),
        (Operator.NUMEQ, "\ue001"),
    ]


@pytest.mark.parametrize("nulls", ["n", "n ASC"])
def test_null_that_would_come_first_is_refused_unless_it_is_ruled_out(nulls: str) -> None:
    with pytest.raises(UnsupportedStatement, match="begins with NULL"):
        query_of(f"SELECT id FROM t ORDER BY {nulls} LIMIT 1")
    assert query_of(f"SELECT id FROM t WHERE n > 0 ORDER BY {nulls} LIMIT 1").order
    assert query_of(f"SELECT id FROM t WHERE n IS NOT NULL ORDER BY {nulls} LIMIT 1").order
    assert query_of("SELECT id FROM t ORDER BY n DESC LIMIT 1").order
    with pytest.raises(UnsupportedStatement, match="begins with NULL"):
        query_of(f"SELECT id FROM t WHERE n > 0 OR m = 1 ORDER BY {nulls} LIMIT 1")
    with pytest.raises(UnsupportedStatement, match="begins with NULL"):
        query_of(f"SELECT id FROM t WHERE n IS NULL ORDER BY {nulls} LIMIT 1")


REFUSED = [
    "SELECT DISTINCT id FROM t LIMIT 1",
    "SELECT id FROM t, t AS u LIMIT 1",
    "SELECT t.id FROM t JOIN u ON t.id = u.id LIMIT 1",
    "SELECT id FROM (SELECT id FROM t) AS x LIMIT 1",
    "SELECT id FROM db.t LIMIT 1",
    "SELECT id FROM t USE INDEX (n) LIMIT 1",
    "SELECT id FROM t LIMIT 1 FOR UPDATE",
    "SELECT id FROM t UNION SELECT id FROM t LIMIT 1",
    "WITH x AS (SELECT 1) SELECT id FROM t LIMIT 1",
    "SELECT n, count(*) FROM t GROUP BY n HAVING count(*) > 1 LIMIT 1",
    "SELECT n, count(*) FROM t GROUP BY n WITH ROLLUP LIMIT 1",
    "SELECT n, m, count(*) FROM t GROUP BY n LIMIT 1",
    "SELECT n FROM t GROUP BY n LIMIT 1",
    "SELECT count(n) FROM t",
    "SELECT count(DISTINCT n) FROM t",
    "SELECT sum(DISTINCT n) FROM t",
    "SELECT sum(w) FROM t",
    "SELECT id AS x FROM t LIMIT 1",
    "SELECT id, id FROM t LIMIT 1",
    "SELECT id + 1 FROM t LIMIT 1",
    "SELECT *, id FROM t LIMIT 1",
    "SELECT 1",
    "SELECT id INTO @x FROM t LIMIT 1",
    "SELECT id FROM t WHERE n = '1' LIMIT 1",
    "SELECT id FROM t WHERE w = 1 LIMIT 1",
    "SELECT id FROM t WHERE w > 'a' LIMIT 1",
    "SELECT id FROM t WHERE w BETWEEN 'a' AND 'b' LIMIT 1",
    "SELECT id FROM t WHERE d > '2026-01-01' LIMIT 1",
    "SELECT id FROM t WHERE d = '2026-1-1' LIMIT 1",
    "SELECT id FROM t WHERE d = DATE '2026-01-01' LIMIT 1",
    "SELECT id FROM t WHERE n = 1e3 LIMIT 1",
    "SELECT id FROM t WHERE n = 0x1 LIMIT 1",
    "SELECT id FROM t WHERE n = NULL LIMIT 1",
    "SELECT id FROM t WHERE n IN (1, NULL) LIMIT 1",
    "SELECT id FROM t WHERE n <=> 1 LIMIT 1",
    "SELECT id FROM t WHERE n IN (SELECT n FROM t) LIMIT 1",
    "SELECT id FROM t WHERE EXISTS (SELECT 1) LIMIT 1",
    "SELECT id FROM t WHERE n IS TRUE LIMIT 1",
    "SELECT id FROM t WHERE n LIMIT 1",
    "SELECT id FROM t WHERE ! n = 1 LIMIT 1",
    "SELECT id FROM t WHERE n = 1 || m = 2 LIMIT 1",
    "SELECT id FROM t WHERE n = 1 XOR m = 2 LIMIT 1",
    "SELECT id FROM t WHERE (n, m) = (1, 2) LIMIT 1",
    "SELECT id FROM t WHERE n = m LIMIT 1",
    "SELECT id FROM t WHERE abs(n) = 1 LIMIT 1",
    "SELECT id FROM t WHERE 1 = 1 LIMIT 1",
    "SELECT id FROM t WHERE w LIKE 'a_' LIMIT 1",
    "SELECT id FROM t WHERE w LIKE 'a%b' LIMIT 1",
    "SELECT id FROM t WHERE w LIKE 'a%' ESCAPE '!' LIMIT 1",
    "SELECT id FROM t WHERE n LIKE '1%' LIMIT 1",
    "SELECT id FROM t WHERE w REGEXP 'a' LIMIT 1",
    "SELECT id FROM t WHERE w = 'a' 'b' LIMIT 1",
    "SELECT id FROM t WHERE w = 'a' COLLATE utf8mb4_bin LIMIT 1",
    "SELECT id FROM t WHERE w = ? LIMIT 1",
    "SELECT id FROM t WHERE w = :x LIMIT 1",
    "SELECT id FROM t WHERE w = @x LIMIT 1",
    "SELECT id FROM t WHERE id IS NULL LIMIT 1",
    "SELECT id FROM t ORDER BY 1 LIMIT 1",
    "SELECT id FROM t ORDER BY m + 1 LIMIT 1",
    "SELECT id FROM t ORDER BY rand() LIMIT 1",
    "SELECT count(*) FROM t LIMIT 1",
    "SELECT n, count(*) FROM t GROUP BY n ORDER BY m LIMIT 1",
    "SELECT n, sum(m) FROM t GROUP BY n ORDER BY max(m) DESC LIMIT 1",
    "SELECT n, count(*) AS n FROM t GROUP BY n LIMIT 1",
    "SELECT id FROM t LIMIT 1 + 1",
    "SELECT id FROM t LIMIT -1",
    "DELETE FROM t",
    "INSERT INTO t VALUES (1)",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_what_has_no_equal_here_is_refused_and_never_half_understood(sql: str) -> None:
    with pytest.raises(CallerError):
        query_of(sql)


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT id FRO t", CallerError),
        ("", SqlSyntax),
        ("SELECT id FROM t; SELECT id FROM t", SqlSyntax),
        ("SELECT id FROM t WHERE (n = 1", SqlSyntax),
        ("SELECT id FROM t WHERE w = 'a", SqlSyntax),
        ("SELECT titel FROM t LIMIT 1", UnknownColumn),
        ("SELECT u.id FROM t LIMIT 1", UnknownColumn),
        ("SELECT id FROM t WHERE x = 1 LIMIT 1", UnknownColumn),
    ],
)
def test_a_broken_statement_is_told_what_is_wrong(sql: str, error: type[CallerError]) -> None:
    with pytest.raises(error):
        query_of(sql)


def test_conditions_that_multiply_are_counted_before_they_are_made() -> None:
    ors = " AND ".join(f"(n = {number} OR m = {number})" for number in range(40))
    with pytest.raises(LimitExceeded):
        query_of(f"SELECT id FROM t WHERE {ors} LIMIT 1")
