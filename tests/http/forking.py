"""Starts of the program without a start of Python: a process has it loaded and forks it, hundreds of times a run.

    process = fork(["serve", "--data", "d"], stdout=1, stderr=2, environment={...}, directory=Path("/"))
    process.wait(10)

A start of Python with the program loaded costs half a second of processor, a fork some milliseconds. What runs is the
same: the command line's own entry, with the arguments, environment, directory and descriptors of this start and with
the interpreter's own end. Not the same are what Python reads before the first line of the program (``PYTHONPATH``,
``LD_PRELOAD``) and the limits and namespaces of the caller: who gives those starts a process in the ordinary way.

The forking process is started when first asked for, has one thread, and ends when its control socket is closed: with
the process of the tests, however that ends. It reaps its children and says how they ended by one socket for each.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

_MOST_BYTES: Final = 150_000  # of a request; a socket's buffer has 212,992
_START_S: Final = 60.0


class Forked:
    """What of ``subprocess.Popen`` tests of servers use."""

    def __init__(self, news: socket.socket, stdout: io.BufferedReader | None) -> None:
        self.stdout = stdout
        self.returncode: int | None = None
        self._news = news
        news.settimeout(_START_S)
        self.pid = int(self._heard())

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        if self.returncode is None:
            self._news.settimeout(timeout)
            try:
                self.returncode = int(self._heard())
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0) from None
            self._news.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _heard(self) -> str:
        said = self._news.recv(100)
        assert said, "the process that forks has died"
        return said.decode()


def fork(
    arguments: Sequence[str], *, stdout: int | None, stderr: int, environment: Mapping[str, str], directory: Path
) -> Forked:
    """Start ``tcsql ARGUMENTS``. ``stdout`` None: a pipe, to be read from ``.stdout``."""
    reading, writing = os.pipe() if stdout is None else (-1, os.dup(stdout))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    request = json.dumps([list(arguments), dict(environment), str(directory.resolve())]).encode()
    assert len(request) <= _MOST_BYTES, len(request)
    with theirs:
        try:
            socket.send_fds(_forker(), [request], [writing, stderr, theirs.fileno()])
        finally:
            os.close(writing)
    return Forked(ours, open(reading, "rb") if stdout is None else None)


@cache
def _forker() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    root = str(Path(__file__).parents[2])
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.http.forking", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=root,
            env=os.environ | {"PYTHONPATH": root},
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait(_START_S)

    atexit.register(end)
    return ours


# --- the process that forks ---------------------------------------------------------------------------------


class _Forker:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._news: dict[int, socket.socket] = {}
        self._woken, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a key at the terminal ends the tests, which end this
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)

    def run(self) -> list[str]:
        """Fork until the control socket ends; in a child: the arguments it is to run with."""
        while True:
            ready, _, _ = select.select([self._control, self._woken], [], [])
            if self._woken in ready:
                self._reap()
            if self._control in ready:
                request, descriptors, _, _ = socket.recv_fds(self._control, _MOST_BYTES, 3)
                if not request:
                    raise SystemExit(0)
                arguments, environment, directory = json.loads(request)
                if not self._forks(*descriptors):
                    os.environ.clear()
                    os.environ.update(environment)
                    time.tzset()
                    os.chdir(directory)
                    return [str(each) for each in arguments]

    def _reap(self) -> None:
        self._woken.recv(1_000)
        for pid in list(self._news):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with self._news.pop(pid) as news, contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
                    news.send(b"%d" % os.waitstatus_to_exitcode(status))

    def _forks(self, stdout: int, stderr: int, news: int) -> bool:
        pid = os.fork()
        if pid:
            os.close(stdout)
            os.close(stderr)
            self._news[pid] = socket.socket(fileno=news)
            self._news[pid].send(b"%d" % pid)
            return True
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        for each in (stdout, stderr, news):
            os.close(each)
        for held in (self._control, self._woken, self._wakes, *self._news.values()):
            held.close()
        return False


def main() -> NoReturn:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    # Loaded before the first fork: all that a server needs until it listens.
    import tcsql.server  # noqa: F401, PLC0415  # the process of the tests, which imports this module, need not load it
    from tcsql.cli import main as tcsql_main  # noqa: PLC0415  # as above

    program: Callable[[Sequence[str]], int] = tcsql_main
    arguments = _Forker(control).run()
    sys.argv = ["tcsql", *arguments]
    sys.exit(program(arguments))


if __name__ == "__main__":
    main()
