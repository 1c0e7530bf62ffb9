"""The process among its surroundings: descriptors for its connections, and standard streams that are there.

Descriptors run out one by one, for whoever needs the next: a source's process, a backup, a connection. So connections
may never take all of them: the limit of the system is raised as far as we may, and ``max_connections`` has to leave
``KEPT`` of it. Then one connection too many is told so with 503, and everything else goes on.
"""

from __future__ import annotations

import os
import resource
from typing import Final

from tcsql.errors import SetupError

#: Descriptors that are not clients': the store takes 6, a reader of it 3, each source 4, a backup 8, the loop 5.
KEPT: Final = 96
_LEAST: Final = 8


def most_connections(wanted: int) -> int:
    """How many of the wanted connections there are descriptors for; raises the process' own limit first.

    Raises SetupError when there are hardly any.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + KEPT
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    if soft < KEPT + _LEAST:
        raise SetupError(
            f"this process may open {soft} files only, {KEPT + _LEAST} are the least that is needed",
            "raise the limit: ulimit -n, or LimitNOFILE of the unit",
        )
    return soft - KEPT


def fill_standard_streams() -> None:
    """Give closed standard streams to /dev/null: a socket or the store's file would get their numbers otherwise.

    Then whatever prints to "standard error" would write into them.
    """
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
