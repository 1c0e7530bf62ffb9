"""Every rule of sections 1 and 2 of the query language, as tables of good and bad requests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tcsql.engine.change import CreateTable
from tcsql.engine.query import (
    Aggregate,
    AggregateFunction,
    Condition,
    Count,
    Filter,
    Group,
    Operator,
    OrderKind,
    OrderTerm,
    Select,
)
from tcsql.engine.schema import TableSchema
from tcsql.errors import (
    BadRequest,
    CallerError,
    InvalidCursor,
    LimitExceeded,
    UnknownColumn,
    UnknownCommand,
    UnknownOperator,
    UnknownOrder,
    UnknownTable,
    WhereRequired,
)
from tcsql.http.grammar import (
    DeleteRequest,
    Grammar,
    InsertRequest,
    Limits,
    ReadRequest,
    Request,
    SqlRequest,
    UpdateRequest,
)
from tcsql.http.parameters import of_query
from tcsql.sql import changes_of

SCHEMAS = {
    change.schema.name: change.schema
    for change in changes_of(
        """
        CREATE TABLE posts
            (id INT PRIMARY KEY, uid INT, dateline INT, idtype VARCHAR(20), title TEXT, price DECIMAL(9,2));
        CREATE TABLE pairs (a VARCHAR(9), b INT, n DOUBLE, PRIMARY KEY (a, b));
        CREATE TABLE counts (id INT PRIMARY KEY, count INT);
        """,
        lambda name: None,
    )
    if isinstance(change, CreateTable)
}


class Catalog:
    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def schema(self, table: str) -> TableSchema:
        if table not in self.names:
            raise UnknownTable(f"no {table}")
        return SCHEMAS[table]

    def schemas(self) -> list[TableSchema]:
        return [SCHEMAS[name] for name in self.names]


LIMITS = Limits(max_rows=500, max_conditions=8)
ONE = Grammar(Catalog(["posts"]), LIMITS)
ALL = Grammar(Catalog(list(SCHEMAS)), LIMITS)


def request(query: str, grammar: Grammar = ONE) -> Request:
    return grammar.request(of_query(query.encode()))


def select(query: str, grammar: Grammar = ONE) -> Select:
    found = request("command=select&" + query, grammar)
    assert isinstance(found, ReadRequest)
    assert isinstance(found.query, Select)
    return found.query


def group(query: str, grammar: Grammar = ONE) -> Group:
    found = request("command=select&" + query, grammar)
    assert isinstance(found, ReadRequest)
    assert isinstance(found.query, Group)
    return found.query


def conditions(where: str) -> tuple[Condition, ...]:
    [found] = select("where=" + where).where.any_of
    return found


def test_the_plainest_select_is_the_first_page_of_everything() -> None:
    assert select("") == Select("posts")


def test_the_original_s_own_example() -> None:
    assert select(
        "type=*&where=dateline:NUMGE:1262304000|idtype:STREQ:blogid&order_by=pkey&order_sort=NUMDESC&limit_skip=0&limit_max=10"
    ) == Select(
        "posts",
        where=Filter(
            (
                (
                    Condition("dateline", Operator.NUMGE, "1262304000"),
                    Condition("idtype", Operator.STREQ, "blogid"),
                ),
            )
        ),
        order=(OrderTerm(None, OrderKind.NUM, True),),
        limit=10,
    )


@pytest.mark.parametrize("operator", Operator)
@pytest.mark.parametrize("sign", ["", "~"])
def test_every_operator_and_its_negation(operator: Operator, sign: str) -> None:
    operand = "" if operator is Operator.NULL else "x"
    assert conditions(f"title:{sign}{operator.value}:{operand}") == (Condition("title", operator, operand, bool(sign)),)


@pytest.mark.parametrize(
    ("where", "operand"),
    [
        ("title:STREQ:", ""),
        ("title:STREQ:a:b::c", "a:b::c"),
        (r"title:STREQ:a\|b", "a|b"),
        (r"title:STREQ:a%5C%7Cb", "a|b"),
        (r"title:STREQ:a\\b", r"a\b"),
        (r"title:STRRX:\d%2B\.", r"\d+\."),
        (r"title:STREQ:a\\\|b", r"a\|b"),
        ("title:STREQ:a\\", "a\\"),
        (r"title:FTSEX:a \|\| b", "a || b"),
        ("title:STREQ:a+b%2Bc", "a b+c"),
        ("title:STREQ:%00", "\0"),
        ("title:STREQ:你好", "你好"),
        ("title:STREQ: x ", " x "),
    ],
)
def test_expressions_are_unescaped_exactly(where: str, operand: str) -> None:
    [condition] = conditions(where)
    assert condition.operand == operand


@pytest.mark.parametrize("separator", ["|", "%7C", "%7c"])
def test_conditions_are_joined_by_a_bar_encoded_or_not(separator: str) -> None:
    assert len(conditions(f"uid:NUMEQ:1{separator}uid:NUMEQ:2")) == 2


def test_an_escaped_backslash_before_a_bar_ends_the_expression() -> None:
    first, second = conditions(r"title:STREQ:x\\|uid:NUMEQ:1")
    assert (first.operand, second.column) == ("x\\", "uid")


def test_null_takes_no_expression_with_or_without_colon() -> None:
    wanted = (Condition("title", Operator.NULL, ""),)
    assert conditions("title:NULL") == conditions("title:NULL:") == wanted


def test_where_repeated_is_a_union_and_an_empty_one_is_every_row() -> None:
    found = select("where=uid:NUMEQ:1&where=uid:NUMEQ:2|title:NULL").where
    assert [len(conjunction) for conjunction in found.any_of] == [1, 2]
    assert select("where=").where.matches_everything
    assert select("where=uid:NUMEQ:1&where=").where.matches_everything


@pytest.mark.parametrize("name", ["pkey", "id", "ID"])
def test_the_key_of_one_column_is_the_same_under_all_its_names(name: str) -> None:
    assert conditions(f"{name}:NUMEQ:1")[0].column is None
    assert select(f"order_by={name}&order_sort=NUMDESC").order == (OrderTerm(None, OrderKind.NUM, True),)


def test_parts_of_a_composite_key_are_ordinary_columns() -> None:
    [found] = select("table=pairs&where=a:STREQ:x|pkey:STREQ:x,1", ALL).where.any_of
    assert [condition.column for condition in found] == ["a", None]


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("order_by=uid", [("uid", OrderKind.NUM, False)]),
        ("order_by=price", [("price", OrderKind.NUM, False)]),
        ("order_by=title", [("title", OrderKind.STR, False)]),
        ("order_by=title&order_sort=NUMDESC", [("title", OrderKind.NUM, True)]),
        (
            "order_by=title,uid&order_sort=STRDESC,NUMASC",
            [("title", OrderKind.STR, True), ("uid", OrderKind.NUM, False)],
        ),
        ("order_by=pkey", []),
        ("order_by=uid,pkey,title", [("uid", OrderKind.NUM, False)]),
        ("order_by=pkey&order_sort=STRASC", [(None, OrderKind.STR, False)]),
    ],
)
def test_orders(query: str, order: list[tuple[str | None, OrderKind, bool]]) -> None:
    assert select(query).order == tuple(OrderTerm(*term) for term in order)


def test_projection_keeps_the_table_s_order_and_real_names() -> None:
    assert select("type=title,pkey,uid").columns == ("id", "uid", "title")
    assert select("table=pairs&type=n,pkey", ALL).columns == ("a", "b", "n")


def test_limits_and_their_defaults() -> None:
    assert (select("").skip, select("").limit) == (0, 100)
    assert select("limit_max=500").limit == 500
    assert select("limit_max=0").limit == 0
    assert select("limit_skip=000000000000000007").skip == 7
    assert select("", Grammar(Catalog(["posts"]), Limits(max_rows=5))).limit == 5


def test_switches() -> None:
    assert select("total=1").total
    assert not select("total=0").total
    found = request("command=select&bigint=string&min_lsn=12")
    assert isinstance(found, ReadRequest)
    assert (found.bigint_text, found.min_lsn) == (True, ("", 12))
    found = request("command=explain&min_lsn=abc123-12")
    assert isinstance(found, ReadRequest)
    assert (found.explain, found.min_lsn) == (True, ("abc123", 12))
    assert (select("after=x").after, select("before=y").before) == ("x", "y")


def test_count_is_a_number_whatever_else_a_list_query_says() -> None:
    found = request("command=select&type=count&where=uid:NUMEQ:1&order_by=uid&limit_max=3&limit_skip=4")
    assert isinstance(found, ReadRequest)
    assert found.query == Count("posts", Filter(((Condition("uid", Operator.NUMEQ, "1"),),)))


COUNT = Aggregate(AggregateFunction.COUNT, None, "count")


def test_groups() -> None:
    assert group("type=count,sum(uid)&group_by=idtype&order_by=sum(uid),idtype&limit_max=5") == Group(
        "posts",
        ("idtype",),
        (COUNT, Aggregate(AggregateFunction.SUM, "uid", "sum(uid)")),
        ("idtype", "count", "sum(uid)"),
        order=(OrderTerm("sum(uid)", OrderKind.NUM), OrderTerm("idtype", OrderKind.STR)),
        limit=5,
    )


def test_group_details() -> None:
    assert group("type=count&group_by=idtype").output == ("idtype", "count")
    assert group("type=count,idtype&group_by=idtype").output == ("count", "idtype")
    assert group("type=sum(uid)").by == ()
    assert group("type=max(pkey)").aggregates == (Aggregate(AggregateFunction.MAX, None, "max(id)"),)
    assert group("type=min(title)&group_by=uid&order_by=min(title)").order == (OrderTerm("min(title)", OrderKind.STR),)
    assert group("type=max(pkey)&group_by=uid&order_by=max(id)&order_sort=NUMDESC").order[0].descending
    assert group("table=pairs&type=count&group_by=pkey", ALL).by == ("a", "b")


def test_a_column_called_count_is_reached_in_a_list() -> None:
    assert select("table=counts&type=id,count", ALL).columns == ("id", "count")
    assert group("table=counts&type=count,sum(count)", ALL).aggregates[0] == COUNT


def test_writes() -> None:
    posts = SCHEMAS["posts"]
    where = Filter(((Condition("uid", Operator.NUMEQ, "1"),),))
    assert request("command=insert") == InsertRequest(posts)
    assert request("command=insert&rows=[]") == InsertRequest(posts, "[]")
    assert request("command=update&where=uid:NUMEQ:1&set={}") == UpdateRequest(posts, where, "{}")
    assert request("command=delete&where=uid:NUMEQ:1") == DeleteRequest(posts, where)
    assert request("command=delete&all=1") == DeleteRequest(posts, Filter())
    assert request("command=sql&sql=TRUNCATE+posts") == SqlRequest("TRUNCATE posts")


def test_the_default_table_is_the_only_one_or_the_configured_one() -> None:
    assert select("").table == "posts"
    assert select("", Grammar(Catalog(list(SCHEMAS)), Limits(default_table="pairs"))).table == "pairs"


BAD: list[tuple[str, type[CallerError], str]] = [
    ("", BadRequest, "no command"),
    ("command=", UnknownCommand, "unknown command"),
    ("command=selct", UnknownCommand, 'did you mean "select"?'),
    ("command=SELECT", UnknownCommand, 'did you mean "select"?'),
    ("command=select&table=nope", UnknownTable, "no nope"),
    ("command=select&table=", UnknownTable, ""),
    ("command=select&where=titel:STREQ:x", UnknownColumn, 'did you mean "title"?'),
    ("command=select&where=:STREQ:x", UnknownColumn, ""),
    ("command=select&where=pk:STREQ:x", UnknownColumn, 'did you mean "pkey"?'),
    ("command=select&where=title:streq:x", UnknownOperator, 'did you mean "STREQ"?'),
    ("command=select&where=title:~streq:x", UnknownOperator, 'did you mean "~STREQ"?'),
    ("command=select&where=title:~~STREQ:x", UnknownOperator, "STREQ"),
    ("command=select&where=title:!STREQ:x", UnknownOperator, "STREQ"),
    ("command=select&where=title::x", UnknownOperator, "unknown operator"),
    ("command=select&where=title:STRE:x", UnknownOperator, "did you mean"),
    ("command=select&where=title:STREQ", BadRequest, 'write "title:STREQ:" for an empty one'),
    ("command=select&where=title:NULL:x", BadRequest, "NULL takes no expression"),
    ("command=select&where=title", BadRequest, "is not a condition"),
    ("command=select&where=|", BadRequest, "empty condition"),
    ("command=select&where=uid:NUMEQ:1|", BadRequest, "empty condition"),
    ("command=select&where=title:STREQ:a|b", BadRequest, "is not a condition"),
    ("command=select&where=" + "|".join(["uid:NUMEQ:1"] * 9), LimitExceeded, "more than 8 conditions"),
    ("command=select&" + "&".join(["where=uid:NUMEQ:1"] * 9), LimitExceeded, "more than 8 conditions"),
    ("command=select&" + "&".join(["where="] * 9), LimitExceeded, "more than 8 conditions"),
    (r"command=select&where=title:STREQ:\||" + "|".join(["uid:NUMEQ:1"] * 8), LimitExceeded, "more than 8 conditions"),
    ("command=select&where=" + "|" * 100_000, LimitExceeded, "more than 8 conditions"),
    ("command=select&where=" + r"uid:NUMEQ:\\|" * 4_000, LimitExceeded, "more than 8 conditions"),
    ("command=select&where=" + r"uid:NUMEQ:\\|" * 100_000, LimitExceeded, "where has more than 65536 characters"),
    ("command=select&where=uid:NUMOREQ:" + "1," * 2_001, LimitExceeded, "more than 2000 values"),
    ("command=select&where=title:FTSEX:" + "a " * 2_001, LimitExceeded, "more than 2000 values"),
    ("command=select" + ("&where=title:STROREQ:" + "a," * 300) * 7, LimitExceeded, "more than 2000 values"),
    ("command=select&type=" + "id," * 300_000, LimitExceeded, "type lists more than"),
    ("command=select&order_by=nope", UnknownColumn, ""),
    ("command=select&order_by=", BadRequest, "empty column name"),
    ("command=select&order_by=uid,", BadRequest, "empty column name"),
    ("command=select&order_by=uid&order_sort=NUM", UnknownOrder, "did you mean"),
    ("command=select&order_by=uid&order_sort=numdesc", UnknownOrder, 'did you mean "NUMDESC"?'),
    ("command=select&order_by=uid&order_sort=", UnknownOrder, "orders are"),
    ("command=select&order_by=uid&order_sort=NUMASC,NUMASC", BadRequest, "order_by lists 1 columns, order_sort 2"),
    ("command=select&order_by=uid,title&order_sort=NUMASC", BadRequest, "order_by lists 2 columns, order_sort 1"),
    ("command=select&order_sort=NUMASC", BadRequest, "order_sort without order_by"),
    ("command=select&order_by=" + ",".join(["uid"] * 17), LimitExceeded, "more than 16 columns"),
    ("command=select&limit_max=501", LimitExceeded, "above 500"),
    ("command=select&limit_max=999999999999999999", LimitExceeded, "above 500"),
    ("command=select&limit_max=1000000000000000000", BadRequest, "more than 18 digits"),
    ("command=select&limit_max=" + "9" * 5000, BadRequest, "more than 18 digits"),
    ("command=select&limit_max=-1", BadRequest, "not a whole number"),
    ("command=select&limit_max=%2B1", BadRequest, "not a whole number"),
    ("command=select&limit_max=1_000", BadRequest, "not a whole number"),
    ("command=select&limit_max=1e3", BadRequest, "not a whole number"),
    ("command=select&limit_max=1.0", BadRequest, "not a whole number"),
    ("command=select&limit_max=", BadRequest, "not a whole number"),
    ("command=select&limit_max=+1", BadRequest, "not a whole number"),
    ("command=select&limit_max=١٢", BadRequest, "not a whole number"),
    ("command=select&limit_max=²", BadRequest, "not a whole number"),
    ("command=select&limit_skip=0x10", BadRequest, "not a whole number"),
    ("command=select&after=a&before=b", InvalidCursor, "together"),
    ("command=select&after=a&limit_skip=0", InvalidCursor, "limit_skip"),
    ("command=select&before=a&limit_skip=1", InvalidCursor, "limit_skip"),
    ("command=select&type=count&after=a", InvalidCursor, "page of rows"),
    ("command=select&type=count&group_by=uid&before=a", InvalidCursor, "page of rows"),
    ("command=select&total=yes", BadRequest, "total is one of: 0, 1"),
    ("command=select&total=", BadRequest, "total is one of"),
    ("command=select&bigint=text", BadRequest, "bigint is one of: number, string"),
    ("command=select&min_lsn=x", BadRequest, "min_lsn"),
    ("command=select&min_lsn=", BadRequest, "min_lsn"),
    ("command=select&min_lsn=a/b-1", BadRequest, "is not an lsn"),
    ("command=select&min_lsn=abc-", BadRequest, "min_lsn"),
    ("command=select&all=1", BadRequest, "select takes no parameter all"),
    ("command=select&sql=x", BadRequest, "select takes no parameter sql"),
    ("command=select&rows=[]", BadRequest, "select takes no parameter rows"),
    ("command=select&type=", BadRequest, "empty column name"),
    ("command=select&type=uid,,title", BadRequest, "empty column name"),
    ("command=select&type=uid,uid", BadRequest, 'lists "uid" twice'),
    ("command=select&type=id,pkey", BadRequest, 'lists "id" twice'),
    ("command=select&type=nope", UnknownColumn, ""),
    ("command=select&type=*,uid", UnknownColumn, ""),
    ("command=select&type=COUNT", UnknownColumn, ""),
    ("command=select&type=median(uid)", UnknownColumn, "unknown aggregate"),
    ("command=select&type=summ(uid)", UnknownColumn, 'did you mean "sum"?'),
    ("command=select&type=sum(nope)", UnknownColumn, ""),
    ("command=select&type=sum(*)", UnknownColumn, ""),
    ("command=select&type=sum()", UnknownColumn, ""),
    ("command=select&type=sum(uid", UnknownColumn, ""),
    ("command=select&type=count(uid)", BadRequest, "count alone"),
    ("command=select&type=count,count", BadRequest, 'lists "count" twice'),
    ("command=select&type=title,count", BadRequest, "is not in group_by"),
    ("command=select&type=title,sum(uid)&group_by=uid", BadRequest, "add it: group_by=uid,title"),
    ("command=select&group_by=uid", BadRequest, "group_by without aggregates"),
    ("command=select&group_by=uid&type=uid", BadRequest, "group_by without aggregates"),
    ("command=select&group_by=&type=count", BadRequest, "empty column name"),
    ("command=select&group_by=uid,uid&type=count", BadRequest, 'lists "uid" twice'),
    ("command=select&group_by=nope&type=count", UnknownColumn, ""),
    ("command=select&group_by=uid&type=count&order_by=title", UnknownColumn, "neither in group_by nor in type"),
    ("command=select&group_by=uid&type=count&order_by=sum(uid)", UnknownColumn, "neither in group_by nor in type"),
    ("command=select&group_by=uid&type=count&order_sort=NUMASC", BadRequest, "order_sort without order_by"),
    ("command=select&type=count&order_by=nope", UnknownColumn, ""),
    ("command=insert&where=uid:NUMEQ:1", BadRequest, "insert takes no parameter where"),
    ("command=insert&limit_max=1", BadRequest, "insert takes no parameter limit_max"),
    ("command=insert&set={}", BadRequest, "insert takes no parameter set"),
    ("command=delete", WhereRequired, "add all=1"),
    ("command=delete&where=", WhereRequired, "add all=1"),
    ("command=delete&where=uid:NUMEQ:1&where=", WhereRequired, "add all=1"),
    ("command=delete&all=0", WhereRequired, "add all=1"),
    ("command=delete&all=yes", BadRequest, "all is one of"),
    ("command=delete&limit_max=1&all=1", BadRequest, "delete takes no parameter limit_max"),
    ("command=update", WhereRequired, "add all=1"),
    ("command=update&where=nope:NUMEQ:1", UnknownColumn, ""),
    ("command=sql", BadRequest, "no statement"),
    ("command=sql&table=posts&sql=x", BadRequest, "sql takes no parameter table"),
    ("command=explain&all=1", BadRequest, "explain takes no parameter all"),
]


@pytest.mark.parametrize(("query", "kind", "says"), BAD, ids=[query[:60] for query, *_ in BAD])
def test_bad_requests_are_refused_and_say_what_was_meant(query: str, kind: type[CallerError], says: str) -> None:
    with pytest.raises(CallerError) as caught:
        request(query)
    assert type(caught.value) is kind
    assert says in f"{caught.value.message} {caught.value.hint}"
    assert len(caught.value.message) < 400


def test_no_table_named_among_several_says_which_there_are() -> None:
    with pytest.raises(BadRequest) as caught:
        request("command=select", ALL)
    assert caught.value.hint == "add table=, one of: counts, pairs, posts"
    with pytest.raises(BadRequest, match="no table yet"):
        request("command=select", Grammar(Catalog([])))


def test_names_follow_the_schema_when_a_table_changes() -> None:
    catalog = Catalog(["posts"])
    grammar = Grammar(catalog, LIMITS)
    assert select("type=uid&order_by=uid", grammar).columns == ("uid",)
    old = SCHEMAS["posts"]
    try:
        SCHEMAS["posts"] = old.with_(columns=tuple(column for column in old.columns if column.name != "uid"))
        with pytest.raises(UnknownColumn):
            select("type=uid&order_by=uid", grammar)
    finally:
        SCHEMAS["posts"] = old


def test_remembered_spellings_stay_bounded() -> None:
    grammar = Grammar(Catalog(["posts"]), LIMITS)
    names = grammar.names(None)
    for number in range(2_000):
        columns = [
            column for bit, column in enumerate(["uid", "dateline", "idtype", "title", "price"]) if number >> bit & 1
        ]
        sorts = [("NUMASC", "STRDESC")[number >> 5 + bit & 1] for bit in range(len(columns))]
        if columns:
            names.order(",".join(columns), ",".join(sorts))
    assert len(names._orders) <= 256
