"""Residual network: the formula in torch's own circular convolutions, and APEBench's count of parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surrogates.domains import Box
from surrogates.operators.convolution import Convolution
from surrogates.operators.resnet import ResNet


def circular(layer: Convolution, dilation: int = 1) -> nn.Module:
    """torch's convolution with the same weights, padded circularly by itself."""
    out, into, *kernel = layer.weight.shape
    make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(kernel) - 1]
    theirs = make(into, out, kernel, dilation=dilation, padding=dilation * (kernel[0] // 2), padding_mode="circular").to(layer.weight)
    theirs.load_state_dict(layer.state_dict())
    return theirs


@pytest.mark.parametrize("shape", [(11,), (5, 7), (3, 4, 5)])
def test_it_is_the_formula(shape) -> None:
    torch.manual_seed(0)
    f = ResNet(2, 3, dim=len(shape), width=4, blocks=2, activation="relu").double()
    x = torch.randn(2, 2, *shape, dtype=torch.float64)
    h = circular(f.lift)(x)
    for block in f.blocks:
        h = torch.relu(h + circular(block.second)(torch.relu(circular(block.first)(h))))
    torch.testing.assert_close(f(x, Box.periodic(shape, 1.0)), circular(f.project)(h))


def test_an_embedding_modulates_every_block() -> None:
    torch.manual_seed(0)
    f = ResNet(2, 3, 2, dim=1, width=4, blocks=2).double()
    nn.init.normal_(f.film.out.weight)
    x, e = torch.randn(2, 2, 6, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    h = circular(f.lift)(x)
    for block, film in zip(f.blocks, f.film(e), strict=True):
        gain, shift, second = (row[..., None] for row in film)
        h = torch.relu(h + second * circular(block.second)(torch.relu(gain * circular(block.first)(h) + shift)))
    torch.testing.assert_close(f(x, Box.periodic((6,), 1.0), e), circular(f.project)(h))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_its_parameters_are_counted(dim: int) -> None:
    f, c, k = ResNet(3, 2, dim=dim, width=5, blocks=4, kernel=5, positions=2), 5, 5**dim
    assert sum(p.numel() for p in f.parameters()) == (3 + 4 * dim + 1) * c + 4 * 2 * (k * c * c + c) + (c + 1) * 2


def test_it_is_the_residual_network_of_apebench() -> None:
    """ "Res;26;8;relu" in 1-D has 32943 parameters there."""
    assert sum(p.numel() for p in ResNet(1, 1, dim=1, width=26, blocks=8).parameters()) == 32943
