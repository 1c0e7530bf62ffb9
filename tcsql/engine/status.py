"""What a table says about itself, as plain data for people and dashboards."""

from __future__ import annotations

from collections.abc import Sequence

from tcsql.engine.advisor import BUILD_US, EXAMINE_US, MIN_BUILD_ROWS, Need
from tcsql.engine.building import Index
from tcsql.engine.table import Table


def table_status(table: Table, needs: Sequence[Need]) -> dict[str, object]:
    """Sizes, notes, indexes, and which indexes are missed. O(columns + indexes log n)."""
    schema = table.schema
    return {
        "name": schema.name,
        "rows": len(table),
        "bytes": table.memory_bytes,
        "row_bytes": table.rows.bytes,
        "columns": len(schema.columns),
        "layout": schema.layout,
        "notes": list(schema.notes),
        "indexes": [_index_status(table, index) for index in (table.primary, *table.indexes.values())],
        "forbidden_indexes": [{"name": each.name, "columns": list(each.columns)} for each in schema.forbidden],
        "missed_indexes": [_need_status(table, need) for need in needs],
    }


def _index_status(table: Table, index: Index) -> dict[str, object]:
    definition = index.definition
    status: dict[str, object] = {
        "name": definition.name,
        "columns": list(definition.columns or table.schema.primary_key),
        "fulltext": definition.fulltext,
        "automatic": definition.automatic,
        "entries": len(index),
        "bytes": index.memory_bytes,
        "uses": index.uses,
        "ready": index.ready,
        "notes": list(definition.notes),
    }
    progress = table.progress(index)
    if progress is not None:
        status["rows_done"], status["rows_to_do"] = progress[0], progress[1] - progress[0]
    return status


def _need_status(table: Table, need: Need) -> dict[str, object]:
    """``share_of_price``: at 1 the index has cost as much by its absence as it would by being built."""
    price_us = max(len(table), MIN_BUILD_ROWS) * BUILD_US
    share = need.wasted_rows * EXAMINE_US / price_us
    return {"columns": list(need.columns), "why": need.reason(), "share_of_price": round(share, 3)}
