"""One table in memory: its rows, the order of its primary key, and its secondary indexes, changed together.

Invariants (``check_table``): every index holds exactly one entry per row (text indexes one per gram), the
primary order holds every key once, and ``version`` grows with every change.

Cost of one row written: decoding before and after (0.5 us each) and about 2 us for each index whose key changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from tcsql.engine.building import Build, Index, add_entries, columns_of, gathered_for, scattered
from tcsql.engine.change import NewRows, RowOp
from tcsql.engine.dismantling import STEP_ENTRIES, dismantle
from tcsql.engine.gather import Gathered, chunks, new_chunks
from tcsql.engine.index import RESHAPE_AT, KeysOf, OrderedIndex
from tcsql.engine.keys import Codec, Key, KeyValue, make_codec
from tcsql.engine.manyrows import change_rows
from tcsql.engine.query import Query
from tcsql.engine.rows import Rows, decode, translator
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.textindex import TextIndex
from tcsql.engine.values import PKey

PRIMARY = IndexDef("PRIMARY", ())
#: An index that somebody asks for is built at once on a table of at most this many rows: 30 ms.
BUILD_AT_ONCE = 10_000
#: The same for an index that nobody waits for: 3 ms.
BUILD_AT_ONCE_UNASKED = 1_000
#: Rows that ``maintain`` moves before it asks again whether to go on: about 1 ms.
SLICE_ROWS = 100
#: Shapes of which detours are counted.
MOST_DETOURS = 100
#: New rows in one batch from which on column by column is faster than row by row.
MANY_ROWS = 16


class Detours:
    """What a prepared shape of queries, of which ``query`` is one, has examined in vain since somebody looked."""

    __slots__ = ("query", "rows", "times")

    def __init__(self, query: Query) -> None:
        self.query = query
        self.rows = 0.0
        self.times = 0


class Table:
    """Rows and indexes of one table."""

    def __init__(self, table_id: int, schema: TableSchema) -> None:
        self.id = table_id
        self.schema = schema
        self.version = 0
        #: Grows when columns or usable indexes change: what planners remember depends on it.
        self.shape_version = 0
        self.auto_increment = schema.auto_increment
        self._bulk = False
        #: Rows when indexes were last reshaped: a table that shrinks and grows does not pay for it again.
        self._reshaped_at = 0
        self.rows = Rows()
        self._codecs: dict[tuple[str, ...], Codec] = {}
        self.primary = OrderedIndex(PRIMARY, (), schema.pkey_columns, self._codec)
        self.indexes: dict[str, Index] = {definition.name: self._new_index(definition) for definition in schema.indexes}
        #: Indexes under construction.
        self.building: dict[Index, Build] = {}
        #: Indexes that are no longer wanted, to be taken apart.
        self._dropped: list[Index] = []
        #: Of the prepared shapes that no index serves in full, the last ones that were prepared.
        self.detours: list[Detours] = []

    def __len__(self) -> int:
        return len(self.rows)

    def _codec(self, columns: tuple[Column, ...]) -> Codec:
        """One codec per list of columns, so that indexes with the same suffix share their key objects."""
        names = tuple(column.name for column in columns)
        codec = self._codecs.get(names)
        if codec is None:
            codec = self._codecs[names] = make_codec(columns, self.schema.pkey_columns)
        return codec

    def _new_index(self, definition: IndexDef) -> Index:
        columns = tuple(self.schema.by_name[name] for name in definition.columns)
        if definition.fulltext:
            return TextIndex(definition, columns[0], self.schema.pkey_columns)
        return OrderedIndex(definition, columns, self.schema.pkey_columns, self._codec)

    # --- rows -----------------------------------------------------------------------------------------------

    def apply(self, ops: Sequence[RowOp]) -> None:
        """Carry out row operations, each of which says truly what was there before."""
        grown = len(self.rows)
        if self._bulk:
            self._apply_rows_only(ops)
        elif len(ops) >= MANY_ROWS and self._only_inserts(ops):
            self._insert_many(ops)
            self._reshape(grown, len(self.rows))
        else:
            if len(ops) >= MANY_ROWS:
                targets = [
                    (index, None if index.ready else self.building[index].covers) for index in self.indexes.values()
                ]
                change_rows(self.schema, self.rows, self.primary, targets, ops)
            else:
                for op in ops:
                    self._apply_one(op)
            self._reshape(grown, len(self.rows))
        self.version += 1

    @property
    def takes_single_rows(self) -> bool:
        """Whether a new row has to enter every index that covers it and nothing else; for one ``shape_version``."""
        return not self._bulk

    def grown_by_one(self) -> None:
        """To be told after each row that entered by another way than ``apply``."""
        self.version += 1
        rows = len(self.rows)
        if rows in RESHAPE_AT:
            self._reshape(rows - 1, rows)

    def _apply_rows_only(self, ops: Sequence[RowOp]) -> None:
        rows = self.rows
        if isinstance(ops, NewRows):
            rows.add_new(ops.pkeys, ops.rows)
            return
        if all(op.before is None for op in ops):
            rows.add_new([op.pkey for op in ops], [op.after for op in ops if op.after is not None])
            return
        for op in ops:
            if op.after is None:
                rows.remove(op.pkey)
            else:
                rows.put(op.pkey, op.after)

    def begin_bulk(self) -> None:
        """From here to ``end_bulk`` rows only are kept, no index: nothing but inserting by key may be asked."""
        self._bulk = True
        self.shape_version += 1

    def end_bulk(self) -> None:
        """Sort every index once: 3 us a row, where keeping them meanwhile costs 2 us for each index."""
        self._bulk = False
        self._rebuild(list(self.indexes.values()))
        for index in list(self.building):
            self._finish(index)

    def _only_inserts(self, ops: Sequence[RowOp]) -> bool:
        return isinstance(ops, NewRows) or all(op.before is None for op in ops)

    def _insert_many(self, ops: Sequence[RowOp]) -> None:
        """New rows only: indexes take them column by column, in half the time."""
        for chunk in new_chunks(ops):
            gathered = self._gathered(self.indexes.values())
            pkeys = gathered.take_new(chunk)
            self.rows.add_new(pkeys, chunk.rows)
            keys_of = _remembering()
            for index in self.indexes.values():
                columns = [gathered.columns[column.name] for column in columns_of(index)]
                if not index.ready:
                    self._add_covered(index, columns, pkeys)
                elif isinstance(index, OrderedIndex):
                    index.add_many(columns, pkeys, keys_of)
                else:
                    index.add_many(columns[0], pkeys)
            self.primary.add_many((), pkeys, keys_of)

    def _add_covered(self, index: Index, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> None:
        """Of new rows those behind the mark of an index under construction; most come ahead of it."""
        covers = self.building[index].covers
        places = [place for place, pkey in enumerate(pkeys) if covers(pkey)]
        if places:
            chosen = [[values[place] for place in places] for values in columns]
            add_entries(index, chosen, [pkeys[place] for place in places])

    def _apply_one(self, op: RowOp) -> None:
        pkey = op.pkey
        before = decode(op.before) if op.before is not None and self.indexes else None
        after = decode(op.after) if op.after is not None and self.indexes else None
        for index in self.indexes.values():
            if not index.ready and not self.building[index].covers(pkey):
                continue
            old = index.values(before) if before is not None else None
            new = index.values(after) if after is not None else None
            if old == new:
                continue
            if isinstance(index, TextIndex) and old is not None and new is not None:
                index.replace(old[0], new[0], pkey)  # type: ignore[arg-type]  # texts
                continue
            if old is not None:
                index.discard(old, pkey)  # type: ignore[arg-type]  # values of the index itself
            if new is not None:
                index.add(new, pkey)  # type: ignore[arg-type]  # as above
        if op.before is None:
            self.primary.add((), pkey)
        if op.after is None:
            self.primary.discard((), pkey)
            self.rows.remove(pkey)
        else:
            self.rows.put(pkey, op.after)

    def restore(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Fill an empty table: rows with the layout they were written in, in any order; every index sorted once."""
        translators: dict[int, Callable[[bytes], bytes]] = {}
        gathered = self._gathered(self.indexes.values())
        for chunk in chunks(rows):
            if any(layout != self.schema.layout for layout, _ in chunk):
                for layout in {layout for layout, _ in chunk}.difference(translators):
                    translators[layout] = translator(self.schema, layout)
                data = [translators[layout](stored) for layout, stored in chunk]
            else:
                data = [stored for _, stored in chunk]
            self.rows.fill(gathered.take(data), data)
        self._build(self.indexes.values(), gathered)

    def _gathered(self, indexes: Iterable[Index]) -> Gathered:
        return gathered_for(self.schema, indexes)

    def _build(self, indexes: Iterable[Index], gathered: Gathered) -> None:
        columns, pkeys = gathered.columns, gathered.pkeys
        keys_of = _remembering()
        for index in indexes:
            values = [columns[column.name] for column in columns_of(index)]
            if isinstance(index, OrderedIndex):
                index.build(values, pkeys, keys_of)
            else:
                index.build(values[0], pkeys)
        self.primary.build((), pkeys, keys_of)
        self.version += 1
        self.shape_version += 1

    # --- indexes --------------------------------------------------------------------------------------------

    def _begin(self, index: Index) -> None:
        """Begin with a new index: at once on a small table, else in slices by ``maintain`` while writes go on."""
        index.ready = False
        self.building[index] = Build(index, self.rows, self.primary)
        if len(self) <= (BUILD_AT_ONCE_UNASKED if index.definition.automatic else BUILD_AT_ONCE):
            self._rebuild([index])
            self._finish(index)

    def _finish(self, index: Index) -> None:
        index.ready = True
        self.shape_version += 1
        del self.building[index]
        self.version += 1

    def detours_of(self, query: Query) -> Detours:
        """Where a prepared shape counts what an index would spare it."""
        found = Detours(query)
        self.detours = [*self.detours[1 - MOST_DETOURS :], found]
        return found

    def automatic(self) -> list[Index]:
        """The indexes that nobody has declared."""
        return [index for index in self.indexes.values() if index.definition.automatic]

    def progress(self, index: Index) -> tuple[int, int] | None:
        """Of an index under construction: rows done, and rows in all."""
        build = self.building.get(index)
        return build.progress if build is not None else None

    def _rebuild(self, indexes: Sequence[Index]) -> None:
        gathered = self._gathered(indexes)
        for chunk in chunks(data for _, data in self.rows.items()):
            gathered.take(chunk)
        self._build(indexes, gathered)

    def _reshape(self, before: int, after: int) -> None:
        """While a table is young, let its indexes choose their shape again from what they hold by now."""
        if any(max(before, self._reshaped_at) < size <= after for size in RESHAPE_AT):
            self._reshaped_at = after
            ordered = [index for index in self.indexes.values() if isinstance(index, OrderedIndex) and index.ready]
            changing = [index for index in ordered if not index.keeps_shape]
            if changing:
                self._rebuild(changing)

    def maintain(self, more: Callable[[], bool]) -> bool:
        """Background work while ``more()``: build indexes and take apart dropped ones, move rows to the newest layout.

        Steps of less than a millisecond. True: work is left.
        """
        while more():
            if self.building:
                build = next(iter(self.building.values()))
                if not build.step(self.schema):
                    self._finish(build.index)
            elif self._dropped:
                if not dismantle(self._dropped[-1]):
                    self._dropped.pop()
            elif (text := self._unsettled()) is not None:
                text.settle()
                self.version += 1  # scans of its leaves begin again
            elif not self.rows.migrate(SLICE_ROWS):
                return False
        return bool(self.building or self._dropped) or self._unsettled() is not None or not self.rows.settled

    def _unsettled(self) -> TextIndex | None:
        """A text index that has noted rows to enter."""
        texts = (index for index in self.indexes.values() if isinstance(index, TextIndex))
        return next((index for index in texts if not index.is_settled), None)

    def dismantle(self) -> bool:
        """Free some thousand rows or index entries of a table that is out of use; False when nothing is left."""
        self.building.clear()
        self._dropped += self.indexes.values()
        self.indexes = {}
        if self._dropped:
            if not dismantle(self._dropped[-1]):
                self._dropped.pop()
            return True
        return dismantle(self.primary) or self.rows.shrink(STEP_ENTRIES)

    # --- schema ---------------------------------------------------------------------------------------------

    def relayout(self, schema: TableSchema) -> None:
        """Take a schema with other columns or another name; the indexes of the new schema are kept or made."""
        old, self.schema = self.schema, schema
        self.shape_version += 1
        if schema.layout != old.layout:
            self.rows.relayout(old, schema)
        self._rename({before: after for before, after in schema.history.get(old.layout, ()) if before is not None})
        self._fit_indexes(schema.indexes)
        self.version += 1

    def _fit_indexes(self, wanted: Sequence[IndexDef]) -> None:
        """Keep indexes whose entries are still wanted, under whatever name; drop the others, begin with new ones."""
        spare = dict(self.indexes)
        kept: dict[str, Index] = {}
        for definition in wanted:
            held = spare.get(definition.name)
            if held is not None and held.definition.has_entries_of(definition):
                kept[definition.name] = spare.pop(definition.name)
        for definition in wanted:
            same = (name for name, held in spare.items() if held.definition.has_entries_of(definition))
            if definition.name not in kept and (name := next(same, None)) is not None:
                kept[definition.name] = spare.pop(name)
        for index in spare.values():
            self.building.pop(index, None)
            self._dropped.append(index)
        fresh = {each.name: self._new_index(each) for each in wanted if each.name not in kept}
        self.indexes = {each.name: kept[each.name] if each.name in kept else fresh[each.name] for each in wanted}
        for definition in wanted:
            self.indexes[definition.name].definition = definition
        for index in fresh.values():
            self._begin(index)

    def _rename(self, renamed: dict[str, str]) -> None:
        """Give codecs and indexes the new columns; no entry moves, as a name is in no key. O(indexes)."""

        def newest(columns: tuple[Column, ...]) -> tuple[Column, ...]:
            return tuple(self.schema.by_name.get(renamed.get(column.name, column.name), column) for column in columns)

        indexes = (self.primary, *self.indexes.values())
        self._codecs = {}
        for codec in {id(index.codec): index.codec for index in indexes}.values():
            codec.columns = newest(codec.columns)
        for index in indexes:
            index.rename(newest, renamed)

    # --- looking after --------------------------------------------------------------------------------------

    @property
    def memory_bytes(self) -> int:
        """Estimate: rows (33 bytes of header, 16-byte steps), the dict, keys, and the indexes."""
        count = len(self.rows)
        return (
            self.rows.bytes + count * (41 + 42 + 32) + self.primary.memory_bytes
            + sum(index.memory_bytes for index in self.indexes.values())
        )  # fmt: skip

    def sample(self, count: int) -> list[bytes]:
        """Up to so many rows, thrown by dice that always fall the same way. 5 us each."""
        run, size = self.primary.run(()), len(self)
        places = range(size) if size <= count else {scattered(number, size) for number in range(count)}
        return self.rows.many(pkey for place in places for pkey in run.pkeys(place, place + 1, False))

    def pkeys_in_order(self) -> Iterator[PKey]:
        return self.primary.run(()).pkeys(0, len(self), False)


def _remembering() -> KeysOf:
    """Keys of columns by codec, made once for all indexes that share it."""
    made: dict[int, list[Key]] = {}

    def keys_of(codec: Codec, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> list[Key]:
        if id(codec) not in made:
            made[id(codec)] = codec.keys(columns, pkeys)
        return made[id(codec)]

    return keys_of
