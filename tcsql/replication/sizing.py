"""How much memory a table of the source will take here: an estimate, from a sample of its rows. Pure.

What a row costs besides its own bytes was measured (docs/benchmarks.md): 304 bytes with three indexes for 122 of JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tcsql.errors import SourceFault
from tcsql.replication.catalogue import CatalogueTable, chosen_columns, schema_of
from tcsql.sources import FollowedTable

_ROW_OVERHEAD: Final = 116
_INDEX_OVERHEAD: Final = 22
#: What JSON adds to a value: quotes and a comma.
_VALUE_OVERHEAD: Final = 3


@dataclass(frozen=True, slots=True)
class Size:
    """A table's size. ``rows`` and ``bytes_there`` are the server's estimates, ``bytes_here`` is ours, at most."""

    table: str
    rows: int
    bytes_there: int
    bytes_here: int


def size_of(table: CatalogueTable, followed: FollowedTable, row_bytes: float | None) -> Size:
    """A table's size. ``row_bytes``: mean of a row's values as text, in a sample; None when none could be taken.

    Without a sample the length of the source's rows is taken, which says little.
    """
    there = table.bytes / table.rows if table.rows else 0.0
    try:
        columns, indexes = len(chosen_columns(table, followed.columns)), len(schema_of(table, followed.columns).indexes)
    except SourceFault:
        columns, indexes = len(table.columns), 0
    row = (there if row_bytes is None else row_bytes) + _VALUE_OVERHEAD * columns
    here = table.rows * (row + _ROW_OVERHEAD + _INDEX_OVERHEAD * indexes)
    return Size(table.name, table.rows, table.bytes, int(here))
