"""One published query: its text against the table as it is now, and what a request gives for its places.

A query is read anew when the columns of its table have changed. While the table is not there, or has lost a column that
the query needs, it is answered 503: rows may be on their way from a source, and what is wrong is for the operator to
see, in the log and in ``/status``, not for the caller. A caller sees names of parameters, and no others.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from tcsql.engine.database import Database
from tcsql.engine.query import Group, Query
from tcsql.engine.result import CountResult, Page, Result
from tcsql.errors import BadRequest, InvalidCursor, NotReady, SetupError, UnknownTable, did_you_mean
from tcsql.http import render
from tcsql.http.parameters import percent_decoded
from tcsql.http.published_fast import FastWay, fast_way
from tcsql.http.published_query import Draft, Template, draft_of, scans
from tcsql.published.options import Published
from tcsql.published.places import Place
from tcsql.settings import Settings

PAGE: Final = "page"
_CURSORS: Final = ("after", "before")
logger = logging.getLogger("tcsql.http")


class Asked:
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

    def asked(self, template: Template, raw: bytes) -> Asked:
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
        if PAGE in given:
            pages = Place(PAGE, "int", 1, self.published.max_page)
            skip = (int(pages.require(given[PAGE])) - 1) * limit
        cursors = [name for name in _CURSORS if name in given]
        if len(cursors) == 2 or (cursors and PAGE in given):
            raise InvalidCursor("a cursor alone says where the page begins", "give one of page, after and before")
        if cursors and not template.has_cursors:
            raise BadRequest(f"parameter {cursors[0]} is not taken", self._takes())
        return Asked(values, skip, limit, given)

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
            found[PAGE] = f"a whole number from 1 to {self.published.max_page}"
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
