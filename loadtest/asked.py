"""The four queries of the seed, with the values that are drawn, and how each stack spells them.

    q1  one row by its key        id of 1 to rows
    q2  newest row of a user      uid of all users
    q3  compound list, 10 rows    dateline from a random time of the data on, one of 8 types, newest first
    q4  the same as a count

Peers get short targets of their own kind (``/q1?id=5``), which is what a team would write and costs them less to
read; nginx with a constant gets exactly the bytes that TCSQL gets, but for the path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.shape import FIRST_DATELINE, KINDS, TABLE, uid_values
from loadtest.template import Counting, Int, OneOf, Part, Template, get, post

QUERIES: Final[Mapping[str, str]] = {
    "q1": "one row by key",
    "q2": "newest row of a user",
    "q3": "compound list, 10 rows",
    "q4": "compound count",
}
INSERT: Final = "insert"
#: Mean distance of two rows in the shape, seconds.
_STEP_S: Final = 20


@dataclass(frozen=True, slots=True)
class Values:
    """What is drawn for a table of so many rows."""

    rows: int

    def of(self, query: str) -> tuple[Part, ...]:
        if query == "q1":
            return (Int(1, self.rows),)
        if query == "q2":
            return (Int(0, uid_values(self.rows) - 1),)
        return (Int(FIRST_DATELINE, FIRST_DATELINE + _STEP_S * self.rows), OneOf(KINDS))


def _ours(path: str, query: str, values: tuple[Part, ...]) -> Template:
    newest = "&order_by=pkey&order_sort=NUMDESC&limit_skip=0&limit_max="
    if query in ("q1", "q2"):
        column = "pkey" if query == "q1" else "uid"
        return get(f"{path}?command=select&type=*&where={column}:NUMEQ:", values[0], f"{newest}1")
    kind = "*" if query == "q3" else "count"
    end = f"{newest}10" if query == "q3" else ""
    where = f"{path}?command=select&type={kind}&where=dateline:NUMGE:"
    return get(where, values[0], "|idtype:STREQ:", values[1], end)


def of_tcsql(rows: int) -> dict[str, Template]:
    """In TCSQL's own language."""
    return {query: _ours("/", query, Values(rows).of(query)) for query in QUERIES}


def of_constant(rows: int) -> dict[str, Template]:
    """The same bytes, with a path that chooses the constant."""
    return {query: _ours(f"/{query}", query, Values(rows).of(query)) for query in QUERIES}


def of_peer(rows: int) -> dict[str, Template]:
    """Short targets for stacks built by hand."""
    found = {}
    for query in QUERIES:
        values = Values(rows).of(query)
        if query in ("q1", "q2"):
            found[query] = get(f"/{query}?{'id' if query == 'q1' else 'uid'}=", values[0])
        else:
            found[query] = get(f"/{query}?since=", values[0], "&idtype=", values[1])
    return found


#: Keys of rows that are written have eight digits and start behind any that were loaded.
FIRST_WRITTEN: Final = 10_000_000
#: Keys reserved for each measurement that writes.
WRITTEN_STEP: Final = 1_000_000
_TITLE: Final = "light house by the quiet river at night, late"


def insert(target: str, first_id: int) -> Template:
    """Single-row inserts of the shape with new keys, of one length whatever is drawn."""
    uids, datelines = Int(10_000, 99_999), Int(1_893_456_000, 1_999_999_999)  # five digits, and dates yet to come
    ends = OneOf(tuple(f'"{kind}","title":"{_TITLE[len(kind) :]}"' for kind in KINDS))
    parts: tuple[Part, ...] = (
        *('{"id":', Counting(first_id), ',"uid":', uids, ',"dateline":', datelines),
        *(',"idtype":', ends, ',"hits":7}'),
    )
    length = sum(len(part) for part in parts if isinstance(part, str)) + 8 + 5 + 10 + len(ends.words[0])
    return post(target, length, *parts)


def insert_ours(first_id: int) -> Template:
    return insert(f"/?command=insert&table={TABLE}", first_id)


def insert_peer(first_id: int) -> Template:
    return insert("/insert", first_id)


def costly(rows: int, span: int) -> Template:
    """A count that no index answers: of the ``span`` newest rows, those whose title matches a pattern.

    The pattern ends in a number that no title has, drawn anew, so that no two requests are the same.
    """
    last = FIRST_DATELINE + _STEP_S * rows
    between = f"{last - _STEP_S * span},{last}"  # rows that were written since are later
    head = f"/?command=select&type=count&where=dateline:NUMBT:{between}|title:STRRX:river.*(stone%5C%7C"
    return get(head, Int(100_000, 999_999), ")")
