"""Writes over HTTP: bodies become changes, changes go through ``Store.commit``. Framework-free.

Which part of a POST is data and which is parameters (section 1 of the contract) is decided here, in one place:

    command in the URL   insert, update: the body is the data     other commands: the body holds parameters
    no command there     the body holds parameters: a form, or a JSON object with "rows" or "set" as the data

A bulk load (NDJSON) is applied in chunks while it arrives. A few chunks may be on their way to the disk at
once; the reply, also the one to a bad line, is given when all of them are durable, so ``applied`` is a promise.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from tcsql.access.callers import Caller
from tcsql.audit import did
from tcsql.engine.change import Delete, Row, Tally, Update, Upsert
from tcsql.engine.schema import TableSchema
from tcsql.errors import BadRequest, CallerError, OperatorError, PayloadTooLarge, TCSQLError, UnknownTable
from tcsql.http import render
from tcsql.http.bodies import LineSplitter, RowReader, json_value, looks_like_json, unwrapped
from tcsql.http.gathering import Gathering, Room
from tcsql.http.grammar import DeleteRequest, InsertRequest, ReadRequest, Request, UpdateRequest
from tcsql.http.judge import Judge, operation_of
from tcsql.http.messages import Body, Head
from tcsql.http.names import REMEMBERED
from tcsql.http.parameters import COMMANDS, Parameters, of_json, of_query
from tcsql.http.views import View
from tcsql.settings import Settings
from tcsql.sql import bind_all, is_parser_loaded, parse_statements
from tcsql.storage.store import Store
from tcsql.storage.ticket import Committed, Ticket

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"

#: Lines applied at once: large enough for the commit to weigh little, small enough not to hold up other requests.
CHUNK_LINES: Final = 500
#: Lines are applied before there are as many when they are long.
CHUNK_BYTES: Final = 1_048_576
#: Chunks on their way to the disk at once; a faster client waits.
CHUNKS_AHEAD: Final = 4
#: Reading so much takes a millisecond or two; handing it to a thread takes a tenth of one.
READ_ASIDE_BYTES: Final = 16_384
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Written:
    """What a write is answered with: the name of the operation, the body, the lsn, the rows touched.

    ``table`` and ``did`` (what became of statements) are for the audit log.
    """

    operation: str
    body: bytes
    lsn: int
    rows: int
    table: str = ""
    did: tuple[str, ...] = ()


class Writer:
    """Carries out the writes of callers who share a view."""

    def __init__(self, store: Store, view: View, judge: Judge, settings: Settings, gathering: Gathering) -> None:
        self._store = store
        self._view = view
        self._judge = judge
        self._gathering = gathering
        self._max_body_bytes = settings.max_body_bytes
        self._most_now_bytes = min(READ_ASIDE_BYTES, settings.max_body_bytes)
        self._max_line_bytes = settings.max_line_bytes
        #: What query strings of inserts mean in this view, and the operation that each is.
        self._inserts: dict[bytes, tuple[InsertRequest, RowReader, str]] = {}

    async def post(self, head: Head, body: Body) -> Written | ReadRequest:
        """A POST of any command: carried out, or the read that it turns out to be."""
        with self._gathering.room(head.caller) as room:  # to its end: what was read takes more than its bytes
            return await self._post(head, body, room)

    async def _post(self, head: Head, body: Body, room: Room) -> Written | ReadRequest:
        parameters = of_query(head.query)
        command = parameters.values.get("command")
        if head.media_type == NDJSON:
            request = self._view.request(parameters, head.caller, is_bulk=True)
            if not isinstance(request, InsertRequest) or request.rows is not None:
                raise BadRequest(f"{NDJSON} is the body of an insert", "add command=insert to the URL")
            return await self._bulk(request, body, room)
        if command in ("insert", "update") or command not in (None, *COMMANDS):
            # a wrong table is refused before the body is read
            request = self._view.request(parameters, head.caller)
            text = await self._read(head, body, room)
            return await self._carry_out(request, _Data(await _aside(len(text), lambda: unwrapped(text))))
        text = await self._read(head, body, room)
        data = None
        if head.media_type == JSON or looks_like_json(text):
            data = await _aside(len(text), lambda: _take_members(parameters, unwrapped(text)))
        elif text:
            parameters.merge(of_query(text, "the form"))
        return await self._carry_out(self._view.request(parameters, head.caller), data)

    def insert_now(self, head: Head, text: bytes) -> tuple[Ticket, int, InsertRequest] | None:
        """An insert whose body is here already: check it, apply it, give its ticket, rows and sense; None for ``post``.

        Needs no task: what waits for the disk is told by the ticket. Raises what ``post`` raises, with nothing done.
        """
        if len(text) > self._most_now_bytes or head.media_type == NDJSON or not self._store.has_room:
            return None
        found = self._insert(head.query, head.caller)
        if found is None:
            return None
        request, reader = found
        rows = reader.rows_of(_payload("rows", None, _Data(unwrapped(text)), reader.exact))
        return self._store.submit([_upsert(request, rows)]), len(rows), request

    def _insert(self, query: bytes, caller: Caller) -> tuple[InsertRequest, RowReader] | None:
        """What an insert's query string means, remembered while the table's columns are the same."""
        known = self._inserts.get(query)
        if known is not None and self._schema_or_none(known[0].schema.name) is known[0].schema:
            self._judge.require(known[2], caller)  # the view is shared by callers of other scopes
            return known[:2]
        parameters = of_query(query)
        operation = operation_of(parameters.values)
        if operation not in ("insert", "trusted"):
            return None
        request = self._view.request(parameters, caller)
        if not isinstance(request, InsertRequest) or request.rows is not None:
            return None
        if len(self._inserts) >= REMEMBERED:
            self._inserts.clear()
        found = request, RowReader(request.schema)
        self._inserts[query] = (*found, operation)
        return found

    async def get(self, parameters: Parameters, caller: Caller) -> Written | ReadRequest:
        """A GET: everything stands in the URL. Whether it may write is for the caller of this to say."""
        return await self._carry_out(self._view.request(parameters, caller), None)

    async def read(self, head: Head, body: Body) -> bytes:
        """The whole body; what is too large is refused as early as it is known."""
        with self._gathering.room(head.caller) as room:
            return await self._read(head, body, room)

    async def _read(self, head: Head, body: Body, room: Room) -> bytes:
        limit = self._max_body_bytes
        pieces, size = [], 0
        if (head.content_length or 0) <= limit:
            async for piece in body:
                size += len(piece)
                if size > limit:
                    break
                room.take(len(piece))
                pieces.append(piece)
            else:
                return b"".join(pieces)
        raise PayloadTooLarge(f"the body is larger than {limit} bytes", f"load in bulk: {NDJSON}, one row a line")

    async def _carry_out(self, request: Request, data: _Data | None) -> Written | ReadRequest:
        """Do what was judged and narrowed: nothing comes here but from ``View.request``."""
        if isinstance(request, ReadRequest):
            return request
        if isinstance(request, InsertRequest):
            reader = RowReader(request.schema)
            rows = await _aside(_size(data), lambda: reader.rows_of(_payload("rows", request.rows, data, reader.exact)))
            done = await self._commit(_upsert(request, rows))
            operation = "trusted" if request.trusted else "insert"
            return Written(operation, render.inserted(done.tally, done.lsn), done.lsn, len(rows), request.schema.name)
        if isinstance(request, UpdateRequest):
            reader = RowReader(request.schema)
            values = self._view.settable(
                request.schema, reader.values_of(_payload("set", request.values, data, reader.exact))
            )
            update = Update(request.schema.name, request.where, values, request.within, self._view.budget_rows)
            done = await self._commit(update)
            return Written("update", render.updated(done.tally, done.lsn), done.lsn, done.tally.updated, update.table)
        if isinstance(request, DeleteRequest):
            delete = Delete(request.schema.name, request.where, request.within, self._view.budget_rows)
            done = await self._commit(delete)
            return Written("delete", render.deleted(done.tally, done.lsn), done.lsn, done.tally.deleted, delete.table)
        # the first statement imports the parser, 170 ms
        size = len(request.sql) if is_parser_loaded() else READ_ASIDE_BYTES + 1
        statements = await _aside(size, lambda: parse_statements(request.sql))
        changes = bind_all(statements, self._schema_or_none)
        done = await self._store.commit(changes)
        return Written("sql", render.executed(len(statements), done.lsn), done.lsn, 0, did=did(changes))

    async def _commit(self, change: Upsert | Update | Delete) -> Committed:
        try:
            return await self._store.commit([change])
        except TCSQLError as error:
            raise self._view.told(error, of_insert=isinstance(change, Upsert)) from None

    def _schema_or_none(self, table: str) -> TableSchema | None:
        try:
            return self._store.database.schema(table)
        except UnknownTable:
            return None

    async def _bulk(self, request: InsertRequest, body: Body, room: Room) -> Written:
        self._store.owners.require_rows_from_clients(request.schema.name)
        load = _BulkLoad(self._store, request, self._max_line_bytes, room)
        try:
            async for piece in body:
                await load.feed(piece)
            await load.finish()
        except TCSQLError as error:
            first = await load.settle(error)
            raise _at_line(self._view.told(first, of_insert=True), load) from None
        operation, table = "trusted" if request.trusted else "bulk", request.schema.name
        return Written(operation, render.inserted(load.tally, load.lsn, load.lines), load.lsn, load.applied, table)


def _upsert(request: InsertRequest, rows: Sequence[Row]) -> Upsert:
    return Upsert(request.schema.name, rows, request.trusted, request.within)


async def _aside(size: int, read: Callable[[], _T]) -> _T:
    """What ``read`` gives; a large text is read on a thread, so that other requests get their turn meanwhile."""
    return await asyncio.to_thread(read) if size > READ_ASIDE_BYTES else read()


def _size(data: _Data | None) -> int:
    return 0 if data is None else len(data.text)


@dataclass(frozen=True, slots=True)
class _Data:
    """The data of a write as it came: JSON text, and the member of it that is meant (None: all of it)."""

    text: bytes
    member: str | None = None


def _take_members(parameters: Parameters, text: bytes) -> _Data | None:
    """Add the members of a JSON object to the parameters; ``rows`` and ``set`` are data and come back."""
    if not text.strip():
        return None
    members = json_value(text)
    if not isinstance(members, dict):
        raise BadRequest("the body is not a JSON object of parameters", 'send {"command": ..., "table": ...}')
    name = {"insert": "rows", "update": "set"}.get(str(members.get("command")))
    held = name is not None and isinstance(members.get(name), (dict, list))
    parameters.merge(of_json({key: value for key, value in members.items() if not held or key != name}))
    return _Data(text, name) if held else None


def _payload(name: str, parameter: str | None, data: _Data | None, exact: bool) -> object:
    """The one value that a write carries: the body, a member of it, or the parameter ``rows`` or ``set``."""
    if data is None or not data.text:
        if parameter is None:
            raise BadRequest(f"no {name}", f'send JSON as the body, or as "{name}" of a JSON request')
        return json_value(parameter.encode(), exact, f"parameter {name}")
    if parameter is not None:
        raise BadRequest(f"{name} is given twice, in the URL and in the body")
    value = json_value(data.text, exact)
    return value if data.member is None else value[data.member]


class _BulkLoad:
    """One NDJSON load on its way: lines to chunks, chunks to rows and tickets."""

    def __init__(self, store: Store, request: InsertRequest, max_line_bytes: int, room: Room) -> None:
        self._room = room
        self._store = store
        self._request = request
        self._reader = RowReader(request.schema)
        self._splitter = LineSplitter(max_line_bytes)
        self._max_line_bytes = max_line_bytes
        #: Lines to be applied, and which lines of the stream they are.
        self._held: list[bytes] = []
        self._numbers: list[int] = []
        #: Each with its rows and the line of the first.
        self._tickets: deque[tuple[Ticket, int, int]] = deque()
        self._counts = [0, 0]
        self._last_insert_id: int | None = None
        #: Lines read, rows durable, the first line that was refused, the lsn of the last durable chunk.
        self.lines = self.applied = self.bad_line = 0
        self.lsn = store.durable_lsn

    @property
    def tally(self) -> Tally:
        return Tally(self._counts[0], self._counts[1], last_insert_id=self._last_insert_id)

    async def feed(self, piece: bytes) -> None:
        await self._take(self._splitter.feed(piece))

    async def finish(self) -> None:
        """The end of the stream: apply what is left and wait for all of it."""
        await self._take(self._splitter.finish())
        await self._apply()
        while self._tickets:
            await self._wait_for_oldest()

    async def settle(self, error: TCSQLError) -> TCSQLError:
        """After a refusal: learn how much of what is under way becomes durable; the refusal of the first line."""
        while self._tickets:
            line = self.bad_line
            try:
                await self._wait_for_oldest()
            except TCSQLError as another:
                if self.bad_line != line:
                    error = another
        return error

    async def _take(self, lines: Sequence[bytes]) -> None:
        start = 0
        while start < len(lines):
            block = lines[start : start + CHUNK_LINES - len(self._held)]
            start += len(block)
            # Many lines at a time: 0.1 us each, where one by one takes 0.4.
            if max(map(len, block)) > self._max_line_bytes or b"" in block or any(map(bytes.isspace, block)):
                await self._take_singly(block)
            else:
                self._hold(block, range(self.lines + 1, self.lines + 1 + len(block)))
                self.lines += len(block)
            if len(self._held) >= CHUNK_LINES or self._room.bytes > CHUNK_BYTES:
                await self._apply()

    def _hold(self, lines: Sequence[bytes], numbers: Iterable[int]) -> None:
        self._room.take(sum(map(len, lines)))
        self._held += lines
        self._numbers += numbers

    async def _take_singly(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            self.lines += 1
            if len(line) > self._max_line_bytes:
                await self._apply()  # the lines in front of it are good, unless one of them is refused first
                self.bad_line = self.lines
                raise PayloadTooLarge(f"the line is longer than {self._max_line_bytes} bytes")
            if line and not line.isspace():
                self._hold([line], [self.lines])

    async def _apply(self) -> None:
        held, self._held = self._held, []
        numbers, self._numbers = self._numbers, []
        self._room.give(self._room.bytes)
        if not held:
            return
        while self._tickets and self._tickets[-1][0].settled:
            await self._wait_for_oldest()  # refused: what comes behind it must not be stored without it
        await self._store.room()
        try:
            self._submit(self._reader.lines(held), numbers[0])
        except CallerError:
            self._apply_one_by_one(zip(numbers, held, strict=True))
        while len(self._tickets) > CHUNKS_AHEAD:
            await self._wait_for_oldest()
        await asyncio.sleep(0)  # a chunk takes some milliseconds: other requests come in between

    def _apply_one_by_one(self, held: Iterable[tuple[int, bytes]]) -> None:
        """A refused chunk changed nothing; line by line it is applied up to the one that is refused."""
        for number, line in held:
            self.bad_line = number
            self._submit([self._reader.line(line)], number)
        self.bad_line = 0

    def _submit(self, rows: list[Row], line: int) -> None:
        try:
            ticket = self._store.submit([_upsert(self._request, rows)])
        except OperatorError:
            self.bad_line = self.bad_line or line  # unless a chunk before it turns out to be refused
            raise
        self._tickets.append((ticket, len(rows), line))

    async def _wait_for_oldest(self) -> None:
        ticket, rows, line = self._tickets.popleft()
        try:
            await ticket.wait()
        except TCSQLError:
            self.bad_line = min(self.bad_line or line, line)
            raise
        self.applied += rows
        self.lsn = max(self.lsn, ticket.lsn)
        self._counts[0] += ticket.tally.inserted
        self._counts[1] += ticket.tally.replaced
        self._last_insert_id = ticket.tally.last_insert_id or self._last_insert_id


def _at_line(error: TCSQLError, load: _BulkLoad) -> TCSQLError:
    """The same refusal with the line it happened at and the rows that stay."""
    place = {"line": load.bad_line} if load.bad_line else {}
    message = f"line {load.bad_line}: {error.message}" if load.bad_line else error.message
    return type(error)(message, error.hint, **{**error.extra, **place, "applied": load.applied})
