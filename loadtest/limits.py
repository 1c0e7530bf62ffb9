"""What ten thousand connections need of the machine, checked before anything starts and explained when it lacks.

Each side of a connection takes one file descriptor in its own process, a connection that arrives waits in the
listener's queue (bounded by net.core.somaxconn and by the backlog the server asks for) until it is accepted, and
each takes one local port of the generator.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Files that are no connections: the store, libraries, logs, pools of connections to a database.
SPARE_FILES: Final = 400
#: What every server asks for; the kernel takes the smaller of this and net.core.somaxconn.
BACKLOG: Final = 16_384
CORES: Final = 2


@dataclass(frozen=True, slots=True)
class Machine:
    """The limits as the system states them."""

    open_files: int
    queue: int
    ports: int
    cores: int


@dataclass(frozen=True, slots=True)
class Lack:
    """One need that is not met, and what to do."""

    need: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.need}\n    {self.remedy}"


def of_this_machine() -> Machine:
    """Raise our own soft limit of open files to the hard one, which children inherit, and read the rest."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    low, high = _numbers("net/ipv4/ip_local_port_range", (32_768, 60_999))
    return Machine(hard, _numbers("net/core/somaxconn", (4_096,))[0], high - low + 1, len(os.sched_getaffinity(0)))


def _numbers(name: str, default: Sequence[int]) -> list[int]:
    try:
        return [int(word) for word in (Path("/proc/sys") / name).read_text(encoding="ascii").split()]
    except OSError:
        return list(default)  # not Linux, or hidden: the usual values


def lacks(machine: Machine, connections: int) -> list[Lack]:
    """What is missing for so many connections at once; nothing: an empty list.

    >>> [lack.need for lack in lacks(Machine(open_files=1_024, queue=4_096, ports=28_232, cores=2), 1_000)]
    ['1,000 connections take 1,400 open files in one process, the hard limit is 1,024']
    """
    found = []
    files = connections + SPARE_FILES
    if machine.open_files < files:
        found.append(
            Lack(
                f"{connections:,} connections take {files:,} open files in one process, "
                f"the hard limit is {machine.open_files:,}",
                f"raise it: ulimit -Hn {files} as root, LimitNOFILE= of a service, or --ulimit nofile= of a container",
            )
        )
    if machine.queue < connections:
        found.append(
            Lack(
                f"{connections:,} connections may arrive at once, net.core.somaxconn lets {machine.queue:,} wait; "
                "the others would try again a second later and spoil the figures",
                f"as root: sysctl -w net.core.somaxconn={BACKLOG} net.ipv4.tcp_max_syn_backlog={BACKLOG}",
            )
        )
    if machine.ports < connections:
        found.append(
            Lack(
                f"{connections:,} connections to one server take as many local ports, there are {machine.ports:,}",
                'as root: sysctl -w net.ipv4.ip_local_port_range="10000 65535"',
            )
        )
    if machine.cores < CORES:
        found.append(
            Lack(
                f"servers and generator need a core each, this process may use {machine.cores}",
                "run it where two cores are free",
            )
        )
    return found
