"""Normal form, tokens and expressions of full text; the index of trigrams finds a superset."""

from __future__ import annotations

import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine import fulltext
from tcsql.engine.query import Operator
from tcsql.engine.schema import Column, IndexDef
from tcsql.engine.textindex import SERVED, TextIndex
from tests.model_language import Cell, fts_expression, holds, normal, words
from tests.pools import INT, PHRASES, TEXTS, VARCHAR
from tests.strategies import effort

ANY = (
    st.text(max_size=12)
    | st.text('aA éÉ\t\n\u3000,ＡßÅ가각が中&|!"\\\U0010ffff\0', max_size=12)
    | st.sampled_from(TEXTS)
)
EXPRESSIONS = st.lists(st.sampled_from((*PHRASES, "&&", "||", "!!", '"', "\\", ",")), max_size=7).map(" ".join) | ANY


def test_normal_form_of_every_code_point_is_the_naive_one() -> None:
    for code in (*range(0x11000), *range(0x11000, sys.maxunicode, 37)):
        character = chr(code)
        if unicodedata.category(character) != "Cs":
            expected = normal.__wrapped__(character)
            assert fulltext.normalise(character) in (expected, unicodedata.normalize("NFKD", expected)), hex(code)


@given(ANY, ANY)
def test_what_occurs_in_a_text_occurs_in_its_normal_form(before: str, text: str) -> None:
    assert fulltext.normalise(text) in fulltext.normalise(before + text + before)


@given(ANY)
def test_normal_form_is_its_own_normal_form(text: str) -> None:
    once = fulltext.normalise(text)
    assert fulltext.normalise(once) == once
    assert "  " not in once and once == once.strip()


@given(ANY)
def test_tokens_are_the_runs_between_separators(text: str) -> None:
    assert fulltext.tokens(text) == words(text)


@given(EXPRESSIONS, ANY)
def test_an_expression_is_read_as_the_naive_reader_reads_it(expression: str, text: str) -> None:
    quoted_operator = any(f'"{operator}"' in fulltext.normalise(expression) for operator in ("&&", "||", "!!"))
    if not quoted_operator and "\\" not in expression:
        assert fulltext.expression_test(expression)(text) == fts_expression(normal(text), expression)


def test_a_quoted_operator_is_a_phrase() -> None:
    assert fulltext.expression_test('a "||" b')("a || b")
    assert not fulltext.expression_test('a "||" b')("a b")
    assert fulltext.expression_test(r'"say \"hi\""')('They SAY "hi" again')


def index_of(texts: list[str | None]) -> TextIndex:
    index = TextIndex(IndexDef("i", ("c",), fulltext=True), Column("c", VARCHAR), (Column("id", INT),))
    for number, text in enumerate(texts):
        index.add([text], number)
    index.check_invariants()
    return index


@effort(200)
@given(st.lists(st.none() | ANY, max_size=12), st.sampled_from(sorted(SERVED, key=str)), EXPRESSIONS)
def test_the_index_never_misses_a_matching_row(texts: list[str | None], operator: Operator, operand: str) -> None:
    leaves = index_of(texts).candidates(operator, operand)
    if leaves is None:
        return
    found = {key for leaf in leaves for key in leaf}
    test = {
        Operator.STRINC: lambda text: operand in text,
        Operator.FTSPH: fulltext.phrase_test(operand),
        Operator.FTSAND: fulltext.all_test(operand),
        Operator.FTSOR: fulltext.any_test(operand),
        Operator.FTSEX: fulltext.expression_test(operand),
    }[operator]
    assert {number for number, text in enumerate(texts) if text is not None and test(text)} <= found


def test_every_piece_of_a_text_is_found_by_the_index() -> None:
    text = "Zürich a\U0010ffff\U0010ffffb 中文 x"
    index = index_of(["other", text, None])
    for start in range(len(text)):
        for stop in range(start + 1, len(text) + 1):
            leaves = index.candidates(Operator.STRINC, text[start:stop])
            assert leaves is None or 1 in {key for leaf in leaves for key in leaf}, text[start:stop]


@given(st.lists(st.none() | ANY, min_size=1, max_size=8), st.data())
def test_taking_texts_out_again_leaves_what_a_rebuild_has(texts: list[str | None], data: st.DataObject) -> None:
    index = index_of(texts)
    for number in data.draw(st.lists(st.integers(0, len(texts) - 1), unique=True)):
        index.discard([texts[number]], number)
        texts[number] = None
    index.check_invariants()
    fresh = index_of(texts)
    assert {gram: list(leaf) for gram, leaf in index.leaves.items()} == {
        g: list(leaf) for g, leaf in fresh.leaves.items()
    }


@given(ANY, ANY)
def test_full_text_operators_agree_with_the_model(text: str, operand: str) -> None:
    seen = Cell(text, 0.0)
    assert fulltext.phrase_test(operand)(text) == holds(Operator.FTSPH, seen, operand)
    assert fulltext.all_test(operand)(text) == holds(Operator.FTSAND, seen, operand)
    assert fulltext.any_test(operand)(text) == holds(Operator.FTSOR, seen, operand)


def seen(text: str | None) -> Cell | None:
    return None if text is None else Cell(text, 0.0)


TITLES = st.none() | st.text("abc ", max_size=8)
CHANGES = st.lists(
    st.tuples(st.sampled_from(("put", "put", "remove", "settle")), st.integers(0, 6), TITLES, st.booleans()),
    max_size=30,
)


@effort(300)
@given(CHANGES, st.text("abc ", min_size=1, max_size=4))
def test_an_index_that_notes_and_settles_finds_what_one_built_anew_finds(
    changes: list[tuple[str, int, str | None, bool]], asked: str
) -> None:
    index = index_of([])
    rows: dict[int, str | None] = {}
    for what, pkey, text, noting in changes:
        if what == "settle":
            index.settle()
        elif what == "remove" and pkey in rows:
            old = rows.pop(pkey)
            if noting:
                index.note(old, None, pkey, exists=False)
            else:
                index.discard((old,), pkey)
        elif what == "put" and pkey in rows and rows[pkey] != text:
            (index.note_change if noting else index.replace)(rows[pkey], text, pkey)
            rows[pkey] = text
        elif what == "put" and pkey not in rows:
            if noting:
                index.note(None, text, pkey, exists=True)
            else:
                index.add((text,), pkey)
            rows[pkey] = text
        index.check_invariants()
        assert all(index.contains((held,), each) for each, held in rows.items())
        for operator in SERVED:
            leaves = index.candidates(operator, asked)
            if leaves is not None:
                found = {key for leaf in leaves for key in index.codec.pkeys(iter(leaf))}
                assert found <= rows.keys(), "a key without a row cannot be looked up"
                matching = {each for each, held in rows.items() if holds(operator, seen(held), asked)}
                assert matching <= found, operator
    while index.settle():
        pass
    index.check_invariants()
    fresh = index_of([])
    fresh.build(list(rows.values()), list(rows))
    assert {gram: list(leaf) for gram, leaf in index.leaves.items()} == {
        gram: sorted(leaf) for gram, leaf in fresh.leaves.items()
    }
