"""/metrics of a real server, read by prometheus_client's own parsers; the dashboard and the reference agree with it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from tcsql.access.scopes import OPERATIONS
from tcsql.engine.change import CreateTable
from tcsql.engine.database import Database
from tcsql.engine.plans import KINDS
from tcsql.errors import TCSQLError
from tcsql.http.exposition import FAMILIES, PROCESS, Figures, Steps, encoded
from tcsql.http.figures import _tables
from tcsql.metrics import Histogram
from tests.http.conftest import LANES
from tests.http.serving import Running, serving, wait_for
from tests.storage.support import POSTS

DOCS = Path(__file__).parents[2] / "docs"


def families(server: Running, **headers: str) -> dict[str, Metric]:
    answer = server.client.get(server.url + "/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(found: dict[str, Metric], name: str, **labels: str) -> float:
    samples = (sample for family in found.values() for sample in family.samples)
    [sample] = [each for each in samples if each.name == name and labels.items() <= each.labels.items()]
    return sample.value


@pytest.fixture(scope="module", params=LANES)
def used(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that has done a little of everything."""
    flags = ("--slow-ms", "0.2", *LANES[request.param])
    with serving(tmp_path_factory.mktemp("measured") / "data", *flags) as server:
        server.sql(
            "CREATE TABLE posts (id INT PRIMARY KEY AUTO_INCREMENT, uid INT, title VARCHAR(40), KEY (uid), "
            "FULLTEXT KEY words (title))"
        )
        server.post("command=insert&table=posts", [{"uid": n % 9, "title": f"number {n}"} for n in range(3_000)])
        for _ in range(5):
            server.rows("where=uid:NUMEQ:3&limit_max=2")
        server.get("command=select&type=count&where=uid:NUMEQ:3")
        server.get("command=select&where=title:STRINC:77&total=1")
        server.get("command=select&where=title:FTSPH:number&order_by=uid&order_sort=NUMDESC")
        server.get("command=select&where=nothing:NUMEQ:1")
        server.post("command=delete&table=posts&where=id:NUMEQ:7")
        server.get("command=select", headers={"host": "evil.example"})
        yield server


def test_it_is_the_text_format_and_tells_what_was_done(used: Running) -> None:
    answer = used.client.get(used.url + "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    found = families(used)
    assert value(found, "tcsql_ready") == 1
    assert value(found, "tcsql_requests_total", operation="select", status="200") >= 7
    assert value(found, "tcsql_requests_total", operation="delete", status="200") == 1
    assert value(found, "tcsql_refusals_total", code="unknown_column") == 1
    assert value(found, "tcsql_refusals_total", code="misdirected_request") == 1
    assert value(found, "tcsql_table_rows", table="posts") == 2_999
    assert value(found, "tcsql_index_bytes", table="posts", index="uid") > 0
    assert value(found, "tcsql_index_uses_total", table="posts", index="uid") >= 5
    assert value(found, "tcsql_rows_written_total") == 3_001
    assert value(found, "tcsql_rows_examined_total") >= 50
    assert sum(sample.value for sample in found["tcsql_plans"].samples) >= 3
    assert value(found, "tcsql_store_commits_total") >= 3
    assert value(found, "tcsql_store_commit_seconds_count") >= 3
    assert value(found, "tcsql_store_state", state="ok") == 1
    assert value(found, "tcsql_store_lsn", state="durable") > 0
    assert value(found, "tcsql_indexes", origin="manual") == 2
    assert value(found, "tcsql_memory_bytes") > value(found, "tcsql_table_bytes", table="posts") > 0
    assert value(found, "tcsql_recovery_seconds") >= 0
    assert value(found, "process_resident_memory_bytes") > 10**7
    assert value(found, "tcsql_event_loop_cpu_seconds_total") > 0
    assert value(found, "tcsql_slow_reads_total") >= 1


def test_every_metric_has_a_name_a_kind_and_a_meaning_by_the_conventions(used: Running) -> None:
    found = families(used)
    told = {name for name in found if name.startswith("tcsql_")}
    assert told == {family.name.removesuffix("_total") for family in FAMILIES.values()}
    assert set(PROCESS) == {
        sample.name for name, each in found.items() if name.startswith("process_") for sample in each.samples
    }
    for family in FAMILIES.values():
        assert re.fullmatch(r"tcsql_[a-z_]+", family.name)
        assert (family.kind == "counter") == family.name.endswith("_total")
        assert found[family.name.removesuffix("_total")].type == family.kind
        assert len(family.meaning) > 3
        assert not {"le", "quantile"} & set(family.labels)


def test_histograms_are_whole(used: Running) -> None:
    """Buckets rise, the last one holds all, and requests are timed as often as they are counted."""
    found = families(used)
    for family in FAMILIES.values():
        if family.kind != "histogram":
            continue
        series: dict[tuple[tuple[str, str], ...], list[float]] = {}
        counts: dict[tuple[tuple[str, str], ...], float] = {}
        for sample in found[family.name].samples:
            labels = tuple(sorted((name, of) for name, of in sample.labels.items() if name != "le"))
            if sample.name.endswith("_bucket"):
                series.setdefault(labels, []).append(sample.value)
            elif sample.name.endswith("_count"):
                counts[labels] = sample.value
        assert {labels: values[-1] for labels, values in series.items()} == counts
        assert all(values == sorted(values) for values in series.values())


def test_label_values_are_ours_whatever_clients_send(used: Running) -> None:
    for hostile in ("command=x%22%0Aevil", "command=select&table=evil", "command=select&where=evil:NUMEQ:1"):
        used.get(hostile)
    used.client.get(used.url + "/evil")
    used.client.request("EVIL", used.url + "/")
    used.client.get(used.url + "/q/evil")
    used.client.post(used.url + "/sources/evil?action=evil")
    text = used.client.get(used.url + "/metrics").text
    assert "evil" not in text.lower()
    found = families(used)
    operations = {*OPERATIONS, "refused", "known"}
    for name in ("tcsql_requests", "tcsql_request_seconds"):
        assert {sample.labels["operation"] for sample in found[name].samples} <= operations
    codes = {kind.code for kind in _all(TCSQLError)}
    assert {sample.labels["code"] for sample in found["tcsql_refusals"].samples} <= codes
    assert {sample.labels["kind"] for sample in found["tcsql_plans"].samples} <= set(KINDS)


def _all(kind: type[TCSQLError]) -> Iterator[type[TCSQLError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _all(each)


def test_known_answers_are_counted_one_by_one_and_a_few_of_them_timed(used: Running) -> None:
    before = families(used)
    request = b"GET /?command=select&table=posts&where=uid:NUMEQ:%d&limit_max=2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(used.address, timeout=10) as connection:
        reader = connection.makefile("rb")
        until, asked = time.monotonic() + 0.4, 0
        while time.monotonic() < until:
            connection.sendall(request % (asked % 9))
            asked += 1
            length = 0
            while (line := reader.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert reader.read(length)
        reader.close()
    after = families(used)
    answered = value(after, "tcsql_requests_total", operation="select", status="200") - value(
        before, "tcsql_requests_total", operation="select", status="200"
    )
    assert answered == asked
    known = value(after, "tcsql_known_answers_total", operation="select")
    assert known >= asked - 10
    assert value(after, "tcsql_request_seconds_count", operation="known") == pytest.approx(known, abs=60)
    mean = value(after, "tcsql_request_seconds_sum", operation="known") / known
    assert 0 < mean < 0.001


def test_openmetrics_is_given_to_who_asks_for_it(used: Running) -> None:
    answer = used.client.get(
        used.url + "/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1"}
    )
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in open_families(answer.text)} >= {"tcsql_requests", "tcsql_stall_seconds"}
    strange = used.client.get(
        used.url + "/metrics", headers={"accept": b"application/openmetrics-text;version=x;q=\xff,;"}
    )  # type: ignore[dict-item]  # httpx takes bytes
    assert strange.status_code == 200


def test_other_methods_and_head(used: Running) -> None:
    head = used.client.head(used.url + "/metrics")
    assert (head.status_code, head.content) == (200, b"")
    assert used.client.post(used.url + "/metrics").status_code == 405


def test_it_answers_before_and_after_the_store_is_open(tmp_path: Path) -> None:
    with serving(tmp_path / "data", ready=False) as server:
        wait_for(lambda: value(families(server), "tcsql_ready") == 1)


def test_two_hundred_tables_do_not_stall_the_loop() -> None:
    """Taking the figures gives way every few tables; writing them is a thread's work, which gives way by itself."""
    database = Database()
    for number in range(200):
        database.apply(database.check([CreateTable(replace(POSTS, name=f"t{number}"))], datetime(2026, 1, 1)))
    opened = SimpleNamespace(store=SimpleNamespace(database=database))
    longest = 0.0
    text = b""

    async def watch() -> None:
        nonlocal longest
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - started)

    async def work() -> None:
        nonlocal text
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        figures = Figures()
        await _tables(figures, opened)  # type: ignore[arg-type]  # all that it looks at
        watching.cancel()
        _, text = await asyncio.to_thread(encoded, figures, "")

    best = 1.0
    for _ in range(5):  # others use this machine, too
        longest = 0.0
        asyncio.run(work())
        best = min(best, longest)
    assert text.count(b"tcsql_index_bytes{") == 400
    assert best < 0.005, f"{best * 1000:.1f} ms"


def test_a_hostile_name_of_a_table_is_escaped() -> None:
    figures = Figures()
    figures.add("table_rows", 1, 'a"b\\c\nd')
    _, text = encoded(figures)
    [family] = [each for each in text_string_to_metric_families(text.decode()) if each.name == "tcsql_table_rows"]
    assert family.samples[0].labels == {"table": 'a"b\\c\nd'}


def test_a_histogram_is_sent_cumulated() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds in (0.5, 1.5, 1.7, 9.0):
        histogram.add(seconds)
    steps = Steps.of(histogram)
    assert (steps.upto, steps.count, steps.sum) == ([(1.0, 1), (2.0, 3)], 4, 12.7)


# --- what is written of them ------------------------------------------------------------------------------------


def expressions(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("expr"), str):
            yield node["expr"]
        for each in node.values():
            yield from expressions(each)
    elif isinstance(node, list):
        for each in node:
            yield from expressions(each)


def named(text: str) -> set[str]:
    return set(re.findall(r"\b(?:tcsql|process)_[a-z_]+", text))


def known() -> set[str]:
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
    ours = {family.name + suffix for family in FAMILIES.values() for suffix in suffixes[family.kind]}
    return ours | set(PROCESS)


def test_every_metric_of_the_dashboard_exists() -> None:
    board = json.loads((DOCS / "grafana" / "tcsql.json").read_text())
    asked = list(expressions(board["panels"]))
    assert len(asked) >= 20
    assert set().union(*map(named, asked)) <= known()
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert rows == ["Traffic", "Latency", "Freshness of sources", "Memory", "Store", "Refusals"]
    assert board["schemaVersion"] >= 38  # of Grafana 10
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${source}", panel["title"]


def test_every_metric_of_the_operations_page_exists() -> None:
    used_in_alerts = "\n".join(re.findall(r"```promql\n(.*?)```", (DOCS / "operations.md").read_text(), re.DOTALL))
    assert len(named(used_in_alerts)) >= 5
    assert named(used_in_alerts) <= known()


def test_every_metric_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "metrics.md").read_text()
    for family in FAMILIES.values():
        assert f"`{family.name}`" in page
        assert family.meaning.replace("|", "\\|") in page
