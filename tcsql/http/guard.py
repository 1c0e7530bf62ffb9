"""The guard: who may ask at all, judged by the head of a request before anybody looks at what it asks.

    admits(asked, peer)           the refusal of a request that nobody may send, or None
    sender(asked, peer, access)   who sends it, and which meter counts it
    is_cross_site(asked)          whether a page of another site sends it: such a request changes nothing
    cors(asked)                   the headers that let a listed page of another site read the reply

Both lanes ask it. The fast lane asks once for each header block, and remembers only blocks about which there is
nothing to say; all others are Starlette's, which asks for each request (6 us).

``Host`` must be one of ours, because a page can give its own name our address (DNS rebinding) and is then of the same
site for the browser, but not for us. A proxy's headers mean that somebody else asks than who connects, so such a
request is never this machine's. Where neither a certificate nor word of the operator says otherwise, connections from
elsewhere are taken from stated proxies alone: a key would travel in the clear.

The parser refuses most of what can be read in two ways, such as two lengths or folded lines. What it lets through and
could be read otherwise by a proxy in front is refused here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tcsql.access.callers import Caller
from tcsql.errors import BadRequest, MisdirectedRequest, NotLocal, SetupError, TCSQLError
from tcsql.http.access import Access
from tcsql.http.addresses import Addresses, Kind, Peer
from tcsql.http.messages import Header
from tcsql.http.rates import Rates
from tcsql.settings import Settings

ANY_HOST: Final = "*"
#: What a page may send when its origin is listed, and what it may read of a reply beside the body.
PREFLIGHT: Final[tuple[Header, ...]] = (
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", b"600"),
)
_EXPOSED: Final = (b"access-control-expose-headers", b"retry-after, tcsql-lsn, tcsql-age-ms, tcsql-stale")

_HOST: Final = re.compile(rb"([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{0,5})?")
_ORIGIN: Final = re.compile(r"https?://([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?")
_OUR_SITES: Final = (b"same-origin", b"none")
_FORWARDED_FOR: Final = b"x-forwarded-for"
_AUTHORIZATION: Final = b"authorization"
_NAMED: Final = frozenset(
    (b"host", b"origin", b"sec-fetch-site", b"content-length", b"transfer-encoding", _AUTHORIZATION, _FORWARDED_FOR)
)
#: Beside those of standards what is common: a proxy that sends none but its own makes nobody local either.
_FORWARDED: Final = frozenset(
    (
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"fastly-client-ip",
    )
)
_FORWARDED_PREFIX: Final = b"x-forwarded-"


class Asked:
    """The head of a request: its version (``1.1``), its raw target, its headers with names in lower case."""

    __slots__ = ("_named", "is_forwarded", "target", "version")

    def __init__(self, version: str, target: bytes, headers: Sequence[Header]) -> None:
        self.version = version
        self.target = target
        self.is_forwarded = False
        self._named: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in _NAMED:
                self._named.setdefault(name, []).append(value.strip(b" \t"))
            if name in _FORWARDED or name.startswith(_FORWARDED_PREFIX):
                self.is_forwarded = True

    def values(self, name: bytes) -> Sequence[bytes]:
        """All values of a header that the guard looks at, without blanks around them."""
        return self._named.get(name, ())

    @property
    def body_bytes(self) -> int | None:
        """Of an admitted request; None when it comes in chunks."""
        if self.values(b"transfer-encoding"):
            return None
        return int(next(iter(self.values(b"content-length")), b"0"))


@dataclass(frozen=True, slots=True)
class Caps:
    """Bytes of a head, bytes of a target, number of headers."""

    head_bytes: int
    url_bytes: int
    headers: int


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends a request. ``client``: for whom a proxy sends it; empty: for itself, or there is none.

    ``is_counted``: by the meter of its address.
    """

    caller: Caller
    client: str
    is_counted: bool

    @property
    def is_metered(self) -> bool:
        return self.is_counted or self.caller.meter is not None

    @property
    def is_turned_away(self) -> bool:
        """Whether it gets the same answer whatever it asks, and its connection ends."""
        return isinstance(self.caller.refused, NotLocal)


class Guard:
    """The rules of one server; ``address`` is what it listens on.

    Raises SetupError for what is no host, origin or proxy. ``rates`` are the meters of addresses.
    """

    def __init__(self, settings: Settings, address: str = "") -> None:
        self.addresses = Addresses(settings.proxies)
        self.rates = Rates(settings.anonymous_rate)
        self.caps = Caps(settings.max_header_bytes, settings.max_url_bytes, settings.max_headers)
        hosts = [host.lower() for host in _listed(settings.hosts)]
        self._any_host = ANY_HOST in hosts
        self._hosts = frozenset(
            _host_of(host) for host in (*hosts, settings.host.lower(), address.lower()) if host not in ("", ANY_HOST)
        )
        self._origins = frozenset(_origin_of(origin.lower()) for origin in _listed(settings.cors_origins))
        self._takes_remote = bool(settings.tls_certificate) or settings.plain_public

    def admits(self, asked: Asked, peer: Peer) -> TCSQLError | None:
        """Why nobody may send this request from there; None: it may be sent."""
        return _malformed(asked) or self._misdirected(asked) or self._in_the_clear(peer)

    def sender(self, asked: Asked, peer: Peer, access: Access) -> Sender:
        """Who sends an admitted request."""
        is_local = peer.kind is Kind.LOCAL and not asked.is_forwarded
        keys = asked.values(_AUTHORIZATION)
        caller = access.caller(keys[0].decode("latin-1") if keys else "", is_local)
        client = self.addresses.client(peer, asked.values(_FORWARDED_FOR))
        return Sender(caller, client, self.rates.counts(caller, is_local))

    def is_cross_site(self, asked: Asked) -> bool:
        """Whether a browser sends this for a page of another site that is not listed."""
        origins, sites = asked.values(b"origin"), asked.values(b"sec-fetch-site")
        if len(origins) == 1 and origins[0] in self._origins:
            return False
        if any(site not in _OUR_SITES for site in sites) or len(sites) > 1:
            return True
        ours = [scheme + host.lower() for scheme in (b"http://", b"https://") for host in asked.values(b"host")]
        return any(origin not in ours for origin in origins)

    def cors(self, asked: Asked) -> tuple[Header, ...]:
        """Headers of the reply to a page whose origin is listed; nothing for all others."""
        if not self._origins:
            return ()
        origins = asked.values(b"origin")
        if len(origins) != 1 or origins[0] not in self._origins:
            return ()
        return (b"access-control-allow-origin", origins[0]), (b"vary", b"origin"), _EXPOSED

    def _misdirected(self, asked: Asked) -> MisdirectedRequest | None:
        hosts = asked.values(b"host")
        if len(hosts) != 1:
            said = "no Host" if not hosts else "more than one Host"
            return MisdirectedRequest(f"the request has {said}", "send one Host header")
        whole = hosts[0].lower()
        match = _HOST.fullmatch(whole)
        if match is None:
            return MisdirectedRequest("Host is not a name or an address", "send Host: name or Host: name:port")
        if not self._any_host and match[1] not in self._hosts:
            name = match[1].decode()
            return MisdirectedRequest(
                f"{name} is not a name of this server", "an operator can add it to the setting hosts"
            )
        target = asked.target
        if target.startswith(b"/") or target == b"*":
            return None
        scheme, _, rest = target.lower().partition(b"://")
        if scheme in (b"http", b"https") and re.split(rb"[/?#]", rest, maxsplit=1)[0] == whole:
            return None
        return MisdirectedRequest("the target names another host than Host", "send the path as the target")

    def _in_the_clear(self, peer: Peer) -> NotLocal | None:
        if peer.kind is not Kind.REMOTE or self._takes_remote:
            return None
        return NotLocal(
            "requests from other machines are taken from stated proxies alone",
            "ask through the proxy, or an operator can give a tls_certificate",
        )


def is_public(address: str) -> bool:
    """Whether an address can be reached from other machines.

    >>> is_public("127.0.0.1"), is_public("::1"), is_public("0.0.0.0"), is_public("fe80::1%eth0")
    (False, False, True, True)
    """
    return not ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _malformed(asked: Asked) -> BadRequest | None:
    if asked.version not in ("1.0", "1.1"):
        return BadRequest("the request is not HTTP/1.1", "send HTTP/1.1 or HTTP/1.0")
    codings, lengths = asked.values(b"transfer-encoding"), asked.values(b"content-length")
    # of HTTP/1.0 nobody can tell where a body in chunks ends, and what was coded twice would be read as it is
    if codings and (asked.version == "1.0" or [coding.lower() for coding in codings] != [b"chunked"]):
        return BadRequest("Transfer-Encoding is not chunked", "send Content-Length, or chunks by HTTP/1.1")
    if codings and lengths:
        return BadRequest("the request has Content-Length and Transfer-Encoding", "send one of them")
    if len(lengths) > 1 or not all(map(bytes.isdigit, lengths)):
        return BadRequest("Content-Length is not one number", "send the number of bytes of the body, once")
    if len(asked.values(_AUTHORIZATION)) > 1:
        return BadRequest("Authorization is given twice", "send one key")
    return None


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _host_of(text: str) -> bytes:
    """The host as a Host header spells it, without a port; raises SetupError.

    >>> _host_of("localhost"), _host_of("::1"), _host_of("[::1]")
    (b'localhost', b'[::1]', b'[::1]')
    """
    plain = text.partition("%")[0]  # a zone is this machine's alone
    data = (f"[{plain}]" if _is_v6(plain) else plain).encode()
    match = _HOST.fullmatch(data)
    if match is None or match[1] != data or (data.startswith(b"[") and not _is_v6(data[1:-1].decode())):
        raise SetupError(f"hosts: {text[:80]!r} is not a host", "name hosts without ports: localhost,127.0.0.1,[::1]")
    return data


def _is_v6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _origin_of(text: str) -> bytes:
    if _ORIGIN.fullmatch(text) is None:
        raise SetupError(f"cors_origins: {text[:80]!r} is not an origin", "for example https://www.example.org")
    return text.encode()
