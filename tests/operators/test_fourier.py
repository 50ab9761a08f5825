"""The truncated transform: two routes that agree, the exact spectrum of a plane wave, a projection, Nyquist and zero."""

from __future__ import annotations

import math

import pytest
import torch

from surrogates.operators import fourier
from surrogates.operators.fourier import analyse_fft, by_products, synthesise_fft


def matrices(grid, modes):
    return fourier._dft_matrices(tuple(grid), modes, torch.float64, torch.device("cpu"))


def analyse(u, modes):
    return fourier.analyse(u, modes, matrices(u.shape[1:-1], modes))


def synthesise(o, modes, onto):
    return fourier.synthesise(o, modes, matrices(onto.shape[1:-1], modes), onto)


CASES = [
    ((16,), (9,)),
    ((15,), (8,)),
    ((16,), (5,)),
    ((16, 12), (16, 7)),
    ((15, 13), (15, 7)),
    ((16, 13), (5, 4)),
    ((9, 12), (4, 1)),
    ((8, 9, 10), (8, 9, 6)),
    ((8, 7, 9), (4, 3, 4)),
    ((6, 8, 8), (1, 2, 1)),
]


@pytest.mark.parametrize(("grid", "modes"), CASES)
def test_the_routes_agree(grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    u = torch.randn(2, *grid, 3, dtype=torch.float64)
    z = analyse(u, modes)
    torch.testing.assert_close(analyse_fft(u, modes), z)
    o = torch.randn_like(z)
    torch.testing.assert_close(synthesise_fft(o, modes, u), synthesise(o, modes, u))


@pytest.mark.parametrize(("there", "back"), [(analyse, synthesise), (analyse_fft, synthesise_fft)])
@pytest.mark.parametrize(("grid", "modes"), [((8,), (5,)), ((6, 7), (6, 3)), ((4, 3, 6), (3, 2, 4))])
def test_both_have_gradients(there, back, grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    u = torch.randn(2, *grid, 2, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 2, math.prod(modes), 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda u: back(w * there(u, modes), modes, u), u, fast_mode=True)


@pytest.mark.parametrize("there", [analyse, analyse_fft])
def test_a_plane_wave_has_one_mode(there) -> None:
    x, y = torch.meshgrid(torch.arange(12.0), torch.arange(10.0), indexing="ij")
    u = torch.cos(2 * math.pi * (-3 * x / 12 + 2 * y / 10) + 0.4).double()[None, ..., None]
    z = there(u, (7, 4)).reshape(2, 7, 4)
    expected = torch.zeros_like(z)
    expected[:, 0, 2] = 0.5 * torch.tensor([math.cos(0.4), math.sin(0.4)])
    torch.testing.assert_close(z, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("grid", "modes"), CASES)
def test_there_and_back_is_a_projection(grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    """Exact on what the modes span once the leading count is odd (both signs of every mode)."""
    modes = (*(m - 1 + m % 2 for m in modes[:-1]), modes[-1])
    u = torch.randn(2, *grid, 3, dtype=torch.float64)
    zero = torch.zeros_like(u)
    once = synthesise(analyse(u, modes), modes, zero)
    torch.testing.assert_close(synthesise(analyse(once, modes), modes, zero), once)
    if all(m == n for m, n in zip(modes[:-1], grid[:-1], strict=True)) and modes[-1] == grid[-1] // 2 + 1:
        torch.testing.assert_close(once, u)


def test_a_mode_that_is_its_own_conjugate_has_no_imaginary_part() -> None:
    for back in (synthesise, synthesise_fft):
        o = torch.zeros(1, 2, 5, 1, dtype=torch.float64)
        o[:, 1, 0] = o[:, 1, 4] = 1.0
        assert back(o, (5,), torch.zeros(1, 8, 1, dtype=torch.float64)).abs().max() == 0


def test_few_modes_go_by_products_and_many_by_fft() -> None:
    assert by_products((48, 48), (24, 13))
    assert by_products((128, 128), (16, 9))
    assert not by_products((1024, 1024), (1024, 513))
    assert not by_products((4096,), (2049,))
