"""What must be true of a table at any time: rows, primary order and indexes tell the same, finished or not."""

from __future__ import annotations

from collections.abc import Mapping

from tcsql.engine.index import OrderedIndex
from tcsql.engine.rows import decode
from tcsql.engine.table import Table


def check_tables(by_name: Mapping[str, Table], by_id: Mapping[int, Table]) -> None:
    """AssertionError when names and ids disagree, or with what is wrong in a table. O(all entries)."""
    assert {table.schema.name for table in by_id.values()} == set(by_name), "names and ids disagree"
    for name, table in by_name.items():
        assert table.schema.name == name, f"{name} is called {table.schema.name}"
        check_table(table)


def check_table(table: Table) -> None:
    """AssertionError with what is wrong; compares every index with the rows. O(n) for each index."""
    schema, indexes, building = table.schema, table.indexes.values(), table.building
    pkeys = sorted(pkey for pkey, _ in table.rows.items())
    assert list(table.pkeys_in_order()) == pkeys, f"{schema.name}: primary order"
    assert len(pkeys) == len(set(pkeys)) == len(table.rows), f"{schema.name}: a key stands twice"
    assert table.rows.bytes == table.rows.count_bytes(), f"{schema.name}: row bytes"
    assert table.rows.longest >= max(map(len, table.rows.current.values()), default=0), f"{schema.name}: longest row"
    for index in (table.primary, *indexes):
        index.check_invariants()
    assert all(index.ready is (index not in building) for index in indexes), f"{schema.name}: what is being built"
    entered = dict.fromkeys(building, 0)
    for pkey, data in table.rows.items():
        row = decode(data)
        assert tuple(row) == schema.names, f"{schema.name}: columns of row {pkey!r}"
        assert schema.pkey_of(row) == pkey, f"{schema.name}: row {pkey!r} under another key"
        for index in indexes:
            if index.ready or building[index].covers(pkey):
                held = index.contains(index.values(row), pkey)  # type: ignore[arg-type]  # its own values
                assert held, f"{schema.name}: index {index.definition.name} lacks row {pkey!r}"
                if index in building:
                    entered[index] += 1
    for index in indexes:
        if isinstance(index, OrderedIndex):
            wanted = entered.get(index, len(pkeys))
            assert len(index) == wanted, f"{schema.name}: index {index.definition.name} has extra entries"
