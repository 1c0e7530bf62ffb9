"""Every operation, with every kind of key and with none, in both lanes: what is granted is what the one table says.

Requests are real ones to real servers. An operation without a sample fails here, and so does a path, method or command
that is no operation.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tcsql.access.keyfile import KeyFile
from tcsql.access.keys import parts_of, revoked
from tcsql.access.scopes import OPERATIONS, Scope, held, needed
from tcsql.http.judge import AT_ROOT
from tcsql.http.parameters import COMMANDS, PARAMETERS
from tcsql.http.paths import PATHS, operation_at
from tcsql.settings import Settings
from tests.http.conftest import LANES
from tests.http.keyring import make_key
from tests.http.serving import Running, serving, wait_for

ORIGIN = "https://app.example.org"
SETTINGS = Settings()
SCHEMA = """
CREATE TABLE posts (id INT PRIMARY KEY, board INT, title VARCHAR(40), KEY (board));
CREATE TABLE other (id INT PRIMARY KEY, title VARCHAR(40));
"""
PUBLISHED = """
[published.board_page]
query = "table=posts&type=id,title&where=board:NUMEQ:{board:int(1..500)}"
"""
JSON, NDJSON, FORM = "application/json", "application/x-ndjson", "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Ask:
    """One spelling of an operation, and what it is answered when it is granted. ``table``: it concerns ``posts``."""

    method: str
    target: str
    ok: int = 200
    body: bytes = b""
    kind: str = ""
    table: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def get(target: str, ok: int = 200, table: bool = False) -> Ask:
    return Ask("GET", target, ok, table=table)


def post(target: str, body: object = b"", kind: str = JSON, ok: int = 200, table: bool = True) -> Ask:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return Ask("POST", target, ok, data, kind if data else "", table)


ROW = {"id": 1, "board": 1, "title": "written"}
SAMPLES: dict[str, list[Ask]] = {
    "health": [get("/health"), Ask("HEAD", "/health")],
    "ready": [get("/ready")],
    "preflight": [
        Ask("OPTIONS", "/", 204, headers={"origin": ORIGIN, "access-control-request-method": "POST"}),
    ],
    "published": [get("/q/board_page?board=5"), get("/q/nothing", 404)],
    "select": [
        get("/?command=select&table=posts&where=pkey:NUMEQ:1&limit_max=1", table=True),
        get("/?command=%73elect&table=posts", table=True),
        Ask("HEAD", "/?command=select&table=posts", table=True),
        post("/", {"command": "select", "table": "posts"}),
        post("/", b"command=select&table=posts", FORM),
        post("/?command=select&table=posts"),
    ],
    "count": [
        get("/?command=select&table=posts&type=count", table=True),
        post("/", {"command": "select", "table": "posts", "type": "count"}),
    ],
    "groups": [
        get("/?command=select&table=posts&type=count&group_by=board", table=True),
        get("/?command=select&table=posts&type=max(board)", table=True),
        get("/?command=select&table=posts&type=count,max(board)", table=True),
    ],
    "explain": [
        get("/?command=explain&table=posts&where=board:NUMEQ:1", table=True),
        post("/", {"command": "explain", "table": "posts"}),
    ],
    "insert": [
        post("/?command=insert&table=posts", ROW),
        post("/?command=insert&table=posts", [ROW] * 3),
        post("/", {"command": "insert", "table": "posts", "rows": [ROW]}),
        post("/", b'command=insert&table=posts&rows={"id":1}', FORM),
        get("/?command=insert&table=posts&rows={}", 405),
    ],
    "bulk": [post("/?command=insert&table=posts", orjson.dumps(ROW), NDJSON)],
    "update": [
        post("/?command=update&table=posts&all=1", {"title": "changed"}),
        post("/", {"command": "update", "table": "posts", "all": True, "set": {"title": "changed"}}),
        get("/?command=update&table=posts&all=1&set={}", 405),
    ],
    "delete": [
        post("/?command=delete&table=posts&all=1"),
        post("/", {"command": "delete", "table": "posts", "all": "1"}),
        post("/", b"command=delete&table=posts&all=1", FORM),
    ],
    "trusted": [
        post("/?command=insert&table=posts&trusted=1", ROW),
        post("/?trusted=1&command=insert&table=posts", [ROW]),
        post("/", {"command": "insert", "table": "posts", "trusted": True, "rows": ROW}),
        post("/?command=insert&table=posts&trusted=1", orjson.dumps(ROW), NDJSON),
    ],
    "sql": [
        post("/?command=sql", {"sql": "CREATE TABLE IF NOT EXISTS made (id INT PRIMARY KEY)"}, table=False),
        post("/", {"command": "sql", "sql": "DROP TABLE IF EXISTS made"}, table=False),
    ],
    "hint": [post("/?command=hint&source=shop&table=posts&op=U", b"1", "text/plain", 401, table=False)],
    "status": [get("/status"), Ask("HEAD", "/status")],
    "openapi": [get("/openapi.json")],
    "metrics": [get("/metrics")],
    "sources": [get("/sources"), get("/sources/shop", 404)],
    "slow": [get("/slow")],
    "source": [post("/sources/shop?action=verify", ok=404, table=False)],
    "reload": [post("/reload", table=False)],
    "backup": [get("/backup")],
}

#: Kinds of callers by their keys: scopes, limits. None: no Authorization.
KEYS: dict[str, tuple[set[Scope], dict[str, Any]] | None] = {
    "anonymous": None,
    "published": ({Scope.PUBLISHED}, {}),
    "read": ({Scope.READ}, {}),
    "write": ({Scope.WRITE}, {}),
    "both": ({Scope.READ, Scope.WRITE}, {}),
    "admin": ({Scope.ADMIN}, {}),
    "read elsewhere": ({Scope.READ}, {"tables": frozenset({"other"})}),
    "both elsewhere": ({Scope.READ, Scope.WRITE}, {"tables": frozenset({"other"})}),
    "expired": ({Scope.ADMIN}, {"expires": 1}),
    "revoked": ({Scope.ADMIN}, {}),
    "wrong": ({Scope.ADMIN}, {}),
}
REFUSED = ("expired", "revoked", "wrong")
LOCAL = "local"


@dataclass
class Served:
    """A server with keys and one without, in one lane."""

    keyed: Running
    open: Running
    tokens: dict[str, str]
    directory: Path

    def status_of(self, token: str) -> int:
        """What a select by this key is answered."""
        headers = {"authorization": f"Bearer {token}"}
        return self.keyed.get("command=select&table=other", headers=headers).status_code

    def ask(self, who: str, ask: Ask) -> httpx.Response:
        running = self.open if who == LOCAL else self.keyed
        headers = {**ask.headers, **({"content-type": ask.kind} if ask.kind else {})}
        if who in self.tokens:
            headers["authorization"] = f"Bearer {self.tokens[who]}"
        content = ask.body if ask.method == "POST" else None
        return running.client.request(ask.method, running.url + ask.target, headers=headers, content=content)

    def content(self, who: str) -> Any:
        """All rows and tables, as an admin sees them."""
        admin = who if who == LOCAL else "admin"
        rows = [self.ask(admin, get(f"/?command=select&table={table}")).json()["rows"] for table in ("posts", "other")]
        return rows, [table["name"] for table in self.ask(admin, get("/status")).json()["tables"]]


@pytest.fixture(scope="module", params=LANES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("operations")
    (place / "schema.sql").write_text(SCHEMA)
    (place / "tcsql.toml").write_text(PUBLISHED)
    flags = (*LANES[request.param], "--schema", str(place / "schema.sql"), "--cors-origins", ORIGIN)
    (place / "keyed").mkdir(mode=0o700)
    tokens = {who: make_key(place / "keyed", *key[0], **key[1]) for who, key in KEYS.items() if key is not None}
    tokens["wrong"] = tokens["wrong"][:-2] + ("AA" if tokens["wrong"][-2:] != "AA" else "BA")
    gone = parts_of(tokens["revoked"])
    assert gone is not None
    KeyFile(place / "keyed").change(lambda ring: ring.with_(revoked(ring.named(gone[0]), int(time.time()))))
    with serving(place / "keyed", *flags) as keyed, serving(place / "open", *flags) as free:
        found = Served(keyed, free, tokens, place / "keyed")
        for who in (LOCAL, "admin"):
            assert found.ask(who, post("/?command=insert&table=other", {"id": 7, "title": "theirs"})).status_code == 200
        yield found
        for running in (keyed, free):
            assert running.stop() == 0
            assert "bug" not in running.stderr(), running.stderr()


def expected(operation: str, who: str, ask: Ask, settings: Settings = SETTINGS) -> int:
    """The status by the table of operations alone."""
    about, need = OPERATIONS[operation], needed(operation, settings)
    if about.by_token:
        return 401  # the token of a source, which no key is, and which sources there are nobody learns without
    if (about.needs is None and need is None) or who == LOCAL:
        return ask.ok
    if who in REFUSED:
        return 401
    key = KEYS[who]
    scopes, limits = key if key is not None else (set(), {})
    if need is None or need in held(scopes):
        is_partial = about.whole and limits and need not in (None, Scope.PUBLISHED)
        return 403 if is_partial else 404 if ask.table and limits and ask.ok != 405 else ask.ok
    return 401 if key is None else 403


@pytest.mark.parametrize("who", (LOCAL, *KEYS))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_granted_is_what_the_table_says(served: Served, operation: str, who: str) -> None:
    assert SAMPLES[operation], "a sample request is missing"
    for ask in SAMPLES[operation]:
        wanted = expected(operation, who, ask)
        before = served.content(who) if OPERATIONS[operation].changes else None
        for _ in range(2):  # and once more from what was learnt, by this key or by another one
            reply = served.ask(who, ask)
            assert reply.status_code == wanted, (ask, reply.text)
        if wanted >= 400 and OPERATIONS[operation].changes:
            assert served.content(who) == before, ask
        if ask.method == "HEAD" or wanted not in (401, 403):
            continue
        told = reply.json()["error"]
        assert told["code"] == {401: "unauthorized", 403: "forbidden"}[wanted]
        assert ("www-authenticate" in reply.headers) == (wanted == 401)
        if wanted == 403 and not OPERATIONS[operation].whole:
            assert str(needed(operation, Settings())) in told["hint"]


def test_every_operation_has_a_sample() -> None:
    assert set(SAMPLES) == set(OPERATIONS)


def test_every_path_method_and_command_is_an_operation() -> None:
    named = {"preflight", "bulk"}  # by the method OPTIONS, and by a media type: the samples hold them
    for path, methods in PATHS.items():
        for method in methods:
            if path != "/":
                operation = operation_at(path, method, b"")
                assert operation is not None and operation in OPERATIONS, (method, path)
                named.add(operation)
                continue
            for command in COMMANDS:
                given = [
                    f"{name}={value}"
                    for name, parameter in PARAMETERS.items()
                    if name != "command" and command in parameter.commands
                    for value in (*parameter.values, parameter.example, "max(id)", "count")
                ]
                for more in ("", *given):
                    operation = operation_at(path, method, f"command={command}&{more}".encode())
                    assert operation is not None and operation in OPERATIONS, (method, command, more)
                    named.add(operation)
    assert named == set(OPERATIONS)
    assert {*AT_ROOT, "hint"} <= named


def test_a_refusal_does_not_tell_what_there_is(served: Served) -> None:
    for who in ("anonymous", "published", *REFUSED):
        for one, other in (
            (get("/?command=select&table=posts"), get("/?command=select&table=nothing")),
            (get("/?command=select&table=posts&type=title"), get("/?command=select&table=posts&type=nothing")),
            (post("/?command=insert&table=posts", ROW), post("/?command=insert&table=nothing", {"x": 1})),
            (post("/?command=delete&table=posts&all=1"), post("/?command=delete&table=nothing")),
            (post("/", {"command": "select", "table": "posts"}), post("/", {"command": "select", "table": "nothing"})),
            (post("/?command=insert&table=posts", b"{}", NDJSON), post("/?command=insert&table=x", b"{", NDJSON)),
        ):
            there, not_there = served.ask(who, one), served.ask(who, other)
            assert there.status_code == not_there.status_code
            assert there.content == not_there.content, (who, one)
            assert b"posts" not in there.content


def test_unknown_paths_and_methods_are_told_to_everybody(served: Served) -> None:
    for who in (LOCAL, *KEYS):
        assert served.ask(who, get("/nowhere")).status_code == 404
        assert served.ask(who, Ask("PUT", "/")).status_code == 405
        assert served.ask(who, Ask("POST", "/status")).status_code == 405


def test_ready_tells_more_to_those_who_may_read(served: Served) -> None:
    for who in (LOCAL, *KEYS):
        tells = who in (LOCAL, "read", "both", "admin")
        assert ("tables" in served.ask(who, get("/ready")).json()) == tells, who


def test_status_of_a_limited_key_knows_its_tables_alone(served: Served) -> None:
    text = served.ask("read elsewhere", get("/status")).text
    assert "other" in text
    assert "posts" not in text
    assert "posts" in served.ask("read", get("/status")).text


# --- what is learnt under a key -----------------------------------------------------------------------------------


class Talk:
    """One connection that is kept, and speaks bytes."""

    def __init__(self, running: Running) -> None:
        self._socket = socket.create_connection(running.address, timeout=10)
        self._file = self._socket.makefile("rb")

    def ask(self, *headers: str) -> tuple[int, bytes]:
        lines = ("GET /?command=select&table=other&where=id:NUMEQ:7 HTTP/1.1", *headers, "", "")
        self._socket.sendall("\r\n".join(lines).encode())
        status = int(self._file.readline().split()[1])
        size = 0
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            size = int(value) if name.lower() == b"content-length" else size
        return status, self._file.read(size)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def test_what_was_learnt_under_one_key_answers_no_other_sender(served: Served) -> None:
    """The fast lane knows whole requests by their bytes; their key is among them."""
    directory = served.directory
    tokens = {
        "free": make_key(directory, Scope.READ),
        "narrow": make_key(directory, Scope.READ, tables=frozenset({"other"}), columns=(("other", ("id",)),)),
        "none": make_key(directory, Scope.READ, tables=frozenset({"other"}), filters=(("other", "id:NUMEQ:8"),)),
        "writer": make_key(directory, Scope.WRITE),
    }
    wait_for(lambda: served.status_of(tokens["writer"]) == 403)
    host, keys = "Host: localhost", {who: f"Authorization: Bearer {token}" for who, token in tokens.items()}
    talk = Talk(served.keyed)

    def rows(*headers: str) -> object:
        status, body = talk.ask(*headers)
        return orjson.loads(body)["rows"] if status == 200 else status

    whole = [{"id": 7, "title": "theirs"}]
    for _ in range(4):  # learnt by its words, then by its bytes, then known
        assert rows(host, keys["free"]) == whole
        assert rows(keys["free"], host) == whole
        assert rows(host, keys["narrow"]) == [{"id": 7}]
        assert rows(host, keys["none"]) == []
        assert rows(host) == 401
        assert rows(host, keys["free"][:-1]) == 401
        for refused in ("writer",):
            assert rows(host, keys[refused]) == 403
            talk.close()
            talk = Talk(served.keyed)
    gone = parts_of(tokens["free"])
    assert gone is not None
    KeyFile(directory).change(lambda ring: ring.with_(revoked(ring.named(gone[0]), int(time.time()))))
    wait_for(lambda: rows(host, keys["free"]) == 401)
    assert rows(keys["free"], host) == 401
    assert rows(host, keys["narrow"]) == [{"id": 7}]
    talk.close()
