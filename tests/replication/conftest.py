"""What was not tested is said where everybody sees it, not only to those who ask pytest for reasons."""

from __future__ import annotations

from typing import Any

from tests.replication import mysql9
from tests.replication.following import torture

collect_ignore_glob = [] if torture() else ["test_torture_*.py"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not mysql9.available():
        terminalreporter.write_line(
            "NOT TESTED against MySQL 9, which is not there: `make mysql9` fetches it", yellow=True
        )
