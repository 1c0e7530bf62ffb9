"""What strangers and limited keys try on a real server, in both lanes: to write by reading, to learn names, to ask
for what is not theirs by another spelling of it.
"""

from __future__ import annotations

import gc
import socket
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tcsql.access.callers import Caller
from tcsql.access.keys import Key, Keys, digest_of, revoked, token_of
from tcsql.access.scopes import Scope
from tcsql.http.access import Access
from tests.http.conftest import LANES
from tests.http.keyring import make_key
from tests.http.serving import Running, serving
from tests.http.worlds import worlds

TOKEN = token_of("3f9a0c12", bytes(32))
SCHEMA = """
CREATE TABLE posts (id INT PRIMARY KEY, tenant INT, title VARCHAR(40), secretnote VARCHAR(40), KEY (tenant));
CREATE TABLE hiddenones (id INT PRIMARY KEY, title VARCHAR(40));
"""
PUBLISHED = """
[published.board_page]
query = "table=posts&type=id&where=tenant:NUMEQ:{tenant:int(1..500)}"
page_rows = 2
[published.by_title]
sql = "SELECT id FROM posts WHERE title = {title:text(20)} LIMIT 5"
"""


@dataclass
class World:
    running: Running
    tokens: dict[str, str]

    def ask(self, who: str, method: str, target: str, body: bytes = b"", **headers: str) -> httpx.Response:
        if who in self.tokens:
            headers["authorization"] = f"Bearer {self.tokens[who]}"
        url = self.running.url + target
        return self.running.client.request(method, url, headers=headers, content=body or None)

    def rows(self) -> object:
        return self.ask("admin", "GET", "/?command=select&table=posts").json()["rows"]

    def raw(self, text: str) -> bytes:
        """The reply to bytes as they are."""
        with socket.create_connection(self.running.address, timeout=10) as connection:
            connection.sendall(text.encode("latin-1"))
            connection.shutdown(socket.SHUT_WR)
            found = b""
            while piece := connection.recv(65_536):
                found += piece
            return found


@pytest.fixture(scope="module", params=LANES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place: Path = tmp_path_factory.mktemp("strangers")
    (place / "schema.sql").write_text(SCHEMA)
    (place / "tcsql.toml").write_text(PUBLISHED)
    (place / "data").mkdir(mode=0o700)
    limits = {"tables": frozenset({"posts"}), "columns": (("posts", ("id", "tenant", "title")),)}
    tokens = {
        "admin": make_key(place / "data"),
        "writer": make_key(place / "data", Scope.WRITE, Scope.READ),
        "limited": make_key(place / "data", Scope.READ, **limits, filters=(("posts", "tenant:NUMEQ:1"),), max_rows=3),
    }
    flags = ("--schema", str(place / "schema.sql"), "--config", str(place / "tcsql.toml"), "--get-writes", "true")
    with serving(place / "data", *flags, *LANES[request.param]) as running:
        found = World(running, tokens)
        rows = ",".join(f'{{"id":{n},"tenant":{n % 2},"title":"t{n}","secretnote":"s{n}"}}' for n in range(1, 7))
        assert found.ask("admin", "POST", "/?command=insert&table=posts", f"[{rows}]".encode()).status_code == 200
        yield found
        assert running.stop() == 0
        assert "bug" not in running.stderr(), running.stderr()


WRITES = (
    "/?command=insert&table=posts&rows=[{%22id%22:9}]",
    "/?command=%69nsert&table=posts&rows=[{%22id%22:9}]",
    "/?command=update&table=posts&all=1&set={%22title%22:%22x%22}",
    "/?command=delete&table=posts&all=1",
    "/?command=sql&sql=DROP+TABLE+posts",
    "/?command=hint&source=shop&table=posts",
)


@pytest.mark.parametrize("target", WRITES)
def test_head_never_writes_although_get_may(world: World, target: str) -> None:
    before = world.rows()
    for who in ("admin", "writer", "limited", "nobody"):
        answer = world.ask(who, "HEAD", target)
        assert answer.status_code in (401, 403, 405), (who, answer.status_code)
        assert world.rows() == before
    assert world.ask("admin", "HEAD", target).status_code == 405


def test_get_writes_where_that_is_switched_on(world: World) -> None:
    answer = world.ask(
        "writer", "GET", "/?command=insert&table=posts&rows={%22id%22:6,%22tenant%22:0,%22title%22:%22t6%22}"
    )
    assert answer.status_code == 200, answer.text


def test_of_a_key_that_was_revoked_nothing_is_kept(tmp_path: Path) -> None:
    """A revoked key stays in the file for ever; who asked by it, and what it was shown, does not."""
    limits = {"tables": frozenset({"notes"}), "filters": (("notes", "n:NUMEQ:1"),), "rate": 1e6}
    draft = Key(id="3f9a0c12", name="gone", sha256=digest_of(TOKEN), scopes=frozenset({Scope.READ}), made=0, **limits)  # type: ignore[arg-type]  # as each is spelt
    ring = Keys([draft])
    access = Access(ring)
    with worlds(tmp_path) as (world,):
        access.on_change(world.api.forget_callers)
        assert world.post("command=sql", {"sql": "CREATE TABLE notes (id INT PRIMARY KEY, n INT)"}).status == 200
        caller = access.caller(f"Bearer {TOKEN}", is_local=False)
        for query in (b"command=select&table=notes", b"command=select&table=notes&where=id:NUMEQ:1"):
            assert world.get(query, caller).status == 200
        assert world.api.known_for(caller) is not None
        kept = [weakref.ref(world.api.known_for(caller))]
        meter = caller.meter
        assert meter is not None
        before = sum(isinstance(each, Caller) and each.id == draft.id for each in gc.get_objects())
        assert before == 1
        access.replace(ring.with_(revoked(draft, 1)))
        access.replace(ring.with_(revoked(draft, 1)))  # views are kept until the keys change without their being used
        del caller, meter
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Caller) and each.id == draft.id]
        assert [each() for each in kept] == [None]
