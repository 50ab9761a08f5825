"""SineNet: the formula in torch's own layers, halving and doubling against their definitions, the source's count of parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surrogates.domains import Box
from surrogates.operators.classic_unet import Pair
from surrogates.operators.padding import image
from surrogates.operators.sinenet import SineNet, double, halve

CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)
POOL = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
INTERPOLATE = ("linear", "bilinear", "trilinear")


def around(u: Tensor) -> Tensor:
    return F.pad(u, (1, 1) * (u.ndim - 2), mode="circular")


def convolve(layer: nn.Module, u: Tensor) -> Tensor:
    u = around(u) if layer.weight.shape[-1] == 3 else u
    return CONVOLVE[u.ndim - 3](u, layer.weight, layer.bias)


def pair(block: Pair, u: Tensor, film: tuple[Tensor, ...]) -> Tensor:
    gain, shift, second = (row.view(*row.shape, *(1,) * (u.ndim - 2)) for row in film)
    u = F.gelu(gain * F.group_norm(convolve(block.first, u), 1, block.norm_first.weight, block.norm_first.bias) + shift)
    return second * F.gelu(F.group_norm(convolve(block.second, u), 1, block.norm_second.weight, block.norm_second.bias))


def doubled(u: Tensor) -> Tensor:
    y = F.interpolate(around(u), scale_factor=2, mode=INTERPOLATE[u.ndim - 3])
    for axis, n in enumerate(u.shape[2:], start=2):
        y = y.narrow(axis, 2, 2 * n)
    return y


@pytest.mark.parametrize("shape", [(8,), (12, 8), (4, 8, 4)])
def test_it_is_the_formula(shape) -> None:
    torch.manual_seed(0)
    f = SineNet(2, 3, 2, dim=len(shape), width=3, waves=2, levels=2, growth=1.5).double()
    nn.init.normal_(f.film.out.weight)
    pool = POOL[len(shape) - 1]
    x, e = torch.randn(2, 2, *shape, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    film, h = iter(f.film(e)), convolve(f.lift, x)
    for wave in f.waves:
        a = pool(h, 2)
        h1 = pair(wave.falls[0], a, next(film)) + convolve(wave.fall_shortcuts[0], a)
        b = pool(h1, 2)
        h2 = pair(wave.falls[1], torch.cat([b, pool(pool(h, 2), 2)], 1), next(film)) + convolve(wave.fall_shortcuts[1], b)
        c = doubled(h2)
        g1 = pair(wave.rises[0], torch.cat([h1, c], 1), next(film)) + convolve(wave.rise_shortcuts[0], c)
        d = doubled(g1)
        h = h + pair(wave.rises[1], torch.cat([h, d], 1), next(film)) + convolve(wave.rise_shortcuts[1], d)
    torch.testing.assert_close(f(x, Box.periodic(shape, 1.0), e), convolve(f.out, h))


def test_halving_is_the_mean_of_pairs_and_doubling_exact_for_lines() -> None:
    u = torch.arange(10.0).view(1, 1, 2, 5)
    torch.testing.assert_close(halve(u), torch.tensor([[[[3.0, 5.0, 6.5]]]]))
    line = torch.stack([torch.arange(6.0) * 2 + 0.5, 3 - torch.arange(6.0)])[None, :, None]  # at cell centres of twice the width
    fine = double(line, ("zeros", "reflect"), torch.Size((1, 12)))
    at = (torch.arange(12.0) - 0.5) / 2
    torch.testing.assert_close(fine[0, :, 0, 1:-1], torch.stack([at * 2 + 0.5, 3 - at])[:, 1:-1])
    torch.testing.assert_close(fine[0, :, 0, ::11], line[0, :, 0, ::5])
    constant = torch.full((1, 1, 3, 4, 2), 2.5)
    torch.testing.assert_close(double(constant, ("wrap", "zeros", "reflect"), torch.Size((6, 7, 3))), torch.full((1, 1, 6, 7, 3), 2.5))


def test_waves_start_from_the_field_and_add_to_it() -> None:
    f, b, x = SineNet(1, 1, dim=1, width=4, waves=3, levels=1), Box.periodic((8,), 1.0), torch.randn(1, 1, 8)
    for wave in f.waves:
        for last in (wave.rises[-1].norm_second, wave.rise_shortcuts[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    torch.testing.assert_close(f(x, b), convolve(f.out, convolve(f.lift, x)))
    assert image(x).shape == (1, 1, 1, 8)


def test_it_has_as_many_parameters_as_the_source() -> None:
    """Its "sinenet8-dual" on PDEArena's Navier-Stokes data: 4 frames of 3 fields in, 3 fields out."""
    with torch.device("meta"):
        eight, four = SineNet(12, 3), SineNet(12, 3, waves=4, growth=1.611)
    assert sum(p.numel() for p in eight.parameters()) == 35490219
    assert abs(sum(p.numel() for p in four.parameters()) / 35490219 - 1) < 1e-3
