"""A source that is asked by SQL, up to where the ways of learning changes part: connect, look, follow. Blocking.

A table is looked at while a transaction holds its definition still: what the catalogue says of it and the shape of its
rows belong together, and an ALTER waits for the few milliseconds that takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from tcsql.engine.schema import TableSchema
from tcsql.errors import SourceAway, SourceFault
from tcsql.literals import quote_name
from tcsql.replication.catalogue import CatalogueTable, definition_of, read_incarnations, read_tables, schema_of
from tcsql.replication.connection import Connection, connect
from tcsql.replication.facts import mean_row_bytes
from tcsql.replication.grants import read_grants
from tcsql.replication.keytext import key_problem
from tcsql.replication.sizing import size_of
from tcsql.replication.source import Identity, TableState
from tcsql.replication.tablereader import TableReader, shape_of
from tcsql.replication.triggers import made_at
from tcsql.sources import FollowedTable, SourceSettings

_NO_TABLE: Final = 1146
#: A session whose other end is gone without a word holds the named lock for so long.
_FORGET_AFTER_S: Final = 150


class Problem(NamedTuple):
    """Why a table cannot be followed, and the command that helps."""

    text: str
    remedy: str


class Woken(IntEnum):
    """What ended a wait: the time, a ring of the doorbell, somebody who wants something of the source."""

    NOT = 0
    RUNG = 1
    CALLED = 2


#: Waits so many seconds at most.
Wait = Callable[[float], Woken]


class SqlSession:
    """The connection of a source and its tables. Base of the sources; ``wait``: how to be idle."""

    def __init__(self, settings: SourceSettings, base: Path | None, wait: Wait) -> None:
        self.settings = settings
        self.wait = wait
        self.readers: dict[str, TableReader] = {}
        self._base = base
        self._connection: Connection | None = None
        self._known: dict[str, TableReader] = {}
        self._sees_ids = False
        self._needs: dict[str, int] = {}

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            raise SourceAway(f"source {self.settings.name} is not connected")
        return self._connection

    def connect(self) -> Identity:
        """A new session at the source, and which server it is."""
        self.close()
        self._connection = connection = connect(self.settings, base=self._base)
        if not connection.address.database:
            raise SourceFault(
                f"the url of source {self.settings.name} names no database", "mysql://user@host:3306/database"
            )
        connection.query(f"SET SESSION wait_timeout = {_FORGET_AFTER_S}")
        self._sees_ids = read_grants(connection.query).allows("PROCESS")
        return identity_of(connection)

    def tables(self) -> Sequence[TableState]:
        """All tables of the settings as they are now; those that are not there are left out."""
        connection = self.connection
        database, flavour = connection.address.database, connection.flavour
        # before all else: a TRUNCATE in between is then seen at the next look
        incarnations = read_incarnations(connection.query, database, flavour) if self._sees_ids else {}
        self._known.clear()
        states = []
        for followed in self.settings.tables:
            state = self._look_at(followed)
            if state is not None:
                incarnation = f"{incarnations.get(followed.name, '')}|{state.incarnation}"
                states.append(replace(state, incarnation=incarnation))
        return states

    def _look_at(self, followed: FollowedTable) -> TableState | None:
        """One table, while a transaction holds its definition still; None when it is not there."""
        connection = self.connection
        connection.query("START TRANSACTION")
        try:
            connection.query(f"SELECT 1 FROM {quote_name(followed.name)} LIMIT 0")  # noqa: S608  # the name is quoted  # nosec B608
        except SourceFault as error:
            connection.query("ROLLBACK")  # else the next poll would be in this transaction, with its snapshot
            if error.extra.get("errno") == _NO_TABLE:
                return None
            return _cannot_be_read(followed.name, error, self.settings.name)
        database = connection.address.database
        table = read_tables(connection.query, database, [followed.name], connection.flavour, sees_ids=False)[
            followed.name
        ]
        state = None if table is None else self._state(table, followed)
        connection.query("COMMIT")
        return state

    def _state(self, table: CatalogueTable, followed: FollowedTable) -> TableState:
        zone = self.settings.time_zone
        try:
            schema = schema_of(table, followed.columns)
            definition = definition_of(table, followed.columns, followed.where, zone)
            problem = self._problem(table, followed, schema)
        except SourceFault as error:
            return _cannot_be_read(table.name, error, self.settings.name)
        needs = self._needs.get(definition)
        if needs is None:  # once: a sample of rows is read for it
            row_bytes = mean_row_bytes(self.connection.query, table, followed)
            needs = self._needs[definition] = size_of(table, followed, row_bytes).bytes_here
        made = made_at(self.settings.outbox, table)
        state = TableState(table.name, schema, definition, made, table.rows, table.bytes, needs=needs)
        return state if problem is None else replace(state, problem=problem.text, remedy=problem.remedy)

    def _problem(self, table: CatalogueTable, followed: FollowedTable, schema: TableSchema) -> Problem | None:
        """What is wrong with the table; None, and it can be read, when nothing is."""
        name = self.settings.name
        text = key_problem(table.key_columns, self.settings.time_zone)
        if text is not None:
            return Problem(text, f"tcsql mysql check {name}")
        if table.engine.lower() != "innodb":
            return Problem(
                f"its engine is {table.engine}: a rollback would leave its rows changed and our notes of them undone",
                f"run there: ALTER TABLE {quote_name(table.name)} ENGINE=InnoDB",
            )
        silent = next((key for key in table.foreign_keys if key.acts), None)
        if silent is not None and not self.hears_cascades():
            return Problem(
                f"foreign key {silent.name} changes its rows when {silent.parent} changes (CASCADE or SET NULL),"
                " and nobody is told",
                f"run there: ALTER TABLE {quote_name(table.name)} DROP FOREIGN KEY {quote_name(silent.name)}",
            )
        problem = self.problem_of(table, followed)
        if problem is not None:
            return problem
        reader = TableReader(table, followed, schema, self.connection.flavour, self.settings.time_zone)
        try:
            reader.shape = shape_of(self.connection.read(reader.sql_of_shape())[0])
        except SourceFault as error:
            return Problem(error.message, error.hint or f"tcsql mysql check {name}")
        self._known[table.name] = reader
        return None

    def hears_cascades(self) -> bool:
        """Whether what foreign keys do is heard of."""
        return False

    def problem_of(self, table: CatalogueTable, followed: FollowedTable) -> Problem | None:
        """What is wrong for this way of learning changes."""
        raise NotImplementedError

    def follow(self, tables: Sequence[str]) -> None:
        """From now on steps carry changes of these tables; raises SourceFault for one that cannot be followed."""
        missing = [name for name in tables if name not in self._known]
        if missing:
            raise SourceFault(f"table {missing[0]} cannot be followed", f"tcsql mysql check {self.settings.name}")
        self.readers = {name: self._known[name] for name in tables}

    def close(self) -> None:
        """End the session."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _cannot_be_read(table: str, error: SourceFault, source: str) -> TableState:
    """A table of which not even the columns are known."""
    remedy = error.hint or f"tcsql mysql check {source}"
    return TableState(table, TableSchema(table, (), ()), "", "", 0, 0, error.message, remedy)


def identity_of(connection: Connection) -> Identity:
    """Which server this is; two round trips.

    MySQL has a UUID of its own. MariaDB has none: what tells its servers apart is taken together.
    """
    names = ("server_uuid", "server_uid", "server_id", "hostname", "datadir")
    listed = ",".join(f"'{name}'" for name in names)
    rows = connection.query(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({listed})")
    found = {str(name).lower(): str(value) for name, value in rows}
    server = found.get("server_uuid", "")
    if not server:
        machine = found.get("server_uid") or found.get("hostname", "")
        text = "\0".join((machine, found.get("server_id", ""), found.get("datadir", "")))
        server = sha256(text.encode()).hexdigest()[:32]
    uptime = connection.query("SHOW GLOBAL STATUS LIKE 'Uptime'")[0][1]
    [(now,)] = connection.query("SELECT UNIX_TIMESTAMP()")
    return Identity(server, connection.flavour, connection.version, float(now) - float(uptime))
