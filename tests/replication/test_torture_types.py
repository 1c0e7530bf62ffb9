"""Every type and every character set under a random load, by outbox and by binary log at once: both equal the source.

Three sessions insert, change, renumber and delete rows whose values are drawn column by column from those that are
hard to carry, in sessions that differ in time zone, in the packing of their events and in how documents are logged;
some transactions are rolled back.

Collected by ``make torture`` only.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random

import pymysql
import pytest

from tests.mariadb import MariaDB
from tests.replication.binlog.logs import Logged
from tests.replication.binlog.record import insert_hard_rows
from tests.replication.binlogging import COPIED, is_mysql, log_lines, log_server, run
from tests.replication.comparing import differences, held_rows, key_columns, reading, source_rows
from tests.replication.following import SERVERS, Node
from tests.replication.test_binlog_workload import two_nodes
from tests.replication.test_types import CHARSETS, KEYS, MYSQL_TABLE, create_sql
from tests.test_mariadb_roundtrip import TABLE

SECONDS = 60.0
WRITERS = 3
SEED = int(os.environ.get("TCSQL_TEST_SEED", "1"))
#: Another writer was first; a value that its column refuses beside the others.
_GAME = frozenset([1062, 1205, 1213])
ZONES = ("+00:00", "-05:00", "+12:45")
KEYED = {f"number{place}": place for place in range(len(KEYS))}
TABLES = ("everything", "charsets", *KEYED)


class Writer:
    """One session, with dice of its own."""

    def __init__(self, server: MariaDB, seed: int, hard: Mapping[str, tuple[list[str], list[int]]]) -> None:
        self._server = server
        self._random = Random(seed)
        #: By table: columns to be changed, and keys of the rows that have what is hard.
        self._hard = hard
        self.changes = 0

    def work(self, ends: threading.Event) -> None:
        while not ends.is_set():
            with self._server.connect("shop", autocommit=False) as connection:
                self._begin(connection)
                for _ in range(40):
                    if not ends.is_set():
                        self._transaction(connection)

    def _begin(self, connection: pymysql.connections.Connection) -> None:
        run(connection, f"SET time_zone = '{self._random.choice(ZONES)}', sql_mode = ''")
        if is_mysql(self._server):
            packed, parts = self._random.choice(("ON", "OFF")), self._random.choice(("PARTIAL_JSON", ""))
            run(connection, f"SET SESSION binlog_transaction_compression = {packed}")
            run(connection, f"SET SESSION binlog_row_value_options = '{parts}'")

    def _transaction(self, connection: pymysql.connections.Connection) -> None:
        try:
            for _ in range(self._random.randrange(1, 5)):
                table = self._random.choices(TABLES, [20, 20, *(1 for _ in KEYED)])[0]
                (self._keyed if table in KEYED else self._row)(connection, table)
            if self._random.random() < 0.15:
                connection.rollback()
            else:
                connection.commit()
                self.changes += 1
        except pymysql.err.MySQLError as error:
            assert error.args[0] in _GAME, error
            connection.rollback()

    def _row(self, connection: pymysql.connections.Connection, table: str) -> None:
        """Values are copied within the server, from rows that are never changed: no driver has a part in them."""
        key, dice = self._random.randrange(100, 160), self._random.random()
        cursor = connection.cursor()
        if dice < 0.25:
            cursor.execute(f"DELETE FROM {table} WHERE id = {key}")
        elif dice < 0.35:
            cursor.execute(f"UPDATE {table} SET id = {self._random.randrange(100, 160)} WHERE id = {key}")
        elif dice < 0.6:
            cursor.execute(f"INSERT IGNORE INTO {table} (id) VALUES ({key})")
        elif dice < 0.7 and table == "everything":
            cursor.execute(f"UPDATE {table} SET js = JSON_SET(js, '$.a', REPEAT('ü', {key})) WHERE id = {key}")
        else:
            names, rows = self._hard[table]
            chosen = [
                (name, self._random.choice(rows)) for name in self._random.sample(names, self._random.randrange(1, 9))
            ]
            sets = ",".join(f"t.`{name}` = s{at}.`{name}`" for at, (name, _) in enumerate(chosen))
            joins = "".join(f" JOIN hard_{table} s{at} ON s{at}.id = {row}" for at, (_, row) in enumerate(chosen))
            cursor.execute(f"UPDATE {table} t{joins} SET {sets} WHERE t.id BETWEEN {key} AND {key + 3}")

    def _keyed(self, connection: pymysql.connections.Connection, table: str) -> None:
        value = self._random.choice(KEYS[KEYED[table]][1])
        part, number = self._random.randrange(5), self._random.randrange(1_000)
        cursor = connection.cursor()
        if self._random.random() < 0.3:
            cursor.execute(f"UPDATE {table} SET p = {part} WHERE p = {self._random.randrange(5)} LIMIT 1")
        elif self._random.random() < 0.3:
            cursor.execute(f"DELETE FROM {table} WHERE p = {part}")
        else:
            cursor.execute(f"REPLACE INTO {table} VALUES ({part}, {value}, {number})")


def different(node: Node, tables: Sequence[str]) -> dict[str, list[str]]:
    found = {}
    with reading(node.server.connect, "shop") as cursor:
        for table in tables:
            theirs = source_rows(cursor, table)
            assert theirs
            for row in theirs.values():
                if row.get("d2") and table == "everything":
                    row["d2"] = str(Decimal(row["d2"]))  # ZEROFILL is how a number is shown, not what it is
            ours = held_rows(node.live.client, node.live.url, table, key_columns(cursor, table))
            if told := differences(ours, theirs):
                found[table] = told
    return found


def written(at: Logged, table: str) -> list[str]:
    """Columns beside the key that the server does not compute."""
    rows = at.query(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = %s"
        " AND column_key <> 'PRI' AND COALESCE(generation_expression, '') = '' ORDER BY ordinal_position",
        (table,),
    )
    return [str(name) for (name,) in rows]


@pytest.mark.parametrize("server_kind", SERVERS)
def test_rows_of_every_type_and_charset_under_a_random_load_are_equal_by_outbox_and_by_log(
    server_kind: type[MariaDB], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    everything = TABLE if server_kind is MariaDB else MYSQL_TABLE
    keyed = [create_sql(place, "number") for place in KEYED.values()]
    with (
        log_server(server_kind, "--max-allowed-packet=64M") as server,
        Logged(server, everything, CHARSETS, *keyed, database="shop") as at,
    ):
        insert_hard_rows(at)
        for table in ("everything", "charsets"):
            at.query(f"CREATE TABLE hard_{table} LIKE {table}")
            columns = ",".join(f"`{name}`" for name in ("id", *written(at, table)))
            at.query(f"INSERT INTO hard_{table} ({columns}) SELECT {columns} FROM {table}")
        at.query("UPDATE hard_everything SET lt = LEFT(lt, 3000)")  # it would fill the log
        hard = {
            table: (written(at, table), [int(key) for (key,) in at.query(f"SELECT id FROM hard_{table}")])
            for table in ("everything", "charsets")
        }
        with two_nodes(server, tmp_path, TABLES) as nodes:
            copied = {mode: log_lines(node, *COPIED) for mode, node in nodes.items()}
            ends, failed = threading.Event(), list[BaseException]()
            writers = [Writer(server, SEED * 100 + number, hard) for number in range(WRITERS)]

            def work(writer: Writer) -> None:
                try:
                    writer.work(ends)
                except BaseException as error:  # noqa: BLE001  # told when all have ended
                    failed.append(error)
                    ends.set()

            threads = [threading.Thread(target=work, args=[writer]) for writer in writers]
            for thread in threads:
                thread.start()
            until = time.monotonic() + SECONDS
            while time.monotonic() < until and not ends.is_set():
                time.sleep(0.2)
            ends.set()
            for thread in threads:
                thread.join()
            assert failed == []
            for mode, node in nodes.items():
                node.settle()
                assert different(node, TABLES) == {}, mode
                assert node.status()["counts"]["differences"] == 0
                assert log_lines(node, *COPIED, "is stopped", "fault")[: len(copied[mode]) + 1] == copied[mode]
    changes = sum(writer.changes for writer in writers)
    assert changes > 200
    record_property("transactions", changes)
