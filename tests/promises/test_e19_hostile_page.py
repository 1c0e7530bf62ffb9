"""E19: a hostile page in a real browser changes nothing and reads nothing; a listed page does what its key may do.

The browser and the server run on one machine: what a page can reach there is the most that it can reach anywhere.
Collected by ``make torture`` only.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from tests.http.conftest import LANES
from tests.http.serving import Running, finished, serving, wait_for
from tests.promises.browser import Site, version, visiting
from tests.promises.hostile_page import ATTACK, HONEST, REBOUND
from tests.results import record

#: Stands in every row; nothing that a page saw may hold it.
MARK: Final = "heliotrope-8c1f"
ROWS: Final = [{"id": number, "word": f"{MARK}-{number}"} for number in range(1, 6)]
_REBOUND_REQUESTS: Final = 8
_shown: dict[str, Any] = {}


def fill(server: Running) -> None:
    server.sql("CREATE TABLE secrets (id INT PRIMARY KEY AUTO_INCREMENT, word VARCHAR(40))")
    assert server.post("command=insert&table=secrets", ROWS).status_code == 200


def state(server: Running) -> tuple[object, object]:
    """All rows, and the lsn: the second changes with every write that is carried out."""
    return server.rows("table=secrets"), server.client.get(server.url + "/status").json()["lsn"]


def names_of(server: Running) -> list[str]:
    port = server.address[1]
    return [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]


def attacked(server: Running, host: str) -> dict[str, Any]:
    with Site({"/": ATTACK, "/own": "ours"}) as site:
        home = f"http://{host}:{site.port}"
        query = urlencode({"target": names_of(server), "home": home}, doseq=True)
        with visiting(f"{home}/?{query}", f"--host-resolver-rules=MAP {host} 127.0.0.1"):
            return site.report()


def judged(found: dict[str, Any], name: str) -> None:
    """Nothing of ours in what the page saw; what it saw at all is what any request that failed shows."""
    assert len(found["ran"]) > 300, "the page did not try everything"
    texts = [text for _, text in found["seen"]]
    assert not [text for text in texts if MARK in text]
    assert not found["seen"], found["seen"][:5]
    _shown[name] = {"vectors": len(found["ran"]), "read": len(found["seen"])}


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("flags", [(), ("--get-writes", "true")], ids=["default", "get-writes"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.test"])
def test_a_hostile_page_changes_nothing_and_reads_nothing_while_no_key_is_made(
    tmp_path: Path, host: str, flags: tuple[str, ...], lane: str
) -> None:
    with serving(tmp_path / "data", *flags, *LANES[lane]) as server:
        fill(server)
        before = state(server)
        found = attacked(server, host)
        assert state(server) == before
        judged(found, f"{host}, {lane}, {flags[0] if flags else 'default'}")
        assert server.stop() == 0
        assert "bug" not in server.stderr()
    record("E19-hostile", passed=True, browser=version(), changed=0, pages=_shown)


def test_the_same_page_reads_and_changes_much_when_its_origin_is_listed(tmp_path: Path) -> None:
    """The page has teeth: where the server lets it, it bites."""
    with Site({"/": ATTACK}) as site:
        home = f"http://evil.test:{site.port}"
        with serving(tmp_path / "data", "--cors-origins", home) as server:
            fill(server)
            before = state(server)
            query = urlencode({"target": names_of(server)[:1], "home": home}, doseq=True)
            with visiting(f"{home}/?{query}", "--host-resolver-rules=MAP evil.test 127.0.0.1"):
                found = site.report()
            gone = server.get("command=select&table=secrets")
            assert gone.status_code == 404 or state(server) != before
            assert server.stop() == 0
    assert [text for _, text in found["seen"] if MARK in text]


@pytest.mark.parametrize("lane", LANES)
def test_a_name_that_is_bound_to_us_later_reads_nothing_and_changes_nothing(tmp_path: Path, lane: str) -> None:
    """The page comes from rebound.test:port; then that name and port are ours: to the browser it is our own origin."""
    data = tmp_path / "data"
    with serving(data) as server:
        fill(server)
        before = state(server)
        assert server.stop() == 0
    with Site({}) as home, contextlib.ExitStack() as stack:
        with Site({"/": REBOUND}) as hostile:
            port = hostile.port
            query = urlencode({"home": f"http://127.0.0.1:{home.port}"})
            url = f"http://rebound.test:{port}/?{query}"
            stack.enter_context(visiting(url, "--host-resolver-rules=MAP rebound.test 127.0.0.1"))
            assert home.report() == {"waiting": f"http://rebound.test:{port}"}
        with serving(data, *LANES[lane], "--port", str(port)) as server:
            found = home.report()
            assert state(server)[0] == before[0]
            assert server.client.get(server.url + "/status").json()["metrics"]["rows_written"] == 0
            assert server.stop() == 0
    assert len(found["seen"]) == _REBOUND_REQUESTS, "the page never reached the server"
    for _, text in found["seen"]:
        assert MARK not in text
        assert json.loads(text)["error"]["code"] == "misdirected_request", text
    record(f"E19-rebinding-{lane}", passed=True, browser=version(), changed=0, refused=len(found["seen"]))


_PUBLISHED: Final = """
[published.words]
query = "table=secrets&type=word&where=id:NUMEQ:{id:int(1..9)}"
"""


@pytest.mark.parametrize("lane", LANES)
def test_a_listed_page_reads_published_queries_and_with_a_key_what_it_may(tmp_path: Path, lane: str) -> None:
    """The same page from a listed origin and from another: the first gets what is its key's, the second nothing."""
    (tmp_path / "tcsql.toml").write_text(_PUBLISHED)
    with Site({"/": HONEST}) as site:
        listed = f"http://shop.test:{site.port}"
        with serving(tmp_path / "data", "--cors-origins", listed, *LANES[lane]) as server:
            fill(server)
            made = finished("key", "make", "page", "--scope", "read", "--data", str(tmp_path / "data"), cwd=tmp_path)
            assert made.returncode == 0, made.stderr
            key = {"Authorization": f"Bearer {made.stdout.strip()}"}
            wait_for(lambda: server.get("command=select&table=secrets").status_code == 401)
            asks = [
                ("published", "/q/words?id=2", {}),
                ("read without a key", "/?command=select&table=secrets", {}),
                ("read", "/?command=select&table=secrets", {"headers": key}),
                ("read by post", "/?command=select&table=secrets", {"headers": key, "method": "POST"}),
                ("write", "/?command=delete&table=secrets&all=1", {"headers": key, "method": "POST"}),
                ("wrong key", "/?command=select&table=secrets", {"headers": {"Authorization": "Bearer tcsql_a_b"}}),
            ]
            found = {host: seen_by(site, server, host, asks) for host in ("shop.test", "evil.test")}
            assert server.client.get(server.url + "/?command=select&table=secrets", headers=key).json()["total"] == len(
                ROWS
            )
            assert server.stop() == 0
    statuses = {name: status for name, (status, _) in found["shop.test"].items()}
    assert statuses == {
        "published": 200, "read without a key": 401, "read": 200, "read by post": 200, "write": 403, "wrong key": 401,
    }  # fmt: skip  # one line of what was asked
    assert f"{MARK}-2" in found["shop.test"]["published"][1]
    assert {status for status, _ in found["evil.test"].values()} == {0}
    assert not [text for _, text in found["evil.test"].values() if MARK in text]
    record(f"E19-listed-{lane}", passed=True, browser=version(), listed=statuses, not_listed="nothing")


def seen_by(site: Site, server: Running, host: str, asks: list[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    """What a page of that host gets for each question: status and text; 0, nothing."""
    home = f"http://{host}:{site.port}"
    query = urlencode({"target": server.url, "home": home, "asks": json.dumps(asks)})
    with visiting(f"{home}/?{query}", f"--host-resolver-rules=MAP {host} 127.0.0.1"):
        return site.report()
