"""How a store is opened: plain values with their defaults; ``tcsql.settings`` gives them names for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from tcsql.storage.ticket import Level


def utc_now() -> datetime:
    """The clock of CURRENT_TIMESTAMP: UTC, without a zone, as the columns have it."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """``durability``: the level of writes that ask for none. ``interval_ms``: how long INTERVAL may wait.

    ``change_log``: row changes kept for live streams that resume, 0 switches the log off;
    ``change_log_bytes`` bounds it as well, ``change_log_s`` by age (0: it does not); ``secure_delete``: what is deleted
    is overwritten in the file. ``memory_limit``: bytes; None: 80 % of what the machine or cgroup has.
    ``auto_index``: whether indexes that queries miss are made. ``clock``: what CURRENT_TIMESTAMP reads. ``vfs``: the
    name of a SQLite VFS, for fault tests.
    """

    durability: Level = Level.ALWAYS
    interval_ms: int = 1_000
    change_log: int = 100_000
    change_log_bytes: int = 64 << 20
    change_log_s: int = 0
    secure_delete: bool = False
    memory_limit: int | None = None
    auto_index: bool = True
    clock: Callable[[], datetime] = utc_now
    vfs: str | None = None
