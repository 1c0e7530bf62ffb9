"""What is promised is proved by tests that exist, and the page says what the table and the results say."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from docs import promises
from tests.results import is_torture

TESTS = Path(__file__).parent
TABLE = promises.load()


@cache
def functions(file: str) -> set[str]:
    text = (TESTS / file).read_text(encoding="utf-8")
    found = re.findall(r"^\s*(?:async )?def (test_\w+)\(|^(\w+) = ", text, re.MULTILINE)
    return {function or variable for function, variable in found}


def named() -> list[str]:
    return [name for kind in ("promise", "experiment") for entry in TABLE[kind] for name in entry.get("tests", ())]


@pytest.mark.skipif(is_torture(), reason="the long tests write new results; the page is written behind them")
def test_the_page_says_what_the_table_and_the_results_say() -> None:
    assert promises.PAGE.read_text(encoding="utf-8") == promises.page(), "docs/promises.md is stale: make docs"


def test_no_promise_is_published_without_a_test() -> None:
    for entry in TABLE["promise"]:
        assert entry["tests"], entry["id"]
    for entry in TABLE["experiment"]:
        assert entry.get("tests") or entry.get("program"), entry["id"]


@pytest.mark.parametrize("name", sorted(set(named())))
def test_every_test_that_is_named_exists(name: str) -> None:
    file, _, function = name.partition("::")
    assert (TESTS / file).exists(), file
    assert not function or function in functions(file), f"{file} has no {function}"


def test_every_id_is_kept_or_said_not_to_be() -> None:
    said = {
        identity.strip()
        for kind in ("promise", "experiment", "open")
        for entry in TABLE[kind]
        for identity in entry["id"].split(",")
    }
    assert not set(TABLE["ids"]) - said


def test_every_result_belongs_to_an_experiment_or_a_promise() -> None:
    known = {*TABLE["ids"]}
    assert not set(promises.results()) - known


def test_results_name_no_place_of_work() -> None:
    for path in promises.RESULTS.glob("*.json"):
        assert not re.search(r"/(?:work|root|tmp)/", path.read_text(encoding="utf-8")), path.name
