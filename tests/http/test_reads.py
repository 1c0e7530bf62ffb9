"""Selects, counts, groups and documents over the wire, once per lane."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from tests.http.serving import Running, wait_for


def test_a_page_has_total_cursors_and_rows_in_the_table_s_order(server: Running, posts: str) -> None:
    answer = server.get(
        f"command=select&table={posts}&where=uid:NUMEQ:1&order_by=dateline&order_sort=NUMDESC&limit_max=2"
    )
    assert answer.status_code == 200
    page = answer.json()
    assert list(page) == ["total", "next", "prev", "rows"]
    assert (page["total"], page["prev"]) == (4, None)
    assert page["next"]
    assert list(page["rows"][0]) == ["id", "uid", "dateline", "idtype", "title", "hits", "price"]
    assert [row["id"] for row in page["rows"]] == [10, 7]
    assert page["rows"][0]["price"] == "10.50"


def test_headers_of_a_reply(server: Running, posts: str) -> None:
    answer = server.get(f"command=select&table={posts}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["server"] == "tcsql"
    store, _, lsn = answer.headers["tcsql-lsn"].rpartition("-")
    assert store == server.client.get(server.url + "/status").json()["id"]
    assert int(lsn) > 0


def test_cursors_lead_through_all_rows_and_back(server: Running, posts: str) -> None:
    query = f"command=select&table={posts}&order_by=uid&order_sort=NUMASC&limit_max=3&type=id"
    seen, page = [], server.get(query).json()
    while True:
        seen.append([row["id"] for row in page["rows"]])
        if page["next"] is None:
            break
        page = (
            server.get(query, params=None).json()
            if not page["next"]
            else server.get(f"{query}&after={page['next']}").json()
        )
    assert seen == [[3, 6, 9], [1, 4, 7], [10, 2, 5], [8]]
    back = server.get(f"{query}&before={page['prev']}").json()
    assert [row["id"] for row in back["rows"]] == [10, 2, 5]


@pytest.mark.parametrize("cursor", ["after=xyz", "after=", "before=%00", "after=WyJhIl0", "before=" + "A" * 3000])
def test_a_cursor_that_nobody_gave_is_refused(server: Running, posts: str, cursor: str) -> None:
    answer = server.get(f"command=select&table={posts}&{cursor}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_cursor")


def test_counts_unions_projections_and_groups(server: Running, posts: str) -> None:
    assert server.get(f"command=select&table={posts}&type=count&where=uid:NUMEQ:1|idtype:STREQ:blogid").json() == {
        "count": 2
    }
    union = f"command=select&table={posts}&type=count&where=id:NUMLE:2&where=id:NUMGE:9&where=id:NUMEQ:1"
    assert server.get(union).json() == {"count": 4}
    assert server.rows(f"table={posts}&type=title,id&where=pkey:NUMEQ:3") == [{"id": 3, "title": "Title 3"}]
    groups = server.get(f"command=select&table={posts}&type=count,sum(price)&group_by=idtype&order_by=idtype").json()
    assert groups == {
        "total": 2,
        "rows": [
            {"idtype": "blogid", "count": 5, "sum(price)": "32.50"},
            {"idtype": "photoid", "count": 5, "sum(price)": "27.50"},
        ],
    }


def test_no_rows_keep_the_total(server: Running, posts: str) -> None:
    page = server.get(f"command=select&table={posts}&limit_max=0").json()
    assert (page["total"], page["rows"]) == (10, [])


def test_a_total_that_costs_a_scan_is_given_on_request(server: Running, posts: str) -> None:
    query = f"command=select&table={posts}&where=title:STREW:1|hits:NUMGE:1&limit_max=1"
    assert server.get(query).json()["total"] in (None, 1)
    assert server.get(query + "&total=1").json()["total"] == 1


def test_explain_says_what_was_chosen(server: Running, posts: str) -> None:
    plan = server.get(f"command=explain&table={posts}&where=uid:NUMEQ:1").json()
    assert plan["chosen"][0]["index"] == "uid"
    assert plan["rows_examined"] <= 4
    assert 0 < plan["time_us"] < 1_000_000


def test_big_integers_are_numbers_or_strings_as_asked(server: Running, posts: str) -> None:
    server.post(f"command=insert&table={posts}", {"id": 1, "hits": 2**64 - 1})
    query = f"command=select&table={posts}&where=id:NUMEQ:1&type=hits"
    assert b'"hits":18446744073709551615' in server.get(query).content
    assert b'"hits":"18446744073709551615"' in server.get(query + "&bigint=string").content
    assert b'"hits":4' in server.get(f"command=select&table={posts}&where=id:NUMEQ:2&type=hits&bigint=string").content


def test_reads_by_post_in_all_three_forms(server: Running, posts: str) -> None:
    wanted = server.get(f"command=select&table={posts}&where=uid:NUMEQ:1&limit_max=2").json()
    form = f"table={posts}&where=uid%3ANUMEQ%3A1&limit_max=2".encode()
    members = {"table": posts, "where": "uid:NUMEQ:1", "limit_max": 2}
    kind = "application/x-www-form-urlencoded"
    assert server.post("", b"command=select&" + form, kind).json() == wanted
    assert server.post("command=select", form, kind).json() == wanted
    assert server.post("command=select", members).json() == wanted
    assert server.post("", {"command": "select", **members}).json() == wanted
    assert (
        server.post("", {"command": "select", **members, "where": ["uid:NUMEQ:1", "uid:NUMEQ:1"]}).json()["total"] == 4
    )
    assert server.post(f"command=select&table={posts}&where=uid:NUMEQ:1&limit_max=2").json() == wanted
    encoded = orjson.dumps({"command": "select", **members})
    assert server.post("", encoded, kind).json() == wanted
    assert server.post("", encoded, "text/plain").json() == wanted


def test_head_gives_the_headers_alone(server: Running, posts: str) -> None:
    query = f"command=select&table={posts}"
    head = server.client.head(f"{server.url}/?{query}")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(server.get(query).content)
    assert server.client.head(f"{server.url}/?command=delete&all=1&table={posts}").status_code == 405
    assert server.client.head(server.url + "/health").status_code == 200


def test_documents(server: Running, posts: str) -> None:
    assert server.client.get(server.url + "/health").json() == {"status": "ok"}
    ready = server.client.get(server.url + "/ready")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    status = server.client.get(server.url + "/status").json()
    [table] = [table for table in status["tables"] if table["name"] == posts]
    assert table["rows"] == 10
    assert table["create_table"].startswith(f"CREATE TABLE `{posts}` (")
    assert {index["name"] for index in table["indexes"]} == {"PRIMARY", "uid", "idtype"}
    assert status["uptime_s"] > 0
    assert status["durable_lsn"] <= status["lsn"]
    before = status["metrics"]["requests"]["select"]["200"] if "select" in status["metrics"]["requests"] else 0
    server.rows(f"table={posts}")
    after = server.client.get(server.url + "/status").json()["metrics"]
    assert after["requests"]["select"]["200"] == before + 1
    assert after["latency_s"]["select"]["count"] >= 1


def test_min_lsn_waits_for_a_write_of_this_server_only(server: Running, posts: str) -> None:
    written = server.post(f"command=insert&table={posts}", {"id": 50})
    query = f"command=select&table={posts}&where=pkey:NUMEQ:50"
    assert len(server.rows(f"table={posts}&where=pkey:NUMEQ:50&min_lsn={written.json()['lsn']}")) == 1
    assert server.get(f"{query}&min_lsn={written.headers['tcsql-lsn']}").status_code == 200
    foreign = server.get(f"{query}&min_lsn=0123abcd-1")
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (400, "bad_request")


def test_queries_that_examine_many_rows_let_others_pass(server: Running, make_table: Callable[[str], str]) -> None:
    table = make_table("id INT PRIMARY KEY, n INT, t VARCHAR(99)")
    lines = b"\n".join(b'{"id":%d,"n":%d,"t":"abc %d"}' % (n, n % 977, n) for n in range(20_000))
    assert server.post(f"command=insert&table={table}", lines, "application/x-ndjson").json()["inserted"] == 20_000
    answer = server.get(f"command=select&table={table}&where=t:STREW:7|n:NUMGE:900&order_by=t&limit_max=3&total=1")
    wanted = sorted(f"abc {n}" for n in range(20_000) if n % 977 >= 900 and n % 10 == 7)
    assert answer.json()["total"] == len(wanted)
    assert [row["t"] for row in answer.json()["rows"]] == wanted[:3]


def test_a_backup_is_a_store_of_its_own(server: Running, posts: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    answer = server.client.get(server.url + "/backup")
    assert answer.status_code == 200
    assert answer.content.startswith(b"SQLite format 3\0")
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_keep_alive_connection_serves_many_requests(server: Running, posts: str) -> None:
    request = f"GET /?command=select&table={posts}&type=count HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answers = server.raw(request * 5 + last)
    assert answers.count(b'{"count":10}') == 6


def test_a_change_of_the_schema_is_seen_by_the_next_query(server: Running, posts: str) -> None:
    server.sql(f"ALTER TABLE {posts} ADD COLUMN extra INT DEFAULT 7")
    assert server.rows(f"table={posts}&where=pkey:NUMEQ:1&type=extra") == [{"extra": 7}]
    server.sql(f"CREATE INDEX by_hits ON {posts} (hits)")

    def is_ready() -> bool:
        tables = server.client.get(server.url + "/status").json()["tables"]
        [table] = [table for table in tables if table["name"] == posts]
        return any(index["name"] == "by_hits" and index["ready"] for index in table["indexes"])

    wait_for(is_ready)
    server.sql(f"DROP TABLE {posts}")
    assert server.get(f"command=select&table={posts}").status_code == 404
