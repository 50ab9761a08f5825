"""Modern U-Net: the formula in torch's own layers, its attention against torch's, the count of parameters, what is kept in memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surrogates.domains import Box
from surrogates.operators.padding import image
from surrogates.operators.unet import Attention, Residual, UNet

CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSE = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def around(u: Tensor) -> Tensor:
    return F.pad(u, (1, 1) * (u.ndim - 2), mode="circular")


def convolve(layer: nn.Module, u: Tensor, stride: int = 1) -> Tensor:
    u = around(u) if layer.weight.shape[-1] > 1 else u
    return CONVOLVE[u.ndim - 3](u, layer.weight, layer.bias, stride=stride)


def residual(block: Residual, u: Tensor, film: tuple[Tensor, ...]) -> Tensor:
    gain, shift, second = (row.view(*row.shape, *(1,) * (u.ndim - 2)) for row in film)
    v = convolve(block.first, F.gelu(F.group_norm(u, 1, block.norm_in.weight, block.norm_in.bias)))
    v = F.gelu(gain * F.group_norm(v, 1, block.norm_out.weight, block.norm_out.bias) + shift)
    return second * convolve(block.second, v) + (u if block.shortcut is None else convolve(block.shortcut, u))


def up(layer: nn.Module, u: Tensor) -> Tensor:
    dim = u.ndim - 2
    y = TRANSPOSE[dim - 1](around(u), layer.weight, layer.bias, stride=2)
    for axis in range(2, 2 + dim):
        y = y.narrow(axis, 3, 2 * u.shape[axis])
    return y


@pytest.mark.parametrize("shape", [(8,), (6, 8), (4, 2, 4)])
def test_it_is_the_formula(shape) -> None:
    """Two levels of one block: down, down, middle, up, up, up, up."""
    torch.manual_seed(0)
    f = UNet(2, 3, 2, dim=len(shape), width=4, multipliers=(1, 2), blocks=1, heads=2).double()
    nn.init.normal_(f.film.out.weight)
    x, e = torch.randn(2, 2, *shape, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    film = f.film(e)
    a = convolve(f.lift, x)
    b = residual(f.falls[0], a, film[0])
    c = convolve(f.downs[0], b, 2)
    d = residual(f.falls[1], c, film[1])
    h = residual(f.middle[0], d, film[2])
    h = f.attention(image(h)).reshape(h.shape)
    h = residual(f.middle[1], h, film[3])
    h = residual(f.rises[0], torch.cat([h, d], 1), film[4])
    h = residual(f.rises[1], torch.cat([h, c], 1), film[5])
    h = up(f.ups[0], h)
    h = residual(f.rises[2], torch.cat([h, b], 1), film[6])
    h = residual(f.rises[3], torch.cat([h, a], 1), film[7])
    expected = convolve(f.out, F.gelu(F.group_norm(h, 1, f.norm.weight, f.norm.bias)))
    torch.testing.assert_close(f(x, Box.periodic(shape, 1.0), e), expected)


def test_its_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(6, 3).double(), nn.MultiheadAttention(6, 3, batch_first=True).double()
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.inward.weight.data, ours.inward.bias.data
    theirs.out_proj.load_state_dict(ours.outward.state_dict())
    h = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    points = F.group_norm(h, 1).flatten(2).mT
    y, _ = theirs(points, points, points)
    torch.testing.assert_close(ours(image(h)), h + y.mT.reshape(h.shape))
    assert ours(image(h)).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_its_parameters_are_counted(dim: int) -> None:
    c, k, f = 4, 3**dim, UNet(3, 2, 5, dim=dim, width=4, multipliers=(1, 2), blocks=2)

    def block(a: int, b: int) -> int:
        return 2 * a + (k * a * b + b) + 2 * b + (k * b * b + b) + ((a * b + b) if a != b else 0)

    down = 2 * block(c, c) + block(c, 2 * c) + block(2 * c, 2 * c) + 4**dim * c * c + c
    middle = 2 * block(2 * c, 2 * c) + 2 * 2 * c + 4 * (2 * c) ** 2 + 4 * 2 * c
    up = 2 * block(4 * c, 2 * c) + block(3 * c, c) + 4**dim * c * c + c + 3 * block(2 * c, c)
    ends = (3 * c * k + c) + 2 * c + (c * 2 * k + 2)
    film = (5 + 1) * 2 * c + (2 * c + 1) * 3 * (2 * c + 4 * c + 4 * c + 4 * c + c + 3 * c)
    assert sum(p.numel() for p in f.parameters()) == ends + down + middle + up + film


def test_attention_is_left_out_on_request() -> None:
    f, less = (UNet(1, 1, dim=1, width=2, multipliers=(1, 2), heads=heads) for heads in (1, 0))
    less.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("attention")})
    nn.init.zeros_(f.attention.outward.weight)
    nn.init.zeros_(f.attention.outward.bias)
    x, b = torch.randn(1, 1, 8), Box.periodic((8,), 1.0)
    torch.testing.assert_close(f(x, b), less(x, b))


def test_computing_blocks_again_keeps_less() -> None:
    """Bytes saved for the backward pass, parameters left out."""
    assert kept(UNet(1, 1, width=8, multipliers=(1, 2), checkpoint=True)) < 0.5 * kept(UNet(1, 1, width=8, multipliers=(1, 2)))


def kept(f: UNet) -> int:
    sizes, own = {}, {p.data_ptr() for p in f.parameters()}

    def keep(t: Tensor) -> Tensor:
        sizes[t.data_ptr()] = t.nbytes
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        f(torch.randn(2, 1, 16, 16), Box.periodic((16, 16), 1.0)).sum().backward()
    return sum(n for at, n in sizes.items() if at not in own)
