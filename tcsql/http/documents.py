"""The documents: what a server says of itself, and its store as one file. Not a row is read through them.

Who may have which is judged before anybody comes here. A caller who may read but not everything is told of its own
tables alone; ``/ready``, which is open, tells whoever may not read nothing but that.

    DOCUMENTS[path]                            the operation that a path is, and what answers it
    Documents(...).reply(path, caller)         the reply; raises NotReady and Stopping
    await Documents(...).backup(directory)     a consistent copy of the running store

Every document is cheap enough to be made at once, in either lane. One more is a line in ``DOCUMENTS``, an operation in
``tcsql.access.scopes``, and a description in ``tcsql.http.openapi``.
"""

from __future__ import annotations

import os
import tempfile
import time
from asyncio import to_thread
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from tcsql import __version__
from tcsql.access.callers import Caller
from tcsql.access.scopes import Scope
from tcsql.audit import Audit
from tcsql.errors import NoSpace
from tcsql.http import render
from tcsql.http.exposition import encoded
from tcsql.http.figures import Parts, taken
from tcsql.http.known import KnownQueries
from tcsql.http.messages import JSON_HEADERS, Header, Reply
from tcsql.http.openapi import openapi
from tcsql.http.opened import Opened, Serving
from tcsql.http.published import Publications
from tcsql.http.slow import SlowLog
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tcsql.sql import create_table_sql
from tcsql.stalls import StallMeter
from tcsql.storage.lock import NO_SPACE
from tcsql.storage.store import Store

#: What a backup is sent as: a SQLite file is no page and no script.
BACKUP_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"application/vnd.sqlite3"),
    (b"content-disposition", b'attachment; filename="tcsql-backup.sqlite"'),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
BACKUP_PREFIX: Final = "backup-in-progress-"
_RETRY: Final = (*JSON_HEADERS, (b"retry-after", b"1"))


class Documents:
    """The documents of one server. ``progress``: what recovery says of itself while there is no store yet."""

    def __init__(
        self,
        serving: Serving,
        settings: Settings,
        *,
        metrics: Metrics,
        slow: SlowLog,
        audit: Audit,
        known: KnownQueries,
        published: Publications,
        progress: Callable[[], Mapping[str, object]],
        stalls: StallMeter | None,
    ) -> None:
        self._serving = serving
        self._settings = settings
        self._metrics = metrics
        self._slow = slow
        self._audit = audit
        self._known = known
        self._published = published
        self._progress = progress
        self._stalls = stalls
        self._started_s = time.monotonic()

    def reply(self, path: str, caller: Caller) -> Reply:
        """The document at a path of ``DOCUMENTS``."""
        return DOCUMENTS[path].make(self, caller)

    def health(self, caller: Caller) -> Reply:
        """``/health``: the process answers."""
        return Reply(200, b'{"status":"ok"}')

    def ready(self, caller: Caller) -> Reply:
        """``/ready``: 200 when requests are served; before that 503 with the progress of recovery.

        How many tables there are, and which sources, is for those who may read all of them.
        """
        if self._serving.is_stopping:
            return Reply(503, render.document({"ready": False, "stopping": True}), _RETRY)
        opened = self._serving.opened
        if opened is None:
            return Reply(503, render.document({"ready": False, "recovery": self._progress()}), _RETRY)
        if caller.refused is not None or caller.rights.is_partial or not caller.has(Scope.READ):
            return Reply(200, b'{"ready":true}')
        tables = opened.store.database.schemas()
        following = {"sources": {str(source["name"]): source["state"] for source in opened.followers.status()}}
        return Reply(200, render.document({"ready": True, "tables": len(tables), **following}))

    def sources(self, caller: Caller) -> Reply:
        """``/sources``: what is followed, and how far."""
        return Reply(200, render.document(self._serving.state().followers.status()))

    def status(self, caller: Caller) -> Reply:
        """``/status``: what an operator wants to see at a glance."""
        state = self._serving.state()
        if caller.rights.is_partial:
            return Reply(200, render.document(self._status_of_part(state, caller)))
        store = state.store
        body = {
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            **store.status(),
            "tables": [
                {**table, "create_table": create_table_sql(schema)}
                for table, schema in zip(store.database.status(), store.database.schemas(), strict=True)
            ],
            "sources": state.followers.status(),
            "published": self._published.status(store.database),
            "metrics": self._counted().plain(),
            **({"stalls": self._stalls.status()} if self._stalls is not None else {}),
            "refused_overloaded": state.admission.refused,
            "gathered_bytes": state.gathering.bytes,
        }
        return Reply(200, render.document(body))

    def _status_of_part(self, state: Opened, caller: Caller) -> dict[str, object]:
        """Sizes would tell of rows that are not the caller's, so it gets none."""
        store = state.store
        return {
            "version": __version__,
            "id": store.id,
            "lsn": store.lsn,
            "durable_lsn": store.durable_lsn,
            "read_only": store.read_only is not None,
            "tables": [
                {"name": schema.name, "columns": len(schema.columns), "create_table": create_table_sql(schema)}
                for schema in state.view(caller.rights).schemas()
            ],
        }

    def slow(self, caller: Caller) -> Reply:
        """``/slow``: the last reads above ``slow_ms``."""
        return Reply(200, render.document(self._slow.plain()))

    async def metrics(self, accept: str) -> Reply:
        """``/metrics``: what is counted, for Prometheus; written on a thread, as large servers have much to tell."""
        self._counted()
        parts = Parts(self._serving, self._metrics, self._slow, self._stalls, self._audit)
        media_type, body = await to_thread(encoded, await taken(parts), accept)
        headers = ((b"content-type", media_type.encode()), *JSON_HEADERS[1:])
        return Reply(200, body, headers)

    def openapi(self, caller: Caller) -> Reply:
        """``/openapi.json``: the description of this API, made from the tables the code runs on."""
        return Reply(200, render.document(openapi(self._settings, self._published.described())))

    async def backup(self, directory: str) -> Reply:
        """``/backup``: a consistent copy of the running store as one SQLite file; made in ``directory``."""
        file = await to_thread(_copy, self._serving.state().store, directory)
        return Reply(200, headers=BACKUP_HEADERS, file=file, size=os.fstat(file.fileno()).st_size)

    def _counted(self) -> Metrics:
        answered, rows = self._known.harvest()
        hits, rows_published = self._published.harvest()
        if hits:
            answered["published"] += hits
        self._metrics.harvested(answered)
        self._metrics.rows_sent += rows + rows_published
        return self._metrics


def _copy(store: Store, directory: str) -> BinaryIO:
    """The copy, open for reading; its name is gone already, so a crash leaves nothing behind once it is sent."""
    try:
        private = tempfile.TemporaryDirectory(prefix=BACKUP_PREFIX, dir=directory)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise NoSpace("no space left for a backup", "make room for one more copy of the store") from error
        raise
    with private:
        path = Path(private.name) / "store"
        store.backup(path)
        return open(path, "rb")  # the lane closes it


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its operation, and what makes it for a caller who may have it."""

    operation: str
    make: Callable[[Documents, Caller], Reply]


DOCUMENTS: Final[Mapping[str, Document]] = {
    "/health": Document("health", Documents.health),
    "/ready": Document("ready", Documents.ready),
    "/status": Document("status", Documents.status),
    "/sources": Document("sources", Documents.sources),
    "/slow": Document("slow", Documents.slow),
    "/openapi.json": Document("openapi", Documents.openapi),
}
