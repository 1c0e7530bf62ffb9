"""A receiver of HTTP requests that behaves as badly as it is told, and remembers what it got.

    with Receiver(path) as receiver:        # a unix socket; without a path 127.0.0.1 and a free port
        receiver.behaviour = Behaviour(status=500)

A behaviour is looked up for each request. Requests are noted when they were read whole, before they are answered.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

#: How long a test waits for something that is bound to come.
PATIENCE_S = 10.0


def until(true: Callable[[], bool], what: str) -> None:
    """Wait until it is true; raises AssertionError after ten seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Behaviour:
    """What happens to a request: answered with ``status`` after ``delay_s``, a byte each ``trickle_s``, then ``then``.

    reset: no answer, the connection is reset. mute: no answer, now or ever, on this connection.
    """

    status: int = 200
    delay_s: float = 0.0
    trickle_s: float = 0.0
    then: Literal["keep", "close", "reset", "mute"] = "keep"


@dataclass
class Receiver:
    """See the module."""

    path: Path | None = None
    behaviour: Behaviour = Behaviour()
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET)
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self._listener.bind(str(self.path) if self.path else ("127.0.0.1", 0))
        self._listener.listen(128)
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    @property
    def target(self) -> str:
        """How push.conf spells it."""
        return str(self.path) if self.path else f"127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def open(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._open)

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests]

    def hang_up(self) -> None:
        """Close all connections, as a server does with idle ones."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        until(lambda: self.open == 0, "all connections closed")

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError), connection.makefile("rb") as stream:
                while (request := _read(stream)) is not None:
                    self.requests.append(request)
                    if not self._answer(connection):
                        break
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket) -> bool:
        """Whether the connection is kept."""
        behaviour = self.behaviour
        if behaviour.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if behaviour.then == "mute":
            while connection.recv(65536):
                pass
            return False
        self._stopping.wait(behaviour.delay_s)
        answer = f"HTTP/1.1 {behaviour.status} X\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        if behaviour.trickle_s:
            for byte in answer:
                connection.sendall(bytes([byte]))
                self._stopping.wait(behaviour.trickle_s)
        else:
            connection.sendall(answer)
        return behaviour.then == "keep"


def _read(stream: BinaryIO) -> Request | None:
    line = stream.readline()
    if not line:
        return None
    headers = {}
    while (header := stream.readline().decode().strip()) != "":
        name, _, value = header.partition(": ")
        assert name not in headers
        headers[name] = value
    body = stream.read(int(headers["Content-Length"]))
    return Request(line.decode().strip(), headers, body)
