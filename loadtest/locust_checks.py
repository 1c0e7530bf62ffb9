"""The four questions of the seed for the load test: what is asked, and what an answer must look like to count.

Operands are drawn from what the server itself says about its rows (``Facts``), so that the test runs against any
table of the shape and no answer is empty by chance only. Every reply is judged: status, JSON, the conditions on
every row, the order, the length of the page against the total. Pure; a judgement costs about 10 us, most of it JSON.

    q1  one row by its key         q3  a compound list, the newest ten of one idtype from a date on
    q2  the newest row of a user   q4  the same as a count
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

#: Read once, before the load: one pass over the table on the server.
FACTS_TARGET: Final = (
    "/?command=select&type=idtype,count,min(id),max(id),min(uid),max(uid),min(dateline),max(dateline)&group_by=idtype"
)
_NEWEST: Final = "&order_by=pkey&order_sort=NUMDESC&limit_skip=0&limit_max="
_PAGE: Final = 10

Answer = Mapping[str, Any]
#: What is wrong with an answer; None: nothing.
Verdict = str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rows are, as the server counts them. Ranges include both ends; ``kinds``: rows of each idtype."""

    keys: tuple[int, int]
    uids: tuple[int, int]
    datelines: tuple[int, int]
    kinds: Mapping[str, int]

    @property
    def rows(self) -> int:
        return sum(self.kinds.values())

    @property
    def keys_are_dense(self) -> bool:
        """Every key between the ends is there, so that not to find one is an error."""
        return self.keys[1] - self.keys[0] + 1 == self.rows


def facts_of(body: bytes) -> Facts:
    """The facts in a reply to ``FACTS_TARGET``; raises ValueError for a table that cannot be asked."""
    answer = json.loads(body)
    groups = answer.get("rows") if isinstance(answer, dict) else None
    if not groups:
        raise ValueError(f"no rows of the benchmark's shape to ask for: {body[:300].decode(errors='replace')}")

    def ends(column: str) -> tuple[int, int]:
        return min(int(g[f"min({column})"]) for g in groups), max(int(g[f"max({column})"]) for g in groups)

    kinds = {str(group["idtype"]): int(group["count"]) for group in groups}
    return Facts(ends("id"), ends("uid"), ends("dateline"), kinds)


@dataclass(frozen=True, slots=True)
class Question:
    """One request and the judge of its answer."""

    name: str
    target: str
    judge: Callable[[Answer], Verdict]

    def problem(self, status: int, body: bytes | None) -> Verdict:
        """What is wrong with a reply; None when it counts as answered."""
        if status != 200:
            return f"status {status}" if status else "no reply"
        try:
            answer = json.loads(body or b"")
        except ValueError:
            return "not JSON"
        if not isinstance(answer, dict):
            return "not a JSON object"
        return self.judge(answer)


def row_by_key(facts: Facts, draw: random.Random) -> Question:
    """q1."""
    key = draw.randint(*facts.keys)

    def judge(answer: Answer) -> Verdict:
        rows = answer.get("rows")
        if not isinstance(rows, list):
            return "no rows"
        if answer.get("total") != len(rows) or len(rows) > 1:
            return "total and rows disagree"
        if not rows:
            return f"row {key} is missing" if facts.keys_are_dense else None
        return None if rows[0].get("id") == key else "another row than asked for"

    return Question("q1", f"/?command=select&type=*&where=pkey:NUMEQ:{key}{_NEWEST}1", judge)


def newest_of_user(facts: Facts, draw: random.Random) -> Question:
    """q2."""
    uid = draw.randint(*facts.uids)

    def judge(answer: Answer) -> Verdict:
        rows, total = answer.get("rows"), answer.get("total")
        if not isinstance(rows, list) or not isinstance(total, int):
            return "no rows or no total"
        if len(rows) != min(1, total) or not 0 <= total <= facts.rows:
            return "total and rows disagree"
        return None if all(row.get("uid") == uid for row in rows) else "a row of another user"

    return Question("q2", f"/?command=select&type=*&where=uid:NUMEQ:{uid}{_NEWEST}1", judge)


def compound_list(facts: Facts, draw: random.Random) -> Question:
    """q3."""
    since, kind = _since_and_kind(facts, draw)

    def judge(answer: Answer) -> Verdict:
        rows, total = answer.get("rows"), answer.get("total")
        if not isinstance(rows, list):
            return "no rows"
        if total is None:  # the server may leave it out where only a scan would tell
            expected = len(rows) <= _PAGE
        elif isinstance(total, int) and 0 <= total <= facts.kinds[kind]:
            expected = len(rows) == min(_PAGE, total)
        else:
            return "a total that cannot be"
        if not expected:
            return "total and rows disagree"
        if any(row.get("idtype") != kind or row.get("dateline", -1) < since for row in rows):
            return "a row that does not match"
        keys = [row.get("id", 0) for row in rows]
        return None if all(above > below for above, below in pairwise(keys)) else "rows out of order"

    where = f"where=dateline:NUMGE:{since}|idtype:STREQ:{kind}"
    return Question("q3", f"/?command=select&type=*&{where}{_NEWEST}{_PAGE}", judge)


def compound_count(facts: Facts, draw: random.Random) -> Question:
    """q4."""
    since, kind = _since_and_kind(facts, draw)

    def judge(answer: Answer) -> Verdict:
        count = answer.get("count")
        if not isinstance(count, int) or isinstance(count, bool):
            return "no count"
        return None if 0 <= count <= facts.kinds[kind] else "a count that cannot be"

    where = f"where=dateline:NUMGE:{since}|idtype:STREQ:{kind}"
    return Question("q4", f"/?command=select&type=count&{where}", judge)


def _since_and_kind(facts: Facts, draw: random.Random) -> tuple[int, str]:
    return draw.randint(*facts.datelines), draw.choice(list(facts.kinds))


QUESTIONS: Final[Mapping[str, Callable[[Facts, random.Random], Question]]] = {
    "q1": row_by_key,
    "q2": newest_of_user,
    "q3": compound_list,
    "q4": compound_count,
}


def percentile(ascending: Sequence[float], share: float) -> float:
    """Of sorted values; the smallest that at least this share of them does not exceed.

    >>> percentile([1, 2, 3, 4], 0.5), percentile([1, 2, 3, 4], 0.99)
    (2, 4)
    """
    place = -int(-len(ascending) * share // 1) - 1
    return ascending[max(0, min(len(ascending) - 1, place))]
