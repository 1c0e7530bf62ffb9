"""Full text as the contract defines it: normalised text, and the four FTS expressions over it.

Normalisation maps each code point on its own (compatibility decomposition, combining marks dropped, case
folded), then collapses white space. Because it works code point by code point, "e occurs in v" implies
"normalised e occurs in normalised v": that is what lets an index of normalised trigrams serve STRINC too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


class _Folding(dict[int, str]):
    """Translation table filled on first sight of a code point: the common ones cost one dict look-up.

    Hangul syllables stay whole: taken apart into letters, one syllable would occur inside another.
    """

    def __missing__(self, code: int) -> str:
        if 0xAC00 <= code <= 0xD7A3:
            self[code] = chr(code)
            return self[code]
        decomposed = unicodedata.normalize("NFKD", chr(code))
        bare = "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
        # Folding may compose new marks (the Turkish dotted I), so decompose once more.
        folded = unicodedata.normalize("NFKD", bare.casefold())
        self[code] = "".join(char for char in folded if unicodedata.category(char) != "Mn")
        return self[code]


_FOLDING: Final = _Folding()
_TOKENS: Final = re.compile(r"[^\x00-\x20,]+")
_PHRASES: Final = re.compile(r"[^ \t\r\n,]+")


def normalise(text: str) -> str:
    """Case, accents and full-width forms folded, white space collapsed. Cost: linear.

    >>> normalise("  ＣＡＦÉ\\n Noir ")
    'cafe noir'
    """
    return " ".join(text.translate(_FOLDING).split())


def tokens(text: str) -> list[str]:
    """Runs of anything but white space (in Tokyo Cabinet all of ASCII's control characters) and comma.

    >>> tokens("a,b  c")
    ['a', 'b', 'c']
    """
    return _TOKENS.findall(text)


def phrases(expression: str) -> list[str]:
    """The normalised tokens of an FTSAND or FTSOR expression."""
    return [normalised for token in _PHRASES.findall(expression) if (normalised := normalise(token))]


@dataclass(frozen=True, slots=True)
class Unit:
    """One member of an FTSEX conjunction: any of the alternatives occurs, or none if ``excluded``."""

    alternatives: tuple[str, ...]
    excluded: bool = False


_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)(?:"|$)|([^ ]+)', re.DOTALL)
_OPERATORS: Final = frozenset({"&&", "||", "!!"})


def parse_expression(expression: str) -> list[Unit]:
    """FTSEX, left to right: ``&&`` or nothing joins, ``||`` adds an alternative, ``!!`` opens an excluded unit.

    Operators are words of their own; an alternative before any unit makes the whole expression empty.

    >>> parse_expression('a b || "c d" !! e')
    [Unit(alternatives=('a',), excluded=False), Unit(alternatives=('b', 'c d'), excluded=False), \
Unit(alternatives=('e',), excluded=True)]
    """
    units: list[tuple[list[str], bool]] = []  # alternatives, excluded
    joiner = "&&"
    for match in _WORD.finditer(normalise(expression)):
        quoted, word = match.groups()
        if word in _OPERATORS:
            joiner = word
            continue
        phrase = word if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if joiner == "||":
            if not units:
                return []
            units[-1][0].append(phrase)
        else:
            units.append(([phrase], joiner == "!!"))
        joiner = "&&"
    return [Unit(tuple(alternatives), excluded) for alternatives, excluded in units]


def phrase_test(expression: str) -> Callable[[str], bool]:
    """FTSPH: the normalised expression occurs in the normalised text."""
    wanted = normalise(expression)
    return lambda text: wanted in normalise(text)


def all_test(expression: str) -> Callable[[str], bool]:
    """FTSAND: every token occurs; no token: nothing matches."""
    wanted = phrases(expression)

    def test(text: str) -> bool:
        normalised = normalise(text)
        return bool(wanted) and all(token in normalised for token in wanted)

    return test


def any_test(expression: str) -> Callable[[str], bool]:
    """FTSOR: at least one token occurs."""
    wanted = phrases(expression)

    def test(text: str) -> bool:
        normalised = normalise(text)
        return any(token in normalised for token in wanted)

    return test


def expression_test(expression: str) -> Callable[[str], bool]:
    """FTSEX; an expression that begins with an excluded unit, or has none, matches nothing."""
    units = parse_expression(expression)
    if not units or units[0].excluded:
        return lambda text: False

    def test(text: str) -> bool:
        normalised = normalise(text)
        return all(any(phrase in normalised for phrase in unit.alternatives) != unit.excluded for unit in units)

    return test
