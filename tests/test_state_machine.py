"""Random histories of one table on engine and model: every step may be anything, after every step all is compared.

Sizes at which the engine changes its ways (leaf forms, directory blocks, reshaping, index building in slices) are made
small, so that short histories cross them in both directions.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tcsql.engine import change as ch
from tcsql.engine.query import Condition, Count, Filter, Group, Operator, Select
from tcsql.engine.result import Page, Result
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.errors import TCSQLError
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tests.duel import NOW, Bookmark, Duel
from tests.model import Row
from tests.pools import BLOB, TYPES
from tests.sizes import small_sizes
from tests.storage.support import crash_copy
from tests.strategies import (
    counts,
    effort,
    filters,
    groups,
    indexes,
    narrow_filters,
    orders,
    questions,
    rows,
    schemas,
    selects,
    tables,
    values,
)

NAME = "t"


#: Leaf forms, directory blocks, reshaping and building in slices all change at small sizes here.
pytestmark = pytest.mark.usefixtures(small_sizes.__name__)


class History(RuleBasedStateMachine):
    """One table and what can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.duel = Duel()
        self.bookmarks: list[Bookmark] = []
        self.named = 0

    @property
    def schema(self) -> TableSchema:
        return self.duel.schema(NAME)

    @initialize(data=st.data(), schema=schemas(NAME), most=st.sampled_from((60, 60, 15, 0)))
    def create(self, data: st.DataObject, schema: TableSchema, most: int) -> None:
        self.duel.change(ch.CreateTable(schema))
        self.duel.change(ch.Upsert(NAME, data.draw(tables(schema, most // 2, most))))

    def fresh(self, prefix: str) -> str:
        self.named += 1
        return f"{prefix}{self.named}"

    # --- rows -----------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def put_one(self, data: st.DataObject) -> None:
        self.duel.change(ch.Upsert(NAME, [data.draw(rows(self.schema))]))

    @rule(data=st.data(), most=st.sampled_from((60, 20, 5)), trusted=st.booleans())
    def load(self, data: st.DataObject, most: int, trusted: bool) -> None:
        trusted = trusted and all(column.type != BLOB for column in self.schema.columns)  # MySQL's would be raw
        self.duel.change(ch.Upsert(NAME, data.draw(tables(self.schema, most // 2, most, trusted)), trusted))

    @rule(data=st.data())
    def put_what_does_not_fit(self, data: st.DataObject) -> None:
        good, bad = data.draw(rows(self.schema)), data.draw(rows(self.schema))
        flaw = data.draw(st.sampled_from(("unknown column", "no key", "null")))
        strict = [column.name for column in self.schema.columns if not column.nullable and not column.auto_increment]
        if flaw == "null" and strict:
            bad[data.draw(st.sampled_from(strict))] = None
        elif flaw == "no key" and self.schema.auto_increment_column is None:
            bad.pop(self.schema.primary_key[0], None)
        else:
            bad["nowhere"] = 1
        self.duel.change(ch.Delete(NAME, Filter()), ch.Upsert(NAME, [good, bad]))

    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        column = data.draw(st.sampled_from(self.schema.columns))
        change = ch.Update(NAME, data.draw(filters(self.schema)), {column.name: data.draw(values(column))})
        self.duel.change(change)

    @rule(data=st.data(), everything=st.sampled_from((False,) * 9 + (True,)))
    def delete(self, data: st.DataObject, everything: bool) -> None:
        where = Filter() if everything else data.draw(narrow_filters(self.schema))
        self.duel.change(ch.Delete(NAME, where))

    @rule(data=st.data())
    def delete_by_key(self, data: st.DataObject) -> None:
        present = list(self.duel.model.table(NAME).rows.values())
        chosen: list[Row] = data.draw(st.lists(st.sampled_from(present), max_size=3)) if present else []
        other = data.draw(rows(self.schema))
        if all(name in other for name in self.schema.primary_key):
            chosen.append(other)
        self.duel.change(ch.DeleteKeys(NAME, [self.schema.pkey_of(row) for row in chosen]))

    @rule(data=st.data())
    def several_at_once(self, data: st.DataObject) -> None:
        """One request: later changes see what earlier ones did; one refusal undoes all."""
        column = data.draw(st.sampled_from(self.schema.columns))
        changes: list[ch.Change] = [
            ch.Upsert(NAME, data.draw(tables(self.schema, 0, 5))),
            ch.Update(NAME, data.draw(filters(self.schema)), {column.name: data.draw(values(column))}),
            ch.Delete(NAME, data.draw(narrow_filters(self.schema))),
            ch.Upsert(NAME, data.draw(tables(self.schema, 0, 5))),
        ]
        self.duel.change(*data.draw(st.permutations(changes)))

    @rule(data=st.data())
    def do_and_undo(self, data: st.DataObject) -> None:
        last = self.schema.names[-1]
        changes: list[ch.Change] = [
            ch.Upsert(NAME, data.draw(tables(self.schema, 0, 9))),
            ch.Delete(NAME, data.draw(filters(self.schema))),
            ch.Delete(NAME, Filter()),
            ch.Truncate(NAME),
            ch.DropTable(NAME),
            ch.RenameTable(NAME, "other"),
            ch.RenameTable("other", NAME),
            ch.CreateTable(data.draw(schemas(NAME))),
            ch.CreateIndex(NAME, data.draw(indexes(self.schema, self.fresh("i")))),
            ch.CreateIndex(NAME, self.automatic(data)),
            *(ch.RenameIndex(NAME, each.name, self.fresh("i")) for each in self.schema.indexes[:1]),
            ch.RenameColumn(NAME, last, self.fresh("c")),
            ch.AddColumn(NAME, Column(self.fresh("c"), data.draw(st.sampled_from(TYPES)))),
            ch.DropColumn(NAME, last),
            *(ch.DropIndex(NAME, each.name) for each in self.schema.indexes),
        ]
        chosen = data.draw(st.lists(st.sampled_from(changes), min_size=1, max_size=6))
        self.duel.change_of_mind([[change] for change in chosen])

    @rule(data=st.data())
    def change_while_others_write(self, data: st.DataObject) -> None:
        column = data.draw(st.sampled_from(self.schema.columns))
        where = data.draw(narrow_filters(self.schema))
        change: ch.Change = ch.Delete(NAME, where)
        if data.draw(st.booleans()):
            change = ch.Update(NAME, where, {column.name: data.draw(values(column))})
        others: list[ch.Change] = [ch.Upsert(NAME, data.draw(tables(self.schema, 1, 4))) for _ in range(3)]
        self.duel.change_overtaken(change, [*others, ch.Delete(NAME, data.draw(narrow_filters(self.schema)))])

    # --- schema ---------------------------------------------------------------------------------------------

    @rule(dice=st.integers(0, 9))
    def truncate(self, dice: int) -> None:
        if dice == 9:
            self.duel.change(ch.Truncate(NAME))

    @rule(data=st.data())
    def create_index(self, data: st.DataObject) -> None:
        taken = [each.name for each in self.schema.indexes]
        name = data.draw(st.sampled_from([*taken, *[self.fresh("i")] * 4]))
        quiet = data.draw(st.booleans())
        self.duel.change(ch.CreateIndex(NAME, data.draw(indexes(self.schema, name)), if_not_exists=quiet))

    @rule(data=st.data())
    def create_automatic_index(self, data: st.DataObject) -> None:
        self.duel.change(ch.CreateIndex(NAME, self.automatic(data)))

    def automatic(self, data: st.DataObject) -> IndexDef:
        wanted = data.draw(indexes(self.schema, "auto"))
        return replace(wanted, fulltext=False, automatic=True, notes=("missed",))

    @rule(data=st.data())
    def declare_an_automatic_index(self, data: st.DataObject) -> None:
        """By its columns or by a name of its own; also one that is forbidden."""
        automatic = [each for each in self.schema.indexes if each.automatic]
        chosen = data.draw(st.sampled_from([*automatic, *self.schema.forbidden, *self.schema.indexes, None]))
        if chosen is None or data.draw(st.booleans()):
            name = chosen.name if chosen is not None else "none"
            to = data.draw(st.sampled_from([self.fresh("i"), *[each.name for each in self.schema.indexes]]))
            self.duel.change(ch.RenameIndex(NAME, name, to))
        else:
            name = data.draw(st.sampled_from([chosen.name, self.fresh("i")]))
            self.duel.change(ch.CreateIndex(NAME, replace(chosen, name=name, automatic=False)))

    @rule(data=st.data())
    def allow_index(self, data: st.DataObject) -> None:
        names = [each.name for each in (*self.schema.forbidden, *self.schema.indexes)]
        self.duel.change(ch.AllowIndex(NAME, data.draw(st.sampled_from([*names, "none"]))))

    @rule(data=st.data(), quiet=st.booleans(), may_return=st.booleans())
    def drop_index(self, data: st.DataObject, quiet: bool, may_return: bool) -> None:
        names = [each.name for each in self.schema.indexes]
        self.duel.change(ch.DropIndex(NAME, data.draw(st.sampled_from([*names, "none"])), quiet, may_return))

    @precondition(lambda self: len(self.schema.columns) < 9)
    @rule(data=st.data())
    def add_column(self, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(TYPES))
        column = Column(self.fresh("c"), kind, nullable=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            column = replace(column, default=data.draw(values(replace(column, nullable=False))), has_default=True)
        place = data.draw(st.sampled_from((None, "", *self.schema.names)))
        self.duel.change(ch.AddColumn(NAME, column, place))
        self.bookmarks.clear()

    @precondition(lambda self: len(self.schema.columns) > 2)
    @rule(data=st.data())
    def drop_column(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from((*self.schema.names, "nowhere")))
        self.duel.change(ch.DropColumn(NAME, name))
        self.bookmarks.clear()

    @rule(data=st.data())
    def rename_column(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.schema.names))
        to = data.draw(st.sampled_from((*self.schema.names, *[self.fresh("c")] * 4)))
        self.duel.change(ch.RenameColumn(NAME, name, to))
        self.bookmarks.clear()

    @rule()
    def rename_table_there_and_back(self) -> None:
        self.duel.change(ch.RenameTable(NAME, "other"))
        self.duel.check()
        self.duel.change(ch.RenameTable("other", NAME))

    @rule(data=st.data())
    def recreate_table(self, data: st.DataObject) -> None:
        schema = data.draw(schemas(NAME))
        self.duel.change(ch.CreateTable(schema))
        if data.draw(st.integers(0, 9)) == 9:
            self.duel.change(ch.DropTable(NAME))
            self.duel.change(ch.CreateTable(schema))
            self.bookmarks.clear()

    # --- time -----------------------------------------------------------------------------------------------

    @rule(slices=st.integers(1, 4))
    def work_in_the_background(self, slices: int) -> None:
        self.duel.work_in_the_background(slices)

    @rule()
    def restart(self) -> None:
        self.duel.restart()

    # --- questions ------------------------------------------------------------------------------------------

    @rule(data=st.data(), count=st.sampled_from((5, 10, 20)))
    def ask(self, data: st.DataObject, count: int) -> None:
        for query in data.draw(questions(self.schema, count)):
            self.duel.ask(query)

    @rule(data=st.data())
    def ask_while_others_write(self, data: st.DataObject) -> None:
        """A question in slices, with changes in between, is answered for one of the states it has seen."""
        query: Select | Count | Group = data.draw(selects(self.schema) | counts(self.schema) | groups(self.schema))
        steps = self.duel.database.steps(query)
        seen = [self.duel.expected(query)]
        patience = data.draw(st.integers(1, 30))
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                assert any(self.duel.agrees(query, stop.value, state) for state in seen), query
                return
            patience -= 1
            if patience > 0:
                self.duel.change(ch.Upsert(NAME, data.draw(tables(self.schema, 1, 2))))
                seen.append(self.duel.expected(query))

    @rule(data=st.data())
    def find_one(self, data: st.DataObject) -> None:
        row = data.draw(rows(self.schema))
        conditions = tuple(
            Condition(name, Operator.STREQ, self.schema.by_name[name].type.text(value))
            for name in self.schema.primary_key
            if (value := row.get(name)) is not None
        )
        self.duel.ask(Select(NAME, where=Filter((conditions,))))

    @rule(data=st.data(), size=st.integers(1, 6))
    def browse(self, data: st.DataObject, size: int) -> None:
        where = data.draw(st.just(Filter()) | filters(self.schema))
        query = Select(NAME, where=where, order=data.draw(orders(self.schema)), limit=size)
        self.keep(query, self.duel.ask(query))
        for _ in range(3):  # on from any place, forth or back
            self.turn_page(data)

    def keep(self, query: Select, page: Result) -> None:
        assert isinstance(page, Page)
        self.bookmarks = [*self.duel.bookmarks(query, page), *self.bookmarks][:10]

    def turn_page(self, data: st.DataObject) -> None:
        if self.bookmarks:
            bookmark = data.draw(st.sampled_from(self.bookmarks))
            self.keep(bookmark.query, self.duel.turn(bookmark))

    @rule(data=st.data())
    def come_back_later(self, data: st.DataObject) -> None:
        """Cursors that are older than the last changes."""
        for _ in range(3):
            self.turn_page(data)

    @invariant()
    def everything_is_equal(self) -> None:
        self.duel.check()


class StoredDuel(Duel):
    """The same through the store's write door; a restart reads the file."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self.open(directory / "0")

    def open(self, directory: Path) -> None:
        self.place = directory
        self.store = Store.open(directory, StoreOptions(clock=lambda: NOW))
        self.database = self.store.database

    def change(self, *changes: ch.Change) -> ch.Tally | type[TCSQLError]:
        expected = self.expected_of(changes)
        try:
            committed = self.store.commit_blocking(changes)
        except TCSQLError as error:
            assert expected is type(error), f"refused with {error!r}, the model says {expected}"
            return expected
        assert committed.tally == expected
        return committed.tally

    def restart(self) -> None:
        self.store.close()
        self.open(self.place)

    def kill(self) -> None:
        """Go on from the files as they are at this moment."""
        copy = crash_copy(self.place, self.place.with_name(f"{int(self.place.name) + 1}"))
        self.store.close()
        self.open(copy)


class StoredHistory(History):
    """A history on disk."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.stored = StoredDuel(Path(self.directory.name))
        self.duel = self.stored

    @rule()
    def kill(self) -> None:
        self.stored.kill()

    @rule(data=st.data())
    def change_while_others_write(self, data: st.DataObject) -> None:
        """Overtaking is the engine's affair; here it would go past the store."""

    def teardown(self) -> None:
        self.stored.store.close()
        self.directory.cleanup()


def test_any_history_leaves_engine_and_model_equal() -> None:
    run_state_machine_as_test(History, settings=effort(100, steps=40))


def test_any_history_on_disk_survives_restarts_and_kills() -> None:
    run_state_machine_as_test(StoredHistory, settings=effort(15, steps=40))
