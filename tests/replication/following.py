"""A TCSQL that follows a database, by the public way only: ``tcsql.toml``, ``tcsql mysql setup --apply``, ``tcsql
serve``, HTTP. For tests that kill either side.

    with following(server, "shop", directory, tables=["posts"]) as node:
        node.settle()             # everything committed until now is visible
        node.assert_equal()       # every table equals its source, row for row
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from tcsql.cli import main
from tests.http.serving import Running, serving, without_settings
from tests.mariadb import MariaDB
from tests.replication.comparing import differences, held_rows, key_columns, reading, source_rows
from tests.replication.mysql9 import MySQL9, needs_mysql9
from tests.replication.workload_tables import SLOTS, TOTAL

#: A followed table that tests write to, to know that all that was committed before is here.
MARKER: Final = "CREATE TABLE marker (id INT PRIMARY KEY, n BIGINT NOT NULL) ENGINE=InnoDB"
#: The account that is followed with; setup grants what it needs.
USER: Final = "tcsql"
PASSWORD: Final = "right-words-7"
_NEXT: Final = count(1)


def torture() -> bool:
    """Whether the long tests were asked for: ``make torture``."""
    return os.environ.get("TCSQL_TEST_PROFILE") == "torture"


#: What has not come by then never comes; the long tests copy and drain much under load, on any machine.
_SETTLE_S: Final = 600.0 if torture() else 60.0


def _ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line's own entry, in this process: half a second less than a process of its own, many times a run."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), without_settings():
        code = main(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


class Node:
    """A TCSQL with its data directory; may be killed and started again."""

    def __init__(self, server: MariaDB, database: str, directory: Path, tables: Sequence[str], **options: Any) -> None:
        self.server = server
        self.database = database
        self.directory = directory
        self.tables = list(tables)
        self.options: dict[str, Any] = {"check_s": 1, **options}
        #: By table: a condition and the columns to keep, () all of them.
        self.kept: dict[str, tuple[str, tuple[str, ...]]] = {}
        #: Other sections of the configuration.
        self.more = ""
        self.running: Running | None = None
        self._stack = ExitStack()

    @property
    def config(self) -> Path:
        return self.directory / "tcsql.toml"

    def write_config(self) -> None:
        """``[source.shop]``, with the options as they are now."""
        url = f"mysql://{USER}:{PASSWORD}@localhost/{self.database}?unix_socket={self.server.socket}"
        options = {"url": url, "tables": self.tables, **self.options}
        lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]  # TOML writes these as JSON does
        for table, (where, columns) in self.kept.items():
            lines.append(f"[source.shop.table.{table}]")
            lines += [f"where = {json.dumps(where)}"] if where else []
            lines += [f"columns = {json.dumps(columns)}"] if columns else []
        self.config.write_text("\n".join(["[source.shop]", *lines, self.more]) + "\n")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``tcsql mysql …`` with this configuration."""
        return _ran("mysql", *arguments, "--config", str(self.config))

    def setup(self) -> subprocess.CompletedProcess[str]:
        """What an administrator does once; the account followed with gets what it needs and no more."""
        done = self.try_setup()
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def try_setup(self) -> subprocess.CompletedProcess[str]:
        with self.server.connect() as connection:
            connection.cursor().execute(f"CREATE USER IF NOT EXISTS {USER}@localhost IDENTIFIED BY '{PASSWORD}'")
        return self.command("setup", "--apply", "--grant-process", *self.as_admin())

    def check(self) -> subprocess.CompletedProcess[str]:
        return self.command("check", *self.as_admin())

    def ask(self, action: str, *arguments: str) -> str:
        """``tcsql mysql verify|recopy|accept`` of the running server; must succeed."""
        done = _ran("mysql", action, "shop", *arguments, "--url", self.live.url)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def as_admin(self) -> tuple[str, str]:
        return ("--admin-url", f"mysql://root@localhost/?unix_socket={self.server.socket}")

    def start(self) -> Running:
        assert self.running is None
        flags = ("--config", str(self.config))
        self.running = self._stack.enter_context(serving(self.directory / "data", *flags))
        return self.running

    @property
    def live(self) -> Running:
        assert self.running is not None
        return self.running

    def kill(self) -> None:
        """kill -9 of the server process; its worker has to notice by itself."""
        worker = self.worker()
        self.live.process.kill()
        self.live.process.wait()
        self._end()
        until = time.monotonic() + 10
        while worker is not None and worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, "the worker has outlived its server"
            time.sleep(0.01)

    def stop(self) -> str:
        """End in order; what was logged."""
        code, log = self.live.stop(), self.live.stderr()
        self._end()
        assert code == 0, log
        return log

    def forget(self) -> None:
        """As if it had never been started."""
        shutil.rmtree(self.directory / "data")

    def log(self) -> str:
        return self.live.stderr()

    def _end(self) -> None:
        self.running = None
        self._stack.close()

    def worker(self) -> psutil.Process | None:
        """The process that speaks with the source."""
        children = psutil.Process(self.live.process.pid).children()
        return children[0] if children else None

    # --- what is known of it ----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The source in ``/status``."""
        [source] = self.live.client.get(self.live.url + "/status").json()["sources"]
        return dict(source)

    def table_status(self, name: str) -> dict[str, Any]:
        return next(each for each in self.status()["tables"] if each["table"] == name)

    def wait_for(self, what: Callable[[], object], timeout_s: float = _SETTLE_S) -> None:
        """Look until it holds."""
        until = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < until, f"it never happened; {self.status()}\n{self.log()}"
            time.sleep(0.005)

    def wait_until_following(self, timeout_s: float = _SETTLE_S) -> None:
        """Connected, every table copied, no backlog."""

        def follows() -> bool:
            status = self.status()
            return status["state"] == "following" and all(each["state"] == "following" for each in status["tables"])

        self.wait_for(follows, timeout_s)

    def settle(self, timeout_s: float = _SETTLE_S) -> None:
        """Wait until all that was committed until now is visible here: a later commit is."""
        number = next(_NEXT)
        with self.server.connect(self.database) as connection:
            connection.cursor().execute(
                "INSERT INTO marker VALUES (1,%s) ON DUPLICATE KEY UPDATE n = VALUES(n)", (number,)
            )
        self.wait_for(lambda: self.live.rows(f"table=marker&where=n:NUMEQ:{number}"), timeout_s)

    def differences(self, tables: Sequence[str] = ()) -> dict[str, list[str]]:
        """By table; {} when all are equal now."""
        found = {}
        with reading(self.server.connect, self.database) as cursor:
            for name in tables or self.tables:
                theirs = source_rows(cursor, name, *self.kept.get(name, ()))
                ours = held_rows(self.live.client, self.live.url, name, key_columns(cursor, name))
                if told := differences(ours, theirs):
                    found[name] = told
        return found

    def assert_equal(self, tables: Sequence[str] = ()) -> None:
        """All that is committed is here, now and without another look; the source must be quiet."""
        self.settle()
        assert self.differences(tables) == {}, self.status()

    def wait_until_equal(self, tables: Sequence[str] = (), timeout_s: float = _SETTLE_S) -> None:
        """Where a copy may be under way: in the end all is equal."""
        until = time.monotonic() + timeout_s
        while found := self.differences(tables):
            assert time.monotonic() < until, f"{found}; {self.status()}\n{self.log()}"
            time.sleep(0.05)

    def close(self) -> None:
        if self.running is not None:
            self._end()


@contextmanager
def following(
    server: MariaDB,
    database: str,
    directory: Path,
    tables: Sequence[str],
    *,
    start: bool = True,
    more: str = "",
    kept: Mapping[str, tuple[str, tuple[str, ...]]] | None = None,
    **options: Any,
) -> Iterator[Node]:
    """A node on a database with these tables: set up, started and following.

    ``kept``: by table a condition and columns, () all of them; ``options``: of the source; ``more``: other sections.
    """
    directory.mkdir(exist_ok=True)
    with server.connect(database) as connection:
        connection.cursor().execute(MARKER)
    node = Node(server, database, directory, [*tables, "marker"], **options)
    node.kept.update(kept or {})
    node.more = more
    try:
        node.write_config()
        node.setup()
        if start:
            node.start()
            node.wait_until_following()
        yield node
    finally:
        node.close()


class Watcher:
    """Asks for the invariants of the workload over HTTP, again and again, while a block runs.

    ``violations``: what was seen that no committed state is, in replies that did not say they were stale, while the
    source was said to be followed.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.polls = 0
        self.violations: list[str] = []
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            assert self.failure is None, repr(self.failure)
            assert self.violations == [], f"{len(self.violations)} of {self.polls} polls: {self.violations[:5]}"

    def _run(self) -> None:
        with httpx.Client(timeout=20) as client:
            while not self._stop.is_set():
                running = self._node.running
                try:
                    if running is not None:
                        self._poll(client, running.url)
                except httpx.TransportError:
                    time.sleep(0.01)  # killed meanwhile
                except BaseException as error:  # noqa: BLE001  # told by the block's end
                    self.failure = error
                    return

    def _poll(self, client: httpx.Client, url: str) -> None:
        before = self._state(client, url)
        sums = client.get(f"{url}/?command=select&table=accounts&type=sum(balance),count")
        slots = client.get(f"{url}/?command=select&table=slots&limit_max=1000")
        if sums.status_code == 503 or slots.status_code == 503:
            return  # recovering
        assert sums.status_code == slots.status_code == 200, sums.text + slots.text
        [totals] = sums.json()["rows"]
        holders = sorted(row["holder"] for row in slots.json()["rows"])
        self.polls += 1
        if int(totals["sum(balance)"]) == TOTAL and holders == list(range(SLOTS)):
            return
        states = {before, self._state(client, url)}
        is_marked = "tcsql-stale" in sums.headers and "tcsql-stale" in slots.headers
        if not is_marked and not states & {"catching up", "copying"}:
            self.violations.append(f"{states}: balances {totals}, holders {holders}")

    def _state(self, client: httpx.Client, url: str) -> str:
        status = client.get(url + "/status").json()
        return str(status["sources"][0]["state"]) if "sources" in status else "recovering"


#: What a test runs on that is about the source: MariaDB, and MySQL 9 where it is there.
SERVERS: Final = (MariaDB, pytest.param(MySQL9, marks=needs_mysql9))
#: The same for tests that would take too long for every day on both.
SERVERS_IN_TURN: Final = SERVERS if torture() else (MariaDB,)
