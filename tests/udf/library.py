"""The library in a private MariaDB: built once, loaded anew under another file name for each configuration.

A server reads the library's configuration once per loaded file, and never lets go of a file. So each ``load`` copies
the library to a name of its own, which is what an administrator does to bring in a new version.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from tests.mariadb import MariaDB

Cursor = Any

SOURCE: Final = Path(__file__).parents[2] / "mysql_udf_sync"
_VERSION = re.search(r"^VERSION := (\S+)$", (SOURCE / "Makefile").read_text(), re.MULTILINE)
assert _VERSION is not None
LIBRARY: Final = f"tcsql_udf_{_VERSION[1]}.so"
#: The functions and what they return.
FUNCTIONS: Final = {
    "tcsql_push": "INTEGER",
    "tcsql_doorbell": "INTEGER",
    "http_post": "INTEGER",
    "urlencode": "STRING",
    "tcsql_json_object": "STRING",
    "tcsql_udf_info": "STRING",
}


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make on the library's Makefile."""
    command = ["make", "--no-print-directory", "-C", str(SOURCE), *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


class Loader:
    """A server with the library. ``conf``: the file it reads."""

    def __init__(self, directory: Path, kind: type[MariaDB] = MariaDB) -> None:
        """Build in ``directory``, unless that has been done there for another server."""
        self.conf = directory / "push.conf"
        self.build = directory / "build"
        self._plugins = directory / kind.__name__
        self._plugins.mkdir()
        done = make(f"BUILD={self.build}", f"CONF={self.conf}")
        assert done.returncode == 0, done.stderr
        # without a cache of threads a connection's thread ends with it, and with the thread its connection to us
        self.server = kind(
            f"--plugin-dir={self._plugins}", "--thread-cache-size=0", "--log-bin-trust-function-creators=1"
        )
        self._count = 0

    def load(self, *lines: str, mode: int = 0o600) -> str:
        """Register the functions from a file of its own, with this configuration. The file's name."""
        self.conf.write_text("\n".join(lines))
        self.conf.chmod(mode)
        self._count += 1
        name = LIBRARY.replace(".so", f".{self._count}.so")
        shutil.copy(self.build / LIBRARY, self._plugins / name)
        with self.server.connect() as connection:
            cursor = connection.cursor()
            register(cursor, name)
            cursor.execute("SELECT tcsql_udf_info()")  # the configuration is read at the first call
        return name

    @property
    def handles(self) -> int:
        """Open files and sockets of the server."""
        assert self.server.process is not None
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))

    @property
    def alive(self) -> bool:
        return self.server.process is not None and self.server.process.poll() is None


def register(cursor: Cursor, name: str) -> None:
    for function, result in FUNCTIONS.items():
        cursor.execute(f"DROP FUNCTION IF EXISTS {function}")
        cursor.execute(f"CREATE FUNCTION {function} RETURNS {result} SONAME '{name}'")


def value(cursor: Cursor, expression: str, *parameters: object) -> Any:
    """What one expression gives."""
    cursor.execute(f"SELECT {expression}", parameters or None)
    [(found,)] = cursor.fetchall()
    return found


def info(cursor: Cursor, receiver: int = 0) -> dict[str, Any]:
    """The counters of one receiver."""
    found: dict[str, Any] = orjson.loads(value(cursor, "tcsql_udf_info()"))["receivers"][receiver]
    return found


@contextmanager
def takes(least_s: float, most_s: float) -> Iterator[None]:
    """The block takes so long. ``most_s`` is generous where a busy machine is to be no failure."""
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert least_s <= took <= most_s, f"{took:.3f} s"
