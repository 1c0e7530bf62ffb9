"""What was not tested is said where everybody sees it, not only to those who ask pytest for reasons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.mariadb import MariaDB
from tests.replication import mysql9
from tests.replication.following import torture
from tests.replication.pushing import OTHER_PORT, PORT, PushServer

collect_ignore_glob = [] if torture() else ["test_torture_*.py"]


@pytest.fixture(scope="session", params=[MariaDB, pytest.param(mysql9.MySQL9, marks=mysql9.needs_mysql9)])
def any_server(request: pytest.FixtureRequest) -> Iterator[MariaDB]:
    """MariaDB, then MySQL: one of each for all tests that neither stop it nor need options of their own."""
    with request.param() as running:
        yield running


@pytest.fixture(scope="session")
def mariadb_that_calls() -> Iterator[PushServer]:
    """One server whose functions call ``PORT``, and by ``http_post`` also ``OTHER_PORT``."""
    with PushServer(PORT, f"allow = 127.0.0.1:{OTHER_PORT}", "cooldown_ms = 50") as server:
        yield server


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not mysql9.available():
        terminalreporter.write_line(
            "NOT TESTED against MySQL 9, which is not there: `make mysql9` fetches it", yellow=True
        )
