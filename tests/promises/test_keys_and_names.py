"""X-4: a key counts in the Authorization header and nowhere else. X-11: a name is a name, and never a path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.conftest import LANES
from tests.http.serving import Running, finished, serving, wait_for

_TABLE = "CREATE TABLE posts (id INT PRIMARY KEY, title VARCHAR(20))"
_READ = "command=select&table=posts"


@pytest.fixture(scope="module", params=LANES)
def closed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """A server with a key of an admin, and that key."""
    directory = tmp_path_factory.mktemp("closed")
    with serving(directory / "data", *LANES[request.param]) as server:
        server.sql(_TABLE)
        made = finished("key", "make", "boss", "--scope", "admin", "--data", str(directory / "data"), cwd=directory)
        assert made.returncode == 0, made.stderr
        wait_for(lambda: server.get(_READ).status_code == 401)
        yield server, made.stdout.strip()
        assert server.stop() == 0


def test_a_key_counts_in_its_header_alone(closed: tuple[Running, str]) -> None:
    server, key = closed
    assert server.get(_READ, headers={"Authorization": f"Bearer {key}"}).status_code == 200
    elsewhere = (
        {"Cookie": f"authorization=Bearer {key}; key={key}; token={key}"},
        {"Proxy-Authorization": f"Bearer {key}"},
        {"X-Api-Key": key},
        {"X-Authorization": f"Bearer {key}"},
        {"Authorization": f"Basic {key}"},
    )
    for headers in elsewhere:
        assert server.get(_READ, headers=headers).status_code == 401, headers
    for name in ("key", "token", "authorization", "access_token"):
        body = {"command": "select", "table": "posts", name: key}
        for refused in (server.get(f"{_READ}&{name}={key}"), server.post("", body), server.post(_READ, body)):
            assert refused.status_code in (400, 401)
            assert key not in refused.text
    replies = [server.get(_READ, headers={"Authorization": f"Bearer {key}"}), server.get(_READ)]
    assert not [reply for reply in replies if "set-cookie" in reply.headers]


@pytest.mark.parametrize(
    "name", ["../posts", "a/b", "a.b", "a b", "a`b", "1a", "a" * 65, "ä", "a;b", "a\0b", "%2e%2e", ".", "a-b", "a$b"]
)
def test_what_is_no_name_makes_no_table_and_no_column(closed: tuple[Running, str], tmp_path: Path, name: str) -> None:
    server, key = closed
    how = {"headers": {"Authorization": f"Bearer {key}"}}
    quoted = "`" + name.replace("`", "``") + "`"
    for text in (
        f"CREATE TABLE {quoted} (id INT PRIMARY KEY)",
        f"CREATE TABLE other (id INT PRIMARY KEY, {quoted} INT)",
        f"ALTER TABLE posts ADD COLUMN {quoted} INT",
        f"ALTER TABLE posts RENAME TO {quoted}",
        f"CREATE INDEX {quoted} ON posts (title)",
    ):
        refused = server.post("command=sql", {"sql": text}, **how)
        assert 400 <= refused.status_code < 500, (text, refused.text)
    assert server.get(_READ, **how).json()["rows"] == []
