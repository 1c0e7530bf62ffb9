"""Operands of published queries: which types of places each operator takes, and how values are put in. Pure.

A value that has passed its type is put into the operand of a finished condition; nothing reads conditions again. What
is left to see to are operators that give their operand a grammar of its own. They take only places whose values cannot
speak it:

    STREQ STRINC STRBW STREW FTSPH          any text: they have no grammar
    STRAND STROR STROREQ FTSAND FTSOR       lists of words: no text, but words and ints, which are bounded lists
    FTSEX                                   quotes, && || and !!: no text, no lists
    STRRX                                   a pattern: only choices, which the operator of the server has written
    NUM…                                    numbers, each alone between its separators

Places stand in operands as marks, characters of Unicode's private use, from when the text is read until values come.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from tcsql.engine.query import Condition, Operator
from tcsql.errors import SetupError
from tcsql.published.places import MOST_PLACES, Place
from tcsql.sql.selectwhere import PLACEHOLDER

_FIRST_MARK: Final = 0xE000
_MARK: Final = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + MOST_PLACES - 1)}]")
_SEPARATORS: Final = re.compile(r"[\x00-\x20,]+")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")

_SCALARS: Final = frozenset({"int", "number", "date", "choice"})
_NUMBERS: Final = frozenset({"int", "number", "choice"})
_LISTS: Final = frozenset({"ints", "words"})
_TAKEN: Final[Mapping[Operator, frozenset[str]]] = {
    **dict.fromkeys(
        (Operator.STREQ, Operator.STRINC, Operator.STRBW, Operator.STREW, Operator.FTSPH), _SCALARS | {"text"}
    ),
    **dict.fromkeys(
        (Operator.STRAND, Operator.STROR, Operator.STROREQ, Operator.FTSAND, Operator.FTSOR), _SCALARS | _LISTS
    ),
    Operator.FTSEX: _SCALARS,
    Operator.STRRX: frozenset({"choice"}),
    **dict.fromkeys(
        (Operator.NUMEQ, Operator.NUMGT, Operator.NUMGE, Operator.NUMLT, Operator.NUMLE, Operator.NUMBT), _NUMBERS
    ),
    Operator.NUMOREQ: _NUMBERS | {"ints"},
    Operator.NULL: frozenset(),
}
_ONE_NUMBER: Final = frozenset({Operator.NUMEQ, Operator.NUMGT, Operator.NUMGE, Operator.NUMLT, Operator.NUMLE})

#: Gives an operand, from the values of all places.
Fill = Callable[[Sequence[str]], str]


def taken_by(operator: Operator) -> frozenset[str]:
    """The types of places that an operator takes."""
    return _TAKEN[operator]


def mark(number: int) -> str:
    """What stands for a place."""
    return chr(_FIRST_MARK + number)


def marks_in(text: str) -> list[int]:
    """The numbers of the places that stand in a text."""
    return [ord(found) - _FIRST_MARK for found in _MARK.findall(text)]


def shown(text: str, places: Sequence[Place]) -> str:
    """A text with the names of places for their marks, and for what these are called in SQL."""
    text = PLACEHOLDER.sub(lambda found: mark(int(found[1])), text)
    return _MARK.sub(lambda found: f"{{{places[ord(found[0]) - _FIRST_MARK].name}}}", text)


def fill_of(operand: str) -> Fill | None:
    """What makes the operand of values; None: there is no place in it."""
    stands = marks_in(operand)
    if not stands:
        return None
    if len(operand) == 1:
        only = stands[0]
        return lambda values: values[only]
    pieces = _MARK.split(operand)

    def fill(values: Sequence[str]) -> str:
        return pieces[0] + "".join([values[at] + piece for at, piece in zip(stands, pieces[1:], strict=True)])

    return fill


def check(condition: Condition, places: Sequence[Place], joins_key: bool, where: str) -> None:
    """Raises SetupError for a place that the operator does not take. ``joins_key``: of a key of several columns."""
    for complaint in _complaints(condition, places, joins_key):
        raise SetupError(f"{where}: {condition.operator.value}:{shown(condition.operand, places)}: {complaint}")


def _complaints(condition: Condition, places: Sequence[Place], joins_key: bool) -> Iterator[str]:
    operator, operand = condition.operator, condition.operand
    standing = [places[number] for number in marks_in(operand)]
    for place in standing:
        if place.type not in _TAKEN[operator]:
            taken = ", ".join(sorted(_TAKEN[operator]))
            yield f"{operator.value} takes places of type {taken}; {place.name} is of type {place.type}"
        if joins_key and place.type not in _SCALARS:
            yield f"{place.name} could hold the comma that separates the parts of the key"
        if operator.value.startswith("NUM") and not all(_NUMBER.fullmatch(member) for member in place.members):
            yield f"the choices of {place.name} are not all numbers"
    if not standing:
        return
    if operator in _ONE_NUMBER and len(operand) > 1:
        yield "the place stands alone in its expression"
    if operator is Operator.NUMBT and len(_SEPARATORS.split(operand.strip(" ,"))) != 2:
        yield "it takes two numbers, separated by a blank or a comma"
    for word in _SEPARATORS.split(operand):
        found = [places[number] for number in marks_in(word)]
        if len(word) > 1 and found and (operator.value.startswith("NUM") or any(p.type in _LISTS for p in found)):
            yield f"{found[0].name} stands alone between blanks or commas"
