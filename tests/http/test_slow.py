"""/slow: which reads are listed, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tcsql.engine.plans import Cost
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
from tcsql.http.slow import KEPT, SlowLog, shape
from tests.http.conftest import LANES
from tests.http.serving import Running, serving

ROWS = 4_000


@pytest.fixture(scope="module", params=LANES)
def slow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server to which every read is slow that is not known, with a table whose scan costs something."""
    flags = ("--slow-ms", "0", "--query-budget-rows", "3000", "--auto-index", "false", *LANES[request.param])
    with serving(tmp_path_factory.mktemp("slow") / "data", *flags) as server:
        server.sql("CREATE TABLE posts (id INT PRIMARY KEY AUTO_INCREMENT, uid INT, title VARCHAR(40), KEY (uid))")
        server.post("command=insert&table=posts", [{"uid": n % 9, "title": f"number {n}"} for n in range(ROWS)])
        yield server


def listed(server: Running) -> list[dict[str, Any]]:
    answer = server.client.get(server.url + "/slow")
    assert answer.status_code == 200
    return list(answer.json()["reads"])


def test_a_slow_read_is_listed_with_its_shape_its_work_and_its_plan(slow: Running) -> None:
    slow.get("command=select&where=uid:NUMLE:4|title:STRINC:needle%20in%20hay&order_by=title&limit_max=7")
    found = listed(slow)[0]
    assert found["operation"] == "select"
    assert found["table"] == "posts"
    assert found["query"] == "where=uid:NUMLE:?|title:STRINC:?&order_by=title&order_sort=STRASC&limit_max=7"
    assert found["rows_examined"] > 1_000
    assert found["plan"]
    assert found["caller"] == "local"
    assert found["status"] == 200
    assert 0 < found["seconds"] < 10
    assert found["time"].endswith("Z")
    assert "needle" not in slow.client.get(slow.url + "/slow").text


def test_counts_groups_and_refusals_are_listed_too(slow: Running) -> None:
    slow.get("command=select&type=count&where=title:STRBW:number%201|uid:NUMEQ:3")
    assert listed(slow)[0]["operation"] == "count"
    slow.get("command=select&type=uid,count&group_by=uid&where=uid:NUMEQ:5")
    assert listed(slow)[0]["operation"] == "groups"
    refused = slow.get("command=select&where=title:STRINC:never&order_by=uid&total=1")
    assert refused.json()["error"]["code"] == "too_costly", refused.text
    found = listed(slow)[0]
    assert (found["status"], found["query"].startswith("where=title:STRINC:?")) == (422, True)
    assert found["rows_examined"] > 1_000


def test_known_reads_and_writes_are_not_listed(slow: Running) -> None:
    query = "command=select&where=uid:NUMEQ:3&limit_max=2"
    slow.get(query)
    slow.get(query)
    before = slow.client.get(slow.url + "/slow").json()["count"]
    for _ in range(5):
        slow.get(query)
    slow.post("command=insert&table=posts", [{"id": 1, "uid": 1, "title": "x"}])
    slow.post("command=delete&table=posts&where=id:NUMEQ:2")
    assert slow.client.get(slow.url + "/slow").json()["count"] == before


def test_nothing_is_listed_below_the_threshold(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--slow-ms", "60000") as server:
        server.sql("CREATE TABLE t (id INT PRIMARY KEY)")
        server.get("command=select&where=id:NUMGE:1")
        assert server.client.get(server.url + "/slow").json() == {"slow_ms": 60_000.0, "count": 0, "reads": []}


def test_the_last_ones_are_kept_the_newest_first() -> None:
    log = SlowLog(10.0, clock=lambda: 0.0)
    for number in range(KEPT + 5):
        log.add("count", Count(f"t{number}"), number / 100, caller="k1", cost=None)
    plain: Any = log.plain()
    assert (plain["count"], len(plain["reads"])) == (KEPT + 5, KEPT)
    assert [read["table"] for read in plain["reads"][:2]] == [f"t{KEPT + 4}", f"t{KEPT + 3}"]
    assert plain["reads"][0]["time"] == "1970-01-01T00:00:00.000Z"


SECRET = "pa$$word"
WHERE = Filter(((Condition("a", Operator.STREQ, SECRET, negated=True), Condition(None, Operator.NUMGT, SECRET)),))


def test_no_operand_and_no_cursor_stands_in_a_shape() -> None:
    order = (OrderTerm("a", OrderKind.NUM, True), OrderTerm(None, OrderKind.STR))
    select = Select("t", ("a", "b"), WHERE, order, skip=3, limit=5, after=SECRET, total=True)
    group = Group("t", ("a",), (Aggregate(AggregateFunction.COUNT, None, "count"),), ("a", "count"), WHERE)
    assert shape(select) == (
        "where=a:~STREQ:?|pkey:NUMGT:?&type=a,b&order_by=a,pkey&order_sort=NUMDESC,STRASC&limit_skip=3&limit_max=5"
        "&after=?&total=1"
    )
    assert shape(group) == "where=a:~STREQ:?|pkey:NUMGT:?&type=a,count&group_by=a&limit_max=100"
    assert shape(Count("t", WHERE)) == "where=a:~STREQ:?|pkey:NUMGT:?&type=count"
    log = SlowLog(0)
    log.add("select", select, 1.0, caller="k1", cost=Cost(select, 9, (("scan", "PRIMARY"),)))
    assert SECRET not in str(log.plain())
