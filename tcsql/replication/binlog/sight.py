"""How far a server is, as told by the server: what a snapshot of its tables holds, in the log's own terms. Blocking.

    with_snapshot(connection)  ->  Sight(at_least, at_most)      a snapshot has begun

All transactions up to ``at_least`` are in the snapshot; none behind ``at_most`` is. MariaDB tells of a snapshot exactly
where in the log it is. MySQL tells only which transactions are done: those before the snapshot began are in it, and
what is done right after it began is all that it can hold. (A name joins that set behind the commit in the engine, so
no transaction in it is invisible.)

What a server sends may be ahead of what it shows: a transaction is in the log before the engine has committed it.
``covers`` tells whether a snapshot is at least as far as we are.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from tcsql.errors import SourceFault
from tcsql.replication.binlog.faults import BinlogFault
from tcsql.replication.binlog.gtids import MysqlGtids
from tcsql.replication.binlog.place import Place, file_number
from tcsql.replication.connection import Connection
from tcsql.replication.snapshot import BEGIN

_UNREACHABLE: Final = "the server keeps no binary log"
#: As SHOW BINLOG EVENTS prints the beginning of a transaction.
_NAMED: Final = re.compile(r"GTID_NEXT *= *'([^']+)'")
#: No such file, or no event begins at the position.
_NO_EVENT_THERE: Final = 1220
_REMEDY: Final = "start it with log_bin, or follow by mode outbox"


class Sight(NamedTuple):
    """Bounds of one snapshot, see above. ``done``, ``most``: MySQL's sets; MariaDB's place is ``place``."""

    place: Place | None
    done: MysqlGtids
    most: MysqlGtids

    def covers(self, place: Place) -> bool:
        """Whether all that was read of the log up to ``place`` is in the snapshot."""
        if self.place is not None:
            return self.place.is_behind(place.file, place.position) if place.file else True
        return self.done.includes(MysqlGtids(place.gtids))

    def is_reached(self, file: str, position: int, read: MysqlGtids | None) -> bool:
        """Whether the log was read as far as the snapshot may reach: by file and position, or by names."""
        if self.place is not None:
            return (file_number(file), position) >= (file_number(self.place.file), self.place.position)
        return read is not None and read.includes(self.most)

    def may_lack(self, gtid: str) -> bool:
        """Whether a transaction may not be in the snapshot."""
        return self.place is None and not self.done.has(gtid)


def begin_snapshot(connection: Connection) -> Sight:
    """Begin a snapshot of all tables; raises SourceAway, SourceFault."""
    if connection.flavour == "mariadb":
        connection.read(BEGIN)
        return reach(connection)
    done = _executed(connection)
    connection.read(BEGIN)
    return Sight(None, done, _executed(connection))


def reach(connection: Connection) -> Sight:
    """How far the server has committed: of MariaDB's snapshot that has begun, else now. One round trip."""
    if connection.flavour != "mariadb":
        done = _executed(connection)
        return Sight(None, done, done)
    found = {str(name).lower(): str(value) for name, value in connection.query("SHOW STATUS LIKE 'binlog_snap%'")}
    file, position = found.get("binlog_snapshot_file", ""), found.get("binlog_snapshot_position", "")
    if not file or not position.isdigit():
        raise SourceFault(_UNREACHABLE, _REMEDY)
    return Sight(Place(file, int(position)), MysqlGtids(), MysqlGtids())


def here(connection: Connection) -> Place:
    """A place such that every transaction behind it is still to be sent, and all before it are visible."""
    sight = begin_snapshot(connection)
    try:
        if sight.place is None:
            return Place(gtids=str(sight.done))
        file, position, *_ = sight.place
        [(gtids,)] = connection.query("SELECT BINLOG_GTID_POS(%s, %s)", (file, position))
        return Place(file, position, str(gtids or ""))
    finally:
        connection.query("ROLLBACK")


def require_known(connection: Connection, place: Place) -> None:
    """That a place which was stored is one of this log, and not of one that has been thrown away since.

    After RESET MASTER the numbers of transactions begin again, and pass ours: the server would say yes to our names,
    and what had ours is gone. So the file is looked into: what stands before the place has to have our names.
    Raises BinlogFault (kind purged), SourceAway; reads one file of the log at the source.
    """
    if not place.file:
        return
    if connection.flavour == "mariadb":
        [(found,)] = connection.query("SELECT BINLOG_GTID_POS(%s, %s)", (place.file, place.position))
        is_ours = found is not None and set(str(found).split(",")) == set(place.gtids.split(","))
    else:
        is_ours = _has_no_known_transaction(connection, place)
    if not is_ours:
        raise BinlogFault(
            f"{place.file} is not the log that was followed: it was reset, or the file is gone",
            "the tables are compared",
            "purged",
        )


def _has_no_known_transaction(connection: Connection, place: Place) -> bool:
    """Whether an event begins at the place, and is no transaction that we have."""
    try:
        found = connection.query("SHOW BINLOG EVENTS IN %s FROM %s LIMIT 1", (place.file, place.position))
    except SourceFault as error:
        if error.extra.get("errno") == _NO_EVENT_THERE:
            return False
        remedy = f"run there: GRANT REPLICATION SLAVE ON *.* TO {connection.account}"
        raise SourceFault(error.message, remedy) from None
    if not found:
        return True  # the end of the log
    named = _NAMED.search(str(found[0][-1]))
    return named is None or not MysqlGtids(place.gtids).has(named[1])


def turns_of(connection: Connection) -> str:
    """What shows that the log may be another now, or lack something, whatever its names: any other text than before.

    Statements RESET that the server has run, and whether it is taking over rows of another server (MariaDB).
    """
    found = connection.query("SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_reset', 'Slaves_running')")
    return " ".join(sorted(f"{name}={value}" for name, value in found))


def _executed(connection: Connection) -> MysqlGtids:
    [(text,)] = connection.query("SELECT @@GLOBAL.gtid_executed")
    return MysqlGtids("".join(str(text).split()))
