"""From events to transactions: the one state machine behind both servers' logs. Pure.

    GTID    the name of what follows
    BEGIN   MySQL; MariaDB's GTID says it            TABLE_MAP, rows …    changes, each handed out as it comes
    XID     or COMMIT: an end mark                    a statement alone    the schema, and an end mark

Changes are handed out before it is known whether their transaction commits; ``Commit.is_whole`` tells. A log that ends
within a transaction and goes on in another file (the server was killed) has lost it: told the same way.

XA transactions are prepared in one place and committed in another, perhaps days later: their events are kept, packed,
until then, and ``place`` says from where they would have to be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from zlib import crc32

from tcsql.replication.binlog.events import (
    HEADER_BYTES,
    IGNORABLE,
    Format,
    Header,
    Type,
    body_of,
    format_of,
    header_of,
    is_format,
)
from tcsql.replication.binlog.faults import broken, unknown, unsuited
from tcsql.replication.binlog.gtids import MariadbGtids, MysqlGtids
from tcsql.replication.binlog.names import Named, mariadb_gtid, mysql_gtid, tagged_gtid, xa_prepare
from tcsql.replication.binlog.payload import events_of_payload
from tcsql.replication.binlog.place import BEGINNING, Place, file_number
from tcsql.replication.binlog.prepared import Prepared
from tcsql.replication.binlog.rowsevent import ROWS, RowsReader
from tcsql.replication.binlog.statements import Sense, Statement, statement_of
from tcsql.replication.binlog.tables import Change, Expected, Misfit

#: Known, and of no meaning to a follower.
_PASSED: Final = frozenset(
    (
        *(Type.STOP, Type.IGNORABLE, Type.ROWS_QUERY, Type.PREVIOUS_GTIDS, Type.TRANSACTION_CONTEXT, Type.VIEW_CHANGE),
        *(Type.ANNOTATE, Type.CHECKPOINT, Type.GTID_LIST, Type.START_ENCRYPTION),
    )
)
_HEARTBEATS: Final = frozenset([Type.HEARTBEAT, Type.HEARTBEAT_V2])
_STATEMENT_FORMAT: Final = frozenset(
    (
        *(Type.INTVAR, Type.RAND, Type.USER_VAR),
        *(Type.CREATE_FILE, Type.APPEND_BLOCK, Type.DELETE_FILE, Type.BEGIN_LOAD, Type.EXECUTE_LOAD),
    )
)


class Schema(NamedTuple):
    """A statement that changes tables. ``database``: the one in use, "" for none."""

    database: str
    text: str


class Commit(NamedTuple):
    """The end of a transaction. ``is_whole``: False when what came since the last end has to be forgotten.

    ``gtid``: its name, "" without; ``timestamp_s``: when it was run, by the source's clock.
    """

    gtid: str
    timestamp_s: int
    is_whole: bool = True


class Beat(NamedTuple):
    """The server is there and has nothing to tell."""

    file: str
    position: int


Item = Change | Misfit | Schema | Commit | Beat
_NONE: Final[tuple[Item, ...]] = ()


class Parser:
    """One connection's or one file's events, in their order. Each method raises BinlogFault; then it is of no more use.

    ``tables``: those to follow, by database and name. ``place``: what is done is not told again. ``has_checksums``:
    what was agreed on for the events before the first description; files have none there. ``is_sent``: a server sends
    them, from the place on; without names it has no transaction before it.
    """

    def __init__(
        self,
        tables: Mapping[tuple[str, str], Expected],
        place: Place = BEGINNING,
        *,
        has_checksums: bool = False,
        is_sent: bool = False,
    ) -> None:
        self._done, self._start, self._is_sent = place, place.start, is_sent
        #: Whether nothing is sent that was done before.
        self._starts_at_done = is_sent and place.start == place
        #: MariaDB's, of which something new has come: numbers of several servers, or set by hand, need not ascend.
        self._new_domains: set[str] = set()
        self._file, self._position = place.start.file, place.start.position
        #: None where the place has no names: those that come would be a part of all, and servers send the others again.
        self._gtids: MariadbGtids | MysqlGtids | None = None
        self._format: Format | None = None
        self._has_checksums = has_checksums
        #: When the file that is read was begun, as it says itself.
        self._made_s = 0
        self._rows = RowsReader(tables)
        self._prepared = Prepared()
        self._named: Named | None = None
        self._is_open = False
        #: What is told now was told before: it is read for XA transactions alone.
        self._is_repeated = False
        #: The XA transaction that is being kept.
        self._xid = ""
        self._handlers: dict[int, Callable[[Header, bytes], Iterable[Item]]] = {
            Type.QUERY: lambda header, body: self._statement(header, statement_of(body)),
            Type.QUERY_COMPRESSED: lambda header, body: self._statement(header, statement_of(body, is_compressed=True)),
            Type.XID: lambda header, body: self._end(header),
            Type.TABLE_MAP: self._table_map,
            Type.GTID: lambda header, body: self._begin(mysql_gtid(body)),
            Type.ANONYMOUS_GTID: lambda header, body: self._begin(Named("")),
            Type.TAGGED_GTID: lambda header, body: self._begin(tagged_gtid(body)),
            Type.MARIADB_GTID: lambda header, body: self._begin_of_mariadb(mariadb_gtid(body, header.server_id)),
            Type.XA_PREPARE: self._xa_prepare,
            Type.PAYLOAD: self._payload,
            Type.INCIDENT: self._incident,
            **dict.fromkeys(ROWS, self._rows_event),
            **dict.fromkeys(_STATEMENT_FORMAT, self._statement_format),
            **dict.fromkeys(_HEARTBEATS, self._heartbeat),
        }

    @property
    def place(self) -> Place:
        """Where all is that was handed out up to the last ``Commit``."""
        since = self._prepared.since()
        gtids = self._done.gtids if self._gtids is None else str(self._gtids)  # the first until the log has begun
        here = Place(self._done.file, self._done.position, gtids, made_s=self._done.made_s)
        return here if since is None else Place(*here[:3], *since[:3], here.made_s)

    @property
    def at(self) -> tuple[str, int]:
        """File and position behind the last event, done or not."""
        return self._file, self._position

    @property
    def is_between(self) -> bool:
        """Whether no transaction has begun that has not ended."""
        return self._named is None

    @property
    def mysql_gtids(self) -> MysqlGtids | None:
        """MySQL's names of all that is done; None at MariaDB, and before the log has begun."""
        return self._gtids if isinstance(self._gtids, MysqlGtids) else None

    def renew(self) -> None:
        """The tables to follow are others than before; to be called between transactions."""
        self._rows.renew()

    def feed(self, event: bytes) -> Iterable[Item]:
        """What an event brings; to be used up before the next one. An event: head, body, checksum."""
        if is_format(event):
            self._format = format_of(event)
            self._require_the_same_file(header_of(event).timestamp_s)
            if self._gtids is None and (self._done.gtids or self._is_sent):
                kind = MariadbGtids if self._is_mariadb else MysqlGtids
                self._gtids = kind(self._done.gtids)
            self._rows.is_mariadb = self._is_mariadb
            self._rows.post_header_of = self._format.post_header_of
            return self._broken_off()
        header = header_of(event)
        if header.type == Type.ROTATE:
            return self._rotate(header, event)
        if self._format is None:
            raise broken("it does not begin with its description")
        body = body_of(event, self._format)
        if header.position:
            self._position = header.position
        return self._handle(header, body)

    def _handle(self, header: Header, body: bytes) -> Iterable[Item]:
        handler = self._handlers.get(header.type)
        if handler is not None:
            return handler(header, body)
        if header.type not in _PASSED and not header.flags & IGNORABLE:
            raise unknown(f"an event of type {header.type}")
        return _NONE

    @property
    def _is_mariadb(self) -> bool:
        return self._format is not None and "mariadb" in self._format.server.lower()

    # --- files ------------------------------------------------------------------------------------------------

    def _require_the_same_file(self, made_s: int) -> None:
        """A file is begun once; one of the same name that was begun at another time is another."""
        self._made_s = made_s
        if self._is_sent and self._file == self._done.file:
            self._require_later(self._done.made_s in (0, made_s))
            self._done = self._done._replace(made_s=made_s)

    def _rotate(self, header: Header, event: bytes) -> Iterable[Item]:
        """The next file. The server makes one up at the beginning of each, too, before that one's description."""
        if self._format is not None:  # also one that is made up for the next file: it is sent as those before it
            body = body_of(event, self._format)
        elif self._has_checksums:
            body = body_of(event, Format("", has_checksums=True, post_header=b""))
        else:  # whether it has one, a file's own description would tell
            tail = int.from_bytes(event[-4:], "little")
            body = event[HEADER_BYTES:-4] if crc32(event[:-4]) == tail else event[HEADER_BYTES:]
        if len(body) < 9:
            raise broken("a file's name is missing")
        self._file, self._position = body[8:].decode("utf-8", "replace"), int.from_bytes(body[:8], "little")
        if self._is_sent and self._format is None and self._start.file:
            self._require_later(file_number(self._file) >= file_number(self._start.file))
        if not self._done.file:
            self._done = self._done._replace(file=self._file, position=self._position)
        return _NONE

    def _broken_off(self) -> Iterable[Item]:
        """A file begins: what had begun in the one before and has not ended never will."""
        was_open = self._named is not None and not self._is_repeated
        self._forget()
        return (Commit("", 0, is_whole=False),) if was_open else _NONE

    def _heartbeat(self, header: Header, body: bytes) -> Iterable[Item]:
        return (Beat(self._file, header.position or self._position),)

    def _incident(self, header: Header, body: bytes) -> Iterable[Item]:
        raise unsuited("the server says that changes may be missing in it", "the table is copied afresh")

    def _statement_format(self, header: Header, body: bytes) -> Iterable[Item]:
        raise unsuited("it has statements, not their rows", "run there: SET GLOBAL binlog_format = 'ROW'")

    # --- transactions -----------------------------------------------------------------------------------------

    def _begin(self, named: Named) -> Iterable[Item]:
        if self._named is not None:
            raise broken("a transaction begins within another")
        self._named = named
        if named.gtid and self._gtids is not None:
            self._is_repeated = self._has(named.gtid)
        else:
            self._is_repeated = bool(self._done.file) and self._done.is_behind(self._file, self._position)
        if self._is_sent and not self._is_repeated and self._file == self._done.file:
            self._require_later(self._position > self._done.position)
        return _NONE

    def _has(self, gtid: str) -> bool:
        """Whether a transaction is part of what was done before."""
        assert self._gtids is not None
        if not self._is_mariadb:
            return self._gtids.has(gtid)
        domain = gtid.partition("-")[0]
        if self._starts_at_done or domain in self._new_domains or not self._gtids.has(gtid):
            self._new_domains.add(domain)
            return False
        return True

    def _require_later(self, is_later: bool) -> None:
        """New transactions stand behind those that are done, else their names are given for the second time."""
        if not is_later:
            raise broken("it has begun anew at the server (RESET), and names of transactions with it")

    def _begin_of_mariadb(self, named: Named) -> Iterable[Item]:
        if not self._is_mariadb:
            raise broken("a transaction of MySQL's has a name of MariaDB's")
        self._begin(named)
        self._is_open = not named.is_standalone
        if named.prepared:
            self._keep(named.prepared)
        return _NONE

    def _statement(self, header: Header, statement: Statement) -> Iterable[Item]:
        sense = statement.sense
        if self._named is None:
            if sense is Sense.NOTHING:
                return _NONE
            raise broken("a statement stands outside of transactions")
        if sense is Sense.BEGIN:
            self._is_open = True
            return _NONE
        if sense is Sense.COMMIT:
            return self._end(header)
        if sense is Sense.ROLLBACK:
            return self._end(header, is_whole=False)
        if sense in (Sense.XA_START, Sense.XA_END):
            if sense is Sense.XA_START:
                self._is_open = True
                self._keep(statement.xid)
            return _NONE
        if sense is Sense.XA_COMMIT:
            return self._xa_commit(header, statement.xid)
        if sense is Sense.XA_ROLLBACK:
            self._prepared.drop(statement.xid)
            return self._end(header)
        told: tuple[Item, ...] = ()
        if sense is Sense.SCHEMA and not self._is_repeated:
            told = (Schema(statement.database, statement.text),)
        return told if self._is_open else (*told, *self._end(header))

    def _end(self, header: Header, *, is_whole: bool = True) -> Iterable[Item]:
        named = self._named
        if named is None:
            raise broken("a transaction ends that has not begun")
        is_repeated = self._is_repeated
        self._forget()
        if is_repeated:
            return _NONE
        if named.gtid and self._gtids is not None:
            self._gtids.add(named.gtid)
        self._done = self._done._replace(file=self._file, position=self._position, made_s=self._made_s)
        return (Commit(named.gtid, header.timestamp_s, is_whole),)

    def _forget(self) -> None:
        self._named, self._is_open, self._is_repeated, self._xid = None, False, False, ""
        self._prepared.forget()
        self._rows.forget()

    # --- rows -------------------------------------------------------------------------------------------------

    def _table_map(self, header: Header, body: bytes) -> Iterable[Item]:
        if not self._is_open:
            raise broken("rows stand outside of transactions")
        if self._xid:
            self._prepared.add(header.type, body)
        elif not self._is_repeated:
            self._rows.table_map(body)
        return _NONE

    def _rows_event(self, header: Header, body: bytes) -> Iterable[Item]:
        if not self._is_open:
            raise broken("rows stand outside of transactions")
        if self._xid:
            self._prepared.add(header.type, body)
            return _NONE
        return _NONE if self._is_repeated else self._rows.changes(header.type, body)

    def _payload(self, header: Header, body: bytes) -> Iterator[Item]:
        """A compressed transaction; its events are where the event is that holds them."""
        if self._named is None:
            raise broken("a transaction has no name")
        for event in events_of_payload(body):
            inner = header_of(event)
            if inner.type in (Type.PAYLOAD, Type.ROTATE, Type.FORMAT):
                raise broken("a compressed transaction holds what it cannot")
            yield from self._handle(inner, event[HEADER_BYTES:])

    # --- XA ---------------------------------------------------------------------------------------------------

    def _keep(self, xid: str) -> None:
        self._xid = xid
        # nothing of this transaction is done yet; what is read again began no earlier than the reading
        self._prepared.begin(xid, self._start if self._is_repeated else self.place)

    def _xa_prepare(self, header: Header, body: bytes) -> Iterable[Item]:
        one_phase, xid = xa_prepare(body)
        if xid != self._xid:
            raise broken("an XA transaction is prepared that has not begun")
        self._prepared.keep()
        return self._xa_commit(header, xid) if one_phase else self._end(header)

    def _xa_commit(self, header: Header, xid: str) -> Iterator[Item]:
        if self._is_repeated:
            self._prepared.drop(xid)
        else:
            self._rows.forget()
            for kind, body in self._prepared.take(xid):
                if kind == Type.TABLE_MAP:
                    self._rows.table_map(body)
                else:
                    yield from self._rows.changes(kind, body)
        yield from self._end(header)
