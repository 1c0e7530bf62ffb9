"""The peer most teams have today: Starlette on uvicorn, MariaDB through a pool of connections, replies by orjson.

Run as ``python -m loadtest.starlette_mariadb SOCKET PORT BACKLOG CONNECTIONS``; it serves until it is killed. uvicorn
has uvloop and httptools, no access log; the driver is asyncmy, which is compiled.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncmy
import orjson
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.shape import TABLE

DATABASE: Final = "forum"
_COLUMNS: Final = ("id", "uid", "dateline", "idtype", "title", "hits")
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM {TABLE}"
BY_KEY: Final = f"{_SELECT} WHERE id = %s"
NEWEST_OF_USER: Final = f"{_SELECT} WHERE uid = %s ORDER BY id DESC LIMIT 1"
COMPOUND: Final = f"{_SELECT} WHERE dateline >= %s AND idtype = %s ORDER BY id DESC LIMIT 10"
COUNT: Final = f"SELECT COUNT(*) FROM {TABLE} WHERE dateline >= %s AND idtype = %s"
INSERT: Final = f"REPLACE INTO {TABLE} ({', '.join(_COLUMNS)}) VALUES (%s, %s, %s, %s, %s, %s)"


class Lists:
    """Endpoints over one pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def _fetch(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(statement, values)
            found: list[tuple[object, ...]] = await cursor.fetchall()
            return found

    async def _page(self, statement: str, *values: object) -> Response:
        rows = [dict(zip(_COLUMNS, row, strict=True)) for row in await self._fetch(statement, *values)]
        return _json({"rows": rows})

    async def by_key(self, request: Request) -> Response:
        return await self._page(BY_KEY, int(request.query_params["id"]))

    async def newest_of_user(self, request: Request) -> Response:
        return await self._page(NEWEST_OF_USER, int(request.query_params["uid"]))

    async def compound(self, request: Request) -> Response:
        asked = request.query_params
        return await self._page(COMPOUND, int(asked["since"]), asked["idtype"])

    async def count(self, request: Request) -> Response:
        asked = request.query_params
        rows = await self._fetch(COUNT, int(asked["since"]), asked["idtype"])
        return _json({"count": rows[0][0]})

    async def insert(self, request: Request) -> Response:
        row = orjson.loads(await request.body())
        await self._fetch(INSERT, *(row[column] for column in _COLUMNS))
        return _json({"inserted": 1})


def _json(data: object) -> Response:
    return Response(orjson.dumps(data), media_type="application/json")


def application(path: str, connections: int) -> Starlette:
    """The app; its pool opens with it."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        pool = await asyncmy.create_pool(
            unix_socket=path, user="root", db=DATABASE, charset="utf8mb4", autocommit=True,
            minsize=connections, maxsize=connections,
        )  # fmt: skip
        lists = Lists(pool)
        app.router.routes += [
            Route("/q1", lists.by_key),
            Route("/q2", lists.newest_of_user),
            Route("/q3", lists.compound),
            Route("/q4", lists.count),
            Route("/insert", lists.insert, methods=["POST"]),
        ]
        yield
        pool.close()
        await pool.wait_closed()

    return Starlette(lifespan=lifespan)


def main() -> None:
    path, port, backlog, connections = sys.argv[1:]
    app = application(path, int(connections))
    with socket.create_server(("127.0.0.1", int(port)), backlog=int(backlog)) as listener:
        config = uvicorn.Config(
            app, http="httptools", ws="none", log_config=None, access_log=False, backlog=int(backlog)
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
