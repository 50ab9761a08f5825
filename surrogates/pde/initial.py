"""Random initial states: Gaussian fields with the amplitudes exp(-3/4 (|k|/peak)^2), k in whole waves of the box.

In the plane, a stream function of these amplitudes has the energy spectrum k^3 exp(-3/2 (k/peak)^2), largest at `peak`. Noise is
drawn on a coarse grid that carries 4 `peak` modes and then interpolated, so that a trajectory is the same field at any resolution,
and keyed by trajectory, so that it is the same in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Box
from surrogates.noise import SeededNoise


def random_field(
    domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int, draw: int = 0
) -> tuple[Float[Tensor, "B 1 *Y"], Box]:
    """A field of zero mean and unit variance, float64, on the coarse box that carries it. Raises ValueError for peak <= 0."""
    if not peak > 0:
        raise ValueError(f"peak must be a positive number of waves in the box, got {peak}")
    box = domain.with_shape((2 * ceil(4 * peak) + 2,) * domain.dim)
    like = torch.empty(len(trajectories), 1, *box.shape, dtype=torch.float64)
    white = SeededNoise(seed, trajectories, [0] * len(trajectories))(like, step=0, draw=draw)
    waves2 = sum((k * (length / (2 * torch.pi))) ** 2 for k, length in zip(box.wavenumbers(), box.lengths, strict=True))
    assert isinstance(waves2, Tensor)
    dims = tuple(range(2, 2 + domain.dim))
    spectrum = torch.fft.rfftn(white, dim=dims) * torch.exp(-0.75 * waves2 / peak**2) * (waves2 > 0)
    return unit(torch.fft.irfftn(spectrum, s=box.shape, dim=dims)), box


def unit(u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C *X"]:
    """u over its root mean square length, a row at a time."""
    return u / (u**2).sum(1, keepdim=True).flatten(1).mean(1).sqrt().reshape(-1, *(1,) * (u.ndim - 1))


def scalar(
    domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int, rms: float | int, draw: int = 0
) -> Float[Tensor, "B 1 *X"]:
    """A scalar of zero mean and given root mean square."""
    u, box = random_field(domain, trajectories, seed, peak=peak, draw=draw)
    return rms * box.resample(u, domain.shape)


def flow(domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int, rms: float | int) -> Float[Tensor, "B 2 X Y"]:
    """A plane velocity without divergence or mean; `rms` is that of |u|."""
    psi, box = random_field(domain, trajectories, seed, peak=peak)
    u = torch.cat([box.derivative(psi, 1), -box.derivative(psi, 0)], 1)
    return rms * box.resample(unit(u), domain.shape)
