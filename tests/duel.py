"""Model and engine side by side: every change and every query goes to both, and any difference is an AssertionError."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tcsql.engine.change import Batch, Change, RowsBatch, Tally
from tcsql.engine.database import Database, finish
from tcsql.engine.query import Count, Group, OrderTerm, Select
from tcsql.engine.result import CountResult, Groups, Page, Result
from tcsql.engine.schema import TableSchema
from tcsql.errors import TCSQLError
from tests.model import Model, ModelPage, Position, Row, position

NOW = datetime(2026, 11, 20, 15, 4, 5)


def decoded(rows: Sequence[bytes]) -> list[Row]:
    return [json.loads(row) for row in rows]


def exactly(rows: Sequence[Row]) -> list[list[tuple[str, str, object]]]:
    """Rows with the order of columns and the types of values made visible: 5 is not 5.0."""
    return [[(name, type(value).__name__, value) for name, value in row.items()] for row in rows]


def index_names(schema: TableSchema) -> tuple[set[object], set[object]]:
    """The indexes of a table, declared and automatic, and those that are forbidden."""
    held: set[object] = {(index.name, index.columns, index.automatic) for index in schema.indexes}
    return held, {(index.name, index.columns) for index in schema.forbidden}


@dataclass(frozen=True)
class Bookmark:
    """A cursor as a client holds it, and what the model knows about the place it stands for."""

    cursor: str
    at: Position
    query: Select
    forward: bool


@dataclass
class DiskTable:
    """Rows by the text of their key, each with the layout it was written in."""

    schema: TableSchema
    rows: dict[str, tuple[int, bytes]]
    auto_increment: int


class Disk:
    """What a store would have written: only what batches say, so a restart proves that they say everything."""

    def __init__(self) -> None:
        self.tables: dict[int, DiskTable] = {}

    def write(self, batch: Batch) -> None:
        for part in batch.parts:
            if isinstance(part, RowsBatch):
                self._write_rows(part)
            elif part.after is None:
                del self.tables[part.table_id]
            elif part.before is None:
                self.tables[part.table_id] = DiskTable(part.after, {}, part.after.auto_increment)
            else:
                table = self.tables[part.table_id]
                assert table.schema == part.before
                table.schema = TableSchema.from_json(json.loads(json.dumps(part.after.to_json())))
                assert table.schema == part.after
                if part.removes_rows:
                    table.rows.clear()
        for table_id, counter in batch.auto_increment.items():
            self.tables[table_id].auto_increment = counter

    def _write_rows(self, part: RowsBatch) -> None:
        table = self.tables[part.table_id]
        assert len({op.pkey for op in part.ops}) == len(part.ops)
        for op in part.ops:
            key = table.schema.pkey_text(op.pkey)
            assert (op.before is not None) == (key in table.rows)
            if op.after is None:
                del table.rows[key]
            else:
                table.rows[key] = (table.schema.layout, op.after)

    def read(self) -> Database:
        database = Database()
        for table_id, table in self.tables.items():
            database.restore(table_id, table.schema, table.auto_increment, iter(table.rows.values()))
        return database


Expected = ModelPage | int | tuple[int, list[Row]]


def compare(query: Select | Count | Group, result: Result, expected: Expected) -> None:
    """AssertionError when the engine's answer is not the model's."""
    if isinstance(result, CountResult):
        assert result.count == expected, query
    elif isinstance(result, Groups):
        assert isinstance(expected, tuple)
        assert exactly(decoded(result.rows)) == exactly(expected[1]), query
        assert result.total == expected[0], query
    else:
        assert isinstance(expected, ModelPage) and isinstance(query, Select)
        assert exactly(decoded(result.rows)) == exactly(expected.rows), query
        assert result.total == expected.total or (result.total is None and not query.total), query
        if expected.rows:
            assert (result.next is not None) == expected.has_next, f"next {result.next} for {query}"
            assert (result.prev is not None) == expected.has_prev, f"prev {result.prev} for {query}"


class Duel:
    """``change`` and ``ask`` on both sides; ``check`` compares everything that is there."""

    def __init__(self) -> None:
        self.model = Model()
        self.database = Database()
        self.disk = Disk()

    def schema(self, table: str) -> TableSchema:
        return self.model.table(table).schema

    def change(self, *changes: Change) -> Tally | type[TCSQLError]:
        """The tally, or the class of the refusal."""
        expected = self.expected_of(changes)
        try:
            batch = self.database.check(changes, NOW)
        except TCSQLError as error:
            assert expected is type(error), f"refused with {error!r}, the model says {expected}"
            return expected
        assert batch.tally == expected, f"{batch.tally} for {changes}, the model says {expected}"
        self.database.apply(batch)
        self.disk.write(batch)
        return batch.tally

    def change_of_mind(self, requests: Sequence[Sequence[Change]]) -> None:
        """Apply several requests and take all back, newest first: as if nothing had happened."""
        undone = []
        for changes in requests:
            try:
                undone.append(self.database.apply(self.database.check(changes, NOW)))
            except TCSQLError:
                continue
            self.work_in_the_background(2)
        for undo in reversed(undone):
            self.database.revert(undo)
            self.work_in_the_background(1)

    def work_in_the_background(self, steps: int) -> None:
        """So many steps of it, fewer if less is to do."""
        left = iter([True] * steps)
        self.database.maintain(lambda: next(left, False))

    def change_overtaken(self, change: Change, others: Sequence[Change]) -> None:
        """A change that searches in slices while others are made: it counts from the moment it is complete."""
        steps = self.database.check_steps([change], NOW)
        waiting = list(others)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                batch: Batch = stop.value
                break
            except TCSQLError as error:
                assert self.expected_of([change]) is type(error)
                return
            if waiting:
                self.change(waiting.pop())
        assert batch.tally == self.expected_of([change])
        self.database.apply(batch)
        self.disk.write(batch)

    def expected_of(self, changes: Sequence[Change]) -> Tally | type[TCSQLError]:
        """What the model makes of it: the tally, or the class of the refusal."""
        try:
            return self.model.apply(changes, NOW)
        except TCSQLError as error:
            return type(error)

    def restart(self) -> None:
        self.database = self.disk.read()

    def ask(self, query: Select | Count | Group) -> Result:
        """The engine's answer, proved equal to the model's, and to its own when nothing is prepared."""
        result = self.database.query(query)
        assert finish(self.database.general_steps(query)) == result
        compare(query, result, self.expected(query))
        return result

    def expected(self, query: Select | Count | Group) -> Expected:
        """The model's answer."""
        if isinstance(query, Select):
            return self.model.select(query)
        return self.model.count(query) if isinstance(query, Count) else self.model.group(query)

    def agrees(self, query: Select | Count | Group, result: Result, expected: Expected) -> bool:
        try:
            compare(query, result, expected)
        except AssertionError:
            return False
        return True

    def turn(self, bookmark: Bookmark) -> Page:
        """The page beyond a bookmark, proved equal to the model's."""
        if bookmark.forward:
            query = replace(bookmark.query, skip=0, after=bookmark.cursor)
            expected = self.model.select(query, after=bookmark.at)
        else:
            query = replace(bookmark.query, skip=0, before=bookmark.cursor)
            expected = self.model.select(query, before=bookmark.at)
        result = self.database.query(query)
        assert isinstance(result, Page)
        compare(query, result, expected)
        return result

    def bookmarks(self, query: Select, page: Page) -> list[Bookmark]:
        """The cursors of a page; the place they stand for is found by the key, so all columns must be asked for."""
        table = self.model.table(query.table)
        rows = decoded(page.rows)
        found = []
        if page.prev is not None:
            found.append(Bookmark(page.prev, self._position(table.schema, rows[0], query.order), query, False))
        if page.next is not None:
            found.append(Bookmark(page.next, self._position(table.schema, rows[-1], query.order), query, True))
        return found

    @staticmethod
    def _position(schema: TableSchema, row: Row, order: tuple[OrderTerm, ...]) -> Position:
        return position(schema, row, order)

    def check(self) -> None:
        """Indexes equal a rebuild, and every table holds exactly the model's rows in its order."""
        self.database.check_invariants()
        assert sorted(schema.name for schema in self.database.schemas()) == sorted(self.model.tables)
        for name, table in self.model.tables.items():
            schema = self.database.schema(name)
            assert schema.columns == table.schema.columns and schema.primary_key == table.schema.primary_key
            assert index_names(schema) == index_names(table.schema)
            everything = table.select(Select(name, limit=len(table.rows))).rows
            assert exactly(decoded(list(self.database.rows(name)))) == exactly(everything)
