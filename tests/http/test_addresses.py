"""Where requests come from: peers, proxies, whom a proxy speaks for; connections and requests counted by address."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn
from uvicorn.server import ServerState

from tcsql.access.keyfile import KeyFile
from tcsql.errors import SetupError
from tcsql.http.access import Access
from tcsql.http.addresses import LOOPBACK, MOST_HOPS, UNKNOWN, Addresses, Kind, Peer
from tcsql.http.app import create_app
from tcsql.http.endpoints import Api
from tcsql.http.fastlane import Connection, protocol
from tcsql.http.guard import Guard
from tcsql.http.lanes import Lanes
from tcsql.metrics import Metrics
from tcsql.settings import Settings
from tests.http.conftest import LANES
from tests.http.keyring import make_key
from tests.http.serving import serving
from tests.http.test_fastlane import Transport, Wire, on_a_loop, turns

# --- peers and clients ----------------------------------------------------------------------------------------

PEERS = {
    "127.0.0.1": LOOPBACK,
    "127.8.9.10": Peer(Kind.LOCAL, "127.8.9.10"),
    "::1": Peer(Kind.LOCAL, "::1"),
    "::ffff:127.0.0.1": LOOPBACK,
    "203.0.113.9": Peer(Kind.REMOTE, "203.0.113.9"),
    "::ffff:203.0.113.9": Peer(Kind.REMOTE, "203.0.113.9"),
    "2001:db8:1:2:3:4:5:6": Peer(Kind.REMOTE, "2001:db8:1:2::/64"),
    "fe80::1%eth0": Peer(Kind.REMOTE, "fe80::/64"),
    "10.1.2.3": Peer(Kind.PROXY, "10.1.2.3"),
    "::ffff:10.1.2.3": Peer(Kind.PROXY, "10.1.2.3"),
    "fd00::9": Peer(Kind.PROXY, "fd00::/64"),
    "192.0.2.7": Peer(Kind.PROXY, "192.0.2.7"),
    "192.0.2.8": Peer(Kind.REMOTE, "192.0.2.8"),
    "": UNKNOWN,
    "nonsense": UNKNOWN,
}
STATED = Addresses("10.0.0.0/8, fd00::/8 ,192.0.2.7")


@pytest.mark.parametrize("host", PEERS)
def test_a_peer_is_this_machine_a_stated_proxy_or_somebody_else(host: str) -> None:
    assert STATED.peer(host) == PEERS[host]


def test_who_cannot_be_told_is_trusted_with_nothing() -> None:
    assert STATED.peer(None) == UNKNOWN
    assert UNKNOWN.kind is Kind.REMOTE


def test_a_stated_proxy_on_loopback_is_not_this_machine() -> None:
    assert Addresses("127.0.0.1").peer("127.0.0.1").kind is Kind.PROXY
    assert Addresses("127.0.0.1").peer("127.0.0.2").kind is Kind.LOCAL
    assert Addresses("::1").peer("::1").kind is Kind.PROXY


FORWARDED: dict[tuple[bytes, ...], str] = {
    (b"203.0.113.9",): "203.0.113.9",
    (b"1.1.1.1, 203.0.113.9",): "203.0.113.9",
    (b"1.1.1.1", b"203.0.113.9"): "203.0.113.9",
    (b"203.0.113.9, 10.0.0.5",): "203.0.113.9",
    (b"203.0.113.9", b"10.0.0.5,10.0.0.6"): "203.0.113.9",
    (b"1.1.1.1,203.0.113.9:4711",): "203.0.113.9",
    (b"[2001:db8::1]:4711",): "2001:db8::/64",
    (b"2001:db8::1",): "2001:db8::/64",
    (b"::ffff:203.0.113.9",): "203.0.113.9",
    (b"127.0.0.1",): "127.0.0.1",  # counted so, but never taken for this machine
    (b"203.0.113.9, nonsense",): "",
    (b"203.0.113.9, unknown, 10.0.0.5",): "",
    (b"203.0.113.9,",): "",
    (b"",): "",
    (b"10.0.0.5",): "",
    (b"203.0.113.9, 10.0.0.256",): "",
    (b"203.0.113.9; 1.1.1.1",): "",
    (b"\xff\xfe",): "",
    (): "",
    (b"203.0.113.9" + b",10.0.0.5" * (MOST_HOPS - 1),): "203.0.113.9",
    (b"203.0.113.9" + b",10.0.0.5" * MOST_HOPS,): "",
    (b"," * 16_000,): "",
}


@pytest.mark.parametrize("values", FORWARDED)
def test_a_proxy_speaks_for_the_last_address_that_is_no_proxy(values: tuple[bytes, ...]) -> None:
    assert STATED.client(STATED.peer("10.0.0.1"), values) == FORWARDED[values]


@pytest.mark.parametrize("host", ["127.0.0.1", "203.0.113.1"])
def test_nobody_else_speaks_for_others(host: str) -> None:
    assert STATED.client(STATED.peer(host), [b"203.0.113.9"]) == ""


@pytest.mark.parametrize("proxies", ["proxy.example", "10.0.0.0/33", "10.0.0.1/8", "0.0.0.0/0", "::/0", "10.0.0.1;x"])
def test_a_proxy_that_is_no_address_or_everybody_is_an_error_at_start(proxies: str) -> None:
    with pytest.raises(SetupError, match="proxies: "):
        Addresses(proxies)


# --- connections by address, with planted peers ---------------------------------------------------------------


class From(Transport):
    """A transport whose other side sits at an address."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self._host = host

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._host, 4711) if name == "peername" else default


class Crowd:
    """Lanes without sockets, and connections from anywhere."""

    def __init__(self, settings: Settings, access: Access | None = None) -> None:
        self.api = Api(settings, Metrics(), guard=Guard(settings), access=access)
        self.lanes = Lanes(self.api, settings)
        self._config = uvicorn.Config(create_app(self.api), ws="none", lifespan="off", log_config=None)
        self._config.load()
        self._state = ServerState()

    def connect(self, host: str) -> tuple[Connection, From]:
        made = protocol(self.lanes)(self._config, self._state, {}, asyncio.get_running_loop())
        transport = From(host)
        made.connection_made(transport)
        return made, transport

    async def ask(self, host: str, request: bytes) -> bytes:
        connection, transport = self.connect(host)
        connection.data_received(request)
        await turns(20)
        connection.connection_lost(None)
        return b"".join(transport.written)


def status(answer: bytes) -> int:
    return int(answer[9:12])


@on_a_loop
async def test_connections_are_counted_by_address_and_one_too_many_is_refused() -> None:
    crowd = Crowd(Settings(connections_per_address=3, proxies="10.0.0.1", max_connections=100))
    open_ = [crowd.connect("203.0.113.9") for _ in range(3)]
    assert not any(transport.written for _, transport in open_)
    _, refused = crowd.connect("203.0.113.9")
    assert refused.closed and status(refused.written[0]) == 503
    assert b"from this address" in refused.bodies[0]
    for host in ("203.0.113.8", "10.0.0.1", "127.0.0.1", "2001:db8::1"):
        _, other = crowd.connect(host)
        assert not other.closed
    for host in ("10.0.0.1", "127.0.0.1"):  # neither a proxy nor this machine is counted
        assert not any(crowd.connect(host)[1].closed for _ in range(5))
    one = open_[0][0]
    one.connection_lost(None)
    assert crowd.connect("203.0.113.9")[1].closed, "the one that was refused is still there"


@on_a_loop
async def test_an_address_whose_connections_have_gone_is_forgotten() -> None:
    crowd = Crowd(Settings(connections_per_address=2))
    for _ in range(5):
        for connection, _ in [crowd.connect("203.0.113.9") for _ in range(3)]:
            connection.connection_lost(None)
    assert not crowd.lanes._from
    assert not crowd.connect("203.0.113.9")[1].closed


@on_a_loop
async def test_neighbours_in_a_network_of_ipv6_are_counted_together() -> None:
    crowd = Crowd(Settings(connections_per_address=2))
    found = [crowd.connect(f"2001:db8::{number}")[1].closed for number in range(1, 4)]
    assert found == [False, False, True]


# --- who is asked for a key, with planted peers ---------------------------------------------------------------

DOCUMENT = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def forwarded(value: str) -> bytes:
    return DOCUMENT.replace(b"\r\n\r\n", f"\r\nX-Forwarded-For: {value}\r\n\r\n".encode())


@pytest.mark.parametrize("fast", [True, False], ids=list(LANES))
def test_only_a_direct_connection_of_this_machine_is_local(fast: bool) -> None:
    async def asked() -> None:
        crowd = Crowd(Settings(proxies="10.0.0.1,127.0.0.9", plain_public=True, fast_lane=fast))
        for _ in range(2):  # the second time by what the first has taught
            assert status(await crowd.ask("127.0.0.1", DOCUMENT)) == 200
            for host in ("203.0.113.9", "10.0.0.1", "127.0.0.9", "", "2001:db8::1"):
                answer = await crowd.ask(host, DOCUMENT)
                assert status(answer) == 403 and b"not_local" in answer, host
            for host, value in (("127.0.0.1", "127.0.0.1"), ("10.0.0.1", "127.0.0.1"), ("127.0.0.9", "nonsense")):
                assert status(await crowd.ask(host, forwarded(value))) == 403

    asyncio.run(asked())


@pytest.mark.parametrize("fast", [True, False], ids=list(LANES))
def test_without_tls_only_proxies_may_come_from_elsewhere(fast: bool, tmp_path: Path) -> None:
    async def asked() -> None:
        make_key(tmp_path)
        crowd = Crowd(Settings(proxies="10.0.0.1", fast_lane=fast), Access(KeyFile(tmp_path).read()))
        for _ in range(2):
            assert status(await crowd.ask("10.0.0.1", forwarded("203.0.113.9"))) == 200
            assert status(await crowd.ask("127.0.0.1", DOCUMENT)) == 200
            answer = await crowd.ask("203.0.113.9", DOCUMENT)
            assert status(answer) == 403 and b"stated proxies alone" in answer

    asyncio.run(asked())


@pytest.mark.parametrize("lane", LANES)
def test_behind_a_proxy_on_this_machine_addresses_without_a_key_are_metered_apart(lane: str, tmp_path: Path) -> None:
    make_key(tmp_path / "data")
    flags = ("--proxies", "127.0.0.1", "--anonymous-rate", "1", *LANES[lane])
    with serving(tmp_path / "data", *flags) as server, closing(Wire(server)) as wire:

        def ask(value: str) -> int:
            wire.send(forwarded(value))
            return status(wire.reply()[0])

        assert [ask("203.0.113.1") for _ in range(3)] == [200, 200, 429]
        assert [ask("1.1.1.1, 203.0.113.2") for _ in range(3)] == [200, 200, 429]
        assert ask("1.1.1.2, 203.0.113.2") == 429, "what a client writes is no other address"
        assert ask("203.0.113.3:55") == 200
        assert [ask("nonsense") for _ in range(3)] == [200, 200, 429]
        server.process.terminate()
        assert server.process.wait(10) == 0
