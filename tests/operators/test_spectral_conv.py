"""The Fourier layer: a convolution, real, with gain and shift applied to modes as they would be to points."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surrogates.domains import Box
from surrogates.operators.fourier import Matrices, dft_matrices
from surrogates.operators.spectral_conv import SpectralConv, multiply

GRIDS = [((10,), (4,)), ((8, 6), (5, 3)), ((6, 5, 8), (4, 3, 2))]


def layer(grid: tuple[int, ...], modes: tuple[int, ...]) -> tuple[SpectralConv, Matrices, Tensor]:
    matrices = dft_matrices(Box.periodic(grid, 1.0), modes, torch.float64, torch.device("cpu"))
    return SpectralConv(3, modes).double(), matrices, torch.randn(2, *grid, 3, dtype=torch.float64)


@pytest.mark.parametrize(("grid", "modes"), GRIDS)
def test_gain_and_shift_on_modes_are_those_on_points(grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    conv, matrices, u = layer(grid, modes)
    onto, gain, shift = torch.randn_like(u), torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    spread = (2, *(1,) * len(grid), 3)
    expected = onto + gain.view(spread) * conv(u, torch.zeros_like(u), matrices) + shift.view(spread)
    torch.testing.assert_close(conv(u, onto, matrices, gain, shift), expected)


@pytest.mark.parametrize(("grid", "modes"), GRIDS)
def test_a_plane_wave_is_multiplied_by_its_own_matrix(grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    conv, matrices, _ = layer(grid, modes)
    k = [-1] * (len(grid) - 1) + [1]
    phase = sum(2 * torch.pi * kj * x for kj, x in zip(k, Box.periodic(grid, 1.0).grid(), strict=True))
    wave = torch.polar(torch.ones_like(phase), phase)[None, ..., None]
    index = 0
    for kj, m, last in zip(k, modes, [False] * (len(grid) - 1) + [True], strict=True):
        index = index * m + kj + (0 if last else m // 2)
    w = torch.complex(*conv.weight[index].detach().split(3, dim=1))
    a = torch.randn(3, dtype=torch.complex128)
    expected = (wave * (a @ w)).real
    torch.testing.assert_close(conv((wave * a).real, torch.zeros_like(expected), matrices), expected)


def test_the_energy_of_white_modes_passes_at_first() -> None:
    torch.manual_seed(0)
    conv = SpectralConv(64, (16, 9))
    z = torch.randn(4, 2, 144, 64)
    ratio = multiply(z, conv.weight).square().mean() / z.square().mean()
    assert 0.95 < ratio < 1.05


def test_weights_are_real_for_optimisers_that_ask_for_it() -> None:
    assert all(p.dtype == torch.float32 for p in SpectralConv(4, (3, 2)).parameters())
