"""What so many locust users need of this machine, checked before anything starts; and who is connected, counted.

Server and generator are processes of their own, so that each needs one open file a user. Users arrive at the spawn
rate, not all at once: the listener's queue has to hold what arrives while the server is busy for a second. Without
keep-alive a port is taken for a minute after its connection has ended (TIME_WAIT), which is why users come from
several addresses of 127.0.0.0/8.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from loadtest.limits import SPARE_FILES, Lack, Machine

#: The generator's own files, and connections that still close while new ones open.
_MARGIN: Final = SPARE_FILES
#: As /proc/net/tcp writes them.
_ESTABLISHED: Final = "01"
_LOOPBACK: Final = f"{int.from_bytes(bytes((127, 0, 0, 1)), sys.byteorder):08X}"


def needs(machine: Machine, users: int, processes: int, spawn_rate: int, sources: int) -> list[Lack]:
    """What is missing; nothing: an empty list.

    >>> small = Machine(open_files=1_024, queue=128, ports=28_232, cores=2)
    >>> [lack.need for lack in needs(small, 1_000, 1, 100, 8)]
    ['1,000 users take 1,400 open files in the server and in the generator each, the hard limit is 1,024']
    >>> needs(small, 100, 1, 100, 8)
    []
    """
    found = []
    files = users + _MARGIN
    if machine.open_files < files:
        found.append(
            Lack(
                f"{users:,} users take {files:,} open files in the server and in the generator each, "
                f"the hard limit is {machine.open_files:,}",
                f"raise it (ulimit -Hn {files} as root, LimitNOFILE= of a service, --ulimit nofile= of a container), "
                "or ask for fewer: --users",
            )
        )
    if machine.queue < spawn_rate:
        found.append(
            Lack(
                f"{spawn_rate:,} users connect within a second, net.core.somaxconn lets {machine.queue:,} wait",
                f"as root: sysctl -w net.core.somaxconn={max(4_096, spawn_rate)}, or a lower --spawn-rate",
            )
        )
    a_source = -(-users // sources)
    if machine.ports < a_source:
        found.append(
            Lack(
                f"{a_source:,} users connect from each of {sources} addresses, which have {machine.ports:,} ports",
                'as root: sysctl -w net.ipv4.ip_local_port_range="10000 65535"',
            )
        )
    if machine.cores < 1 + processes:
        found.append(
            Lack(
                f"the server and {processes} generator process(es) need a core each, this process may use "
                f"{machine.cores}",
                "run it where they are free, or with fewer --processes",
            )
        )
    return found


def kernel() -> dict[str, str]:
    """The settings that matter, as they stand, for the results."""
    names = (
        "net/core/somaxconn",
        "net/ipv4/tcp_max_syn_backlog",
        "net/ipv4/ip_local_port_range",
        "net/ipv4/tcp_tw_reuse",
        "net/ipv4/tcp_max_tw_buckets",
    )
    found = {}
    for name in names:
        try:
            found[name.replace("/", ".")] = " ".join((Path("/proc/sys") / name).read_text(encoding="ascii").split())
        except OSError:
            continue  # hidden in some containers
    return found


def connected(port: int) -> int:
    """Users connected to a server at 127.0.0.1, by the kernel's list: established, and not from 127.0.0.1 itself."""
    local, ours = f"{_LOOPBACK}:{port:04X}", f"{_LOOPBACK}:"
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    found = (line.split(maxsplit=4) for line in lines)
    # By the other end: the list is not read in one moment, and what changes meanwhile may stand in it twice.
    return len({f[2] for f in found if f[1] == local and f[3] == _ESTABLISHED and not f[2].startswith(ours)})


def overflows() -> int:
    """How often an arriving connection found the listener's queue full, on the whole machine since it started."""
    names, values = "", ""
    for line in Path("/proc/net/netstat").read_text(encoding="ascii").splitlines():
        if line.startswith("TcpExt:"):
            names, values = values, line
    found = dict(zip(names.split(), values.split(), strict=True))
    return int(found.get("ListenOverflows", 0))
