"""An index under construction: rows enter in the order of their keys, a few at a time, while the table lives on.

Invariant: the index has the entries of all rows whose key is at most ``mark``, and of no others. So a write behind
the mark is entered or taken out as in a finished index, a write ahead of it is left alone: its row, if it is still
there, comes along later. Nothing is copied at the start and nothing is left to do at the end.

The shape must be chosen before the first entry: changing it later would mean to begin again. It depends on the number
of distinct leading values, which is estimated from rows spread over the table.

Cost: 2 to 4 us a row in all; a step takes less than half a millisecond.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from tcsql.engine.gather import Gathered
from tcsql.engine.index import MIN_REPETITION, OrderedIndex
from tcsql.engine.keys import Codec, Key, KeyValue
from tcsql.engine.rows import Rows, decode
from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.textindex import TextIndex
from tcsql.engine.values import PKey

Index = OrderedIndex | TextIndex

#: Rows of one step: 0.3 ms.
SLICE_ROWS: Final = 96
#: The same for a text index, which takes 30 us a row.
TEXT_SLICE_ROWS: Final = 16
#: Rows looked at to choose the shape: 250,000 values among 1 M rows are estimated to a fifth.
SAMPLE_ROWS: Final = 4_096
_64_BITS: Final = (1 << 64) - 1
#: Equal texts of different rows become one object as long as there are no more different ones than this.
INTERN_LIMIT: Final = 20_000


class Build:
    """One index on its way; ``step`` until it gives False."""

    def __init__(self, index: Index, rows: Rows, primary: OrderedIndex) -> None:
        self.index = index
        self.mark: PKey | None = None
        self._rows = rows
        self._primary = primary
        self._known: dict[KeyValue, KeyValue] = {}
        self._sampled: Counter[KeyValue] | None = None
        self._places: set[int] = set()
        self._tries = 0
        if isinstance(index, OrderedIndex) and not index.keeps_shape:
            self._sampled = Counter()

    def covers(self, pkey: PKey) -> bool:
        """Whether the row of this key has its entry already, so that a write must change it."""
        return self.mark is not None and pkey <= self.mark  # type: ignore[operator]  # keys of one table

    def step(self, schema: TableSchema) -> bool:
        """Some more rows of the table, whose present schema it is. False: every row is in."""
        if self._sampled is not None:
            self._sample(self._sampled)
            return True
        at, size = self.progress
        stop = min(size, at + (SLICE_ROWS if isinstance(self.index, OrderedIndex) else TEXT_SLICE_ROWS))
        if at == size:
            return False
        pkeys = list(self._primary.run(()).pkeys(at, stop, False))
        columns = columns_of(self.index)
        gathered = Gathered(schema, columns)
        gathered.take(self._rows.many(pkeys))
        values = [self._interned(gathered.columns[column.name]) for column in columns]
        add_entries(self.index, values, pkeys)
        self.mark = pkeys[-1]
        return stop < size  # at the end now, whatever is appended later

    @property
    def progress(self) -> tuple[int, int]:
        """Rows done, and rows in all. Two bisections."""
        run = self._primary.run(())
        if self.mark is None:
            return 0, run.size
        parts = self.mark if isinstance(self.mark, tuple) else (self.mark,)
        names = (column.name for column in self._primary.columns)
        return run.seek(dict(zip(names, parts, strict=True)))[1], run.size

    def _interned(self, values: Sequence[KeyValue]) -> Sequence[KeyValue]:
        known = self._known
        if not isinstance(values, list) or len(known) > INTERN_LIMIT:
            return values
        return [known.setdefault(value, value) for value in values]

    def _sample(self, sampled: Counter[KeyValue]) -> None:
        """A step's worth of the sample; with the last of it the index takes its shape."""
        index = self.index
        assert isinstance(index, OrderedIndex)  # no other is sampled
        run = self._primary.run(())
        wanted = min(SAMPLE_ROWS, run.size)
        done = sampled.total()
        for number in range(done, min(wanted, done + SLICE_ROWS // 2)):
            place = number if run.size <= SAMPLE_ROWS else self._scattered(run.size)
            [data] = self._rows.many(run.pkeys(place, place + 1, False))
            sampled[index.values(decode(data))[0]] += 1
        if sampled.total() >= wanted:
            index.begin(partitioned=distinct(sampled, run.size) * MIN_REPETITION <= run.size)
            self._sampled, self._places = None, set()

    def _scattered(self, size: int) -> int:
        """One of ``size`` rows, more than are sampled, each once."""
        while True:
            self._tries += 1
            place = scattered(self._tries, size)
            if place not in self._places:
                self._places.add(place)
                return place


def scattered(number: int, size: int) -> int:
    """A place below ``size`` as if thrown by dice: at even distances data that are regular would deceive."""
    mixed = number * 0x9E3779B97F4A7C15 & _64_BITS
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS  # splitmix64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _64_BITS
    return (mixed ^ mixed >> 31) * size >> 64


def distinct(sampled: Counter[KeyValue], rows: int) -> float:
    """How many different values ``rows`` rows have, by Chao's estimate from a sample of them.

    It takes samples to be put back; as they are not, values of two rows are found in pairs half as often.

    >>> distinct(Counter("aaab"), 4), round(distinct(Counter({"a": 1, "b": 1, "c": 2}), 1_000))
    (2, 5)
    """
    if sampled.total() >= rows:
        return len(sampled)
    once = sum(1 for count in sampled.values() if count == 1)
    twice = sum(1 for count in sampled.values() if count == 2)
    estimate = len(sampled) + once * once / (2 * max(1, twice))
    return estimate * rows / (estimate + rows)


def columns_of(index: Index) -> tuple[Column, ...]:
    """The columns whose values an index holds."""
    return index.declared if isinstance(index, OrderedIndex) else (index.column,)


def gathered_for(schema: TableSchema, indexes: Iterable[Index]) -> Gathered:
    """What takes rows apart for all these indexes at once."""
    return Gathered(schema, chain.from_iterable(map(columns_of, indexes)))


def add_entries(index: Index, values: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> None:
    """Enter rows that are in no other index at this moment."""
    if isinstance(index, OrderedIndex):
        index.add_many(values, pkeys, _keys_of)
    else:
        index.add_many(values[0], pkeys)  # type: ignore[arg-type]  # texts


def discard_entries(index: Index, values: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> None:
    """Take rows out that are in the index."""
    if isinstance(index, OrderedIndex):
        index.discard_many(values, pkeys, _keys_of)
    else:
        for text, pkey in zip(values[0], pkeys, strict=True):
            index.discard((text,), pkey)  # type: ignore[arg-type]  # texts


def _keys_of(codec: Codec, columns: Sequence[Sequence[KeyValue]], pkeys: Sequence[PKey]) -> list[Key]:
    return codec.keys(columns, pkeys)
