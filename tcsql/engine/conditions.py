"""Conditions as functions on a decoded row: what the scan and every residual filter run.

Costs, on a 124-byte row: decoding 0.5 us, one test 0.05 to 0.2 us; full text adds 1 to 2 us for normalising.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import re2

from tcsql.engine import fulltext
from tcsql.engine.change import Row
from tcsql.engine.numbers import number_of_text
from tcsql.engine.query import ColumnRef, Condition, Conjunction, Filter, Operator
from tcsql.engine.schema import TableSchema
from tcsql.engine.spans import Span, contains, numbers, spans
from tcsql.engine.values import ColumnType, JsonValue, Kind, Number
from tcsql.errors import InvalidPattern, LimitExceeded

RowTest = Callable[[Row], bool]
TextTest = Callable[[str], bool]
#: Longest client pattern in bytes: RE2 is linear in the text, but compiling costs memory with the pattern.
MAX_PATTERN_BYTES: Final = 1_000
#: What one may grow to: 3 ms to find out at most. Of 8 MiB, RE2's own limit, it is 45 ms, and no search is faster.
_PATTERN_MEMORY: Final = 1 << 19
#: Different patterns of a request: compiling them is one step.
MOST_PATTERNS: Final = 4
_FULL_TEXT: Final = frozenset({Operator.FTSPH, Operator.FTSAND, Operator.FTSOR, Operator.FTSEX})
#: What may stand between two words of an expression: it has at most one word more than of these.
_WORD_ENDS: Final = (" ", ",", '"', "\t", "\n", "\r")
#: So many words and conditions are tested in about the time of an ordinary row with its conditions, 5 us.
_WORDS_A_ROW: Final = 16
#: Words of all full-text expressions of a request.
MOST_WORDS: Final = 2_048


def getter(schema: TableSchema, column: ColumnRef) -> Callable[[Row], JsonValue]:
    """Reads a column of a row; None (a composite primary key) reads the joined text of the key."""
    if column is None and len(schema.primary_key) > 1:
        return lambda row: schema.pkey_text(schema.pkey_of(row))
    name = schema.primary_key[0] if column is None else column
    return lambda row: row[name]


def type_of(schema: TableSchema, column: ColumnRef) -> ColumnType | None:
    """The type of a column; None for a composite primary key, which is plain text."""
    if column is None:
        return schema.pkey_columns[0].type if len(schema.primary_key) == 1 else None
    return schema.by_name[column].type


def row_test(schema: TableSchema, conjunction: Conjunction) -> RowTest:
    """All conditions as one function."""
    tests = [_condition_test(schema, condition) for condition in conjunction]
    if not tests:
        return lambda row: True
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda row: first(row) and second(row)
    return lambda row: all(test(row) for test in tests)


def weight(conjunction: Conjunction) -> int:
    """How many rows one row of this test counts for: 1, more only where an expression has many words.

    A word of a full-text expression costs 0.3 us a row, and a client can send a thousand of them.
    """
    words = sum(_words(each.operand) for each in conjunction if each.operator in _FULL_TEXT)
    return 1 + (words + len(conjunction)) // _WORDS_A_ROW


def _words(expression: str) -> int:
    return 1 + sum(map(expression.count, _WORD_ENDS))


def filter_test(schema: TableSchema, where: Filter) -> RowTest:
    """Any conjunction holds."""
    if where.matches_everything:
        return lambda row: True
    tests = [row_test(schema, conjunction) for conjunction in where.any_of]
    return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)


def check_patterns(where: Filter) -> None:
    """Raises InvalidPattern, so that a bad pattern is refused even where no row would meet it. 0.1 us a condition.

    And LimitExceeded for more patterns or words of full-text expressions than anybody means: they are taken apart in
    one step, 3 us a word.
    """
    words = 0
    patterns = set()
    for conjunction in where.any_of:
        for condition in conjunction:
            if condition.operator is Operator.STRRX:
                patterns.add(condition.operand)
            elif condition.operator in _FULL_TEXT:
                words += _words(condition.operand)
    if len(patterns) > MOST_PATTERNS:
        raise LimitExceeded(f"more than {MOST_PATTERNS} patterns", "one pattern can hold several, joined by |")
    for pattern in patterns:
        _pattern(pattern)
    if words > MOST_WORDS:
        raise LimitExceeded(f"full-text expressions of more than {MOST_WORDS} words in all")


def _condition_test(schema: TableSchema, condition: Condition) -> RowTest:
    read = getter(schema, condition.column)
    if condition.operator is Operator.NULL:
        return (lambda row: read(row) is not None) if condition.negated else (lambda row: read(row) is None)
    test = value_test(condition, type_of(schema, condition.column))
    if condition.negated:
        return lambda row: (value := read(row)) is None or not test(value)
    return lambda row: (value := read(row)) is not None and test(value)


def value_test(condition: Condition, kind: ColumnType | None) -> Callable[[int | float | str], bool]:
    """The condition without its negation, on a stored value that is not NULL."""
    operator, operand = condition.operator, condition.operand
    if kind is not None and kind.is_numeric and operator.value.startswith("NUM"):
        found = spans(Condition(condition.column, operator, operand), kind)
        assert found is not None
        return _spans_test(found, kind)
    if operator.value.startswith("NUM"):
        compare = _number_test(operator, operand)
        return lambda value: compare(number_of_text(str(value)))
    test = _TEXT_TESTS[operator](operand)
    if kind is None or not kind.is_numeric:
        return test  # type: ignore[return-value]  # stored values of such columns are text
    return lambda value: test(kind.text(value))


def _spans_test(found: tuple[Span, ...], kind: ColumnType) -> Callable[[int | float | str], bool]:
    key = kind.sort_key
    if len(found) == 1:
        span = found[0]
        if kind.kind is Kind.INTEGER and not span.high_open:
            return _integer_test(span)
        return lambda value: contains(span, key(value))
    if all(span.is_point for span in found):
        points = {span.low for span in found}
        return lambda value: key(value) in points
    return lambda value: any(contains(span, key(value)) for span in found)


def _integer_test(span: Span) -> Callable[[Any], bool]:
    """``contains`` for integers, which are their own keys: a sixth of its time."""
    low, high = span.low, span.high
    if low is None:
        return lambda value: high is None or value <= high
    if high is None:
        return lambda value: bool(value >= low)
    return lambda value: bool(low <= value <= high)


def _number_test(operator: Operator, operand: str) -> Callable[[Number], bool]:
    """NUM operators on text columns, where both sides are read leniently."""
    if operator is Operator.NUMOREQ:
        wanted = set(numbers(operand))
        return lambda number: number in wanted
    if operator is Operator.NUMBT:
        low, high = sorted([*numbers(operand)[:2], 0, 0][:2])
        return lambda number: low <= number <= high
    bound = number_of_text(operand)
    return {
        Operator.NUMEQ: lambda number: number == bound,
        Operator.NUMGT: lambda number: number > bound,
        Operator.NUMGE: lambda number: number >= bound,
        Operator.NUMLT: lambda number: number < bound,
        Operator.NUMLE: lambda number: number <= bound,
    }[operator]


def _tokens_all(operand: str) -> TextTest:
    wanted = set(fulltext.tokens(operand))
    return lambda text: wanted <= set(fulltext.tokens(text))


def _tokens_any(operand: str) -> TextTest:
    wanted = set(fulltext.tokens(operand))
    return lambda text: not wanted.isdisjoint(fulltext.tokens(text))


def _one_of(operand: str) -> TextTest:
    wanted = frozenset(fulltext.tokens(operand))
    return lambda text: text in wanted


def _pattern(operand: str) -> TextTest:
    """STRRX: RE2 only, so that no pattern can take more than linear time."""
    if len(operand.encode("utf-8", "surrogatepass")) > MAX_PATTERN_BYTES:
        raise InvalidPattern(f"a pattern may have {MAX_PATTERN_BYTES} bytes")
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True  # as in POSIX, where a newline is a character like any other
    options.case_sensitive = not operand.startswith("*")
    options.max_mem = _PATTERN_MEMORY
    options.never_capture = True  # only whether it is found: 400 groups would make a row cost 1.3 ms, not 4 us
    try:
        pattern = re2.compile(operand.removeprefix("*"), options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise InvalidPattern(
            f"cannot use the pattern: {reason}", "RE2 syntax: no back-references, no look-around"
        ) from None
    return lambda text: pattern.search(text) is not None


_TEXT_TESTS: Final[dict[Operator, Callable[[str], TextTest]]] = {
    Operator.STREQ: lambda operand: lambda text: text == operand,
    Operator.STRINC: lambda operand: lambda text: operand in text,
    Operator.STRBW: lambda operand: lambda text: text.startswith(operand),
    Operator.STREW: lambda operand: lambda text: text.endswith(operand),
    Operator.STRAND: _tokens_all,
    Operator.STROR: _tokens_any,
    Operator.STROREQ: _one_of,
    Operator.STRRX: _pattern,
    Operator.FTSPH: fulltext.phrase_test,
    Operator.FTSAND: fulltext.all_test,
    Operator.FTSOR: fulltext.any_test,
    Operator.FTSEX: fulltext.expression_test,
}
