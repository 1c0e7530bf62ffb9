"""A limited key against the twin of the server that holds only what the key may see: every reply is the same.

Random tables, rows, filters, columns and requests. Which rows a filter leaves is told by the naive model, and after
every write the rows outside are what they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.access.callers import Caller, Rights
from tcsql.access.scopes import Scope, held
from tcsql.engine.query import Conjunction, Filter, Query, Select
from tcsql.engine.schema import Column, TableSchema
from tcsql.http.messages import Reply
from tests.dice import Questions
from tests.http.worlds import Row, World, conjunction_text, query_text, worlds
from tests.model_queries import matches
from tests.pools import INT, POOLS
from tests.strategies import effort, schemas, tables

#: There in the first world only; its name is near to that of the table, so that a hint would name it.
HIDDEN = TableSchema("tt", (Column("id", INT, nullable=False),), ("id",))


@dataclass
class Pair:
    """The two worlds, the key, and what it may see."""

    whole: World
    twin: World
    caller: Caller
    schema: TableSchema
    narrow: TableSchema
    within: Filter

    def is_mine(self, row: Row) -> bool:
        return matches(self.schema, row, self.within)

    def outside(self) -> dict[str, Row]:
        return {key: row for key, row in self.whole.rows("t").items() if not self.is_mine(row)}

    def compare_rows(self, outside: dict[str, Row]) -> None:
        """The rows of the key are the twin's, and all others are what they were."""
        names = self.narrow.names
        mine = {
            key: {name: row[name] for name in names} for key, row in self.whole.rows("t").items() if self.is_mine(row)
        }
        assert mine == self.twin.rows("t")
        assert self.outside() == outside

    def read(self, query: bytes) -> None:
        """Both worlds give the same, twice: the second time from what was learnt. Cursors are followed."""
        for _ in range(2):
            theirs, ours = self.whole.get(query, self.caller), self.twin.get(query)
            assert shown(theirs) == shown(ours), query
        page = orjson.loads(ours.body)
        for name, side in (("after", page.get("next")), ("before", page.get("prev"))):
            if side is not None and b"limit_skip" not in query:
                turned = query + f"&{name}={side}".encode()
                assert shown(self.whole.get(turned, self.caller)) == shown(self.twin.get(turned)), turned

    def write(self, query: str, body: object, kind: str = "application/json") -> None:
        outside, before = self.outside(), self.whole.rows("t")
        theirs = self.whole.post(query, body, self.caller, kind)
        if theirs.status == 200:
            ours = self.twin.post(query, body, kind=kind)
            assert written(theirs) == written(ours), (query, body)
            self.compare_rows(outside)
            return
        assert self.whole.rows("t") == before or kind == NDJSON
        assert self.outside() == outside
        if error(theirs) != "row_forbidden":
            assert shown(theirs) == shown(self.twin.post(query, body, kind=kind)), (query, body)
            return
        if kind == NDJSON:  # what stood in front of the line is stored
            self.twin.put(self.narrow, [row for row in self.whole.rows("t").values() if self.is_mine(row)])
            return
        kept = list(self.twin.rows("t").values())
        if self.twin.post(query, body).status == 200:  # it was for a reason: a row outside the filter, made or replaced
            made = self.twin.rows("t")
            assert not all(map(self.is_mine, made.values())) or made.keys() & outside.keys(), (query, body)
            self.twin.put(self.narrow, kept)


NDJSON = "application/x-ndjson"


def error(reply: Reply) -> str | None:
    code: str | None = orjson.loads(reply.body).get("error", {}).get("code")
    return code


def shown(reply: Reply) -> Any:
    """What a client sees, but for the total, which may be left out when only a scan would tell."""
    body = orjson.loads(reply.body)
    if "rows" in body and body.get("total") is None:
        body.pop("total", None)
    elif "next" in body:
        body.pop("total")
    return reply.status, body


def written(reply: Reply) -> Any:
    return {name: value for name, value in orjson.loads(reply.body).items() if name != "lsn"}


def plain(schema: TableSchema) -> TableSchema:
    """Without a counter, which tells of all rows."""
    return schema.with_(
        columns=tuple(column if not column.auto_increment else _plain(column) for column in schema.columns)
    )


def _plain(column: Column) -> Column:
    return Column(column.name, column.type, nullable=False)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[TableSchema, TableSchema, list[Row], Conjunction, tuple[str, ...] | None]:
    """A table with rows, what is left of it, a filter, and the columns of the key."""
    schema = plain(draw(schemas("t")))
    rows = draw(tables(schema, 0, 40))
    dice = Questions(schema, draw(st.integers(0, 2**32)))
    within = tuple(dice.condition() for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2)))))
    columns = None
    if draw(st.booleans()):
        others = [name for name in schema.names if name not in schema.primary_key]
        columns = (
            *schema.primary_key,
            *draw(st.lists(st.sampled_from(others), unique=True) if others else st.just([])),
        )
    narrow = schema
    if columns is not None:
        kept = tuple(column for column in schema.columns if column.name in columns)
        indexes = tuple(index for index in schema.indexes if set(index.columns) <= set(columns))
        narrow = schema.with_(columns=kept, indexes=indexes)
    return schema, narrow, rows, within, columns


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[World]]:
    with worlds(tmp_path_factory.mktemp("worlds"), 2, max_rows=1_000) as made:
        made[0].put(HIDDEN, [{"id": 1}])
        yield made


def made(both: list[World], drawn: tuple[TableSchema, TableSchema, list[Row], Conjunction, Any]) -> Pair:
    schema, narrow, rows, within, columns = drawn
    whole, twin = both
    rights = Rights(
        held({Scope.READ, Scope.WRITE}),
        frozenset({"t"}),
        () if columns is None else (("t", columns),),
        (("t", conjunction_text(within)),) if within else (),
    )
    whole.put(schema, rows)
    pair = Pair(whole, twin, Caller("key", rights), schema, narrow, Filter((within,) if within else ()))
    mine = [row for row in whole.rows("t").values() if pair.is_mine(row)]
    twin.put(narrow, [{name: row[name] for name in narrow.names} for row in mine])
    pair.compare_rows(pair.outside())
    return pair


@given(pairs(), st.integers(0, 2**32))
@effort(60)
def test_reads_of_a_limited_key_are_those_of_the_twin(both: list[World], drawn: Any, seed: int) -> None:
    pair = made(both, drawn)
    asked: list[Query] = [question.query() for question in [Questions(pair.narrow, seed)] for _ in range(8)]
    for query in asked:
        pair.read(query_text(query))
        if isinstance(query, Select):
            pair.read(query_text(query).replace(f"limit_skip={query.skip}&".encode(), b""))
            pair.read(query_text(query, type="*") if query.columns is None else query_text(query, bigint="string"))


@given(pairs(), st.integers(0, 2**32))
@effort(30)
def test_names_outside_are_refused_as_names_that_never_were(both: list[World], drawn: Any, seed: int) -> None:
    pair = made(both, drawn)
    dice = Random(seed)
    hidden = [name for name in pair.schema.names if name not in pair.narrow.names]
    for name in (*hidden, dice.choice(pair.narrow.names) + "x", "C0", "nope"):
        for text in (
            f"type={name}",
            f"type=sum({name})",
            f"type=count&group_by={name}",
            f"where={name}:NULL",
            f"where={name}:NUMEQ:1&type=count",
            f"order_by={name}",
            f"type=count&group_by={pair.narrow.names[0]}&order_by={name}",
        ):
            pair.read(f"command=select&table=t&{text}".encode())
        pair.write("command=update&table=t&all=1", {name: None})
        pair.write(f"command=delete&table=t&where={name}:NUMEQ:1", b"")
    for table in ("tt", "ttt", "T", "x", ""):
        pair.read(f"command=select&table={table}".encode())
        pair.write(f"command=delete&table={table}&all=1", b"")
        pair.write(f"command=insert&table={table}", {"id": 5})
    pair.read(b"command=select")


@given(pairs(), st.data())
@effort(40)
def test_writes_of_a_limited_key_touch_its_rows_alone(both: list[World], drawn: Any, data: st.DataObject) -> None:
    pair = made(both, drawn)
    can_insert = pair.schema is pair.narrow
    for seed in data.draw(st.lists(st.integers(0, 2**32), min_size=1, max_size=6)):
        dice = Questions(pair.narrow, seed)
        where = "".join(
            f"&{each}" for each in query_text(Select("t", where=dice.filter())).decode().split("&") if "where=" in each
        )
        match dice.dice.choice(("insert", "many", "bulk", "update", "update", "delete")):
            case "delete":
                pair.write(f"command=delete&table=t{where or '&all=1'}", b"")
            case "update":
                free = [column for column in pair.narrow.columns if column.name not in pair.narrow.primary_key]
                if free:
                    column = dice.dice.choice(free)
                    value = dice.dice.choice(POOLS[column.type])
                    pair.write(f"command=update&table=t{where or '&all=1'}", {column.name: value})
            case how if can_insert:
                most = {"insert": 1, "many": 25, "bulk": 25}[how]
                rows = data.draw(tables(pair.schema, 1, most))
                if how == "bulk":
                    pair.write("command=insert&table=t", b"\n".join(map(orjson.dumps, rows)), NDJSON)
                else:
                    pair.write("command=insert&table=t", rows if how == "many" else rows[0])
            case _:
                reply = pair.whole.post("command=insert&table=t", data.draw(tables(pair.schema, 1, 1)), pair.caller)
                assert (reply.status, error(reply)) == (403, "forbidden")
