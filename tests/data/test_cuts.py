"""Splits of a source that has none: all is used or dropped on purpose, nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from surrogates.data.cuts import RECORD, Cut, Split, divide, whole


@pytest.fixture
def cuts(make_dataset: Callable[..., xr.Dataset]) -> list[Cut]:
    return whole({"all": [make_dataset(7), make_dataset(4, 12, first=7)]})["all"]


def test_ids_are_kept_where_they_differ_and_else_counted(make_dataset: Callable[..., xr.Dataset], cuts: list[Cut]) -> None:
    assert [c.id for c in cuts] == list(range(11)) and [c.stop for c in cuts] == [9] * 7 + [12] * 4
    apart = whole({"train": [make_dataset(2, first=5)], "test": [make_dataset(1, first=9)]})
    assert [c.id for c in apart["train"] + apart["test"]] == [5, 6, 9]
    twice = whole({"train": [make_dataset(2)], "test": [make_dataset(2)]})
    assert [c.id for c in twice["train"] + twice["test"]] == [0, 1, 2, 3]


@pytest.mark.parametrize("by", ["trajectory", "order"])
def test_every_trajectory_goes_to_one_split(cuts: list[Cut], by: str) -> None:
    found = divide(cuts, Split(0.6, 0.2, 0.2, by=by))
    ids = [c.id for split in found.values() for c in split]
    assert sorted(ids) == list(range(11)) and [len(v) for v in found.values()] == [7, 2, 2]
    assert (ids == list(range(11))) == (by == "order")
    assert all([c.id for c in v] == sorted(c.id for c in v) for v in found.values())
    again = divide(cuts, Split(0.6, 0.2, 0.2, by=by))
    assert {s: [c.id for c in v] for s, v in again.items()} == {s: [c.id for c in v] for s, v in found.items()}


def test_blocks_of_time_lie_a_gap_apart(cuts: list[Cut]) -> None:
    found = divide(cuts, Split(0.5, 0.25, 0.25, by="time", gap=1))
    for n in range(11):
        train, valid, test = (found[s][n] for s in ("train", "valid", "test"))
        assert train.id == valid.id == test.id and train.start == 0 and test.stop == cuts[n].stop
        assert valid.start - train.stop == test.start - valid.stop == 1
        assert train.stop > valid.stop - valid.start


@given(st.integers(3, 200), st.floats(0.01, 0.98), st.floats(0.0, 1.0), st.integers(0, 3))
def test_no_split_is_empty_and_none_overlap(frames: int, train: float, rest: float, gap: int) -> None:
    valid = (1 - train) * rest
    split = Split(train, valid, 1 - train - valid if rest < 1 else 0.0, by="time", gap=gap)
    cut = Cut(xr.Dataset(), 0, 0, frames, 0)
    if frames < len(split.shares) + gap * (len(split.shares) - 1):
        with pytest.raises(ValueError, match="too few for the blocks"):
            divide([cut], split)
        return
    blocks = [found[0] for found in divide([cut], split).values()]
    assert blocks[0].start == 0 and blocks[-1].stop <= frames
    assert all(b.stop > b.start for b in blocks)
    assert all(after.start - before.stop == gap for before, after in pairwise(blocks))
    if np.isclose(sum(split.shares.values()), 1):
        assert blocks[-1].stop == frames


@pytest.mark.parametrize(
    ("split", "match"),
    [
        ({"train": 0.0}, "train needs one"),
        ({"train": 0.9, "valid": 0.2}, "sum to at most 1"),
        ({"train": 0.5, "valid": -0.1}, "must be positive"),
        ({"train": 0.5, "by": "chance"}, "by is 'chance'"),
        ({"train": 0.5, "gap": 2}, "with `by: time` only"),
        ({"train": 0.5, "gap": -2, "by": "time"}, "gap is -2"),
    ],
)
def test_wrong_splits_are_refused(split: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Split(**split)


def test_too_few_trajectories_are_told_what_to_write(cuts: list[Cut]) -> None:
    with pytest.raises(ValueError, match="2 trajectories cannot be divided into .*by: time"):
        divide(cuts[:2], Split(0.6, 0.2, 0.2))
    with pytest.raises(ValueError, match="has 9 frames, too few"):
        divide(cuts, Split(0.6, 0.2, 0.2, by="time", gap=4))


def stretches(make_dataset: Callable[..., xr.Dataset], *ranges: tuple[int, int]) -> list[Cut]:
    """Parts of one record between missing frames, counted in steps of its clock."""
    parts = []
    for a, b in ranges:
        part = make_dataset(1, b - a)
        parts.append(part.assign_coords(time=("time", part.attrs["dt"] * np.arange(a, b, dtype=float))).assign_attrs({RECORD: "one"}))
    return whole({"all": parts})["all"]


def test_a_record_with_a_missing_frame_has_one_calendar(make_dataset: Callable[..., xr.Dataset]) -> None:
    """101 frames, the 50th missing: everything of valid is later than all of train, everything of test later than all of valid."""
    cuts = stretches(make_dataset, (0, 50), (51, 101))
    found = divide(cuts, Split(0.5, 0.25, 0.25, by="time", gap=5))
    dt = cuts[0].part.attrs["dt"]
    at = {s: sorted(round(float(t) / dt) for c in held for t in c.part["time"].values[c.start : c.stop]) for s, held in found.items()}
    assert all(at[b][0] - at[a][-1] > 5 for a, b in pairwise(("train", "valid", "test"))) and (at["train"][0], at["test"][-1]) == (0, 100)
    straddled = divide(stretches(make_dataset, (0, 20), (21, 101)), Split(0.5, 0.5, by="time"))
    assert [(c.start, c.stop) for c in straddled["train"]] == [(0, 20), (0, 30)] and len(straddled["valid"]) == 1


@pytest.mark.parametrize("by", ["trajectory", "order"])
def test_stretches_of_one_record_are_not_dealt_out(make_dataset: Callable[..., xr.Dataset], by: str) -> None:
    with pytest.raises(ValueError, match="3 stretches of one record.*`by: time` and a `gap`"):
        divide(stretches(make_dataset, (0, 9), (10, 20), (22, 30)), Split(0.5, 0.25, 0.25, by=by))


def test_a_block_in_which_every_frame_is_missing_is_named(make_dataset: Callable[..., xr.Dataset]) -> None:
    with pytest.raises(ValueError, match="no frame of the block 'valid'"):
        divide(stretches(make_dataset, (0, 10), (90, 100)), Split(0.4, 0.2, 0.4, by="time"))
