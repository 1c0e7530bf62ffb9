"""A bad disk under a real server: calls on the store's files fail or take long, by a library that is preloaded.

The product knows nothing of it. The library is ``baddisk.c``, compiled once a run with the compiler that the tests
need anyway.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

_ORDERS: Final = struct.Struct("5i")
_SOURCE: Final = Path(__file__).with_suffix(".c")


@cache
def _library() -> Path:
    built = Path(mkdtemp(prefix="tcsql-baddisk")) / "baddisk.so"
    command = ["gcc", "-O1", "-Wall", "-shared", "-fPIC", "-o", str(built), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return built


@dataclass
class BadDisk:
    """Orders to the disk under one server, obeyed from its next call on. ``*_error``: an errno, 0 for none."""

    variables: dict[str, str]
    _orders: mmap.mmap

    @classmethod
    def make(cls, directory: Path) -> BadDisk:
        """A disk that is good for now; ``variables`` are a server's environment."""
        file = directory / "orders"
        file.write_bytes(bytes(_ORDERS.size))
        with open(file, "r+b") as opened:
            orders = mmap.mmap(opened.fileno(), _ORDERS.size)
        return cls({"BADDISK": str(file), "LD_PRELOAD": str(_library())}, orders)

    def order(self, *, sync_ms: int = 0, sync_error: int = 0, write_error: int = 0, read_error: int = 0) -> None:
        """From now on; without arguments all is well again."""
        struct.pack_into("4i", self._orders, 0, sync_ms, sync_error, write_error, read_error)

    @property
    def syncs(self) -> int:
        """Syncs begun so far."""
        return int(_ORDERS.unpack_from(self._orders)[4])
