"""The inverted index of a text column: normalised trigrams to the primary keys of the rows that hold them.

Every position of a normalised text starts one gram; the text is padded behind with two NULs, so that any
pattern of one or two characters is the beginning of some gram. A pattern of three or more characters is looked
up by its rarest trigram. Either way the index gives *candidates*: a superset, which the executor verifies on
the row. So STRINC (exact bytes) and the FTS operators (normalised) share one index.

Costs: adding a row of 30 characters about 30 us and 270 bytes; a look-up is one dict access per trigram.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sortedcontainers import SortedList

from tcsql.engine import fulltext, postings
from tcsql.engine.change import Row
from tcsql.engine.keys import Key, Leaf, PrimaryCodec
from tcsql.engine.query import Operator
from tcsql.engine.schema import Column, IndexDef
from tcsql.engine.values import PKey

SERVED = frozenset({Operator.STRINC, Operator.FTSPH, Operator.FTSAND, Operator.FTSOR, Operator.FTSEX})
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
    return {padded[start : start + _GRAM] for start in range(len(padded) - len(_PADDING))}


class TextIndex:
    """Candidates for STRINC, FTSPH, FTSAND, FTSOR and FTSEX on one column."""

    def __init__(self, definition: IndexDef, column: Column, primary: tuple[Column, ...]) -> None:
        self.definition = definition
        self.column = column
        self.codec = PrimaryCodec(primary)
        self.ready = True
        self.uses = 0
        self.entries = 0
        self.leaves: dict[str, Leaf] = {}
        self._vocabulary: SortedList[str] = SortedList()

    def __len__(self) -> int:
        return self.entries

    def values(self, row: Row) -> list[str | None]:
        value = row[self.column.name]
        return [None if value is None else str(value)]

    def build(self, texts: Sequence[str | None], pkeys: Sequence[PKey]) -> None:
        """Replace the content. O(all grams)."""
        groups: dict[str, list[Key]] = {}
        for text, pkey in zip(texts, pkeys, strict=True):
            if text is not None:
                for gram in grams(text):
                    groups.setdefault(gram, []).append(pkey)
        self.leaves = {gram: postings.make_leaf(group) for gram, group in groups.items()}
        self.entries = sum(map(len, self.leaves.values()))
        self._vocabulary = SortedList(self.leaves)

    def add(self, values: Sequence[str | None], pkey: PKey) -> None:
        """Enter the text under each of its grams. About 1 us a gram."""
        if values[0] is None:
            return
        for gram in grams(values[0]):
            leaf = self.leaves.get(gram)
            if leaf is None:
                self._vocabulary.add(gram)
                leaf = postings.make_leaf([])
            self.leaves[gram] = postings.add(leaf, pkey)
            self.entries += 1

    def add_many(self, texts: Sequence[str | None], pkeys: Sequence[PKey]) -> None:
        """Enter many new rows."""
        for text, pkey in zip(texts, pkeys, strict=True):
            self.add((text,), pkey)

    def discard(self, values: Sequence[str | None], pkey: PKey) -> None:
        """Take the text out; grams that are not there do not matter (an index under construction)."""
        if values[0] is None:
            return
        for gram in grams(values[0]):
            leaf = self.leaves.get(gram)
            if leaf is not None and postings.discard(leaf, pkey):
                self.entries -= 1
                if not leaf:
                    del self.leaves[gram]
                    self._vocabulary.remove(gram)

    def contains(self, values: Sequence[str | None], pkey: PKey) -> bool:
        if values[0] is None:
            return True
        return all(gram in self.leaves and postings.contains(self.leaves[gram], pkey) for gram in grams(values[0]))

    def rename(self, newest: Callable[[tuple[Column, ...]], tuple[Column, ...]], names: Mapping[str, str]) -> None:
        """The column has a new name or declaration; entries stay as they are."""
        self.column = newest((self.column,))[0]
        self.definition = self.definition.renamed(names)

    def candidates(self, operator: Operator, operand: str) -> list[Leaf] | None:
        """Leaves whose union holds every matching row; None when the index cannot narrow the search."""
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
        phrase = phrase.replace("\0", " ")
        if not phrase:
            return None
        if len(phrase) < _GRAM:
            return [self.leaves[gram] for gram in self._vocabulary.irange(phrase, phrase + _PAST)]
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

    @property
    def memory_bytes(self) -> int:
        """Estimate. O(1)."""
        return self.entries * postings.ENTRY_BYTES + len(self.leaves) * postings.LEAF_BYTES

    def check_invariants(self) -> None:
        """AssertionError when postings, vocabulary or the entry count are wrong."""
        for gram, leaf in self.leaves.items():
            keys = list(leaf)
            assert keys, f"index {self.definition.name}: empty posting of {gram!r}"
            assert keys == sorted(set(keys)), f"index {self.definition.name}: posting out of order"
        assert list(self._vocabulary) == sorted(self.leaves), f"index {self.definition.name}: vocabulary is stale"
        assert self.entries == sum(map(len, self.leaves.values())), f"index {self.definition.name}: entry count"
