"""Places: where a published query takes a value, of which type and within which bounds. Pure.

    {board:int(1..500)}          a whole number of these bounds
    {q:text(80)=tcsql}           1 to 80 characters; a default makes the parameter optional
    {board}                      the value of that place once more
    {{ and }}                    braces as they are

A value is taken only in the one spelling that its type has (``007``, ``+7`` and Arabic digits are no ``int``), so what
has been checked can stand as the operand of a condition as it is: nothing is converted, and nothing is parsed again.
Cost: 0.3 to 1 us a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from tcsql.errors import BadRequest, SetupError, did_you_mean

#: Parameters that a published query has besides its places.
RESERVED: Final = ("page", "after", "before")
MOST_PLACES: Final = 32
MOST_CHARACTERS: Final = 1_000
MOST_VALUES: Final = 1_000
_WORD_CHARACTERS: Final = 64
#: BIGINT UNSIGNED has 20 digits.
_INT: Final = r"(?:0|-?[1-9][0-9]{0,19})"
_INT_ONE: Final = re.compile(_INT)
_INT_LIST: Final = re.compile(rf"{_INT}(?:,{_INT})*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,10})?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: Controls, and the two separators that some take for the end of a line.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BETWEEN_WORDS: Final = re.compile("[ ,]+")
_BRACES: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PLACE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,31})(?::([a-z]+)(?:\(([^()]*)\))?(=.*)?)?", re.DOTALL)
_RANGE: Final = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,10})?)\.\.(-?[0-9]{1,20}(?:\.[0-9]{1,10})?)")


@dataclass(frozen=True, slots=True)
class Place:
    """One place. ``low`` and ``high`` bound a number, the length of a text, or how many values a list has."""

    name: str
    type: str
    low: Decimal | int = 0
    high: Decimal | int = 0
    members: tuple[str, ...] = ()
    default: str | None = None

    def allows(self, text: str) -> bool:
        """Whether the text is a value of this place, in its one spelling."""
        return TYPES[self.type].allows(self, text)

    def require(self, text: str) -> str:
        """The text; raises BadRequest when it is no value of this place."""
        if not self.allows(text):
            raise BadRequest(f'{self.name}="{text[:40]}" is not taken', f"{self.name} is {self.about}")
        return text

    @property
    def about(self) -> str:
        """What values are, in words.

        >>> Place("n", "int", 1, 5).about, Place("d", "date").about
        ('a whole number from 1 to 5', 'a date as 2026-12-31')
        """
        return TYPES[self.type].about(self)

    @property
    def sample(self) -> str:
        """Some value of this place."""
        return self.default if self.default is not None else TYPES[self.type].sample(self)

    def schema(self) -> dict[str, Any]:
        """The type as JSON Schema says it."""
        return TYPES[self.type].schema(self) | ({} if self.default is None else {"default": self._plain_default()})

    def _plain_default(self) -> Any:
        numbers: Mapping[str, Callable[[str], Any]] = {"int": int, "number": float}
        return numbers.get(self.type, str)(self.default or "")


class Type(NamedTuple):
    """A type of places: how it is spelt, what its bounds bound, and what its values are."""

    spelling: str
    meaning: str
    #: Least and greatest bound; None: the type has no bounds.
    bounds: tuple[int, int] | None
    allows: Callable[[Place, str], bool]
    about: Callable[[Place], str]
    sample: Callable[[Place], str]
    schema: Callable[[Place], dict[str, Any]]


def _is_int(place: Place, text: str) -> bool:
    return _INT_ONE.fullmatch(text) is not None and place.low <= int(text) <= place.high


def _is_number(place: Place, text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None and place.low <= Decimal(text) <= place.high


def _is_text(place: Place, text: str) -> bool:
    if not place.low <= len(text) <= place.high or _CONTROL.search(text) is not None:
        return False
    return not place.low or bool(text.strip())


def _is_date(place: Place, text: str) -> bool:
    if _DATE.fullmatch(text) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:  # no such day
        return False
    return True


def _is_int_list(place: Place, text: str) -> bool:
    return place.low <= text.count(",") + 1 <= place.high and _INT_LIST.fullmatch(text) is not None


def _is_word_list(place: Place, text: str) -> bool:
    if len(text) > place.high * (_WORD_CHARACTERS + 1) or _CONTROL.search(text) is not None:
        return False
    words = [word for word in _BETWEEN_WORDS.split(text) if word.strip()]
    return place.low <= len(words) <= place.high and all(len(word) <= _WORD_CHARACTERS for word in words)


def _pattern(text: str) -> str:
    return f"^{text}$"


TYPES: Final[Mapping[str, Type]] = {
    "int": Type(
        "int(1..500)",
        "a whole number between these bounds, both included",
        (-(10**19), 10**20 - 1),
        _is_int,
        lambda place: f"a whole number from {place.low} to {place.high}",
        lambda place: str(place.low),
        lambda place: {"type": "integer", "minimum": int(place.low), "maximum": int(place.high)},
    ),
    "number": Type(
        "number(0..99.5)",
        "a decimal number between these bounds, without an exponent, at most 10 digits behind the point",
        (-(10**19), 10**20 - 1),
        _is_number,
        lambda place: f"a number from {place.low} to {place.high}",
        lambda place: str(place.low),
        lambda place: {"type": "number", "minimum": float(place.low), "maximum": float(place.high)},
    ),
    "text": Type(
        "text(80), text(0..80)",
        "at most so many characters, at least one that is no blank unless the least number is 0; no control characters",
        (0, MOST_CHARACTERS),
        _is_text,
        lambda place: f"a text of {place.low} to {place.high} characters without control characters",
        lambda place: "a" * max(1, int(place.low)) if place.high else "",
        lambda place: {"type": "string", "minLength": int(place.low), "maxLength": int(place.high)},
    ),
    "choice": Type(
        "choice(new|hot)",
        "one of these texts",
        None,
        lambda place, text: text in place.members,
        lambda place: f"one of: {', '.join(place.members)}",
        lambda place: place.members[0],
        lambda place: {"type": "string", "enum": list(place.members)},
    ),
    "date": Type(
        "date",
        "a day of the calendar as 2026-12-31",
        None,
        _is_date,
        lambda place: "a date as 2026-12-31",
        lambda place: "2026-01-01",
        lambda place: {"type": "string", "format": "date"},
    ),
    "ints": Type(
        "ints(1..100)",
        "so many whole numbers joined by commas",
        (1, MOST_VALUES),
        _is_int_list,
        lambda place: f"{place.low} to {place.high} whole numbers joined by commas",
        lambda place: ",".join(["1"] * int(place.low)),
        lambda place: {"type": "string", "pattern": _pattern(rf"{_INT}(,{_INT}){{{place.low - 1},{place.high - 1}}}")},
    ),
    "words": Type(
        "words(1..8)",
        f"so many words of at most {_WORD_CHARACTERS} characters, separated by blanks or commas",
        (1, 100),
        _is_word_list,
        lambda place: f"{place.low} to {place.high} words of at most {_WORD_CHARACTERS} characters",
        lambda place: " ".join(["a"] * int(place.low)),
        lambda place: {
            "type": "string",
            "minLength": 2 * int(place.low) - 1,
            "maxLength": int(place.high) * (_WORD_CHARACTERS + 1),
        },
    ),
}


@dataclass(frozen=True, slots=True)
class Text:
    """A text cut at its places: ``pieces`` and, between them, the numbers of ``places`` that stand there."""

    pieces: tuple[str, ...]
    stands: tuple[int, ...] = ()
    places: tuple[Place, ...] = ()

    def marked(self, mark: Callable[[int], str]) -> str:
        """The text with something else in its places.

        >>> text_of("{n:int(1..9)}-{n}", "here").marked("<{}>".format)
        '<0>-<0>'
        """
        parts = [self.pieces[0]]
        for number, piece in zip(self.stands, self.pieces[1:], strict=True):
            parts += (mark(number), piece)
        return "".join(parts)


def text_of(text: str, where: str) -> Text:
    """A text and its places; raises SetupError that begins with ``where``."""
    pieces, stands, places = [""], list[int](), dict[str, Place]()
    start = 0
    for match in _BRACES.finditer(text):
        pieces[-1] += text[start : match.start()]
        start = match.end()
        if match[1] is None:
            if len(match[0]) == 1:
                raise SetupError(
                    f"{where}: {match[0]!r} at character {match.start()} stands alone",
                    "a place is {name:type}, a brace is written {{ or }}",
                )
            pieces[-1] += match[0][0]
            continue
        place = _place(match[1], places, f"{where}: {match[0]}")
        places[place.name] = place
        stands.append(list(places).index(place.name))
        pieces.append("")
    pieces[-1] += text[start:]
    if len(places) > MOST_PLACES:
        raise SetupError(f"{where} has more than {MOST_PLACES} places")
    return Text(tuple(pieces), tuple(stands), tuple(places.values()))


def _place(text: str, known: Mapping[str, Place], where: str) -> Place:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise SetupError(f"{where} is no place", "write {name:type} or {name:type=default}, for example {n:int(1..9)}")
    name, kind, bounds, default = match.groups()
    if kind is None:
        if name not in known:
            raise SetupError(f"{where} has no type", did_you_mean(name, known) or f"write {{{name}:int(1..9)}}")
        return known[name]
    if name in known:
        raise SetupError(f"{where} gives {name} a type for the second time", f"write {{{name}}}")
    if name in RESERVED:
        raise SetupError(f"{where}: {name} is a parameter that every published query may have", "choose another name")
    if kind not in TYPES:
        near = did_you_mean(kind, TYPES) or f"types are {', '.join(TYPES)}"
        raise SetupError(f"{where}: {kind} is no type", near)
    place = _bounded(name, kind, bounds, where)
    if default is None:
        return place
    if not place.allows(default[1:]):
        raise SetupError(f"{where}: the default is not {place.about}")
    return Place(place.name, place.type, place.low, place.high, place.members, default[1:])


def _bounded(name: str, kind: str, bounds: str | None, where: str) -> Place:
    about = TYPES[kind]
    if kind == "date":
        if bounds is not None:
            raise SetupError(f"{where}: date has no bounds", "write date")
        return Place(name, kind)
    if not bounds:
        raise SetupError(f"{where}: {kind} needs bounds", f"for example {about.spelling}")
    if kind == "choice":
        members = tuple(bounds.split("|"))
        if len(set(members)) < len(members) or any(_CONTROL.search(member) for member in members):
            raise SetupError(f"{where}: the texts of a choice are different ones, without control characters")
        return Place(name, kind, members=members)
    if kind == "text" and bounds.isascii() and bounds.isdigit():
        bounds = f"1..{bounds}"
    match = _RANGE.fullmatch(bounds)
    if match is None or (kind != "number" and "." in match[1] + match[2]):
        raise SetupError(f"{where}: the bounds of {kind} are two numbers", f"for example {about.spelling}")
    read = Decimal if kind == "number" else int
    low, high = read(match[1]), read(match[2])
    assert about.bounds is not None
    least, most = about.bounds
    if not least <= low <= high <= most:
        raise SetupError(f"{where}: the bounds are not in order, or beyond {least} to {most}")
    return Place(name, kind, low, high)
