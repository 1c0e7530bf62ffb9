"""A private MariaDB that can call us: the library of ``mysql_udf_sync`` built, installed and registered there.

    with PushServer(port) as server:                      # TCSQL is to listen on 127.0.0.1:port
        with server.database("shop") as connection: ...   # tables, and the marker
            with pushing(server, directory, "posts") as node:
                node.begin()

Where the library may send is read from a file once per server process, so one server has one port and one token.
"""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.http.serving import Running, serving
from tests.mariadb import MariaDB
from tests.replication.following import Node

_SOURCE: Final = Path(__file__).parents[2] / "mysql_udf_sync"
TOKEN: Final = "a-token.of_tests~0123456789+/="
#: Much longer than a hint takes, and much shorter than an audit would.
SOON_S: Final = 30.0
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


#: Of the server that tests share: one for TCSQL, one for a TCSQL that a test stops and starts itself.
PORT, OTHER_PORT = free_port(), free_port()


class PushServer(MariaDB):
    """A MariaDB with our functions. ``lines``: of push.conf, beside target, source, token and allow."""

    def __init__(self, port: int, *lines: str, timeout_ms: int = 5_000, options: Sequence[str] = ()) -> None:
        self.port = port
        self._home = Path(tempfile.mkdtemp(prefix="udf"))
        self._plugins = self._home / "plugins"
        conf = self._home / "push.conf"
        first = [f"target = 127.0.0.1:{port}", "source = shop", f"token = {TOKEN}", f"allow = 127.0.0.1:{port}"]
        first += [f"timeout_ms = {timeout_ms}", f"connect_timeout_ms = {timeout_ms}"]
        conf.write_text("\n".join([*first, *lines, ""]))
        conf.chmod(0o600)
        self.library = self._build(conf)
        super().__init__(f"--plugin-dir={self._plugins}", *options)

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


class PushNode(Node):
    """A node where the function in the database server finds it after each start."""

    server: PushServer

    def start(self) -> Running:
        assert self.running is None
        flags = ("--config", str(self.config), "--port", str(self.server.port))
        self.running = self._stack.enter_context(serving(self.directory / "data", *flags))
        return self.running

    def begin(self) -> None:
        """Start, and wait until all rows have been copied, or compared where they were held already."""
        self.start()
        self.wait_until_following()
        self.wait_for(lambda: self.status().get("verification", {"state": "done"})["state"] == "done")

    @contextmanager
    def by_hints(self) -> Iterator[None]:
        """What happens inside is seen, and seen without a comparison."""
        before = self.status()["counts"]
        yield
        self.wait_until_equal(timeout_s=SOON_S)
        after = self.status()["counts"]
        assert (after["differences"], after["reconnects"]) == (before["differences"], before["reconnects"])

    def hint(self, keys: str, token: str = TOKEN, **headers: str) -> Any:
        """What the function sends."""
        headers = {"authorization": f"Bearer {token}", "content-type": "text/plain", **headers}
        url = f"{self.live.url}/?command=hint&source=shop&table=posts&op=U"
        return self.live.client.post(url, content=keys.encode(), headers=headers)


@contextmanager
def pushing(server: PushServer, directory: Path, *tables: str, **options: Any) -> Iterator[PushNode]:
    """A node that is set up and not started; ``MARKER`` is one of its tables. No audit is due, unless asked for."""
    directory.mkdir(exist_ok=True)
    node = PushNode(
        server,
        "shop",
        directory,
        [*tables, "marker"],
        mode="push",
        **{"push_token": TOKEN, "audit_s": 0, **options},
    )
    try:
        node.write_config()
        node.setup()
        yield node
    finally:
        node.close()
