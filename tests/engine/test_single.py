"""One row by the short way against the same row by the general one: the same batch or refusal, the same table."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine import table as table_module
from tcsql.engine.change import AddColumn, Change, CreateIndex, CreateTable, DropIndex, Row, Upsert
from tcsql.engine.database import Database, finish
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.single import MOST_PLANS
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import InvalidValue, TCSQLError
from tests.strategies import indexes, rows, schemas, tables

NOW = datetime(2026, 11, 20, 15, 4, 5)
ODD = st.sampled_from([None, True, -1, 2**70, 1.5, "", "é" * 300, "\ud800", "x", [], {}])
INT = ColumnType(Kind.INTEGER, "int", low=0, high=2**32 - 1)
NAME = ColumnType(Kind.TEXT, "varchar", length=20)
POSTS = TableSchema(
    "t",
    (
        Column("id", INT, nullable=False, auto_increment=True),
        Column("uid", INT, nullable=False),
        Column("dateline", INT, nullable=False, default=7, has_default=True),
        Column("idtype", NAME),
    ),
    ("id",),
    (IndexDef("uid", ("uid",)), IndexDef("both", ("idtype", "dateline")), IndexDef("dateline", ("dateline",))),
)


def held(database: Database) -> list[tuple[Any, ...]]:
    database.check_invariants()
    return [
        (schema, list(database.rows(schema.name)), database.table(schema.name).auto_increment)
        for schema in database.schemas()
    ]


class Pair:
    """Two databases that are told the same: one takes single rows by the short way, the other by the general one."""

    def __init__(self, schema: TableSchema) -> None:
        self.short, self.general = Database(), Database()
        self.both(CreateTable(schema))

    def both(self, change: Change) -> None:
        for database in (self.short, self.general):
            database.apply(finish(database.check_steps([change], NOW)))

    def insert(self, row: Row, take_back: bool = False) -> bool:
        """Whether the short way took the row; AssertionError when the two differ."""
        change = Upsert("t", [row])
        found = self.short.check_row([change])
        try:
            wanted = finish(self.general.check_steps([change], NOW))
        except TCSQLError:
            assert found is None, "the short way took what the general one refuses"
            return False
        undo = self.general.apply(wanted)
        if found is None:
            mine = self.short.apply(finish(self.short.check_steps([change], NOW)))
        else:
            bare = found._replace(parts=tuple(part._replace(row=None) for part in found.parts))  # type: ignore[call-arg, union-attr]  # the only part of such a batch is one of rows
            assert bare == wanted
            mine = self.short.apply(found)
        if take_back:
            self.short.revert(mine)
            self.general.revert(undo)
        return found is not None

    def compare(self) -> None:
        assert held(self.short) == held(self.general)


@given(st.data())
def test_the_short_way_does_what_the_general_one_does(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    pair = Pair(schema)
    with suppress(InvalidValue):  # keys are used up: then the table stays empty
        pair.both(Upsert("t", data.draw(tables(schema, 0, 20))))
    with patch.object(table_module, "BUILD_AT_ONCE", 0):
        if data.draw(st.booleans()):
            pair.both(CreateIndex("t", data.draw(indexes(schema, "late"))))
            for database in (pair.short, pair.general):
                turns = iter([True] * data.draw(st.integers(0, 3)))
                database.maintain(lambda turns=turns: next(turns, False))  # type: ignore[misc]  # mypy infers no type for a lambda's default
    for row in data.draw(tables(schema, 0, 12)):
        pair.insert(row, data.draw(st.booleans()))
    if data.draw(st.booleans()):
        odd = data.draw(rows(schema))
        odd[data.draw(st.sampled_from((*schema.names, schema.names[0].upper(), "nothing")))] = data.draw(ODD)
        pair.insert(odd)
    pair.compare()


@pytest.mark.parametrize(
    ("row", "is_short"),
    [
        ({"id": 5, "uid": 1, "dateline": 2, "idtype": "a"}, True),
        ({"idtype": "a", "uid": 1, "id": 5}, True),  # any order, and a default
        ({"uid": 1}, True),  # a generated key
        ({"id": None, "uid": 1}, False),
        ({"id": 5, "uid": 1, "idtype": None}, True),
        ({"id": 5, "uid": None}, False),
        ({"id": 5, "uid": "7"}, True),  # read as a number
        ({"id": 5, "uid": "x"}, False),
        ({"id": 5, "UID": 7}, False),
        ({"id": 5}, False),
        ({"id": 2**32 - 1, "uid": 1}, True),
    ],
)
def test_plain_rows_take_the_short_way(row: Row, is_short: bool) -> None:
    pair = Pair(POSTS)
    assert pair.insert(dict(row)) is is_short
    assert pair.insert(dict(row)) is is_short or row == {"uid": 1}  # replaced
    pair.compare()


def test_a_counter_that_is_used_up_is_refused_by_the_general_way() -> None:
    pair = Pair(POSTS)
    assert pair.insert({"id": 2**32 - 1, "uid": 1})
    assert not pair.insert({"uid": 1})
    pair.compare()


def test_a_change_of_columns_or_indexes_is_seen_at_once() -> None:
    pair = Pair(POSTS)
    row: Row = {"id": 1, "uid": 1, "dateline": 2, "idtype": "a"}
    assert pair.insert(row)
    pair.both(AddColumn("t", Column("hits", INT, nullable=False, default=3, has_default=True), after="id"))
    assert pair.insert({**row, "id": 2})
    pair.both(DropIndex("t", "uid"))
    assert pair.insert({**row, "id": 3})
    pair.both(CreateIndex("t", IndexDef("hits", ("hits", "uid"))))
    assert pair.insert({**row, "id": 4, "hits": 9})
    pair.compare()


def test_a_growing_table_gets_the_shape_it_gets_row_by_row() -> None:
    pair = Pair(POSTS)
    for number in range(300):
        assert pair.insert({"id": number, "uid": number % 3, "idtype": f"kind {number % 2}"})
    pair.compare()
    shapes = [[index.partitioned for index in db.table("t").indexes.values()] for db in (pair.short, pair.general)]  # type: ignore[union-attr]  # all of them are ordered
    assert shapes[0] == shapes[1] and any(shapes[0])


def test_rows_enter_no_index_while_a_table_is_filled_in_bulk() -> None:
    pair = Pair(POSTS)
    for database in (pair.short, pair.general):
        database.begin_bulk("t")
    for number in range(20):
        pair.insert({"id": number, "uid": number % 3})
    for database in (pair.short, pair.general):
        database.end_bulk("t")
    pair.insert({"id": 20, "uid": 1})
    pair.compare()


def test_a_client_that_shuffles_members_is_not_remembered_for_ever() -> None:
    schema = TableSchema("t", (Column("id", INT, nullable=False), *(Column(f"c{n}", INT) for n in range(8))), ("id",))
    pair = Pair(schema)
    for number in range(3 * MOST_PLANS):
        members = [f"c{n}" for n in range(8) if number >> n & 1]
        assert pair.insert({"id": number, **dict.fromkeys(members, number)})
    assert len(pair.short._singles.of(pair.short.table("t"))._plans) <= MOST_PLANS  # there is no other way to see it
    pair.compare()
