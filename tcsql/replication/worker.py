"""The process of one source: ``python -m tcsql.replication.worker FD``, started by ``workerclient`` and by nobody else.

It takes commands from the socket FD, runs them on a source, which blocks, and answers. All it is to know comes over
the socket, passwords too: nothing stands on the command line. While a source has nothing to do it sleeps until a
command or a hint arrives or the doorbell rings.

It ends when the other end has gone: at once when idle, and within half a second when the source hangs in a statement.
A key typed at the terminal (SIGINT) is not for it. A bug ends it with its traceback on stderr.

The doorbell is a datagram socket at a path of the settings; a file left behind by an earlier process is replaced,
which is safe as only one reader holds the outbox. Anybody may write to it (mode 0666): the server's mysqld is another
user, and a ring makes us look at the outbox once, no more.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from tcsql.errors import SetupError, SourceAway, SourceFault
from tcsql.replication.binlogsource import BinlogSource
from tcsql.replication.channel import HEAD, Message, frame, frame_of_error, frames_of_step, message_of
from tcsql.replication.outbox import OutboxSource
from tcsql.replication.push import PushSource
from tcsql.replication.session import Wait, Woken
from tcsql.replication.source import Source, Step
from tcsql.sources import SourceSettings

#: What a statement under way has time for after the other end has gone.
_GRACE_S: Final = 0.5
_RING_BYTES: Final = 64


def make_source(settings: SourceSettings, base: Path | None, wait: Wait) -> Source:
    """The source of the settings' mode. ``base``: the configuration's directory; ``wait``: how it is to be idle."""
    if settings.mode == "push":
        return PushSource(settings, base, wait)
    if settings.mode == "binlog":
        return BinlogSource(settings, base, wait)
    return OutboxSource(settings, base, wait)


class Worker:
    """One source and the socket that commands come from."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._doorbell: socket.socket | None = None
        self._waiting: deque[Message] = deque()
        self._source: Source | None = None
        self._bell_path: Path | None = None

    def run(self) -> None:
        """Serve until the other end has gone or says close."""
        started = self._receive()
        if started is None:
            return
        _, settings, base = started
        if settings.doorbell:
            self._bell_path = (base or Path()) / settings.doorbell
        self._source = source = make_source(settings, base, self.wait)
        try:
            while True:
                message = self._waiting.popleft() if self._waiting else self._receive()
                if message is None or message[0] == "close":
                    return
                if not self._hinted(message):
                    self._serve(source, message)
        finally:
            source.close()
            self._close_doorbell()

    def _serve(self, source: Source, message: Message) -> None:
        command, *arguments = message
        try:
            result = getattr(source, command)(*arguments)
            if command == "open" and self._bell_path is not None and self._doorbell is None:
                self._doorbell = bind_doorbell(self._bell_path)
        except (SourceAway, SourceFault, SetupError) as error:
            self._sock.sendall(frame_of_error(error))
            return
        if isinstance(result, Step):
            for data in frames_of_step(result):
                self._sock.sendall(data)
        else:
            self._sock.sendall(frame(("ok", result)))

    def _hinted(self, message: Message) -> bool:
        if message[0] != "hint":
            return False
        if isinstance(self._source, PushSource):
            self._source.hint(*message[1:])
        return True

    def wait(self, seconds: float) -> Woken:
        """Sleep until the time is over, the doorbell rings, or somebody wants something."""
        if self._waiting:
            return Woken.CALLED
        sockets = [self._sock] if self._doorbell is None else [self._sock, self._doorbell]
        ready, _, _ = select.select(sockets, [], [], seconds)
        if self._sock in ready:
            message = self._receive()
            if message is None:
                message = ("close",)
            if not self._hinted(message):
                self._waiting.append(message)
            return Woken.CALLED
        if ready:
            self._silence()
            return Woken.RUNG
        return Woken.NOT

    def _silence(self) -> None:
        """Take all rings that have come: one look answers them all."""
        assert self._doorbell is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                self._doorbell.recv(_RING_BYTES, socket.MSG_DONTWAIT)

    def _receive(self) -> Message | None:
        """The next message; None when the other end has gone."""
        head = self._exactly(HEAD.size)
        data = None if head is None else self._exactly(HEAD.unpack(head)[0])
        return None if data is None else message_of(data)

    def _exactly(self, size: int) -> bytes | None:
        parts = []
        while size:
            try:
                part = self._sock.recv(size)
            except ConnectionResetError:
                return None
            if not part:
                return None
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _close_doorbell(self) -> None:
        if self._doorbell is not None and self._bell_path is not None:
            self._doorbell.close()
            with contextlib.suppress(OSError):
                self._bell_path.unlink()


def bind_doorbell(path: Path) -> socket.socket:
    """A datagram socket at ``path`` that anybody may write to; raises SourceFault."""
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.stat().st_mode):
                raise SourceFault(f"the doorbell {path} is there and is no socket", "give doorbell another path")
            path.unlink()
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            bell.bind(str(path))
            path.chmod(0o666)
        except OSError:
            bell.close()
            raise
    except OSError as error:
        raise SourceFault(
            f"the doorbell {path} cannot be made: {error.strerror or error}",
            "its directory has to exist and to be writable; a path has at most 107 bytes",
        ) from None
    return bell


def end_with(sock: socket.socket) -> None:
    """End this process soon after the other end of a socket has gone, whatever it is doing."""

    def watch() -> None:
        gone = select.poll()
        gone.register(sock, select.POLLRDHUP)
        gone.poll()
        time.sleep(_GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch").start()


def main() -> None:
    """Run with the socket whose number is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        end_with(sock)
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # the other end has gone while an answer was on its way
            Worker(sock).run()


if __name__ == "__main__":
    main()
