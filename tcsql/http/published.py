"""Published queries: the only thing that anybody who reaches a server may ask. ``GET /q/NAME?board=5&page=2``

    Publications(configured, settings)      read once; raises SetupError
    .check(database)                        against the tables, when the server starts
    .answer_now(state, name, query)         the reply, if it takes no more than one turn
    await .answer(state, name, query)       the reply to anything

A query is read anew when the columns of its table have changed. While the table is not there, or has lost a column that
the query needs, it is answered 503: rows may be on their way from a source, and what is wrong is for the operator to
see, in the log and in ``/status``, not for the caller. A caller sees names of parameters, and no others.

Every call has a budget of its own, far below that of queries with a key. Rights of keys say nothing here: publishing is
the decision. So a reply is the same for everybody, and a cache may keep it when the configuration says so.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from tcsql.engine.database import Database
from tcsql.engine.query import Count, Group, Query, Select
from tcsql.engine.result import CountResult, Page, Result
from tcsql.errors import (
    BadRequest,
    InvalidCursor,
    NotFound,
    NotReady,
    ReplyTooLarge,
    SetupError,
    TooCostly,
    UnknownColumn,
    UnknownTable,
    did_you_mean,
)
from tcsql.http import render
from tcsql.http.messages import Head, Header, Reply
from tcsql.http.openapi import Described
from tcsql.http.opened import Opened
from tcsql.http.parameters import percent_decoded
from tcsql.http.published_fast import FastWay, fast_way
from tcsql.http.published_query import Draft, Template, draft_of, scans
from tcsql.published.options import Published
from tcsql.published.places import Place
from tcsql.settings import Settings

PREFIX: Final = "/q/"
_PAGE: Final = "page"
_CURSORS: Final = ("after", "before")
logger = logging.getLogger("tcsql.http")


class _Asked:
    """The values of one request: of places, the rows wanted, and the cursors."""

    __slots__ = ("after", "before", "limit", "skip", "values")

    def __init__(self, values: list[str], skip: int, limit: int, given: Mapping[str, str]) -> None:
        self.values = values
        self.skip = skip
        self.limit = limit
        self.after = given.get("after")
        self.before = given.get("before")


class PublishedQuery:
    """One of them, with what was made of it for its table as it is now."""

    def __init__(self, published: Published, settings: Settings) -> None:
        self.published = published
        self.draft: Draft = draft_of(published, settings)
        self.budget_rows = published.budget_rows or settings.published_budget_rows
        self.calls = 0
        #: Answered by the fast lane since they were asked for.
        self.hits = 0
        #: In answers of the careful way, since they were asked for.
        self.rows = 0
        self.too_costly = 0
        #: Why it cannot be answered; None: it can, or nobody has tried.
        self.fault: str | None = None
        self.fast: FastWay | None = None
        #: What was read last.
        self.latest: Template | None = None
        #: Whether that has to scan; None: not known yet.
        self._scans: bool | None = None

    def template(self, database: Database) -> Template:
        """The query against its table as it is now; raises UnknownTable and SetupError."""
        schema = database.schema(self.draft.table)
        found = self.latest
        if found is None or found.schema is not schema:
            self.fast = self._scans = None
            found = self.latest = self.draft.template(database)
        return found

    def require_template(self, database: Database) -> Template:
        """The same for a caller: raises NotReady, and tells the operator why, once."""
        try:
            found = self.judged(database)
        except (UnknownTable, SetupError) as error:
            if self.fault != error.message:
                self.fault = error.message
                logger.warning("published query %s is not answered: %s", self.published.name, error.message)
            raise NotReady("this published query cannot be answered now", "retry later") from None
        self.fault = None
        return found

    def judged(self, database: Database) -> Template:
        """The same, once its plan is known: warns of one that scans, or raises SetupError when that is not wanted."""
        found, published = self.template(database), self.published
        if self._scans is None or (self._scans and published.strict):
            is_news, self._scans = self._scans is None, self.plan_scans(database)
            why = f"{published.where} {published.option}: no index serves this query, so it would scan its table"
            if self._scans and published.strict:
                raise SetupError(why, "add an index; tcsql explain tells which")
            if self._scans and is_news:
                logger.warning("%s; it may examine %d rows", why, self.budget_rows)
        return found

    def plan_scans(self, database: Database) -> bool:
        """Whether no index serves the query. 100 us; raises UnknownTable and SetupError."""
        template = self.template(database)
        query = template.sample(self.draft.places)
        return scans(database.plan(query), query, template.schema)

    # --- one request ----------------------------------------------------------------------------------------

    def asked(self, template: Template, raw: bytes) -> _Asked:
        """What a query string says; raises BadRequest and InvalidCursor. 3 us a parameter."""
        given = self._given(raw)
        values = []
        for place in self.draft.places:
            text = given.get(place.name)
            if text is None:
                if place.default is None:
                    raise BadRequest(f"parameter {place.name} is missing", self._takes())
                text = place.default
            else:
                place.require(text)
            values.append(text)
        limit, skip = template.limit.of(values), template.skip.of(values)
        if _PAGE in given:
            pages = Place(_PAGE, "int", 1, self.published.max_page)
            skip = (int(pages.require(given[_PAGE])) - 1) * limit
        cursors = [name for name in _CURSORS if name in given]
        if len(cursors) == 2 or (cursors and _PAGE in given):
            raise InvalidCursor("a cursor alone says where the page begins", "give one of page, after and before")
        if cursors and not template.has_cursors:
            raise BadRequest(f"parameter {cursors[0]} is not taken", self._takes())
        return _Asked(values, skip, limit, given)

    def _given(self, raw: bytes) -> dict[str, str]:
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"the query string is not UTF-8 at byte {error.start}") from None
        given: dict[str, str] = {}
        for part in text.split("&"):
            name, _, value = part.partition("=")
            name = percent_decoded(name, "a parameter name of the query string")
            if name not in self.parameters:
                if not part:
                    continue
                raise BadRequest(f'unknown parameter "{name[:64]}"', self._takes(name))
            if name in given:
                raise BadRequest(f'parameter "{name}" is given more than once', "give each parameter once")
            given[name] = percent_decoded(value, f'parameter "{name}"')
        return given

    @property
    def parameters(self) -> dict[str, str]:
        """What a caller may give, with a word about it."""
        found = {place.name: place.about for place in self.draft.places}
        if self.published.page_rows:
            found[_PAGE] = f"a whole number from 1 to {self.published.max_page}"
        if self.latest is None or self.latest.has_cursors:
            found["after"] = "the cursor next of an earlier reply"
            found["before"] = "the cursor prev of an earlier reply"
        return found

    def _takes(self, name: str = "") -> str:
        taken = ", ".join(self.parameters)
        return did_you_mean(name, self.parameters) or (
            f"parameters are: {taken}" if taken else "there are no parameters"
        )

    def body(self, template: Template, found: Result) -> bytes:
        """The body of a reply; without cursors where they would tell of columns that are not published."""
        self.calls += 1
        self.rows += 0 if isinstance(found, CountResult) else len(found.rows)
        if isinstance(found, Page) and not template.has_cursors:
            found = Page(found.total, found.rows)
        return render.result(found, template.bigint_text)

    def learn(self, database: Database, template: Template, query: Query, raw: bytes) -> None:
        """Answer the next request of this kind by the short way, if there is one."""
        if self.fast is None or not self.fast.is_current:
            prepared = None if isinstance(query, Group) else database.prepared(query.table).find(query)
            self.fast = None if prepared is None else fast_way(self.published, template, prepared)
        if self.fast is not None:
            self.fast.learn(raw)


class Publications:
    """All published queries of a server."""

    def __init__(self, published: Sequence[Published], settings: Settings) -> None:
        self.queries = {each.name: PublishedQuery(each, settings) for each in published}
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
        return sum([query.hits for query in self.queries.values()])

    def harvest(self) -> tuple[int, int]:
        """Answers of the fast lane, and rows in all answers, since the last call."""
        hits = rows = 0
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
    schemas[_PAGE] = {"type": "integer", "minimum": 1, "maximum": published.max_page, "default": 1}
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
