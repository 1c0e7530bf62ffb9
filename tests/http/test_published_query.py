"""Published queries against tables, without a server: places that operators take, operands of values, the short way."""

from __future__ import annotations

import json
import random
from datetime import datetime
from typing import Any

import pytest
from openapi_spec_validator import validate

from tcsql.engine.change import Upsert
from tcsql.engine.database import Database
from tcsql.engine.query import Operator, Select
from tcsql.errors import SetupError, TCSQLError, UnknownTable
from tcsql.http import render
from tcsql.http.openapi import openapi
from tcsql.http.published import Publications, PublishedQuery
from tcsql.http.published_query import Template, draft_of
from tcsql.published.options import published_of
from tcsql.settings import Settings
from tcsql.sql import changes_of

NOW = datetime(2026, 1, 2)
TABLE = (
    "CREATE TABLE posts (id INT PRIMARY KEY, board INT NOT NULL, kind VARCHAR(20) NOT NULL, title VARCHAR(80), "
    "dateline INT NOT NULL, day DATE, KEY bd (board, dateline), KEY kind (kind, id), KEY kd (kind, dateline), "
    "KEY day (day), KEY dateline (dateline))"
)
PAIRS = "CREATE TABLE pairs (a INT, b VARCHAR(20), PRIMARY KEY (a, b))"
KINDS = ("blog", "photo", "a|b", "x-y")


@pytest.fixture(scope="module")
def database() -> Database:
    found = Database()
    found.apply(found.check(changes_of(f"{TABLE}; {PAIRS}", lambda name: None), NOW))
    draw = random.Random(1)
    rows: tuple[dict[str, Any], ...] = tuple(
        {
            "id": number,
            "board": draw.randint(1, 6),
            "kind": draw.choice(KINDS),
            "title": draw.choice((None, "one|two", "board:NUMEQ:1", "100%", "ü")),
            "dateline": draw.randint(0, 300),
            "day": draw.choice((None, "2026-01-01", "2026-01-02")),
        }
        for number in range(400)
    )
    found.apply(found.check([Upsert("posts", rows)], NOW))
    return found


def made(text: str, **options: Any) -> PublishedQuery:
    given = {"sql" if text.startswith("SELECT") else "query": text, **options}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in given.items()]
    return PublishedQuery(published_of("\n".join(["[published.q]", *lines]))[0], Settings())


def template(database: Database, text: str, **options: Any) -> Template:
    return made(text, **options).template(database)


# --- places and operators ---------------------------------------------------------------------------------------

PLACES = {
    "int": "{x:int(1..9)}", "number": "{x:number(1..9)}", "text": "{x:text(9)}", "choice": "{x:choice(1|2)}",
    "date": "{x:date}", "ints": "{x:ints(1..9)}", "words": "{x:words(1..9)}",
}  # fmt: skip
SCALARS = {"int", "number", "date", "choice"}
TAKEN = {
    "STREQ": SCALARS | {"text"}, "STRINC": SCALARS | {"text"}, "STRBW": SCALARS | {"text"},
    "STREW": SCALARS | {"text"}, "FTSPH": SCALARS | {"text"},
    "STRAND": SCALARS | {"ints", "words"}, "STROR": SCALARS | {"ints", "words"},
    "STROREQ": SCALARS | {"ints", "words"}, "FTSAND": SCALARS | {"ints", "words"},
    "FTSOR": SCALARS | {"ints", "words"}, "FTSEX": SCALARS, "STRRX": {"choice"},
    "NUMEQ": {"int", "number", "choice"}, "NUMGT": {"int", "number", "choice"}, "NUMGE": {"int", "number", "choice"},
    "NUMLT": {"int", "number", "choice"}, "NUMLE": {"int", "number", "choice"},
    "NUMBT": {"int", "number", "choice"}, "NUMOREQ": {"int", "number", "choice", "ints"}, "NULL": set(),
}  # fmt: skip


@pytest.mark.parametrize("operator", [operator.value for operator in Operator])
def test_an_operator_takes_only_places_whose_values_cannot_speak_its_grammar(database: Database, operator: str) -> None:
    for kind, place in PLACES.items():
        operand = f"{place} 5" if operator == "NUMBT" else place
        text = f"table=posts&where=title:{operator}:{operand}"
        if kind in TAKEN[operator]:
            assert template(database, text).fills[0][0] is not None, kind
        else:
            with pytest.raises(SetupError, match=r"\[published.q\] query"):
                template(database, text)


@pytest.mark.parametrize(
    "text",
    [
        "table=posts&where=title:NUMEQ:1{x:int(1..9)}",
        "table=posts&where=title:NUMBT:{x:int(1..9)}",
        "table=posts&where=title:NUMBT:{x:int(1..9)}{y:int(1..9)}",
        "table=posts&where=title:NUMOREQ:{x:int(1..9)}5 6",
        "table=posts&where=title:STROR:a{x:words(1..2)}",
        "table=posts&where=title:NUMEQ:{x:choice(1|a)}",
        "table=posts&where={x:text(9)}:STREQ:1",
        "table=posts&where=title:{x:choice(STREQ|STRINC)}:1",
        "table=posts&where=title:STREQ:a%7C{x:text(9)}",
        "table={x:choice(posts|pairs)}",
        "table=posts&type={x:choice(id|title)}",
        "table=posts&order_by={x:choice(id|title)}",
        "table=posts&total={x:choice(0|1)}",
        "table=posts&{x:choice(type|where)}=id",
        "table=posts&limit_max=1{x:int(1..9)}",
        "table=posts&limit_max={x:text(9)}",
        "table=posts&limit_max={x:int(-1..9)}",
        "table=posts&limit_max={x:int(1..99999)}",
        "table=posts&limit_max=99999",
        "table=posts&where=pkey:STRRX:{x:choice(a|[)}",
        "table=posts&where=title:STREQ:%EE%80%80",
        "table=posts&where=title:STREQ:\ue000{x:text(9)}",
        "table=pairs&where=pkey:STREQ:1,{x:text(9)}",
        "table=posts&min_lsn=1",
        "table=posts&after=x",
        "table=posts&command=delete",
        "table=posts&command=explain",
        "table=posts&all=1",
        "table=posts&typ=id",
        "type=id",
        "table=posts&where=%zz",
        "SELECT id FROM posts WHERE kind = '{x:text(9)}' LIMIT 1",
        "SELECT id FROM posts WHERE kind LIKE {x:text(9)} LIMIT 1",
        "SELECT id FROM posts WHERE kind = {x:int(1..9)} LIMIT 1",
        "SELECT id FROM posts WHERE board = {x:text(9)} LIMIT 1",
        "SELECT id FROM posts WHERE board = {x:ints(1..9)} LIMIT 1",
        "SELECT id FROM posts WHERE day = {x:text(9)} LIMIT 1",
        "SELECT {x:choice(id|title)} FROM posts LIMIT 1",
        "SELECT id FROM posts ORDER BY {x:choice(id|title)} LIMIT 1",
        "SELECT id FROM posts",
    ],
)
def test_a_place_or_a_word_in_a_wrong_place_is_told_at_start(database: Database, text: str) -> None:
    with pytest.raises(SetupError) as caught:
        template(database, text)
    assert caught.value.message.startswith("tcsql.toml: [published.q] ")
    assert "\ue000" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("table=posts&limit_max=5", {"page_rows": 5}),
        ("table=posts&limit_skip=5", {"page_rows": 5}),
        ("table=posts", {"page_rows": 99_999}),
        ("table=posts&type=count", {"page_rows": 5}),
        ("SELECT id FROM posts LIMIT 3", {"page_rows": 5}),
    ],
)
def test_pages_and_limits_that_contradict_one_another_are_told(
    database: Database, text: str, options: dict[str, Any]
) -> None:
    with pytest.raises(SetupError):
        template(database, text, **options)


def test_a_table_that_is_not_there_is_no_mistake_of_the_query(database: Database) -> None:
    with pytest.raises(UnknownTable):
        template(database, "table=later&where=x:NUMEQ:{x:int(1..9)}")


def test_choices_are_the_operators_own_words_whatever_they_are(database: Database) -> None:
    found = template(database, "table=posts&where=title:STRRX:{x:choice(^one|two$)}")
    assert [c.operand for c in found.query(["^one"], 0, 1, None, None).where.any_of[0]] == ["^one"]


# --- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["board:NUMEQ:1", "a|b", r"\|", r"\\", "~x", "%7C", "a&type=count", "{x}", "\ue000", "*", "'; DROP"]
)
def test_a_value_is_an_operand_and_never_grammar(database: Database, value: str) -> None:
    found = template(database, "table=posts&where=board:NUMGE:1|title:STREQ:<{x:text(40)}>&where=kind:STREQ:{x}")
    query = found.query([value], 0, 10, None, None)
    assert [[c.operand for c in conjunction] for conjunction in query.where.any_of] == [["1", f"<{value}>"], [value]]
    assert [[c.operator.value for c in conjunction] for conjunction in query.where.any_of] == [
        ["NUMGE", "STREQ"],
        ["STREQ"],
    ]


def test_sql_and_url_say_the_same(database: Database) -> None:
    url = template(
        database,
        "table=posts&type=id,title&where=board:NUMEQ:{b:int(1..9)}&order_by=dateline,pkey&order_sort=NUMDESC,NUMDESC"
        "&limit_max={n:int(1..50)=20}",
    )
    sql = template(
        database,
        "SELECT id, title FROM posts WHERE board = {b:int(1..9)} ORDER BY dateline DESC, id DESC "
        "LIMIT {n:int(1..50)=20}",
    )
    assert url.query(["3", "20"], 0, 20, None, None) == sql.query(["3", "20"], 0, 20, None, None)


@pytest.mark.parametrize(
    ("text", "options", "given"),
    [
        ("table=posts", {}, True),
        ("table=posts", {"page_rows": 5}, True),
        ("table=posts&type=id,title", {}, True),
        ("table=posts&type=id,title&order_by=dateline&order_sort=NUMDESC", {}, False),
        ("table=posts&type=id,dateline&order_by=dateline&order_sort=NUMDESC", {}, True),
        ("table=posts&type=title", {}, False),
        ("table=posts&limit_max={n:int(1..9)}", {}, False),
        ("table=posts&limit_skip=5", {}, False),
        ("table=posts&type=count", {}, False),
    ],
)
def test_cursors_are_given_only_where_they_tell_what_the_columns_tell(
    database: Database, text: str, options: dict[str, Any], given: bool
) -> None:
    assert template(database, text, **options).has_cursors is given


@pytest.mark.parametrize(
    ("text", "scanning"),
    [
        ("table=posts&where=board:NUMEQ:{b:int(1..9)}&order_by=dateline&order_sort=NUMDESC", False),
        ("table=posts&where=pkey:NUMOREQ:{b:ints(1..9)}", False),
        ("table=posts", False),
        ("table=posts&type=count", False),
        ("table=posts&where=title:STRINC:{q:text(9)}", True),
        ("table=posts&order_by=title&order_sort=STRASC", True),
        ("table=posts&type=count&where=title:STREQ:{q:text(9)}", True),
        ("table=posts&where=board:NUMEQ:1&where=title:STREQ:{q:text(9)}", True),
        ("table=posts&type=kind,count&group_by=kind", True),
        ("table=posts&type=kind,count&group_by=kind&where=board:NUMEQ:1", False),
    ],
)
def test_a_plan_that_no_index_serves_is_known_before_anybody_asks(
    database: Database, text: str, scanning: bool
) -> None:
    assert made(text).plan_scans(database) is scanning


# --- the short way ----------------------------------------------------------------------------------------------

QUERIES: dict[str, tuple[str, dict[str, Any]]] = {
    "row": ("table=posts&where=pkey:NUMEQ:{id:int(0..999)}", {}),
    "page": (
        "table=posts&where=board:NUMEQ:{b:int(1..9)}&order_by=dateline&order_sort=NUMDESC",
        {"page_rows": 7, "max_page": 9},
    ),
    "columns": (
        "SELECT id, title FROM posts WHERE board = {b:int(1..9)} ORDER BY dateline DESC",
        {"page_rows": 7, "max_page": 9},
    ),
    "walk": (
        "table=posts&limit_max={n:int(1..9)=4}&where=dateline:NUMGE:{d:int(0..999)}|kind:STREQ:{k:text(9)}&order_by=pkey",
        {},
    ),
    "count": ("table=posts&type=count&where=kind:STREQ:{k:choice(blog|photo|x-y)}", {}),
    "literal": ("table=posts&where=kind:STREQ:x-y&limit_max=3", {}),
    "day": ("table=posts&where=day:STREQ:{d:date}&limit_max=3&limit_skip={s:int(0..20)=0}", {}),
    "twice": ("table=posts&where=dateline:NUMGE:{d:int(0..999)}|dateline:NUMLE:{d}&limit_max=5", {}),
    "several": (
        "table=posts&type=count&where=board:NUMEQ:{b:int(0..9)}|dateline:NUMGE:{d:int(0..999)}",
        {},
    ),
}
POOL = {
    "id": ("0", "5", "399", "400", "05", "-1", "1000"),
    "b": ("1", "2", "6", "9", "0", "10", "01", "+1"),
    "d": ("0", "100", "299", "2026-01-01", "2026-02-30", "x"),
    "k": ("blog", "photo", "x-y", "a|b", "a%7Cb", "no", "", "%62log"),
    "n": ("1", "4", "9", "10", "0"),
    "s": ("0", "3", "20", "21"),
    "page": ("1", "2", "9", "10", "0", "02"),
}


def careful(query: PublishedQuery, database: Database, raw: bytes) -> bytes:
    """The body of a reply by the careful way, or the refusal."""
    try:
        found = query.template(database)
        asked = query.asked(found, raw)
        meant = found.query(asked.values, asked.skip, asked.limit, asked.after, asked.before)
        result = database.query(meant)
    except TCSQLError as error:
        return render.error(error)
    query.learn(database, found, meant, raw)
    return query.body(found, result)


@pytest.mark.parametrize("name", QUERIES)
def test_the_short_way_gives_the_bytes_of_the_careful_way(database: Database, name: str) -> None:
    text, options = QUERIES[name]
    query = made(text, **options)
    draw = random.Random(name)
    known = list(query.parameters)
    short = 0
    for _ in range(600):
        names = [each for each in known if each in POOL and draw.random() < 0.85]
        draw.shuffle(names)
        raw = "&".join(f"{each}={draw.choice(POOL[each])}" for each in names).encode()
        body = query.fast.body(raw) if query.fast is not None else None
        expected = careful(query, database, raw)
        if body is not None:
            short += 1
            assert body == expected, raw
    assert short >= 20


@pytest.mark.parametrize(
    "raw",
    [b"b=1&b=1", b"b=1&", b"&b=1", b"b=1&x=1", b"b=1%", b"b", b"b=", b"=1", b"", b"B=1", b"b=1&page=1&page=1", b"b=1#",
     b"b=\xd9\xa1", b"b=1\n", b"b=1;page=1", b"b==1"],
)  # fmt: skip
def test_the_short_way_takes_nothing_that_the_careful_way_refuses(database: Database, raw: bytes) -> None:
    query = made(*QUERIES["page"][:1], **QUERIES["page"][1])
    for ordinary in (b"b=1", b"b=1&page=2", b"page=2&b=1"):
        careful(query, database, ordinary)
    assert query.fast is not None
    assert query.fast.body(b"b=2") == careful(query, database, b"b=2")
    found = query.fast.body(raw)
    assert found is None or found == careful(query, database, raw)


def test_a_table_that_changes_is_read_anew(database: Database) -> None:
    own = Database()
    own.apply(
        own.check(changes_of("CREATE TABLE t (id INT PRIMARY KEY, n INT NOT NULL, KEY (n))", lambda _: None), NOW)
    )
    own.apply(own.check([Upsert("t", ({"id": 1, "n": 5},))], NOW))
    query = made("table=t&where=n:NUMEQ:{n:int(1..9)}")
    assert b'"rows":[{"id":1,"n":5}]' in careful(query, own, b"n=5")
    assert query.fast is not None
    assert query.fast.body(b"n=5") is not None
    own.apply(own.check(changes_of("ALTER TABLE t ADD COLUMN m INT", own.schema), NOW))
    assert query.fast.body(b"n=5") is None
    assert not query.fast.is_current
    assert b'"rows":[{"id":1,"n":5,"m":null}]' in careful(query, own, b"n=5")
    assert query.fast.body(b"n=5") == careful(query, own, b"n=5")
    own.apply(own.check(changes_of("ALTER TABLE t DROP COLUMN n", own.schema), NOW))
    assert query.fast.body(b"n=5") is None
    with pytest.raises(SetupError):
        query.template(own)


def test_a_table_that_is_changed_elsewhere_keeps_no_server_from_starting(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    text = (
        '[published.gone]\nquery = "table=posts&where=gone:NUMEQ:1"\n'
        '[published.slow]\nquery = "table=posts&where=title:STRINC:a"\nstrict = true'
    )
    for each in published_of(text):
        publications = Publications([each], Settings())
        with pytest.raises(SetupError):
            publications.check(database)
        publications.check(database, {"posts"})
        assert f"published query {each.name} is not answered: " in caplog.text
        assert publications.status(database)[0]["ready"] is False


def test_rows_of_the_short_way_are_counted(database: Database) -> None:
    query = made(*QUERIES["page"][:1], **QUERIES["page"][1])
    careful(query, database, b"b=1&page=1")
    assert query.fast is not None
    bodies = [query.fast.body(b"b=%d&page=%d" % (board, page)) for board in (1, 2) for page in (1, 2)]
    rows = sum(len(json.loads(body)["rows"]) for body in bodies if body is not None)
    assert query.fast.harvest() == rows > 0
    assert query.fast.harvest() == 0


def test_the_description_of_every_type_is_valid_openapi(database: Database) -> None:
    defaults = ["{i:int(1..9)=5}", "{n:number(0..9)=1.5}", "{t:text(9)=x}", "{c:choice(a|b)=b}", "{d:date=2026-01-01}",
                "{l:ints(1..9)=1,2}", "{w:words(1..9)=a b}"]  # fmt: skip
    wheres = [
        f"where={'id:NUMOREQ' if 'ints' in place else 'title:STROR' if 'words' in place else 'title:STRINC'}:{place}"
        for place in defaults
    ]
    queries = {"rows": "&".join(["table=posts", *wheres]), "count": "table=posts&type=count", "none": "table=later"}
    text = "".join(f"[published.{name}]\nquery = '{query}'\n" for name, query in queries.items())
    publications = Publications(published_of(text), Settings())
    publications.check(database)
    document = openapi(Settings(), publications.described())
    validate(document)
    rows = document["paths"]["/q/rows"]["get"]
    assert [each["schema"]["default"] for each in rows["parameters"][:4]] == [5, 1.5, "x", "b"]
    assert "Count" in str(document["paths"]["/q/count"]["get"]["responses"]["200"])


def test_the_draft_needs_no_table() -> None:
    settings = Settings()
    [published] = published_of('[published.q]\nquery = "table=later&limit_max=5"')
    assert draft_of(published, settings).table == "later"
    assert isinstance(Select("later"), Select)
