"""A server's binary log, from a place on, as it is written: the thin reader under the parser. Blocking.

    with connect(settings) as connection:
        dump = Dump(connection, place, server_id=4711)
        while True:
            for event in dump.events(0.5):
                for item in parser.feed(event): …

We say who we are (a server id that no other replica has: two of the same throw one another out), that we know
checksums and MariaDB's GTIDs, and how often to say that nothing has happened. When even that has not come for three
times as long, the link is dead though both ends may not know it: SourceAway. Needs the right REPLICATION SLAVE.

The session is of no other use after that: queries need a connection of their own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import sha256
from struct import pack
from typing import Final

from tcsql.errors import SourceAway, SourceFault
from tcsql.replication.binlog.events import MAGIC
from tcsql.replication.binlog.faults import BinlogFault
from tcsql.replication.binlog.gtids import MysqlGtids, uuid_text
from tcsql.replication.binlog.packets import Packets
from tcsql.replication.binlog.place import Place
from tcsql.replication.connection import Connection
from tcsql.replication.rows import ServerError

_BINLOG_DUMP: Final = 18
_REGISTER: Final = 21
_BINLOG_DUMP_GTID: Final = 30
#: Begin where these names of transactions say, not at a file.
_THROUGH_GTID: Final = 4
#: All that MariaDB's events need: GTIDs, and none of them replaced by others.
_CAPABILITY: Final = 4
#: The server cannot give what was asked for: it was purged, or never was here.
_NO_SUCH_PLACE: Final = 1236
#: MySQL says it with the same number.
_SAME_NUMBER: Final = "with the same server"
#: How a dump is refused to an account without REPLICATION SLAVE.
_NO_RIGHT: Final = frozenset([1045, 1227])
_REGISTER_WAIT_S: Final = 10.0
_MISSED_BEATS: Final = 3
_GREETING_S: Final = 10.0


class Dump:
    """The log from a place on. ``has_checksums``: what was agreed on, for ``Parser``. Not for several threads.

    ``place``: with ``gtids`` from there, else from its file and position. ``heartbeat_s``: so often a silent server
    shows that it is there. Raises SourceAway, SourceFault.
    """

    def __init__(self, connection: Connection, place: Place, server_id: int, heartbeat_s: float = 1.0) -> None:
        self._connection = connection
        self._packets = Packets()
        self._heartbeat_s = heartbeat_s
        start = place.start
        self.has_checksums = self._agree(server_id, start)
        self._register(server_id)
        self._ask(server_id, start)
        self._heard_s = time.monotonic() + _GREETING_S  # a server may have to look through files first

    def _agree(self, server_id: int, start: Place) -> bool:
        """Tell the server what we can; whether events will have checksums."""
        is_mariadb = self._connection.flavour == "mariadb"
        query = self._connection.query
        [(checksum,)] = query("SELECT @@GLOBAL.binlog_checksum")
        words = ("master",) if is_mariadb else ("master", "source")
        for word in words:
            query(f"SET @{word}_binlog_checksum = %s, @{word}_heartbeat_period = %s", (checksum, self._beat_ns()))
        if is_mariadb:
            query(f"SET @mariadb_slave_capability = {_CAPABILITY}")
            if start.gtids:
                query("SET @slave_connect_state = %s, @slave_gtid_strict_mode = 0", (start.gtids,))
        else:  # a server ends the dump of the same replica that it still believes alive
            uuid = uuid_text(sha256(b"tcsql %d" % server_id).digest()[:16])
            query("SET @slave_uuid = %s, @replica_uuid = %s", (uuid, uuid))
        return str(checksum).upper() == "CRC32"

    def _beat_ns(self) -> int:
        return int(self._heartbeat_s * 1e9)

    def _register(self, server_id: int) -> None:
        """So that the server lists us, and takes no other for us."""
        host = b"tcsql"
        body = pack("<IB", server_id, len(host)) + host + b"\0\0" + pack("<HII", 0, 0, 0)
        self._connection.send(_REGISTER, body)
        until = time.monotonic() + _REGISTER_WAIT_S
        packets = Packets()
        while not self._fed(packets, self._connection.receive(_REGISTER_WAIT_S)):
            if time.monotonic() > until:
                raise SourceAway("the server does not answer")

    def _ask(self, server_id: int, start: Place) -> None:
        if self._connection.flavour == "mysql" and (start.gtids or not start.file):
            gtids = MysqlGtids(start.gtids).encoded()
            head = pack("<HIIQI", _THROUGH_GTID, server_id, 0, len(MAGIC), len(gtids))
            self._connection.send(_BINLOG_DUMP_GTID, head + gtids)
            return
        file, position = (start.file, start.position) if not start.gtids else ("", 0)
        self._connection.send(_BINLOG_DUMP, pack("<IHI", max(position, len(MAGIC)), 0, server_id) + file.encode())

    def events(self, wait_s: float) -> Sequence[bytes]:
        """Events that have come, none when none has within ``wait_s``; then they are to be asked for again.

        Raises SourceAway, also when the server is silent for too long, and SourceFault when it has no such place.
        """
        data = self._connection.receive(max(wait_s, 0.001))
        now = time.monotonic()
        if not data:
            if now - self._heard_s > _MISSED_BEATS * self._heartbeat_s:
                self._connection.close()
                raise SourceAway(f"the source has said nothing for {_MISSED_BEATS * self._heartbeat_s:g} s")
            return ()
        self._heard_s = max(self._heard_s, now)
        events = self._fed(self._packets, data)
        if self._packets.is_over:
            self._connection.close()
            raise SourceAway("the source has ended its log")
        return events

    def close(self) -> None:
        """End the session; never raises."""
        self._connection.close()

    @property
    def partial_bytes(self) -> int:
        """Bytes of an event that has come in part."""
        return self._packets.kept_bytes

    def _fed(self, packets: Packets, data: bytes) -> list[bytes]:
        try:
            return packets.feed(data)
        except ServerError as error:
            self._connection.close()
            raise self._fault(error) from None
        except BinlogFault:
            self._connection.close()
            raise

    def _fault(self, error: ServerError) -> SourceAway | SourceFault:
        if error.number == _NO_SUCH_PLACE and _SAME_NUMBER in error.text:
            return SourceFault(
                "another replica with our server_id reads the log of the source", "give each source a server_id"
            )
        if error.number == _NO_SUCH_PLACE:
            return BinlogFault(
                f"the source cannot go on from here: {' '.join(error.text.split())[:300]}",
                "the table is copied afresh",
                "purged",
            )
        if error.number in _NO_RIGHT:
            return SourceFault(
                "the account has no right to read the binary log",
                f"run there: GRANT REPLICATION SLAVE ON *.* TO {self._connection.account}",
            )
        return self._connection.fault(error)
