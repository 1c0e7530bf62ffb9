"""E24: what is asked of a server for long leaves it no larger. Collected by ``make torture`` only; see ``soak``."""

from __future__ import annotations

import os
from pathlib import Path

from tests.promises import soak
from tests.results import record

#: All of 8.64 M take an hour and more; ``python -m tests.promises.soak`` runs them.
OPERATIONS = int(os.environ.get("TCSQL_TEST_SOAK", "1000000"))


def test_millions_of_mixed_operations_leave_it_no_larger(tmp_path: Path) -> None:
    figures = soak.soaked(tmp_path, OPERATIONS)
    record("E24", passed=soak.passes(figures), **figures)
    assert soak.passes(figures), figures
