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

from typing import Final, NamedTuple

from tcsql.errors import SourceFault
from tcsql.replication.binlog.gtids import MysqlGtids
from tcsql.replication.binlog.place import Place, file_number
from tcsql.replication.connection import Connection
from tcsql.replication.snapshot import BEGIN

_UNREACHABLE: Final = "the server keeps no binary log"
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
        found = {str(name).lower(): str(value) for name, value in connection.query("SHOW STATUS LIKE 'binlog_snap%'")}
        file, position = found.get("binlog_snapshot_file", ""), found.get("binlog_snapshot_position", "")
        if not file or not position.isdigit():
            raise SourceFault(_UNREACHABLE, _REMEDY)
        return Sight(Place(file, int(position)), MysqlGtids(), MysqlGtids())
    done = _executed(connection)
    connection.read(BEGIN)
    return Sight(None, done, _executed(connection))


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


def _executed(connection: Connection) -> MysqlGtids:
    [(text,)] = connection.query("SELECT @@GLOBAL.gtid_executed")
    return MysqlGtids("".join(str(text).split()))
