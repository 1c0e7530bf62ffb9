"""The API: requests in, replies out. No framework, no socket; every lane calls the same two functions.

    answer_now(head)            the reply at once, without a task or an await; None: it needs ``answer``
    await answer(head, body)    the reply to anything

``answer_now`` takes what is cheap by nature: documents and those reads that finish within one slice. Everything
a client can get wrong ends in a refusal of ``tcsql.errors``; anything else is a bug, logged with its traceback and
answered 500 without a detail.

A server opens its listener before its store is ready: until ``open`` is called every request but ``/health`` and
``/ready`` is answered 503 with Retry-After.
"""

from __future__ import annotations

import time
from asyncio import to_thread
from collections.abc import Callable, Mapping

from tcsql.access.callers import LOCAL, Caller
from tcsql.access.scopes import Scope
from tcsql.audit import Audit
from tcsql.engine.result import CountResult, Result
from tcsql.errors import (
    CrossSite,
    GetWritesOff,
    MethodNotAllowed,
    NotFound,
    TCSQLError,
    Unauthorized,
    UnsupportedEncoding,
    did_you_mean,
)
from tcsql.http import render
from tcsql.http.access import Access
from tcsql.http.admission import Admission, MustWait
from tcsql.http.books import Books
from tcsql.http.documents import DOCUMENTS, Documents
from tcsql.http.following import NO_FOLLOWERS, Followers, is_hint
from tcsql.http.grammar import ReadRequest
from tcsql.http.guard import Guard
from tcsql.http.judge import AT_ROOT, Judge
from tcsql.http.known import KnownQueries
from tcsql.http.messages import About, Body, Disconnected, Head, Header, Reply, refusal
from tcsql.http.opened import Opened, Place, Serving
from tcsql.http.operating import Reload, hinted, no_reload, of_source, reloaded
from tcsql.http.parameters import WRITES, Parameters, of_query
from tcsql.http.paths import PATHS, PUBLISHED, RELOAD, SOURCE, acts, allowed, known_path, operation_at
from tcsql.http.published import PREFIX as PUBLISHED_PREFIX
from tcsql.http.published import Publications
from tcsql.http.views import read_operation
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tcsql.stalls import StallMeter
from tcsql.storage.store import Store
from tcsql.storage.ticket import Ticket


async def no_body() -> Body:
    """The body of a request that has none."""
    return
    yield b""  # makes this function a generator


class Api:
    """The endpoints of one server. ``progress``: what recovery says of itself while there is no store yet."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        progress: Callable[[], Mapping[str, object]] = dict[str, object],
        stalls: StallMeter | None = None,
        guard: Guard | None = None,
        *,
        access: Access | None = None,
        audit: Audit | None = None,
        published: Publications | None = None,
    ) -> None:
        #: Says who sends a request; the lanes put that into its head.
        self.access = access or Access()
        #: Asked by the lanes before they ask here.
        self.guard = guard or Guard(settings)
        self.metrics = metrics
        self.books = Books(settings, metrics, audit)
        self._settings = settings
        self._serving = Serving()
        self._reload: Reload = no_reload
        self._judge = Judge(settings)
        #: Answers what it has seen with other operands; empty until the store is open, and when the server stops.
        self.known = KnownQueries()
        self.published = published or Publications((), settings)
        self._documents = Documents(
            self._serving,
            settings,
            metrics=metrics,
            slow=self.books.slow,
            audit=self.books.audit,
            known=self.known,
            published=self.published,
            progress=progress,
            stalls=stalls,
        )

    def open(self, store: Store, followers: Followers = NO_FOLLOWERS, reload: Reload = no_reload) -> None:
        """The store is recovered: from now on everything is answered. ``reload`` reads the configuration again."""
        self._reload = reload
        self._serving.opened = Opened(store, self._settings, followers, self._judge, self.known)

    @property
    def admission(self) -> Admission | None:
        """What refuses reads that would only wait; None until the store is open."""
        return self._serving.opened.admission if self._serving.opened is not None else None

    def stop(self) -> None:
        """Refuse what comes from now on; what runs finishes."""
        self._serving.is_stopping = True
        self.known.stop()

    def page_headers(self) -> tuple[Header, ...]:
        """The headers of any reply that holds data, as of the newest durable lsn."""
        return self._serving.state().headers()

    def answer_now(self, head: Head, is_admitted: bool = False) -> Reply | None:
        """The reply to a request that needs neither waiting nor its body; None for all others.

        Raises MustWait for one that is to be asked again, as admitted, when its turn has come.
        """
        if head.method not in ("GET", "HEAD") or (head.path != "/" and head.path not in DOCUMENTS):
            return self._published_now(head, is_admitted) if head.path.startswith(PUBLISHED_PREFIX) else None
        started, books = time.perf_counter(), self.books
        operation = "select" if head.path == "/" else DOCUMENTS[head.path].operation
        try:
            if head.path != "/":
                self._judge.require(operation, head.caller)
                reply = self._documents.reply(head.path, head.caller)
            else:
                state = self._serving.state()
                place = state.place(head.caller)
                body = None if place.known is None else place.known.body(head.query)
                if body is not None:
                    self.metrics.timed("known", time.perf_counter() - started)
                    return Reply(200, body, state.headers())
                if not is_admitted:
                    state.admission.admit()
                if b"command=select" not in head.query:
                    return None  # a write, a refusal, or a spelling that the careful way reads
                parameters = of_query(head.query)
                request = place.view.request(parameters, head.caller)
                if not isinstance(request, ReadRequest) or request.explain or request.min_lsn is not None:
                    return None
                operation = read_operation(request.query)
                try:
                    found = state.store.query_now(request.query, place.view.budget_rows)
                except TCSQLError as error:
                    books.read(operation, request.query, state.store, head.caller, since=started, status=error.status)
                    raise place.view.told(error) from None
                if found is None or (request.bigint_text and render.is_slow(found)):
                    return None
                books.read(operation, request.query, state.store, head.caller, since=started)
                reply = self._page(state, place.view.shown(request, found), request.bigint_text)
                self._learn(state, place, parameters, head.query, request)
        except TCSQLError as error:
            reply = books.refused(head, error)
        except MustWait:
            raise
        except Exception as bug:  # noqa: BLE001  # the client learns nothing of a bug, the log everything
            reply = books.failed(head, bug)
        books.answered(operation, head, reply, started)
        return reply

    def _published_now(self, head: Head, is_admitted: bool) -> Reply | None:
        if head.method not in PATHS[PUBLISHED]:
            return None
        started, books = time.perf_counter(), self.books
        try:
            self._judge.require("published", head.caller)
            name = head.path[len(PUBLISHED_PREFIX) :]
            state = self._serving.state()
            before = state.store.database.plans.last
            reply = self.published.answer_now(state, name, head.query, is_admitted)
            books.published(before, state.store, head.caller, started)
        except TCSQLError as error:
            reply = books.refused(head, error)
        except MustWait:
            raise
        except Exception as bug:  # noqa: BLE001  # the client learns nothing of a bug, the log everything
            reply = books.failed(head, bug)
        if reply is not None:
            books.answered("published", head, reply, started)
        return reply

    def post_now(self, head: Head, body: bytes, done: Callable[[Reply], None]) -> bool:
        """Carry out an insert or hint whose whole body is here, without a task; False, nothing done: needs ``answer``.

        ``done`` gets the reply when the rows are as durable as was asked for: now or later, once.
        """
        state = None if self._serving.is_stopping else self._serving.opened
        if state is None or head.path != "/" or head.content_encoding not in ("", "identity"):
            return False
        started = time.perf_counter()
        try:
            if is_hint(head.query) and len(body) <= self._settings.max_body_bytes:
                self._judge.require("hint", head.caller)
                self._done("hint", head, hinted(state, head, body), started, done)
                return True
            submitted = state.place(head.caller).writer.insert_now(head, body)
        except TCSQLError as error:
            self._done("refused", head, self.books.refused(head, error), started, done)
            return True
        except Exception as bug:  # noqa: BLE001  # the client learns nothing of a bug, the log everything
            self._done("refused", head, self.books.failed(head, bug), started, done)
            return True
        if submitted is None:
            return False
        ticket, rows, request = submitted

        def settled(ticket: Ticket) -> None:
            if ticket.error is not None:
                self._done("refused", head, self.books.refused(head, ticket.error), started, done)
                return
            self.metrics.rows_written += rows
            about = (
                About(request.schema.name, rows, ticket.lsn) if self.books.audits_writes or request.trusted else None
            )
            body = render.inserted(ticket.tally, ticket.lsn)
            reply = Reply(200, body, state.headers_at(ticket.lsn), about=about)
            self._done("trusted" if request.trusted else "insert", head, reply, started, done)

        if ticket.is_answerable:
            settled(ticket)
        else:
            ticket.on_settled(settled)
        return True

    def _done(self, operation: str, head: Head, reply: Reply, started: float, done: Callable[[Reply], None]) -> None:
        self.books.answered(operation, head, reply, started)
        done(reply)

    def _learn(self, state: Opened, place: Place, parameters: Parameters, text: bytes, request: ReadRequest) -> None:
        """Know the query string from now on, if its shape is prepared and its reply the usual one."""
        if request.bigint_text or place.known is None or not place.view.can_learn(parameters, request):
            return
        prepared = state.store.database.prepared(request.query.table).find(request.query)
        if prepared is not None:
            place.known.learn(text, request.query, prepared)

    def refuse(self, error: TCSQLError, *, closes: bool = True) -> Reply:
        """The reply to a request that the guard does not admit; ``closes``: nothing more is read from its sender."""
        self.count_refusal(error)
        return refusal(error, closes=closes)

    def count_refusal(self, error: TCSQLError) -> None:
        """A request got this reply from a lane that had it ready."""
        self.metrics.requests["refused", error.status] += 1
        self.metrics.refused(error.code)

    def known_for(self, caller: Caller) -> KnownQueries | None:
        """The queries that this caller may ask as others with its rights have asked them; None: each is looked at.

        Good until keys change, or the store is opened.
        """
        if self._serving.opened is not None:
            return self._serving.opened.place(caller).known
        return self.known if caller.has(Scope.READ) and not caller.rights.is_limited else None

    def forget_callers(self) -> None:
        """Keys have changed: no request is known by its bytes any more, and no caller by what it was."""
        self.known.forget_requests()
        if self._serving.opened is not None:
            self._serving.opened.forget_callers()

    async def answer(self, head: Head, body: Body | None = None) -> Reply:
        """The reply to any request; ``body`` is read only as far as it is needed."""
        started, books = time.perf_counter(), self.books
        operation = "refused"
        try:
            operation, reply = await self._route(head, no_body() if body is None else self._while_known(head, body))
        except Disconnected:
            raise  # nobody is left to answer
        except TCSQLError as error:
            reply = books.refused(head, error)
        except Exception as bug:  # noqa: BLE001  # the client learns nothing of a bug, the log everything
            reply = books.failed(head, bug)
        books.answered(operation, head, reply, started)
        return reply

    async def _while_known(self, head: Head, body: Body) -> Body:
        """The body, as long as its sender is who it was: one that drips for hours must not outlive its key.

        3 us a piece; raises Unauthorized.
        """
        async for piece in body:
            self._require_known(head)
            yield piece
        self._require_known(head)

    def _require_known(self, head: Head) -> None:
        was = head.caller
        if head.authorization:
            now = self.access.caller(head.authorization, was is LOCAL)
            is_changed = (now.id, now.rights) != (was.id, was.rights)
        else:
            is_changed = was is LOCAL and self.access.has_keys
        if is_changed:
            raise Unauthorized("the key is not what it was when the request began", "repeat the request")

    def _judged(self, head: Head) -> tuple[str, str | None]:
        """The path, a key of ``PATHS``, and the operation (None: a body says it), if they may be had."""
        path = known_path(head.path)
        if path not in PATHS:
            known = ", ".join(PATHS)
            raise NotFound("no such path", did_you_mean(head.path, PATHS) or f"paths are {known}")
        if head.method not in PATHS[path]:
            raise MethodNotAllowed(f"{path} does not take {head.method[:20]}", f"use {allowed(path)}")
        if head.content_encoding not in ("", "identity"):
            raise UnsupportedEncoding("a compressed body is not taken", "send it without Content-Encoding")
        if head.is_cross_site and acts(head):
            raise CrossSite("a page of another site asks for this", "an operator can add its origin to cors_origins")
        operation = operation_at(path, head.method, head.query)
        if operation is not None:
            self._judge.require(operation, head.caller)
        else:
            self._judge.require_any(AT_ROOT, head.caller)  # before a body is read that may say what is asked
        return path, operation

    async def _route(self, head: Head, body: Body) -> tuple[str, Reply]:
        path, operation = self._judged(head)
        if path in DOCUMENTS:
            return DOCUMENTS[path].operation, self._documents.reply(path, head.caller)
        if path == "/metrics":
            return "metrics", await self._documents.metrics(head.accept)
        state = self._serving.state()
        if path == "/backup":
            return "backup", await self._documents.backup(self._settings.data)
        if path == RELOAD:
            return "reload", await reloaded(state, head, body, self._reload)
        if path == SOURCE:
            return operation or path, await of_source(state, head, body)
        if path == PUBLISHED:
            name = head.path[len(PUBLISHED_PREFIX) :]
            started, before = time.perf_counter(), state.store.database.plans.last
            reply = await self.published.answer(state, name, head)
            self.books.published(before, state.store, head.caller, started)
            return "published", reply
        if operation == "hint" and head.method == "POST" and is_hint(head.query):
            state.hints.require(state.followers, head)  # nobody has asked for a key: no stranger's megabyte is kept
            return "hint", hinted(state, head, await state.place(head.caller).writer.read(head, body))
        return await self._at_root(state, head, body)

    async def _at_root(self, state: Opened, head: Head, body: Body) -> tuple[str, Reply]:
        """Rows, tables and plans. The view judges again when it has read what a body says."""
        place = state.place(head.caller)
        if head.method == "POST":
            outcome = await place.writer.post(head, body)
        else:
            parameters = of_query(head.query)
            command = parameters.values.get("command")
            if command in WRITES and head.method == "HEAD":
                raise MethodNotAllowed(f"{command} by HEAD is not done: it would have no answer", "send it as a POST")
            if command in WRITES and not self._settings.get_writes:
                raise GetWritesOff(f"{command} by {head.method} is switched off", "send it as a POST")
            outcome = await place.writer.get(parameters, head.caller)
        if isinstance(outcome, ReadRequest):
            return await self._read(state, place, outcome, head)
        self.metrics.rows_written += outcome.rows
        about = About(outcome.table, outcome.rows, outcome.lsn, outcome.did)
        return outcome.operation, Reply(200, outcome.body, state.headers_at(outcome.lsn), about=about)

    async def _read(self, state: Opened, place: Place, request: ReadRequest, head: Head) -> tuple[str, Reply]:
        view, operation, caller = place.view, read_operation(request.query), head.caller
        if request.min_lsn is not None:
            await state.wait_for(*request.min_lsn, self._settings.min_lsn_timeout_s)
        started = time.perf_counter()
        async with state.long_reads.place(caller, head.address):
            try:
                if request.explain:
                    plan = view.plan(request, await state.store.explain(request.query, view.budget_rows))
                    return "explain", Reply(200, render.document(plan), state.headers())
                found = await state.store.run(request.query, view.budget_rows)
            except TCSQLError as error:
                self.books.read(operation, request.query, state.store, caller, since=started, status=error.status)
                raise view.told(error) from None
        self.books.read(operation, request.query, state.store, caller, since=started)
        shown = view.shown(request, found)
        body = await to_thread(render.result, shown, True) if request.bigint_text and render.is_slow(found) else None
        return operation, self._page(state, shown, request.bigint_text, body)

    def _page(self, state: Opened, found: Result, bigint_text: bool, body: bytes | None = None) -> Reply:
        if not isinstance(found, CountResult):
            self.metrics.rows_sent += len(found.rows)
        return Reply(200, render.result(found, bigint_text) if body is None else body, state.headers())
