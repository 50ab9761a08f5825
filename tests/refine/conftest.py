"""Draws without row keys (fast for a hundred thousand rows), and the Gaussian that the samplers are held against."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from surrogates.domains import Box
from surrogates.refine import features


@dataclass(frozen=True)
class Plain:
    """`Draws` from one generator a draw."""

    seed: int = 0

    def __call__(self, like: Tensor, *, draw: int) -> Tensor:
        g = torch.Generator().manual_seed(1000 * self.seed + draw)
        return torch.randn(like.shape, generator=g, dtype=like.dtype)


MEAN = (0.5, -1.0)
COVARIANCE = ((1.0, 0.3), (0.3, 0.25))


@pytest.fixture
def gaussian():  # mean, covariance over two channels
    return MEAN, COVARIANCE


@pytest.fixture
def plain():
    return Plain


@pytest.fixture
def points():
    """A box of n points, to hold n independent draws of the channels."""
    return lambda n: Box.periodic((n,), 2.5)


@pytest.fixture
def bare():
    """An operator's velocity without a refiner: (operator, domain) -> velocity(z, s)."""

    def make(operator, domain):
        def velocity(z, s):
            return operator(z, domain, features(torch.full((z.shape[0],), s, dtype=z.dtype)))

        return velocity

    return make
