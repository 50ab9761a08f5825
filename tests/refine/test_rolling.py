"""Windows: matrices of levels that fit one another, and which of them each way of training covers."""

from itertools import pairwise

import pytest
import torch

from surrogates.record import construct, describe
from surrogates.refine import Karras, LogitNormal, Steps, Uniform
from surrogates.refine.rolling import EachFrame, FrameTimes, Ramp, opening, rolling, staggered

LEVELS = Uniform().levels(6)


def near(a, b):
    return len(a) == len(b) and max(abs(x - y) for x, y in zip(a, b, strict=True)) < 1e-12


@pytest.mark.parametrize("lag", [0, 1, 2, 6])
def test_every_frame_takes_every_level_once(lag):
    matrix = staggered(LEVELS, 3, lag)
    assert len(matrix) == 7 + 2 * lag and matrix[0] == (1.0,) * 3 and matrix[-1] == (0.0,) * 3
    for j in range(3):
        column = [row[j] for row in matrix]
        assert all(b <= a for a, b in pairwise(column)) and tuple(dict.fromkeys(column)) == LEVELS
        assert column[lag * j : lag * j + 7] == list(LEVELS)


@pytest.mark.parametrize("schedule", [Uniform(), Karras(), Steps(12)], ids=str)
def test_a_window_opens_rolls_and_closes_without_a_seam(schedule):
    """What opening leaves, shifted by a frame and with pure noise behind it, is where rolling begins, and again where it ends."""
    levels = schedule.levels(6)
    first, step = opening(levels, 3), rolling(levels, 3)
    assert first[-1][0] == step[-1][0] == 0.0
    assert near((*first[-1][1:], 1.0), step[0]) and near((*step[-1][1:], 1.0), step[0])
    assert len(step) == 3 and len(first) == 7
    assert first + staggered(levels, 3, 2)[7:] == staggered(levels, 3, 2)


def test_the_paper_s_levels():
    """clip(j/T + t): opening from t = 1 to 0, rolling from t = 1/T to 0."""
    for k, row in enumerate(opening(LEVELS, 3)):
        assert near(row, tuple(min(j / 3 + 1 - k / 6, 1) for j in range(3)))
    for k, row in enumerate(rolling(LEVELS, 3)):
        assert near(row, tuple(j / 3 + (2 - k) / 6 for j in range(3)))


def test_steps_that_do_not_fit_the_frames_are_refused():
    with pytest.raises(ValueError, match="7 steps are not a multiple of 3 frames"):
        opening(Uniform().levels(7), 3)


def test_a_ramp_trains_the_window_and_its_ends(plain):
    ramp, like = Ramp(0.3), torch.empty(20_000, 1, dtype=torch.float64)
    times = ramp.draw(Uniform(), plain(), like, 4, draw=0).reshape(-1, 4)
    assert all(ramp.trains(Uniform(), row) for row in times[:200].tolist())
    rolls = (times.diff(dim=1) - 0.25).abs().max(1).values < 1e-6
    assert abs(rolls.double().mean() - (0.7 + 0.3 * 0.25 / 1.75)) < 0.01
    inside = times[rolls]
    torch.testing.assert_close(inside.mean(0), torch.tensor([0.125, 0.375, 0.625, 0.875], dtype=torch.float64), rtol=0, atol=0.01)
    opens, closes = (times[:, -1] == 1).double().mean(), (times[:, 0] == 0).double().mean()
    assert abs(opens - 0.3 * 0.75 / 1.75) < 0.01 and abs(closes - 0.3 * 0.75 / 1.75) < 0.01
    assert times.min() == 0 and times.max() == 1


def test_without_ends_a_ramp_only_rolls(plain):
    ramp = Ramp(0.0)
    assert all(ramp.trains(Uniform(), row) for row in rolling(LEVELS, 3)[:-1])
    assert not all(ramp.trains(Uniform(), row) for row in opening(LEVELS, 3)[:-1])
    times = ramp.draw(Uniform(), plain(), torch.empty(500, 1), 4, draw=0).reshape(-1, 4)
    torch.testing.assert_close(times.diff(dim=1), torch.full((500, 3), 0.25), rtol=0, atol=1e-6)


def test_what_each_way_of_training_covers():
    halfway = (0.5, 0.5, 0.5)
    assert EachFrame().trains(LogitNormal(), halfway) and not Ramp().trains(Uniform(), halfway)
    assert not EachFrame().trains(Steps(10), (0.0, 0.5, 1.0))  # no step of a diffusion is clean
    for way in (EachFrame(), Ramp()):
        assert all(
            way.trains(Uniform(), row) for row in (*opening(LEVELS, 3)[:-1], *rolling(LEVELS, 3)[:-1], *staggered(LEVELS, 3, 2)[:-1])
        )


@pytest.mark.parametrize("way", [EachFrame(), Ramp(), Ramp(0.5)], ids=str)
def test_it_writes_itself_down_and_draws_row_by_row(way, plain):
    assert isinstance(way, FrameTimes) and construct(describe(way)) == way
    assert way.draw(Uniform(), plain(), torch.empty(3, 2), 4, draw=0).shape == (3, 8)


def test_a_share_is_a_share():
    with pytest.raises(ValueError, match="a share lies between 0 and 1"):
        Ramp(1.5)
