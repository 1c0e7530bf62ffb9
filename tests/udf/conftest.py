"""One server and one build of the library for all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.udf.library import Cursor, Loader
from tests.udf.receiver import Receiver

#: Three triggers by hand, as sql/trigger_hint.sql has them.
POSTS = """CREATE TABLE posts (id INT PRIMARY KEY, n INT) ENGINE=InnoDB;
CREATE TRIGGER posts_ins AFTER INSERT ON posts FOR EACH ROW DO tcsql_push('posts', 'I', NEW.id);
CREATE TRIGGER posts_upd AFTER UPDATE ON posts FOR EACH ROW DO tcsql_push('posts', 'U', NEW.id);
CREATE TRIGGER posts_del AFTER DELETE ON posts FOR EACH ROW DO tcsql_push('posts', 'D', OLD.id)"""


@pytest.fixture(scope="session")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    loader = Loader(tmp_path_factory.mktemp("udf"))
    with loader.server:
        yield loader
        assert loader.alive


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "r") as receiver:
        yield receiver


@pytest.fixture
def cursor(loader: Loader) -> Iterator[Cursor]:
    """A connection to a database of its own, with the table posts that pushes."""
    with loader.server.database("shop") as connection:
        cursor = connection.cursor()
        for statement in POSTS.split(";\n"):
            cursor.execute(statement)
        yield cursor
