"""What is said of published queries: to the operator in the words of the configuration, to callers without names."""

from __future__ import annotations

from datetime import datetime

import pytest

from tcsql.engine.database import Database
from tcsql.errors import SetupError
from tcsql.http.published_query import draft_of
from tcsql.published.options import published_of
from tcsql.settings import Settings
from tcsql.sql import changes_of

TABLE = "CREATE TABLE posts (id INT PRIMARY KEY, title VARCHAR(40))"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM posts WHERE title LIKE lower({q:text(5)}) LIMIT 1",
        "SELECT {q:text(5)} FROM posts LIMIT 1",
        "SELECT id FROM {q:text(5)} LIMIT 1",
        "SELECT id FROM posts ORDER BY {q:text(5)} LIMIT 1",
        "SELECT id FROM posts LIMIT 1 OFFSET -{q:int(1..5)}",
        *(
            f"SELECT id FROM posts WHERE title = concat('{'x' * n}', lower({{q:text(5)}})) LIMIT 1"
            for n in range(30, 60)
        ),
    ],
)
def test_a_place_is_called_by_its_name_in_refusals_of_sql(sql: str) -> None:
    database = Database()
    database.apply(database.check(changes_of(TABLE, lambda name: None), datetime(2026, 1, 2)))
    [published] = published_of(f'[published.x]\nsql = "{sql}"')
    with pytest.raises(SetupError) as caught:
        draft_of(published, Settings()).template(database)
    assert "tcsql_" not in caught.value.message
    if "concat" not in sql:
        assert "{q}" in caught.value.message
