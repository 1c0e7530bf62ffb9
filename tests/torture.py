"""Writes docs/torture.md at the end of ``make torture``: what ran, how it ended, how long it took, on which machine.

A plugin of pytest (``-p tests.torture``). Tests add what they counted by ``record_property``. A run that fails is
written down as failed.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import describe

PAGE: Final = Path(__file__).parent.parent / "docs" / "torture.md"
_HEAD: Final = """<!-- Written by `make torture`. Do not edit. -->
# The long tests

`make torture` runs every test of `make test`, those that draw at random many times as often, and some that are too long
for every day: minutes of thirty writers with kill -9 on both sides, a backlog of a million changes, sysbench.

"""

_outcomes: dict[str, Counter[str]] = defaultdict(Counter)
_seconds: Counter[str] = Counter()
_notes: list[tuple[str, str]] = []
_failed: list[str] = []
_began: float = time.monotonic()


def pytest_runtest_logreport(report: Any) -> None:
    file, _, name = report.nodeid.partition("::")
    file = file.removeprefix("tests/")
    _seconds[file] += report.duration
    if report.when == "call" or report.outcome != "passed":
        _outcomes[file][report.outcome] += 1
        if report.outcome == "failed":
            _failed.append(f"{file}::{name}")
        if report.user_properties:
            told = ", ".join(f"{what} {_text(count)}" for what, count in report.user_properties)
            _notes.append((f"{file}::{name}", told))


def pytest_sessionfinish(session: Any) -> None:
    if session.config.args != ["tests"] and not os.environ.get("TCSQL_TEST_REPORT"):
        return  # a part of the tests says nothing about all of them
    PAGE.write_text(_page(time.monotonic() - _began), encoding="utf-8")


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _page(seconds: float) -> str:
    facts = describe()
    total: Counter[str] = sum(_outcomes.values(), Counter())
    text = _HEAD
    text += (
        f"Run {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {facts['processor']}, {facts['cores']} cores,"
        f" {facts['memory_gib']} GiB; {platform.system()}, {facts['python']}; commit {facts['commit']};"
        f" {seconds / 60:.0f} minutes.\n\n"
    )
    text += f"**{_outcome(total)}**\n\n"
    text += "".join(f"- failed: `{name}`\n" for name in _failed) + ("\n" if _failed else "")
    if _notes:
        text += "| test | counted |\n|---|---|\n"
        text += "".join(f"| `{name}` | {told} |\n" for name, told in _notes) + "\n"
    text += "| file | tests | seconds |\n|---|---|---|\n"
    for file in sorted(_outcomes):
        text += f"| `{file}` | {_outcome(_outcomes[file])} | {_seconds[file]:.0f} |\n"
    return text


def _outcome(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in ("passed", "failed", "skipped") if counts[kind])
