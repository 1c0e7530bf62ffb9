"""``python -m tests.audit``: does any installed package have a known vulnerability? By pip-audit and PyPI's database.

    exit code 0   audited, and nothing found; with ``--if-reachable`` also: not audited, and says so
    exit code 1   a vulnerability, each with the version that has none
    exit code 2   the database cannot be reached, so nothing is known

``make audit`` wants an answer. ``make check`` takes one where there is one, as code can be checked without a network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

_COMMAND: Final = ("pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "15", "--skip-editable")
_OURSELVES: Final = "tcsql"
_TIME_LIMIT_S: Final = 120


def audited() -> list[dict[str, Any]] | None:
    """What pip-audit says of each package; None: it could not ask."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", *_COMMAND], capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
        )
        return list(json.loads(done.stdout)["dependencies"])
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None


def judged(packages: Sequence[dict[str, Any]] | None) -> tuple[int, list[str]]:
    """The exit code, and lines to print.

    >>> judged([{"name": "a", "version": "1", "vulns": []}])
    (0, ['1 package audited, no known vulnerability'])
    """
    known = [package for package in packages or () if "vulns" in package]
    if not known:
        return 2, ["NOT AUDITED: the database of vulnerabilities cannot be reached, or knows no package"]
    unknown = [
        package["name"] for package in packages or () if "vulns" not in package and package["name"] != _OURSELVES
    ]
    lines = [
        f"{package['name']} {package['version']}: {found['id']}; without it: {' '.join(found['fix_versions']) or '?'}"
        for package in known
        for found in package["vulns"]
    ]
    if lines:
        return 1, lines
    if unknown:
        return 2, [f"NOT AUDITED: {', '.join(unknown)}"]
    return 0, [f"{len(known)} package{'s' * (len(known) > 1)} audited, no known vulnerability"]


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    status, lines = judged(audited())
    print("\n".join(lines))
    return 0 if status == 2 and "--if-reachable" in arguments else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
