"""Keeps what the long tests showed, by file, in ``docs/results/torture``; docs/torture.md shows all of it.

    TCSQL_TEST_PROFILE=torture pytest -p tests.torture tests/replication/test_workload.py    a piece
    python -m tests.torture                                                                  the page again

A plugin of pytest. A file of tests is written down when all of it has run, or the part of it that one word chooses
(``-k MySQL9``); so the whole may be run at once by ``make torture``, or in pieces. A run that fails is written down as
failed. Tests add what they counted by ``record_property``. By hand a result may get a ``remark``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import describe
from tests.mariadb import program
from tests.replication.mysql9 import MySQL9, available
from tests.results import is_torture

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "torture.md"
RESULTS: Final = ROOT / "docs" / "results" / "torture"
_HEAD: Final = """<!-- Written by `make torture` from results/torture and the text in tests/torture.py. Do not edit. -->
# The long tests

`make torture` runs every test of `make test`, those that draw at random many times as often, and some that are too long
for every day. What each file of tests showed when it last ran whole stands in
[results/torture](results/torture), with its commit and its versions. A piece runs, and is written down, by

    TCSQL_TEST_PROFILE=torture .venv/bin/python -m pytest -p tests.torture tests/replication/test_workload.py

A file that is missing here has not been run at this size since results are kept. The experiments behind
[the promises](promises.md) keep their figures there.

The results of 2026-11-21 were copied by hand from what pytest printed, in pieces, before results were written by the
tests; what the tests had counted is lost, and seconds of files that ran together are estimates. The machine did much
other work at the time: seconds say how long at most.

## Sizes

| what | in `make test` | here |
|---|---|---|
"""
#: What is longer, by the tests' own constants: beside those that are named, hypothesis draws 4,000 examples, not 100.
_SIZES: Final = (
    ("servers for what stops them, and for changes of the schema", "MariaDB", "MariaDB and MySQL 9"),
    ("thirty writers at random, every poll a committed state", "2 s", "240 s"),
    ("kill -9 of TCSQL, its worker and the source in turn, while thirty write", "3", "180"),
    ("kill -9 of TCSQL while eight write, by the binary log", "3", "60"),
    ("kill -9 of the source while sixteen write, by the binary log", "2", "60"),
    ("kill of the link while eight write, by the binary log", "3", "60"),
    ("kill behind every event of a log", "two recordings, the parser", "ten recordings; a live log, the real process"),
    ("hand-overs from copy to log while four write", "–", "100"),
    ("statements of the schema while thirty write, both modes at once", "6", "240"),
    ("changes from mode to mode while six write", "4", "40; on MySQL 9 without push, 30"),
    ("one transaction in the binary log", "50,000 rows", "200,000 rows"),
    ("a row in the binary log", "20 MB, in the reader", "16 MB to the byte and 20 MB, through all"),
    ("sysbench, read and write, by outbox and by binary log", "–", "60 s each"),
    ("a backlog of the outbox", "60,000 changes", "1,000,000 changes"),
    ("mutated logs, and broken events", "some hundreds", "40 times as many"),
    ("every type and charset, three at random, both modes at once", "–", "60 s"),
)

#: A version, in what servers and tools say of themselves.
_MARK: Final = re.compile(r"\d+\.\d+\.\d+(?:-MariaDB)?")


@dataclass
class _File:
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


_files: dict[str, _File] = {}
#: Files of which not all tests run; those of which single tests were named.
_parts: set[str] = set()
_picked: set[str] = set()


def pytest_collection_finish(session: Any) -> None:
    _picked.update(_file_of(str(argument)) for argument in session.config.args if "::" in str(argument))


def pytest_deselected(items: Sequence[Any]) -> None:
    _parts.update(_file_of(item.nodeid) for item in items)


def pytest_runtest_logreport(report: Any) -> None:
    seen = _files.setdefault(_file_of(report.nodeid), _File())
    name = report.nodeid.partition("::")[2]
    seen.seconds += report.duration
    if report.when == "call" or report.outcome != "passed":
        seen.outcomes[report.outcome] += 1
        if report.outcome == "failed":
            seen.failed.append(name)
        if report.user_properties:
            seen.notes[name] = dict(report.user_properties)


def pytest_sessionfinish(session: Any) -> None:
    if not is_torture():
        return
    word = str(session.config.option.keyword)
    chosen = {
        name: seen for name, seen in _files.items() if name not in _picked and (word.isalnum() or name not in _parts)
    }
    if not session.shouldstop and not session.shouldfail and chosen:
        _write(chosen, word)
        PAGE.write_text(page(), encoding="utf-8")


def _file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0].rpartition("tests/")[2]


def _write(files: dict[str, _File], word: str) -> None:
    facts = describe()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, seen in files.items():
        part = word if name in _parts else ""
        told = {
            "file": name,
            "part": part,
            "outcomes": dict(sorted(seen.outcomes.items())),
            "failed": seen.failed,
            "seconds": round(seen.seconds),
            "counted": seen.notes,
            "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "commit": facts["commit"],
            "machine": {each: facts[each] for each in ("processor", "cores", "memory_gib", "system")},
            "versions": {"python": facts["python"], "sqlite": facts["sqlite"], **_servers()},
        }
        base = name.removesuffix(".py").replace("/", ".")
        for old in () if part else RESULTS.glob(f"{base}.*.json"):
            old.unlink()
        path = RESULTS / (base + (f".{part}" if part else "") + ".json")
        path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _servers() -> dict[str, str]:
    """Versions of what the tests speak with, as far as it is here."""
    commands = {"mariadb": [program("mariadbd"), "--version"]}
    if available():
        commands["mysql"] = [*MySQL9.program(), "--version"]
    if sysbench := shutil.which("sysbench"):
        commands["sysbench"] = [sysbench, "--version"]
    found = {}
    for name, command in commands.items():
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if version := _MARK.search(answer):
            found[name] = version[0]
    return found


def page() -> str:
    """The whole page, made in memory."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    text = _HEAD + "".join(f"| {' | '.join(size)} |\n" for size in _SIZES)
    text += "\n## Last runs\n\n"
    failed = [f"- failed: `{run['file']}::{name}`\n" for run in runs for name in run["failed"]]
    failed += [f"- `{run['file']}`: {run['remark']}\n" for run in runs if "remark" in run]
    total: Counter[str] = sum((Counter(run["outcomes"]) for run in runs), Counter())
    minutes = sum(run["seconds"] for run in runs) / 60
    text += f"**{_outcome(total)}** in {len(runs)} files, {minutes:.0f} minutes.\n\n{''.join(failed)}"
    text += "\n" if failed else ""
    for machine, versions in dict.fromkeys((_words(run["machine"]), _words(run["versions"])) for run in runs):
        text += f"Machine: {machine.replace('_', ' ')}. Versions: {versions}.\n\n"
    text += "| file | tests | seconds | when | commit |\n|---|---|---|---|---|\n"
    for run in runs:
        told = (
            f"`{run['file']}`" + (f" ({run['part']})" if run["part"] else ""),
            _outcome(Counter(run["outcomes"])),
            f"{run['seconds']:,}",
        )
        text += f"| {' | '.join((*told, run['date'], run['commit']))} |\n"
    notes = [(run["file"], name, told) for run in runs for name, told in run["counted"].items()]
    if notes:
        text += "\n## Counted\n\n| test | counted |\n|---|---|\n"
        text += "".join(f"| `{file}::{name}` | {_words(told)} |\n" for file, name, told in notes)
    return text


def _words(told: dict[str, Any]) -> str:
    return ", ".join(f"{what} {f'{count:,}' if isinstance(count, int) else count}" for what, count in told.items())


def _outcome(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in ("passed", "failed", "skipped") if counts[kind]) or "none"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
