"""What the sweep asks: families of list queries, each a curve over one parameter, with the indexes that are right.

The table is the seed's with ``hits`` drawn evenly and independently of everything else, where ``dateline`` rises
with the key: a planner that takes columns for independent is right about the one and wrong about the other. Every
question is the text of a request, drawn anew within a few percent of the parameter, so that nothing is remembered
but the shape.

``share``: of the table's rows that satisfy the swept condition. Beside it an ``idtype`` thins them to 37 % (the
most frequent of eight values) or 5 % (the rarest).
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.shape import DDL, FIRST_DATELINE, KINDS, TABLE, Post, posts, uid_values
from tcsql.engine.change import CreateTable
from tcsql.engine.schema import TableSchema
from tcsql.sql import changes_of

COMMON: Final = KINDS[0]
RARE: Final = KINDS[-1]
#: The indexes of the seed and those that its shapes would ask for.
_KEYS: Final = ("KEY `idtype` (`idtype`)", "KEY `hits` (`hits`)", "KEY `idtype_hits` (`idtype`,`hits`)")
SWEEP_DDL: Final = DDL.replace("\n) ENGINE", "".join(f",\n  {key}" for key in _KEYS) + "\n) ENGINE")
#: hits are drawn from this many values: fine enough for a share of one in a million.
HITS: Final = 1_000_000
SHARES: Final = (0, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.97, 1)
DEPTHS: Final = (0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.999)
LENGTHS: Final = (1, 2, 3, 5, 10, 30, 100)

_NEWEST: Final = "order_by=pkey&order_sort=NUMDESC&limit_max=10"
_OLDEST: Final = "order_by=pkey&order_sort=NUMASC&limit_max=10"
_MOST_HITS: Final = "order_by=hits&order_sort=NUMDESC&limit_max=10"
_LATEST: Final = "order_by=dateline&order_sort=NUMDESC&limit_max=10"

NO_RUN: Final = "no run of an index is in this order, and rows before the page have to be passed"
NO_INDEX: Final = "no index holds two ranges as one run"
NEGATED: Final = "exact total of a negated condition"
OVERLAPPING: Final = "exact total of alternatives that overlap"


def schema() -> TableSchema:
    """The table with its indexes, as TCSQL reads it from its DDL."""
    (change,) = changes_of(SWEEP_DDL, lambda name: None)
    assert isinstance(change, CreateTable)
    return change.schema


def rows(count: int) -> Iterator[Post]:
    """The seed's rows with independent hits; the same count gives the same rows."""
    draw = random.Random(count + 1)
    return (post._replace(hits=draw.randrange(HITS)) for post in posts(count))


class Data:
    """The values that questions are drawn from: every dateline and all hits, sorted."""

    def __init__(self, held: Iterable[Post]) -> None:
        self.dateline, self.hits = array("L"), array("L")
        for post in held:
            self.dateline.append(post.dateline)
            self.hits.append(post.hits)
        self.count = len(self.dateline)
        self.hits = array("L", sorted(self.hits))
        self.uids = uid_values(self.count)

    def newest(self, column: str, share: float, draw: random.Random) -> int:
        """The operand of NUMGE that about this share of the rows satisfies."""
        values = self.dateline if column == "dateline" else self.hits
        wanted = self._wanted(share, draw)
        return values[-wanted] if wanted else values[-1] + 1

    def oldest(self, column: str, share: float, draw: random.Random) -> int:
        """The operand of NUMLE that about this share of the rows satisfies."""
        values = self.dateline if column == "dateline" else self.hits
        wanted = self._wanted(share, draw)
        return values[wanted - 1] if wanted else values[0] - 1

    def between(self, column: str, share: float, draw: random.Random) -> str:
        """The operand of NUMBT for a band of this share, anywhere."""
        values = self.dateline if column == "dateline" else self.hits
        wanted = max(1, self._wanted(share, draw))
        start = draw.randint(0, self.count - wanted)
        return f"{values[start]},{values[start + wanted - 1]}"

    def _wanted(self, share: float, draw: random.Random) -> int:
        return min(self.count, round(self.count * share * draw.uniform(0.95, 1.05)))


#: A question of the curve at a point: data, dice, parameter.
Ask = Callable[[Data, random.Random, float], str]


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve. ``excepted``: why the goal is not asked of it. ``cursor``: the page behind that position."""

    family: str
    name: str
    axis: str
    points: Sequence[float]
    ask: Ask
    excepted: str | None = None
    cursor: bool = False


def _select(order: str, *conditions: str) -> str:
    where = "".join(f"&where={condition}" for condition in conditions)
    return f"command=select&table={TABLE}&type=*{where}&{order}"


def _count(*conditions: str) -> str:
    return f"command=select&table={TABLE}&type=count" + "".join(f"&where={condition}" for condition in conditions)


def _swept(column: str, how: str, data: Data, draw: random.Random, share: float) -> str:
    match how:
        case "NUMGE":
            return f"{column}:NUMGE:{data.newest(column, share, draw)}"
        case "~NUMGE":
            return f"{column}:~NUMGE:{data.newest(column, 1 - share, draw)}"
        case "NUMLE":
            return f"{column}:NUMLE:{data.oldest(column, share, draw)}"
        case _:
            return f"{column}:NUMBT:{data.between(column, share, draw)}"


def _compound(
    order: str | None, kind: str | None, column: str, how: str, data: Data, draw: random.Random, share: float
) -> str:
    """``column how operand``, and an idtype unless ``kind`` is None; a count without an order."""
    where = _swept(column, how, data, draw, share)
    if kind is not None:
        where += f"|idtype:STREQ:{kind}"
    return _count(where) if order is None else _select(order, where)


_HOWS: Final = (("NUMGE", "from T on"), ("NUMLE", "up to T"), ("NUMBT", "a band anywhere"))


def _lists() -> Iterator[Curve]:
    """q3 and its relatives: a range, an idtype, the newest ten by key."""
    for column in ("dateline", "hits"):
        for how, words in _HOWS:
            for kind, which in ((COMMON, "common"), (RARE, "rare"), (None, "any")):
                name = f"{column} {words}, {which} idtype"
                yield Curve(
                    "compound list by key", name, "share", SHARES, partial(_compound, _NEWEST, kind, column, how)
                )
    ask = partial(_compound, _OLDEST, RARE, "dateline", "NUMGE")
    yield Curve("compound list by key", "dateline from T on, rare idtype, oldest first", "share", SHARES, ask)


def _counts() -> Iterator[Curve]:
    """q4 and its relatives."""
    for column in ("dateline", "hits"):
        for kind, which in ((COMMON, "common"), (RARE, "rare"), (None, "any")):
            name = f"{column} from T on, {which} idtype"
            yield Curve("count", name, "share", SHARES, partial(_compound, None, kind, column, "NUMGE"))


def _other_order() -> Iterator[Curve]:
    """The filter on one column, the order by another."""
    family = "order by another column"
    for column, order, by in (
        ("dateline", _MOST_HITS, "hits"),
        ("hits", _LATEST, "dateline"),
        ("dateline", _LATEST, "dateline"),
    ):
        for kind, which in ((COMMON, "common"), (RARE, "rare"), (None, "any")):
            name = f"{column} from T on, {which} idtype, by {by}"
            yield Curve(family, name, "share", SHARES, partial(_compound, order, kind, column, "NUMGE"))
    yield Curve(family, "one uid, by hits", "share", (1e-5,), _of_user)


def _of_user(data: Data, draw: random.Random, _: float) -> str:
    return _select(_MOST_HITS, f"uid:NUMEQ:{draw.randrange(data.uids)}")


def _alternatives() -> Iterator[Curve]:
    """OR: the parameter given twice and three times."""
    family = "alternatives (OR)"
    for column in ("dateline", "hits"):
        yield Curve(family, f"{column} from T on, idtype A or B", "share", SHARES, partial(_either, _NEWEST, column))
        name = f"{column} from T on, or idtype rare (overlapping)"
        yield Curve(family, name, "share", SHARES, partial(_overlap, _NEWEST, column))
        name = f"count: {column} from T on, idtype A or B"
        yield Curve(family, name, "share", SHARES, partial(_either, None, column))
        name = f"count: {column} from T on, or idtype rare"
        yield Curve(family, name, "share", SHARES, partial(_overlap, None, column), OVERLAPPING)
    yield Curve(family, "dateline from T on, or hits from U on (overlapping)", "share", SHARES, _two_ranges_either)
    yield Curve(family, "one uid or another", "share", (2e-5,), _two_users)


def _either(order: str | None, column: str, data: Data, draw: random.Random, share: float) -> str:
    swept = _swept(column, "NUMGE", data, draw, share)
    both = [f"{swept}|idtype:STREQ:{kind}" for kind in draw.sample(KINDS, 2)]
    return _count(*both) if order is None else _select(order, *both)


def _overlap(order: str | None, column: str, data: Data, draw: random.Random, share: float) -> str:
    both = (_swept(column, "NUMGE", data, draw, share), f"idtype:STREQ:{RARE}")
    return _count(*both) if order is None else _select(order, *both)


def _two_ranges_either(data: Data, draw: random.Random, share: float) -> str:
    return _select(_NEWEST, *(_swept(column, "NUMGE", data, draw, share) for column in ("dateline", "hits")))


def _two_users(data: Data, draw: random.Random, _: float) -> str:
    return _select(_NEWEST, *(f"uid:NUMEQ:{uid}" for uid in draw.sample(range(data.uids), 2)))


def _two_ranges() -> Iterator[Curve]:
    """Two ranges at once: no ordered index serves both."""
    for order, by in ((_NEWEST, "key"), (_MOST_HITS, "hits")):
        ask = partial(_two_ranges_both, order)
        yield Curve("two ranges", f"dateline and hits, by {by}", "share", SHARES, ask, NO_INDEX)


def _two_ranges_both(order: str, data: Data, draw: random.Random, share: float) -> str:
    conditions = [_swept(column, "NUMGE", data, draw, share) for column in ("dateline", "hits")]
    return _select(order, "|".join(conditions))


def _pages() -> Iterator[Curve]:
    """Deep offsets and cursor pages; the depth is a share of the list's length."""
    # Share of rows of the commonest kind: 1 / (1 + 1/2 + ... + 1/8).
    common = 1 / sum(1 / rank for rank in range(1, len(KINDS) + 1))
    lists: tuple[tuple[str, str, float, str | None, str | None], ...] = (
        ("the whole table, by key", _NEWEST, 1, None, None),
        ("the whole table, by dateline", _LATEST, 1, None, None),
        ("the whole table, by hits", _MOST_HITS, 1, None, None),
        ("common idtype, by key", _NEWEST, common, f"idtype:STREQ:{COMMON}", None),
        ("common idtype, by dateline", _LATEST, common, f"idtype:STREQ:{COMMON}", None),
        ("newest half of the common idtype, by dateline", _LATEST, common / 2, f"{{half}}|idtype:STREQ:{COMMON}", None),
        ("newest half of the table, by key", _NEWEST, 0.5, "{half}", NO_RUN),
        ("newest half of the common idtype, by key", _NEWEST, common / 2, f"{{half}}|idtype:STREQ:{COMMON}", NO_RUN),
    )
    for name, order, share, where, excepted in lists:
        ask = partial(_page, order, share, where, "skip")
        yield Curve("deep offset", name, "depth", DEPTHS, ask, excepted)
    for name, order, share, where, _ in lists:
        ask = partial(_page, order, share, where, "cursor")
        yield Curve("cursor page", name, "depth", DEPTHS, ask, cursor=True)


def _page(order: str, share: float, where: str | None, how: str, data: Data, draw: random.Random, depth: float) -> str:
    """The page at a depth. For a cursor ``limit_skip`` is replaced by the cursor found there."""
    half = f"dateline:NUMGE:{data.dateline[data.count // 2]}"
    conditions = () if where is None else (where.format(half=half),)
    length = data.count * share * 0.98
    skip = int(length * depth) + (draw.randrange(50) if how == "cursor" or depth else 0)
    return _select(order, *conditions) + f"&limit_skip={skip}"


def _negated() -> Iterator[Curve]:
    """NOT."""
    family = "negated condition"
    for column in ("dateline", "hits"):
        name = f"not {column} from T on, by key"
        yield Curve(family, name, "share", SHARES, partial(_compound, _NEWEST, None, column, "~NUMGE"))
        name = f"not {column} from T on, rare idtype, by key"
        yield Curve(family, name, "share", SHARES, partial(_compound, _NEWEST, RARE, column, "~NUMGE"))
        yield Curve(
            family, f"{column} from T on, not the common idtype, by key", "share", SHARES, partial(_unlike, column)
        )
        name = f"count: not {column} from T on"
        yield Curve(family, name, "share", SHARES, partial(_compound, None, None, column, "~NUMGE"), NEGATED)
    for kind, which in ((COMMON, "common"), (RARE, "rare")):
        yield Curve(family, f"not the {which} idtype, by key", "share", (1,), partial(_not_kind, _NEWEST, kind))
        yield Curve(family, f"count: not the {which} idtype", "share", (1,), partial(_not_kind, None, kind), NEGATED)


def _unlike(column: str, data: Data, draw: random.Random, share: float) -> str:
    return _select(_NEWEST, _swept(column, "NUMGE", data, draw, share) + f"|idtype:~STREQ:{COMMON}")


def _not_kind(order: str | None, kind: str, data: Data, draw: random.Random, _: float) -> str:
    where = f"idtype:~STREQ:{kind}"
    return _count(where) if order is None else _select(order, where)


def _in_lists() -> Iterator[Curve]:
    """IN: several values of an indexed column."""
    family = "list of values (IN)"
    yield Curve(family, "uids, by key", "values", LENGTHS, partial(_users, _NEWEST))
    yield Curve(family, "uids, by hits", "values", LENGTHS, partial(_users, _MOST_HITS))
    yield Curve(family, "count of uids", "values", LENGTHS, partial(_users, None))
    yield Curve(family, "keys, by key", "values", LENGTHS, _keys)
    yield Curve(family, "idtypes, by key", "values", (1, 2, 3, 5, 8), partial(_kinds, _NEWEST))
    yield Curve(family, "idtypes, by dateline", "values", (1, 2, 3, 5, 8), partial(_kinds, _LATEST))
    yield Curve(family, "idtypes from T on (1 %), by key", "values", (1, 2, 3, 5, 8), _kinds_since)


def _users(order: str | None, data: Data, draw: random.Random, length: float) -> str:
    where = "uid:NUMOREQ:" + ",".join(str(draw.randrange(data.uids)) for _ in range(int(length)))
    return _count(where) if order is None else _select(order, where)


def _keys(data: Data, draw: random.Random, length: float) -> str:
    return _select(_NEWEST, "pkey:NUMOREQ:" + ",".join(str(draw.randint(1, data.count)) for _ in range(int(length))))


def _kinds(order: str, data: Data, draw: random.Random, length: float) -> str:
    return _select(order, "idtype:STROREQ:" + ",".join(draw.sample(KINDS, int(length))))


def _kinds_since(data: Data, draw: random.Random, length: float) -> str:
    kinds = ",".join(draw.sample(KINDS, int(length)))
    return _select(_NEWEST, f"idtype:STROREQ:{kinds}|" + _swept("dateline", "NUMGE", data, draw, 0.01))


def _single() -> Iterator[Curve]:
    """The two look-ups of the seed, for comparison."""
    yield Curve("look-up", "one row by key (q1)", "rows", (1,), _row)
    yield Curve("look-up", "newest row of a user (q2)", "rows", (1,), _newest_of_user)


def _row(data: Data, draw: random.Random, _: float) -> str:
    return f"command=select&table={TABLE}&type=*&where=pkey:NUMEQ:{draw.randint(1, data.count)}&limit_max=1"


def _newest_of_user(data: Data, draw: random.Random, _: float) -> str:
    return _select(_NEWEST.replace("10", "1"), f"uid:NUMEQ:{draw.randrange(data.uids)}")


def curves() -> tuple[Curve, ...]:
    """All curves, family by family."""
    makers = (
        _single, _lists, _counts, _other_order, _alternatives, _two_ranges, _pages, _negated, _in_lists
    )  # fmt: skip
    return tuple(curve for maker in makers for curve in maker())


assert FIRST_DATELINE > 0  # a share of nothing asks below the first dateline, which must stay a number without a sign
