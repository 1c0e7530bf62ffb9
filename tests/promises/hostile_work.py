"""Requests that cost their sender little and the server much, if it lets them: what E17 sends.

Each case is a request, or a buffer of many, with a table ``work`` of many rows in mind (``DDL``). All get an answer
that is right or a refusal; none keeps the loop for long.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import orjson

DDL: Final = (
    "CREATE TABLE work (id INT PRIMARY KEY AUTO_INCREMENT, n INT, m INT, title VARCHAR(80), body VARCHAR(200),"
    " price DECIMAL(20,2), KEY (n), FULLTEXT KEY words (title))"
)
_WORDS: Final = (
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
    "some words",
    "other words",
    "nothing of that",
    "a b c d e f",
)


def rows(count: int, chunk: int = 5_000) -> Iterator[bytes]:
    """Rows of the table as NDJSON, a chunk at a time."""
    dice = random.Random(17)
    for start in range(0, count, chunk):
        lines = (
            {"n": number % 1_000, "m": dice.randrange(count), "title": f"{_WORDS[number % 5]} {number % 997}",
             "body": f"{dice.random()} {_WORDS[number % 5]}", "price": f"{number % 1_000}.25"}
            for number in range(start, min(start + chunk, count))
        )  # fmt: skip  # one row
        yield b"\n".join(map(orjson.dumps, lines))


@dataclass(frozen=True, slots=True)
class Case:
    """One hostile request: as JSON parameters, as a body to a query, or bytes as they are (``raw``, many answers)."""

    name: str
    body: bytes = b""
    query: str = ""
    kind: str = "application/json"
    raw: bytes = b""


def _asks(name: str, **parameters: object) -> Case:
    return Case(name, orjson.dumps({"command": "select", "table": "work", **parameters}))


def _where(name: str, *where: str, **parameters: object) -> Case:
    return _asks(name, where=list(where), **parameters)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _patterns()
    yield from _numbers()
    yield from _structures()
    yield from _conditions()
    yield from _sorting()
    yield from _texts()
    yield from _operands()
    yield from _cursors()
    yield from _writes()
    yield from _statements()
    yield from _pipelines()


def _patterns() -> Iterator[Case]:
    bombs = (
        "(a+)+$", "(a|aa)+$", "(a|a)*b", "((a*)*)*c", "(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)z", "(a{1,100}){1,10}$",
        "((a{1,100}){1,100}){1,100}", "(x+x+)+y", "[a-z]{1000}", "\\pL{900}", "(?i)(\\p{L}|\\p{N}){500}$",
        "(" * 400 + "a" + ")" * 400, "a" * 1_001, "(a?){500}a{500}", "^" * 900, "|" * 900, "\\C\\C\\C",
        "(?P<a>a)(?P<a>b)", "[", "\\", "(?=a)", "\\1", "[[:alpha:]]{1,1000}", "\0", "a{1001}", "*(a+)+$",
    )  # fmt: skip  # a list of words
    for number, bomb in enumerate(bombs):
        text = bomb.replace("\\", "\\\\").replace("|", "\\|")
        yield _where(f"pattern {number} {bomb[:20]!r}", f"title:STRRX:{text}", total="1", limit_max=10)
    yield _where("large patterns", *(f"body:STRRX:\\\\pL{{{number}}}" for number in range(20, 24)), total="1")
    yield _where("many patterns", *(f"body:STRRX:(a+)+{number}$" for number in range(250)), total="1")


def _numbers() -> Iterator[Case]:
    operands = (
        "9" * 60_000, "-" + "9" * 5_000, "1e999999999", "1e-999999999", "0." + "0" * 50_000 + "1", "NaN",
        "Infinity", "0x10", "1_000", "٣", "+1", "1e", ".", "-", "9" * 400 + "e" + "9" * 400,
    )  # fmt: skip  # a list of words
    for operand in operands:
        yield _where(f"number {operand[:12]}", f"n:NUMEQ:{operand}")
        yield _where(f"decimal {operand[:12]}", f"price:NUMGT:{operand}", total="1")
    for name in ("limit_max", "limit_skip"):
        for value in (10**18, -1, "9" * 60_000, "1e9", 1.5):
            yield _asks(f"{name} {str(value)[:12]}", **{name: value})
    yield _asks("min_lsn", min_lsn="9" * 50_000)
    digits = b"9" * 500_000
    yield Case("integer of 500,000 digits", b'{"n":%s}' % digits, "command=insert&table=work")
    yield Case("decimal of 500,000 digits", b'{"price":"%s"}' % digits, "command=insert&table=work")
    yield Case("exponent", b'{"n":1e400,"price":1e308}', "command=insert&table=work")


def _structures() -> Iterator[Case]:
    for opening in (b"[", b'{"a":', b'[{"a":'):
        deep = opening * (900_000 // len(opening))
        yield Case(f"deep {opening.decode()}", deep, "command=insert&table=work")
        yield Case(f"deep parameters {opening.decode()}", deep)
        yield Case(f"deep line {opening.decode()}", deep[:60_000], "command=insert&table=work", "application/x-ndjson")
    yield Case("200,000 empty rows", b"[" + b"{}," * 200_000 + b"{}]", "command=insert&table=nothing")
    yield Case("many members", orjson.dumps({f"c{number}": 0 for number in range(60_000)}), "command=insert&table=work")
    yield Case("one member often", b"{" + b'"n":1,' * 100_000 + b'"n":2}', "command=insert&table=work")
    yield Case("many parameters", b"&".join(b"p%d=1" % number for number in range(70_000)), "", _FORM)
    yield Case("one parameter often", b"where=n:NUMEQ:1&" * 50_000, "command=select&table=work", _FORM)
    yield Case("percent signs", b"%" * 900_000, "", _FORM)
    yield Case("lone surrogates", b'{"title":"' + b"\\ud800" * 100_000 + b'"}', "command=insert&table=work")


def _conditions() -> Iterator[Case]:
    one = "n:NUMEQ:1"
    yield _where("10^5 conditions", "|".join([one] * 100_000)[:1_000_000])
    yield _where("10^5 where", *[one] * 60_000)
    yield _where("256 conditions that all match", *["m:NUMGE:0"] * 256, total="1", order_by="m", order_sort="NUMASC")
    yield _where("128 halves", *(f"m:NUMGE:{number}|n:NUMLT:900" for number in range(128)), total="1")
    yield _where("nothing but negations", "|".join(["title:~STRINC:zz"] * 256), total="1")
    for operator in ("NUMOREQ", "STROREQ", "STROR", "STRAND"):
        for column in ("n", "m", "title"):
            values = ",".join(map(str, range(100_000)))
            yield _where(f"{operator} of 10^5 on {column}", f"{column}:{operator}:{values}", total="1")
            yield _where(f"not {operator} of 10^5 on {column}", f"{column}:~{operator}:{values}", total="1")


def _sorting() -> Iterator[Case]:
    for column, sort in (("m", "NUMDESC"), ("title", "STRASC"), ("body", "NUMASC"), ("price", "STRDESC")):
        yield _asks(f"sort by {column}", order_by=column, order_sort=sort, total="1")
        yield _asks(f"sort by {column}, far", order_by=column, order_sort=sort, limit_skip=10**6, limit_max=10_000)
        yield _where(
            f"sort half by {column}", "m:NUMGT:5", order_by=f"{column},n,id", order_sort=f"{sort},NUMASC,NUMDESC"
        )
    yield _asks("far page", limit_skip=900_000, limit_max=10_000)
    yield _asks("largest page", limit_max=10_000)
    for group in ("id", "m", "body", "id,m,title,body"):
        yield _asks(f"groups by {group}", type="count,sum(m),min(title),max(body),avg(price)", group_by=group)
        yield _asks(f"groups by {group}, sorted", type="count", group_by=group, order_by="count", order_sort="NUMDESC",
                    limit_skip=90_000)  # fmt: skip  # one request
    yield _asks("sum of texts", type="sum(title),avg(body),min(body),max(title)")
    yield _where("explain a sort", "m:NUMGT:5", command="explain", order_by="body", order_sort="STRASC")


def _texts() -> Iterator[Case]:
    bombs = (
        "(" * 20_000, "(" * 100 + "a" + ")" * 100, "!!" * 20_000, "a || " * 10_000 + "a", "a && " * 10_000 + "a",
        "a !! " * 10_000 + "b", '"' * 30_001, '"a b" ' * 8_000, "words", "!! words", "&& ||", "a" * 64_000,
        "a " * 30_000, "\u0301" * 20_000, "ﬃ" * 20_000, "a && !! a", '"' * 2_000, "a || " * 2_000 + "a",
        " ".join(f"w{number}" for number in range(2_000)), "words || some || other || nothing",
    )  # fmt: skip  # a list of words
    for operator in ("FTSPH", "FTSAND", "FTSOR", "FTSEX"):
        for number, bomb in enumerate(bombs):
            yield _where(f"{operator} {number}", f"title:{operator}:{bomb.replace('|', chr(92) + '|')}", total="1")
    yield _where("full text, sorted", "title:FTSOR:words a some", order_by="m", order_sort="NUMASC", limit_skip=5_000)
    yield _where("full text without an index", "body:FTSPH:a words", total="1")


def _operands() -> Iterator[Case]:
    for operator in ("STREQ", "STRINC", "STRBW", "STREW", "STRAND", "STROR", "STROREQ", "STRRX", "NUMEQ", "NUMBT"):
        for letter in ("a", " ", "ä", "%", "9"):
            yield _where(f"{operator} of 64 KB of {letter!r}", f"body:{operator}:{letter * 65_536}", total="1")
    yield _where("needle everywhere", "body:STRINC:0", total="1")
    yield _where("needle nowhere", "body:STRINC:" + "a" * 190 + "b", total="1")
    yield _where("column name of 64 KB", "x" * 65_536 + ":STREQ:a")
    yield _asks("columns without end", type=",".join(["id"] * 100_000))
    yield _asks("order without end", order_by=",".join(["id"] * 100_000), order_sort=",".join(["NUMASC"] * 100_000))
    yield _asks("table name of 64 KB", table="x" * 65_536)


def _cursors() -> Iterator[Case]:
    dice = random.Random(3)
    for number in range(20):
        text = "".join(dice.choice("abcdefABCDEF0123456789-_=.") for _ in range(3 ** (number % 10)))
        yield _asks(f"cursor {number}", after=text)
        yield _asks(f"cursor back {number}", before="9f8c86a9-" + text, order_by="m", order_sort="NUMASC")
    yield _asks("cursor of 64 KB", after="A" * 65_536)
    yield _asks("cursor with marks", after="\0\n\r'\";--")


def _writes() -> Iterator[Case]:
    yield Case("a title too long", orjson.dumps({"title": "x" * 900_000}), "command=insert&table=work")
    yield Case("a line too long", b'{"title":"' + b"x" * 70_000, "command=insert&table=work", "application/x-ndjson")
    yield Case("empty lines", b"\n" * 900_000, "command=insert&table=work", "application/x-ndjson")
    yield Case("a row of zeros", b"\0" * 900_000, "command=insert&table=work")
    yield _where("update that finds nothing", "body:STRINC:qqq", command="update", set={"n": 1})
    yield _where("delete that finds nothing", "body:STRRX:(q+)+$", command="delete")


def _statements() -> Iterator[Case]:
    for name, text in (
        ("brackets", "CREATE TABLE x (" + "(" * 200_000),
        ("semicolons", ";" * 900_000),
        ("comments", "/*" * 200_000),
        ("columns", "CREATE TABLE x (" + ",".join(f"c{number} INT" for number in range(20_000)) + ")"),
        (
            "keys",
            "CREATE TABLE x (a INT PRIMARY KEY," + ",".join(f"KEY k{number} (a)" for number in range(20_000)) + ")",
        ),
        ("not a statement", "SELECT " + "-" * 300_000 + "1"),
        ("quotes", "CREATE TABLE `" + "``" * 200_000),
        ("nested", "CREATE TABLE x (a INT DEFAULT " + "(1+" * 5_000 + "1" + ")" * 5_000 + ")"),
        ("enum", "CREATE TABLE x (a ENUM(" + ",".join(f"'{number}'" for number in range(80_000)) + "))"),
        ("statements", "DROP TABLE IF EXISTS y;" * 20_000),
    ):
        yield Case(f"statement of {name}", orjson.dumps({"sql": text}), "command=sql")


def _pipelines() -> Iterator[Case]:
    slow = f"/?command=select&table=work&total=1&where={quote('body:STRINC:qqq')}"
    far = "/?command=select&table=work&order_by=body&order_sort=STRASC&limit_skip=50000&limit_max=1"
    easy = "/?command=select&table=work&limit_max=1&where=n:NUMEQ:5"
    for name, target, count in (("easy", easy, 5_000), ("slow", slow, 20), ("sorting", far, 20)):
        one = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        yield Case(f"pipeline of {count} {name}", raw=one * (count - 1) + last)


_FORM: Final = "application/x-www-form-urlencoded"
