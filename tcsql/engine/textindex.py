"""The inverted index of a text column: normalised trigrams to the primary keys of the rows that hold them.

Every position of a normalised text starts one gram; the text is padded behind with two NULs, so that any
pattern of one or two characters is the beginning of some gram. A pattern of three or more characters is looked
up by its rarest trigram. Either way the index gives *candidates*: a superset, which the executor verifies on
the row. So STRINC (exact bytes) and the FTS operators (normalised) share one index.

Because candidates are verified, entering may wait. A batch of many rows is only noted (``note``: the text that the
index knows and the text it shall know) and entered in the background (``settle``), as a text costs fifty times what a
number does: 5,000 of them would keep everybody waiting for half a second. Meanwhile

    rows whose new text is not entered yet are candidates of every question
    keys of rows that are gone are left out of what the leaves give

Costs: adding a row of 30 characters about 30 us and 270 bytes, noting one 0.5 us; a look-up is one dict access per
trigram, and the noted rows as candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from sortedcontainers import SortedList

from tcsql.engine import fulltext, postings
from tcsql.engine.change import Row
from tcsql.engine.keys import Key, Leaf, PrimaryCodec
from tcsql.engine.query import Operator
from tcsql.engine.schema import Column, IndexDef
from tcsql.engine.values import PKey

SERVED = frozenset({Operator.STRINC, Operator.FTSPH, Operator.FTSAND, Operator.FTSOR, Operator.FTSEX})
#: Rows of one step of ``settle``: 2 ms when nearly every gram of them is another one than before.
SETTLE_ROWS: Final = 16
#: Rows of one batch from which on they are noted, if no more than so many are noted already: every question has them as
#: candidates, 1 us each.
NOTE_ROWS: Final = 100
MOST_NOTED: Final = 20_000
_GRAM = 3
_PADDING = "\0" * (_GRAM - 1)
#: Appended to a beginning, at or behind every gram that begins so.
_PAST = "\U0010ffff" * _GRAM


def grams(text: str) -> set[str]:
    """The grams of a text as stored.

    >>> sorted(grams("Ab c"))
    [' c\\x00', 'ab ', 'b c', 'c\\x00\\x00']
    """
    padded = fulltext.normalise(text).replace("\0", " ") + _PADDING
    return set(map("".join, zip(padded, padded[1:], padded[2:], strict=False)))


class _LivingKeys(PrimaryCodec):
    """Keys of a leaf without those whose rows are gone."""

    def __init__(self, primary: tuple[Column, ...], gone: set[PKey]) -> None:
        super().__init__(primary)
        self._gone = gone

    def pkeys(self, keys: Iterator[Key]) -> Iterator[PKey]:
        gone = self._gone
        return (key for key in keys if key not in gone) if gone else keys

    def many(self, leaf: Any, start: int, stop: int) -> list[PKey]:
        """Fewer than were asked for where rows are gone."""
        return list(self.pkeys(iter(super().many(leaf, start, stop))))


class TextIndex:
    """Candidates for STRINC, FTSPH, FTSAND, FTSOR and FTSEX on one column."""

    def __init__(self, definition: IndexDef, column: Column, primary: tuple[Column, ...]) -> None:
        self.definition = definition
        self.column = column
        #: Keys of rows that are gone while their grams still stand.
        self._gone: set[PKey] = set()
        self.codec = _LivingKeys(primary, self._gone)
        self.ready = True
        self.uses = 0
        self.entries = 0
        self.leaves: dict[str, Leaf] = {}
        self._vocabulary: SortedList[str] = SortedList()
        #: Rows noted and not entered yet: the text whose grams stand, the text whose grams shall stand.
        self._noted: dict[PKey, tuple[str | None, str | None]] = {}
        self._noted_leaf: list[Key] | None = None

    def __len__(self) -> int:
        return self.entries

    def values(self, row: Row) -> list[str | None]:
        """The text of a row."""
        value = row[self.column.name]
        return [None if value is None else str(value)]

    # --- changing -------------------------------------------------------------------------------------------

    def build(self, texts: Sequence[str | None], pkeys: Sequence[PKey]) -> None:
        """Replace the content. O(all grams)."""
        groups = _grouped((grams(text), pkey) for text, pkey in zip(texts, pkeys, strict=True) if text is not None)
        self.leaves = {gram: postings.make_leaf(group) for gram, group in groups.items()}
        self.entries = sum(map(len, self.leaves.values()))
        self._vocabulary = SortedList(self.leaves)
        self._noted.clear()
        self._gone.clear()
        self._noted_leaf = None

    def add(self, values: Sequence[str | None], pkey: PKey) -> None:
        """Enter the text under each of its grams. About 1 us a gram."""
        if pkey in self._noted:
            self.note(None, values[0], pkey, exists=True)
        elif values[0] is not None:
            self._enter_one(grams(values[0]), pkey)

    def add_many(self, texts: Sequence[str | None], pkeys: Sequence[PKey]) -> None:
        """Enter many new rows, or note them; a third of the time of one by one."""
        if self.ready and len(pkeys) >= NOTE_ROWS and len(self._noted) < MOST_NOTED:
            for text, pkey in zip(texts, pkeys, strict=True):
                self.note(None, text, pkey, exists=True)
            return
        if self._noted:
            for text, pkey in zip(texts, pkeys, strict=True):
                self.add((text,), pkey)
            return
        texted = ((grams(text), pkey) for text, pkey in zip(texts, pkeys, strict=True) if text is not None)
        for gram, group in _grouped(texted).items():
            self._enter(gram, group)

    def discard(self, values: Sequence[str | None], pkey: PKey) -> None:
        """Take the text out; grams that are not there do not matter (an index under construction)."""
        if pkey in self._noted:
            self.note(values[0], None, pkey, exists=False)
        elif values[0] is not None:
            self._take_one_out(grams(values[0]), pkey)

    def replace(self, old: str | None, new: str | None, pkey: PKey) -> None:
        """Another text for a row: only the grams that differ are touched."""
        if pkey in self._noted:
            self.note(old, new, pkey, exists=True)
            return
        before = grams(old) if old is not None else set()
        after = grams(new) if new is not None else set()
        self._take_one_out(before - after, pkey)
        self._enter_one(after - before, pkey)

    def note(self, old: str | None, new: str | None, pkey: PKey, exists: bool) -> None:
        """Remember to ``replace`` the text later; ``exists``: there is a row under this key from now on."""
        self._noted_leaf = None
        stands = self._noted[pkey][0] if pkey in self._noted else old
        (self._gone.discard if exists else self._gone.add)(pkey)
        if stands == new and exists:
            self._noted.pop(pkey, None)
        else:
            self._noted[pkey] = stands, new

    def note_change(self, old: str | None, new: str | None, pkey: PKey) -> None:
        """``note`` for a row that was there and stays."""
        self.note(old, new, pkey, exists=True)

    def settle(self) -> bool:
        """Enter some of what was noted; False when nothing is left."""
        self._noted_leaf = None
        before: list[tuple[set[str], PKey]] = []
        after: list[tuple[set[str], PKey]] = []
        for pkey in list(islice(self._noted, SETTLE_ROWS)):
            old, new = self._noted.pop(pkey)
            stand = grams(old) if old is not None else set()
            shall = grams(new) if new is not None else set()
            before.append((stand - shall, pkey))
            after.append((shall - stand, pkey))
        for gram, group in _grouped(before).items():
            self._take_out(gram, group)
        for gram, group in _grouped(after).items():
            self._enter(gram, group)
        self._gone.difference_update(pkey for _, pkey in before)
        return bool(self._noted)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is noted."""
        return not self._noted

    def _enter_one(self, fresh: Iterable[str], pkey: PKey) -> None:
        leaves = self.leaves
        for gram in fresh:
            leaf = leaves.get(gram)
            if leaf is None:
                self._vocabulary.add(gram)
                leaf = postings.make_leaf([])
            leaves[gram] = postings.add(leaf, pkey)
            self.entries += 1

    def _take_one_out(self, stale: Iterable[str], pkey: PKey) -> None:
        for gram in stale:
            leaf = self.leaves.get(gram)
            if leaf is not None and postings.discard(leaf, pkey):
                self.entries -= 1
                if not leaf:
                    del self.leaves[gram]
                    self._vocabulary.remove(gram)

    def _enter(self, gram: str, pkeys: list[Key]) -> None:
        leaf = self.leaves.get(gram)
        if leaf is None:
            self._vocabulary.add(gram)
            leaf = postings.make_leaf([])
        self.entries += len(pkeys)
        self.leaves[gram] = postings.add_many(leaf, pkeys)

    def _take_out(self, gram: str, pkeys: list[Key]) -> None:
        leaf = self.leaves.get(gram)
        if leaf is not None:
            self.entries -= postings.discard_many(leaf, pkeys)
            if not leaf:
                del self.leaves[gram]
                self._vocabulary.remove(gram)

    def contains(self, values: Sequence[str | None], pkey: PKey) -> bool:
        """Whether the row is found by this text, as far as grams go."""
        if pkey in self._noted:
            return self._noted[pkey][1] == values[0] and pkey not in self._gone
        if values[0] is None:
            return True
        return all(gram in self.leaves and postings.contains(self.leaves[gram], pkey) for gram in grams(values[0]))

    def rename(self, newest: Callable[[tuple[Column, ...]], tuple[Column, ...]], names: Mapping[str, str]) -> None:
        """The column has a new name or declaration; entries stay as they are."""
        self.column = newest((self.column,))[0]
        self.definition = self.definition.renamed(names)

    # --- reading --------------------------------------------------------------------------------------------

    def candidates(self, operator: Operator, operand: str) -> list[Leaf] | None:
        """Leaves whose union holds every matching row; None when the index cannot narrow the search."""
        found = self._candidates(operator, operand)
        if not found or not self._noted:
            return found
        if self._noted_leaf is None:
            self._noted_leaf = sorted([pkey for pkey, (_, text) in self._noted.items() if text is not None])
        return [*found, self._noted_leaf]

    def _candidates(self, operator: Operator, operand: str) -> list[Leaf] | None:
        match operator:
            case Operator.STRINC | Operator.FTSPH:
                return self._phrase(fulltext.normalise(operand))
            case Operator.FTSAND:
                phrases = fulltext.phrases(operand)
                return self._rarest(map(self._phrase, phrases)) if phrases else []
            case Operator.FTSOR:
                return self._union(fulltext.phrases(operand))
            case Operator.FTSEX:
                units = fulltext.parse_expression(operand)
                if not units or units[0].excluded:  # holds for no row at all
                    return []
                return self._rarest(self._union(unit.alternatives) for unit in units if not unit.excluded)
        return None

    def _phrase(self, phrase: str) -> list[Leaf] | None:
        """One leaf at least."""
        phrase = phrase.replace("\0", " ")
        if not phrase:
            return None
        if len(phrase) < _GRAM:
            return [self.leaves[gram] for gram in self._vocabulary.irange(phrase, phrase + _PAST)] or [[]]
        found = [self.leaves.get(phrase[start : start + _GRAM], []) for start in range(len(phrase) - _GRAM + 1)]
        return [min(found, key=len)]

    def _union(self, phrases: Sequence[str]) -> list[Leaf] | None:
        found: list[Leaf] = []
        for phrase in phrases:
            leaves = self._phrase(phrase)
            if leaves is None:
                return None
            found.extend(leaves)
        return found

    def _rarest(self, choices: Iterable[list[Leaf] | None]) -> list[Leaf] | None:
        known = [choice for choice in choices if choice is not None]
        return min(known, key=lambda leaves: sum(map(len, leaves))) if known else None

    # --- looking after --------------------------------------------------------------------------------------

    @property
    def memory_bytes(self) -> int:
        """Estimate: the texts of noted rows, twice, are part of it. O(1)."""
        return self.entries * postings.ENTRY_BYTES + len(self.leaves) * postings.LEAF_BYTES + len(self._noted) * 400

    def check_invariants(self) -> None:
        """AssertionError when postings, vocabulary, notes or the entry count are wrong."""
        for gram, leaf in self.leaves.items():
            keys = list(leaf)
            assert keys, f"index {self.definition.name}: empty posting of {gram!r}"
            assert keys == sorted(set(keys)), f"index {self.definition.name}: posting out of order"
        assert list(self._vocabulary) == sorted(self.leaves), f"index {self.definition.name}: vocabulary is stale"
        assert self.entries == sum(map(len, self.leaves.values())), f"index {self.definition.name}: entry count"
        assert self._gone <= self._noted.keys(), f"index {self.definition.name}: a key is gone for no reason"


def _grouped(texted: Iterable[tuple[set[str], PKey]]) -> dict[str, list[Key]]:
    groups: dict[str, list[Key]] = {}
    for each, pkey in texted:
        for gram in each:
            group = groups.get(gram)
            if group is None:
                groups[gram] = [pkey]
            else:
                group.append(pkey)
    return groups
