"""The process of a source as the event loop sees it: ``SourceProcess``, an ``AsyncSource``.

    source = SourceProcess(settings, base)
    identity = await source.open(position)              starts the process
    step = await source.step(0.1, acknowledged, None)
    await source.close()

One question at a time; ``hint`` needs no answer and may come at any time. A process that has died is SourceAway with
the last line it wrote to stderr; so is a question that was given up (cancelled), for its answer is still on its way.
Make a new one then. Cost of a question: 0.2 ms, most of it in two processes being woken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tcsql.errors import SourceAway
from tcsql.replication.channel import HEAD, Message, error_of, frame, message_of, step_of
from tcsql.replication.source import Identity, ReadKeys, ReadRange, Rows, Step, TableState
from tcsql.sources import SourceSettings

_PROGRAM: Final = "tcsql.replication.worker"
#: Bytes of hints that may wait for the process to listen.
MOST_WAITING: Final = 8 << 20
#: What a process has time for to end in order.
_END_S: Final = 2.0
#: Buffers of the event loop; a frame above is put together of several.
_BUFFER: Final = 1 << 20
#: Bytes of hints that may wait for a process that is busy: some hundred thousand.
_MOST_WAITING: Final = 16 << 20


class SourceProcess:
    """A source in a process of its own. ``base``: the directory of the configuration file."""

    def __init__(self, settings: SourceSettings, base: Path | None = None) -> None:
        self.settings = settings
        self._base = base
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._stderr: asyncio.Task[str] | None = None
        self._asking = asyncio.Lock()
        self._is_broken = False
        #: Hints that did not get to the process.
        self._lost = 0

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    async def open(self, position: bytes) -> Identity:
        if self._process is None:
            await self._start()
        return await self._ask(("open", position))  # type: ignore[no-any-return]  # a pickle of our own

    async def tables(self) -> Sequence[TableState]:
        return await self._ask(("tables",))  # type: ignore[no-any-return]  # a pickle of our own

    async def follow(self, tables: Sequence[str]) -> None:
        await self._ask(("follow", list(tables)))

    async def step(self, wait_s: float, acknowledged: bytes, read: ReadRange | ReadKeys | None) -> Step:
        if self._lost:
            self.hint("", ())  # nobody else may have to say anything for long
        return await self._ask(("step", wait_s, acknowledged, read))  # type: ignore[no-any-return]  # the same

    def hint(self, table: str, keys: Sequence[str], lost: int = 0) -> None:
        """Rows may have changed; dropped when there is no process, after which all rows are compared anyway.

        A process that is in a long statement does not listen; hints above ``MOST_WAITING`` bytes count as lost.
        """
        if self._writer is None or self._is_broken or self._writer.is_closing():
            return
        self._lost += lost
        if self._writer.transport.get_write_buffer_size() > MOST_WAITING:
            self._lost += len(keys)
            return
        self._writer.write(frame(("hint", table, list(keys), self._lost)))
        self._lost = 0

    async def close(self) -> None:
        """End the process, in order if it is idle; never raises."""
        self._is_broken = True
        writer, self._writer = self._writer, None
        process, self._process = self._process, None
        if writer is not None:
            if not writer.is_closing():  # a process that was killed: uvloop refuses to write then
                writer.write(frame(("close",)))
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if process is not None:
            try:
                async with asyncio.timeout(_END_S):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._stderr is not None:
            await self._stderr

    # --- inside -----------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                _PROGRAM,
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                raise SourceAway(f"the process of source {self.settings.name} does not start: {error}") from None
            raise
        finally:
            theirs.close()
        assert self._process.stderr is not None
        self._stderr = asyncio.create_task(_last_line(self._process.stderr))
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=_BUFFER)
        self._writer.write(frame(("start", self.settings, self._base)))

    async def _ask(self, question: Message) -> Any:
        """The answer; raises SourceAway, SourceFault, SetupError."""
        async with self._asking:
            if self._writer is None or self._is_broken:
                raise SourceAway(f"the process of source {self.settings.name} has ended")
            if self._lost:
                self.hint("", ())
            try:
                if self._writer.is_closing():
                    raise BrokenPipeError
                self._writer.write(frame(question))
                await self._writer.drain()
                return await self._answer()
            except (OSError, asyncio.IncompleteReadError):
                self._is_broken = True
                raise SourceAway(await self._last_words()) from None
            except asyncio.CancelledError:
                self._is_broken = True
                raise

    async def _answer(self) -> Any:
        pieces: list[Rows] = []
        while True:
            kind, *parts = await self._receive()
            match kind:
                case "rows":
                    pieces.append(parts[0])
                    await asyncio.sleep(0)  # the next may be there already: others first
                case "step":
                    return step_of(parts[0], parts[1], pieces)
                case "ok":
                    return parts[0]
                case _:
                    raise error_of(*parts)

    async def _receive(self) -> Message:
        assert self._reader is not None
        (size,) = HEAD.unpack(await self._reader.readexactly(HEAD.size))
        return message_of(await self._reader.readexactly(size))

    async def _last_words(self) -> str:
        assert self._process is not None
        assert self._stderr is not None
        name = self.settings.name
        try:
            async with asyncio.timeout(_END_S):
                status = await self._process.wait()
                line = await asyncio.shield(self._stderr)
        except TimeoutError:
            return f"the process of source {name} does not answer"
        why = f"signal {-status}" if status < 0 else f"status {status}"
        return f"the process of source {name} has ended with {why}" + (f": {line}" if line else "")


async def _last_line(stderr: asyncio.StreamReader) -> str:
    """Read until the end; the last line that says something."""
    last = b""
    while part := await stderr.read(65_536):
        last = (last + part)[-4_096:]
    lines = [line.strip() for line in last.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
