"""Query strings, forms and JSON objects give the same parameters; what is broken is refused with its place."""

from __future__ import annotations

from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.errors import BadRequest
from tcsql.http.parameters import COMMANDS, PARAMETERS, of_json, of_query, percent_decoded


@given(st.text(), st.lists(st.text(), max_size=3))
def test_what_urlencode_writes_is_read_back(title: str, wheres: list[str]) -> None:
    query = urlencode([("type", title), *(("where", where) for where in wheres)]).encode()
    parameters = of_query(query)
    assert parameters.values == {"type": title}
    assert parameters.where == wheres


@given(st.text())
def test_every_text_survives_percent_encoding_of_all_its_bytes(text: str) -> None:
    encoded = "".join(f"%{byte:02x}" for byte in text.encode())
    assert percent_decoded(encoded, "x") == text
    assert percent_decoded(quote_plus(text), "x") == text


def test_decoding_happens_once() -> None:
    assert of_query(b"where=%2541").where == ["%41"]


def test_raw_utf8_is_taken_as_it_stands() -> None:
    assert of_query("where=title:STREQ:zwölf".encode()).where == ["title:STREQ:zwölf"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (b"where=%zz", 'invalid percent-encoding "%zz" in parameter "where" at character 0'),
        (b"where=abc%4", 'invalid percent-encoding "%4" in parameter "where" at character 3'),
        (b"where=%", 'invalid percent-encoding "%" in parameter "where" at character 0'),
        (b"where=%E4%BD%A0%+1", 'in parameter "where" at character 9'),
        (b"where=a%ff", 'parameter "where" is not UTF-8 at character 1: %ff'),
        (b"where=%E4%BD", 'parameter "where" is not UTF-8 at character 0: %E4'),
        (b"where=%ed%a0%80", 'parameter "where" is not UTF-8 at character 0'),
        (b"where=\xff", "the query string is not UTF-8 at byte 6"),
        (b"%zz=1", "invalid percent-encoding"),
        (b"command=select&command=select", 'parameter "command" is given more than once'),
        (b"limit_max=1&limit_max=1", "more than once"),
        (b"wher=1", 'unknown parameter "wher"'),
        (b"=1", 'unknown parameter ""'),
        (b"COMMAND=select", 'unknown parameter "COMMAND"'),
    ],
)
def test_broken_query_strings_are_refused_with_the_place(query: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        of_query(query)
    assert message in caught.value.message


def test_unknown_parameters_get_the_nearest_name() -> None:
    with pytest.raises(BadRequest) as caught:
        of_query(b"ordre_by=1")
    assert caught.value.hint == 'did you mean "order_by"?'


@pytest.mark.parametrize("query", [b"key=x", b"Access_Token=x"])
def test_a_key_in_the_url_is_told_where_it_belongs(query: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        of_query(query)
    assert "Authorization: Bearer" in str(caught.value.hint)


def test_empty_parts_are_nothing() -> None:
    assert of_query(b"&&command=select&").values == {"command": "select"}


def test_json_members_are_parameters() -> None:
    parameters = of_json(
        {"command": "select", "limit_max": 5, "total": True, "where": ["a", "b"], "type": ["x", "y"], "after": None}
    )
    assert parameters.values == {"command": "select", "limit_max": "5", "total": "1", "type": "x,y"}
    assert parameters.where == ["a", "b"]
    assert of_json({"where": "a"}).where == ["a"]


@pytest.mark.parametrize("members", [{"limit_max": 1.5}, {"where": {}}, {"type": [[]]}, {"nope": 1}, {"nope": {}}])
def test_json_members_that_are_no_values_are_refused(members: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        of_json(members)


def test_two_sources_may_not_give_the_same_scalar() -> None:
    parameters = of_query(b"command=select&where=a")
    parameters.merge(of_query(b"where=b&limit_max=1"))
    assert parameters.where == ["a", "b"]
    with pytest.raises(BadRequest):
        parameters.merge(of_query(b"limit_max=1"))


def test_every_parameter_names_commands_that_exist() -> None:
    for parameter in PARAMETERS.values():
        assert parameter.meaning
        assert set(parameter.commands) <= set(COMMANDS)
