"""Addresses: where a connection comes from, which of them are proxies, and for whom a proxy speaks. Pure.

    addresses.peer("127.0.0.1")     ->  Peer(Kind.LOCAL, "127.0.0.1")    this machine
    addresses.peer("10.0.0.9")      ->  Peer(Kind.PROXY, "10.0.0.9")     stated by the setting ``proxies``
    addresses.peer("203.0.113.9")   ->  Peer(Kind.REMOTE, "203.0.113.9")
    addresses.client(peer, values of X-Forwarded-For)  ->  for whom a proxy sends a request

A stated proxy is never this machine, also on loopback: it speaks for others. Of what it says the last address counts
that is no proxy itself, because everything in front of that was written by clients; if that cannot be read, the request
is the proxy's own. From all others the header says nothing, but that somebody else asks.

What is counted is an address of IPv4, and the network of 64 bits of one of IPv6, which is what one customer gets.
Cost: 3 us a connection; of a request that came through a proxy 2 us each time its headers are new.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tcsql.errors import SetupError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: More proxies in a row are none of ours: a header of 16 KB would take 10 ms.
MOST_HOPS: Final = 16
_V6_PREFIX: Final = 64
#: As some proxies write it: with a port.
_V4_WITH_PORT: Final = re.compile(r"([0-9.]{7,15}):[0-9]{1,5}")
_BRACKETED: Final = re.compile(r"\[([0-9a-fA-F:.]{2,45})\](?::[0-9]{1,5})?")


class Kind(Enum):
    """Where a connection comes from."""

    LOCAL = "local"
    PROXY = "proxy"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected. ``counted``: the address, or network, under which connections and requests are counted."""

    kind: Kind
    counted: str


#: Somebody who had gone before it could be asked where it connects from: trusted with nothing.
UNKNOWN: Final = Peer(Kind.REMOTE, "unknown")
LOOPBACK: Final = Peer(Kind.LOCAL, "127.0.0.1")


class Addresses:
    """The stated proxies of one server: addresses and networks joined by commas. Raises SetupError for what is none."""

    def __init__(self, proxies: str = "") -> None:
        self._proxies: tuple[Network, ...] = tuple(
            _network(part.strip()) for part in proxies.split(",") if part.strip()
        )

    @property
    def has_proxies(self) -> bool:
        return bool(self._proxies)

    def peer(self, host: str | None) -> Peer:
        """Who connects from an address as the socket tells it; None: it could not be told.

        >>> Addresses("10.0.0.0/8").peer("10.1.2.3").kind, Addresses().peer("::ffff:127.0.0.1").kind
        (<Kind.PROXY: 'proxy'>, <Kind.LOCAL: 'local'>)
        """
        address = _address(host) if host else None
        if address is None:
            return UNKNOWN
        kind = Kind.PROXY if self._is_proxy(address) else Kind.LOCAL if address.is_loopback else Kind.REMOTE
        return Peer(kind, _counted(address))

    def client(self, peer: Peer, forwarded: Sequence[bytes]) -> str:
        """For whom a proxy sends a request, by the values of its X-Forwarded-For in their order; empty: for itself.

        >>> proxies = Addresses("127.0.0.1")
        >>> proxies.client(proxies.peer("127.0.0.1"), [b"1.1.1.1, 203.0.113.9", b"127.0.0.1"])
        '203.0.113.9'
        """
        if peer.kind is not Kind.PROXY or not forwarded:
            return ""
        entries = b",".join(forwarded).rsplit(b",", MOST_HOPS)[-MOST_HOPS:]
        for entry in reversed(entries):
            address = _address(_without_port(entry.strip(b" \t").decode("latin-1")))
            if address is None:
                break
            if not self._is_proxy(address):
                return _counted(address)
        return ""

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)


def _without_port(text: str) -> str:
    match = _V4_WITH_PORT.fullmatch(text) or _BRACKETED.fullmatch(text)
    return match[1] if match else text


def _address(text: str) -> Address | None:
    """An address, of IPv4 also where it came as one of IPv6; None for what is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])  # a zone is this machine's alone
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _counted(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback:
        return str(address)
    return str(ipaddress.IPv6Network((address, _V6_PREFIX), strict=False))


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise SetupError(
            f"proxies: {text[:80]!r} is not an address or a network", "for example 127.0.0.1,10.1.0.0/16,fd00::/8"
        ) from None
    if network.prefixlen == 0:
        raise SetupError(f"proxies: {text} is everybody", "name the addresses of the proxies in front of this server")
    return network
