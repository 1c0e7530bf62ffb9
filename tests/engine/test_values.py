"""Column types: what clients may store, and the four faces of a stored value."""

from __future__ import annotations

import base64
import json
import math
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.numbers import number_of_text
from tcsql.engine.values import ClientValue, ColumnType, JsonValue, Kind
from tcsql.errors import InvalidValue
from tests.model_language import natural, number_of, read_number, text_of

INT = ColumnType(Kind.INTEGER, "int", low=-(2**31), high=2**31 - 1)
BIG = ColumnType(Kind.INTEGER, "bigint", unsigned=True, low=0, high=2**64 - 1)
PRICE = ColumnType(Kind.DECIMAL, "decimal", length=10, scale=2)
WIDE = ColumnType(Kind.DECIMAL, "decimal", length=65, scale=30)
WHOLE = ColumnType(Kind.DECIMAL, "decimal", length=5, scale=0, unsigned=True)
DOUBLE = ColumnType(Kind.FLOAT, "double")
FLOAT = ColumnType(Kind.FLOAT, "float")
VARCHAR = ColumnType(Kind.TEXT, "varchar", length=5)
TINYTEXT = ColumnType(Kind.TEXT, "tinytext", length=5)
BLOB = ColumnType(Kind.BINARY, "blob", length=6)
BINARY = ColumnType(Kind.BINARY, "binary", length=4)
DATE = ColumnType(Kind.DATE, "date")
DATETIME = ColumnType(Kind.DATETIME, "datetime")
MICROS = ColumnType(Kind.DATETIME, "datetime", scale=6)
TIME = ColumnType(Kind.TIME, "time", scale=2)
ENUM = ColumnType(Kind.ENUM, "enum", members=("new", "Used", "used"))
SET = ColumnType(Kind.SET, "set", members=("a", "b", "c"))
JSON = ColumnType(Kind.JSON, "json")

TAKEN: list[tuple[ColumnType, ClientValue, JsonValue]] = [
    (INT, 7, 7),
    (INT, "-7", -7),
    (INT, "+7", 7),
    (INT, 7.0, 7),
    (INT, Decimal("7.00"), 7),
    (INT, True, 1),
    (INT, 2**31 - 1, 2**31 - 1),
    (BIG, str(2**64 - 1), 2**64 - 1),
    (BIG, Decimal(2**64 - 1), 2**64 - 1),
    (PRICE, "1.5", "1.50"),
    (PRICE, "-0", "0.00"),
    (PRICE, "1e2", "100.00"),
    (PRICE, "0.10000", "0.10"),
    (PRICE, 0.1, "0.10"),
    (PRICE, Decimal("99999999.99"), "99999999.99"),
    (PRICE, -3, "-3.00"),
    (PRICE, ".5", "0.50"),
    (WIDE, "1e-30", "0." + "0" * 29 + "1"),
    (WIDE, "9" * 35 + "." + "9" * 30, "9" * 35 + "." + "9" * 30),
    (WHOLE, "99999", "99999"),
    (DOUBLE, 5.0, 5),
    (DOUBLE, -0.0, 0),
    (DOUBLE, "1e300", 1e300),
    (DOUBLE, 2**53, float(2**53)),
    (VARCHAR, "äöü€😀", "äöü€😀"),
    (VARCHAR, 12, "12"),
    (TINYTEXT, "äöa", "äöa"),
    (BLOB, "AQID", "AQID"),
    (BLOB, "", ""),
    (BINARY, "AQ==", "AQAAAA=="),
    (DATE, "2024-02-29", "2024-02-29"),
    (DATETIME, "2024-02-29T23:59:59", "2024-02-29 23:59:59"),
    (DATETIME, "2024-02-29", "2024-02-29 00:00:00"),
    (DATETIME, "2024-02-29 01:02:03.000", "2024-02-29 01:02:03"),
    (MICROS, "2024-02-29 01:02:03.5", "2024-02-29 01:02:03.500000"),
    (TIME, "-838:59:59", "-838:59:59.00"),
    (TIME, "1:02:03.25", "01:02:03.25"),
    (ENUM, "Used", "Used"),
    (ENUM, "NEW", "new"),
    (SET, "c,a,a", "a,c"),
    (SET, ["b", "a"], "a,b"),
    (SET, "", ""),
    (JSON, '{"a": [1, 2]}', '{"a": [1, 2]}'),
    (JSON, {"a": [1, None, "x"]}, '{"a":[1,null,"x"]}'),
    (JSON, True, "true"),
]

REFUSED: list[tuple[ColumnType, ClientValue]] = [
    (INT, 2**31),
    (INT, 1.5),
    (INT, "1.0"),
    (INT, "1_000"),
    (INT, "٣"),
    (INT, ""),
    (INT, " 7"),
    (INT, [1]),
    (INT, math.inf),
    (INT, math.nan),
    (INT, Decimal("NaN")),
    (INT, Decimal("1e999999")),
    (INT, "9" * 5000),
    (BIG, -1),
    (BIG, 2**64),
    (BIG, 2.0**64),
    (PRICE, "1.005"),
    (PRICE, "100000000"),
    (PRICE, "1e9"),
    (PRICE, "1e-3"),
    (PRICE, "1,5"),
    (PRICE, "0x10"),
    (PRICE, ""),
    (PRICE, True),
    (PRICE, math.inf),
    (PRICE, Decimal("-Infinity")),
    (PRICE, Decimal("1e999999")),
    (PRICE, "9" * 5000),
    (WHOLE, "-1"),
    (WHOLE, "0.5"),
    (DOUBLE, "1e999"),
    (DOUBLE, math.nan),
    (DOUBLE, "inf"),
    (DOUBLE, "1e"),
    (DOUBLE, True),
    (FLOAT, 1e39),
    (VARCHAR, "123456"),
    (VARCHAR, ["x"]),
    (VARCHAR, "\ud800"),
    (TINYTEXT, "äöü"),
    (BLOB, "AQI"),
    (BLOB, "AQ ID"),
    (BLOB, "AQIDAQIDAQID"),
    (DATE, "2024-02-30"),
    (DATE, "2024-W01-1"),
    (DATE, "24-01-01"),
    (DATE, "2024-1-1"),
    (DATE, "0000-00-00"),
    (DATE, "20240101"),
    (DATETIME, "2024-02-30 00:00:00"),
    (DATETIME, "2024-W01-1 00:00:00"),
    (DATETIME, "2024-01-01 24:00:00"),
    (DATETIME, "2024-01-01 00:00:60"),
    (DATETIME, "2024-01-01 00:00:00Z"),
    (DATETIME, "2024-01-01 00:00:00.5"),
    (DATETIME, "2024-01-01T"),
    (DATETIME, "2024-01-01 1:2:3"),
    (MICROS, "2024-01-01 00:00:00.1234567"),
    (TIME, "839:00:00"),
    (TIME, "838:59:59.01"),
    (TIME, "12:60:00"),
    (TIME, "12:00"),
    (TIME, "--1:00:00"),
    (ENUM, "old"),
    (ENUM, "USED"),
    (ENUM, ""),
    (SET, "a,d"),
    (SET, [["a"]]),
    (JSON, "{'a':1}"),
    (JSON, "NaN"),
    (JSON, ""),
    (JSON, [2**64]),
    (JSON, {"a": Decimal("NaN")}),
]


@pytest.mark.parametrize(("kind", "value", "stored"), TAKEN)
def test_client_values_are_taken_exactly(kind: ColumnType, value: ClientValue, stored: JsonValue) -> None:
    found = kind.from_client(value)
    assert (found, type(found)) == (stored, type(stored))
    assert kind.from_client(found) == found


@pytest.mark.parametrize(("kind", "value"), REFUSED)
def test_client_values_that_do_not_fit_are_refused(kind: ColumnType, value: ClientValue) -> None:
    with pytest.raises(InvalidValue):
        kind.from_client(value)


def test_null_is_every_types_null() -> None:
    assert {kind.from_client(None) for kind in (INT, PRICE, DOUBLE, JSON)} == {None}
    assert PRICE.from_mysql(None) is None


def test_json_documents_keep_exact_numbers() -> None:
    assert JSON.from_client({"a": Decimal("1.10"), "b": 2**64 - 1}) == '{"a":1.10,"b":18446744073709551615}'


def test_mysql_values_are_never_refused() -> None:
    assert DATE.from_mysql("0000-00-00") == "0000-00-00"
    assert ENUM.from_mysql("") == ""
    assert VARCHAR.from_mysql("far too long") == "far too long"
    assert VARCHAR.from_mysql(b"\xff") == "?"
    assert PRICE.from_mysql("12345678901.50") == "12345678901.50"
    assert WIDE.from_mysql(Decimal("-0.5")) == "-0." + "5".ljust(30, "0")
    assert BLOB.from_mysql(b"\0\xff" * 9) == base64.b64encode(b"\0\xff" * 9).decode()
    assert ColumnType(Kind.INTEGER, "bit", length=9, high=511).from_mysql(b"\x01\x02") == 258
    assert DOUBLE.from_mysql("1e22") == 1e22
    assert INT.from_mysql("-12") == -12


@pytest.mark.parametrize(
    ("kind", "value"),
    [(INT, 2**31), (INT, -(2**31) - 1), (INT, "x"), (INT, b"\xff" * 8), (DOUBLE, "nan"), (DOUBLE, "x"), (PRICE, "NaN")],
)
def test_what_mysqls_column_of_that_type_cannot_hold_is_refused(kind: ColumnType, value: int | str | bytes) -> None:
    """Indexes pack an integer by its column's bounds: a row from another definition must not get as far as that."""
    with pytest.raises(InvalidValue):
        kind.from_mysql(value)


#: Per type, stored values (the forms ``from_client`` returns).
STORED: dict[str, tuple[ColumnType, st.SearchStrategy[int | float | str]]] = {
    "int": (INT, st.integers(INT.low, INT.high)),
    "bigint unsigned": (BIG, st.integers(0, 2**64 - 1)),
    "decimal": (PRICE, st.integers(-(10**10) + 1, 10**10 - 1).map(lambda n: f"{Decimal(n).scaleb(-2):.2f}")),
    "double": (
        DOUBLE,
        st.floats(allow_nan=False, allow_infinity=False).map(
            lambda f: int(f) if f.is_integer() and abs(f) < 2**53 else f
        ),
    ),
    "varchar": (VARCHAR, st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    "blob": (BLOB, st.binary(max_size=6).map(lambda raw: base64.b64encode(raw).decode())),
    "date": (DATE, st.dates(date(1000, 1, 1)).map(str)),
    "datetime": (DATETIME, st.datetimes(datetime(1000, 1, 1)).map(lambda d: d.replace(microsecond=0).isoformat(" "))),
    "enum": (ENUM, st.sampled_from(ENUM.members)),
}


@pytest.mark.parametrize("name", STORED)
@given(data=st.data())
def test_the_four_faces_agree_with_the_naive_reading(name: str, data: st.DataObject) -> None:
    kind, values = STORED[name]
    one, other = data.draw(values), data.draw(values)
    assert kind.from_client(one) == one, "a stored value is its own client form"
    back = kind.stored(kind.sort_key(one))
    assert (back, type(back)) == (one, type(one))
    assert json.loads(json.dumps(one)) == one
    assert kind.text(one) == text_of(one)
    assert Fraction(kind.number(one)) == Fraction(number_of(kind, one))
    left, right = natural(kind, one), natural(kind, other)
    keys = kind.sort_key(one), kind.sort_key(other)
    assert (keys[0] < keys[1], keys[0] == keys[1]) == (left < right, left == right)  # type: ignore[operator]  # same type


@pytest.mark.parametrize("name", ["int", "bigint unsigned", "decimal", "double"])
@given(data=st.data())
def test_text_of_a_number_is_canonical(name: str, data: st.DataObject) -> None:
    kind, values = STORED[name]
    value = data.draw(values)
    text = kind.text(value)
    assert Decimal(text) == Decimal(str(value))
    assert not set(text) - set("-0123456789.")
    assert kind.from_client(text) == value


ODD = st.text(st.sampled_from(" \t\n0123456789+-.eE,xna\0٣½"), max_size=12)


@given(ODD | st.from_regex(r"\A[ \t]?[+-]?[0-9]{0,25}(\.[0-9]{0,25})?[a-z ]?\Z"))
def test_numbers_are_read_as_the_naive_reader_reads_them(text: str) -> None:
    found = number_of_text(text)
    assert Fraction(found) == read_number(text)
    assert type(found) in (int, Decimal)


def test_number_reading_takes_very_long_texts_in_linear_time() -> None:
    assert number_of_text("1" + "0" * 100_000) == Decimal("1e100000")
    assert number_of_text("." + "0" * 99_999 + "1") == Decimal("1e-100000")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2) | st.integers() | st.floats() | ODD)
def test_decimal_columns_hold_exactly_the_value_or_refuse_it(value: Decimal | int | float | str) -> None:
    try:
        exact = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        exact = None
    try:
        stored = PRICE.from_client(value)
    except InvalidValue:
        assert exact is None or abs(exact) >= 10**8 or exact * 100 % 1 or isinstance(value, str)
    else:
        assert exact is not None and Fraction(str(stored)) == exact
        assert str(stored).partition(".")[2] == str(stored)[-2:]
