"""A real server in a process of its own, for tests that speak HTTP to it."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import orjson

from tcsql.settings import ENVIRONMENT_PREFIX
from tests.http.forking import Forked, fork

START_S = 30.0


@cache
def _compiled() -> str:
    directory = tempfile.mkdtemp(prefix="tcsql-compiled")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def environment(**extra: str) -> dict[str, str]:
    """The environment without settings of the machine the tests run on."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    if plain.pop("PYTHONDONTWRITEBYTECODE", ""):  # hundreds of starts a run: a quarter of a second each to compile
        plain["PYTHONPYCACHEPREFIX"] = _compiled()
    return plain | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"} | extra


@contextlib.contextmanager
def without_settings() -> Iterator[None]:
    """The same for a command that runs in this process, which refuses variables that it does not know."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT_PREFIX)}
    for name in kept:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(kept)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tcsql", *arguments]


@dataclass
class Running:
    """One server process. ``url`` is known when it listens."""

    process: subprocess.Popen[bytes] | Forked
    errors: BinaryIO
    url: str
    lines: list[str]
    client: httpx.Client

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def get(self, query: str, **how: Any) -> httpx.Response:
        return self.client.get(f"{self.url}/?{query}", **how)

    def post(self, query: str, content: object = b"", kind: str | None = None, **how: Any) -> httpx.Response:
        """A POST; what is not bytes is sent as JSON."""
        if not isinstance(content, bytes) and not hasattr(content, "__next__"):
            content, kind = orjson.dumps(content), kind or "application/json"
        headers = how.pop("headers", {}) | ({"content-type": kind} if kind else {})
        return self.client.post(f"{self.url}/?{query}", content=content, headers=headers, **how)  # type: ignore[arg-type]  # bytes or an iterator of them

    def sql(self, text: str) -> dict[str, Any]:
        answer = self.post("command=sql", {"sql": text})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def rows(self, query: str) -> list[dict[str, Any]]:
        answer = self.get("command=select&" + query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["rows"])

    def raw(self, request: bytes, *, until_close: bool = True, timeout_s: float = 10) -> bytes:
        """Bytes as they are over a socket of their own, and all that comes back."""
        with socket.create_connection(self.address, timeout=timeout_s) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(request)
            answer = b""
            while until_close or b"\r\n\r\n" not in answer:
                try:
                    piece = connection.recv(65_536)
                except ConnectionError:
                    break
                if not piece:
                    break
                answer += piece
            return answer

    def wait_until_ready(self) -> None:
        while " ready on " not in self.lines[-1]:
            self.lines.append(_line(self.process))
            if not self.lines[-1]:
                self.process.wait(START_S)
                raise AssertionError(f"the server did not become ready: {self.stderr()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the server; its exit code."""
        self.client.close()  # a kept connection is idle, and would be waited for
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=START_S)

    def stderr(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode()


def _line(process: subprocess.Popen[bytes] | Forked) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode()


@contextlib.contextmanager
def serving(
    data: Path,
    *flags: str,
    ready: bool = True,
    variables: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
    afresh: bool = False,
) -> Iterator[Running]:
    """A server on a free port; ended with the block. ``within``: a command that becomes it, as nsenter does.

    Forked from a process that has the program loaded, unless ``afresh``, in a namespace, or with other variables.
    """
    arguments = ["serve", "--data", str(data), "--port", "0", *flags]
    around = environment(**variables or {})
    process: subprocess.Popen[bytes] | Forked
    with tempfile.TemporaryFile() as errors:
        if afresh or within or variables:
            words = [*within, *command(*arguments)]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, env=around, cwd=data.parent)
        else:
            process = fork(arguments, stdout=None, stderr=errors.fileno(), environment=around, directory=data.parent)
        client = httpx.Client(timeout=20)
        try:
            first = _line(process)
            if not first:
                process.wait(START_S)
                errors.seek(0)
                raise AssertionError(f"the server did not start: {errors.read().decode()}")
            running = Running(process, errors, first.split()[-1], [first], client)
            if ready:
                running.wait_until_ready()
            yield running
        finally:
            client.close()
            if process.poll() is None:
                process.kill()
            process.wait(START_S)
            if process.stdout is not None:
                process.stdout.close()


def finished(*arguments: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """A command run to its end."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        files = {"stdout": output.fileno(), "stderr": errors.fileno()}
        process = fork(arguments, **files, environment=environment(**extra), directory=cwd)
        try:
            code = process.wait(START_S)
        finally:
            process.kill()
            process.wait(START_S)
        said = [file.seek(0) or file.read().decode() for file in (output, errors)]
        return subprocess.CompletedProcess(arguments, code, *said)


def wait_for(condition: Any, timeout_s: float = 10) -> None:
    """Look until it holds."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)
