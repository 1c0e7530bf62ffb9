"""The library and the server's life: many connections, KILL, DROP FUNCTION, a new version, accounts without rights."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pymysql
import pytest

from tests.udf.library import FUNCTIONS, Cursor, Loader, info, register, value
from tests.udf.receiver import Behaviour, Receiver, until


def load(loader: Loader, receiver: Receiver, *more: str, timeout_ms: int = 5000) -> str:
    lines = [f"target = {receiver.target}", "source = shop", "token = t", f"timeout_ms = {timeout_ms}"]
    return loader.load(*lines, f"connect_timeout_ms = {timeout_ms}", *more)


def test_fifty_connections_hold_one_socket_each_and_give_it_back(loader: Loader, cursor: Cursor) -> None:
    with Receiver() as receiver, ExitStack() as stack:
        load(loader, receiver)
        handles = loader.handles
        writers = [stack.enter_context(loader.server.connect("shop")) for _ in range(50)]

        def write(number: int) -> None:
            for key in range(4):
                writers[number].cursor().execute("INSERT INTO posts VALUES (%s, 0)", (4 * number + key,))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(write, range(50)))
        assert sorted(int(body) for body in receiver.bodies) == list(range(200))
        assert receiver.connections == receiver.open == 50
        assert loader.handles <= handles + 2 * 50 + 20  # the clients' connections, ours, and a few files of tables
        assert info(cursor) == {"delivered": 200, "failed": 0, "lost": 0, "circuit": "closed", "problem": ""}
        for writer in writers:
            writer.close()
        stack.pop_all()
        until(lambda: receiver.open == 0, "every thread's connection closed with it")
        until(lambda: loader.handles <= handles + 20, "handles given back")


def test_a_circuit_holds_for_all_connections(loader: Loader, tmp_path: Path, cursor: Cursor) -> None:
    with Receiver(tmp_path / "r") as receiver, ExitStack() as stack:
        load(loader, receiver, "failures = 3", "cooldown_ms = 60000", timeout_ms=150)
        receiver.behaviour = Behaviour(then="mute")
        writers = [stack.enter_context(loader.server.connect("shop")) for _ in range(20)]

        def write(number: int) -> None:
            for key in range(20):
                writers[number].cursor().execute("INSERT INTO posts VALUES (%s, 0)", (20 * number + key,))

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(write, range(20)))
        found = info(cursor)
        assert found["lost"] == 400 and 3 <= found["failed"] <= 2 * 20 and found["circuit"] == "open"


def test_kill_query_waits_for_the_timeout_and_no_longer(loader: Loader, tmp_path: Path, cursor: Cursor) -> None:
    with Receiver(tmp_path / "r") as receiver, loader.server.connect("shop") as writer:
        load(loader, receiver, timeout_ms=600)
        receiver.behaviour = Behaviour(then="mute")
        outcome: list[object] = []

        def write() -> None:
            start = time.monotonic()
            try:
                writer.cursor().execute("INSERT INTO posts VALUES (1, 0), (2, 0), (3, 0), (4, 0)")
            except pymysql.err.OperationalError as error:
                outcome.append(error.args[0])
            outcome.append(time.monotonic() - start)

        thread = threading.Thread(target=write)
        thread.start()
        until(lambda: len(receiver.requests) == 1, "the first row's hint")
        cursor.execute(f"KILL QUERY {writer.thread_id()}")
        thread.join()
        code, took = outcome
        assert code == 1317 and isinstance(took, float) and 0.55 <= took < 1.8  # one row's stall, not four
        assert value(cursor, "COUNT(*) FROM posts") == 0 and receiver.bodies == [b"1"]


def test_dropped_functions_leave_no_trap_behind(loader: Loader, tmp_path: Path, cursor: Cursor) -> None:
    """The threads' connections outlive the functions; when the threads end, the code that closes them must be there."""
    with Receiver(tmp_path / "r") as receiver:
        load(loader, receiver)
        writers = [loader.server.connect("shop") for _ in range(10)]
        for key, writer in enumerate(writers):
            writer.cursor().execute("INSERT INTO posts VALUES (%s, 0)", (key,))
        assert receiver.open == 10
        for function in FUNCTIONS:
            cursor.execute(f"DROP FUNCTION {function}")
        for writer in writers:
            writer.close()
        until(lambda: receiver.open == 0, "connections closed")
        assert loader.alive
        with pytest.raises(pymysql.err.OperationalError, match="tcsql_push"):  # why triggers go first
            cursor.execute("INSERT INTO posts VALUES (99, 0)")


def test_a_new_version_comes_in_under_a_lock_without_one_failed_write(
    loader: Loader, tmp_path: Path, cursor: Cursor
) -> None:
    with Receiver(tmp_path / "old") as old, Receiver(tmp_path / "new") as new:
        load(loader, old)
        stop = threading.Event()

        def write(first: int) -> int:
            with loader.server.connect("shop") as connection:
                key = first
                while not stop.is_set():
                    connection.cursor().execute("INSERT INTO posts VALUES (%s, 0)", (key,))
                    key += 1
                return key - first

        with ThreadPoolExecutor(3) as pool:
            writers = [pool.submit(write, number * 1_000_000) for number in range(3)]
            until(lambda: len(old.requests) > 30, "hints by the old version")
            cursor.execute("FLUSH TABLES posts WITH READ LOCK")
            before = len(old.requests)
            name = load(loader, new)
            cursor.execute("UNLOCK TABLES")
            until(lambda: len(new.requests) > 30, "hints by the new version")
            stop.set()
            written = sum(writer.result() for writer in writers)
        assert len(old.requests) == before and before + len(new.requests) == written
        register(cursor, name)  # the same file again: the same code, its counters go on
        assert info(cursor)["delivered"] == len(new.requests)


def test_a_function_dropped_while_a_trigger_runs_it_fails_writes_until_tables_are_flushed(
    loader: Loader, tmp_path: Path, cursor: Cursor
) -> None:
    """MariaDB's own trap, and the reason for the lock of the test above."""
    with Receiver(tmp_path / "r") as receiver, loader.server.connect("shop") as writer:
        name = load(loader, receiver, timeout_ms=400)
        receiver.behaviour = Behaviour(then="mute")
        thread = threading.Thread(target=writer.cursor().execute, args=("INSERT INTO posts VALUES (1, 0)",))
        thread.start()
        until(lambda: len(receiver.requests) == 1, "a trigger that runs")
        register(cursor, name)
        thread.join()
        receiver.behaviour = Behaviour()
        for _ in range(2):
            with pytest.raises(pymysql.err.OperationalError, match=r"1122, .Can't load function '\*'"):
                writer.cursor().execute("INSERT INTO posts VALUES (2, 0)")
        cursor.execute("FLUSH TABLES posts")
        writer.cursor().execute("INSERT INTO posts VALUES (2, 0)")
        assert receiver.bodies[-1] == b"2"


def test_an_account_without_rights_chooses_nothing(loader: Loader, tmp_path: Path, cursor: Cursor) -> None:
    """Every SQL user may call every function: so where a message goes, and as whom, is not theirs to say."""
    cursor.execute("CREATE USER guest@localhost")
    with Receiver(tmp_path / "r") as receiver, Receiver() as other:
        load(loader, receiver)
        with pymysql.connect(unix_socket=loader.server.socket, user="guest", charset="utf8mb4") as connection:
            guest = connection.cursor()
            for host, port in (("127.0.0.1", other.port), ("localhost", other.port), (str(tmp_path / "r"), 0)):
                assert value(guest, "http_post(%s, %s, 'command=insert', 'x')", host, port) is None
            evil = " HTTP/1.1\r\nHost: evil\r\nContent-Length: 0\r\n\r\nGET /?command=drop"
            assert value(guest, "tcsql_push(%s, %s, 'a forged hint')", f"t&source=x{evil}", f"D&table=y{evil}") == 200
            assert b"t\n" not in value(guest, "tcsql_udf_info()")
        assert other.connections == 0
        [request] = receiver.requests
        encoded = "%20HTTP%2F1.1%0D%0AHost%3A%20evil%0D%0AContent-Length%3A%200%0D%0A%0D%0AGET%20%2F%3Fcommand%3Ddrop"
        expected = f"command=hint&source=shop&table=t%26source%3Dx{encoded}&op=D%26table%3Dy{encoded}"
        assert request.line == f"POST /?{expected} HTTP/1.1" and request.body == b"a forged hint"
    cursor.execute("DROP USER guest@localhost")
