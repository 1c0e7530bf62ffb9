"""Figures for ``/metrics``, taken from plain counters on the event loop's thread, some tables at a time.

    figures = await taken(parts)       then ``exposition.encoded(figures)`` on a thread

Nothing of a request is looked at, so every name is ours. Cost: 2 us a table and 1 us an index; the loop gets its turn
after every ``SLICE_TABLES``.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from tcsql import __version__
from tcsql.audit import Audit
from tcsql.engine.table import Table
from tcsql.http.exposition import Figures, Steps
from tcsql.http.opened import Opened, Serving
from tcsql.http.slow import SlowLog
from tcsql.metrics import SOURCE_COUNTERS, WAIT_BOUNDS_S, Metrics
from tcsql.stalls import StallMeter

#: Tables between two turns of the event loop: 1 ms.
SLICE_TABLES: Final = 50


@dataclass(frozen=True, slots=True)
class Parts:
    """Where figures come from."""

    serving: Serving
    metrics: Metrics
    slow: SlowLog
    stalls: StallMeter | None
    audit: Audit


async def taken(parts: Parts) -> Figures:
    """All figures; ``parts.metrics`` has been harvested."""
    figures = Figures()
    figures.add("build_info", 1, __version__, platform.python_version())
    opened = None if parts.serving.is_stopping else parts.serving.opened
    figures.add("ready", opened is not None)
    _requests(figures, parts)
    if parts.stalls is not None:
        _loop(figures, parts.stalls)
    if opened is not None:
        _store(figures, opened)
        _sources(figures, opened)
        await _tables(figures, opened)
    return figures


def _requests(figures: Figures, parts: Parts) -> None:
    metrics = parts.metrics
    for (operation, status), count in sorted(metrics.requests.items()):
        figures.add("requests_total", count, operation, str(status))
    for operation, histogram in sorted(metrics.latency.items()):
        figures.spread("request_seconds", Steps.of(histogram), operation)
    for operation, count in sorted(metrics.known.items()):
        figures.add("known_answers_total", count, operation)
    for code, count in sorted(metrics.refusals.items()):
        figures.add("refusals_total", count, code)
    for reason, count in sorted(metrics.connections_refused.items()):
        figures.add("connections_refused_total", count, reason)
    figures.add("connections_open", metrics.connections_open)
    figures.add("slow_reads_total", parts.slow.count)
    figures.add("rows_sent_total", metrics.rows_sent)
    figures.add("rows_written_total", metrics.rows_written)
    figures.add("audit_lines_total", parts.audit.lines)
    figures.add("audit_lines_lost_total", parts.audit.lost)
    if metrics.recovery_s is not None:
        figures.add("recovery_seconds", metrics.recovery_s)


def _loop(figures: Figures, stalls: StallMeter) -> None:
    late = stalls.stalls
    figures.spread("stall_seconds", Steps(late.upto(), late.count, late.total_s))
    figures.add("stall_longest_seconds", late.longest_s)
    figures.add("event_loop_cpu_seconds_total", time.thread_time())
    for generation, (count, seconds) in enumerate(stalls.pauses.seconds()):
        figures.add("gc_seconds_total", seconds, str(generation))
        figures.add("gc_collections_total", count, str(generation))


def _store(figures: Figures, opened: Opened) -> None:
    store = opened.store
    status: dict[str, Any] = store.status()
    figures.add("memory_bytes", status["memory_bytes"])
    figures.add("memory_limit_bytes", status["memory_limit"])
    figures.add("store_lsn", status["lsn"], "applied")
    figures.add("store_lsn", status["durable_lsn"], "durable")
    figures.add("store_pending", status["pending"])
    figures.add("store_commits_total", status["commits"])
    figures.add("store_refused_total", status["refused"])
    figures.add("store_undone_total", status["undone"])
    figures.add("store_state", 1, str(status["disk"]))
    figures.add("store_file_bytes", status["file_bytes"])
    figures.add("store_wal_bytes", status["log_bytes"])
    figures.add("recovered_rows", status["recovered_rows"])
    seconds, operations = store.commit_times
    figures.spread("store_commit_seconds", Steps.of(seconds))
    figures.spread("store_commit_operations", Steps.of(operations))
    plans = store.database.plans
    figures.add("rows_examined_total", plans.examined)
    for kind, count in sorted(plans.kinds.items()):
        figures.add("plans_total", count, kind)


def _sources(figures: Figures, opened: Opened) -> None:
    for entry in opened.followers.status():
        source: dict[str, Any] = dict(entry)
        name, counts = str(source["name"]), source.get("counts", {})
        figures.add("source_state", 1, name, str(source["state"]))
        figures.add("source_stale", bool(source.get("stale")), name)
        if source.get("age_ms") is not None:
            figures.add("source_age_seconds", source["age_ms"] / 1000, name)
        for counter in SOURCE_COUNTERS:
            figures.add(f"source_{counter}_total", counts.get(counter, 0), name)
        if "lag_s" in counts:
            figures.spread("source_lag_seconds", _of_plain(counts["lag_s"]), name)


def _of_plain(plain: dict[str, Any]) -> Steps:
    """The histogram that ``Histogram.plain`` shows."""
    seen, upto = 0, []
    for bound in WAIT_BOUNDS_S:
        seen += plain["buckets"].get(str(bound), 0)
        upto.append((bound, seen))
    return Steps(upto, plain["count"], plain["sum"])


async def _tables(figures: Figures, opened: Opened) -> None:
    origins: Counter[str] = Counter(manual=0, automatic=0)
    building = 0
    for number, table in enumerate(opened.store.database.tables(), 1):
        building += _table(figures, table, origins)
        if number % SLICE_TABLES == 0:
            await asyncio.sleep(0)
    for origin, count in origins.items():
        figures.add("indexes", count, origin)
    figures.add("indexes_building", building)


def _table(figures: Figures, table: Table, origins: Counter[str]) -> int:
    name, building, of_indexes = table.schema.name, 0, 0
    for index in (table.primary, *table.indexes.values()):
        definition, size = index.definition, index.memory_bytes
        of_indexes += size
        figures.add("index_bytes", size, name, definition.name)
        figures.add("index_uses_total", index.uses, name, definition.name)
        origins["automatic" if definition.automatic else "manual"] += index is not table.primary
        building += not index.ready
    figures.add("table_rows", len(table), name)
    figures.add("table_bytes", table.memory_bytes - of_indexes, name)
    return building
