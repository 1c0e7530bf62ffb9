"""Metrics: plain counters and histograms. No clock, no thread, no registry: who measures adds, who publishes reads.

Everything is touched from the event loop's thread alone, so an addition is an addition. Cost: about 0.3
microseconds a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any, Final

#: Upper bounds in seconds: a factor of about two, from a page out of memory to a scan at the budget.
LATENCY_BOUNDS_S: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip  # one line shows the series


class Histogram:
    """Counts per bucket, with sum and number: all that a percentile or a rate needs.

    >>> latency = Histogram((1.0, 2.0))
    >>> for value in (0.5, 1.5, 1.5, 9.0): latency.add(value)
    >>> latency.plain()
    {'count': 4, 'sum': 12.5, 'buckets': {'1.0': 1, '2.0': 2, 'inf': 1}}
    """

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS_S) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, weight: int = 1) -> None:
        """Count a value in the first bucket whose bound is not below it."""
        self.counts[bisect_left(self._bounds, value)] += weight
        self.sum += value * weight

    def plain(self) -> dict[str, object]:
        """Numbers as they are (not cumulated); empty buckets are left out."""
        bounds = (*map(str, self._bounds), "inf")
        buckets = {bound: count for bound, count in zip(bounds, self.counts, strict=True) if count}
        return {
            "count": sum(self.counts),
            "sum": round(self.sum, 6),
            "buckets": buckets,
        }


#: Counters of a source, in the order in which they are shown.
SOURCE_COUNTERS: Final = ("steps", "events", "rows", "gone", "hints", "reconnects", "differences", "repaired")


class SourceMetrics:
    """What the follower of one source has done since the start of the process.

    ``steps``: states reached; ``events``: changes noted at the source, several of one row count; ``rows`` and ``gone``:
    what came of them; ``hints``: keys that triggers named (mode push); ``differences`` and ``repaired``: rows that
    verifications found and wrote. ``lag_s``: from when a state was read to when its rows could be read here, of every
    step that brought changes.

    >>> shop = SourceMetrics()
    >>> shop.events += 2
    >>> shop.lag_s.add(0.004)
    >>> shop.plain()["events"], shop.plain()["lag_s"]["count"]
    (2, 1)
    """

    __slots__ = (*SOURCE_COUNTERS, "lag_s")

    def __init__(self) -> None:
        self.steps = self.events = self.rows = self.gone = self.hints = self.reconnects = 0
        self.differences = self.repaired = 0
        self.lag_s = Histogram()

    def plain(self) -> dict[str, Any]:
        """All of it as plain data, for ``/status``."""
        counters: dict[str, Any] = {name: getattr(self, name) for name in SOURCE_COUNTERS}
        return counters | {"lag_s": self.lag_s.plain()}


class Metrics:
    """What one server counts: requests by operation and status, their time, rows sent and lines loaded."""

    __slots__ = ("latency", "requests", "rows_sent", "rows_written")

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.latency: dict[str, Histogram] = {}
        self.rows_sent = 0
        self.rows_written = 0

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """One request is done; ``operation`` comes from our own table of names, never from a client."""
        self.requests[operation, status] += 1
        self.timed(operation, seconds)

    def timed(self, operation: str, seconds: float, weight: int = 1) -> None:
        """The time of a request; ``weight``: it stands for so many, of which it was drawn."""
        histogram = self.latency.get(operation)
        if histogram is None:
            histogram = self.latency[operation] = Histogram()
        histogram.add(seconds, weight)

    def plain(self) -> dict[str, object]:
        """All of it as plain data, for ``/status``."""
        requests: dict[str, dict[str, int]] = {}
        for (operation, status), count in sorted(self.requests.items()):
            requests.setdefault(operation, {})[str(status)] = count
        return {
            "requests": requests,
            "latency_s": {operation: histogram.plain() for operation, histogram in sorted(self.latency.items())},
            "rows_sent": self.rows_sent,
            "rows_written": self.rows_written,
        }
