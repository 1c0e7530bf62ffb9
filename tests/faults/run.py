"""Plant faults, one after the other, and see that the tests named for each turn red: do the tests hold what they say?

    python -m tests.faults.run                  all of tests/faults/*.patch
    python -m tests.faults.run no_lock ack_ahead

Works on copies of what is committed, in temporary directories. All named tests run without a fault first, as those
that are red then can see none; then each fault alone has to make a test of its own fail. Takes some minutes; exit code
1 when a fault goes unseen or a patch no longer applies (then make the patch anew: what it plants has moved).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

from tests.results import write

ROOT: Final = Path(__file__).parents[2]
PATCHES: Final = Path(__file__).parent
_TEST: Final = "Seen by: "
_GREEN: Final = 0
_RED: Final = 1
#: A fault may make a test wait for what never comes.
_TIME_LIMIT_S: Final = 300
#: Each in a copy of its own.
_AT_ONCE: Final = 2


class Fault(NamedTuple):
    """A planted fault: its file's first line says what, others which tests have to see it, then comes the patch."""

    name: str
    title: str
    tests: tuple[str, ...]
    path: Path


def faults_of(directory: Path) -> list[Fault]:
    """All faults of a directory, by name."""
    found = []
    for path in sorted(directory.glob("*.patch")):
        lines = path.read_text().splitlines()
        tests = tuple(line.removeprefix(_TEST) for line in lines if line.startswith(_TEST))
        found.append(Fault(path.stem, lines[0], tests, path))
    return found


def planted(faults: Iterable[Fault]) -> dict[str, str]:
    """By package of the program: of how many of its modules a fault is planted in one."""
    changed = {
        name for fault in faults for name in re.findall(r"^\+\+\+ b/(\S+)", fault.path.read_text(), re.MULTILINE)
    }
    modules = [path.relative_to(ROOT) for path in sorted((ROOT / "tcsql").rglob("*.py")) if path.name != "__init__.py"]
    there = Counter(str(path.parent) for path in modules)
    found = Counter(str(path.parent) for path in modules if str(path) in changed)
    return {package: f"{found[package]} of {count}" for package, count in sorted(there.items())}


def copy_into(directory: Path) -> None:
    """What is committed, without its history."""
    archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", directory], input=archive, check=True)


def pytest(
    directory: Path, tests: Iterable[str], *options: str, limit_s: float = _TIME_LIMIT_S
) -> tuple[int, list[str]]:
    """The exit code of the tests in the copy, and those that failed."""
    environment = {**os.environ, "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *options, *tests]
    with subprocess.Popen(
        command, cwd=directory, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            output, _ = process.communicate()
    heads = ("FAILED tests", "ERROR tests")
    return process.returncode, [line.partition(" ")[2] for line in output.splitlines() if line.startswith(heads)]


def apply(directory: Path, fault: Fault, *options: str) -> bool:
    """Plant the fault, or take it away by ``--reverse``; whether that could be done. One line around it has to fit."""
    done = subprocess.run(
        ["git", "apply", "-C1", *options, fault.path], cwd=directory, capture_output=True, check=False
    )
    return done.returncode == 0


def is_seen(copies: SimpleQueue[Path], fault: Fault, red: Iterable[str]) -> bool:
    """Plant one fault in a copy that nobody else uses meanwhile, run its tests, and tell.

    ``red``: tests that fail without any fault, so that they see none.
    """
    directory, began = copies.get(), time.monotonic()
    if any(line.startswith(fault.tests) for line in red):
        status, failed = -1, ["its test is red without any fault"]
    elif apply(directory, fault):
        status, failed = pytest(directory, fault.tests, "-x")
        apply(directory, fault, "--reverse")
    else:
        status, failed = -1, ["the patch does not apply"]
    copies.put(directory)
    verdict = "seen  " if status == _RED else "MISSED"
    print(
        f"{verdict} {fault.name} ({time.monotonic() - began:.0f} s): {fault.title}\n       {''.join(failed[:1])}",
        flush=True,
    )
    return status == _RED


def main(names: Sequence[str]) -> int:
    """The exit code."""
    faults = [fault for fault in faults_of(PATCHES) if not names or fault.name in names]
    with ExitStack() as stack:
        copies: SimpleQueue[Path] = SimpleQueue()
        for _ in range(_AT_ONCE):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsql-faults-")))
            copy_into(directory)
            copies.put(directory)
        tests = sorted({test for fault in faults for test in fault.tests})
        status, red = pytest(directory, tests, limit_s=_TIME_LIMIT_S * 4)
        for line in red:
            print(f"red without any fault: {line}", flush=True)
        if status not in (_GREEN, _RED):
            print("the tests cannot be run without any fault")
            return 1
        workers = stack.enter_context(ThreadPoolExecutor(_AT_ONCE))
        verdicts = workers.map(lambda fault: is_seen(copies, fault, red), faults)
        missed = [fault.name for fault, seen in zip(faults, verdicts, strict=True) if not seen]
    seen = len(faults) - len(missed)
    print(f"{seen} of {len(faults)} faults were seen")
    if not names:
        write("E1", passed=not missed, faults=len(faults), seen=seen, missed=missed, modules=planted(faults))
    return min(len(missed), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
