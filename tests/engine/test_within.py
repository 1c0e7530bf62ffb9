"""Changes within a filter: rows outside it are never made, replaced, changed or removed; nothing is done then."""

from __future__ import annotations

from datetime import datetime

import orjson
import pytest

from tcsql.engine.change import AddColumn, CreateTable, Delete, DropColumn, Row, RowChange, Update, Upsert
from tcsql.engine.database import Database
from tcsql.engine.query import Condition, Filter, Operator
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import RowForbidden, TooCostly

NOW = datetime(2026, 1, 2)
INT = ColumnType(Kind.INTEGER, "int", low=-(2**31), high=2**31 - 1)
SCHEMA = TableSchema(
    "t",
    (Column("id", INT, nullable=False), Column("owner", INT, default=1, has_default=True), Column("n", INT)),
    ("id",),
)
MINE = Filter(((Condition("owner", Operator.NUMEQ, "1"),),))


@pytest.fixture
def database() -> Database:
    database = Database()
    database.apply(database.check([CreateTable(SCHEMA)], NOW))
    made: list[Row] = [{"id": number, "owner": number % 2, "n": number} for number in range(10)]
    do(database, Upsert("t", made))
    return database


def do(database: Database, *changes: RowChange) -> None:
    database.apply(database.check(changes, NOW))


def rows(database: Database) -> dict[int, tuple[int | None, int | None]]:
    found = map(orjson.loads, database.rows("t"))
    return {row["id"]: (row["owner"], row["n"]) for row in found}


@pytest.mark.parametrize("many", [1, 3, 40])
def test_rows_that_meet_the_filter_are_written(database: Database, many: int) -> None:
    do(database, Upsert("t", [{"id": 2 * place + 1, "owner": 1, "n": -1} for place in range(many)], within=MINE))
    assert [rows(database)[2 * place + 1] for place in range(many)] == [(1, -1)] * many


def test_a_default_counts_as_if_it_were_given(database: Database) -> None:
    do(database, Upsert("t", [{"id": 11, "n": 1}], within=MINE))
    assert rows(database)[11] == (1, 1)


@pytest.mark.parametrize("many", [1, 3, 40])
@pytest.mark.parametrize("wrong", [{"owner": 0}, {"owner": None}, {"id": 4}])
def test_one_row_outside_refuses_all_of_them(database: Database, many: int, wrong: Row) -> None:
    before = rows(database)
    given: list[Row] = [{"id": 100 + place, "owner": 1, "n": 0} for place in range(many)]
    given[-1] |= wrong
    with pytest.raises(RowForbidden) as refused:
        do(database, Upsert("t", given, within=MINE))
    assert rows(database) == before
    assert refused.value.extra == ({} if many == 1 else {"row": many})


def test_an_earlier_change_of_the_request_counts(database: Database) -> None:
    with pytest.raises(RowForbidden):
        do(database, Upsert("t", [{"id": 50, "owner": 0}]), Upsert("t", [{"id": 50, "owner": 1}], within=MINE))


def test_updates_see_and_make_only_such_rows(database: Database) -> None:
    do(database, Update("t", Filter(), {"n": 7}, within=MINE))
    assert {key for key, (_, n) in rows(database).items() if n == 7} == {1, 3, 5, 7, 9}
    before = rows(database)
    with pytest.raises(RowForbidden):
        do(database, Update("t", Filter(((Condition(None, Operator.NUMEQ, "3"),),)), {"owner": 0}, within=MINE))
    assert rows(database) == before
    do(database, Update("t", Filter(((Condition(None, Operator.NUMEQ, "4"),),)), {"owner": 1}, within=MINE))
    assert rows(database) == before, "a row outside is not there"


def test_deletes_leave_the_others(database: Database) -> None:
    one = (Condition("n", Operator.NUMLE, "3"),)
    do(database, Delete("t", Filter((one, (Condition("n", Operator.NUMGE, "8"),))), within=MINE))
    assert sorted(rows(database)) == [0, 2, 4, 5, 6, 7, 8]
    do(database, Delete("t", Filter(), within=MINE))
    assert sorted(rows(database)) == [0, 2, 4, 6, 8]


def test_a_filter_whose_column_is_gone_refuses_everything(database: Database) -> None:
    database.apply(database.check([DropColumn("t", "owner"), AddColumn("t", Column("other", INT))], NOW))
    insert, update = Upsert("t", [{"id": 1}], within=MINE), Update("t", Filter(), {"n": 1}, within=MINE)
    for change in (insert, update, Delete("t", Filter(), within=MINE)):
        with pytest.raises(RowForbidden):
            do(database, change)


def test_a_search_to_change_has_a_budget_of_its_own(database: Database) -> None:
    everything = Filter(((Condition("n", Operator.NUMGE, "0"),),))
    with pytest.raises(TooCostly):
        do(database, Delete("t", everything, budget_rows=5))
    do(database, Update("t", everything, {"n": 1}, budget_rows=10))
