"""The schedule of hints: every commit within reach is seen soon, keys are held once, nothing is forgotten silently."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tcsql.replication.hints import PAUSES_S, SETTLE_S, Hints

REACH_S = sum(PAUSES_S)


def reads_of(hints: Hints, until: float, step_s: float = 0.0) -> list[float]:
    """When keys are read by somebody who does nothing else; a read takes ``step_s``."""
    reads = []
    now = 0.0
    while (due := hints.next_s()) is not None and (now := max(now, due)) < until:
        assert hints.take(now, 100)
        reads.append(now)
        now += step_s
        hints.read(now)
    return reads


@given(st.floats(0, REACH_S), st.floats(0, 0.2))
def test_a_commit_within_reach_is_seen_after_at_most_four_times_its_own_time(commit_s: float, step_s: float) -> None:
    hints = Hints()
    hints.add("t", ["1"], 0.0)
    reads = reads_of(hints, 1e9, step_s)
    seen = min(at for at in reads if at >= commit_s) if reads[-1] >= commit_s else None
    assert seen is not None
    # behind a read that had just missed it come the pause and the read that was on its way
    assert seen <= max(4 * commit_s, PAUSES_S[0]) + len(PAUSES_S) * step_s + 1e-9
    assert len(hints) == 0


def test_a_key_is_read_at_once_and_with_growing_pauses_and_then_no_more() -> None:
    hints = Hints()
    hints.add("t", ["1"], 0.0)
    reads = reads_of(hints, 1e9)
    assert reads[0] == 0.0
    assert [round(b - a, 6) for a, b in pairwise(reads)] == list(PAUSES_S)
    assert hints.next_s() is None


def test_a_new_hint_starts_the_tries_anew_also_while_its_key_is_being_read() -> None:
    hints = Hints()
    hints.add("t", ["1", "2"], 0.0)
    assert len(hints.take(0.0, 10)) == 2
    assert hints.add("t", ["1"], 0.1)
    hints.read(0.2)
    assert hints.take(0.2, 10) == [("t", "1")], "the read had begun before the hint"
    hints.read(0.2)
    assert sorted(hints.take(0.2006, 10)) == [("t", "1"), ("t", "2")]


def test_what_could_not_be_read_is_handed_out_again() -> None:
    hints = Hints()
    hints.add("t", ["1", "2", "3"], 0.0)
    first = hints.take(0.0, 2)
    assert len(first) == 2
    assert sorted(hints.take(0.0, 10)) == [("t", "1"), ("t", "2"), ("t", "3")]
    hints.read(0.0)
    assert not hints.take(0.0, 10)


def test_a_flood_of_hints_for_few_keys_holds_few_keys() -> None:
    hints = Hints(most=1_000)
    for number in range(100_000):
        hints.add("t", [str(number % 1_000)], number * 1e-6)
    assert len(hints) == 1_000
    assert len(hints.take(1.0, 10_000)) == 1_000
    assert hints.forgotten(1e9) == []


def test_hints_above_the_bound_name_their_table_once_when_it_is_over() -> None:
    hints = Hints(most=2)
    hints.add("a", ["1", "2", "3"], 0.0)
    hints.add("b", ["1"], 1.0)
    assert len(hints) == 2
    assert hints.forgotten(SETTLE_S - 0.1) == []
    hints.add("a", ["4"], 4.0)
    assert hints.forgotten(1.0 + SETTLE_S) == ["b"], "of a one was dropped but now"
    assert hints.forgotten(4.0 + SETTLE_S) == ["a"]
    assert hints.forgotten(1e9) == []
    assert hints.add("a", ["2"], 5.0) is False, "a key that is held is held"


def test_hints_that_were_lost_elsewhere_name_their_tables_too() -> None:
    hints = Hints()
    hints.lose(["a", "b"], 0.0)
    hints.lose(["a"], 3.0)
    assert hints.forgotten(SETTLE_S) == ["b"]
    assert hints.forgotten(3.0 + SETTLE_S) == ["a"]


def test_keys_of_tables_that_nobody_follows_are_let_go() -> None:
    hints = Hints(most=3)
    hints.add("a", ["1", "2"], 0.0)
    hints.add("b", ["1", "2"], 0.0)
    assert len(hints.take(0.0, 1)) == 1
    hints.drop(["a"])
    assert len(hints) == 1
    hints.drop(["b"])
    assert hints.forgotten(1e9) == []
    hints.read(0.0)
    assert (len(hints), hints.next_s()) == (0, None)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("hint"), st.integers(0, 5)),
            st.tuples(st.just("read"), st.integers(1, 4)),
            st.tuples(st.just("fail"), st.integers(1, 4)),
            st.tuples(st.just("wait"), st.sampled_from([0.0001, 0.001, 0.02, 0.4, 3.0, 30.0])),
        ),
        max_size=60,
    )
)
def test_no_key_is_lost_whatever_happens(steps: list[tuple[str, float]]) -> None:
    """Beside it a model: per key the hint's time and how many reads began at or behind it."""
    hints, now = Hints(), 0.0
    left: dict[str, int] = {}
    for what, number in steps:
        if what == "hint":
            hints.add("t", [str(number)], now)
            left[str(number)] = len(PAUSES_S) + 1
        elif what == "wait":
            now += number
        else:
            taken = hints.take(now, int(number))
            if what == "read":
                hints.read(now)
                for _, key in taken:
                    left[key] -= 1
            else:
                for _, key in taken:
                    left[key] = len(PAUSES_S) + 1
        assert len(hints) == sum(tries > 0 for tries in left.values())
        assert all(tries >= 0 for tries in left.values())
    hints.take(now, 0)  # what had failed last is due again
    while (due := hints.next_s()) is not None:
        for _, key in hints.take(due, 100):
            left[key] -= 1
        hints.read(due)
    assert not any(left.values())
