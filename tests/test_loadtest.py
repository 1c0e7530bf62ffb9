"""The load test refuses wrong replies, knows what it needs, and the sweep's section says what its results say."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import sweep, sweep_report
from benchmarks.shape import KINDS, posts
from benchmarks.sweep_shapes import Data, curves, rows
from loadtest import locust_report
from loadtest.limits import Machine
from loadtest.locust_checks import (
    FACTS_TARGET,
    QUESTIONS,
    Facts,
    Question,
    compound_count,
    compound_list,
    facts_of,
    newest_of_user,
    row_by_key,
)
from loadtest.locust_needs import needs
from tcsql.engine.query import Select

ROWS = 600


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sweep.Subject]:
    found = sweep.Subject(ROWS, tmp_path_factory.mktemp("sweep") / "data")
    yield found
    found.close()


def _reply(subject: sweep.Subject, target: str) -> bytes:
    """The body of a real reply to a target as locust sends it."""
    return subject.reply(subject.question(target.partition("?")[2]))


@pytest.fixture(scope="module")
def facts(subject: sweep.Subject) -> Facts:
    return facts_of(_reply(subject, FACTS_TARGET))


def test_facts_are_what_the_server_holds(facts: Facts) -> None:
    held = list(posts(ROWS))
    assert facts.keys == (1, ROWS)
    assert facts.datelines == (held[0].dateline, held[-1].dateline)
    assert facts.uids == (min(post.uid for post in held), max(post.uid for post in held))
    assert facts.kinds == {kind: sum(post.idtype == kind for post in held) for kind in KINDS}
    assert facts.keys_are_dense


@pytest.mark.parametrize("body", [b'{"rows":[]}', b"[]", b"x", b'{"error":{"code":"unknown_table"}}'])
def test_a_server_without_such_rows_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        facts_of(body)


@pytest.mark.parametrize("name", QUESTIONS)
def test_right_replies_are_taken(name: str, subject: sweep.Subject, facts: Facts) -> None:
    draw = random.Random(1)
    for _ in range(50):
        question = QUESTIONS[name](facts, draw)
        assert question.problem(200, _reply(subject, question.target)) is None, question.target


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize(("status", "body"), [(0, None), (503, b"{}"), (200, b"{"), (200, b"[]"), (200, b"{}")])
def test_replies_that_are_none_are_refused(name: str, status: int, body: bytes | None, facts: Facts) -> None:
    assert QUESTIONS[name](facts, random.Random(1)).problem(status, body) is not None


def _question(name: str, facts: Facts, subject: sweep.Subject) -> tuple[Question, dict[str, Any]]:
    """A question with a full page, and its right answer."""
    draw = random.Random(3)
    while True:
        question = QUESTIONS[name](facts, draw)
        answer = json.loads(_reply(subject, question.target))
        if name == "q4" or len(answer["rows"]) == (10 if name == "q3" else 1):
            return question, answer


def test_a_row_that_was_not_asked_for_is_refused(subject: sweep.Subject, facts: Facts) -> None:
    for name, column, wrong in (("q1", "id", 0), ("q2", "uid", -1), ("q3", "idtype", "x"), ("q3", "dateline", 1)):
        question, answer = _question(name, facts, subject)
        answer["rows"][-1][column] = wrong
        assert question.problem(200, json.dumps(answer).encode()) is not None, (name, column)


def test_a_missing_row_is_refused(subject: sweep.Subject, facts: Facts) -> None:
    for name in ("q1", "q2", "q3"):
        question, answer = _question(name, facts, subject)
        answer["rows"].pop()
        assert question.problem(200, json.dumps(answer).encode()) is not None, name
    question = row_by_key(facts, random.Random(1))
    assert question.problem(200, b'{"total":0,"next":null,"prev":null,"rows":[]}') is not None


def test_rows_out_of_order_are_refused(subject: sweep.Subject, facts: Facts) -> None:
    question, answer = _question("q3", facts, subject)
    answer["rows"].reverse()
    assert question.problem(200, json.dumps(answer).encode()) == "rows out of order"


def test_totals_that_cannot_be_are_refused(subject: sweep.Subject, facts: Facts) -> None:
    draw = random.Random(1)
    for wrong in (-1, ROWS + 1, None, "7"):
        assert compound_count(facts, draw).problem(200, json.dumps({"count": wrong}).encode()) is not None
    for name, make in (("q2", newest_of_user), ("q3", compound_list)):
        assert make(facts, draw).problem(200, json.dumps({"total": ROWS + 1, "rows": []}).encode()) is not None, name


def test_what_the_machine_lacks_is_said_with_its_remedy() -> None:
    enough = Machine(open_files=20_000, queue=4_096, ports=28_232, cores=2)
    assert needs(enough, 10_000, 1, 1_000, 8) == []
    poor = Machine(open_files=1_024, queue=128, ports=1_000, cores=1)
    said = "\n".join(map(str, needs(poor, 10_000, 1, 1_000, 8)))
    for word in ("ulimit", "somaxconn", "ip_local_port_range", "core"):
        assert word in said


def test_each_curve_asks_queries_of_its_share(subject: sweep.Subject) -> None:
    data, draw = Data(rows(ROWS)), random.Random(1)
    for curve in curves():
        for point in (curve.points[0], curve.points[-1]):
            for asked in sweep.instances(curve, data, subject, point, 2, draw):
                assert isinstance(asked.query, Select) == ("type=count" not in asked.text)
                subject.engine(asked)
    everything = next(
        curve for curve in curves() if curve.name == "hits from T on, any idtype" and curve.family == "count"
    )
    for share in (0, 0.5, 1):
        text = everything.ask(data, draw, share)
        assert abs(json.loads(_reply(subject, f"/?{text}"))["count"] - share * ROWS) <= 0.06 * ROWS, text


def _point(at: float, us: float) -> dict[str, Any]:
    times = {"p50": us / 2, "p99": us, "asked": 20}
    slowest = {"request": "command=select", "runs": ["PRIMARY: 9 rows"], "rows_examined": 9}
    return {"at": at, "engine_us": times, "reply_us": times, **({"slowest": slowest} if us > 1_000 else {})}


def test_the_section_lists_the_points_above_the_goal() -> None:
    curve = {"family": "count", "axis": "share", "excepted": None}
    slow_curve = {**curve, "name": "slow one", "points": [_point(0.1, 50), _point(0.5, 1_500)]}
    excepted = {**curve, "name": "a scan", "excepted": "negated", "points": [_point(1, 9_000)]}
    results = {
        "started": "2026-01-01 00:00 UTC",
        "machine": {"commit": "abc"},
        "rows": 1_000_000,
        "instances": 20,
        "goal_us": 1_000,
        "indexes": [["uid"], ["idtype", "dateline"]],
        "curves": [slow_curve, excepted],
    }
    text = sweep.section(results, "performance/")
    assert "not met" in text
    assert "1 of 2 points are within it" in text
    assert "| count: slow one | share 0.5 | 750 us | 1.5 ms | 750 us | 1.5 ms | 9 | PRIMARY: 9 rows |" in text
    assert "| count: a scan | negated | 4.5 ms | 9.0 ms | share 1 |" in text
    assert "performance/sweep-count.svg" in text
    slow_curve["points"].pop()
    assert ": met.**" in sweep.section(results)
    assert sweep_report.above_goal(results) == []


def test_the_section_about_locust_tells_failures_and_who_was_the_limit() -> None:
    query = {"answers": 90, "per_s": 9.0, "p50_ms": 1.5, "p99_ms": 40.0, "failed": 2, "failures": {"x": 2}}
    scenario = {
        "scenario": "open",
        "what": "connections stay open",
        "connected_before_load": 10_000,
        "connected_under_load": {"least": 9_998, "most": 10_000},
        "connections_opened_under_load": 2,
        "generator_core": [0.98],
        "generator_was_the_limit": True,
        "server_core": 0.3,
        "queries": {"q1": query},
        "all": {**query, "p50_ms": None},
    }
    machine = {"locust": "2", "commit": "abc"}
    counts = {"users": 10_000, "rows": 1_000_000, "generator_processes": 1}
    text = locust_report.section({"machine": machine, "started": "now", "scenarios": [scenario], **counts})
    assert "**90 replies, 2 of them wrong or missing.**" in text
    assert "| open | q1 | 9 | 1.50 ms | 40 ms | 2 |" in text
    assert "| 9,998 to 10,000 | 2 | 98% of a core (the limit) | 30% of a core |" in text
