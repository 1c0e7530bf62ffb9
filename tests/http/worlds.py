"""Two servers without sockets: one with everything, and its twin that holds only what a limited key may see.

Whatever the key asks of the first, it has to get what anybody gets from the twin: to the byte, hints included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from tcsql.access.callers import LOCAL, Caller
from tcsql.engine.change import CreateTable, DropTable, Upsert
from tcsql.engine.query import Condition, Conjunction, Count, Group, OrderTerm, Query, Select
from tcsql.engine.schema import TableSchema
from tcsql.http.endpoints import Api
from tcsql.http.messages import Body, Head, Reply
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level

Row = dict[str, Any]


class World:
    """One server; asks are requests of a caller."""

    def __init__(self, runner: asyncio.Runner, store: Store, **options: Any) -> None:
        self._runner = runner
        self.store = store
        self.api = Api(Settings(**options), Metrics())
        self.api.open(store)

    def put(self, schema: TableSchema, rows: Sequence[Row]) -> None:
        """The table with these rows, instead of the one of that name."""
        self.store.commit_blocking([DropTable(schema.name, if_exists=True), CreateTable(schema)])
        if rows:
            self.store.commit_blocking([Upsert(schema.name, rows)])

    def rows(self, table: str) -> dict[str, Row]:
        """All rows, by the text of their key."""
        schema = self.store.database.schema(table)
        found = map(orjson.loads, self.store.database.rows(table))
        return {schema.pkey_text(schema.pkey_of(row)): row for row in found}

    def get(self, query: bytes, caller: Caller = LOCAL) -> Reply:
        """A GET as the lanes ask: at once if that is possible."""
        head = Head("GET", "/", query, caller=caller)
        reply = self.api.answer_now(head)
        return reply if reply is not None else self._runner.run(self.api.answer(head))

    def document(self, path: str, caller: Caller = LOCAL) -> Reply:
        """A document."""
        reply = self.api.answer_now(Head("GET", path, caller=caller))
        assert reply is not None
        return reply

    def post(self, query: str, body: object, caller: Caller = LOCAL, kind: str = "application/json") -> Reply:
        """A POST as the lanes ask: at once if that is possible."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        head = Head("POST", "/", query.encode(), kind, caller=caller)

        async def ask() -> Reply:
            done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            if self.api.post_now(head, data, done.set_result):
                return await done
            return await self.api.answer(head, _pieces(data))

        return self._runner.run(ask())


async def _pieces(data: bytes) -> Body:
    yield data


@contextmanager
def worlds(directory: Path, count: int = 1, **options: Any) -> Iterator[list[World]]:
    """Servers with stores of their own, without tables."""
    made: list[World] = []
    with asyncio.Runner() as runner:
        stores = [Store.open(directory / str(at), StoreOptions(durability=Level.MEMORY)) for at in range(count)]
        try:
            made += [World(runner, store, data=str(directory / "data"), **options) for store in stores]
            yield made
        finally:
            for store in stores:
                with closing(store):
                    pass


def error_of(reply: Reply) -> tuple[int, str]:
    """Status and code of a refusal."""
    return reply.status, str(orjson.loads(reply.body)["error"]["code"])


# --- queries as a client writes them ------------------------------------------------------------------------------


def condition_text(condition: Condition) -> str:
    """One condition of a where."""
    operand = condition.operand.replace("\\", "\\\\").replace("|", "\\|")
    return f"{condition.column or 'pkey'}:{'~' if condition.negated else ''}{condition.operator.value}:{operand}"


def conjunction_text(conjunction: Conjunction) -> str:
    """One where."""
    return "|".join(map(condition_text, conjunction))


def _order(terms: Sequence[OrderTerm]) -> list[tuple[str, str]]:
    if not terms:
        return []
    sorts = [f"{term.kind.value}{'DESC' if term.descending else 'ASC'}" for term in terms]
    columns = ",".join(term.column or "pkey" for term in terms)
    return [("order_by", columns), ("order_sort", ",".join(sorts))]


def query_text(query: Query, command: str = "select", **more: str) -> bytes:
    """The query string that means this query."""
    pairs = [("command", command), ("table", query.table)]
    pairs += [("where", conjunction_text(each)) for each in query.where.any_of]
    match query:
        case Select():
            pairs += [("type", ",".join(query.columns))] if query.columns else []
            pairs += [*_order(query.order), ("limit_skip", str(query.skip)), ("limit_max", str(query.limit))]
            pairs += [("total", "1")] if query.total else []
        case Count():
            pairs.append(("type", "count"))
        case Group():
            pairs.append(("type", ",".join(query.output)))
            pairs += [("group_by", ",".join(query.by))] if query.by else []
            pairs += [*_order(query.order), ("limit_skip", str(query.skip)), ("limit_max", str(query.limit))]
    return urlencode([*pairs, *more.items()]).encode()
