"""Dilated residual network: the formula in torch's own circular convolutions, how far it sees, and the count of parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, group_norm

from surrogates.domains import Box
from surrogates.operators.dilated_resnet import DilatedResNet


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("shape", [(19,), (17, 18)])
def test_it_is_the_formula(shape, norm) -> None:
    torch.manual_seed(0)
    f = DilatedResNet(2, 3, 2, dim=len(shape), width=4, blocks=2, norm=norm).double()
    nn.init.normal_(f.film.out.weight)
    make = (nn.Conv1d, nn.Conv2d)[len(shape) - 1]

    def apply(layer: nn.Module, h: torch.Tensor, dilation: int = 1) -> torch.Tensor:
        out, into, k, *_ = layer.weight.shape
        theirs = make(into, out, k, padding=dilation * (k // 2), dilation=dilation, padding_mode="circular").double()
        theirs.load_state_dict(layer.state_dict())
        return theirs(h)

    x, e = torch.randn(2, 2, *shape, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    h = apply(f.lift, x)
    for block, film in zip(f.blocks, f.film(e), strict=True):
        gain, shift, second = (row.view(2, 4, *(1,) * len(shape)) for row in film)
        v = h
        for i, d in enumerate((1, 2, 4, 8, 4, 2, 1)):
            v = group_norm(v, 1, block.norms[i].weight, block.norms[i].bias) if norm else v
            v = gelu(apply(block.layers[i], v * gain + shift if i == 0 else v, d))
        h = h + second * v
    torch.testing.assert_close(f(x, Box.periodic(shape, 1.0), e), apply(f.project, h))


def test_it_sees_the_sum_of_its_dilations() -> None:
    f = DilatedResNet(1, 1, dim=1, width=4, blocks=2, dilations=(1, 3), norm=False).double()
    x = torch.randn(1, 1, 40, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(f(x, Box.periodic((40,), 1.0))[0, 0, 0], x)
    assert g[0, 0].nonzero().flatten().tolist() == [*range(9), *range(32, 40)]


def test_its_parameters_are_counted_and_are_those_of_apebench() -> None:
    """ "Dil;2;32;2;relu" in 1-D has 31777 parameters there."""
    theirs = DilatedResNet(1, 1, dim=1, width=32, blocks=2, dilations=(1, 2, 4, 2, 1), activation="relu")
    assert sum(p.numel() for p in theirs.parameters()) == 31777
    c, ours = 6, DilatedResNet(3, 2, width=6, blocks=3, dilations=(1, 2))
    assert sum(p.numel() for p in ours.parameters()) == 4 * c + 3 * 2 * (9 * c * c + c + 2 * c) + (c + 1) * 2
