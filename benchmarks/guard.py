"""What the guard's checks cost: ``python -m benchmarks.guard`` prints, ``--write`` makes docs/guard-figures.md.

In one process, without sockets: bytes of a request in, one call of ``transport.write`` out. All variants are asked in
rounds, one after the other, so that whatever else the machine does meets all of them; each figure is the smallest mean
of its rounds, and a difference is one of two such means. What the guard asks once for a block of headers, once for a
connection, or once a second for all, stands apart.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from benchmarks.machine import describe
from tcsql.access.keys import ID_BYTES, SECRET_BYTES, Key, Keys, digest_of, token_of
from tcsql.access.scopes import Scope
from tcsql.engine.change import Upsert
from tcsql.http.access import Access
from tcsql.http.addresses import LOOPBACK, Addresses, Kind, Peer
from tcsql.http.app import create_app
from tcsql.http.blocks import vet
from tcsql.http.deadlines import Deadlines, Pace
from tcsql.http.endpoints import Api
from tcsql.http.fastlane import Connection
from tcsql.http.guard import Asked, Guard
from tcsql.http.lanes import Lanes
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tcsql.sql import bind_all, parse_statements
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level

PAGE: Final = Path(__file__).parent.parent / "docs" / "guard-figures.md"
REMOTE: Final = Peer(Kind.REMOTE, "203.0.113.9")
ROWS: Final = 1_000
_CALLS: Final = 2_000
_SWEPT: Final = 10_000
_QUERY: Final = b"GET /?command=select&table=t&where=id:NUMEQ:7 HTTP/1.1\r\nHost: 127.0.0.1:3888\r\n"
_HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:3888\r\n"
_DEFAULTS: Final = [(b"date", b"Fri, 20 Nov 2026 21:20:01 GMT"), (b"server", b"tcsql")]
#: So many a second that nobody is refused: what is measured is the count.
_RATE: Final = 10**6
_MANY: Final = 1e12


class _Transport(asyncio.Transport):
    """Takes replies and forgets them; its other side is anywhere."""

    def __init__(self, peer: Peer) -> None:
        super().__init__({"peername": (peer.counted, 1)})
        self.last: Any = b""

    def write(self, data: Any) -> None:
        self.last = data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


class _Uncapped(Connection):
    """The fast lane without the cap on requests that are known by their bytes."""

    def data_received(self, data: bytes) -> None:
        lanes = self._lanes
        self.active_s = lanes.now_s
        if self._theirs and not self._is_ours_again():
            self._feed(data)
            return
        if self._awaited is not None or self._held or self.flow.write_paused:
            self._hold(data)
            return
        body = self._request(data)
        if body is not None:
            self._write(lanes.page(body, self.server_state.default_headers))
            return
        self._one_by_one(data)


@dataclass
class Variant:
    """One way to ask."""

    name: str
    call: Callable[[bytes], object]
    data: bytes
    #: What it is compared with.
    beside: str = ""
    best_ns: float = float("inf")

    def round(self) -> None:
        call, data = self.call, self.data
        started = time.process_time_ns()
        for _ in range(_CALLS):
            call(data)
        self.best_ns = min(self.best_ns, (time.process_time_ns() - started) / _CALLS)


class Bench:
    """A server's parts without sockets, over one small table; keys as a file would give them."""

    def __init__(self, directory: Path) -> None:
        self.store = Store.open(directory, StoreOptions(durability=Level.MEMORY))
        self.settings = Settings(plain_public=True, anonymous_rate=_RATE)
        self.keys: list[Key] = []
        self.plain, self.rated = self._key(), self._key(rate=_MANY)

    async def fill(self) -> None:
        await self.store.commit(bind_all(parse_statements("CREATE TABLE t (id INT PRIMARY KEY)"), _no_table))
        rows: list[Any] = [{"id": number} for number in range(ROWS)]
        await self.store.commit([Upsert("t", rows)])

    def _key(self, **limits: float) -> bytes:
        key_id, secret = secrets.token_hex(ID_BYTES), secrets.token_bytes(SECRET_BYTES)
        token = token_of(key_id, secret)
        scopes = frozenset({Scope.READ})
        self.keys.append(Key(id=key_id, name=key_id, sha256=digest_of(token), scopes=scopes, made=0, **limits))
        return b"Authorization: Bearer " + token.encode() + b"\r\n"

    def api(self, with_keys: bool) -> Api:
        access = Access(Keys(self.keys) if with_keys else None)
        api = Api(self.settings, Metrics(), guard=Guard(self.settings), access=access)
        api.open(self.store)
        return api

    def connection(self, api: Api, peer: Peer = LOOPBACK, kind: type[Connection] = Connection) -> Connection:
        lanes = Lanes(api, self.settings)
        lanes.open(self.store)
        config = uvicorn.Config(create_app(api), ws="none", lifespan="off", log_config=None)
        state = ServerState()
        state.default_headers = _DEFAULTS
        made = kind(lanes, config, state, {}, asyncio.get_running_loop())
        made.connection_made(_Transport(peer))
        return made


def _no_table(_name: str) -> None:
    return None


def _asking(connection: Connection, head: bytes) -> tuple[Callable[[bytes], object], bytes]:
    """A request that has been learnt; raises AssertionError when it is not answered."""
    data = head + b"\r\n"
    for _ in range(4):
        connection.data_received(data)
    transport = connection.transport
    assert isinstance(transport, _Transport)
    assert transport.last.startswith(b"HTTP/1.1 200"), transport.last
    return connection.data_received, data


def variants(bench: Bench) -> list[Variant]:
    """Requests of the fast lane, and the parts of the guard that it does not ask each time."""
    free, keyed = bench.api(with_keys=False), bench.api(with_keys=True)
    found = [
        Variant("a list, no cap", *_asking(bench.connection(free, kind=_Uncapped), _QUERY)),
        Variant("a list, this machine", *_asking(bench.connection(free), _QUERY), "a list, no cap"),
        Variant(
            "a list, a key without a rate",
            *_asking(bench.connection(keyed), _QUERY + bench.plain),
            "a list, this machine",
        ),
        Variant(
            "a list, a key with a rate", *_asking(bench.connection(keyed), _QUERY + bench.rated), "a list, this machine"
        ),
        Variant("a document, this machine", *_asking(bench.connection(keyed), _HEALTH)),
        Variant(
            "a document, an address with a meter",
            *_asking(bench.connection(keyed, REMOTE), _HEALTH),
            "a document, this machine",
        ),
    ]
    block = b"1\r\nHost: 127.0.0.1:3888\r\n" + bench.plain + b"\r\n"
    headers = [(b"host", b"127.0.0.1:3888"), (b"authorization", bench.plain[15:-2])]
    rates, caller = keyed.guard.rates, keyed.access.caller("", is_local=False)
    addresses = Addresses("10.0.0.0/8")
    proxy = addresses.peer("10.0.0.1")
    watched: list[Any] = [_Quiet() for _ in range(_SWEPT)]
    deadlines = Deadlines(bench.settings)

    def asked(_data: bytes) -> object:
        head = Asked("1.1", b"/", headers)
        return keyed.guard.admits(head, LOOPBACK), keyed.guard.sender(head, LOOPBACK, keyed.access)

    def swept(_data: bytes) -> None:
        deadlines.sweep(watched[:5], 1.0)

    return [
        *found,
        Variant("once for a block of headers: vetting it", lambda data: vet(data, keyed, LOOPBACK), block),
        Variant("once for a request of the Starlette lane: the guard and the key", asked, b""),
        Variant("the meter of an address", lambda _data: rates.refusal(caller, "203.0.113.9"), b""),
        Variant("once for a connection: where it comes from", lambda _data: addresses.peer("203.0.113.9"), b""),
        Variant("whom a proxy names", lambda _data: addresses.client(proxy, [b"1.1.1.1, 203.0.113.9, 10.0.0.2"]), b""),
        Variant("once a second for five connections: deadlines", swept, b""),
    ]


class _Quiet:
    """A connection about which there is nothing to say."""

    __slots__ = ("active_s", "body", "head_s", "reply")

    def __init__(self) -> None:
        self.active_s = 1.0
        self.head_s = float("inf")
        self.body, self.reply = Pace(), Pace()


async def run(rounds: int) -> list[Variant]:
    """All variants, interleaved."""
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        await bench.fill()
        measured = variants(bench)
        gc.collect()
        gc.freeze()
        try:
            for _ in range(rounds):
                for variant in measured:
                    variant.round()
        finally:
            gc.unfreeze()
            bench.store.close()
    return measured


def page(measured: list[Variant]) -> str:
    """The page, as text."""
    facts = describe()
    best = {variant.name: variant.best_ns for variant in measured}
    lines = [
        f"| {variant.name} | {variant.best_ns:,.0f} | "
        + (f"{variant.best_ns - best[variant.beside]:+,.0f} beside *{variant.beside}*" if variant.beside else "")
        + " |"
        for variant in measured
    ]
    about = (__doc__ or "").partition("\n\n")[2].strip().replace("``", "`")
    return f"""<!-- Written by `make bench-guard`. Do not edit. -->
# What the guard costs

{about} Figures are nanoseconds of processor time.

| what | ns | adds |
|---|---:|---|
{chr(10).join(lines)}

A request of the fast lane that no meter counts is looked up by all its bytes, with a key as well as without. One that a
meter counts takes the way over its block of headers, which is known, and then asks the meter.

{facts["processor"]}, {facts["cores"]} cores, {facts["system"]}, {facts["python"]}, commit {facts["commit"]}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", action="store_true", help="make docs/guard-figures.md")
    arguments = parser.parse_args()
    measured = asyncio.run(run(arguments.rounds))
    for variant in measured:
        print(f"{variant.name:66}{variant.best_ns:9,.0f} ns")
    if arguments.write:
        PAGE.write_text(page(measured), encoding="utf-8")


if __name__ == "__main__":
    main()
