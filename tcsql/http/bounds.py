"""How much one where may ask for: bounds that keep reading and planning a request within some tens of milliseconds.

A body may have a megabyte. As one IN list that would be 150,000 runs of an index, three seconds in which no other
request gets a turn; as text with escapes it would be read for a fifth of a second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tcsql.engine.query import Conjunction, Operator
from tcsql.errors import LimitExceeded

#: Values listed in one request, over all its conditions: each may open a run of an index, 20 us.
MAX_VALUES: Final = 2_000
#: Characters of all where of one request: read in 20 ms.
MAX_WHERE: Final = 65_536
#: Operators whose expression is a list of values.
_LISTS: Final = frozenset({
    Operator.NUMOREQ, Operator.STROREQ, Operator.STRAND, Operator.STROR, Operator.FTSAND, Operator.FTSOR,
    Operator.FTSEX,
})  # fmt: skip
_VALUES: Final = re.compile(r"[^\s,]+")


def check_lists(any_of: Sequence[Conjunction]) -> None:
    """Raises LimitExceeded when all lists together have too many values. O(length)."""
    values = 0
    for conjunction in any_of:
        for condition in conjunction:
            if condition.operator in _LISTS:
                values += len(_VALUES.findall(condition.operand))
    if values > MAX_VALUES:
        raise LimitExceeded(f"the lists of where have more than {MAX_VALUES} values", "ask in several requests")
