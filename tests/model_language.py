"""The query language on single values, said as plainly as possible and sharing nothing with the engine.

Written from the contract alone: numbers are ``Fraction``, text is compared as bytes of UTF-8, tokens are found by
walking characters. Nothing here is fast; that is the point. The only engine types used are the *values* a query and a
schema consist of (``Condition``, ``ColumnType``), never their methods.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from tcsql.engine.query import Operator
from tcsql.engine.values import ColumnType, Kind

Stored = int | float | str
Exact = Fraction | float


@dataclass(frozen=True)
class Cell:
    """What the operators see of one value that is not NULL."""

    text: str
    number: Exact


def text_of(value: Stored) -> str:
    """Canonical text: numbers positionally, without an exponent."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def number_of(kind: ColumnType, value: Stored) -> Exact:
    """FLOAT columns give a float, everything else an exact fraction."""
    if kind.kind is Kind.FLOAT:
        assert not isinstance(value, str)
        return float(value)
    return Fraction(value) if isinstance(value, int) else read_number(text_of(value))


def natural(kind: ColumnType, value: Stored) -> Exact | bytes:
    """What the type's own order compares."""
    if kind.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT):
        return number_of(kind, value)
    assert isinstance(value, str)
    return value.encode()


def cell(kind: ColumnType, value: Stored) -> Cell:
    return Cell(text_of(value), number_of(kind, value))


@lru_cache(maxsize=10_000)
def read_number(text: str) -> Fraction:
    """Blanks, one sign, digits, a point, digits; whatever follows is ignored.

    >>> read_number(" -12.50abc"), read_number("1e3"), read_number("nancy")
    (Fraction(-25, 2), Fraction(1, 1), Fraction(0, 1))
    """
    rest = list(text)
    while rest and "\x01" <= rest[0] <= " ":
        rest.pop(0)
    negative = False
    if rest and rest[0] in "+-":
        negative = rest.pop(0) == "-"
    value = Fraction(0)
    while rest and rest[0] in "0123456789":
        value = value * 10 + int(rest.pop(0))
    if rest and rest[0] == ".":
        rest.pop(0)
        place = Fraction(1)
        while rest and rest[0] in "0123456789":
            place /= 10
            value += place * int(rest.pop(0))
    return -value if negative else value


def to_float(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def split(text: str, is_separator: Callable[[str], bool]) -> list[str]:
    """The non-empty runs of characters between separators."""
    tokens = [""]
    for character in text:
        if is_separator(character):
            tokens.append("")
        else:
            tokens[-1] += character
    return [token for token in tokens if token]


def words(text: str) -> list[str]:
    """Tokens of STRAND, STROR, STROREQ: Tokyo Cabinet separates at every byte up to 0x20, and at the comma."""
    return split(text, lambda character: character <= " " or character == ",")


def numbers(text: str) -> list[Fraction]:
    """Tokens of NUMBT and NUMOREQ: separated by blank and comma only."""
    return [read_number(token) for token in split(text, lambda character: character in " ,")]


def fts_words(text: str) -> list[str]:
    tokens = split(text, lambda character: character in "\t\n\r ,")
    return [normal(token) for token in tokens if normal(token)]


@lru_cache(maxsize=10_000)
def normal(text: str) -> str:
    """Case, accents and width folded; white space runs are one blank, none at the ends.

    >>> normal("  CAFÉ\\t\\u3000ＡＢＣ ")
    'cafe abc'
    """
    folded = "".join(map(_fold, text))
    return " ".join(folded.split())


def _fold(character: str) -> str:
    if "가" <= character <= "힣":  # Hangul syllables: taken apart, 가 would be found in 각
        return character
    parts = unicodedata.normalize("NFKD", character)
    return "".join(part for part in parts if unicodedata.category(part) != "Mn").casefold()


@dataclass
class _Unit:
    tokens: list[str]
    positive: bool


def fts_expression(value: str, operand: str) -> bool:
    """FTSEX, left to right: units are ANDed, ``||`` adds to the last unit, ``!!`` opens a negated one."""
    units: list[_Unit] = []
    operator = "&&"
    for token in _expression_tokens(normal(operand)):
        if token in ("&&", "||", "!!"):
            operator = token
            continue
        if operator == "||":
            if not units:
                units.append(_Unit([], False))
            units[-1].tokens.append(token)
        else:
            units.append(_Unit([token], operator == "&&"))
        operator = "&&"
    if not units or not units[0].positive:
        return False
    return all(any(token in value for token in unit.tokens) == unit.positive for unit in units)


def _expression_tokens(text: str) -> list[str]:
    tokens = []
    rest = text
    while rest := rest.lstrip(" "):
        if not rest.startswith('"'):
            token, _, rest = rest.partition(" ")
            tokens.append(token)
            continue
        token, rest = "", rest[1:]
        while rest and rest[0] != '"':
            if rest[0] == "\\":
                rest = rest[1:]
            token, rest = token + rest[:1], rest[1:]
        tokens.append(token)
        rest = rest[1:]
    return tokens


def regex_found(value: str, pattern: str) -> bool:
    """Only for patterns on which all dialects agree; ``$`` is the very end, ``.`` any character."""
    flags = re.DOTALL
    if pattern.startswith("*"):
        pattern, flags = pattern[1:], flags | re.IGNORECASE
    return re.search(pattern.replace("$", r"\Z"), value, flags) is not None


def _comparison(cell: Cell, operand: Fraction) -> tuple[Exact, Exact]:
    """Both sides in one domain: a FLOAT column compares with the nearest float, all others exactly."""
    return cell.number, to_float(operand) if isinstance(cell.number, float) else operand


def _between(cell: Cell, operand: str) -> bool:
    ends = [*numbers(operand), Fraction(0), Fraction(0)][:2]
    low, high = (_comparison(cell, end)[1] for end in ends)
    return min(low, high) <= cell.number <= max(low, high)


def _compare(test: Callable[[Exact, Exact], bool]) -> Callable[[Cell, str], bool]:
    return lambda cell, operand: test(*_comparison(cell, read_number(operand)))


def _any_equal(cell: Cell, operands: Iterable[Fraction]) -> bool:
    return any(left == right for left, right in (_comparison(cell, operand) for operand in operands))


#: When an operator holds for a value that is there (NULL is decided before).
HOLDS: dict[Operator, Callable[[Cell, str], bool]] = {
    Operator.STREQ: lambda v, e: v.text.encode() == e.encode(),
    Operator.STRINC: lambda v, e: e in v.text,
    Operator.STRBW: lambda v, e: v.text[: len(e)] == e,
    Operator.STREW: lambda v, e: v.text[max(0, len(v.text) - len(e)) :] == e,
    Operator.STRAND: lambda v, e: set(words(e)) <= set(words(v.text)),
    Operator.STROR: lambda v, e: bool(set(words(e)) & set(words(v.text))),
    Operator.STROREQ: lambda v, e: v.text in words(e),
    Operator.STRRX: lambda v, e: regex_found(v.text, e),
    Operator.NUMEQ: _compare(lambda v, e: v == e),
    Operator.NUMGT: _compare(lambda v, e: v > e),
    Operator.NUMGE: _compare(lambda v, e: v >= e),
    Operator.NUMLT: _compare(lambda v, e: v < e),
    Operator.NUMLE: _compare(lambda v, e: v <= e),
    Operator.NUMBT: _between,
    Operator.NUMOREQ: lambda v, e: _any_equal(v, numbers(e)),
    Operator.FTSPH: lambda v, e: normal(e) in normal(v.text),
    Operator.FTSAND: lambda v, e: bool(fts_words(e)) and all(word in normal(v.text) for word in fts_words(e)),
    Operator.FTSOR: lambda v, e: any(word in normal(v.text) for word in fts_words(e)),
    Operator.FTSEX: lambda v, e: fts_expression(normal(v.text), e),
    Operator.NULL: lambda v, e: False,
}


def holds(operator: Operator, value: Cell | None, operand: str, negated: bool = False) -> bool:
    """NULL: the condition is false and its negation true; ``NULL`` itself is the one that looks for it."""
    if value is None:
        return (operator is Operator.NULL) != negated
    return HOLDS[operator](value, operand) != negated
