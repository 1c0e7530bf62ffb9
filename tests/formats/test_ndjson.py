"""NDJSON lines cut anywhere; one bad line does not spoil its batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
import pytest

from tcsql.errors import BadRequest
from tcsql.formats.ndjson import NdjsonReader, ndjson_lines
from tcsql.formats.records import Bad, Record, Rows, Value


def parse(lines: Sequence[bytes]) -> Sequence[Mapping[str, Value]]:
    try:
        found = [orjson.loads(line) for line in lines]
    except orjson.JSONDecodeError as error:
        raise BadRequest(str(error)) from None
    return found


def read(data: bytes, piece: int) -> list[Record]:
    reader = NdjsonReader("t", parse)
    records = [record for start in range(0, len(data), piece) for record in reader.feed(data[start : start + piece])]
    return [*records, *reader.finish()]


@pytest.mark.parametrize("piece", [1, 5, 1_000])
def test_lines_become_rows_with_their_places(piece: int) -> None:
    records = read(b'{"a":1}\r\n\n  \n{"a":"\xc3\xbc"}\n{"a":3}', piece)
    found = [
        (row, *record.place(n)) for record in records if isinstance(record, Rows) for n, row in enumerate(record.rows)
    ]
    assert found == [({"a": 1}, 1, '{"a":1}'), ({"a": "ü"}, 4, '{"a":"ü"}'), ({"a": 3}, 5, '{"a":3}')]


@pytest.mark.parametrize("piece", [5, 1_000])
def test_bad_line_is_reported_and_its_neighbours_read(piece: int) -> None:
    records = read(b'{"a":1}\n{"a":\n{"a":3}\n', piece)
    assert [row for record in records if isinstance(record, Rows) for row in record.rows] == [{"a": 1}, {"a": 3}]
    [bad] = [record for record in records if isinstance(record, Bad)]
    assert (bad.line, bad.text) == (2, '{"a":')
    whole = [record for record in records if isinstance(record, Rows)]
    assert whole[-1].place(len(whole[-1].rows) - 1) == (3, '{"a":3}')


def test_rows_are_written_as_lines() -> None:
    assert b"".join(ndjson_lines([b'{"a":1}', b'{"a":2}'])) == b'{"a":1}\n{"a":2}\n'
