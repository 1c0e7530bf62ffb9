from __future__ import annotations

import pytest

from tcsql.storage import fileformat
from tests.storage.support import COUNTED, NAMED, PAIRS, POSTS


@pytest.mark.parametrize("key", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_unsigned_keys_survive_the_wrap(key: int) -> None:
    wrapped = fileformat.wrapped(key)
    assert -(2**63) <= wrapped < 2**63
    assert fileformat.unwrapped(wrapped, COUNTED) == key


def test_negative_keys_of_signed_columns_stay_as_they_are() -> None:
    assert fileformat.unwrapped(fileformat.wrapped(-5), POSTS) == -5


def test_only_single_integer_keys_are_rowids() -> None:
    assert [fileformat.has_integer_key(schema) for schema in (POSTS, COUNTED, NAMED, PAIRS)] == [
        True,
        True,
        False,
        False,
    ]


def test_padding_needs_at_most_nine_sizes_of_statement() -> None:
    sizes = [fileformat.padded(count) for count in range(1, fileformat.ROWS_PER_STATEMENT + 1)]
    assert all(count <= size < 2 * count for count, size in enumerate(sizes, 1))
    assert len(set(sizes)) == 9


def test_the_largest_statement_stays_in_sqlites_statement_cache() -> None:
    # apsw keeps statements of up to 16,384 bytes prepared; a longer one would be compiled for every group.
    longest = 2**31
    assert len(fileformat.upsert_rows(longest, fileformat.ROWS_PER_STATEMENT)) < 16_384
    assert len(fileformat.insert_group(longest, fileformat.GROUP_ROWS)) < 16_384
    assert len(fileformat.delete_rows(longest, fileformat.ROWS_PER_STATEMENT)) < 16_384
