"""Logs read from live servers: from a place on, exactly once, over rotations, kills, silence and purges."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

import pytest

from tcsql.errors import SourceAway, SourceFault
from tcsql.replication.binlog.faults import BinlogFault
from tcsql.replication.binlog.packets import Packets
from tcsql.replication.binlog.place import Place
from tcsql.replication.binlog.stream import Commit, Item
from tcsql.replication.binlog.tables import Change
from tcsql.replication.rows import ServerError
from tests.mariadb import MariaDB
from tests.replication.binlog.dumping import Reading, here
from tests.replication.binlog.logs import Logged, Told

T = "CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT)"
BY = ["gtids", "file"]


def from_place(at: Logged, by: str) -> Place:
    place = here(at)
    return place if by == "gtids" else place._replace(gtids="")


def keys(reading: Reading) -> list[int]:
    changes = [item for item in reading.items if isinstance(item, Change)]
    return [key for change in changes for key in change.rows.pkeys]  # type: ignore[misc]  # they are numbers here


def ends(items: Sequence[Item]) -> int:
    return sum(isinstance(item, Commit) for item in items)


@pytest.mark.parametrize("by", BY)
def test_what_is_written_comes_over_rotations(log_server: MariaDB, by: str) -> None:
    with Logged(log_server, T) as at, Reading(at, from_place(at, by), at.expected()) as reading:
        for number in range(6):
            at.query("INSERT INTO t VALUES (%s, 'x')", (number,))
            if number % 2:
                at.query("FLUSH BINARY LOGS")
        reading.commits(6)
        assert keys(reading) == list(range(6))
        assert reading.place.gtids == (here(at).gtids if by == "gtids" else "")
        assert (reading.place.file, reading.place.position) <= (here(at).file, here(at).position)


@pytest.mark.parametrize("by", BY)
def test_a_reader_that_is_killed_goes_on_without_a_gap_and_without_telling_anything_twice(
    log_server: MariaDB, by: str
) -> None:
    """Killed after one event more each time, so at every kind of border."""
    with Logged(log_server, T) as at:
        place, told = from_place(at, by), list[Item]()
        for number in range(0, 50, 10):
            at.query("BEGIN")
            at.query("INSERT INTO t VALUES (%s, 'x'), (%s, 'y')", (number, number + 1))
            at.query("DELETE FROM t WHERE id = %s", (number,))
            at.query("COMMIT")
            at.query("INSERT INTO t VALUES (%s, 'z')", (number + 2,))
        readings = 0
        while ends(told) < 10:
            readings += 1
            assert readings < 60, "it does not go on"
            with Reading(at, place, at.expected()) as reading:
                reading.most_events = 6 + readings % 11
                left = 10 - ends(told)
                reading.until(lambda: reading.most_events == 0 or ends(reading.items) == left)  # noqa: B023  # called at once
                if readings % 3 == 0:  # else it simply goes away
                    at.query(f"KILL {reading.connection.number}")
                    with pytest.raises((SourceAway, SourceFault)):
                        while True:
                            reading.dump.events(1.0)
                place = reading.place
                # what belongs to no end that has come is told again
                last = max((at for at, item in enumerate(reading.items) if isinstance(item, Commit)), default=-1)
                told += [item for item in reading.items[: last + 1] if isinstance(item, (Change, Commit))]
        whole = Told(told, at.expected())
        assert sorted(whole.rows["t"]) == [(number + more,) for number in range(0, 50, 10) for more in (1, 2)]
        assert len(whole.transactions) == 10
        assert readings > 3


def test_xa_transactions_survive_a_reader_that_ends_between_their_two_halves(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at:
        with Reading(at, here(at), at.expected()) as reading:
            with at.server.connect(at.database) as other, other.cursor() as cursor:
                for sql in ("XA START 'x'", "INSERT INTO t VALUES (1, 'xa')", "XA END 'x'", "XA PREPARE 'x'"):
                    cursor.execute(sql)
            at.query("INSERT INTO t VALUES (2, 'between')")
            reading.commits(2)
            assert keys(reading) == [2]
        assert reading.place.start != reading.place
        with Reading(at, reading.place, at.expected()) as second:
            at.query("XA COMMIT 'x'")
            second.commits(1)
            assert keys(second) == [1]
            assert second.place.start == second.place


def test_an_idle_server_shows_that_it_is_there_and_a_silent_one_is_given_up(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at, Reading(at, here(at), at.expected(), beat_s=0.2) as reading:
        reading.beats(3)
        at.query("INSERT INTO t VALUES (1, 'x')")
        reading.commits(1)
        reading.dump._heard_s = time.monotonic()  # the first answer may take longer; that is over
        assert log_server.process is not None
        log_server.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(SourceAway, match="said nothing"):
                while True:
                    reading.read()
            assert time.monotonic() - began < 5
        finally:
            log_server.process.send_signal(signal.SIGCONT)


def test_a_place_that_was_purged_is_a_fault_that_says_so(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at:
        place = here(at)
        at.query("INSERT INTO t VALUES (1, 'x')")
        at.query("FLUSH BINARY LOGS")
        at.query("INSERT INTO t VALUES (2, 'x')")
        at.query("FLUSH BINARY LOGS")
        newest = here(at).file
        deadline = time.monotonic() + 20
        # a file that is still read, or whose checkpoint is not written yet, is kept
        while at.query("SHOW BINARY LOGS")[0][0] != newest:
            assert time.monotonic() < deadline, "the log is not purged"
            at.query(f"PURGE BINARY LOGS TO '{newest}'")
            time.sleep(0.05)
        for gone in (place, place._replace(gtids="")):
            with (
                Reading(at, gone, at.expected()) as reading,
                pytest.raises(BinlogFault, match="cannot go on") as caught,
            ):
                reading.commits(2)
            assert caught.value.extra["kind"] == "purged"


def test_a_place_that_the_server_has_not_reached_is_a_fault(mysql_log: MariaDB) -> None:
    with Logged(mysql_log, T) as at:
        place = here(at)
        [(uuid,)] = at.query("SELECT @@server_uuid")
        future = place._replace(gtids=f"{uuid}:1-999999999")
        with Reading(at, future, at.expected()) as reading, pytest.raises(BinlogFault, match="cannot go on"):
            reading.commits(1)


def test_an_account_without_the_right_is_told_so(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at:
        at.query("CREATE USER plain@localhost")
        try:
            at.query(f"GRANT SELECT ON {at.database}.* TO plain@localhost")
            with (
                pytest.raises(SourceFault, match="has no right to read the binary log"),
                Reading(at, here(at), at.expected(), user="plain") as reading,
            ):
                reading.commits(1)
        finally:
            at.query("DROP USER plain@localhost")


def test_rows_of_more_than_one_packet(log_server: MariaDB) -> None:
    with Logged(log_server, T) as at:
        [(before,)] = at.query("SELECT @@GLOBAL.max_allowed_packet")
        at.query("SET GLOBAL max_allowed_packet = 67108864")
        at.connection.close()
        at.connection = at.server.connect(at.database)
        try:
            with Reading(at, here(at), at.expected()) as reading:
                at.query("INSERT INTO t VALUES (1, REPEAT('long', 5000000)), (2, 'short')")
                at.query("INSERT INTO t VALUES (3, 'after')")
                reading.commits(2)
            told = Told(reading.items, at.expected())
            assert {key: len(str(row["a"])) for (key,), row in told.rows["t"].items()} == {1: 20_000_000, 2: 5, 3: 5}
        finally:
            at.query(f"SET GLOBAL max_allowed_packet = {before}")


# --- packets --------------------------------------------------------------------------------------------------


def packet(number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def test_packets_are_joined_wherever_their_bytes_are_cut() -> None:
    long = bytes(2**24 - 2)
    data = packet(1, b"\0one") + packet(2, b"\0" + long) + packet(3, b"end") + packet(4, b"\0two")
    for step in (len(data), 2**20 + 7):
        packets = Packets()
        events = [event for at in range(0, len(data), step) for event in packets.feed(data[at : at + step])]
        assert events == [b"one", long + b"end", b"two"]
    short = packet(1, b"\0a") + packet(2, b"\0") + packet(3, b"\xfe\0\0\2\0")
    packets = Packets()
    assert [event for at in range(len(short)) for event in packets.feed(short[at : at + 1])] == [b"a", b""]
    assert packets.is_over


def test_packets_that_are_missing_or_none_are_refused() -> None:
    for data in (packet(2, b"\0a"), packet(1, b""), packet(1, b"\x05a"), packet(1, b"\xfe" + bytes(20))):
        with pytest.raises(BinlogFault):
            Packets().feed(data)
    with pytest.raises(ServerError, match="purged") as caught:
        Packets().feed(packet(1, b"\xff" + (1236).to_bytes(2, "little") + b"#HY000purged"))
    assert caught.value.number == 1236


def test_names_with_tags_lead_to_the_place_that_they_name(mysql_log: MariaDB) -> None:
    with Logged(mysql_log, T) as at:
        for tag in ("AUTOMATIC:some_tag", "AUTOMATIC:b", "AUTOMATIC"):
            at.query(f"SET SESSION gtid_next = '{tag}'")
            at.query("REPLACE INTO t VALUES (1, 'before')")
        place = here(at)
        assert ":some_tag:" in place.gtids
        with Reading(at, place, at.expected()) as reading:
            at.query("SET SESSION gtid_next = 'AUTOMATIC:some_tag'")
            at.query("INSERT INTO t VALUES (2, 'x')")
            at.query("SET SESSION gtid_next = 'AUTOMATIC'")
            at.query("INSERT INTO t VALUES (3, 'x')")
            reading.commits(2)
        assert keys(reading) == [2, 3]
        assert reading.place.gtids == here(at).gtids
