"""The benchmarks compare like with like, and their page says what their results say."""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks import report
from benchmarks.measure import Figure, Goal
from benchmarks.queries import Cache
from benchmarks.references import SQLite
from benchmarks.shape import posts, to_json, write_dump, write_ndjson
from tcsql.engine.result import CountResult, Page
from tcsql.http import render
from tcsql.http.messages import Reply


def test_engine_reply_and_sqlite_give_the_same_rows(tmp_path: Path) -> None:
    cache, sqlite = Cache(500, tmp_path), SQLite()
    sqlite.create()
    sqlite.fill(posts(500))
    try:
        for name, questions in cache.questions(random.Random(1)).items():
            for asked in questions[:20]:
                found, reply = cache.engine(asked), cache.reply(asked)
                assert isinstance(found, (CountResult, Page))
                assert isinstance(reply, Reply)
                assert reply.body == render.result(found)
                if name in ("q1", "q2", "q3", "q4"):
                    theirs = json.loads(getattr(sqlite, name)(*asked.operands))
                    assert {key: value for key, value in json.loads(reply.body).items() if key in theirs} == theirs
    finally:
        cache.close()
        sqlite.connection.close()


def test_rows_have_the_size_that_figures_are_given_for(tmp_path: Path) -> None:
    sizes = [len(to_json(post)) for post in posts(2_000, first_id=500_000)]
    assert 118 <= sum(sizes) / len(sizes) <= 124
    write_ndjson(tmp_path / "lines", 100)
    write_dump(tmp_path / "dump", 100)
    assert (tmp_path / "lines").read_bytes().splitlines() == [to_json(post) for post in posts(100)]
    assert (tmp_path / "dump").read_text().count("),(") == 99


def test_figures_survive_json_and_judge_themselves() -> None:
    figure = Figure("load", "x", "s", [1.0, 3.0, 2.0], Goal("at most", 1.5, "ratio"), "other", [1.0, 1.0, 2.0])
    assert (figure.value, figure.ratio, figure.is_met) == (2.0, 1.0, True)
    assert Figure.from_json(json.loads(json.dumps(figure.to_json()))) == figure


def test_the_page_is_made_from_the_results() -> None:
    data = json.loads(report.LATEST.read_text(encoding="utf-8"))
    assert report.PAGE.read_text(encoding="utf-8") == report.page(data), "run: python -m benchmarks --write-docs"
