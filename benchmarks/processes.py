"""Servers and commands as child processes, each on a free port and ended by its own process id."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]  # ships no types

_START_S: Final = 180
_STOP_S: Final = 60


def environment() -> dict[str, str]:
    """Ours without any TCSQL_ variable, so that nobody's settings are measured."""
    root = str(Path(__file__).parent.parent)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TCSQL_")}
    return {**plain, "PYTHONPATH": root}


@dataclass(frozen=True, slots=True)
class Child:
    """A server that is ready. ``ready_s``: from the start of its process until it was."""

    process: subprocess.Popen[bytes]
    host: str
    port: int
    ready_s: float

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def peak_bytes(self) -> int | None:
        """The most it was ever resident with; None where the system does not say."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)

    def cpu_s(self) -> float:
        """Processor time of all its threads so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=600)

    def get(self, target: str) -> dict[str, object]:
        return self._ask("GET", target, None)

    def post(self, target: str, body: bytes) -> dict[str, object]:
        return self._ask("POST", target, body)

    def _ask(self, method: str, target: str, body: bytes | None) -> dict[str, object]:
        connection = self.connect()
        try:
            connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            found: dict[str, object] = json.loads(text)
            return found
        finally:
            connection.close()


@contextmanager
def tcsql_server(data: Path, *options: str) -> Iterator[Child]:
    """``tcsql serve`` on a data directory with its default settings but ``options``, from start to clean end."""
    command = [sys.executable, "-m", "tcsql", "serve", "--data", str(data), "--host", "127.0.0.1", "--port", "0"]
    command += options
    with _child(command, data.parent) as child:
        yield child
        child.process.send_signal(signal.SIGTERM)
        code = child.process.wait(_STOP_S)
        assert code == 0, f"the server ended with exit code {code}"


@contextmanager
def constant_server(directory: Path) -> Iterator[Child]:
    """The reference of HTTP figures: the same uvicorn, answering a constant."""
    with _child([sys.executable, "-m", "benchmarks.constant"], directory) as child:
        yield child


@contextmanager
def _child(command: Sequence[str], directory: Path) -> Iterator[Child]:
    """A server that prints its URL at the end of its first line and answers /ready."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=directory, env=environment(), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        parts = urlsplit(line.split()[-1] if line else "")
        assert parts.hostname is not None, f"no server: {line!r}"
        assert parts.port is not None, f"no port: {line!r}"
        _wait_until_ready(process, parts.hostname, parts.port)
        yield Child(process, parts.hostname, parts.port, time.perf_counter() - started)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_until_ready(process: subprocess.Popen[bytes], host: str, port: int) -> None:
    until = time.perf_counter() + _START_S
    while time.perf_counter() < until:
        assert process.poll() is None, "the server ended before it was ready"
        connection = http.client.HTTPConnection(host, port, timeout=_START_S)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except ConnectionError:
            pass  # it does not listen yet
        finally:
            connection.close()
        time.sleep(0.01)
    raise AssertionError("the server did not become ready")


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended well."""

    seconds: float
    output: bytes


def python(module: str, *arguments: object, directory: Path) -> Done:
    """Run a module as a command, from start to exit; raises AssertionError with its error output."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=directory, env=environment(), capture_output=True, check=False)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    return Done(seconds, done.stdout)
