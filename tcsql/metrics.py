"""Metrics: plain counters and histograms. No clock, no thread, no registry: who measures adds, who publishes reads.

    metrics.answered("select", 200, seconds)      ->  /status as plain data, /metrics by ``http/exposition``

Everything is touched from the event loop's thread alone, so an addition is an addition. Cost: about 0.3
microseconds a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any, Final

#: Upper bounds in seconds: a factor of about two, from a page that is known to a scan at the budget.
LATENCY_BOUNDS_S: Final = (
    0.000002, 0.000005, 0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005,
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip  # one line shows the series

#: The same for what waits for a disk or for another server.
WAIT_BOUNDS_S: Final = LATENCY_BOUNDS_S[5:]
#: Row operations in one transaction of the store.
BATCH_BOUNDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0)


class Histogram:
    """Counts per bucket, with sum and number: all that a percentile or a rate needs.

    >>> latency = Histogram((1.0, 2.0))
    >>> for value in (0.5, 1.5, 1.5, 9.0): latency.add(value)
    >>> latency.plain()
    {'count': 4, 'sum': 12.5, 'buckets': {'1.0': 1, '2.0': 2, 'inf': 1}}
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value in the first bucket whose bound is not below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def plain(self) -> dict[str, object]:
        """Numbers as they are (not cumulated); empty buckets are left out."""
        bounds = (*map(str, self.bounds), "inf")
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
        self.lag_s = Histogram(WAIT_BOUNDS_S)

    def plain(self) -> dict[str, Any]:
        """All of it as plain data, for ``/status``."""
        counters: dict[str, Any] = {name: getattr(self, name) for name in SOURCE_COUNTERS}
        return counters | {"lag_s": self.lag_s.plain()}


class Sample:
    """Times of a few requests that stand for many: those that are only counted where they are answered.

    ``spread(count)`` adds ``count`` to the histogram as the samples since the last call lie; what came without a sample
    waits for the next one.

    >>> sample, known = Sample((1.0, 2.0)), Histogram((1.0, 2.0))
    >>> for seconds in (0.5, 0.5, 1.5): sample.add(seconds)
    >>> sample.spread(known, 1_000); known.counts
    [667, 333, 0]
    >>> sample.spread(known, 10); sum(known.counts)
    1000
    """

    __slots__ = ("_times", "_waiting")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS_S) -> None:
        self._times = Histogram(bounds)
        self._waiting = 0

    def add(self, seconds: float) -> None:
        """The time of one request."""
        self._times.add(seconds)

    def spread(self, histogram: Histogram, count: int) -> None:
        """Give ``count`` requests the times of the samples."""
        self._waiting += count
        counts = self._times.counts
        drawn, seen, given = sum(counts), 0, 0
        if not drawn or not self._waiting:
            return
        for place, number in enumerate(counts):
            seen += number
            upto = round(self._waiting * seen / drawn)
            histogram.counts[place] += upto - given
            given = upto
        histogram.sum += self._times.sum / drawn * self._waiting
        self._waiting = 0
        self._times = Histogram(self._times.bounds)


class Metrics:
    """What one server counts.

    ``requests``: by operation and status; ``latency``: their time, by operation; ``refusals``: by code of error;
    ``connections_refused``: by our own word for the reason; ``known_sample``: times of answers to requests that are
    known by their bytes, a few of them; ``recovery_s``: None until the store is open.
    """

    __slots__ = (
        "connections_open",
        "connections_refused",
        "known",
        "known_sample",
        "latency",
        "recovery_s",
        "refusals",
        "requests",
        "rows_sent",
        "rows_written",
    )

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.latency: dict[str, Histogram] = {}
        self.refusals: Counter[str] = Counter()
        self.connections_open = 0
        self.connections_refused: Counter[str] = Counter()
        self.known: Counter[str] = Counter()
        self.known_sample = Sample()
        self.recovery_s: float | None = None
        self.rows_sent = 0
        self.rows_written = 0

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """One request is done; ``operation`` comes from our own table of names, never from a client."""
        self.requests[operation, status] += 1
        self.timed(operation, seconds)

    def timed(self, operation: str, seconds: float) -> None:
        """The time of a request."""
        histogram = self.latency.get(operation)
        if histogram is None:
            histogram = self.latency[operation] = Histogram()
        histogram.add(seconds)

    def refused(self, code: str) -> None:
        """A request, or a connection, was refused with this code of ``tcsql.errors``."""
        self.refusals[code] += 1

    def harvested(self, answered: Counter[str]) -> None:
        """Answers, by operation, that were counted elsewhere since the last harvest."""
        for operation, count in answered.items():
            self.requests[operation, 200] += count
            self.known[operation] += count
        self.known_sample.spread(self.latency.setdefault("known", Histogram()), answered.total())

    def plain(self) -> dict[str, object]:
        """All of it as plain data, for ``/status``."""
        requests: dict[str, dict[str, int]] = {}
        for (operation, status), count in sorted(self.requests.items()):
            requests.setdefault(operation, {})[str(status)] = count
        return {
            "requests": requests,
            "latency_s": {operation: histogram.plain() for operation, histogram in sorted(self.latency.items())},
            "refusals": dict(sorted(self.refusals.items())),
            "rows_sent": self.rows_sent,
            "rows_written": self.rows_written,
        }
