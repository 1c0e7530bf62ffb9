"""Results are written when they are asked for, and hold what was seen, when, and on what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import results


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "DIRECTORY", tmp_path / "results")
    return tmp_path / "results"


def test_ordinary_tests_write_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TCSQL_TEST_PROFILE", raising=False)
    results.record("E15", passed=True, seconds=1)
    assert not directory.exists()


def test_long_tests_write_what_was_seen_and_on_what_machine(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCSQL_TEST_PROFILE", "torture")
    results.record("E5-slow", passed=False, lost=3)
    [path] = directory.iterdir()
    found = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == "E5-slow.json"
    assert (found["id"], found["passed"], found["figures"]) == ("E5-slow", False, {"lost": 3})
    assert set(found["machine"]) == {"processor", "cores", "memory_gib", "system"}
    assert {"python", "sqlite", "tcsql"} <= set(found["versions"])
    assert found["date"].endswith(" UTC")


@pytest.mark.parametrize("name", ["", "../E1", "e1", "E1/x", "E1-"])
def test_a_name_that_is_no_id_is_refused(directory: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no id of an experiment"):
        results.write(name, passed=True)
