"""Verify a store: the file's structure, every row, and that the engine's indexes agree with the rows.

Works on a stopped store and beside a running one, there on a snapshot of what is durable. Reports instead of
raising; changes nothing, and after a clean stop leaves nothing behind either. Cost: about three times a recovery,
and its memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import apsw
import orjson

from tcsql.engine.database import Database
from tcsql.errors import InvalidValue, SetupError, StoreDamaged, TCSQLError
from tcsql.storage import changelog, checksums, fileformat, wal
from tcsql.storage.lock import is_locked
from tcsql.storage.sqlite import (
    State,
    StoredTable,
    connect_reader,
    read_meta,
    read_positions,
    read_state,
    read_tables,
    reading,
    require_known_version,
)

#: Findings of one kind in one place; a store with a million bad rows is told from one with a hundred by nobody.
_MOST_FINDINGS: Final = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``where``: a table, or the part of the store."""

    where: str
    what: str


@dataclass(slots=True)
class _Findings:
    found: list[Finding] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        if sum(finding.where == where for finding in islice(self.found, 10 * _MOST_FINDINGS)) < _MOST_FINDINGS:
            self.found.append(Finding(where, what))


def check_store(directory: Path) -> list[Finding]:
    """Everything that is wrong with the store in a directory; an empty list when nothing is.

    Raises SetupError when there is no store or it cannot be opened, StoreNewer when a newer TCSQL wrote it.
    """
    path = directory / fileformat.FILE_NAME
    if not path.is_file():
        raise SetupError(f"there is no store in {directory}", "name the directory that `tcsql serve --data` uses")
    findings = _Findings()
    try:
        with _snapshot(directory, path, findings) as connection:
            require_known_version(connection)
            _check_checksums(connection, findings)
            _check_structure(connection, findings)
            read_meta(connection)
            read_positions(connection)
            _check_log(connection, read_state(connection), findings)
            database = Database()
            for table in read_tables(connection).values():
                _check_table(connection, table, database, findings)
    except StoreDamaged as error:
        findings.add("file", error.message)
    return findings.found


@contextmanager
def _snapshot(directory: Path, path: Path, findings: _Findings) -> Iterator[apsw.Connection]:
    log = wal.log_path(path)
    # With a log, or beside a running store, SQLite needs its shared-memory file. Without, nothing is left behind.
    alone = not is_locked(directory)
    immutable = alone and not (log.exists() and log.stat().st_size)
    with reading("the store cannot be read"):
        connection = connect_reader(path, immutable=immutable)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            if alone and not immutable:
                frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
                what = wal.damage(log, max(frames, 0))
                if what is not None:
                    findings.add("write-ahead log", what)
            connection.execute("BEGIN")  # one snapshot for all that follows
            yield connection
        finally:
            connection.close()


def _check_checksums(connection: apsw.Connection, findings: _Findings) -> None:
    """Whether all pages are as they were written; if not, the rest is looked at without that: it may tell more."""
    try:
        if connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]:
            return
    except apsw.IOError as error:
        if not checksums.is_mismatch(error):
            raise
        findings.add("file", checksums.MISMATCH)
    parts = {table.schema.name: fileformat.read_through(table.id) for table in read_tables(connection).values()}
    parts["change log"] = "SELECT sum(length(payload)) FROM changes"
    for name in checksums.mismatching(connection, parts.items()):
        findings.add(name, checksums.MISMATCH)
    if findings.found:
        checksums.ignore(connection)


def _check_structure(connection: apsw.Connection, findings: _Findings) -> None:
    for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST_FINDINGS})"):
        if line != "ok":
            findings.add("file", line)


def _check_log(connection: apsw.Connection, state: State, findings: _Findings) -> None:
    last = state.log_floor
    for lsn, ops, payload in connection.execute("SELECT lsn, ops, CAST(payload AS BLOB) FROM changes ORDER BY lsn"):
        try:
            changes = list(changelog.decode(payload))
        except ValueError as error:
            findings.add("change log", f"record {lsn} cannot be read: {error}")
            continue
        lsns = [change.lsn for change in changes]
        if not last < lsns[0] <= lsns[-1] <= lsn <= state.lsn or lsns != sorted(lsns):
            findings.add("change log", f"record {lsn} is out of order")
        if ops != sum(1 if change.rows is None else len(change.rows) for change in changes):
            findings.add("change log", f"record {lsn} does not hold {ops} changes")
        last = lsn


def _check_table(connection: apsw.Connection, table: StoredTable, database: Database, findings: _Findings) -> None:
    name = table.schema.name
    sound = _SoundRows(connection, table, findings)
    try:
        database.restore(table.id, table.schema, table.auto_increment, sound)
        database.check_invariants()
        held = sum(1 for _ in database.rows(name))
        assert held == sound.given, f"{sound.given} rows were restored, {held} are held"
    except AssertionError as error:
        findings.add(name, f"the engine's indexes: {error}")
    except (TCSQLError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        findings.add(name, f"its rows cannot be loaded: {error!r}")


class _SoundRows:
    """(layout, row) of the rows without a finding; each of the others becomes one."""

    def __init__(self, connection: apsw.Connection, table: StoredTable, findings: _Findings) -> None:
        self.given = 0
        self._connection = connection
        self._table = table
        self._findings = findings

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for key, layout, data in self._connection.execute(fileformat.select_keyed_rows(self._table.id)):
            what = self._fault(key, layout, data)
            if what is None:
                self.given += 1
                yield layout, data
            else:
                self._findings.add(self._table.schema.name, f"row {self._shown(key)}: {what}")

    def _shown(self, key: int | str) -> str:
        return str(fileformat.unwrapped(key, self._table.schema) if isinstance(key, int) else key)

    def _fault(self, key: int | str, layout: int, data: bytes) -> str | None:
        schema = self._table.schema
        try:
            row = orjson.loads(data)
        except ValueError as error:
            return f"is not JSON: {error}"
        if not isinstance(row, dict):
            return "is not a JSON object"
        if layout == schema.layout:
            if tuple(row) != schema.names:
                return f"does not have the columns of layout {layout}"
        elif layout not in schema.history:
            return f"has layout {layout}, which the table never had"
        elif not {old for old, _ in schema.history[layout] if old is not None} <= set(row):
            return f"does not have the columns of layout {layout}"
        return self._key_fault(key, layout, row)

    def _key_fault(self, key: int | str, layout: int, row: dict[str, int | float | str | None]) -> str | None:
        schema = self._table.schema
        if layout != schema.layout:
            row = {new: row[old] for old, new in schema.history[layout] if old is not None}
        try:
            (own,) = self._table.keys([schema.pkey_of(row)])
        except (InvalidValue, ValueError, TypeError, AttributeError) as error:
            return f"has no readable primary key: {error}"
        return None if own == key else "is stored under another key than its own"
