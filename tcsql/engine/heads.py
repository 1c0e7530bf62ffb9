"""The heads of ordered runs, remembered with the columns that walks test: what makes an unselective filter cheap.

"The newest ten posts of a kind since T" walks a kind's posts from the newest. Nearly all such requests look at the
same few rows, with another T each. So the first rows of a run are kept with the values of the tested columns; a walk
is then a comparison of numbers (0.05 us a row) instead of a decoding (0.7 us a row). A head is exact: it is good for
one version of its table, and made anew after any change (16 rows: 12 us).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final
from weakref import WeakSet

from tcsql.engine.keys import Codec, Stretch
from tcsql.engine.operands import Bounds
from tcsql.engine.rows import decode
from tcsql.engine.table import Table
from tcsql.engine.values import PKey

#: Rows of a fresh head, and by how much it grows when they do not suffice.
FIRST_ROWS: Final = 16
GROWTH: Final = 4
#: Heads of one shape; a head of 16 rows takes about 1 KB.
MOST_HEADS: Final = 512
#: Pages that a head keeps as one piece each, beside its rows: their number, and the length of one.
MOST_PAGES: Final = 4
MOST_JOINED_BYTES: Final = 4_096
#: Rows in the heads of all shapes together: a thousand shapes with long heads would take gigabytes.
MOST_ROWS: Final = 200_000
ROW_BYTES: Final = 100


class FirstPage:
    """The first rows of a head as one piece of JSON: the page of all requests whose conditions they all match."""

    __slots__ = ("highest", "joined", "last", "lowest")

    def __init__(self, rows: Sequence[bytes], last: PKey, lowest: Any, highest: Any) -> None:
        self.joined = b",".join(rows)
        self.last = last
        #: Of the tested column.
        self.lowest = lowest
        self.highest = highest


class Head:
    """The first rows of one run in output order, with the values of the tested columns."""

    __slots__ = ("_lowest_highest", "columns", "pages", "pkeys", "rows", "version")

    def __init__(self, version: int, columns: int) -> None:
        self.version = version
        self.pkeys: list[PKey] = []
        self.rows: list[bytes] = []
        self.columns: list[list[Any]] = [[] for _ in range(columns)]
        #: For each column the lowest and the highest value among the first rows, for any number of them.
        self._lowest_highest: list[tuple[list[Any], list[Any]]] = []
        #: By size: what ``first_page`` gave.
        self.pages: dict[int, FirstPage] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def held(self) -> int:
        """Rows, and for its pages as many as take up so much."""
        return len(self.rows) + sum([1 + len(page.joined) // ROW_BYTES for page in self.pages.values()])

    def load(self, table: Table, names: Sequence[str], pkeys: Sequence[PKey]) -> None:
        """Take the next rows of the run."""
        rows = table.rows.many(pkeys)
        self.pkeys += pkeys
        self.rows += rows
        for decoded in map(decode, rows):
            for name, values in zip(names, self.columns, strict=True):
                values.append(decoded[name])
        self._lowest_highest = [(list(accumulate(c, min)), list(accumulate(c, max))) for c in self.columns]

    def all_match(self, bounds: Sequence[Bounds], need: int) -> bool:
        """Whether every one of the first ``need`` rows is within the bounds: the usual case, 0.2 us."""
        if need > len(self.rows):
            return False
        last = need - 1
        for (lowest, highest), (low, high) in zip(self._lowest_highest, bounds):  # noqa: B905  # strict takes 0.1 us
            if lowest[last] < low or highest[last] > high:
                return False
        return True

    def first_page(self, count: int) -> FirstPage | None:
        """So many first rows, with one tested column; None when the head is shorter, or they are long."""
        rows = self.rows[:count]
        if len(rows) < count or sum(map(len, rows)) > MOST_JOINED_BYTES:
            return None
        lowest, highest = self._lowest_highest[0]
        before = self.held
        if len(self.pages) >= MOST_PAGES:
            self.pages.clear()
        page = self.pages[count] = FirstPage(rows, self.pkeys[count - 1], lowest[count - 1], highest[count - 1])
        _HELD.add(self.held - before)
        return page

    def places(self, bounds: Sequence[Bounds], need: int) -> Sequence[int]:
        """Where the first matching rows stand: ``need`` of them or, if the head holds fewer, all."""
        found: Sequence[int] = range(len(self.rows))
        for values, (low, high) in zip(self.columns, bounds, strict=True):
            found = [place for place in found if low <= values[place] <= high]
        return found[:need]


class _Held:
    """How many rows the heads of all shapes hold, or less: a shape that is forgotten counts until the next clearing."""

    def __init__(self) -> None:
        self.rows = 0
        self.shapes: WeakSet[Heads] = WeakSet()

    def add(self, rows: int) -> None:
        """Count so many more; when they are too many, all shapes begin again."""
        self.rows += rows
        if self.rows > MOST_ROWS:
            self.rows = 0
            for heads in self.shapes:
                heads.clear()


_HELD: Final = _Held()


class Heads:
    """The heads of all runs that one shape of query walks."""

    __slots__ = ("__weakref__", "_codec", "_names", "_reverse", "_table", "by_key")

    def __init__(self, table: Table, codec: Codec, names: Sequence[str], reverse: bool) -> None:
        self._table = table
        self._codec = codec
        self._names = names
        self._reverse = reverse
        #: A head whose version is not the table's is to be made anew.
        self.by_key: dict[object, Head] = {}
        _HELD.shapes.add(self)

    @property
    def rows(self) -> int:
        """Rows held."""
        return sum([head.held for head in self.by_key.values()])

    def clear(self) -> None:
        """Let go of all heads."""
        self.by_key.clear()

    def new(self, key: object) -> Head:
        """An empty head for a run."""
        if len(self.by_key) >= MOST_HEADS:
            _HELD.add(-self.rows)
            self.clear()
        old = self.by_key.get(key)
        if old is not None:
            _HELD.add(-old.held)
        head = self.by_key[key] = Head(self._table.version, len(self._names))
        return head

    def grow(self, head: Head, run: Stretch, need: int) -> None:
        """Read more of the run: at least ``need`` rows in all, if it has so many."""
        self._load(head, run, max(need, FIRST_ROWS, GROWTH * len(head.rows)))

    def _load(self, head: Head, run: Stretch, count: int) -> None:
        leaf, start, stop = run
        have, count = len(head.rows), min(count, stop - start)
        if self._reverse:
            pkeys = self._codec.page(leaf, stop - count, stop - have)
            pkeys.reverse()
        else:
            pkeys = self._codec.page(leaf, start + have, start + count)
        head.load(self._table, self._names, pkeys)
        _HELD.add(len(pkeys))
