"""Published queries: the only thing that anybody who reaches a server may ask. ``GET /q/NAME?board=5&page=2``

    Publications(configured, settings)      read once; raises SetupError
    .check(database)                        against the tables, when the server starts
    .answer_now(state, name, query)         the reply, if it takes no more than one turn
    await .answer(state, name, query)       the reply to anything

They can be replaced while the server runs: a request is answered by what is published when it comes.

Every call has a budget of its own, far below that of queries with a key. Rights of keys say nothing here: publishing is
the decision. So a reply is the same for everybody, and a cache may keep it when the configuration says so.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from tcsql.engine.database import Database
from tcsql.engine.query import Count, Group, Select
from tcsql.errors import (
    NotFound,
    NotReady,
    ReplyTooLarge,
    SetupError,
    TooCostly,
    UnknownColumn,
    UnknownTable,
    did_you_mean,
)
from tcsql.http.messages import Head, Header, Reply
from tcsql.http.openapi import Described
from tcsql.http.opened import Opened
from tcsql.http.published_one import PAGE, PublishedQuery
from tcsql.published.options import Published
from tcsql.settings import Settings

PREFIX: Final = "/q/"
logger = logging.getLogger("tcsql.http")


class Publications:
    """All published queries of a server."""

    def __init__(self, published: Sequence[Published], settings: Settings) -> None:
        self.queries = {each.name: PublishedQuery(each, settings) for each in published}
        #: The same by name in bytes, as the fast lane finds it.
        self.by_bytes = {name.encode(): query for name, query in self.queries.items()}
        #: Of queries that are not published any more: fast answers, and rows of all, since they were asked for.
        self._left = (0, 0)
        self._headers: dict[int, tuple[Header, ...]] = {}
        self._headers_of: tuple[Header, ...] = ()
        #: Replies that a cache keeps must not be taken for those to a page of another origin.
        self._varies = bool(settings.cors_origins)

    def check(self, database: Database, followed: Collection[str] = ()) -> None:
        """Look at every query before the server serves; raises SetupError, and warns of what is not as it should be.

        A table that is not there may come later: from a source, or by a statement. Tables that are ``followed`` are
        changed elsewhere, and what does not fit them any more must not keep a server from starting again.
        """
        for name, query in self.queries.items():
            try:
                query.judged(database)
            except UnknownTable as error:
                query.fault = error.message
                logger.warning("published query %s is not answered yet: %s", name, error.message)
            except SetupError as error:
                if query.draft.table not in followed:
                    raise
                query.fault = error.message
                logger.warning("published query %s is not answered: %s", name, error.message)

    def replace(self, others: Publications) -> None:
        """Publish these instead, from the next request on; what is the same goes on with its plan and its counts."""
        self._left = self.harvest()
        kept = {
            name: query
            for name, query in self.queries.items()
            if name in others.queries and others.queries[name].published == query.published
        }
        self.queries = {**others.queries, **kept}
        self.by_bytes.clear()  # the lane holds this one
        self.by_bytes.update((name.encode(), query) for name, query in self.queries.items())

    @property
    def configured(self) -> Mapping[str, Published]:
        """What is published, by name."""
        return {name: query.published for name, query in self.queries.items()}

    def find(self, name: str) -> PublishedQuery:
        """The query of that name; raises NotFound."""
        found = self.queries.get(name)
        if found is None:
            raise NotFound("no published query has that name", did_you_mean(name, self.queries))
        return found

    def answer_now(self, state: Opened, name: str, raw: bytes, is_admitted: bool) -> Reply | None:
        """The reply to a request that takes no more than one turn; None: ``answer`` has to. Raises MustWait."""
        query = self.find(name)
        if query.fast is not None:
            body = query.fast.body(raw)
            if body is not None:
                query.calls += 1
                return self._reply(state, query.published, body)
        if not is_admitted:
            state.admission.admit()
        database = state.store.database
        template = query.require_template(database)
        asked = query.asked(template, raw)
        meant = template.query(asked.values, asked.skip, asked.limit, asked.after, asked.before)
        try:
            found = state.store.query_now(meant, query.budget_rows)
        except (TooCostly, ReplyTooLarge) as error:
            raise self._too_costly(query, error) from None
        if found is None:
            return None
        query.learn(database, template, meant, raw)
        return self._reply(state, query.published, query.body(template, found))

    async def answer(self, state: Opened, name: str, head: Head) -> Reply:
        """The reply to any request."""
        query = self.find(name)
        template = query.require_template(state.store.database)
        asked = query.asked(template, head.query)
        meant = template.query(asked.values, asked.skip, asked.limit, asked.after, asked.before)
        async with state.long_reads.place(head.caller, head.address):
            try:
                found = await state.store.run(meant, query.budget_rows)
            except (TooCostly, ReplyTooLarge) as error:
                raise self._too_costly(query, error) from None
            except (UnknownColumn, UnknownTable):  # the table changed while it was asked
                raise NotReady("this published query cannot be answered now", "retry later") from None
        return self._reply(state, query.published, query.body(template, found))

    def _too_costly(self, query: PublishedQuery, error: TooCostly | ReplyTooLarge) -> TooCostly | ReplyTooLarge:
        """What a caller may know of it; the index that would help is the operator's to know."""
        query.too_costly += 1
        if query.too_costly == 1:
            hint = f"; {error.hint}" if error.hint else ""
            logger.warning("published query %s was too costly: %s%s", query.published.name, error.message, hint)
        if isinstance(error, ReplyTooLarge):
            return ReplyTooLarge("the rows of this reply would be longer than they may", "ask for something narrower")
        return TooCostly("this published query would examine more rows than it may", "ask for something narrower")

    def _reply(self, state: Opened, published: Published, body: bytes) -> Reply:
        return Reply(200, body, self.headers(state.headers(), published.cache_s))

    def headers(self, headers: tuple[Header, ...], cache_s: int) -> tuple[Header, ...]:
        """Those of a page, for a reply that may be kept so long; made once for each state of the store."""
        if not cache_s:
            return headers
        if headers is not self._headers_of:
            self._headers_of = headers
            self._headers.clear()
        found = self._headers.get(cache_s)
        if found is None:
            kept = (b"cache-control", b"public, max-age=%d" % cache_s)
            found = tuple(kept if name == b"cache-control" else (name, value) for name, value in headers)
            if self._varies:
                found += ((b"vary", b"origin"),)
            self._headers[cache_s] = found
        return found

    @property
    def hits(self) -> int:
        """Answers of the fast lane, which nobody else counts."""
        return self._left[0] + sum([query.hits for query in self.queries.values()])

    def harvest(self) -> tuple[int, int]:
        """Answers of the fast lane, and rows in all answers, since the last call."""
        (hits, rows), self._left = self._left, (0, 0)
        for query in self.queries.values():
            hits, rows = hits + query.hits, rows + query.rows
            query.calls += query.hits
            query.hits = query.rows = 0
            if query.fast is not None:
                rows += query.fast.harvest()
        return hits, rows

    def forget_stale(self) -> None:
        """Let go of tables and indexes that are gone."""
        for query in self.queries.values():
            if query.fast is not None and not query.fast.is_current:
                query.rows += query.fast.harvest()
                query.fast = None

    # --- what they are --------------------------------------------------------------------------------------

    def status(self, database: Database) -> list[dict[str, Any]]:
        """One entry a query, for the operator."""
        return [_status(query, database) for query in self.queries.values()]

    def described(self) -> list[Described]:
        """What an OpenAPI document says of them."""
        return [_described(query) for query in self.queries.values()]


def _status(query: PublishedQuery, database: Database) -> dict[str, Any]:
    published = query.published
    entry: dict[str, Any] = {
        "name": published.name,
        "path": PREFIX + published.name,
        "table": query.draft.table,
        "parameters": query.parameters,
        "budget_rows": query.budget_rows,
        "cache_s": published.cache_s,
        "calls": query.calls + query.hits,
        "too_costly": query.too_costly,
    }
    try:
        scanning = query.plan_scans(database)
        if scanning and published.strict:
            return entry | {"ready": False, "scans": True, "why": "no index serves it, and it is strict"}
        return entry | {"ready": True, "scans": scanning}
    except (UnknownTable, SetupError) as error:
        return entry | {"ready": False, "why": error.message}


def _described(query: PublishedQuery) -> Described:
    published, template = query.published, query.latest
    kinds = tuple(_KINDS.values()) if template is None else (_KINDS[type(template.marked)],)
    schemas = {place.name: place.schema() for place in query.draft.places}
    schemas[PAGE] = {"type": "integer", "minimum": 1, "maximum": published.max_page, "default": 1}
    required = {place.name for place in query.draft.places if place.default is None}
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": about,
            "schema": schemas.get(name, {"type": "string"}),
        }
        for name, about in query.parameters.items()
    ]
    summary = published.description or f"the published query {published.name}"
    return Described(published.name, summary, kinds, parameters)


_KINDS: Final = {Select: "Page", Count: "Count", Group: "Groups"}
