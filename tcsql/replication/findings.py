"""What a look at a source has found: one thing to know, how much it matters, and what to run there. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REFUSE: Final = "refuse"
WARN: Final = "warn"
NOTE: Final = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know. ``table`` "": it is about the server or the account."""

    severity: str
    code: str
    table: str
    message: str
    statement: str = ""
