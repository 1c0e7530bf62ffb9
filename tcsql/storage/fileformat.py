"""The store's file as constants and statements; docs/internals/store-format.md is the document they follow.

Pure: builds SQL text and keys, opens nothing. Table names contain a number of ours and never a name of a
user's table, so no identifier has to be quoted.

Many rows go into one statement (``VALUES (…),(…),…``) because SQLite runs a statement without Python's
interpreter lock: one statement gives the lock away once, ``executemany`` once a row. Beside a busy event loop
64 rows took 171 ms by ``executemany`` and 12 ms by one statement.

For the same reason a whole transaction can be one statement: an INSERT into a temporary view of the connection, whose
triggers write rows, counter, change record and state (``create_group``). It takes 0.4 us a row more of SQLite's time,
and needs the lock once where BEGIN, four statements and COMMIT need it six times.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from tcsql.engine.schema import TableSchema
from tcsql.engine.values import Kind

FILE_NAME: Final = "tcsql.db"
LOCK_NAME: Final = "lock"
#: ASCII "TCSQ": tells file(1), and us, whose SQLite file this is.
APPLICATION_ID: Final = 0x54435351
#: PRAGMA user_version. A program refuses every number above its own. 2: pages may carry checksums (``checksums``).
FORMAT_VERSION: Final = 2
#: What a store without checksums is.
PLAIN_VERSION: Final = 1
PAGE_BYTES: Final = 4096
#: Lsns reserved ahead: after an unclean stop the next lsn starts behind the reserved ones, so none is given twice.
LSN_RESERVE: Final = 1_000_000

#: SQLite keeps statements up to 16 KiB prepared; 256 rows of "(?1,?,CAST(? AS TEXT))," stay below.
ROWS_PER_STATEMENT: Final = 256

SCHEMA: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        lsn INTEGER NOT NULL,
        ceiling INTEGER NOT NULL,
        log_floor INTEGER NOT NULL,
        clean INTEGER NOT NULL)""",
    "CREATE TABLE tables (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, schema TEXT NOT NULL)",
    "CREATE TABLE counters (table_id INTEGER PRIMARY KEY, next TEXT NOT NULL)",
    "CREATE TABLE positions (source TEXT PRIMARY KEY, position BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE changes (lsn INTEGER PRIMARY KEY, ops INTEGER NOT NULL, payload TEXT NOT NULL)",
)

#: What a pkey becomes in the file: SQLite's integers are signed, BIGINT UNSIGNED wraps around.
_SIGN_BIT: Final = 1 << 63
_MODULUS: Final = 1 << 64


def has_integer_key(schema: TableSchema) -> bool:
    """Whether rows are keyed by SQLite's rowid: one primary key column of an integer kind."""
    return len(schema.primary_key) == 1 and schema.pkey_columns[0].type.kind is Kind.INTEGER


def wrapped(key: int) -> int:
    """An unsigned 64-bit key as SQLite's signed integer; ``unwrapped`` is the way back.

    >>> wrapped(2**64 - 1), wrapped(-5), wrapped(7)
    (-1, -5, 7)
    """
    return key - _MODULUS if key >= _SIGN_BIT else key


def unwrapped(key: int, schema: TableSchema) -> int:
    return key + _MODULUS if key < 0 and schema.pkey_columns[0].type.low >= 0 else key


def rows_table(table_id: int) -> str:
    return f"rows_{table_id:d}"


def _on_rows(table_id: int, statement: str) -> str:
    return statement.replace("@rows", rows_table(table_id))


def create_rows(table_id: int, integer_key: bool) -> str:
    columns = "layout INTEGER NOT NULL, row TEXT NOT NULL"
    key = "INTEGER" if integer_key else "TEXT"
    return _on_rows(table_id, f"CREATE TABLE @rows (pkey {key} PRIMARY KEY NOT NULL, {columns})")


def drop_rows(table_id: int) -> str:
    return _on_rows(table_id, "DROP TABLE @rows")


def clear_rows(table_id: int) -> str:
    return _on_rows(table_id, "DELETE FROM @rows")


@cache
def upsert_rows(table_id: int, count: int) -> str:
    """Parameters: layout, then key and row bytes for each of ``count`` rows.

    An upsert and not REPLACE: REPLACE moves a row of a text-keyed table to a new rowid, twice the pages.
    """
    statement = """INSERT INTO @rows (layout, pkey, row) VALUES @values
        ON CONFLICT (pkey) DO UPDATE SET layout=excluded.layout, row=excluded.row"""
    return _on_rows(table_id, statement).replace("@values", ",".join(["(?1,?,CAST(? AS TEXT))"] * count))


#: Columns of the temporary view that takes a whole transaction. ``kind`` tells what the others are:
#: NULL: layout, key and row; 1: lsn, ceiling and log floor; 2: lsn, changes and payload; 3: the counter is b.
_GROUP_COLUMNS: Final = "a, b, c, kind"
#: Rows of such a transaction; its statement too stays below 16 KiB.
GROUP_ROWS: Final = 1_024


def _on_group(table_id: int, statement: str) -> str:
    named = statement.replace("@group", f"group_{table_id:d}").replace("@columns", _GROUP_COLUMNS)
    return _on_rows(table_id, named).replace("@id", f"{table_id:d}")


def create_group(table_id: int) -> tuple[str, ...]:
    """Statements that make the view for transactions which only insert or replace rows of one table.

    Temporary: it belongs to the connection, nothing of it gets into the file.
    """
    return tuple(
        _on_group(table_id, statement)
        for statement in (
            "DROP VIEW IF EXISTS temp.@group",
            "CREATE TEMP VIEW @group (@columns) AS SELECT 1, 2, 3, 4",
            """CREATE TEMP TRIGGER @group_row INSTEAD OF INSERT ON @group WHEN NEW.kind IS NULL BEGIN
                INSERT INTO @rows (layout, pkey, row) VALUES (NEW.a, NEW.b, CAST(NEW.c AS TEXT))
                    ON CONFLICT (pkey) DO UPDATE SET layout=excluded.layout, row=excluded.row;
            END""",
            """CREATE TEMP TRIGGER @group_end INSTEAD OF INSERT ON @group WHEN NEW.kind IS NOT NULL BEGIN
                UPDATE state SET lsn=NEW.a, ceiling=NEW.b, log_floor=NEW.c, clean=0 WHERE NEW.kind = 1;
                INSERT INTO changes SELECT NEW.a, NEW.b, CAST(NEW.c AS TEXT) WHERE NEW.kind = 2 AND NEW.c IS NOT NULL;
                INSERT OR REPLACE INTO counters SELECT @id, NEW.b WHERE NEW.kind = 3 AND NEW.b IS NOT NULL;
            END""",
        )
    )


def drop_group(table_id: int) -> str:
    return _on_group(table_id, "DROP VIEW IF EXISTS temp.@group")


@cache
def insert_group(table_id: int, count: int) -> str:
    """Parameters: layout, key and row bytes for each of ``count`` rows, then those of the kinds 1, 2 and 3."""
    statement = "INSERT INTO temp.@group (@columns) VALUES @values(?,?,?,1),(?,?,?,2),(NULL,?,NULL,3)"
    return _on_group(table_id, statement).replace("@values", "(?1,?,?,NULL)," * count)


@cache
def delete_rows(table_id: int, count: int) -> str:
    return _on_rows(table_id, "DELETE FROM @rows WHERE pkey IN (@keys)").replace("@keys", ",".join("?" * count))


def select_rows(table_id: int) -> str:
    """(layout, row bytes) of all rows; the cast hands bytes over without making text of them."""
    return _on_rows(table_id, "SELECT layout, CAST(row AS BLOB) FROM @rows")


def select_keyed_rows(table_id: int) -> str:
    return _on_rows(table_id, "SELECT pkey, layout, CAST(row AS BLOB) FROM @rows")


def read_through(table_id: int) -> str:
    """Touches every page that holds rows of the table, those that a long row overflows into too."""
    return _on_rows(table_id, "SELECT sum(length(row)) FROM @rows")


def count_rows(table_id: int) -> str:
    return _on_rows(table_id, "SELECT count(*) FROM @rows")


def padded(count: int) -> int:
    """The statement size for ``count`` rows: the next power of two, so that few statements are ever prepared.

    >>> [padded(n) for n in (1, 2, 3, 64, 65, 256)]
    [1, 2, 4, 64, 128, 256]
    """
    return 1 << (count - 1).bit_length()
