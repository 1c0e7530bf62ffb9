"""How long the rows of one reply may be: judged before a row is copied, so that no page takes more than its share.

Rows are bounded in number by the grammar; a thousand rows of long texts are hundreds of megabytes all the same. A table
remembers the longest row it ever held (``Rows.longest``): pages of so few rows that even such ones would fit, which are
nearly all, cost one comparison. The others are added up, 20 ns a row, and refused as a whole: no page is ever cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tcsql.errors import ReplyTooLarge

#: What is allowed where nobody states a bound.
UNBOUNDED: Final = 2**62
#: So much is decoded, or copied, in one go, 1 to 3 ms; what is longer gives way in between.
BYTES_PER_SLICE: Final = 262_144


def fits_always(limit: int, most_bytes: int) -> int:
    """The longest row of which ``limit`` fit whatever they are."""
    return most_bytes // limit if limit else most_bytes


def size_of(rows: Sequence[bytes]) -> int:
    """Their bytes, and the commas between them."""
    return sum(map(len, rows)) + len(rows)


def require_fitting(size: int, most_bytes: int) -> None:
    """Raises ReplyTooLarge for rows of so many bytes."""
    if size > most_bytes:
        raise too_large(most_bytes)


def too_large(most_bytes: int) -> ReplyTooLarge:
    """The refusal."""
    return ReplyTooLarge(
        f"the rows of this reply would be longer than {most_bytes} bytes",
        "ask for fewer rows (limit_max) or fewer columns (type=id,title), or an operator sets max_reply_bytes",
    )
