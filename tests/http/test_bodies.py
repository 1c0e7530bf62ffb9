"""Bytes become rows exactly, whatever reader takes them; hostile JSON is refused in bounded work."""

from __future__ import annotations

import json
import time
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import CreateTable
from tcsql.engine.schema import TableSchema
from tcsql.errors import BadRequest, InvalidValue
from tcsql.http.bodies import (
    LineSplitter,
    RowReader,
    is_hopelessly_deep,
    json_text,
    json_value,
    looks_like_json,
    split_pkey,
    unwrapped,
)
from tcsql.sql import changes_of


def schema(columns: str) -> TableSchema:
    [change] = changes_of(f"CREATE TABLE t ({columns})", lambda name: None)
    assert isinstance(change, CreateTable)
    return change.schema


PLAIN = schema("id INT PRIMARY KEY, big BIGINT UNSIGNED, title TEXT, f DOUBLE")
EXACT = schema("id INT PRIMARY KEY, price DECIMAL(65,30), title TEXT, j JSON")
PAIR = schema("a VARCHAR(9), b INT, PRIMARY KEY (a, b)")

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_both_readers_agree(value: object) -> None:
    body = orjson.dumps(value)
    assert rounded(json_value(body)) == value
    assert rounded(json_value(body, exact=True)) == value


def rounded(value: object) -> object:
    """The same value with floats where the exact reader kept decimals."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


@given(json_values)
def test_json_text_is_json_with_the_same_value(value: object) -> None:
    assert orjson.loads(json_text(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2**64),
        ("-9223372036854775809", -(2**63) - 1),
        ("9007199254740993.0", Decimal("9007199254740993.0")),
        ("9007199254740993e0", Decimal(9007199254740993)),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_long_numbers_keep_every_digit(text: str, value: object) -> None:
    found = RowReader(PLAIN).rows(b'{"id":1,"big":%b}' % text.encode())[0]["big"]
    assert found == value
    assert type(found) is type(value)


def test_decimals_keep_the_digits_as_written() -> None:
    row = RowReader(EXACT).rows(b'{"price":12345678901234567890.123456789012345678901234567890}')[0]
    assert str(row["price"]) == "12345678901234567890.123456789012345678901234567890"


def test_json_columns_keep_their_own_numbers() -> None:
    row = RowReader(EXACT).rows(b'{"j":{"a":[1.50,18446744073709551616,"x"]}}')[0]
    assert row["j"] == '{"a":[1.50,18446744073709551616,"x"]}'
    assert RowReader(EXACT).rows(b'{"j":1.50}')[0]["j"] == "1.50"


def test_nan_of_old_udfs_is_null_and_raw_control_characters_are_taken() -> None:
    row = RowReader(PLAIN).rows(b'{"id":1,"f":NaN,"title":"a\tb\nc\x00d"}')[0]
    assert row == {"id": 1, "f": None, "title": "a\tb\nc\0d"}


def test_nul_and_surrogate_pairs_are_text() -> None:
    assert RowReader(PLAIN).rows(rb'{"title":"\u0000\ud83d\ude00"}')[0]["title"] == "\0\U0001f600"


def test_of_a_member_given_twice_the_last_counts_in_both_readers() -> None:
    assert json_value(b'{"a":1,"a":2}') == json_value(b'{"a":1,"a":2}', exact=True) == {"a": 2}


BAD = [
    (b"", "is empty"),
    (b"  ", "is empty"),
    (b"{", "is not JSON"),
    (b'{"a":1}x', "is not JSON"),
    (b'{"a":1,}', "is not JSON"),
    (b"{'a':1}", "is not JSON"),
    (b'{"a":01}', "is not JSON"),
    (b'{"a":Infinity}', "Infinity"),
    (b'{"a":-Infinity}', "-Infinity"),
    (b'{"a":1e999999999}', "too large"),
    (b'{"a":' + b"9" * 5_000 + b"}", "too large"),
    (b'{"a":"\xff"}', "is not UTF-8 at byte 6"),
    (b'\xef\xbb\xbf{"a":1}', "is not JSON"),
    (rb'{"a":"\ud800"}', "lone surrogate"),
    (rb'{"a":"\udc00\ud800"}', "lone surrogate"),
    (rb'{"\ud800":1}', "lone surrogate"),
    (rb'{"a":[{"b":["\ud800"]}]}', "lone surrogate"),
    (b"1", "is not a JSON object"),
    (b'"text"', "is not a JSON object"),
    (b"null", "is not a JSON object"),
    (b'[{"a":1},2]', "row 2 is not a JSON object"),
    (b"[[]]", "row 1 is not a JSON object"),
    (b'{"a":' + b"[" * 32 + b"]" * 32 + b"}", "deeper than 32"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "deeper than 32"),
    (b"[" * 100_000, "deeper than 32"),
    (b'{"a":' * 100_000, "deeper than 32"),
    (b"[" * 100_000 + b"]" * 100_000, "deeper than 32"),
]


@pytest.mark.parametrize(("body", "says"), BAD, ids=[str(body[:30]) for body, _ in BAD])
def test_bad_bodies_are_refused_and_say_why(body: bytes, says: str) -> None:
    started = time.perf_counter()
    for reader in (RowReader(PLAIN), RowReader(EXACT)):
        with pytest.raises(BadRequest) as caught:
            reader.rows(body)
        assert says in caught.value.message
    assert time.perf_counter() - started < 1


def test_32_levels_are_deep_enough() -> None:
    body = b'{"a":' + b"[" * 31 + b"]" * 31 + b"}"
    assert RowReader(PLAIN).rows(body)[0]["a"]


def test_syntax_errors_name_line_and_column() -> None:
    with pytest.raises(BadRequest, match="line 2 column 8"):
        RowReader(PLAIN).rows(b'{"a":1,\n  "b": }')


def test_pkey_is_the_key_under_its_real_name() -> None:
    assert RowReader(PLAIN).rows(b'{"pkey":5,"title":"x"}') == [{"title": "x", "id": 5}]
    assert RowReader(PLAIN).rows(b'{"pkey":"5","id":5}') == [{"id": 5}]
    with pytest.raises(BadRequest, match='pkey and "id" differ'):
        RowReader(PLAIN).rows(b'{"pkey":6,"id":5}')


def test_pkey_of_several_columns_is_split_again() -> None:
    assert RowReader(PAIR).rows(rb'{"pkey":"x\\,y,7"}') == [{"a": "x,y", "b": "7"}]
    assert RowReader(PAIR).rows(rb'{"pkey":"x,7","b":7}') == [{"a": "x", "b": 7}]
    for body in (b'{"pkey":7}', b'{"pkey":"x"}', b'{"pkey":"x,7,8"}', b'{"pkey":"x,8","b":7}', rb'{"pkey":"x\\"}'):
        with pytest.raises(BadRequest):
            RowReader(PAIR).rows(body)
    with pytest.raises(InvalidValue):
        RowReader(PAIR).rows(b'{"pkey":"x,y","b":7}')


@given(st.lists(st.text(alphabet="ab,\\|\n"), min_size=1, max_size=4))
def test_the_text_of_a_key_is_split_into_what_was_joined(parts: list[str]) -> None:
    joined = ",".join(part.replace("\\", "\\\\").replace(",", "\\,") for part in parts)
    assert split_pkey(joined) == parts


def test_a_url_encoded_body_is_decoded_once() -> None:
    body = b"%7B%22id%22%3A1%2C%22title%22%3A%22100%2525+%E4%BD%A0%22%7D"
    assert RowReader(PLAIN).rows(body) == [{"id": 1, "title": "100%25 你"}]
    assert unwrapped(b'{"a":"%7B"}') == b'{"a":"%7B"}'
    for broken in (b"%7B%zz", b"%7B%ff%7D", b"%7B\xff"):
        with pytest.raises(BadRequest):
            RowReader(PLAIN).rows(broken)


@pytest.mark.parametrize(
    ("body", "is_json"),
    [(b"{}", True), (b" [", True), (b"%7b", True), (b"%5B", True), (b"+%7B", True), (b"a=1", False), (b"", False)],
)
def test_what_looks_like_json(body: bytes, is_json: bool) -> None:
    assert looks_like_json(body) is is_json


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_are_the_same_however_the_stream_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"\n".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    splitter = LineSplitter(1_000)
    found = [
        line
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for line in splitter.feed(stream[start:end])
    ]
    found += splitter.finish()
    assert found == (lines[:-1] if lines and not lines[-1] else lines)


def test_an_endless_line_is_handed_out_before_it_fills_the_memory() -> None:
    splitter = LineSplitter(100)
    assert splitter.feed(b"x" * 60) == []
    [line] = splitter.feed(b"x" * 60)
    assert len(line) == 120


def test_a_long_array_is_read_quickly() -> None:
    body = json.dumps([{"id": number, "title": "x" * 50} for number in range(10_000)]).encode()
    started = time.perf_counter()
    assert len(RowReader(PLAIN).rows(body)) == 10_000
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "text", [b"[" * 500_000, b"[" * 250_000 + b"]" * 250_000, b'{"a":' * 100_000, b'[{"a":' * 90_000]
)
@pytest.mark.parametrize("exact", [False, True])
def test_hopeless_depth_is_found_without_reading(text: bytes, exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("the text was read")

    monkeypatch.setattr("tcsql.http.bodies.orjson.loads", read)
    monkeypatch.setattr("tcsql.http.bodies.json.loads", read)
    with pytest.raises(BadRequest, match="deeper than 32 levels"):
        json_value(text, exact)


def test_brackets_inside_texts_and_many_shallow_rows_are_no_depth() -> None:
    row = {"k": "[" * 500 + '\\"[' * 500 + "\\\\", "n": [[1]]}
    rows = [row] * 50
    assert json_value(orjson.dumps(rows)) == rows
    assert not is_hopelessly_deep(b"[" + b"{}," * 10_000 + b"{}]")
