"""The connection to MySQL or MariaDB: the only place that knows the driver.

    connection = connect(settings, base=directory_of_tcsql_toml)
    connection.query("SELECT id FROM posts WHERE uid = %s", (7,))     [(1,), (9,)]

A session is always the same, whatever the server's defaults are: utf8mb4, a fixed ``sql_mode`` (text in single quotes,
names in backticks, zero dates allowed), TIMESTAMPs in the zone of the settings, REPEATABLE READ, autocommit.

Every failure is one of two: SourceAway (the same may succeed later: network, restart, lock) or SourceFault (a person
must act; ``hint`` names the statement to run and ``extra["errno"]`` holds the server's number). Both in one line.
After SourceAway a connection is of no use.

A dead peer is noticed by TCP itself within 40 s. A statement may take as long as it needs, but no silence is waited
through blindly: after three heartbeats (5 s at least) without a byte a second session asks whether the server is still
at our statement (``silence``). If nobody answers within ``CONNECT_TIMEOUT_S``, the source is away.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import pymysql
from pymysql.connections import Connection as _Driver
from pymysql.constants import CLIENT, COMMAND

from tcsql.errors import SourceAway, SourceFault
from tcsql.literals import quote_string
from tcsql.replication.address import Address, address_of, password_of, tls_of
from tcsql.replication.rows import ProtocolError, Result, ResultReader, ServerError
from tcsql.replication.silence import Silence, socket_to
from tcsql.sources import SourceSettings

CONNECT_TIMEOUT_S: Final = 10
#: A server that answers, but does not say whether it is at our statement, is believed for so long.
READ_TIMEOUT_S: Final = 300
_LEAST_QUIET_S: Final = 5.0
_MOST_QUIET_S: Final = 60.0
_MISSED_BEATS: Final = 3
RECEIVE_BYTES: Final = 262_144
#: Waiting for a metadata lock (an ALTER in progress) or a row; the server's default is a year for the first.
LOCK_WAIT_S: Final = 10
#: Without NO_ZERO_DATE and with invalid dates: MySQL refuses to compare a key with 2020-02-30 otherwise.
SQL_MODE: Final = "STRICT_TRANS_TABLES,ALLOW_INVALID_DATES"

#: Errors after which the same may succeed later.
_AWAY: Final = frozenset(
    [
        *(2002, 2003, 2005, 2006, 2013, 2014, 2055),  # the driver's own: no connection, or no longer
        *(1040, 1203, 1226, 1041),  # too many connections, limits of an account, memory
        *(1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 4031),  # shutting down, killed, network
        *(1205, 1213, 1317, 1412, 1020, 1969, 3024),  # lock wait, deadlock, interrupted, changed under the snapshot
    ]
)
_TLS_FAILED: Final = 2026
_DENIED: Final = frozenset([1044, 1045, 1130, 1142, 1143, 1227, 1370, 1698, 1820, 1862])
_HINTS: Final = {
    1049: "name the database in the url: mysql://user@host/database",
    1054: "a column has gone or changed its name; run: tcsql mysql setup NAME",
    1064: "if the text comes from where = of a table, correct it there",
    1129: "run there: FLUSH HOSTS",
    1146: "a table has gone; run: tcsql mysql setup NAME",
    1290: "name the server that takes writes: rows of the outbox are deleted there",
    1298: "write time_zone as an offset such as +01:00, or load the zones there: mysql_tzinfo_to_sql",
    1836: "name the server that takes writes: rows of the outbox are deleted there",
    _TLS_FAILED: "tls_ca=FILE in the url names who signed it, tls=on does not compare it, tls=off does without TLS",
    2059: "give the account a password by mysql_native_password, ed25519 is not known here",
}
_ACCOUNT: Final = re.compile(r"user '([^']*)'@'([^']*)'")
_PRIVILEGE: Final = re.compile(r"(\w+(?: \w+)?) command denied to user \S+ for (?:table|column) (\S+)")


class _Wire(_Driver):
    """The driver's connection, with what its stubs leave out within reach."""

    server_version: str
    server_thread_id: tuple[int, ...]
    _sock: socket.socket

    _secure: bool
    _read_timeout: float

    _write_timeout: float
    _space: memoryview
    #: Told for how long nothing has come; raises TimeoutError unless that is no reason to give up.
    _on_silence: Callable[[float], None] | None = None

    def read(self, sql: str) -> list[Result]:
        """The answers to all statements of a text. Raises ServerError, ProtocolError, OSError, the driver's errors."""
        self._execute_command(COMMAND.COM_QUERY, sql.encode())  # type: ignore[attr-defined]  # not in the stubs
        receive, space = self._sock.recv_into, self._space
        reader = ResultReader()
        heard_s = time.monotonic()
        while not reader.done:
            try:
                size = receive(space)
            except TimeoutError:
                self._is_silent(heard_s)
                continue
            heard_s = time.monotonic()
            if not size:
                raise ConnectionResetError("the server has ended the connection")
            reader.feed(bytes(space[:size]))
        return reader.results

    def _read_query_result(self, unbuffered: bool = False) -> None:
        """The driver's own, once there is something to read: it could not go on after waiting in vain."""
        ready = select.poll()
        ready.register(self._sock, select.POLLIN)
        began_s = time.monotonic()
        while not ready.poll(self._read_timeout * 1000):
            self._is_silent(began_s)
        super()._read_query_result(unbuffered)  # type: ignore[misc]  # not in the stubs

    def _is_silent(self, since_s: float) -> None:
        if self._on_silence is None:
            raise TimeoutError("timed out")
        self._on_silence(time.monotonic() - since_s)

    def send(self, command: int, payload: bytes) -> None:
        """One command of the protocol. Raises OSError, the driver's errors."""
        self._execute_command(command, payload)  # type: ignore[attr-defined]  # not in the stubs

    def receive(self, wait_s: float) -> bytes:
        """Bytes of the answer as they have come; b"" when none have within that time. Raises OSError."""
        self._sock.settimeout(wait_s)
        try:
            size = self._sock.recv_into(self._space)
        except TimeoutError:
            return b""
        if not size:
            raise ConnectionResetError("the server has ended the connection")
        return bytes(self._space[:size])

    def greet(self, sock: socket.socket) -> None:
        """Sign in over a connected socket: the driver's own way leaks the socket of a refused connection."""
        self._secure = sock.family == socket.AF_UNIX  # a password may be sent as it is
        self.connect(sock)
        # one space for all answers: memory that is taken and given back each time costs three times as much
        self._space = memoryview(bytearray(RECEIVE_BYTES))

    def wait(self, seconds: float, on_silence: Callable[[float], None] | None) -> None:
        """Wait so long for each piece of an answer, and then ask."""
        self._read_timeout = self._write_timeout = seconds  # both the same: no switching for each statement
        self._on_silence = on_silence


class Connection:
    """One session. Not for several threads."""

    def __init__(self, wire: _Wire, address: Address) -> None:
        self._wire = wire
        self.address = address
        #: Who the server takes us for, as GRANT spells it; "" until it was asked.
        self.account = ""
        self._quiet_s: float = CONNECT_TIMEOUT_S
        self._on_silence: Callable[[float], None] | None = None
        version = wire.server_version
        self.flavour = "mariadb" if "mariadb" in version.lower() else "mysql"
        self.version = re.sub(r"^5\.5\.5-(?=\d+\.)", "", version)

    @property
    def number(self) -> int:
        """The server's number of this connection, as SHOW PROCESSLIST has it."""
        return self._wire.server_thread_id[0]

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement, none for one that gives none; cost: one round trip.

        ``parameters`` are put in for ``%s`` as literals, ``%%`` is then a ``%``; without them a ``%`` is itself.
        Raises SourceAway, SourceFault.
        """
        try:
            with self._wire.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return list(cursor.fetchall())
        except (pymysql.Error, OSError) as error:
            raise fault_of(error, self.address, self.account) from None

    def read(self, sql: str) -> list[Result]:
        """The results of one or more statements in one text, as bytes by column; cost: one round trip.

        Many times as fast as ``query`` for many rows. Nothing is put in for ``%``. Statements after one that fails
        are not run; ``extra["statement"]`` of the error is its place, from 0. Raises SourceAway, SourceFault.
        """
        try:
            return self._wire.read(sql)
        except ServerError as error:
            fault = self.fault(error)
            fault.extra["statement"] = error.statement
            raise fault from None
        except ProtocolError as error:
            self.close()
            raise SourceAway(f"the source sent what is no answer: {error}") from None
        except (pymysql.Error, OSError) as error:
            self.close()
            raise fault_of(error, self.address) from None

    def send(self, command: int, payload: bytes) -> None:
        """One command of the protocol whose answer ``receive`` gives; no statement can follow. Raises SourceAway."""
        try:
            self._wire.send(command, payload)
        except (pymysql.Error, OSError) as error:
            self.close()
            raise fault_of(error, self.address) from None

    def receive(self, wait_s: float) -> bytes:
        """Bytes that have come, b"" for none within ``wait_s``; packets are up to the caller. Raises SourceAway."""
        try:
            return self._wire.receive(wait_s)
        except OSError as error:
            self.close()
            raise fault_of(error, self.address) from None

    def fault(self, error: ServerError) -> SourceAway | SourceFault:
        """What a server has answered to a command, as ours."""
        return _fault(error.number, error.text, self.address, self.account)

    def literal(self, value: int | float | str | bytes | None) -> str:
        """The value as SQL text."""
        return str(self._wire.escape(value))

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """What is asked in the block is answered within that time, or the source is away: SourceAway."""
        self._wire.wait(seconds, None)
        try:
            yield
        finally:
            self._wire.wait(self._quiet_s, self._on_silence)

    def be_patient(self, quiet_s: float, on_silence: Callable[[float], None]) -> None:
        """From now on wait for as long as ``on_silence`` allows; it is asked after each ``quiet_s`` without a byte."""
        self._quiet_s, self._on_silence = quiet_s, on_silence
        self._wire.wait(quiet_s, on_silence)

    def close(self) -> None:
        """End the session; never raises. Locks and an open transaction go with it."""
        if self._wire.open:
            self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(
    settings: SourceSettings,
    *,
    base: Path | None = None,
    url: str | None = None,
    password: str | None = None,
    lock_wait_s: int = LOCK_WAIT_S,
    into_database: bool = True,
    is_probe: bool = False,
) -> Connection:
    """A session at the source of the settings. Raises SourceAway, SourceFault.

    ``base``: the directory of the configuration file. ``url``: another account or server than the settings name (setup
    by an administrator); its password is in it or in ``password``.
    ``into_database``: no account without rights comes in. ``is_probe``: nothing takes longer than a greeting.
    """
    address = address_of(settings.url if url is None else url)
    if password is None:
        own = "" if url is not None else password_of(settings, base)
        password = address.password if address.password is not None else own
    session = (
        f"SET SESSION time_zone = '{settings.time_zone}', lock_wait_timeout = {lock_wait_s},"
        f" innodb_lock_wait_timeout = {lock_wait_s}, net_write_timeout = {READ_TIMEOUT_S},"
        f" net_read_timeout = {READ_TIMEOUT_S}, wait_timeout = 86400, group_concat_max_len = 1048576"
    )
    wire = _Wire(
        host=address.host,
        **tls_of(address, base),
        user=address.user,
        password=password.encode(),  # a text would be sent as latin1
        database=(address.database or None) if into_database else None,
        charset="utf8mb4",
        sql_mode=SQL_MODE,
        init_command=session,
        client_flag=CLIENT.MULTI_STATEMENTS,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=CONNECT_TIMEOUT_S,
        write_timeout=CONNECT_TIMEOUT_S,
        program_name="tcsql",
        defer_connect=True,
    )
    try:
        wire.greet(socket_to(address, CONNECT_TIMEOUT_S))
    except (pymysql.Error, OSError, ValueError, RuntimeError) as error:  # the last: a way to sign in that is not known
        raise fault_of(error, address) from None
    connection = Connection(wire, address)
    [(current,)] = connection.query("SELECT CURRENT_USER()")
    connection.account = account_of(str(current))
    connection.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    if connection.flavour == "mariadb":  # a long list of keys is looked up in the index, not joined as a table
        connection.query("SET SESSION max_statement_time = 0, in_predicate_conversion_threshold = 0")
    else:
        connection.query("SET SESSION max_execution_time = 0")
    if not is_probe:

        def again() -> Connection:
            return connect(settings, base=base, url=url, password=password, into_database=into_database, is_probe=True)

        quiet_s = min(_MOST_QUIET_S, max(_LEAST_QUIET_S, _MISSED_BEATS * settings.heartbeat_ms / 1000))
        connection.be_patient(quiet_s, Silence(again, connection.number, READ_TIMEOUT_S).ask)
    return connection


def account_of(current: str) -> str:
    """What CURRENT_USER() says, as GRANT spells it. The host is that of the account, not the one we come from.

    >>> account_of("me@10.0.%")
    "'me'@'10.0.%'"
    """
    user, _, host = current.rpartition("@")
    return f"{quote_string(user)}@{quote_string(host)}"


def fault_of(error: Exception, address: Address, account: str = "") -> SourceAway | SourceFault:
    """An error of the driver or the network as one of ours. ``account``: who the server takes us for, if known."""
    if isinstance(error, (OSError, pymysql.InterfaceError)):
        place = address.unix_socket or f"{address.host}:{address.port}"
        why = getattr(error, "strerror", None) or _one_line(str(error)) or "the connection is lost"
        return SourceAway(f"{place} does not answer: {why}", errno=0)
    cause = getattr(error, "original_exception", None)
    if isinstance(cause, ssl.SSLError):
        return _fault(_TLS_FAILED, getattr(cause, "verify_message", "") or str(cause.reason or cause), address)
    number, text = 0, str(error)
    if error.args and isinstance(error.args[0], int):
        number, text = error.args[0], str(error.args[-1])
    return _fault(number, text, address, account)


def _fault(number: int, text: str, address: Address, account: str = "") -> SourceAway | SourceFault:
    text = _one_line(text)
    if number in _AWAY:
        return SourceAway(f"the source answers: {text}", errno=number)
    if number in _DENIED:
        return SourceFault(f"the source answers: {text}", _grant_for(number, text, address, account), errno=number)
    if number == 0:
        return SourceFault(
            f"the source cannot be connected to: {text}", "see tls in the url, and the account's plugin", errno=number
        )
    return SourceFault(f"the source answers: {text} ({number})", _HINTS.get(number), errno=number)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _grant_for(number: int, text: str, address: Address, account: str) -> str:
    """The statement that gives the missing right."""
    if not account:  # who could not sign in is named with the host that the server sees
        named = _ACCOUNT.search(text)
        account = account_of("@".join(named.groups() if named is not None else (address.user, "%")))
    denied = _PRIVILEGE.search(text)
    if denied is not None:
        name = denied[2].replace("`", "").strip("'").rsplit(".", 1)[-1]
        return f"run there: GRANT {denied[1]} ON `{address.database}`.`{name}` TO {account}"
    if number in (1820, 1862):
        return f"run there: ALTER USER {account} IDENTIFIED BY '...'"
    if number == 1227:
        return "this statement needs a right that only an administrator has: run it as one"
    if number == 1044:
        return "it has no right there yet; run: tcsql mysql setup --admin-url mysql://root@… (or the name is misspelt)"
    return (
        "compare its password with password_file or password_env; if there is no such account, run there:"
        f" CREATE USER {account} IDENTIFIED BY '...'"
    )
