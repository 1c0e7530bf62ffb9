"""Known queries: whatever bytes come, an answer without parsing is the answer with it; nothing stale or uncounted."""

from __future__ import annotations

from itertools import count

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcsql.engine.change import (
    AddColumn,
    Change,
    CreateIndex,
    CreateTable,
    Delete,
    DropColumn,
    DropIndex,
    DropTable,
    RenameTable,
    Truncate,
    Upsert,
)
from tcsql.engine.database import Database
from tcsql.engine.query import Filter, Query
from tcsql.engine.result import Result
from tcsql.engine.schema import Column, IndexDef, TableSchema
from tcsql.engine.values import JsonValue
from tcsql.errors import TCSQLError
from tcsql.http import render
from tcsql.http.grammar import Grammar, Limits, ReadRequest
from tcsql.http.known import (
    MOST_BYTES,
    MOST_KNOWN,
    MOST_REQUEST_BYTES,
    Key,
    KnownQueries,
    Operands,
    _split_request,
    split,
)
from tcsql.http.parameters import of_query
from tests.duel import NOW
from tests.pools import BIG, INT, VARCHAR
from tests.strategies import effort

SEEDS = (
    b"command=select&type=*&where=pkey:NUMEQ:%d",
    b"command=select&type=*&where=uid:NUMEQ:%d&order_by=dateline&order_sort=NUMDESC&limit_skip=0&limit_max=3",
    b"command=select&type=*&where=dateline:NUMGE:%d|idtype:STREQ:blogid&order_by=pkey&order_sort=NUMDESC&limit_max=4",
    b"command=select&type=count&where=uid:NUMEQ:%d",
)


def posts(name: str = "posts") -> TableSchema:
    return TableSchema(
        name,
        (
            Column("id", INT, False),
            Column("uid", INT, False),
            Column("dateline", INT, False),
            Column("idtype", VARCHAR, False),
            Column("hits", BIG, True),
        ),
        ("id",),
        (
            IndexDef("by_uid", ("uid", "dateline")),
            IndexDef("by_type", ("idtype",)),
            IndexDef("by_date", ("idtype", "dateline")),
        ),
    )


def general(database: Database, query: Query) -> Result:
    """The answer of the way that plans each query for itself."""
    steps = database.general_steps(query)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result


class Server:
    """What answers a request, without sockets: the careful way, and what is known."""

    def __init__(self) -> None:
        self.database = Database()
        self.grammar = Grammar(self.database, Limits())
        self.known = KnownQueries()
        self.answered_known = 0

    def change(self, *changes: Change) -> None:
        for change in changes:
            self.database.apply(self.database.check([change], NOW))

    def fill(self, table: str = "posts", rows: int = 60) -> None:
        content: list[dict[str, JsonValue]] = [
            {
                "id": n,
                "uid": n % 7,
                "dateline": 1_000 + n * 37 % 101,
                "idtype": ("blogid", "5", "photo")[n % 3],
                "hits": n if n % 4 else None,
            }
            for n in range(1, rows)
        ]
        self.change(Upsert(table, content))

    def meant(self, text: bytes) -> Query | None:
        """The plain read that a query string means, if it means one."""
        try:
            request = self.grammar.request(of_query(text))
        except TCSQLError:
            return None
        is_plain = isinstance(request, ReadRequest) and not request.explain and not request.bigint_text
        return request.query if is_plain and isinstance(request, ReadRequest) and request.min_lsn is None else None

    def careful(self, text: bytes) -> bytes | None:
        """The body as the general way gives it; None: refused, or no plain read."""
        query = self.meant(text)
        try:
            return None if query is None else render.result(general(self.database, query))
        except TCSQLError:
            return None

    def ask(self, data: bytes) -> None:
        """Ask as the lane does: what is known, then the careful way, from which it learns."""
        text = query_of(data)
        wanted = None if text is None else self.careful(text)
        body = self.known.request(data)
        assert body is None or body == wanted, data
        self.answered_known += body is not None
        if text is None or wanted is None:
            return
        self.learn(text)
        body = self.known.body(text)
        assert body is None or body == wanted, text
        if body is not None and text in data:
            self.known.learn_request(data, text)

    def learn(self, text: bytes) -> None:
        query = self.meant(text)
        assert query is not None
        prepared = self.database.prepared(query.table).find(query)
        if prepared is not None:
            self.known.learn(text, query, prepared)


class _Parsed:
    """uvicorn's own reading of a request."""

    def __init__(self) -> None:
        self.url = b""
        self.messages = 0
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_message_complete(self) -> None:
        self.messages += 1


def query_of(data: bytes) -> bytes | None:
    """The query string of one whole GET of "/"; None for anything else."""
    seen = _Parsed()
    try:
        seen.parser.feed_data(data)
        if seen.messages != 1 or seen.parser.get_method() != b"GET":
            return None
        url = httptools.parse_url(seen.url)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    return (url.query or b"") if url.path == b"/" else None


def request(text: bytes, headers: bytes = b"Host: x\r\n") -> bytes:
    return b"GET /?" + text + b" HTTP/1.1\r\n" + headers + b"\r\n"


@pytest.fixture
def server() -> Server:
    made = Server()
    made.change(CreateTable(posts()))
    made.fill()
    return made


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_query_is_known_after_one_answer_with_all_other_operands(server: Server, seed: bytes) -> None:
    server.ask(request(seed % 1_005))
    for operand in (0, 3, 4, 1_017, 1_050, 1_099, 9_999_999):
        text = seed % operand
        assert server.known.body(text) == server.careful(text)
        assert server.known.request(request(text)) == server.careful(text)
    assert server.known.request(request(seed % 3, b"Host: y\r\n")) is None, "another header block is another request"


def test_a_list_without_conditions_is_known_as_a_whole_request(server: Server) -> None:
    text = b"command=select&limit_skip=2&limit_max=3"
    server.ask(request(text))
    assert server.known.request(request(text)) == server.careful(text)


ODD = (
    b"5", b"05", b"-5", b"+5", b"5.0", b"", b"abc", b"9" * 18, b"9" * 19, b"9" * 40, b"1e3", b"%35", b"5%20",
    b"\xc3\xa9",    b"5|", b"5||", b"5:6", b"5&x", b"5%26", b"5\\|6", b"blogid", b"NULL", b"5|idtype:STREQ:5",
    b"5|idtype:STREQ:blogid",
    b"5%7Cidtype%3ASTREQ%3A5", b"5|:5", b"5|5", b"5#", b"5 ", b"5\t", b"5 HTTP/1.1", b"5&where=uid:NUMEQ:6",
    b"5&where=",    b"5|uid:NUMEQ:6|pkey:NUMGE:2", b"5|uid:NULL", b"5|hits:~NULL:",
)  # fmt: skip
NAMES = (b"uid", b"pkey", b"id", b"idtype", b"hits", b"dateline", b"%75id", b"nothing", b"")
OPERATORS = (b"NUMEQ", b"STREQ", b"NUMGE", b"NUMGT", b"~NUMEQ", b"NULL", b"numeq", b"")
COLONS = (b":", b":", b":", b"%3A", b"%3a")
BEFORE = (
    b"command=select&",
    b"command=select&",
    b"command=select&table=posts&",
    b"command=select&type=count&table=posts&",
    b"table=where=uid:NUMEQ:5&command=select&",
    b"command=select&order_by=uid:NUMEQ:5&",
    b"command=select&limit_max=2&x",
    b"command=explain&",
    b"&&command=select&",
)
AFTER = (b"", b"", b"&", b"&limit_max=3", b"&limit_max=3&table=posts", b"&table=posts", b"&where=uid:NUMEQ:5")
HEADERS = (
    b"Host: x\r\n",
    b"Host: x\r\n",
    b"",
    b"Host: h:5\r\n",
    b"Host: h:6\r\n",
    b"Host: a:5&b\r\n",
    b"Host: a:6&b\r\n",
    b"Host: a:5 \r\n",
    b"Host: a:6 \r\n",
    b"Host: a:5|b:6&c\r\n",
    b"Cookie: where=uid:NUMEQ:5&x\r\n",
    b"Host: x\nA: b\r\n",
    b"Host: x\r\nConnection: keep-alive\r\n",
    b"Host: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    one_of = st.sampled_from
    colon = draw(one_of(COLONS))
    where = draw(one_of(NAMES)) + colon + draw(one_of(OPERATORS)) + colon + draw(one_of(ODD) | one_of((b"5", b"6")))
    text = draw(one_of(BEFORE)) + b"where=" + where + draw(one_of(AFTER))
    return request(text, draw(one_of(HEADERS)))


@effort(120)
@given(st.lists(st.lists(requests(), min_size=1, max_size=2), min_size=3, max_size=15))
def test_no_bytes_are_answered_otherwise_than_by_the_careful_way(conversations: list[list[bytes]]) -> None:
    """A request is asked, asked again, and with one operand changed wherever it might be taken for one."""
    server = Server()
    server.change(CreateTable(posts()))
    server.fill()
    for conversation in conversations:
        for data in conversation:
            for asked in (data, data, data.replace(b":5", b":6"), data.replace(b":5", b":6", 1), data):
                server.ask(asked)


@pytest.mark.parametrize(
    ("learnt", "asked"),
    [
        (request(b"command=select&where=uid:NUMEQ:5"), request(b"command=select&where=uid:NUMEQ:5|")),
        (
            request(b"command=select&where=uid:NUMEQ:5&limit_max=1"),
            request(b"command=select&where=uid:NUMEQ:5|&limit_max=1"),
        ),
        (
            request(b"command=select&where=uid%3ANUMEQ%3A5", b"Host: a:5&b\r\n"),
            request(b"command=select&where=uid%3ANUMEQ%3A5", b"Host: a:6&b\r\n"),
        ),
        (
            request(b"command=select&where=uid%3ANUMEQ%3A5", b"Host: a:5 \r\n"),
            request(b"command=select&where=uid%3ANUMEQ%3A5", b"Host: a:6 \r\n"),
        ),
    ],
)  # fmt: skip
def test_what_looks_like_an_operand_is_not_taken_for_one(server: Server, learnt: bytes, asked: bytes) -> None:
    server.ask(learnt)
    server.ask(learnt)
    server.ask(asked)


UID_5 = b"command=select&where=uid:NUMEQ:5&limit_max=3"
NAMED = b"command=select&table=posts&where=uid:NUMEQ:5&limit_max=3"


@pytest.mark.parametrize(
    "changes",
    [
        [AddColumn("posts", Column("more", INT, True, 3, True))],
        [DropColumn("posts", "hits")],
        [DropIndex("posts", "by_uid")],
        [CreateIndex("posts", IndexDef("other", ("uid",)))],
        [Truncate("posts")],
        [DropTable("posts")],
        [RenameTable("posts", "old")],
        [RenameTable("posts", "old"), CreateTable(posts())],
        [DropTable("posts"), CreateTable(posts()), Upsert("posts", [{"id": 9, "uid": 5, "dateline": 1, "idtype": ""}])],
        [CreateTable(posts("second"))],
        [CreateTable(posts("second")), DropTable("second")],
        [Delete("posts", Filter())],
    ],
)  # fmt: skip
def test_nothing_known_outlives_a_change_of_its_table(server: Server, changes: list[Change]) -> None:
    for text in (UID_5, NAMED):
        server.ask(request(text))
        assert server.known.request(request(text)) == server.careful(text)
    server.change(*changes)
    for _ in range(3):
        for text in (UID_5, NAMED):
            server.ask(request(text))


def test_taking_back_a_change_of_columns_makes_nothing_stale(server: Server) -> None:
    undo = server.database.apply(server.database.check([AddColumn("posts", Column("more", INT, True))], NOW))
    server.ask(request(NAMED))
    server.ask(request(NAMED))
    server.database.revert(undo)
    server.ask(request(NAMED))
    server.change(Upsert("posts", [{"id": 1_000, "uid": 5, "dateline": 0, "idtype": "x"}]))
    server.ask(request(NAMED))
    assert server.answered_known >= 1


def test_answers_and_rows_are_counted_once_each_whatever_is_learnt_meanwhile(server: Server) -> None:
    text = b"command=select&where=uid:NUMEQ:%b&limit_max=3"
    server.ask(request(text % b"5"))
    server.known.harvest()
    for _ in range(4):
        assert server.known.request(request(text % b"4")) is not None
        assert server.known.request(request(text % b"abc")) is None
        server.learn(text % b"abc")  # as after the careful answer
    server.change(CreateIndex("posts", IndexDef("other", ("uid",))))
    server.learn(text % b"5")
    assert server.known.body(text % b"5") is not None
    server.known.learn_request(request(text % b"5"), text % b"5")
    assert server.known.request(request(text % b"5")) is not None
    assert server.known.harvest() == ({"select": 6}, 18)
    assert server.known.harvest() == ({}, 0), "each is counted once"


def test_counts_survive_forgetting(server: Server) -> None:
    server.ask(request(UID_5))
    server.known.harvest()
    assert server.known.request(request(UID_5)) is not None
    server.change(CreateIndex("posts", IndexDef("other", ("uid",))))
    server.known.forget_stale()
    assert server.known.harvest() == ({"select": 1}, 3)
    server.learn(UID_5)
    assert server.known.body(UID_5) is not None
    server.known.stop()
    assert server.known.body(UID_5) is None
    assert server.known.harvest() == ({"select": 1}, 3)
    server.learn(UID_5)
    assert server.known.body(UID_5) is None, "a server that stops learns nothing more"


def test_what_is_gone_is_let_go_of(server: Server) -> None:
    for seed in SEEDS:
        server.ask(request(seed % 5))
        server.ask(request(seed % 5))
    assert server.known._known and server.known._requests
    server.known.forget_stale()
    assert len(server.known._known) == len(SEEDS), "what is good stays"
    server.change(DropTable("posts"))
    server.known.forget_stale()
    assert not server.known._known and not server.known._requests


def test_variety_is_bounded_in_number_and_length(server: Server) -> None:
    numbers = count()
    for _ in range(MOST_KNOWN + 50):
        text = b"command=select&where=uid:NUMEQ:5&limit_max=%d" % next(numbers)
        server.learn(text)
        server.known.learn_request(request(text), text)
    assert 0 < len(server.known._known) <= MOST_KNOWN
    assert 0 < len(server.known._requests) <= MOST_KNOWN
    long = b"command=select&limit_max=3&where=idtype:STREQ:" + b"x" * MOST_BYTES
    server.learn(long)
    assert split(long) is None and server.known.body(long) is None
    wide = request(UID_5, b"Cookie: " + b"c" * MOST_REQUEST_BYTES + b"\r\n")
    server.learn(UID_5)
    server.known.learn_request(wide, UID_5)
    assert server.known.request(wide) is None


# --- requests of other senders ------------------------------------------------------------------------------------


def put_together(key: Key, operands: Operands) -> bytes:
    """The bytes that this key and these operands were cut from: there are no others."""
    if len(key) == 1:
        return key[0]
    before, operator, tail, *rest = key
    mark = rest[-1] if rest else b"&"
    where = b"".join((operands[0], *((b"|", rest[0], b":", operands[1]) if len(rest) == 2 else ())))
    return b"".join((before, b":", operator, b":", where, mark, tail))


ANY_PIECES: st.SearchStrategy[list[bytes]] = st.lists(
    st.sampled_from([b":", b"&", b"|", b" ", b"\r\n", b"a", b"7", b"where=", b"GET /?", b"%3A"]), max_size=14
)


@example(b"::a|a&")
@example(b"::a|a ")
@given(ANY_PIECES.map(b"".join) | st.binary(max_size=40))
@effort(600)
def test_nothing_of_a_request_is_lost_but_its_operands(data: bytes) -> None:
    """So two requests with one key differ in operands alone, whatever is in their headers.

    What has no end yet may be cut as a request would that has nothing behind its operand; those end with a blank line.
    """
    whole = data + b"\r\n\r\n"
    key, operands = _split_request(whole)
    assert put_together(key, operands) == whole
    assert all(map(bytes.isalnum, operands))
    key, operands = _split_request(data)
    assert put_together(key, operands) == data or key[2] == b""


SENDERS = [
    b"Host: h",
    b"Authorization: Bearer tcsql_1_a",
    b"Authorization: Bearer tcsql_2_b",
    b"X: 5",
    b"Authorization: 5",
]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.sampled_from(SENDERS), max_size=3),
    st.lists(st.sampled_from(SENDERS), max_size=3),
    st.booleans(),
)
@effort(150)
def test_a_request_is_not_known_with_other_headers(
    seed: bytes, learnt: list[bytes], asked: list[bytes], encoded: bool
) -> None:
    """Another key, none, or another order of headers: another request."""
    server = Server()
    server.change(CreateTable(posts()))
    server.fill()
    text = seed % 5
    if encoded:
        text = text.replace(b":", b"%3A")
    first, second = (b"\r\n".join((b"GET /?" + text + b" HTTP/1.1", *lines, b"", b"")) for lines in (learnt, asked))
    server.learn(text)
    server.known.learn_request(first, text)
    assert encoded or server.known.request(first) is not None
    answer = server.known.request(second)
    assert answer is None or learnt == asked
    server.known.forget_requests()
    assert server.known.request(first) is None
