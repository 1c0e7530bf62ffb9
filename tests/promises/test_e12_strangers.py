"""E12: whatever the description of the API allows, and whatever it forbids, gets no 5xx and the reply it describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import LANES
from tests.http.serving import Running, serving
from tests.promises import strangers
from tests.results import is_torture, record

_CASES = 400 if is_torture() else 20
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
