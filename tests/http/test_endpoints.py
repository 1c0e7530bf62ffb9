"""The endpoints without a network: readiness, stopping, faults of the store, and the two ways of calling them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from tcsql.engine.database import Database
from tcsql.errors import NoSpace, OutcomeUnknown, ReadOnly, SetupError, TCSQLError
from tcsql.http.endpoints import Api
from tcsql.http.messages import Body, Disconnected, Head, Reply
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tcsql.storage.store import Store


@contextmanager
def opened(directory: Path, **options: Any) -> Iterator[tuple[Api, Store]]:
    """An API over a store of its own with a table t of five rows."""
    settings = Settings(data=str(directory), **options)
    api = Api(settings, Metrics())
    with closing(Store.open(directory, database=Database(settings.query_budget_rows))) as store:
        api.open(store)
        yield api, store


async def pieces(*bodies: bytes) -> AsyncIterator[bytes]:
    for body in bodies:
        yield body


async def ask(api: Api, query: str, body: bytes | None = None, kind: str = "application/json") -> Reply:
    head = Head("GET" if body is None else "POST", "/", query.encode(), kind)
    return await api.answer(head, None if body is None else pieces(body))


async def fill(api: Api) -> None:
    made = await ask(api, "command=sql", b'{"sql":"CREATE TABLE t (id INT PRIMARY KEY, n INT)"}')
    assert made.status == 200, made.body
    rows = orjson.dumps([{"id": number, "n": number % 2} for number in range(5)])
    assert (await ask(api, "command=insert", rows)).status == 200


def error(reply: Reply) -> tuple[int, str]:
    return reply.status, orjson.loads(reply.body)["error"]["code"]


def run(work: Callable[[Api, Store], Awaitable[None]], directory: Path, **options: Any) -> None:
    async def whole() -> None:
        with opened(directory, **options) as (api, store):
            await fill(api)
            await work(api, store)

    asyncio.run(whole())


def test_before_the_store_is_open_only_health_and_ready_answer() -> None:
    progress = {"rows": 5, "of": 10}
    api = Api(Settings(), Metrics(), lambda: progress)
    assert api.answer_now(Head("GET", "/health")) == Reply(200, b'{"status":"ok"}')
    ready = api.answer_now(Head("GET", "/ready"))
    assert ready is not None
    assert (ready.status, orjson.loads(ready.body)) == (503, {"ready": False, "recovery": progress})
    assert (b"retry-after", b"1") in ready.headers
    for head in (Head("GET", "/", b"command=select"), Head("GET", "/status"), Head("HEAD", "/", b"command=select")):
        reply = api.answer_now(head)
        assert reply is not None
        assert error(reply) == (503, "not_ready")
        assert (b"retry-after", b"1") in reply.headers
    for head in (Head("POST", "/", b"command=insert"), Head("GET", "/backup"), Head("GET", "/", b"command=explain")):
        assert error(asyncio.run(api.answer(head))) == (503, "not_ready")


def test_while_stopping_new_requests_are_refused(tmp_path: Path) -> None:
    async def work(api: Api, store: Store) -> None:
        api.stop()
        assert error(await ask(api, "command=select")) == (503, "stopping")
        assert error(await ask(api, "command=insert", b'{"id":9}')) == (503, "stopping")
        ready = api.answer_now(Head("GET", "/ready"))
        assert ready is not None
        assert ready.status == 503
        assert api.answer_now(Head("GET", "/health")) == Reply(200, b'{"status":"ok"}')

    run(work, tmp_path)


def test_both_ways_of_asking_give_the_same_reply(tmp_path: Path) -> None:
    async def work(api: Api, store: Store) -> None:
        for query in (
            "command=select",
            "command=select&where=n:NUMEQ:1&order_by=id&order_sort=NUMDESC&limit_max=1",
            "command=select&type=count",
            "command=select&type=count,sum(n)&group_by=n",
            "command=select&where=nope:STREQ:1",
            "command=select&limit_max=x",
        ):
            now = api.answer_now(Head("GET", "/", query.encode()), is_admitted=True)
            assert now == await ask(api, query)

    run(work, tmp_path)


@pytest.mark.parametrize(
    "head",
    [
        Head("POST", "/", b"command=select"),
        Head("GET", "/", b"command=explain"),
        Head("GET", "/", b"command=select&min_lsn=1"),
        Head("GET", "/", b"command=delete&all=1"),
        Head("GET", "/", b"command=%73elect"),
        Head("GET", "/backup"),
        Head("GET", "/nope"),
        Head("PUT", "/"),
        Head("PUT", "/health"),
    ],
)
def test_what_has_to_wait_is_not_answered_now(tmp_path: Path, head: Head) -> None:
    async def work(api: Api, store: Store) -> None:
        assert api.answer_now(head) is None

    run(work, tmp_path)


def test_a_long_query_is_left_to_the_slices(tmp_path: Path) -> None:
    async def work(api: Api, store: Store) -> None:
        rows = b"\n".join(b'{"id":%d,"n":%d}' % (number, number % 7) for number in range(20_000))
        assert (await ask(api, "command=insert", rows, "application/x-ndjson")).status == 200
        query = "command=select&where=n:STRINC:3&order_by=n&total=1"
        assert api.answer_now(Head("GET", "/", query.encode())) is None
        assert orjson.loads((await ask(api, query)).body)["total"] == 20_000 // 7

    run(work, tmp_path)


def test_a_query_above_its_budget_is_refused_with_the_index_that_would_help(tmp_path: Path) -> None:
    async def work(api: Api, store: Store) -> None:
        rows = orjson.dumps([{"id": number, "n": number} for number in range(200)])
        await ask(api, "command=insert", rows)
        reply = await ask(api, "command=select&where=n:NUMEQ:7&total=1")
        assert error(reply) == (422, "too_costly")
        assert "CREATE INDEX" in orjson.loads(reply.body)["error"]["hint"]

    run(work, tmp_path, query_budget_rows=50)


def test_min_lsn_gives_up_after_its_time(tmp_path: Path) -> None:
    async def work(api: Api, store: Store) -> None:
        reply = await ask(api, f"command=select&min_lsn={store.lsn + 1}")
        assert error(reply) == (503, "wait_timeout")
        assert (b"retry-after", b"1") in reply.headers

    run(work, tmp_path, min_lsn_timeout_s=0.02)


def test_min_lsn_is_answered_when_the_write_is_durable(tmp_path: Path) -> None:
    async def work(api: Api, store: Store) -> None:
        waiting = asyncio.create_task(ask(api, f"command=select&type=count&min_lsn={store.lsn + 1}"))
        await asyncio.sleep(0)
        assert (await ask(api, "command=insert", b'{"id":99}')).status == 200
        assert (await waiting).body == b'{"count":6}'

    run(work, tmp_path)


@pytest.mark.parametrize(
    ("fault", "status"),
    [(NoSpace("the disk is full"), 507), (ReadOnly("an I/O error"), 503), (OutcomeUnknown("who knows"), 500)],
)
def test_faults_of_the_store_reach_the_client_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: TCSQLError, status: int
) -> None:
    async def work(api: Api, store: Store) -> None:
        async def commit(*_: object) -> None:
            raise fault

        monkeypatch.setattr(store, "commit", commit)
        reply = await ask(api, "command=insert", b'{"id":9}')
        assert error(reply) == (status, fault.code)
        assert (await ask(api, "command=select")).status == 200

    run(work, tmp_path)


def test_a_bug_is_logged_and_tells_the_client_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(api: Api, store: Store) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("secret detail")

        monkeypatch.setattr(store, "query_now", broken)
        monkeypatch.setattr(store, "run", broken)
        with caplog.at_level(logging.ERROR):
            for reply in (api.answer_now(Head("GET", "/", b"command=select")), await ask(api, "command=select")):
                assert reply is not None
                assert error(reply) == (500, "internal")
                assert b"secret" not in reply.body
        assert caplog.text.count("ZeroDivisionError: secret detail") == 2

    run(work, tmp_path)


def test_what_is_meant_for_the_operator_is_logged_and_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(api: Api, store: Store) -> None:
        def broken(path: Path) -> None:
            raise SetupError(f"cannot write {path}")

        monkeypatch.setattr(store, "backup", broken)
        reply = await api.answer(Head("GET", "/backup"))
        assert error(reply) == (500, "internal")
        assert str(tmp_path).encode() not in reply.body
        assert str(tmp_path) in caplog.text
        assert not list(tmp_path.glob("backup-*"))

    run(work, tmp_path)


def test_get_writes_work_when_they_are_switched_on(tmp_path: Path) -> None:
    async def work(api: Api, store: Store) -> None:
        assert orjson.loads((await ask(api, 'command=insert&rows={"id":9}')).body)["inserted"] == 1
        assert orjson.loads((await ask(api, 'command=update&where=pkey:NUMEQ:9&set={"n":7}')).body)["updated"] == 1
        assert orjson.loads((await ask(api, "command=delete&where=n:NUMEQ:7")).body)["deleted"] == 1
        assert (await ask(api, "command=sql&sql=TRUNCATE+t")).status == 200
        assert (await ask(api, "command=select&type=count")).body == b'{"count":0}'
        assert error(await ask(api, "command=insert")) == (400, "bad_request")

    run(work, tmp_path, get_writes=True)


def test_a_client_that_disconnects_is_not_a_bug(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(api: Api, store: Store) -> None:
        async def broken_off() -> Body:
            yield b'{"id":'
            raise Disconnected

        for kind in ("application/json", "application/x-ndjson"):
            with pytest.raises(Disconnected):
                await api.answer(Head("POST", "/", b"command=insert", kind), broken_off())
        assert not caplog.records
        assert (await ask(api, "command=select&type=count")).body == b'{"count":5}'

    run(work, tmp_path)


def test_a_body_is_read_no_further_than_needed(tmp_path: Path) -> None:
    async def work(api: Api, store: Store) -> None:
        read = 0

        async def endless() -> Body:
            nonlocal read
            while True:
                read += 1
                yield b" " * 1_000

        head = Head("POST", "/", b"command=insert", "application/json")
        assert error(await api.answer(head, endless())) == (413, "payload_too_large")
        assert read == 3
        assert error(await api.answer(Head("POST", "/", b"command=insert&table=nope"), endless())) == (
            404,
            "unknown_table",
        )
        assert read == 3
        line = Head("POST", "/", b"command=insert", "application/x-ndjson")
        reply = await api.answer(line, endless())
        assert error(reply) == (413, "payload_too_large")
        assert read < 10

    run(work, tmp_path, max_body_bytes=2_048, max_line_bytes=2_048)


def test_a_bulk_load_reports_what_is_durable_when_the_disk_fills_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(api: Api, store: Store) -> None:
        submit, calls = store.submit, 0

        def failing(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise NoSpace("the disk is full")
            return submit(*arguments)

        monkeypatch.setattr(store, "submit", failing)
        lines = b"\n".join(b'{"id":%d}' % number for number in range(100, 2_100))
        reply = await ask(api, "command=insert", lines, "application/x-ndjson")
        assert error(reply) == (507, "no_space")
        assert orjson.loads(reply.body)["error"]["applied"] == 1_000
        assert (await ask(api, "command=select&type=count")).body == b'{"count":1005}'

    run(work, tmp_path)


def test_requests_are_counted_by_operation_and_status(tmp_path: Path) -> None:
    async def work(api: Api, store: Store) -> None:
        api.answer_now(Head("GET", "/", b"command=select"))
        await ask(api, "command=select&where=nope")
        await ask(api, "command=select&type=count")
        counted = api.metrics.plain()
        requests = counted["requests"]
        assert isinstance(requests, dict)
        assert requests["sql"] == {"200": 1}
        assert requests["insert"] == {"200": 1}
        assert requests["select"] == {"200": 1}
        assert requests["count"] == {"200": 1}
        assert requests["refused"] == {"400": 1}
        assert (counted["rows_sent"], counted["rows_written"]) == (5, 5)

    run(work, tmp_path)
