"""The server as a process: start, recovery, schema.sql, signals, and what it says when it cannot serve."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tcsql.engine.change import Upsert
from tcsql.errors import SetupError
from tcsql.http.listening import listen
from tcsql.settings import Settings
from tcsql.sql import changes_of
from tcsql.storage.store import Store
from tests.http.serving import Running, environment, finished, serving

TABLE = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, n INT, title VARCHAR(80), KEY (n))"


def fill(server: Running, rows: int) -> None:
    server.sql(TABLE)
    lines = b"\n".join(b'{"n":%d,"title":"row number %d"}' % (number % 9, number) for number in range(rows))
    answer = server.post("command=insert", lines, "application/x-ndjson")
    assert answer.json()["inserted"] == rows, answer.text


def test_it_starts_on_nothing_and_comes_back_with_everything(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, afresh=True) as server:
        assert re.fullmatch(r"tcsql listening on http://127\.0\.0\.1:\d+\n", server.lines[0])
        ready = r"tcsql ready on http://127\.0\.0\.1:\d+ \(0 tables, 0 rows, recovered in \d+\.\d s\)\n"
        assert re.fullmatch(ready, server.lines[-1])
        fill(server, 3_000)
        before = server.get("command=select&where=n:NUMEQ:3&limit_max=1000").json()
        status = server.client.get(server.url + "/status").json()
        assert server.stop() == 0
        assert server.stderr() == ""
    half_a_backup = data / "backup-in-progress-x"
    half_a_backup.mkdir()
    (half_a_backup / "store").write_text("half")
    with serving(data) as server:
        assert "(1 table, 3000 rows," in server.lines[-1]
        assert not half_a_backup.exists()
        assert server.get("command=select&where=n:NUMEQ:3&limit_max=1000").json() == before
        again = server.client.get(server.url + "/status").json()
        assert again["id"] == status["id"]
        assert again["lsn"] >= status["lsn"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store of 60,000 rows, to be copied."""
    directory = tmp_path_factory.mktemp("large") / "data"
    with closing(Store.open(directory)) as store:
        store.commit_blocking(changes_of(TABLE, lambda name: None))
        for start in range(0, 60_000, 10_000):
            rows = [{"n": number % 9, "title": f"row number {number}"} for number in range(start, start + 10_000)]
            store.commit_blocking([Upsert("t", rows)])
    return directory


def test_health_and_progress_answer_while_the_store_is_read(large: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(large, tmp_path / "data"))
    with serving(data, ready=False) as server:
        seen = []
        while True:
            ready = server.client.get(server.url + "/ready")
            seen.append(ready.json())
            if ready.status_code == 200:
                break
            assert ready.headers["retry-after"] == "1"
            assert server.client.get(server.url + "/health").status_code == 200
            early = server.get("command=select")
            assert early.status_code in (200, 503)
            if early.status_code == 503:
                assert early.json()["error"]["code"] == "not_ready"
        server.wait_until_ready()
        assert not seen[0]["ready"]
        assert set(seen[0]["recovery"]) == {"rows", "of"}
        assert server.get("command=select&type=count").json() == {"count": 60_000}
        assert server.stop() == 0


def test_a_signal_during_recovery_ends_it(large: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(large, tmp_path / "data"))
    with serving(data, ready=False) as server:
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 5
    with serving(data) as server:
        assert server.get("command=select&type=count").json() == {"count": 60_000}


def test_sigterm_under_load_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    data = tmp_path / "data"
    acknowledged: list[int] = []
    stopping = threading.Event()

    def write(server: Running, writer: int) -> None:
        with httpx.Client(timeout=20) as client:
            for number in range(writer * 1_000_000, writer * 1_000_000 + 1_000_000):
                try:
                    answer = client.post(f"{server.url}/?command=insert", json={"id": number, "n": writer})
                except httpx.TransportError:
                    return
                if answer.status_code != 200:
                    assert answer.json()["error"]["code"] == "stopping"
                    return
                acknowledged.append(number)
                if len(acknowledged) > 300:
                    stopping.set()

    with serving(data) as server, ThreadPoolExecutor(8) as pool:
        server.sql(TABLE)
        writers = [pool.submit(write, server, writer) for writer in range(1, 9)]
        assert stopping.wait(20)
        assert server.stop() == 0
        for writer in writers:
            writer.result()
        assert "bug" not in server.stderr()
    with serving(data) as server:
        rows = set()
        after = ""
        while after is not None:
            page = server.get(f"command=select&type=id&limit_max=10000{f'&after={after}' if after else ''}").json()
            rows |= {row["id"] for row in page["rows"]}
            after = page["next"]
    assert set(acknowledged) <= rows
    assert len(rows) - len(acknowledged) <= 8  # a write that was done and whose answer was cut off


def test_a_request_that_runs_is_finished_before_the_end(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        server.sql(TABLE)
        head = b"POST /?command=insert HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        with socket.create_connection(server.address) as connection:
            connection.sendall(head + b"Content-Length: 20\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")  # the request has begun
            connection.sendall(b'{"id":1}\n')
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert server.process.poll() is None
            connection.sendall(b'{"id":200}\n')
            answer = b""
            while piece := connection.recv(65_536):  # the end of the server closes the connection
                answer += piece
        assert b'"inserted":2' in answer
        assert server.stop() == 0


def test_a_request_that_never_ends_is_cut_off_after_the_drain(tmp_path: Path) -> None:
    for flags, signals in ((("--drain-s", "0"), 1), (("--drain-s", "60"), 2)):
        with serving(tmp_path / f"data{signals}", *flags) as server:
            server.sql(TABLE)
            with socket.create_connection(server.address) as connection:
                head = b"POST /?command=insert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n"
                connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
                assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
                started = time.monotonic()
                for _ in range(signals):
                    server.process.send_signal(signal.SIGINT)
                    time.sleep(0.2)
                assert server.process.wait(10) == 0
                assert time.monotonic() - started < 5


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = finished("serve", "--data", str(tmp_path / "data"), "--port", port, cwd=tmp_path)
    assert found.returncode == 2
    assert re.fullmatch(
        rf"tcsql: cannot listen on 127\.0\.0\.1:{port}: Address already in use \(another .*--port 0.*\)\n", found.stderr
    )
    assert not (tmp_path / "data").exists()


def test_a_memory_limit_without_room_is_told_at_the_start(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--memory-limit", "8MiB") as running:
        reply = running.post("command=sql", b"sql=CREATE TABLE t (id INT PRIMARY KEY)")
        assert (reply.status_code, reply.json()["error"]["code"]) == (507, "no_memory")
        assert "is used up from the start" in running.stderr()


def test_a_directory_in_use_is_one_clear_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with closing(Store.open(data)):
        found = finished("serve", "--data", str(data), "--port", "0", cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith("tcsql: ")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["256.1.1.1", "no such host", "203.0.113.1", "x" * 300, "\0"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(SetupError, match="cannot listen on ") as found:
        listen(Settings(host=host, port=3888, plain_public=True), has_keys=True)
    assert "--host" in str(found.value.hint)


def test_a_path_that_is_no_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = finished("serve", "--data", "file", "--port", "0", cwd=tmp_path)
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("damage", [b"garbage", b"SQLite format 3\0" + b"\0" * 4096])
def test_a_damaged_store_is_refused_and_left_alone(tmp_path: Path, damage: bytes) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "tcsql.db").write_bytes(damage)
    found = finished("serve", "--data", str(data), "--port", "0", cwd=tmp_path)
    assert found.returncode == 3
    assert found.stderr.startswith("tcsql: ")
    assert found.stderr.count("\n") == 1
    assert (data / "tcsql.db").read_bytes() == damage


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    Store.open(data).close()
    with sqlite3.connect(data / "tcsql.db") as connection:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
    connection.close()
    assert finished("serve", "--data", str(data), "--port", "0", cwd=tmp_path).returncode == 3


def test_schema_sql_makes_a_new_store_and_is_compared_with_an_old_one(tmp_path: Path) -> None:
    schema = tmp_path / "schema.sql"
    schema.write_text(TABLE + ";\nCREATE TABLE u (a INT, b VARCHAR(9), PRIMARY KEY (a, b))")
    flags = ("serve", "--data", str(tmp_path / "data"), "--port", "0", "--schema", str(schema))
    with serving(tmp_path / "data", "--schema", str(schema)) as server:
        assert "(2 tables, 0 rows," in server.lines[-1]
        assert server.stop() == 0
    schema.write_text(TABLE.replace("VARCHAR(80)", "VARCHAR(90)"))
    found = finished(*flags, cwd=tmp_path)
    assert found.returncode == 3, found.stderr
    assert "column t.title is varchar(80) in the store and varchar(90) in the file" in found.stderr.lower()
    assert found.stderr.count("\n") == 1
    schema.write_text("CREATE TABLE (")
    found = finished(*flags, cwd=tmp_path)
    assert (found.returncode, str(schema) in found.stderr) == (2, True), found.stderr


def test_settings_of_all_sources_reach_the_running_server(tmp_path: Path) -> None:
    (tmp_path / "tcsql.toml").write_text("[limits]\nmax_rows = 2\n[security]\nget_writes = true\n")
    flags = ("--max-body-bytes", "2KiB", "--log-level", "info")
    with serving(tmp_path / "data", *flags, variables={"TCSQL_DEFAULT_TABLE": "t"}) as server:
        server.sql(TABLE)
        server.sql("CREATE TABLE other (id INT PRIMARY KEY)")
        assert server.get("command=select&limit_max=3").json()["error"]["code"] == "limit_exceeded"
        assert server.get("command=select").json()["total"] == 0
        assert server.get('command=insert&rows={"n":1}').json()["inserted"] == 1
        assert server.post("command=insert", b" " * 2_049).status_code == 413
        in_one_buffer = (
            b"POST /?command=insert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2049\r\n\r\n" + b" " * 2_049
        )
        assert server.raw(in_one_buffer).startswith(b"HTTP/1.1 413 ")
        assert server.raw(b"GET \x1b[31m HTTP/1.1\r\n\r\n")
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.stderr().splitlines()]
    assert lines
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)


def test_durability_can_be_relaxed(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--durability", "memory") as server:
        server.sql(TABLE)
        assert server.post("command=insert", {"n": 1}).status_code == 200
        assert server.client.get(server.url + "/status").json()["durability"] == "memory"
        assert server.stop() == 0


def test_nobody_reading_its_lines_does_not_end_the_server() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody:
        program = "from tcsql.server import say; say('listening'); say('ready')"
        ended = subprocess.run(
            [sys.executable, "-c", program], stdout=nobody, stderr=subprocess.PIPE, env=environment(), check=False
        )
    assert (ended.returncode, ended.stderr) == (0, b"")
