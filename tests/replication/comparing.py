"""What TCSQL holds against what SELECT gives, row for row and type for type; knows nothing of how tables are followed.

Every value of the source is asked for as text or bytes by rules of this module's own, so that a mistake of the
program's typed SELECT lists cannot repeat itself here. Nothing is sampled: all rows, all columns.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pymysql
from pymysql.converters import encoders

Row = dict[str, Any]
Rows = dict[tuple[Any, ...], Row]
#: A page: one request sees one state of tables up to this size.
PAGE: Final = 10_000


def _whole(value: bytes) -> int:
    return int(value)


def _real(value: bytes) -> float:
    return float(value)


def _text(value: bytes) -> str:
    return value.decode()


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


_AS_TEXT: Final = "CONVERT(`{}` USING utf8mb4)"
_AS_CHAR: Final = "CONVERT(CAST(`{}` AS CHAR) USING utf8mb4)"
_AS_BYTES: Final = "`{}`"
_READ: Final[dict[str, tuple[str, Callable[[bytes], Any]]]] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint"), ("CAST(`{}` AS CHAR)", _whole)),
    **dict.fromkeys(("bit", "year"), ("CAST(`{}` + 0 AS CHAR)", _whole)),
    # the exact value of a FLOAT, not the six digits that a plain SELECT shows
    "float": ("CAST(`{}` + 0e0 AS CHAR)", _real),
    "double": ("CAST(`{}` + 0e0 AS CHAR)", _real),
    **dict.fromkeys(("decimal", "date", "datetime", "timestamp", "time", "json"), (_AS_CHAR, _text)),
    **dict.fromkeys(("uuid", "inet4", "inet6"), (_AS_CHAR, _text)),
    **dict.fromkeys(
        ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"), (_AS_TEXT, _text)
    ),
    **dict.fromkeys(
        ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "point", "geometry"),
        (_AS_BYTES, _base64),
    ),
}


@contextmanager
def reading(connect: Callable[..., pymysql.connections.Connection[Any]], database: str) -> Iterator[Any]:
    """A cursor whose values are bytes as the server sent them, in one snapshot and UTC."""
    connection = connect(database, conv=dict(encoders), autocommit=False, use_unicode=False)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00', sql_mode = ''")
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            yield cursor
    finally:
        connection.close()


def source_rows(cursor: Any, table: str, where: str = "", columns: tuple[str, ...] = ()) -> Rows:
    """All rows by their primary key, as TCSQL should hold them."""
    cursor.execute(
        """SELECT column_name, data_type, column_key FROM information_schema.columns
        WHERE table_schema = database() AND table_name = %s ORDER BY ordinal_position""",
        (table,),
    )
    # information_schema's own charset may be another; names are ASCII here
    described = [tuple(part.decode() for part in each) for each in cursor.fetchall()]
    chosen = [(name, kind.lower()) for name, kind, key in described if not columns or name in columns or key == "PRI"]
    keys = [name for name, _, key in described if key == "PRI"]
    assert chosen and keys, f"{table} has no columns or no key"
    expressions = ",".join(_READ[kind][0].format(name) for name, kind in chosen)
    cursor.execute(f"SELECT {expressions} FROM `{table}`" + (f" WHERE {where}" if where else ""))
    readers = [(name, _READ[kind][1]) for name, kind in chosen]
    found = {}
    for values in cursor.fetchall():
        row = {
            name: None if value is None else read(value) for (name, read), value in zip(readers, values, strict=True)
        }
        found[tuple(row[name] for name in keys)] = row
    return found


def held_rows(client: httpx.Client, url: str, table: str, keys: tuple[str, ...]) -> Rows:
    """All rows that TCSQL answers, page by page; DECIMAL and BLOB are text there."""
    found: Rows = {}
    after = ""
    while True:
        answer = client.get(f"{url}/?command=select&table={table}&limit_max={PAGE}{after}")
        assert answer.status_code == 200, answer.text
        page = answer.json()
        for row in page["rows"]:
            key = tuple(row[name] for name in keys)
            assert key not in found, f"{table} has {key} twice"
            found[key] = row
        if page["next"] is None:
            return found
        after = f"&after={page['next']}"


def key_columns(cursor: Any, table: str) -> tuple[str, ...]:
    cursor.execute(
        """SELECT column_name FROM information_schema.columns WHERE table_schema = database() AND table_name = %s
        AND column_key = 'PRI' ORDER BY ordinal_position""",
        (table,),
    )
    return tuple(each[0].decode() for each in cursor.fetchall())


def differences(ours: Rows, theirs: Rows, most: int = 5) -> list[str]:
    """What differs, in words; [] when all is equal, types included."""
    told = [f"{key} is missing here" for key in theirs.keys() - ours.keys()]
    told += [f"{key} is here and not at the source" for key in ours.keys() - theirs.keys()]
    for key in theirs.keys() & ours.keys():
        if ours[key] != theirs[key]:  # 1 and "1" differ, 5 and 5.0 are the same number
            apart = {
                name: (ours[key].get(name), theirs[key].get(name))
                for name in theirs[key].keys() | ours[key].keys()
                if ours[key].get(name) != theirs[key].get(name)
            }
            told.append(f"{key}: here and there {apart}")
    return told[:most] + ([f"and {len(told) - most} more"] if len(told) > most else [])
