"""Classic U-Net: the formula in torch's own layers, and APEBench's count of parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surrogates.domains import Box
from surrogates.operators.classic_unet import ClassicUNet, Pair

CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSE = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def around(u: Tensor, points: int = 1) -> Tensor:
    return F.pad(u, (points, points) * (u.ndim - 2), mode="circular")


def convolve(layer: nn.Module, u: Tensor, stride: int = 1) -> Tensor:
    u = around(u) if layer.weight.shape[-1] == 3 else u
    return CONVOLVE[u.ndim - 3](u, layer.weight, layer.bias, stride=stride)


def pair(block: Pair, u: Tensor, film: tuple[Tensor, ...]) -> Tensor:
    gain, shift, second = (row.view(*row.shape, *(1,) * (u.ndim - 2)) for row in film)
    u = F.silu(gain * F.group_norm(convolve(block.first, u), 1, block.norm_first.weight, block.norm_first.bias) + shift)
    return second * F.silu(F.group_norm(convolve(block.second, u), 1, block.norm_second.weight, block.norm_second.bias))


def up(layer: nn.Module, u: Tensor) -> Tensor:
    """The whole transpose of the coarse field and a point more on each side, cut to where fine point 2 i lies on coarse point i."""
    dim = u.ndim - 2
    y = TRANSPOSE[dim - 1](around(u), layer.weight, layer.bias, stride=2, padding=0)
    for axis in range(2, 2 + dim):
        y = y.narrow(axis, 3, 2 * u.shape[axis])
    return y


@pytest.mark.parametrize("shape", [(8,), (12, 8), (4, 8, 4)])
def test_it_is_the_formula(shape) -> None:
    torch.manual_seed(0)
    f = ClassicUNet(2, 3, 2, dim=len(shape), width=3, levels=2, activation="silu").double()
    nn.init.normal_(f.film.out.weight)
    x, e = torch.randn(2, 2, *shape, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    film = f.film(e)
    h0 = pair(f.lift, x, film[0])
    h1 = pair(f.falls[0], convolve(f.downs[0], h0, 2), film[1])
    h2 = pair(f.falls[1], convolve(f.downs[1], h1, 2), film[2])
    g1 = pair(f.rises[0], torch.cat([h1, up(f.ups[0], h2)], 1), film[3])
    g0 = pair(f.rises[1], torch.cat([h0, up(f.ups[1], g1)], 1), film[4])
    torch.testing.assert_close(f(x, Box.periodic(shape, 1.0), e), convolve(f.project, g0))


def test_its_parameters_are_counted_and_are_those_of_apebench() -> None:
    """ "UNet;12;2;relu" in 1-D has 27193 parameters there."""
    assert sum(p.numel() for p in ClassicUNet(1, 1, dim=1, width=12, levels=2).parameters()) == 27193
    f, c, k = ClassicUNet(3, 2, width=5, levels=1), 5, 9

    def double(a: int, b: int) -> int:
        return k * (a * b + b * b) + 2 * b + 4 * b

    moves = (k * c * c + c) + (k * 2 * c * c + c)
    assert sum(p.numel() for p in f.parameters()) == double(3, c) + double(c, 2 * c) + double(2 * c, c) + moves + (c + 1) * 2
