"""The sizes at which the engine changes its ways, made so small that a dozen rows cross them in both directions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tcsql.engine import (
    building,
    cost,
    directory,
    dismantling,
    executor,
    firstkeys,
    gather,
    index,
    keyorder,
    keys,
    manyrows,
    packed,
    page,
    planner,
    postings,
    table,
    textindex,
    writes,
)

SMALL: tuple[tuple[object, str, object], ...] = (
    (keys, "_MANY", 3),
    (postings, "LIST_LIMIT", 6),
    (textindex, "NOTE_ROWS", 3),
    (textindex, "MOST_NOTED", 12),
    (textindex, "SETTLE_ROWS", 2),
    (manyrows, "NOTE_ROWS", 3),
    (packed, "BLOCK", 4),
    (packed, "NOTED", 2),
    (gather, "CHUNK_ROWS", 3),
    (directory, "BLOCK", 4),
    (index, "MIN_REPETITION", 2),
    (table, "MANY_ROWS", 2),
    (writes, "MANY_ROWS", 3),
    (table, "RESHAPE_AT", frozenset({8, 16, 32})),
    (table, "BUILD_AT_ONCE", 10),
    (table, "BUILD_AT_ONCE_UNASKED", 6),
    (table, "SLICE_ROWS", 3),
    (building, "SLICE_ROWS", 3),
    (building, "TEXT_SLICE_ROWS", 3),
    (building, "SAMPLE_ROWS", 7),
    (building, "INTERN_LIMIT", 4),
    (dismantling, "STEP_ENTRIES", 6),
    (executor, "SLICE_ROWS", 5),
    (executor, "PINNED_ROWS", 6),
    (cost, "MIN_WALK_ROWS", 4),
    (planner, "MAX_RUNS", 3),
    (page, "FEW_ROWS", 2),
    (page, "MATCHES_PER_SLICE", 3),
    (page, "MOST_UNITED", 5),
    (firstkeys, "KEYS_PER_SLICE", 3),
    (cost, "MOST_WITHIN", 6),
    (cost, "LEAST_WALKED", 2),
    (cost, "LEAST_BY_BLOCKS", 3),
    (keyorder, "OPEN_COST", 0.3),
    (keyorder, "SORT_COST", 0.0),
    (keyorder, "HEAP_COST", 0.01),
    (keyorder, "KEY_COST", 0.01),
    (keyorder, "MOST_PARTS", 6),
    (keyorder, "BLOCKS_PER_STEP", 2),
)


@pytest.fixture(scope="module")
def small_sizes() -> Iterator[None]:
    """For whole modules, as Hypothesis runs many examples in one test."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in SMALL:
            patch.setattr(module, name, value)
        yield
