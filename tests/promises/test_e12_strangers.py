"""E12: whatever the description of the API allows, and whatever it forbids, gets no 5xx and the reply it describes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import LANES
from tests.http.serving import Running, finished, serving, wait_for
from tests.promises import strangers
from tests.results import is_torture, record

_CASES = 400 if is_torture() else 8
_ROWS = [{"id": number, "n": number % 7, "title": f"title {number}"} for number in range(1, 200)]
_asked: dict[str, Any] = {}


def prepared(server: Running) -> None:
    server.sql(strangers.TABLES)
    assert server.post("command=insert&table=posts", _ROWS).status_code == 200


@pytest.mark.parametrize("lane", LANES if is_torture() else ["fast"])
def test_strangers_get_what_is_described_from_an_open_server(tmp_path: Path, lane: str) -> None:
    with serving(tmp_path / "data", *LANES[lane]) as server:
        prepared(server)
        seen = strangers.ask(server, "", _CASES)
        assert "bug" not in server.stderr(), server.stderr()
        assert server.stop() == 0
    assert seen["statuses"]["200"] > seen["requests"] / 20, "most were refused: the description tells too little"
    _asked[f"open, {lane}"] = seen
    record("E12", passed=True, answers_5xx=0, **_asked)


#: What the key of a stranger may do, by its options; an empty one is no key at all.
SCOPES: dict[str, tuple[str, ...]] = {
    "nobody": (),
    "published": ("--scope", "published"),
    "read": ("--scope", "read"),
    "write": ("--scope", "write"),
    "admin": ("--scope", "admin"),
    "a few columns and rows": (
        *("--scope", "read", "--scope", "write", "--table", "posts"),
        *("--columns", "posts=id,n,title", "--filter", "posts=n:NUMEQ:3"),
    ),
}
_PUBLISHED = """
[published.few]
query = "table=posts&type=id,title&where=n:NUMEQ:{n:int(0..9)}&order_by=id&order_sort=NUMDESC"
page_rows = 5
"""


@pytest.fixture(scope="module", params=LANES if is_torture() else ["fast"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Running]]:
    """A server with rows, a published query and a key of each kind; the keys' texts stand in ``keys``."""
    directory = tmp_path_factory.mktemp("kept")
    (directory / "tcsql.toml").write_text(_PUBLISHED)
    with serving(directory / "data", *LANES[request.param]) as server:
        prepared(server)
        for name, options in SCOPES.items():
            if options:
                label = name.replace(" ", "-")
                made = finished("key", "make", label, *options, "--data", str(directory / "data"), cwd=directory)
                assert made.returncode == 0, made.stderr
                keys[name] = next(word for word in made.stdout.split() if word.startswith("tcsql_"))
        wait_for(lambda: server.get("command=select&table=posts").status_code == 401)  # the keys are known
        yield request.param, server
        assert server.stop() == 0
        assert "bug" not in server.stderr(), server.stderr()


keys: dict[str, str] = {"nobody": ""}


@pytest.mark.parametrize("scope", SCOPES)
def test_strangers_get_what_is_described_with_a_key_of_each_scope(kept: tuple[str, Running], scope: str) -> None:
    lane, server = kept
    seen = strangers.ask(server, keys[scope], _CASES if is_torture() else 2)
    _asked[f"{scope}, {lane}"] = seen
    record("E12", passed=True, answers_5xx=0, **_asked)
