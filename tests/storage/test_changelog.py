from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import RowOp, RowsBatch, SchemaBatch
from tcsql.storage.changelog import RESET_ABOVE_ROWS, LogBounds, LoggedChange, Record, decode, encode, encode_row
from tests.storage.support import POSTS

images = st.one_of(st.none(), st.binary(min_size=2, max_size=20).map(lambda raw: raw.replace(b"\n", b"n")))
ops = st.lists(st.builds(RowOp, st.integers(), images, images), min_size=1, max_size=5)


@given(st.lists(st.tuples(st.integers(1, 2**53), st.integers(1, 99), ops), min_size=1, max_size=4))
def test_changes_come_back_byte_for_byte(batches: list[tuple[int, int, list[RowOp]]]) -> None:
    lines: list[bytes] = []
    for lsn, table_id, row_ops in batches:
        count, more = encode(lsn, RowsBatch(table_id, row_ops), 3)
        assert count == len(row_ops)
        lines += more
    assert list(decode(b"\n".join(lines))) == [
        LoggedChange(lsn, table_id, 3, tuple((op.before, op.after) for op in row_ops))
        for lsn, table_id, row_ops in batches
    ]


def test_schema_changes_and_large_batches_are_resets() -> None:
    many = RowsBatch(2, [RowOp(n, None, b"{}") for n in range(RESET_ABOVE_ROWS + 1)])
    (one, schema), (other, rows) = encode(9, SchemaBatch(1, None, POSTS), 0), encode(9, many, 4)
    assert one == other == 1
    assert list(decode(b"\n".join(schema + rows))) == [LoggedChange(9, 1, 0, None), LoggedChange(9, 2, 4, None)]


@given(st.builds(RowOp, st.integers(), images, images))
def test_one_row_is_encoded_alike_by_either_way(op: RowOp) -> None:
    _, lines = encode(7, RowsBatch(3, [op]), 2)
    assert encode_row(7, 3, 2, op.before, op.after) == b"\n".join(lines)


@pytest.mark.parametrize("payload", [b"", b"1 2 3", b"1 2 3 x", b"1 2 3 1\n{}", b"1 2 3 -2"])
def test_a_broken_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        list(decode(payload))


def test_a_full_log_is_cut_a_tenth_below_its_limit() -> None:
    bounds = LogBounds(100, 10**6, [Record(lsn, 10, 1) for lsn in range(1, 11)])
    assert bounds.cut_for(Record(11, 10, 1)) == 2
    bounds.added(Record(11, 10, 1), 2)
    assert (bounds.changes, bounds.cut_for(Record(12, 10, 1))) == (90, None)


def test_bytes_bound_the_log_as_well() -> None:
    bounds = LogBounds(10**6, 1_000, [Record(lsn, 1, 100) for lsn in range(1, 11)])
    assert bounds.cut_for(Record(11, 1, 150)) == 3


@pytest.mark.parametrize("size", [10, 1_000])
def test_a_log_of_small_transactions_takes_little_memory_and_is_cut_as_any_other(size: int) -> None:
    bounds, cuts = LogBounds(100_000, 64 << 20, ()), []
    for lsn in range(1, 250_001):
        new = Record(lsn, 1, size)
        cut = bounds.cut_for(new)
        bounds.added(new, cut)
        cuts += [] if cut is None else [(lsn, cut)]
        assert bounds.changes <= 100_000
        assert bounds.bytes <= 64 << 20
    assert len(bounds) <= 2_000
    assert len(cuts) > 10
    for lsn, cut in cuts:  # a tenth below a limit, and no more than a thousandth further
        kept = lsn - cut
        assert 0.898 < max(kept / 100_000, kept * size / (64 << 20)) <= 0.9
    assert (bounds.changes, bounds.bytes) == (250_000 - cuts[-1][1], (250_000 - cuts[-1][1]) * size)


def test_sizes_read_from_a_file_are_counted_together_as_well() -> None:
    bounds = LogBounds(100_000, 64 << 20, (Record(lsn, 1, 100) for lsn in range(1, 100_001)))
    assert (len(bounds), bounds.changes, bounds.bytes) == (1_000, 100_000, 10_000_000)
    bounds.cut(50_050)  # within what is counted together: that much stays
    assert (len(bounds), bounds.changes) == (500, 50_000)
