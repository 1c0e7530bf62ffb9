"""A stack: the server processes that answer together, as one thing to stop, resume, weigh and end.

All stacks run at the same time, each pinned to the servers' core, and all but the one that is measured are stopped
(SIGSTOP), so that they take memory and nothing else. A stack is ended by the process ids that it was started with.
"""

from __future__ import annotations

import http.client
import random
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
#: After the generator has gone a stack still sees closed connections and answers what nobody waits for. It has
#: settled when it takes less than this share of a core; 10,000 counts that nobody waits for take MariaDB two minutes.
_IDLE_CORE: Final = 0.1
_LOOK_S: Final = 0.25
_SETTLE_S: Final = 180


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
        """Resumed and answering inside; afterwards it works off what is left, and is stopped."""
        self.resume()
        try:
            self._answer_once()
            yield
            self.settle()
        finally:
            self.stop()

    def _answer_once(self) -> None:
        template = self.asks["q1"]
        status, body = self.send(template.filled(template.draw(random.Random(0))))
        if status != 200:
            raise RuntimeError(f"{self.title} answers {status}: {body[:500]!r}")

    def settle(self) -> None:
        """Wait until it has nothing to do."""
        until = time.monotonic() + _SETTLE_S
        used, at = self.cpu_s(), time.monotonic()
        while at < until:
            time.sleep(_LOOK_S)
            used_now, now = self.cpu_s(), time.monotonic()
            if used_now - used < _IDLE_CORE * (now - at):
                return
            used, at = used_now, now

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
