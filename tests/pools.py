"""Types and pools of values for tests: small, so that equal keys and ties happen, and odd on purpose.

Everything is in stored form. Two kinds of test draw from here: Hypothesis strategies (``tests.strategies``) and dice
(``tests.dice``).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tcsql.engine.values import ColumnType, Kind

INT = ColumnType(Kind.INTEGER, "int", low=-(2**31), high=2**31 - 1)
TINY = ColumnType(Kind.INTEGER, "tinyint", low=-128, high=127)
BIG = ColumnType(Kind.INTEGER, "bigint", unsigned=True, low=0, high=2**64 - 1)
PRICE = ColumnType(Kind.DECIMAL, "decimal", length=10, scale=2)
WIDE = ColumnType(Kind.DECIMAL, "decimal", length=65, scale=30)
DOUBLE = ColumnType(Kind.FLOAT, "double")
VARCHAR = ColumnType(Kind.TEXT, "varchar", length=60)
TEXT = ColumnType(Kind.TEXT, "text", length=65535)
ENUM = ColumnType(Kind.ENUM, "enum", members=("new", "used", "alt", "Größe"))
DATE = ColumnType(Kind.DATE, "date")
DATETIME = ColumnType(Kind.DATETIME, "datetime")
MICROS = ColumnType(Kind.DATETIME, "timestamp", scale=6)
BLOB = ColumnType(Kind.BINARY, "varbinary", length=8)

TYPES = (INT, TINY, BIG, PRICE, WIDE, DOUBLE, VARCHAR, TEXT, ENUM, DATE, DATETIME, MICROS, BLOB)
TEXTUAL = (VARCHAR, TEXT)

#: Texts that have gone wrong somewhere: signs, zeros, separators, case, accents, width, order of code points.
TEXTS = (
    *("", " ", "a", "b", "ab", "abc", "Ab", "A", "aa", "a b", "b a", "a,b", ",", "a,b  c", " a", "a ", "x\ty", "x\ny"),
    *("0", "00", "-0", "+0", "7", "+7", "-7", "07", " 7", "7 ", "12abc", "1e3", "0x10", "1,000", ".5", "0.5", "-.5"),
    *("9007199254740992", "9007199254740993", "18446744073709551615", "99999999999999999999", "--5", "information"),
    *(
        "hello world",
        "Hello  World",
        "CAFÉ",
        "cafe",
        "café",
        "ＡＢＣ",
        "abc\u3000def",
        "中文全文检索",
        "全文",
        "中",
        "각",
        "가",
    ),
    *(
        "straße",
        "STRASSE",
        "ﬁne",
        "İi",
        "ñ",
        "n\u0303",
        "\uffff",
        "\U0001f600",
        "😀a",
        "a|b",
        'quo"te',
        "back\\slash",
        "null",
    ),
    *("the quick brown fox", "quick fox", "100% sure", "a_b", "$^.*", "2026-11-20", "😀"),
)

#: Small pools: collisions, ties and hits are the rule.
POOLS: dict[ColumnType, tuple[Any, ...]] = {
    INT: (0, 1, 2, 3, 5, 7, -1, -7, 12, 1000, INT.low, INT.high, *range(-9, 20)),
    TINY: (-3, -2, -1, 0, 1, 2, 3, TINY.low, TINY.high),
    BIG: (*range(9), 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1),
    PRICE: (
        *(f"{Decimal(each).scaleb(-2):.2f}" for each in range(-300, 300, 25)),
        "99999999.99",
        "-99999999.99",
        "1.01",
    ),
    WIDE: ("0." + "0" * 30, "0." + "0" * 29 + "1", "-" + "9" * 35 + "." + "9" * 30, "7." + "0" * 30),
    DOUBLE: (0, 1, 0.1, 0.5, -0.5, 7, 1e300, -1e300, 1e16, 5e-324, 2.0**53, 0.30000000000000004, 1.7e308),
    VARCHAR: TEXTS,
    TEXT: (*TEXTS, "lorem ipsum " * 30),
    ENUM: ENUM.members,
    DATE: ("1000-01-01", "2026-11-20", "2026-11-21", "9999-12-31"),
    DATETIME: ("2026-11-20 15:04:05", "2026-11-20 15:04:06", "1970-01-01 00:00:00"),
    MICROS: ("2026-11-20 15:04:05.000000", "2026-11-20 15:04:05.000001", "2038-01-19 03:14:07.999999"),
    BLOB: ("", "AA==", "AAE=", "/w==", "YWJj", "YWI="),
}
#: Larger pools for columns of a primary key, or tables would stay tiny.
KEYS: dict[ColumnType, tuple[Any, ...]] = {
    **POOLS,
    INT: (*POOLS[INT], *range(100, 200)),
    TINY: tuple(range(-60, 60)),
    BIG: (*POOLS[BIG], *range(100, 200)),
    PRICE: (*POOLS[PRICE], *(f"{each}.50" for each in range(-60, 60))),
    DOUBLE: (*POOLS[DOUBLE], *(each + 0.5 for each in range(1, 60))),
    VARCHAR: (*TEXTS, *(f"k{each}" for each in range(60))),
    TEXT: (*TEXTS, *(f"k{each}" for each in range(60))),
    DATE: (*POOLS[DATE], *(f"2026-01-{each:02}" for each in range(1, 32))),
}
NUMBERS = (
    *(
        "0",
        "1",
        "2",
        "3",
        "5",
        "7",
        "-1",
        "-7",
        "+7",
        " 7",
        "07",
        "7.0",
        "0.1",
        "0.5",
        ".5",
        "-.5",
        "1.005",
        "2.99",
    ),
    *("abc", "", "9007199254740992", "9007199254740993", "18446744073709551615", "18446744073709551616", "1e3"),
    *("12abc", "0x10", "-2147483648", "2147483648", "0." + "0" * 29 + "1", "1" + "0" * 120, "-1" + "0" * 120),
    *("0." + "0" * 120 + "1", "2026"),
)
#: Patterns on which POSIX, RE2 and Python agree.
PATTERNS = (
    "",
    "a",
    "^a",
    "a$",
    "^$",
    "a.*b",
    "[ab]+",
    "^[0-9]+$",
    "*ABC",
    "(ab|b a)",
    "x?y",
    "*^hello",
    "\\.",
    "^[^a]",
    "b{2}",
    "o w",
)
PHRASES = (
    "a",
    "b",
    "ab",
    "hello",
    "World",
    "CAFE",
    "é",
    "全文",
    "quick",
    "fox",
    "x",
    "1",
    "0",
    '"a b"',
    '"quick brown"',
    "ss",
)
