"""Features of refinement time: bounded, invertible, computed once a level."""

import torch

from surrogates.refine import FEATURES, features
from surrogates.refine.features import level_features, time_of


def test_features_are_as_wide_as_they_say_and_bounded():
    f = features(torch.linspace(0, 1, 11))
    assert f.shape == (11, FEATURES)
    assert f.abs().max() <= 1


def test_time_is_told_exactly():
    s = torch.linspace(0, 1, 101, dtype=torch.float64)
    embedding = torch.cat([torch.randn(101, 3, dtype=torch.float64), features(s)], 1)
    torch.testing.assert_close(time_of(embedding), s, rtol=0, atol=1e-15)


def test_levels_a_hundredth_apart_are_far_apart():
    f = features(torch.linspace(0, 1, 101))
    assert torch.cdist(f, f).fill_diagonal_(9).min() > 1


def test_a_level_is_computed_once_and_usable_under_autograd():
    with torch.inference_mode():
        first = level_features(0.123, torch.device("cpu"), torch.float32)
    again = level_features(0.123, torch.device("cpu"), torch.float32)
    assert again is first
    weight = torch.ones(FEATURES, 1, requires_grad=True)
    (again @ weight).sum().backward()
    torch.testing.assert_close(first, features(torch.tensor([0.123])))
