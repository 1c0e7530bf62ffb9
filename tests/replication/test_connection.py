"""Addresses, passwords, and what each failure of a server becomes: try again, or run this statement."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from tcsql.errors import SourceAway, SourceFault
from tcsql.replication import connection as connecting
from tcsql.replication.address import address_of, password_of, tls_of
from tcsql.replication.connection import SQL_MODE, Connection, connect
from tcsql.sources import FollowedTable, SourceSettings
from tests.mariadb import MariaDB
from tests.replication.binlogging import Link

SETTINGS = SourceSettings(name="shop", url="mysql://root@localhost/", tables=(FollowedTable(name="posts"),))


def settings_of(server: MariaDB, user: str = "root", database: str = "", more: str = "") -> SourceSettings:
    url = f"mysql://{user}@localhost/{database}?unix_socket={server.socket}{more}"
    return dataclasses.replace(SETTINGS, url=url)


@pytest.fixture
def connection(any_server: MariaDB) -> Iterator[Connection]:
    with connect(settings_of(any_server)) as opened:
        yield opened


def test_urls_are_taken_apart_and_percent_decoded() -> None:
    address = address_of("mysql://m%40e:p%2Fw%25@db.example:3307/sh%20op?tls=verify&tls_ca=/etc/ca%20of.pem")
    assert (address.user, address.password, address.host, address.port) == ("m@e", "p/w%", "db.example", 3307)
    assert (address.database, address.tls, address.tls_ca) == ("sh op", "verify", "/etc/ca of.pem")
    assert "p/w" not in repr(address)
    assert address_of("mysql://me@[::1]:9/x").host == "::1"


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("mysql://me@127.0.0.1/x", "off"),
        ("mysql://me@localhost/x", "off"),
        ("mysql://me@far/x?unix_socket=/run/s", "off"),
        ("mysql://me@db.example/x", "on"),
        ("mysql://me@db.example/x?tls=off", "off"),
    ],
)
def test_what_leaves_the_machine_is_encrypted_unless_told_otherwise(url: str, tls: str) -> None:
    assert address_of(url).tls == tls


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://",
        "mysql://db/x",
        "http://me@db/x",
        "mysql://me@db:port/x",
        "mysql://me@db:70000/x",
        "mysql://me@db/x?tls=maybe",
        "mysql://me@db/x?charset=utf8",
        "mysql://me@db/x?tls",
    ],
)
def test_urls_that_are_none_are_faults_that_do_not_show_them(url: str) -> None:
    with pytest.raises(SourceFault) as caught:
        address_of(url.replace("me@", "me:secret@"))
    assert caught.value.hint
    assert "secret" not in caught.value.message


def test_the_authority_of_a_certificate_is_a_file_beside_the_configuration(tmp_path: Path) -> None:
    address = address_of("mysql://me@db.example/x?tls=verify&tls_ca=own.pem")
    with pytest.raises(SourceFault, match=r"tls_ca=own\.pem of the url cannot be used: No such file") as caught:
        tls_of(address, tmp_path)
    assert "beside the configuration" in str(caught.value.hint)
    (tmp_path / "own.pem").write_text("no certificate")
    with pytest.raises(SourceFault, match=r"tls_ca=own\.pem of the url cannot be used"):
        tls_of(address, tmp_path)
    (tmp_path / "own.pem").write_bytes(Path(certifi.where()).read_bytes())
    assert tls_of(address, tmp_path)["ssl_ca"] == str(tmp_path / "own.pem")


def test_passwords_come_from_a_file_beside_the_configuration_or_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "word").write_text("p ä'ss\r\nsecond line\n")
    assert password_of(dataclasses.replace(SETTINGS, password_file="word"), tmp_path) == "p ä'ss"
    with pytest.raises(SourceFault, match="password file gone of source shop cannot be read: No such file"):
        password_of(dataclasses.replace(SETTINGS, password_file="gone"), tmp_path)
    monkeypatch.setenv("SHOP_WORD", "from there")
    assert password_of(dataclasses.replace(SETTINGS, password_env="SHOP_WORD"), None) == "from there"
    monkeypatch.delenv("SHOP_WORD")
    with pytest.raises(SourceFault, match="variable SHOP_WORD of source shop is not set"):
        password_of(dataclasses.replace(SETTINGS, password_env="SHOP_WORD"), None)
    assert password_of(SETTINGS, None) == ""


def test_a_session_is_the_same_whatever_the_server_defaults_are(any_server: MariaDB) -> None:
    settings = dataclasses.replace(settings_of(any_server), time_zone="+05:30")
    with connect(settings) as opened:
        [(zone, mode, automatic, charset)] = opened.query(
            "SELECT @@time_zone, @@sql_mode, @@autocommit, @@character_set_results"
        )
        isolation = opened.query("SHOW VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')")
        assert (zone, mode, automatic, charset) == ("+05:30", SQL_MODE, 1, "utf8mb4")
        assert {value for _, value in isolation} == {"REPEATABLE-READ"}
        assert opened.query("SELECT '100%%', %s", ("it's \\ %",)) == [("100%", "it's \\ %")]
        assert opened.query("SELECT 'a' LIKE 'a%'") == [(1,)]


def test_own_reading_of_rows_is_that_of_the_driver(connection: Connection) -> None:
    # long values of every kind of length, NULLs, several MB, and more columns than one byte counts
    wide = ",".join(f"{n} AS c{n}" for n in range(300))
    for sql in (
        "SELECT NULL, '', REPEAT('x', 250), REPEAT('y', 251), REPEAT('z', 65535), REPEAT('ü', 65536), 1.5, X'00ff'",
        "SELECT REPEAT('a', 17000000), 'b', NULL UNION ALL SELECT 'c', NULL, REPEAT('d', 16777215)",
        f"SELECT {wide}",
        "SELECT 1 FROM DUAL WHERE FALSE",
    ):
        [result] = connection.read(sql)
        rows = [
            tuple(value if isinstance(value, bytes) or value is None else str(value).encode() for value in row)
            for row in connection.query(sql)
        ]
        assert list(zip(*result.columns, strict=True)) == rows


def test_a_session_goes_on_after_a_statement_that_fails(connection: Connection) -> None:
    with pytest.raises(SourceFault) as caught:
        connection.read("SELECT 1;SELECT nothing;SELECT 2")
    assert (caught.value.extra["errno"], caught.value.extra["statement"]) == (1054, 1)
    assert connection.read("SELECT 3")[0].columns == [[b"3"]]
    assert connection.query("SELECT 4") == [(4,)]


def test_what_is_refused_names_the_statement_that_helps(any_server: MariaDB, connection: Connection) -> None:
    with any_server.database("refusals"):
        connection.query("CREATE USER reader@localhost IDENTIFIED BY 'word'")
        try:
            connection.query("CREATE TABLE refusals.posts (id INT)")
            connection.query("GRANT DELETE ON refusals.posts TO reader@localhost")
            with connect(settings_of(any_server, "reader:word", "refusals")) as reader:
                with pytest.raises(SourceFault) as caught:
                    reader.read("SELECT * FROM posts")
                assert caught.value.hint == "run there: GRANT SELECT ON `refusals`.`posts` TO 'reader'@'localhost'"
            with pytest.raises(SourceFault, match="Access denied for user 'reader'@'localhost'") as caught:
                connect(settings_of(any_server, "reader:wrong"))
            assert "password_file" in str(caught.value.hint)
            with pytest.raises(SourceFault) as caught:
                connect(settings_of(any_server, "reader:word", "mysql"))
            assert "tcsql mysql setup --admin-url" in str(caught.value.hint)
        finally:
            connection.query("DROP USER reader@localhost")


def test_a_time_zone_that_is_not_loaded_says_how_to_load_it(any_server: MariaDB) -> None:
    with pytest.raises(SourceFault, match="time zone") as caught:
        connect(dataclasses.replace(settings_of(any_server), time_zone="Europe/Berlin"))
    assert "mysql_tzinfo_to_sql" in str(caught.value.hint)


def test_nobody_there_is_away(tmp_path: Path) -> None:
    with pytest.raises(SourceAway, match="No such file"):
        connect(dataclasses.replace(SETTINGS, url=f"mysql://me@x/y?unix_socket={tmp_path}/s"))
    with pytest.raises(SourceAway, match=r"127\.0\.0\.1:1 does not answer: Connection refused"):
        connect(dataclasses.replace(SETTINGS, url="mysql://me@127.0.0.1:1/y"))


def test_a_killed_session_a_deadlock_and_a_lock_are_away(any_server: MariaDB, connection: Connection) -> None:
    with connect(settings_of(any_server), lock_wait_s=1) as other:
        with any_server.database("locks"):
            connection.query("CREATE TABLE locks.t (id INT PRIMARY KEY) ENGINE=InnoDB")
            connection.query("INSERT INTO locks.t VALUES (1)")
            connection.query("START TRANSACTION")
            connection.query("SELECT * FROM locks.t WHERE id = 1 FOR UPDATE")
            with pytest.raises(SourceAway, match="Lock wait timeout"):
                other.read("SELECT * FROM locks.t WHERE id = 1 FOR UPDATE")
            connection.query("ROLLBACK")
        connection.query(f"KILL {other.number}")
        for _ in range(2):
            with pytest.raises(SourceAway):
                other.read("SELECT 1")


def test_tls_is_on_when_it_is_asked_for(any_server: MariaDB) -> None:
    settings = settings_of(any_server, more="&tls=on")
    if type(any_server) is MariaDB:  # 10.11 has no certificate unless it is given one
        with pytest.raises(SourceFault, match="SSL") as caught:
            connect(settings)
        assert "tls=off" in str(caught.value.hint)
        return
    with connect(settings) as opened:
        assert opened.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1]
        [result] = opened.read("SELECT REPEAT('x', 1000000), 'end'")  # our own reading, through TLS
        assert [len(column[0] or b"") for column in result.columns] == [1_000_000, 3]
    with pytest.raises(SourceFault, match="certificate"):
        connect(settings_of(any_server, more="&tls=verify"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "_LEAST_QUIET_S", 0.2)
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT_S", 1.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("way", ["query", "read"])
def test_a_statement_takes_as_long_as_it_needs_and_a_dead_link_does_not(any_server: MariaDB, way: str) -> None:
    with Link(any_server.socket) as link:
        url = f"mysql://root@localhost/?unix_socket={link.path}"
        with connect(dataclasses.replace(SETTINGS, url=url, heartbeat_ms=100)) as session:
            ask = getattr(session, way)
            assert len(ask("SELECT SLEEP(1.2)")) == 1
            assert link.connections > 2, "another session has asked what this one is at"
            link.cut()
            began_s = time.monotonic()
            with pytest.raises(SourceAway, match="nothing has come"):
                ask("SELECT 1")
            assert time.monotonic() - began_s < 10


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_is_lost_is_not_waited_for(any_server: MariaDB) -> None:
    """Other sessions reach the server, and it says that it is at nothing for ours."""
    near, far = socket.socketpair()
    with near, far, connect(dataclasses.replace(settings_of(any_server), heartbeat_ms=100)) as session:
        own = session._wire._sock
        session._wire._sock = near  # nobody reads what is asked here
        with pytest.raises(SourceAway, match="at nothing for us"):
            session.read("SELECT 1")
        own.close()
