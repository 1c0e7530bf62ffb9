"""Many rows at once are what the same rows are one by one: values, refusals, counts and generated keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import CreateTable, PutRows, Row, Tally, Upsert
from tcsql.engine.database import Database
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import ClientValue, ColumnType
from tcsql.errors import InvalidValue, TCSQLError
from tcsql.sql import changes_of
from tests.duel import NOW
from tests.engine.test_values import REFUSED, TAKEN
from tests.pools import INT, KEYS, TYPES, VARCHAR
from tests.strategies import effort

CLIENT_VALUES: dict[ColumnType, list[ClientValue]] = {}
for _kind, _value, _ in TAKEN:
    CLIENT_VALUES.setdefault(_kind, []).append(_value)
for _kind in TYPES:
    CLIENT_VALUES.setdefault(_kind, []).extend(KEYS[_kind])
WRONG: dict[ColumnType, list[ClientValue]] = {}
for _kind, _value in REFUSED:
    WRONG.setdefault(_kind, []).append(_value)


def table(kind: ColumnType, *, nullable: bool, counted: bool) -> Database:
    columns = (
        Column("id", INT, nullable=False, auto_increment=counted),
        Column("v", kind, nullable=nullable),
        Column("note", VARCHAR, default="-", has_default=True),
    )
    database = Database()
    database.apply(database.check([CreateTable(TableSchema("t", columns, ("id",)))], NOW))
    return database


def insert(database: Database, requests: list[list[Row]]) -> tuple[Tally, list[bytes]] | type[TCSQLError]:
    """What came of it all, or the class of the first refusal."""
    total = Tally()
    for rows in requests:
        try:
            batch = database.check([Upsert("t", rows)], NOW)
        except TCSQLError as error:
            return type(error)
        database.apply(batch)
        done = batch.tally
        total = total._replace(
            inserted=total.inserted + done.inserted,
            replaced=total.replaced + done.replaced,
            last_insert_id=done.last_insert_id or total.last_insert_id,
        )
    database.check_invariants()
    return total, list(database.rows("t"))


@effort(300)
@given(st.data(), st.sampled_from(list(CLIENT_VALUES)), st.booleans(), st.booleans())
def test_rows_at_once_are_the_rows_one_by_one(
    data: st.DataObject, kind: ColumnType, nullable: bool, counted: bool
) -> None:
    pool = CLIENT_VALUES[kind]
    if data.draw(st.integers(0, 4)) == 0:
        pool = [*pool, *WRONG.get(kind, [])]
    if nullable or data.draw(st.integers(0, 9)) == 0:
        pool = [*pool, None]
    values = data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=40))
    names = data.draw(st.permutations(("id", "v", "note")))
    left_out = {"note"} if data.draw(st.booleans()) else set()
    if counted and data.draw(st.booleans()):
        left_out.add("id")
    keys = data.draw(st.sampled_from((range(len(values)), [number % 7 for number in range(len(values))])))
    full = [{"id": key, "v": value, "note": f"n{key}"} for key, value in zip(keys, values, strict=True)]
    rows: list[Row] = [{name: row[name] for name in names if name not in left_out} for row in full]  # type: ignore[misc]  # raw values
    at_once = insert(table(kind, nullable=nullable, counted=counted), [rows])
    assert at_once == insert(table(kind, nullable=nullable, counted=counted), [[row] for row in rows])


@pytest.mark.parametrize("count", [2, 100])
def test_names_in_another_case_are_the_same_columns(count: int) -> None:
    rows: list[Row] = [{"ID": number, "V": "x"} for number in range(count)]
    found = insert(table(VARCHAR, nullable=False, counted=True), [rows])
    assert isinstance(found, tuple)
    assert found[0].last_insert_id is None and found[0].inserted == count


@pytest.mark.parametrize("count", [2, 100])
def test_the_row_to_blame_is_named_also_among_many(count: int) -> None:
    rows: list[Row] = [{"id": number, "v": "x" * (100 if number == count - 1 else 1)} for number in range(count)]
    with pytest.raises(InvalidValue) as refused:
        table(VARCHAR, nullable=False, counted=False).check([Upsert("t", rows)], NOW)
    assert refused.value.extra["row"] == count
    assert '"v"' in refused.value.message


def put(table: str, rows: list[dict[str, Any]], names: Sequence[str]) -> PutRows:
    return PutRows(table, [row[names[0]] for row in rows], [[row[name] for row in rows] for name in names])


@pytest.mark.parametrize("count", [1, 5, 40])
def test_rows_put_as_columns_are_the_rows_of_the_same_insert(count: int) -> None:
    sql = "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, n int, s varchar(9), d decimal(9,2), KEY (n), KEY (s, n))"
    rows = [{"id": number, "n": number % 3 or None, "s": f"s{number}", "d": "1.50"} for number in range(1, count + 1)]
    databases = []
    for change in (Upsert("t", rows, trusted=True), put("t", rows, ("id", "n", "s", "d"))):
        database = Database()
        for first in (*changes_of(sql, lambda name: None), Upsert("t", [{"id": 3, "n": 7, "s": "old"}])):
            database.apply(database.check([first], NOW))
        undo = database.apply(database.check([change], NOW))
        database.check_invariants()
        assert database.table("t").auto_increment == max(4, count + 1)
        databases.append(database)
        found = list(database.rows("t"))
        assert not database.check([put("t", rows, ("id", "n", "s", "d"))], NOW).parts, "equal rows leave no trace"
        database.revert(undo)
        assert len(list(database.rows("t"))) == 1
        database.check_invariants()
        database.apply(database.check([change], NOW))
        assert list(database.rows("t")) == found
    assert list(databases[0].rows("t")) == list(databases[1].rows("t"))


def test_null_that_comes_where_none_may_stand_is_what_mysql_stores_there() -> None:
    database = Database()
    for first in changes_of("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, KEY (n))", lambda name: None):
        database.apply(database.check([first], NOW))
    database.apply(database.check([PutRows("t", [1, 2], [[1, 2], [None, 5]])], NOW))
    assert list(database.rows("t")) == [b'{"id":1,"n":0}', b'{"id":2,"n":5}']
    database.check_invariants()
