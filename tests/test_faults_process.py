"""Faults of the process and the machine: signals, closed and full pipes, descriptors used up, clocks that jump."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import tcsql
from tcsql import process
from tcsql.engine.change import CreateTable, Upsert
from tcsql.errors import SetupError
from tcsql.process import KEPT, most_connections
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tests.http.serving import Running, command, environment, serving, wait_for
from tests.storage.support import POSTS, post

TABLE = "CREATE TABLE t (id INT PRIMARY KEY, n INT, body VARCHAR(200), KEY (n))"


def count(server: Running) -> int:
    return int(server.get("command=select&table=t&type=count").json()["count"])


def fill(server: Running, rows: int = 20_000) -> None:
    server.sql(TABLE)
    lines = b"\n".join(b'{"id":%d,"n":%d,"body":"row %d"}' % (number, number % 9, number) for number in range(rows))
    assert server.post("command=insert&table=t", lines, "application/x-ndjson").status_code == 200


# --- signals ------------------------------------------------------------------------------------------------


def test_a_terminal_that_is_closed_and_a_reader_that_is_gone_do_not_end_the_server(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        server.sql(TABLE)
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGHUP):
            server.process.send_signal(number)
        time.sleep(0.1)
        assert server.post("command=insert&table=t", {"id": 1}).status_code == 200
        assert server.stop(signal.SIGINT) == 0


def test_a_process_that_was_stopped_answers_what_waited_when_it_goes_on(tmp_path: Path) -> None:
    """SIGSTOP, as a suspended machine: requests wait in their connections, none is lost, and nothing is restarted."""
    with serving(tmp_path / "data") as server:
        server.sql(TABLE)
        server.process.send_signal(signal.SIGSTOP)
        try:
            with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=20) as waiting:
                waiting.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                waiting.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    waiting.recv(1)
                server.process.send_signal(signal.SIGCONT)
                waiting.settimeout(20)
                assert waiting.recv(65_536).startswith(b"HTTP/1.1 200 OK")
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert server.post("command=insert&table=t", {"id": 1}).status_code == 200
        assert server.get("command=select&table=t").json()["total"] == 1
        assert server.stop() == 0


def test_sigterm_during_a_load_keeps_what_was_answered_and_ends_in_order(tmp_path: Path) -> None:
    """The load goes on until the drain ends; then it is cut, at a whole line, and the stop is a clean one."""
    data = tmp_path / "data"
    sent = threading.Event()

    def lines() -> Iterator[bytes]:
        for start in range(0, 10_000_000, 500):
            yield b"".join(
                b'{"id":%d,"n":1,"body":"row %d"}\n' % (number, number) for number in range(start, start + 500)
            )
            if start > 3_000:
                sent.set()
            time.sleep(0.002)

    with serving(data, "--drain-s", "1") as server:
        server.sql(TABLE)

        def load() -> None:
            with pytest.raises(Exception, match=r".*"):  # cut, or refused; whichever comes first
                server.post("command=insert&table=t", lines(), "application/x-ndjson").raise_for_status()

        loading = threading.Thread(target=load)
        loading.start()
        assert sent.wait(20)
        server.process.terminate()
        assert server.process.wait(20) == 0
        loading.join(20)
        assert "bug" not in server.stderr()
    with serving(data) as server:
        assert server.client.get(server.url + "/status").json()["recovered_clean"]
        highest = server.rows("table=t&type=id&order_by=id&order_sort=NUMDESC&limit_max=1")[0]["id"]
        assert count(server) == highest + 1 > 3_000


def test_sigterm_during_a_backup_leaves_nothing_of_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, "--drain-s", "1") as server:
        fill(server)
        with socket.create_connection(server.address) as connection:
            connection.sendall(b"GET /backup HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.process.terminate()
            assert server.process.wait(20) == 0
    assert not list(data.glob("backup*")) and (data / "tcsql.db").exists()


def test_many_signals_at_once_end_it_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server:
        fill(server, 100)
        for _ in range(5):
            server.process.send_signal(signal.SIGTERM)
            server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
    with serving(data) as server:
        assert count(server) == 100


def test_the_death_of_the_parent_is_no_reason_to_end(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "child.stdout.readline()\nline = child.stdout.readline().decode().split()\n"
        "print(child.pid, line[3], flush=True)\nsys.stdin.read()\n"
    )
    serve = command("serve", "--data", str(tmp_path / "data"), "--port", "0")
    with subprocess.Popen(
        [sys.executable, "-c", script, *serve], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as parent:
        assert parent.stdout is not None and parent.stdin is not None
        pid, url = parent.stdout.readline().decode().split()
        parent.kill()
        parent.wait()
    try:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    finally:
        os.kill(int(pid), signal.SIGTERM)
        wait_for(lambda: not Path(f"/proc/{pid}/exe").exists() or _is_zombie(int(pid)))


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


# --- standard streams ---------------------------------------------------------------------------------------


def test_closed_standard_streams_do_not_become_the_store(tmp_path: Path) -> None:
    """Their numbers would go to the next files that are opened, and a line of the log into one of them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [*command("serve"), "--data", str(tmp_path / "data"), "--port", str(port), "--log-level", "debug"]
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *arguments]
    process = subprocess.Popen(closed, env=environment())
    try:
        wait_for(lambda: _answers(port), 20)
        for descriptor in range(3):
            assert os.readlink(f"/proc/{process.pid}/fd/{descriptor}") == "/dev/null"
    finally:
        process.terminate()
        assert process.wait(10) == 0


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def test_a_log_that_nobody_reads_does_not_hold_up_the_server(tmp_path: Path) -> None:
    """A full pipe makes a write to it wait for its reader, for ever."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4_096)
    process = subprocess.Popen(
        command("serve", "--data", str(tmp_path / "data"), "--port", "0", "--log-level", "info"),
        stdout=subprocess.PIPE,
        stderr=writer,
        env=environment(),
    )
    os.close(writer)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[-1].rpartition(b":")[2])
        assert b" ready on " in process.stdout.readline()
        slowest = 0.0
        for _ in range(100):
            process.send_signal(signal.SIGHUP)  # a line of the log
            began = time.monotonic()
            assert _answers(port)
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 2
        process.terminate()
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        os.close(reader)


# --- descriptors --------------------------------------------------------------------------------------------


def test_connections_leave_descriptors_for_everything_else(tmp_path: Path) -> None:
    within = ("prlimit", "--nofile=64:128", "--")
    with serving(tmp_path / "data", within=within) as server, ExitStack() as opened:
        server.sql(TABLE)
        assert f"max_connections is {128 - KEPT} instead of 10000" in server.stderr()
        refused = 0
        for _ in range(3 * 128):
            connection = opened.enter_context(socket.create_connection(server.address, timeout=5))
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = connection.recv(1000)
            refused += answer.startswith(b"HTTP/1.1 503 ")
            assert answer.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 200 "))
        assert refused > 200
        for number in range(20):  # the connection that was there goes on, and so do commits and backups
            assert server.post("command=insert&table=t", {"id": number}).status_code == 200
        assert server.client.get(server.url + "/backup").status_code == 200
        opened.close()
        assert count(server) == 20


def test_without_any_descriptor_left_it_waits_quietly_and_goes_on_when_there_is_one(tmp_path: Path) -> None:
    """The limit is lowered while it runs, as by a machine that has none left for anybody."""
    with serving(tmp_path / "data") as server, ExitStack() as opened:
        server.sql(TABLE)
        pid = server.process.pid
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, used + 1_000))
        for _ in range(50):
            opened.enter_context(socket.create_connection(server.address, timeout=5))
        time.sleep(0.2)
        before, began = _cpu_s(pid), time.monotonic()
        for number in range(20):
            assert server.post("command=insert&table=t", {"id": number}).status_code == 200
        time.sleep(1)
        used_s = (_cpu_s(pid) - before) / (time.monotonic() - began)
        assert used_s < 0.5, f"{used_s:.0%} of a processor"
        assert len(server.stderr()) < 20_000
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 1_000, used + 1_000))
        opened.close()
        wait_for(lambda: _answers(server.address[1]), 10)
        assert count(server) == 20
        assert server.stop() == 0


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_too_few_descriptors_are_a_clear_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = subprocess.run(
        ["prlimit", "--nofile=60:60", "--", *command("serve", "--data", str(tmp_path / "data"), "--port", "0")],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30,
        check=False,
    )
    assert found.returncode == 2
    assert "may open 60 files only" in found.stderr and "ulimit -n" in found.stderr
    limits = [(1_000, 1_000), (300, 700), (-1, -1), (300, -1)]
    monkeypatch.setattr(process.resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(process.resource, "getrlimit", lambda _: limits.pop(0))
    assert [most_connections(500) for _ in range(4)] == [500, 500, 500, 500]
    limits += [(300, 400), (10, 20)]
    assert most_connections(500) == 400 - KEPT
    with pytest.raises(SetupError):
        most_connections(500)


# --- clocks -------------------------------------------------------------------------------------------------

#: Who may ask for the time of day, and what for. A wall clock can be set back: nothing is measured or ordered by it.
WALL_CLOCKS = {
    "tcsql/storage/options.py": "CURRENT_TIMESTAMP of columns, as MySQL",
    "tcsql/stalls.py": "when a stall was, for people",
    "tcsql/http/slow.py": "when a slow read was, for people",
    "tcsql/logs.py": "the time of a line of the log",
    "tcsql/audit.py": "the time of a line of the audit log",
    "tcsql/cli/key.py": "the dates of keys, which are days",
    "tcsql/http/access.py": "when keys expire, which is a date",
    "tcsql/storage/retention.py": "the age of changes: a jump forgets some early or late, and their readers are told",
    "tcsql/replication/auditing.py": "when a comparison ran last, across restarts",
}


def test_only_what_shows_a_date_asks_for_the_time_of_day() -> None:
    root = Path(tcsql.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                text = ast.unparse(node)
                if text in ("time.time", "time.time_ns", "time.localtime", "time.gmtime") or text.endswith(
                    ("datetime.now", "datetime.utcnow", "date.today")
                ):
                    found.add(str(path.relative_to(root.parent)))
    assert found <= WALL_CLOCKS.keys(), found - WALL_CLOCKS.keys()


def test_a_clock_that_jumps_changes_nothing_but_the_timestamps_it_gives(tmp_path: Path) -> None:
    clock = [datetime(2030, 1, 1)]
    store = Store.open(tmp_path, StoreOptions(clock=lambda: clock[0]))
    store.commit_blocking([CreateTable(POSTS)])
    lsns = []
    for jump in (0, -3650, 7300, -1, 36_500, -73_000):
        clock[0] += timedelta(days=jump)
        lsns.append(store.commit_blocking([Upsert("posts", [post(len(lsns))])]).lsn)
    assert lsns == sorted(set(lsns))
    store.close()
    again = Store.open(tmp_path)
    assert again.recovered.clean and again.recovered.rows == len(lsns)
    again.close()


def test_a_server_goes_on_when_the_wall_clock_is_set_back_and_forward(tmp_path: Path) -> None:
    """``time.time`` jumps by ten years every moment; deadlines, group commit and idleness do not care."""
    jumping = tmp_path / "sitecustomize.py"
    jumping.write_text(
        "import time\nreal, calls = time.time, [0]\n"
        "def jumping():\n    calls[0] += 1\n    return real() + (calls[0] % 7 - 3) * 3e8\n"
        "time.time = jumping\n"
    )
    paths = f"{tmp_path}:{environment()['PYTHONPATH']}"
    with serving(tmp_path / "data", variables={"PYTHONPATH": paths}) as server:
        server.sql(TABLE)
        for number in range(50):
            answer = server.post("command=insert&table=t", {"id": number, "n": 1})
            assert answer.status_code == 200
            lsn = answer.json()["lsn"]
        time.sleep(1.2)  # a sweep of idle connections
        assert count(server) == 50
        assert server.get(f"command=select&table=t&min_lsn={lsn}").status_code in (200, 400)
        assert server.stop() == 0
        for line in server.stderr().splitlines():
            assert json.loads(line)["level"] != "error"
