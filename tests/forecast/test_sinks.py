"""Rows become rectangles that cover each place once, and no chunk belongs to two groups."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.forecast.sinks import chunk_rows, rectangles


@pytest.mark.parametrize("members", [None, 1, 3, 4])
@pytest.mark.parametrize("group", [1, 2, 3, 4, 6, 8, 12, 24])
def test_rectangles_cover_the_rows_of_every_group_once(group: int, members: int | None) -> None:
    count = members or 1
    found = np.full((24 // count, count), -1)
    for g in range(24 // group):
        rows = list(range(g * group, (g + 1) * group))
        for part, where, lead in rectangles(rows, members):
            assert found[where].size == np.prod(lead)
            found[where] = np.array(rows)[part].reshape(found[where].shape)
    assert np.array_equal(found.reshape(-1), np.arange(24))


@pytest.mark.parametrize("members", [None, 1, 3, 4, 10])
@pytest.mark.parametrize("group", [1, 2, 3, 4, 6, 16, 20, 30])
@pytest.mark.parametrize("most", [1, 5, 100])
def test_no_chunk_is_shared_by_two_groups(group: int, members: int | None, most: int) -> None:
    chunk = chunk_rows(group, members, most)
    assert np.prod(chunk) <= most
    owner = np.arange(120).reshape(-1, members or 1) // group
    chunks = (*chunk, 1)[:2]
    for i in range(0, owner.shape[0], chunks[0]):
        for j in range(0, owner.shape[1], chunks[1]):
            assert len(np.unique(owner[i : i + chunks[0], j : j + chunks[1]])) == 1
