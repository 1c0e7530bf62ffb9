"""The sorted window: the same as sorting everything, in steps that stay short."""

import gc
import random
import time
from collections.abc import Generator
from itertools import pairwise

import pytest

from tcsql.engine.collector import Collector, Match
from tcsql.engine.order import turned
from tcsql.engine.selection import BUCKET_ITEMS, window_steps
from tcsql.errors import TooCostly


def driven(steps: Generator[None, None, list]) -> tuple[list, int]:
    """What the steps give in the end, and how many they were."""
    number = 0
    try:
        while True:
            next(steps)
            number += 1
    except StopIteration as end:
        return end.value, number


@pytest.mark.parametrize("size", [0, 1, BUCKET_ITEMS, BUCKET_ITEMS + 1, 25_000])
@pytest.mark.parametrize("distinct", [1, 7, 1 << 40])
def test_a_window_is_the_slice_of_the_sorted_list(size: int, distinct: int) -> None:
    chance = random.Random(size + distinct)
    items = [(chance.randrange(distinct), number) for number in range(size)]
    chance.shuffle(items)
    whole = sorted(items)
    for start, stop in [(0, 0), (0, 10), (size // 2, size // 2 + 5_000), (size - 3, size + 9), (size + 1, size + 2)]:
        first = max(0, start)
        assert driven(window_steps(items.copy(), first, stop, lambda item: item))[0] == whole[first:stop]


def test_a_deep_window_is_worked_out_in_many_steps() -> None:
    items = list(range(60_000))
    random.Random(1).shuffle(items)
    found, steps = driven(window_steps(items, 50_000, 50_010, lambda item: item))
    assert found == list(range(50_000, 50_010))
    assert steps > 50


def test_a_window_behind_the_end_lets_go_of_the_list_in_steps() -> None:
    items = [(number,) for number in range(60_000)]
    found, steps = driven(window_steps(items, 60_000, 60_010, lambda item: item))
    assert (found, items) == ([], [])
    assert steps >= 60


def test_of_a_large_page_the_collector_of_garbage_knows_nothing() -> None:
    collector = Collector(100_000, tail=False)
    match = Match((False, turned("text"), 1), 1, b"")
    collector.add(match)
    gc.collect()
    assert not any(map(gc.is_tracked, (match, match.key, *match.key)))
    assert sorted(map(turned, "bca")) == ["c", "b", "a"]


def test_a_refused_query_lets_go_of_its_matches_in_steps() -> None:
    collector = Collector(100_000, tail=False)

    def matching() -> Generator[None, None, None]:
        for number in range(50_000):
            collector.add(Match((number,), number, b""))
        yield
        raise TooCostly("as if the budget was used up")

    steps = 0
    with pytest.raises(TooCostly):
        for _ in collector.collect(matching()):
            steps += 1
    assert steps >= 50
    assert len(collector) == 0


@pytest.mark.parametrize("need", [1, 10, 400, 3_000])
@pytest.mark.parametrize("tail", [False, True])
def test_a_collector_keeps_the_first_or_the_last_of_a_page_of_any_size(need: int, tail: bool) -> None:
    keys = list(range(20_000))
    random.Random(need).shuffle(keys)
    collector = Collector(need, tail)

    def matching() -> Generator[None, None, None]:
        for place, key in enumerate(keys):
            for _ in range(2):  # a row may come twice
                collector.add(Match((key,), key, b""))
            if place % 200 == 0:
                yield

    for _ in collector.collect(matching()):
        pass
    assert len(collector) == need
    kept = [match.pkey for match in driven(collector.sorted())[0]]
    assert kept == (list(range(20_000 - need, 20_000)) if tail else list(range(need)))
    for key in kept:
        collector.add(Match((key,), key, b""))
    if not tail:
        assert [match.pkey for match in driven(collector.sorted(need // 2))[0]] == kept[need // 2 :]


def test_no_step_of_a_large_page_sorts_everything_it_has_seen() -> None:
    keys = [(False, number * 7919 % 200_000) for number in range(200_000)]
    collector = Collector(100_000, tail=False)
    for number, key in enumerate(keys):
        collector.add(Match((key, number), number, b""))
    moments = [time.thread_time()]
    moments.extend(time.thread_time() for _ in collector.sorted(99_000))
    assert max(later - earlier for earlier, later in pairwise(moments)) < (moments[-1] - moments[0]) / 5
