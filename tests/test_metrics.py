"""Counters and histograms as values; what becomes of them on the wire stands in tests/http/test_metrics.py."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tcsql.metrics import LATENCY_BOUNDS_S, Histogram, Metrics, Sample

rounds = st.lists(st.tuples(st.lists(st.floats(0, 20), max_size=5), st.integers(0, 10**6)), max_size=8)


@given(rounds)
def test_what_is_counted_is_given_to_buckets_to_the_last_one_and_never_taken_back(
    harvests: list[tuple[list[float], int]],
) -> None:
    sample, histogram = Sample(), Histogram()
    waiting = given_out = 0
    for times, count in harvests:
        before = list(histogram.counts)
        for seconds in times:
            sample.add(seconds)
        sample.spread(histogram, count)
        waiting += count
        assert all(new >= old for new, old in zip(histogram.counts, before, strict=True))
        if times or sum(histogram.counts) > sum(before):  # an earlier sample may have had nothing to stand for yet
            given_out, waiting = given_out + waiting, 0
        assert sum(histogram.counts) == given_out


def test_times_that_stand_for_many_lie_as_the_samples_do() -> None:
    sample, histogram = Sample(), Histogram()
    for seconds in (0.000_003, 0.000_004, 0.000_003, 0.000_03):
        sample.add(seconds)
    sample.spread(histogram, 100_000)
    fast, slow = LATENCY_BOUNDS_S.index(0.000_005), LATENCY_BOUNDS_S.index(0.000_05)
    assert (histogram.counts[fast], histogram.counts[slow]) == (75_000, 25_000)
    assert abs(histogram.sum - 1.0) < 1e-9


def test_answers_counted_elsewhere_are_requests_like_all_others() -> None:
    metrics = Metrics()
    metrics.known_sample.add(0.000_003)
    metrics.harvested(Counter(select=7, count=3))
    metrics.answered("select", 200, 0.001)
    assert metrics.requests == {("select", 200): 8, ("count", 200): 3}
    assert metrics.known.total() == 10
    assert sum(metrics.latency["known"].counts) == 10
