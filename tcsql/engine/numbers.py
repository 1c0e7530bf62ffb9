"""Numbers in text, as the contract reads them: leniently, exactly, and never as a float."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_NUMBER: Final = re.compile(r"[\x01-\x20]*([+-]?)([0-9]*)(?:\.([0-9]*))?")
#: int() refuses longer digit strings (sys.int_max_str_digits is 4,300); Decimal takes them in linear time.
LONGEST_INT_TEXT: Final = 4_000


def number_of_text(text: str) -> int | Decimal:
    """The contract's lenient reading: blanks, one sign, digits, fraction; the rest is ignored; nothing is 0.

    >>> [number_of_text(t) for t in ("12abc", "", "1e3", " -7", "information", "0x10")]
    [12, 0, 1, -7, 0, 0]
    >>> number_of_text(".5")
    Decimal('0.5')
    """
    match = _NUMBER.match(text)
    assert match is not None  # every part is optional
    sign, whole, fraction = match.groups()
    fraction = (fraction or "").rstrip("0")
    if not fraction and len(whole) < LONGEST_INT_TEXT:
        return int(sign + whole) if whole else 0
    return Decimal(f"{sign}{whole or '0'}.{fraction or '0'}")
