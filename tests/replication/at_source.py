"""A database at a private server with a source of TCSQL over it, for tests of setting up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

from tcsql.replication.catalogue import CatalogueColumn
from tcsql.replication.connection import Connection, connect
from tcsql.replication.facts import Facts, gather
from tcsql.replication.preflight import Finding, Preflight, examine
from tcsql.replication.provision import plan_setup, session_of
from tcsql.sources import FollowedTable, SourceSettings
from tests.mariadb import MariaDB

#: An account of the tests; whoever reads this may use it, on a server that lives for a second.
PASSWORD = 'it\'s "quoted" ü'
_NEXT: Final = count(1)


def column(name: str, data_type: str, **others: Any) -> CatalogueColumn:
    """A column as information_schema has it, of the primary key when nothing else is said."""
    plain: dict[str, Any] = {
        "column_type": data_type,
        "charset": "",
        "collation": "",
        "nullable": False,
        "default": None,
        "extra": "",
        "length": None,
        "is_json": False,
        "key_position": 1,
    }
    return CatalogueColumn(name, data_type, **{**plain, **others})


class AtSource:
    """One database, a root session, and the settings of a source over it."""

    def __init__(self, server: MariaDB, database: str, **options: Any) -> None:
        self.server = server
        self.database = database
        self.settings = SourceSettings(
            name="shop", url=self.url("root"), **{"tables": (FollowedTable(name="posts"),), **options}
        )
        self.connection: Connection = connect(self.settings)

    def url(self, user: str) -> str:
        return f"mysql://{user}@localhost/{self.database}?unix_socket={self.server.socket}"

    def close(self) -> None:
        self.connection.close()

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.connection.query(sql, params)

    def run(self, script: str) -> None:
        """Statements, one a line."""
        for sql in filter(None, map(str.strip, script.splitlines())):
            self.query(sql)

    def facts(self, connection: Connection | None = None, user: str = "root") -> Facts:
        return gather(connection or self.connection, self.settings, self.database, user)

    def preflight(self) -> Preflight:
        return examine(self.facts(), self.settings)

    def findings(self) -> dict[str, Finding]:
        """By code; a code that is there twice counts once."""
        return {finding.code: finding for finding in self.preflight().findings}

    def set_up(self) -> list[str]:
        """What had to be run."""
        plan = plan_setup(self.facts(), self.settings)
        for sql in session_of(5):
            self.query(sql)
        for statement in plan:
            self.query(statement.sql)
        return [statement.sql for statement in plan]

    def noted(self) -> list[tuple[str, str, str]]:
        """Table, op and key of all that the outbox holds; empties it."""
        rows = self.query("SELECT tab, op, pk FROM tcsql_outbox ORDER BY seq")
        self.query("DELETE FROM tcsql_outbox")
        return [(str(table), str(op), str(key)) for table, op, key in rows]


@contextmanager
def at_new_database(server: MariaDB) -> Iterator[AtSource]:
    """A source over a database of its own, gone when the block ends."""
    name = f"source{next(_NEXT)}"
    with server.database(name):
        opened = AtSource(server, name)
        try:
            yield opened
        finally:
            opened.close()
