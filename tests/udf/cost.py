"""What a trigger costs the writer: rows/s of one connection, by kind of trigger; the table in mysql_udf_sync/README.md.

    python -m tests.udf.cost

Best of five rounds in turn; rows by the mariadb client from a file. The receiver is a small program of its own that
answers 200, on the same machine: what is seen is the cost of the way there, not of a receiver's work.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tcsql.replication.triggers import outbox_sql
from tests.mariadb import MariaDB
from tests.udf.library import LIBRARY, Cursor, make, register
from tests.udf.receiver import until

ROWS: Final = 2_000
BULK_ROWS: Final = 40_000
ROUNDS: Final = 5
_OUTBOX: Final = "INSERT INTO tcsql_outbox (tab, op, pk) VALUES ('t', 'I', CAST(NEW.id AS CHAR))"
_POST: Final = "http_post('127.0.0.1', '{port}', 'command=insert', urlencode(JSON_OBJECT('pkey', NEW.id, 'v', NEW.v)))"
TRIGGERS: Final = {
    "none": "",
    "outbox": _OUTBOX,
    "outbox and bell, nobody listens": f"BEGIN {_OUTBOX}; DO tcsql_doorbell(); END",
    "hint, unix socket": "DO tcsql_push('t', 'I', NEW.id)",
    "2010: row by http_post, TCP": f"SET @ignored = {_POST}",
    "hint, circuit open": "DO tcsql_push('t', 'I', NEW.id)",
}
SERVERS: Final = {
    "relaxed": ("--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"),
    "durable": ("--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"),
}


class _Answer(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


async def _answer(path: str, port_file: str) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(_Answer, path)
    server = await loop.create_server(_Answer, "127.0.0.1", 0)
    Path(port_file).write_text(str(server.sockets[0].getsockname()[1]))
    await asyncio.Event().wait()


def _seconds(server: MariaDB, sql: bytes) -> float:
    start = time.perf_counter()
    server.load("d", sql)
    return time.perf_counter() - start


def _rows_per_second(server: MariaDB, cursor: Cursor) -> tuple[float, float]:
    cursor.execute("TRUNCATE TABLE t")
    single = b"".join(
        b"INSERT INTO t VALUES (%d, 'some text of forty letters, or nearly so');\n" % key for key in range(ROWS)
    )
    batches = []
    for first in range(ROWS, ROWS + BULK_ROWS, 500):
        values = b",".join(
            b"(%d, 'some text of forty letters, or nearly so')" % key for key in range(first, first + 500)
        )
        batches.append(b"INSERT INTO t VALUES %s;\n" % values)
    return ROWS / _seconds(server, single), BULK_ROWS / _seconds(server, b"".join(batches))


def measure(directory: Path, name: str, options: tuple[str, ...]) -> None:
    plugins = directory / name
    plugins.mkdir()
    conf, bell = directory / "push.conf", directory / "bell"
    done = make(f"BUILD={plugins}", f"CONF={conf}")
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "tests.udf.cost", str(directory / "r"), str(directory / "port")]
    with (
        subprocess.Popen(command) as receiver,
        MariaDB(f"--plugin-dir={plugins}", "--log-bin=b", "--log-bin-trust-function-creators=1", *options) as server,
    ):
        try:
            until((directory / "port").exists, "the receiver")
            port = (directory / "port").read_text()
            _measure(
                server, name, f"target = {directory / 'r'}\nsource = s\nallow = 127.0.0.1:{port}\n", conf, port, bell
            )
        finally:
            receiver.terminate()


def _measure(server: MariaDB, name: str, lines: str, conf: Path, port: str, bell: Path) -> None:
    conf.write_text(f"{lines}doorbell = {bell}\n")
    conf.chmod(0o600)
    best: dict[str, tuple[float, float]] = {}
    with server.connect() as connection:
        cursor = connection.cursor()
        register(cursor, LIBRARY)
        cursor.execute("SELECT tcsql_udf_info()")
        (conf.parent / name / "dead.so").write_bytes((conf.parent / name / LIBRARY).read_bytes())
        cursor.execute("CREATE DATABASE d")
        cursor.execute("USE d")
        cursor.execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(60)) ENGINE=InnoDB")
        cursor.execute(outbox_sql("tcsql_outbox"))
        for _ in range(ROUNDS):
            for kind, body in TRIGGERS.items():
                cursor.execute("TRUNCATE TABLE tcsql_outbox")
                cursor.execute("DROP TRIGGER IF EXISTS ins")
                if "circuit" in kind:
                    conf.write_text("target = /nowhere\nsource = s\ncooldown_ms = 3600000\n")
                    register(cursor, "dead.so")
                    cursor.execute("SELECT tcsql_push('t', 'I', 1) FROM seq_1_to_10")
                if body:
                    cursor.execute(f"CREATE TRIGGER ins AFTER INSERT ON t FOR EACH ROW {body.format(port=port)}")
                found = _rows_per_second(server, cursor)
                best[kind] = max(best.get(kind, found)[0], found[0]), max(best.get(kind, found)[1], found[1])
                if "circuit" in kind:
                    cursor.execute("DROP TRIGGER ins")
                    register(cursor, LIBRARY)
    for kind, (single, bulk) in best.items():
        print(f"| {name} | {kind} | {single:,.0f} | {bulk:,.0f} |", flush=True)


def main() -> None:
    if len(sys.argv) > 1:
        asyncio.run(_answer(*sys.argv[1:]))
        return
    print("| server | trigger | rows/s, one a commit | rows/s, 500 a statement |\n|---|---|---|---|")
    for name, options in SERVERS.items():
        with tempfile.TemporaryDirectory() as directory:
            measure(Path(directory), name, options)


if __name__ == "__main__":
    main()
