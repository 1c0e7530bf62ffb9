"""A served store and a closed store with the same rows; commands run inside the test process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tcsql.cli import main
from tcsql.engine.change import Upsert
from tcsql.settings import ENVIRONMENT_PREFIX
from tcsql.sql import changes_of
from tcsql.storage.store import Store
from tests.http.serving import Running, serving

TABLE = "CREATE TABLE posts (id INT PRIMARY KEY, title VARCHAR(80), hits BIGINT UNSIGNED, KEY (hits))"
ROWS = [
    {"id": 1, "title": "plain", "hits": 5},
    {"id": 2, "title": 'zwölf, "quoted"', "hits": 2**64 - 1},
    {"id": 3, "title": None, "hits": None},
    {"id": 4, "title": "\x1b[31mred\nline", "hits": 5},
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test stands in an empty directory, without settings from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in os.environ:
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command: exit code, standard output, standard error."""

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A closed store."""
    directory = tmp_path / "store"
    with closing(Store.open(directory)) as opened:
        opened.commit_blocking(changes_of(TABLE, lambda name: None))
        opened.commit_blocking([Upsert("posts", ROWS)])
    return directory


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("cli") / "data") as running:
        running.sql(TABLE)
        assert running.post("command=insert", ROWS).json()["inserted"] == len(ROWS)
        yield running
        assert running.stop() == 0
