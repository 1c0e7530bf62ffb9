"""Spans: what a condition means in the order of its column must be what the naive reading says of every value."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.query import Condition, Operator
from tcsql.engine.spans import Span, can_span, contains, intersect, prefix_span, spans
from tcsql.engine.values import ColumnType
from tests.model_language import cell, holds
from tests.pools import BIG, DATETIME, DOUBLE, INT, KEYS, POOLS, PRICE, TYPES, VARCHAR, WIDE
from tests.strategies import NUMBERS, effort, operands

SPANNED = [operator for operator in Operator if operator is not Operator.NULL and can_span(operator, INT)]
TEXT_SPANNED = [operator for operator in Operator if operator is not Operator.NULL and can_span(operator, VARCHAR)]


def says(kind: ColumnType, condition: Condition, value: int | float | str) -> bool:
    found = spans(condition, kind)
    assert found is not None
    return any(contains(span, kind.sort_key(value)) for span in found)


@effort(300)
@given(st.sampled_from(TYPES), st.data())
def test_a_span_holds_exactly_the_values_for_which_the_condition_is_true(kind: ColumnType, data: st.DataObject) -> None:
    operator = data.draw(st.sampled_from(SPANNED if kind.is_numeric else TEXT_SPANNED))
    if not can_span(operator, kind):
        return
    negated = data.draw(st.booleans())
    condition = Condition("c", operator, data.draw(operands(operator, kind)), negated)
    for value in KEYS[kind]:
        true = holds(operator, cell(kind, value), condition.operand)
        assert says(kind, condition, value) == (true != negated), (condition, value)


@effort(300)
@given(
    st.sampled_from((INT, BIG, PRICE, WIDE, DOUBLE)),
    st.sampled_from([operator for operator in SPANNED if operator.value.startswith("NUM")]),
    st.from_regex(r"\A-?[0-9]{0,4}(\.[0-9]{0,40})?\Z") | st.from_regex(r"\A-?[0-9]{15,30}(\.[0-9]{0,3})?\Z"),
)
def test_numbers_between_two_values_of_the_type_fall_on_the_right_side(
    kind: ColumnType, operator: Operator, operand: str
) -> None:
    for value in POOLS[kind]:
        assert says(kind, Condition("c", operator, operand), value) == holds(operator, cell(kind, value), operand)


@given(st.lists(st.tuples(st.sampled_from(SPANNED), NUMBERS), min_size=2, max_size=3))
def test_intersecting_spans_is_asking_for_both(pairs: list[tuple[Operator, str]]) -> None:
    conditions = [Condition("c", operator, operand) for operator, operand in pairs if can_span(operator, PRICE)]
    found = [spans(condition, PRICE) for condition in conditions]
    both: tuple[Span, ...] = (Span(),)
    for each in found:
        assert each is not None
        both = intersect(both, each)
    for value in POOLS[PRICE]:
        inside = any(contains(span, PRICE.sort_key(value)) for span in both)
        assert inside == all(says(PRICE, condition, value) for condition in conditions)
    ends = [(span.low, span.high) for span in both]
    assert len(set(ends)) == len(ends)


@given(st.text(max_size=3), st.text(max_size=4))
def test_a_prefix_is_one_range_of_text(prefix: str, text: str) -> None:
    for each in (text, prefix + text, prefix):
        assert contains(prefix_span(prefix), each) == each.startswith(prefix)


def test_a_prefix_of_last_code_points_has_no_end() -> None:
    assert contains(prefix_span("\U0010ffff"), "\U0010ffff\U0010ffff")
    assert not contains(prefix_span("a\U0010ffff"), "b")
    assert contains(prefix_span("a\U0010ffff"), "a\U0010ffffz")


def test_null_and_negation_are_spans_where_they_can_be() -> None:
    assert spans(Condition("c", Operator.NULL, ""), INT) == (Span(null=True),)
    assert spans(Condition("c", Operator.NULL, "", negated=True), INT) == (Span(),)
    outside = (Span(high=1, high_open=True), Span(low=2), Span(null=True))
    assert spans(Condition("c", Operator.NUMEQ, "1", negated=True), INT) == outside
    assert spans(Condition("c", Operator.STRBW, "", negated=True), VARCHAR) == (Span(null=True),)
    assert spans(Condition("c", Operator.NUMGE, "2026"), DATETIME) is None
    assert spans(Condition("c", Operator.STRINC, "a"), VARCHAR) is None


def test_long_lists_of_values_meet_in_linear_time() -> None:
    """Two lists fit into one request; pair by pair they would hold up all others for hours."""
    odd, by_three = (
        spans(Condition("c", Operator.NUMOREQ, ",".join(map(str, range(first, 100_000, step)))), INT)
        for first, step in ((1, 2), (0, 3))
    )
    assert odd is not None and by_three is not None
    assert [span.low for span in intersect(odd, by_three)] == list(range(3, 100_000, 6))


def test_null_meets_only_null_and_an_open_end_ends_before_a_closed_one() -> None:
    null, every = Span(null=True), Span()
    assert intersect((null,), (null,)) == (null,)
    assert intersect((null,), (every,)) == intersect((every,), (null,)) == ()
    closed, opened = Span(1, 5), Span(2, 5, high_open=True)
    assert intersect((closed,), (opened,)) == intersect((opened,), (closed,)) == (opened,)
    assert intersect((Span(low=3),), (closed,)) == (Span(3, 5),)
