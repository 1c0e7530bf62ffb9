"""A crowd in processes of its own: good clients that ask at a steady pace, idle ones, and ones that drip.

    python -m tests.promises.crowd good HOST PORT CLIENTS SECONDS TARGET     one line of JSON at the end
    python -m tests.promises.crowd bad HOST PORT IDLE DRIPPING SECONDS DEADLINE_S   "ready", then JSON

A good client asks every 20 ms, whether or not the server was quick before, and measures until the whole reply is there.
A dripping one sends a byte of a head, or of a body, ten times within its deadline; when it is cut it notes what it was
told, and comes again. They come spread over the time of a deadline, as crowds do. Idle ones have asked once.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import time
from collections import Counter
from typing import Any, Final, cast

import uvloop

PAUSE_S: Final = 0.02
#: Bytes that a dripping one sends before its deadline.
DRIPS: Final = 10
_LENGTH: Final = re.compile(rb"content-length: (\d+)")
_HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
_HEAD: Final = _HEALTH[:-2] + b"X-Slow: " + b"a" * 4_000
_BODY: Final = b"POST /?command=insert&table=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"


class Good(asyncio.Protocol):
    """One connection; latencies in seconds go into ``seen``."""

    def __init__(self, request: bytes, seen: list[float], wrong: Counter[str]) -> None:
        self._request = request
        self._seen, self._wrong = seen, wrong
        self._held = b""
        self._asked_s: float | None = None  # by the fine clock: the loop's has milliseconds
        self.transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, until_s: float) -> None:
        if self._loop.time() > until_s:
            return
        if self._asked_s is None:
            self._asked_s = time.perf_counter()
            self.transport.write(self._request)
        else:
            self._wrong["late"] += 1  # the last reply is not there yet: its latency tells
        self._loop.call_later(PAUSE_S, self.ask, until_s)

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, end, body = self._held.partition(b"\r\n\r\n")
        if not end:
            return
        length = _LENGTH.search(head)
        if length is None or not head.startswith(b"HTTP/1.1 200 "):
            self._wrong[head[:40].decode("latin-1")] += 1
            self._held, self._asked_s = b"", None
        elif len(body) >= int(length[1]) and self._asked_s is not None:
            self._seen.append(time.perf_counter() - self._asked_s)
            self._held, self._asked_s = b"", None

    def connection_lost(self, exc: Exception | None) -> None:
        self._wrong["closed"] += self._asked_s is not None


async def good(host: str, port: int, clients: int, seconds: float, target: str) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    seen: list[float] = []
    wrong: Counter[str] = Counter()
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    made = [(await loop.create_connection(lambda: Good(request, seen, wrong), host, port))[1] for _ in range(clients)]
    until_s = loop.time() + seconds
    for number, client in enumerate(made):
        loop.call_later(PAUSE_S * number / clients, client.ask, until_s)
    await asyncio.sleep(seconds + 1)
    late = wrong.pop("late", 0)
    seen.sort()
    share = {name: round(1000 * seen[min(len(seen) - 1, int(part * len(seen)))], 3) for name, part in _PARTS.items()}
    for client in made:
        client.transport.close()
    return {"answered": len(seen), "late": late, "wrong": dict(wrong), **share}


_PARTS: Final = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}


class Idle(asyncio.Protocol):
    """Has asked once, and says nothing more."""

    def __init__(self, ends: Counter[str]) -> None:
        self._ends = ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(_HEALTH)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ends["idle"] += 1


class Dripping(asyncio.Protocol):
    """Sends a byte now and then."""

    def __init__(self, text: bytes, at_once: int, drip_s: float, told: Counter[str], gone: asyncio.Event) -> None:
        self._text, self._place, self._drip_s = text, at_once, drip_s
        self._told, self._gone = told, gone
        self._answer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        transport.write(self._text[: self._place])
        self._drip()

    def _drip(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self._text[self._place : self._place + 1] or b"a")
            self._place += 1
            asyncio.get_running_loop().call_later(self._drip_s, self._drip)

    def data_received(self, data: bytes) -> None:
        self._answer += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._told[self._answer[9:12].decode() or "nothing"] += 1
        self._gone.set()


async def _drips(host: str, port: int, number: int, wait_s: float, drip_s: float, told: Counter[str]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(wait_s)
    text, at_once = (_HEAD, 0) if number % 2 else (_BODY + b"x" * 4_000, len(_BODY))
    while True:
        gone = asyncio.Event()
        try:
            await loop.create_connection(lambda: Dripping(text, at_once, drip_s, told, gone), host, port)  # noqa: B023  # made at once
        except OSError:
            told["not connected"] += 1
            await asyncio.sleep(drip_s)
            continue
        await gone.wait()


async def bad(host: str, port: int, idle: int, dripping: int, seconds: float, deadline_s: float) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    ends: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for start in range(0, idle, 200):
        made = (loop.create_connection(lambda: Idle(ends), host, port) for _ in range(min(200, idle - start)))
        await asyncio.gather(*made)
    tasks = [
        loop.create_task(_drips(host, port, number, deadline_s * number / dripping, deadline_s / DRIPS, told))
        for number in range(dripping)
    ]
    await asyncio.sleep(deadline_s)
    print("ready", flush=True)
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    return {"idle_closed": ends["idle"], "dripping_told": dict(told)}


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 20_000)), hard))
    what, host, port, *words = sys.argv[1:]
    made = (
        good(host, int(port), int(words[0]), float(words[1]), words[2])
        if what == "good"
        else bad(host, int(port), int(words[0]), int(words[1]), float(words[2]), float(words[3]))
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(made)), flush=True)


if __name__ == "__main__":
    main()
