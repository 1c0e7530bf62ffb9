"""Writes the recordings: logs of private servers, and what the servers answered when they had been written.

    python -m tests.replication.binlog.record [NAME …]

Each is a directory's pair: ``NAME.log.gz``, one file of a binary log, and ``NAME.json.gz``: the tables as the catalogue
had them, all rows as SELECT gave them, and the transactions' names. Nothing in them comes from the parser under test.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from tcsql.replication.binlog.tables import Expected
from tcsql.replication.catalogue import CatalogueColumn, CatalogueTable, schema_of
from tests.mariadb import MariaDB
from tests.replication.binlog.logs import Logged, options_of
from tests.replication.comparing import reading, source_rows
from tests.replication.mysql9 import MySQL9
from tests.replication.test_types import CHARSETS, MYSQL_TABLE
from tests.test_mariadb_roundtrip import EVERY_BYTE, ROWS, TABLE

HERE = Path(__file__).parent / "recordings"
TEXTS = (
    "INSERT INTO charsets VALUES (2, 'é€ÿ', '漢😀', 'ü😀', '漢字', '😀é', '漢', 'カナ漢', '한글', '漢字',"
    " 'Привет', '€', 'é,ß', '😀\\0x')"
)
POSTS = """CREATE TABLE posts (id BIGINT PRIMARY KEY, uid INT UNSIGNED NOT NULL, title VARCHAR(100),
  created DATETIME NOT NULL, price DECIMAL(8,2))"""
PAIRS = "CREATE TABLE pairs (a VARCHAR(20) NOT NULL, b INT NOT NULL, c TEXT, PRIMARY KEY (a, b))"
DOCUMENTS = "CREATE TABLE documents (id INT PRIMARY KEY, j JSON, k JSON, t VARCHAR(20))"


def insert_hard_rows(at: Logged) -> None:
    """Every type with its hardest values, every kind of charset; tables ``everything`` and ``charsets``."""
    for row in ROWS:
        kept = {name: value for name, value in row.items() if not at.is_mysql or name not in ("uu", "i4", "i6")}
        if at.is_mysql and "js" in kept:
            kept["js"] = str(kept["js"]).replace("1e400", "1e40")  # beyond a double: refused there
        names = ",".join(f"`{name}`" for name in kept)
        at.query(f"INSERT INTO everything ({names}) VALUES ({','.join(['%s'] * len(kept))})", tuple(kept.values()))
    at.query("UPDATE everything SET po = ST_GeomFromText('POINT(1.5 -2)') WHERE id = 4")
    every = bytes(EVERY_BYTE[1:])
    at.query("INSERT INTO charsets (id, l1) VALUES (1, CONVERT(%s USING latin1))", (every,))
    at.query("UPDATE charsets SET l1 = X'" + every.hex() + "' WHERE id = 1")
    at.query(TEXTS)
    at.query("INSERT INTO charsets VALUES (3, '', '', '', '', '', '', '', '', '', '', 2, '', '')")
    at.query("INSERT INTO charsets (id, en) VALUES (4, 'not a member')")


def posts(first: int, last: int) -> str:
    values = (
        f"({n},{n % 97},{'NULL' if n % 7 == 0 else repr(f'title of {n}')},'2020-01-01' + INTERVAL {n * 7919} SECOND,"
        f"{n % 1000}.{n % 100:02})"
        for n in range(first, last + 1)
    )
    return f"INSERT INTO posts VALUES {','.join(values)}"


def other_session(at: Logged, *statements: str) -> None:
    """In a session of its own, which ends: a prepared XA transaction can then be ended by others."""
    with at.server.connect(at.database) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def write_types(at: Logged) -> None:
    insert_hard_rows(at)
    at.query("UPDATE everything SET id = id - 1, ti = 1 WHERE id > 1 ORDER BY id")
    at.query("DELETE FROM charsets WHERE id = 3")


def write_transactions(at: Logged) -> None:
    """Borders of all kinds: several tables, savepoints, XA, keys that change and are swapped, DDL between."""
    at.query(posts(1, 20))
    at.query("BEGIN")
    at.query("UPDATE posts SET title = CONCAT(title, ' new'), uid = uid + 1 WHERE id < 5")
    at.query("INSERT INTO pairs VALUES ('a', 1, 'x'), ('b', 2, NULL), ('é', -3, '')")
    at.query("SAVEPOINT s")
    at.query("DELETE FROM pairs")
    at.query("ROLLBACK TO s")
    at.query("DELETE FROM posts WHERE id = 7")
    at.query("COMMIT")
    at.query("UPDATE posts SET id = id + 1 ORDER BY id DESC")
    at.query("UPDATE pairs SET b = b + 1, a = CONCAT(a, '!')")
    at.query("INSERT INTO posts VALUES (2, 1, 'again', '0000-00-00', NULL) ON DUPLICATE KEY UPDATE title = 'twice'")
    at.query("REPLACE INTO posts VALUES (3, 1, 'replaced', '2000-01-01', -0.5)")
    other_session(
        at, "XA START 'kept'", "INSERT INTO pairs VALUES ('xa', 1, 'kept')", "XA END 'kept'", "XA PREPARE 'kept'"
    )
    other_session(at, "XA START 'gone','b',7", "DELETE FROM posts", "XA END 'gone','b',7", "XA PREPARE 'gone','b',7")
    other_session(at, "XA ROLLBACK 'gone','b',7")
    at.query(posts(100, 103))
    other_session(at, "XA COMMIT 'kept'")
    other_session(at, "XA START 'one'", posts(200, 201), "XA END 'one'", "XA COMMIT 'one' ONE PHASE")
    at.query("CREATE TABLE made (id INT PRIMARY KEY) AS SELECT id FROM posts")
    at.query("/* a comment */ ALTER TABLE made ADD COLUMN grüße INT")
    at.query("TRUNCATE made")
    at.query("DROP TABLE made")
    at.query("BEGIN")
    at.query("DELETE FROM pairs WHERE b = 3")
    at.query("ROLLBACK")
    at.query("DELETE FROM pairs WHERE b = 3")


def write_packed(at: Logged) -> None:
    """Compressed events, or compressed transactions and partial updates of JSON."""
    documents = [
        '{"a": 1, "b": [1, 2.50, -0.0, 1e100, "x\\u0001\\"y", null, true], "ccc": {"d e": {}}, "é": []}',
        "[0, 255, -32768, 65535, 2147483647, 4294967295, 9223372036854775807, 18446744073709551615, 0.1, 1e15]",
    ]
    if at.is_mysql:
        at.query("SET SESSION binlog_transaction_compression = ON, binlog_row_value_options = PARTIAL_JSON")
    else:
        at.query("SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10")
        at.connection.close()
        at.connection = at.server.connect(at.database)
    at.query(posts(1, 500))
    at.query("UPDATE posts SET title = REPEAT('long ', 15) WHERE id < 200")
    at.query("DELETE FROM posts WHERE id BETWEEN 100 AND 120")
    for number, document in enumerate(documents):
        at.query("INSERT INTO documents VALUES (%s, %s, '{}', 'x')", (number, document))
    at.query("CREATE TABLE made (id INT PRIMARY KEY, told VARCHAR(100) DEFAULT 'a text that is worth packing')")
    at.query("DROP TABLE made")
    if not at.is_mysql:
        at.query("SET GLOBAL log_bin_compress = OFF")
        return
    at.query(
        "INSERT INTO documents VALUES (7, JSON_ARRAY(CAST('2020-02-29' AS DATE), CAST('-12:34:56.25' AS TIME(2)),"
        " CAST('2020-02-29 01:02:03.004' AS DATETIME(3)), 1.500, -0.05, CAST(REPEAT('x', 100) AS BINARY)),"
        " JSON_OBJECT('p', REPEAT('y', 300)), NULL)"
    )
    at.query("SET SESSION binlog_transaction_compression = OFF, gtid_next = 'AUTOMATIC:tagged'")
    at.query("UPDATE documents SET j = JSON_SET(j, '$.a', 'longer than it was', '$.b[1]', 7), t = 'y' WHERE id = 0")
    at.query(
        "UPDATE documents SET j = JSON_REMOVE(j, '$.b[0]'), k = JSON_SET(k, '$.new', CAST('[1]' AS JSON)) WHERE id = 0"
    )
    at.query("UPDATE documents SET j = JSON_SET(j, '$.ccc.\"d e\".f', 1.5, '$.b[2]', CAST(NULL AS JSON)) WHERE id = 0")
    at.query("UPDATE documents SET j = JSON_REPLACE(j, '$[0]', CAST('\"ü\"' AS JSON)), k = NULL WHERE id = 1")
    at.query("UPDATE documents SET t = 'z'")
    at.query("SET SESSION gtid_next = 'AUTOMATIC', binlog_row_value_options = ''")
    at.query("UPDATE documents SET k = '3'")


def write_big(at: Logged) -> None:
    """One transaction of many events."""
    if not at.is_mysql:
        at.query("SET SESSION binlog_annotate_row_events = OFF")
    at.query("BEGIN")
    for first in range(1, 1800, 600):
        at.query(posts(first, first + 599))
    at.query("COMMIT")


def write_plain(at: Logged) -> None:
    """Ten short transactions: what is mutated most, as it is read fastest."""
    at.query(posts(1, 5))
    at.query("INSERT INTO pairs VALUES ('a', 1, REPEAT('x', 300)), ('b', 2, NULL)")
    at.query("UPDATE posts SET title = NULL WHERE id = 2")
    at.query("UPDATE pairs SET a = 'c' WHERE b = 2")
    at.query("DELETE FROM posts WHERE id = 3")


Write = Callable[[Logged], None]
_SCENES: dict[str, tuple[tuple[str, ...], Write]] = {
    "transactions": ((POSTS, PAIRS), write_transactions),
    "packed": ((POSTS, DOCUMENTS), write_packed),
    "big": ((POSTS,), write_big),
    "plain": ((POSTS, PAIRS), write_plain),
}


def scenes(kind: type[MariaDB]) -> Iterable[tuple[str, tuple[str, ...], Write]]:
    """Name, tables and what is written."""
    first = "mariadb" if kind is MariaDB else "mysql"
    yield f"{first}-types", (TABLE if kind is MariaDB else MYSQL_TABLE, CHARSETS), write_types
    for name, (tables, write) in _SCENES.items():
        yield f"{first}-{name}", tables, write


def record(server: MariaDB, name: str, tables: tuple[str, ...], write: Write) -> None:
    database = name.replace("-", "_")
    with Logged(server, *tables, database=database) as at:
        gtids = "@@gtid_executed" if at.is_mysql else "@@gtid_binlog_pos"
        [(before,)] = at.query(f"SELECT {gtids}")
        write(at)
        [(after,)] = at.query(f"SELECT {gtids}")
        at.query("SET SESSION time_zone = '+00:00'")
        expected = at.expected()
        with reading(server.connect, database) as cursor:
            rows = {table: list(source_rows(cursor, table).values()) for _, table in expected}
        [(version,)] = at.query("SELECT version()")
        told: dict[str, Any] = {
            "server": version,
            "database": database,
            "before": "".join(before.split()),
            "gtids": "".join(after.split()),
            "tables": [asdict(each.table) for each in expected.values()],
            "rows": rows,
        }
        HERE.mkdir(exist_ok=True)
        (HERE / f"{name}.log.gz").write_bytes(gzip.compress(at.data(), 9, mtime=0))
        (HERE / f"{name}.json.gz").write_bytes(gzip.compress(orjson.dumps(told), 9, mtime=0))


class Recording:
    """One that was written: ``data`` is the log, ``rows`` what SELECT gave."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data = gzip.decompress((HERE / f"{name}.log.gz").read_bytes())
        told = orjson.loads(gzip.decompress((HERE / f"{name}.json.gz").read_bytes()))
        #: Names of all transactions when it began, and when it ended.
        self.before: str = told["before"]
        self.gtids: str = told["gtids"]
        self.rows: dict[str, list[dict[str, Any]]] = told["rows"]
        self.tables = {(told["database"], table["name"]): _expected(table) for table in told["tables"]}


def _expected(told: dict[str, Any]) -> Expected:
    columns = tuple(CatalogueColumn(**column) for column in told["columns"])
    kept = {**told, "columns": columns, "primary_key": tuple(told["primary_key"])}
    kept |= {"foreign_keys": (), "partitions": (), "triggers": ()}
    table = CatalogueTable(**kept)
    return Expected(table, schema_of(table))


def names() -> list[str]:
    return sorted(path.name.removesuffix(".log.gz") for path in HERE.glob("*.log.gz"))


def main() -> None:
    wanted = set(sys.argv[1:])
    for kind in (MariaDB, MySQL9):
        with kind(*options_of(kind)) as server:
            for name, tables, write in scenes(kind):
                if not wanted or name in wanted:
                    record(server, name, tables, write)


if __name__ == "__main__":
    main()
