"""Results of the experiments: what was seen, when, on what machine; docs/promises.md shows them.

    record("E15", passed=True, idle_connections=10_000, p99_ms=1.9)   in a test: writes only in ``make torture``
    write("E24", passed=True, operations=8_640_000)                   in a program that was started to measure

Each makes ``docs/results/<id>.json`` anew. An experiment of several parts gives each an id of its own that begins with
the experiment's: ``E5``, ``E5-slow``. A run that failed is written down as failed, and the page then says so.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.machine import describe

DIRECTORY = Path(__file__).parents[1] / "docs" / "results"
#: An id of docs/promises.md; what follows the dash names a part of it.
_ID: Final = re.compile(r"[A-Z]-?[0-9A-Z]{1,3}(?:-[a-z0-9-]{1,30})?")
_MACHINE: Final = ("processor", "cores", "memory_gib", "system")
_PACKAGES: Final = ("tcsql", "apsw", "google-re2", "httptools", "orjson", "starlette", "uvicorn", "uvloop")


def is_torture() -> bool:
    """Whether the long share was asked for."""
    return os.environ.get("TCSQL_TEST_PROFILE") == "torture"


def record(experiment_id: str, passed: bool, **figures: object) -> None:
    """Write down what an experiment showed, when the long tests run; ``make test`` leaves the tree as it is."""
    if is_torture():
        write(experiment_id, passed, **figures)


def write(experiment_id: str, passed: bool, **figures: object) -> Path:
    """Write down what an experiment showed. Figures are what JSON can hold, with their unit in the name."""
    if not _ID.fullmatch(experiment_id):
        raise ValueError(f"{experiment_id} is no id of an experiment")
    facts = describe()
    text = {
        "id": experiment_id,
        "passed": bool(passed),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": facts["commit"],
        "machine": {name: facts[name] for name in _MACHINE},
        "versions": {
            "python": facts["python"],
            "sqlite": facts["sqlite"],
            **{name: version(name) for name in _PACKAGES},
        },
        "figures": figures,
    }
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DIRECTORY / f"{experiment_id}.json"
    path.write_text(json.dumps(text, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
