"""A private MariaDB in a temporary directory: unix socket only, no network, gone when the block ends.

    with MariaDB() as server, server.connect() as connection:
        ...

Works as root and as an ordinary user. A missing server raises, it is never a reason to skip. The first one installs a
data directory (1 to 3 s), the others copy it (0.1 s). Start 0.7 s, stop 1 s.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymysql

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
#: Debian puts servers here, and the PATH of an ordinary user does not.
_SERVER_DIRECTORIES = "/usr/sbin:/usr/local/sbin:/usr/libexec"
#: Data directories that are copied, by the function that makes them.
_MADE: dict[str, Path] = {}


def program(name: str) -> str:
    """The path of a MariaDB program; raises FileNotFoundError naming the packages."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SERVER_DIRECTORIES}")
    if found is None:
        raise FileNotFoundError(f"{name} is missing: install mariadb-server-core and mariadb-client")
    return found


class MariaDB:
    """One server process with its own data directory. ``options`` are added to its command line."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        # a path short enough for a unix socket (107 bytes), whatever TMPDIR says
        parent = tempfile.gettempdir()
        self.base = Path(tempfile.mkdtemp(prefix="mdb", dir=parent if len(parent) < 60 else "/tmp"))
        self.socket = str(self.base / "s")

    def __enter__(self) -> Self:
        try:
            self._install()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._remove()

    def _arguments(self) -> list[str]:
        arguments = ["--no-defaults", f"--datadir={self.base / 'data'}", f"--tmpdir={self.base}"]
        return [*arguments, "--user=root"] if os.geteuid() == 0 else arguments

    def _install(self) -> None:
        """A data directory: made by the first server of its kind in this process, copied by the others."""
        kind = self._initialize.__func__.__qualname__  # type: ignore[attr-defined]  # a bound method has one
        data = self.base / "data"
        if kind in _MADE:
            shutil.copytree(_MADE[kind], data)
            return
        self._initialize()
        kept = Path(tempfile.mkdtemp(prefix="mdbkept"))
        atexit.register(shutil.rmtree, kept, ignore_errors=True)
        shutil.copytree(data, kept / "data")
        _MADE[kind] = kept / "data"

    def _initialize(self) -> None:
        command = [program("mariadb-install-db"), *self._arguments(), "--innodb-log-file-size=8M"]
        command += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db failed: {done.stdout.decode()}{done.stderr.decode()}")

    def _command(self) -> list[str]:
        command = [program("mariadbd"), *self._arguments(), f"--socket={self.socket}", "--skip-networking"]
        command += [f"--pid-file={self.base / 'pid'}", f"--log-error={self.base / 'err.log'}"]
        command += ["--character-set-server=utf8mb4", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M"]
        return [
            *command,
            "--innodb-flush-log-at-trx-commit=0",
            "--sync-binlog=0",
            "--skip-name-resolve",
            *self._options,
        ]

    def start(self) -> None:
        """Start the server on its data directory and wait until it answers."""
        self.process = subprocess.Popen(
            self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = (self.base / "err.log").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"the server does not answer:\n{log}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        """Whether the server greets; by a plain socket, because PyMySQL leaks one for each refused connection."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.socket)
                return bool(probe.recv(1))
            except OSError:
                return False

    def stop(self) -> None:
        """Stop the server and wait for its end."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """kill -9: what a crash looks like."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def _remove(self) -> None:
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.base, ignore_errors=True)

    def connect(self, database: str | None = None, **options: Any) -> pymysql.connections.Connection[Any]:
        """A connection as root."""
        settings: dict[str, Any] = {"charset": "utf8mb4", "autocommit": True, **options}
        return pymysql.connect(unix_socket=self.socket, user="root", database=database, **settings)

    @contextmanager
    def database(self, name: str) -> Iterator[pymysql.connections.Connection[Any]]:
        """A new database for one test, and a connection to it."""
        with self.connect() as connection:
            connection.cursor().execute(f"CREATE DATABASE `{name}`")
            connection.select_db(name)
            try:
                yield connection
            finally:
                connection.cursor().execute(f"DROP DATABASE `{name}`")

    def dump(self, database: str, *arguments: str) -> bytes:
        """What mariadb-dump prints of a database."""
        command = [program("mariadb-dump"), "--no-defaults", f"--socket={self.socket}", "--user=root"]
        return subprocess.run([*command, *arguments, database], check=True, capture_output=True).stdout

    def load(self, database: str, sql: bytes) -> None:
        """Run a script through the mariadb client; raises with what it says."""
        command = [program("mariadb"), "--no-defaults", f"--socket={self.socket}", "--user=root", database]
        done = subprocess.run(command, input=sql, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace"))
