"""What an index was declared with and the engine does not keep, as notes: said to people, read back by the writer."""

from __future__ import annotations

import re
from typing import Final

from tcsql.engine.schema import IndexDef

NOT_ENFORCED: Final = "uniqueness is not enforced"

_PREFIX: Final = re.compile(r"prefix length ([0-9]+) of (\w+) ignored")
_DESCENDING: Final = re.compile(r"descending order of (\w+) ignored")
_PART: Final = re.compile(r"part of FULLTEXT (\w+) over (.+)")


def prefix_note(column: str, length: int) -> str:
    return f"prefix length {length} of {column} ignored"


def descending_note(column: str) -> str:
    return f"descending order of {column} ignored"


def part_note(index: str, columns: tuple[str, ...]) -> str:
    return f"part of FULLTEXT {index} over {', '.join(columns)}"


def prefixes(index: IndexDef) -> dict[str, int]:
    """Prefix lengths by column."""
    return {found[2]: int(found[1]) for note in index.notes if (found := _PREFIX.fullmatch(note))}


def descending(index: IndexDef) -> set[str]:
    """The columns that were declared DESC."""
    return {found[1] for note in index.notes if (found := _DESCENDING.fullmatch(note))}


def whole_of(index: IndexDef) -> tuple[str, tuple[str, ...]] | None:
    """Name and columns of the FULLTEXT key that this index is a part of."""
    for note in index.notes:
        if found := _PART.fullmatch(note):
            return found[1], tuple(found[2].split(", "))
    return None
