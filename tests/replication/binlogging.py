"""A node that follows by the binary log, servers that write one, and a link to them that can be cut in silence.

with binlog(server, "shop", directory, ["posts"]) as node:
    node.assert_equal()
with Link(server.socket) as link:                # link.path: a unix socket that leads to the server
    link.cut()                                   # nothing passes any more, and neither end is told
"""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pymysql

from tests.mariadb import MariaDB
from tests.replication.binlog.logs import options_of
from tests.replication.following import Node, following

Connection = pymysql.connections.Connection
_SERVER_IDS: Final = count(7_001)
#: What the log says when rows are copied or compared: a place that was kept needs neither.
COPIED: Final = ("is copied", "are compared", "are missed", "is compared")


def log_server(kind: type[MariaDB], *options: str) -> MariaDB:
    """A server with a log that has all that the mode asks for."""
    return kind(*options_of(kind), "--local-infile=ON", *options)


def binlog(
    server: MariaDB, database: str, directory: Path, tables: Sequence[str], **options: Any
) -> AbstractContextManager[Node]:
    """``following`` in this mode, as a replica with a number of its own."""
    chosen: dict[str, Any] = {"mode": "binlog", "server_id": next(_SERVER_IDS), "heartbeat_ms": 300, **options}
    return following(server, database, directory, tables, **chosen)


def run(connection: Connection, *statements: str) -> None:
    """One after the other."""
    for statement in statements:
        connection.cursor().execute(statement)


def asked(connection: Connection, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def is_mysql(server: MariaDB) -> bool:
    return type(server) is not MariaDB


def current_log(server: MariaDB) -> str:
    """The file that is written now."""
    with server.connect() as connection:
        [row] = asked(connection, "SHOW BINARY LOG STATUS" if is_mysql(server) else "SHOW MASTER STATUS")
        return str(row[0])


def purge(server: MariaDB) -> None:
    """Only the newest file stays. A replica that has just gone may keep an older one for a moment."""
    until = time.monotonic() + 20
    with server.connect() as connection:
        run(connection, "FLUSH BINARY LOGS")
        newest = current_log(server)
        while [row[0] for row in asked(connection, "SHOW BINARY LOGS")] != [newest]:
            assert time.monotonic() < until
            run(connection, f"PURGE BINARY LOGS TO '{newest}'")
            time.sleep(0.02)


def forget_all_logs(server: MariaDB) -> None:
    """As after a server was set up anew from a dump: numbers of transactions begin again."""
    with server.connect() as connection:
        run(connection, "RESET BINARY LOGS AND GTIDS" if is_mysql(server) else "RESET MASTER")


def insert_numbers(connection: Connection, table: str, rows: int, *columns: str) -> None:
    """Rows 0 to ``rows`` - 1 by one statement; ``columns``: expressions over ``n``, behind the key."""
    server = asked(connection, "SELECT version()")[0][0]
    chosen = ",".join(("n", *columns))
    if "MariaDB" in server:
        run(connection, f"INSERT INTO {table} SELECT {chosen} FROM (SELECT seq n FROM seq_0_to_{rows - 1}) numbers")
        return
    run(connection, f"SET SESSION cte_max_recursion_depth = {rows + 1}")
    numbers = f"WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows - 1})"
    run(connection, f"INSERT INTO {table} {numbers} SELECT {chosen} FROM numbers")


def xa(server: MariaDB, name: str, *statements: str) -> None:
    """A prepared transaction in ``shop``; its session has ended."""
    with server.connect("shop") as connection:
        run(connection, f"XA START '{name}'", *statements, f"XA END '{name}'", f"XA PREPARE '{name}'")


def xa_end(server: MariaDB, end: str) -> None:
    """XA COMMIT or XA ROLLBACK by another session, as soon as the one that has prepared has gone."""
    until = time.monotonic() + 20
    while True:
        try:
            with server.connect("shop") as connection:
                return run(connection, end)
        except pymysql.err.OperationalError as error:
            assert error.args[0] == 1397 and time.monotonic() < until, error
            time.sleep(0.01)


def log_lines(node: Node, *words: str) -> list[str]:
    """Messages of the node's log that have one of these words, since its last start."""
    lines = [json.loads(line) for line in node.log().splitlines() if line.startswith("{")]
    return [json.dumps(line) for line in lines if any(word in json.dumps(line) for word in words)]


def is_stale(node: Node, table: str) -> bool:
    """Whether a reply says so."""
    answer = node.live.get(f"command=select&table={table}&limit_max=1")
    assert answer.status_code == 200, answer.text
    return "tcsql-stale" in answer.headers


class Link:
    """A unix socket in front of a server's. ``cut``: both ends stay open, and nothing passes any more."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._directory = tempfile.TemporaryDirectory(prefix="link")
        self.path = str(Path(self._directory.name) / "s")
        self._passes = threading.Event()
        self._passes.set()
        self._ends = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        #: Connections that were made so far.
        self.connections = 0

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._passes.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()
        self._directory.cleanup()

    def cut(self) -> None:
        """Hold back all bytes, of new connections too."""
        self._passes.clear()

    def mend(self) -> None:
        """What was held back passes, if both ends are still there."""
        self._passes.set()

    def _start(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ends.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.socket(socket.AF_UNIX)
            self._sockets += [near, far]
            try:
                far.connect(self._target)
            except OSError:  # the server is not there
                near.shutdown(socket.SHUT_RDWR)
                continue
            self._start(self._pass_on, near, far)
            self._start(self._pass_on, far, near)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._passes.wait()
                if self._ends.is_set():
                    return
                target.sendall(data)
        with contextlib.suppress(OSError):
            self._passes.wait()
            target.shutdown(socket.SHUT_WR)
