"""Whatever the receiver does: a write never fails, never waits longer than it may, and nothing is sent twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.udf.library import Cursor, Loader, info, takes, value
from tests.udf.receiver import Behaviour, Receiver, until

#: How long a stall is in these tests. Where nothing is to stall, the limit is far above what a busy machine needs.
STALL_S = 0.2
LIMIT_S = 5.0


def settings(receiver: Receiver, *more: str, timeout_s: float = LIMIT_S) -> tuple[str, ...]:
    """The target and its time limits; a circuit that stays closed unless ``more`` says otherwise."""
    milliseconds = round(timeout_s * 1000)
    lines = (f"target = {receiver.target}", "source = shop", "token = a-secret", f"timeout_ms = {milliseconds}")
    return (*lines, f"connect_timeout_ms = {milliseconds}", *(more or ("failures = 1000",)))


def keys(receiver: Receiver) -> list[int]:
    return [int(body) for body in receiver.bodies]


def test_a_write_is_a_hint_on_a_kept_connection(loader: Loader, receiver: Receiver, cursor: Cursor) -> None:
    loader.load(*settings(receiver))
    cursor.execute("INSERT INTO posts VALUES (1, 0), (2, 0)")
    cursor.execute("UPDATE posts SET n = 1 WHERE id = 2")
    cursor.execute("DELETE FROM posts WHERE id = 1")
    lines = [f"POST /?command=hint&source=shop&table=posts&op={op} HTTP/1.1" for op in "IIUD"]
    assert [request.line for request in receiver.requests] == lines
    assert keys(receiver) == [1, 2, 2, 1]
    headers = receiver.requests[0].headers
    assert headers["Host"] == "localhost" and headers["Authorization"] == "Bearer a-secret"
    assert headers["Content-Type"] == "text/plain; charset=utf-8" and "TCSQL-Lost" not in headers
    assert receiver.connections == 1
    assert value(cursor, "tcsql_push('posts', 'U', '1', NULL, '2')") == 200 and receiver.bodies[-1] == b"1\n2"


def test_a_receiver_that_is_down_loses_hints_and_is_told_how_many(
    loader: Loader, tmp_path: Path, cursor: Cursor
) -> None:
    down = Receiver(tmp_path / "later")
    loader.load(*settings(down))
    with takes(0, 1):
        cursor.execute("INSERT INTO posts VALUES (1, 0), (2, 0), (3, 0)")
    assert info(cursor)["lost"] == 3 and info(cursor)["problem"] == "connection refused"
    with down as receiver:
        cursor.execute("INSERT INTO posts VALUES (4, 0), (5, 0)")
        assert keys(receiver) == [4, 5]
        assert [request.headers.get("TCSQL-Lost") for request in receiver.requests] == ["3", None]


@pytest.mark.parametrize("status", [400, 401, 500, 503])
def test_a_refused_hint_is_lost_and_the_write_stands(
    loader: Loader, receiver: Receiver, cursor: Cursor, status: int
) -> None:
    loader.load(*settings(receiver))
    receiver.behaviour = Behaviour(status=status)
    cursor.execute("INSERT INTO posts VALUES (1, 0)")
    assert value(cursor, "COUNT(*) FROM posts") == 1 and keys(receiver) == [1] and info(cursor)["lost"] == 1
    assert value(cursor, "tcsql_push('posts', 'U', 1)") == status


def test_a_slow_receiver_stalls_each_row_for_the_timeout_and_has_the_hint(
    loader: Loader, receiver: Receiver, cursor: Cursor
) -> None:
    loader.load(*settings(receiver, timeout_s=STALL_S))
    receiver.behaviour = Behaviour(delay_s=4 * STALL_S)
    with takes(2 * STALL_S, 2 * STALL_S + 1):
        cursor.execute("INSERT INTO posts VALUES (1, 0), (2, 0)")
    assert keys(receiver) == [1, 2] and info(cursor)["delivered"] == 0


def test_an_answer_byte_by_byte_does_not_move_the_deadline(loader: Loader, receiver: Receiver, cursor: Cursor) -> None:
    loader.load(*settings(receiver, timeout_s=STALL_S))
    receiver.behaviour = Behaviour(trickle_s=STALL_S / 4)
    with takes(STALL_S, STALL_S + 1):
        cursor.execute("INSERT INTO posts VALUES (1, 0)")
    assert info(cursor)["problem"] == "no answer in time"


def test_a_receiver_that_hangs_stalls_a_few_rows_and_then_none(
    loader: Loader, receiver: Receiver, cursor: Cursor
) -> None:
    loader.load(*settings(receiver, "failures = 2", "cooldown_ms = 60000", timeout_s=STALL_S))
    receiver.behaviour = Behaviour(then="mute")
    rows = ",".join(f"({key}, 0)" for key in range(1000))
    with takes(2 * STALL_S, 10):
        cursor.execute(f"INSERT INTO posts VALUES {rows}")
    found = info(cursor)
    assert (found["failed"], found["lost"], found["circuit"]) == (2, 1000, "open")
    assert len(receiver.requests) == 2


def test_the_circuit_lets_one_probe_through_and_closes_when_it_works(
    loader: Loader, receiver: Receiver, cursor: Cursor
) -> None:
    loader.load(*settings(receiver, "failures = 2", "cooldown_ms = 500"))
    receiver.behaviour = Behaviour(status=500)
    cursor.execute("INSERT INTO posts VALUES (1, 0), (2, 0), (3, 0)")
    assert keys(receiver) == [1, 2] and info(cursor)["circuit"] == "open"
    time.sleep(0.51)
    cursor.execute("INSERT INTO posts VALUES (4, 0), (5, 0)")
    assert keys(receiver) == [1, 2, 4] and info(cursor)["circuit"] == "open"
    receiver.behaviour = Behaviour()
    time.sleep(0.51)
    cursor.execute("INSERT INTO posts VALUES (6, 0), (7, 0)")
    assert keys(receiver) == [1, 2, 4, 6, 7] and info(cursor)["circuit"] == "closed"
    assert receiver.requests[3].headers["TCSQL-Lost"] == "5" and "TCSQL-Lost" not in receiver.requests[4].headers
    log = (loader.server.base / "err.log").read_text()
    assert log.count("one try in 500 ms") == log.count("localhost answers again") == 1


def test_a_reset_behind_the_request_is_not_sent_again(loader: Loader, receiver: Receiver, cursor: Cursor) -> None:
    loader.load(*settings(receiver))
    cursor.execute("INSERT INTO posts VALUES (1, 0)")
    receiver.behaviour = Behaviour(then="reset")
    cursor.execute("INSERT INTO posts VALUES (2, 0)")
    receiver.behaviour = Behaviour()
    cursor.execute("INSERT INTO posts VALUES (3, 0)")
    assert keys(receiver) == [1, 2, 3]
    assert receiver.connections == 2 and info(cursor)["failed"] == 1


def test_a_reset_over_tcp_is_not_sent_again_either(loader: Loader, cursor: Cursor) -> None:
    with Receiver() as receiver:
        loader.load(*settings(receiver))
        for then in ("keep", "reset", "reset", "keep"):
            receiver.behaviour = Behaviour(then=then)
            value(cursor, "tcsql_push('posts', 'U', %s)", then)
        assert receiver.bodies == [b"keep", b"reset", b"reset", b"keep"]
        assert receiver.requests[0].headers["Host"] == receiver.target


def test_a_kept_connection_that_was_closed_meanwhile_loses_nothing(
    loader: Loader, receiver: Receiver, cursor: Cursor
) -> None:
    loader.load(*settings(receiver))
    for key in range(5):
        cursor.execute("INSERT INTO posts VALUES (%s, 0)", (key,))
        receiver.hang_up()
    assert keys(receiver) == [0, 1, 2, 3, 4] and receiver.connections == 5 and info(cursor)["lost"] == 0


def test_a_connection_whose_other_end_is_silent_is_given_up(loader: Loader, receiver: Receiver, cursor: Cursor) -> None:
    loader.load(*settings(receiver, timeout_s=STALL_S))
    cursor.execute("INSERT INTO posts VALUES (1, 0)")
    receiver.behaviour = Behaviour(then="mute")
    with takes(STALL_S, STALL_S + 1):
        cursor.execute("INSERT INTO posts VALUES (2, 0)")
    receiver.behaviour = Behaviour()
    cursor.execute("INSERT INTO posts VALUES (3, 0)")
    assert keys(receiver) == [1, 2, 3] and receiver.connections == 2
    until(lambda: receiver.open == 1, "the silent connection closed by us")


def test_a_connection_that_rested_long_is_not_used_again(loader: Loader, receiver: Receiver, cursor: Cursor) -> None:
    loader.load(*settings(receiver, "failures = 1000", "idle_ms = 50"))
    cursor.execute("INSERT INTO posts VALUES (1, 0), (2, 0)")
    time.sleep(0.06)
    cursor.execute("INSERT INTO posts VALUES (3, 0)")
    assert keys(receiver) == [1, 2, 3] and receiver.connections == 2


@pytest.mark.parametrize("size", [0, 1, 65536, 65537])
def test_keys_are_binary_and_end_at_64_kib(loader: Loader, receiver: Receiver, cursor: Cursor, size: int) -> None:
    loader.load(*settings(receiver))
    key = (bytes(range(256)) * 257)[:size]
    sent = value(cursor, "tcsql_push('posts', 'I', %s)", key)
    if size <= 65536:
        assert sent == 200 and receiver.bodies == [key]
    else:
        assert sent is None and receiver.bodies == [] and info(cursor)["lost"] == 1


def test_null_is_nothing_to_say(loader: Loader, receiver: Receiver, cursor: Cursor) -> None:
    loader.load(*settings(receiver))
    for arguments in ("NULL, 'I', 1", "'posts', NULL, 1", "'posts', 'I', NULL", "'posts', 'I', NULL, NULL"):
        assert value(cursor, f"tcsql_push({arguments})") is None
    assert receiver.requests == [] and info(cursor)["lost"] == 0


@pytest.mark.parametrize(
    ("lines", "mode", "problem"),
    [
        (("source = shop",), 0o600, "ok"),
        (("target = /r", "source = shop", "tokn = x"), 0o600, "line 3: an unknown option"),
        (("target = example.com:80",), 0o600, "line 1: target is"),
        (("target = /r", "source = shop"), 0o620, "may be written by others"),
    ],
)
def test_without_a_good_configuration_nothing_is_sent_and_every_write_stands(
    loader: Loader, cursor: Cursor, lines: tuple[str, ...], mode: int, problem: str
) -> None:
    loader.load(*lines, mode=mode)
    cursor.execute("INSERT INTO posts VALUES (1, 0)")
    assert value(cursor, "tcsql_push('posts', 'I', 1)") is None and value(cursor, "tcsql_doorbell()") == 0
    assert value(cursor, "http_post('127.0.0.1', 80, 'a=b')") is None
    assert problem in value(cursor, "tcsql_udf_info()").decode()
