"""A stack: the server processes that answer together, as one thing to stop, resume, weigh and end.

All stacks run at the same time, each pinned to the servers' core, and all but the one that is measured are stopped
(SIGSTOP), so that they take memory and nothing else. A stack is ended by the process ids that it was started with.
"""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.processes import environment
from loadtest.cores import pin
from loadtest.template import Template

_START_S: Final = 120
_STOP_S: Final = 30
#: After the generator has gone: time to see thousands of closed connections before the stack is stopped.
_SETTLE_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Stack:
    """``roots``: the processes we started; their children belong to it. ``asks``: its request for each query."""

    name: str
    title: str
    port: int
    roots: tuple[psutil.Process, ...]
    asks: Mapping[str, Template]
    facts: dict[str, object] = field(default_factory=dict)

    def processes(self) -> list[psutil.Process]:
        """All of them, children too."""
        found = []
        for root in self.roots:
            found += [root, *root.children(recursive=True)]
        return found

    def pin(self, cores: frozenset[int]) -> None:
        for process in self.processes():
            pin(process.pid, cores)

    def stop(self) -> None:
        for process in self.processes():
            process.suspend()

    def resume(self) -> None:
        for process in self.processes():
            process.resume()

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Resumed inside, after which it has answered once and sees its closed connections; stopped outside."""
        self.resume()
        try:
            wait_until_open(self.port)
            yield
            time.sleep(_SETTLE_S)
        finally:
            self.stop()

    def resident_bytes(self) -> int:
        """Memory of all its processes; what they share counts once each."""
        return sum(int(process.memory_info().rss) for process in self.processes())

    def cpu_s(self) -> float:
        """Processor time of all its processes so far."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(float(time.user + time.system) for time in times)

    def send(self, request: str) -> tuple[int, bytes]:
        """One request, as wrk would send it: status and body."""
        return send(self.port, request)


def send(port: int, request: str) -> tuple[int, bytes]:
    """One request in full on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


def free_port() -> int:
    """A port that is free now, for servers that cannot say which one they took."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_open(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Until a connection is accepted; raises RuntimeError when the process ends or it takes too long."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"nothing listens on port {port}")


@contextmanager
def child(command: Sequence[str], directory: Path, log: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server process with its output in a file; ended by its own id, awake or stopped."""
    with (directory / log).open("wb") as output:
        process = subprocess.Popen(
            command, cwd=directory, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    except RuntimeError as error:
        said = (directory / log).read_text(encoding="utf-8", errors="replace")[-2_000:]
        raise RuntimeError(f"{error}\n{said}") from error
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL to it and its children when that is not enough."""
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    for member in family:
        member.resume()
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for member in psutil.wait_procs(family, timeout=1)[1]:
        member.kill()
