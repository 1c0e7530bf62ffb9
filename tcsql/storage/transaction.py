"""The statements of one transaction: whole batches in, as few statements as possible out.

Rows are gathered by key first, so a row written by ten batches of a group is written once, and are flushed
before each schema change, so that every row is stored under the layout it was made for. Nothing here begins
or ends a transaction; on failure the object is thrown away and nothing of it has reached ``StoreFile``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Protocol, TypeVar

import apsw
import orjson

from tcsql.engine.change import Batch, SchemaBatch
from tcsql.storage import changelog, fileformat
from tcsql.storage.sqlite import Key, StoredTable

T = TypeVar("T")


class Entry(Protocol):
    """What a transaction needs of a ticket; ``position``: a follower's source and how far it is."""

    @property
    def lsn(self) -> int: ...
    @property
    def batch(self) -> Batch: ...
    @property
    def position(self) -> tuple[str, bytes] | None: ...


class Transaction:
    """``rows_kept`` False: schema changes only, of a store whose rows live in memory."""

    def __init__(self, connection: apsw.Connection, rows_kept: bool, tables: dict[int, StoredTable]) -> None:
        self.tables = tables
        self.positions: dict[str, bytes] = {}
        self.log_lines: list[bytes] = []
        self.log_ops = 0
        self._execute = connection.execute
        self._rows_kept = rows_kept
        self._rows: dict[int, dict[Key, bytes | None]] = {}
        self._counters: dict[int, int] = {}

    def add(self, entry: Entry) -> None:
        batch = entry.batch
        layouts = []
        for part in batch.parts:
            if isinstance(part, SchemaBatch):
                self._flush_rows()
                layouts.append(self._change_schema(part))
                continue
            table = self.tables[part.table_id]
            layouts.append(table.schema.layout)
            if self._rows_kept:
                rows = self._rows.setdefault(part.table_id, {})
                keys = table.keys([op.pkey for op in part.ops])
                rows.update(zip(keys, [op.after for op in part.ops], strict=True))
        if self._rows_kept:
            self._counters.update(batch.auto_increment)
            if entry.position is not None:
                self.positions[entry.position[0]] = entry.position[1]
            ops, lines = changelog.encode(entry.lsn, batch, layouts)
            self.log_ops += ops
            self.log_lines += lines

    def flush(self) -> None:
        """Write everything that was gathered."""
        self._flush_rows()
        for table_id, counter in self._counters.items():
            table = self.tables.get(table_id)  # None: dropped by a later batch of the group
            if table is not None and table.auto_increment != counter:
                self._execute("INSERT OR REPLACE INTO counters VALUES (?,?)", (table_id, str(counter)))
                self.tables[table_id] = replace(table, auto_increment=counter)
        for position in self.positions.items():
            self._execute("INSERT OR REPLACE INTO positions VALUES (?,?)", position)

    def _flush_rows(self) -> None:
        for table_id, rows in self._rows.items():
            layout = self.tables[table_id].schema.layout
            upserts = [item for item in rows.items() if item[1] is not None]
            for chunk in _chunks(upserts):
                self._execute(fileformat.upsert_rows(table_id, len(chunk)), (layout, *chain.from_iterable(chunk)))
            if len(upserts) < len(rows):
                for keys in _chunks([key for key, after in rows.items() if after is None]):
                    self._execute(fileformat.delete_rows(table_id, len(keys)), keys)
        self._rows.clear()

    def _change_schema(self, part: SchemaBatch) -> int:
        """Carry out one schema change; returns the layout it leaves."""
        known = self.tables.get(part.table_id)
        if part.after is None:
            assert known is not None
            self._drop(part.table_id)
            return known.schema.layout
        counter = part.after.auto_increment if known is None or part.removes_rows else known.auto_increment
        after = StoredTable.of(part.table_id, part.after, counter)
        schema = orjson.dumps(part.after.to_json()).decode()
        if known is None:
            self._execute(fileformat.create_rows(part.table_id, after.integer_key))
            self._execute("INSERT INTO tables VALUES (?,?,?)", (part.table_id, part.after.name, schema))
        else:
            self._execute("UPDATE tables SET name=?, schema=? WHERE id=?", (part.after.name, schema, part.table_id))
            if part.removes_rows:
                self._execute(fileformat.clear_rows(part.table_id))
                self._forget_counter(part.table_id)
        self.tables[part.table_id] = after
        return part.after.layout

    def _drop(self, table_id: int) -> None:
        self._execute(fileformat.drop_rows(table_id))
        self._execute("DELETE FROM tables WHERE id=?", (table_id,))
        self._forget_counter(table_id)
        del self.tables[table_id]

    def _forget_counter(self, table_id: int) -> None:
        self._execute("DELETE FROM counters WHERE table_id=?", (table_id,))
        self._counters.pop(table_id, None)


def _chunks(items: list[T]) -> Iterator[list[T]]:
    """Pieces as long as a prepared statement takes, the last one padded by repeating its last item."""
    for start in range(0, len(items), fileformat.ROWS_PER_STATEMENT):
        chunk = items[start : start + fileformat.ROWS_PER_STATEMENT]
        yield chunk + chunk[-1:] * (fileformat.padded(len(chunk)) - len(chunk))
