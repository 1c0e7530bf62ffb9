"""Whether a server's settings are as they have to be, and who we are among its replicas. Blocking."""

from __future__ import annotations

import socket
from hashlib import sha256
from pathlib import Path

from tcsql.errors import SourceFault
from tcsql.replication.binlog.needs import NAMES, REPLICA, lacking, leaves_out_what_it_takes_over
from tcsql.replication.connection import Connection


def require_settings(connection: Connection) -> None:
    """Raises SourceFault for the first setting that is not as it has to be, SourceAway."""
    listed = ",".join(f"'{name}'" for name in NAMES)
    found = connection.query(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({listed})")
    variables = {str(name).lower(): str(value) for name, value in found}
    for _, problem, remedy in lacking(variables, connection.flavour):
        raise SourceFault(problem, remedy)
    if leaves_out_what_it_takes_over(variables) and is_replica(connection):
        raise SourceFault(*REPLICA)


def is_replica(connection: Connection) -> bool:
    """Whether the server takes over rows of another, now or before now, as far as any account may see that."""
    if connection.flavour == "mariadb":
        [(_, running)] = connection.query("SHOW GLOBAL STATUS LIKE 'Slaves_running'")
        [(taken_over,)] = connection.query("SELECT @@GLOBAL.gtid_slave_pos")
        return str(running) != "0" or bool(taken_over)
    [(executed, own)] = connection.query("SELECT @@GLOBAL.gtid_executed, @@GLOBAL.server_uuid")
    return any(
        part.split(":")[0].lower() != str(own).lower() for part in "".join(str(executed).split()).split(",") if part
    )


def server_id_of(source: str, base: Path | None) -> int:
    """A number for us as a replica: the same after a restart, another for another source or machine."""
    text = "\0".join((socket.gethostname(), str((base or Path()).absolute()), source))
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF | 0x40000000
