"""Settings: every option once, as data; the command line, the environment, ``tcsql.toml`` and the reference derive.

A field of ``Settings`` is an option: its name, type and default are the field's, its section, unit and reason
stand in the metadata. ``tcsql.configuration`` reads them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

ENVIRONMENT_PREFIX: Final = "TCSQL_"
Value = str | int | float | bool


def _option(
    section: str,
    default: Value,
    reason: str,
    unit: str = "",
    *,
    choices: tuple[str, ...] = (),
    low: float = 0,
    high: float = 2**53,
) -> Any:
    about = {
        "section": section,
        "reason": reason,
        "unit": unit,
        "choices": choices,
        "low": low,
        "high": high,
    }
    return field(default=default, metadata=about)


_SCOPES: Final = ("open", "published", "read", "write", "admin")


def _endpoint(default: str, path: str, more: str = "", *, choices: tuple[str, ...] = _SCOPES) -> Any:
    return _option("security", default, f"who may read {path}{more}", choices=choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective options. ``unit`` ``bytes`` takes ``64KiB``, ``1MiB``, ``2GiB`` as well as plain numbers."""

    data: str = _option("server", "tcsql-data", "directory of the store; made when missing")
    host: str = _option(
        "server",
        "127.0.0.1",
        "address to listen on; another than loopback needs keys, and TLS or word of who does without",
    )
    port: int = _option("server", 3888, "TCP port, the original's; 0 picks a free one and prints it", high=65_535)
    backlog: int = _option("server", 2048, "connections the kernel may queue before we accept them", low=1, high=65_535)
    max_connections: int = _option(
        "server",
        10_000,
        "connections open at once; one more is refused with 503 and closed. Each takes a file descriptor",
        low=1,
        high=1_000_000,
    )
    fast_lane: bool = _option(
        "server",
        True,
        "answer ordinary requests inside the connection's protocol; off, everything goes through Starlette",
    )
    keepalive_s: int = _option("server", 30, "an idle connection is closed after this time", "s", low=1, high=86_400)
    tls_certificate: str = _option("server", "", "file with the certificate chain (PEM); given, connections are TLS")
    tls_key: str = _option("server", "", "file with the private key (PEM), unless it stands in the certificate's file")
    drain_s: int = _option("server", 10, "at SIGTERM running requests may take this long to finish", "s", high=3600)
    log_level: str = _option(
        "server",
        "warning",
        "what goes to standard error; requests themselves are never logged",
        choices=("debug", "info", "warning", "error"),
    )

    schema: str = _option(
        "tables",
        "",
        "a schema.sql: applied to a new store, compared with an existing one",
    )
    default_table: str = _option(
        "tables",
        "",
        "table meant by requests that name none; a single table needs no name",
    )

    auto_index: bool = _option(
        "tables",
        True,
        "build the indexes that queries miss, when that has cost more than building them, inside memory_limit",
    )

    durability: str = _option(
        "durability",
        "always",
        "when a client's write is answered: committed to disk, queued for the next interval, or in memory only",
        choices=("always", "interval", "memory"),
    )
    interval_ms: int = _option(
        "durability",
        1000,
        "most that durability=interval may lose",
        "ms",
        low=1,
        high=3_600_000,
    )
    change_log_entries: int = _option(
        "durability", 100_000, "row changes kept for readers that resume a live stream; 0 keeps none"
    )
    change_log_bytes: int = _option("durability", 67_108_864, "bytes of changes kept for them", "bytes")
    change_log_s: int = _option(
        "durability", 0, "changes older than this are forgotten; 0 keeps them as long as there is room", "s", high=2**31
    )
    secure_delete: bool = _option(
        "durability", False, "overwrite what is deleted in the store's file with zeros; costs writes"
    )

    max_rows: int = _option(
        "limits",
        10_000,
        "most rows of one reply; more is refused, never cut",
        low=1,
        high=10**7,
    )
    max_reply_bytes: int = _option(
        "limits",
        16_777_216,
        "longest rows of one reply, all together; longer ones are refused, never cut. A backup is not a reply of rows",
        "bytes",
        low=65_536,
        high=2**31,
    )
    max_body_bytes: int = _option(
        "limits",
        1_048_576,
        "largest body of one request",
        "bytes",
        low=1024,
        high=2**31,
    )
    max_gathered_bytes: int = _option(
        "limits",
        67_108_864,
        "bodies that are not whole or not carried out yet, of all requests; above it 503. One key has half of it",
        "bytes",
        low=1_048_576,
    )
    max_line_bytes: int = _option("limits", 65_536, "longest line of a bulk load", "bytes", low=1024, high=2**31)
    max_conditions: int = _option(
        "limits",
        256,
        "most conditions of one request, over all its where",
        low=1,
        high=10**6,
    )
    query_budget_rows: int = _option(
        "limits",
        2_000_000,
        "rows that one query may examine; above it 422 with the index that would help",
        low=1,
    )
    memory_limit: str = _option(
        "limits",
        "80%",
        "memory for data; above it writes get 507 and reads go on. Bytes, or a part of the machine's",
    )
    min_lsn_timeout_s: float = _option("limits", 5.0, "longest wait for min_lsn, then 503", "s", high=300)
    published_budget_rows: int = _option("limits", 50_000, "rows that one published query may examine", low=1)
    max_header_bytes: int = _option(
        "limits", 16_384, "longest head of a request, all its headers together", "bytes", low=1024, high=65_536
    )
    max_url_bytes: int = _option("limits", 8_192, "longest target of a request", "bytes", low=256, high=65_536)
    max_headers: int = _option("limits", 64, "most headers of a request", low=8, high=1_000)
    header_s: int = _option(
        "limits", 10, "longest time in which the head of a request may arrive", "s", low=1, high=3600
    )
    body_s: int = _option(
        "limits", 60, "a body may take so long, and longer only while it comes at body_rate", "s", low=1, high=86_400
    )
    body_rate: int = _option(
        "limits", 1_024, "bytes a second at which a body that takes longer than body_s has to come", low=1
    )
    max_unsent_bytes: int = _option(
        "limits",
        268_435_456,
        "replies that wait for clients to read them, of all connections; above it who has waited longest is cut",
        "bytes",
        low=1_048_576,
    )
    connections_per_address: int = _option(
        "limits", 256, "connections open at once from one address; loopback and stated proxies are not counted", low=1
    )
    anonymous_rate: int = _option(
        "limits",
        100,
        "requests a second from one address without a key, in bursts of twice as many; loopback is not counted. "
        "0 sets no limit",
        high=10**6,
    )
    slow_ms: float = _option("limits", 10.0, "a read that takes longer is listed by /slow", "ms", high=3_600_000)

    get_writes: bool = _option(
        "security",
        False,
        "let GET write, for clients of 2010; off, because an image tag in any page can send a GET",
    )
    proxies: str = _option(
        "security",
        "",
        "addresses or networks, joined by commas, of reverse proxies in front: what they say in X-Forwarded-For is "
        "believed, and TLS is theirs",
    )
    plain_public: bool = _option(
        "security",
        False,
        "listen without TLS on an address that is not loopback, without a stated proxy: keys and rows can be read by "
        "whoever sees that network",
    )
    hosts: str = _option(
        "security",
        "localhost,127.0.0.1,[::1]",
        "names and addresses, joined by commas, that Host may hold, with any port; the address listened on is always "
        "one. * allows any, so a hostile page can give its own name this address",
    )
    cors_origins: str = _option(
        "security",
        "",
        "origins, joined by commas, whose pages may read and write here: https://www.example.org",
    )
    health_scope: str = _endpoint("open", "/health", "; open, so that a balancer needs no key: it tells nothing")
    ready_scope: str = _endpoint(
        "open", "/ready", "; open, as /health. How many tables there are it tells to those alone who may read them"
    )
    status_scope: str = _endpoint("read", "/status")
    openapi_scope: str = _endpoint("read", "/openapi.json")
    metrics_scope: str = _endpoint("admin", "/metrics")
    sources_scope: str = _endpoint("admin", "/sources")
    slow_scope: str = _endpoint("admin", "/slow")
    backup_scope: str = _endpoint(
        "admin",
        "/backup",
        ": a key without limits to tables, which at least reads, because a backup holds all rows and some deleted ones",
        choices=("read", "admin"),
    )
    audit_log: str = _option(
        "security",
        "",
        "file to which what admins do is appended, one JSON line each; empty: to the log",
    )
    audit_writes: bool = _option("security", False, "write down every write there too, with its key")


OPTIONS: Final[Mapping[str, Field[Any]]] = {option.name: option for option in fields(Settings)}
SECTIONS: Final = tuple(dict.fromkeys(str(option.metadata["section"]) for option in OPTIONS.values()))
