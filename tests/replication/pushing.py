"""A private MariaDB that can call us: the library of ``mysql_udf_sync`` built, installed and registered there.

    with PushServer(port) as server:                      # TCSQL is to listen on 127.0.0.1:port
        with server.database("shop") as connection: ...

Where the library may send is read from a file once per server process, so one server has one port and one token.
"""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.mariadb import MariaDB

_SOURCE: Final = Path(__file__).parents[2] / "mysql_udf_sync"
TOKEN: Final = "a-token.of_tests~0123456789+/="
#: The functions and what they return.
FUNCTIONS: Final = {
    **dict.fromkeys(("tcsql_push", "tcsql_doorbell", "http_post"), "INTEGER"),
    **dict.fromkeys(("urlencode", "tcsql_udf_info"), "STRING"),
}


def free_port() -> int:
    """A port below the ephemeral ones, so that no outgoing connection takes it while a test restarts a server."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class PushServer(MariaDB):
    """A MariaDB with our functions. ``options``: lines of push.conf, beside target, source, token and allow."""

    def __init__(self, port: int, *options: str, timeout_ms: int = 5_000) -> None:
        self.port = port
        self._home = Path(tempfile.mkdtemp(prefix="udf"))
        self._plugins = self._home / "plugins"
        conf = self._home / "push.conf"
        lines = [f"target = 127.0.0.1:{port}", "source = shop", f"token = {TOKEN}", f"allow = 127.0.0.1:{port}"]
        lines += [f"timeout_ms = {timeout_ms}", f"connect_timeout_ms = {timeout_ms}", *options]
        conf.write_text("\n".join([*lines, ""]))
        conf.chmod(0o600)
        self.library = self._build(conf)
        super().__init__(f"--plugin-dir={self._plugins}")

    def _build(self, conf: Path) -> str:
        command = ["make", "--directory", str(_SOURCE), f"BUILD={self._home / 'build'}", f"CONF={conf}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        [library] = (self._home / "build").glob("*.so")
        self._plugins.mkdir()
        shutil.copy(library, self._plugins)
        return library.name

    def __enter__(self) -> Self:
        try:
            super().__enter__()
        except BaseException:
            shutil.rmtree(self._home)
            raise
        with self.connect() as connection:
            for name, kind in FUNCTIONS.items():
                connection.cursor().execute(f"CREATE OR REPLACE FUNCTION {name} RETURNS {kind} SONAME '{self.library}'")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            shutil.rmtree(self._home)
