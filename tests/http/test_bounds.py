"""Bounds in bytes, in both lanes: of a reply's rows, whichever way they are found; refused whole, never cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from tests.http.conftest import LANES
from tests.http.serving import Running, serving

MOST = 65_536
QUERIES = """
[published.page]
query = "table=texts&where=board:NUMEQ:{board:int(1..9)}&limit_max={n:int(1..100)}"
[published.ids]
query = "table=texts&type=id&where=board:NUMEQ:{board:int(1..9)}&limit_max={n:int(1..100)}"
"""


@pytest.fixture(scope="module", params=LANES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("bounds")
    (directory / "my.toml").write_text(QUERIES, encoding="utf-8")
    flags = ("--config", str(directory / "my.toml"), "--max-reply-bytes", str(MOST), *LANES[request.param])
    with serving(directory / "data", *flags) as running:
        running.sql("CREATE TABLE texts (id INT PRIMARY KEY, board INT, kind INT, body MEDIUMTEXT, KEY (board))")
        rows = [{"id": n, "board": n % 2 + 1, "kind": n % 3, "body": "x" * 2_000} for n in range(100)]
        assert running.post("command=insert&table=texts", rows).status_code == 200
        yield running
        assert running.stop() == 0
        assert "bug" not in running.stderr(), running.stderr()


WAYS = {
    "in the order of the key": "",
    "a run of an index": "&where=board:NUMEQ:1",
    "a search": "&where=kind:NUMLE:1|kind:NUMGE:0",
    "two runs": "&where=board:NUMOREQ:1,2",
    "sorted": "&where=kind:NUMLE:2&order_by=kind&order_sort=NUMDESC",
    "big integers": "&where=board:NUMEQ:1&bigint=string",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_page_of_more_bytes_than_a_reply_may_hold_is_refused_and_never_cut(server: Running, way: str) -> None:
    few, many = (f"command=select&table=texts{way}&limit_max={limit}" for limit in (10, 40))
    for _ in range(3):  # as it comes, by its shape, by its bytes
        answer = server.get(few)
        assert answer.status_code == 200, answer.text
        assert 10 * 2_000 < len(answer.content) < MOST + 1_000
        refused = server.get(many)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "reply_too_large")
        assert "limit_max" in refused.json()["error"]["hint"]


def test_the_same_rows_are_given_with_fewer_columns(server: Running) -> None:
    for _ in range(2):
        answer = server.get("command=select&table=texts&where=board:NUMEQ:1&type=id,board&limit_max=40")
        assert len(answer.json()["rows"]) == 40


@pytest.mark.parametrize("columns", ["id,body", "body,kind"])
def test_chosen_columns_are_bounded_by_what_they_hold(server: Running, columns: str) -> None:
    for where in ("board:NUMEQ:1", "kind:NUMLE:2"):
        answer = server.get(f"command=select&table=texts&where={where}&type={columns}&limit_max=40")
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "reply_too_large")


def test_groups_are_bounded_too(server: Running) -> None:
    answer = server.get("command=select&table=texts&type=id,max(body)&group_by=id&limit_max=60")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "reply_too_large")
    assert server.get("command=select&table=texts&type=id,max(body)&group_by=id&limit_max=9").status_code == 200


def test_a_known_page_is_refused_once_its_rows_have_grown(server: Running) -> None:
    server.sql("CREATE TABLE growing (id INT PRIMARY KEY, board INT, body MEDIUMTEXT, KEY (board))")
    small = [{"id": n, "board": n % 2, "body": "x"} for n in range(100)]
    server.post("command=insert&table=growing", small)
    page = "command=select&table=growing&where=board:NUMEQ:1&order_by=pkey&order_sort=NUMDESC&limit_max=20"
    row = "command=select&table=growing&where=pkey:NUMEQ:99&limit_max=1"
    for _ in range(4):
        assert len(server.get(page).json()["rows"]) == 20
        assert len(server.get(row).json()["rows"]) == 1
    server.post("command=insert&table=growing", small[-1] | {"body": "y" * (MOST - 2_000)})
    for _ in range(3):
        assert len(server.get(page).json()["rows"]) == 20  # the others are short
        assert len(server.get(row).json()["rows"]) == 1
    server.post("command=update&table=growing&where=pkey:NUMGE:97", {"body": "z" * (MOST - 2_000)})
    for _ in range(3):
        assert server.get(page).json()["error"]["code"] == "reply_too_large"
        assert len(server.get(row).json()["rows"]) == 1
    server.post("command=insert&table=growing", small[-1] | {"body": "y" * MOST})
    for _ in range(3):
        assert server.get(row).json()["error"]["code"] == "reply_too_large"
        assert server.get(row + "&type=id").json()["rows"] == [{"id": 99}]


def test_a_published_query_is_bounded_and_its_refusal_tells_no_names(server: Running) -> None:
    for _ in range(3):
        short = httpx.get(f"{server.url}/q/page?board=1&n=10")
        assert len(short.json()["rows"]) == 10
        refused = httpx.get(f"{server.url}/q/page?board=1&n=50")
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (422, "reply_too_large")
        assert not {"limit_max", "type", "texts", str(MOST)} & set(
            orjson.dumps(error).decode().replace("=", " ").split()
        )
        assert len(httpx.get(f"{server.url}/q/ids?board=1&n=50").json()["rows"]) == 50


def test_a_backup_is_no_reply_of_rows(server: Running) -> None:
    answer = httpx.get(f"{server.url}/backup")
    assert answer.status_code == 200
    assert len(answer.content) > MOST
