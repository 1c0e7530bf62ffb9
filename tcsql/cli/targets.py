"""Where bulk commands read and write: a closed store in this process, or a running server over HTTP.

Both take batches of rows as readers give them and answer with the first row they refuse, so that the loader needs to
know nothing of either. Rows of a MySQL dump are taken as MySQL stored them, zero dates included (``trusted=1`` over
HTTP); other rows are a client's and checked strictly.
"""

from __future__ import annotations

import http.client
import json
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol, cast
from urllib.parse import quote

import orjson

from tcsql.cli.remote import Refused, Server, error_of
from tcsql.engine.change import Change, CreateTable, Row, Upsert
from tcsql.engine.schema import TableSchema
from tcsql.errors import CallerError, SetupError, TCSQLError, UnknownTable
from tcsql.formats.records import Value
from tcsql.replication.position import Position
from tcsql.sql import changes_of
from tcsql.storage import memory
from tcsql.storage.store import Store

_TIMEOUT_S: Final = 300
#: A key with a rate is slow, and nothing is wrong: so often, and so long at most, a request waits for its turn.
_MOST_WAITS: Final = 60
_LONGEST_WAIT_S: Final = 60.0
#: Rows of one page of a dump; a server may have a lower limit.
_PAGE_ROWS: Final = 10_000
#: Lines of a bulk load may have 64 KiB; longer rows go as single inserts.
_LINE_BYTES: Final = 60_000
_NONE: Final[Mapping[str, str]] = {}

ValueRow = Mapping[str, Value]


class RowRefused(Exception):
    """One row of a batch was refused; the rows before it are written."""

    def __init__(self, number: int, error: TCSQLError) -> None:
        super().__init__(error.message)
        self.number = number
        self.error = error


class Target(Protocol):
    """Something with tables. ``works_elsewhere``: while it inserts, this process has time for the next batch."""

    works_elsewhere: bool

    def schemas(self) -> list[TableSchema]: ...

    def schema(self, table: str) -> TableSchema | None: ...

    def execute(self, sql: str, changes: Sequence[Change]) -> None:
        """Carry out schema statements, given both ways; raises as the store does."""

    def insert(self, table: str, rows: Sequence[ValueRow], trusted: bool) -> None:
        """Write rows; raises RowRefused with the place of the first bad one."""

    def rows(self, schema: TableSchema) -> Iterator[bytes]:
        """All rows in the order of the key, as JSON."""

    def close(self) -> None: ...


class StoreTarget:
    """A closed store, opened by this process alone.

    Indexes are left alone while rows pour in: whoever opens the store next sorts them anyway. Tables that follow a
    source are refused as a server refuses them.
    """

    works_elsewhere = False

    def __init__(self, directory: Path) -> None:
        memory.tune_process()
        self._store = Store.open(directory)
        owners = self._store.owners
        for source, position in self._store.positions().items():
            owners.claim(source, [table for table in Position.decode(position).tables if table not in owners.of])
        self._bulk: set[str] = set()

    def schemas(self) -> list[TableSchema]:
        """With AUTO_INCREMENT where it stands now, as SHOW CREATE TABLE prints it: no key is given out again."""
        database = self._store.database
        return [
            schema.with_(auto_increment=database.table(schema.name).auto_increment)
            if schema.auto_increment_column
            else schema
            for schema in database.schemas()
        ]

    def schema(self, table: str) -> TableSchema | None:
        try:
            return self._store.database.schema(table)
        except UnknownTable:
            return None

    def execute(self, sql: str, changes: Sequence[Change]) -> None:
        for change in changes:
            table = change.schema.name if isinstance(change, CreateTable) else change.table
            if table in self._bulk:
                self._bulk.discard(table)
                self._store.database.end_bulk(table)
        self._store.commit_blocking(changes)

    def insert(self, table: str, rows: Sequence[ValueRow], trusted: bool) -> None:
        if table not in self._bulk:
            self._bulk.add(table)
            self._store.database.begin_bulk(table)
        self._insert(table, rows, trusted, 0)

    def _insert(self, table: str, rows: Sequence[ValueRow], trusted: bool, offset: int) -> None:
        """Halve a refused batch until the bad row is found, unless the refusal names it: O(log rows) commits."""
        if not rows:
            return
        try:
            self._store.commit_blocking([Upsert(table, cast(Sequence[Row], rows), trusted)])
        except CallerError as error:
            if len(rows) == 1:
                raise RowRefused(offset, error) from None
            middle = int(error.extra.get("row", 0)) - 1
            if middle <= 0:
                middle = len(rows) // 2 if "row" not in error.extra else 1
            self._insert(table, rows[:middle], trusted, offset)
            self._insert(table, rows[middle:], trusted, offset + middle)

    def rows(self, schema: TableSchema) -> Iterator[bytes]:
        return self._store.database.rows(schema.name)

    def close(self) -> None:
        self._store.close()


class ServerTarget:
    """A running server. May be used by two threads: requests take turns."""

    works_elsewhere = True

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = server.connect(_TIMEOUT_S)
        self._schemas: dict[str, TableSchema] | None = None
        self._turn = Lock()

    def schemas(self) -> list[TableSchema]:
        return list(self._known().values())

    def schema(self, table: str) -> TableSchema | None:
        return self._known().get(table)

    def _known(self) -> dict[str, TableSchema]:
        if self._schemas is None:
            status = self._request("GET", "/status")
            self._schemas = {}
            for table in status["tables"]:
                [change] = changes_of(table["create_table"], lambda name: None)
                assert isinstance(change, CreateTable)  # the server prints nothing else there
                self._schemas[change.schema.name] = change.schema
        return self._schemas

    def execute(self, sql: str, changes: Sequence[Change]) -> None:
        self._post("command=sql", json.dumps({"sql": sql}).encode(), "application/json")
        self._schemas = None

    def insert(self, table: str, rows: Sequence[ValueRow], trusted: bool) -> None:
        schema = self.schema(table)
        lines = [_line(row, schema if trusted else None) for row in rows]
        start = 0
        while start < len(lines):
            end = next((n for n in range(start, len(lines)) if len(lines[n]) > _LINE_BYTES), len(lines))
            self._bulk(_query(table, trusted), lines[start:end], start)
            if end < len(lines):
                self._single(_query(table, trusted), lines[end], end)
            start = end + 1

    def _bulk(self, query: str, lines: list[bytes], offset: int) -> None:
        if not lines:
            return
        try:
            self._post(query, b"\n".join(lines) + b"\n", "application/x-ndjson")
        except Refused as error:
            number = error.extra.get("line")
            if number is None or error.is_of_sender:
                raise
            error.message = error.message.removeprefix(f"line {number}: ")
            raise RowRefused(offset + int(number) - 1, error) from None

    def _single(self, query: str, line: bytes, offset: int) -> None:
        try:
            self._post(query, line, "application/json")
        except Refused as error:
            if error.is_of_sender:
                raise
            raise RowRefused(offset, error) from None

    def _post(self, query: str, body: bytes, content_type: str) -> None:
        self._request("POST", f"/?{query}", body, {"Content-Type": content_type})

    def _request(self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] = _NONE) -> Any:
        """The reply to one request as JSON; raises Refused for the server's refusals, SetupError for the rest."""
        for _ in range(_MOST_WAITS):
            try:
                with self._turn:
                    self._connection.request(method, target, body, {**headers, **self._server.headers()})
                    answer = self._connection.getresponse()
                    text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._server.away(error) from None
            if answer.status != http.client.TOO_MANY_REQUESTS:
                break
            time.sleep(_wait_s(answer.headers.get("Retry-After", "")))
        if answer.status == http.client.OK:
            return orjson.loads(text)
        refused = self._server.refusal(answer.status, error_of(text))
        if answer.status >= http.client.INTERNAL_SERVER_ERROR:
            raise SetupError(refused.message, refused.hint, **refused.extra)
        raise refused

    def rows(self, schema: TableSchema) -> Iterator[bytes]:
        """Page by page: each page is one state of the table, all of them together only if nobody writes."""
        after = ""
        page_rows = _PAGE_ROWS
        while True:
            query = f"command=select&table={schema.name}&limit_max={page_rows}{after}"
            try:
                page = self._request("GET", f"/?{query}")
            except Refused:
                if page_rows == 1 or after:
                    raise
                page_rows //= 10  # the server's max_rows is lower
                continue
            for row in page["rows"]:
                yield orjson.dumps(row)
            if page["next"] is None:
                return
            after = f"&after={quote(page['next'], safe='')}"

    def close(self) -> None:
        self._connection.close()


def _wait_s(retry_after: str) -> float:
    """What a server asks to wait for, within reason."""
    return min(float(retry_after), _LONGEST_WAIT_S) if retry_after.isascii() and retry_after.isdigit() else 1.0


def _query(table: str, trusted: bool) -> str:
    return f"command=insert&table={quote(table)}" + ("&trusted=1" if trusted else "")


def _line(row: ValueRow, trusted_schema: TableSchema | None) -> bytes:
    """A row as one line of JSON; MySQL's own values take their stored form first."""
    plain: Mapping[str, object] = row
    if trusted_schema is not None:
        types = {name: column.type for name, column in trusted_schema.by_name.items()}
        plain = {name: types[name].from_mysql(cast(Any, value)) for name, value in row.items()}
    try:
        return orjson.dumps(plain, default=_plain)
    except TypeError:  # an integer beyond 64 bits: the server's refusal says more than ours could
        return json.dumps(plain, default=str, separators=(",", ":")).encode()


def _plain(value: object) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)
