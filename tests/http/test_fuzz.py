"""Whatever is sent, the answer is a page, a number or a refusal: never a 5xx, never a bug."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote_from_bytes, urlencode

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcsql.engine.change import Upsert
from tcsql.engine.query import Operator
from tcsql.errors import CallerError
from tcsql.http import writes
from tcsql.http.endpoints import Api
from tcsql.http.grammar import Grammar, Request
from tcsql.http.messages import Body, Head
from tcsql.http.names import FUNCTIONS, ORDERS
from tcsql.http.parameters import COMMANDS, PARAMETERS, of_query
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tcsql.sql import changes_of
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level

TABLES = """
    CREATE TABLE one (id INT PRIMARY KEY AUTO_INCREMENT, n BIGINT UNSIGNED, d DECIMAL(20,5), f DOUBLE, s VARCHAR(40),
        t TEXT, w DATETIME(3), e ENUM('a','b'), j JSON, b BLOB, KEY (n), KEY (s, n), KEY (d), FULLTEXT (t));
    CREATE TABLE two (a VARCHAR(9), b INT, n INT, PRIMARY KEY (a, b), KEY (n));
"""
COLUMNS = st.sampled_from(("id", "pkey", "n", "d", "f", "s", "t", "w", "e", "j", "b", "a", "count", "nope", ""))
ODD = ("", "0", "1", "-1", "5", "1.5", "abc", "a", "b", "a,b", "1 3", "NULL", "2026-11-20", "é", "(", "*a", "\\", "|")
TEXTS = st.sampled_from(ODD)
EXPRESSIONS = TEXTS | st.text(max_size=12) | st.integers(-(2**70), 2**70).map(str) | st.floats().map(str)
SIGNS = st.sampled_from(["", "~"])
OPERATORS = st.builds("{}{}".format, SIGNS, st.sampled_from([operator.value for operator in Operator]))
CONDITIONS = st.tuples(COLUMNS, OPERATORS | st.text(max_size=6), EXPRESSIONS).map(":".join)
WHERES = st.lists(CONDITIONS, max_size=3).map("|".join) | st.text(max_size=20)
LISTS = st.lists(COLUMNS, min_size=1, max_size=3).map(",".join)
AGGREGATES = st.builds("{}({})".format, st.sampled_from([*FUNCTIONS, "x"]), COLUMNS)
TYPES = st.lists(st.sampled_from(["*", "count"]) | COLUMNS | AGGREGATES, min_size=1, max_size=3).map(",".join)
VALUES: dict[str, st.SearchStrategy[str]] = {
    "table": st.sampled_from(["one", "two", "three"]),
    "type": TYPES,
    "where": WHERES,
    "group_by": LISTS,
    "order_by": LISTS | AGGREGATES,
    "order_sort": st.lists(st.sampled_from([*ORDERS, "x"]), min_size=1, max_size=3).map(",".join),
    "limit_skip": TEXTS,
    "limit_max": TEXTS,
    "after": st.text(max_size=20),
    "before": st.text(alphabet="ABCabc012_-=", max_size=30),
    "total": st.sampled_from(["0", "1", "x"]),
    "bigint": st.sampled_from(["string", "number", "x"]),
    "min_lsn": st.sampled_from(["0", "1", "x-1", "-"]),
    "all": st.sampled_from(["0", "1"]),
}
KNOWN = st.sampled_from(list(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name]))
STRANGE = st.tuples(st.sampled_from(list(PARAMETERS)) | st.text(max_size=8), st.text(max_size=12))
PAIRS = st.lists(KNOWN | STRANGE, max_size=6)
NAMED = st.sampled_from(["select", "select", "select", "explain", *COMMANDS])
QUERIES = st.builds(lambda command, pairs: urlencode([("command", command), *pairs]).encode(), NAMED, PAIRS)
MEMBERS = COLUMNS | st.text(max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=3),
    max_leaves=12,
)
ROWS = st.lists(st.dictionaries(COLUMNS, JSON, max_size=5), max_size=3)


def dumped(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits: nearly JSON is good enough here
        return str(value).replace("'", '"').replace("None", "null").replace("True", "true").encode()


FORMS = PAIRS.map(lambda pairs: urlencode(pairs).encode())
LINES = st.lists(JSON.map(dumped), max_size=4).map(b"\n".join)
BODIES = ROWS.map(dumped) | JSON.map(dumped) | LINES | FORMS | st.binary(max_size=60)
KINDS = st.sampled_from(["", writes.JSON, writes.NDJSON, "application/x-www-form-urlencoded", "text/plain"])

Server = tuple[Api, asyncio.Runner]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("fuzz") / "data"
    store = Store.open(directory, StoreOptions(durability=Level.MEMORY))
    with asyncio.Runner() as runner, closing(store):
        store.commit_blocking(changes_of(TABLES, lambda name: None))
        texts = [
            {"n": number, "d": f"{number}.5", "s": "ab" * (number % 4), "t": f"text {number}"} for number in range(60)
        ]
        store.commit_blocking([Upsert("one", [*texts, {"s": None, "e": "a"}])])  # type: ignore[list-item]  # literal rows
        store.commit_blocking([Upsert("two", [{"a": "x", "b": number, "n": number % 3} for number in range(9)])])
        api = Api(Settings(data=str(directory), default_table="one", min_lsn_timeout_s=0.0), Metrics())
        api.open(store)
        yield api, runner


def check(server: Server, head: Head, body: bytes = b"") -> None:
    async def pieces() -> Body:
        yield body[:20]
        yield body[20:]

    api, runner = server
    now = api.answer_now(head)
    reply = runner.run(api.answer(head, pieces()))
    assert reply.status < 500 or orjson.loads(reply.body)["error"]["code"] == "wait_timeout", (head, body, reply.body)
    assert orjson.loads(reply.body)
    if now is not None:
        assert (now.status, now.body) == (reply.status, reply.body)


quietly = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(QUERIES)
@settings(quietly, max_examples=250)
def test_any_get_is_answered_or_refused(server: Server, query: bytes) -> None:
    check(server, Head("GET", "/", query))


@given(QUERIES | FORMS, KINDS, BODIES)
@settings(quietly, max_examples=200)
def test_any_post_is_answered_or_refused(server: Server, query: bytes, kind: str, body: bytes) -> None:
    check(server, Head("POST", "/", query, kind), body)


@given(KINDS, BODIES, st.sampled_from(["insert", "update"]), st.sampled_from(["one", "two"]))
@settings(quietly, max_examples=200)
def test_any_row_is_written_or_refused(server: Server, kind: str, body: bytes, command: str, table: str) -> None:
    more = "&where=n:NUMEQ:1" if command == "update" else ""
    check(server, Head("POST", "/", f"command={command}&table={table}{more}".encode(), kind), body)
    server[0]._serving.opened.store.database.check_invariants()  # type: ignore[union-attr]  # it is open


@given(st.binary(max_size=60).map(quote_from_bytes) | st.text(alphabet="%0123456789abcdef&=+command:|\\", max_size=60))
@settings(quietly, max_examples=100)
def test_any_bytes_in_a_url_are_answered_or_refused(server: Server, text: str) -> None:
    check(server, Head("GET", "/", text.encode()))
    check(server, Head("GET", "/", b"command=select&where=" + text.encode()))


def parsed(query: bytes, grammar: Grammar) -> Request | None:
    try:
        return grammar.request(of_query(query))
    except CallerError:
        return None


@given(QUERIES)
@settings(quietly, max_examples=200)
def test_a_request_means_the_same_the_second_time(server: Server, query: bytes) -> None:
    grammar = Grammar(server[0]._serving.opened.store.database)  # type: ignore[union-attr]  # it is open
    assert parsed(query, grammar) == parsed(query, grammar)
