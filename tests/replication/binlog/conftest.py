"""Servers that write a binary log; what they write is compared with what they answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mariadb import MariaDB
from tests.replication import mysql9
from tests.replication.binlog.logs import options_of


@pytest.fixture(scope="session")
def mariadb_log() -> Iterator[MariaDB]:
    with MariaDB(*options_of(MariaDB)) as running:
        yield running


@pytest.fixture(scope="session")
def mysql_log() -> Iterator[MariaDB]:
    if not mysql9.available():  # a mark of a fixture reaches no test that names the fixture itself
        pytest.skip(mysql9.MISSING)
    with mysql9.MySQL9(*options_of(mysql9.MySQL9)) as running:
        yield running


@pytest.fixture(params=["mariadb_log", pytest.param("mysql_log", marks=mysql9.needs_mysql9)])
def log_server(request: pytest.FixtureRequest) -> MariaDB:
    """MariaDB, then MySQL, both with a log that has all metadata."""
    server: MariaDB = request.getfixturevalue(request.param)
    return server
