"""The composition root: open the listener, recover the store, serve, and stop in reverse.

    listen        before anything else, so that /health and the progress at /ready answer during recovery
    recover       on a thread of its own; everything but those two is 503 with Retry-After
    ready         schema.sql applied or compared, garbage collector frozen, one line on standard output
    follow        the sources; one that is away or not copied yet keeps nobody from reading what is here
    SIGTERM       no new requests; running ones finish (``drain_s``), the followers stop, the last commit, exit 0;
                  a second signal hurries

What is in the way outside (port, directory, lock) is a SetupError, what is wrong inside the store a StoreDamaged,
StoreNewer or SchemaMismatch: both end the program with one line and the exit code of the class.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvicorn
import uvloop

from tcsql import __version__, ending
from tcsql.access.keyfile import KeyFile
from tcsql.audit import SERVER, Audit, did
from tcsql.configuration import memory_bytes
from tcsql.engine.database import Database
from tcsql.errors import SetupError
from tcsql.http.access import Access
from tcsql.http.app import create_app
from tcsql.http.certificate import Certificate
from tcsql.http.documents import BACKUP_PREFIX
from tcsql.http.endpoints import Api
from tcsql.http.fastlane import protocol
from tcsql.http.guard import ANY_HOST, Guard
from tcsql.http.lanes import Lanes
from tcsql.http.listening import Listening, listen
from tcsql.http.published import Publications
from tcsql.http.sampling import Sampler
from tcsql.logs import configure_logging, not_default
from tcsql.metrics import Metrics
from tcsql.process import fill_standard_streams, most_connections
from tcsql.reloading import Configured, Reloading, Running
from tcsql.replication.followers import Followers, forget_others
from tcsql.replication.workerclient import SourceProcess
from tcsql.schemafile import adopt_schema
from tcsql.settings import Settings
from tcsql.stalls import StallMeter
from tcsql.storage import memory
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
#: A follower that waits for a source that does not answer is not waited for longer.
_FOLLOWERS_STOP_S: Final = 5.0
_NO_ROOM: Final = (
    "memory_limit (%d bytes) is used up from the start, the process has %d: writes that grow are refused; raise it"
)
logger = logging.getLogger("tcsql.server")


def say(line: str) -> None:
    """One line for people on standard output. Whoever read it may have gone: that must not end the server."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # what is still buffered would be written, and fail, once more when the interpreter ends
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def run(
    configured: Configured,
    base: Path = Path(),
    announce: Callable[[str], None] = say,
    *,
    again: Callable[[], Configured] | None = None,
) -> None:
    """Serve, and follow the sources, until a signal says stop; raises what kept it from serving.

    ``base``: the directory that paths of sources are relative to; ``announce`` gets the lines for people; ``again``
    reads the configuration once more.
    """
    fill_standard_streams()
    configure_logging(configured.settings.log_level)
    memory.tune_process()
    settings = _fitting(configured.settings)
    keys = KeyFile(Path(settings.data))
    access = Access(keys.read())
    publications = Publications(configured.published, settings)
    certificate = Certificate.of(settings)
    audit = Audit(settings.audit_log, settings.audit_writes)
    with (
        contextlib.closing(audit),
        contextlib.closing(listen(settings, has_keys=access.has_keys)) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        server = Server(
            settings,
            configured,
            base,
            listener,
            announce,
            access=access,
            audit=audit,
            keys=keys,
            certificate=certificate,
            published=publications,
            again=again,
        )
        runner.run(server.serve())


def _fitting(settings: Settings) -> Settings:
    """The settings, with as many connections as this process may have descriptors for."""
    most = most_connections(settings.max_connections)
    if most < settings.max_connections:
        told = (most, settings.max_connections)
        logger.warning("max_connections is %d instead of %d: the limit of open files (ulimit -n) is too low", *told)
    return replace(settings, max_connections=most)


class _Interrupted(Exception):
    """A signal came while the store was being read."""


class Server:
    """One serving process, from its bound socket to the closed store."""

    def __init__(
        self,
        settings: Settings,
        configured: Configured,
        base: Path,
        listener: socket.socket,
        announce: Callable[[str], None],
        *,
        access: Access,
        audit: Audit,
        keys: KeyFile,
        certificate: Certificate | None = None,
        published: Publications,
        again: Callable[[], Configured] | None,
    ) -> None:
        self._settings = settings
        self._configured = configured
        self._again = again or (lambda: configured)
        self._reloading: Reloading | None = None
        self._access = access
        self._audit = audit
        self._certificate = certificate
        self._keys = keys
        self._base = base
        self._followers: Followers | None = None
        self._listener = listener
        self._announce = announce
        self._stopping = False
        self._hurried = asyncio.Event()
        self._recovered = (0, 0)
        self._recovery_s = 0.0
        self._maintenance: asyncio.Task[None] | None = None
        self._hung_up: asyncio.Task[None] | None = None
        metrics = Metrics()
        self._metrics = metrics
        self._stalls = StallMeter(
            lambda: sum(metrics.requests.values()) + self.api.known.hits + self.api.published.hits
        )
        guard = Guard(settings, str(listener.getsockname()[0]))
        self.api = Api(
            settings,
            metrics,
            self._progress,
            self._stalls,
            guard,
            access=access,
            audit=audit,
            published=published,
        )
        self._lanes = Lanes(self.api, settings, None if certificate is not None else listener)
        self._stalls.on_tick = Sampler(lambda: self._lanes.connections, metrics.known_sample).tick
        config = uvicorn.Config(
            create_app(self.api),
            http=protocol(self._lanes),  # type: ignore[arg-type]  # uvicorn calls it, and never asks whether it is a class
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a header that anybody can send must not change who they seem to be
            server_header=False,
            headers=[("server", "tcsql")],
            backlog=settings.backlog,
            timeout_keep_alive=settings.keepalive_s,
            timeout_graceful_shutdown=settings.drain_s,
        )
        tls = None if certificate is None else certificate.context
        self._uvicorn = Listening(config, self._lanes, tls, settings.header_s)

    async def serve(self) -> None:
        """Everything, in order; returns when the store is closed."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        # a terminal that is closed is no reason to end; nor is a log that was moved
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        self._access.on_key(lambda what, key: self._audit.note("key", SERVER, key=key.id, key_name=key.name, what=what))
        serving = asyncio.create_task(self._uvicorn.serve(sockets=[self._listener]))
        sweeping = asyncio.create_task(self._lanes.sweep())
        watching = [asyncio.create_task(self._access.watch(self._keys))]
        if self._certificate is not None:
            watching.append(asyncio.create_task(self._certificate.watch()))
        for task in watching:
            task.add_done_callback(_report_failure)
        self._stalls.start()
        store = None
        try:
            self._warn()
            logger.info("listening", extra={"url": self.url, "settings": not_default(self._settings)})
            self._announce(f"tcsql listening on {self.url}")
            store = await asyncio.to_thread(self._recover)
            adopted = await adopt_schema(store, self._settings.schema)
            if adopted:
                self._audit.note("schema", SERVER, did=list(did(adopted)), lsn=store.lsn)
            sources = self._configured.sources
            await forget_others(store, {source.name for source in sources})
            self.api.published.check(store.database, {table.name for source in sources for table in source.tables})
            self._open(store)
            await serving
        except _Interrupted:
            logger.info("stopped while the store was being read")
        finally:
            self._stop()
            await serving
            self._stalls.stop()
            sweeping.cancel()
            for task in watching:
                task.cancel()
            if store is not None:
                try:
                    await self._stop_following()
                finally:
                    await ending.close(store, self._hurried)
                    self._audit.note("stop", SERVER, lsn=store.lsn)

    @property
    def url(self) -> str:
        """Where the server listens."""
        host, port = self._listener.getsockname()[:2]
        scheme = "https" if self._certificate is not None else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def _warn(self) -> None:
        if self._settings.plain_public and self._certificate is None:
            logger.warning("plain_public is on: whoever sees the network of %s can read keys and rows", self.url)
        if ANY_HOST in self._settings.hosts:
            logger.warning("hosts allows any Host: a hostile page in a browser that reaches %s may read it", self.url)

    def _recover(self) -> Store:
        """Read the store; runs in a thread beside the loop that answers /health and /ready."""
        started = time.monotonic()
        directory = Path(self._settings.data)
        database = Database(self._settings.query_budget_rows, self._settings.max_reply_bytes)
        store = Store.open(directory, store_options(self._settings), self._on_progress, database)
        for left in directory.glob(BACKUP_PREFIX + "*"):
            shutil.rmtree(left, ignore_errors=True)  # of a backup that a crash cut short
        gc.freeze()  # rows and indexes stay: walking over millions of them would stall every request
        self._recovery_s = self._metrics.recovery_s = time.monotonic() - started
        return store

    def _on_progress(self, done: int, total: int) -> None:
        self._recovered = (done, total)
        if self._stopping:
            raise _Interrupted

    def _progress(self) -> Mapping[str, object]:
        done, total = self._recovered
        return {"rows": done, "of": total}

    def _open(self, store: Store) -> None:
        followers = self._followers = Followers(self._configured.sources, store, self._base, SourceProcess)
        certify = None if self._certificate is None else self._certificate.read
        running = Running(store.database, self.api.published, followers, certify)
        self._reloading = Reloading(self._configured, self._again, running)
        self._lanes.open(store, followers)
        self.api.open(store, followers, self._reloading.asked)
        self._maintenance = asyncio.create_task(store.maintain())
        self._maintenance.add_done_callback(_report_failure)
        schemas = store.database.schemas()
        rows = store.recovered.rows
        self._audit.note("start", SERVER, version=__version__, url=self.url, lsn=store.lsn)
        for note in store.recovered.notes:
            logger.warning("recovery: %s", note)
        if store.budget.is_full():
            logger.warning(_NO_ROOM, store.budget.limit_bytes, memory.resident_bytes())
        self._announce(
            f"tcsql ready on {self.url} "
            f"({_count(len(schemas), 'table')}, {_count(rows, 'row')}, recovered in {self._recovery_s:.1f} s)"
        )
        followers.start()

    async def _stop_following(self) -> None:
        if self._followers is None or self._reloading is None:
            return
        try:
            async with asyncio.timeout(_FOLLOWERS_STOP_S):
                await self._reloading.end()
                await self._followers.stop()
        except TimeoutError:
            logger.warning("a follower did not stop in time; what it had made durable is kept")

    def _on_hangup(self) -> None:
        logger.info("SIGHUP: the audit log is opened and the configuration read again")
        self._audit.reopen()
        self._hung_up = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        if self._reloading is None:
            logger.warning("the configuration is not read again: the server is not ready yet")
            return
        try:
            told = await self._reloading.reload()
        except SetupError as error:
            logger.warning("nothing of the configuration was changed: %s", error.message, extra={"hint": error.hint})
        else:
            if told.has_changed:  # logs that are moved every night are no news
                self._audit.note("reload", SERVER, **told._asdict())

    def _on_signal(self) -> None:
        if self._stopping:  # the second signal
            self._uvicorn.force_exit = True
            self._hurried.set()
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self.api.stop()
        self._uvicorn.should_exit = True


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("background work has failed", exc_info=task.exception())


def store_options(settings: Settings) -> StoreOptions:
    """The store's part of the settings."""
    return StoreOptions(
        durability=Level(settings.durability),
        interval_ms=settings.interval_ms,
        change_log=settings.change_log_entries,
        change_log_bytes=settings.change_log_bytes,
        change_log_s=settings.change_log_s,
        secure_delete=settings.secure_delete,
        auto_index=settings.auto_index,
        memory_limit=memory_bytes(settings.memory_limit, memory.available_bytes()),
    )
