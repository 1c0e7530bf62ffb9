"""Row changes made whole: what ``check`` does to an insert, an update or a delete before anything changes.

Each table that a request touches gets an overlay of row operations, one per primary key, with the image before
the request and after it; a later change of the same request sees the earlier ones. All refusals happen here.

Cost of one inserted row: 0.2 us a column for its type's check, 0.5 us for its JSON; see ``bulkrows`` for many.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from typing import Any, Final

from tcsql.engine.bulkrows import MANY_ROWS, Settled, settled
from tcsql.engine.change import (
    Delete,
    DeleteKeys,
    NewRows,
    PutRows,
    Row,
    RowChange,
    RowOp,
    RowsBatch,
    Tally,
    Update,
    Upsert,
)
from tcsql.engine.conditions import check_patterns, filter_test
from tcsql.engine.evolution import implicit_default
from tcsql.engine.executor import Executor, Steps
from tcsql.engine.query import Filter, filter_columns
from tcsql.engine.rows import decode, encode, encode_many
from tcsql.engine.schema import Column, TableSchema, now_text
from tcsql.engine.table import Table
from tcsql.engine.tracking import untrack
from tcsql.engine.values import JsonValue, PKey
from tcsql.errors import InvalidValue, RowForbidden

_MISSING: Final = object()


class RowWriter:
    """The row operations of one request on one table."""

    def __init__(self, table: Table, executor: Executor, now: datetime) -> None:
        self.table = table
        self._version = table.version
        self._schema = table.schema
        self._executor = executor
        self._now = now
        self._ops: dict[PKey, RowOp] = {}
        #: Instead of them, as long as there is nothing but many new rows.
        self._new: NewRows | None = None
        self._only_changes = False
        self.auto_increment = table.auto_increment
        self.inserted = self.replaced = self.updated = self.deleted = 0
        self.last_insert_id: int | None = None

    @property
    def is_overtaken(self) -> bool:
        """Another request has changed the table meanwhile: what was found may be stale."""
        return self.table.version != self._version

    def batch(self) -> RowsBatch:
        """What there is to do; rows that come and go within the request leave no trace."""
        if self._new is not None:
            return RowsBatch(self.table.id, self._new)
        return RowsBatch(self.table.id, [op for op in self._ops.values() if op.before or op.after])

    def tally(self) -> Tally:
        return Tally(self.inserted, self.replaced, self.updated, self.deleted, self.last_insert_id)

    def _unfold(self) -> None:
        """Rows that came in columns become operations like others: more is asked of the same table."""
        if self._new is not None:
            self._ops = {op.pkey: op for op in self._new}
            self._new = None

    def _current(self, pkey: PKey) -> bytes | None:
        op = self._ops.get(pkey)
        return op.after if op is not None else self.table.rows.get(pkey)

    def _set(self, pkey: PKey, after: bytes | None) -> None:
        op = self._ops.get(pkey)
        before = op.before if op is not None else self.table.rows.get(pkey)
        self._ops[pkey] = RowOp(pkey, before, after)

    def take(self, change: RowChange) -> Steps:
        """One change of the request; yields while it searches. Raises the errors of the methods below."""
        match change:
            case Upsert():
                self.upsert(change)
            case PutRows():
                self.put_rows(change)
            case Update():
                yield from self.update(change)
            case Delete():
                yield from self.delete(change)
            case DeleteKeys():
                self.delete_keys(change)

    # --- insert ---------------------------------------------------------------------------------------------

    def upsert(self, change: Upsert) -> None:
        """Whole rows; raises InvalidValue or UnknownColumn with the number of the row when there are several."""
        self._unfold()
        settle = _Settler(self._schema, change.trusted, self._now)
        within = None if change.within is None else RowsWithin(self._schema, change.within)
        if len(change.rows) >= MANY_ROWS:
            found = settled(self._schema, change.rows, change.trusted, settle.default, self.auto_increment)
            if found is not None:
                if within is not None:
                    for place, (pkey, row) in enumerate(zip(found.pkeys, found.rows, strict=True)):
                        within.require(self._current(pkey), row, place + 1)
                self._put_many(found)
                return
        for place, given in enumerate(change.rows):
            try:
                self._upsert_one(settle, given, within)
            except (InvalidValue, RowForbidden) as error:
                if len(change.rows) > 1:
                    error.extra.setdefault("row", place + 1)
                raise

    def put_rows(self, change: PutRows) -> None:
        """Rows whose values are stored ones already. 0.8 us a row of eight columns."""
        self._unfold()
        names = self._schema.names
        values = dict(zip(names, change.columns, strict=True))
        if any(None in values[column.name] for column in self._schema.columns if not column.nullable):
            rows = [dict(zip(names, row, strict=True)) for row in zip(*change.columns, strict=True)]
            self.upsert(Upsert(change.table, rows, trusted=True))  # the column was NOT NULL when it was made here
            return
        for pkey in change.pkeys if len(self._schema.primary_key) > 1 else ():
            untrack(pkey)  # rows and indexes will hold it
        data = encode_many([dict(zip(names, row, strict=True)) for row in zip(*change.columns, strict=True)])
        counter = self._schema.auto_increment_column
        highest = 0 if counter is None else max(values[counter.name], default=0)  # type: ignore[type-var]  # integers: a counter is never NULL
        self._only_changes = True
        self._put_many(Settled(list(change.pkeys), data, int(highest or 0), has_generated_keys=False, values=values))
        self._only_changes = False

    def _upsert_one(self, settle: _Settler, given: Row, within: RowsWithin | None) -> None:
        if not self._schema.by_name.keys() >= given.keys():
            given = settle.with_real_names(given)
        counter = self._schema.auto_increment_column
        if counter is not None and given.get(counter.name) is None:
            given = {**given, counter.name: self._next_key(counter)}
        row = settle(given)
        if counter is not None:
            value = row[counter.name]
            assert isinstance(value, int)
            self.auto_increment = max(self.auto_increment, value + 1)
        pkey, data = self._schema.pkey_of(row), encode(row)
        if within is not None:
            within.require(self._current(pkey), data)
        self._put(pkey, data)

    def _put(self, pkey: PKey, row: bytes) -> None:
        current = self._current(pkey)
        if current is None:
            self.inserted += 1
        elif self._only_changes and current == row:
            return
        else:
            self.replaced += 1
        self._set(pkey, row)

    def _put_many(self, found: Settled) -> None:
        pkeys, rows = found.pkeys, found.rows
        if self._schema.auto_increment_column is not None:
            self.auto_increment = max(self.auto_increment, found.highest + 1)
            if found.has_generated_keys:
                self.last_insert_id = found.highest
        if not self._ops and self.table.rows.has_none_of(pkeys) and len(set(pkeys)) == len(pkeys):
            self._new = NewRows(pkeys, rows, found.values)
            self.inserted += len(rows)
            return
        for pkey, row in zip(pkeys, rows, strict=True):
            self._put(pkey, row)

    def _next_key(self, counter: Column) -> int:
        key = self.auto_increment
        if key > counter.type.high:
            raise InvalidValue(f'AUTO_INCREMENT column "{counter.name}" has no number left')
        self.last_insert_id = key
        return key

    # --- update and delete ----------------------------------------------------------------------------------

    def update(self, change: Update) -> Steps:
        """Merge values into every matching row; yields while it searches."""
        self._unfold()
        values: Row = {}
        for name, given in change.values.items():
            column = self._schema.column(name)
            if column.name in self._schema.primary_key:
                raise InvalidValue(
                    f'column "{column.name}" belongs to the primary key', "insert the new row and delete the old one"
                )
            if column.name in values:
                raise InvalidValue(f'column "{column.name}" is given twice')
            values[column.name] = _client_value(column, given)
        within = None if change.within is None else RowsWithin(self._schema, change.within)
        where = change.where if within is None else within.narrowed(change.where)
        for pkey, data in (yield from self._matching(where)):
            after = encode({**decode(data), **values})
            if within is not None:
                within.require(data, after)
            self.updated += 1
            self._set(pkey, after)

    def delete(self, change: Delete) -> Steps:
        """Remove every matching row; yields while it searches."""
        self._unfold()
        within = None if change.within is None else RowsWithin(self._schema, change.within)
        where = change.where if within is None else within.narrowed(change.where)
        for pkey, _ in (yield from self._matching(where)):
            self.deleted += 1
            self._set(pkey, None)

    def delete_keys(self, change: DeleteKeys) -> None:
        """Remove rows by key, those that exist."""
        self._unfold()
        for pkey in change.keys:
            if self._current(pkey) is not None:
                self.deleted += 1
                self._set(pkey, None)

    def _matching(self, where: Filter) -> Generator[None, None, list[tuple[PKey, bytes]]]:
        found: list[tuple[PKey, bytes]] = []
        overlaid = self._ops

        def take(pkey: PKey, data: bytes, row: Row | None) -> None:
            if pkey not in overlaid:
                found.append((pkey, data))

        yield from self._executor.matches(where, take)
        if overlaid:
            test = filter_test(self._schema, where)
            afters = ((pkey, op.after) for pkey, op in overlaid.items())
            found.extend((pkey, after) for pkey, after in afters if after is not None and test(decode(after)))
        return found


class RowsWithin:
    """The filter that rows of a change have to meet, before it and after it. 0.7 us a row; raises RowForbidden."""

    def __init__(self, schema: TableSchema, within: Filter) -> None:
        if not schema.by_name.keys() >= {name for name in filter_columns(within) if name is not None}:
            raise RowForbidden("the filter of this key does not fit the table any more", "ask whoever made the key")
        check_patterns(within)
        self._within = within
        self._test = filter_test(schema, within)

    def narrowed(self, where: Filter) -> Filter:
        """What a search has to find instead of ``where``."""
        return where.within(self._within)

    def require(self, before: bytes | None, after: bytes, place: int | None = None) -> None:
        """Refuse a row that is written, or the one that it takes the place of; ``place``: which of several rows."""
        if not (self._test(decode(after)) and (before is None or self._test(decode(before)))):
            raise RowForbidden(
                "the row, or the one that it would replace, is not among those that this key may write",
                "nothing was done",
                **({} if place is None else {"row": place}),
            )


class _Settler:
    """Makes a full row of stored values, in column order, from what was given. 0.15 us a column."""

    def __init__(self, schema: TableSchema, trusted: bool, now: datetime) -> None:
        self._schema = schema
        self._now = now
        self._trusted = trusted
        self._readers = schema.mysql_readers if trusted else schema.client_readers

    def __call__(self, given: Row) -> Row:
        row: Row = {}
        for column, name, read in self._readers:
            value: Any = given.get(name, _MISSING)
            if value is _MISSING:
                row[name] = self.default(column)
            elif value is not None:
                try:
                    row[name] = read(value)
                except InvalidValue as error:
                    error.message = f'column "{name}": {error.message}'
                    raise
            elif column.nullable:
                row[name] = None
            elif self._trusted:
                row[name] = self._instead_of_null(column)
            else:
                raise InvalidValue(f'column "{name}" cannot be NULL')
        return row

    def with_real_names(self, given: Row) -> Row:
        """Column names are case-insensitive, as in MySQL; raises UnknownColumn."""
        real: Row = {}
        for name, value in given.items():
            column = self._schema.column(name)
            if column.name in real:
                raise InvalidValue(f'column "{column.name}" is given twice')
            real[column.name] = value
        return real

    def default(self, column: Column) -> JsonValue:
        """What a column gets that is not given; raises InvalidValue."""
        if column.default_now:
            return now_text(column, self._now)
        if column.default is not None or column.nullable:
            return column.default
        if self._trusted:
            return self._instead_of_null(column)
        raise InvalidValue(f'column "{column.name}" has no value and no DEFAULT')

    def _instead_of_null(self, column: Column) -> JsonValue:
        """What MySQL stores where NULL cannot stand; a primary key has no such value, and is refused later."""
        return None if column.name in self._schema.primary_key else implicit_default(column)


def _client_value(column: Column, given: Any) -> JsonValue:
    if given is None and not column.nullable:
        raise InvalidValue(f'column "{column.name}" cannot be NULL')
    try:
        return column.type.from_client(given)
    except InvalidValue as error:
        error.message = f'column "{column.name}": {error.message}'
        raise
