"""The statements of one transaction: whole batches in, as few statements as possible out.

Rows are gathered by key first, so a row written by ten batches of a group is written once, and are flushed
before each schema change, so that every row is stored under the layout it was made for. Nothing here begins
or ends a transaction; on failure the object is thrown away and nothing of it has reached ``StoreFile``.

``gather`` takes the batches up to the first schema change and touches nothing, so that what was gathered may also be
written in one statement (``upserts``). Cost: 1.3 us for a batch of one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, Protocol, TypeVar

import apsw
import orjson

from tcsql.engine.change import Batch, NewRows, RowsBatch, SchemaBatch
from tcsql.storage import changelog, fileformat
from tcsql.storage.sqlite import Key, StoredTable

T = TypeVar("T")
Values = tuple[int | str | bytes | None, ...]


class Entry(Protocol):
    """What a transaction needs of a ticket; ``position``: a follower's source and how far it is."""

    @property
    def lsn(self) -> int: ...
    @property
    def batch(self) -> Batch: ...
    @property
    def position(self) -> tuple[str, bytes] | None: ...


class Upserts(NamedTuple):
    """Rows of one table, and its AUTO_INCREMENT counter if it has moved."""

    table_id: int
    layout: int
    rows: list[tuple[Key, bytes | None]]
    counter: str | None

    def insert(self, last: int, ceiling: int, floor: int, record: tuple[int, bytes] | None) -> tuple[str, Values]:
        """The one statement that writes them, and its values; ``record``: what goes into the change log."""
        size = fileformat.padded(len(self.rows))
        rows = self.rows + self.rows[-1:] * (size - len(self.rows))
        changes, payload = (None, None) if record is None else record
        end = (last, ceiling, floor, last, changes, payload, self.counter)
        return fileformat.insert_group(self.table_id, size), (self.layout, *chain.from_iterable(rows), *end)


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

    def gather(self, group: Sequence[Entry]) -> int:
        """Take the rows of all batches up to the first that changes a schema; how many batches that were."""
        if not self._rows_kept:
            return 0
        for number, entry in enumerate(group):
            for part in entry.batch.parts:
                if isinstance(part, SchemaBatch):
                    return number
                self._gather(entry.lsn, part)
            self._add_rest(entry)
        return len(group)

    def _gather(self, lsn: int, part: RowsBatch) -> None:
        table_id = part.table_id
        table = self.tables[table_id]
        rows = self._rows.get(table_id)
        if rows is None:
            rows = self._rows[table_id] = {}
        layout = table.schema.layout
        if len(part.ops) == 1:  # nearly always
            ((pkey, before, after),) = part.ops
            rows[pkey if table.plain_key else next(iter(table.keys((pkey,))))] = after  # type: ignore[index]  # plain_key: it is an int
            self.log_ops += 1
            self.log_lines.append(changelog.encode_row(lsn, table_id, layout, before, after))
            return
        if isinstance(part.ops, NewRows):
            rows.update(zip(table.keys(part.ops.pkeys), part.ops.rows, strict=True))
        else:
            rows.update(zip(table.keys([op.pkey for op in part.ops]), [op.after for op in part.ops], strict=True))
        ops, lines = changelog.encode(lsn, part, layout)
        self.log_ops += ops
        self.log_lines += lines

    def add(self, entry: Entry) -> None:
        """Take any batch, in the open transaction; a schema change is carried out at once."""
        if self.gather((entry,)):
            return
        for part in entry.batch.parts:
            if isinstance(part, SchemaBatch):
                self._flush_rows()
                layout = self._change_schema(part)
                if self._rows_kept:
                    ops, lines = changelog.encode(entry.lsn, part, layout)
                    self.log_ops += ops
                    self.log_lines += lines
        if self._rows_kept:
            self._add_rest(entry)

    def _add_rest(self, entry: Entry) -> None:
        self._counters.update(entry.batch.auto_increment)
        position = entry.position
        if position is not None:
            self.positions[position[0]] = position[1]

    def upserts(self) -> Upserts | None:
        """What was gathered, if it is no more than rows of one table and its counter, and they fit a statement."""
        if len(self._rows) != 1 or self.positions or not self._counters.keys() <= self._rows.keys():
            return None
        ((table_id, rows),) = self._rows.items()
        if len(rows) > fileformat.GROUP_ROWS or None in rows.values():
            return None
        table = self.tables[table_id]
        counter = self._counters.get(table_id, table.auto_increment)
        if counter != table.auto_increment:
            self.tables[table_id] = replace(table, auto_increment=counter)
            return Upserts(table_id, table.schema.layout, list(rows.items()), str(counter))
        return Upserts(table_id, table.schema.layout, list(rows.items()), None)

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
