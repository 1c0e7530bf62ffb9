"""Many NDJSON lines read together give what each gives alone: the same rows, or a refusal where one is refused."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import CallerError
from tcsql.http.bodies import RowReader

ID = Column("id", ColumnType(Kind.INTEGER, "bigint", low=0, high=2**64 - 1), nullable=False)
PRICE = Column("price", ColumnType(Kind.DECIMAL, "decimal", length=10, scale=2))
NOTE = Column("note", ColumnType(Kind.JSON, "json"))
NAME = Column("name", ColumnType(Kind.TEXT, "varchar", length=20))
SCHEMAS = [
    TableSchema("t", (ID,), ("id",)),
    TableSchema("t", (ID, PRICE), ("id",)),
    TableSchema("t", (ID, NOTE), ("id",)),
    TableSchema("t", (ID, PRICE, NOTE), ("id",)),
    TableSchema("t", (ID, PRICE, NAME), ("id",)),
]
PARTS = st.sampled_from(
    [b"{", b"}", b'{"id":', b'"', b",", b":", b"1", b"1.10", b"18446744073709551615", b'"pkey":2', b"[", b"]", b"NaN",
     b'"price":2.50', b'"price":3', b'"note":{"a":1.0}', b'"note":[1]', b"\x00", b" ", b"\r", b"\\", b"\xff"]
)  # fmt: skip
WHOLE = st.sampled_from(
    [b'{"id":1}', b'{"pkey":2,"price":"1.5"}', b'{"id":3,"price":1.5}', b'{"id":18446744073709551615}',
     b'{"id":4,"note":{"a":[1,2.50]}}', b'{"id":5,"note":' + b"[" * 33 + b"]" * 33 + b"}",
     b'{"id":6,"note":' + b"[" * 31 + b"]" * 31 + b"}", b'{"id":7},{"id":8}', b'{"id":"}', b'{":9}', b'{"id":1}\r',
     b'{"id":8,"name":1.10}', b'{"id":9,"name":1e3}']
)  # fmt: skip
LINES = st.lists(WHOLE | WHOLE | st.lists(PARTS, max_size=6).map(b"".join), min_size=1, max_size=5)


def outcome(read: Any, *arguments: Any) -> object:
    try:
        return read(*arguments)
    except CallerError as error:
        return type(error), error.message


@given(st.sampled_from(SCHEMAS), LINES)
def test_lines_read_together_are_lines_read_alone(schema: TableSchema, lines: list[bytes]) -> None:
    reader = RowReader(schema)
    together = outcome(reader.lines, lines)
    assert together == outcome(lambda: [reader.line(line) for line in lines])
    assert repr(together) == repr(outcome(lambda: [reader.line(line) for line in lines]))  # 1 is not 1.0, nor Decimal
