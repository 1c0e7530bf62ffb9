"""The short way of published queries: from the query string as it came to the reply's body. 1 us, and the answer.

What a caller varies are values; names and their order stay. So the order of names is looked up, each value is checked
as bytes, and what passes goes into a prepared query (``engine.prepared``) as its operand. Everything else is left to
the careful way, which also makes every refusal: a percent sign, a sign in front of a number, a parameter too many.

A query takes the short way when each place stands alone in its operand. An order of names is learnt after the careful
way has answered it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from tcsql.engine import pagejson
from tcsql.engine.prepared import Prepared
from tcsql.engine.query import Count
from tcsql.engine.shortcuts import Answered, Body
from tcsql.http.published_query import Size, Template
from tcsql.published.options import Published
from tcsql.published.places import Place

#: Orders of names that are remembered of one query, and sizes of page; who varies them takes the careful way.
MOST_ORDERS: Final = 64
MOST_SIZES: Final = 256
MOST_BYTES: Final = 1_024
_DIGITS: Final = 18
_ZERO: Final = ord("0")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]+")
_DATE: Final = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Check = Callable[[bytes], bool]


class Step(NamedTuple):
    """What is done with the value of one parameter: its check, and the operands that it becomes."""

    check: Check
    operands: tuple[int, ...]


class Plan(NamedTuple):
    """One order of names: what each value does, operands that no value of these makes, and who says the rows.

    ``body``: None, they are said by the values at ``page``, ``limit`` and ``skip``; -1: not by a value, but by ``rows``
    and ``offset``.
    """

    steps: tuple[Step, ...]
    operands: tuple[bytes, ...]
    body: Body | None
    page: int
    limit: int
    skip: int
    rows: int
    offset: int


One = Callable[[bytes], bytes | None]
Two = Callable[[bytes, bytes], bytes | None]


class FastWay:
    """The short way of one query, for one state of its table."""

    def __init__(self, published: Published, template: Template, prepared: Prepared, standing: Sequence[bytes | int]):
        self._published = published
        self._template = template
        self._prepared = prepared
        #: For each operand its bytes, or the number of its place.
        self._standing = standing
        places = published.text.places
        #: Whether every operand that passes its check consists of letters and digits, as shortcuts want it.
        self._is_plain = all(
            each.isalnum() if isinstance(each, bytes) else _is_plain(places[each]) for each in standing
        )
        self._ones: dict[bytes, One] = {}
        self._twos: dict[tuple[bytes, bytes], Two] = {}
        self._plans: dict[tuple[bytes, ...], Plan] = {}
        self._bodies: dict[tuple[int, int], tuple[Body, Answered]] = {}
        #: The same by the page as it was written, of orders of names that have one.
        self._pages: list[dict[bytes, Body]] = []
        self._rows = 0

    @property
    def is_current(self) -> bool:
        """Whether columns and indexes are still those it was made for."""
        return self._prepared.is_current

    def body(self, raw: bytes) -> bytes | None:
        """The body of the reply; None: the careful way has to look at it."""
        first, more, rest = raw.partition(b"&")
        name, _, value = first.partition(b"=")
        if not more:
            one = self._ones.get(name)
            return None if one is None else one(value)
        name_of_rest, _, other = rest.partition(b"=")
        two = self._twos.get((name, name_of_rest))
        if two is not None:  # a third parameter stands in its second value, and no check lets it pass
            return two(value, other)
        pairs = [part.partition(b"=") for part in raw.split(b"&")]
        plan = self._plans.get(tuple([pair[0] for pair in pairs]))
        return None if plan is None else self._answer(plan, [pair[2] for pair in pairs])

    def _answer(self, plan: Plan, values: Sequence[bytes]) -> bytes | None:
        steps, defaults, body, page, limit, skip, rows, offset = plan
        operands = list(defaults)
        for value, (check, places) in zip(values, steps, strict=True):
            if not check(value):
                return None
            for place in places:
                operands[place] = value
        if body is None:
            if limit >= 0:
                rows = int(values[limit])
            if page >= 0:
                offset = (int(values[page]) - 1) * rows
            elif skip >= 0:
                offset = int(values[skip])
            known = self._bodies.get((offset, rows))
            body = known[0] if known is not None else self._new_body(offset, rows)
        return body(operands)

    def harvest(self) -> int:
        """Rows in the answers since the last call."""
        rows, self._rows = self._rows, 0
        for _, answered in self._bodies.values():
            rows += answered.rows
            answered.begin_anew()
        return rows

    def learn(self, raw: bytes) -> None:
        """Remember the order of names of a query string that was answered."""
        names = tuple([part.partition(b"=")[0] for part in raw.split(b"&")])
        if len(raw) > MOST_BYTES or len(self._plans) >= MOST_ORDERS or names in self._plans:
            return
        plan = self._plan([name.decode("latin-1") for name in names])
        if plan is None:
            return
        self._plans[names] = plan
        if len(names) == 1:
            self._ones[names[0]] = self._one(plan)
        elif len(names) == 2:
            self._twos[names[0], names[1]] = self._two(plan)

    def _one(self, plan: Plan) -> One:
        """The same for one value, or none, and half of the time."""
        body, operands, answer = plan.body, plan.operands, self._answer
        if not plan.steps:
            return lambda value: answer(plan, ()) if not value else None
        [(check, places)] = plan.steps
        if body is None or len(places) != 1:
            return lambda value: answer(plan, (value,))
        before, behind = operands[: places[0]], operands[places[0] + 1 :]
        return lambda value: body((*before, value, *behind)) if check(value) else None

    def _two(self, plan: Plan) -> Two:
        """The same for two values: operands both, or an operand and the page."""
        body, operands, rows, answer = plan.body, plan.operands, plan.rows, self._answer
        (check, places), (check_other, others) = plan.steps
        if len(places) == 1 and plan.page == 1 and plan.limit == plan.skip == -1:
            before, behind = operands[: places[0]], operands[places[0] + 1 :]
            pages: dict[bytes, Body] = {}
            self._pages.append(pages)

            def page_of(value: bytes, page: bytes) -> bytes | None:
                if not check(value):
                    return None
                body = pages.get(page)
                if body is None:
                    if not check_other(page):
                        return None
                    body = pages[page] = self._new_body((int(page) - 1) * rows, rows)
                return body((*before, value, *behind))

            return page_of
        if body is None or len(places) != 1 or len(others) != 1:
            return lambda value, other: answer(plan, (value, other))
        at, at_other = places[0], others[0]

        def both(value: bytes, other: bytes) -> bytes | None:
            if not check(value) or not check_other(other):
                return None
            filled = [*operands]
            filled[at], filled[at_other] = value, other
            return body(filled)

        return both

    def _plan(self, names: Sequence[str]) -> Plan | None:
        published, template = self._published, self._template
        places = {place.name: place for place in published.text.places}
        if names == [""]:
            names = []
        steps = []
        for name in names:
            if name == "page":
                steps.append(Step(_int_check(1, published.max_page), ()))
                continue
            place = places.get(name)
            if place is None:
                return None  # a cursor, or a spelling that decodes to a name
            check = _check_of(place)
            if check is None:
                return None
            number = published.text.places.index(place)
            steps.append(Step(check, tuple(at for at, each in enumerate(self._standing) if each == number)))
        operands = [
            each if isinstance(each, bytes) else (published.text.places[each].default or "").encode()
            for each in self._standing
        ]
        at = {name: number for number, name in enumerate(names)}
        (limit, rows), (skip, offset) = (self._said(size, at) for size in (template.limit, template.skip))
        page = at.get("page", -1)
        body = self._new_body(offset, rows) if limit == skip == page == -1 else None
        return Plan(tuple(steps), tuple(operands), body, page, limit, skip, rows, offset)

    def _said(self, size: Size, at: Mapping[str, int]) -> tuple[int, int]:
        """Which value says a number of rows, and what it is when none does."""
        if size.place is None:
            return -1, size.number
        place = self._published.text.places[size.place]
        return at.get(place.name, -1), int(place.default or 0)

    def _new_body(self, skip: int, limit: int) -> Body:
        if len(self._bodies) >= MOST_SIZES:
            self._rows = self.harvest()
            self._bodies.clear()
            for pages in self._pages:
                pages.clear()
        answered = Answered()
        shows_cursors = self._template.has_cursors or isinstance(self._template.marked, Count)
        if self._is_plain and shows_cursors:
            body = self._prepared.body(skip, limit, answered)
        else:
            body = _careful_body(self._prepared, (skip, limit), self._template.has_cursors, answered)
        self._bodies[skip, limit] = body, answered
        return body


def fast_way(published: Published, template: Template, prepared: Prepared) -> FastWay | None:
    """The short way of a query; None: it has none."""
    if template.bigint_text or len(template.marked.where.any_of) > 1:
        return None
    standing: list[bytes | int] = []
    for conjunction, fills in zip(template.marked.where.any_of, template.fills, strict=True):
        for condition, place in zip(conjunction, fills, strict=True):
            if place is None:
                standing.append(condition.operand.encode())
                continue
            alone = template.alone(condition.operand)
            if alone is None:
                return None
            standing.append(alone)
    return FastWay(published, template, prepared, standing)


def _careful_body(prepared: Prepared, size: tuple[int, int], has_cursors: bool, answered: Answered) -> Body:
    """The answer by steps: for operands that are not plain, and for columns that a cursor must not tell."""
    select, count = prepared.select, prepared.count
    skip, limit = size

    def body(operands: Sequence[bytes]) -> bytes | None:
        if not prepared.is_current:
            return None
        if count is not None:
            number = count(operands)
            return None if number is None else pagejson.count(number)
        assert select is not None  # one of the two is there
        found = select(operands, skip, limit)
        if found is None:
            return None
        total, rows, behind, before = found
        if prepared.is_too_long(rows):
            return None
        answered.unusual += 1
        answered.unusual_rows += len(rows)
        return pagejson.page(total, rows, behind, before) if has_cursors else pagejson.page(total, rows, None, None)

    return body


def _int_check(low: int, high: int) -> Check:
    def check(value: bytes) -> bool:
        if not value.isdigit() or len(value) > _DIGITS or (value[0] == _ZERO and len(value) > 1):
            return False
        return low <= int(value) <= high

    return check


def _check_of(place: Place) -> Check | None:
    """Holds of values that are taken and mean themselves in a URL; None: the careful way looks at all of them."""
    low, high = int(place.low), int(place.high)
    match place.type:
        case "int":
            return _int_check(low, high)
        case "text":
            return lambda value: value.isalnum() and low <= len(value) <= high
        case "choice":
            return frozenset(_own_words(place)).__contains__
        case "date":
            return _is_date
        case _:
            return None


def _is_plain(place: Place) -> bool:
    if place.type == "date" or not all(map(bytes.isalnum, _own_words(place))):
        return False
    return place.default is None or place.default.encode().isalnum()


def _own_words(place: Place) -> list[bytes]:
    """The choices that mean themselves in a URL."""
    return [member.encode() for member in place.members if _UNRESERVED.fullmatch(member)]


def _is_date(value: bytes) -> bool:
    if _DATE.fullmatch(value) is None:
        return False
    try:
        date.fromisoformat(value.decode())
    except ValueError:  # no such day
        return False
    return True
