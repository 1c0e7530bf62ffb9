"""Results become JSON with every digit; errors show what the contract says and no more."""

from __future__ import annotations

import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import Tally
from tcsql.engine.result import CountResult, Groups, Page
from tcsql.errors import UnknownColumn
from tcsql.http import render

rows = st.dictionaries(
    st.text(),
    st.none() | st.text() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False),
    max_size=6,
)


CURSORS = st.none() | st.from_regex(r"[0-9a-f]{8}[-_][0-9A-Za-z_-]*", fullmatch=True)


@given(st.lists(rows, max_size=4), st.none() | st.integers(0, 2**63), CURSORS, CURSORS)
def test_a_page_is_json_with_the_rows_as_they_are(
    held: list[dict[str, object]], total: int | None, after: str | None, before: str | None
) -> None:
    page = Page(total, [json.dumps(row).encode() for row in held], after, before)
    assert json.loads(render.result(page)) == {"total": total, "next": after, "prev": before, "rows": held}


@given(rows)
def test_bigint_string_quotes_integers_beyond_2_53_and_nothing_else(row: dict[str, object]) -> None:
    found = json.loads(render.quoted_bigints(json.dumps(row, ensure_ascii=False).encode()))
    assert found == {
        name: str(value) if type(value) is int and abs(value) > 2**53 else value for name, value in row.items()
    }


@pytest.mark.parametrize("value", [2**53 - 1, 2**53, -(2**53)])
def test_what_a_float_holds_exactly_stays_a_number(value: int) -> None:
    row = b'{"a":%d}' % value
    assert render.quoted_bigints(row) == row


def test_counts_and_groups() -> None:
    assert render.result(CountResult(7)) == b'{"count":7}'
    assert render.result(Groups(2, [b'{"a":1}'])) == b'{"total":2,"rows":[{"a":1}]}'
    wide = Groups(1, [b'{"sum(a)":18446744073709551616}'])
    assert render.result(wide, bigint_text=True) == b'{"total":1,"rows":[{"sum(a)":"18446744073709551616"}]}'


def test_tallies() -> None:
    assert orjson.loads(render.inserted(Tally(1, 2), 9)) == {"inserted": 1, "replaced": 2, "lsn": 9}
    assert orjson.loads(render.inserted(Tally(1, 0, last_insert_id=5), 9, lines=3)) == {
        "inserted": 1,
        "replaced": 0,
        "lines": 3,
        "last_insert_id": 5,
        "lsn": 9,
    }
    assert orjson.loads(render.updated(Tally(updated=3), 9)) == {"updated": 3, "lsn": 9}
    assert orjson.loads(render.deleted(Tally(deleted=3), 9)) == {"deleted": 3, "lsn": 9}


def test_an_error_has_code_message_hint_and_its_extras() -> None:
    body = orjson.loads(render.error(UnknownColumn('no column "x"', "try y", line=3)))
    assert body == {"error": {"code": "unknown_column", "message": 'no column "x"', "hint": "try y", "line": 3}}
    assert "hint" not in orjson.loads(render.error(UnknownColumn("no")))["error"]


def test_documents_never_hold_nan() -> None:
    assert render.document({"a": math.inf, "b": math.nan, "c": {3}}) == b'{"a":null,"b":null,"c":[3]}'
