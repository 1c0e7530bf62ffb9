r"""The SQL dump that ``tcsql dump --format sql`` writes: CREATE TABLE and multi-row INSERTs.

It loads back to identical rows, and into MySQL and MariaDB. As in mysqldump the first lines set the character set,
UTC, and a SQL mode without strictness, because rows that came from MySQL may hold zero dates and other values that a
strict server refuses. Binary values are hexadecimal, so the file is text.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import orjson

from tcsql.engine.schema import TableSchema
from tcsql.engine.values import ColumnType, JsonValue, Kind
from tcsql.literals import quote_name, quote_string

#: As mysqldump's; far below every server's max_allowed_packet.
STATEMENT_BYTES: Final = 1 << 20

HEADER: Final = b"""-- Dump of TCSQL
/*!40101 SET NAMES utf8mb4 */;
/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE, TIME_ZONE='+00:00' */;
/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
"""
FOOTER: Final = b"""
/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;
"""


def table_head(create_table: str, name: str, drop: bool) -> bytes:
    """The statements that make the table."""
    removed = f"DROP TABLE IF EXISTS {quote_name(name)};\n" if drop else ""
    return f"\n{removed}{create_table};\n\n".encode()


def insert_statements(schema: TableSchema, rows: Iterable[bytes]) -> Iterator[bytes]:
    """Rows as the engine holds them (JSON bytes) to INSERT statements of about a megabyte.

    Cost: 1 us a value.
    """
    literals = [(column.name, _literal_of(column.type)) for column in schema.columns]
    head = f"INSERT INTO {quote_name(schema.name)} ({','.join(quote_name(name) for name in schema.names)}) VALUES\n"  # nosec B608  # names are quoted, and it is a dump
    pieces: list[str] = []
    size = 0
    for data in rows:
        row: dict[str, JsonValue] = orjson.loads(data)
        values = [
            "NULL" if (value := row.get(name)) is None else literal(value)  # a value is None only for NULL
            for name, literal in literals
        ]
        piece = f"({','.join(values)})"
        pieces.append(piece)
        size += len(piece)
        if size >= STATEMENT_BYTES:
            yield (head + ",\n".join(pieces) + ";\n").encode()
            pieces, size = [], 0
    if pieces:
        yield (head + ",\n".join(pieces) + ";\n").encode()


def _literal_of(kind: ColumnType) -> Callable[[int | float | str], str]:
    if kind.kind in (Kind.INTEGER, Kind.DECIMAL):
        return str
    if kind.kind is Kind.FLOAT:
        return repr
    if kind.kind is Kind.BINARY:
        return _hexadecimal
    return _quoted


def _hexadecimal(value: float | str) -> str:
    return f"0x{b64decode(str(value)).hex()}" if value else "''"


def _quoted(value: float | str) -> str:
    return quote_string(str(value))
