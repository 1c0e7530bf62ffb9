"""Limited keys: what their view of the catalog shows, closes and leaves out; and what is learnt under one key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tcsql.access.callers import ANONYMOUS, Caller, Rights
from tcsql.access.scopes import Scope, held
from tcsql.engine.change import DropColumn
from tcsql.errors import Unauthorized
from tcsql.http.opened import MOST_VIEWS
from tests.http.worlds import World, error_of, worlds

SQL = """
CREATE TABLE posts (id INT PRIMARY KEY, tenant INT, title VARCHAR(40), secret VARCHAR(40), n INT,
    KEY by_tenant (tenant, n), KEY by_secret (secret), KEY by_n (n));
CREATE TABLE notes (id INT PRIMARY KEY, n INT);
CREATE TABLE pairs (a VARCHAR(9), b INT, n INT, PRIMARY KEY (a, b));
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with worlds(tmp_path) as (made,):
        assert made.post("command=sql", {"sql": SQL}).status == 200
        rows = [{"id": at, "tenant": at % 2, "title": f"t{at}", "secret": f"s{at}", "n": at % 5} for at in range(1, 41)]
        assert made.post("command=insert&table=posts", rows).status == 200
        assert made.post("command=insert&table=pairs", [{"a": "x", "b": at, "n": 1} for at in range(4)]).status == 200
        yield made


def key(*tables: str, scopes: set[Scope] | None = None, **limits: Any) -> Caller:
    scopes = scopes or {Scope.READ, Scope.WRITE}
    return Caller("key", Rights(held(scopes), frozenset(tables) if tables else None, **limits))


def columns(*names: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (("posts", names),)


MINE = (("posts", "tenant:NUMEQ:1"),)


def body(world: World, query: str, caller: Caller) -> Any:
    reply = world.get(query.encode(), caller)
    assert reply.status == 200, reply.body
    return orjson.loads(reply.body)


def refusal(world: World, query: str, caller: Caller) -> dict[str, Any]:
    reply = world.get(query.encode(), caller)
    assert reply.status >= 400, reply.body
    found: dict[str, Any] = orjson.loads(reply.body)["error"]
    return {"status": reply.status, **found}


# --- tables ---------------------------------------------------------------------------------------------------


def test_the_only_table_of_a_key_needs_no_name(world: World) -> None:
    assert "total" in body(world, "command=select", key("notes"))
    told = refusal(world, "command=select", key("notes", "pairs"))
    assert told["hint"] == "add table=, one of: notes, pairs"
    assert refusal(world, "command=select", key("gone"))["message"] == "there is no table yet"


def test_a_closed_table_that_is_the_only_one_of_a_key_is_told_without_its_name_too(world: World) -> None:
    closed = key("posts", columns=columns("title"))
    named = refusal(world, "command=select&table=posts", closed)
    assert named["status"] == 403
    assert refusal(world, "command=select", closed) == named
    assert refusal(world, "command=nothing", closed)["status"] == 400


def test_a_default_table_that_is_not_the_keys_is_none(tmp_path: Path) -> None:
    with worlds(tmp_path, default_table="posts") as (world,):
        assert world.post("command=sql", {"sql": SQL}).status == 200
        assert body(world, "command=select&type=count", key("posts", "notes")) == {"count": 0}
        assert body(world, "command=select", key("notes"))["rows"] == []
        assert "posts" not in str(refusal(world, "command=select", key("notes", "pairs")))


def test_a_table_that_comes_to_be_does_not_answer_for_the_one_that_was_meant(world: World) -> None:
    caller = key("notes", "later")
    for _ in range(3):
        assert body(world, "command=select&type=count", caller) == {"count": 0}
    assert world.post("command=sql", {"sql": "CREATE TABLE later (id INT PRIMARY KEY)"}).status == 200
    assert refusal(world, "command=select&type=count", caller)["code"] == "bad_request"


def test_renaming_gives_a_key_nothing_that_it_does_not_name(world: World) -> None:
    caller = key("posts", filters=MINE)
    for _ in range(3):
        assert body(world, "command=select&table=posts&type=count", caller) == {"count": 20}
    assert world.post("command=sql", {"sql": "RENAME TABLE posts TO archive"}).status == 200
    assert refusal(world, "command=select&table=posts&type=count", caller)["code"] == "unknown_table"
    assert refusal(world, "command=select&table=archive&type=count", caller)["code"] == "unknown_table"


# --- columns --------------------------------------------------------------------------------------------------


def test_a_star_means_the_columns_of_the_key(world: World) -> None:
    caller = key("posts", columns=columns("ID", "title"))
    for _ in range(3):  # the careful way, and what was learnt
        page = body(world, "command=select&table=posts&where=pkey:NUMEQ:3", caller)
        assert page["rows"] == [{"id": 3, "title": "t3"}]
    assert len(body(world, "command=select&table=posts&where=pkey:NUMEQ:3", key("posts"))["rows"][0]) == 5


def test_a_new_column_is_not_a_limited_keys(world: World) -> None:
    caller = key("posts", columns=columns("id", "title"))
    assert world.post("command=sql", {"sql": "ALTER TABLE posts ADD COLUMN mail VARCHAR(9) DEFAULT 'm'"}).status == 200
    assert set(body(world, "command=select&table=posts&limit_max=1", caller)["rows"][0]) == {"id", "title"}
    assert refusal(world, "command=select&table=posts&type=mail", caller)["code"] == "unknown_column"


@pytest.mark.parametrize("limits", [{"columns": columns("title", "n")}, {"columns": columns("nothing")}])
def test_columns_without_the_primary_key_close_the_table(world: World, limits: dict[str, Any]) -> None:
    for query in ("command=select&table=posts", "command=select&table=posts&type=count"):
        assert refusal(world, query, key("posts", **limits))["status"] == 403
    assert error_of(world.post("command=delete&table=posts&all=1", b"", key("posts", **limits))) == (403, "forbidden")


def test_a_column_limited_key_updates_its_columns_and_inserts_nothing(world: World) -> None:
    caller = key("posts", columns=columns("id", "title"))
    assert world.post("command=update&table=posts&where=pkey:NUMEQ:3", {"TITLE": "new"}, caller).status == 200
    assert world.rows("posts")["3"]["title"] == "new"
    before = world.rows("posts")
    for given in ({"secret": "x"}, {"SECRET": "x"}, {"title": "x", "secret": "x"}, {"title": "x", "Title": "y"}):
        reply = world.post("command=update&table=posts&where=pkey:NUMEQ:3", given, caller)
        assert reply.status == 400
        assert b"secret" not in reply.body or b'no column \\"' in reply.body
    for query, rows, kind in (
        ("command=insert&table=posts", {"id": 3}, "application/json"),
        ("command=insert&table=posts", b'{"id":3}\n', "application/x-ndjson"),
    ):
        assert error_of(world.post(query, rows, caller, kind)) == (403, "forbidden")
    form = b"command=insert&table=posts&rows=" + b'{"id":3}'
    assert error_of(world.post("", form, caller, "application/x-www-form-urlencoded")) == (403, "forbidden")
    assert world.rows("posts") == before


# --- rows -----------------------------------------------------------------------------------------------------


def test_a_filter_whose_column_is_gone_closes_the_table(world: World) -> None:
    caller = key("posts", filters=MINE)
    for _ in range(3):
        assert body(world, "command=select&table=posts&type=count", caller) == {"count": 20}
    assert world.post("command=sql", {"sql": "ALTER TABLE posts DROP COLUMN tenant"}).status == 200
    told = refusal(world, "command=select&table=posts&type=count", caller)
    assert (told["status"], told["code"]) == (403, "forbidden")
    assert "tenant" not in str(told)
    before = world.rows("posts")
    for query, given in (
        ("command=insert&table=posts", {"id": 99}),
        ("command=update&table=posts&all=1", {"n": 1}),
        ("command=delete&table=posts&all=1", b""),
    ):
        assert error_of(world.post(query, given, caller)) == (403, "forbidden")
    assert world.rows("posts") == before


@pytest.mark.parametrize(
    "where", ["", "nothing:NUMEQ:1", "tenant:EQ:1", "title:STRRX:(", "tenant", "|", "tenant:NUMEQ"]
)
def test_a_filter_that_cannot_be_read_closes_the_table(world: World, where: str) -> None:
    caller = key("posts", "notes", filters=(("posts", where),))
    assert refusal(world, "command=select&table=posts", caller)["status"] == 403
    assert body(world, "command=select&table=notes&type=count", caller) == {"count": 0}


def test_two_filters_of_a_table_both_hold(world: World) -> None:
    caller = key("posts", filters=(*MINE, ("posts", "n:NUMEQ:1")))
    rows = body(world, "command=select&table=posts&type=id,tenant,n", caller)["rows"]
    assert rows
    assert all((row["tenant"], row["n"]) == (1, 1) for row in rows)


def test_an_insert_learnt_by_one_key_is_not_made_by_another(world: World) -> None:
    """The short way of single rows remembers query strings: each view its own."""
    free, mine, reader = key("posts"), key("posts", filters=MINE), key("posts", scopes={Scope.READ})
    for at in range(3):
        assert world.post("command=insert&table=posts", {"id": 100 + at, "tenant": 0}, free).status == 200
        reply = world.post("command=insert&table=posts", {"id": 200 + at, "tenant": 0}, mine)
        assert error_of(reply) == (403, "row_forbidden")
        assert error_of(world.post("command=insert&table=posts", {"id": 300 + at}, reader)) == (403, "forbidden")
        assert error_of(world.post("command=insert&table=posts", {"id": 1, "tenant": 1}, ANONYMOUS))[0] == 401
        assert world.post("command=insert&table=posts", {"id": 400 + at, "tenant": 1}, mine).status == 200
        trusted = world.post("command=insert&table=posts&trusted=1", {"id": 500 + at, "tenant": 1}, free)
        assert error_of(trusted) == (403, "forbidden")
        admin = key(scopes={Scope.ADMIN})
        assert world.post("command=insert&table=posts&trusted=1", {"id": 600 + at, "tenant": 1}, admin).status == 200
    made = {int(at) // 100 for at in world.rows("posts") if int(at) >= 100}
    assert made == {1, 4, 6}


def test_a_bulk_load_stops_at_the_first_row_that_is_not_the_keys(world: World) -> None:
    lines = [orjson.dumps({"id": 1_000 + at, "tenant": int(at != 700)}) for at in range(1_000)]
    reply = world.post(
        "command=insert&table=posts", b"\n".join(lines), key("posts", filters=MINE), "application/x-ndjson"
    )
    told = orjson.loads(reply.body)["error"]
    assert (reply.status, told["code"], told["line"], told["applied"]) == (403, "row_forbidden", 701, 700)
    made = [row for row in world.rows("posts").values() if row["id"] >= 1_000]
    assert {row["tenant"] for row in made} == {1}
    assert len(made) == 700


def test_cursors_do_not_show_a_hash_of_the_filter(world: World) -> None:
    one, other = (key("posts", filters=(("posts", f"tenant:NUMEQ:{at}"),)) for at in (0, 1))
    query = "command=select&table=posts&order_by=n&order_sort=NUMASC&limit_max=3"
    pages = [body(world, query, caller) for caller in (one, other)]
    assert pages[0]["next"][:8] == pages[1]["next"][:8] == body(world, query, key("posts"))["next"][:8]
    theirs = body(world, f"{query}&after={pages[0]['next']}", one)
    assert len(theirs["rows"]) == 3
    assert all(row["tenant"] == 0 for row in theirs["rows"])
    wrong = refusal(world, f"{query}&after=00000000{pages[0]['next'][8:]}", one)
    assert wrong["code"] == "invalid_cursor"


# --- what is left out -----------------------------------------------------------------------------------------


def test_a_plan_tells_no_sizes_under_a_filter_and_no_foreign_names_without_columns(world: World) -> None:
    query = "command=explain&table=posts&where=n:NUMEQ:1"
    filtered = body(world, query, key("posts", filters=MINE))
    assert set(filtered) == {"table", "chosen", "time_us"}
    assert all(set(access) == {"index", "columns", "gives_order"} for access in filtered["chosen"])
    narrow = key("posts", columns=columns("id", "n"), filters=MINE)
    text = str(body(world, query, narrow)) + str(body(world, "command=explain&table=posts", narrow))
    assert not any(word in text for word in ("tenant", "secret"))
    assert "rows_examined" in body(world, query, key("posts", columns=columns("id", "n")))
    assert "alternatives" in body(world, query, key("posts"))


def test_a_costly_query_is_not_told_the_index_over_what_it_cannot_see(world: World) -> None:
    query = "command=select&table=posts&where=title:STRINC:x&total=1"
    told = refusal(world, query, key("posts", filters=MINE, budget_rows=5))
    assert (told["status"], told["code"]) == (422, "too_costly")
    assert "tenant" not in str(told)
    open_key = refusal(world, "command=select&table=posts&where=title:STRBW:x&order_by=title", key(budget_rows=5))
    assert "CREATE INDEX" in open_key["hint"]
    update = world.post("command=update&table=posts&where=title:STRINC:x", {"n": 1}, key(budget_rows=5))
    assert error_of(update) == (422, "too_costly")


def test_pages_are_no_larger_than_the_key_may_have(world: World) -> None:
    caller = key(max_rows=7)
    assert len(body(world, "command=select&table=posts", caller)["rows"]) == 7
    assert refusal(world, "command=select&table=posts&limit_max=8", caller)["code"] == "limit_exceeded"
    assert len(body(world, "command=select&table=posts&limit_max=8", key())["rows"]) == 8


def test_a_column_that_vanishes_while_a_query_runs_is_not_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = key("posts", columns=columns("id", "title"), filters=MINE)
    view = world.api._serving.state().view(caller.rights)
    schema = world.store.database.schema("posts")
    monkeypatch.setattr(type(view), "request", _dropping(world, type(view).request))
    reply = world.post("command=select&table=posts&where=title:STRINC:t", b"", caller)
    told = orjson.loads(reply.body)["error"]
    assert (reply.status, told["code"]) == (400, "unknown_column")
    assert "tenant" not in str(told)
    assert "secret" not in str(told)
    assert world.store.database.schema("posts") is not schema


def _dropping(world: World, request: Any) -> Any:
    """The column goes after a request has been read, before it is carried out."""

    def read(*arguments: Any, **named: Any) -> Any:
        found = request(*arguments, **named)
        world.store.commit_blocking([DropColumn("posts", "tenant", if_exists=True)])
        return found

    return read


def test_what_concerns_all_tables_is_not_for_a_key_that_is_limited_to_some(tmp_path: Path) -> None:
    """Whatever scope the settings say; what they give to everybody it has, too."""
    partial = key("notes", scopes={Scope.ADMIN})
    with worlds(tmp_path, sources_scope="read", slow_scope="published") as (world,):
        assert world.document("/sources", key(scopes={Scope.READ})).status == 200
        assert error_of(world.document("/sources", partial)) == (403, "forbidden")
        assert world.document("/slow", partial).status == 200
        assert error_of(world.post("command=sql", {"sql": SQL}, partial)) == (403, "forbidden")
        assert world.post("command=sql", {"sql": SQL}).status == 200
        assert error_of(world.post("command=insert&table=notes&trusted=1", {"id": 1}, partial)) == (403, "forbidden")
        assert world.post("command=insert&table=notes", {"id": 1}, partial).status == 200
        assert orjson.loads(world.document("/ready", partial).body) == {"ready": True}


def test_writes_by_get_need_a_key_that_may_write(tmp_path: Path) -> None:
    with worlds(tmp_path, get_writes=True) as (world,):
        assert world.post("command=sql", {"sql": SQL}).status == 200
        reader, writer = key(scopes={Scope.READ}), key("notes", scopes={Scope.WRITE}, filters=(("notes", "n:NUMEQ:1"),))
        for query in (
            b"command=insert&table=notes&rows=[{%22id%22:1,%22n%22:1}]",
            b"command=delete&table=notes&where=n:STRINC:command=select&all=1",
            b"command=update&table=notes&all=1&set={%22n%22:1}",
        ):
            assert error_of(world.get(query, ANONYMOUS)) == (401, "unauthorized")
            assert error_of(world.get(query, reader)) == (403, "forbidden")
            assert world.get(query, writer).status == 200
        assert error_of(world.get(b"command=sql&sql=DROP+TABLE+notes", writer)) == (403, "forbidden")
        assert (
            error_of(world.get(b"command=insert&table=notes&rows={%22id%22:2,%22n%22:2}", writer))[1] == "row_forbidden"
        )
        assert set(world.rows("notes")) == {"1"}


# --- callers --------------------------------------------------------------------------------------------------


def test_a_refused_key_is_refused_again_and_again_without_growing(world: World) -> None:
    error = Unauthorized("the key was revoked")
    caller = Caller("gone", Rights(held({Scope.ADMIN})), refused=error)
    for _ in range(5):
        for query in (b"command=select&table=posts&type=count", b"command=nothing", b""):
            assert error_of(world.get(query, caller)) == (401, "unauthorized")
        assert error_of(world.post("command=insert&table=posts", {"id": 1}, caller)) == (401, "unauthorized")
        assert error_of(world.document("/status", caller)) == (401, "unauthorized")
        assert world.document("/health", caller).status == 200
    depth, trace = 0, error.__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    assert depth < 20


def test_bodies_of_those_who_may_do_nothing_are_not_read(world: World) -> None:
    """A command may stand in the body; who may not have any of them is not listened to."""
    assert error_of(world.post("", b"x" * 2_000_000, ANONYMOUS)) == (401, "unauthorized")
    assert error_of(world.post("command=sql", b"x" * 2_000_000, key())) == (403, "forbidden")
    assert error_of(world.post("", b"x" * 2_000_000, key())) == (413, "payload_too_large")


def test_equal_rights_share_a_view_and_views_are_bounded(world: World) -> None:
    state = world.api._serving.state()
    assert state.view(key("posts").rights) is state.view(key("posts").rights)
    assert state.view(key("posts").rights) is not state.view(key("notes").rights)
    assert state.view(key().rights) is state.view(key(scopes={Scope.WRITE}).rights)
    for at in range(MOST_VIEWS + 5):
        caller = key("posts", filters=(("posts", f"n:NUMEQ:{at}"),))
        assert body(world, "command=select&table=posts&type=count", caller)["count"] == (8 if at < 5 else 0)
    assert len(state._views) <= MOST_VIEWS


def test_what_one_view_has_learnt_is_not_known_to_another(world: World) -> None:
    query = b"command=select&table=posts&where=n:NUMEQ:1&type=count"
    callers = [key(), key("posts"), key("posts", filters=MINE), key("posts", columns=columns("id", "n")), key("notes")]
    for _ in range(3):
        statuses = [(reply.status, reply.body) for reply in (world.get(query, caller) for caller in callers)]
        assert [status for status, _ in statuses] == [200, 200, 200, 200, 404]
        assert [orjson.loads(found)["count"] for _, found in statuses[:4]] == [8, 8, 4, 8]
    known = [world.api.known_for(caller) for caller in callers]
    assert len({id(each) for each in known}) == 5
    assert world.api.known_for(key(scopes={Scope.WRITE})) is None
    assert world.api.known_for(ANONYMOUS) is None
    assert known[0] is world.api.known_for(key(scopes={Scope.READ}))
    assert known[1] is not None
    assert known[1].body(query) == b'{"count":8}'
    assert known[2] is not None
    assert known[2].body(query) is None  # under a filter there is more in a query than its words say


def test_answers_of_all_views_are_counted(world: World) -> None:
    query = b"command=select&table=posts&where=n:NUMEQ:1&type=count"
    for caller in (key(), key("posts"), key("posts", columns=columns("id", "n"))):
        for _ in range(4):
            assert world.get(query, caller).status == 200
    world.document("/status")
    answered = world.api.metrics.requests["count", 200]
    assert answered == 12
