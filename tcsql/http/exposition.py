"""``/metrics``: what the server counts, in the text format of Prometheus 0.0.4, or OpenMetrics when that is asked for.

    FAMILIES                    every metric once: name, kind, labels, meaning; the reference is made from it
    encoded(figures, accept)    (media type, bytes); to be called on a thread

Nothing is counted here and nothing registered: figures are taken from plain counters when somebody asks (``figures``).
Label values come from our own tables (operations, codes of errors, tables, indexes, sources), never from a request,
so no client can make series. ``process_*`` come from prometheus_client's own collector.

Cost: 4 us a sample, on a thread beside the event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics

from tcsql.metrics import Histogram


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. ``kind``: counter, gauge or histogram; the name of a counter ends in ``_total``."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


def _counter(name: str, meaning: str, *labels: str) -> Family:
    return Family(f"tcsql_{name}_total", "counter", meaning, labels)


def _gauge(name: str, meaning: str, *labels: str) -> Family:
    return Family(f"tcsql_{name}", "gauge", meaning, labels)


def _histogram(name: str, meaning: str, *labels: str) -> Family:
    return Family(f"tcsql_{name}", "histogram", meaning, labels)


FAMILIES: Final[Mapping[str, Family]] = {
    family.name: family
    for family in (
        _gauge("build_info", "1; the version of the program and of Python", "version", "python"),
        _gauge("ready", "1 when requests are served, 0 while the store is read or the server stops"),
        _counter("requests", "requests answered, refusals included", "operation", "status"),
        _histogram(
            "request_seconds",
            "time to make a reply, without reading the request or sending it; operation known: reads answered by their "
            "bytes, of which a few (one connection every 10 ms) are timed and stand for all of them",
            "operation",
        ),
        _counter("known_answers", "reads answered from what was learnt of the same request before", "operation"),
        _counter("refusals", "requests and connections refused, by the code of the error", "code"),
        _counter("slow_reads", "reads above slow_ms; the last of them are at /slow"),
        _counter("rows_sent", "rows in replies"),
        _counter("rows_written", "rows that clients inserted, changed and removed"),
        _counter("rows_examined", "rows that reads looked at, but for those whose shape is prepared"),
        _counter("plans", "accesses chosen for reads, but for known ones", "kind"),
        _gauge("connections_open", "connections, looked at once a second"),
        _counter("connections_refused", "connections refused because too many were open", "reason"),
        _histogram("stall_seconds", "how long the event loop was kept by one piece of work; from 5 ms on"),
        _gauge("stall_longest_seconds", "the longest of these since the start"),
        _counter("event_loop_cpu_seconds", "processor time of the event loop's thread; its rate is the busy share"),
        _counter("gc_seconds", "time spent in the garbage collector", "generation"),
        _counter("gc_collections", "collections of garbage", "generation"),
        _gauge("memory_bytes", "memory that tables and indexes hold"),
        _gauge("memory_limit_bytes", "what they may hold; above it writes get 507"),
        _gauge("table_rows", "rows", "table"),
        _gauge("table_bytes", "memory of the rows of a table and their keys, without indexes", "table"),
        _gauge("index_bytes", "memory of an index", "table", "index"),
        _counter("index_uses", "times an index was chosen", "table", "index"),
        _gauge("indexes", "indexes by who made them: manual or automatic", "origin"),
        _gauge("indexes_building", "indexes that are being built"),
        _gauge("store_lsn", "the newest lsn, and the newest durable one", "state"),
        _gauge("store_pending", "writes applied and not durable yet"),
        _counter("store_commits", "writes made durable"),
        _counter("store_refused", "writes taken back because their transaction failed"),
        _counter("store_undone", "those of them that had been answered, by a durability that does not wait"),
        _histogram("store_commit_seconds", "one transaction of the store with its sync"),
        _histogram("store_commit_operations", "row operations in one transaction"),
        _gauge("store_state", "1 for what the disk lets the store do: ok, no_space, read_only, …", "state"),
        _gauge("store_file_bytes", "the store's file"),
        _gauge("store_wal_bytes", "its write-ahead log"),
        _gauge("recovery_seconds", "time to read the store at the start"),
        _gauge("recovered_rows", "rows read then"),
        _gauge("source_state", "1 for the state that a source is in", "source", "state"),
        _gauge("source_age_seconds", "how old the rows of a source can be at most", "source"),
        _gauge("source_stale", "1 when rows of a source may be older than they should", "source"),
        _histogram("source_lag_seconds", "from when a state was read to when its rows could be read here", "source"),
        _counter("source_steps", "states reached", "source"),
        _counter("source_events", "changes noted at the source", "source"),
        _counter("source_rows", "rows written that came of them", "source"),
        _counter("source_gone", "rows removed that came of them", "source"),
        _counter("source_hints", "keys that triggers named (mode push)", "source"),
        _counter("source_reconnects", "connections to the source made anew", "source"),
        _counter("source_differences", "rows that verifications found different", "source"),
        _counter("source_repaired", "rows that verifications wrote", "source"),
        _counter("audit_lines", "lines written to the audit log"),
        _counter("audit_lines_lost", "lines that could not be written"),
    )
}
#: Of the process, by prometheus_client.
PROCESS: Final = (
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
)

_OPEN: Final = "application/openmetrics-text"


@dataclass(slots=True)
class Steps:
    """A histogram as it is sent: (upper bound, observations up to it), their number and sum."""

    upto: list[tuple[float, int]]
    count: int
    sum: float

    @classmethod
    def of(cls, histogram: Histogram) -> Steps:
        """A copy, cumulated."""
        seen, upto = 0, []
        for bound, number in zip(histogram.bounds, histogram.counts, strict=False):
            seen += number
            upto.append((bound, seen))
        return cls(upto, seen + histogram.counts[-1], histogram.sum)


@dataclass(slots=True)
class Figures:
    """Values by the name of the metric and its labels' values, as they were at one moment."""

    values: dict[str, list[tuple[tuple[str, ...], float]]] = field(default_factory=dict)
    steps: dict[str, list[tuple[tuple[str, ...], Steps]]] = field(default_factory=dict)

    def add(self, name: str, value: float, *labels: str) -> None:
        """One value; ``name`` without the prefix, a counter's with ``_total``."""
        self.values.setdefault(f"tcsql_{name}", []).append((labels, value))

    def spread(self, name: str, steps: Steps, *labels: str) -> None:
        """One histogram."""
        self.steps.setdefault(f"tcsql_{name}", []).append((labels, steps))


class _Collected:
    """Figures as prometheus_client asks for them."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._process = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES.values():
            yield _metric(family, self._figures)
        yield from self._process.collect()


def _metric(family: Family, figures: Figures) -> Metric:
    # prometheus_client adds ``_total`` to the samples of a counter, not to the name of its family
    metric = Metric(family.name.removesuffix("_total"), family.meaning, family.kind)
    for labels, value in figures.values.get(family.name, ()):
        metric.add_sample(family.name, dict(zip(family.labels, labels, strict=True)), value)
    for labels, steps in figures.steps.get(family.name, ()):
        named = dict(zip(family.labels, labels, strict=True))
        for bound, count in _bounds(steps):
            metric.add_sample(f"{family.name}_bucket", {**named, "le": bound}, count)
        metric.add_sample(f"{family.name}_count", named, steps.count)
        metric.add_sample(f"{family.name}_sum", named, steps.sum)
    return metric


def _bounds(steps: Steps) -> Iterable[tuple[str, int]]:
    yield from ((repr(bound), count) for bound, count in steps.upto)
    yield "+Inf", steps.count


def _open_text(collected: _Collected) -> bytes:
    text: bytes = openmetrics.generate_latest(collected)  # type: ignore[no-untyped-call]  # as it comes
    return text


def encoded(figures: Figures, accept: str = "") -> tuple[str, bytes]:
    """The media type and the text; ``accept``: the header, which may ask for OpenMetrics."""
    # not prometheus_client's own choice: it raises ValueError for a version that it cannot read
    if _OPEN in accept.lower():
        return f"{_OPEN}; version=1.0.0; charset=utf-8", _open_text(_Collected(figures))
    return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(_Collected(figures))
