"""What was measured on what: processor, memory, versions, commit. Nothing that names a person or a path."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

import apsw
import psutil  # type: ignore[import-untyped]  # ships no types

_PACKAGES: Final = ("apsw", "httptools", "orjson", "sortedcontainers", "starlette", "uvicorn", "uvloop")


def describe() -> dict[str, object]:
    """Facts for the JSON and the page."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_built_with": _build_flags(),
        "sqlite": apsw.sqlite_lib_version(),
        "sqlite_of_references": sqlite3.sqlite_version,
        "packages": {name: version(name) for name in _PACKAGES},
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "commit": commit(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the generic name has to do
    return platform.processor() or platform.machine()


def _build_flags() -> str:
    """Whether the interpreter was built with profile-guided optimisation: worth 10 to 30 %."""
    import sysconfig  # noqa: PLC0415  # large, and needed once

    flags = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    return "PGO" if "--enable-optimizations" in flags else "no PGO"


def commit() -> str:
    """The commit that was measured; ``+`` when files of the program differ from it."""
    here = Path(__file__).parent.parent
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", "tcsql", "benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(directory: Path, *arguments: str) -> str:
    found = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True)
    return found.stdout.strip()
