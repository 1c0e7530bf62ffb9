"""``[published.NAME]`` of the configuration: options, places and their values; everything wrong is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.errors import BadRequest, SetupError
from tcsql.published.options import OPTIONS, Published, published_of
from tcsql.published.places import TYPES, Place, text_of


def one(*lines: str) -> Published:
    [found] = published_of("\n".join(["[published.q]", *lines]), "my.toml")
    return found


def place(text: str) -> Place:
    [found] = text_of(text, "here").places
    return found


def test_queries_come_in_the_order_of_the_file() -> None:
    text = """
    port = 1
    [published.board_page]
    query = "table=posts&where=board:NUMEQ:{board:int(1..500)}"
    page_rows = 20
    max_page = 50
    cache_s = 5
    budget_rows = 1000
    strict = true
    description = "posts of a board"
    [published.newest]
    sql = "SELECT id FROM posts LIMIT {n:int(1..50)=20}"
    """
    first, second = published_of(text)
    assert (first.name, first.option, first.page_rows, first.max_page, first.cache_s) == (
        "board_page", "query", 20, 50, 5,
    )  # fmt: skip
    assert (first.budget_rows, first.strict, first.description) == (1000, True, "posts of a board")
    assert first.text.places == (Place("board", "int", 1, 500),)
    assert (second.name, second.option, second.max_page, second.strict) == ("newest", "sql", 100, False)
    assert second.text.places[0].default == "20"


@pytest.mark.parametrize("text", [None, "", "port = 1", '[source.shop]\nurl = "x"'])
def test_without_sections_nothing_is_published(text: str | None) -> None:
    assert published_of(text) == ()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['qery = "table=t"'], ["[published.q]", "unknown key 'qery'", 'did you mean "query"?']),
        (['query = "table=t"', "cache = 5"], ["unknown key 'cache'", "cache_s"]),
        ([], ["needs query or sql"]),
        (['query = "table=t"', 'sql = "SELECT 1"'], ["one of them"]),
        (["query = 5"], ["[published.q] query is a text"]),
        (['query = "table=t"', "page_rows = -1"], ["page_rows is a whole number"]),
        (['query = "table=t"', "page_rows = true"], ["page_rows is a whole number"]),
        (['query = "table=t"', "max_page = 5"], ["max_page without page_rows"]),
        (['query = "table=t"', 'strict = "yes"'], ["strict is true or false"]),
        (['query = "table={t"'], ["[published.q] query", "'{'", "stands alone"]),
    ],
)
def test_what_is_misspelt_is_told_with_file_section_and_option(lines: list[str], words: list[str]) -> None:
    with pytest.raises(SetupError) as caught:
        one(*lines)
    told = f"{caught.value.message} {caught.value.hint}"
    assert told.startswith("my.toml: [published.q]")
    assert not [word for word in words if word not in told], told


@pytest.mark.parametrize("text", ["published = 5", "[published]\nq = 5", "[published.9]\nquery = 'table=t'", "x ="])
def test_a_section_has_a_name(text: str) -> None:
    with pytest.raises(SetupError, match=r"my\.toml"):
        published_of(text, "my.toml")


def test_every_option_has_a_reason() -> None:
    assert all(option.metadata["reason"] for option in OPTIONS.values())


# --- places -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{n:int(1..500)}", Place("n", "int", 1, 500)),
        ("{n:int(-5..5)=0}", Place("n", "int", -5, 5, default="0")),
        ("{q:text(80)}", Place("q", "text", 1, 80)),
        ("{q:text(0..80)=}", Place("q", "text", 0, 80, default="")),
        ("{c:choice(a|b c)=b c}", Place("c", "choice", members=("a", "b c"), default="b c")),
        ("{d:date}", Place("d", "date")),
        ("{ids:ints(1..100)}", Place("ids", "ints", 1, 100)),
        ("{w:words(2..3)}", Place("w", "words", 2, 3)),
    ],
)
def test_a_place_has_a_name_a_type_bounds_and_a_default(text: str, found: Place) -> None:
    assert place(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "{}", "{n}", "{n:}", "{n:int}", "{n:int()}", "{n:int(5)}", "{n:int(5..1)}", "{n:int(1..x)}", "{n:int(0.5..1)}",
        "{n:int(1..5)=6}", "{n:int(1..5)=}", "{n:integer(1..5)}", "{9:int(1..5)}", "{page:int(1..5)}",
        "{after:text(9)}",
        "{n:text(0)}", "{n:text(1..99999)}", "{n:choice()}", "{n:choice(a|a)}", "{n:date(1..2)}", "{n:ints(0..5)}",
        "{n:words(1..1000)}", "{n:int(1..5)}{n:int(1..5)}", "{", "}", "{{}", "{n:int(1..5)", "{n: int(1..5)}",
        "{n:int(1..5)} {m}", "{é:int(1..5)}", "{n:int(1..99999999999999999999999)}",
        "".join(f"{{n{number}:int(1..5)}}" for number in range(40)),
    ],
)  # fmt: skip
def test_what_is_no_place_is_refused_at_once(text: str) -> None:
    with pytest.raises(SetupError, match=r"^here"):
        text_of(text, "here")


def test_braces_and_repeated_places_are_cut_where_they_stand() -> None:
    found = text_of("a{{{n:int(1..5)}}}b{n}", "here")
    assert (found.pieces, found.stands) == (("a{", "}b", ""), (0, 0))
    assert found.marked(lambda number: f"<{number}>") == "a{<0>}b<0>"


VALUES = {
    "{n:int(1..500)}": (
        ["1", "500", "42"],
        ["", "0", "501", "-1", "+1", "01", "1.0", "1e2", " 1", "1 ", "1_0", "٣", "１", "1\n", "0x1", "9" * 40, "²"],
    ),
    "{n:int(-5..5)}": (["-5", "0", "5"], ["-0", "--5", "-6", "\u22125"]),
    "{x:number(0..99.5)}": (["0", "99.5", "1.25"], ["99.51", "-1", "1.", ".5", "1e1", "nan", "inf", "01.5", "٣"]),
    "{q:text(5)}": (
        ["a", "a b", "|:%+", "中文字典你", "a\u200db"], ["", " ", "abcdef", "a\nb", "a\x00", "\x7f", "a\u2028"],
    ),
    "{q:text(0..5)}": (["", " ", "abcde"], ["abcdef", "\t"]),
    "{c:choice(new|hot)}": (["new", "hot"], ["", "New", "new|hot", "newhot", " new"]),
    "{d:date}": (["2026-12-31", "2024-02-29"], ["2026-02-29", "2026-1-1", "20260101", "2026-W01-1", "", "２026-01-01"]),
    "{i:ints(1..3)}": (["1", "1,-2,3"], ["", "1,2,3,4", "1,,2", "1, 2", ",1", "1,", "01", "1;2"]),
    "{w:words(1..3)}": (["a", "a b,c", "ä|b", " a "], ["", " , ", "a b c d", "a\tb", "a" * 65]),
}  # fmt: skip


@pytest.mark.parametrize("text", VALUES)
def test_values_are_taken_in_their_one_spelling_and_within_their_bounds(text: str) -> None:
    found = place(text)
    taken, refused = VALUES[text]
    assert [value for value in taken if not found.allows(value)] == []
    assert [value for value in refused if found.allows(value)] == []
    for value in refused:
        with pytest.raises(BadRequest) as caught:
            found.require(value)
        assert caught.value.hint == f"{found.name} is {found.about}"


@given(st.text(max_size=30), st.sampled_from(sorted(VALUES)))
def test_no_value_brings_a_sign_that_its_type_has_not(value: str, text: str) -> None:
    found = place(text)
    if not found.allows(value):
        return
    signs = {"int": "-0123456789", "number": "-.0123456789", "date": "-0123456789", "ints": "-,0123456789"}
    allowed = signs.get(found.type)
    assert allowed is None or set(value) <= set(allowed)
    assert not any(ord(char) < 32 for char in value)


@pytest.mark.parametrize("text", VALUES)
def test_every_place_has_a_sample_and_a_schema(text: str) -> None:
    found = place(text)
    assert found.allows(found.sample)
    assert found.schema()["type"] in ("integer", "number", "string")
    assert TYPES[found.type].meaning
