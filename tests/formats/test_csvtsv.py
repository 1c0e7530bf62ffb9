"""CSV and TSV: quoting, escapes, NULL, headers, bad lines; cut anywhere."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcsql.engine.change import CreateTable
from tcsql.engine.schema import TableSchema
from tcsql.errors import BadRequest
from tcsql.formats.csvtsv import TextTableReader
from tcsql.formats.records import Bad, Record, Rows, Value
from tcsql.sql import changes_of


def schema(sql: str) -> TableSchema:
    [change] = changes_of(sql, lambda name: None)
    assert isinstance(change, CreateTable)
    return change.schema


T = schema(
    """CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, n int NOT NULL, m int, s varchar(9), x blob, e enum('a'),
    st set('a'), d date, j json)"""
)


def read(text: str | bytes, is_tsv: bool = False, piece: int = 1 << 20) -> list[Record]:
    data = text.encode() if isinstance(text, str) else text
    reader = TextTableReader("t", T, is_tsv)
    records = [record for start in range(0, len(data), piece) for record in reader.feed(data[start : start + piece])]
    return [*records, *reader.finish()]


def rows(records: list[Record]) -> list[dict[str, Value]]:
    return [dict(row) for record in records if isinstance(record, Rows) for row in record.rows]


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_quotes_commas_and_line_ends_inside_fields(piece: int) -> None:
    text = '\ufeffS,n\r\n"a,""b""\r\nc",1\r\n\r\nplain,2\n"",3'
    records = read(text, piece=piece)
    assert rows(records) == [{"s": 'a,"b"\r\nc', "n": "1"}, {"s": "plain", "n": "2"}, {"s": "", "n": "3"}]
    places = [record.place(n) for record in records if isinstance(record, Rows) for n in range(len(record.rows))]
    assert [line for line, _ in places] == [2, 5, 6]
    assert places[1] == (5, "plain,2")


def test_empty_field_is_null_where_it_can_be_no_value() -> None:
    [row] = rows(read("id,n,m,s,x,e,st,d,j\n,,,,,,,,\n"))
    assert row == {"id": None, "n": "", "m": None, "s": "", "x": "", "e": None, "st": "", "d": None, "j": None}
    [row] = rows(read("m,s\n\\N,\\N\n"))
    assert row == {"m": None, "s": None}


@pytest.mark.parametrize("piece", [1, 2, 1 << 20])
def test_tsv_of_mysql_with_its_escapes_and_nulls(piece: int) -> None:
    text = "n\ts\td\n1\ta\\tb\\nc\\\\\\0\t2020-02-29\n2\t\\N\tNULL\n3\tNULL\t\\N\n4\treal\\\ttab\\\nend\t\n"
    assert rows(read(text, True, piece)) == [
        {"n": "1", "s": "a\tb\nc\\\0", "d": "2020-02-29"},
        {"n": "2", "s": None, "d": None},
        {"n": "3", "s": "NULL", "d": None},
        {"n": "4", "s": "real\ttab\nend", "d": None},
    ]


def bad(records: list[Record]) -> list[tuple[int, str, str]]:
    return [(record.line, record.text, record.reason) for record in records if isinstance(record, Bad)]


def test_bad_lines_are_reported_and_the_others_read() -> None:
    records = read(b'n,s\n1,a\n2\n3,"x"y\n4,\xff\n5,e\n6,"never closed\n7,x\n')
    assert [row["n"] for row in rows(records)] == ["1", "5"]
    assert bad(records) == [
        (3, "2", "the line has 1 fields, the header names 2"),
        (4, '3,"x"y', "not CSV: ',' expected after '\"'"),
        (5, "4,?", "the line is not UTF-8"),
        (7, '6,"never closed\n7,x', "not CSV: unexpected end of data"),
    ]
    assert bad(read("n\n1\\", True)) == [(2, "1\\", "the file ends with a backslash")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n,titel\n1,2\n", 'line 1: table t has no column "titel"'),
        ("n,N\n1,2\n", "line 1: a column is named twice"),
        ("", "the file is empty"),
    ],
)
def test_header_that_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(text)
    assert caught.value.message == message


def test_schema_is_asked_for_with_the_first_records_when_there_is_none() -> None:
    seen: list[object] = []

    def sample(names: list[str], records: list[list[str | None]]) -> TableSchema:
        seen.append((names, records))
        return T

    reader = TextTableReader("t", None, sample=sample)
    records = [*reader.feed(b"n,s\n1,a\n2,b\n"), *reader.finish()]
    assert seen == [(["n", "s"], [["1", "a"], ["2", "b"]])]
    assert rows(records) == [{"n": "1", "s": "a"}, {"n": "2", "s": "b"}]


_FIELD = st.text(st.sampled_from('ab,"\n\r\\\tü'), max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), _FIELD), max_size=8), st.integers(1, 40))
def test_what_a_csv_writer_prints_is_read_back(given_rows: list[tuple[int, str]], piece: int) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("n", "s"), *given_rows])
    expected: list[dict[str, Value]] = [{"n": str(n), "s": None if s == "\\N" else s} for n, s in given_rows]
    assert rows(read(text.getvalue(), piece=piece)) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), _FIELD), max_size=8), st.integers(1, 40))
def test_what_mysql_prints_as_tsv_is_read_back(given_rows: list[tuple[int, str]], piece: int) -> None:
    escapes = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\\t", "\r": "\\r"})
    text = "n\ts\n" + "".join(f"{n}\t{s.translate(escapes)}\n" for n, s in given_rows)
    assert rows(read(text, True, piece)) == [{"n": str(n), "s": s} for n, s in given_rows]
