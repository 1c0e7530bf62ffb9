"""What HTTP says and asks about sources, with followers of plain values: states, actions, hints, the age of data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httptools
import orjson
import pytest
import uvicorn
from uvicorn.server import ServerState

from tcsql.errors import NotFound, Overloaded, Unauthorized
from tcsql.http.app import create_app
from tcsql.http.endpoints import Api
from tcsql.http.fastlane import Connection, protocol
from tcsql.http.following import ACTIONS, NO_FOLLOWERS, age_headers
from tcsql.http.lanes import Lanes
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tcsql.sql import changes_of
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin

SHOP = Origin(Level.ALWAYS, "shop", b"1")


class FakeFollowers:
    """Followers that hold plain values and note what they are asked."""

    def __init__(self) -> None:
        self.age: int | None = 7
        self.stale: tuple[str, ...] = ()
        self.state = "following"
        self.listeners: list[Callable[[], None]] = []
        self.asked: list[tuple[object, ...]] = []
        self.looks = 0

    def on_fresh(self, listener: Callable[[], None]) -> None:
        self.listeners.append(listener)

    def tell(self) -> None:
        for listener in self.listeners:
            listener()

    def status(self) -> list[dict[str, object]]:
        return [
            {"name": "shop", "mode": "push", "state": self.state, "tables": [{"table": "posts", "state": "following"}]},
            {"name": "blog", "mode": "outbox", "state": "away", "tables": []},
        ]

    def freshness(self) -> tuple[int | None, tuple[str, ...]]:
        self.looks += 1
        return self.age, self.stale

    def act(self, source: str, action: str, table: str | None = None) -> dict[str, object]:
        self.asked.append((source, action, table))
        if table == "strangers":
            raise NotFound("no such table")
        return {"name": source, "state": "following", "verification": {"state": "running"}}

    def hint(self, source: str, token: bytes, table: str, keys: Sequence[str], lost: int = 0) -> int:
        if source != "shop":
            raise NotFound(f'no source "{source}"')
        if token != b"secret":
            raise Unauthorized("another token")
        if table == "full":
            raise Overloaded("too many hints")
        if keys:
            self.asked.append((table, *keys, *([f"{lost} lost"] if lost else [])))
        return len(keys)


Reply = tuple[int, dict[str, str], Any]


class _Parsed:
    """One reply, by the parser of HTTP that the server uses."""

    def __init__(self, data: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(data)
        self.status = parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.arrived = asyncio.Event()

    def write(self, data: Any) -> None:
        self.written += data
        self.arrived.set()

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default


class Served:
    """A server without sockets: one connection of the lane, over a store with two tables that follow sources."""

    def __init__(self, store: Store, followers: FakeFollowers | None, fast: bool) -> None:
        self.store = store
        settings = Settings(max_body_bytes=2_048, fast_lane=fast)
        api = Api(settings, Metrics())
        lanes = Lanes(api, settings)
        self.metrics = api.metrics
        config = uvicorn.Config(create_app(api), ws="none", lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        state.default_headers = [(b"server", b"tcsql")]
        if followers is None:
            lanes.open(store)
            api.open(store)
        else:
            lanes.open(store, followers)
            api.open(store, followers)
        self.connection: Connection = protocol(lanes)(config, state, {}, asyncio.get_running_loop())
        self.transport = _Transport()
        self.connection.connection_made(self.transport)

    async def ask(self, target: str, body: bytes | None = None, *headers: str) -> Reply:
        length = [] if body is None else [f"Content-Length: {len(body)}"]
        lines = "".join(f"{line}\r\n" for line in ("Host: localhost", *length, *headers))
        request = f"{'GET' if body is None else 'POST'} {target} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b"")
        self.transport.written = b""
        self.connection.data_received(request)
        while b"\r\n\r\n" not in self.transport.written or not self._is_whole():
            self.transport.arrived.clear()
            await asyncio.wait_for(self.transport.arrived.wait(), 5)
        parsed = _Parsed(self.transport.written)
        return parsed.status, parsed.headers, orjson.loads(parsed.body)

    def _is_whole(self) -> bool:
        parsed = _Parsed(self.transport.written)
        return len(parsed.body) == int(parsed.headers["content-length"])

    async def age(self, target: str = "/?command=select&table=posts&where=id:NUMEQ:1") -> tuple[str | None, str | None]:
        status, headers, _ = await self.ask(target)
        assert status == 200
        return headers.get("tcsql-age-ms"), headers.get("tcsql-stale")


@pytest.fixture(params=[True, False], ids=["fast", "starlette"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Runs a coroutine of a test on a server in one lane, with followers or without."""

    def run(work: Callable[[Served], Awaitable[None]], followers: FakeFollowers | None = None) -> None:
        async def whole() -> None:
            with closing(Store.open(tmp_path / "data")) as store:
                tables = "CREATE TABLE posts (id INT PRIMARY KEY, n INT); CREATE TABLE own (id INT PRIMARY KEY)"
                await store.commit(changes_of(tables, lambda name: None))
                if followers is not None:
                    store.owners.claim("shop", ["posts"])
                await work(Served(store, followers, request.param))

        asyncio.run(whole())

    return run


READS = (
    "/?command=select&table=posts&where=id:NUMEQ:1",  # known from the second time on
    "/?command=select&table=posts&where=id:NUMEQ:1",
    "/?command=select&table=posts&where=id:NUMEQ:1",
    "/?command=select&table=posts&type=count",
    "/?command=select&table=posts&type=n,count&group_by=n",
    "/?command=explain&table=posts",
    "/?command=select&table=posts&min_lsn=1",
)


def test_without_a_source_nothing_is_said_of_age(serve: Callable[..., None]) -> None:
    async def work(served: Served) -> None:
        for target in READS:
            assert await served.age(target) == (None, None)
        assert (await served.ask("/sources"))[2] == []
        assert (await served.ask("/status"))[2]["sources"] == []
        assert (await served.ask("/ready"))[2] == {"ready": True, "tables": 2, "sources": {}}
        status, _, body = await served.ask("/sources/shop")
        assert (status, body["error"]["code"]) == (404, "not_found")
        assert "[source.shop]" in body["error"]["hint"]
        status, _, body = await served.ask("/?command=hint&source=shop&table=posts", b"1", "Authorization: Bearer x")
        assert (status, body["error"]["code"]) == (401, "unauthorized")

    serve(work)
    assert age_headers(NO_FOLLOWERS) == ()


def test_every_reply_with_data_says_how_old_it_is(serve: Callable[..., None]) -> None:
    followers = FakeFollowers()

    async def work(served: Served) -> None:
        for target in READS:
            assert await served.age(target) == ("7", None), target
        followers.age, followers.stale = 6_000, ("shop",)
        followers.tell()
        for target in READS:
            assert await served.age(target) == ("6000", "shop"), target
        followers.age, followers.stale = None, ("shop", "blog")
        followers.tell()
        for target in READS:
            assert await served.age(target) == (None, "shop,blog"), target
        status, headers, _ = await served.ask("/?command=select&table=nowhere")
        assert (status, "tcsql-age-ms" in headers, "tcsql-stale" in headers) == (404, False, False)

    serve(work, followers)


def test_the_age_follows_what_becomes_durable_and_is_looked_up_only_when_it_has_moved(
    serve: Callable[..., None],
) -> None:
    followers = FakeFollowers()

    async def work(served: Served) -> None:
        assert await served.age() == ("7", None)
        await served.age()
        looks = followers.looks
        for _ in range(5):
            await served.age()
        assert followers.looks == looks
        followers.age = 8  # not told: a step has been applied and its state is not noted yet
        await served.store.commit(changes_of("CREATE INDEX n ON posts (n)", served.store.database.schema))
        assert await served.age() == ("8", None)

    serve(work, followers)


def test_sources_are_shown_in_full_and_one_by_one(serve: Callable[..., None]) -> None:
    followers = FakeFollowers()

    async def work(served: Served) -> None:
        assert (await served.ask("/sources"))[2] == followers.status()
        assert (await served.ask("/status"))[2]["sources"] == followers.status()
        assert (await served.ask("/sources/blog"))[2] == followers.status()[1]
        assert (await served.ask("/ready"))[2]["sources"] == {"shop": "following", "blog": "away"}
        followers.state = "copying"  # readers are served all the same: operators decide
        status, _, body = await served.ask("/ready")
        assert (status, body["ready"], body["sources"]["shop"]) == (200, True, "copying")
        for wrong in ("/sources/shoq", "/sources/", "/sources/shop/posts"):
            status, _, body = await served.ask(wrong)
            assert (status, body["error"]["code"]) == (404, "not_found")
        assert body["error"]["message"] == 'no source "shop/posts"'
        status, headers, _ = await served.ask("/sources", b"")
        assert (status, headers["allow"]) == (405, "GET, HEAD")

    serve(work, followers)


@pytest.mark.parametrize("pieces", [(b"-1\r\n\r\n",), (b"", b"-1\r\n\r\n"), (b"1\r\n", b"a0\r\n\r\n")])
def test_an_action_whose_body_is_malformed_is_not_done(pieces: tuple[bytes, ...], serve: Callable[..., None]) -> None:
    async def look(served: Served) -> None:
        head = b"POST /sources/shop?action=recopy HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        for piece in (head + pieces[0], *pieces[1:]):
            served.connection.data_received(piece)
            await asyncio.sleep(0.01)
        served.connection.connection_lost(None)
        await asyncio.sleep(0.01)
        assert followers.asked == []
        assert served.transport.written.count(b"HTTP/1.1 400 ") == 1

    followers = FakeFollowers()
    serve(look, followers)


def test_actions_are_handed_on_and_answered_with_the_state(serve: Callable[..., None]) -> None:
    followers = FakeFollowers()

    async def work(served: Served) -> None:
        for action in ACTIONS:
            status, _, body = await served.ask(f"/sources/shop?action={action}", b"")
            assert (status, body["verification"]) == (202, {"state": "running"})
        await served.ask("/sources/shop?action=verify&table=po%73ts", b"")
        assert followers.asked == [*(("shop", action, None) for action in ACTIONS), ("shop", "verify", "posts")]
        followers.asked.clear()
        for target, code, said in (
            ("/sources/shoq?action=verify", 404, 'did you mean "shop"?'),
            ("/sources/shop?action=verfy", 400, 'did you mean "verify"?'),
            ("/sources/shop", 400, "add ?action=verify|repair|recopy|accept"),
            ("/sources/shop?action=verify&tabel=x", 400, 'did you mean "table"?'),
            ("/sources/shop?action=verify&action=repair", 400, None),
            ("/sources/shop?action=%FF", 400, None),
        ):
            status, _, body = await served.ask(target, b"")
            assert status == code, body
            assert said is None or body["error"]["hint"] == said
        assert not followers.asked
        assert (await served.ask("/sources/shop?action=verify&table=strangers", b""))[0] == 404

    serve(work, followers)


HINT = "/?command=hint&source=shop&table=posts&op=U"
TOKEN = "Authorization: Bearer secret"


def test_hints_are_handed_on_key_by_key(serve: Callable[..., None]) -> None:
    followers = FakeFollowers()

    async def work(served: Served) -> None:
        for target, body, keys in (
            (HINT, b"1", ("1",)),
            (HINT, b"1\n-42\nC3A9,7", ("1", "-42", "C3A9,7")),
            (HINT, b"", ("",)),  # the key of an empty text is empty
            (HINT, b"61\n", ("61", "")),
            ("/?command=hint&source=shop&table=posts", b"1", ("1",)),
        ):
            followers.asked.clear()
            status, _, reply = await served.ask(target, body, TOKEN, "Content-Type: text/plain; charset=utf-8")
            assert (status, reply) == (202, {"hints": len(keys)})
            assert followers.asked == [("posts", *keys)]
        assert (await served.ask(HINT, b"1", "authorization: bearer  secret"))[0] == 202
        assert served.metrics.plain()["requests"] == {"hint": {"202": 6}}

    serve(work, followers)


def test_hints_that_were_lost_before_are_told(serve: Callable[..., None]) -> None:
    followers = FakeFollowers()

    async def work(served: Served) -> None:
        for told, known in ((b"TCSQL-Lost: 17", ("17 lost",)), (b"tcsql-lost: 0", ()), (b"TCSQL-Lost: -1", ())):
            followers.asked.clear()
            assert (await served.ask(HINT, b"1", TOKEN, told.decode()))[0] == 202
            assert followers.asked == [("posts", "1", *known)]

    serve(work, followers)


@pytest.mark.parametrize("keys", [b"1", b"1\n" * 1_000], ids=["few", "many"])
def test_who_has_no_token_does_not_learn_which_sources_there_are(serve: Callable[..., None], keys: bytes) -> None:
    async def work(served: Served) -> None:
        said = [
            await served.ask(HINT.replace("shop", name).replace("posts", table), keys, "Authorization: Bearer other")
            for name in ("shop", "blog", "shoq", "nothing")
            for table in ("posts", "nothing")
        ]
        assert {status for status, _, _ in said} == {401}
        assert len({orjson.dumps(body) for _, _, body in said}) == 1
        assert "shop" not in str(said[0][2])

    serve(work)


def test_hints_that_are_not_right_are_refused(serve: Callable[..., None]) -> None:
    followers = FakeFollowers()

    async def work(served: Served) -> None:
        for headers in ((), ("Authorization: Bearer other",), ("Authorization: Basic secret",), ("Authorization: x",)):
            status, answered, body = await served.ask(HINT, b"1", *headers)
            assert (status, body["error"]["code"]) == (401, "unauthorized")
            assert answered["www-authenticate"] == "Bearer"
        for target, body_sent, code in (
            (HINT.replace("shop", "shoq"), b"1", 401),
            (HINT + "&where=a", b"1", 400),
            (HINT + "&type=x", b"1", 400),
            (HINT + "&op=U", b"1", 400),
            (HINT.replace("op=U", "op=X"), b"1", 400),
            ("/?command=hint&table=posts", b"1", 400),
            ("/?command=hint&source=shop", b"1", 400),
            (HINT, "ä".encode(), 400),
            (HINT, b"1" * 2_049, 413),
            ("/?source=shop&table=posts&command=hint", b"1", 400),
            (HINT.replace("posts", "full"), b"1", 503),
        ):
            status, _, body = await served.ask(target, body_sent, TOKEN)
            assert status == code, (target, body)
        assert (await served.ask(HINT))[0] == 405
        assert not followers.asked

    serve(work, followers)


def test_clients_cannot_write_a_followed_table(serve: Callable[..., None]) -> None:
    async def work(served: Served) -> None:
        json, lines = "Content-Type: application/json", "Content-Type: application/x-ndjson"
        for target, body, kind in (
            ("/?command=insert&table=posts", b'{"id":1}', json),
            ("/?command=insert&table=posts", b'[{"id":1},{"id":2}]', json),
            ("/?command=insert&table=posts", b"%7B%22id%22%3A1%7D", "X-No-Type: 1"),
            ("/?command=insert&table=posts", b'{"id":1}\n{"id":2}\n', lines),
            ("/?command=update&table=posts&all=1", b'{"n":1}', json),
            ("/?command=delete&table=posts&where=id:NUMEQ:1", b"", json),
            ("/?command=sql", b'{"sql":"TRUNCATE TABLE posts"}', json),
            ("/?command=sql", b'{"sql":"ALTER TABLE posts ADD COLUMN x INT"}', json),
            ("/?command=sql", b'{"sql":"DROP TABLE posts"}', json),
        ):
            status, _, body_got = await served.ask(target, body, kind)
            assert (status, body_got["error"]["code"]) == (409, "followed_table"), body_got
            assert body_got["error"]["message"] == "table posts follows shop"
            assert body_got["error"]["hint"] == "write to MySQL; indexes may be made here"
        assert (await served.ask("/?command=insert&table=own", b'{"id":1}', json))[0] == 200
        assert (await served.ask("/?command=sql", b'{"sql":"CREATE INDEX n ON posts (n)"}', json))[0] == 200
        assert (await served.ask("/?command=select&table=posts&type=count"))[2] == {"count": 0}

    serve(work, FakeFollowers())
