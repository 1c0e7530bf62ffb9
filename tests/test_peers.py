"""Measuring beside peers: wrk's output, ratios, goals, request templates, and the page that is made of the results."""

from __future__ import annotations

import doctest
import json
import random
from typing import Any

import pytest

from loadtest import asked, cells, goals, limits, report, sections, template, wrk

OUTPUT = """Running 5s test @ http://127.0.0.1:3888/
  1 threads and 100 connections
RESULT {"requests":1000,"seconds":3.500000,"counted":900,"window_s":2.0,"bytes":164000,"p50_ms":1.250,"p99_ms":9.500,\
"max_ms":12.000,%s}
"""
ERRORS = '"errors":{"connect":%d,"read":0,"write":0,"status":%d,"timeout":0}'


@pytest.mark.parametrize("module", [cells, limits, sections, template, wrk])
def test_examples_in_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_the_line_of_wrk_is_read_and_its_rate_counts_good_answers_after_the_warm_up() -> None:
    found = wrk.parse(OUTPUT % (ERRORS % (0, 500)), cpu_s=1.75)
    assert (found.requests, found.p50_ms, found.p99_ms, found.generator_core) == (1_000, 1.25, 9.5, 0.5)
    assert found.per_s == 200  # 900 in 2 s, of which up to 500 were refusals


@pytest.mark.parametrize(("connect", "status", "void"), [(0, 0, False), (1, 0, False), (1, 1, True), (0, 2, True)])
def test_a_cell_is_void_above_one_error_in_a_thousand(connect: int, status: int, void: bool) -> None:
    assert wrk.parse(OUTPUT % (ERRORS % (connect, status)), 0).is_void is void


def test_a_cell_without_any_answer_is_void() -> None:
    assert wrk.parse((OUTPUT % (ERRORS % (0, 0))).replace('"requests":1000', '"requests":0'), 0).is_void


def test_output_without_a_result_is_an_error_that_shows_it() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused", 0)


def test_insert_requests_say_the_length_of_their_body() -> None:
    for spelt in (asked.insert_ours(asked.FIRST_WRITTEN), asked.insert_peer(asked.FIRST_WRITTEN)):
        for seed in range(20):
            head, _, body = spelt.filled(spelt.draw(random.Random(seed))).partition("\r\n\r\n")
            assert f"Content-Length: {len(body)}\r\n" in f"{head}\r\n"
            assert json.loads(body)["id"] == asked.FIRST_WRITTEN


def test_words_to_draw_from_have_no_separator_in_them() -> None:
    spelt = [*asked.of_tcsql(1_000).values(), asked.insert_ours(asked.FIRST_WRITTEN)]
    words = [word for one in spelt for part in one.parts if isinstance(part, template.OneOf) for word in part.words]
    assert len(words) == 3 * 8
    assert not any(";" in word for word in words)


def test_nginx_gets_the_bytes_that_tcsql_gets_but_for_the_path() -> None:
    ours, theirs = asked.of_tcsql(1_000), asked.of_constant(1_000)
    for query, spelt in ours.items():
        values = [7, "blogid"]
        assert theirs[query].filled(values) == spelt.filled(values).replace("GET /?", f"GET /{query}?")


def cell(stack: str, query: str, round_number: int, per_s: float, **more: object) -> cells.Cell:
    times = {
        "p50_ms": 1.0,
        "p99_ms": 5.0,
        "server_core": 1.0,
        "generator_core": 0.5,
        "resident_bytes": 2**20,
        "others_core": 0.0,
    }
    plain = {"round": round_number, "stack": stack, "query": query, "per_s": per_s, "void": False, "errors": {}}
    return {"connections": 100, "requests": 1_000, **plain, **times, **more}


def sample() -> dict[str, Any]:
    """Three rounds of q1 in which the machine's speed doubles each time, and one of each other section."""
    measured = [
        cell(stack, "q1", number, rate * 2**number)
        for number in range(3)
        for stack, rate in (("constant", 1_000.0), ("fast", (900.0, 950.0, 800.0)[number]))
    ]
    measured.append(cell("fast", "q1", 3, 1e9, void=True, errors={"status": 7}))
    machine = {
        "cores": 2, "processor": "a processor", "memory_gib": 8.0, "system": "Linux 6", "load_average_at_start": 0.1,
        "python": "CPython 3.11", "python_built_with": "PGO", "packages": {"uvicorn": "0.34"}, "commit": "abc",
    }  # fmt: skip
    versions = {"nginx": "nginx/1.22", "redis": "Redis v=7.0", "mariadb": "Ver 10.11-MariaDB", "wrk": "wrk/4.1"}
    stacks = {"constant": {"title": "nginx, a constant", "body_bytes": {"q1": 164}}, "fast": {"title": "TCSQL"}}
    about = {
        "started": "today", "machine": machine, "versions": {**versions, "asyncmy": "0.2"}, "rows": 1_000_000,
        "rounds": 3, "seconds": 5, "stacks": stacks,
    }  # fmt: skip
    written = {"per_s": 2_000.0, "longest_ms": 9.0}
    mixed = [cell("fast", "q1", 0, rate, writes=pace, written=written) for pace, rate in (("none", 10), ("single", 7))]
    offered = {"seconds": 2, "late": 4, "refused": 0, "unsent": 0, "good_p99_ms": 3.0, "refused_p99_ms": None}
    loads = enumerate(((0.5, 500.0), (1, 1_000.0), (4, 950.0)))
    overload = [
        {"kind": "offered", "place": place, "factor": factor, **offered, **cell("fast", "", 0, rate), "offered": 9}
        for place, (factor, rate) in loads
    ]
    limit = {
        "allowed": 10, "existing_answered_before": 10, "existing_answered_after": 9, "past_limit": 5,
        "outcomes": {"503": 4, "silence": 1}, "refused_p50_ms": 0.2, "refused_p99_ms": 0.9,
    }  # fmt: skip
    return {
        "peers": {**about, "connections": [100], "queries": ["q1"], "cells": measured},
        "writes": {**about, "cells": [cell("fast", "insert", 0, 21_000.0, cores=1)]},
        "mixed": {**about, "cells": mixed},
        "overload": {**about, "cells": overload, "limit": limit},
    }


def judged() -> dict[tuple[str, str], goals.Judged]:
    return {(goal.what, goal.query): goal for goal in goals.judge(sample())}


def test_a_ratio_is_the_median_of_the_ratios_of_its_rounds() -> None:
    found = judged()["at 100 connections, of nginx returning a constant", "q1"]
    assert (found.reached, found.verdict) == (0.9, "yes")


def test_a_goal_is_judged_without_a_tolerance_and_never_without_a_figure() -> None:
    assert goals.Judged("x", 0.9, 0.8999).verdict == "no"
    assert goals.Judged("x", 0.9, None).verdict == "not measured"
    assert judged()["at 10,000 connections, times Starlette + MariaDB", "q4"].verdict == "not measured"


def test_every_section_is_judged() -> None:
    found = {what: (goal.reached, goal.verdict) for (what, _), goal in judged().items() if goal.reached is not None}
    assert found["single-row inserts over 64 connections, each on disk before its answer"] == (21_000, "yes")
    assert found["while 2,000 rows/s are written one by one, of the rate without"] == (0.7, "no")
    assert found["good answers at 4x the capacity offered, of the peak"] == (0.95, "yes")
    assert found["connections past the limit that are refused at once"] == (0.8, "no")
    assert found["connections within the limit that go on being answered"] == (0.9, "no")


def test_the_page_renders_from_all_results_from_some_and_from_none() -> None:
    steps = [{"step": "read", "us": 2.5}, {"step": "plan", "us": 0.5, "share": "4 %"}]
    whole = report.page({"peers": sample(), "ladder": {"steps": steps}})
    for text in (
        "**0.90** (0.9) yes",
        "| nginx, a constant | 2,000 (1.0, 5.0) | 1 |",
        "status 7",
        "| plan | 0.5 | 4 % |",
    ):
        assert text in whole
    assert "4 were answered 503, 1 got no answer" in whole
    assert "## " not in report.page({})
    for name, section in sample().items():
        assert f"commit `{section['machine']['commit']}`" in report.page({"peers": {name: section}})


def test_what_the_machine_lacks_is_said_with_its_remedy() -> None:
    enough = limits.Machine(open_files=20_000, queue=16_384, ports=28_232, cores=2)
    assert limits.lacks(enough, 10_000) == []
    lacking = limits.lacks(limits.Machine(open_files=4_096, queue=4_096, ports=5_000, cores=1), 10_000)
    words = ("ulimit -Hn", "somaxconn=", "ip_local_port_range=", "two cores")
    assert [word in str(lack) for word, lack in zip(words, lacking, strict=True)] == [True] * 4


def test_the_page_is_made_from_the_results() -> None:
    assert report.PAGE.read_text(encoding="utf-8") == report.page(report.load()), "run: python -m loadtest.report"
